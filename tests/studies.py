"""Builds studies as `sweeps launch` persists them, without training anything."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.WARNING)

CREATED = "2024-05-01T10:00:00+00:00"
_OPTUNA = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def config(lr: float = 0.01, **init_args: Any) -> dict[str, Any]:
    """Return a small LightningCLI config; keys in an order that is not LightningCLI's."""
    return {
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": lr}},
        "model": {"class_path": "cli_classes.Net", "init_args": {"hidden": 8, **init_args}},
        "data": {"class_path": "cli_classes.Data", "init_args": {"batch_size": 4}},
        "trainer": {"max_epochs": 1, "logger": False},
        "seed_everything": 7,
    }


@dataclass
class Ended:
    """One trial to be put into a study."""

    state: str = "complete"
    value: float | None = None
    params: dict[str, Any] = field(default_factory=lambda: {"lr": 0.01})
    config: dict[str, Any] | None = None
    reason: str = ""
    intermediate: dict[int, float] = field(default_factory=dict)

    def frozen(self, choices: dict[str, list[Any]]) -> optuna.trial.FrozenTrial:
        """Return it as Optuna's record; `choices` are the values that a name has in the whole study."""
        timing = {"started": 1714557600.0, "slot_seconds": 3.0, "fit_seconds": 2.0, "wait_seconds": 0.5}
        outcome = {
            "state": self.state,
            "reason": self.reason,
            "timing": timing,
            "worker": "w0",
            "device": "cpu",
        }
        attrs = {"config": config() if self.config is None else self.config}
        return create_trial(
            state=_OPTUNA[self.state],
            value=self.value,
            params=self.params,
            distributions={name: _distribution(choices[name]) for name in self.params},
            user_attrs=attrs if self.state == "running" else attrs | {"outcome": outcome},
            intermediate_values=self.intermediate,
        )


def _distribution(values: list[Any]) -> optuna.distributions.BaseDistribution:
    if all(isinstance(value, float) for value in values):
        return FloatDistribution(-1e9, 1e9)
    return CategoricalDistribution(values)


def _choices(trials: list[Ended]) -> dict[str, list[Any]]:
    choices: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            known = choices.setdefault(name, [])
            if value not in known:
                known.append(value)
    return choices


def add_sweep(
    path: Path, name: str, trials: list[Ended], *, direction: str = "minimize", **attrs: Any
) -> optuna.Study:
    """Persist a sweep; `attrs` replaces study attributes, None removes one."""
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name=name, direction=direction)
    spec = {
        "name": name,
        "objective": {"metric": "val_loss", "direction": direction, "value": "best"},
        "budget": {"trials": 20, "hours": None},
        "search_space": {"optimizer.init_args.lr": {"type": "float"}},
    }
    written = {
        "lightning_sweeps": {
            "format": 1,
            "versions": {"optuna": optuna.__version__},
            "git_commit": None,
            "created": CREATED,
        },
        "spec": spec,
        "sweep_state": "finished",
        "driver": {"host": socket.gethostname(), "pid": os.getpid()},
        "mlflow": {"tracking_uri": f"sqlite:///{path.parent}/mlflow.db", "experiment": name},
        "files": str(path.parent / "files"),
    }
    for key, value in (written | attrs).items():
        if value is not None:
            study.set_user_attr(key, value)
    choices = _choices(trials)
    study.add_trials([trial.frozen(choices) for trial in trials])
    return study
