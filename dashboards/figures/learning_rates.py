"""Range tests of the learning-rate finder: loss against rate, with the suggestion and the interval."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from dashboards.figures.style import BLUE, GREEN, ORANGE, laid_out
from dashboards.records import Sweep

# A test's last losses explode: what lies so many times the curve's own range above it is left out of view.
_ABOVE = 0.6
_MOST_TESTS = 12


@dataclass(frozen=True, slots=True)
class RangeTests:
    """What was found for one parameter.

    Attributes:
        parameter: Its name.
        curves: Of each range test the rates and the raw losses; None where a loss was not finite.
        suggestion: The suggested rate; None if none was found.
        interval: The rates that are worth searching; None likewise.
        searched: What the sweep searches of them; None outside of a sweep.
        confidence: `high`, `medium`, `low` or `none`.
        notes: Lines about it.
        view: The range of losses to show; None for all.
        words: What interval and suggestion are called.
    """

    parameter: str
    curves: tuple[tuple[tuple[float, ...], tuple[float | None, ...]], ...]
    suggestion: float | None
    interval: tuple[float, float] | None
    searched: tuple[float, float] | None
    confidence: str
    notes: tuple[str, ...]
    view: tuple[float, float] | None
    words: tuple[str, str] = ("interval", "suggestion")


def range_tests_data(source: Sweep | Mapping[str, Any]) -> list[RangeTests]:
    """Return the findings of a sweep, or of its study's attribute `lr_finder`, one for each parameter."""
    kept = source.lr_finder if isinstance(source, Sweep) else source
    return [_data(finding) for finding in kept.get("findings", [])]


def trial_tests_data(sweep: Sweep) -> RangeTests | None:
    """Return the range tests that trials began with, those of the best dozen; None without any.

    `suggestion` is the median of all trials' and `interval` from the lowest to the highest of them.
    """
    tested = [trial for trial in sweep.trials if trial.rate]
    if not tested:
        return None
    found = sorted(trial.rate["suggestion"] for trial in tested if trial.rate["suggestion"] is not None)
    ranked = [trial for trial in [*sweep.ranking(), *tested] if trial.rate and trial.rate["curve"]["losses"]]
    shown = list({trial.number: trial for trial in ranked}.values())[:_MOST_TESTS]
    curves = tuple((tuple(t.rate["curve"]["rates"]), tuple(t.rate["curve"]["losses"])) for t in shown)
    return RangeTests(
        parameter=tested[0].rate["parameter"],
        curves=curves,
        suggestion=statistics.median(found) if found else None,
        interval=(found[0], found[-1]) if len(found) > 1 and found[0] < found[-1] else None,
        searched=None,
        confidence="",
        notes=tuple(dict.fromkeys(note for trial in tested for note in trial.rate["notes"])),
        view=_view([losses for _, losses in curves]),
        words=("suggestions of all trials", "their median"),
    )


def _data(finding: Mapping[str, Any]) -> RangeTests:
    curves = tuple((tuple(c["rates"]), tuple(c["losses"])) for c in finding["curves"])
    return RangeTests(
        parameter=finding["parameter"],
        curves=curves,
        suggestion=finding["suggestion"],
        interval=_pair(finding["interval"]),
        searched=_pair(finding["searched"]),
        confidence=finding["confidence"],
        notes=tuple(finding["notes"]),
        view=_view([losses for _, losses in curves]),
    )


def _pair(ends: list[float] | None) -> tuple[float, float] | None:
    return (ends[0], ends[1]) if ends else None


def _view(all_losses: list[tuple[float | None, ...]]) -> tuple[float, float] | None:
    known = [[loss for loss in losses if loss is not None] for losses in all_losses]
    known = [losses for losses in known if losses]
    if not known:
        return None
    low, start = min(map(min, known)), max(max(losses[: max(1, len(losses) // 5)]) for losses in known)
    room = _ABOVE * (start - low)
    return (low - room / 6, start + room) if room > 0 else None


def draw_range_tests(data: RangeTests) -> go.Figure:
    """Draw the raw losses against the rate, the interval as a band, the suggestion as a line."""
    figure = go.Figure()
    opacity = 1.0 if len(data.curves) == 1 else 0.55
    for number, (rates, losses) in enumerate(data.curves):
        figure.add_scatter(
            x=rates, y=losses, name="range test", line={"color": BLUE, "width": 1.3}, mode="lines",
            opacity=opacity, showlegend=number == 0, legendgroup="tests",
            hovertemplate=f"test {number}, rate %{{x:.3g}}: %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    if data.interval:
        figure.add_vrect(*data.interval, fillcolor=GREEN, opacity=0.15, line_width=0)
        _in_legend(figure, data.words[0], {"color": GREEN, "width": 8}, 0.3)
    if data.searched and data.searched != data.interval:
        for end in data.searched:
            figure.add_vline(end, line={"color": GREEN, "width": 1, "dash": "dot"})
        _in_legend(figure, "searched", {"color": GREEN, "width": 1, "dash": "dot"}, 1.0)
    if data.suggestion is not None:
        figure.add_vline(data.suggestion, line={"color": ORANGE, "width": 2})
        name = f"{data.words[1]} {data.suggestion:.2g}"
        _in_legend(figure, name, {"color": ORANGE, "width": 2}, 1.0)
    laid_out(figure, x=data.parameter, y="training loss of a step", height=380)
    figure.update_xaxes(type="log", exponentformat="power")
    if data.view:
        figure.update_yaxes(range=data.view)
    return figure.update_layout(showlegend=True)


def _in_legend(figure: go.Figure, name: str, line: dict[str, object], opacity: float) -> None:
    figure.add_scatter(x=[None], y=[None], name=name, line=line, opacity=opacity, mode="lines")
