"""What a sweep cost: trials over slots, how busy the slots were, what pruning saved."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from dashboards.costs import Occupied, occupied, planned_validations
from dashboards.figures.style import BLUE, ORANGE, STATE_COLOURS, laid_out, plain, whole_ticks
from dashboards.records import Sweep

MOST_BARS, BINS = 2_000, 120


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of one slot's time; seconds since the sweep's first trial started.

    Attributes:
        slot: Counted from 1.
        start: When it starts.
        seconds: How long it lasts.
        state: The trial's state, or that of most of the time.
        label: What it was.
    """

    slot: int
    start: float
    seconds: float
    state: str
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the timeline shows.

    Attributes:
        bars: The stretches, by start.
        slots: How many slots there were.
        edges: The bounds of the bins of `busy`, in seconds; one more than there are bins.
        busy: The share of all slots' time in each bin in which a trial ran, from 0 to 1.
        slice_seconds: 0 if each bar is a trial; else bars are slices of so many seconds, joined while the
            state that took most of the slice stays the same.
    """

    bars: tuple[Bar, ...]
    slots: int
    edges: tuple[float, ...]
    busy: tuple[float, ...]
    slice_seconds: float


@dataclass(frozen=True, slots=True)
class Saved:
    """At which validation trials were pruned.

    Attributes:
        validations: Validations at which some trial was pruned, ascending.
        trials: How many trials were pruned there.
        planned: Validations of a full training.
    """

    validations: tuple[int, ...]
    trials: tuple[int, ...]
    planned: int


def timeline_data(sweep: Sweep, most: int = MOST_BARS) -> Timeline | None:
    """Return what the timeline shows; None if no trial has its times."""
    found = occupied(sweep.trials)
    if not found:
        return None
    slots = max(stretch.slot for stretch in found)
    end = max(stretch.end for stretch in found)
    if len(found) <= most:
        bars = [
            Bar(
                s.slot, s.start, s.end - s.start, s.state, f"trial {s.number}, {s.worker or 'worker unknown'}"
            )
            for s in found
        ]
        return Timeline(tuple(bars), slots, *_busy(found, slots, end), slice_seconds=0.0)
    slices = max(50, most // slots)
    bars = [bar for slot in range(1, slots + 1) for bar in _sliced(found, slot, end / slices, slices)]
    return Timeline(tuple(bars), slots, *_busy(found, slots, end), slice_seconds=end / slices)


def _sliced(found: Sequence[Occupied], slot: int, width: float, slices: int) -> list[Bar]:
    """Return one slot's bars of whole slices, neighbours of one state joined."""
    shares: list[dict[str, float]] = [{} for _ in range(slices)]
    for stretch in found:
        if stretch.slot == slot:
            for index, seconds in _cut(stretch, width, slices):
                shares[index][stretch.state] = shares[index].get(stretch.state, 0.0) + seconds
    bars: list[Bar] = []
    for index, share in enumerate(shares):
        if sum(share.values()) < width / 2:
            continue
        state = max(share, key=share.__getitem__)
        start = index * width
        last = bars[-1] if bars else None
        if last and last.state == state and abs(last.start + last.seconds - start) < width / 2:
            bars[-1] = Bar(slot, last.start, last.seconds + width, state, last.label)
        else:
            bars.append(Bar(slot, start, width, state, f"mostly {state}"))
    return bars


def _cut(stretch: Occupied, width: float, slices: int) -> list[tuple[int, float]]:
    """Return the slices that a stretch touches, and the seconds in each."""
    if width <= 0:
        return []
    first, last = (min(int(at / width), slices - 1) for at in (stretch.start, stretch.end))
    return [
        (i, max(0.0, min(stretch.end, (i + 1) * width) - max(stretch.start, i * width)))
        for i in range(first, last + 1)
    ]


def _busy(found: Sequence[Occupied], slots: int, end: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    width = end / BINS
    totals = [0.0] * BINS
    for stretch in found:
        for index, seconds in _cut(stretch, width, BINS):
            totals[index] += seconds
    edges = tuple(index * width for index in range(BINS + 1))
    return edges, tuple(min(total / (width * slots), 1.0) if width else 0.0 for total in totals)


def draw_timeline(data: Timeline) -> go.Figure:
    """Draw the trials over slots and time, and below it the share of the slots that was busy."""
    unit, seconds = _unit(data.edges[-1])
    height = 60 + min(26 * data.slots + 40, 420)
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[height, 120]
    )
    for state, colour in STATE_COLOURS.items():
        bars = [bar for bar in data.bars if bar.state == state]
        if bars:
            figure.add_bar(
                x=[bar.seconds / seconds for bar in bars], base=[bar.start / seconds for bar in bars],
                y=[bar.slot for bar in bars], customdata=[(plain(bar.label), bar.seconds) for bar in bars],
                orientation="h", width=0.8, name=state, marker={"color": colour, "line": {"width": 0}},
                hovertemplate="%{customdata[0]}: %{customdata[1]:.1f} s<extra>" + state + "</extra>",
            )  # fmt: skip
    figure.add_scatter(
        x=[edge / seconds for edge in data.edges[:-1]], y=[100 * share for share in data.busy],
        line={"color": BLUE, "shape": "hv", "width": 1.5}, fill="tozeroy", showlegend=False, name="busy",
        hovertemplate="%{x:.1f} " + unit + ": %{y:.0f} % of the slots busy<extra></extra>", row=2, col=1,
    )  # fmt: skip
    laid_out(figure, height=height + 170, barmode="overlay", hovermode="closest")
    figure.update_yaxes(
        row=1,
        col=1,
        title_text="slot",
        dtick=max(1, data.slots // 12),
        showgrid=False,
        range=[data.slots + 0.6, 0.4],
    )
    figure.update_yaxes(row=2, col=1, title_text="busy (%)", range=[0, 105], tickvals=[0, 50, 100])
    return figure.update_xaxes(row=2, col=1, title_text=f"{unit} since the first trial started")


def _unit(seconds: float) -> tuple[str, float]:
    if seconds < 300:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)


def saved_data(sweep: Sweep) -> Saved | None:
    """Return at which validation trials were pruned; None if none was, or if no full training is known."""
    planned = planned_validations(sweep)
    pruned = Counter(max(t.intermediate) for t in sweep.trials if t.state == "pruned" and t.intermediate)
    if planned is None or not pruned:
        return None
    return Saved(tuple(sorted(pruned)), tuple(pruned[step] for step in sorted(pruned)), planned)


def draw_saved(data: Saved) -> go.Figure:
    """Draw how many trials were pruned at each validation."""
    figure = go.Figure()
    figure.add_bar(
        x=data.validations, y=data.trials, marker_color=ORANGE, name="pruned", width=0.8,
        hovertemplate="%{y} trials pruned at validation %{x}<extra></extra>",
    )  # fmt: skip
    laid_out(figure, x="validation", y="trials pruned", height=260, margin={"t": 16})
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(whole_ticks(data.planned))
    return figure.update_xaxes(range=[0.4, data.planned + 0.6])
