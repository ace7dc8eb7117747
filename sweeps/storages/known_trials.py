"""Optuna's storage for the one process that writes a study: it knows what it wrote, so it need not read it.

Optuna's own cache reads all unfinished trials anew whenever a sampler or a pruner looks at the trials, since
another process may have changed them. A driver holds the lease of its study (`sweeps.control`), so it notes
each write here as well. What others do all the same is seen late: a trial that somebody adds with the next
that is created, or before a grid ends (`look_again`); one that somebody takes or ends when this process
wants it or writes to it.

Where the database is a server, threads write what a trial reports and how it ends, so that no other trial
waits for the way there (`sweeps.storages.behind`).
"""

import copy
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from sweeps.storages.alike import shared
from sweeps.storages.behind import Behind
from sweeps.storages.frozen import as_kept, copied, created

FINISHED = tuple(state for state in TrialState if state.is_finished())


class KnownTrials(BaseStorage):
    """Writes through to another storage; reads trials from memory.

    Args:
        storage: Where everything is kept.
        behind: Writes what is not waited for; None to wait for each write.
    """

    def __init__(self, storage: BaseStorage, behind: Behind | None = None) -> None:
        self._storage, self._behind = storage, behind
        self._studies: dict[int, dict[int, FrozenTrial]] = {}  # those that were looked at; trials by id
        self._owners: dict[int, int] = {}  # study ids by trial id
        self._ids: dict[str, int] = {}  # study ids by name: some pruners ask at each parameter and report
        self._alike: dict[str, Any] = {}  # user attributes of any trial: others have most of them in common
        self._ranges: dict[str, BaseDistribution] = {}  # likewise
        self._lock = threading.RLock()
        self._creating = threading.Lock()  # of its own: who reads must not wait for a locked database

    def __getstate__(self) -> dict[str, Any]:
        return {"_storage": self._storage}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_storage"])  # type: ignore[misc]

    @override
    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._storage.create_new_study(directions, study_name)

    @override
    def delete_study(self, study_id: int) -> None:
        self._storage.delete_study(study_id)
        self._ids = {name: known for name, known in self._ids.items() if known != study_id}
        self.look_again(study_id)

    @override
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.settle()  # it may say that the sweep has ended
        self._storage.set_study_user_attr(study_id, key, value)

    @override
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.settle()  # it may say that the sweep has ended
        self._storage.set_study_system_attr(study_id, key, value)

    @override
    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name not in self._ids:
            self._ids[study_name] = self._storage.get_study_id_from_name(study_name)
        return self._ids[study_name]

    @override
    def get_study_name_from_id(self, study_id: int) -> str:
        return self._storage.get_study_name_from_id(study_id)

    @override
    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._storage.get_study_directions(study_id)

    @override
    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._storage.get_study_user_attrs(study_id)

    @override
    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._storage.get_study_system_attrs(study_id)

    @override
    def get_all_studies(self) -> list[Any]:
        return self._storage.get_all_studies()

    @override
    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self._creating:
            number = len(self.get_all_trials(study_id, deepcopy=False))
            trial_id = self._storage.create_new_trial(study_id, template_trial)
            is_next = self._has_number(trial_id, study_id, number)
            with self._lock:
                if not is_next:  # somebody else has added trials
                    self.look_again(study_id)
                elif study_id in self._studies:
                    self._add(study_id, created(trial_id, number, template_trial))
        return trial_id

    @override
    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        with self._noticing_its_end(trial_id):
            self._check_it_runs(trial_id)
            self._storage.set_trial_param(trial_id, param_name, param_value_internal, distribution)

        def change(trial: FrozenTrial) -> None:
            value = distribution.to_external_repr(param_value_internal)
            trial.params = {**trial.params, param_name: value}
            known = self._ranges.setdefault(param_name, distribution)
            own = known if known == distribution else distribution
            trial.distributions = {**trial.distributions, param_name: own}

        self._note(trial_id, change)

    @override
    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        def change(trial: FrozenTrial) -> None:
            trial.state = state
            if values is not None:
                trial.values = list(values)
            if state is TrialState.RUNNING:
                trial.datetime_start = datetime.now()
            elif state.is_finished():
                trial.datetime_complete = datetime.now()

        set_it = partial(self._storage.set_trial_state_values, trial_id, state, values)
        if state.is_finished():
            self._write(trial_id, set_it, change)
            return True
        self.settle()
        with self._noticing_its_end(trial_id):
            is_done = set_it()
        if not is_done:  # it was begun before
            self._look_again_unless(trial_id, (TrialState.RUNNING, *FINISHED))
            return False
        self._note(trial_id, change)
        return True

    @override
    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        def change(trial: FrozenTrial) -> None:
            trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

        set_it = partial(self._storage.set_trial_intermediate_value, trial_id, step, intermediate_value)
        self._write(trial_id, set_it, change)

    @override
    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        kept = shared(as_kept(value), self._alike.get(key))

        def change(trial: FrozenTrial) -> None:
            self._alike[key] = kept
            trial.user_attrs = {**trial.user_attrs, key: kept}

        self._write(trial_id, partial(self._storage.set_trial_user_attr, trial_id, key, kept), change)

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        kept = as_kept(value)

        def change(trial: FrozenTrial) -> None:
            trial.system_attrs = {**trial.system_attrs, key: kept}

        self._write(trial_id, partial(self._storage.set_trial_system_attr, trial_id, key, kept), change)

    @override
    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self._lock:
            if (study_id := self._owners.get(trial_id)) is not None:
                return copied(self._studies[study_id][trial_id])  # Optuna changes it in place
        self.settle()
        return self._storage.get_trial(trial_id)

    @override
    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    @override
    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        with self._lock:
            trials = self._trials(study_id).values()
            chosen = list(trials) if states is None else [trial for trial in trials if trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen

    @override
    def remove_session(self) -> None:
        self._storage.remove_session()

    def look_again(self, study_id: int) -> None:
        """Forgets the trials of a study, so that the next look is at the database."""
        with self._lock:
            for trial_id in self._studies.pop(study_id, {}):
                del self._owners[trial_id]

    def settle(self) -> None:
        """Waits until all is written, or raises what prevents it."""
        if self._behind:
            self._behind.settle()

    def has_ended(self, trial_id: int) -> bool:
        """Whether a trial that this process runs has ended in the database; nothing else of it is read."""
        try:
            with self._noticing_its_end(trial_id):  # it runs there already, or else has ended
                self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return True
        return False

    def _write(
        self, trial_id: int, write: Callable[[], object], change: Callable[[FrozenTrial], None]
    ) -> None:
        """Writes to a trial, now or soon, and notes the change."""
        with self._lock:
            if self._behind is not None and trial_id in self._owners:
                with self._noticing_its_end(trial_id):
                    self._check_it_runs(trial_id)
                self._behind.put(trial_id, write)
                self._note(trial_id, change)
                return
        self.settle()
        with self._noticing_its_end(trial_id):
            write()
        self._note(trial_id, change)

    def _check_it_runs(self, trial_id: int) -> None:
        """Refuses a write to a trial that has ended, as a database does whose answer is not waited for."""
        with self._lock:
            if self._behind is not None and (study_id := self._owners.get(trial_id)) is not None:
                trial = self._studies[study_id][trial_id]
                if trial.state.is_finished() or trial_id in self._behind.ended:
                    raise UpdateFinishedTrialError(f"trial {trial.number} has ended")

    @contextmanager
    def _noticing_its_end(self, trial_id: int) -> Iterator[None]:
        """Looks again where somebody else has ended a trial that is written to; the error goes on."""
        try:
            yield
        except UpdateFinishedTrialError:
            self._look_again_unless(trial_id, FINISHED)
            raise

    def _look_again_unless(self, trial_id: int, states: Container[TrialState]) -> None:
        """Looks again where the trial is known in another state: somebody else has changed it."""
        with self._lock:
            study_id = self._owners.get(trial_id)
            if study_id is not None and self._studies[study_id][trial_id].state not in states:
                self.look_again(study_id)

    def _trials(self, study_id: int) -> dict[int, FrozenTrial]:
        if study_id not in self._studies:
            self.settle()
            found = self._storage.get_all_trials(study_id, deepcopy=False)
            self._studies[study_id] = {}
            for trial in sorted(found, key=lambda trial: trial.number):
                self._add(study_id, trial)
        return self._studies[study_id]

    def _has_number(self, trial_id: int, study_id: int, number: int) -> bool:
        try:
            return self._storage.get_trial_id_from_study_id_trial_number(study_id, number) == trial_id
        except KeyError:
            return False

    def _add(self, study_id: int, trial: FrozenTrial) -> None:
        self._owners[trial._trial_id] = study_id
        self._studies[study_id][trial._trial_id] = trial

    def _note(self, trial_id: int, change: Callable[[FrozenTrial], None]) -> None:
        """Replaces a trial: who was given it by `get_all_trials` has it as it was."""
        with self._lock:
            if (study_id := self._owners.get(trial_id)) is not None:
                trial = copy.copy(self._studies[study_id][trial_id])
                change(trial)
                self._studies[study_id][trial_id] = trial
