"""Sweeps and trials as tables for a terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dashboards.records import Sweep, SweepSummary, Trial
from dashboards.wording import counted, duration_text, short_names, value_text

STYLES = {
    "complete": "green", "finished": "green", "running": "cyan", "paused": "cyan", "waiting": "dim",
    "pruned": "yellow", "diverged": "magenta", "failed": "red", "invalid": "dim", "interrupted": "red",
}  # fmt: skip
_ALL_UP_TO = 100
_BEST, _LATEST = 20, 20
# So many parameters or metrics stand in a line, each value in so many characters.
_MOST, _LONGEST = 20, 60
_GAP = 2
_LINES = 3
"""The most that the parameters of a trial may take beside its other columns."""


def list_table(sweeps: Sequence[SweepSummary]) -> RenderableType:
    """The sweeps, one a row."""
    if not sweeps:
        return Text("no sweeps here yet; `sweeps launch FILE` makes one")
    running = ["running"] if any(sweep.counts.running for sweep in sweeps) else []  # or it fits no 80 columns
    table = _table("sweep", "state", "trials", *running, "best", "trial", "started", "took")
    for sweep in sweeps:
        asked = f"/{sweep.trials_asked}" if sweep.trials_asked else ""
        best = "-" if sweep.best_value is None else f"{sweep.metric} {sweep.best_value:.5g}"
        if sweep.front:
            best += f" (best of {len(sweep.front)} on the Pareto front)"
        busy = [str(sweep.counts.running) for _ in running]
        number = "-" if sweep.best_number is None else str(sweep.best_number)
        started = f"{sweep.started.astimezone():%Y-%m-%d %H:%M}" if sweep.started else "-"
        table.add_row(
            Text(sweep.name, "bold"), _styled(sweep.state), f"{sweep.counts.finished}{asked}",
            *busy, Text(best), number, started, duration_text(sweep.duration_seconds),
        )  # fmt: skip
    return table


def status_table(sweep: Sweep) -> RenderableType:
    """One sweep: its counts, its best trial, and its trials (of many: the best and the latest)."""
    summary = sweep.summary
    objectives = summary.objectives or [(summary.metric, summary.direction)]
    wanted = ", ".join(f"{direction} {metric}" for metric, direction in objectives)
    about = f"  {wanted}  {duration_text(summary.duration_seconds)}"
    head = Text.assemble((summary.name, "bold"), "  ", _styled(summary.state), about)
    parts: list[RenderableType] = [head, _counted(sweep)]
    if sweep.stop_reason:
        parts.append(Text(f"ended by `stop_when`: {sweep.stop_reason}"))
    if summary.front:
        parts += ["", *_front(sweep)]
    elif sweep.best is not None:
        parts += ["", *_best(sweep.best, summary.metric)]
    if sweep.files:
        parts += ["", Text(f"logs and checkpoints: {sweep.files}/trial-NUMBER", "dim")]
    if sweep.trials:
        parts += ["", *_trials(sweep)]
    return Group(*parts)


def _best(trial: Trial, metric: str) -> list[Text]:
    metrics = [f"{key} {value:.4g}" for key, value in trial.metrics.items() if key != metric]
    others = "  ".join(_few(metrics))
    head = Text.assemble(("best ", "bold"), f"trial {trial.number}  {metric} ",
                         (f"{trial.value:.6g}", "bold green"), f"  {others}")  # fmt: skip
    return [head, *(Text(f"  {name}: {value_text(value)}") for name, value in trial.params.items())]


def _front(sweep: Sweep) -> list[RenderableType]:
    """The Pareto set, the best in the first objective first."""
    shown = sweep.ranking()[: len(sweep.summary.front)][:_BEST]
    more = f", the first {_BEST}" if len(sweep.summary.front) > _BEST else ""
    count = len(sweep.summary.front)
    how = "better than all others" if count == 1 else "none of them better in everything"
    head = Text(f"Pareto front: {counted(count, 'trial')}, {how}{more}", "bold")
    names = [metric for metric, _ in sweep.summary.objectives]
    table = _LongTable("trial", *names, "parameters")
    short = _short_names(sweep)
    for trial in shown:
        values = (Text(f"{value:.5g}") for value in trial.values)
        table.rows.append([Text(str(trial.number)), *values, Text(_params(trial, short))])
    return [head, table]


def _counted(sweep: Sweep) -> Text:
    counts, asked = sweep.summary.counts, sweep.summary.trials_asked
    text = Text(f"{counts.finished}/{asked} finished" if asked else f"{counts.finished} finished")
    for state in ("running", "complete", "pruned", "diverged", "failed", "invalid"):
        if number := getattr(counts, state):
            text.append(f"  {number} {_state(sweep, state)}", STYLES[state])
    if (hours := sweep.summary.hours_left) is not None and sweep.summary.state not in ("finished", "failed"):
        text.append(f"  {duration_text(hours * 3600)} of its hours left", "dim")
    return text


def _state(sweep: Sweep, state: str) -> str:
    """A trial's state in words: nothing runs in a sweep that was stopped; such a trial goes on with it."""
    goes_on = sweep.summary.state in ("running", "paused")
    return state if goes_on or state != "running" else "unfinished"


def _trials(sweep: Sweep) -> list[RenderableType]:
    if len(sweep.trials) <= _ALL_UP_TO:
        return [_trial_table(sweep, sweep.trials)]
    return [
        Text(f"the best {_BEST} of {len(sweep.trials)} trials (--json gives all)", "bold"),
        _trial_table(sweep, sweep.ranking()[:_BEST]),
        Text(f"the latest {_LATEST}", "bold"),
        _trial_table(sweep, sweep.trials[-_LATEST:]),
    ]


def _trial_table(sweep: Sweep, trials: Iterable[Trial]) -> RenderableType:
    several = [metric for metric, _ in sweep.summary.objectives[1:]]
    values = [sweep.summary.metric, *several] if several else ["value"]
    table = _LongTable("trial", "state", *values, "validations", "took", "parameters")
    short = _short_names(sweep)
    for trial in trials:
        about = Text(_params(trial, short))
        if reason := _reason(trial):
            about.append(f"\n{reason}" if about else reason, STYLES.get(trial.state, ""))
        plain = [*_values(trial, len(values)), str(len(trial.intermediate)), duration_text(trial.seconds)]
        state = Text(_state(sweep, trial.state), STYLES.get(trial.state, ""))
        table.rows.append([Text(str(trial.number)), state, *map(Text, plain), about])
    return table


def _values(trial: Trial, count: int) -> list[str]:
    known = trial.values or ([] if trial.value is None else [trial.value])
    texts = [f"{value:.5g}" for value in known]
    return [*texts, *["-"] * (count - len(texts))]


def _reason(trial: Trial) -> str:
    """Why it ended so; of an early stop only where, since `EarlyStopping` repeats its settings at length."""
    if not trial.reason or trial.state == "pruned":
        return ""
    notes = trial.reason.split("; ")
    return "; ".join(n.partition(": ")[0] if n.startswith("stopped early at ") else n for n in notes)


class _LongTable:
    """A table whose last column is long: where it would be many short lines a row, they stand below it.

    Attributes:
        rows: The cells of each.
    """

    def __init__(self, *columns: str) -> None:
        self._columns, self.rows = columns, list[list[Text]]()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        *rest, last = range(len(self._columns))
        cells = [[Text(column) for column in self._columns], *self.rows]
        widths = [max(row[column].cell_len for row in cells) for column in rest]
        room = options.max_width - sum(width + _GAP for width in widths)
        longest = max((len(row[last].plain.partition("\n")[0]) for row in self.rows), default=0)
        if longest <= _LINES * room or room < 0:
            table = _table(*self._columns)
            for row in self.rows:
                table.add_row(*row)
            yield table
            return
        yield self._line(self._columns[:last], widths, "bold")
        for row in self.rows:
            yield self._line(row[:last], widths)
            if row[last]:
                yield Padding(row[last], (0, 0, 0, widths[0] + _GAP))

    @staticmethod
    def _line(cells: Sequence[str | Text], widths: Sequence[int], style: str = "") -> Table:
        line = Table(box=None, padding=(0, _GAP, 0, 0), show_header=False)
        for width in widths:
            line.add_column(min_width=width, style=style, overflow="fold")
        line.add_row(*cells)
        return line


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _styled(state: str) -> Text:
    return Text(state, STYLES.get(state, ""))


def _short_names(sweep: Sweep) -> dict[str, str]:
    return short_names(dict.fromkeys(name for trial in sweep.trials for name in trial.params))


def _params(trial: Trial, short: dict[str, str]) -> str:
    return " ".join(
        _few([f"{short[name]}={_cut(value_text(value))}" for name, value in trial.params.items()])
    )


def _few(texts: list[str]) -> list[str]:
    return texts if len(texts) <= _MOST else [*texts[:_MOST], f"and {len(texts) - _MOST} more"]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
