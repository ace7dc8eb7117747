"""What only the user's classes can tell before a sweep: is every path and value accepted, does a batch train?

It runs in a worker, so that the driver never imports torch, or in `sweeps check`'s own process. It leaves
nothing behind.
"""

import argparse
import difflib
import importlib
import re
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from search_spaces import SearchSpace
from sweeps.isolation import isolated, output_to
from sweeps.lightning import ParsedConfig, TrialCLI
from sweeps.records import Inspection, Report, TrialContext
from sweeps.trial import MetricNotLoggedError, Points, Progress, find_modules

PROBE_LIMITS: dict[str, Any] = {
    "max_epochs": 1, "min_epochs": None, "max_steps": -1, "min_steps": None, "max_time": None,
    "limit_train_batches": 1, "limit_val_batches": 1, "overfit_batches": 0.0,
    "val_check_interval": 1.0, "check_val_every_n_epoch": 1, "num_sanity_val_steps": 0,
}  # fmt: skip


def inspect(
    context: TrialContext,
    base: Mapping[str, Any],
    space: SearchSpace,
    *,
    probe: bool = False,
    count: bool = False,
) -> Inspection:
    """Checks that the classes accept every path and value of a sweep.

    Args:
        context: What the trials of the sweep share.
        base: The LightningCLI configuration.
        space: The search space over it.
        probe: Also train and validate one batch at the centre of the space.
        count: Without a probe, set up the data all the same to count its batches.
    """
    centre = space.configure(base, space.centre())
    with isolated(), tempfile.TemporaryDirectory() as folder, output_to(Path(folder) / "log.txt"):
        find_modules(context.folders)
        try:
            for name, params in [("", space.centre()), *space.variations()]:
                _check(space.configure(base, params), _Naming(space, params), name)
            resolved = ParsedConfig(centre).resolved()
            logged, batches = _probe(context, centre, folder, train=probe) if probe or count else ((), None)
        except _ProblemFound as found:
            return Inspection(problem=(found.key, found.rule))
    return Inspection(resolved=resolved, batches=batches, logged=logged)


class _ProblemFound(Exception):  # the way out of the walk, shown to nobody
    def __init__(self, key: str, rule: str) -> None:
        super().__init__(key, rule)
        self.key, self.rule = key, rule


@dataclass(frozen=True)
class _Naming:
    """From a path in a configuration to the key of the sweep file that a person would look at."""

    space: SearchSpace
    params: Mapping[str, Any]

    def __call__(self, path: str) -> str:
        for name in sorted(self.params, key=len, reverse=True):
            at = self.space.config_path(name)
            if path == at:
                return f"search_space.{name}"
            if path.startswith(f"{at}."):
                return f"search_space.{name}.{self.params[name]}{path.removeprefix(at)}"
        return path


def _check(config: Mapping[str, Any], naming: _Naming, varied: str) -> None:
    """Checks one configuration: first what we can say well, then what only the parser knows."""
    accepted = _accepted(Trainer)
    for key in config.get("trainer", {}):
        if key not in accepted:
            raise _ProblemFound(naming(f"trainer.{key}"), _not_accepted("Trainer", key, accepted))
    for path, node in _class_nodes(config, ""):
        cls = _import(naming(f"{path}.class_path"), node["class_path"])
        accepted = _accepted(cls)
        for key in node.get("init_args") or {}:
            if key not in accepted:
                rule = _not_accepted(cls.__name__, key, accepted)
                raise _ProblemFound(naming(f"{path}.init_args.{key}"), rule)
    try:
        ParsedConfig(config)
    except (argparse.ArgumentError, TypeError, ValueError, KeyError) as error:
        key, rule = _readable(str(error))
        raise _ProblemFound(f"search_space.{varied}" if varied else naming(key), rule) from None


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


def _import(key: str, class_path: Any) -> Any:
    module_name, _, name = str(class_path).rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that is there but imports one that is not, is another mistake than a wrong name.
        missing = f"no module {error.name!r}"
        if not module_name.startswith(str(error.name)):
            missing = f"{module_name} imports {error.name!r}, which is not installed"
        raise _ProblemFound(key, f"{class_path!r} cannot be imported: {missing}") from None
    except BaseException as error:  # noqa: BLE001 - whatever the user's module does at import
        raise _ProblemFound(key, f"importing {module_name!r} failed: {_where(error)}") from None
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise _ProblemFound(key, f"module {module_name!r} has no {name!r}{hint}")
    return getattr(module, name)


def _accepted(cls: Any) -> list[str]:
    """The arguments that the class's constructor accepts, those passed on to its bases included."""
    parser = ArgumentParser(exit_on_error=False)
    try:
        names: list[str] = parser.add_class_arguments(cls, as_group=False, fail_untyped=False)
    except ValueError:  # a function that returns an instance
        names = parser.add_function_arguments(cls, as_group=False, fail_untyped=False)
    return names


def _not_accepted(what: str, key: str, accepted: list[str]) -> str:
    near = difflib.get_close_matches(key, accepted, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"{what} does not accept {key!r}{hint}; it accepts {', '.join(accepted)}"


_NOISE = re.compile(
    r"Does not validate against any|Subtypes:|Errors:|Given value type:|Expected a <class 'NoneType'>"
    r"|Problem with given class_path|Parser key|Given value: (Namespace|\{)"
)


def _readable(text: str) -> tuple[str, str]:
    """Key and one-line rule from jsonargparse's nested messages."""
    group, *inner = re.findall(r'[Pp]arser key "([^"]+)"', text)[:2] or [""]
    key = f"{group}.init_args.{inner[0]}" if inner else group
    lines = [line.strip().removeprefix("- ").strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not _NOISE.match(line)]
    return key, "; ".join(dict.fromkeys(telling)) or " ".join(text.split())


class _Answering:
    """A reporter for one validation that nobody decides about."""

    wait_seconds = 0.0

    def send(self, report: Report) -> None:
        """Takes the report."""

    def stop_requested(self) -> bool:
        """Goes on."""
        return False


def _probe(
    context: TrialContext, config: Mapping[str, Any], folder: str, *, train: bool
) -> tuple[tuple[str, ...], int | None]:
    """Trains and validates one batch, or none; gives what was logged, and the batches of a full epoch."""
    points = Points()
    progress = Progress(0, _Answering(), context, points, None)
    try:
        cli = TrialCLI(config, folder=folder, callback=progress, logger=points, limits=PROBE_LIMITS)
        try:
            if train:
                cli.trainer.fit(cli.model, datamodule=cli.datamodule)
                loader = cli.trainer.train_dataloader
            else:
                loader = _train_dataloader(cli)
            logged = tuple(sorted(cli.trainer.callback_metrics))
            return logged, _batches(loader, config.get("trainer", {}).get("limit_train_batches"))
        finally:
            cli.release()
    except MetricNotLoggedError as error:
        near = difflib.get_close_matches(error.metric, error.logged, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise _ProblemFound("objective.metric", f"{error}{hint}") from None
    except BaseException as error:  # noqa: BLE001 - whatever the user's code does, SystemExit included
        raise _ProblemFound(
            "", f"one batch of the base configuration does not train: {_where(error)}"
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
    try:
        count = len(loader)
    except TypeError:  # a dataset without a length
        return limit if isinstance(limit, int) else None
    if limit is None:
        return count
    return min(limit, count) if isinstance(limit, int) else int(count * limit)


def _where(error: BaseException) -> str:
    """The error in one line, with the innermost place of it that is not in a library."""
    _, rule = _readable(str(error)) if str(error) else ("", "")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    ours = str(Path(__file__).parent)
    frames = [f for f in frames if not f.filename.startswith(ours) or "/examples/" in f.filename]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {rule}{place}" if rule else f"{type(error).__name__}{place}"
