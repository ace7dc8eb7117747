"""A sweep from the first worker to the last record: the loop, and what stands around it."""

import functools
import importlib
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sweeps.errors import SweepFailed
from sweeps.executors import Executor, TrialFunction
from sweeps.files import TrialFiles
from sweeps.plan import (
    Places,
    check_algorithms,
    context_of,
    inspect,
    places,
    raise_problem,
    schedule_of,
    slots_of,
)
from sweeps.recorder import Recorder, SweepInfo
from sweeps.records import Assignment, Outcome, Report, State, TrialContext
from sweeps.spec import SweepSpec
from sweeps.storage import masked, open_storage
from sweeps.study import Study, create_study, stored_spec

if TYPE_CHECKING:
    from sweeps.executors.ray import RayExecutor


class Observer(Protocol):
    """Sees every event of a sweep, in order; it must neither block nor raise."""

    def record(self, event: Assignment | Report | Outcome) -> None:
        """Takes an event."""


def run(study: Study, executor: Executor, observers: Sequence[Observer] = ()) -> None:
    """The loop: asks, submits, answers and tells until the budget is used.

    Raises:
        SweepFailed: The study gave up.
    """
    while True:
        while executor.has_room and (assignment := study.ask()) is not None:
            executor.submit(assignment)
            _show(observers, assignment)
        if executor.idle:
            return
        event = executor.next_event()
        match event:
            case Report():
                executor.reply(event.number, stop=study.should_stop(event))
            case Outcome():
                study.tell(event)
        _show(observers, event)


def _show(observers: Sequence[Observer], event: Assignment | Report | Outcome) -> None:
    for observer in observers:
        observer.record(event)


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        name: The sweep's name, which is also the study's.
        best: The outcome of the best complete trial, None if none is complete.
        counts: How many trials ended in which state.
        files: The sweep's folder; the best trial's checkpoint is `trial-N/best.ckpt` there.
        problems: What could not be recorded in MLflow, one line each.
    """

    name: str
    best: Outcome | None
    counts: Counter[State]
    files: Path
    problems: list[str]


class Interrupted(KeyboardInterrupt):
    """The sweep was asked to end by a signal.

    Attributes:
        signal: Its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def run_sweep(
    spec: SweepSpec, *, storage: str | None = None, observers: Sequence[Observer] = ()
) -> SweepResult:
    """Runs a new sweep to its end, on the connected Ray cluster or else on a local one.

    Args:
        spec: The sweep.
        storage: URL of the study database; see `sweeps.storage.study_url` for what holds without it.
        observers: See every event, in order.

    Raises:
        UserError: Something in the sweep is not right; nothing was created.
        SweepFailed: The trials fail; what was done until then is kept.
        Interrupted: Ctrl-C or SIGTERM; what was done until then is kept.
    """
    from sweeps.executors.ray import RayExecutor, cluster, cluster_resources

    where = places(spec, storage)
    schedule = schedule_of(spec)
    if not schedule.needs_batches:
        check_algorithms(spec, schedule.validations())
    with ExitStack() as stack:
        stack.enter_context(_signals_raise())
        stack.enter_context(cluster())
        count, gpus = slots_of(cluster_resources(), spec.resources, at_most=spec.budget.trials)
        context = context_of(spec, where.files, gpus)
        make = functools.partial(make_trial_function, context)
        executor = RayExecutor(make, slots=count, cpus=spec.resources.cpus, gpus=gpus)
        stack.callback(executor.close)
        validations = _inspect(spec, executor, context)
        return _run_recorded(spec, where, executor, validations, observers)


def make_trial_function(context: TrialContext) -> TrialFunction:
    """What a worker calls first; torch and Lightning are imported there, never in the driver."""
    import os

    if context.gpus == 0:
        # Ray leaves all GPUs visible to an actor that asked for none; torch reads this when imported.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    made: TrialFunction = importlib.import_module("sweeps.trial").make_trial_function(context)
    return made


def _inspect(spec: SweepSpec, executor: "RayExecutor", context: TrialContext) -> int | None:
    """Has a worker check the classes and train one batch; gives the validations of a full training."""
    # MLflow takes seconds to import; the driver has nothing else to do now.
    threading.Thread(target=importlib.import_module, args=("mlflow",), daemon=True).start()
    inspection = executor.call(inspect, context, spec, True)
    raise_problem(inspection, spec)
    validations = schedule_of(spec).validations(inspection.batches)
    check_algorithms(spec, validations)
    return validations


def _run_recorded(
    spec: SweepSpec,
    where: Places,
    executor: Executor,
    validations: int | None,
    observers: Sequence[Observer],
) -> SweepResult:
    notes = {
        "files": str(where.files),
        "mlflow": {"tracking_uri": masked(spec.tracking_uri or where.tracking_uri), "experiment": spec.name},
    }
    optuna_study = create_study(spec, open_storage(where.storage), validations=validations, notes=notes)
    study = Study(optuna_study, spec)
    files = TrialFiles(
        where.files, minimize=spec.objective.direction == "minimize", keep=spec.keep_checkpoints
    )
    recorder = Recorder(_sweep_info(spec, where, optuna_study.user_attrs))
    problems: list[str] = []
    state: Literal["finished", "failed", "interrupted"] = "failed"
    try:
        run(study, executor, [files, recorder, *observers])
        if study.best is None and study.counts[State.FAILED] == study.finished:
            raise SweepFailed(f"all {study.finished} trials failed; the last one: {study.last_failure}")
        state = "finished"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        executor.close()
        for outcome in study.abandon("the sweep ended before this trial did"):
            _show([files, recorder, *observers], outcome)
        study.end(state)
        best = study.best.number if study.best else None
        problems += recorder.close(status=state, best=best)
    return SweepResult(spec.name, study.best, study.counts, where.files, problems)


def _sweep_info(spec: SweepSpec, where: Places, attributes: dict[str, Any]) -> SweepInfo:
    import yaml

    about = attributes["lightning_sweeps"]
    tags = {f"version.{name}": text for name, text in about["versions"].items()}
    if about["git_commit"]:
        tags["git_commit"] = about["git_commit"]
    return SweepInfo(
        name=spec.name,
        metric=spec.objective.metric,
        direction=spec.objective.direction,
        tracking_uri=where.tracking_uri,
        artifact_location=str(where.artifacts),
        spec_text=yaml.safe_dump(stored_spec(spec), sort_keys=False, allow_unicode=True),
        tags=tags,
        params={"sampler": str(spec.sampler), "pruner": str(spec.pruner)},
        files=where.files,
    )


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turns SIGINT and SIGTERM into `Interrupted` while the block runs; only the main thread may do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: object) -> None:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
