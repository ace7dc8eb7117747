"""How many validations a training has, compared with what a real Trainer does."""

import warnings
from itertools import product
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from sweeps.training.schedule import Schedule

EPOCHS = (-1, 0, 3)
STEPS = (-1, 0, 5, 8)
ACCUMULATE = (1, 3)
EVERY_EPOCHS = (1, 2, None)
INTERVALS = (1.0, 0.3, 0.01, 1, 3, 11)
BATCHES = (1, 4, 10)


class Counting(Callback):
    """Counts the validations of a fit."""

    def __init__(self) -> None:
        self.validations = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validations += not trainer.sanity_checking


def real(settings: dict[str, Any], batches: int) -> int:
    """The validations of a real training with these settings."""
    counting = Counting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, limit_train_batches=batches, limit_val_batches=1,
            callbacks=[counting], **settings,
        )  # fmt: skip
        trainer.fit(BoringModel())
    return counting.validations


def allowed(steps: int, epochs: int, every: int | None, interval: float, batches: int) -> bool:
    """Whether Lightning takes the settings, and ends."""
    if isinstance(interval, int):
        return (steps, epochs) != (-1, -1) and (every is None or interval <= batches)
    return (steps, epochs) != (-1, -1) and every is not None


@pytest.mark.parametrize("batches", BATCHES, ids=lambda batches: f"{batches} batches")
@pytest.mark.parametrize("interval", INTERVALS, ids=lambda interval: f"interval {interval}")
def test_the_validations_are_those_of_a_real_trainer(interval: float, batches: int) -> None:
    different = {}
    for epochs, steps, accumulate, every in product(EPOCHS, STEPS, ACCUMULATE, EVERY_EPOCHS):
        if not allowed(steps, epochs, every, interval, batches):
            continue
        settings = {
            "max_epochs": epochs, "max_steps": steps, "accumulate_grad_batches": accumulate,
            "check_val_every_n_epoch": every, "val_check_interval": interval,
        }  # fmt: skip
        counted, expected = Schedule.of(settings).validations(batches), real(settings, batches)
        if counted != expected:
            different[tuple(settings.values())] = (counted, expected)
    assert different == {}


@pytest.mark.parametrize(
    ("trainer", "schedule"),
    [
        pytest.param({}, Schedule(1000, -1), id="nothing is 1000 epochs"),
        pytest.param({"max_steps": 5}, Schedule(-1, 5), id="steps alone bound the training"),
        pytest.param({"max_time": "00:01:00:00"}, Schedule(-1, -1), id="time alone bounds the training"),
        pytest.param({"max_epochs": 3, "max_time": "00:01:00:00"}, Schedule(3, -1), id="epochs and time"),
        pytest.param({"max_epochs": None, "max_steps": None}, Schedule(1000, -1), id="null is nothing"),
        pytest.param({"max_epochs": -1}, Schedule(-1, -1), id="no limit"),
        pytest.param(
            {"max_epochs": 2, "accumulate_grad_batches": None, "val_check_interval": None},
            Schedule(2, -1),
            id="null is Lightning's default",
        ),
        pytest.param(
            {"max_epochs": 2, "check_val_every_n_epoch": None, "val_check_interval": 7},
            Schedule(2, -1, check_every_epochs=None, interval=7),
            id="validation counted over epochs",
        ),
        pytest.param(
            {"max_epochs": 2, "val_check_interval": "00:00:10:00"},
            Schedule(2, -1, interval=None),
            id="validation by time",
        ),
    ],
)
def test_a_trainers_settings_are_read_with_lightnings_defaults(
    trainer: dict[str, Any], schedule: Schedule
) -> None:
    assert Schedule.of(trainer) == schedule


@pytest.mark.parametrize(
    ("schedule", "without", "with_ten"),
    [
        pytest.param(Schedule(6, -1), 6, 6, id="whole epochs"),
        pytest.param(Schedule(7, -1, check_every_epochs=2), 3, 3, id="every other epoch"),
        pytest.param(Schedule(6, -1, accumulate=4), 6, 6, id="accumulation changes nothing by itself"),
        pytest.param(Schedule(2, -1, interval=0.25), None, 10, id="quarters are rounded down to batches"),
        pytest.param(Schedule(2, -1, interval=3), None, 6, id="a number of batches"),
        pytest.param(Schedule(-1, 25), None, 2, id="a number of steps"),
        pytest.param(Schedule(2, -1, check_every_epochs=None, interval=7), None, 2, id="over epochs"),
        pytest.param(Schedule(-1, -1), None, None, id="no end"),
        pytest.param(Schedule(2, 7, interval=None), None, None, id="by time"),
    ],
)
def test_batches_are_asked_for_only_where_they_matter(
    schedule: Schedule, without: int | None, with_ten: int | None
) -> None:
    assert schedule.validations() == without
    assert schedule.validations(10) == with_ten
    if schedule.bounded and schedule.interval is not None:
        assert schedule.needs_batches == (without is None)


@pytest.mark.parametrize(
    ("schedule", "bounded"),
    [
        pytest.param(Schedule(-1, -1), False, id="nothing"),
        pytest.param(Schedule(0, -1), True, id="no epoch"),
        pytest.param(Schedule(-1, 0), True, id="no step"),
        pytest.param(Schedule(3, -1), True, id="epochs"),
        pytest.param(Schedule(-1, 3), True, id="steps"),
    ],
)
def test_a_training_is_bounded_by_epochs_or_by_steps(schedule: Schedule, bounded: bool) -> None:
    assert schedule.bounded is bounded
