"""Samplers and pruners: the short names of the sweep file, made into Optuna's objects, and the rung table.

A name stands for an Optuna class with the settings that fit a sweep; `{class_path, init_args}` takes any
class and any of its constructor's arguments, checked before anything runs.
"""

import importlib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from search_spaces.checks import is_whole
from search_spaces.wording import did_you_mean, near_algorithm
from sweeps.errors import SpecError
from sweeps.sweep_file.cells import grid_arguments
from sweeps.sweep_file.sections import Component
from sweeps.sweep_file.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SAMPLERS = {
    "auto": "sweeps.samplers.auto.AutoSampler",
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "random": "RandomSampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
    "brute_force": "GridSampler",
    "nsga": "NSGAIISampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
}
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "forecast": "sweeps.samplers.forecast.ForecastPruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "threshold": "ThresholdPruner",
    "patient": "PatientPruner",
    "wilcoxon": "WilcoxonPruner",
}
ONE_OBJECTIVE = ("CmaEsSampler",)
MANY_OBJECTIVES = ("tpe", "nsga", "nsgaiii", "gp", "random", "qmc", "grid", "brute_force")
HALVING = ("HyperbandPruner", "SuccessiveHalvingPruner")
DEFAULTS: dict[str, dict[str, Any]] = {
    "ForecastPruner": {"n_startup_trials": 3, "n_warmup_steps": 1},
    # Asks at every validation from the second on, once five trials have been trained to their end;
    # to Optuna, the first step that counts is `n_warmup_steps` itself.
    "MedianPruner": {"n_startup_trials": 5, "n_warmup_steps": 2},
    "PercentilePruner": {"percentile": 25.0, "n_startup_trials": 5, "n_warmup_steps": 2},
    "SuccessiveHalvingPruner": {"min_resource": 1, "reduction_factor": 3},
    "HyperbandPruner": {"min_resource": 1, "reduction_factor": 3},
    "PatientPruner": {"wrapped_pruner": None, "patience": 3},
}


def make_sampler(
    spec: SweepSpec, *, trials: int = 0, history: Sequence[tuple[Mapping[str, Any], float]] = ()
) -> "BaseSampler":
    """Makes the sampler of a sweep.

    It is seeded with `seed_everything` unless it has a seed of its own, so that with one worker a sweep
    is reproducible. A sampler that goes on after `trials` trials gets another seed: its own random numbers
    are not kept, and the first ones would give the first trials again. TPE searches the parameters of each
    branch of a choice jointly (`group=True`).

    Args:
        spec: The sweep.
        trials: How many trials it has.
        history: Parameters and values of earlier sweeps' trials, for a sampler that learns from them.

    Raises:
        SpecError: An unknown name, class or argument, or a value that the class refuses.
    """
    if (given := grid_arguments(spec.sampler)) is not None:
        return importlib.import_module("sweeps.samplers.grid").grid_sampler(spec, given)  # type: ignore[no-any-return]
    cls, given = _resolve(spec, "sampler", "sampler", spec.sampler)
    accepted = inspect.signature(cls).parameters
    defaults: dict[str, Any] = {"seed": int(spec.seed_everything), "warn_independent_sampling": False}
    if cls.__name__ == "TPESampler" and any(row.condition for row in spec.space.rows()):
        defaults["group"] = True
    if "columns" in accepted:
        from sweeps.samplers.columns import Columns

        defaults |= {"columns": Columns.of(spec.space), "history": history}
    settings = {name: value for name, value in defaults.items() if name in accepted} | given
    if trials and isinstance(settings.get("seed"), int) and cls.__name__ != "QMCSampler":
        settings["seed"] += trials  # a quasi-random sequence goes on by itself, and only with its seed
    if len(spec.objectives) > 1 and cls.__name__ in ONE_OBJECTIVE:
        raise spec.error("sampler", f"{cls.__name__} has one objective only, but there are "
                         f"{len(spec.objectives)}: {' and '.join(MANY_OBJECTIVES)} take several")  # fmt: skip
    sampler: BaseSampler = _build(spec, "sampler", cls, settings)
    return sampler


def classes_of(spec: SweepSpec) -> tuple[str, str]:
    """The names of the classes of a sweep's sampler and pruner.

    Raises:
        SpecError: There are none of these names.
    """
    if grid_arguments(spec.sampler) is None:
        sampler, _ = _resolve(spec, "sampler", "sampler", spec.sampler)
        name = sampler.__name__
    else:
        name = "GridSampler"
    pruner, _ = _pruner(spec, "pruner", spec.pruner)
    return name, pruner.__name__


def make_pruner(spec: SweepSpec, validations: int | None) -> "BasePruner":
    """Makes the pruner of a sweep; Hyperband's upper bound is the number of validations of a full training.

    Args:
        spec: The sweep.
        validations: Validations of a full training; None if it has no end.

    Raises:
        SpecError: As for `make_sampler`; also a pruner for a training that has no end.
    """
    cls, settings = _pruner(spec, "pruner", spec.pruner)
    if validations is None and cls.__name__ != "NopPruner":
        raise spec.error("pruner", "a pruner needs a training that ends: give trainer.max_epochs or "
                         "trainer.max_steps, or say `pruner: none`")  # fmt: skip
    pruner: BasePruner = _build_pruner(spec, "pruner", cls, settings, validations or 1)
    return pruner


def _pruner(spec: SweepSpec, key: str, given: str | Component) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The class of a pruner, and its arguments: those that the file gives over ours."""
    cls, own = _resolve(spec, "pruner", key, given)
    return cls, DEFAULTS.get(cls.__name__, {}) | own


def _build_pruner(
    spec: SweepSpec, key: str, cls: Callable[..., Any], settings: dict[str, Any], validations: int
) -> Any:
    if cls.__name__ == "HyperbandPruner":
        settings = {"max_resource": max(1, validations)} | settings
    if cls.__name__ in HALVING:
        may_be_auto = "max_resource" if cls.__name__ == "HyperbandPruner" else "min_resource"
        _check_rungs(spec, key, settings, may_be_auto)
    if isinstance(inner := settings.get("wrapped_pruner"), str | dict):
        inner_key = f"{key}.init_args.wrapped_pruner"
        wrapped = _pruner(spec, inner_key, _component(spec, inner_key, inner))
        settings["wrapped_pruner"] = _build_pruner(spec, inner_key, *wrapped, validations)
    return _build(spec, key, cls, settings)


def _component(spec: SweepSpec, key: str, inner: str | dict[str, Any]) -> str | Component:
    if isinstance(inner, str):
        return inner
    if "class_path" not in inner or not inner.keys() <= {"class_path", "init_args"}:
        raise spec.error(key, f"must be a name or {{class_path, init_args}}, but got {inner!r}")
    return Component(**inner)


def _check_rungs(spec: SweepSpec, key: str, settings: Mapping[str, Any], may_be_auto: str) -> None:
    """Checks what Optuna finds out only when it first prunes, in the middle of a sweep."""
    for name, least in (("min_resource", 1), ("reduction_factor", 2), ("max_resource", 1)):
        value = settings.get(name, least)
        if value == "auto" and name == may_be_auto:
            continue
        if not is_whole(value) or value < least:
            raise spec.error(
                f"{key}.init_args.{name}", f"must be a whole number from {least} on, but got {value!r}"
            )


@dataclass(frozen=True)
class Bracket:
    """One row of the rung table.

    Attributes:
        share: The share of the trials that go by this row, 0 to 1.
        rungs: The validations, counted from 1, at which a trial may be pruned.
        keep: The share of trials that each rung lets pass, 0 to 1.
    """

    share: float
    rungs: tuple[int, ...]
    keep: float


def rung_table(spec: SweepSpec, validations: int) -> list[Bracket]:
    """The rungs of Hyperband or successive halving; an empty list for every other pruner.

    Source: `optuna.pruners.HyperbandPruner` after Li et al. 2018 (jmlr.org/papers/v18/16-558.html):
    `floor(log_eta(max / min)) + 1` brackets, bracket b with rungs at `min * eta ** (b + i)` and trials in
    proportion to `ceil(n * eta ** s / (s + 1))`, `s = n - 1 - b`.

    Args:
        spec: The sweep.
        validations: Validations of a full training.
    """
    cls, settings = _pruner(spec, "pruner", spec.pruner)
    if cls.__name__ not in HALVING:
        return []
    low, eta = settings["min_resource"], settings["reduction_factor"]
    high = settings.get("max_resource", validations)
    if "auto" in (low, high):
        return []  # Optuna estimates it from the first complete trials
    first = settings.get("min_early_stopping_rate", 0)
    if cls.__name__ == "SuccessiveHalvingPruner":
        return [Bracket(1.0, _rungs(low, eta, first, validations), 1 / eta)]
    if high < low:
        return [Bracket(1.0, (), 1 / eta)]  # Optuna makes no bracket and prunes nothing
    count = math.floor(math.log(high / low, eta)) + 1
    weights = [math.ceil(count * eta ** (count - 1 - b) / (count - b)) for b in range(count)]
    return [
        Bracket(weight / sum(weights), _rungs(low, eta, b, validations), 1 / eta)
        for b, weight in enumerate(weights)
    ]


def pruning_text(spec: SweepSpec) -> str:
    """One line that says when a pruner without rungs asks."""
    cls, settings = _pruner(spec, "pruner", spec.pruner)
    if cls.__name__ == "NopPruner":
        return "no trial is pruned"
    if "n_startup_trials" in settings:
        return (
            f"asked after every validation from {max(1, settings['n_warmup_steps'])} on but the last, "
            f"once {settings['n_startup_trials']} trials are complete"
        )
    return "asked after every validation but the last"


def _rungs(low: int, eta: int, first: int, validations: int) -> tuple[int, ...]:
    """Rungs before the last validation, where the pruner is not asked."""
    rungs: list[int] = []
    while (rung := low * eta ** (first + len(rungs))) < validations:
        rungs.append(rung)
    return tuple(rungs)


def _resolve(
    spec: SweepSpec, kind: str, key: str, given: str | Component
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The class of a `sampler` or `pruner` and the arguments that the file gives for it, at a key."""
    names = SAMPLERS if kind == "sampler" else PRUNERS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna_module = importlib.import_module(f"optuna.{kind}s")
    if isinstance(given, str):
        if given not in names:
            hint = near_algorithm(given, names)
            raise spec.error(key, f"unknown {kind} {given!r}{hint}; known are {', '.join(names)}, "
                             "or {class_path, init_args}")  # fmt: skip
        return _class_at(names[given], optuna_module), {}
    base = getattr(optuna_module, f"Base{kind.title()}")
    try:
        cls = _class_at(names.get(given.class_path, given.class_path), optuna_module)
    except (ImportError, AttributeError) as error:
        raise spec.error(f"{key}.class_path", f"{given.class_path!r} cannot be imported: {error}") from None
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise spec.error(
            f"{key}.class_path", f"{given.class_path!r} is not a class of Optuna's {base.__name__}"
        )
    return cls, dict(given.init_args)


def _class_at(path: str, home: ModuleType) -> Any:
    """The class at a dotted path, or of this name at home.

    Raises:
        ImportError, AttributeError: There is none.
    """
    module_name, _, class_name = path.rpartition(".")
    return getattr(importlib.import_module(module_name) if module_name else home, class_name)


def _build(spec: SweepSpec, key: str, cls: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    accepted = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    for name in arguments:
        if name not in accepted and not takes_any:
            near = did_you_mean(name, accepted)
            raise spec.error(f"{key}.init_args.{name}", f"{cls.__name__} does not accept it{near}; "
                             f"it accepts {', '.join(accepted)}")  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # most of Optuna's constructors warn that they are experimental
            return cls(**arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise SpecError(spec.file, key, f"{cls.__name__}: {' '.join(str(error).split())}") from None
