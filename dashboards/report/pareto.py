"""The section about several objectives; all other sections are about the first."""

from dashboards import figures
from dashboards.records import Sweep
from dashboards.report.page import Page, paragraph, table
from dashboards.wording import counted, number_text, value_text

_MOST_IN_TABLE = 30


def section(page: Page, sweep: Sweep) -> list[str]:
    """Show the Pareto set: who is in it, among all others, and how it grew."""
    objectives = sweep.summary.objectives
    first = objectives[0][0]
    note = paragraph(f"The sections below are about the first objective, {first}, alone.", "note")
    if not sweep.summary.front:
        return [paragraph("No trial is complete, so there is no Pareto front.", "lead"), note]
    data = figures.pareto_data(sweep)
    count = counted(len(data.front_numbers), "trial")
    wanted = ", ".join(f"{direction} {metric}" for metric, direction in objectives)
    complete = sweep.summary.counts.complete
    alone = len(data.front_numbers) == 1
    how = "it is better than all others" if alone else "none of them is better in everything"
    lead = f"{count} of {complete} complete: {how} ({wanted})."
    shown = "the first three objectives" if len(objectives) > 3 else "the objectives"
    scatter = f"{count} on the Pareto front among all complete trials, by {shown}."
    grew = (
        "The volume between the Pareto front so far and the worst values: flat means that it no longer grows."
    )
    if len(data.ended) < complete:
        grew += f" Of {counted(len(data.ended), 'trial')}, evenly chosen."
    return [
        paragraph(lead, "lead"),
        page.figure(figures.draw_pareto(data), "The Pareto front", scatter),
        page.figure(figures.draw_hypervolume(data), "Hypervolume", grew),
        _table(sweep),
        note,
    ]


def _table(sweep: Sweep) -> str:
    trials = sweep.ranking()[: len(sweep.summary.front)][:_MOST_IN_TABLE]
    labels = sweep.labels
    names = [p.name for p in sweep.space if any(p.name in trial.params for trial in trials)]
    head = ["trial", *(metric for metric, _ in sweep.summary.objectives), *(labels[name] for name in names)]
    rows: list[list[object]] = [
        [
            trial.number,
            *(number_text(value, 6) for value in trial.values),
            *(value_text(trial.params[name]) if name in trial.params else "" for name in names),
        ]
        for trial in trials
    ]
    return table(head, rows, caption="The Pareto set, the best in the first objective first")
