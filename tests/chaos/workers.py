"""Workers killed by SIGKILL at every step of a training; the sweep's one driver goes on."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.chaos.checker import check
from tests.chaos.drivers import Run
from tests.chaos.kills import Kill, timed
from tests.chaos.mortal import POINTS
from tests.conftest import sweeps

EPOCHS = 3


def on_ray(*arguments: str, folder: Path, output: Path, kill: None = None) -> int:
    """Runs it as a person does."""
    done = sweeps(*arguments, folder=folder, seconds=900)
    output.write_text(done.stdout)
    return done.returncode


def kill_workers(folder: Path, run: Run = on_ray, points: Sequence[str] = POINTS) -> list[Kill]:
    """Runs a sweep with one kill a trial, and checks that each went on from its checkpoint.

    Args:
        folder: Where.
        run: How.
        points: Where in a training the workers are killed.
    """
    (folder / "mortal.yaml").write_text(yaml.safe_dump({
        "name": "mortal",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": len(points)},
        "model": {"class_path": "tests.chaos.mortal.Mortal"},
        "data": {"class_path": "tests.modules.Data"},
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu", "log_every_n_steps": 4},
        "search_space": {
            "model.init_args.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
            "model.init_args.at": {"type": "categorical", "choices": ["", *POINTS]},
        },
        "start_with": [{"model.init_args.at": at} for at in points],
        "pruner": "none",
        "retries": {"lost_workers": 1},
        "max_failed_trials": 0,  # a loss is no failure
        "resources": {"gpus": 0},
    }))  # fmt: skip
    (folder / "tests").symlink_to(Path("tests").absolute())
    output = folder / "output.txt"
    assert run("launch", "mortal.yaml", folder=folder, output=output, kill=None) == 0, output.read_text()
    died = {path.name.removeprefix("killed-"): float(path.read_text()) for path in folder.glob("killed-*")}
    assert died.keys() == set(points)
    assert f"{len(points)} trials finished: {len(points)} complete" in output.read_text()
    study = check(folder, "mortal", trials=len(points), epochs=EPOCHS, batches=8, log_every=4)
    assert [trial.user_attrs["attempt"] for trial in study.trials] == [1] * len(points)
    logs = [folder / "sweep-files" / "mortal" / f"trial-{n}" / "log.txt" for n in range(len(points))]
    began = {at: begins(log)[-1] for at, log in zip(points, logs, strict=True)}
    assert began.pop("write", 1) in (1, 2)  # the checkpoint may have been whole by then
    # A few milliseconds into the second epoch the disk may not have the checkpoint of the first yet.
    assert began.pop("fit", 0) in (0, 1)
    assert began == {at: 0 if at in ("build", "start") else 1 for at in points if at not in ("write", "fit")}
    return timed([Kill("worker", step, at) for step, at in died.items()], study)


def begins(log: Path) -> list[int]:
    """At which epochs the attempts began that this log tells of."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("begins at epoch ")]
