"""The range test trains as a sweep does, sets the rates it says, and leaves nothing behind."""

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeps.context import TrialContext
from sweeps.lr import finder
from sweeps.lr.curve import Curve, rates_between
from sweeps.lr.range_test import MANUAL, has_diverged, range_test
from tests.lr_modules import SEEN

CONTEXT = TrialContext("val_loss", True, "best", Path("nowhere"), (str(Path.cwd()),))


def ran(
    name: str = "Watched", parameter: str = "model.init_args.lr", steps: int = 20,
    low: float = 1e-6, **changes: Any
) -> Curve:  # fmt: skip
    """A range test of a module; `changes` are dotted paths, their dots written as `__`."""
    config: dict[str, Any] = {
        "model": {"class_path": f"tests.lr_modules.{name}", "init_args": {"lr": 0.05}},
        "data": {"class_path": "tests.modules.Data", "init_args": {}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "seed_everything": 0,
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        at = config
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    SEEN.clear()
    return range_test(CONTEXT, config, parameter, low=low, high=1.0, steps=steps)


def test_each_step_has_its_rate_and_the_data_begin_again() -> None:
    found = ran()  # eight batches an epoch, and one epoch in the configuration
    assert (len(found.losses), found.problem, found.optimizer) == (20, "", "SGD")
    assert [rates[0] for rates in SEEN] == pytest.approx(rates_between(1e-6, 1.0, 20))
    assert found.rates == rates_between(1e-6, 1.0, 20)


def test_what_raises_between_two_epochs_is_no_divergence() -> None:
    found = ran("Reads", data__init_args={"size": 96})  # twelve batches an epoch: enough for a curve
    assert found.losses == ()
    assert found.problem.startswith("the range test does not train: KeyError: 'val_loss' (lr_modules.py")
    assert len(ran("Reads", data__init_args={"size": 160}).losses) == 20  # it is over before


def test_a_process_that_is_spoilt_is_not_to_be_used_any_more() -> None:
    with pytest.raises(torch.OutOfMemoryError):  # its worker is replaced
        ran("Hungry", model={"class_path": "tests.modules.Hungry", "init_args": {}})


def test_where_a_high_rate_spoils_the_gpu_the_curve_until_there_is_told() -> None:
    with pytest.raises(RuntimeError, match="device-side assert") as caught:
        ran("RaisesAbove", steps=30, model__init_args__text="CUDA error: device-side assert triggered")
    told = finder._curve(pickle.loads(pickle.dumps(caught.value)))  # noqa: S301 - as Ray does
    assert 10 < len(told.losses) < 30
    assert told.losses[-1] is None


def test_data_of_a_single_batch_are_enough() -> None:
    assert len(ran(data__init_args={"size": 2, "batch_size": 2}).losses) == 20


@pytest.mark.parametrize(
    "settings", [{"max_steps": 3}, {"limit_train_batches": 2}, {"fast_dev_run": True}, {"min_epochs": 5},
                 {"max_time": "00:00:00:01"}, {"overfit_batches": 1}, {"check_val_every_n_epoch": 2}]
)  # fmt: skip
def test_limits_of_the_configuration_do_not_cut_it_short(settings: dict[str, Any]) -> None:
    assert len(ran(trainer={"max_epochs": 1, "accelerator": "cpu"} | settings).losses) == 20


@pytest.mark.parametrize("scheduler", ["", "one_cycle", "warmup", "plateau"])
def test_groups_keep_their_ratio_and_schedulers_do_not_step(scheduler: str) -> None:
    found = ran("TwoGroups", model__init_args__scheduler=scheduler)
    assert found.problem == ""
    rates = rates_between(1e-6, 1.0, 20)
    assert [pair[0] for pair in SEEN] == pytest.approx(rates)
    assert [pair[1] for pair in SEEN] == pytest.approx([rate / 10 for rate in rates])


def test_a_schedule_that_fits_the_length_of_the_training_only_is_made_and_left_out() -> None:
    for name in ("tests.habits.WarmsUp", "tests.lr_modules.SaysItsRate"):
        found = ran(model__class_path=name)
        assert (len(found.losses), found.problem) == (20, "")


def test_the_rates_are_those_of_the_parameter() -> None:
    """A module that trains with twice what it is given does so in the test, too."""
    ran("Scaled")
    assert [rates[0] for rates in SEEN] == pytest.approx([2 * rate for rate in rates_between(1e-6, 1.0, 20)])


def test_a_module_that_sets_rates_itself_is_overruled() -> None:
    ran("Stubborn")
    assert [rates[0] for rates in SEEN] == pytest.approx(rates_between(1e-6, 1.0, 20))


def test_an_optimizer_of_the_configuration_is_used_with_its_rate_as_a_tensor() -> None:
    optimizer = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01, "amsgrad": True}}
    found = ran(parameter="optimizer.init_args.lr", optimizer=optimizer)
    assert found.optimizer == "Adam"
    assert [rates[0] for rates in SEEN] == pytest.approx(rates_between(1e-6, 1.0, 20))


def test_accumulated_gradients_count_as_one_step() -> None:
    single = ran(data__init_args={"batch_size": 32})
    found = ran(data__init_args={"batch_size": 8}, trainer__accumulate_grad_batches=4)
    assert len(found.losses) == 20
    assert len(SEEN) == 80
    assert found.losses[0] == pytest.approx(single.losses[0], rel=0.2)  # a mean, not a sum


def test_precision_and_clipping_are_those_of_the_configuration() -> None:
    exact = ran(trainer__gradient_clip_val=0.1)
    found = ran(trainer__precision="bf16-mixed", trainer__gradient_clip_val=0.1)
    assert len(found.losses) == 20
    assert found.losses != exact.losses
    assert found.losses[0] == pytest.approx(exact.losses[0], rel=0.02)


def test_callbacks_that_would_end_it_or_save_are_left_out() -> None:
    callbacks = [
        {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss"}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"monitor": "val_loss"}},
        {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"},
        {
            "class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging",
            "init_args": {"swa_lrs": 1e-2},
        },
    ]
    assert len(ran(trainer__callbacks=callbacks).losses) == 20


@pytest.mark.parametrize(("name", "last"), [("NanAbove", None), ("RaisesAbove", None)])
def test_it_ends_where_training_breaks_down(name: str, last: float | None) -> None:
    found = ran(name, steps=30)
    assert 10 < len(found.losses) < 30
    assert found.losses[-1] is last
    assert all(loss is not None for loss in found.losses[:-1])
    assert found.problem == ""


def test_it_ends_where_the_loss_explodes() -> None:
    found = range_test(
        CONTEXT,
        {"model": {"class_path": "tests.lr_modules.Watched", "init_args": {"lr": 0.05}},
         "data": {"class_path": "tests.modules.Data"}, "trainer": {"accelerator": "cpu"},
         "seed_everything": 0},
        "model.init_args.lr", low=1e-4, high=1e6, steps=100,
    )  # fmt: skip
    assert 30 < len(found.losses) < 80


def test_divergence_is_told_from_noise() -> None:
    assert has_diverged([1.0, None])
    assert not has_diverged([2.0] * 6 + [50.0])  # a spike
    assert has_diverged([2.0] * 6 + [50.0] * 3)
    assert not has_diverged([-1.0, -1.1, -0.9, -1.0, -1.2, -1.5, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("Adversarial", {}, MANUAL),
        (
            "RaisesAbove",
            {"model__init_args__limit": 0},
            "the range test does not train: RuntimeError: it is too high",
        ),
        ("Watched", {"model__init_args__width": "many"}, "Got value: many"),
    ],
)
def test_where_it_cannot_be_used_it_says_so_in_one_line(name: str, changes: dict[str, Any], why: str) -> None:
    found = ran(name, **changes)
    assert why in found.problem
    assert "\n" not in found.problem
    assert found.losses == ()


def test_it_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    states = [random.getstate(), np.random.get_state(legacy=True)[1].tolist(), torch.get_rng_state()]
    found = ran("Writes")
    assert len(found.losses) == 20
    assert SEEN == [[1.0]]  # it had a folder
    assert list(tmp_path.iterdir()) == []
    assert states[0] == random.getstate()
    assert states[1] == np.random.get_state(legacy=True)[1].tolist()
    assert torch.equal(states[2], torch.get_rng_state())
    assert ran("Writes").losses == found.losses  # nor in the next test
