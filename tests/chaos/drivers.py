"""Drivers killed at every step of their life, and `sweeps resume` after it, as a person would type it."""

import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from tests.chaos.checker import check
from tests.chaos.forked import Template
from tests.chaos.kills import Kill, timed
from tests.chaos.points import Point

TRIALS, EPOCHS = 3, 3
FRESH = ("_connect", "_create", "_create_database")
"""Points that are met only where there is no database yet."""


def sweep_file(folder: Path, name: str) -> None:
    """Three short trials, two of them with known parameters."""
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({
        "name": name,
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": TRIALS},
        "model": {"class_path": "tests.modules.Line"},
        "data": {"class_path": "tests.modules.Data"},
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu", "log_every_n_steps": 4},
        "search_space": {"model.init_args.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True}},
        "start_with": [{"model.init_args.lr": 0.01}, {"model.init_args.lr": 0.02}],
        "pruner": "none",
        "resources": {"gpus": 0},
    }))  # fmt: skip
    if not (folder / "tests").exists():
        (folder / "tests").symlink_to(Path("tests").absolute())


Run = Callable[..., int]
"""Runs `sweeps` with arguments in a `folder`, its `output` to a file, a kill armed; gives the exit code."""


def on_ray(*arguments: str, folder: Path, output: Path, kill: dict[str, Any] | None) -> int:
    """Runs it on a Ray cluster of its own."""
    module = ["tests.chaos.points", json.dumps(kill)] if kill else ["sweeps.cli"]
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SWEEPS_"))}
    with output.open("a") as log:
        return subprocess.run(
            [sys.executable, "-m", *module, *arguments], cwd=folder, env=ours | {"OMP_NUM_THREADS": "1"},
            stdout=log, stderr=log, timeout=280, check=False,
        ).returncode  # fmt: skip


class Yard:
    """A folder of many sweeps, and two processes that fork their drivers.

    Args:
        folder: Where all sweeps are.
        storage: URL of the study database; without it, `sweeps.db` in the folder.
        templates: Those two; without them, two of its own.
    """

    def __init__(self, folder: Path, storage: str = "", templates: Sequence[Template] = ()) -> None:
        self._folder, self._storage = folder, storage
        self._own = [] if templates else [Template(), Template()]
        self._free: queue.SimpleQueue[Template] = queue.SimpleQueue()
        for template in templates or self._own:
            self._free.put(template)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for template in self._own:
            template.close()

    def survive(self, name: str, *kills: Point) -> list[Kill]:
        """Runs a sweep whose drivers are killed at these points, one after the other, and checks it."""
        folder = self._folder
        if kills[0].target.endswith(FRESH):
            folder = folder / f"{name}-folder"
            folder.mkdir()
        template = self._free.get()
        try:
            return survive(template.run, folder, name, *kills, storage=self._storage)
        finally:
            self._free.put(template)


def survive(run: Run, folder: Path, name: str, *points: Point, storage: str = "") -> list[Kill]:
    """Runs a sweep whose drivers are killed at these points, one after the other, and checks it."""
    sweep_file(folder, name)
    output = folder / f"{name}.txt"
    kills = []
    for point in points:
        code = _go_on(run, folder, name, point, storage)
        kills.append(Kill("driver", point.step, time.time()))
        assert code == -9, f"{point} was not met: exit code {code}\n{output.read_text()[-2000:]}"
    code = _go_on(run, folder, name, None, storage)
    said = output.read_text()
    assert code == 0, f"{points}\n{said[-3000:]}"
    assert "not everything is in MLflow" not in said, f"{points}\n{said[-3000:]}"
    study = check(folder, name, trials=TRIALS, epochs=EPOCHS, batches=8, log_every=4, storage=storage)
    return timed(kills, study)


def _go_on(run: Run, folder: Path, name: str, point: Point | None, storage: str) -> int:
    """What a person does: resumes, and launches it if there is no such sweep."""
    output, kill = folder / f"{name}.txt", point.plain() if point else None
    options = ["--storage", storage] if storage else []
    if output.exists():
        code = run("resume", name, *options, folder=folder, output=output, kill=kill)
        last = output.read_text().splitlines()[-1]
        if code == 2 and "is used; `--trials +" in last:
            return 0  # it was done
        if not (code == 2 and f"no sweep {name!r}" in last):
            return code
    return run("launch", f"{name}.yaml", *options, folder=folder, output=output, kill=kill)
