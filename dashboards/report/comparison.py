"""The report of several sweeps: one objective, different searches."""

from collections.abc import Sequence

from dashboards import figures
from dashboards.costs import cost
from dashboards.figures.comparison import BUDGETS
from dashboards.insights import standing
from dashboards.records import Sweep
from dashboards.report.page import Page, columns, footer, paragraph, table, text
from dashboards.wording import counted, duration_text, number_text, short_names, value_text, worse_text


def build(sweeps: Sequence[Sweep]) -> str:
    """Return the comparison as HTML.

    Raises:
        ResultsError: There is no sweep, or they have different objectives.
    """
    data = figures.comparison_data(sweeps)
    names = ", ".join(sweep.name for sweep in sweeps)
    page = Page(f"{names} - sweep comparison")
    about = paragraph(f"{counted(len(sweeps), 'sweep')}: {data.direction} {data.metric}")
    page.parts.append(f"<header><h1>{text(names)}</h1>{about}</header>")
    page.section("Which sweep found the best?", _lead(sweeps), _table(sweeps))
    drawn = [
        page.figure(figures.draw_comparison(data, budget), f"Against {title}", _ends(data, budget))
        for budget, title in BUDGETS.items()
    ]
    page.section("What did each spend on it?", columns(drawn))
    if any(sweep.ranking() for sweep in sweeps):
        summary = "The share of each sweep's complete trials whose value is at most the one below."
        drawing = page.figure(figures.draw_edf(sweeps), "Distribution of the values", summary)
        page.section("How good are the trials as a whole?", drawing)
    page.section("The best configurations", _configurations(sweeps))
    page.parts.append(footer(sweeps))
    return page.html()


def _ranked(sweeps: Sequence[Sweep]) -> list[Sweep]:
    sign = -1 if sweeps[0].summary.direction == "maximize" else 1
    return sorted((s for s in sweeps if s.ranking()), key=lambda s: sign * (s.ranking()[0].value or 0.0))


def _lead(sweeps: Sequence[Sweep]) -> str:
    ranked = _ranked(sweeps)
    if not ranked:
        return paragraph("None of the sweeps has a complete trial.", "lead")
    best = ranked[0]
    found = standing(best)
    value = number_text(best.summary.best_value, 6)
    lead = paragraph(
        f"{best.name}: {best.summary.metric} = {value}, trial {best.summary.best_number}.", "lead"
    )
    if found is None or len(ranked) < 2:
        return lead
    gap = abs((ranked[1].ranking()[0].value or 0.0) - (found.best.value or 0.0))
    said = f"The best of {ranked[1].name} is {worse_text(gap)}"
    if found.repeats is None:
        return lead + paragraph(
            f"{said}; no configuration was repeated with another seed to say how much is chance."
        )
    deviation = number_text(found.repeats.deviation, 3)
    return lead + paragraph(f"{said}; equal configurations vary by {deviation} (standard deviation).")


def _table(sweeps: Sequence[Sweep]) -> str:
    head = ["sweep", "state", f"best {sweeps[0].summary.metric}", "trial", "trials", "complete", "pruned",
            "diverged", "failed", "validations", "wall time", "slots"]  # fmt: skip
    rows: list[list[object]] = []
    for sweep in sweeps:
        summary, counts, spent = sweep.summary, sweep.summary.counts, cost(sweep)
        number = "-" if summary.best_number is None else summary.best_number
        rows.append(
            [
                sweep.name, summary.state, number_text(summary.best_value), number, counts.finished,
                counts.complete, counts.pruned, counts.diverged, counts.failed, f"{spent.validations:,}",
                duration_text(spent.wall_seconds), spent.slots,
            ]
        )  # fmt: skip
    return table(head, rows, caption="The sweeps")


def _ends(data: figures.Comparison, budget: str) -> str:
    ends = []
    for line in data.lines:
        if line.values:
            spent = getattr(line, budget)
            reached = spent[line.values.index(line.values[-1])]
            amount = f"{reached:,.0f} of {spent[-1]:,.0f} {budget}"
            ends.append(f"{line.name} reaches {number_text(line.values[-1])} after {amount}")
    return f"{'; '.join(ends)}." if ends else "Nothing is complete."


def _configurations(sweeps: Sequence[Sweep]) -> str:
    names = list(dict.fromkeys(p.name for sweep in sweeps for p in sweep.space))
    labels = short_names(names)
    bests = [sweep.best for sweep in sweeps]
    rows: list[list[object]] = [
        [labels[name], *(value_text(b.params[name]) if b and name in b.params else "-" for b in bests)]
        for name in names
    ]
    return table(
        ["", *(sweep.name for sweep in sweeps)],
        rows,
        caption="The best configuration of each sweep",
        is_sheet=True,
    )
