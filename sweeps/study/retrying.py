"""Which attempt follows one that failed: with its configuration, with a smaller one, or none.

Attempts that lost their worker, that raised and that ran out of memory are three things: each has its own
limit, of lost workers in a row without a validation between.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sweeps.oom import Shrinking
from sweeps.records import Assignment, Outcome, State
from sweeps.study.outcomes import CODE
from sweeps.study.running import Running
from sweeps.sweep_file.spec import SweepSpec

ATTRIBUTE = "oom"
"""The trial attribute with the batches and precisions that did not fit."""


class Retrying:
    """Decides what follows a failed attempt.

    Args:
        spec: The sweep.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._spec, self._retries = spec, spec.retries
        self._shrinking = Shrinking(spec.oom, spec.space)
        self._losses: Counter[int] = Counter()
        self._lost_at: dict[int, int] = {}  # the last validation before
        self._exceptions: Counter[int] = Counter()
        self._originals: dict[int, dict[str, Any]] = {}

    def start(self, assignment: Assignment) -> Assignment:
        """The assignment, begun where trials of its kind fitted into memory."""
        self._originals[assignment.number] = assignment.config
        if not self._shrinking.is_on:
            return assignment
        return self._with(assignment, self._shrinking.fitting(assignment.params, assignment.config))

    def recall(self, params: dict[str, Any], failed: Sequence[Sequence[Any]]) -> None:
        """Takes over what an earlier driver kept of a trial under `ATTRIBUTE`."""
        config = self._spec.space.configure(self._spec.base, params)
        self._shrinking.recall(params, config, failed)

    def again(self, running: Running, outcome: Outcome) -> Assignment | None:
        """The next attempt after one that failed, also in the study; None if the trial is at its end."""
        with running.unless_taken():
            if again := self._next(running, outcome):
                attempt = running.assignment.attempt + 1
                running.trial.set_user_attr("attempt", attempt)
                running.trial.set_user_attr("config", again.config)
                if outcome.code:
                    running.trial.set_user_attr(CODE, outcome.code)
                running.assignment = replace(again, attempt=attempt, known_step=running.known_step)
                return running.assignment
        return None

    def is_never_granted(self, outcome: Outcome) -> bool:
        """Whether an end is one that no further attempt follows, the first of its kind or not."""
        if outcome.state is not State.FAILED or outcome.fault == "killed":
            return True
        return not self._is_shrunk(outcome) and self._most(outcome) == 0

    def _is_shrunk(self, outcome: Outcome) -> bool:
        return outcome.fault == "oom" and self._shrinking.is_on

    def _most(self, outcome: Outcome) -> int:
        return self._retries.lost_workers if outcome.lost else self._retries.exceptions

    def _next(self, running: Running, outcome: Outcome) -> Assignment | None:
        trial, assignment = running.trial, running.assignment
        if self.is_never_granted(outcome):
            return None
        if self._is_shrunk(outcome):
            failed = list(self._shrinking.remember(assignment.params, assignment.config))
            trial.set_user_attr(ATTRIBUTE, [*trial.user_attrs.get(ATTRIBUTE, []), failed])
            config = self._shrinking.smaller(self._originals[assignment.number], assignment.config)
            return None if config is None else self._with(assignment, config)
        counts = self._losses if outcome.lost else self._exceptions
        if outcome.lost:
            before = self._lost_at.get(assignment.number, 0)
            self._lost_at[assignment.number] = running.known_step
            if running.known_step > before:  # a long trial may lose any number of machines that are preempted
                counts[assignment.number] = 0
        counts[assignment.number] += 1
        return assignment if counts[assignment.number] <= self._most(outcome) else None

    def _with(self, assignment: Assignment, config: dict[str, Any]) -> Assignment:
        change = self._shrinking.change(self._originals[assignment.number], config)
        return replace(assignment, config=config, change=change)
