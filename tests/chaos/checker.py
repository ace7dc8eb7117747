"""Compares Optuna, MLflow and the files of a sweep that was killed, trial by trial and step by step."""

from collections import Counter
from pathlib import Path

import optuna
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient


def check(
    folder: Path,
    name: str,
    *,
    trials: int,
    epochs: int,
    batches: int,
    log_every: int,
    storage: str = "",
    shares_files: bool = True,
) -> optuna.Study:
    """Fails unless the sweep looks as if nobody had touched it.

    Args:
        folder: Where it was launched.
        name: Its name.
        trials: How many were asked for.
        epochs: Of each trial, with one validation each.
        batches: Of each epoch.
        log_every: `log_every_n_steps`.
        storage: URL of the study database; `sweeps.db` in the folder without it.
        shares_files: The workers' files lie in the folder.
    """
    study = optuna.load_study(study_name=name, storage=storage or f"sqlite:///{folder}/sweeps.db")
    assert study.user_attrs["sweep_state"] == "finished"
    assert [trial.number for trial in study.trials] == list(range(trials))
    assert Counter(trial.state.name for trial in study.trials) == {"COMPLETE": trials}
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    parent, children = _runs(client, name)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["best_trial"] == str(study.best_trial.number)
    assert parent.data.metrics["trials_complete"] == trials
    assert sorted(children) == list(range(trials))
    for trial in study.trials:
        run = children[trial.number]
        assert run.info.status == "FINISHED", trial.number
        assert run.data.tags["state"] == "complete"
        assert run.data.tags.get("attempt", "0") == str(trial.user_attrs.get("attempt", 0))
        assert run.data.metrics["objective"] == trial.value
        assert run.data.params == {key: str(value) for key, value in trial.params.items()}
        assert list(trial.intermediate_values) == list(range(1, epochs + 1))
        validated = [(point.step, point.value) for point in _history(client, run, "val_loss")]
        steps = [batches * epoch - 1 for epoch in range(1, epochs + 1)]
        assert validated == list(zip(steps, trial.intermediate_values.values(), strict=True)), trial.number
        trained = [point.step for point in _history(client, run, "loss")]
        assert trained == list(range(log_every - 1, batches * epochs, log_every)), trial.number
    files = folder / "sweep-files" / name
    assert not (files / "journal").exists()
    if shares_files:
        kept = sorted(f"{path.parent.name}/{path.name}" for path in files.rglob("*.ckpt*"))
        assert kept == [f"trial-{study.best_trial.number}/{name}" for name in ("best.ckpt", "last.ckpt")]
    return study


def _runs(client: MlflowClient, name: str) -> tuple[Run, dict[int, Run]]:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=50_000)
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    numbers = Counter(int(run.data.tags["trial_number"]) for run in children)
    assert set(numbers.values()) == {1}, f"trials with several runs: {numbers}"
    return parents[0], {int(run.data.tags["trial_number"]): run for run in children}


def _history(client: MlflowClient, run: Run, key: str) -> list[Metric]:
    return sorted(
        client.get_metric_history(run.info.run_id, key), key=lambda point: (point.step, point.timestamp)
    )
