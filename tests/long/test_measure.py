"""`sweeps check --measure` on real trainings; `tests/test_batch_size.py` has its parts."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from sweeps.planning.check import check
from tests.test_batch_size import PATH, spec


def test_check_measures_advises_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    console = Console(width=200, record=True)
    of = spec(8, limit=64, oom={"most": 16})
    found = check(of, None, console, measures=True)["measured"]
    settings = {(one["num_workers"], one["batch_size"]): one for one in found["settings"]}
    best = next(iter(workers for workers, batch in settings if batch == 16))
    assert settings.keys() == {(0, 8), (1, 8), (2, 8), (best, 4), (best, 16), (best, 32)}
    assert settings[best, 32]["problem"] == "does not fit into memory"
    assert all(one["samples_per_second"] > 0 for place, one in settings.items() if place[1] != 32)
    assert found["largest"]["size"] == 16
    text = console.export_text()
    assert "Throughput" in text
    assert f"largest batch: {PATH}: 16, the most that `oom.most` allows" in text
    assert json.loads(json.dumps(found))
    assert list(tmp_path.iterdir()) == []
