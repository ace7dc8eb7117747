"""A trial that goes on from its checkpoint is the trial that was never interrupted."""

import math
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.context import TrialContext
from sweeps.records import Assignment, Outcome, Point, Report, State, Timing
from sweeps.tracking.journal import Journal
from sweeps.training.trial import make_trial_function

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "model": {"class_path": "tests.modules.Noisy"},
    "data": {"class_path": "tests.modules.Data"},
    "trainer": {"max_epochs": 5, "accelerator": "cpu", "log_every_n_steps": 3},
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.05}},
    "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 2}},
}


class Killed(BaseException):
    """What stands for the end of the process here; real kills are in `tests/chaos`."""


class Driver:
    """Takes reports; the process ends while one is sent (`at_send`) or its answer read (`at_answer`)."""

    wait_seconds = 0.0

    def __init__(self, at_send: int = 0, at_answer: int = 0) -> None:
        self.at_send, self.at_answer = at_send, at_answer
        self.reports: list[Report] = []

    def send(self, report: Report) -> None:
        self.reports.append(report)
        if report.step == self.at_send:
            raise Killed

    def stop_requested(self) -> bool:
        if self.reports[-1].step == self.at_answer:
            raise Killed
        return False


def train(
    files: Path, *, attempt: int = 0, known_step: int = 0, at_send: int = 0, at_answer: int = 0
) -> tuple[list[Report], Outcome | None]:
    """Trains in a fresh worker until the outcome, or until it is killed."""
    driver = Driver(at_send, at_answer)
    context = TrialContext("val_loss", True, "best", files, (str(Path.cwd()),))
    try:
        outcome = make_trial_function(context)(Assignment(0, {}, CONFIG, attempt, known_step), driver)
    except Killed:
        return driver.reports, None
    return driver.reports, outcome


def curve(reports: list[Report]) -> list[tuple[int, float]]:
    return [(report.step, report.value) for report in reports]


def all_points(reports: Sequence[Report | Outcome]) -> list[tuple[str, float, int]]:
    return [(p.key, p.value, p.step) for report in reports for p in report.points]


@pytest.mark.parametrize(
    ("killed", "known_step", "first_again"),
    [
        pytest.param({"at_answer": 3}, 3, 4, id="after the checkpoint"),
        pytest.param({"at_answer": 3}, 2, 3, id="after the checkpoint, the report lost"),
        pytest.param({"at_send": 3}, 3, 3, id="before the checkpoint"),
    ],
)
def test_a_resumed_trial_continues_its_curve_exactly(
    tmp_path: Path, killed: dict[str, int], known_step: int, first_again: int
) -> None:
    whole, finished = train(tmp_path / "whole")
    began = time.monotonic()
    first, _ = train(tmp_path / "cut", **killed)
    took = time.monotonic() - began
    second, resumed = train(tmp_path / "cut", attempt=1, known_step=known_step)
    assert curve(first) == curve(whole)[:3]
    assert curve(second) == curve(whole)[first_again - 1 :]
    assert all_points(second) == all_points(whole[first_again - 1 :])
    assert finished is not None
    assert resumed is not None
    assert (resumed.state, resumed.value) == (finished.state, finished.value)
    assert finished.timing.earlier_seconds == 0
    assert 0 < resumed.timing.earlier_seconds < took


def test_a_report_that_the_study_never_got_is_sent_again_with_its_points(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole")
    train(tmp_path / "cut")  # all checkpoints are there; the study is told that it knows only four
    again, outcome = train(tmp_path / "cut", attempt=1, known_step=4)
    assert curve(again) == curve(whole)[4:]
    assert all_points(again) == all_points(whole[4:])
    assert outcome is not None
    assert outcome.state is State.COMPLETE


def test_a_trial_that_was_finished_but_not_told_needs_no_training(tmp_path: Path) -> None:
    _, before = train(tmp_path)
    reports, after = train(tmp_path, attempt=1, known_step=5)
    assert reports == []
    assert before is not None
    assert after is not None
    assert (after.state, after.value, after.metrics) == (before.state, before.value, before.metrics)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole")
    train(tmp_path / "cut", at_answer=4)
    folder = tmp_path / "cut" / "trial-0"
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    again, outcome = train(tmp_path / "cut", attempt=1, known_step=3)
    assert dict(curve(again)).items() <= dict(curve(whole)).items()
    assert curve(again)[-1] == curve(whole)[-1]
    assert outcome is not None
    assert outcome.state is State.COMPLETE
    assert "cannot be read" in (folder / "log.txt").read_text()


def test_without_any_checkpoint_a_trial_starts_again(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole")
    again, outcome = train(tmp_path / "new", attempt=1, known_step=2)
    assert curve(again) == curve(whole)
    assert outcome is not None


def test_a_checkpoint_holds_nothing_that_could_run(tmp_path: Path) -> None:
    train(tmp_path)
    kept = torch.load(tmp_path / "trial-0" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 4


POINTS = (Point("loss", 0.5, 3, 1000), Point("nan", math.nan, 4, 1001))
EVENTS = [
    Assignment(0, {"a.b": 1, "c": None}, {"model": {"x": [1, "ü"]}}, 1, 2),
    Report(0, 3, 0.25, last=True, points=POINTS),
    Outcome(
        0,
        State.DIVERGED,
        None,
        "nan",
        (0.5,),
        {"loss": 1.0},
        POINTS,
        Timing(1.0, 2.0, 3.0, 4.0),
        "w",
        "cpu",
        True,
        {"precision": "32-true"},
        "oom",
    ),
]


def test_the_journal_gives_back_what_was_not_dropped(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(EVENTS[0])
    first = journal.turn()
    journal.append(EVENTS[1])
    journal.append(EVENTS[2])
    journal.drop(first)
    assert [repr(event) for event in Journal(tmp_path / "journal").left()] == [repr(e) for e in EVENTS[1:]]


def test_a_journal_whose_events_are_all_written_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(EVENTS[0])
    journal.drop(journal.turn())
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(EVENTS[0])
    journal.append(EVENTS[1])
    [path] = (tmp_path / "journal").iterdir()
    path.write_bytes(path.read_bytes()[:-20] + b"\xff\x00")  # a power cut leaves any bytes
    assert [type(event) for event in Journal(tmp_path / "journal").left()] == [Assignment]


def test_a_journal_that_finds_no_room_keeps_its_events_until_there_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(EVENTS[0])
    [path] = (tmp_path / "journal").iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.append(EVENTS[1])
        assert journal.turn() == 0  # a line that is not whole stays in its file
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [repr(e) for e in Journal(tmp_path / "journal").left()] == [repr(EVENTS[0])]  # after a crash now
    journal.append(EVENTS[2])
    assert [repr(e) for e in Journal(tmp_path / "journal").left()] == [repr(e) for e in EVENTS]


def test_a_new_journal_does_not_replay_its_own_events(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(EVENTS[0])
    assert list(journal.left()) == []


@pytest.mark.parametrize("line", ["{}", "[]", '{"kind": "Report"}', "null", '{"kind": "Nothing"}'])
def test_what_is_no_event_is_left_out(tmp_path: Path, line: str) -> None:
    (tmp_path / "00000001.jsonl").write_text(line + "\n")
    assert list(Journal(tmp_path).left()) == []
