"""Optuna's frozen trials: as a database has a new one, and copies that may be changed."""

import copy
import json
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState


def created(trial_id: int, number: int, template: FrozenTrial | None) -> FrozenTrial:
    """A trial as the database has it once it is created."""
    trial = copy.deepcopy(template) if template else optuna.trial.create_trial(state=TrialState.RUNNING)
    trial._trial_id, trial.number = trial_id, number
    return trial


def copied(trial: FrozenTrial) -> FrozenTrial:
    """A trial with dictionaries of its own."""
    own = copy.copy(trial)
    own.params, own.distributions = dict(trial.params), dict(trial.distributions)
    own.user_attrs, own.system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
    own.intermediate_values = dict(trial.intermediate_values)
    return own


def as_kept(value: Any) -> Any:
    """A value as it comes back from the database."""
    return json.loads(json.dumps(value))
