"""The configurations of a grid search, as a sweep file asks for them; nothing here imports Optuna."""

from collections.abc import Mapping
from typing import Any

from search_spaces import Params, SpaceError, grid_of
from search_spaces.checks import is_whole
from sweeps.sweep_file.sections import Component
from sweeps.sweep_file.spec import SweepSpec

GRIDS = ("grid", "brute_force")
"""The samplers that go through every configuration once; `grid` can also take some points of a range."""


def grid_arguments(sampler: Any) -> dict[str, Any] | None:
    """The arguments of a sampler, as a file or a specification has it; None if it is none of `GRIDS`."""
    if isinstance(sampler, str):
        sampler = {"class_path": sampler}
    found = dict(sampler) if isinstance(sampler, Mapping | Component) else {}
    return dict(found.get("init_args") or {}) if found.get("class_path") in GRIDS else None


def cells_of(spec: SweepSpec) -> list[Params]:
    """Every configuration of the grid that meets the constraints.

    Raises:
        SpecError: `points` is no number of points, the space is no grid, or no configuration is left.
    """
    arguments = grid_arguments(spec.sampler) or {}
    points = arguments.get("points")
    if points is not None and not (is_whole(points) and points >= 2):
        raise spec.error("sampler.init_args.points", f"must be a whole number from 2 on, but got {points!r}")
    try:
        cells = grid_of(spec.space, points)
    except SpaceError as error:
        raise spec.error(f"search_space.{error.key}", error.rule) from None
    cells = [cell for cell in cells if spec.violated(cell) is None]
    if not cells:
        raise spec.error("constraints", "exclude every configuration of the grid")
    return cells


def trials_of_grid(spec: SweepSpec) -> int:
    """How many trials it takes to try every configuration, and the starting points beside them.

    Raises:
        SpecError: As for `cells_of`.
    """
    cells = cells_of(spec)
    return len(cells) + sum(start not in cells for start in spec.start_with_params)
