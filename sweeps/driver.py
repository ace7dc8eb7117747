"""A sweep from its lease to its end: the study, the journal, the files and MLflow around the loop."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.control import Lease, LeaseLost
from sweeps.errors import CutShort, SweepFailed, TrialsFail
from sweeps.executors import Executor
from sweeps.files import TrialFiles
from sweeps.planning.places import Places, keep_moved
from sweeps.records import Outcome, Request, State
from sweeps.remote import fetch_best, forget
from sweeps.runner import Observer, run, show
from sweeps.storages.patience import StudyUnwritable, hurry
from sweeps.storages.uris import masked, sqlite_path, write_ahead_log
from sweeps.study.persistence import note_resumption
from sweeps.study.study import Study
from sweeps.sweep_file.spec import SweepSpec
from sweeps.tracking.journal import Journal
from sweeps.tracking.parent_run import sweep_info
from sweeps.tracking.recorder import Recorder
from sweeps.tracking.runs import Status

if TYPE_CHECKING:
    import optuna

    from sweeps.storages.behind import Behind


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        name: The sweep's name, which is also the study's.
        front: The outcomes of the best complete trials: one, or the Pareto set of several objectives.
        best_params: The parameters of the best one.
        counts: How many trials ended in which state.
        files: The sweep's folder; the best trial's checkpoint is `trial-N/best.ckpt` there.
        problems: What could not be recorded in MLflow, one line each.
        is_stopped: It was stopped before its budget was used; `sweeps resume` goes on.
        journal: Where what MLflow did not take in time is kept; None if it has everything.
        stop_reason: Which rule of `stop_when` ended it; "" if none did.
    """

    name: str
    front: tuple[Outcome, ...]
    best_params: dict[str, Any]
    counts: Counter[State]
    files: Path | str
    problems: list[str]
    is_stopped: bool = False
    stop_reason: str = ""
    journal: Path | None = None

    @property
    def best(self) -> Outcome | None:
        """The best complete trial, None if none is complete; of several objectives, the best in the first."""
        return self.front[0] if self.front else None


def drive(
    optuna_study: "optuna.Study",
    spec: SweepSpec,
    where: Places,
    executor: Executor,
    observers: Sequence[Observer],
    *,
    say: Callable[[str], None] = lambda line: None,
    resumed_with: dict[str, Any] | None = None,
    asks_ahead: bool = False,
    claimed: Callable[[], object] = lambda: None,
) -> SweepResult:
    """Runs a study to its end, recorded; the caller has made or found the study, and the workers.

    Args:
        optuna_study: The study, with sampler and pruner.
        spec: The sweep.
        where: Where it keeps what.
        executor: The workers.
        observers: See every event, in order.
        say: Gets what a person should know meanwhile, a line at a time.
        resumed_with: An earlier driver has begun the sweep, and this one runs it with these versions.
        asks_ahead: Draw the next trial while the loop goes on.
        claimed: Called when the sweep runs, as other terminals see it.

    Raises:
        UserError: Another driver runs it.
        SweepFailed: The trials fail, or the workers' cluster is gone; what was done until then is kept.
        Interrupted: Ctrl-C, SIGTERM or `sweeps stop --now`; what was done until then is kept.
        LeaseLost: Another driver has taken the sweep over while this one was held up.
    """
    from sweeps.storages.alone import alone  # Optuna is imported when it is needed
    from sweeps.storages.behind import Behind

    lease = Lease(optuna_study, where.storage)
    with lease.held(), nullcontext() if sqlite_path(where.storage) else Behind() as behind:
        optuna_study = alone(optuna_study, behind)
        if resumed_with is not None:
            note_resumption(optuna_study, resumed_with)
        study = Study(optuna_study, spec, say=say)
        files, journal = _files_and_journal(
            study, optuna_study, spec, where, behind, is_resumed=resumed_with is not None
        )
        study.end("running")
        claimed()
        info = sweep_info(spec, where, optuna_study.user_attrs, study, is_resumed=resumed_with is not None)
        recorder = Recorder(info, journal, say)
        observers = [files, lease, *observers]
        state: Status = "failed"
        problems: list[str] = []
        try:
            run(
                study,
                executor,
                observers,
                recorder=recorder,
                desk=_Desk(lease, behind),
                asks_ahead=asks_ahead,
            )
            if behind:
                behind.settle()
            if study.best is None and study.counts[State.FAILED] == study.finished > 0:
                raise SweepFailed(f"all {study.finished} trials failed; the last one: {study.failures.last}")
            state = "interrupted" if study.is_stopping else "finished"
        except (KeyboardInterrupt, CutShort, TrialsFail):
            state = "interrupted"
            raise
        finally:
            if lease.is_lost and behind:  # nothing of it is ours any more
                behind.drop(LeaseLost(f"{spec.name} is run by another driver"))
            lease.take_no_more()
            executor.close()
            hurry()
            if lease.is_lost or (behind and behind.has_failed):  # the journal has what the study lacks
                recorder.abandon()
            else:
                problems = _end(state, study, where, recorder, observers)
            if where.store:
                forget(where.files)
        best = optuna_study.get_trials(deepcopy=False)[study.best.number] if study.best else None
        return SweepResult(
            spec.name, tuple(study.front.outcomes), dict(best.params) if best else {}, study.counts,
            masked(where.store) or where.files, problems, is_stopped=state == "interrupted",
            stop_reason=study.stop_reason, journal=where.journal if journal.is_left else None,
        )  # fmt: skip


@dataclass(frozen=True)
class _Desk:
    """What others ask for; none of it before the study has taken most of what the driver told it."""

    lease: Lease
    behind: "Behind | None"

    def requests(self) -> list[Request]:
        """See `Lease.requests`."""
        if self.behind:
            self.behind.wait_for_room()
        return self.lease.requests()


def _files_and_journal(
    study: Study,
    optuna_study: "optuna.Study",
    spec: SweepSpec,
    where: Places,
    behind: "Behind | None",
    *,
    is_resumed: bool,
) -> tuple[TrialFiles, Journal]:
    """What keeps checkpoints and events; both and the study take over what an earlier driver left."""
    files = TrialFiles(
        where.files, spec.objectives, keep=spec.keep_checkpoints, store=where.store,
        when_kept=behind.then if behind else None,
    )  # fmt: skip
    known = len(optuna_study.get_trials(deepcopy=False))
    journal = Journal(where.journal, write_ahead_log(where.storage), known, behind)
    if is_resumed:
        keep_moved(optuna_study, where)
        study.change(budget=spec.budget, stop_when=spec.stop_when)  # as `resume` was asked
        files.adopt(study.adopt(journal.left(), files.has_begun))
    return files, journal


def _end(
    state: Status, study: Study, where: Places, recorder: Recorder, observers: Sequence[Observer]
) -> list[str]:
    """Notes the end in the study and in MLflow; gives what MLflow did not take."""
    if state != "interrupted":  # otherwise they go on from their checkpoints when the sweep does
        for outcome in study.abandon("the sweep ended before this trial did"):
            show([recorder, *observers], outcome)
    front = [outcome.number for outcome in study.front.outcomes]
    if where.store:
        fetch_best(where.store, where.files, front)
    problems = recorder.close(status=state, best=front[0] if front else None, front=front)
    # Without its database the study stays as it is: as if the driver had been killed.
    with suppress(StudyUnwritable) if state == "interrupted" else nullcontext():
        study.end(state)  # last: what dies before goes on with `resume`
    return problems
