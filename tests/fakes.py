"""Small stand-ins for what a test does not look at, and the scripts that both executors run."""

import importlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna

from sweeps.executors import Reporter
from sweeps.executors.scripted import Script, Step
from sweeps.provenance import note_imports
from sweeps.records import Assignment, Event, Outcome, Report, State
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec


def spec(**changes: Any) -> SweepSpec:
    """A sweep over one float `model.x` in 0..1, four epochs, no pruner; `changes` are top-level keys."""
    raw: dict[str, Any] = {
        "name": "test",
        "objective": {"metric": "loss", "direction": "minimize"},
        "budget": {"trials": 10},
        "model": {"class_path": "Model"},
        "trainer": {"max_epochs": 4},
        "search_space": {"model.init_args.x": {"type": "float", "low": 0.0, "high": 1.0}},
        "sampler": "random",
        "pruner": "none",
    }
    return load_spec(raw | changes)


def study(of: SweepSpec | None = None, *, validations: int = 4, **options: Any) -> Study:
    """A study in memory."""
    of = of or spec()
    return Study(create_study(of, None, validations=validations), of, **options)


def optuna_study(of: Study) -> optuna.Study:
    """The Optuna study inside, to look at what was told."""
    return of._study


def assignment(number: int, x: float = 0.5) -> Assignment:
    """A trial of `spec()`."""
    return Assignment(number, {"model.init_args.x": x}, {})


def x_of(assignment: Assignment) -> float:
    """The one parameter of `spec()`."""
    x: float = assignment.params["model.init_args.x"]
    return x


def falling(assignment: Assignment) -> Iterator[Step]:
    """Four validations of a second each, falling to `x`."""
    for epoch in range(1, 5):
        yield 1.0, x_of(assignment) + 1 / epoch - 0.25


def diverging(assignment: Assignment) -> Iterator[Step]:
    """Two good validations, then NaN, then one that nobody should see."""
    yield from [(1.0, 0.5), (1.0, 0.4), (1.0, math.nan), (1.0, 0.1)]


def raising(assignment: Assignment) -> Iterator[Step]:
    """One validation, then an exception."""
    yield 1.0, 0.5
    raise ValueError("the data are gone")


def exiting(assignment: Assignment) -> Iterator[Step]:
    """A user's script that ends its process."""
    yield 1.0, 0.5
    raise SystemExit(3)


def dying(assignment: Assignment) -> Iterator[Step]:
    """A process that is gone without a word, at trial 0."""
    yield 1.0, 0.5
    if assignment.number == 0:
        os._exit(1)


def hanging(assignment: Assignment) -> Iterator[Step]:
    """Never ends, at trial 0."""
    yield 1.0, 0.5
    if assignment.number == 0:
        time.sleep(3600)


def late(assignment: Assignment) -> Iterator[Step]:
    """The first attempt says nothing for two seconds, and 99 then; a further one takes three seconds."""
    if assignment.attempt == 0:
        time.sleep(2)
        yield 1.0, 99.0
    for _ in range(3):
        time.sleep(1)
        yield 1.0, 0.5


def visible_devices(assignment: Assignment) -> Iterator[Step]:
    """Reports the number of the GPU that Ray gave to the worker."""
    yield 1.0, float(os.environ["CUDA_VISIBLE_DEVICES"])


class Scripted:
    """Runs a script as a worker runs a training: the trial function that the Ray executor gets in tests."""

    def __init__(self, script: Script, length: int | None = None) -> None:
        self.script, self.length = script, length

    def __call__(self) -> Any:
        """Makes the trial function, in the worker."""
        return self._run

    def _run(self, assignment: Assignment, reporter: Reporter) -> Outcome:
        values: list[float] = []
        for _, value in self.script(assignment):
            values.append(value)
            reporter.send(Report(assignment.number, len(values), value, last=len(values) == self.length))
            stop = reporter.stop_requested()
            if not math.isfinite(value):
                return Outcome(assignment.number, State.DIVERGED, min(v for v in values if v == v))
            if stop:
                return Outcome(assignment.number, State.PRUNED, min(values))
        return Outcome(assignment.number, State.COMPLETE, min(values, default=None))


class AsAssigned(Scripted):
    """Runs the script that the configuration of a trial holds."""

    def __init__(self) -> None:
        super().__init__(falling)

    def _run(self, assignment: Assignment, reporter: Reporter) -> Outcome:
        self.script = assignment.config["script"]
        return super()._run(assignment, reporter)


class Importing(Scripted):
    """Imports a module of the user's when it trains a trial, as workers do.

    Args:
        folder: Where the module is.
        name: Its name.
        first: The first trial that needs it.
    """

    def __init__(self, folder: Path, name: str, first: int = 0) -> None:
        super().__init__(falling)
        self.folder, self.name, self.first = folder, name, first

    def _run(self, assignment: Assignment, reporter: Reporter) -> Outcome:
        if self.name not in sys.modules and assignment.number >= self.first:
            sys.path.insert(0, str(self.folder))
            importlib.import_module(self.name)
        note_imports()
        return super()._run(assignment, reporter)


class Preempted(Scripted):
    """Some of the workers, by their numbers, die on their way.

    Args:
        folder: Where each leaves a file, whose number is its own.
        dying: Which of them.
    """

    def __init__(self, folder: Path, dying: Sequence[int]) -> None:
        super().__init__(falling)
        self.folder, self.dying = folder, dying

    def __call__(self) -> Any:
        """Makes the trial function, if it comes so far."""
        number = 0
        while (self.folder / str(number)).exists():
            number += 1
        (self.folder / str(number)).touch(exist_ok=False)
        if number in self.dying:
            os._exit(1)
        return super().__call__()


class Recorded:
    """An observer that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Assignment | Event] = []

    def record(self, event: Assignment | Event) -> None:
        """Keeps it."""
        self.events.append(event)


def apply(function: Callable[..., object], *arguments: object) -> object:
    """Calls a function, in a worker."""
    return function(*arguments)
