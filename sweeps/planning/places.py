"""Where a sweep keeps what, a new one and one that goes on, and whether it may."""

import shlex
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError
from sweeps.executors.code import own_places
from sweeps.files import sweep_folder
from sweeps.remote import is_remote, remote_folder
from sweeps.samplers.warm_start import check_warm_start
from sweeps.storages import shared_disks
from sweeps.storages.checks import check_storage, check_tracking
from sweeps.storages.servers import check_answers, is_tracking_server
from sweeps.storages.sqlite import is_there
from sweeps.storages.uris import absolute, expand, masked, sqlite_path, study_url
from sweeps.study.outcomes import last_step
from sweeps.study.persistence import ensure_name_is_free
from sweeps.sweep_file.spec import SweepSpec

if TYPE_CHECKING:
    import optuna

LOCAL_FILES = "sweep-files"
"""Where a sweep whose files are elsewhere keeps what has not reached MLflow yet."""


@dataclass(frozen=True)
class Places:
    """Where a sweep keeps what: absolute, `${NAME}` expanded.

    Attributes:
        storage: URL of the study database.
        tracking_uri: URL of MLflow's.
        artifacts: Folder of MLflow's artifacts; "" where MLflow's server has a place of its own.
        files: The sweep's own folder on this machine.
        store: The address of its folder where `files:` is one; then `files` holds what waits for MLflow.
    """

    storage: str
    tracking_uri: str
    artifacts: str
    files: Path
    store: str = ""

    @property
    def journal(self) -> Path:
        """The folder of what waits for MLflow."""
        return self.files / "journal"

    @property
    def notes(self) -> list[str]:
        """What a person should know of them, a line each."""
        return shared_disks.notes([self.storage, self.tracking_uri])


def places(spec: SweepSpec, storage: str | None = None) -> Places:
    """Finds out where a sweep keeps what, and whether it may.

    Raises:
        UserError: A database is not ours, a folder cannot be written, the name is taken.
    """
    url = study_url(storage, spec.storage)
    check_storage(url)
    ensure_name_is_free(spec.name, url)
    check_warm_start(spec, url)
    tracking, artifacts = tracking_place(spec, spec.name)
    if not is_remote(spec.files):
        return Places(url, tracking, artifacts, sweep_folder(spec.files, spec.name))
    local = sweep_folder(LOCAL_FILES, spec.name)
    return Places(url, tracking, artifacts, local, remote_folder(expand(spec.files), spec.name))


def tracking_place(spec: SweepSpec, experiment: str) -> tuple[str, str]:
    """URL of MLflow's database or server, and the folder of an experiment's artifacts; see `Places`.

    Raises:
        UserError: It is not one of ours, or does not answer.
    """
    tracking = absolute(expand(spec.tracking_uri or "sqlite:///mlflow.db"))
    check_tracking(tracking)
    if is_tracking_server(tracking):
        check_answers(tracking, masked(tracking))
        return tracking, ""
    database = sqlite_path(tracking)
    root = database.parent if database else Path.cwd()
    return tracking, str(root / "mlartifacts" / experiment)


def noted(where: Places, spec: SweepSpec) -> dict[str, Any]:
    """What a new study keeps of it; URLs without passwords, with `${NAME}`, which may be a whole path."""
    given = spec.tracking_uri or where.tracking_uri
    uri = masked(given if "${" in given and sqlite_path(given) else absolute(given))
    key = uuid.uuid4().hex  # of this sweep's runs
    return {
        "files": masked(where.store) or str(where.files),
        "spool": str(where.files),
        "places": own_places(spec.folders),
        "mlflow": {"tracking_uri": uri, "experiment": spec.name, "artifacts": where.artifacts, "key": key},
    }


def places_of_study(study: "optuna.Study", spec: SweepSpec, url: str) -> Places:
    """Where an earlier driver kept what.

    Raises:
        UserError: The folder of MLflow's database is not there any more: a new one would have a part of it.
    """
    attributes = study.user_attrs
    mlflow = attributes["mlflow"]
    # A password that stood in the file was not kept; PostgreSQL finds another way to it, such as PGPASSWORD.
    store = expand(f"{spec.files.rstrip('/')}/{spec.name}") if is_remote(spec.files) else ""
    uri, given = mlflow["tracking_uri"], spec.tracking_uri or ""
    if given and (sqlite_path(given) is None or "${" in given):  # else a file, to which the path is known
        uri = given
    tracking = absolute(expand(uri.replace(":***@", "@")))
    if (database := sqlite_path(tracking)) and not is_there(folder := database.parent):
        link = shlex.join(["ln", "-s", str(Path.cwd()), str(folder)])
        raise UserError(
            f"{spec.name}: {folder}, which held MLflow's database, is not there any more; put it back, or a "
            f"link to what it is now, such as: {link}"
        )
    return Places(url, tracking, mlflow["artifacts"], _files_of(study, spec, url, store), store)


def _files_of(study: "optuna.Study", spec: SweepSpec, url: str, store: str) -> Path:
    """The sweep's own folder on this machine: where it was, or beside the study's database if both moved."""
    stored, database = Path(study.user_attrs["spool"]), sqlite_path(url)
    root = LOCAL_FILES if store else spec.files
    if database and not is_there(stored) and is_there(beside := database.parent.resolve() / root / spec.name):
        return beside
    return stored


def ensure_files(study: "optuna.Study", spec: SweepSpec, where: Places) -> None:
    """Checks that the checkpoints are there that a sweep goes on with, or trials would begin anew unsaid.

    Raises:
        UserError: Their folder is not there any more.
    """
    if where.store or is_there(where.files) or not (lost := _held(study, spec)):
        return
    missing = [folder for folder in (where.files, *where.files.parents) if not is_there(folder)][-1]
    now = str(Path.cwd()) if str(missing) == study.user_attrs.get("start") else "WHAT-IT-IS-NOW"
    link, new = shlex.join(["ln", "-s", now, str(missing)]), shlex.join(["mkdir", "-p", str(where.files)])
    raise UserError(
        f"{spec.name}: {where.files}, which held {lost}, is not there any more; put it back, or a link to "
        f"what it is now, such as: {link}; without it the sweep goes on after: {new}"
    )


def _held(study: "optuna.Study", spec: SweepSpec) -> str:
    """Which checkpoints the sweep's folder must have; "" if none."""
    trials = study.get_trials(deepcopy=False)
    if going := [t.number for t in trials if t.state.name == "RUNNING" and last_step(t)]:
        return f"the checkpoint of trial {going[0]}, which is to go on"
    if spec.keep_checkpoints and any(t.state.name == "COMPLETE" for t in trials):
        return "the checkpoint of the best trial"
    return ""


def keep_moved(study: "optuna.Study", where: Places) -> None:
    """Notes for the readers and the next driver where the files of a sweep that goes on are now."""
    if study.user_attrs.get("spool") == str(where.files):
        return
    study.set_user_attr("spool", str(where.files))
    if not where.store:
        study.set_user_attr("files", str(where.files))
