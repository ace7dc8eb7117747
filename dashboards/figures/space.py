"""Where in the search space the values are good: Optuna's slice, contour and parallel coordinates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import optuna
import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.colors import sample_colorscale  # type: ignore[import-untyped]

from dashboards.figures.importances import Importances, by_importance, importances_data, varies
from dashboards.figures.studies import choice_texts, study_of
from dashboards.figures.style import BLUE, SCALE, laid_out, plain, plain_names
from dashboards.records import Parameter, Sweep, Trial
from dashboards.values import outside, spread, view
from dashboards.wording import value_text

# Optuna's contour takes a grid of every value against every other: 80 trials make 0.1 MB, 2,000 make 50 MB.
# Its parallel coordinates draw each trial as a trace of its own, slowly.
MOST_IN_SLICE, MOST_IN_CONTOUR, MOST_IN_PARALLEL = 600, 80, 150
MOST_SLICES, MOST_AXES = 8, 8
# An axis has room to name so many choices, with so many characters in all.
_MOST_NAMED, _CHARACTERS, _FEWEST_CHARACTERS, _MOST_CHARACTERS = 12, 72, 14, 24


@dataclass(frozen=True, slots=True)
class Space:
    """The complete trials in the space of some parameters.

    Attributes:
        metric: The objective's name.
        direction: `minimize` or `maximize`.
        parameters: The parameters, the most important first.
        labels: What each parameter is called in the figure.
        trials: Number, value and parameters of each trial drawn, by number.
        left_out: How many trials were left out: the better half of the places goes to the best, the other
            half evenly to the rest.
        outliers: How many trials were left out because their value lies far out on the bad side.
        view: The range of values to show; None for all.
    """

    metric: str
    direction: str
    parameters: tuple[Parameter, ...]
    labels: tuple[str, ...]
    trials: tuple[Trial, ...]
    left_out: int
    outliers: int
    view: tuple[float, float] | None


def space_data(sweep: Sweep, parameters: list[Parameter], most: int, *, with_outliers: bool = False) -> Space:
    """Return the complete trials that have all of some parameters.

    Args:
        sweep: The sweep.
        parameters: The parameters, in the order of the figure.
        most: How many trials to draw.
        with_outliers: Whether values far out on the bad side stay in.
    """
    names = {parameter.name for parameter in parameters}
    ranked = [trial for trial in sweep.ranking() if names <= trial.params.keys()]
    range_ = view([t.value for t in ranked if t.value is not None], sweep.summary.direction)
    inside = ranked if with_outliers else [t for t in ranked if not outside([t.value or 0.0], range_)]
    chosen = inside[: most // 2] + spread(inside[most // 2 :], most - most // 2)
    labels = sweep.labels
    return Space(
        metric=sweep.summary.metric,
        direction=sweep.summary.direction,
        parameters=tuple(parameters),
        labels=tuple(labels[parameter.name] for parameter in parameters),
        trials=tuple(sorted(chosen, key=lambda trial: trial.number)),
        left_out=len(inside) - len(chosen),
        outliers=len(ranked) - len(inside),
        view=range_ if with_outliers else None,
    )


def slices_data(sweep: Sweep, importances: Importances | None = None) -> tuple[Space, ...]:
    """Return one slice for each of the eight most important parameters."""
    ordered = by_importance(sweep, importances or importances_data(sweep))
    slices = (space_data(sweep, [p], MOST_IN_SLICE, with_outliers=True) for p in ordered[:MOST_SLICES])
    return tuple(data for data in slices if len(data.trials) > 1)


def contour_data(sweep: Sweep, importances: Importances | None = None) -> Space | None:
    """Return the two most important parameters that at least four trials share; None without two."""
    ordered = by_importance(sweep, importances or importances_data(sweep))
    for other in ordered[1:]:
        data = space_data(sweep, [ordered[0], other], MOST_IN_CONTOUR)
        if len(data.trials) >= 4 and all(varies(parameter, data.trials) for parameter in data.parameters):
            return data
    return None


def parallel_data(sweep: Sweep, importances: Importances | None = None) -> Space | None:
    """Return the up to eight most important parameters that every complete trial has; None without two."""
    ordered = by_importance(sweep, importances or importances_data(sweep))
    trials = sweep.ranking()
    shared = [p for p in ordered if all(p.name in t.params for t in trials)][:MOST_AXES]
    data = space_data(sweep, shared, MOST_IN_PARALLEL)
    return data if len(shared) > 1 and len(data.trials) > 1 else None


def _study(data: Space) -> tuple[optuna.Study, list[str]]:
    names = plain_names(data.labels)
    labels = {parameter.name: name for parameter, name in zip(data.parameters, names, strict=True)}
    return study_of(data.trials, data.parameters, data.direction, labels=labels), names


def draw_slice(data: Space) -> go.Figure:
    """Draw Optuna's slice: the value against one parameter, later trials bluer."""
    study, names = _study(data)
    numbers = [trial.number for trial in data.trials]  # the study counts only the trials that it holds
    figure = optuna.visualization.plot_slice(study, params=names, target_name=plain(data.metric, 24))
    for trace in figure.data:
        shown = [numbers[place] for place in trace.marker.color]
        trace.update(
            showlegend=False, customdata=shown,
            hovertemplate="trial %{customdata}: %{x}, %{y:.5g}<extra></extra>",
            marker={"size": 7, "color": shown, "colorscale": SCALE,
                    "colorbar": {"thickness": 10, "title": {"text": "trial"}, "x": 1.0, "xpad": 6}},
        )  # fmt: skip
    laid_out(figure, height=300)
    if data.parameters[0].kind == "categorical":  # whose texts Optuna shows in quotes
        tried = {repr(trial.params[data.parameters[0].name]) for trial in data.trials}
        texts = choice_texts(data.parameters[0])
        named = _named([text for choice, text in texts.items() if choice in tried], data.parameters[0])
        figure.update_xaxes(tickvals=[repr(text) for text in named], ticktext=list(named.values()))
    figure.update_xaxes(_ticks(data, data.parameters[0]))
    if data.view:
        figure.update_yaxes(range=data.view)
    return figure.update_layout(margin={"t": 16})


def _named(present: Sequence[str], parameter: Parameter) -> dict[str, str]:
    """Return which of an axis' choices it names, all or evenly some: their texts, and shorter ones."""
    few = present[:: math.ceil(len(present) / _MOST_NAMED)]
    longest = min(max(_CHARACTERS // len(few), _FEWEST_CHARACTERS), _MOST_CHARACTERS)
    choices = dict(zip(choice_texts(parameter).values(), parameter.choices, strict=True))
    return {text: plain(value_text(choices[text]), longest) for text in few}


def _ticks(data: Space, parameter: Parameter) -> dict[str, object]:
    """Return the ticks of an axis where Plotly's mislead: of a logarithmic one, and of few whole numbers.

    The former are powers of ten, or 1, 2 and 5 of each where there are few of those; the latter are all.
    """
    values = [trial.params[parameter.name] for trial in data.trials]
    if parameter.kind == "int" and not parameter.log and max(values) - min(values) < _MOST_NAMED:
        return {"tickvals": list(range(min(values), max(values) + 1))}
    if not parameter.log:
        return {}
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    factors = (1,) if last - first > 2 else (1, 2, 5)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def draw_contour(data: Space) -> go.Figure:
    """Draw Optuna's contour of the value over two parameters."""
    study, names = _study(data)
    figure = optuna.visualization.plot_contour(study, params=names, target_name=plain(data.metric))
    figure.update_traces(
        selector={"type": "contour"},
        colorbar={"thickness": 12, "title": {"text": plain(data.metric, 24), "side": "right"}},
    )
    figure.update_traces(selector={"type": "scatter"}, marker={"size": 6, "color": BLUE})
    # Optuna sorts the two by name.
    x, y = sorted(zip(names, data.parameters, strict=True), key=itemgetter(0))
    [grid] = figure.select_traces(selector={"type": "contour"})
    for parameter, values, update in (
        (x[1], grid.x, figure.update_xaxes), (y[1], grid.y, figure.update_yaxes)
    ):  # fmt: skip
        update(_ticks(data, parameter))
        if parameter.kind == "categorical":
            named = _named(values, parameter)
            update(tickvals=list(named), ticktext=list(named.values()))
    return laid_out(figure, height=440, margin={"t": 16})


def draw_parallel(data: Space) -> go.Figure:
    """Draw Optuna's parallel coordinates: one line a trial, the best bluest and on top."""
    better_last = sorted(data.trials, key=lambda t: t.value or 0.0, reverse=data.direction == "minimize")
    study, names = _study(replace(data, trials=tuple(better_last)))
    figure = optuna.visualization.plot_parallel_coordinate(
        study, params=names, target_name=plain(data.metric, 24)
    )
    best_first = data.direction == "minimize"
    bar = {"colorscale": SCALE, "reversescale": best_first, "colorbar": {"thickness": 12}}
    figure.update_traces(selector={"mode": "markers"}, marker=bar)
    values = [trial.value or 0.0 for trial in better_last]
    worst, best = values[0], values[-1]
    shares = [(value - worst) / (best - worst) if best != worst else 1.0 for value in values]
    for trace, colour in zip(figure.data, sample_colorscale(list(SCALE), shares), strict=False):
        trace.update(line={"color": colour}, opacity=0.7)
    _order_choices(figure, data, names)
    labels = dict(zip(names, data.labels, strict=True))
    texts = [data.metric, *(labels[name] for name in sorted(names))]  # Optuna sorts them, and cuts off more
    figure.update_xaxes(ticktext=plain_names(texts, 18))
    figure.update_annotations(font={"color": None})  # the page's own, which is light on dark
    return laid_out(figure, height=420, margin={"l": 40, "t": 40, "b": 40}, hovermode="closest")


def _order_choices(figure: go.Figure, data: Space, names: list[str]) -> None:
    """Put choices in the order of the sweep file; Optuna has them as they come up in the trials."""
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    for axis, (_, parameter) in enumerate(
        sorted(zip(names, data.parameters, strict=True), key=itemgetter(0)), 1
    ):
        if parameter.kind != "categorical":
            continue
        found = {trace.customdata[axis][1] for trace in lines}
        present = [text for text in choice_texts(parameter).values() if text in found]
        place = {text: index / max(len(present) - 1, 1) for index, text in enumerate(present)}
        for trace in lines:
            heights = list(trace.y)
            heights[axis] = place[trace.customdata[axis][1]]
            trace.y = heights
        named = _named(present, parameter)
        for note in figure.layout.annotations:
            if note.x == axis and note.text in place:
                text = note.text
                note.update(y=place[text], visible=text in named, text=named.get(text, text))
