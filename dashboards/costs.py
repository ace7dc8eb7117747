"""What a sweep cost, in seconds, validations and money. Plain values, nothing is drawn."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dashboards.records import Sweep, Trial


@dataclass(frozen=True, slots=True)
class Occupied:
    """A trial in its slot; seconds since the first trial started, slots counted from 1."""

    number: int
    state: str
    worker: str
    slot: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a sweep cost.

    Attributes:
        wall_seconds: From the start of the first trial to the end of the last, for each driver of the sweep:
            the time between a stop and the resumption does not count.
        booked_seconds: The same, times the slots that each driver used.
        slot_seconds: The trials' time, added up over all their attempts.
        fit_seconds: The part of it inside `Trainer.fit`, in the last attempts without waiting for answers.
        slots: How many slots there were: see `occupied`.
        validations: Validations done.
        validations_saved: Validations that pruned trials did not do; None if no full training is known.
        seconds_saved: The fit time these would have taken at each trial's own pace; None as above.
        price_per_hour: Of one slot, as the sweep file says; None if it does not.
    """

    wall_seconds: float
    booked_seconds: float
    slot_seconds: float
    fit_seconds: float
    slots: int
    validations: int
    validations_saved: int | None
    seconds_saved: float | None
    price_per_hour: float | None

    @property
    def paid_seconds(self) -> float:
        """The time of all slots, idle time included.

        The attempts before a trial's last one may lie outside of `wall_seconds`: they count all the same.
        """
        return max(self.booked_seconds, self.slot_seconds)

    @property
    def utilisation(self) -> float | None:
        """The share of the slots' time in which a trial ran, from 0 to 1."""
        return self.slot_seconds / self.paid_seconds if self.paid_seconds else None

    @property
    def money(self) -> float | None:
        """The slots' time at the price per hour; in the currency of the price."""
        return None if self.price_per_hour is None else self.price_per_hour * self.paid_seconds / 3600


def occupied(trials: Iterable[Trial]) -> list[Occupied]:
    """Return the trials whose times are known in the slots they took, by start.

    A worker stays in its slot. A new worker takes the first slot whose last trial had ended, as when a worker
    was replaced.
    """
    timed = sorted((t for t in trials if t.timing.get("started")), key=lambda t: t.timing["started"])
    if not timed:
        return []
    origin = timed[0].timing["started"]
    slot_of: dict[str, int] = {}
    free_at: list[float] = []
    found = []
    for trial in timed:
        start = trial.timing["started"] - origin
        end = start + max(trial.timing.get("slot_seconds", 0.0), 0.0)
        slot = _slot(trial.worker, start, slot_of, free_at)
        free_at[slot] = max(free_at[slot], end)
        found.append(Occupied(trial.number, trial.state, trial.worker, slot + 1, start, end))
    return found


def _slot(worker: str, start: float, slot_of: dict[str, int], free_at: list[float]) -> int:
    known = slot_of.get(worker) if worker else None
    if known is not None and free_at[known] <= start:
        return known
    slot = next((i for i, end in enumerate(free_at) if end <= start), len(free_at))
    if slot == len(free_at):
        free_at.append(0.0)
    if worker:
        slot_of[worker] = slot
    return slot


def planned_validations(sweep: Sweep) -> int | None:
    """Return the validations of a full training: the most that a complete trial did; None without any."""
    return max((max(t.intermediate) for t in sweep.trials if t.state == "complete" and t.intermediate),
               default=None)  # fmt: skip


def _missed(sweep: Sweep) -> list[tuple[Trial, int]]:
    """Return each pruned trial with the validations that it did not do.

    Where trainings differ in their length, a trial's full training is taken to be in proportion to its own.
    """
    complete = [trial for trial in sweep.trials if trial.state == "complete" and trial.intermediate]
    pace = max((max(trial.intermediate) / _length(trial) for trial in complete), default=0.0)
    pruned = [trial for trial in sweep.trials if trial.state == "pruned" and trial.intermediate]
    return [(t, max(0, round(pace * _length(t)) - max(t.intermediate))) for t in pruned]


def _length(trial: Trial) -> float:
    """Return the length of a trial's training in epochs or in steps, 1 if it has no such end."""
    trainer = trial.config.get("trainer") or {}
    lengths = (trainer.get(key) for key in ("max_epochs", "max_steps"))
    return next((float(length) for length in lengths if isinstance(length, int | float) and length > 0), 1.0)


def cost(sweep: Sweep) -> Cost:
    """Return what a sweep cost so far; trials that still run are not counted."""
    found = occupied(sweep.trials)
    missed = None if planned_validations(sweep) is None else _missed(sweep)
    stays = list(_stays(sweep, found))
    return Cost(
        wall_seconds=sum(seconds for seconds, _ in stays),
        booked_seconds=sum(seconds * slots for seconds, slots in stays),
        slot_seconds=sum(stretch.end - stretch.start for stretch in found) + sum(map(_earlier, sweep.trials)),
        fit_seconds=sum(_fit(trial) for trial in sweep.trials),
        slots=max((stretch.slot for stretch in found), default=0),
        validations=sum(len(trial.intermediate) for trial in sweep.trials),
        validations_saved=None if missed is None else sum(count for _, count in missed),
        seconds_saved=None if missed is None else sum(n * _fit(t) / len(t.intermediate) for t, n in missed),
        price_per_hour=_price(sweep),
    )


def _stays(sweep: Sweep, found: Sequence[Occupied]) -> Iterator[tuple[float, int]]:
    """Return for how many seconds each driver trained, and in how many slots."""
    by_driver: dict[int, list[Occupied]] = defaultdict(list)
    last_driver = {trial.number: trial.drivers[-1] for trial in sweep.trials if trial.drivers}
    for stretch in found:
        by_driver[last_driver.get(stretch.number, 0)].append(stretch)
    for own in by_driver.values():
        seconds = max(stretch.end for stretch in own) - min(stretch.start for stretch in own)
        yield seconds, len({stretch.slot for stretch in own})


def _fit(trial: Trial) -> float:
    return trial.timing.get("fit_seconds", 0.0) + _earlier(trial)


def _earlier(trial: Trial) -> float:
    """Return the seconds of the attempts before the one that ended the trial, until its checkpoint."""
    return trial.timing.get("earlier_seconds", 0.0)


def _price(sweep: Sweep) -> float | None:
    price = sweep.spec.get("price_per_hour")
    return float(price) if isinstance(price, int | float) and not isinstance(price, bool) else None
