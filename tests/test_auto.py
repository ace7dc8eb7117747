"""The sampler of a sweep that names none: its columns, its Gaussian process, and when it asks whom."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search_spaces import load_space
from sweeps.errors import SpecError
from sweeps.executors.scripted import Script, ScriptedExecutor, Step
from sweeps.records import Assignment
from sweeps.runner import run
from sweeps.samplers.algorithms import make_sampler
from sweeps.samplers.auto import AutoSampler, likely_ends, normal_scores
from sweeps.samplers.columns import Columns
from sweeps.samplers.gaussian_process import GaussianProcess
from tests import fakes

SPACE = {
    "model.lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
    "model.dropout": {"type": "float", "low": 0.0, "high": 0.6, "step": 0.1},
    "model.width": {"type": "int", "low": 16, "high": 256, "log": True},
    "model.depth": {"type": "int", "low": 1, "high": 9, "step": 2},
    "data.batch_size": [32, 64, 128],
    "model.norm": ["batch", "group", "none"],
    "optimizer": {
        "adamw": {"lr": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True}},
        "sgd": {"lr": {"type": "float", "low": 1e-3, "high": 1.0, "log": True}, "nesterov": [True, False]},
    },
}


def auto_spec(**changes: Any) -> Any:
    return fakes.spec(**({"search_space": SPACE, "sampler": "auto"} | changes))


@pytest.fixture(scope="module")
def columns() -> Columns:
    return Columns.of(load_space(SPACE))


def test_every_value_comes_back_from_its_number(columns: Columns) -> None:
    rows = columns.drawn(np.random.default_rng(0).random((300, len(columns.columns))))
    for row in rows:
        params = columns.params(row)
        assert columns.params(columns.numbers([params])[0]) == pytest.approx(params)
    again = columns.snapped(rows)
    assert np.allclose(rows, again), "what is drawn stands for itself"


def test_levels_are_equally_likely_and_within_their_ranges(columns: Columns) -> None:
    rows = columns.drawn(np.random.default_rng(0).random((6000, len(columns.columns))))
    found = [columns.params(row) for row in rows]
    for name, count in (("model.depth", 5), ("data.batch_size", 3), ("model.norm", 3), ("model.dropout", 7)):
        values = [params[name] for params in found]
        assert len(set(values)) == count
        assert min(map(values.count, set(values))) > 0.8 * len(values) / count
    assert {params["model.width"] for params in found} >= {16, 17, 255, 256}
    assert all(1e-5 <= params["model.lr"] <= 1e-1 for params in found)


def test_only_lists_of_numbers_have_an_order(columns: Columns) -> None:
    orderless = {c.name for c in columns.columns if c.is_category}
    assert orderless == {"model.norm", "optimizer", "optimizer.sgd.nesterov"}


def test_what_is_not_active_is_the_same_everywhere(columns: Columns) -> None:
    rows = columns.drawn(np.random.default_rng(0).random((200, len(columns.columns))))
    names = [column.name for column in columns.columns]
    chosen = np.array([columns.params(row)["optimizer"] for row in rows])
    rates = rows[:, names.index("optimizer.sgd.lr")]
    assert set(rates[chosen == "adamw"]) == {0.5}
    assert len(set(rates[chosen == "sgd"])) > 50
    active = {"model.lr": 0.01, "model.dropout": 0.1, "model.width": 20, "model.depth": 3,
              "data.batch_size": 64, "model.norm": "none", "optimizer": "adamw",
              "optimizer.adamw.lr": 1e-3}  # fmt: skip
    assert columns.fits(active)
    assert not columns.fits(active | {"optimizer.sgd.lr": 0.1}), "a parameter that is not active"
    assert not columns.fits(active | {"model.width": 300})
    assert not columns.fits({name: value for name, value in active.items() if name != "model.lr"})


def test_the_process_knows_what_it_saw_and_its_gradient_is_right() -> None:
    random = np.random.default_rng(0)
    points = random.random((40, 2))
    values = np.sin(6 * points[:, 0]) + points[:, 1]
    process = GaussianProcess(points, values, np.array([False, False]))
    unseen = random.random((50, 2))
    mean, variance = process._predict(unseen)
    truth = (np.sin(6 * unseen[:, 0]) + unseen[:, 1] - values.mean()) / values.std()
    assert np.abs(mean - truth).mean() < 0.05
    assert (variance > 0).all()
    settings = process.settings + 0.3
    gradient = process._loss(settings)[1]
    for index in range(len(settings)):
        step = np.eye(len(settings))[index] * 1e-5
        slope = (process._loss(settings + step)[0] - process._loss(settings - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_many_columns_are_predicted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    points = random.random((30, 3))
    process = GaussianProcess(points, points.sum(1), np.array([False] * 3))
    unseen = random.random((50, 3))
    whole = process._predict(unseen)
    shapes: list[int] = []
    squares = GaussianProcess._squares
    monkeypatch.setattr(
        GaussianProcess, "_squares", lambda *given: shapes.append(len(given[1])) or squares(*given)
    )
    monkeypatch.setattr("sweeps.samplers.gaussian_process.LARGEST", 20 * points.size)
    assert np.allclose(whole, process._predict(unseen))
    assert shapes == [20, 20, 10]


def test_categories_are_equal_or_not_and_beliefs_make_a_place_known() -> None:
    points = np.array([[0.0, 0.1], [1.0, 0.1], [2.0, 0.1], [0.0, 0.9]])
    process = GaussianProcess(points, np.array([0.0, 1.0, 1.0, 0.2]), np.array([True, False]))
    distances = process._squares(points, points)[:, :, 0]
    assert distances[1, 2] == distances[0, 2] == 1.0
    there = np.array([[2.0, 0.9]])
    before = process._predict(there)[1][0]
    process.believe(there)
    assert process._predict(there)[1][0] < before


def ended(number: int, state: TrialState, steps: list[float], told: str = "") -> optuna.trial.FrozenTrial:
    attributes = {"outcome": {"state": told}} if told else {}
    return create_trial(state=state, value=steps[-1] if state is TrialState.COMPLETE else None,
                        intermediate_values=dict(enumerate(steps, 1)), user_attrs=attributes)  # fmt: skip


def test_a_pruned_trial_heads_where_the_complete_ones_went() -> None:
    complete, pruned = TrialState.COMPLETE, TrialState.PRUNED
    trials = [
        ended(0, complete, [2.0, 1.0, 0.5]),
        ended(1, complete, [2.2, 1.2, 0.7]),
        ended(2, pruned, [3.0], "pruned"),
        ended(3, pruned, [2.5, 1.5], "pruned"),
        ended(4, pruned, [0.1], "diverged"),
        ended(5, pruned, [], "excluded"),
    ]
    assert likely_ends(trials, 1.0) == pytest.approx([0.5, 0.7, 1.5, 1.0, 1.5, 1.5])
    assert likely_ends(trials, -1.0) == pytest.approx([-0.5, -0.7, -1.5, -1.0, -0.5, -0.5])
    assert likely_ends(trials[4:], 1.0) == [0.0, 0.0]


def test_scores_depend_on_ranks_alone() -> None:
    scores = normal_scores(np.array([3.0, 1.0, 1e9, 1.0]))
    assert scores == pytest.approx(normal_scores(np.array([30.0, -1.0, 31.0, -1.0])))
    assert scores[1] == scores[3] < scores[0] < scores[2]


def bowl(assignment: Assignment) -> Iterator[Step]:
    """Best at lr 1e-3 and depth 5 with sgd."""
    params = assignment.params
    loss = (math.log10(params["model.lr"]) + 3) ** 2 + (params["model.depth"] - 5) ** 2 / 8
    yield 1.0, loss + (0.0 if params["optimizer"] == "sgd" else 1.0)


def trials_of(
    sampler: Any, trials: int, slots: int = 4, script: Script = bowl, **changes: Any
) -> list[optuna.trial.FrozenTrial]:
    study = fakes.study(auto_spec(budget={"trials": trials}, sampler=sampler, **changes), validations=1)
    run(study, ScriptedExecutor(script, slots=slots))
    return fakes.optuna_study(study).get_trials()


def test_it_finds_what_random_search_does_not_and_repeats_nothing() -> None:
    found = trials_of("auto", 30)
    assert len({str(sorted(trial.params.items())) for trial in found}) == len(found)
    best = min(trial.value for trial in found if trial.value is not None)
    by_chance = min(trial.value for trial in trials_of("random", 30) if trial.value is not None)
    assert best < 0.05 < by_chance


def test_one_worker_and_a_seed_give_the_same_sweep() -> None:
    one, other = (trials_of("auto", 14, slots=1) for _ in range(2))
    assert [trial.params for trial in one] == [trial.params for trial in other]
    another = trials_of("auto", 14, slots=1, seed_everything=1)
    assert [trial.params for trial in one] != [trial.params for trial in another]


def test_it_hands_over_to_tpe_and_goes_on_in_a_new_process() -> None:
    spec = auto_spec(sampler={"class_path": "auto", "init_args": {"n_startup_trials": 4, "n_gp_trials": 8}})
    study = fakes.study(spec, validations=1)
    inner = fakes.optuna_study(study)
    keys: list[bool] = []
    for number in range(10):
        if number == 6:
            inner.sampler = make_sampler(spec, trials=number)
        trial = inner.ask()
        spec.space.suggest(trial)
        notes = inner.get_trials(deepcopy=False)[-1].system_attrs
        keys.append(any(key.startswith("tpe:") for key in notes))
        inner.tell(trial, float(number))
    assert keys == [False] * 9 + [True]


def test_a_small_space_may_be_used_up() -> None:
    spec = fakes.spec(sampler="auto", search_space={"model.init_args.x": [1, 2, 3]}, budget={"trials": 20})
    study = fakes.study(spec)
    run(study, ScriptedExecutor(fakes.falling, slots=2))
    assert study.finished == 20


def test_it_is_the_default_and_takes_several_objectives() -> None:
    raw = auto_spec(
        objective=[{"metric": "a", "direction": "minimize"}, {"metric": "b", "direction": "maximize"}]
    )
    study = fakes.study(raw)
    assert isinstance(fakes.optuna_study(study).sampler, AutoSampler)
    for number in range(14):
        trial = fakes.optuna_study(study).ask()
        raw.space.suggest(trial)
        fakes.optuna_study(study).tell(trial, [number, -number])


@pytest.mark.parametrize("number", [0, 1.5, True, "9"])
def test_a_setting_that_is_no_count_is_refused(number: Any) -> None:
    with pytest.raises(SpecError, match="`n_gp_trials` must be a whole number from 1 on"):
        make_sampler(auto_spec(sampler={"class_path": "auto", "init_args": {"n_gp_trials": number}}))


def test_a_small_space_is_seen_before_anything_is_asked_again() -> None:
    space = {"optimizer": {"a": {"lr": [1, 2, 3]}, "b": {"lr": [1, 2], "momentum": [1, 2, 3]}, "c": None}}
    for seed in range(3):  # a Sobol sequence, of which six choices say nothing of the branches, repeats four
        found = trials_of("auto", 10, search_space=space, seed_everything=seed, slots=3, script=flat)
        assert len({str(sorted(trial.params.items())) for trial in found}) == 10


def flat(assignment: Assignment) -> Iterator[Step]:
    """The same everywhere."""
    yield 1.0, 0.5


def test_it_leaves_where_trials_fail() -> None:
    space = {"model.a": [1, 2, 3, 4], "model.b": ["x", "y", "z"]}

    def best_fails(assignment: Assignment) -> Iterator[Step]:
        yield 1.0, -float(assignment.params["model.a"])
        if assignment.params["model.a"] == 4:
            raise ValueError("the heads do not divide the width")

    found = trials_of("auto", 12, search_space=space, slots=1, script=best_fails)
    assert len({str(sorted(trial.params.items())) for trial in found}) == 12
    assert sum(trial.state is TrialState.FAIL for trial in found) == 3


def test_what_fails_is_as_bad_as_the_worst_unless_a_person_killed_it() -> None:
    sampler = make_sampler(auto_spec())
    study = optuna.create_study(sampler=sampler)
    for outcome in ({"state": "failed"}, {"state": "failed", "fault": "killed"}):
        trial = study.ask()
        trial.report(0.1, 1)
        trial.set_user_attr("outcome", outcome)
        study.tell(trial, state=TrialState.FAIL)
    assert sampler._failed == {0}  # type: ignore[attr-defined]
    assert likely_ends([ended(0, TrialState.COMPLETE, [2.0]), study.trials[0]], 1.0) == [2.0, 2.0]
    assert likely_ends([study.trials[0]], 1.0, [3.0, 5.0]) == [5.0], "worse than earlier sweeps' trials"


def test_many_failures_do_not_make_an_ask_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    class Counting(GaussianProcess):
        def __init__(self, points: Any, *others: Any) -> None:
            counts.append(len(points))
            super().__init__(points, *others)

    monkeypatch.setattr("sweeps.samplers.auto.GaussianProcess", Counting)
    spec = auto_spec(sampler={"class_path": "auto", "init_args": {"n_startup_trials": 4, "n_gp_trials": 8}})
    study = optuna.create_study(sampler=make_sampler(spec))
    for number in range(30):
        trial = study.ask()
        spec.space.suggest(trial)
        study.tell(trial, **({"values": number} if number < 5 else {"state": TrialState.FAIL}))  # type: ignore[arg-type]
    assert max(counts) == 8


def test_what_failed_under_an_earlier_driver_may_be_tried_again() -> None:
    spec, tried_again = auto_spec(search_space={"model.a": [1, 2, 3, 4]}), 0
    for seed in range(8):
        study = optuna.create_study(sampler=make_sampler(spec))
        for number in range(4):
            if number == 2:
                study.sampler = make_sampler(
                    auto_spec(search_space={"model.a": [1, 2, 3, 4]}, seed_everything=seed)
                )
            spec.space.suggest(trial := study.ask())
            study.tell(trial, state=TrialState.FAIL)
        params = [trial.params["model.a"] for trial in study.trials]
        assert len({*params[:2]}) == len({*params[2:]}) == 2
        tried_again += len({*params}) < 4
    assert tried_again


def test_what_broke_a_constraint_hardly_counts_as_a_first_trial() -> None:
    spec = auto_spec()
    study = optuna.create_study(sampler=make_sampler(spec))
    asked_a_model = []
    for number in range(29):
        trial = study.ask()
        spec.space.suggest(trial)
        asked_a_model.append(study.sampler._settings is not None)  # type: ignore[attr-defined]
        if number < 20:
            trial.set_user_attr("outcome", {"state": "excluded"})
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(number))
    assert asked_a_model == [False] * 28 + [True], "20 of them and 8 others have ended, then"
