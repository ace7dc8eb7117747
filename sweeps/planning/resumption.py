"""With what a sweep goes on that an earlier driver left, and whether there is anything to do."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.control import find_driver
from sweeps.errors import NothingLeft, UserError
from sweeps.lr import finder
from sweeps.planning.places import Places, ensure_files, places_of_study
from sweeps.samplers.algorithms import make_sampler
from sweeps.study import hours as hours_of_a_sweep
from sweeps.study.outcomes import is_in_budget
from sweeps.study.persistence import loaded_spec
from sweeps.study.stopping import stop_reason
from sweeps.study.written import note_of_changes
from sweeps.sweep_file.cells import grid_arguments
from sweeps.sweep_file.sections import Budget
from sweeps.sweep_file.spec import SweepSpec

if TYPE_CHECKING:
    import optuna

MOST_DIGITS = 10
"""Of a number of trials."""


def continued(
    study: "optuna.Study", url: str, trials: str | None, hours: float | None, say: Callable[[str], None]
) -> tuple[SweepSpec, Places]:
    """With what a sweep goes on, and where it keeps what; for the arguments see `sweeps.sweep.resume_sweep`.

    Raises:
        NothingLeft: Its budget is used.
        UserError: It runs already, or it cannot go on here.
    """
    name = study.study_name
    if holder := find_driver(study, surely=True, say=say):
        raise UserError(f"{name} is being run by process {holder['pid']} on {holder['host']}; "
                        f"`sweeps update {shlex.quote(name)} trials=N` changes its budget")  # fmt: skip
    spec = finder.applied(going_on(study, trials, hours), study.user_attrs)
    where = places_of_study(study, spec, url)
    _ensure_there_is_work(study, spec, where, has_time=hours is not None)
    ensure_files(study, spec, where)
    return spec, where


def notes_of(study: "optuna.Study", spec: SweepSpec, where: Places) -> list[str]:
    """What a person should know before a sweep goes on: a line each.

    Args:
        study: Its study, as an earlier driver left it.
        spec: With what it goes on; see `continued`.
        where: Likewise.
    """
    notes, attributes = list[str](), study.user_attrs
    had = loaded_spec(study).budget.hours
    if had is not None and spec.budget.hours is None:
        notes.append(f"its budget of {had:.3g} hours is used, so only the number of trials ends it now")
    if str(where.files) != attributes["spool"]:
        notes.append(f"{attributes['spool']} is not there any more; its files are in {where.files}")
    if spec.start and not Path(spec.start).is_dir():
        gone = f"{spec.start}, where it was launched, is not there any more"
        notes.append(f"{gone}, so relative paths of its configuration start in {Path.cwd()}")
    if (written := attributes.get("written")) and (note := note_of_changes(spec.file, written)):
        notes.append(note)
    return notes


def going_on(study: "optuna.Study", trials: str | None, hours: float | None) -> SweepSpec:
    """The specification with which a sweep goes on; for the arguments see `sweeps.sweep.resume_sweep`.

    Raises:
        UserError: An argument is not one of these.
    """
    spec = loaded_spec(study)
    budget = {
        "trials": _trials(study, spec.budget, trials),
        "hours": _hours(study, spec.budget, trials, hours),
    }
    changes: dict[str, Any] = {"budget": spec.budget.model_copy(update=budget)}
    if trials is not None or hours is not None:
        changes["stop_when"] = None  # who asks for more by name gets it
    return spec.model_copy(update=changes)


def _ensure_there_is_work(study: "optuna.Study", spec: SweepSpec, where: Places, *, has_time: bool) -> None:
    """Refuses to start workers for nothing.

    Raises:
        NothingLeft: The budget is used or `stop_when` holds, no trial is half done, and all is recorded.
    """
    attributes, trials = study.user_attrs, study.get_trials(deepcopy=False)
    if where.journal.exists() or any(trial.state.name == "RUNNING" for trial in trials):
        return
    has_ended = attributes["sweep_state"] in ("finished", "failed")  # else its driver died, or was stopped
    is_idle = has_ended and all(trial.state.is_finished() for trial in trials)
    if has_ended and (reason := stop_reason(trials, spec)):  # what waits would not begin
        raise NothingLeft(
            f"{spec.name}: {reason}, so `stop_when` ended it; `--trials` asks for more all the same"
        )
    sampler = make_sampler(spec) if is_idle and grid_arguments(spec.sampler) is not None else None
    if sampler is not None and sampler.is_exhausted(study):  # type: ignore[attr-defined]
        raise NothingLeft(
            f"{spec.name}: each configuration of its grid was tried; there is nothing left to do"
        )
    if not has_time and hours_of_a_sweep.are_used(attributes, spec.budget):  # so what waits does not begin
        count = spec.budget.trials
        named = (
            "`--trials +N` for N trials"
            if count is None
            else f"`--trials {count}` for the rest of its trials"
        )
        more = f"`--hours N` asks for N more, {named}, however long they take"
        raise NothingLeft(f"{spec.name}: its budget of {spec.budget.hours:.3g} hours is used; {more}")
    budget = spec.budget.trials
    if is_idle and budget is not None and sum(map(is_in_budget, trials)) >= budget:
        used = f"{spec.name}: its budget of {budget} trials is used"
        raise NothingLeft(f"{used}; `--trials +{budget}` asks for more")


def _trials(study: "optuna.Study", budget: Budget, trials: str | None) -> int | None:
    count = budget.trials
    if trials is None:
        return count
    number = trials.removeprefix("+")
    if not (number.isdecimal() and len(number) < MOST_DIGITS and int(number)):
        raise UserError(f"--trials: takes a number such as 200, or +10 for ten more, but got {trials!r}")
    if count is None:  # what `hours` or a grid has come to
        count = sum(map(is_in_budget, study.get_trials(deepcopy=False)))
    return int(number) + (count if trials.startswith("+") else 0)


def _hours(study: "optuna.Study", budget: Budget, trials: str | None, hours: float | None) -> float | None:
    """Hours since the launch: those in which a driver ran before, and those from now on."""
    attributes = study.user_attrs
    if hours is None:
        has_more = trials is not None and hours_of_a_sweep.are_used(attributes, budget)
        return None if has_more else budget.hours  # who asks for more by name gets it
    if not 0 < hours < float("inf"):
        raise UserError(f"--hours: must be a number greater than 0, but got {hours:g}")
    return hours_of_a_sweep.ran_seconds(attributes) / 3600 + hours
