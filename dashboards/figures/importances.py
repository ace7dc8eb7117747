"""Which parameters mattered, by Optuna's measure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import optuna
import plotly.graph_objects as go  # type: ignore[import-untyped]

from dashboards.figures.studies import study_of
from dashboards.figures.style import BLUE, ORANGE, laid_out, plain, plain_names
from dashboards.records import Parameter, Sweep, Trial
from dashboards.wording import percent_text

# Below these an importance is mostly chance (a rule of thumb of this project: a sampler's random start alone
# takes 10 trials, and each parameter needs a few values tried beside each other).
ENOUGH_TRIALS, ENOUGH_PER_PARAMETER = 20, 10
_FEWEST, _TOP_SHARE = 4, 0.1


@dataclass(frozen=True, slots=True)
class Importance:
    """One parameter's share of what all parameters explain.

    Attributes:
        name: Optuna's name.
        label: What figures and captions call it.
        share: From 0 to 1; the shares of the parameters that every trial has add up to 1.
        trials: Among how many trials it was measured.
        is_conditional: Whether only these trials have it; its share is among their parameters.
    """

    name: str
    label: str
    share: float
    trials: int
    is_conditional: bool


@dataclass(frozen=True, slots=True)
class Importances:
    """What the figure of importances shows.

    Attributes:
        entries: The parameters, most important first.
        trials: How many trials there are that were complete, pruned or diverged.
        is_enough: Whether they are enough to rely on it.
    """

    entries: tuple[Importance, ...]
    trials: int
    is_enough: bool


def importances_data(sweep: Sweep) -> Importances:
    """Return each parameter's importance by PED-ANOVA (Watanabe et al., 2023), Optuna's default.

    It measures how much the best tenth of the trials differs from all of them in a parameter. Trials that
    were pruned or diverged are among all of them, as the worst: else what makes a trial be pruned would
    not show. Parameters that only some trials have are measured among those. Parameters that never varied
    are left out.
    """
    complete = sweep.ranking()
    trials = complete + [trial for trial in sweep.trials if trial.state in ("pruned", "diverged")]
    names = {trial.number: frozenset(trial.params) for trial in trials}
    everywhere = frozenset.intersection(*names.values()) if names else frozenset()
    entries = _measured(sweep, trials, everywhere, everywhere, is_conditional=False)
    owners: dict[frozenset[int], set[str]] = {}
    for parameter in sweep.space:
        if parameter.name not in everywhere:
            having = frozenset(number for number, own in names.items() if parameter.name in own)
            owners.setdefault(having, set()).add(parameter.name)
    for having, conditional in owners.items():
        own_trials = [trial for trial in trials if trial.number in having]
        measured = everywhere | conditional
        entries += _measured(sweep, own_trials, measured, conditional, is_conditional=True)
    enough = max(ENOUGH_TRIALS, ENOUGH_PER_PARAMETER * len(sweep.space))
    ordered = sorted(entries, key=lambda entry: (-entry.share, entry.name))
    return Importances(tuple(ordered), len(trials), len(trials) >= enough)


def _measured(
    sweep: Sweep, trials: list[Trial], measured: Iterable[str], wanted: Iterable[str], *, is_conditional: bool
) -> list[Importance]:
    """Return importances among trials: the complete ones first, then those that were stopped."""
    space = [p for p in sweep.space if p.name in set(measured) and varies(p, trials)]
    values = [trial.value for trial in trials if trial.state == "complete" and trial.value is not None]
    if len(values) < _FEWEST or not space or len(set(values)) < 2:
        return []
    direction = sweep.summary.direction
    sign = -1.0 if direction == "maximize" else 1.0
    worst = sign * max(sign * value for value in values)
    stopped = worst + sign * (abs(worst) + 1)
    known = [*values, *[stopped] * (len(trials) - len(values))]
    valued = [replace(trial, value=value) for trial, value in zip(trials, known, strict=True)]
    study = study_of(valued, space, direction)
    better = len(known) - known.count(stopped if stopped in known else worst)
    top = min(math.ceil(_TOP_SHARE * len(trials)), better)  # of many equal ones, all would be the best tenth
    shares = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=(top - 0.5) / len(trials)),
        params=[p.name for p in space],
    )
    labels = sweep.labels
    return [
        Importance(name, labels[name], float(share), len(trials), is_conditional)
        for name, share in shares.items()
        if name in set(wanted)
    ]


def varies(parameter: Parameter, trials: Iterable[Trial]) -> bool:
    """Whether a parameter has several values in trials, of which not all need to have it."""
    return len({repr(trial.params[parameter.name]) for trial in trials if parameter.name in trial.params}) > 1


def by_importance(sweep: Sweep, data: Importances) -> list[Parameter]:
    """Return the search space, the most important parameters first."""
    place = {entry.name: index for index, entry in enumerate(data.entries)}
    return sorted(sweep.space, key=lambda parameter: place.get(parameter.name, len(place)))


def draw_importances(data: Importances) -> go.Figure:
    """Draw one bar a parameter, the most important on top."""
    figure = go.Figure()
    names = plain_names(entry.label for entry in data.entries)
    labelled = list(zip(names, data.entries, strict=True))
    for is_conditional, name, colour in (
        (False, "in all trials", BLUE),
        (True, "only in some trials, measured among those", ORANGE),
    ):
        entries = [(label, entry) for label, entry in labelled if entry.is_conditional is is_conditional]
        if entries:
            figure.add_bar(
                x=[100 * entry.share for _, entry in entries],
                y=[label for label, _ in entries],
                customdata=[(plain(entry.name, 200), entry.trials) for _, entry in entries],
                orientation="h", name=name, marker_color=colour,
                text=[plain(percent_text(entry.share)) for _, entry in entries],
                textposition="outside", cliponaxis=False,
                hovertemplate="%{customdata[0]}: %{x:.1f} %, %{customdata[1]} trials<extra></extra>",
            )  # fmt: skip
    order = names[::-1]
    laid_out(figure, x="importance (%)", height=130 + 26 * max(len(order), 2))
    widest = max((100 * entry.share for entry in data.entries), default=100.0)
    figure.update_xaxes(range=[0, 1.15 * widest])  # room for the texts behind the bars
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=order)
    return figure.update_layout(barmode="overlay", showlegend=any(e.is_conditional for e in data.entries))
