"""The sections about the result: the best, the history, what mattered, where to look next."""

from dashboards import figures
from dashboards.borders import Border, borders
from dashboards.figures import History, Importances, Space
from dashboards.insights import Progress, Standing, progress, standing
from dashboards.records import Sweep, Trial
from dashboards.report.page import Page, columns, paragraph, table, text
from dashboards.values import outside
from dashboards.wording import counted, number_text, percent_text, value_text, worse_text

_MOST_IN_TABLE = 12
_LONGEST_VALUE = 48


def best(sweep: Sweep) -> list[str]:
    """Say which configuration is the best, and by how much."""
    found = standing(sweep)
    if found is None:
        return [paragraph(_nothing_complete(sweep), "lead")]
    metric, count = sweep.summary.metric, sweep.summary.counts.complete
    lead = f"Trial {found.best.number}: {metric} = {number_text(found.best.value, 6)}"
    index = next(i for i, trial in enumerate(sweep.trials) if trial.number == found.best.number)
    copy = f'<p><button type="button" class="copy" data-row="{index}">copy its configuration</button></p>'
    return [
        paragraph(f"{lead}, the best of {counted(count, 'complete trial')}.", "lead"),
        paragraph(_certainty(found)),
        _ranking(sweep, found),
        copy if found.best.config else "",
    ]


def _nothing_complete(sweep: Sweep) -> str:
    counts = sweep.summary.counts
    if not sweep.trials:
        return "There is no trial yet."
    if not counts.finished and not counts.invalid:
        return "No trial has ended yet."
    states = ("pruned", "diverged", "failed", "invalid")
    found = ", ".join(f"{n} {state}" for state in states if (n := getattr(counts, state)))
    return f"No trial is complete, so there is no best one: {found}."


def _certainty(found: Standing) -> str:
    if not found.gaps:
        return "There is no other configuration to compare it with."
    margin = f"The next configuration is {worse_text(found.gaps[0])}"
    if found.repeats is None:
        rule = "No configuration was repeated with another seed, so it is unknown how much of that is chance."
        return f"{margin}. {rule}"
    spread = (
        f"repeated configurations ({found.repeats.configurations}, {found.repeats.trials} trials) vary by"
        f" {number_text(found.repeats.deviation, 3)} (standard deviation)"
    )
    if not found.within_noise:
        return f"{margin}; {spread}: its lead is larger than chance explains."
    others = counted(found.within_noise, "other trial")
    verb = "is" if found.within_noise == 1 else "are"
    return f"{margin}; {spread}: {others} {verb} too close to tell apart from it."


def _ranking(sweep: Sweep, found: Standing) -> str:
    """Return the best and the runners-up, with the parameters in which they differ first."""
    trials = [found.best, *found.runners_up]
    gaps = ["", *(f"+{number_text(gap, 3)}" for gap in found.gaps)]
    if sweep.summary.direction == "maximize":
        gaps = [gap.replace("+", "-") for gap in gaps]
    labels = sweep.labels
    names = [p.name for p in sweep.space if any(p.name in trial.params for trial in trials)]
    rows: list[list[object]] = [
        ["trial", *(trial.number for trial in trials)],
        [sweep.summary.metric, *(number_text(trial.value, 6) for trial in trials)],
    ]
    if found.gaps:
        rows.append(["behind the best by", *gaps])
    rows += [[labels[name], *(_param(trial, name) for trial in trials)] for name in names]
    head = ["", "best", *(f"{place}." for place in range(2, len(trials) + 1))]
    return table(head, rows, caption="The best configurations", is_sheet=True)


def _param(trial: Trial, name: str) -> str:
    if name not in trial.params:
        return "-"
    shown = value_text(trial.params[name])
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[: _LONGEST_VALUE - 1]}…"


def history(page: Page, sweep: Sweep) -> list[str]:
    """Show the history, and say what the last third of the trials brought."""
    data = figures.history_data(sweep)
    if not data.points and not data.valueless:
        return [paragraph("No trial has ended yet.")]
    found = progress(sweep)
    said = _progress(sweep, found, standing(sweep))
    left = f" {counted(data.left_out, 'trial')} left out, evenly, and no extreme." if data.left_out else ""
    drawing = figures.draw_history(data)
    counts = sweep.summary.counts
    ended = f"{counted(counts.finished, 'trial')} ended, {counts.complete:,} of them complete"
    summary = f"{ended}{_best_text(sweep)}{left}{_outliers(data)}"
    return [paragraph(said), page.figure(drawing, "Value of each trial, and the best so far", summary)]


def _best_text(sweep: Sweep) -> str:
    best_trial = sweep.best
    if best_trial is None:
        return "."
    return f"; the best, {number_text(best_trial.value)}, is trial {best_trial.number}."


def _outliers(data: History) -> str:
    count = sum(outside(points.values, data.view) for points in data.points)
    if not count:
        return ""
    verb = "lies" if count == 1 else "lie"
    return f" {counted(count, 'trial')} {verb} outside of the range shown: double-click for all."


def _progress(sweep: Sweep, found: Progress | None, lead: Standing | None) -> str:
    if lead is None:
        return "No trial is complete, so the search has found nothing yet."
    if found is None:
        return "Too few trials have ended to say how the search went on."
    third = f"The last third of the trials ({found.first} to {found.last})"
    metric = sweep.summary.metric
    if found.gain is None:
        return f"{third} brought the first complete trials: the search has only begun."
    since = f"{counted(found.since_best, 'trial')} ended since the best one, trial {found.best_number}."
    if not found.gain:
        one_in = sweep.summary.counts.finished + 1  # each of so many trials alike is as likely the best
        advice = f"Were further trials like these, one in {one_in:,} would be better than all so far."
        return f"{third} brought no better {metric}. {since} {advice}"
    improved = f"{third} improved {metric} from {number_text(found.before)} to {number_text(found.after)}"
    if lead.repeats and found.gain < lead.repeats.margin:
        return f"{improved}, which is no more than equal configurations vary. {since}"
    return f"{improved}: the search still found something. {since}"


def importances(page: Page, sweep: Sweep, data: Importances) -> list[str]:
    """Show the importances, with a caution where there are too few trials."""
    if not data.entries:
        return [paragraph("Too few complete trials that differ to say which parameter mattered.")]
    top = [
        f"{entry.label} {percent_text(entry.share)}"
        + (f" (of the {entry.trials:,} trials that have it)" if entry.is_conditional else "")
        for entry in data.entries[:3]
    ]
    stopped = data.trials > len(sweep.ranking())
    among = "all that were complete, pruned or diverged" if stopped else "all complete trials"
    summary = f"{', '.join(top)}. Measured by PED-ANOVA: how the best tenth differs from {among}."
    caution = ""
    if not data.is_enough:
        caution = paragraph(
            f"Take this with caution: {counted(data.trials, 'trial')} for"
            f" {counted(len(sweep.space), 'parameter')} is few, another sweep may rank them otherwise.",
            "caution",
        )
    return [caution, page.figure(figures.draw_importances(data), "Importance of the parameters", summary)]


def space(page: Page, sweep: Sweep, importances: Importances) -> list[str]:
    """Show where the good values lie, and call out ranges that they crowd at the bounds of."""
    slices = figures.slices_data(sweep, importances)
    if not slices:
        return [paragraph("Too few complete trials to say where the good values lie.")]
    found = borders(sweep)
    parts = [_borders(sweep, found)]
    few = len(sweep.space) - len(slices)
    drawn = []
    best_trial = sweep.ranking()[0]
    parts.append(paragraph(_dots(slices)))
    for data in slices:
        label, name = data.labels[0], data.parameters[0].name
        at = f", best at {_param(best_trial, name)}" if name in best_trial.params else ""
        summary = f"{name}{at}."
        drawn.append(page.figure(figures.draw_slice(data), label, summary))
    parts.append(columns(drawn))
    if few > 0:
        parts.append(paragraph(f"{counted(few, 'less important parameter')} left out.", "note"))
    return parts + _contour(page, sweep, importances) + _parallel(page, sweep, importances)


def _dots(slices: tuple[Space, ...]) -> str:
    left_out = max(data.left_out for data in slices)
    left = f" Up to {counted(left_out, 'trial')} of the worse left out." if left_out else ""
    view = ""
    if any(data.view for data in slices):
        view = " Outliers lie outside of the ranges shown: double-click a figure for all."
    return f"Each dot is a complete trial, later ones are bluer.{left}{view}"


def _borders(sweep: Sweep, found: tuple[Border, ...]) -> str:
    if not found:
        return paragraph("Nothing says that a range is too narrow: no values grow better up to its border.")
    labels = sweep.labels
    items = "".join(f"<li>{text(_border(labels[b.parameter.name], b))}</li>" for b in found)
    head = "Best values at the border of the space, and growing better towards it:"
    return f'<div class="caution"><p>{head}</p><ul>{items}</ul></div>'


def _border(label: str, border: Border) -> str:
    bound = border.parameter.low if border.side == "lower" else border.parameter.high
    direction = "lower" if border.side == "lower" else "raise"
    return (
        f"{label}: {border.near} of the best {border.best} trials lie at the {border.side} bound,"
        f" {number_text(bound)}; {direction} it."
    )


def _contour(page: Page, sweep: Sweep, importances: Importances) -> list[str]:
    data = figures.contour_data(sweep, importances)
    if data is None:
        return []
    one, other = data.labels
    summary = (
        f"{data.metric} over the two most important parameters, between {counted(len(data.trials), 'trial')}"
        f" (dots){_left_out(data.left_out, data.outliers)}."
    )
    return [page.figure(figures.draw_contour(data), f"{one} and {other} together", summary)]


def _parallel(page: Page, sweep: Sweep, importances: Importances) -> list[str]:
    data = figures.parallel_data(sweep, importances)
    if data is None:
        return []
    summary = (
        f"One line a trial, {counted(len(data.trials), 'trial')}, the better the bluer"
        f"{_left_out(data.left_out, data.outliers)}{_axes_left_out(sweep, data)}."
    )
    wide = 170 * (len(data.labels) + 1)
    drawing = figures.draw_parallel(data)
    return [page.figure(drawing, "Parameters of each complete trial", summary, wide=min(wide, 900))]


def _axes_left_out(sweep: Sweep, data: Space) -> str:
    trials = sweep.ranking()
    shared = sum(all(parameter.name in trial.params for trial in trials) for parameter in sweep.space)
    parts = []
    if shared > len(data.parameters):
        parts.append(counted(shared - len(data.parameters), "less important parameter"))
    if len(sweep.space) > shared:
        parts.append("parameters that only some trials have")
    return f"; without {' and '.join(parts)}" if parts else ""


def _left_out(left_out: int, outliers: int) -> str:
    parts = [f"{counted(left_out, 'trial')} of the worse"] if left_out else []
    if outliers:
        parts.append(f"{counted(outliers, 'trial')} far out on the bad side")
    return f"; left out: {' and '.join(parts)}" if parts else ""
