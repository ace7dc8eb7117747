"""A trial that runs, and what of it is written to the study, which another program may have ended it in."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from sweeps.records import Assignment, Outcome, Report, State
from sweeps.storages.patience import StudyUnwritable, patient
from sweeps.study.outcomes import DRIVERS, EXCLUDED, outcome_attributes, outcome_of

if TYPE_CHECKING:
    import optuna


@dataclass
class Running:
    """A trial that was asked and not told: its last assignment, and what happened to it so far.

    Attributes:
        is_taken: Another program has ended it in the study.
        drivers: The drivers that trained it, the launch's counted as 0, each resumption's as the next.
    """

    trial: "optuna.Trial"
    assignment: Assignment
    known_step: int = 0
    is_taken: bool = False
    drivers: tuple[int, ...] = (0,)

    @classmethod
    def begun(cls, trial: "optuna.Trial", assignment: Assignment, driver: int) -> Self:
        """A trial as a driver finds it: a new one, or one that goes on from what earlier drivers trained."""
        drivers = (driver,)
        if assignment.attempt:  # one that no earlier driver found running is of the driver before
            drivers = tuple(trial.user_attrs.get(DRIVERS, (max(driver - 1, 0),)))
        return cls(trial, assignment, assignment.known_step, drivers=drivers)

    def go_on(self, attempt: int, driver: int) -> None:
        """Notes that this driver trains it from now on; the first attempt means that nobody did before."""
        self.drivers = (*self.drivers, driver) if attempt else (driver,)
        self.trial.set_user_attr("attempt", attempt)
        if attempt:
            self.trial.set_user_attr(DRIVERS, self.drivers)

    def keep(self, report: Report, *, is_alone: bool) -> None:
        """Writes a report to the study; a trial that goes on may say again what is known.

        Args:
            report: Of this trial.
            is_alone: The objective is the only one. With several Optuna takes no reports, since it cannot
                prune; resume and the readers need them.
        """
        if report.step <= self.known_step:
            return
        with self.unless_taken():
            if is_alone:
                self.trial.report(report.value, report.step)
            else:
                values = self.trial.user_attrs.get("validations", {}) | {str(report.step): report.value}
                self.trial.set_user_attr("validations", values)
            self.known_step = report.step

    def end(self, study: "optuna.Study", outcome: Outcome) -> Outcome:
        """Tells the study how it ended; gives how it did, there."""
        import optuna

        states = optuna.trial.TrialState
        told = {State.COMPLETE: states.COMPLETE, State.FAILED: states.FAIL}
        with self.unless_taken():
            for key, kept in outcome_attributes(outcome, self.drivers[-1]).items():
                self.trial.set_user_attr(key, kept)
            values = list(outcome.values) if outcome.state is State.COMPLETE else None
            study.tell(self.trial, values, state=told.get(outcome.state, states.PRUNED))
        return self.as_it_ended(outcome) if self.is_taken else outcome

    def exclude(self, study: "optuna.Study", reason: str) -> None:
        """Ends it as never trained, in no budget: it is pruned, so that samplers learn."""
        import optuna

        with self.unless_taken():
            self.trial.set_user_attr("outcome", {"state": EXCLUDED, "reason": reason})
            study.tell(self.trial, state=optuna.trial.TrialState.PRUNED)

    def put_back(self) -> None:
        """Lets the trial wait in the study, with its parameters, as those that are enqueued do."""
        import optuna

        with self.unless_taken():
            self.trial.storage.set_trial_state_values(self.trial._trial_id, optuna.trial.TrialState.WAITING)

    def is_taken_by_now(self) -> bool:
        """Whether another program has ended the trial; looks, but waits for no database that is away."""
        from sweeps.storages.alone import has_ended  # Optuna is imported when it is needed

        with patient(0.0), suppress(StudyUnwritable):  # who writes to it waits, and says so
            self.is_taken = self.is_taken or has_ended(self.trial)
        return self.is_taken

    @contextmanager
    def unless_taken(self) -> Iterator[None]:
        """Writes in the block to the trial; notes it if another program has ended that meanwhile."""
        import optuna

        try:
            yield
        except optuna.exceptions.UpdateFinishedTrialError:
            self.is_taken = True

    def note(self, outcome: Outcome) -> str:
        """What a person should know of one that another program has ended."""
        what = f"trial {outcome.number} was ended by another program and counts as {outcome.state}"
        return f"{what}; only a sweep's driver may write its study, `sweeps trial kill` asks it"

    def as_it_ended(self, outcome: Outcome) -> Outcome:
        """The outcome with the end that another program gave the trial, which nobody can change."""
        there = outcome_of(self.trial.storage.get_trial(self.trial._trial_id))
        return replace(outcome, state=there.state, value=there.value, others=there.others, lost=False,
                       fault="", reason="another program ended it in the study")  # fmt: skip
