"""`sweeps watch`: the progress of a sweep that another process drives, from its study alone."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from sweeps.control import living_driver
from sweeps.errors import SweepFailed, UserError
from sweeps.outcomes import EXCLUDED, outcome_of
from sweeps.persistence import load_study, loaded_spec
from sweeps.progress import Progress
from sweeps.records import Assignment, News, Started
from sweeps.storage import study_url

if TYPE_CHECKING:
    import optuna

POLL_SECONDS = 1.0


def watch(name: str, storage: str | None, console: Console, *, poll_seconds: float = POLL_SECONDS) -> None:
    """Shows a sweep until it ends, or Ctrl-C, which the sweep does not notice.

    Raises:
        UserError: There is no such sweep, or it does not run.
        SweepFailed: The sweep failed, or its driver is gone.
    """
    study = load_study(name, study_url(storage), reads_only=True)
    attributes = study.user_attrs
    if attributes["sweep_state"] != "running":
        raise UserError(f"{name} is not running, it is {attributes['sweep_state']}; "
                        f"`sweeps status {name}` shows it")  # fmt: skip
    eyes = _Eyes(study)
    progress = Progress(loaded_spec(study), console, clock=time.time, started=eyes.started)
    for trial in eyes.ended():
        progress.catch_up(outcome_of(trial), trial.params)
    with contextlib.suppress(KeyboardInterrupt), progress:
        while True:
            attributes = study.user_attrs  # before the trials: what ended by then is seen
            for event in eyes.news():
                progress.record(event)
            is_driven = "driver" not in attributes or living_driver(attributes)
            if attributes["sweep_state"] != "running" or not is_driven:
                break
            time.sleep(poll_seconds)
        _say_end(name, attributes, console)


def _say_end(name: str, attributes: dict[str, Any], console: Console) -> None:
    again = f"`sweeps resume {name}` goes on with it"
    match attributes["sweep_state"]:
        case "running":
            driver = attributes.get("driver") or {"pid": "?", "host": "?"}
            raise SweepFailed(
                f"{name}: its driver, process {driver['pid']} on {driver['host']}, is gone; {again}"
            )
        case "failed":
            raise SweepFailed(f"{name} failed; `sweeps status {name}` shows why")
        case "interrupted":
            console.print(Text(f"{name} was stopped; {again}"))
        case state:
            console.print(Text(f"{name} is {state}; `sweeps status {name}` shows it"))


class _Eyes:
    """Sees what is new in a study; of trials that have ended, each is read once."""

    def __init__(self, study: "optuna.Study") -> None:
        self._study = study
        self._ended: set[int] = set()
        self._running: set[int] = set()

    @property
    def started(self) -> float | None:
        """When the first trial was asked for, in seconds since the epoch."""
        times = [t.datetime_start.timestamp() for t in self._trials() if t.datetime_start]
        return min(times, default=None)

    def ended(self) -> list["optuna.trial.FrozenTrial"]:
        """The trials that have ended and were not given yet."""
        found = [t for t in self._trials() if t.state.is_finished() and t.number not in self._ended]
        self._ended |= {trial.number for trial in found}
        return [trial for trial in found if trial.user_attrs.get("outcome", {}).get("state") != EXCLUDED]

    def news(self) -> Iterator[News]:
        """What happened since the last look, as the driver's own display is told it."""
        for trial in self._trials():
            if trial.state.name == "RUNNING" and trial.number not in self._running:
                self._running.add(trial.number)
                yield Started(trial.number, 0.0)
        for trial in self.ended():
            yield Assignment(trial.number, trial.params, {})  # now that it has all of them
            yield outcome_of(trial)

    def _trials(self) -> list["optuna.trial.FrozenTrial"]:
        return self._study.get_trials(deepcopy=False)
