"""What keeps a training apart from others in its process, but for what importing the user's modules changes.

What a module sets when it is imported, such as torch's default dtype or the precision of its products, holds
in each trial then, as it holds in a script. A module is imported once only: were that put back after a trial,
the later ones in the same process would train with other settings than the first. Only the GPU is not its
choice.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces import CategoricalParameter, Choice, SearchSpace
from sweeps.context import CliCall, TrialContext
from sweeps.executors import code
from sweeps.layout import LOG
from sweeps.training.isolation import isolated, output_to
from sweeps.training.lightning import CLASS_KEYWORDS
from sweeps.training.user_code import ImportProblem, import_object


@contextlib.contextmanager
def apart(
    log: Path, context: TrialContext, config: Mapping[str, Any], space: SearchSpace | None = None
) -> Iterator[None]:
    """Does what `isolated` and `output_to` do, once the classes that a configuration names are imported.

    Args:
        log: Gets what is written.
        context: What the trials of the sweep share.
        config: A LightningCLI configuration.
        space: What varies in it, if something does.
    """
    with output_to(log):
        code.find_modules(code.unpacked(context.folders))
        with _own_gpus():
            _import_classes(context.cli, config, space)
        with isolated():
            yield


@contextlib.contextmanager
def apart_in_scratch(
    context: TrialContext, config: Mapping[str, Any], space: SearchSpace | None = None
) -> Iterator[str]:
    """The same for a training that leaves nothing behind: gives a folder that is removed, the log in it."""
    with tempfile.TemporaryDirectory() as folder, apart(Path(folder, LOG), context, config, space):
        yield folder


@contextlib.contextmanager
def _own_gpus() -> Iterator[None]:
    """Leaves this process the GPU that Ray gave it, whatever a module that is imported sets.

    Many scripts begin with the number of the GPU that they are to use: all trials would train on that one.
    """
    given = {name: os.environ.get(name) for name in code.GPUS}
    try:
        yield
    finally:
        for name, value in given.items():
            if (other := os.environ.pop(name, None)) != value:
                print(f"{name}={other}, which a module sets, is not heeded: the trial has {value}")  # noqa: T201
            if value is not None:
                os.environ[name] = value


def _import_classes(call: CliCall, config: Mapping[str, Any], space: SearchSpace | None) -> None:
    """Imports all that can be imported; what cannot be says so where it is used."""
    named = [call.class_path, *(call.keywords.get(key) for key in CLASS_KEYWORDS), *_class_paths(config)]
    for class_path in (*named, *_of_space(space)):
        if isinstance(class_path, str) and "." in class_path.strip("."):
            with contextlib.suppress(ImportProblem):
                import_object(class_path)


def _of_space(space: SearchSpace | None) -> Iterator[Any]:
    for site in space.sites if space else ():
        if isinstance(site.content, Choice):
            yield from _class_paths([branch.template for branch in site.content.branches])
        elif isinstance(site.content, CategoricalParameter):
            yield from _class_paths(list(site.content.choices))
            if site.config_path.endswith(".class_path"):
                yield from site.content.choices


def _class_paths(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        yield node.get("class_path")
        for item in node.values():
            yield from _class_paths(item)
    elif isinstance(node, list):
        for item in node:
            yield from _class_paths(item)
