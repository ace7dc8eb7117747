"""The history: each trial's value in the order of the trials, and the best so far."""

from collections.abc import Iterable
from dataclasses import dataclass

import plotly.graph_objects as go  # type: ignore[import-untyped]

from dashboards.figures.style import GREEN, STATE_COLOURS, STATE_MARKERS, laid_out, whole_ticks
from dashboards.records import Sweep, Trial
from dashboards.values import outside, spread, value_of, view

MOST_POINTS = 2_000


@dataclass(frozen=True, slots=True)
class Points:
    """The trials of one state: their numbers, and values where they have one."""

    state: str
    numbers: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What the history figure shows.

    Attributes:
        metric: The objective's name.
        direction: `minimize` or `maximize`.
        points: The trials that have a value, by state; a stopped trial's is its last one.
        valueless: The trials that ended without any; their `values` are empty.
        best: The numbers and values at which the best so far changed, and the last trial.
        left_out: How many trials were left out, so that at most 2,000 and the best so far are drawn.
        view: The range of values to show, that of the complete trials where there are four; None for all.
    """

    metric: str
    direction: str
    points: tuple[Points, ...]
    valueless: tuple[Points, ...]
    best: Points
    left_out: int
    view: tuple[float, float] | None


def history_data(sweep: Sweep, most: int = MOST_POINTS) -> History:
    """Return what the history figure shows.

    Args:
        sweep: The sweep.
        most: How many trials to draw, evenly spaced; those that were the best so far are always drawn, and
            so are the highest and the lowest value.
    """
    direction = sweep.summary.direction
    ended = [trial for trial in sweep.trials if trial.has_ended]
    valued = {trial.number: value for trial in ended if (value := value_of(trial)) is not None}
    best = best_so_far(ended, direction)
    drawn = {trial.number for trial in spread(ended, most)} | set(best.numbers)
    if valued:
        drawn |= {min(valued, key=valued.__getitem__), max(valued, key=valued.__getitem__)}
    shown = [trial for trial in ended if trial.number in drawn]
    complete = [valued[t.number] for t in ended if t.state == "complete" and t.number in valued]
    return History(
        metric=sweep.summary.metric,
        direction=direction,
        points=_by_state([t for t in shown if t.number in valued], valued),
        valueless=_by_state([t for t in shown if t.number not in valued], {}),
        best=best,
        left_out=len(ended) - len(shown),
        view=_view(complete, list(valued.values()), direction),
    )


def _view(complete: list[float], values: list[float], direction: str) -> tuple[float, float] | None:
    """Return the range of the complete trials: those that were stopped are often far worse, and many."""
    if len(complete) < 4:
        return view(values, direction)
    inside = view(complete, direction)
    if inside or not outside(values, (min(complete), max(complete))):
        return inside
    margin = 0.05 * (max(complete) - min(complete))
    return (min(complete) - margin, max(complete) + margin) if margin else None


def best_so_far(trials: Iterable[Trial], direction: str) -> Points:
    """Return where the best complete value changed, ending with the last trial."""
    sign = -1 if direction == "maximize" else 1
    numbers: list[int] = []
    values: list[float] = []
    last = None
    for trial in trials:
        last = trial.number
        value = value_of(trial) if trial.state == "complete" else None
        if value is not None and (not values or sign * value < sign * values[-1]):
            numbers.append(trial.number)
            values.append(value)
    if last is not None and values and numbers[-1] != last:
        numbers.append(last)
        values.append(values[-1])
    return Points("best", tuple(numbers), tuple(values))


def _by_state(trials: list[Trial], values: dict[int, float]) -> tuple[Points, ...]:
    groups: dict[str, list[int]] = {state: [] for state in STATE_COLOURS}
    for trial in trials:
        groups[trial.state].append(trial.number)
    return tuple(
        Points(state, tuple(numbers), tuple(values[n] for n in numbers if n in values))
        for state, numbers in groups.items()
        if numbers
    )


def draw_history(data: History) -> go.Figure:
    """Draw values against trial numbers, the best so far as a line; trials without a value at the bottom."""
    figure = go.Figure()
    for points in data.points:
        figure.add_scatter(
            x=points.numbers, y=points.values, mode="markers", name=points.state,
            marker=_marker(points.state),
            hovertemplate=f"trial %{{x}}: %{{y:.5g}}<extra>{points.state}</extra>",
        )  # fmt: skip
    for points in data.valueless:
        figure.add_scatter(
            x=points.numbers, y=[0.02] * len(points.numbers), yaxis="y2", mode="markers",
            name=f"{points.state}, no value", marker=_marker(points.state),
            hovertemplate=f"trial %{{x}}<extra>{points.state}</extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=data.best.numbers, y=data.best.values, mode="lines", name="best so far",
        line={"color": GREEN, "width": 2.5, "shape": "hv"},
        hovertemplate="best after trial %{x}: %{y:.5g}<extra></extra>",
    )  # fmt: skip
    laid_out(figure, x="trial", y=data.metric)
    if data.view:
        figure.update_yaxes(range=data.view)
    if not data.points:  # then there are no values that an axis could measure
        figure.update_yaxes(showticklabels=False, showgrid=False, zeroline=False)
    hidden = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    figure.update_layout(yaxis2=hidden, showlegend=True)
    return figure.update_xaxes(whole_ticks(max(data.best.numbers, default=11)))


def _marker(state: str) -> dict[str, object]:
    return {"color": STATE_COLOURS[state], "symbol": STATE_MARKERS[state], "size": 7, "opacity": 0.9}
