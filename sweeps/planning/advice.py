"""Notes on pairs that do not fit, for `sweeps check` and `sweeps launch`: they block nothing.

What a sampler learns from and what it searches jointly is Optuna's documentation of each class.
"""

from collections.abc import Iterator, Mapping

from search_spaces import CategoricalParameter, Choice
from search_spaces.paths import get
from sweeps.planning.plan import DECIDING
from sweeps.samplers.algorithms import DEFAULTS, classes_of
from sweeps.sweep_file.cells import grid_arguments, trials_of_grid
from sweeps.sweep_file.sections import written_out
from sweeps.sweep_file.spec import SweepSpec

GENETIC = ("NSGAIISampler", "NSGAIIISampler")
LEARNS_FROM_COMPLETE = ("GPSampler", "CmaEsSampler", *GENETIC)
POPULATION = 50  # of Optuna's genetic algorithms, unless given


def advice(spec: SweepSpec, validations: int | None) -> list[str]:
    """What of the sampler, the pruner, the space and the budget does not fit together, a line each.

    Args:
        spec: The sweep.
        validations: Validations of a full training; None if that is not known.
    """
    sampler, pruner = classes_of(spec)
    found = [*_on_sampler(spec, sampler), *_on_space(spec, sampler), *_on_budget(spec, sampler)]
    return [*found, *_on_pruner(spec, sampler, pruner, validations)]


def _on_sampler(spec: SweepSpec, sampler: str) -> Iterator[str]:
    if grid_arguments(spec.sampler) is not None and spec.budget.trials is not None:
        needed = trials_of_grid(spec)
        if spec.budget.trials < needed:
            yield f"the grid has {needed} configurations, but the budget has {spec.budget.trials} trials"
    if sampler == "QMCSampler" and spec.constraints:
        yield "qmc is a sequence of fixed points: those that a constraint excludes leave holes in it"


def _on_space(spec: SweepSpec, sampler: str) -> Iterator[str]:
    sites = spec.space.sites
    conditional = [site.name for site in sites if site.conditions]
    named = [site.name for site in sites if isinstance(site.content, CategoricalParameter | Choice)]
    if sampler in ("CmaEsSampler", "QMCSampler") and named:
        yield f"{_short(sampler)} draws parameters without an order at random: {_some(named)}"
    if sampler in ("QMCSampler", *LEARNS_FROM_COMPLETE) and conditional:
        yield f"{_short(sampler)} draws parameters that not every trial has at random: {_some(conditional)}"
    for site in sites:
        content, there = site.content, get(spec.base, site.config_path)
        lost = list(there.get("init_args") or ()) if isinstance(there, Mapping) else []
        names = content.choices if isinstance(content, CategoricalParameter) else ()
        if lost and any(isinstance(name, str) for name in names):  # LightningCLI keeps what fits
            yield (f"a name of {site.name} replaces what the base has there, {_some(lost)} included; named "
                   "choices, {a: {class_path: ..., init_args: ...}}, say what they have")  # fmt: skip


def _on_budget(spec: SweepSpec, sampler: str) -> Iterator[str]:
    trials = spec.budget.trials
    if trials is None:
        return
    if sampler == "QMCSampler" and trials & (trials - 1):
        lower = 1 << (trials.bit_length() - 1)
        yield f"qmc covers the space evenly after {lower} or {2 * lower} trials, powers of two, not {trials}"
    if sampler in GENETIC:
        population = written_out(spec.sampler).init_args.get("population_size", POPULATION)
        if isinstance(population, int) and trials < 2 * population:
            yield (f"{_short(sampler)} draws its first {population} trials at random, of {trials}: "
                   "a smaller `population_size` learns earlier")  # fmt: skip


def _on_pruner(spec: SweepSpec, sampler: str, pruner: str, validations: int | None) -> Iterator[str]:
    if pruner == "NopPruner":
        return
    takes_pruned = written_out(spec.sampler).init_args.get("consider_pruned_trials")
    if sampler in LEARNS_FROM_COMPLETE and not takes_pruned:
        yield f"{_short(sampler)} learns nothing from pruned trials: say `pruner: none`, or take tpe"
    if validations == 1:
        yield "each training validates once, at its end, where nothing is pruned any more"
    for key in DECIDING:
        if spec.space.max_of(f"trainer.{key}") is not None:
            yield (f"pruners compare trials at the same validation, but trainer.{key} varies: longer "
                   "trainings may be pruned for being slow there; say `pruner: none`, or fix it")  # fmt: skip
    if pruner == "WilcoxonPruner":
        yield ("wilcoxon compares a trial with the best one validation by validation: it fits where each is "
               "another task, such as a fold; learning curves fit median")  # fmt: skip
    if "n_startup_trials" in (defaults := DEFAULTS.get(pruner, {})):
        startup = (defaults | written_out(spec.pruner).init_args)["n_startup_trials"]
        if spec.budget.trials is not None and isinstance(startup, int) and spec.budget.trials <= startup:
            trials = f"{startup} trials are complete, of {spec.budget.trials}"
            yield f"{_short(pruner)} prunes nothing before {trials}"


def _short(class_name: str) -> str:
    shorter = {"CmaEsSampler": "cmaes", "NSGAIISampler": "nsga"}
    return shorter.get(class_name, class_name.removesuffix("Sampler").removesuffix("Pruner").lower())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
