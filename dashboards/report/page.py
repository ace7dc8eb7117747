"""One HTML page: figures as data until they come into view, everything else as escaped text."""

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from dashboards.provenance import sentences
from dashboards.records import Sweep
from dashboards.wording import counted

# Nothing may be loaded from anywhere.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data: blob:; base-uri 'none'; form-action 'none'"
)

# Cells of at most so many characters stay on one line.
_SHORT = 16


@dataclass
class Page:
    """A page in the making.

    Attributes:
        title: What the browser's tab says.
        parts: The HTML of its sections, in order.
        figures: Plotly figures as JSON, in the order in which the sections refer to them.
        data: What the script needs beside the figures.
    """

    title: str
    parts: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def section(self, heading: str, *parts: str) -> None:
        """Add a section; the parts are HTML."""
        self.parts.append(f"<section><h2>{text(heading)}</h2>{''.join(parts)}</section>")

    def figure(self, figure: go.Figure, title: str, summary: str, *, wide: int = 0) -> str:
        """Take a figure in and return its place.

        Args:
            figure: The figure.
            title: Its name, as text.
            summary: What it shows, as text, for everybody: also for those who cannot see it.
            wide: On narrower screens it keeps this width in pixels and scrolls.
        """
        plain = json.loads(figure.to_json())
        plain["layout"].pop("template", None)  # the page's own, light or dark
        self.figures.append(in_script(plain))
        number = len(self.figures) - 1
        height = int(figure.layout.height or 380)
        width = f"min-width:{wide}px;" if wide else ""
        plot = (
            f'<div class="plot" data-figure="{number}" style="{width}height:{height}px" role="img"'
            f' aria-label="{text(f"{title}. {summary}")}"></div>'
        )
        return (
            f"<figure><h3>{text(title)}</h3>"
            f'<div class="scroll">{plot}</div><figcaption>{text(summary)}</figcaption></figure>'
        )

    def html(self) -> str:
        """Return the page."""
        here = Path(__file__).parent
        style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
        figures = "".join(
            f'<script type="application/json" id="figure-{number}">{figure}</script>\n'
            for number, figure in enumerate(self.figures)
        )
        plotly = f"<script>{get_plotlyjs()}</script>" if self.figures else ""
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
            f"<title>{text(self.title)}</title>\n<style>{style}</style></head>\n<body>\n<main>"
            "<noscript><p class=note>Figures and the table of trials need JavaScript.</p></noscript>"
            f"{''.join(self.parts)}</main>\n{figures}"
            f'<script type="application/json" id="page-data">{in_script(self.data)}</script>\n'
            f"{plotly}\n<script>{script}</script>\n</body></html>\n"
        )


def text(value: object) -> str:
    """Return text as HTML, for content and for quoted attributes."""
    # A lone half of a surrogate pair cannot be written to a file.
    clean = str(value).encode("utf-8", "replace").decode()
    return html.escape("".join(c if c.isprintable() or c in "\n\t" else " " for c in clean))


def in_script(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def paragraph(sentence: str, kind: str = "") -> str:
    """Return a sentence, which is text, as a paragraph of a kind: `lead`, `note`, `caution`."""
    return f'<p class="{kind}">{text(sentence)}</p>' if kind else f"<p>{text(sentence)}</p>"


def table(head: list[str], rows: Iterable[Sequence[object]], *, caption: str, is_sheet: bool = False) -> str:
    """Return a plain table of texts.

    Args:
        head: The columns' names.
        rows: The cells; numbers are aligned to the right.
        caption: What it is, for those who cannot see it.
        is_sheet: Whether each column but the first is one thing with its properties below each other.
    """
    kind = ' class="sheet"' if is_sheet else ""
    cells = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table{kind}><caption class="hidden">{text(caption)}</caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: object) -> str:
    content = str(value)
    number = content.lstrip("+-").replace(".", "", 1).replace(",", "").split("e")[0].isdigit()
    kind = "number" if number else "short" if len(content) <= _SHORT else ""
    return f'<td class="{kind}">{text(content)}</td>' if kind else f"<td>{text(content)}</td>"


def cards(items: list[tuple[str, str]]) -> str:
    """Return name and value pairs as a row of cards."""
    parts = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in items)
    return f'<dl class="cards">{parts}</dl>'


def columns(parts: list[str]) -> str:
    """Return parts of HTML beside each other where there is room."""
    return f'<div class="columns">{"".join(parts)}</div>'


def footer(sweeps: Sequence[Sweep]) -> str:
    """Return when the page was made and from what, and with what a single sweep's trials were trained."""
    said = f"Made {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
    said += f" from {counted(sum(len(sweep.trials) for sweep in sweeps), 'trial')}"
    parts = [said, *(sentences(sweeps[0]) if len(sweeps) == 1 else [])]
    return f"<footer>{paragraph('; '.join(parts) + '.')}</footer>"
