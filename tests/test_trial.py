"""One trial with real Lightning fits, as a worker runs it, without Ray."""

import gc
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from sweeps import provenance
from sweeps.context import TrialContext
from sweeps.records import Answer, Assignment, Outcome, Point, Report, State
from sweeps.training import callbacks, going_on
from sweeps.training.isolation import isolated
from sweeps.training.points import numbers
from sweeps.training.trial import make_trial_function
from sweeps.training.worker import Worker

Run = Callable[..., tuple[list[Report], Outcome]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Trains a module of `tests.modules` in a worker; the answer to each report is `stop(report)`."""

    def train(
        name: str,
        init_args: dict[str, Any] | None = None,
        *,
        trainer: dict[str, Any] | None = None,
        stop: Callable[[Report], bool] = lambda report: False,
        worker: Worker | None = None,
        number: int = 0,
        **config: Any,
    ) -> tuple[list[Report], Outcome]:
        worker = worker or new_worker(tmp_path)
        settings = {"max_epochs": 4, "accelerator": "cpu", "log_every_n_steps": 4} | (trainer or {})
        full = {
            "seed_everything": 0,
            "model": {"class_path": f"tests.modules.{name}", "init_args": init_args or {}},
            "data": {"class_path": "tests.modules.Data"},
            "trainer": settings,
        }
        event = worker.exchange(Assignment(number, {}, full | config))
        reports = []
        while isinstance(event, Report):
            reports.append(event)
            event = worker.exchange(Answer(number, stop(event)))
        return reports, event

    return train


def new_worker(files: Path, **changes: Any) -> Worker:
    settings: dict[str, Any] = {
        "metric": "val_loss", "minimize": True, "value": "best", "files": files, "folders": (str(Path.cwd()),)
    }  # fmt: skip
    context = TrialContext(**settings | changes)
    return Worker(lambda: make_trial_function(context), "worker-0")


def points(reports: list[Report], outcome: Outcome, key: str) -> list[Point]:
    everything = [point for event in (*reports, outcome) for point in event.points]
    return [point for point in everything if point.key == key]


def test_a_worker_notes_what_it_imported_before_it_trains(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_imported", {})
    monkeypatch.setattr(provenance, "_seen", set())
    reports, _ = run("Line", stop=lambda report: "tests.modules" in provenance.imported_sources())
    assert len(reports) == 1


def test_each_validation_is_reported_once_and_the_last_one_as_the_last(run: Run) -> None:
    reports, outcome = run("Line")
    assert [report.step for report in reports] == [1, 2, 3, 4]
    assert [report.last for report in reports] == [False, False, False, True]
    assert outcome.state is State.COMPLETE
    assert outcome.value == min(report.value for report in reports)
    assert outcome.metrics["val_loss"] == outcome.value
    assert outcome.device == "cpu"
    assert 0 < outcome.timing.fit_seconds <= outcome.timing.slot_seconds


def test_the_metrics_beside_the_value_are_those_of_its_epoch(run: Run) -> None:
    """Lightning has the means of an epoch's training only after the validation at the epoch's end."""
    _, outcome = run("Counting", init_args={"values": [3.0, 1.0, 2.0, 4.0]})
    assert (outcome.metrics["val_loss"], outcome.metrics["epoch_mean"]) == (1.0, 1.0)


def test_what_was_logged_is_read_once_an_epoch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[dict[str, float]] = []  # on a GPU each waits for it

    def read(trainer: Trainer) -> dict[str, float]:
        reads.append(numbers(trainer))
        return reads[-1]

    monkeypatch.setattr(callbacks, "numbers", read)
    monkeypatch.setattr(going_on, "numbers", read, raising=False)
    _, outcome = run("Counting", {"values": [4.0, 2.0, 3.0, 1.0]})
    assert [read["epoch_mean"] for read in reads] == [0.0, 1.0, 2.0, 3.0]
    assert outcome.metrics == reads[-1]


def test_every_logged_value_travels_with_lightnings_own_step(run: Run) -> None:
    reports, outcome = run("Line")
    assert [p.step for p in points(reports, outcome, "loss")] == [3, 7, 11, 15, 19, 23, 27, 31]
    validated = points(reports, outcome, "val_loss")
    assert [p.step for p in validated] == [7, 15, 23, 31]
    assert [p.value for p in validated] == [report.value for report in reports]
    assert len(points(reports, outcome, "val/mae")) == 4
    times = [p.time_ms for p in validated]
    assert times == sorted(times)


def test_a_pruned_trial_trains_no_further_epoch(run: Run) -> None:
    reports, outcome = run("Line", stop=lambda report: report.step == 2)
    assert (len(reports), outcome.state) == (2, State.PRUNED)
    assert outcome.reason == "pruned at validation 2"
    assert max(p.step for p in points(reports, outcome, "loss")) == 15


def test_validations_within_an_epoch_are_reported_and_end_it_at_once(run: Run) -> None:
    settings = {"val_check_interval": 0.25}
    reports, outcome = run("Line", trainer=settings)
    assert [report.step for report in reports] == list(range(1, 17))
    assert reports[-1].last
    reports, outcome = run("Line", trainer=settings, stop=lambda report: report.step == 3)
    assert (len(reports), outcome.state) == (3, State.PRUNED)
    assert max(p.step for p in points(reports, outcome, "val_loss")) == 5


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_checkpoint_for_which_there_is_no_room_costs_neither_the_trial_nor_the_others(
    run: Run, tmp_path: Path, at: int
) -> None:
    # All validations are better than those before: the one that is not saved would be the best then.
    _, outcome = run("FullDisk", {"at": at})
    assert outcome.state is State.COMPLETE
    assert outcome.reason.startswith(f"no checkpoint of validation {at}: [Errno 27] File too large")
    assert {path.suffix for path in (tmp_path / "trial-0").iterdir()} == {
        ".ckpt",
        ".txt",
    }  # nothing half done
    kept = {path.name: torch.load(path, weights_only=True) for path in (tmp_path / "trial-0").glob("*.ckpt")}
    validations = {name: c["callbacks"]["TrialCallback"]["validations"] for name, c in kept.items()}
    assert validations == ({"last.ckpt": 3} if at == 4 else {"last.ckpt": 4, "best.ckpt": 4})


def test_pruning_does_not_wait_for_the_users_min_epochs(run: Run) -> None:
    reports, outcome = run("Line", trainer={"min_epochs": 3, "min_steps": 30}, stop=lambda report: True)
    assert (len(reports), outcome.state) == (1, State.PRUNED)


def test_training_by_steps_marks_its_last_validation(run: Run) -> None:
    reports, outcome = run("Line", trainer={"max_epochs": -1, "max_steps": 20})
    assert [report.last for report in reports] == [False, True]
    assert outcome.state is State.COMPLETE


def test_a_diverged_trial_ends_at_its_first_nan(run: Run) -> None:
    reports, outcome = run("Diverging")
    assert [report.step for report in reports] == [1, 2]
    assert (outcome.state, outcome.value) == (State.DIVERGED, 0.5)
    assert outcome.reason == "val_loss became nan at validation 2"


def test_early_stopping_completes_a_trial_even_where_it_would_be_pruned(run: Run) -> None:
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 1}}
    reports, outcome = run(
        "Scheduled", {"values": [1.0, 2.0, 3.0, 4.0]}, trainer={"callbacks": [stopping]},
        stop=lambda report: report.step == 2,
    )  # fmt: skip
    assert len(reports) == 2
    assert (outcome.state, outcome.value) == (State.COMPLETE, 1.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"value": "best"}, 1.0, id="best when minimizing"),
        pytest.param({"value": "last"}, 2.0, id="last"),
        pytest.param({"value": "best", "minimize": False}, 3.0, id="best when maximizing"),
    ],
)
def test_the_value_is_that_of_the_kept_checkpoint(
    run: Run, tmp_path: Path, changes: dict[str, Any], expected: float
) -> None:
    values = [3.0, 1.0, 2.0]
    worker = new_worker(tmp_path, **changes)
    _, outcome = run("Scheduled", {"values": values}, trainer={"max_epochs": 3}, worker=worker)
    best = torch.load(tmp_path / "trial-0" / "best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "trial-0" / "last.ckpt", weights_only=True)
    assert outcome.value == expected
    assert best["epoch"] == values.index(expected)
    assert last["epoch"] == 2
    assert sorted(p.name for p in (tmp_path / "trial-0").iterdir()) == ["best.ckpt", "last.ckpt", "log.txt"]


def test_no_checkpoint_is_written_where_the_user_wants_none(run: Run, tmp_path: Path) -> None:
    _, outcome = run("Line", trainer={"enable_checkpointing": False})
    assert outcome.state is State.COMPLETE
    assert [p.name for p in (tmp_path / "trial-0").iterdir()] == ["log.txt"]


def test_the_users_own_checkpoint_and_logger_stay_beside_ours(run: Run, tmp_path: Path) -> None:
    own = {"class_path": "ModelCheckpoint", "init_args": {"monitor": "val_loss", "filename": "mine"}}
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path / "csv")}}
    reports, outcome = run("Line", trainer={"callbacks": [own], "logger": logger})
    assert outcome.state is State.COMPLETE, outcome.reason
    assert len(list(tmp_path.rglob("mine.ckpt"))) == 1
    assert len(list((tmp_path / "csv").rglob("metrics.csv"))) == 1
    assert len(points(reports, outcome, "val_loss")) == 4
    assert (tmp_path / "trial-0" / "best.ckpt").exists()


def test_trials_do_not_write_to_one_folder_of_checkpoints_though_the_configuration_names_one(
    run: Run, tmp_path: Path
) -> None:
    own = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(tmp_path / "mine"), "filename": "a"}}
    at_fault = {"class_path": "OnExceptionCheckpoint", "init_args": {"dirpath": str(tmp_path / "mine")}}
    for _ in range(2):  # as after a crash: it has the same folder again
        _, outcome = run("Line", trainer={"callbacks": [own, at_fault]})
        assert outcome.state is State.COMPLETE, outcome.reason
    _, outcome = run("Failing", trainer={"callbacks": [own, at_fault]})
    assert outcome.state is State.FAILED
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("mine/**/*.ckpt")}
    folder = f"mine/{tmp_path.name}-trial-0"
    assert {f"{folder}/a.ckpt", f"{folder}/on_exception.ckpt"} <= there
    assert all(path.startswith(f"{folder}/") for path in there)


def test_a_module_may_ask_for_the_best_checkpoint_as_it_asks_lightnings_own(run: Run, tmp_path: Path) -> None:
    _, outcome = run("", trainer={"max_epochs": 3}, model={"class_path": "tests.habits.WarmsUp"})
    assert outcome.state is State.COMPLETE, outcome.reason
    folder, value = tmp_path / "trial-0", torch.tensor(outcome.value)
    log = (folder / "log.txt").read_text()
    assert f"best {folder / 'best.ckpt'} {value}, last {folder / 'last.ckpt'}" in log
    assert "by min val_loss: 1 of 1" in log


@pytest.mark.parametrize("kind", ["", "TensorBoardLogger"])
def test_a_module_may_ask_more_of_its_logger_than_to_log_metrics(run: Run, tmp_path: Path, kind: str) -> None:
    logger = {"class_path": kind, "init_args": {"save_dir": str(tmp_path / "own"), "name": "mine"}}
    own = {"class_path": "ModelCheckpoint", "init_args": {"filename": "mine"}}
    model = {"class_path": "tests.habits.Drawing"}
    trainer = {"callbacks": [own]} | ({"logger": logger} if kind else {})
    reports, outcome = run("Line", model=model, trainer=trainer)
    assert outcome.state is State.COMPLETE, outcome.reason
    folder = tmp_path / "own" / "mine" / f"{tmp_path.name}-trial-0" if kind else tmp_path / "trial-0"
    assert (folder / "table.txt").read_text() == (kind or "Points")
    assert len(points(reports, outcome, "val_loss")) == 4
    assert (tmp_path / "trial-0" / "checkpoints" / "mine.ckpt").exists()


@pytest.mark.parametrize("kind", ["CSVLogger", "TensorBoardLogger"])
def test_the_users_own_logger_has_a_folder_for_each_attempt_of_a_trial(
    run: Run, tmp_path: Path, kind: str
) -> None:
    logger = {"class_path": kind, "init_args": {"save_dir": str(tmp_path / "own"), "name": "mine"}}
    for _ in range(2):
        _, outcome = run("Line", trainer={"logger": logger})
        assert outcome.state is State.COMPLETE, outcome.reason
    sweep = tmp_path.name
    assert {path.name for path in (tmp_path / "own" / "mine").iterdir()} == {
        f"{sweep}-trial-0", f"{sweep}-trial-0-2"
    }  # fmt: skip


@pytest.mark.parametrize(
    "plugin", ["lightning.pytorch.plugins.AsyncCheckpointIO", "tests.modules.Compressed"]
)
def test_checkpoints_are_complete_however_the_user_has_them_written(
    run: Run, tmp_path: Path, plugin: str
) -> None:
    _, outcome = run("Line", trainer={"plugins": [{"class_path": plugin}]})
    assert (outcome.state, outcome.reason) == (State.COMPLETE, "")
    last = torch.load(tmp_path / "trial-0" / "last.ckpt", weights_only=True)
    assert (last["epoch"], "compressed" in last) == (3, "Compressed" in plugin)


def test_a_checkpoint_is_that_of_its_validation_though_the_training_goes_on_and_fails(
    run: Run, tmp_path: Path
) -> None:
    _, outcome = run("Rewriting", {"fails_at": 3})
    assert outcome.reason == "RuntimeError: in epoch 3"
    last = torch.load(tmp_path / "trial-0" / "last.ckpt", weights_only=True)
    assert last["callbacks"]["TrialCallback"]["validations"] == 3
    assert last["state_dict"]["mark"].unique().tolist() == [3]


def test_an_optimizer_of_the_configuration_replaces_the_modules_own(run: Run) -> None:
    adam = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.0}}
    reports, _ = run("Line", optimizer=adam)
    assert len({report.value for report in reports}) == 1  # a rate of zero learns nothing


def test_a_metric_that_is_not_logged_fails_the_trial_with_what_was_logged(run: Run, tmp_path: Path) -> None:
    _, outcome = run("Line", worker=new_worker(tmp_path, metric="val_acc"))
    assert outcome.state is State.FAILED
    assert outcome.reason.endswith(
        "did not log 'val_acc' by the end of a validation; it logged loss, val/mae, val_loss"
    )


@pytest.mark.parametrize("bar", ["RichProgressBar", "TQDMProgressBar"])
@pytest.mark.parametrize("settings", [{}, {"enable_progress_bar": True}], ids=["left out", "wanted"])
def test_a_progress_bar_of_the_configuration_fails_no_trial(
    run: Run, tmp_path: Path, bar: str, settings: dict[str, Any]
) -> None:
    callback = {"class_path": f"lightning.pytorch.callbacks.{bar}"}
    _, outcome = run("Line", trainer={"callbacks": [callback], "max_epochs": 1} | settings)
    assert outcome.state is State.COMPLETE, outcome.reason
    assert ("Epoch 0" in (tmp_path / "trial-0" / "log.txt").read_text()) == bool(settings)


def test_a_trial_trains_on_the_device_it_was_given_whichever_its_script_would_take(run: Run) -> None:
    _, outcome = run("Line", trainer={"devices": [2]})
    assert (outcome.state, outcome.device) == (State.COMPLETE, "cpu")


def test_a_trial_may_validate_by_the_clock(run: Run) -> None:
    reports, outcome = run("Line", trainer={"val_check_interval": {"seconds": 0}, "max_epochs": 2})
    assert outcome.state is State.COMPLETE, outcome.reason
    assert len(reports) == 16
    assert not any(report.last for report in reports)  # who knows


def test_a_training_without_validation_fails_the_trial(run: Run) -> None:
    _, outcome = run("WithoutValidation")
    assert outcome.state is State.FAILED
    assert "the training ended without a validation" in outcome.reason


def test_an_exception_is_a_failed_trial_with_a_one_line_reason_and_a_traceback_in_its_log(
    run: Run, tmp_path: Path
) -> None:
    _, outcome = run("Failing")
    assert outcome.state is State.FAILED
    assert outcome.reason == "RuntimeError: lr 0.05 is too high"
    log = (tmp_path / "trial-0" / "log.txt").read_text()
    assert "about to fail" in log
    assert "Traceback" in log
    assert "modules.py" in log


def test_sys_exit_is_a_failed_trial_and_the_worker_goes_on(run: Run, tmp_path: Path) -> None:
    worker = new_worker(tmp_path)
    _, failed = run("Exiting", worker=worker)
    _, complete = run("Line", worker=worker, number=1)
    assert (failed.state, failed.reason) == (State.FAILED, "SystemExit: sys.exit(4)")
    assert complete.state is State.COMPLETE


def test_everything_that_a_trial_writes_is_in_its_own_log(run: Run, tmp_path: Path) -> None:
    worker = new_worker(tmp_path)
    run("Chatty", worker=worker)
    run("Line", worker=worker, number=1)
    log = (tmp_path / "trial-0" / "log.txt").read_text()
    for text in ("to stdout", "to stderr", "to descriptor 1", "from a child"):
        assert text in log
        assert text not in (tmp_path / "trial-1" / "log.txt").read_text()


def test_nothing_of_a_trial_is_left_for_the_next(run: Run, tmp_path: Path) -> None:
    worker = new_worker(tmp_path)
    first, _ = run("Line", worker=worker)
    state = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())
    _, messy = run("Messy", worker=worker, number=1)
    again, _ = run("Line", worker=worker, number=2)
    assert messy.state is State.COMPLETE, messy.reason
    assert [r.value for r in again] == [r.value for r in first]
    assert (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()) == state
    assert torch.get_default_dtype() is torch.float32
    assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert "MESSY" not in os.environ
    assert "/nowhere" not in sys.path


MORTAL = """
import weakref
from tests.modules import Data, Line
made = weakref.WeakSet()

class Net(Line):
    def __init__(self, fails: bool = False):
        super().__init__()
        self.fails = fails
        made.add(self)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        made.add(loss)
        if self.fails:
            raise ValueError("its frame has the loss, and that the whole graph")
        return loss

class Points(Data):
    def __init__(self):
        super().__init__()
        made.add(self)
"""


def test_what_a_trial_made_is_gone_before_the_next(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mortal.py").write_text(MORTAL)
    worker, data = new_worker(tmp_path), {"class_path": "mortal.Points"}
    gc.disable()  # or it may be gone by chance
    try:
        for number, fails in enumerate((False, False, True, True, False)):
            model = {"class_path": "mortal.Net", "init_args": {"fails": fails}}
            _, outcome = run("Line", model=model, data=data, worker=worker, number=number)
            assert outcome.state is (State.FAILED if fails else State.COMPLETE)
            assert list(sys.modules["mortal"].made) == []
    finally:
        gc.enable()


SETTING = """
import os, torch
torch.set_default_dtype(torch.float64)
os.environ["SET_AT_IMPORT"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = "0"
from tests.modules import Data as Doubles, Line

class Net(Line):
    def on_fit_start(self):
        assert os.environ["SET_AT_IMPORT"] == "1"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
        assert self.net[0].weight.dtype is torch.float64
"""


def test_what_a_module_sets_when_it_is_imported_holds_in_each_trial(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")  # as Ray does: that alone stays its own
    (tmp_path / "sets_at_import.py").write_text(SETTING)
    model, data = ({"class_path": f"sets_at_import.{name}"} for name in ("Net", "Doubles"))
    worker = new_worker(tmp_path)
    with isolated():  # of the other tests
        ended = [run("Line", model=model, data=data, worker=worker, number=n) for n in range(2)]
    assert [outcome.reason for _, outcome in ended] == ["", ""]
    assert len({outcome.value for _, outcome in ended}) == 1
    log = (tmp_path / "trial-0" / "log.txt").read_text()
    assert "CUDA_VISIBLE_DEVICES=0, which a module sets, is not heeded: the trial has 3\n" in log


@pytest.mark.parametrize(
    "demo",
    [
        pytest.param("BoringModel", id="BoringModel"),
        pytest.param("ManualOptimBoringModel", id="manual optimization"),
    ],
)
def test_lightnings_own_demo_modules_train_unchanged(run: Run, tmp_path: Path, demo: str) -> None:
    home = "lightning.pytorch.demos.boring_classes"
    reports, outcome = run(
        "",
        model={"class_path": f"{home}.{demo}"},
        data={"class_path": f"{home}.BoringDataModule"},
        trainer={"callbacks": [{"class_path": "tests.modules.LogOutputs"}], "log_every_n_steps": 1},
        worker=new_worker(tmp_path, metric="x"),
    )
    assert outcome.state is State.COMPLETE, outcome.reason
    assert len(reports) == 4
