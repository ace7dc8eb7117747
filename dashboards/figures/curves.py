"""Loss curves: of all trials, pruned ones faded; and training against validation for one trial."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go  # type: ignore[import-untyped]

from dashboards.figures.style import GREEN, STATE_COLOURS, laid_out, plain, series_style, whole_ticks
from dashboards.records import Sweep, Trial
from dashboards.values import spread, thinned, view

MOST_CURVES, MOST_BEST, MOST_POINTS, MOST_LOGGED = 150, 20, 60, 400
_OPACITIES = {"complete": 0.65, "pruned": 0.4, "diverged": 0.6, "failed": 0.6, "running": 0.9}
# What Lightning and its users put around the name of one quantity: `train_loss_epoch`, `val/loss`, and
# `val_loss/dataloader_idx_0` where there are several loaders.
_PHASE = re.compile(
    r"^(train|training|val|valid|validation)[_/.\-](?=.)|(_(step|epoch))?(/dataloader_idx_\d+)?$"
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One trial's objective (or one logged metric), step by step."""

    name: str
    state: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """What the figure of loss curves shows.

    Attributes:
        metric: The objective's name.
        curves: The trials drawn, by number; the name is the number.
        best: The best trial's number; None if no trial is complete.
        left_out: How many trials with at least one validation were left out.
        view: The range of values to show; None for all.
    """

    metric: str
    curves: tuple[Curve, ...]
    best: int | None
    left_out: int
    view: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Logged:
    """What one trial logged: its metrics of one kind over optimizer steps."""

    number: int
    metric: str
    curves: tuple[Curve, ...]


def curves_data(sweep: Sweep, most: int = MOST_CURVES) -> Curves:
    """Return what the figure of loss curves shows.

    Of more than `most` trials these are drawn: the best 20, those with the highest and the lowest value of
    all, and an even choice of the others. A curve of more than 60 points keeps its ends, its extremes and an
    even choice of the others.
    """
    trials = [trial for trial in sweep.trials if trial.intermediate]
    chosen = _chosen(sweep, trials, most)
    best = sweep.best
    values = [value for trial in trials for value in trial.intermediate.values()]
    return Curves(
        metric=sweep.summary.metric,
        curves=tuple(
            _curve(str(t.number), t.state, list(t.intermediate), list(t.intermediate.values()), MOST_POINTS)
            for t in chosen
        ),
        best=best.number if best else None,
        left_out=len(trials) - len(chosen),
        view=view(values, sweep.summary.direction),
    )


def _chosen(sweep: Sweep, trials: list[Trial], most: int) -> list[Trial]:
    if len(trials) <= most:
        return trials
    kept = {trial.number for trial in sweep.ranking()[:MOST_BEST]}
    finite = [(v, t.number) for t in trials for v in t.intermediate.values() if math.isfinite(v)]
    if finite:
        kept |= {min(finite)[1], max(finite)[1]}
    rest = [trial for trial in trials if trial.number not in kept]
    kept |= {trial.number for trial in spread(rest, most - len(kept))}
    return [trial for trial in trials if trial.number in kept]


def _curve(name: str, state: str, steps: Sequence[int], values: Sequence[float], most: int) -> Curve:
    places = thinned(values, most)
    return Curve(name, state, tuple(steps[i] for i in places), tuple(values[i] for i in places))


def draw_curves(data: Curves) -> go.Figure:
    """Draw the objective against the validation, one colour a state, the best trial on top."""
    figure = go.Figure()
    for state, colour in STATE_COLOURS.items():
        curves = [curve for curve in data.curves if curve.state == state and curve.name != str(data.best)]
        if curves:
            _add(figure, curves, state, {"color": colour, "width": 1.3}, _OPACITIES.get(state, 0.5))
    best = [curve for curve in data.curves if curve.name == str(data.best)]
    if best:
        _add(figure, best, f"best: trial {data.best}", {"color": GREEN, "width": 3}, 1.0)
    laid_out(figure, x="validation", y=data.metric, height=420)
    if data.view:
        figure.update_yaxes(range=data.view)
    longest = max((curve.steps[-1] for curve in data.curves), default=0)
    return figure.update_layout(showlegend=True).update_xaxes(whole_ticks(longest))


def _add(figure: go.Figure, curves: list[Curve], name: str, line: dict[str, object], opacity: float) -> None:
    """Add curves as one trace, which draws much faster than one each; None lifts the pen."""
    x: list[int | None] = []
    y: list[float | None] = []
    trials: list[str | None] = []
    for curve in curves:
        x += [*curve.steps, None]
        y += [*(v if math.isfinite(v) else None for v in curve.values), None]
        trials += [*[curve.name] * len(curve.steps), None]
    single = any(_has_lone_point(curve.values) for curve in curves)  # a line of one point is invisible
    figure.add_scatter(
        x=x, y=y, customdata=trials, name=name, line=line, opacity=opacity, marker={"size": 4},
        mode="lines+markers" if single else "lines",
        hovertemplate="trial %{customdata}, validation %{x}: %{y:.5g}<extra></extra>",
    )  # fmt: skip


def _has_lone_point(values: Sequence[float]) -> bool:
    """Whether some value is finite and its neighbours are not."""
    finite = [False, *map(math.isfinite, values), False]
    return any(here and not (finite[i] or finite[i + 2]) for i, here in enumerate(finite[1:-1]))


def logged_data(
    sweep: Sweep, number: int, histories: Mapping[str, Sequence[tuple[int, float]]]
) -> Logged | None:
    """Return the objective of one trial beside its kin of other phases, such as `val_loss` and `train_loss`.

    Args:
        sweep: The sweep.
        number: The trial's number.
        histories: Every metric that the trial logged: its optimizer steps and values.

    Returns:
        None if the objective has no kin among the metrics. A curve of more than 400 points is thinned.
    """
    metric = sweep.summary.metric
    kin = [name for name in histories if quantity(name) == quantity(metric) and histories[name]]
    # Lightning logs `train_loss` as `train_loss_step` and `train_loss_epoch`, too.
    kin = [name for name in kin if not (name.endswith("_step") and f"{name[:-5]}_epoch" in kin)]
    if len(kin) < 2:
        return None
    ordered = sorted(kin, key=lambda name: (name != metric, name))
    curves = []
    for name in ordered:
        points = sorted(histories[name])
        curves.append(_curve(name, "", [s for s, _ in points], [v for _, v in points], MOST_LOGGED))
    return Logged(number, metric, tuple(curves))


def quantity(metric: str) -> str:
    """Return a metric's name without the phase and the kind of step: `loss` for `train_loss_epoch`."""
    return _PHASE.sub("", metric)


def draw_logged(data: Logged) -> go.Figure:
    """Draw each metric against the optimizer step."""
    figure = go.Figure()
    for index, curve in enumerate(data.curves):
        figure.add_scatter(
            x=curve.steps, y=[v if math.isfinite(v) else None for v in curve.values],
            name=plain(curve.name), line=series_style(index), mode="lines",
            hovertemplate="step %{x}: %{y:.5g}<extra>" + plain(curve.name) + "</extra>",
        )  # fmt: skip
    return laid_out(figure, x="optimizer step", y=quantity(data.metric))
