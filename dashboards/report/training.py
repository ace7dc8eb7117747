"""The sections about the work: how training went, what it cost, what ended early."""

import math

from dashboards import figures
from dashboards.costs import Cost
from dashboards.costs import cost as cost_of
from dashboards.errors import ResultsError
from dashboards.insights import stops as stops_of
from dashboards.records import Sweep
from dashboards.report.page import Page, cards, paragraph, table
from dashboards.runs import Runs, histories
from dashboards.wording import counted, duration_text, number_text, percent_text

_NUMBERS_SHOWN, _MOST_REASONS, _LONGEST_REASON = 8, 30, 300


def curves(page: Page, sweep: Sweep, runs: Runs, trouble: str) -> list[str]:
    """Show the objective of all trials by validation, and training against validation for the best."""
    data = figures.curves_data(sweep)
    if not data.curves:
        return [paragraph("No trial has reported a validation.")]
    left = (
        f" {counted(data.left_out, 'trial')} left out: drawn are the best 20, the extremes, an even choice."
        if data.left_out
        else ""
    )
    view = " Outliers lie outside of the range shown: double-click for all." if data.view else ""
    faded = ", pruned ones faded" if any(curve.state == "pruned" for curve in data.curves) else ""
    summary = f"{counted(len(data.curves), 'trial')}{faded}.{left}{view}"
    if not any(math.isfinite(value) for curve in data.curves for value in curve.values):
        parts = [paragraph(f"No trial has reported a finite {data.metric}.")]
    else:
        drawing = figures.draw_curves(data)
        parts = [page.figure(drawing, f"{data.metric} at each validation", summary)]
    return parts + _logged(page, sweep, runs, trouble)


def _logged(page: Page, sweep: Sweep, runs: Runs, trouble: str) -> list[str]:
    best = sweep.best
    if trouble:
        return [paragraph(f"Training curves are left out; MLflow could not be read: {trouble}", "note")]
    if best is None or best.number not in runs.run_ids:
        return []
    try:
        found = histories(sweep, runs.run_ids[best.number])
    except ResultsError as error:
        return [paragraph(f"Training curves are left out; MLflow could not be read: {error}", "note")]
    data = figures.logged_data(sweep, best.number, found)
    if data is None:
        rule = "which Lightning logs only every `trainer.log_every_n_steps` steps, 50 if you name none"
        lacks = f"nothing in training that belongs to {sweep.summary.metric}, or had too few steps for it"
        return [paragraph(f"The best trial logged {lacks}: {rule}.", "note")]
    ends = [f"{curve.name} ends at {number_text(curve.values[-1])}" for curve in data.curves]
    title = f"Training against validation, trial {best.number} (the best)"
    return [page.figure(figures.draw_logged(data), title, f"{'; '.join(ends)}.")]


def cost(page: Page, sweep: Sweep) -> list[str]:
    """Show what the sweep cost, and what pruning saved."""
    timeline = figures.timeline_data(sweep)
    if timeline is None or not timeline.edges[-1]:
        return [paragraph("No trial with known times has ended.")]
    found = cost_of(sweep)
    parts = [cards(_cards(found))]
    joined = (
        f" Slices of {duration_text(timeline.slice_seconds)} show the state that took most of them."
        if timeline.slice_seconds
        else ""
    )
    share = "" if found.utilisation is None else f", {percent_text(found.utilisation)} of their time busy"
    summary = f"{counted(timeline.slots, 'slot')}{share}.{joined}"
    parts.append(page.figure(figures.draw_timeline(timeline), "Trials over slots and time", summary))
    return parts + _saved(page, sweep, found)


def _cards(found: Cost) -> list[tuple[str, str]]:
    items = [
        ("wall time", duration_text(found.wall_seconds)),
        ("time of all slots", duration_text(found.paid_seconds)),
        ("of it training", _percent(found.fit_seconds, found.paid_seconds)),
        ("slots", str(found.slots)),
        ("validations", f"{found.validations:,}"),
    ]
    if found.validations_saved:
        whole = found.validations + found.validations_saved
        share = _percent(found.validations_saved, whole)
        items.append(("validations saved", f"{found.validations_saved:,} ({share})"))
    if found.money is not None:
        items.append((f"price, at {found.price_per_hour:g} an hour and slot", _money(found.money)))
    return items


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.1 or not amount else f"{amount:.2g}"


def _percent(part: float, whole: float) -> str:
    return percent_text(part / whole) if whole else "-"


def _saved(page: Page, sweep: Sweep, found: Cost) -> list[str]:
    data = figures.saved_data(sweep)
    if data is None or found.validations_saved is None or found.seconds_saved is None:
        return []
    summary = (
        f"{counted(sum(data.trials), 'trial')} pruned; they left out"
        f" {counted(found.validations_saved, 'validation')}, where the longest training had {data.planned}:"
        f" about {duration_text(found.seconds_saved)} of training at their own pace."
    )
    return [page.figure(figures.draw_saved(data), "Where trials were pruned", summary)]


def stops(sweep: Sweep) -> list[str]:
    """Say which trials failed, diverged, were invalid or pruned, and why."""
    found = stops_of(sweep)
    if not found:
        return [paragraph("No trial failed, diverged, was invalid or pruned.")]
    rows: list[list[object]] = []
    for stop in found[:_MOST_REASONS]:
        numbers = ", ".join(map(str, stop.numbers[:_NUMBERS_SHOWN]))
        more = ", …" if len(stop.numbers) > _NUMBERS_SHOWN else ""
        reason = (stop.reason or "no reason given")[:_LONGEST_REASON]
        noun = "trial" if len(stop.numbers) == 1 else "trials"
        rows.append([stop.state, len(stop.numbers), reason, f"{noun} {numbers}{more}"])
    parts = [table(["state", "trials", "reason (of the first)", "which"], rows, caption="Why trials ended")]
    if len(found) > _MOST_REASONS:
        parts.append(paragraph(f"{len(found) - _MOST_REASONS} rarer reasons left out.", "note"))
    return parts
