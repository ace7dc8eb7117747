"""Every example trains, as two trials of its own sweep file, made small."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.planning.plan import context_of, inspect
from sweeps.records import Answer, Report, State
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.trial import make_trial_function
from sweeps.training.worker import Worker

EXAMPLES = Path("sweeps/examples")
SMALL = ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=2",
         "trainer.accelerator=cpu"]  # fmt: skip
needs_extra = pytest.mark.skipif(
    not (os.environ.get("CI") or all(importlib.util.find_spec(name) for name in ("kornia", "mnist1d"))),
    reason="needs [examples]",
)


def arff(path: Path) -> None:
    """Twelve images of MNIST's form, as OpenML's files are written."""
    random = np.random.default_rng(0)
    lines = ["@RELATION mnist_784"]
    lines += [f"@ATTRIBUTE pixel{number} REAL" for number in range(1, 785)]
    lines += ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "@DATA"]
    for label in range(12):
        lines.append(",".join(map(str, [*random.integers(0, 256, 784), label % 10])))
    path.write_text("\n".join(lines) + "\n")


def npz(path: Path) -> None:
    """Twelve images of CIFAR-10's form."""
    random = np.random.default_rng(0)
    np.savez(path, data=random.integers(0, 256, (12, 3072)), target=(np.arange(12) % 10).astype(str))


def trained(spec: SweepSpec, files: Path, count: int = 2) -> None:
    study = Study(create_study(spec, None, validations=1), spec)
    context = context_of(spec, files, 0.0)
    worker = Worker(lambda: make_trial_function(context), "worker-0")
    for _ in range(count):
        assignment = study.ask()
        assert assignment is not None
        event = worker.exchange(assignment)
        while isinstance(event, Report):
            event = worker.exchange(Answer(event.number, False))
        study.tell(event)
        assert event.state is State.COMPLETE, event.reason


@pytest.mark.parametrize(
    "file",
    [
        "digits.yaml",
        "gan.yaml",
        "text.yaml",
        "project/sweep.yaml",
        pytest.param("mnist_1d.yaml", marks=needs_extra),
    ],
)
def test_an_example_trains(tmp_path: Path, file: str) -> None:
    settings: list[str] = list(SMALL)
    if file == "mnist_1d.yaml":
        settings.append("data.init_args.samples=200")
    spec = load_spec(EXAMPLES / file, overrides=settings)
    trained(spec, tmp_path)


@needs_extra
@pytest.mark.parametrize(("file", "write"), [("mnist.yaml", arff), ("cifar10.yaml", npz)])
def test_images_train_on_a_local_file_of_openmls_form(tmp_path: Path, file: str, write: Any) -> None:
    path = tmp_path / ("data.arff" if write is arff else "data.npz")
    write(path)
    settings = [*SMALL, f"data.init_args.source={path}", "data.init_args.batch_size=4"]
    trained(load_spec(EXAMPLES / file, overrides=settings), tmp_path)


@needs_extra
def test_only_training_batches_are_augmented(tmp_path: Path) -> None:
    import torch

    from sweeps.examples.images import ImagesDataModule

    npz(tmp_path / "data.npz")
    data = ImagesDataModule(str(tmp_path / "data.npz"), channels=3, degrees=20.0)
    data.setup()
    assert [len(data.train_set), len(data.validation_set)] == [10, 2]
    images, labels = data.train_set[:4]
    assert images.shape == (4, 3, 32, 32)
    assert (images.min() >= 0, images.max() <= 1) == (True, True)

    class Stage:
        training = True

    data.trainer = Stage()  # type: ignore[assignment]
    assert not torch.equal(data.on_after_batch_transfer((images, labels), 0)[0], images)
    Stage.training = False
    assert torch.equal(data.on_after_batch_transfer((images, labels), 0)[0], images)


def test_the_gans_check_is_quiet(tmp_path: Path) -> None:
    spec = load_spec(EXAMPLES / "gan.yaml")
    found = inspect(context_of(spec, tmp_path, 0.0), spec, False)
    assert found.problem is None
