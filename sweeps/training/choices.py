"""Which choices of a search space cannot be built, told before a trial fails of one.

Names and types are the inspection's business; that a constructor raises for one value of a list, only the
constructor knows. So each choice is built, and nothing is trained: model, data, Trainer, and an optimizer and
a scheduler that stand in the configuration. Those that a module makes itself, in `configure_optimizers`, may
need a Trainer in a fit, so they are left to the trials.
"""

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import Checkpoint

from search_spaces import CategoricalParameter, Choice, Params, Scalar
from search_spaces.wording import shown
from sweeps.context import TrialContext
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.apart import apart_in_scratch
from sweeps.training.command_line import CliProblem, Extras
from sweeps.training.invalid import declared
from sweeps.training.isolation import isolated
from sweeps.training.lightning import instantiate
from sweeps.training.points import Points
from sweeps.training.user_code import where

SLOW_SECONDS = 5.0
"""Where the centre takes longer, no choice is built: the launch would wait too long."""

MOST_CHARACTERS = 500
"""Of what an exception says."""


def unbuildable(
    context: TrialContext,
    spec: SweepSpec,
    points: Sequence[Params],
    built_seconds: float | None,
    *,
    seconds: float,
) -> list[str]:
    """Builds each choice of the space with all else at its centre, and says which cannot be, a line each.

    What a constraint excludes, or the user's code declares invalid, is no fault. Numbers are not built at
    their bounds: the largest model of a space takes the most time, and its constructor seldom minds.

    Args:
        context: What the trials of the sweep share.
        spec: The sweep, inspected.
        points: What else is at: the first of these that the user's code does not declare invalid, the centre
            of the space before all others.
        built_seconds: How long the building of the first of them took; None if it was not built.
        seconds: What the choices may take together, but for the first.
    """
    with apart_in_scratch(context, spec.base, spec.space) as folder:
        # Collecting after each of them need not look at what is imported, nor here: the inspection just did.
        gc.freeze()
        builder, point = _Builder(context, spec, folder, seconds), points[0]
        if built_seconds is None:
            found = builder.first_valid(points)
            if isinstance(found, str):
                return [found]
            if found is None:
                return []
            point, built_seconds = found, builder.last_seconds
        return [] if built_seconds > SLOW_SECONDS else list(builder.faults(point))


class _Builder:
    """Builds one configuration after the other; none is there when the next is begun.

    Attributes:
        last_seconds: What the last one took.
    """

    def __init__(self, context: TrialContext, spec: SweepSpec, folder: str, seconds: float) -> None:
        self._context, self._spec, self._folder, self._seconds = context, spec, folder, seconds
        self.last_seconds = 0.0

    def first_valid(self, points: Sequence[Params]) -> Params | str | None:
        """The first that is not declared invalid, or why it cannot be built; None if that takes too long."""
        left, what = self._seconds, "the configuration at the centre of the space"
        for point in points:
            problem, is_valid = self._problem(self._spec.space.configure(self._spec.base, point))
            left -= self.last_seconds
            if problem:
                return f"{what} cannot be built here: {problem}"
            if is_valid:
                return point
            if left < 0:
                break
            what = "the first valid configuration"
        return None

    def faults(self, point: Params) -> Iterator[str]:
        """A line for each choice that cannot be built with all else as in `point`, which can be."""
        space = self._spec.space
        is_centre = point == space.centre()
        rest = "all else at the centre" if is_centre else "all else as in the first valid configuration"
        failed: set[tuple[str, Scalar]] = set()
        left = self._seconds
        for name, params in _choices(self._spec, point):
            if any((other, value) in failed for other, value in params.items()):
                continue  # below a choice that was told
            config = space.configure(self._spec.base, params)
            if self._spec.violated(params, config) is not None:
                continue
            problem, _ = self._problem(config)
            if problem:
                failed.add((name, params[name]))
                value = shown(_value(self._spec, name, params[name]))
                yield f"search_space.{name}: {value} cannot be built with {rest}: {problem}"
            left -= self.last_seconds
            if left < 0:
                return

    def _problem(self, config: Mapping[str, Any]) -> tuple[str, bool]:
        """Why a configuration cannot be built, "" if it can; and whether it is valid, as its code sees it."""
        started = time.perf_counter()
        problem, is_valid = "", True
        extras = Extras(self._folder, Checkpoint(), Points(self._folder), {})
        with isolated(), torch.enable_grad():
            try:
                instantiate(config, extras, self._context.cli).release()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the user's code does, SystemExit included
                is_valid = declared(error) is None
                problem = _text(error) if is_valid else ""
        self.last_seconds = time.perf_counter() - started
        return problem, is_valid


def _choices(spec: SweepSpec, point: Params) -> Iterator[tuple[str, Params]]:
    """Each choice but those of `point`: the name of the parameter, and the parameters."""
    kinds = CategoricalParameter | Choice
    named = {site.name for site in spec.space.sites if isinstance(site.content, kinds)}
    for name, params in spec.space.variations(point):
        if name in named and params != point:
            yield name, params


def _value(spec: SweepSpec, name: str, stored: Scalar) -> object:
    """What stands in the file: a list, not the text that Optuna stores for it."""
    content = next(site.content for site in spec.space.sites if site.name == name)
    return content.decode(stored) if isinstance(content, CategoricalParameter) else stored


def _text(error: BaseException) -> str:
    text = error.rule if isinstance(error, CliProblem) else where(error)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."
