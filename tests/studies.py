"""Builds studies as `sweeps launch` persists them, without training anything."""

import math
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from dashboards.records import Counts, Parameter, Sweep, SweepSummary, Trial, ranked

optuna.logging.set_verbosity(optuna.logging.WARNING)

CREATED = "2024-05-01T10:00:00+00:00"
_OPTUNA = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "invalid": TrialState.PRUNED,
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
        "driver": {"host": socket.gethostname(), "pid": os.getpid(), "beat": time.time()},
        "mlflow": {"tracking_uri": f"sqlite:///{path.parent}/mlflow.db", "experiment": name},
        "files": str(path.parent / "files"),
    }
    for key, value in (written | attrs).items():
        if value is not None:
            study.set_user_attr(key, value)
    choices = _choices(trials)
    study.add_trials([trial.frozen(choices) for trial in trials])
    return study


def trial_record(number: int, state: str = "complete", value: float | None = None, **more: Any) -> Trial:
    """Return a trial as the reader gives it; `more` replaces what is left empty."""
    empty = {
        "params": {}, "config": {}, "reason": "", "metrics": {}, "timing": {}, "intermediate": {},
        "worker": "", "device": "", "started": None, "ended": None,
    }  # fmt: skip
    return Trial(number=number, state=state, value=value, **(empty | more))


def sweep_record(
    trials: Sequence[Trial],
    *space: Parameter,
    name: str = "digits",
    metric: str = "val_loss",
    direction: str = "minimize",
    **more: Any,
) -> Sweep:
    """Return a sweep as the reader gives it, finished; `more` replaces what is left empty."""
    best = next(iter(ranked(trials, direction)), None)
    summary = SweepSummary(
        name=name,
        state="finished",
        metric=metric,
        direction=direction,
        counts=Counts(**Counter(trial.state for trial in trials)),
        trials_asked=None,
        best_value=best.value if best else None,
        best_number=best.number if best else None,
        started=None,
        updated=None,
        duration_seconds=None,
    )
    empty: dict[str, Any] = {"spec": {}, "files": None, "mlflow": {}, "versions": {}, "git_commit": None}
    return Sweep(summary=summary, trials=tuple(trials), space=space, **(empty | more))


EVIL = "<b>x</b> </script><img src=x onerror=\"alert('1')\"> & \"q\" 'é' \u2028 \x00 日本 {1} $a$"
"""A name or value that is markup wherever it is not escaped."""

REALISTIC_SPACE = (
    Parameter("model.init_args.hidden", "int", 16, 256, log=True),
    Parameter("model.init_args.dropout", "float", 0.0, 0.6),
    Parameter("data.init_args.batch_size", "categorical", choices=(32, 64, 128)),
    Parameter("optimizer", "categorical", choices=("adamw", "sgd")),
    Parameter("optimizer.adamw.init_args.lr", "float", 1e-5, 1e-2, log=True),
    Parameter("optimizer.sgd.init_args.lr", "float", 1e-3, 1.0, log=True),
    Parameter("optimizer.sgd.init_args.momentum", "float", 0.0, 0.99),
)


def realistic_sweep(count: int, steps: int = 20, *, seed: int = 0, **more: Any) -> Sweep:
    """Return a sweep that looks like one of the digits example: conditional, pruned, some trials failed."""
    rng = random.Random(seed)
    trials, free_at = [], [1_700_000_000.0] * 4
    for number in range(count):
        params = _realistic_params(rng, number / count)
        trial = _realistic_trial(rng, number, steps, params, free_at)
        trials.append(trial)
    known = {"spec": {"sampler": "tpe", "pruner": "hyperband", "price_per_hour": 1.5},
             "versions": {"optuna": optuna.__version__}, "git_commit": "0123456789abcdef"}  # fmt: skip
    return sweep_record(trials, *REALISTIC_SPACE, **(known | more))


def _realistic_params(rng: random.Random, learned: float) -> dict[str, Any]:
    params: dict[str, Any] = {
        "model.init_args.hidden": round(math.exp(rng.uniform(math.log(16), math.log(256)))),
        "model.init_args.dropout": rng.uniform(0.0, 0.6 - 0.3 * learned),
        "data.init_args.batch_size": rng.choice((32, 64, 128)),
        "optimizer": rng.choice(("adamw", "sgd")),
    }
    if params["optimizer"] == "adamw":
        params["optimizer.adamw.init_args.lr"] = 10 ** rng.uniform(-5 + 2 * learned, -2)
        return params
    params["optimizer.sgd.init_args.lr"] = 10 ** rng.uniform(-3 + learned, 0)
    return params | {"optimizer.sgd.init_args.momentum": rng.uniform(0.0, 0.99)}


def _realistic_trial(
    rng: random.Random, number: int, steps: int, params: dict[str, Any], free_at: list[float]
) -> Trial:
    lr = params.get("optimizer.adamw.init_args.lr", params.get("optimizer.sgd.init_args.lr", 1.0) / 50)
    floor = 0.05 + 0.08 * (math.log10(lr) + 2.5) ** 2 + 0.1 * params["model.init_args.dropout"]
    losses = [floor + 2.2 * math.exp(-step / 4) + rng.gauss(0, 0.01) for step in range(1, steps + 1)]
    draw = rng.random()
    state = "failed" if draw < 0.02 else "diverged" if draw < 0.04 else "complete"
    if state == "complete" and steps > 2 and losses[2] > 1.24 and number > 5:
        state = "pruned"
    done = {"complete": steps, "pruned": rng.choice((2, 6)) if steps > 6 else 1, "diverged": 1, "failed": 0}
    intermediate = dict(enumerate(losses[: done[state]], 1))
    if state == "diverged":
        intermediate[1] = math.nan
    slot = free_at.index(min(free_at))
    seconds = 0.6 + 0.3 * len(intermediate) * rng.uniform(0.8, 1.2)
    timing = {"started": free_at[slot] + 0.2, "slot_seconds": seconds, "fit_seconds": seconds - 0.5,
              "wait_seconds": 0.05}  # fmt: skip
    free_at[slot] += seconds + 0.2
    reasons = {"pruned": f"pruned at validation {len(intermediate)}", "complete": "",
               "diverged": "val_loss became NaN at validation 1",
               "failed": "RuntimeError: CUDA out of memory, tried to allocate 2.00 GiB"}  # fmt: skip
    value = {"complete": min(losses), "pruned": losses[len(intermediate) - 1]}.get(state)
    full = config(lr, hidden=params["model.init_args.hidden"], dropout=params["model.init_args.dropout"])
    full["trainer"] = {"max_epochs": steps, "logger": False, "callbacks": [{"class_path": "x.Y"}]}
    return trial_record(number, state, value, params=params, config=full, reason=reasons[state],
                        intermediate=intermediate, timing=timing, worker=f"worker-{slot + 1}",
                        device="cpu")  # fmt: skip


def persist(path: Path, sweep: Sweep) -> None:
    """Write the trials of a record into a study as `sweeps launch` would have."""
    add_sweep(
        path, sweep.name, [], spec=sweep.spec | {"objective": {"metric": sweep.summary.metric}}, mlflow={}
    )
    study = optuna.load_study(study_name=sweep.name, storage=f"sqlite:///{path}")
    distributions = {parameter.name: _distribution_of(parameter) for parameter in sweep.space}
    study.add_trials(
        [
            create_trial(
                state=_OPTUNA[trial.state],
                value=trial.value,
                params=trial.params,
                distributions={name: distributions[name] for name in trial.params},
                user_attrs={
                    "config": trial.config,
                    "outcome": {
                        "state": trial.state, "reason": trial.reason, "metrics": trial.metrics,
                        "timing": trial.timing, "worker": trial.worker, "device": trial.device,
                    },
                },
                intermediate_values=trial.intermediate,
            )
            for trial in sweep.trials
        ]
    )  # fmt: skip


def _distribution_of(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    if parameter.kind == "categorical" or parameter.low is None or parameter.high is None:
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
