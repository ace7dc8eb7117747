"""What the finder reads from curves whose shape is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from sweeps.lr.curve import BELOW, Curve, Finding, Marks, marks_of, rates_between, read

RATES = rates_between(1e-8, 1.0, 100)


def losses(
    falls_at: float = -3.0, rises_at: float = -1.0, *, start: float = 2.3, fall: float = 1.5,
    noise: float = 0.0, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """A loss that falls around one rate and explodes around another, both log10, with Gaussian noise."""
    logs = np.log10(RATES)
    falling = fall / (1 + np.exp(-6 * (logs - falls_at)))
    rising = np.exp(np.minimum(5 * (logs - rises_at), 20))
    return start - falling + rising + noise * np.random.default_rng(seed).standard_normal(len(logs))


def curve(values: np.ndarray) -> Curve:
    return Curve(RATES[: len(values)], tuple(None if not math.isfinite(v) else float(v) for v in values))


def suggested(*values: np.ndarray) -> float:
    found = read([curve(v) for v in values])
    assert found.suggestion is not None
    return math.log10(found.suggestion)


def test_the_suggestion_lies_below_the_turn_and_inside_the_interval() -> None:
    found = read([curve(losses())])
    assert found.suggestion is not None
    assert found.interval is not None
    assert 10**-2.6 < found.suggestion < 10**-1.4
    low, high = found.interval
    assert low < found.suggestion < high
    assert math.log10(high / low) < 1.6
    assert found.confidence == "low"  # one curve


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.2])
def test_noise_hardly_moves_it(noise: float) -> None:
    clean = suggested(losses())
    noisy = [suggested(losses(noise=noise, seed=seed)) for seed in range(20)]
    assert np.median(np.abs(np.array(noisy) - clean)) < 0.25


def test_it_moves_with_the_curve_and_not_with_the_loss() -> None:
    there = suggested(losses())
    assert suggested(losses(falls_at=-4.0, rises_at=-2.0)) == pytest.approx(there - 1, abs=0.1)
    assert suggested(1000 * losses()) == pytest.approx(there, abs=0.01)
    assert suggested(losses() - 50) == pytest.approx(
        there, abs=0.1
    )  # a negative loss, such as a likelihood's


def test_a_nan_is_as_good_as_a_rise() -> None:
    whole = losses()
    exploded = np.where(np.arange(100) > 90, math.nan, whole)
    assert suggested(exploded) == pytest.approx(suggested(whole), abs=0.3)


def test_spikes_are_not_taken_for_the_end() -> None:
    spiked = losses()
    spiked[[20, 45, 60]] = 1e6
    assert suggested(spiked) == pytest.approx(suggested(losses()), abs=0.2)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full(100, 2.3), "the loss never fell"),
        (losses(fall=0.0), "the loss never fell"),
        (losses(fall=0.0, rises_at=9.0, noise=0.1), "the loss never fell"),
        (np.full(100, math.nan), "the loss was not finite after 0 steps"),
        (np.where(np.arange(100) > 4, math.nan, 2.3), "the loss was not finite after 5 steps"),
    ],
)
def test_a_curve_that_says_nothing_says_why(values: np.ndarray, why: str) -> None:
    assert marks_of(curve(values)) == why
    found = read([curve(values)])
    assert (found.suggestion, found.interval, found.confidence, found.notes) == (None, None, "none", (why,))


def test_pure_noise_is_never_taken_for_a_fall() -> None:
    """A curve without a rate that learns is told from one with, in all but a few of many draws."""
    found = [marks_of(curve(losses(fall=0.0, rises_at=9.0, noise=0.3, seed=seed))) for seed in range(200)]
    assert sum(isinstance(marks, Marks) for marks in found) <= 10


def test_a_loss_that_never_rises_leaves_the_interval_open_upwards() -> None:
    closed, still_low = read([curve(losses())]), read([curve(losses(rises_at=9.0))])
    assert "highest rate of the test" in still_low.notes[0]
    above = [found.interval[1] / found.suggestion for found in (closed, still_low)
             if found.interval and found.suggestion]  # fmt: skip
    assert above[1] > 1.5 * above[0]


def test_curves_that_agree_make_it_sure_and_others_make_it_wide() -> None:
    alike = read([curve(losses(noise=0.02, seed=seed)) for seed in range(4)])
    apart = read([curve(losses(falls_at=-4 + x, rises_at=-2 + x)) for x in (0, 0.7, 1.4, 2.1)])
    assert alike.confidence == "high"
    assert apart.confidence == "low"
    assert width(apart) > width(alike)


def width(found: Finding) -> float:
    assert found.interval is not None
    return math.log10(found.interval[1] / found.interval[0])


def test_a_few_bad_curves_are_left_out_and_many_make_it_say_nothing() -> None:
    good, bad = curve(losses()), Curve((), (), problem="ValueError: no")
    found = read([good, good, bad])
    assert found.suggestion == read([good]).suggestion
    assert found.notes == ("1 of 3 curves say nothing: ValueError: no",)
    assert found.suggestions[2] is None
    assert read([good, bad]).suggestion is None
    assert read([good, bad]).notes == ("ValueError: no",)


def test_the_rates_of_each_curve_are_its_own() -> None:
    coarse = rates_between(1e-6, 1.0, 25)
    values = np.interp(np.log10(coarse), np.log10(RATES), losses())
    found = read([Curve(coarse, tuple(map(float, values)))])
    assert found.suggestion is not None
    assert math.log10(found.suggestion) == pytest.approx(suggested(losses()), abs=0.3)


@pytest.mark.parametrize("mirror", [lambda v: v, lambda v: v[:95]])
def test_a_single_curve_suggests_what_it_says_alone(mirror: Callable[[np.ndarray], np.ndarray]) -> None:
    one = curve(mirror(losses()))
    marks = marks_of(one)
    assert isinstance(marks, Marks)
    assert read([one]).suggestions == (read([one]).suggestion,)
    assert read([one]).suggestion == pytest.approx(10 ** (marks.turn - BELOW), rel=1e-3)
