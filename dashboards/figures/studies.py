"""Gives Optuna's own figures and measures what they read: a study in memory, made from records.

The names and choices in it are texts that Plotly shows as they are.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from dashboards.figures.style import plain
from dashboards.records import Parameter, Trial
from dashboards.wording import value_text

_LONGEST_CHOICE = 24


def study_of(
    trials: Iterable[Trial],
    space: Sequence[Parameter],
    direction: str,
    *,
    labels: dict[str, str] | None = None,
    name: str = "sweep",
) -> optuna.Study:
    """Return a study of complete trials.

    Args:
        trials: Complete trials with a finite value; states are not looked at.
        space: The parameters it holds; trials' others are left out.
        direction: `minimize` or `maximize`.
        labels: What to call each parameter; its own name if left out.
        name: What to call the study.
    """
    names = {parameter.name: (labels or {}).get(parameter.name, parameter.name) for parameter in space}
    choices = {parameter.name: choice_texts(parameter) for parameter in space}
    distributions = {p.name: _distribution(p, list(choices[p.name].values())) for p in space}
    study = quiet_study([direction], name)
    study.add_trials([_frozen(trial, names, choices, distributions) for trial in trials])
    return study


def quiet_study(directions: Iterable[str], name: str | None = None) -> optuna.Study:
    """Return a study in memory without a word of Optuna's about it."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        wanted = [optuna.study.StudyDirection[direction.upper()] for direction in directions]
        return optuna.create_study(study_name=name, directions=wanted)
    finally:
        optuna.logging.set_verbosity(level)


def choice_texts(parameter: Parameter) -> dict[str, str]:
    """Return a text for the `repr` of each choice, no two alike."""
    texts: dict[str, str] = {}
    for index, choice in enumerate(parameter.choices):
        text = plain(value_text(choice), _LONGEST_CHOICE)
        texts[repr(choice)] = f"{text} ({index + 1})" if text in texts.values() else text
    return texts


def _distribution(parameter: Parameter, choices: list[str]) -> BaseDistribution:
    if parameter.kind == "categorical" or parameter.low is None or parameter.high is None:
        return CategoricalDistribution(choices)
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _frozen(
    trial: Trial,
    names: dict[str, str],
    choices: dict[str, dict[str, str]],
    distributions: dict[str, BaseDistribution],
) -> optuna.trial.FrozenTrial:
    own: dict[str, Any] = {name: value for name, value in trial.params.items() if name in names}
    params = {names[name]: choices[name].get(repr(value), value) for name, value in own.items()}
    frozen = create_trial(
        state=TrialState.COMPLETE,
        value=trial.value,
        params=params,
        distributions={names[name]: distributions[name] for name in own},
    )
    frozen.number = trial.number
    return frozen
