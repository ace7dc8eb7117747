"""Optuna's storage for a database that cannot be written for a while: it waits, then gives up in one line.

Every method of Optuna's storage is one transaction, which is rolled back when it fails: so it can be
repeated. A lock, a full disk and a server that is away are waited for; a damaged database is not.

A server may be far away. There BEGIN and COMMIT are round trips of their own, and so is a look whether a
connection is alive. Methods that write one row at most do without the first two. None looks before: one that
finds its connection broken is repeated at once, with a new one.
"""

import contextlib
import sqlite3
import time
import weakref
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage

from sweeps.storages.database_file import Adrift, DatabaseFile, DatabaseGone
from sweeps.storages.patience import StudyGone, StudyUnwritable, current, hurry

POLL_SECONDS = 0.5
GONE = "the study was deleted from it while the sweep ran; what was trained is in MLflow and in the files"
_BY_NAME = {"get_study_id_from_name", "get_trial_id_from_study_id_trial_number"}
"""Where what is looked for may well not be there; all others have an id that was there."""
_SEVERAL_ROWS = {"create_new_study", "delete_study", "create_new_trial", "_create_new_trial",
                 "set_trial_state_values"}  # fmt: skip
"""What they write is written as a whole; all others read, or write one row."""
POINTLESS = ("no such table", "no such column", "syntax error", "malformed", "does not exist")


class PatientStorage(RDBStorage):
    """Optuna's storage, each of whose methods is repeated while the database cannot be used.

    Raises:
        StudyUnwritable: From every method: the database could not be used for as long as `patient` says.
        StudyGone: From every method: its file is not there any more, or a study or trial is not in it.
    """

    label = "the study database"
    file: DatabaseFile | None = None
    """Of SQLite's, where this process writes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Also at the process's end: who copies SQLite's file then needs nothing beside it.
        weakref.finalize(self, self.engine.dispose)

    def close(self) -> None:
        """Closes its connections; the last one to a file puts SQLite's log into it."""
        if self.file is not None:
            self.file.close()
            self.file = None
        self.engine.dispose()

    def watching(self, path: Path) -> "PatientStorage":
        """Looks from now on whether its file is there."""
        with contextlib.suppress(sqlite3.Error, OSError):  # another process holds it: then nobody looks
            self.file = DatabaseFile(path)
            self.file.guard(self.engine)
        return self

    def _do_without_transaction(self) -> None:
        """Each statement of this thread's session is a transaction of its own, until it is closed."""
        session = self.scoped_session()
        if self.engine.dialect.name == "postgresql" and not session.in_transaction():
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})


def _patiently(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @wraps(method)
    def repeated(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        patience = current()
        began, is_said, is_new = time.monotonic(), False, False
        while True:
            try:
                if self.file is not None:
                    self.file.ensure_it_is_there()
                if name not in _SEVERAL_ROWS:
                    self._do_without_transaction()
                result = method(self, *args, **kwargs)
            except Adrift:
                continue  # the next look says what happened
            except DatabaseGone as error:
                goes_on = ", so `sweeps resume` goes on" if error.is_back else ""
                raise StudyGone(f"{error}{goes_on}") from None
            except KeyError:
                if name in _BY_NAME:
                    raise
                raise StudyGone(f"{self.label}: {GONE}") from None
            except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
                if not is_new and _is_disconnected(error):
                    is_new = True  # all connections are, so the next is new
                    continue
                trouble = _trouble(error)
                if trouble is None:
                    raise
                reason, may_pass = trouble
                waited = time.monotonic() - began
                if not may_pass or waited >= patience.seconds:
                    if is_said:
                        patience.end("")
                    hurry(0.0)  # what is left to do must not wait as long again
                    raise StudyUnwritable(_given_up(self.label, reason, waited)) from error
                if not is_said:
                    patience.begin(f"{self.label}: {reason}; waiting for up to {patience.seconds:g} s")
                    is_said = True
                time.sleep(min(POLL_SECONDS, patience.seconds))
            else:
                if is_said:
                    patience.end(f"{self.label}: works again after {time.monotonic() - began:.0f} s")
                return result

    return repeated


# What Optuna's cache calls beside the public methods of a storage.
_OF_THE_CACHE = {"_create_new_trial", "_get_best_trial_id", "_get_trials", "_set_trial_param",
                 "get_trial_id_from_study_id_trial_number"}  # fmt: skip
for _name in _OF_THE_CACHE | BaseStorage.__abstractmethods__:
    setattr(PatientStorage, _name, _patiently(_name))


def _given_up(label: str, reason: str, waited: float) -> str:
    how_long = f" for {waited:.0f} s" if waited >= 1 else ""
    return f"{label}: {reason}{how_long}; nothing in it is lost, `sweeps resume` goes on once it works again"


def _cause(error: BaseException) -> BaseException | None:
    """What SQLAlchemy raised, out of Optuna's wrapping."""
    return error.__cause__ if isinstance(error, StorageInternalError) else error


def _is_disconnected(error: BaseException) -> bool:
    """Whether a connection was found broken that had been kept: the server was started again, say."""
    cause = _cause(error)
    return isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated


def _trouble(error: BaseException) -> tuple[str, bool] | None:
    """What is the matter with the database, and whether that may pass; None if the call itself is wrong."""
    cause = _cause(error)
    if not isinstance(cause, sqlalchemy.exc.DatabaseError) or isinstance(
        cause, sqlalchemy.exc.IntegrityError | sqlalchemy.exc.DataError | sqlalchemy.exc.ProgrammingError
    ):
        return None
    reason = " ".join(str(cause.orig or cause).split())
    is_operational = isinstance(cause, sqlalchemy.exc.OperationalError)
    return reason, is_operational and not any(words in reason for words in POINTLESS)
