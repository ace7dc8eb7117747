"""`batch_size: auto` and `sweeps check --measure`: the largest batch that fits, and what trains fastest."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from sweeps.context import TrialContext
from sweeps.errors import SpecError
from sweeps.planning.batch_size import Largest, noted, search, settled
from sweeps.planning.measure import Setting, advice
from sweeps.planning.plan import context_of
from sweeps.planning.processes import Died
from sweeps.study.persistence import stored_spec
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training import trying
from sweeps.training.memory import CONTEXT_BYTES, share_of_gpu, share_of_machine
from sweeps.training.tried import Tried
from sweeps.training.trying import fits, speed

PATH = "data.init_args.batch_size"


def spec(batch_size: Any = "auto", limit: int = 60, **changes: Any) -> SweepSpec:
    """A sweep of `tests.modules.Hungry` of width 4: a batch fits up to a quarter of the limit."""
    return load_spec({
        "name": "auto", "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 1}, "trainer": {"max_steps": 8, "accelerator": "cpu"},
        "model": {"class_path": "tests.modules.Hungry", "init_args": {"limit": limit}},
        "data": {"class_path": "tests.modules.Loading", "init_args": {"batch_size": batch_size}},
        "search_space": {"model.init_args.halved": [True, False]}, "sampler": "random", "pruner": "none",
        "resources": {"gpus": 0},
    } | changes)  # fmt: skip


@pytest.mark.parametrize("start", [1, 8, 500])
@pytest.mark.parametrize("capacity", [1, 2, 7, 8, 63, 64, 65, 1000, 12_345])
def test_it_finds_the_largest_to_an_eighth_in_few_tries(capacity: int, start: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= capacity

    found = search(fits, start, lambda: float("inf"))
    assert found is not None
    assert capacity * 7 / 8 - 1 <= found <= capacity
    assert len(tried) == len(set(tried)) <= 20
    assert sum(size > capacity for size in tried) <= 13


def test_it_stops_at_the_most_and_says_so_where_nothing_fits() -> None:
    assert search(lambda size: True, 8, lambda: 100) == 100
    assert search(lambda size: True, 8, lambda: 8) == 8
    assert search(lambda size: False, 8, lambda: 100) is None
    assert str(Largest("data.b", None, ((1, False),), "it raised")) == "data.b: no batch fits: it raised"


def test_auto_stands_for_a_number_until_it_is_known() -> None:
    of = spec()
    assert of.auto_batch_size == PATH
    assert of.base["data"]["init_args"]["batch_size"] == 8
    assert of.data is not None
    assert of.data["init_args"]["batch_size"] == "auto"
    assert spec(16).auto_batch_size is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_space": {PATH: [8, 16]}}, f"{PATH}: is searched, so `auto` would never be used"),
        ({"oom": {"most": 0}}, "oom.most: input should be greater than 0"),
    ],
)
def test_a_mistake_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        spec(**changes)
    assert message in str(error.value)


def test_a_share_of_the_machine_is_held_to() -> None:
    assert 0 < share_of_machine(1) <= share_of_machine(10_000)
    code = (
        "from sweeps.training.memory import held_to\n"
        "with held_to(100 * 2**20):\n"
        "    bytearray(50 * 2**20)\n"
        "    try:\n        bytearray(200 * 2**20)\n"
        "    except MemoryError:\n        print('held')\n"
        "bytearray(200 * 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "held\n"


@pytest.mark.parametrize(("processes", "gib"), [(2, 80), (4, 24), (8, 8), (20, 8)])
def test_the_shares_of_a_gpu_leave_room_for_what_torch_does_not_count(processes: int, gib: int) -> None:
    total = gib * 2**30
    share = share_of_gpu(1 / processes, total)
    assert processes * (share * total + CONTEXT_BYTES) <= total or share == 1 / processes / 2
    assert 1 / processes / 2 <= share < 1 / processes


class Room:
    """Workers in which batches of at most so many samples fit; the others end them."""

    def __init__(self, most: int, samples: int = 64) -> None:
        self.most, self.samples = most, samples

    def map(
        self,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        timeout_seconds: float = math.inf,
    ) -> list[Any]:
        sizes = [config["data"]["init_args"]["batch_size"] for _, config, _ in arguments]
        return [Tried(self.samples, 2) if size <= self.most else Died("gone") for size in sizes]


def test_the_number_takes_the_place_of_auto_and_is_noted() -> None:
    of = spec()
    settled_spec, found = settled(Room(15), context_of(of, Path("nowhere"), 0.0), of)
    assert found is not None
    assert found.tried == ((8, True), (16, False), (12, True), (14, True), (15, True))
    assert str(found).startswith(f"{PATH}: 15, the largest that fits into a slot's ")
    assert settled_spec.base["data"]["init_args"]["batch_size"] == 15
    assert stored_spec(settled_spec)["data"]["init_args"]["batch_size"] == 15  # what `resume` goes on with
    assert settled_spec.auto_batch_size is None
    assert json.loads(json.dumps(noted(found)))["batch_size"]["size"] == 15
    same = spec(16)
    assert settled(Room(0), context_of(same, Path("nowhere"), 0.0), same) == (same, None)


def test_all_training_data_may_fit_and_nothing_may() -> None:
    of = spec()
    context = context_of(of, Path("nowhere"), 0.0)
    assert ": 64, all training data: " in str(settled(Room(1000), context, of)[1])
    with pytest.raises(SpecError, match=r"no batch fits: a slot's .* is too little for one sample"):
        settled(Room(0), context, of)


@pytest.mark.parametrize("name", ["tests.habits.WarmsUp", "tests.habits.WarmsUpByHand"])
def test_a_schedule_that_fits_the_length_of_the_training_only_does_not_end_a_try(name: str) -> None:
    context = TrialContext("val_loss", True, "best", Path("nowhere"), (str(Path.cwd()),))
    config = {
        "model": {"class_path": name},
        "data": {"class_path": "tests.modules.Data", "init_args": {"size": 16}},  # too few to measure
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }  # fmt: skip
    assert fits(context, config, 0) == Tried(16, 2, 0.0)
    measured = speed(context, config)
    assert measured.problem == ""
    assert measured.samples_per_second > 0


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        pytest.param([Setting(0, 32, 100.0), Setting(2, 32, 180.0), Setting(2, 64, 250.0)],
                     ["num_workers 2: 1.8 times as fast as 0", "batch_size 64: 1.4 times"], id="both"),
        pytest.param([Setting(0, 32, 100.0), Setting(2, 32, 105.0), Setting(2, 64, 110.0)],
                     ["num_workers 0: none is clearly faster", "batch_size 32: none is clearly faster"],
                     id="neither"),
        pytest.param([Setting(None, None, 100.0)], [], id="no parameters"),
        pytest.param([Setting(None, 32, 0.0, "ValueError: no"), Setting(None, 64, 10.0)],
                     ["the file's own settings were not measured: ValueError: no"], id="it raises"),
    ],
)  # fmt: skip
def test_advice_is_given_where_it_is_clear(settings: list[Setting], lines: list[str]) -> None:
    found = list(advice(settings))
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


def test_the_benchmark_of_mnist_1d_is_a_sweep() -> None:
    raw = yaml.safe_load(Path("tests/benchmarks/mnist_1d.yaml").read_text())
    assert load_spec(raw | {"name": "mnist_1d"}).budget.trials == 5


def test_a_speed_is_measured_when_the_gpu_is_through(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda")  # there is none here: this is one that is a fifth of a second behind
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: time.sleep(0.2))
    monkeypatch.setattr(trying, "SECONDS", 0.01)
    clock, trainer = trying._Clock(measures=True), SimpleNamespace(should_stop=False)
    batches = 0
    while not trainer.should_stop:
        batches += 1
        time.sleep(0.001)
        clock.on_train_batch_end(trainer, SimpleNamespace(device=device), None, torch.empty(8, 1), 0)  # type: ignore[arg-type]
    assert trying.WARM_UP < batches < trying.MOST_BATCHES
    assert clock.samples_per_second < 8 * batches / 0.2
