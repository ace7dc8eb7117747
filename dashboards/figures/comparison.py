"""Several sweeps of one objective beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
import plotly.graph_objects as go  # type: ignore[import-untyped]

from dashboards.errors import ResultsError
from dashboards.figures.studies import study_of
from dashboards.figures.style import laid_out, plain, series_style
from dashboards.records import Sweep, Trial
from dashboards.values import value_of, view

_LONGEST_NAME = 32
BUDGETS = {"trials": "trials ended", "validations": "validations done", "seconds": "seconds since the start"}


@dataclass(frozen=True, slots=True)
class Line:
    """The best so far of one sweep, where it changed and at the end.

    Attributes:
        name: The sweep's name.
        trials: Trials that had ended.
        validations: Validations that these had done.
        seconds: Seconds since the first trial started.
        values: The best value.
    """

    name: str
    trials: tuple[int, ...]
    validations: tuple[int, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the figures of a comparison show.

    Attributes:
        metric: The objective that all sweeps share.
        direction: `minimize` or `maximize`.
        lines: One a sweep.
        view: The range of values to show; None for all.
    """

    metric: str
    direction: str
    lines: tuple[Line, ...]
    view: tuple[float, float] | None


def comparison_data(sweeps: Sequence[Sweep]) -> Comparison:
    """Return the best so far of several sweeps against trials, validations and seconds.

    Raises:
        ResultsError: The sweeps do not have the same objective, or there is none.
    """
    check_comparable(sweeps)
    lines = tuple(_line(sweep) for sweep in sweeps)
    values = [value for line in lines for value in line.values]
    first = sweeps[0].summary
    return Comparison(first.metric, first.direction, lines, view(values, first.direction))


def check_comparable(sweeps: Sequence[Sweep]) -> None:
    """Check that sweeps can be shown in one figure.

    Raises:
        ResultsError: The sweeps do not have the same objective, or there is none.
    """
    if not sweeps:
        raise ResultsError("nothing to compare: name at least one sweep")
    first = sweeps[0].summary
    for other in (sweep.summary for sweep in sweeps[1:]):
        if (other.metric, other.direction) != (first.metric, first.direction):
            raise ResultsError(
                f"{first.name} and {other.name} cannot be compared: {first.direction} {first.metric} is not"
                f" {other.direction} {other.metric}; make one report for each"
            )


def _line(sweep: Sweep) -> Line:
    sign = -1 if sweep.summary.direction == "maximize" else 1
    ended = sorted((t for t in sweep.trials if t.has_ended), key=_end)
    start = min((_start(trial) for trial in ended), default=0.0)
    validations, best = 0, None
    rows: list[tuple[int, int, float, float]] = []
    for count, trial in enumerate(ended, 1):
        validations += len(trial.intermediate)
        value = value_of(trial) if trial.state == "complete" else None
        better = value is not None and (best is None or sign * value < sign * best)
        best = value if better else best
        if best is not None and (better or count == len(ended)):
            rows.append((count, validations, round(_end(trial) - start, 3), best))
    trials, done, seconds, values = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Line(sweep.name, trials, done, seconds, values)


def _start(trial: Trial) -> float:
    if trial.timing.get("started"):
        return trial.timing["started"]
    return trial.started.timestamp() if trial.started else 0.0


def _end(trial: Trial) -> float:
    if trial.timing.get("started"):
        return trial.timing["started"] + trial.timing.get("slot_seconds", 0.0)
    return trial.ended.timestamp() if trial.ended else _start(trial)


def draw_comparison(data: Comparison, budget: str = "trials") -> go.Figure:
    """Draw the best so far of each sweep.

    Args:
        data: The lines.
        budget: What it is drawn against: `trials`, `validations` or `seconds`.
    """
    figure = go.Figure()
    for index, line in enumerate(data.lines):
        name = plain(line.name, _LONGEST_NAME)
        figure.add_scatter(
            x=getattr(line, budget), y=line.values, name=name, mode="lines+markers",
            line=series_style(index) | {"shape": "hv"}, marker={"size": 5},
            hovertemplate=f"%{{x}} {budget}: %{{y:.5g}}<extra>{name}</extra>",
        )  # fmt: skip
    laid_out(figure, x=BUDGETS[budget], y=f"best {data.metric} so far", height=340)
    figure.update_xaxes(rangemode="tozero")
    if data.view:
        figure.update_yaxes(range=data.view)
    return figure.update_layout(showlegend=True)


def draw_edf(sweeps: Sequence[Sweep]) -> go.Figure:
    """Draw Optuna's EDF: the share of complete trials that are at most as large as a value.

    Raises:
        ResultsError: The sweeps do not have the same objective, or there is none.
    """
    check_comparable(sweeps)
    summary = sweeps[0].summary
    studies = [
        study_of(sweep.ranking(), (), summary.direction, name=plain(sweep.name, _LONGEST_NAME))
        for sweep in sweeps
        if sweep.ranking()
    ]
    figure = optuna.visualization.plot_edf(studies, target_name=plain(summary.metric))
    for index, trace in enumerate(figure.data):
        trace.line = series_style(index)
    laid_out(figure, x=summary.metric, y="share of complete trials", height=340)
    values = [trial.value for sweep in sweeps for trial in sweep.ranking() if trial.value is not None]
    shown = view(values, summary.direction)
    if shown:
        figure.update_xaxes(range=shown)
    return figure.update_layout(showlegend=True)
