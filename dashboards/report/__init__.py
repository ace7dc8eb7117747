"""A sweep, or several beside each other, as one HTML page that needs no network.

dashboards.figures, insights, costs, runs -> sections -> page
"""

from collections.abc import Sequence

from dashboards.errors import ResultsError
from dashboards.figures import importances_data
from dashboards.pareto import first_objective
from dashboards.records import Sweep
from dashboards.report import comparison, pareto, sections, training
from dashboards.report.learning_rates import learning_rates, trial_rates
from dashboards.report.page import Page, cards, footer, paragraph, text
from dashboards.report.trials import trial_table
from dashboards.runs import Runs, find_runs
from dashboards.wording import duration_text, number_text

__all__ = ["build"]


def build(sweeps: Sweep | Sequence[Sweep]) -> str:
    """Return the report as HTML.

    What only MLflow has, the training's own curves of the best trial and the runs' addresses, is read there.
    A store that cannot be read is named in the report and left out.

    Args:
        sweeps: One sweep, for everything about it; or several of one (first) objective, for a comparison.

    Raises:
        ResultsError: There is no sweep, or several have different objectives.
    """
    several = [sweeps] if isinstance(sweeps, Sweep) else list(sweeps)
    if len(several) == 1:
        return _single(several[0])
    return comparison.build([first_objective(sweep) for sweep in several])


def _single(sweep: Sweep) -> str:
    page = Page(f"{sweep.name} - sweep report")
    runs, trouble = _runs(sweep)
    page.parts.append(_header(sweep))
    if sweep.summary.objectives:
        page.section("Which trials are on the Pareto front?", *pareto.section(page, sweep))
        sweep = first_objective(sweep)
    page.section("What is the best configuration, and how sure are we?", *sections.best(sweep))
    if sweep.trials:
        page.section("Is the search done?", *sections.history(page, sweep))
        importances = importances_data(sweep)  # which two sections need
        page.section("What mattered?", *sections.importances(page, sweep, importances))
        page.section("Where to look next?", *sections.space(page, sweep, importances))
        if rates := [*learning_rates(page, sweep), *trial_rates(page, sweep)]:
            page.section("What did the learning-rate finder see?", *rates)
        page.section("How did training go?", *training.curves(page, sweep, runs, trouble))
        page.section("What did it cost?", *training.cost(page, sweep))
        page.section("What ended early, and why?", *training.stops(sweep))
        page.section("All trials", trial_table(page, sweep, runs))
    page.parts.append(footer([sweep]))
    return page.html()


def _runs(sweep: Sweep) -> tuple[Runs, str]:
    try:
        return find_runs(sweep), ""
    except ResultsError as error:
        return Runs(), str(error)


def _header(sweep: Sweep) -> str:
    summary, counts = sweep.summary, sweep.summary.counts
    asked = f" of {summary.trials_asked:,}" if summary.trials_asked else ""
    items = [
        (f"best {summary.metric}", number_text(sweep.best.value if sweep.best else None)),
        ("trials ended", f"{counts.finished:,}{asked}"),
        *(
            (state, f"{number:,}")
            for state in ("complete", "pruned", "diverged", "failed", "invalid", "running")
            if (number := getattr(counts, state))
        ),
    ]
    if summary.duration_seconds is not None:
        items.append(("took", duration_text(summary.duration_seconds)))
    started = f", started {summary.started.astimezone():%Y-%m-%d %H:%M}" if summary.started else ""
    objectives = summary.objectives or ((summary.metric, summary.direction),)
    wanted = ", ".join(f"{direction} {metric}" for metric, direction in objectives)
    about = f"{wanted}, {summary.state}{started}{_methods(sweep)}"
    return f"<header><h1>{text(sweep.name)}</h1>{paragraph(about)}{cards(items)}</header>"


def _methods(sweep: Sweep) -> str:
    found = []
    for key in ("sampler", "pruner"):
        method = sweep.spec.get(key)
        name = method.get("class_path") if isinstance(method, dict) else method
        if name:
            found.append(f"{key} {name}")
    return "".join(f", {method}" for method in found)
