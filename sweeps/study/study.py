"""The study: every decision of a sweep is taken here, and kept in Optuna's storage as it is taken.

`ask` gives the next trial, `should_stop` answers each report, `tell` ends a trial. The persisted study is
the contract with the readers (`dashboards`): the attributes written here are all that they know.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from sweeps.errors import SweepFailed, UserError
from sweeps.records import Again, Assignment, Event, News, Outcome, Report, Request, State
from sweeps.samplers.exhaustion import Exhaustion
from sweeps.study.front import Front
from sweeps.study.giving_up import Failures
from sweeps.study.outcomes import is_counted, last_step, outcome_of
from sweeps.study.persistence import driver_of, store_changes
from sweeps.study.retrying import ATTRIBUTE, Retrying
from sweeps.study.running import Running
from sweeps.study.stopping import Stopping, in_order_of_their_ends
from sweeps.sweep_file.sections import Budget
from sweeps.sweep_file.spec import SweepSpec

if TYPE_CHECKING:
    import optuna

DRAWS = 1000

SweepState = Literal["running", "finished", "failed", "interrupted"]


class Study:
    """One sweep's Optuna study; only the driver of the sweep holds one.

    Attributes:
        name: The sweep's name.
        counts: How many trials ended in which state.
        front: The outcomes of the best complete trials: one, or the Pareto set of several objectives.
        is_paused: No trial is asked for the time being.
        is_stopping: None will be: the sweep ends with the trials that run.
        failures: The ends that bring no result.

    Args:
        study: The Optuna study, with sampler and pruner.
        spec: The sweep.
        clock: Seconds from any moment on, also where the machine's clock is set; a simulation gives its own.
        say: Gets what a person should know, a line at a time.
    """

    def __init__(
        self,
        study: "optuna.Study",
        spec: SweepSpec,
        *,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name, self._driver = study.study_name, driver_of(study.user_attrs)
        self.counts, self.front = Counter[State](), Front(spec.objectives)
        self._study, self._spec, self._say = study, spec, say
        self._running: dict[int, Running] = {}
        self._again: list[Assignment] = []
        self.is_paused = self.is_stopping = False
        self._exhaustion = Exhaustion(study)
        self._prunes = type(study.pruner).__name__ != "NopPruner"  # which would read the trial to say no
        self.failures = Failures(spec.max_failed_trials, self.name)
        self._stopping, self._retrying = Stopping(spec, clock, study.user_attrs), Retrying(spec)

    @property
    def best(self) -> Outcome | None:
        """The outcome of the best complete trial; of several objectives, the best in the first."""
        return self.front.best

    @property
    def finished(self) -> int:
        """Trials that have ended, however they did; those with an invalid configuration are in no budget."""
        return self.counts.total() - self.counts[State.INVALID]

    @property
    def running(self) -> frozenset[int]:
        """Numbers of the trials that were asked and not yet told."""
        return frozenset(self._running)

    @property
    def budget_is_used(self) -> bool:
        """Whether no further trial may be asked: the budget is used, or `stop_when` holds."""
        trials = self._spec.budget.trials
        return self.is_over or (trials is not None and self.finished + len(self._running) >= trials)

    @property
    def is_over(self) -> bool:
        """Whether no further trial may begin: the hours are over, or `stop_when` holds."""
        return self._stopping.is_late(self._spec.budget) or bool(self.stop_reason)

    @property
    def stop_reason(self) -> str:
        """Which rule of `stop_when` holds; "" if none does. A trial that runs may still end it."""
        return self._stopping.reason

    def ask(self) -> Assignment | None:
        """The next trial: one that goes on, or a new one; None once the budget is used or while paused.

        Raises:
            SweepFailed: Trials fail, so the rest of them most likely would, too; see `Failures.check`.
        """
        if not self.may_ask():
            return None
        return self.kept() or (self.draw() if self.may_draw else None)

    def may_ask(self) -> bool:
        """Whether a trial may be asked for; see `ask`.

        Raises:
            SweepFailed: As `ask`.
        """
        is_any_well = any(running.known_step for running in list(self._running.values()))
        self.failures.check(is_any_well=is_any_well, is_at_end=self.budget_is_used and not self._again)
        return not self.is_paused

    @property
    def may_draw(self) -> bool:
        """Whether there is to be a new trial."""
        return not self.budget_is_used and not self._exhaustion.is_reached

    def kept(self, number: int | None = None) -> Assignment | None:
        """A trial that was begun and goes on, the next or that of this number, if there is one."""
        found = [again for again in self._again if number in (None, again.number)]
        return self._again.pop(self._again.index(found[0])) if found else None

    def draw(self) -> Assignment:
        """A new trial that breaks no constraint; those that do are told as pruned, so that samplers learn.

        May be called from another thread than the rest, by one at a time.
        """
        for _ in range(DRAWS):
            assignment = self._assignment(self._study.ask())
            if not (broken := self._broken(assignment)):
                return self._fitted(assignment)
        raise SweepFailed(f"{DRAWS} configurations in a row broke a constraint, the last one {broken}")

    def put_back(self, assignment: Assignment) -> None:
        """Takes back a trial that never began: it waits in the study, and is the next that is asked."""
        self._running.pop(assignment.number).put_back()

    def _broken(self, assignment: Assignment) -> str | None:
        """The constraint that a trial breaks, which ends it, or None."""
        broken = self._spec.violated(assignment.params, assignment.config)
        if broken:
            self._running.pop(assignment.number).exclude(self._study, f"constraint {broken}")
        return broken

    def _assignment(self, trial: "optuna.Trial", attempt: int = 0, known_step: int = 0) -> Assignment:
        params = self._spec.space.suggest(trial)  # of a trial that was asked before: its own again
        base = self._spec.base
        if base["seed_everything"] is True:  # LightningCLI's "choose one": chosen here, so that it is known
            base["seed_everything"] = trial.number
        config = self._spec.space.configure(base, params)
        assignment = Assignment(trial.number, params, config, attempt, known_step)
        self._running[trial.number] = Running.begun(trial, assignment, self._driver)
        return assignment

    def _fitted(self, assignment: Assignment) -> Assignment:
        """The assignment as it is going to be trained."""
        running = self._running[assignment.number]
        running.assignment = self._retrying.start(assignment)
        running.trial.set_user_attr("config", running.assignment.config)
        return running.assignment

    def adopt(
        self, journaled: Iterable[News] = (), has_begun: Callable[[int], bool] = lambda number: True
    ) -> list[Outcome]:
        """Takes over what an earlier driver left: counts what ended, and lets go on what it was training.

        Args:
            journaled: Events that were written to disk and maybe not to the study.
            has_begun: Whether there is anything of a trial that has no validation; one that was only drawn
                starts as a new one does.

        Returns:
            The outcomes of the trials that ended.
        """
        import optuna

        ended = []
        for frozen in in_order_of_their_ends(self._study.get_trials(deepcopy=False)):
            if frozen.state is optuna.trial.TrialState.RUNNING:
                trial = optuna.trial.Trial(self._study, frozen._trial_id)
                attempt = frozen.user_attrs.get("attempt", 0) + 1
                assignment = self._assignment(trial, attempt, last_step(frozen))
                if not self._broken(assignment):  # the driver may have died before it looked
                    self._again.append(assignment)
            elif is_counted(frozen):
                ended.append(outcome_of(frozen))
                self._count(ended[-1])
                self.failures.recall(ended[-1])
            if failed := frozen.user_attrs.get(ATTRIBUTE):
                self._retrying.recall(frozen.params, failed)
        ended += self._catch_up(journaled)
        running = [self._running[a.number] for a in self._again if a.number in self._running]
        for one in running:
            attempt = one.assignment.attempt
            attempt = attempt if attempt > 1 or one.known_step or has_begun(one.trial.number) else 0
            self._fitted(replace(one.assignment, attempt=attempt, known_step=one.known_step))
            one.go_on(attempt, self._driver)
        self._again = [one.assignment for one in running]
        return ended

    def _catch_up(self, journaled: Iterable[News]) -> list[Outcome]:
        """Takes in events of the trials that run, and gives the outcomes among them: those are done."""
        last = {}
        for event in journaled:
            if not isinstance(event, Request) and event.number in self._running:
                last[event.number] = event
                if isinstance(event, Report) and math.isfinite(event.value):
                    self._keep(event)
        ends = [event for event in last.values() if isinstance(event, Outcome)]
        return [self._end(end, earlier=True) for end in ends if self._retrying.is_never_granted(end)]

    @property
    def budget(self) -> Budget:
        """When the sweep ends."""
        return self._spec.budget

    def change(self, **changes: Any) -> None:
        """Sets keys of the specification, here and as it is stored."""
        self._spec = self._spec.model_copy(update=changes)
        store_changes(self._study, self._spec, changes)

    def enqueue_again(self, number: int) -> None:
        """Asks once more for the parameters of a trial that ended, beside the budget.

        Raises:
            UserError: There is no such trial, or it has not ended.
        """
        ended = {t.number: t for t in self._study.get_trials(deepcopy=False) if t.state.is_finished()}
        if number not in ended:
            raise UserError(f"{self.name}: trial {number} has not ended, so it cannot be tried again")
        self._study.enqueue_trial(ended[number].params)
        if self.budget.trials is not None:
            self.change(budget=self.budget.model_copy(update={"trials": self.budget.trials + 1}))

    def should_stop(self, report: Report) -> bool:
        """Whether the trial ends here: it diverged, the pruner says so, or another program has ended it.

        The pruner is not asked at the last validation: the training is paid for, the trial is complete.
        """
        if not math.isfinite(report.value):
            return True
        running, is_pruned = self._keep(report), False
        if self._prunes and not report.last:
            with running.unless_taken():  # some pruners write to the trial
                is_pruned = bool(running.trial.should_prune())  # some answer with a NumPy boolean
        return is_pruned or running.is_taken

    def _keep(self, report: Report) -> Running:
        self.failures.see_validation()
        running = self._running[report.number]
        running.keep(report, is_alone=len(self._spec.objectives) == 1)
        return running

    def as_it_stands(self, event: Event) -> Event:
        """The event; of a trial that another program ended, the outcome that the study has."""
        if isinstance(event, Outcome) and (running := self._running[event.number]).is_taken_by_now():
            return running.as_it_ended(event)
        return event

    def tell(self, outcome: Outcome) -> Outcome | Again:
        """Ends a trial, or lets it go on from its checkpoint where the specification grants a retry."""
        if again := self._retrying.again(self._running[outcome.number], outcome):
            self._again.append(again)
            return Again(outcome.number, again.attempt, again.change, outcome.reason)
        return self._end(outcome)

    def _end(self, outcome: Outcome, *, earlier: bool = False) -> Outcome:
        running = self._running.pop(outcome.number)
        outcome = running.end(self._study, outcome)
        if running.is_taken:
            self._say(running.note(outcome))
        self._count(outcome)
        self.failures.count(outcome, has_validated=running.known_step > 0, is_earlier=earlier)
        return outcome

    def _count(self, outcome: Outcome) -> None:
        self.counts[outcome.state] += 1
        self._stopping.count(outcome)
        self.front.add(outcome)

    def abandon(self, reason: str) -> list[Outcome]:
        """Ends the trials still running as failed, since nothing trains them any more."""
        self._again.clear()
        return [self._end(Outcome(number, State.FAILED, reason=reason)) for number in sorted(self._running)]

    def end(self, state: SweepState) -> None:
        """Notes how the sweep ended, and why before its budget was used."""
        self._study.set_user_attr("stop_reason", self.stop_reason)
        self._study.set_user_attr("sweep_state", state)
