"""The study: every decision of a sweep is taken here, and kept in Optuna's storage as it is taken.

`ask` gives the next trial, `should_stop` answers each report, `tell` ends a trial. The persisted study is
the contract with the readers (`dashboards`): the attributes written here are all that they know.
"""

import itertools
import math
import os
import platform
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from sweeps.algorithms import make_pruner, make_sampler
from sweeps.errors import SweepFailed, UserError
from sweeps.records import Assignment, Outcome, Report, State
from sweeps.spec import SweepSpec
from sweeps.storage import masked, open_storage, sqlite_path

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

FORMAT = 1
"""Version of the attributes that this module writes."""

PACKAGES = ("lightning-sweeps", "optuna", "lightning", "torch", "ray", "mlflow")
FAILURES_BEFORE_GIVING_UP = 3

SweepState = Literal["running", "finished", "failed", "interrupted"]


class Study:
    """One sweep's Optuna study; only the driver of the sweep holds one.

    Args:
        study: The Optuna study, with sampler and pruner.
        spec: The sweep.
        clock: The current time in seconds; a simulation gives its own.
        patience: So many trials failing before any other end stop the sweep.
    """

    def __init__(
        self,
        study: "optuna.Study",
        spec: SweepSpec,
        *,
        clock: Callable[[], float] = time.time,
        patience: int = FAILURES_BEFORE_GIVING_UP,
    ) -> None:
        self.name = study.study_name
        self.counts: Counter[State] = Counter()
        self.best: Outcome | None = None
        self._study, self._spec, self._clock, self._patience = study, spec, clock, patience
        self._running: dict[int, optuna.Trial] = {}
        self._prunes = type(study.pruner).__name__ != "NopPruner"  # which would read the trial to say no
        self._started = clock()
        self.last_failure = ""
        self._sign = 1 if spec.objective.direction == "minimize" else -1

    @property
    def finished(self) -> int:
        """Trials that have ended, however they did."""
        return self.counts.total()

    @property
    def running(self) -> frozenset[int]:
        """Numbers of the trials that were asked and not yet told."""
        return frozenset(self._running)

    @property
    def budget_is_used(self) -> bool:
        """Whether no further trial may be asked."""
        budget = self._spec.budget
        if budget.hours is not None and self._clock() - self._started >= budget.hours * 3600:
            return True
        return budget.trials is not None and self.finished + len(self._running) >= budget.trials

    def ask(self) -> Assignment | None:
        """The next trial, or None once the budget is used.

        Raises:
            SweepFailed: The first few trials all failed, so the rest of them most likely would, too.
        """
        if self.counts[State.FAILED] == self.finished >= self._patience:
            raise SweepFailed(
                f"the first {self.finished} trials all failed; the last one: {self.last_failure}"
            )
        if self.budget_is_used:
            return None
        trial = self._study.ask()
        params = self._spec.space.suggest(trial)
        base = self._spec.base
        if base["seed_everything"] is True:  # LightningCLI's "choose one": chosen here, so that it is known
            base["seed_everything"] = trial.number
        config = self._spec.space.configure(base, params)
        trial.set_user_attr("config", config)
        self._running[trial.number] = trial
        return Assignment(trial.number, params, config)

    def should_stop(self, report: Report) -> bool:
        """Whether the trial ends here: it diverged, or the pruner says so.

        The pruner is not asked at the last validation: the training is paid for, the trial is complete.
        """
        if not math.isfinite(report.value):
            return True
        trial = self._running[report.number]
        trial.report(report.value, report.step)
        return self._prunes and not report.last and trial.should_prune()

    def tell(self, outcome: Outcome) -> None:
        """Ends a trial."""
        import optuna

        states = optuna.trial.TrialState
        told = {State.COMPLETE: states.COMPLETE, State.FAILED: states.FAIL}
        trial = self._running.pop(outcome.number)
        trial.set_user_attr("outcome", _outcome_attribute(outcome))
        value = outcome.value if outcome.state is State.COMPLETE else None
        self._study.tell(trial, value, state=told.get(outcome.state, states.PRUNED))
        self.counts[outcome.state] += 1
        if value is not None and (self.best is None or self._key(outcome) < self._key(self.best)):
            self.best = outcome
        if outcome.state is State.FAILED:
            self.last_failure = f"trial {outcome.number}: {outcome.reason}"

    def _key(self, outcome: Outcome) -> tuple[float, int]:
        return self._sign * (outcome.value or 0.0), outcome.number

    def abandon(self, reason: str) -> list[Outcome]:
        """Ends the trials still running as failed, since nothing trains them any more."""
        outcomes = [Outcome(number, State.FAILED, reason=reason) for number in sorted(self._running)]
        for outcome in outcomes:
            self.tell(outcome)
        return outcomes

    def end(self, state: SweepState) -> None:
        """Notes how the sweep ended."""
        self._study.set_user_attr("sweep_state", state)


def create_study(
    spec: SweepSpec,
    storage: "BaseStorage | None",
    *,
    validations: int | None,
    notes: dict[str, Any] | None = None,
) -> "optuna.Study":
    """Creates the Optuna study of a new sweep.

    Args:
        spec: The sweep; its name becomes the study's.
        storage: Where it is kept; None for memory, in a simulation.
        validations: Validations of a full training, for the pruner's bounds.
        notes: Further study attributes for the readers: `mlflow`, `files`.

    Raises:
        UserError: The name is taken in this storage.
        SpecError: The sampler or pruner cannot be made.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    sampler, pruner = make_sampler(spec), make_pruner(spec, validations)
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=spec.name,
            direction=spec.objective.direction,
            sampler=sampler,
            pruner=pruner,
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise UserError(name_taken(spec.name)) from None
    study.set_metric_names([spec.objective.metric])
    attributes = {
        "lightning_sweeps": {
            "format": FORMAT,
            "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
            "git_commit": git_commit(spec.folders[0]),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "spec": stored_spec(spec),
        "driver": {"host": platform.node(), "pid": os.getpid()},
        **(notes or {}),
        "sweep_state": "running",
    }
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    return study


def ensure_name_is_free(name: str, url: str) -> None:
    """Checks that no earlier sweep of that name is in the storage.

    Raises:
        UserError: There is one.
    """
    if name in _names(url):
        raise UserError(name_taken(name))


def free_name(name: str, url: str) -> str:
    """The name, or the name with the first number from 2 on, that no sweep in the storage has."""
    taken = _names(url)
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if n not in taken)


def _names(url: str) -> list[str]:
    """The names of the studies in a storage, which is not created."""
    path = sqlite_path(url)
    if path is not None and (not path.exists() or path.stat().st_size == 0):
        return []
    import optuna

    return optuna.get_all_study_names(open_storage(url))


def name_taken(name: str) -> str:
    """The message for a name that an earlier sweep has, with the ways to go on."""
    return (
        f"a sweep named {name!r} is already there: `sweeps status {name}` shows it, "
        f"`sweeps launch ... --name {name}-2` starts another"
    )


def stored_spec(spec: SweepSpec) -> dict[str, Any]:
    """The sweep as it is kept: every key, defaults included, passwords in URLs masked."""
    stored = {key: value for key, value in spec.model_dump(mode="json").items() if value is not None}
    for key in ("storage", "tracking_uri", "files"):
        if key in stored:
            stored[key] = masked(stored[key])
    return stored


def git_commit(folder: str) -> str | None:
    """The commit of the folder's git checkout, with `-dirty` if files differ from it; None without one."""
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _outcome_attribute(outcome: Outcome) -> dict[str, Any]:
    timing = outcome.timing
    return {
        "state": outcome.state.value,
        "reason": outcome.reason,
        "metrics": outcome.metrics,
        "timing": {name: getattr(timing, name) for name in timing.__dataclass_fields__},
        "worker": outcome.worker,
        "device": outcome.device,
    }
