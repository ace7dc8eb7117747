"""The contestants of `tests.benchmarks.peers`, each run in a process of its own and an empty folder.

All train the same fixed list of digits configurations with Lightning: the same classes, batches, epochs, one
thread a slot, best and last checkpoint after every epoch. Each leaves `trials.jsonl`, a line a trial: when it
began and ended (seconds since the epoch) and the seconds inside `Trainer.fit`, waiting for reports included.
"""

import functools
import json
import logging
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

EPOCHS, BATCH_SIZE, SLOTS = 5, 64, 2
Config = dict[str, Any]
"""`lr`, `hidden`, `dropout`."""


def note(folder: str, **what: float) -> None:
    """Appends one trial's times; a short line is written in one piece."""
    with (Path(folder) / "trials.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\n")


def fit(config: Config, folder: str, place: str, report: Any = None) -> dict[str, float]:
    """Trains one configuration as a careful user would write it; gives what was logged last."""
    import torch
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from sweeps.examples.digits import DigitsClassifier, DigitsDataModule

    class Module(DigitsClassifier):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=config["lr"])

    class Reports(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if report is not None and not trainer.sanity_checking:
                report({key: float(value) for key, value in trainer.callback_metrics.items()})

    began = time.time()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = Module(hidden=config["hidden"], dropout=config["dropout"])
    checkpoint = ModelCheckpoint(place, monitor="val_loss", save_last=True, save_weights_only=False)
    trainer = Trainer(
        max_epochs=EPOCHS, log_every_n_steps=10, logger=False, callbacks=[Reports(), checkpoint],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, accelerator="cpu",
    )  # fmt: skip
    started = time.time()
    trainer.fit(module, DigitsDataModule(BATCH_SIZE))
    note(folder, began=began, ended=time.time(), fit=time.time() - started)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


def quiet() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def ours(configs: list[Config]) -> None:
    """A sweep file with the list as starting points, everything else as it is by default."""
    import optuna

    from sweeps import load_spec, run_sweep

    names = {"lr": "optimizer.init_args.lr", "hidden": "model.init_args.hidden",
             "dropout": "model.init_args.dropout"}  # fmt: skip
    sweep = {
        "name": "engine",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": len(configs)},
        "model": "sweeps.examples.digits.DigitsClassifier",
        "data": {"class_path": "sweeps.examples.digits.DigitsDataModule",
                 "init_args": {"batch_size": BATCH_SIZE}},
        "trainer": {"max_epochs": EPOCHS, "log_every_n_steps": 10},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
        "search_space": {
            names["lr"]: {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
            names["hidden"]: {"type": "int", "low": 16, "high": 256},
            names["dropout"]: {"type": "float", "low": 0.0, "high": 0.6},
        },
        "start_with": [{names[key]: value for key, value in config.items()} for config in configs],
        "pruner": "none",
        "resources": {"cpus": 1, "gpus": 0},
    }  # fmt: skip
    Path("sweep.yaml").write_text(json.dumps(sweep))
    run_sweep(load_spec("sweep.yaml"))
    study = optuna.load_study(study_name="engine", storage="sqlite:///sweeps.db")
    for trial in study.trials:
        timing = trial.user_attrs["outcome"]["timing"]
        note(".", began=timing["started"], ended=timing["started"] + timing["slot_seconds"],
             fit=timing["fit_seconds"])  # fmt: skip


def ray_tune(configs: list[Config], *, reuse: bool) -> None:
    """Ray Tune with OptunaSearch and its MLflow callback, as its documentation shows."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    folder = str(Path.cwd())

    def train(config: Config) -> None:
        quiet()
        fit(config, folder, str(Path.cwd() / "checkpoints"), tune.report)

    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    space = {"lr": tune.loguniform(1e-5, 1e-1), "hidden": tune.randint(16, 257),
             "dropout": tune.uniform(0.0, 0.6)}  # fmt: skip
    search = OptunaSearch(metric="val_loss", mode="min", points_to_evaluate=configs, seed=0)
    tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(metric="val_loss", mode="min", search_alg=search, reuse_actors=reuse,
                                    num_samples=len(configs), max_concurrent_trials=SLOTS),
        run_config=tune.RunConfig(
            storage_path=folder, name="tune", verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db",
                                            experiment_name="tune")]),
    ).fit()  # fmt: skip


def optuna_process(folder: str, trials: int) -> None:
    """One of two processes that share a study, with optuna-integration's MLflow callback."""
    quiet()
    import mlflow
    import optuna
    from optuna_integration import MLflowCallback

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tracking = f"sqlite:///{folder}/mlflow.db"
    callback = MLflowCallback(tracking_uri=tracking, metric_name="val_loss", create_experiment=True)
    study = optuna.load_study(study_name="pair", storage=f"sqlite:///{folder}/optuna.db")

    @callback.track_in_mlflow()  # type: ignore[untyped-decorator]
    def objective(trial: optuna.Trial) -> float:
        config = {"lr": trial.suggest_float("lr", 1e-5, 1e-1, log=True),
                  "hidden": trial.suggest_int("hidden", 16, 256),
                  "dropout": trial.suggest_float("dropout", 0.0, 0.6)}  # fmt: skip
        steps = iter(range(EPOCHS))

        def report(metrics: dict[str, float]) -> None:
            step = next(steps)
            trial.report(metrics["val_loss"], step)
            mlflow.log_metrics(metrics, step=step)

        return fit(config, folder, f"{folder}/trial-{trial.number}", report)["val_loss"]

    study.optimize(objective, n_trials=trials, callbacks=[callback])


def optuna_pair(configs: list[Config]) -> None:
    """Plain Optuna in two processes on one SQLite study."""
    import mlflow
    import optuna

    folder = str(Path.cwd())
    study = optuna.create_study(storage=f"sqlite:///{folder}/optuna.db", study_name="pair")
    for config in configs:
        study.enqueue_trial(config)
    mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").create_experiment(
        "pair"
    )  # or their migrations collide
    in_two_processes(optuna_process, folder, len(configs) // SLOTS)


def floor_process(folder: str, configs: "multiprocessing.Queue[Config | None]") -> None:
    """A warm process without any platform."""
    quiet()
    for index, config in enumerate(iter(configs.get, None)):
        fit(config, folder, f"{folder}/{os.getpid()}-{index}")


def floor(configs: list[Config]) -> None:
    """Two processes that take the next configuration from a queue: nothing is searched, kept or recorded."""
    waiting: multiprocessing.Queue[Config | None] = multiprocessing.get_context("spawn").Queue()
    for item in [*configs, None, None]:
        waiting.put(item)
    in_two_processes(floor_process, str(Path.cwd()), waiting)


def in_two_processes(function: Any, *arguments: Any) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=function, args=arguments) for _ in range(SLOTS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


CONTESTANTS: dict[str, Callable[[list[Config]], None]] = {
    "floor": floor,
    "lightning-sweeps": ours,
    "Optuna, two processes": optuna_pair,
    "Ray Tune, reuse_actors": functools.partial(ray_tune, reuse=True),
    "Ray Tune, default": functools.partial(ray_tune, reuse=False),
}

if __name__ == "__main__":
    quiet()
    CONTESTANTS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
