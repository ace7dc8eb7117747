"""The README's blocks and every shipped YAML file are run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dashboards import list_sweeps
from sweeps.loading import load_spec

README = Path("README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHIPPED = sorted(Path("sweeps").rglob("*.yaml"))  # the catalogue has its own test


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_the_make_targets_that_the_readme_names_are_there() -> None:
    targets = set(re.findall(r"^(\w+):", Path("Makefile").read_text(), re.MULTILINE))
    named = {match for text in blocks("bash") for match in re.findall(r"^make (\w+)", text, re.MULTILINE)}
    assert named == {"quickstart", "test"}
    assert named <= targets


def test_the_path_through_the_readme_works_to_the_letter(tmp_path: Path) -> None:
    """Writes the files that the README shows, then runs its commands in their order."""
    for text in (*blocks("python"), *blocks("yaml")):
        if name := re.match(r"# (\S+\.(py|yaml))\n", text):
            (tmp_path / name.group(1)).write_text(text)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    unnamed = [text for text in blocks("python") if not text.startswith("# ")]
    scripts = [text for text in blocks("bash") if not text.startswith("make ")]
    for script in scripts:
        done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    for text in unnamed:
        done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Counter" in done.stdout
    [moons, _] = list_sweeps(tmp_path / "sweeps.db")
    assert (moons.counts.finished, moons.counts.failed) == (12, 0)
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["model"]["class_path"] == "moons.Net"


def test_the_readmes_search_space_is_one() -> None:
    [text] = [text for text in blocks("yaml") if text.startswith("search_space:")]
    spec = load_spec({
        "name": "readme", "objective": {"metric": "x", "direction": "minimize"}, "budget": {"trials": 1},
        "model": "Model", **yaml.safe_load(text),
    })  # fmt: skip
    assert "lr_scheduler.cosine.init_args.T_max" in spec.space.names


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in SHIPPED])
def test_every_shipped_sweep_file_is_right(path: Path) -> None:
    assert load_spec(path).budget.trials
