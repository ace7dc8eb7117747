"""The pruner that forecasts: its formula, what it never does, and that it depends on the study alone."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.errors import SpecError
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.records import Assignment, State
from sweeps.runner import run
from sweeps.samplers.algorithms import DEFAULTS, make_pruner
from sweeps.samplers.forecast import Curve, ForecastPruner, forecast, scaled
from tests import fakes

optuna.logging.set_verbosity(optuna.logging.WARNING)

USUAL = DEFAULTS["ForecastPruner"]
COMPLETE, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING


def trial_of(state: TrialState, values: Sequence[float] | dict[int, float], end: float = 0.0) -> FrozenTrial:
    reported = values if isinstance(values, dict) else dict(enumerate(values, 1))
    return create_trial(
        state=state, value=end if state is COMPLETE else None, params={}, intermediate_values=reported
    )


def study_of(trials: Sequence[FrozenTrial], direction: str = "minimize") -> optuna.Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def falling(height: float, steps: int = 8) -> list[float]:
    return [height * (1 + 4 / step) for step in range(1, steps + 1)]


def complete(height: float, steps: int = 8) -> FrozenTrial:
    values = falling(height, steps)
    return trial_of(COMPLETE, values, min(values))


def is_pruned(study: optuna.Study, values: Sequence[float] | dict[int, float], **settings: Any) -> bool:
    return ForecastPruner(**USUAL | settings).prune(study, trial_of(RUNNING, values))


def test_the_chance_is_that_of_bayesian_linear_regression() -> None:
    random = np.random.default_rng(0)
    stood, ends = np.sort(random.random(6))[::-1] + 1, random.random(6)
    curves = [Curve((1, 4), (a, b), b) for a, b in zip(stood, ends, strict=True)]
    found = forecast(curves, 1, 3)
    assert found is not None
    best, spread = ends.min(), np.median(np.abs(ends - np.median(ends)))
    x, y = scaled(stood, best, spread), scaled(ends, best, spread)
    changes, columns = y - x, np.stack([np.ones(6), x - x.mean()], axis=1)
    precision = columns.T @ columns + np.diag([0.0, 1.0])  # of the prior: none for the mean, 1 for the slope
    middle = np.linalg.solve(precision, columns.T @ changes)
    squares = changes @ changes - middle @ precision @ middle + 2 * 0.75  # three of four validations are left
    freedom = 6 - 1 + 2
    point = np.array([1.0, scaled(np.array([1.3]), best, spread)[0] - x.mean()])
    variance = squares / freedom * (1 + point @ np.linalg.solve(precision, point))
    end = point[1] + x.mean() + point @ middle
    draws = end + np.sqrt(variance) * random.standard_t(freedom, 400_000)
    assert found.chance(1.3) == pytest.approx(np.mean(draws < 0), abs=0.003)


def test_it_ends_what_is_far_behind_and_lets_go_on_what_may_still_win() -> None:
    study = study_of([complete(height) for height in (1.0, 1.1, 1.3, 1.6, 2.0, 2.2, 2.6, 3.0)])
    assert is_pruned(study, falling(20.0)[:1])
    assert is_pruned(study, falling(3.0)[:6])
    assert not is_pruned(study, falling(0.9)[:1])
    assert not is_pruned(study, falling(1.05)[:6])
    assert not is_pruned(study, falling(1.2)[:1]), "so early, it may"
    assert is_pruned(study, falling(1.5)[:7])
    assert not is_pruned(study, falling(1.5)[:7], fraction=1e-6)
    assert not is_pruned(study, falling(20.0)[:1], n_warmup_steps=2)


def test_what_is_left_of_a_training_is_worth_its_share_of_a_new_ones_chance() -> None:
    trials = [complete(height) for height in (1.0, 1.1, 1.3, 1.6, 2.0, 2.2, 2.6, 3.0)]
    found = forecast([Curve.of(trial, 1.0) for trial in trials], 6, 3)
    assert found is not None
    even = found.chance(falling(1.6)[5]) * (8 + 1) / (2 / 8)  # two of eight validations are left
    assert is_pruned(study_of(trials), falling(1.6)[:6], fraction=1.01 * even)
    assert not is_pruned(study_of(trials), falling(1.6)[:6], fraction=0.99 * even)


def test_the_best_quarter_at_a_validation_goes_on_whatever_its_chance() -> None:
    alike = [trial_of(COMPLETE, [2.0, 1.0 + e, 1.0 + e, 1.0 + e], 1.0 + e) for e in (0.0, 1e-3, 2e-3, 3e-3)]
    behind = [trial_of(PRUNED, [6.0, 5.0])] * 13
    assert not is_pruned(study_of([*alike, *behind]), [2.0, 1.5]), "four of seventeen are better"
    assert is_pruned(study_of([*alike, *behind]), [2.0, 1.5], keep=0.2)
    assert is_pruned(study_of([*alike, *behind[:12]]), [2.0, 1.5]), "four of sixteen"
    earlier = [trial_of(PRUNED, [0.5])] * 13
    assert not is_pruned(study_of([*alike, *earlier]), [2.0, 1.5]), "these never came so far"


def test_slow_starters_that_became_the_best_keep_their_like_alive() -> None:
    quick = [trial_of(COMPLETE, [2.0, 1.8, 1.7, 1.6 + e], 1.6 + e) for e in (0.0, 0.1, 0.2, 0.3)]
    slow = [trial_of(COMPLETE, [3.0 + e, 2.9, 1.4, 1.0 + e], 1.0 + e) for e in (0.0, 0.1, 0.2)]
    assert is_pruned(study_of(quick), [3.0, 2.9])
    assert not is_pruned(study_of([*quick, *slow]), [3.0, 2.9])


def test_nothing_is_pruned_before_enough_trials_went_on_from_there() -> None:
    few = [complete(1.0), complete(1.2)]
    hopeless = falling(1e6)[:5]
    assert not is_pruned(study_of(few), hopeless)
    assert is_pruned(study_of([*few, complete(1.1)]), hopeless)
    assert not is_pruned(study_of([*few, complete(1.1, steps=5)]), hopeless), "that one ended there"
    assert not is_pruned(study_of([*few, complete(1.1)]), hopeless, n_startup_trials=4)
    pruned = [trial_of(PRUNED, falling(1.0)[:6])] * 9
    assert not is_pruned(study_of([*few, *pruned]), hopeless)
    assert not is_pruned(study_of([complete(1.0)] * 9), hopeless), "nothing says how far apart values are"


def test_a_trial_without_a_finite_value_has_no_chance_and_one_without_a_report_goes_on() -> None:
    study = study_of([complete(height) for height in (1.0, 1.1, 1.2, 1.3)])
    assert is_pruned(study, [math.nan, math.inf])
    assert not is_pruned(study, [])


FINITE = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
ODD = st.one_of(FINITE, st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0]))
REPORTED = st.dictionaries(st.integers(0, 9), ODD, max_size=6)
TRIALS = st.lists(
    st.builds(trial_of, st.sampled_from([COMPLETE, COMPLETE, PRUNED, RUNNING]), REPORTED,
              ODD.filter(lambda value: value == value)),
    max_size=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(TRIALS, REPORTED, st.sampled_from(["minimize", "maximize"]))
def test_it_answers_whatever_was_reported(
    trials: list[FrozenTrial], values: dict[int, float], direction: str
) -> None:
    found = ForecastPruner(**USUAL | {"n_startup_trials": 1}).prune(
        study_of(trials, direction), trial_of(RUNNING, values)
    )
    assert type(found) is bool


CURVES = st.lists(st.lists(FINITE, min_size=4, max_size=4), min_size=3, max_size=7)


@settings(max_examples=60, deadline=None)
@given(CURVES, st.lists(FINITE, min_size=1, max_size=3), st.sampled_from([2.0**-20, 8.0, 2.0**30]))
def test_neither_the_unit_nor_the_direction_of_the_objective_matters(
    curves: list[list[float]], values: list[float], unit: float
) -> None:
    plain = study_of([trial_of(COMPLETE, curve, min(curve)) for curve in curves])
    turned = [[-unit * value for value in curve] for curve in curves]
    other = study_of([trial_of(COMPLETE, curve, max(curve)) for curve in turned], "maximize")
    assert is_pruned(plain, values) == is_pruned(other, [-unit * value for value in values])


def noisy(assignment: Assignment) -> Iterator[Step]:
    """Eight validations towards a value of x, the lower the slower, with noise of the trial's own."""
    x, random = fakes.x_of(assignment), np.random.default_rng(assignment.number)
    for step in range(1, 9):
        yield 1.0, x + (3 - x) * math.exp(-step * (0.2 + x)) + 0.05 * random.normal()


@pytest.mark.parametrize("slots", [1, 4, 16])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_sweep_is_pruned_but_never_at_the_last_validation(slots: int, direction: str) -> None:
    def script(assignment: Assignment) -> Iterator[Step]:
        sign = 1 if direction == "minimize" else -1
        yield from ((seconds, sign * value) for seconds, value in noisy(assignment))  # type: ignore[operator]

    objective = {"metric": "loss", "direction": direction}
    spec = fakes.spec(pruner="forecast", objective=objective, budget={"trials": 80})
    study = fakes.study(spec, validations=8)
    run(study, ScriptedExecutor(script, slots=slots, length=8, direction=direction))
    inner = fakes.optuna_study(study)
    steps = [trial.last_step for trial in inner.get_trials(states=(PRUNED,))]
    assert 8 not in steps
    assert study.counts[State.PRUNED] == len(steps) > 40
    assert study.counts[State.COMPLETE] > 3
    played = [fakes.assignment(trial.number, trial.params["model.init_args.x"]) for trial in inner.trials]
    ends = {one.number: min(float(value) for _, value in noisy(one)) for one in played}  # type: ignore[arg-type]
    assert inner.best_trial.number in sorted(ends, key=lambda number: ends[number])[:3]


def test_what_it_remembers_changes_no_answer() -> None:
    """So a sweep that goes on in a new process is pruned as if it had never ended."""
    asked = []

    class Checked(ForecastPruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            found = super().prune(study, trial)
            asked.append(found)
            assert ForecastPruner(**USUAL).prune(study, trial) == found
            return found

    pruner = Checked(**USUAL)
    for _ in range(2):  # another study, too
        study = fakes.study(fakes.spec(budget={"trials": 40}, pruner="forecast"), validations=8)
        fakes.optuna_study(study).pruner = pruner
        run(study, ScriptedExecutor(noisy, slots=4, length=8))
    assert 40 < sum(asked) < len(asked)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        pytest.param("n_startup_trials", 1.5, "a whole number from 0 on, but got 1.5", id="no count"),
        pytest.param("n_warmup_steps", True, "a whole number from 0 on, but got True", id="no step"),
        pytest.param("fraction", 0, "a number above 0, but got 0", id="no chance"),
        pytest.param("fraction", math.inf, "a number above 0, but got inf", id="no number"),
        pytest.param("keep", 1, "a number from 0 to below 1, but got 1", id="all"),
        pytest.param("keep", "some", "a number from 0 to below 1, but got 'some'", id="no share"),
    ],
)
def test_a_setting_that_it_does_not_take_is_one_line(name: str, value: Any, rule: str) -> None:
    with pytest.raises(SpecError, match=f"pruner: ForecastPruner: `{name}` must be {rule}"):
        make_pruner(fakes.spec(pruner={"class_path": "forecast", "init_args": {name: value}}), 8)
