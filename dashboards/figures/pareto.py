"""Several objectives: every complete trial by its values, the Pareto set among them, and how it grew."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
import plotly.graph_objects as go  # type: ignore[import-untyped]
from optuna.trial import TrialState, create_trial

from dashboards.errors import ResultsError
from dashboards.figures.studies import quiet_study
from dashboards.figures.style import BLUE, GREEN, GREY, laid_out, plain
from dashboards.records import Sweep, Trial
from dashboards.values import spread

MOST_POINTS = 2_000
MOST_FOR_VOLUME = {5: 600, 6: 100, 7: 50, 8: 40}
"""Trials of so many objectives whose hypervolume takes about a second; each further one takes longer."""


@dataclass(frozen=True, slots=True)
class Pareto:
    """What the figures of several objectives show.

    Attributes:
        metrics: The objectives' names.
        numbers: The drawn complete trials that are not in the Pareto set.
        values: Their values, one row a trial.
        front_numbers: The Pareto set, the best in the first objective first.
        front_values: Its values, one row a trial.
        ended: The numbers of complete trials in order, for the hypervolume: evenly chosen where it could
            not be computed for all.
        hypervolume: After each of them, the volume between the Pareto set so far and the worst value of each
            objective among all complete trials (Zitzler and Thiele 1998, doi.org/10.1007/BFb0056872).
    """

    metrics: tuple[str, ...]
    numbers: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    front_numbers: tuple[int, ...]
    front_values: tuple[tuple[float, ...], ...]
    ended: tuple[int, ...]
    hypervolume: tuple[float, ...]


def pareto_data(sweep: Sweep, most: int = MOST_POINTS) -> Pareto:
    """Return what the figures of several objectives show.

    Args:
        sweep: The sweep.
        most: How many trials outside the Pareto set to draw, evenly spaced, and how many to measure the
            hypervolume of; of the latter fewer with many objectives.

    Raises:
        ResultsError: The sweep has one objective, or no trial is complete.
    """
    summary = sweep.summary
    if not summary.front:
        raise ResultsError(
            f"{sweep.name}: there is no Pareto set: it has one objective, or nothing is complete"
        )
    front = [trial for trial in sweep.ranking() if trial.number in summary.front]
    complete = [trial for trial in sweep.trials if trial.state == "complete" and trial.values]
    others = spread([trial for trial in complete if trial.number not in summary.front], most)
    drawn = spread(complete, min(most, MOST_FOR_VOLUME.get(len(summary.objectives), most)))
    return Pareto(
        metrics=tuple(metric for metric, _ in summary.objectives),
        numbers=tuple(trial.number for trial in others),
        values=tuple(trial.values for trial in others),
        front_numbers=tuple(trial.number for trial in front),
        front_values=tuple(trial.values for trial in front),
        ended=tuple(trial.number for trial in drawn),
        hypervolume=_hypervolume(drawn, [direction for _, direction in summary.objectives]),
    )


def draw_pareto(data: Pareto) -> go.Figure:
    """Draw the first two or three objectives against each other."""
    shown = min(len(data.metrics), 3)
    figure = go.Figure()
    for name, numbers, values, colour in (
        ("other complete trials", data.numbers, data.values, GREY),
        ("Pareto front", data.front_numbers, data.front_values, BLUE),
    ):
        columns = dict(zip("xyz"[:shown], zip(*(row[:shown] for row in values), strict=True), strict=False))
        kind = go.Scatter3d if shown == 3 else go.Scatter
        marker = {"color": colour, "size": 4 if shown == 3 else 8, "opacity": 0.9}
        text = [f"trial {number}" for number in numbers]
        figure.add_trace(kind(**columns, mode="markers", name=name, text=text, marker=marker))
    if shown == 3:
        axes = {
            f"{axis}axis": {"title": plain(name)} for axis, name in zip("xyz", data.metrics, strict=False)
        }
        # From far enough away that no label is cut off.
        eye = {"eye": {"x": 1.5, "y": 1.5, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.15}}
        laid_out(figure, height=560, scene={**axes, "camera": eye, "aspectmode": "cube"})
        return figure.update_layout(legend={"itemsizing": "constant"})
    return laid_out(figure, x=data.metrics[0], y=data.metrics[1])


def draw_hypervolume(data: Pareto) -> go.Figure:
    """Draw the hypervolume after each complete trial."""
    line = {"color": GREEN, "width": 2, "shape": "hv"}
    figure = go.Figure(
        go.Scatter(x=data.ended, y=data.hypervolume, mode="lines", line=line, showlegend=False)
    )
    return laid_out(figure, x="trial", y="hypervolume", height=300)


def _hypervolume(trials: Sequence[Trial], directions: Sequence[str]) -> tuple[float, ...]:
    worst = [max if direction == "minimize" else min for direction in directions]
    reference = [
        pick(column)
        for pick, column in zip(worst, zip(*(t.values for t in trials), strict=True), strict=True)
    ]
    study = quiet_study(directions)
    study.add_trials([create_trial(state=TrialState.COMPLETE, values=list(t.values)) for t in trials])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Optuna's measure is to be had through its figure.
        drawn = optuna.visualization.plot_hypervolume_history(study, reference)
    return tuple(float(value) for value in drawn.data[0].y)
