"""How figures look: one palette, one layout, and text that stays text.

The palette is that of Okabe and Ito (Color Universal Design, 2008), which people with any colour vision tell
apart; states differ in their markers, too. Backgrounds are transparent and text has no colour of its own, so
that a page decides both for light and dark.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#8C8C8C"

STATE_COLOURS = {
    "complete": BLUE, "pruned": ORANGE, "diverged": PURPLE, "failed": VERMILLION, "running": SKY,
    "waiting": GREY, "invalid": YELLOW,
}  # fmt: skip
STATE_MARKERS = {
    "complete": "circle", "pruned": "triangle-down-open", "diverged": "diamond-open", "failed": "x",
    "running": "circle-open", "waiting": "line-ns", "invalid": "x-open",
}  # fmt: skip
# From worse (or earlier) to better (or later); every step can be told from white and from black.
SCALE = ("#AEB4BC", SKY, BLUE)
SERIES_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)
SERIES_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_LONGEST, _LONGEST_TITLE = 60, 34


def plain(text: object, longest: int = _LONGEST) -> str:
    """Return text that Plotly shows as it is: it takes a few HTML tags and entities for markup."""
    line = " ".join(str(text).split())
    short = line if len(line) <= longest else f"{line[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
    escaped = short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Between dollar signs Plotly looks for mathematics.
    return escaped.replace("$", "&#36;")


def plain_names(names: Iterable[str], longest: int = 40) -> list[str]:
    """Return names as `plain` does, no two alike; a long one loses its middle, since ends tell them apart."""
    found: list[str] = []
    for name in names:
        line = " ".join(name.split())
        half = longest // 2
        if len(line) > longest:
            line = f"{line[: longest - half - 1]}\N{HORIZONTAL ELLIPSIS}{line[-half:]}"
        text = plain(line, longest)
        same = (f"{text} ({count})" for count in itertools.count(2))
        while text in found:
            text = next(same)
        found.append(text)
    return found


def laid_out(figure: go.Figure, *, x: str = "", y: str = "", height: int = 380, **layout: Any) -> go.Figure:
    """Give a figure the common layout.

    Args:
        figure: The figure; it is changed and returned.
        x: The title of its x axis; markup is shown as text.
        y: The title of its y axis; markup is shown as text.
        height: Its height in pixels; the width is that of its container.
        layout: Whatever else Plotly's layout takes.
    """
    figure.update_layout(
        height=height,
        title=None,
        margin={"l": 10, "r": 16, "t": 44, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": {"text": ""}},
        hoverlabel={"namelength": 40},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    if x:
        figure.update_xaxes(title={"text": plain(x, _LONGEST_TITLE), "standoff": 8})
    if y:
        figure.update_yaxes(title={"text": plain(y, _LONGEST_TITLE), "standoff": 8})
    figure.update_layout(**layout)
    return figure


def whole_ticks(count: float) -> dict[str, Any]:
    """Return the ticks of an axis that counts: none between whole numbers where there are only a few."""
    return {"dtick": 1} if count <= 10 else {}


def series_style(index: int) -> dict[str, Any]:
    """Return the line of the n-th series: colour and dash repeat with different periods."""
    colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
    return {"color": colour, "dash": SERIES_DASHES[index % len(SERIES_DASHES)], "width": 2}
