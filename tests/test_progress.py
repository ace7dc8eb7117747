"""What a person sees: one line a finished trial in a log, a panel on a terminal."""

import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest
from rich.console import Console

from dashboards import wording
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.records import Again, Assignment, Outcome, Report, Request, Started, State, Timing
from sweeps.runner import run
from sweeps.sweep_file.spec import SweepSpec
from sweeps.terminal.output import console, console_of_a_sweep
from sweeps.terminal.progress import Progress, duration, short, short_names
from tests import fakes


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def trial(progress: Progress, number: int, state: State, value: float | None, **params: Any) -> None:
    """A whole trial, as the runner shows it."""
    progress.record(Assignment(number, params, {}))
    progress.record(Report(number, 1, value or 0.0))
    progress.record(
        Outcome(number, state, value, reason=f"because {number}", timing=Timing(slot_seconds=1.5))
    )


def lines_of(spec: SweepSpec, *ends: tuple[State, float | None]) -> list[str]:
    """What a log shows after these trials."""
    out = StringIO()
    with Progress(spec, Console(file=out, width=200)) as progress:
        for number, (state, value) in enumerate(ends):
            trial(progress, number, state, value, x=0.25)
    return out.getvalue().splitlines()


SHOWN = """
import sys
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.runner import run
from sweeps.sweep import to_stderr
from sweeps.terminal.output import console_of_a_sweep
from sweeps.terminal.progress import Progress
from tests import fakes
spec, on_stderr = fakes.spec(), sys.argv[1] == "stderr"
executor = ScriptedExecutor(fakes.falling)
study = fakes.study(spec, clock=executor.now)
with Progress(spec, console_of_a_sweep(on_stderr=on_stderr)) as progress:
    run(study, executor, [progress])
    if on_stderr:
        to_stderr("a note")
(sys.stdout if on_stderr else sys.stderr).write(f"{study.finished} finished")
"""


@pytest.mark.parametrize("where", ["stdout", "stderr"])
@pytest.mark.parametrize("is_full", [False, True], ids=["a pipe that nobody reads", "a full disk"])
def test_output_that_goes_nowhere_does_not_end_a_sweep(where: str, is_full: bool) -> None:
    if is_full:
        lost = os.open("/dev/full", os.O_WRONLY)
    else:
        reads, lost = os.pipe()
        os.close(reads)
    other = "stderr" if where == "stdout" else "stdout"
    done = subprocess.run(
        [sys.executable, "-c", SHOWN, where], text=True, check=False, **{where: lost, other: subprocess.PIPE}
    )
    os.close(lost)
    assert getattr(done, other) == "10 finished"
    assert done.returncode == 0


def test_letters_that_the_output_does_not_have_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason of a trial's failure may hold any; a sweep does not end for that."""
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding="ascii", write_through=True))
    for made in (console(), console_of_a_sweep()):
        made.print("le modèle ✗")
    assert written.getvalue() == b"le mod\\xe8le \\u2717\n" * 2


def test_a_log_has_one_plain_line_for_each_finished_trial() -> None:
    ends = [(State.COMPLETE, 0.5), (State.PRUNED, 0.7), (State.DIVERGED, 0.9), (State.FAILED, None)]
    assert lines_of(fakes.spec(), *ends) == [
        "[1/10] trial 0 complete  loss 0.5  best so far  1.5 s  x=0.25",
        "[2/10] trial 1 pruned  loss 0.7  1.5 s  x=0.25",
        "[3/10] trial 2 diverged  loss 0.9  because 2  1.5 s  x=0.25",
        "[4/10] trial 3 failed  because 3  1.5 s  x=0.25",
    ]


def test_a_long_line_of_a_log_is_not_broken() -> None:
    out = StringIO()
    with Progress(fakes.spec(), Console(file=out, width=40)) as progress:
        trial(progress, 0, State.COMPLETE, 0.5, **{f"parameter_{i}": "long value" for i in range(20)})
    assert len(out.getvalue().splitlines()) == 1


def raising_once(assignment: Assignment) -> Iterator[Step]:
    """The second trial's first attempt raises."""
    first_of_second = assignment.number == 1 and assignment.attempt == 0
    return fakes.raising(assignment) if first_of_second else fakes.falling(assignment)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_trial_that_is_tried_again_has_not_failed(terminal: bool) -> None:
    of = fakes.spec(budget={"trials": 2}, retries={"exceptions": 1})
    out = StringIO()
    with Progress(of, Console(file=out, width=200, force_terminal=terminal, color_system=None)) as progress:
        run(fakes.study(of), ScriptedExecutor(raising_once, slots=1, length=4), [progress])
    assert "trial 1 is tried again, attempt 2: ValueError: the data are gone" in out.getvalue()
    assert "failed" not in out.getvalue()
    assert "goes on" not in out.getvalue()
    assert "2/2 finished  0 running" in panel(progress)


def test_a_trial_that_an_earlier_driver_began_goes_on_and_one_line_says_with_what_it_is_tried_again() -> None:
    out = StringIO()
    progress = Progress(fakes.spec(), Console(file=out, width=200))
    progress.record(Assignment(3, {}, {}, attempt=2))
    progress.record(Again(3, 3, "batches of 8 x 2 instead of 16 x 1", "no memory"))
    progress.record(Assignment(3, {}, {}, attempt=3))
    assert out.getvalue().splitlines() == [
        "trial 3 goes on, attempt 3",
        "trial 3 is tried again, attempt 4 with batches of 8 x 2 instead of 16 x 1: no memory",
    ]


def test_a_sweep_without_a_number_of_trials_counts_alone() -> None:
    [line] = lines_of(fakes.spec(budget={"hours": 1}), (State.COMPLETE, 0.5))
    assert line.startswith("[1] trial 0 complete")


@pytest.mark.parametrize(
    ("direction", "best"),
    [pytest.param("minimize", [0, 2], id="minimize"), pytest.param("maximize", [0, 1], id="maximize")],
)
def test_a_line_says_when_a_trial_is_the_best_so_far(direction: str, best: list[int]) -> None:
    spec = fakes.spec(objective={"metric": "loss", "direction": direction})
    values = [0.5, 0.7, 0.2, 0.5]
    lines = lines_of(spec, *((State.COMPLETE, value) for value in values))
    assert [number for number, line in enumerate(lines) if "best so far" in line] == best


def test_of_equal_trials_the_lower_number_is_the_best_as_in_the_study() -> None:
    progress = Progress(fakes.spec(), Console(file=StringIO()))
    assert progress.best is None
    trial(progress, 3, State.COMPLETE, 0.5, x=3)
    trial(progress, 1, State.COMPLETE, 0.5, x=1)
    trial(progress, 2, State.COMPLETE, 0.5, x=2)
    trial(progress, 4, State.PRUNED, 0.1, x=4)
    assert progress.best is not None
    outcome, params = progress.best
    assert (outcome.number, params) == (1, {"x": 1})


def panel(progress: Progress) -> str:
    """What the panel shows now, without colours."""
    console = Console(file=StringIO(), width=200)
    with console.capture() as captured:
        console.print(progress)
    return captured.get()


def half_done(spec: SweepSpec) -> Progress:
    """Two minutes into a sweep: four trials ended, two running."""
    clock = Clock()
    progress = Progress(spec, Console(file=StringIO()), clock=clock)
    trial(progress, 0, State.COMPLETE, 0.5, **{"model.init_args.x": 0.0123456})
    trial(progress, 1, State.PRUNED, 0.7)
    trial(progress, 2, State.DIVERGED, 0.9)
    trial(progress, 3, State.FAILED, None)
    progress.record(fakes.assignment(4))
    progress.record(Started(4, 0.0))
    progress.record(fakes.assignment(5))
    progress.record(Started(5, 0.0))
    progress.record(fakes.assignment(6))  # asked ahead
    progress.record(Report(5, 1, 0.4))
    clock.now += 120
    return progress


def test_the_panel_counts_what_ended_and_what_runs_and_shows_the_best() -> None:
    text = panel(half_done(fakes.spec()))
    assert "4/10 finished  2 running  1 pruned  1 diverged  1 failed" in text
    assert "best loss 0.5  trial 0  x=0.01235" in text


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        pytest.param({"trials": 10}, "about 3 min 00 s left", id="by trials"),
        pytest.param({"hours": 1}, "about 58 min 00 s left", id="by hours"),
        pytest.param({"trials": 10, "hours": 0.05}, "about 1 min 00 s left", id="whichever ends first"),
        pytest.param({"hours": 0.01}, "about 0 s left", id="over time"),
    ],
)
def test_the_panel_shows_throughput_and_time_left(budget: dict[str, float], left: str) -> None:
    text = panel(half_done(fakes.spec(budget=budget)))
    assert "2 min 00 s elapsed  120 trials/h" in text
    assert left in text


def test_the_panel_waits_for_the_first_trial() -> None:
    progress = Progress(fakes.spec(), Console(file=StringIO()))
    progress.record(fakes.assignment(0))
    progress.record(Started(0, 0.0))
    text = panel(progress)
    assert "0/10 finished  1 running" in text
    assert "waiting for the first trial" in text
    assert "best" not in text


def test_after_a_resume_what_ended_before_counts_but_not_for_the_pace() -> None:
    out, clock = StringIO(), Clock()
    progress = Progress(fakes.spec(budget={"trials": 8}), Console(file=out, width=200), clock=clock)
    progress.catch_up(Outcome(0, State.COMPLETE, 0.5), {"x": 1}, is_earlier=True)
    progress.catch_up(Outcome(1, State.FAILED), {}, is_earlier=True)
    progress.catch_up(Outcome(2, State.INVALID), {}, is_earlier=True)
    progress.record(fakes.assignment(3))
    assert "waiting for the first trial" in panel(progress)
    clock.now += 60
    trial(progress, 3, State.PRUNED, 0.7)
    trial(progress, 4, State.COMPLETE, 0.6)
    assert [line.split("  ")[0] for line in out.getvalue().splitlines()] == [
        "[3/8] trial 3 pruned",
        "[4/8] trial 4 complete",  # not the best so far: that is trial 0
    ]
    assert "best so far" not in out.getvalue()
    assert "4/8 finished  0 running  1 pruned  1 failed  1 invalid" in panel(progress)
    assert "1 min 00 s elapsed  120 trials/h  about 2 min 00 s left" in panel(progress)
    assert "best loss 0.5  trial 0  x=1" in panel(progress)


def test_the_panel_follows_a_budget_that_is_changed() -> None:
    progress = half_done(fakes.spec())
    progress.record(Request("update", {"trials": 20, "concurrency": 4}))
    assert "4/20 finished" in panel(progress)
    progress.record(Request("retry", {"number": 3}))
    assert "4/21 finished" in panel(progress)
    progress.record(Request("update", {"hours": 0.05}))
    assert "about 1 min 00 s left" in panel(progress)


def test_a_trial_that_ends_in_the_same_instant_is_no_error() -> None:
    progress = Progress(fakes.spec(), Console(file=StringIO()), clock=Clock())
    trial(progress, 0, State.COMPLETE, 0.5)
    assert "1/10 finished" in panel(progress)


def test_on_a_terminal_the_panel_stays_when_the_sweep_ends() -> None:
    out = StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    with Progress(fakes.spec(), console) as progress:
        trial(progress, 0, State.COMPLETE, 0.5, x=0.25)
        trial(progress, 1, State.FAILED, None)
    assert "trial 1 failed: because 1" in out.getvalue()
    assert "[1/10]" not in out.getvalue()
    assert "2/10 finished  0 running  1 failed" in out.getvalue().rpartition("trial 1 failed")[2]


def test_names_and_values_that_look_like_markup_stay_text() -> None:
    spec = fakes.spec(name="[red]", objective={"metric": "[bold]loss", "direction": "minimize"})
    out = StringIO()
    progress = Progress(spec, Console(file=out, width=200))
    trial(progress, 0, State.COMPLETE, 0.5, **{"[x]": "[red]a[/red]"})
    for text in (out.getvalue(), panel(progress)):
        assert "[bold]loss 0.5" in text
        assert "[x]=[red]a[/red]" in text
    assert "[red] " in panel(progress)


def test_a_reason_that_looks_like_markup_stays_text() -> None:
    out = StringIO()
    with Progress(fakes.spec(), Console(file=out, width=120, force_terminal=True)) as progress:
        progress.record(Outcome(0, State.FAILED, reason="KeyError: [/red] :smile:"))
    assert "KeyError: [/red] :smile:" in out.getvalue()


def test_parameters_are_shown_by_the_shortest_end_of_their_names() -> None:
    params = {
        "model.init_args.hidden": 64,
        "data.init_args.batch_size": 32,
        "optimizer": "sgd",
        "optimizer.sgd.init_args.lr": 0.0129999,
        "model.init_args.bias": None,
    }
    names = short_names([*params, "optimizer.adamw.init_args.lr"])
    assert short(params, names) == "hidden=64 batch_size=32 optimizer=sgd sgd.lr=0.013 bias=None"


def test_very_many_parameters_and_very_long_values_keep_to_a_line() -> None:
    line = short({f"p{n}": n for n in range(300)} | {"p0": "x" * 1_000}, {})
    assert line.startswith(f"p0={'x' * 59}… p1=1 ")
    assert line.endswith(" p19=19 and 280 more")


def test_a_paused_sweep_says_so_and_how_it_goes_on() -> None:
    progress = Progress(fakes.spec(), Console(file=StringIO(), width=120))
    progress.record(Request("pause", {}))
    assert "paused, `sweeps resume test` goes on" in panel(progress)
    progress.record(Request("resume", {}))
    assert "paused" not in panel(progress)


def test_the_terminal_and_the_report_call_parameters_alike() -> None:
    names = ["model.lr", "optimizer.init_args.lr", "lr", "optimizer.lr", "model.a.b", "b", "init_args", "a.b"]
    assert short_names(names) == wording.short_names(names)


@pytest.mark.parametrize(
    ("completed", "colour"), [pytest.param(1, "36", id="cyan"), pytest.param(2, "32", id="green when done")]
)
def test_the_bar_is_neither_red_nor_grey_in_sixteen_colours(completed: int, colour: str) -> None:
    out = StringIO()
    spec = fakes.spec(budget={"trials": 2})
    with Progress(spec, Console(file=out, width=120, force_terminal=True, color_system="standard")) as shown:
        for number in range(completed):
            shown.record(Outcome(number, State.COMPLETE, 0.5))
    assert f"[{colour}m━" in out.getvalue()
    assert "[91m" not in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (0.4, "0 s"), (42.0, "42 s"), (59.6, "1 min 00 s"), (200.0, "3 min 20 s"),
        (3599.6, "1 h 00 min"), (7500.0, "2 h 05 min"), (360000.0, "100 h 00 min"),
    ],
)  # fmt: skip
def test_a_duration_is_written_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text
