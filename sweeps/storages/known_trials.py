"""Optuna's storage for the one process that writes a study: it knows what it wrote, so it need not read it.

Optuna's own cache reads all unfinished trials anew whenever a sampler or a pruner looks at the trials, since
another process may have changed them. A driver holds the lease of its study (`sweeps.control`), so it notes
each write here as well. What others do all the same is seen late: a trial that somebody adds with the next
that is created, or before a grid ends (`look_again`); one that somebody takes or ends when this process
wants it or writes to it.
"""

import copy
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from sweeps.storages.alike import shared
from sweeps.storages.frozen import as_kept, copied, created

FINISHED = tuple(state for state in TrialState if state.is_finished())


class KnownTrials(BaseStorage):
    """Writes through to another storage; reads trials from memory.

    Args:
        storage: Where everything is kept.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
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
        self._storage.set_study_user_attr(study_id, key, value)

    @override
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
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
        with self._noticing_its_end(trial_id):
            is_done = self._storage.set_trial_state_values(trial_id, state, values)
        if not is_done:  # it was begun before
            self._look_again_unless(trial_id, (TrialState.RUNNING, *FINISHED))
            return False

        def change(trial: FrozenTrial) -> None:
            trial.state = state
            if values is not None:
                trial.values = list(values)
            if state is TrialState.RUNNING:
                trial.datetime_start = datetime.now()
            elif state.is_finished():
                trial.datetime_complete = datetime.now()

        self._note(trial_id, change)
        return True

    @override
    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        with self._noticing_its_end(trial_id):
            self._storage.set_trial_intermediate_value(trial_id, step, intermediate_value)

        def change(trial: FrozenTrial) -> None:
            trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}

        self._note(trial_id, change)

    @override
    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._noticing_its_end(trial_id):
            self._storage.set_trial_user_attr(trial_id, key, value)

        def change(trial: FrozenTrial) -> None:
            kept = shared(as_kept(value), self._alike.get(key))
            self._alike[key] = kept
            trial.user_attrs = {**trial.user_attrs, key: kept}

        self._note(trial_id, change)

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._noticing_its_end(trial_id):
            self._storage.set_trial_system_attr(trial_id, key, value)

        def change(trial: FrozenTrial) -> None:
            trial.system_attrs = {**trial.system_attrs, key: as_kept(value)}

        self._note(trial_id, change)

    @override
    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self._lock:
            if (study_id := self._owners.get(trial_id)) is not None:
                return copied(self._studies[study_id][trial_id])  # Optuna changes it in place
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

    def has_ended(self, trial_id: int) -> bool:
        """Whether a trial that this process runs has ended in the database; nothing else of it is read."""
        try:
            with self._noticing_its_end(trial_id):  # it runs there already, or else has ended
                self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return True
        return False

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


def look_again(study: optuna.Study) -> None:
    """Has the next look at a study's trials be one at its database, if this process reads from memory."""
    if isinstance(study._storage, KnownTrials):
        study._storage.look_again(study._study_id)


def has_ended(trial: optuna.Trial) -> bool:
    """Whether a trial has ended in the database, whoever ended it."""
    storage, trial_id = trial.storage, trial._trial_id
    if isinstance(storage, KnownTrials):
        return storage.has_ended(trial_id)
    return storage.get_trial(trial_id).state.is_finished()


def alone(study: optuna.Study) -> optuna.Study:
    """The study for the process that alone writes it from now on."""
    return optuna.load_study(
        study_name=study.study_name,
        storage=KnownTrials(study._storage),
        sampler=study.sampler,
        pruner=study.pruner,
    )
