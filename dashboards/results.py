"""Reads sweeps from the studies that `sweeps launch` persisted.

Only Optuna's public interface is used: about 0.2 ms a trial.
"""

import difflib
import gc
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dashboards.driving import MARK, looked_at, sweep_state
from dashboards.errors import ResultsError
from dashboards.parameters import parameters
from dashboards.pareto import pareto_set
from dashboards.provenance import drivers, moment, trained_by
from dashboards.records import Counts, Driver, Sweep, SweepSummary, Trial, ranked
from dashboards.storages import Store, reading

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

# The newest layout of the attributes that this reader knows.
FORMAT = 1
_NAMES_SHOWN = 10


def list_sweeps(storage: str | os.PathLike[str]) -> list[SweepSummary]:
    """Return the sweeps of a database, oldest first; studies of other programs are left out.

    Args:
        storage: A path to an SQLite file or an SQLAlchemy URL.

    Raises:
        ResultsError: See `dashboards.storages.reading`.
    """
    import optuna

    with reading(storage) as store:
        names = [found.study_name for found in store.storage.get_all_studies() if MARK in found.user_attrs]
        studies = [optuna.load_study(study_name=name, storage=store.storage) for name in names]
        found = zip(studies, looked_at(studies), strict=True)
        return [_sweep(study, attrs).summary for study, attrs in found]


def load(storage: str | os.PathLike[str], name: str | None = None) -> Sweep:
    """Return one sweep with all its trials.

    `load("sweeps.db", "digits")` names the database; `load("digits")` reads `$SWEEPS_STORAGE` or `sweeps.db`.

    Args:
        storage: A path to an SQLite file or an SQLAlchemy URL; the sweep's name if that is all.
        name: The sweep's name.

    Raises:
        ResultsError: The database has no such sweep, the study of that name is another program's, a newer
            version of this project wrote it, or the database cannot be read (`dashboards.storages.reading`).
    """
    if name is None:
        storage, name = os.environ.get("SWEEPS_STORAGE") or "sweeps.db", os.fspath(storage)
    import optuna

    with reading(storage) as store:
        try:
            study = optuna.load_study(study_name=name, storage=store.storage)
        except KeyError:
            raise ResultsError(_unknown(store, name)) from None
        _check_ours(store, name, study.user_attrs)
        [attrs] = looked_at([study])
        return _sweep(study, attrs)


def _unknown(store: Store, name: str) -> str:
    names = [study.study_name for study in store.storage.get_all_studies() if MARK in study.user_attrs]
    if not names:
        return f"{store.label}: no sweep {name!r}; it holds none yet, `sweeps launch FILE` makes one"
    nearest = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
    listed = ", ".join(names[-_NAMES_SHOWN:])
    more = f" and {len(names) - _NAMES_SHOWN} older ones" if len(names) > _NAMES_SHOWN else ""
    return f"{store.label}: no sweep {name!r}; {hint}it holds: {listed}{more}"


def _check_ours(store: Store, name: str, attrs: dict[str, Any]) -> None:
    if MARK not in attrs:
        raise ResultsError(
            f"{store.label}: the study {name!r} was not made by `sweeps launch`; see it with `optuna trials`"
        )
    written = attrs[MARK].get("format", FORMAT)
    if written > FORMAT:
        raise ResultsError(
            f"{store.label}: {name!r} has format {written}, this version reads up to {FORMAT};"
            " update lightning-sweeps"
        )


def _sweep(study: "Study", attrs: dict[str, Any]) -> Sweep:
    directions = [direction.name.lower() for direction in study.directions]
    with _no_garbage_collection():
        frozen_trials = [trial for trial in study.get_trials(deepcopy=False) if not _is_excluded(trial)]
        mark = attrs[MARK]
        known = drivers(mark)
        trials = _as_begun(tuple(_trial(frozen, known) for frozen in frozen_trials), attrs)
    return Sweep(
        summary=_summary(study.study_name, attrs, directions, trials),
        spec=attrs.get("spec", {}),
        trials=trials,
        files=attrs.get("files"),
        mlflow=attrs.get("mlflow") or {},
        versions=mark.get("versions") or {},
        git_commit=mark.get("git_commit"),
        stop_reason=attrs.get("stop_reason") or "",
        lr_finder=attrs.get("lr_finder") or {},
        drivers=known,
        space=parameters(frozen.distributions for frozen in frozen_trials),
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Switch the collector off while thousands of records are made that all stay: it took half the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _is_excluded(frozen: "FrozenTrial") -> bool:
    """Whether this is a configuration that broke a constraint and was never trained."""
    return (frozen.user_attrs.get("outcome") or {}).get("state") == "excluded"


def _trial(frozen: "FrozenTrial", known: Sequence[Driver]) -> Trial:
    outcome = frozen.user_attrs.get("outcome") or {}
    return Trial(
        number=frozen.number,
        state=_trial_state(frozen.state.name, outcome),
        value=frozen.values[0] if frozen.values else None,
        params=frozen.params,
        config=frozen.user_attrs.get("config") or {},
        reason=outcome.get("reason") or "",
        metrics=outcome.get("metrics") or {},
        timing=outcome.get("timing") or {},
        intermediate=_validations(frozen),
        worker=outcome.get("worker") or "",
        device=outcome.get("device") or "",
        effective=outcome.get("effective") or {},
        rate=outcome.get("rate") or {},
        started=_aware(frozen.datetime_start),
        ended=_aware(frozen.datetime_complete),
        values=tuple(frozen.values) if len(frozen.values or ()) > 1 else (),
        drivers=trained_by(frozen, known),
        code=(frozen.user_attrs.get("code") or {}) | (outcome.get("code") or {}),
    )


def _as_begun(trials: tuple[Trial, ...], attrs: dict[str, Any]) -> tuple[Trial, ...]:
    """Return the trials with those waiting that a driver has only drawn: Optuna says that they run.

    It notes every few seconds how many train; the others are the latest ones without a validation.
    """
    running = [trial for trial in trials if trial.state == "running"]
    ahead = len(running) - attrs.get("driver", {}).get("training", len(running))
    if ahead <= 0 or sweep_state(attrs) not in ("running", "paused"):
        return trials
    drawn = [trial.number for trial in running if not trial.intermediate][-ahead:]
    return tuple(
        replace(trial, state="waiting", drivers=()) if trial.number in drawn else trial for trial in trials
    )


def _validations(frozen: "FrozenTrial") -> dict[int, float]:
    """Return the (first) objective at each validation; Optuna itself keeps none of several objectives."""
    several = frozen.user_attrs.get("validations") or {}
    return dict(sorted({**frozen.intermediate_values, **{int(s): v for s, v in several.items()}}.items()))


def _trial_state(optuna_state: str, outcome: dict[str, Any]) -> str:
    """Return the state people are shown; one that diverged or was invalid is PRUNED for Optuna."""
    if optuna_state == "PRUNED" and (state := outcome.get("state")) in ("diverged", "invalid"):
        return str(state)
    return "failed" if optuna_state == "FAIL" else optuna_state.lower()


def _aware(time: datetime | None) -> datetime | None:
    """Give one of Optuna's times its zone: it writes `datetime.now()`, local time without a zone."""
    return time.astimezone() if time is not None else None


def _summary(
    name: str, attrs: dict[str, Any], directions: Sequence[str], trials: tuple[Trial, ...]
) -> SweepSummary:
    spec = attrs.get("spec") or {}
    state = sweep_state(attrs)
    metrics = _metrics(spec)
    best = next(iter(ranked(trials, directions[0])), None)
    front = pareto_set(trials, directions) if len(directions) > 1 else ()
    if front:
        best = front[0]
    started = moment(attrs[MARK].get("created"))
    updated = max((t for trial in trials for t in (trial.started, trial.ended) if t), default=started)
    end = datetime.now(UTC) if state in ("running", "paused") else updated
    return SweepSummary(
        name=name,
        state=state,
        metric=metrics[0],
        direction=directions[0],
        counts=Counts(**Counter(trial.state for trial in trials)),
        trials_asked=(spec.get("budget") or {}).get("trials"),
        best_value=best.value if best else None,
        best_number=best.number if best else None,
        started=started,
        updated=updated,
        duration_seconds=max((end - started).total_seconds(), 0.0) if started and end else None,
        objectives=tuple(zip(metrics, directions, strict=True)) if len(directions) > 1 else (),
        front=tuple(trial.number for trial in front),
        hours_left=_hours_left(spec, attrs),
    )


def _hours_left(spec: dict[str, Any], attrs: dict[str, Any]) -> float | None:
    """Return what the drivers of the sweep, which note with each beat how long they ran, have not used."""
    hours = (spec.get("budget") or {}).get("hours")
    ran = (attrs.get("driver") or {}).get("ran_seconds", 0.0)
    return None if hours is None else max(0.0, hours - ran / 3600)


def _metrics(spec: dict[str, Any]) -> list[str]:
    objective = spec.get("objective") or {}
    objectives = objective if isinstance(objective, list) else [objective]
    return [one.get("metric", "") for one in objectives]
