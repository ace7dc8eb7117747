"""The study on disk: created, found again, and what is written beside the trials.

The attributes written here and in `study.study` are all that the readers (`dashboards`) know of a sweep.
"""

import contextlib
import functools
import itertools
import shlex
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search_spaces.wording import did_you_mean
from sweeps.errors import UserError, one_line
from sweeps.preparing import check_it_is_not
from sweeps.provenance import MARK, PACKAGES, last_run_with, only_changes, run_with, sources_of
from sweeps.samplers.algorithms import make_pruner, make_sampler
from sweeps.samplers.warm_start import history
from sweeps.storages.storage import open_reading, open_storage, study_names
from sweeps.storages.uris import masked
from sweeps.study.written import as_written
from sweeps.sweep_file.loading import first_problem
from sweeps.sweep_file.spec import SweepSpec

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

FORMAT = 1
"""Version of the attributes that this module writes."""

CREATION_SECONDS = 10.0
"""How long another launch may take to make its study, before it counts as dead."""


def create_study(
    spec: SweepSpec,
    storage: "BaseStorage | None",
    *,
    validations: int | None,
    notes: dict[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
    starts: Sequence[dict[str, Any]] = (),
    searched: SweepSpec | None = None,
) -> "optuna.Study":
    """Creates the Optuna study of a new sweep.

    Args:
        spec: The sweep; its name becomes the study's.
        storage: Where it is kept; None for memory, in a simulation.
        validations: Validations of a full training, for the pruner's bounds.
        notes: Further study attributes for the readers: `mlflow`, `files`.
        sources: The user's modules; see `sweeps.provenance.user_sources`.
        starts: Parameters to try first, after those of the sweep file.
        searched: The sweep with the ranges that the sampler gets, where these are narrower.

    Raises:
        UserError: The name is taken in this storage.
        SpecError: The sampler or pruner cannot be made.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    searched = searched or spec
    sampler = make_sampler(searched, history=history(searched, storage))
    pruner = make_pruner(spec, validations)
    create = functools.partial(
        optuna.create_study, storage=storage, study_name=spec.name, sampler=sampler, pruner=pruner,
        directions=[objective.direction for objective in spec.objectives],
    )  # fmt: skip
    try:
        study = create()
    except optuna.exceptions.DuplicatedStudyError:
        if storage is None or not _remove_half_made(spec.name, storage):
            raise UserError(name_taken(spec.name)) from None
        study = create()
    study.set_metric_names([objective.metric for objective in spec.objectives])
    attributes = {
        "spec": stored_spec(spec),
        "file": str(Path(spec.file).absolute()) if spec.file else "",
        "start": str(Path.cwd()),
        "written": as_written(spec.file) if spec.file else None,
        **(notes or {}),
        "sweep_state": "running",
    }
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    for params in [*spec.start_with_params, *starts]:
        study.enqueue_trial(params)
    study.set_user_attr(MARK, {"format": FORMAT, **run_with(spec.folders[0], sources)})
    return study


def _is_half_made(study: "optuna.Study") -> bool:
    """Whether it holds no trial and nothing but what a launch writes before its mark."""
    known = {
        "spec",
        "file",
        "start",
        "places",
        "written",
        "files",
        "spool",
        "mlflow",
        "lr_finder",
        "batch_size",
        "sweep_state",
    }
    trials, attributes = study.get_trials(deepcopy=False), study.user_attrs
    begun = any(trial.state.name != "WAITING" for trial in trials)
    is_others = trials and not attributes  # who launches a sweep enqueues its first trials last
    return attributes.keys() <= known and not begun and not is_others


def _remove_half_made(name: str, storage: "BaseStorage") -> bool:
    """Removes what is left of a launch that died while it made its study; False if it did not."""
    import optuna

    study = optuna.load_study(study_name=name, storage=storage)
    deadline = time.monotonic() + CREATION_SECONDS
    while _is_half_made(study):
        if time.monotonic() > deadline:
            with contextlib.suppress(KeyError):  # a third launch was quicker
                storage.delete_study(study._study_id)  # by its id: the name may be a new study's by now
            return True
        time.sleep(0.2)
    return False


def load_study(name: str, url: str, *, reads_only: bool = False) -> "optuna.Study":
    """Finds the study of a sweep.

    Args:
        name: The sweep's name.
        url: The storage's URL.
        reads_only: Nothing is to be written, so that a reader may do it.

    Raises:
        UserError: There is none of that name, or it was not made by this version of the project.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if name not in (names := study_names(url)):
        check_it_is_not(name, url)
        near, holds = did_you_mean(name, names), f"it holds: {', '.join(names)}"
        if not names:
            holds = "it holds none yet, `sweeps launch FILE` makes one"
        raise UserError(f"{masked(url)}: no sweep {name!r}{near}; {holds}")
    storage = open_reading(url) if reads_only else open_storage(url)
    study = optuna.load_study(study_name=name, storage=storage)
    ours = study.user_attrs.get(MARK)
    if ours is None and _is_half_made(study):
        check_it_is_not(name, url)
        raise UserError(f"{masked(url)}: no sweep {name!r}: its launch was cut short, so launch it again")
    if ours is None:
        raise UserError(f"{masked(url)}: the study {name!r} was not made by `sweeps launch`")
    if (found := ours.get("format") if isinstance(ours, dict) else ours) != FORMAT:
        raise UserError(
            f"{name} was written by another version of lightning-sweeps (format {found!r}, "
            f"this one has {FORMAT}); go on with that version"
        )
    return study


def loaded_spec(study: "optuna.Study") -> SweepSpec:
    """The specification that a study was made with.

    Raises:
        UserError: It is not one of this version's.
    """
    attributes = study.user_attrs
    internal = {key: attributes[key] for key in ("file", "start", "places") if key in attributes}
    try:
        return SweepSpec.model_validate(attributes.get("spec", {}) | internal)
    except ValidationError as error:
        raise UserError(one_line(f"{study.study_name}: {_unreadable(error, attributes)}")) from None


def _unreadable(error: ValidationError, attributes: Mapping[str, Any]) -> str:
    """What of a stored specification is against the rules of this version, and which one wrote it."""
    key, rule, value = first_problem(error)
    if rule.startswith("unknown key"):
        rule = f"is no key of this version, but got {value!r}"
    got = "" if "but got" in rule or isinstance(value, dict | SweepSpec) else f", but got {value!r}"
    wrote = last_run_with(attributes.get(MARK, {})).get("versions", {}).get(PACKAGES[0], "of another version")
    versions = f"{PACKAGES[0]} {wrote} wrote it, this is {version(PACKAGES[0])}"
    return f"the stored specification cannot be read: {key}: {rule}{got}; {versions}"


def equip(study: "optuna.Study", spec: SweepSpec, validations: int | None) -> None:
    """Gives a study that was found again its sampler and pruner."""
    warnings.filterwarnings("ignore", message=".*experimental.*")
    trials = len(study.get_trials(deepcopy=False))
    study.sampler = make_sampler(spec, trials=trials, history=history(spec, study._storage))
    study.pruner = make_pruner(spec, validations)


def note_resumption(study: "optuna.Study", now: dict[str, Any]) -> None:
    """Notes with what the sweep goes on; see `sweeps.provenance.run_with`. Of the sources what is new."""
    mark = study.user_attrs[MARK]
    kept = only_changes(sources_of(mark), now)
    study.set_user_attr(MARK, mark | {"resumed": [*mark.get("resumed", []), kept]})


def driver_of(attributes: Mapping[str, Any]) -> int:
    """Which driver runs a study with these attributes: 0 is the launch's, each resumption's the next."""
    return len(attributes.get(MARK, {}).get("resumed", ()))


def ensure_name_is_free(name: str, url: str) -> None:
    """Checks that no earlier sweep of that name is in the storage.

    Raises:
        UserError: There is one.
    """
    import optuna

    if name in study_names(url):
        study = optuna.load_study(study_name=name, storage=open_reading(url))
        if not _is_half_made(study):
            raise UserError(name_taken(name, masked(url).removeprefix("sqlite:///")))


def free_name(name: str, url: str) -> str:
    """The name, or the name with the first number from 2 on, that no sweep in the storage has."""
    taken = study_names(url)
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if n not in taken)


def name_taken(name: str, database: str = "the study database") -> str:
    """The message for a name that an earlier sweep has, with the ways to go on."""
    typed, other = shlex.quote(name), shlex.quote(f"{name}-2")
    return (
        f"a sweep named {name!r} is already in {database}: `sweeps status {typed}` shows it, "
        f"`sweeps resume {typed}` goes on with it, `sweeps launch ... --name {other}` starts another"
    )


def stored_spec(spec: SweepSpec) -> dict[str, Any]:
    """The sweep as it is kept: every key, defaults included, passwords in URLs masked."""
    stored = {key: value for key, value in spec.model_dump(mode="json").items() if value is not None}
    for key in ("storage", "tracking_uri", "files"):
        if key in stored:
            stored[key] = masked(stored[key])
    return stored


def store_changes(study: "optuna.Study", spec: SweepSpec, keys: Iterable[str]) -> None:
    """Writes some keys of a sweep into what the study keeps of it; the rest stays as the user wrote it.

    The sweep that runs may have narrower ranges than that: those of the learning-rate finder.
    """
    kept, now = study.user_attrs["spec"], stored_spec(spec)
    same = {key: value for key, value in kept.items() if key not in keys}
    study.set_user_attr("spec", same | {key: now[key] for key in keys if key in now})
