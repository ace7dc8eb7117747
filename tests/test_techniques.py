"""Training techniques inside a sweep: each trains, varies, is recorded, and goes on after a kill."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.context import TrialContext
from sweeps.planning.check import precision_notes
from sweeps.records import Answer, Assignment, Outcome, Report, State
from sweeps.training.trial import make_trial_function
from sweeps.training.worker import Worker
from tests import fakes
from tests.test_resume import CONFIG, Driver, Killed, all_points, curve

EARLY = {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 2}}
AVERAGING = {"class_path": "StochasticWeightAveraging", "init_args": {"swa_lrs": 0.05, "swa_epoch_start": 2}}
WORSE_AFTER_TWO = {
    "class_path": "tests.modules.Scheduled",
    "init_args": {"values": [3.0, 2.0, 2.5, 2.6, 1.0]},
}


def train(
    files: Path, trainer: dict[str, Any], *, attempt: int = 0, known_step: int = 0, kill: int = 0, **more: Any
) -> tuple[list[Report], Outcome | None]:
    """Trains in a fresh worker until the outcome, or until it is killed while report `kill` is answered."""
    config = copy.deepcopy(CONFIG) | more
    config["trainer"] |= trainer
    driver = Driver(at_answer=kill)
    context = TrialContext("val_loss", True, "best", files, (str(Path.cwd()),))
    try:
        outcome = make_trial_function(context)(Assignment(0, {}, config, attempt, known_step), driver)
    except Killed:
        return driver.reports, None
    return driver.reports, outcome


def test_early_stopping_is_complete_and_says_why(tmp_path: Path) -> None:
    reports, outcome = train(tmp_path, {"callbacks": [EARLY]}, model=WORSE_AFTER_TWO)
    assert outcome is not None
    assert (len(reports), outcome.state, outcome.value) == (4, State.COMPLETE, 2.0)
    said = "Monitored metric val_loss did not improve in the last 2 records. Best score: 2.000."
    assert outcome.reason == f"stopped early at validation 4 of 5: {said}"


def test_a_trial_that_trains_to_its_end_gives_no_reason(tmp_path: Path) -> None:
    _, outcome = train(tmp_path, {"callbacks": [EARLY], "max_epochs": 2}, model=WORSE_AFTER_TWO)
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (State.COMPLETE, "")


@pytest.mark.parametrize(
    ("trainer", "more"),
    [
        pytest.param({"callbacks": [EARLY]}, {"model": WORSE_AFTER_TWO}, id="early stopping"),
        pytest.param({"callbacks": [AVERAGING]}, {}, id="stochastic weight averaging"),
        pytest.param({"callbacks": [{"class_path": "lightning.pytorch.callbacks.WeightAveraging"}]}, {},
                     id="weight averaging"),
        pytest.param({"precision": "bf16-mixed", "accumulate_grad_batches": 3, "gradient_clip_val": 0.5}, {},
                     id="precision, accumulation and clipping"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kill", [1, 4])
def test_a_killed_trial_goes_on_with_the_state_of_its_callbacks(
    tmp_path: Path, trainer: dict[str, Any], more: dict[str, Any], kill: int
) -> None:
    whole, finished = train(tmp_path / "whole", trainer, **more)
    train(tmp_path / "cut", trainer, kill=kill, **more)
    rest, resumed = train(tmp_path / "cut", trainer, attempt=1, known_step=kill, **more)
    assert curve(rest) == curve(whole)[kill:]
    assert finished is not None
    assert resumed is not None
    assert (resumed.state, resumed.value, resumed.reason) == (finished.state, finished.value, finished.reason)


def habit(name: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": f"tests.habits.{name}", "init_args": init_args}


FINETUNING = {
    "class_path": "lightning.pytorch.callbacks.BackboneFinetuning",
    "init_args": {"unfreeze_backbone_at_epoch": 1},
}


@pytest.mark.parametrize(
    ("trainer", "more"),
    [
        pytest.param({}, {}, id="metrics of training epochs"),
        pytest.param({}, {"model": habit("CountsEpochs")}, id="metrics over epochs"),
        pytest.param({}, {"model": habit("Plateaus")}, id="ReduceLROnPlateau"),
        pytest.param({}, {"model": habit("Plateaus", monitor="loss_epoch")}, id="of a metric of training"),
        pytest.param({}, {"model": habit("Seldom")}, id="a metric of some validations"),
        pytest.param({}, {"model": habit("Confused")}, id="a matrix"),
        pytest.param({}, {"model": habit("Best")}, id="metrics kept from epoch to epoch"),
        pytest.param({"callbacks": [habit("Remembers")]}, {}, id="numbers of NumPy"),
        pytest.param({"max_steps": 36}, {}, id="steps"),
        pytest.param({"max_steps": 36}, {"model": habit("Plateaus")}, id="steps and ReduceLROnPlateau"),
        pytest.param({"callbacks": [FINETUNING]}, {}, id="unfrozen parameters"),
        pytest.param({}, {"data": habit("KeptProcesses")}, id="kept processes"),
        pytest.param({"check_val_every_n_epoch": 2}, {"data": habit("KeptProcesses")},
                     id="kept processes, seldom validated"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kill", [1, 3])
def test_a_killed_trial_goes_on_as_if_it_had_never_been(
    tmp_path: Path, trainer: dict[str, Any], more: dict[str, Any], kill: int
) -> None:
    settings = {"lr_scheduler": None, "optimizer": None, "model": habit("PerEpoch")} | more
    trainer = {"max_epochs": 6} | trainer
    whole, finished = train(tmp_path / "whole", trainer, **settings)
    first, _ = train(tmp_path / "cut", trainer, kill=kill, **settings)
    rest, resumed = train(tmp_path / "cut", trainer, attempt=1, known_step=kill, **settings)
    assert finished is not None
    assert resumed is not None
    assert curve(first + rest) == curve(whole)
    assert sorted(all_points([*first, *rest, resumed])) == sorted(all_points([*whole, finished]))
    assert (resumed.value, resumed.reason) == (finished.value, finished.reason)
    assert resumed.metrics == finished.metrics


def test_a_checkpoint_with_what_could_run_is_left_and_the_log_says_why(tmp_path: Path) -> None:
    trainer = {"callbacks": [habit("Remembers", path=True)]}
    train(tmp_path, trainer, kill=2)
    again, outcome = train(tmp_path, trainer, attempt=1, known_step=2)
    assert outcome is not None
    assert [report.step for report in again] == [1, 2, 3, 4, 5]
    log = (tmp_path / "trial-0" / "log.txt").read_text()
    held = r"last\.ckpt holds pathlib(\._local)?\.PosixPath, which is not read since it could run something"
    assert re.search(held, log)  # it moved in Python 3.13


def test_averaged_weights_are_validated_and_count(tmp_path: Path) -> None:
    plain, _ = train(tmp_path / "plain", {"max_epochs": 3})
    averaged, outcome = train(tmp_path / "averaged", {"max_epochs": 3, "callbacks": [AVERAGING]})
    assert len(averaged) == len(plain) + 1
    assert [report.last for report in averaged] == [False, False, True, True]
    assert averaged[-1].value != averaged[-2].value
    assert outcome is not None
    assert outcome.value == min(report.value for report in averaged)


def test_a_module_that_holds_its_optimizers_maker_is_copied_without_the_trial(tmp_path: Path) -> None:
    """LightningCLI's makers refer to its object, and so to the Trainer and our callback."""
    maker = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}
    callbacks = [AVERAGING, {"class_path": "tests.habits.Copies"}]
    settings = {"optimizer": None, "lr_scheduler": None, "model": habit("MakesItsOptimizer", optimizer=maker)}
    _, outcome = train(tmp_path, {"max_epochs": 3, "callbacks": callbacks}, **settings)
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (State.COMPLETE, "")


def test_a_trial_that_goes_on_within_an_epoch_accumulates_what_a_callback_said(tmp_path: Path) -> None:
    """Lightning says so at an epoch's start only; a schedule of rates then has too few steps."""
    callback = {
        "class_path": "GradientAccumulationScheduler",
        "init_args": {"scheduling": {0: 1, 1: 3}},
    }
    trainer = {"max_epochs": 3, "callbacks": [callback], "val_check_interval": 0.5}
    steps = []
    for folder, kill in (("whole", 0), ("cut", 3)):
        train(tmp_path / folder, trainer, kill=kill)
        if kill:
            train(tmp_path / folder, trainer, attempt=1, known_step=kill)
        last = torch.load(tmp_path / folder / "trial-0" / "last.ckpt", weights_only=True)
        steps.append(last["global_step"])
    assert steps[1] == steps[0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_the_effective_settings_are_recorded(tmp_path: Path, precision: str) -> None:
    trainer = {
        "precision": precision,
        "accumulate_grad_batches": 2,
        "gradient_clip_val": 0.1,
        "max_epochs": 1,
    }
    _, outcome = train(tmp_path, trainer)
    assert outcome is not None
    assert outcome.effective == {
        "precision": "bf16-mixed" if precision == "16-mixed" else precision,  # as Lightning has it on a CPU
        "accumulate_grad_batches": 2, "gradient_clip_val": 0.1, "batch_size": 8, "effective_batch_size": 16,
    }  # fmt: skip


def test_everything_may_vary_in_one_sweep(tmp_path: Path) -> None:
    early = {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 1}}
    averaging = {"class_path": "StochasticWeightAveraging",
                 "init_args": {"swa_lrs": {"type": "float", "low": 0.01, "high": 0.1}}}  # fmt: skip
    spec = fakes.spec(
        objective={"metric": "val_loss", "direction": "minimize"},
        model="tests.modules.Line", data="tests.modules.Data",
        trainer={"max_epochs": 2, "accelerator": "cpu"},
        search_space={
            "trainer.precision": ["32-true", "bf16-mixed", "16-mixed"],
            "trainer.accumulate_grad_batches": [1, 2, 4],
            "trainer.gradient_clip_val": {"type": "float", "low": 0.1, "high": 10, "log": True},
            "trainer.gradient_clip_algorithm": ["norm", "value"],
            "trainer.callbacks": {"none": None, "early": early, "averaging": averaging},
        },
        sampler={"class_path": "RandomSampler", "init_args": {"seed": 3}},
    )  # fmt: skip
    study = fakes.study(spec, validations=2)
    context = TrialContext("val_loss", True, "best", tmp_path, (str(Path.cwd()),))
    worker = Worker(lambda: make_trial_function(context), "worker-0")
    for _ in range(8):
        assignment = study.ask()
        assert assignment is not None
        event = worker.exchange(assignment)
        while isinstance(event, Report):
            event = worker.exchange(Answer(event.number, study.should_stop(event)))
        assert isinstance(event, Outcome)
        study.tell(event)
        assert event.state is State.COMPLETE, event.reason
        assert (
            event.effective["accumulate_grad_batches"] == assignment.params["trainer.accumulate_grad_batches"]
        )
        assert event.effective["gradient_clip_val"] == assignment.params["trainer.gradient_clip_val"]
    trials = fakes.optuna_study(study).trials
    assert {trial.params["trainer.callbacks"] for trial in trials} == {"none", "early", "averaging"}
    assert {trial.user_attrs["outcome"]["effective"]["precision"] for trial in trials} == {
        "32-true",
        "bf16-mixed",
    }


@pytest.mark.parametrize(
    ("changes", "gpus", "notes"),
    [
        pytest.param({"trainer": {"max_epochs": 1, "precision": "16-mixed"}}, 0.0, 1, id="asked for"),
        pytest.param({"search_space": {"trainer.precision": ["32-true", "16-mixed"]}}, 0.0, 1, id="searched"),
        pytest.param({"trainer": {"max_epochs": 1, "precision": "16-mixed"}}, 1.0, 0, id="on a GPU"),
        pytest.param({"trainer": {"max_epochs": 1, "precision": "bf16-mixed"}}, 0.0, 0, id="another one"),
    ],
)
def test_check_says_what_half_precision_means_without_a_gpu(
    changes: dict[str, Any], gpus: float, notes: int
) -> None:
    assert len(precision_notes(fakes.spec(**changes), gpus)) == notes
