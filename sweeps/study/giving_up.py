"""When a sweep ends because its trials fail."""

import shlex
from collections import Counter

from sweeps.errors import SweepFailed, TrialsFail
from sweeps.records import Outcome, State

FAILURES_BEFORE_GIVING_UP = 3
"""So many trials failing before any other end stop the sweep: the others most likely would fail, too."""

IN_A_ROW_BEFORE_GIVING_UP = 20
"""So many failing one after the other, none of which has validated once, stop it too: what all of them need,
such as a data mount, is most likely gone."""

INVALID_BEFORE_GIVING_UP = 100


class Failures:
    """Counts the ends of trials that bring no result.

    Attributes:
        last: Which trial was the last of them, and why.

    Args:
        most: `max_failed_trials`.
        name: The sweep's.
    """

    def __init__(self, most: int | None, name: str = "") -> None:
        self.last = ""
        self._most, self._name = most, name
        self._counts: Counter[State] = Counter()
        self._invalid_in_a_row = self._failed_in_a_row = 0

    def recall(self, outcome: Outcome) -> None:
        """Takes one of before a resume: whoever does that may have mended what made trials fail."""
        if outcome.state not in (State.FAILED, State.INVALID):
            self._counts[outcome.state] += 1
        elif outcome.state is State.FAILED:
            self.last = f"trial {outcome.number}: {outcome.reason}"

    def see_validation(self) -> None:
        """A trial has come as far as a validation, so what all of them need is there."""
        self._failed_in_a_row = 0

    def count(self, outcome: Outcome, *, has_validated: bool, is_earlier: bool = False) -> None:
        """Takes the end of a trial, after its retries; one that a person killed says nothing of the others.

        Args:
            outcome: Of the trial.
            has_validated: It has come as far as a validation, in any of its attempts.
            is_earlier: It ended before a resume; see `recall`.
        """
        if is_earlier:
            self.recall(outcome)
            return
        if outcome.fault == "killed":
            return
        is_another = outcome.state is State.FAILED and not has_validated
        self._failed_in_a_row = self._failed_in_a_row + 1 if is_another else 0
        self._counts[outcome.state] += 1
        self._invalid_in_a_row = self._invalid_in_a_row + 1 if outcome.state is State.INVALID else 0
        if outcome.state in (State.FAILED, State.INVALID):
            self.last = f"trial {outcome.number}: {outcome.reason}"

    def check(self, *, is_any_well: bool, is_at_end: bool = False) -> None:
        """Gives up if that is right.

        Args:
            is_any_well: A trial that runs has come as far as a validation.
            is_at_end: No further trial would be asked for anyway.

        Raises:
            SweepFailed: The first trials all failed, more failed than may, or too many in a row declared
                their configuration invalid.
            TrialsFail: Too many in a row failed before their first validation.
        """
        failed, invalid = self._counts[State.FAILED], self._invalid_in_a_row
        is_none_well = self._counts.total() - self._counts[State.INVALID] == failed and not is_any_well
        if failed >= FAILURES_BEFORE_GIVING_UP and is_none_well:
            raise SweepFailed(f"the first {failed} trials all failed; the last one: {self.last}")
        if self._most is not None and failed > self._most:
            raise SweepFailed(
                f"{failed} trials failed, more than max_failed_trials={self._most}; the last one: {self.last}"
            )
        if (row := self._failed_in_a_row) >= IN_A_ROW_BEFORE_GIVING_UP and not is_at_end:
            what = f"{row} trials in a row failed before their first validation"
            again = f"once that is mended, `sweeps resume {shlex.quote(self._name)}` goes on"
            raise TrialsFail(f"{what}; the last one: {self.last}; {again}")
        if invalid >= INVALID_BEFORE_GIVING_UP:
            raise SweepFailed(
                f"{invalid} trials in a row declared their configuration invalid; the last one: {self.last}"
            )
