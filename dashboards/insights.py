"""What a sweep's trials say to somebody who has to decide: plain values, nothing is drawn."""

import json
import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.records import Parameter, Sweep, Trial, to_json

RUNNERS_UP = 4
_FEWEST_FOR_PROGRESS = 6
# When good values crowd at a bound: half of the best tenth (at least 5 trials) within 5 % of the range.
_BEST_SHARE, _FEWEST_BEST, _FEWEST_FOR_BORDERS = 0.1, 5, 10
_NEAR, _CROWD, _FEWEST_VALUES = 0.05, 0.5, 6
_STOPPED = {"failed": 0, "invalid": 1, "diverged": 2, "pruned": 3}


@dataclass(frozen=True, slots=True)
class Repeats:
    """Complete trials of equal configurations that differ in `seed_everything` at most.

    Attributes:
        configurations: How many configurations were tried more than once.
        trials: How many trials these took.
        deviation: The pooled standard deviation within them.
    """

    configurations: int
    trials: int
    deviation: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The best trial among the others.

    Attributes:
        best: The best trial.
        runners_up: The next ones, best first, at most four; other configurations only.
        gaps: How much worse each of them is, never negative.
        repeats: How far values of equal configurations lie apart; None if none was repeated.
        within_noise: How many trials of other configurations are worse by less than two standard deviations
            of a difference of two values (2 * sqrt(2) * deviation); None without repeats.
    """

    best: Trial
    runners_up: tuple[Trial, ...]
    gaps: tuple[float, ...]
    repeats: Repeats | None
    within_noise: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What the last third of the trials brought.

    Attributes:
        first: The number of the first trial of the last third.
        last: The number of the last trial that ended.
        before: The best value of the trials before; None if none was complete.
        after: The best value of all.
        best_number: The best trial's number.
        since_best: How many trials ended after it.
    """

    first: int
    last: int
    before: float | None
    after: float
    best_number: int
    since_best: int

    @property
    def gain(self) -> float | None:
        """How much better the best value became, never negative; None if there was none before."""
        return None if self.before is None else abs(self.after - self.before)


@dataclass(frozen=True, slots=True)
class Border:
    """A parameter whose good values crowd at a bound of its range.

    Attributes:
        parameter: The parameter.
        side: `lower` or `upper`.
        near: How many of the best trials lie near the bound.
        best: How many best trials were looked at.
    """

    parameter: Parameter
    side: str
    near: int
    best: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Trials that ended early for one reason; numbers in the reason are left out of the comparison.

    Attributes:
        state: `failed`, `invalid`, `diverged` or `pruned`.
        reason: That of the first of them.
        numbers: The trials' numbers.
    """

    state: str
    reason: str
    numbers: tuple[int, ...]


def standing(sweep: Sweep) -> Standing | None:
    """Return how far the best trial is ahead; None if no trial is complete."""
    ranked = sweep.ranking()
    if not ranked:
        return None
    best = ranked[0]
    same = _configuration(best)
    others = [trial for trial in ranked[1:] if _configuration(trial) != same]
    gaps = [abs((trial.value or 0.0) - (best.value or 0.0)) for trial in others]
    repeated = repeats(ranked)
    within = None
    if repeated is not None:
        within = sum(gap < 2 * math.sqrt(2) * repeated.deviation for gap in gaps)
    return Standing(best, tuple(others[:RUNNERS_UP]), tuple(gaps[:RUNNERS_UP]), repeated, within)


def repeats(trials: Iterable[Trial]) -> Repeats | None:
    """Return the spread of complete trials of equal configurations; None if all differ."""
    groups: dict[str, list[float]] = {}
    for trial in trials:
        if trial.value is not None:
            groups.setdefault(_configuration(trial), []).append(trial.value)
    several = [values for values in groups.values() if len(values) > 1]
    if not several:
        return None
    count = sum(map(len, several))
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in several)
    return Repeats(len(several), count, math.sqrt(squares / (count - len(several))))


def _configuration(trial: Trial) -> str:
    """Return a trial's configuration without the seed, or its parameters if it has none, as text."""
    config = {key: value for key, value in trial.config.items() if key != "seed_everything"}
    params = {key: value for key, value in trial.params.items() if key != "seed_everything"}
    return json.dumps(to_json(config or params), sort_keys=True)


def progress(sweep: Sweep) -> Progress | None:
    """Return what the last third of the trials brought; None with fewer than six, or none complete."""
    ended = [trial for trial in sweep.trials if trial.state not in ("running", "waiting")]
    ranked = sweep.ranking()
    if len(ended) < _FEWEST_FOR_PROGRESS or not ranked:
        return None
    late = ended[-math.ceil(len(ended) / 3) :]
    before = next((trial.value for trial in ranked if trial.number < late[0].number), None)
    best = ranked[0]
    since = sum(trial.number > best.number for trial in ended)
    return Progress(late[0].number, ended[-1].number, before, best.value or 0.0, best.number, since)


def borders(sweep: Sweep) -> tuple[Border, ...]:
    """Return the numbers whose good values crowd at a bound: a wider range may hold better ones.

    Of each parameter the best tenth of the complete trials that have it is looked at (at least five, of at
    least ten); half of them within 5 % of the range from a bound (of its logarithm for a `log` range) are a
    crowd. Whole numbers of fewer than six values are left out: there chance alone makes crowds.
    """
    ranked = sweep.ranking()
    found = (_border(parameter, ranked) for parameter in sweep.space)
    return tuple(border for border in found if border is not None)


def _border(parameter: Parameter, ranked: list[Trial]) -> Border | None:
    having = [trial for trial in ranked if parameter.name in trial.params]
    low, high = parameter.low, parameter.high
    if len(having) < _FEWEST_FOR_BORDERS or low is None or high is None or low >= high:
        return None
    if parameter.kind == "int" and high - low + 1 < _FEWEST_VALUES:
        return None
    best = having[: max(_FEWEST_BEST, round(_BEST_SHARE * len(having)))]
    places = [_place(float(trial.params[parameter.name]), low, high, parameter.log) for trial in best]
    crowds = {
        "lower": sum(place <= _NEAR for place in places),
        "upper": sum(place >= 1 - _NEAR for place in places),
    }
    side = max(crowds, key=crowds.__getitem__)
    if crowds[side] < _CROWD * len(best):
        return None
    return Border(parameter, side, crowds[side], len(best))


def _place(value: float, low: float, high: float, log: bool) -> float:
    """Return where a value lies in a range, from 0 to 1."""
    if log and low > 0 and value > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


def stops(sweep: Sweep) -> tuple[Stop, ...]:
    """Return why trials ended early: failures first, then the most frequent."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in sweep.trials:
        if trial.state in _STOPPED:
            key = trial.state, re.sub(r"\d[\d.,e+-]*", "0", trial.reason)
            groups.setdefault(key, []).append(trial)
    found = [
        Stop(state, trials[0].reason, tuple(trial.number for trial in trials))
        for (state, _), trials in groups.items()
    ]
    return tuple(sorted(found, key=lambda stop: (_STOPPED[stop.state], -len(stop.numbers))))
