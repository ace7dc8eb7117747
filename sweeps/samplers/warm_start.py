"""`warm_start`: trials of earlier sweeps of the same database teach the sampler, and are none of its own.

They are read when the sampler is made, at launch and at resume alike; nothing is copied, so no reader can
mistake them for the sweep's own.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from search_spaces.wording import did_you_mean
from sweeps.storages.storage import open_storage, study_names
from sweeps.sweep_file.sections import written_out
from sweeps.sweep_file.spec import SweepSpec

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

LEARNING = ("auto", "sweeps.samplers.auto.AutoSampler")
"""The names of the sampler that learns from other sweeps."""

MOST_TRIALS = 100
"""So many are taken: the best, and others evenly from all ranks, since what is bad is worth knowing, too."""


def check_warm_start(spec: SweepSpec, url: str) -> None:
    """Checks that the sweeps that are named can teach this one.

    Raises:
        SpecError: There is no such sweep, it had another objective, or the sampler learns from none.
    """
    if not spec.warm_start:
        return
    if written_out(spec.sampler).class_path not in LEARNING:
        raise spec.error(
            "warm_start", "only the sampler `auto` learns from earlier sweeps; leave `sampler` out"
        )
    if len(spec.objectives) > 1:
        raise spec.error("warm_start", "a sweep of several objectives does not learn from earlier ones")
    there = study_names(url)
    for index, name in enumerate(spec.warm_start):
        key = f"warm_start.{index}"
        if name not in there:
            near, holds = did_you_mean(name, there), ", ".join(there) or "none"
            raise spec.error(key, f"no sweep {name!r} in this database{near}; it holds: {holds}")
        study = _load(name, open_storage(url))
        theirs = _objectives(study)
        ours = [(objective.metric, objective.direction) for objective in spec.objectives]
        if theirs != ours:
            had, has = (", ".join(f"{way} {metric}" for metric, way in each) for each in (theirs, ours))
            raise spec.error(key, f"{name!r} had another objective: {had}, not {has}")


def history(spec: SweepSpec, storage: "BaseStorage | None") -> list[tuple[dict[str, Any], float]]:
    """Parameters and values of complete trials of earlier sweeps that this one's space could have given.

    A sweep that was there at launch and is not any more is left out.
    """
    if storage is None or not spec.warm_start:
        return []
    from sweeps.samplers.columns import Columns  # which loads Optuna

    columns = Columns.of(spec.space)
    there = {study.study_name for study in storage.get_all_studies()}
    found = [
        known
        for name in dict.fromkeys(spec.warm_start)
        if name in there and name != spec.name
        for known in _complete(_load(name, storage))
        if columns.fits(known[0])
    ]
    found.sort(key=lambda known: known[1], reverse=spec.objectives[0].direction == "maximize")
    if len(found) <= MOST_TRIALS:
        return found
    step = (len(found) - 1) / (MOST_TRIALS - 1)
    return [found[round(index * step)] for index in range(MOST_TRIALS)]


def _load(name: str, storage: "BaseStorage") -> "optuna.Study":
    import optuna

    return optuna.load_study(study_name=name, storage=storage)


def _objectives(study: "optuna.Study") -> list[tuple[str, str]]:
    names = study.metric_names or []
    directions = [direction.name.lower() for direction in study.directions]
    return list(zip(names, directions, strict=False))


def _complete(study: "optuna.Study") -> Iterator[tuple[dict[str, Any], float]]:
    import optuna

    states = (optuna.trial.TrialState.COMPLETE,)
    for trial in study.get_trials(deepcopy=False, states=states):
        if trial.value is not None:
            yield trial.params, trial.value
