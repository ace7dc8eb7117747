"""What other terminals do with a running sweep: small requests to its driver, and reading its logs."""

import difflib
import sys
import time
from pathlib import Path
from typing import Any

from sweeps import remote
from sweeps.control import living_driver, send
from sweeps.errors import UserError
from sweeps.persistence import load_study, loaded_spec
from sweeps.remote import RemoteFolder, is_remote
from sweeps.storage import expand, study_url

CHANGES = {"trials": int, "hours": float, "concurrency": int}
POLL_SECONDS = 0.3


def ask(name: str, storage: str | None, command: str, **arguments: Any) -> None:
    """Writes a request to the sweep's driver, which does it within seconds.

    Raises:
        UserError: There is no such sweep, or nothing is running it.
    """
    send(load_study(name, study_url(storage)), command, **arguments)


def end_pause(name: str, storage: str | None) -> bool:
    """Asks a living driver to go on; False if there is none.

    Raises:
        UserError: There is no such sweep.
    """
    study = load_study(name, study_url(storage))
    if living_driver(study.user_attrs) is None:
        return False
    send(study, "resume")
    return True


def parse_changes(items: list[str]) -> dict[str, Any]:
    """Reads `trials=200 concurrency=4 hours=12`.

    Raises:
        UserError: An unknown key, or a value that is not a positive number.
    """
    changes: dict[str, Any] = {}
    for item in items:
        key, _, text = item.partition("=")
        if key not in CHANGES:
            near = difflib.get_close_matches(key, CHANGES, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{item}: unknown key{hint}; a running sweep takes {', '.join(CHANGES)}")
        try:
            changes[key] = CHANGES[key](text)
        except ValueError:
            raise UserError(f"{item}: must be a number") from None
        if not 0 < changes[key] < float("inf"):
            raise UserError(f"{item}: must be greater than 0")
    return changes


def show_log(name: str, storage: str | None, number: int | None, *, follow: bool) -> None:
    """Prints a trial's log, of the latest trial if no number is given.

    Raises:
        UserError: There is no such sweep or trial, or the trial has no log yet.
    """
    study = load_study(name, study_url(storage))
    numbers = [trial.number for trial in study.get_trials(deepcopy=False)]
    if not numbers:
        raise UserError(f"{name} has no trials yet")
    number = numbers[-1] if number is None else number
    if number not in numbers:
        raise UserError(f"{name} has no trial {number}; it has 0 to {numbers[-1]}")
    if is_remote(study.user_attrs["files"]):
        store = RemoteFolder(expand(loaded_spec(study).files)) / name
        remote.show_log(store / f"trial-{number}", follow=follow)
        return
    path = Path(study.user_attrs["files"]) / f"trial-{number}" / "log.txt"
    if not path.exists():
        raise UserError(f"{path}: no log; the trial has not started, or its files are on another machine")
    with path.open(encoding="utf-8", errors="replace") as file:
        while True:
            sys.stdout.write(file.read())
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(POLL_SECONDS)
