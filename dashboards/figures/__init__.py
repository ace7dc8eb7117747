"""Every figure as a pure pair: `..._data` makes a plain frozen value, `draw_...` makes it a Plotly figure.

    records -> history, curves, importances, space, cost, comparison, pareto, learning_rates -> report

Optuna's own figures are used for slice, contour, parallel coordinates and EDF, and its importances. The
functions here without a prefix do both steps:

    from dashboards import figures, load
    figures.history(load("sweeps.db", "digits")).show()
"""

from collections.abc import Sequence
from typing import TypeVar

import plotly.graph_objects as go  # type: ignore[import-untyped]

from dashboards.errors import ResultsError
from dashboards.figures.comparison import Comparison, comparison_data, draw_comparison, draw_edf
from dashboards.figures.cost import Saved, Timeline, draw_saved, draw_timeline, saved_data, timeline_data
from dashboards.figures.curves import Curves, Logged, curves_data, draw_curves, draw_logged, logged_data
from dashboards.figures.history import History, draw_history, history_data
from dashboards.figures.importances import Importances, draw_importances, importances_data
from dashboards.figures.learning_rates import (
    RangeTests,
    draw_range_tests,
    range_tests_data,
    trial_tests_data,
)
from dashboards.figures.pareto import Pareto, draw_hypervolume, draw_pareto, pareto_data
from dashboards.figures.space import (
    Space,
    contour_data,
    draw_contour,
    draw_parallel,
    draw_slice,
    parallel_data,
    slices_data,
)
from dashboards.records import Sweep
from dashboards.runs import find_runs, histories

T = TypeVar("T")

__all__ = [
    "Comparison",
    "Curves",
    "History",
    "Importances",
    "Logged",
    "Pareto",
    "RangeTests",
    "Saved",
    "Space",
    "Timeline",
    "best_so_far",
    "comparison_data",
    "contour",
    "contour_data",
    "curves",
    "curves_data",
    "draw_comparison",
    "draw_contour",
    "draw_curves",
    "draw_edf",
    "draw_history",
    "draw_hypervolume",
    "draw_importances",
    "draw_logged",
    "draw_parallel",
    "draw_pareto",
    "draw_range_tests",
    "draw_saved",
    "draw_slice",
    "draw_timeline",
    "edf",
    "history",
    "history_data",
    "hypervolume",
    "importances",
    "importances_data",
    "logged",
    "logged_data",
    "parallel",
    "parallel_data",
    "pareto",
    "pareto_data",
    "range_tests",
    "range_tests_data",
    "saved",
    "saved_data",
    "slices",
    "slices_data",
    "timeline",
    "timeline_data",
    "trial_tests_data",
]  # fmt: skip


def history(sweep: Sweep) -> go.Figure:
    """Return each trial's value and the best so far."""
    return draw_history(history_data(sweep))


def curves(sweep: Sweep) -> go.Figure:
    """Return the objective of all trials, validation by validation."""
    return draw_curves(curves_data(sweep))


def pareto(sweep: Sweep) -> go.Figure:
    """Return all complete trials by their objectives, with the Pareto set."""
    return draw_pareto(pareto_data(sweep))


def hypervolume(sweep: Sweep) -> go.Figure:
    """Return how the Pareto set of several objectives grew."""
    return draw_hypervolume(pareto_data(sweep))


def logged(sweep: Sweep, number: int | None = None) -> go.Figure:
    """Return what one trial, the best if none is named, logged in MLflow of its objective: also in training.

    Raises:
        ResultsError: MLflow has no such trial or cannot be read, or nothing belongs to the objective.
    """
    if number is None:
        number = _known(sweep.best, "a complete trial").number
    run = _known(find_runs(sweep).run_ids.get(number), f"trial {number} in MLflow")
    data = logged_data(sweep, number, histories(sweep, run))
    return draw_logged(_known(data, f"a metric of trial {number} beside its objective"))


def importances(sweep: Sweep) -> go.Figure:
    """Return the parameters' importances."""
    return draw_importances(importances_data(sweep))


def slices(sweep: Sweep) -> list[go.Figure]:
    """Return the value against each of the most important parameters."""
    return [draw_slice(data) for data in slices_data(sweep)]


def contour(sweep: Sweep) -> go.Figure:
    """Return the value over the two most important parameters.

    Raises:
        ResultsError: Fewer than four complete trials share two parameters that vary.
    """
    return draw_contour(_known(contour_data(sweep), "four complete trials with two parameters that vary"))


def parallel(sweep: Sweep) -> go.Figure:
    """Return the complete trials in parallel coordinates.

    Raises:
        ResultsError: There are no two complete trials with two parameters.
    """
    return draw_parallel(_known(parallel_data(sweep), "two complete trials with two parameters"))


def timeline(sweep: Sweep) -> go.Figure:
    """Return the trials over slots and time.

    Raises:
        ResultsError: No trial has ended.
    """
    return draw_timeline(_known(timeline_data(sweep), "a trial that has ended"))


def saved(sweep: Sweep) -> go.Figure:
    """Return at which validation trials were pruned.

    Raises:
        ResultsError: None was pruned, or none is complete.
    """
    return draw_saved(_known(saved_data(sweep), "a pruned and a complete trial"))


def range_tests(sweep: Sweep) -> list[go.Figure]:
    """Return the range tests of each learning rate that was looked for, before the sweep or by its trials."""
    trials = trial_tests_data(sweep)
    return [draw_range_tests(data) for data in [*range_tests_data(sweep), *([trials] if trials else [])]]


def best_so_far(sweeps: Sequence[Sweep], budget: str = "trials") -> go.Figure:
    """Return several sweeps' best so far against `trials`, `validations` or `seconds`.

    Raises:
        ResultsError: The sweeps do not have the same objective, or there is none.
    """
    return draw_comparison(comparison_data(sweeps), budget)


def edf(sweeps: Sequence[Sweep]) -> go.Figure:
    """Return several sweeps' distributions of values.

    Raises:
        ResultsError: The sweeps do not have the same objective, or there is none.
    """
    return draw_edf(sweeps)


def _known(data: T | None, needed: str) -> T:
    if data is None:
        raise ResultsError(f"nothing to draw: this figure needs {needed}")
    return data
