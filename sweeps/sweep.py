"""A sweep as a person asks for it: a new one, or one that goes on."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from sweeps.control import find_driver
from sweeps.driver import SweepResult, drive
from sweeps.errors import UserError
from sweeps.lr import finder
from sweeps.planning import batch_size
from sweeps.planning.choices import choice_notes_of
from sweeps.planning.places import Places, noted, places, places_of_study
from sweeps.planning.plan import check_algorithms, inspect, schedule_of, validations_of
from sweeps.preparing import RESUMED, preparing
from sweeps.provenance import differences, last_run_with, run_with
from sweeps.runner import Observer
from sweeps.samplers.algorithms import make_sampler
from sweeps.start_up import Say, workers
from sweeps.storages.patience import patient
from sweeps.storages.storage import open_storage
from sweeps.storages.uris import study_url
from sweeps.study.outcomes import is_in_budget, left
from sweeps.study.persistence import create_study, equip, load_study, loaded_spec
from sweeps.study.stopping import stop_reason
from sweeps.sweep_file.cells import grid_arguments
from sweeps.sweep_file.sections import Budget
from sweeps.sweep_file.spec import SweepSpec

if TYPE_CHECKING:
    import optuna


MOST_DIGITS = 10
"""Of a number of trials."""


def to_stderr(line: str) -> None:
    """Writes a note to stderr."""
    with suppress(OSError):  # nobody reads it, or it finds no room: no reason to end a sweep
        sys.stderr.write(f"sweeps: {line}\n")


def run_sweep(
    spec: SweepSpec,
    *,
    storage: str | None = None,
    address: str | None = None,
    observers: Sequence[Observer] = (),
    say: Say = to_stderr,
    stay: ExitStack | None = None,
) -> SweepResult:
    """Runs a new sweep to its end, on the connected Ray cluster or else on a local one.

    Args:
        spec: The sweep.
        storage: URL of the study database; see `sweeps.storages.uris.study_url` for what holds without it.
        address: Of the Ray cluster; see `sweeps.executors.cluster.cluster` for what holds without it.
        observers: See every event, in order.
        say: Gets what a person should know meanwhile, a line at a time.
        stay: Gets what has to be closed once the result was shown: the cluster, which other sweeps may use.

    Raises:
        UserError: Something in the sweep is not right; nothing was created.
        SweepFailed: The trials fail, or the study database cannot be written; what was done is kept.
        Interrupted: Ctrl-C or SIGTERM; what was done until then is kept.
    """
    where = places(spec, storage)
    schedule = schedule_of(spec)
    if not schedule.needs_batches:
        check_algorithms(spec, schedule.validations())
    with (
        preparing(spec.name, where.storage) as it_has_a_driver,
        workers(spec, where, address, say, stay=stay) as (executor, context, inspection, asks_ahead),
        patient(say=say),
    ):
        for note in choice_notes_of(executor, context, spec, inspection):
            say(note)
        spec, found = batch_size.settled(executor, context, spec)
        if found:
            say(str(found))
            inspection = executor.call(inspect, context, spec, False)
        notes = {
            **noted(where, spec),
            **batch_size.noted(found),
            **finder.prepare(executor, context, spec),
        }
        narrow = finder.applied(spec, notes)
        study = create_study(
            spec, open_storage(where.storage), validations=validations_of(spec, inspection), notes=notes,
            sources=inspection.sources, starts=finder.suggested(notes, spec), searched=narrow,
        )  # fmt: skip
        for line in finder.lines(notes):
            say(f"learning rate {line}")
        spec = narrow
        return drive(study, spec, where, executor, observers, say=say, asks_ahead=asks_ahead,
                     claimed=it_has_a_driver)  # fmt: skip


def resume_sweep(
    name: str,
    *,
    storage: str | None = None,
    trials: str | None = None,
    hours: float | None = None,
    address: str | None = None,
    observers: Sequence[Observer] = (),
    say: Say = to_stderr,
    stay: ExitStack | None = None,
) -> SweepResult:
    """Goes on with a sweep from its study alone, whatever ended it.

    Args:
        name: The sweep's name.
        storage: URL of the study database.
        trials: Another number of finished trials, or `+N` for N more.
        hours: Hours from now after which no trial is asked. Without it there is no such limit, unless there
            is no number of trials either: then the sweep gets those of its file once more.
        address: Of the Ray cluster; see `sweeps.executors.cluster.cluster` for what holds without it.
        observers: See every event, in order.
        say: Gets what a person should know first or meanwhile, a line at a time.
        stay: See `run_sweep`.

    Raises:
        UserError: There is no such sweep, it runs already, its budget is used, or it cannot go on here.
        SweepFailed: The trials fail; what was done until then is kept.
        Interrupted: Ctrl-C or SIGTERM; what was done until then is kept.
    """
    url = study_url(storage)
    study = load_study(name, url)
    spec, where = continued(study, url, trials, hours, say)
    few = left(study.get_trials(deepcopy=False), spec.budget.trials)
    with (
        preparing(name, url, RESUMED) as it_has_a_driver,
        workers(spec, where, address, say, few, stay) as (executor, _, inspection, asks_ahead),
        patient(say=say),
    ):
        now = run_with(spec.folders[0], inspection.sources)
        for note in differences(last_run_with(study.user_attrs["lightning_sweeps"]), now):
            say(note)
        equip(study, spec, validations_of(spec, inspection))
        return drive(study, spec, where, executor, observers, say=say, resumed_with=now,
                     asks_ahead=asks_ahead, claimed=it_has_a_driver)  # fmt: skip


def continued(
    study: "optuna.Study", url: str, trials: str | None, hours: float | None, say: Say
) -> tuple[SweepSpec, Places]:
    """With what a sweep goes on, and where it keeps what; for the arguments see `resume_sweep`.

    Raises:
        UserError: It runs already, its budget is used, or it cannot go on here.
    """
    name = study.study_name
    if holder := find_driver(study, surely=True, say=say):
        raise UserError(f"{name} is being run by process {holder['pid']} on {holder['host']}; "
                        f"`sweeps update {shlex.quote(name)} trials=N` changes its budget")  # fmt: skip
    spec = finder.applied(going_on(study, trials, hours), study.user_attrs)
    where = places_of_study(study, spec, url)
    _ensure_there_is_work(study, spec, where, has_time=hours is not None)
    return spec, where


def going_on(study: "optuna.Study", trials: str | None, hours: float | None) -> SweepSpec:
    """The specification with which a sweep goes on; for the arguments see `resume_sweep`.

    Raises:
        UserError: An argument is not one of these.
    """
    spec = loaded_spec(study)
    changes: dict[str, Any] = {"budget": _new_budget(study, spec.budget, trials, hours)}
    if trials is not None or hours is not None:
        changes["stop_when"] = None  # who asks for more by name gets it
    return spec.model_copy(update=changes)


def _ensure_there_is_work(study: "optuna.Study", spec: SweepSpec, where: Places, *, has_time: bool) -> None:
    """Refuses to start workers for nothing.

    Raises:
        UserError: The budget is used or `stop_when` holds, no trial is half done, and everything is recorded.
    """
    if study.user_attrs["sweep_state"] not in ("finished", "failed"):
        return  # its driver died, or was stopped
    trials = study.get_trials(deepcopy=False)
    is_any_left = not all(trial.state.is_finished() for trial in trials)
    finished = sum(is_in_budget(trial) for trial in trials)
    budget = spec.budget.trials
    if is_any_left or (where.files / "journal").exists():
        return
    if reason := stop_reason(trials, spec):
        raise UserError(
            f"{spec.name}: {reason}, so `stop_when` ended it; `--trials` asks for more all the same"
        )
    sampler = make_sampler(spec) if grid_arguments(spec.sampler) is not None else None
    if sampler is not None and sampler.is_exhausted(study):  # type: ignore[attr-defined]
        raise UserError(f"{spec.name}: each configuration of its grid was tried; there is nothing left to do")
    if budget is None and not has_time and study.user_attrs["sweep_state"] == "finished":
        used = f"{spec.budget.hours:g}"
        raise UserError(f"{spec.name}: its budget of {used} hours is used; `--hours {used}` asks for more")
    if budget is None or finished < budget:
        return
    raise UserError(f"{spec.name}: its budget of {budget} trials is used; `--trials +{budget}` asks for more")


def _new_budget(study: "optuna.Study", budget: Budget, trials: str | None, hours: float | None) -> Budget:
    count = budget.trials
    if trials is not None:
        number = trials.removeprefix("+")
        if not (number.isdecimal() and len(number) < MOST_DIGITS and int(number)):
            raise UserError(f"--trials: takes a number such as 200, or +10 for ten more, but got {trials!r}")
        if count is None:  # what `hours` or a grid has come to
            count = sum(map(is_in_budget, study.get_trials(deepcopy=False)))
        count = int(number) + (count if trials.startswith("+") else 0)
    if hours is not None and not 0 < hours < float("inf"):
        raise UserError(f"--hours: must be a number greater than 0, but got {hours:g}")
    if hours is None and count is None:  # it must have an end
        hours = budget.hours
    return budget.model_copy(update={"trials": count, "hours": hours})
