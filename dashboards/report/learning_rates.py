"""The range tests of the learning-rate finder: a section of a sweep's report, and a page of their own."""

from collections.abc import Mapping
from typing import Any

from dashboards import figures
from dashboards.records import Sweep
from dashboards.report.page import Page, paragraph, text
from dashboards.wording import counted, number_text

_MOST_NOTES = 5


def build(name: str, kept: Mapping[str, Any]) -> str:
    """Return the page that `sweeps lr-find` writes, as HTML that needs no network.

    Args:
        name: The sweep's name.
        kept: What was found, in the form of a study's attribute `lr_finder`.
    """
    page = Page(f"{name} - learning rates")
    about = f"{kept['steps']} optimizer steps a range test, rates from {kept['low']:g} to {kept['high']:g}"
    page.parts.append(f"<header><h1>{text(name)}</h1>{paragraph(about)}</header>")
    page.section("What did the learning-rate finder see?", *learning_rates(page, kept))
    return page.html()


def trial_rates(page: Page, sweep: Sweep) -> list[str]:
    """Show the range tests that the trials began with, and which rates they led to; nothing without any."""
    data = figures.trial_tests_data(sweep)
    if data is None:
        return []
    tested = [trial for trial in sweep.trials if trial.rate]
    count = sum(trial.rate["suggestion"] is not None for trial in tested)
    said = f"A rate for {data.parameter} was found in {count:,} of {counted(len(tested), 'trial')}."
    if (best := sweep.best) and best.rate and best.rate["rate"] is not None:
        said += f" The best, trial {best.number}, trained with {number_text(best.rate['rate'])}"
        said += f", {_origin(best.rate)}."
    parts = [
        paragraph(said),
        *(paragraph(f"{note[:1].upper()}{note[1:]}.", "note") for note in data.notes[:_MOST_NOTES]),
    ]
    if data.curves and data.suggestion is not None:
        ends = f", from {' to '.join(number_text(end) for end in data.interval)}" if data.interval else ""
        summary = (
            f"{counted(len(data.curves), 'range test')} of the best trials; over all trials the suggestion "
        )
        summary += f"is {number_text(data.suggestion)} in the median{ends}."
        parts.append(page.figure(figures.draw_range_tests(data), f"Loss at rising {data.parameter}", summary))
    return parts


def _origin(rate: Mapping[str, Any]) -> str:
    if rate["suggestion"] is None:
        return "since none was found"
    factor = f" times {number_text(rate['multiplier'])}" if rate["multiplier"] != 1 else ""
    return f"its range test's {number_text(rate['suggestion'])}{factor}"


def learning_rates(page: Page, source: Sweep | Mapping[str, Any]) -> list[str]:
    """Show range tests and what was found in them, of a sweep or of what a study keeps of them."""
    parts = []
    for data in figures.range_tests_data(source):
        notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in data.notes)
        if data.suggestion is None or data.interval is None:
            parts.append(paragraph(f"{data.parameter}: no learning rate was found.{notes}", "note"))
            continue
        ends = " to ".join(number_text(end) for end in data.interval)
        searched = ""
        if data.searched and data.searched != data.interval:
            searched = f", searched {' to '.join(number_text(end) for end in data.searched)}"
        summary = (
            f"{counted(len(data.curves), 'range test')}: suggestion {number_text(data.suggestion)}, "
            f"interval {ends}"
            f"{searched}, confidence {data.confidence}.{notes}"
        )
        title = f"Loss at rising {data.parameter}"
        parts.append(page.figure(figures.draw_range_tests(data), title, summary))
    return parts
