"""`sweeps watch`: the progress of a sweep that another process drives, from its study alone."""

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from sweeps.control import living_driver
from sweeps.errors import SweepFailed, UserError
from sweeps.preparing import preparation
from sweeps.provenance import MARK, last_run_with
from sweeps.records import Assignment, News, Request, Started
from sweeps.storages.storage import study_names
from sweeps.storages.uris import study_url
from sweeps.study.hours import earlier_seconds
from sweeps.study.outcomes import begun, counted, outcome_of
from sweeps.study.persistence import load_study, loaded_spec
from sweeps.terminal.progress import Progress

if TYPE_CHECKING:
    import optuna

POLL_SECONDS = 1.0


def _pause() -> None:
    time.sleep(POLL_SECONDS)


def watch(name: str, storage: str | None, console: Console, *, pause: Callable[[], object] = _pause) -> None:
    """Shows a sweep until it ends, or Ctrl-C, which the sweep does not notice.

    Args:
        name: The sweep.
        storage: The study database.
        console: Where to show it.
        pause: What it does between two looks.

    Raises:
        UserError: There is no such sweep, or it does not run.
        SweepFailed: The sweep failed, or its driver is gone.
    """
    url = study_url(storage)
    _await_driver(name, url, console, pause)
    study = load_study(name, url, reads_only=True)
    attributes = study.user_attrs
    if attributes["sweep_state"] != "running":
        raise UserError(f"{name} is not running, it is {attributes['sweep_state']}; "
                        f"`sweeps status {shlex.quote(name)}` shows it")  # fmt: skip
    eyes = _Eyes(study)
    progress = Progress(loaded_spec(study), console, clock=time.time, started=eyes.started,
                        earlier_seconds=earlier_seconds(attributes))  # fmt: skip
    for trial in eyes.ended():
        ended = trial.datetime_complete
        is_earlier = ended is not None and ended.timestamp() < eyes.started
        progress.catch_up(outcome_of(trial), trial.params, is_earlier=is_earlier)
    with contextlib.suppress(KeyboardInterrupt), progress:
        while True:
            attributes = study.user_attrs  # before the trials: what ended by then is seen
            progress.budget = progress.budget.model_validate(attributes["spec"]["budget"])
            for event in eyes.news():
                progress.record(event)
            is_driven = "driver" not in attributes or living_driver(attributes)
            if attributes["sweep_state"] != "running" or not is_driven:
                break
            pause()
        _say_end(name, attributes, console)


def _await_driver(name: str, url: str, console: Console, pause: Callable[[], object]) -> None:
    """Waits while a sweep is being launched or resumed on this machine; nothing of it runs before."""
    is_said = False
    while preparation(name, url):
        if not is_said:
            lacks = "trains nothing yet" if name in study_names(url) else "has no trial yet"
            console.print(Text.assemble((name, "bold"), f" is being prepared, and {lacks} ..."))
        is_said = True
        pause()


def _say_end(name: str, attributes: dict[str, Any], console: Console) -> None:
    again = f"`sweeps resume {shlex.quote(name)}` goes on with it"
    match attributes["sweep_state"]:
        case "running":
            driver = attributes.get("driver") or {"pid": "?", "host": "?"}
            raise SweepFailed(
                f"{name}: its driver, process {driver['pid']} on {driver['host']}, is gone; {again}"
            )
        case "failed":
            raise SweepFailed(f"{name} failed; `sweeps status {shlex.quote(name)}` shows why")
        case "interrupted":
            console.print(Text(f"{name} was stopped; {again}"))
        case state:
            console.print(Text(f"{name} is {state}; `sweeps status {shlex.quote(name)}` shows it"))


class _Eyes:
    """Sees what is new in a study; of trials that have ended, each is read once."""

    def __init__(self, study: "optuna.Study") -> None:
        self._study = study
        self._ended: set[int] = set()
        self._is_paused = False
        self._running: set[int] = set()

    @property
    def started(self) -> float:
        """When the sweep was launched, or resumed the last time, in seconds since the epoch."""
        created = last_run_with(self._study.user_attrs[MARK])["created"]
        return datetime.fromisoformat(created).timestamp()

    def ended(self) -> list["optuna.trial.FrozenTrial"]:
        """The trials that have ended and were not given yet."""
        found = [trial for trial in counted(self._study) if trial.number not in self._ended]
        self._ended |= {trial.number for trial in found}
        return found

    def news(self) -> Iterator[News]:
        """What happened since the last look, as the driver's own display is told it."""
        driver = self._study.user_attrs.get("driver") or {}
        yield from self._held(driver)
        for trial in begun(self._trials(), driver):
            if trial.number not in self._running:
                self._running.add(trial.number)
                yield Started(trial.number, 0.0)
        for trial in self.ended():
            yield Assignment(trial.number, trial.params, {})  # now that it has all of them
            yield outcome_of(trial)

    def _held(self, driver: dict[str, Any]) -> Iterator[Request]:
        """A pause that began or ended."""
        held_by = driver.get("held_by")
        is_paused = held_by == "pause" or (held_by == "stop" and self._is_paused)
        if is_paused != self._is_paused:
            self._is_paused = is_paused
            yield Request("pause" if is_paused else "resume", {})

    def _trials(self) -> list["optuna.trial.FrozenTrial"]:
        return self._study.get_trials(deepcopy=False)
