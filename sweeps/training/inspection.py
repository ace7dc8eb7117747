"""What only the user's classes can tell before a sweep: is every path and value accepted, does a batch train?

It runs in a worker, so that the driver never imports torch, or in `sweeps check`'s own process. It leaves
nothing behind.
"""

import argparse
import functools
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.utilities import CombinedLoader

from search_spaces import SearchSpace, SpaceError
from search_spaces.wording import did_you_mean
from sweeps.context import CliCall, Inspection, TrialContext
from sweeps.provenance import imported_sources, note_imports
from sweeps.sweep_file.devices import of_several_devices
from sweeps.training.apart import apart_in_scratch
from sweeps.training.command_line import CliProblem, Extras, TrialCLI
from sweeps.training.invalid import declared
from sweeps.training.isolation import blindness
from sweeps.training.lightning import build, parse, prepare
from sweeps.training.outline import Outline
from sweeps.training.points import MetricNotLoggedError, Points
from sweeps.training.probe import PROBE_LIMITS, OneBatch
from sweeps.training.user_code import (
    ImportProblem,
    import_object,
    not_accepted,
    of_other_kind,
    of_other_package,
    readable,
    where,
)


def inspect(
    context: TrialContext,
    base: Mapping[str, Any],
    space: SearchSpace,
    *,
    points: Sequence[Mapping[str, Any]] = (),
    probe: bool = False,
    count: bool = False,
) -> Inspection:
    """Checks that the classes accept every path and value of a sweep.

    Args:
        context: What the trials of the sweep share.
        base: The LightningCLI configuration.
        space: The search space over it.
        points: The parameters to try, unless those at the centre of the space: the first of which the
            user's code does not say that they are an invalid configuration.
        probe: Also train and validate one batch with these.
        count: Without a probe, set up the data all the same to count its batches.
    """
    with apart_in_scratch(context, base, space) as folder:
        try:
            outline = _outline(context.cli)
            _check_links(outline, space)
            points = points or [space.centre()]
            for name, params in [("", points[0]), *space.variations()]:
                naming = _Naming(space, params, base)
                _check(context.cli, outline, space.configure(base, params), naming, name)
            configs = [space.configure(base, params) for params in points]
            parsed = parse(configs[0], context.cli)
            resolved = _resolved(parsed)
            probed, index = _Probed(), None
            if probe or count:
                index, probed = _probe_first_valid(context, configs, folder, train=probe)
            if index:  # the first was invalid
                parsed = parse(configs[index], context.cli)
                resolved = _resolved(parsed)
        except CliProblem as found:
            return Inspection(problem=(found.key, found.rule))
        except SpaceError as error:  # a place that the base does not have
            return Inspection(problem=(f"search_space.{error.key}", error.rule))
    note_imports()
    plain = {
        key: value for key, value in parsed.trainer_settings.items() if isinstance(value, int | float | str)
    }
    return Inspection(
        None, resolved, probed.batches, probed.logged, plain, imported_sources(),
        None if index is None else dict(points[index]), probed.build_seconds,
        (*outline.overruled(base, resolved), *(blindness() if context.gpus else ())),
    )  # fmt: skip


class _ProblemFound(CliProblem):
    """The way out of the walk, shown to nobody."""


@dataclass(frozen=True)
class _Naming:
    """From a path in a configuration to the key of the sweep file that a person would look at."""

    space: SearchSpace
    params: Mapping[str, Any]
    base: Mapping[str, Any]

    def __call__(self, path: str) -> str:
        for name in sorted(self.params, key=len, reverse=True):
            at = self.space.config_path(name)
            if path == at:
                return f"search_space.{name}"
            if path.startswith(f"{at}."):
                return f"search_space.{name}.{self.params[name]}{path.removeprefix(at)}"
            if at.startswith(f"{path}.") and path not in self.base:
                return f"search_space.{name}"
        return path


def _outline(call: CliCall) -> Outline:
    """The keys of the user's command line."""
    try:
        return Outline.of(prepare(call))
    except CliProblem:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's class does
        name = call.class_path or "LightningCLI"
        hint = "" if "model" in call.keywords else (
            f". If your script calls it with classes, write them, too: "
            f"`cli: {{class_path: {name}, model: my.Net, data: my.Data}}`"
        )  # fmt: skip
        raise _ProblemFound("cli", f"{name} cannot be made: {where(error)}{hint}") from None


def _check_links(outline: Outline, space: SearchSpace) -> None:
    """Refuses to vary what a link sets: LightningCLI would overwrite the value without a word."""
    for site in space.sites:
        if rule := outline.linked(site.config_path):
            raise _ProblemFound(f"search_space.{site.name}", rule)


def _check(call: CliCall, outline: Outline, config: Mapping[str, Any], naming: _Naming, varied: str) -> None:
    """Checks one configuration: first what we can say well, then what only the parser knows."""
    if found := outline.problem(config):
        raise _ProblemFound(naming(found[0]), found[1])
    for path, node in _class_nodes(config, ""):
        for key in node.keys() - {"class_path", "init_args", "dict_kwargs"}:
            better = f"a class takes class_path and init_args: write {path}.init_args.{key}"
            raise _ProblemFound(naming(f"{path}.{key}"), better)
        try:
            cls = import_object(node["class_path"])
        except ImportProblem as problem:
            raise _ProblemFound(naming(f"{path}.class_path"), str(problem)) from None
        if rule := of_other_kind(node["class_path"], cls) or of_other_package(cls):
            raise _ProblemFound(naming(f"{path}.class_path"), rule)
        accepted = _accepted(cls)
        for key in node.get("init_args") or {}:
            if key not in accepted:
                rule = not_accepted(cls.__name__, key, accepted)
                raise _ProblemFound(naming(f"{path}.init_args.{key}"), rule)
    try:
        parsed = parse(config, call)
    except (argparse.ArgumentError, TypeError, ValueError, KeyError) as error:
        key, rule = readable(str(error))
        raise _ProblemFound(f"search_space.{varied}" if varied else naming(key), rule) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's class does
        raise _ProblemFound(f"search_space.{varied}" if varied else "cli", where(error)) from None
    if rule := of_several_devices(parsed.trainer_settings):  # also by the defaults of the user's own class
        said = f"{rule}; `trainer` in the sweep file wins over the defaults of your command line"
        raise _ProblemFound(f"search_space.{varied}" if varied else "trainer", rule if varied else said)


def _resolved(parsed: TrialCLI) -> str:
    try:
        return parsed.resolved()
    except Exception as error:  # noqa: BLE001 - each library that writes YAML has errors of its own
        inner: BaseException = error
        while inner.__cause__ or inner.__context__:
            inner = inner.__cause__ or inner.__context__ or inner
        said = "the configuration cannot be written to a file, which LightningCLI does to each"
        raise _ProblemFound("", f"{said}: {where(inner)}") from None


def _class_nodes(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every `{class_path, init_args}` below a node that names its class in full, with its path."""
    if isinstance(node, Mapping):
        if "." in str(node.get("class_path", "")):
            yield path, node
        items: Any = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        yield from _class_nodes(value, f"{path}.{key}" if path else str(key))


@functools.lru_cache(maxsize=64)  # each variation of a sweep names much the same classes
def _accepted(cls: Any) -> list[str]:
    """The arguments that the class's constructor accepts, those passed on to its bases included."""
    parser = ArgumentParser(exit_on_error=False)
    try:
        names: list[str] = parser.add_class_arguments(cls, as_group=False, fail_untyped=False)
    except ValueError:  # a function that returns an instance
        names = parser.add_function_arguments(cls, as_group=False, fail_untyped=False)
    return names


@dataclass(frozen=True)
class _Probed:
    """What the module logged, the batches of a full epoch, and how long the building took."""

    logged: tuple[str, ...] = ()
    batches: int | None = None
    build_seconds: float = 0.0


def _probe_first_valid(
    context: TrialContext, configs: Sequence[dict[str, Any]], folder: str, *, train: bool
) -> tuple[int, _Probed]:
    """Probes the first configuration that the user's code does not declare invalid; gives its index, too."""
    for index, config in enumerate(configs):
        try:
            return index, _probe(context, config, folder, train=train)
        except _InvalidError as invalid:
            reason = str(invalid)
        gc.collect()  # its model and the frames of the exception hold each other
    rule = (
        f"{len(configs)} configurations, the centre first, were all declared invalid, the last one: {reason}"
    )
    raise _ProblemFound("search_space", rule)


class _InvalidError(Exception):
    """The user's code declared a configuration invalid."""


def _probe(context: TrialContext, config: Mapping[str, Any], folder: str, *, train: bool) -> _Probed:
    """Trains and validates one batch, or none."""
    points = Points(folder)
    try:
        started = time.perf_counter()
        cli = build(config, Extras(folder, OneBatch(context, points), points, PROBE_LIMITS), context.cli)
        build_seconds = time.perf_counter() - started
        try:
            if train:
                cli.trainer.fit(cli.model, datamodule=cli.datamodule)
                loader = cli.trainer.fit_loop._combined_loader
            else:
                loader = _train_dataloader(cli)
            logged = tuple(sorted(cli.trainer.callback_metrics))
            batches = _batches(loader, config.get("trainer", {}).get("limit_train_batches"))
            return _Probed(logged, batches, build_seconds)
        finally:
            cli.release()
    except MetricNotLoggedError as error:
        near = did_you_mean(error.metric, error.logged)
        raise _ProblemFound("objective.metric", f"{error}{near}") from None
    except CliProblem:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's code does, SystemExit included
        if found := declared(error):
            raise _InvalidError(where(found[1])) from None
        raise _ProblemFound(
            "", f"one batch of the base configuration does not train: {where(error)}"
        ) from None


def _train_dataloader(cli: TrialCLI) -> Any:
    """The training data, set up as `fit` would."""
    data = cli.datamodule
    if data is None:
        return cli.model.train_dataloader()
    data.prepare_data()
    data.setup("fit")
    return data.train_dataloader()


def _batches(loader: Any, limit: float | None) -> int | None:
    combined = loader if isinstance(loader, CombinedLoader) else CombinedLoader(loader, "max_size_cycle")
    lengths = [length for each in combined.flattened if (length := sized_len(each)) is not None]
    if len(lengths) < len(combined.flattened):  # a dataset without a length
        return limit if isinstance(limit, int) else None
    count = min(lengths) if combined._mode == "min_size" else max(lengths)
    if limit is None:
        return count
    return min(limit, count) if isinstance(limit, int) else int(count * limit)
