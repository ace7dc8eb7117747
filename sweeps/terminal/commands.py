"""What other terminals do with a running sweep: small requests to its driver, and reading its logs."""

import contextlib
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.wording import did_you_mean
from sweeps import remote
from sweeps.control import LEASE_SECONDS, LOOK_SECONDS, Lease, find_driver, send
from sweeps.errors import SweepFailed, UserError
from sweeps.layout import LOG, folder_of
from sweeps.preparing import check_it_is_not, stopped
from sweeps.remote import RemoteFolder, is_remote
from sweeps.storages.patience import patient
from sweeps.storages.sqlite import is_there
from sweeps.storages.storage import study_names
from sweeps.storages.uris import expand, study_url
from sweeps.study.hours import are_used
from sweeps.study.outcomes import is_in_budget
from sweeps.study.persistence import ensure_name_is_free, load_study, loaded_spec
from sweeps.study.stopping import stop_reason
from sweeps.study.study import Study

if TYPE_CHECKING:
    import optuna

CHANGES = {"trials": int, "hours": float, "concurrency": int}
POLL_SECONDS = 0.3


def ask(name: str, storage: str | None, command: str, **arguments: Any) -> None:
    """Writes a request to the sweep's driver, which does it within seconds.

    Raises:
        UserError: There is no such sweep, or nothing is running it.
    """
    url = study_url(storage)
    _send(load_study(name, url), url, command, **arguments)


def _send(study: "optuna.Study", url: str, command: str, **arguments: Any) -> None:
    if find_driver(study) is None:
        check_it_is_not(study.study_name, url)
    send(study, command, **arguments)


def end_preparation(name: str, storage: str | None) -> str:
    """Ends a launch or a resumption that is being prepared; gives what was done, "" if there is none."""
    url = study_url(storage)
    if name not in study_names(url):
        left = "before its first trial; nothing of it is left, so launch it again"
        return f"{name} ends {left}" if stopped(name, url) else ""
    if find_driver(load_study(name, url)) is None and stopped(name, url):
        return f"{name} ends before it trains on; `sweeps resume {shlex.quote(name)}` goes on with it"
    return ""


@contextlib.contextmanager
def interruptible(name: str, storage: str | None, from_file: str | None = None) -> Iterator[None]:
    """Says what an interruption means, and ends the process; typer would say nothing of it.

    Args:
        name: The sweep's name.
        storage: The option that named the study database.
        from_file: What the sweep file says of it.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        number = getattr(error, "signal", signal.SIGINT)
        what = f"interrupted; `sweeps resume {shlex.quote(name)}` goes on with it"
        with contextlib.suppress(UserError, SweepFailed), patient(0.0):  # or it is not to be read now
            ensure_name_is_free(name, study_url(storage, from_file))
            what = "interrupted before its first trial; nothing of it is left, so launch it again"
        sys.stderr.write(f"sweeps: {name} was {what}\n")
        sys.exit(128 + number if number else 0)


def ask_of_trial(name: str, storage: str | None, command: str, number: int) -> str:
    """Asks for what concerns one trial: `kill` it while it runs, `retry` it once it has ended.

    Returns:
        What has to be typed for it; "" if the sweep's driver does it. Only `retry` needs none.

    Raises:
        UserError: There is no such sweep or trial, nothing is running the sweep, or the trial's time for this
            is over or has not come.
    """
    url = study_url(storage)
    study = load_study(name, url)
    states = {trial.number: trial.state for trial in study.get_trials(deepcopy=False)}
    if number not in states:
        raise no_trial(name, number, states)
    if command == "kill" and states[number].is_finished():
        raise UserError(f"{name}: trial {number} has ended already")
    if command == "kill" and states[number].name == "WAITING":
        raise UserError(f"{name}: trial {number} has not begun yet")
    if command == "retry" and not states[number].is_finished():
        raise UserError(f"{name}: trial {number} has not ended, so it cannot be tried again")
    if command == "retry" and find_driver(study) is None:
        return _retry_at_next_resumption(study, url, number)
    _send(study, url, command, number=number)
    return ""


def _retry_at_next_resumption(study: "optuna.Study", url: str, number: int) -> str:
    check_it_is_not(study.study_name, url)
    spec, trials = loaded_spec(study), study.get_trials(deepcopy=False)
    # What ended by `stop_when`, or has used its hours, goes on for trials that are asked for by name.
    is_named = bool(stop_reason(trials, spec)) or are_used(study.user_attrs, spec.budget)
    with Lease(study, url).held():
        Study(study, spec).enqueue_again(number)
    resume = f"sweeps resume {shlex.quote(study.study_name)}"
    if not is_named:
        return resume
    return f"{resume} --trials {1 + sum(is_in_budget(t) or not t.state.is_finished() for t in trials)}"


def no_trial(name: str, number: int, numbers: Iterable[int]) -> UserError:
    """What is said of a trial that is not there."""
    there = sorted(numbers)
    return UserError(f"{name} has no trial {number}; it has {f'0 to {there[-1]}' if there else 'none yet'}")


def end_pause(name: str, storage: str | None, say: Callable[[str], None] | None = None) -> str:
    """Asks a living driver to go on; gives what was done, "" if there is none.

    Args:
        name: The sweep's name.
        storage: The option that named the study database.
        say: Told that one has to watch whether a driver lives.

    Raises:
        UserError: There is no such sweep, or it runs and nothing holds it back.
    """
    study = load_study(name, study_url(storage))
    driver = find_driver(study, surely=True, say=say)
    if driver is None:
        return ""
    runs = f"{name} is being run by process {driver['pid']} on {driver['host']}"
    if not _takes_resume(study, driver):
        raise UserError(f"{runs} and is not paused, so there is nothing to resume; "
                        f"`sweeps status {shlex.quote(name)}` shows it")  # fmt: skip
    send(study, "resume")
    return f"{runs}, which goes on with it"


def _takes_resume(study: "optuna.Study", driver: dict[str, Any]) -> bool:
    """Whether it is held back, or ends, or says nothing.

    What was asked for a moment ago is in its second beat from now: it may be writing the first already.
    """
    until, beats = time.monotonic() + LEASE_SECONDS, {driver["beat"]}
    while not (driver.get("held_by") or driver.get("is_ending")) and time.monotonic() < until:
        if len(beats) > 2 or not driver.get("beat"):
            return False
        time.sleep(LOOK_SECONDS)
        driver = study.user_attrs.get("driver") or {}
        beats.add(driver.get("beat"))
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
            near = did_you_mean(key, CHANGES)
            raise UserError(f"{item}: unknown key{near}; a running sweep takes {', '.join(CHANGES)}")
        try:
            changes[key] = CHANGES[key](text)
        except ValueError:
            kind = "number" if key == "hours" else "whole number"
            raise UserError(f"{item}: must be a {kind}") from None
        if not 0 < changes[key] < float("inf"):
            raise UserError(f"{item}: must be a number greater than 0")
    return changes


def show_log(name: str, storage: str | None, number: int | None, *, follow: bool) -> None:
    """Prints a trial's log, of the latest trial if no number is given; follows it until the trial has ended.

    Raises:
        UserError: There is no such sweep or trial, or the trial has no log yet.
    """
    study = load_study(name, study_url(storage), reads_only=True)
    ids = {trial.number: trial._trial_id for trial in study.get_trials(deepcopy=False)}
    numbers = list(ids)
    if not numbers:
        raise UserError(f"{name} has no trials yet")
    if number is not None and number not in numbers:
        raise no_trial(name, number, numbers)
    store = None
    if is_remote(study.user_attrs["files"]):
        store = RemoteFolder(expand(loaded_spec(study).files)) / name
    files = Path(study.user_attrs["files"])
    if number is None:  # the last one that has begun: one more may be drawn already
        begun = (n for n in reversed(numbers) if _has_log(files, store, n))
        number = next(begun, numbers[-1])

    def is_whole() -> bool:
        return not follow or study._storage.get_trial(ids[number]).state.is_finished()

    if store is not None:
        remote.show_log(store / folder_of(number), is_whole)
        return
    path = files / folder_of(number) / LOG
    if not is_there(path):
        raise UserError(f"{path}: no log; the trial has not started, or its files are on another machine")
    with path.open(encoding="utf-8", errors="replace") as file:
        while True:
            is_last = is_whole()  # first: what it says at its end is shown, too
            shutil.copyfileobj(file, sys.stdout)  # in pieces: a log may be larger than the memory
            sys.stdout.flush()
            if is_last:
                return
            time.sleep(POLL_SECONDS)


def _has_log(files: Path, store: RemoteFolder | None, number: int) -> bool:
    if store is None:
        return is_there(files / folder_of(number) / LOG)
    with contextlib.suppress(Exception):  # whoever reads it says what is wrong
        return (store / folder_of(number)).has(LOG)
    return True
