"""A sweep as a person asks for it: a new one, or one that goes on."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from sweeps.driver import SweepResult, drive
from sweeps.lr import finder
from sweeps.planning import batch_size
from sweeps.planning.choices import choice_notes_of
from sweeps.planning.places import noted, places
from sweeps.planning.plan import check_algorithms, inspect, schedule_of, validations_of
from sweeps.planning.resumption import continued, notes_of
from sweeps.preparing import RESUMED, preparing
from sweeps.provenance import MARK, differences, last_run_with, run_with
from sweeps.runner import Observer
from sweeps.start_up import Say, workers
from sweeps.storages.patience import patient
from sweeps.storages.storage import open_storage
from sweeps.storages.uris import study_url
from sweeps.study.outcomes import left
from sweeps.study.persistence import create_study, equip, load_study
from sweeps.sweep_file.spec import SweepSpec


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
    for note in where.notes:
        say(note)
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
        hours: Hours from now after which no trial begins. Without it those that the sweep has left hold; once
            they are used, who names a number of trials gets those without such a limit.
        address: Of the Ray cluster; see `sweeps.executors.cluster.cluster` for what holds without it.
        observers: See every event, in order.
        say: Gets what a person should know first or meanwhile, a line at a time.
        stay: See `run_sweep`.

    Raises:
        NothingLeft: Its budget is used.
        UserError: There is no such sweep, it runs already, or it cannot go on here.
        SweepFailed: The trials fail; what was done until then is kept.
        Interrupted: Ctrl-C or SIGTERM; what was done until then is kept.
    """
    url = study_url(storage)
    study = load_study(name, url)
    spec, where = continued(study, url, trials, hours, say)
    for note in notes_of(study, spec, where):
        say(note)
    few = left(study.get_trials(deepcopy=False), spec.budget.trials)
    with (
        preparing(name, url, RESUMED) as it_has_a_driver,
        workers(spec, where, address, say, few, stay) as (executor, _, inspection, asks_ahead),
        patient(say=say),
    ):
        now = run_with(spec.folders[0], inspection.sources)
        for note in differences(last_run_with(study.user_attrs[MARK]), now):
            say(note)
        equip(study, spec, validations_of(spec, inspection))
        return drive(study, spec, where, executor, observers, say=say, resumed_with=now,
                     asks_ahead=asks_ahead, claimed=it_has_a_driver)  # fmt: skip
