"""What a person sees while a sweep runs: a live panel on a terminal, one line a finished trial elsewhere."""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeps.records import Again, Assignment, News, Outcome, Request, Started, State, Timing
from sweeps.study.front import Front
from sweeps.sweep_file.spec import SweepSpec

MOST, LONGEST = 20, 60
"""So many parameters stand in a line, each value in so many characters."""

STYLES = {State.COMPLETE: "green", State.PRUNED: "yellow", State.DIVERGED: "magenta", State.FAILED: "red",
          State.INVALID: "dim"}  # fmt: skip


class Progress:
    """Counts what it sees; the driver's main thread feeds it and the display reads it.

    Attributes:
        budget: When the sweep ends, as far as is known; it may change.

    Args:
        spec: The sweep.
        console: Where to draw; live if it is a terminal.
        clock: The current time in seconds.
        started: When the sweep started, or was resumed, by that clock; its first event if None.
        earlier_seconds: How much of the budget's hours drivers before have used.
    """

    def __init__(
        self, spec: SweepSpec, console: Console, *, clock: Callable[[], float] = time.monotonic,
        started: float | None = None, earlier_seconds: float = 0.0,
    ) -> None:  # fmt: skip
        self._spec, self._console, self._clock = spec, console, clock
        self.budget = spec.budget
        self._started, self._earlier_seconds = started, earlier_seconds
        self._counts: Counter[State] = Counter()
        self._earlier = 0
        self._again: set[int] = set()
        self._running: set[int] = set()
        self._params: dict[int, dict[str, Any]] = {}
        self._names = short_names(row.name for row in spec.space.rows())
        self._front = Front(spec.objectives)
        self._best_params: dict[str, Any] = {}
        self._is_paused = False
        self._live: Live | None = None

    @property
    def best(self) -> tuple[Outcome, dict[str, Any]] | None:
        """The best complete trial so far, with its parameters."""
        return None if self._front.best is None else (self._front.best, self._best_params)

    @property
    def _finished(self) -> int:
        """The trials that the budget counts."""
        return self._counts.total() - self._counts[State.INVALID]

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=4, transient=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def record(self, event: News) -> None:
        """Takes an event of the sweep."""
        if self._started is None:
            self._started = self._clock()
        match event:
            case Assignment():
                self._params[event.number] = event.params
                if event.attempt and event.number not in self._again:  # an earlier driver had begun it
                    self._print(Text(f"trial {event.number} goes on, {_attempt(event)}", "yellow"))
                self._again.discard(event.number)
            case Started():
                self._running.add(event.number)
            case Again():
                self._again.add(event.number)
                self._running.discard(event.number)
                self._print(
                    Text(f"trial {event.number} is tried again, {_attempt(event)}: {event.reason}", "yellow")
                )
            case Outcome():
                self._end(event)
            case Request():
                self._follow(event)

    def catch_up(self, outcome: Outcome, params: dict[str, Any], *, is_earlier: bool = False) -> None:
        """Takes a trial that ended before anybody looked: it counts, but gets no line.

        Args:
            outcome: How it ended.
            params: Its parameters.
            is_earlier: It ended before the sweep was started or resumed, so it says nothing of the pace.
        """
        self._take(outcome, params)
        self._earlier += is_earlier and outcome.state is not State.INVALID

    def _take(self, outcome: Outcome, params: dict[str, Any]) -> bool:
        self._running.discard(outcome.number)
        self._counts[outcome.state] += 1
        is_best = self._front.add(outcome)
        if self._front.best is outcome:
            self._best_params = params
        return is_best

    def _follow(self, request: Request) -> None:
        if request.command in ("pause", "resume"):
            self._is_paused = request.command == "pause"
            if self._live is None:
                self._print(Text(self._pause_text if self._is_paused else "the pause is over", "cyan"))
        changes = {key: value for key, value in request.arguments.items() if key in ("trials", "hours")}
        if request.command == "retry" and self.budget.trials is not None:
            changes = {"trials": self.budget.trials + 1}
        self.budget = self.budget.model_copy(update=changes)

    @property
    def _pause_text(self) -> str:
        return f"paused, `sweeps resume {shlex.quote(self._spec.name)}` goes on"

    def _end(self, outcome: Outcome) -> None:
        params = self._params.pop(outcome.number, {})
        is_best = self._take(outcome, params)
        if self._live is None:
            self._print(self._line(outcome, params, is_best=is_best))
        elif outcome.state is State.FAILED:
            self._print(Text(f"trial {outcome.number} failed: {outcome.reason}", "red"))

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)

    def _line(self, outcome: Outcome, params: dict[str, Any], *, is_best: bool) -> Text:
        total, count = self.budget.trials, self._finished
        done = f"{count}/{total}" if total else f"{count}"
        text = Text(f"[{done}] trial {outcome.number} ")
        text.append(outcome.state.value, STYLES[outcome.state])
        for objective, value in zip(self._spec.objectives, outcome.values, strict=False):
            text.append(f"  {objective.metric} {value:.6g}")
        if is_best:
            text.append("  on the Pareto front" if outcome.others else "  best so far", "bold")
        if outcome.state in (State.FAILED, State.DIVERGED, State.INVALID):
            text.append(f"  {outcome.reason}")
        return text.append(f"  {took(outcome.timing):.1f} s  {short(params, self._names)}", "dim")

    def __rich__(self) -> Group:
        finished, total = self._finished, self.budget.trials
        table = Table.grid(padding=(0, 2))
        table.add_row(Text(self._spec.name, "bold"), self._bar(finished, total), self._counters())
        pace = Text(self._pause_text, "cyan") if self._is_paused else self._pace(finished, total)
        lines: list[Any] = [table, pace]
        if (best := self._front.best) is not None and best.value is not None:
            lines.append(self._best_line(best))
        return Group(*lines)

    def _best_line(self, best: Outcome) -> Text:
        if len(self._spec.objectives) > 1:
            return Text.assemble(("Pareto front ", "bold"), f"{len(self._front.outcomes)} trials")
        return Text.assemble(
            ("best ", "bold"), f"{self._spec.objectives[0].metric} ", (f"{best.value:.6g}", "bold green"),
            f"  trial {best.number}  ", (short(self._best_params, self._names), "dim"),
        )  # fmt: skip

    def _bar(self, finished: int, total: int | None) -> ProgressBar | Text:
        if not total:
            return Text("")
        # Rich's own are a red, and a grey where a terminal has 16 colours.
        return ProgressBar(
            total=total, completed=finished, width=30, complete_style="cyan", finished_style="green"
        )

    def _counters(self) -> Text:
        text = Text(f"{self._finished}")
        if self.budget.trials:
            text.append(f"/{self.budget.trials}")
        text.append(f" finished  {len(self._running)} running")
        for state in (State.PRUNED, State.DIVERGED, State.FAILED, State.INVALID):
            if self._counts[state]:
                text.append(f"  {self._counts[state]} {state.value}", STYLES[state])
        return text

    def _pace(self, finished: int, total: int | None) -> Text:
        lately = finished - self._earlier
        if lately <= 0 or self._started is None:
            return Text("waiting for the first trial ...", "dim")
        elapsed = max(1e-3, self._clock() - self._started)
        text = Text(f"{duration(elapsed)} elapsed  {lately / elapsed * 3600:,.0f} trials/h", "dim")
        if total and finished >= total:
            return text
        left = [elapsed / lately * (total - finished)] if total else []
        if self.budget.hours:
            left.append(self.budget.hours * 3600 - self._earlier_seconds - elapsed)
        return text.append(f"  about {duration(max(0.0, min(left)))} left" if left else "")


def took(timing: Timing) -> float:
    """Seconds of a trial, all its attempts together."""
    return timing.earlier_seconds + timing.slot_seconds


def _attempt(news: Assignment | Again) -> str:
    """Such as `attempt 2 with batch_size 16`."""
    return f"attempt {news.attempt + 1}" + (f" with {news.change}" if news.change else "")


def short(params: dict[str, Any], names: Mapping[str, str]) -> str:
    """Parameters in one line, such as `hidden=64 optimizer=sgd sgd.lr=0.013`; of very many the first."""
    shown = [
        f"{names.get(name, name)}={_cut(short_value(value))}" for name, value in islice(params.items(), MOST)
    ]
    more = [f"and {len(params) - MOST} more"] if len(params) > MOST else []
    return " ".join([*shown, *more])


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """For each of Optuna's names the shortest end that no other name has, as `sweeps status` has it."""
    parts = {name: [part for part in name.split(".") if part != "init_args"] or [name] for name in names}
    ends = Counter(".".join(own[-n:]) for own in parts.values() for n in range(1, len(own) + 1))
    return {
        name: next((end for n in range(1, len(own) + 1) if ends[end := ".".join(own[-n:])] == 1), name)
        for name, own in parts.items()
    }


def short_value(value: Any) -> str:
    """A value as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `3 min 20 s`, `2 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
