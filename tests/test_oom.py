"""Trials that run out of memory: smaller batches, the same training, and what later trials learn from it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from sweeps.errors import SpecError
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.oom import Shrinking, split
from sweeps.planning.plan import context_of
from sweeps.records import Assignment, Outcome, Report, State
from sweeps.runner import run
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.sections import Oom
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes
from tests.test_lr_trial import trained as attempts_of

PATH = "data.init_args.batch_size"


def spec(**changes: Any) -> SweepSpec:
    """A sweep of `tests.modules.Hungry`: 64 points, four epochs."""
    raw: dict[str, Any] = {
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "model": {"class_path": "tests.modules.Hungry"},
        "data": {"class_path": "tests.modules.Data", "init_args": {"batch_size": 16}},
        "trainer": {"max_epochs": 4, "accelerator": "cpu"},
        "search_space": {"model.init_args.width": {"type": "int", "low": 1, "high": 64}},
    }
    return fakes.spec(**raw | changes)


def trained(
    of: SweepSpec, files: Path, params: dict[str, Any]
) -> list[tuple[Assignment, list[Report], Outcome]]:
    """The attempts of one trial, each in a worker of its own, as the executor gives them."""
    study = fakes.study(of)
    fakes.optuna_study(study).enqueue_trial(params)
    return attempts_of(study, of, files)


def used(assignment: Assignment) -> tuple[int, int | None]:
    data, trainer = assignment.config["data"], assignment.config["trainer"]
    return data["init_args"]["batch_size"], trainer.get("accumulate_grad_batches")


@pytest.mark.parametrize(
    ("effective", "batch", "expected"),
    [
        pytest.param(64, 64, (32, 2), id="even"),
        pytest.param(64, 16, (8, 8), id="again"),
        pytest.param(25, 25, (5, 5), id="odd, exact"),
        pytest.param(31, 31, (15, 2), id="prime, one off"),
        pytest.param(3, 3, (1, 3), id="three"),
        pytest.param(2, 2, (1, 2), id="two"),
        pytest.param(96, 24, (12, 8), id="accumulated before"),
    ],
)
def test_a_batch_is_split_into_smaller_ones(effective: int, batch: int, expected: tuple[int, int]) -> None:
    assert split(effective, batch) == expected


def test_every_split_is_smaller_and_at_most_one_sample_off() -> None:
    for effective in range(2, 600):
        batch = effective
        while batch > 1:
            size, count = split(effective, batch)
            assert 1 <= size <= batch // 2
            assert abs(size * count - effective) <= max(1, size // 2)
            batch = size


def test_a_trial_is_trained_with_smaller_batches_and_is_the_same_training(tmp_path: Path) -> None:
    whole = trained(spec(oom={"policy": "fail"}, model=model(limit=999)), tmp_path / "whole", width(4))
    attempts = trained(spec(), tmp_path / "cut", width(4))
    assert [used(assignment) for assignment, *_ in attempts] == [(16, None), (8, 2), (4, 4)]
    assert [outcome.fault for *_, outcome in attempts] == ["oom", "oom", ""]
    (_, expected, _), (_, reports, outcome) = whole[-1], attempts[-1]
    assert [r.value for r in reports] == pytest.approx([r.value for r in expected], rel=1e-4)
    assert outcome.state is State.COMPLETE
    assert outcome.reason == "batches of 4 x 4 instead of 16 x 1 to fit into memory"
    assert (outcome.effective["batch_size"], outcome.effective["effective_batch_size"]) == (4, 16)


def model(**init_args: Any) -> dict[str, Any]:
    return {"class_path": "tests.modules.Hungry", "init_args": init_args}


def width(value: int) -> dict[str, Any]:
    return {"model.init_args.width": value}


@pytest.mark.parametrize(
    ("trainer", "first"),
    [
        pytest.param({}, 3, id="from the end of an epoch"),
        pytest.param({"val_check_interval": 0.75}, 1, id="within an epoch: from the start"),
        pytest.param({"val_check_interval": 2}, 5, id="twice an epoch: from the last end of one"),
    ],
)
def test_what_was_trained_before_stays_where_batches_need_not_agree(
    tmp_path: Path, trainer: dict[str, Any], first: int
) -> None:
    settings = {"max_epochs": 4, "accelerator": "cpu"} | trainer
    big, late = model(limit=999), model(limit=32, from_epoch=2)
    whole = trained(spec(oom={"policy": "fail"}, model=big, trainer=settings), tmp_path / "a", width(4))
    (_, before, _), (_, after, outcome) = trained(
        spec(model=late, trainer=settings), tmp_path / "b", width(4)
    )
    assert after[0].step == first
    curve = {report.step: report.value for report in [*before, *after]}
    assert curve == pytest.approx({report.step: report.value for report in whole[-1][1]}, rel=1e-4)
    assert outcome.state is State.COMPLETE


def test_settings_that_count_batches_follow() -> None:
    settings = {"limit_train_batches": 10, "val_check_interval": 5, "limit_val_batches": 1.0}
    config = {"data": {"init_args": {"batch_size": 8}}, "trainer": settings}
    smaller = shrinking().smaller(config, config)
    assert smaller is not None
    assert smaller["trainer"] == {
        "limit_train_batches": 20,
        "val_check_interval": 10,
        "limit_val_batches": 1.0,
        "accumulate_grad_batches": 2,
    }
    assert config["trainer"] is settings


@pytest.mark.parametrize("several", [True, False])
def test_batches_stay_where_a_callback_says_how_many_are_accumulated(tmp_path: Path, several: bool) -> None:
    callback = {
        "class_path": "lightning.pytorch.callbacks.GradientAccumulationScheduler",
        "init_args": {"scheduling": {0: 2}},
    }
    trainer = {"max_epochs": 2, "accelerator": "cpu", "callbacks": [callback] if several else callback}
    outcome = trained(spec(trainer=trainer, model=model(limit=16)), tmp_path, width(4))[-1][-1]
    assert outcome.reason.startswith("out of memory: OutOfMemoryError: CUDA out of memory")


def shrinking(**oom: Any) -> Shrinking:
    return Shrinking(Oom(**oom), fakes.spec().space)


@pytest.mark.parametrize(
    ("oom", "limit", "fate"),
    [
        pytest.param({}, 3, State.FAILED, id="not even one sample"),
        pytest.param({"precision": "bf16-mixed"}, 3, State.COMPLETE, id="at a lower precision"),
        pytest.param({"precision": "bf16-mixed"}, 1, State.FAILED, id="not even so"),
        pytest.param({"policy": "fail"}, 3, State.FAILED, id="switched off"),
    ],
)
def test_when_nothing_smaller_is_left_the_trial_has_failed(
    tmp_path: Path, oom: dict[str, Any], limit: int, fate: State
) -> None:
    of = spec(
        oom=oom, model=model(limit=limit), data=data(3), trainer={"max_epochs": 1, "accelerator": "cpu"}
    )
    outcome = trained(of, tmp_path, width(4))[-1][-1]
    assert outcome.state is fate
    if fate is State.COMPLETE:
        assert outcome.reason == "batches of 1 x 3 instead of 3 x 1 and bf16-mixed to fit into memory"
        assert outcome.effective["precision"] == "bf16-mixed"
    else:
        assert outcome.fault == "oom"
        assert outcome.reason.startswith("out of memory: OutOfMemoryError: CUDA out of memory.")


def data(batch_size: int) -> dict[str, Any]:
    return {"class_path": "tests.modules.Data", "init_args": {"batch_size": batch_size}}


def test_a_module_that_optimises_by_hand_fails_with_the_reason(tmp_path: Path) -> None:
    of = spec(model={"class_path": "tests.modules.HungryByHand"})
    [(_, _, outcome)] = trained(of, tmp_path, width(4))
    assert (outcome.state, outcome.fault) == (State.FAILED, "cuda")
    assert outcome.reason.endswith("its module optimises by hand, so smaller batches cannot be accumulated")


class OutOfMemoryError(RuntimeError):
    """By its name like torch's; the simulation has no torch."""


def hungry(assignment: Assignment) -> Iterator[Step]:
    """Runs out of memory where batch times width is above 256."""
    batch = assignment.config["data"]["init_args"]["batch_size"]
    if batch * assignment.config["model"]["init_args"]["width"] > 256:
        raise OutOfMemoryError("Allocation on device")
    yield 1.0, 0.5


def outcomes_of(assignment: Assignment) -> Iterator[Outcome]:
    """The end of one attempt in simulated time."""
    executor = ScriptedExecutor(hungry, length=1)
    executor.submit(assignment)
    while not executor.idle:
        event = executor.next_event()
        if isinstance(event, Report):
            executor.reply(event.number, stop=False)
        if isinstance(event, Outcome):
            yield event


def test_later_trials_of_that_kind_start_where_it_fitted() -> None:
    space = {
        "model.init_args.width": {"type": "int", "low": 1, "high": 128},
        "optimizer.init_args.lr": {"type": "float", "low": 0.1, "high": 1.0},
        "data.init_args.batch_size": [16, 64],
    }
    optimizer = {"class_path": "torch.optim.SGD"}
    starts = [(16, 64), (16, 64), (64, 64), (2, 64), (64, 16), (8, 64)]
    points = [{"model.init_args.width": w, PATH: b, "optimizer.init_args.lr": 0.5} for w, b in starts]
    of = spec(search_space=space, start_with=points, optimizer=optimizer, budget={"trials": len(points)})
    study = fakes.study(of)
    attempts: dict[int, list[int]] = {}
    while assignment := study.ask():
        attempts.setdefault(assignment.number, []).append(used(assignment)[0])
        study.tell(next(outcomes_of(assignment)))
    # Trial 1 learns from 0; 2 is larger and starts there; 3 and 5 are smaller, so nothing is known of them.
    assert attempts == {0: [64, 32, 16], 1: [16], 2: [16, 8, 4], 3: [64], 4: [4], 5: [64, 32]}
    assert study.counts == {State.COMPLETE: 6}
    trials = fakes.optuna_study(study).trials
    assert trials[0].params[PATH] == 64  # the search's meaning of it
    assert trials[0].user_attrs["config"]["data"]["init_args"]["batch_size"] == 16
    assert trials[0].user_attrs["oom"] == [[64, "None"], [32, "None"]]


def test_a_sweep_that_goes_on_remembers_what_did_not_fit() -> None:
    of = spec(data=data(64), budget={"trials": 3})
    first = fakes.study(of)
    fakes.optuna_study(first).enqueue_trial(width(16))
    fakes.optuna_study(first).enqueue_trial(width(20))
    assignment = first.ask()
    assert assignment is not None
    first.tell(Outcome(0, State.FAILED, fault="oom"))
    resumed = Study(fakes.optuna_study(first), of)
    resumed.adopt()
    again, new = resumed.ask(), resumed.ask()
    assert again is not None
    assert new is not None
    assert (again.number, again.attempt, used(again)) == (0, 2, (32, 2))
    assert (new.number, new.attempt, used(new)) == (1, 0, (32, 2))


def test_no_retries_are_used_up_by_memory(tmp_path: Path) -> None:
    of = spec(retries={"exceptions": 0, "lost_workers": 0})
    assert trained(of, tmp_path, width(4))[-1][-1].state is State.COMPLETE


@pytest.mark.parametrize(
    ("oom", "message"),
    [
        pytest.param({"policy": "shrug"}, "oom.policy: input should be 'shrink' or 'fail'", id="policy"),
        pytest.param({"polcy": "fail"}, "did you mean 'policy'?", id="key"),
        pytest.param({"precision": "32-true"}, "oom.precision: input should be '16-mixed'", id="precision"),
        pytest.param(
            {"batch_size": "data.batch"}, "'data.batch'; is data.init_args.batch_size meant?", id="path"
        ),
        pytest.param("fail", "oom: must be a mapping with policy, batch_size", id="no mapping"),
    ],
)
def test_a_mistake_is_one_line(oom: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        spec(oom=oom)
    assert message in str(error.value)


@pytest.mark.usefixtures("ray_cluster")
def test_a_ray_worker_is_replaced_after_it_ran_out_of_memory(tmp_path: Path) -> None:
    import functools

    from sweeps.executors.ray import RayExecutor
    from sweeps.start_up import make_trial_function as in_worker

    of = spec(budget={"trials": 1}, trainer={"max_epochs": 1, "accelerator": "cpu"}, start_with=[width(2)])
    executor = RayExecutor(functools.partial(in_worker, context_of(of, tmp_path, 0.0), {}), slots=1)
    observer = fakes.Recorded()
    study = fakes.study(of)
    try:
        run(study, executor, recorder=observer)
    finally:
        executor.close()
    outcomes = [event for event in observer.events if isinstance(event, Outcome)]
    assert [(outcome.state, outcome.fault) for outcome in outcomes] == [
        (State.FAILED, "oom"),
        (State.COMPLETE, ""),
    ]
    assert [outcome.worker for outcome in outcomes] == ["worker-0", "worker-1"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_real_gpu_out_of_memory(tmp_path: Path) -> None:
    free, _ = torch.cuda.mem_get_info()
    greedy = {"class_path": "tests.modules.Greedy", "init_args": {"bytes_per_sample": free // 10}}
    of = load_spec(spec(model=greedy, search_space={"model.init_args.width": [1, 2]}).model_dump(
        exclude={"notes", "file"}, exclude_none=True))  # fmt: skip
    of = of.model_copy(update={"trainer": {"max_epochs": 1, "accelerator": "gpu"}})
    attempts = trained(of, tmp_path, width(1))
    assert attempts[0][-1].fault == "oom"
    assert attempts[-1][-1].state is State.COMPLETE
    assert attempts[-1][-1].effective["batch_size"] < 16


def test_optuna_is_told_of_one_trial_only(tmp_path: Path) -> None:
    of = spec(trainer={"max_epochs": 1, "accelerator": "cpu"})
    study = fakes.study(of)
    fakes.optuna_study(study).enqueue_trial(width(4))
    for state, fault in ((State.FAILED, "oom"), (State.COMPLETE, "")):
        assignment = study.ask()
        assert assignment is not None
        study.tell(Outcome(assignment.number, state, 0.5 if not fault else None, fault=fault))  # type: ignore[arg-type]
    [trial] = fakes.optuna_study(study).trials
    assert trial.state is optuna.trial.TrialState.COMPLETE
    assert math.isclose(trial.value or 0.0, 0.5)
