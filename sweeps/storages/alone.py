"""The study of a driver, which alone writes it, and the looks at what others have done to it all the same."""

import optuna

from sweeps.storages.behind import Behind
from sweeps.storages.known_trials import KnownTrials


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


def alone(study: optuna.Study, behind: Behind | None = None) -> optuna.Study:
    """The study for the process that alone writes it from now on; see `KnownTrials`."""
    return optuna.load_study(
        study_name=study.study_name,
        storage=KnownTrials(study._storage, behind),
        sampler=study.sampler,
        pruner=study.pruner,
    )
