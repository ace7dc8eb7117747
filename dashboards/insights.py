"""What a sweep's trials say to somebody who has to decide: plain values, nothing is drawn."""

import json
import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from dashboards.records import Sweep, Trial, to_json

RUNNERS_UP = 4
_FEWEST_FOR_PROGRESS = 6
_STOPPED = {"failed": 0, "invalid": 1, "diverged": 2, "pruned": 3}


@dataclass(frozen=True, slots=True)
class Repeats:
    """Complete trials of equal configurations with different seeds, one trial a seed.

    Trials that share a seed say nothing of chance: they train alike.

    Attributes:
        configurations: How many configurations were tried with more than one seed.
        trials: How many trials these took.
        deviation: The pooled standard deviation within them.
    """

    configurations: int
    trials: int
    deviation: float

    @property
    def margin(self) -> float:
        """By how much two values differ by chance alone in one of twenty cases: Student's t.

        That is 2.8 deviations where many were repeated, and 18 where one configuration was, once.
        """
        from scipy.special import stdtrit

        return float(stdtrit(self.trials - self.configurations, 0.975)) * math.sqrt(2) * self.deviation


@dataclass(frozen=True, slots=True)
class Standing:
    """The best trial among the others.

    Attributes:
        best: The best trial.
        runners_up: The next ones, best first, at most four; other configurations only.
        gaps: How much worse each of them is, never negative.
        repeats: How far values of equal configurations lie apart; None if none was repeated.
        within_noise: How many trials of other configurations are worse by less than `Repeats.margin`, or
            equally good; None without repeats.
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
        within = sum(gap < repeated.margin or not gap for gap in gaps)
    return Standing(best, tuple(others[:RUNNERS_UP]), tuple(gaps[:RUNNERS_UP]), repeated, within)


def repeats(trials: Iterable[Trial]) -> Repeats | None:
    """Return the spread of complete trials of equal configurations; None if none has several seeds."""
    groups: dict[str, dict[str, float]] = {}
    for trial in trials:
        if trial.value is not None:
            groups.setdefault(_configuration(trial), {}).setdefault(_seed(trial), trial.value)
    several = [list(values.values()) for values in groups.values() if len(values) > 1]
    if not several:
        return None
    count = sum(map(len, several))
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in several)
    return Repeats(len(several), count, math.sqrt(squares / (count - len(several))))


def _seed(trial: Trial) -> str:
    """Return what stands for a trial's seed: one that has none is like no other."""
    seed = trial.params.get("seed_everything", trial.config.get("seed_everything"))
    return f"trial {trial.number}" if seed is None or seed is False else str(seed)


def _configuration(trial: Trial) -> str:
    """Return a trial's configuration without the seed, or its parameters if it has none, as text."""
    config = {key: value for key, value in trial.config.items() if key != "seed_everything"}
    params = {key: value for key, value in trial.params.items() if key != "seed_everything"}
    return json.dumps(to_json(config or params), sort_keys=True)


def progress(sweep: Sweep) -> Progress | None:
    """Return what the last third of the trials brought; None with fewer than six, or none complete."""
    ended = [trial for trial in sweep.trials if trial.has_ended]
    ranked = sweep.ranking()
    if len(ended) < _FEWEST_FOR_PROGRESS or not ranked:
        return None
    late = ended[-math.ceil(len(ended) / 3) :]
    before = next((trial.value for trial in ranked if trial.number < late[0].number), None)
    best = ranked[0]
    since = sum(trial.number > best.number for trial in ended)
    return Progress(late[0].number, ended[-1].number, before, best.value or 0.0, best.number, since)


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
