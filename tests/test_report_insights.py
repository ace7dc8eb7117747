"""What the report says in words: margins, repeats, progress, borders, reasons; and the notebook's table."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import dashboards
from dashboards.borders import Border, borders
from dashboards.insights import Progress, Repeats, Stop, progress, repeats, standing, stops
from dashboards.parameters import parameters
from dashboards.records import Parameter, Trial
from tests.studies import realistic_sweep, sweep_record, trial_record

LR = Parameter("lr", "float", 1e-4, 1.0, log=True)


def repeated(number: int, lr: float, seed: int, value: float) -> Trial:
    config = {"optimizer": {"init_args": {"lr": lr}}, "seed_everything": seed}
    return trial_record(number, "complete", value, params={"lr": lr}, config=config)


def test_the_margin_is_to_the_next_configuration_and_equal_ones_with_other_seeds_are_repeats() -> None:
    trials = [
        repeated(0, 0.1, 0, 1.0), repeated(1, 0.1, 1, 1.2), repeated(2, 0.2, 0, 1.25),
        repeated(3, 0.3, 0, 9.0),
    ]  # fmt: skip
    found = standing(sweep_record(trials, LR))
    assert found is not None
    assert found.best.number == 0
    assert [trial.number for trial in found.runners_up] == [2, 3]
    assert found.gaps == pytest.approx((0.25, 8.0))
    assert found.repeats == Repeats(1, 2, pytest.approx(math.sqrt(0.02)))
    assert found.repeats.margin == pytest.approx(12.706 * math.sqrt(2 * 0.02), rel=1e-4)
    assert found.within_noise == 1  # 0.25 and not 8


def test_one_repetition_says_less_of_chance_than_many() -> None:
    random, wrong = np.random.default_rng(0), 0
    for _ in range(300):  # two configurations that are equally good, one of them tried twice
        values = random.normal(size=3)
        trials = [
            repeated(0, 0.1, 0, values[0]),
            repeated(1, 0.1, 1, values[1]),
            repeated(2, 0.2, 0, values[2]),
        ]
        found = standing(sweep_record(trials, LR))
        wrong += found is not None and found.within_noise == 0
    assert wrong / 300 < 0.08, "that the lead is more than chance"


def test_a_repetition_with_the_same_seed_says_nothing_of_chance() -> None:
    same = [repeated(0, 0.1, 7, 1.0), repeated(1, 0.1, 7, 1.0), repeated(2, 0.2, 7, 1.01)]
    assert repeats(same) is None
    unseeded = [trial_record(n, "complete", float(n), params={"lr": 0.1}) for n in range(2)]
    assert repeats(unseeded) == Repeats(1, 2, pytest.approx(math.sqrt(0.5)))


def test_the_deviation_is_pooled_over_configurations() -> None:
    trials = [
        repeated(0, 0.1, 0, 1.0), repeated(1, 0.1, 1, 2.0), repeated(2, 0.1, 2, 3.0),
        repeated(3, 0.2, 0, 5.0), repeated(4, 0.2, 1, 9.0), repeated(5, 0.3, 0, 7.0),
    ]  # fmt: skip
    # Squares within: 2 of three values, 8 of two; three degrees of freedom.
    assert repeats(trials) == Repeats(2, 5, pytest.approx(math.sqrt(10 / 3)))
    assert repeats(trials[-1:]) is None


def test_a_lone_or_missing_best_has_no_margin() -> None:
    assert standing(sweep_record([trial_record(0, "failed")])) is None
    alone = standing(sweep_record([repeated(0, 0.1, 0, 1.0)]))
    assert alone is not None
    assert (alone.runners_up, alone.gaps, alone.repeats, alone.within_noise) == ((), (), None, None)


def test_progress_tells_what_the_last_third_brought() -> None:
    values = [5.0, 3.0, 4.0, 4.0, 2.5, 4.0]
    trials = [trial_record(n, "complete", value) for n, value in enumerate(values)]
    found = progress(sweep_record(trials))
    assert found == Progress(first=4, last=5, before=3.0, after=2.5, best_number=4, since_best=1)
    assert found.gain == 0.5
    stale = progress(sweep_record([*trials[:4], trial_record(4, "pruned", 9.0), trial_record(5, "failed")]))
    assert stale == Progress(4, 5, before=3.0, after=3.0, best_number=1, since_best=4)
    assert progress(sweep_record(trials[:5])) is None


def lr_sweep(lrs: list[float], parameter: Parameter = LR) -> Any:
    """Trials whose value is their place in the list."""
    trials = [trial_record(n, "complete", float(n), params={"lr": lr}) for n, lr in enumerate(lrs)]
    return sweep_record(trials, parameter)


def test_good_values_that_crowd_at_a_bound_are_called_out() -> None:
    upper = [0.9, 0.8, 0.95, 0.001, 0.001] + [0.01] * 10
    assert borders(lr_sweep(upper)) == (Border(LR, "upper", near=3, best=5),)
    lower = [1.1e-4, 1.2e-4, 1e-4, 0.01, 0.01] + [0.01] * 10
    assert borders(lr_sweep(lower)) == (Border(LR, "lower", near=3, best=5),)
    assert borders(lr_sweep([0.01] * 15)) == ()
    assert borders(lr_sweep([0.9] * 9)) == ()  # too few trials


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_crowd_that_was_only_copied_is_not_called_out(direction: str) -> None:
    """As a sampler makes one that keeps what its best trial has of a parameter that does not matter."""
    random, sign = np.random.default_rng(0), 1.0 if direction == "minimize" else -1.0
    x = [*random.uniform(0.2, 1.0, 15), *random.uniform(0.0, 0.2, 15)]
    copied = [*random.random(15), *([1.0, 1.0, 1.0, 1.0, 0.3] * 3)]
    space = (Parameter("x", "float", 0.0, 1.0), Parameter("copied", "float", 0.0, 1.0))

    def called_out(gain: float) -> list[str]:
        trials = [
            trial_record(n, "complete", sign * (one - gain * other), params={"x": one, "copied": other})
            for n, (one, other) in enumerate(zip(x, copied, strict=True))
        ]
        sweep = sweep_record(trials, *space, direction=direction)
        assert [trial.params["copied"] for trial in sweep.ranking()[:5]].count(1.0) >= 3, "a crowd"
        return [border.parameter.name for border in borders(sweep)]

    assert "copied" not in called_out(0.0)
    assert "copied" in called_out(0.5)


def test_whole_numbers_of_a_few_values_are_never_called_out() -> None:
    assert borders(lr_sweep([1.0] * 20, Parameter("lr", "int", 1, 4))) == ()
    assert borders(lr_sweep([1.0] * 20, Parameter("lr", "float", 1.0, 1.0))) == ()
    assert borders(lr_sweep([1.0] * 20, Parameter("lr", "categorical", choices=(1.0,)))) == ()


def test_reasons_are_grouped_without_their_numbers_failures_first() -> None:
    trials = [
        trial_record(0, "pruned", 1.0, reason="pruned at validation 2"),
        trial_record(1, "pruned", 1.0, reason="pruned at validation 4"),
        trial_record(2, "diverged", reason="val_loss became NaN at validation 1"),
        trial_record(3, "failed", reason="OSError: disk full"),
        trial_record(4, "failed", reason="ValueError: got 3.5e-04"),
        trial_record(5, "failed", reason="ValueError: got 12"),
        trial_record(6, "complete", 1.0),
    ]
    assert stops(sweep_record(trials)) == (
        Stop("failed", "ValueError: got 3.5e-04", (4, 5)),
        Stop("failed", "OSError: disk full", (3,)),
        Stop("diverged", "val_loss became NaN at validation 1", (2,)),
        Stop("pruned", "pruned at validation 2", (0, 1)),
    )


def test_the_space_is_the_union_of_what_the_trials_were_given() -> None:
    spaces = [
        {"lr": FloatDistribution(1e-3, 0.1, log=True), "kind": CategoricalDistribution(("a", "b"))},
        {"lr": FloatDistribution(1e-2, 1.0, log=True), "kind": CategoricalDistribution(("b", "c"))},
        {"n": IntDistribution(1, 5)},
    ]
    assert parameters(spaces) == (
        Parameter("lr", "float", 1e-3, 1.0, log=True),
        Parameter("kind", "categorical", choices=("a", "b", "c")),
        Parameter("n", "int", 1, 5),
    )


def test_a_loaded_sweep_knows_its_space(tmp_path: Any) -> None:
    from tests.studies import Ended, add_sweep

    add_sweep(tmp_path / "sweeps.db", "digits", [Ended(value=0.5, params={"kind": "sgd"})])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sweep = dashboards.load(tmp_path / "sweeps.db", "digits")
    assert sweep.space == (Parameter("kind", "categorical", choices=("sgd",)),)


def test_the_frame_has_a_row_for_each_trial() -> None:
    sweep = realistic_sweep(8)
    trials = sweep.trials
    frame = dashboards.frame(replace(sweep, trials=trials[2:]))  # as where constraints excluded some
    assert list(frame.index) == list(range(2, 8))
    assert frame.loc[2, "state"] == trials[2].state
    assert frame.loc[2, "value"] == trials[2].value
    assert frame.loc[3, "validations"] == len(trials[3].intermediate)
    assert frame.loc[2, "params_optimizer"] == trials[2].params["optimizer"]
    empty = dashboards.frame(sweep_record([]))
    assert empty.empty
    for table in (frame, empty):
        assert {str(table["started"].dt.tz), str(table["ended"].dt.tz)} == {"UTC"}
    assert {"state", "value", "validations", "fit_seconds", "started"} <= {*empty} < {*frame}
