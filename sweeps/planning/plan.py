"""What a sweep is going to do, worked out before anything is created."""

import gc
import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.checks import is_number
from search_spaces.space import possible
from search_spaces.wording import did_you_mean
from sweeps.context import Inspection, TrialContext
from sweeps.errors import SpecError
from sweeps.executors.resources import ACCELERATOR, Need, Node, accelerators
from sweeps.lr.each import rate_search
from sweeps.remote import RemoteFolder, unwritable
from sweeps.samplers.algorithms import make_pruner
from sweeps.samplers.rehearsal import check_sampler
from sweeps.storages.patience import driver_seconds
from sweeps.storages.uris import masked
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.schedule import Schedule

PROBES = 20
"""So many configurations are tried before a sweep whose own code declares them all invalid is refused."""

DECIDING = ("max_epochs", "max_steps", "check_val_every_n_epoch", "val_check_interval")
"""The settings of the Trainer that decide whether a training validates."""


def context_of(spec: SweepSpec, files: Path, gpus: float, store: str = "") -> TrialContext:
    """What all trials of a sweep share."""
    return TrialContext(
        metric=spec.objectives[0].metric,
        minimize=spec.objectives[0].direction == "minimize",
        value=spec.objectives[0].value,
        other_metrics=tuple(objective.metric for objective in spec.objectives[1:]),
        files=files,
        folders=tuple(spec.folders),
        start=spec.folders[-1],
        store=store,
        patience=driver_seconds(),
        cpus=max(1, int(spec.resources.cpus)),
        gpus=gpus,
        cli=spec.cli_call,
        rate=rate_search(spec),
    )


def schedule_of(spec: SweepSpec, inspection: Inspection | None = None) -> Schedule:
    """When the longest training of the space validates and ends.

    Args:
        spec: The sweep.
        inspection: Of the same sweep: knows the Trainer's defaults of the user's own command line.

    Raises:
        SpecError: One of the numbers that decide it is none.
    """
    trainer = (inspection.trainer if inspection else {}) | spec.trainer
    for key in ("max_epochs", "max_steps", "accumulate_grad_batches", "check_val_every_n_epoch"):
        value = trainer.get(key)
        if value is not None and not (is_number(value) and float(value).is_integer()):
            raise spec.error(f"trainer.{key}", f"must be a whole number, but got {value!r}")
    for key in ("max_epochs", "max_steps"):
        if (highest := spec.space.max_of(f"trainer.{key}")) is not None:
            base = 0 if spec.space.always_replaces(f"trainer.{key}") else trainer.get(key) or 0
            trainer[key] = max(int(highest), int(base))
    return Schedule.of(trainer)


def validations_of(spec: SweepSpec, inspection: Inspection) -> int | None:
    """Validations of the longest training; None if it has no end, or that is not known."""
    return schedule_of(spec, inspection).validations(inspection.batches)


def check_algorithms(spec: SweepSpec, validations: int | None) -> None:
    """Makes sampler and pruner and asks once, so that a mistake in them shows before anything runs.

    Args:
        spec: The sweep.
        validations: Of a full training, which must be one at least: it gives a trial its value.

    Raises:
        SpecError: One of them cannot be made, the sampler does not take the space, or nothing is validated.
    """
    _check_validates(spec, validations)
    check_sampler(spec)
    make_pruner(spec, validations)


def _check_validates(spec: SweepSpec, validations: int | None) -> None:
    def varies(key: str) -> bool:
        return spec.space.max_of(f"trainer.{key}") is not None

    if spec.trainer.get("limit_val_batches") == 0 and not varies("limit_val_batches"):
        raise spec.error("trainer.limit_val_batches", "must not be 0: a validation gives a trial its value")
    if validations != 0 or any(map(varies, DECIDING[2:])):
        return
    places = [site.config_path for site in spec.space.sites]
    # The batches of an epoch are those at the centre of the space: with larger ones it may be another story.
    has_other_batches = spec.auto_batch_size or any(place.endswith("batch_size") for place in places)
    if not (has_other_batches and schedule_of(spec).needs_batches):
        named = [key for key in DECIDING if spec.trainer.get(key) is not None]
        said = ", ".join(f"{key}={spec.trainer[key]}" for key in named) or "its defaults"
        raise spec.error("trainer", f"a training is over before its first validation, with {said}")


def inspect(context: TrialContext, spec: SweepSpec, probe: bool) -> Inspection:
    """Runs `training.inspection.inspect`; the driver of a sweep has a worker do it, since it imports torch.

    Args:
        context: What the trials of the sweep share.
        spec: The sweep.
        probe: Train one batch, and write to the store if there is one; otherwise the data is set up only if
            its batches must be counted.
    """
    inspection = imported("sweeps.training.inspection")
    count = spec.cli is not None or schedule_of(spec).needs_batches
    points = spec.checked_constraints.points(PROBES)
    result: Inspection = inspection.inspect(
        context, spec.base, spec.space, points=points, probe=probe, count=count
    )
    if probe and context.store and not result.problem and (rule := unwritable(RemoteFolder(context.store))):
        hint = "a worker takes its keys from the environment of its own node"
        return replace(result, problem=("files", f"{masked(context.store)}: {rule}; {hint}"))
    return result


def imported(name: str) -> Any:
    """Imports a module that takes seconds, and looks for no garbage meanwhile, which took a tenth of them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        if was_on:
            gc.enable()


def raise_problem(inspection: Inspection, spec: SweepSpec) -> None:
    """Raises what an inspection found.

    Raises:
        SpecError: There is a problem.
    """
    if inspection.problem:
        raise spec.error(*inspection.problem)


def _is_for_cpus(spec: SweepSpec) -> bool:
    """Whether each trial trains on the CPU, whatever there is."""
    path = ("trainer", "accelerator")
    chosen = [value for site in spec.space.sites for value in possible(site, path)]
    return all(value == "cpu" for value in [spec.trainer.get("accelerator"), *chosen])


def slots_of(nodes: Sequence[Node], spec: SweepSpec, *, is_joined: bool = False) -> tuple[int, Need]:
    """How many trials run at once, and what each takes.

    Args:
        nodes: What each machine has.
        spec: The sweep; `resources.gpus: null` is one GPU where there are any and `trainer` wants one.
        is_joined: It is a cluster that others started, so that nodes may be added on demand.

    Raises:
        SpecError: Not even one trial fits.
    """
    resources = spec.resources
    most = min(filter(None, (spec.concurrency, spec.budget.trials)), default=None)
    if is_joined and resources.autoscaling:
        need = Need(resources.cpus, 1.0 if resources.gpus is None else resources.gpus, resources.accelerator)
        return most or max(2, sum(need.fits(node) for node in nodes)), need  # one now may be more later
    try:
        need = _need(nodes, spec)
    except SpecError as error:
        hint = "; where nodes are added on demand, say so with `autoscaling: true`" if is_joined else ""
        raise SpecError(error.file, error.key, error.rule + hint) from None
    count = sum(need.fits(node) for node in nodes)
    return min(count, most or count), need


def _need(nodes: Sequence[Node], spec: SweepSpec) -> Need:
    """What a trial takes on nodes that are there."""
    resources = spec.resources
    kinds, kind = accelerators(nodes), resources.accelerator
    if kind and kind not in kinds:
        near = did_you_mean(kind, kinds, cutoff=0.4) or ";"
        hint = f"{near} there are: {', '.join(kinds)}" if kinds else ", nor any other GPU"
        raise spec.error("resources.accelerator", f"there is no {kind!r} here{hint}")
    suited = [node for node in nodes if not kind or ACCELERATOR + kind in node]
    cpus, gpus = (max((node.get(name, 0.0) for node in suited), default=0.0) for name in ("CPU", "GPU"))
    of_gpus = resources.gpus
    if of_gpus is None:
        of_gpus = 0.0 if _is_for_cpus(spec) and not kind else min(1.0, gpus)
    need = Need(resources.cpus, of_gpus, kind)
    place = "here" if len(nodes) == 1 else "on the largest node"
    for name, wanted, have in (("gpus", need.gpus, gpus), ("cpus", need.cpus, cpus)):
        if wanted > have:
            raise spec.error(f"resources.{name}", f"a trial needs {wanted:g}, but there are {have:g} {place}")
    if not any(need.fits(node) for node in nodes):
        raise spec.error("resources", f"a trial needs {need}, but no node has that at once")
    return need
