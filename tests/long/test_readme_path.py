"""The README's commands, in their order, on the files that it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from dashboards import list_sweeps
from tests.test_readme import blocks


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
    printed = ""
    for text in unnamed:
        done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        printed += done.stdout
    assert "Counter" in printed
    assert "class_path: moons.Net" in printed
    [moons, _] = list_sweeps(tmp_path / "sweeps.db")
    assert (moons.counts.finished, moons.counts.failed) == (12, 0)
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["model"]["class_path"] == "moons.Net"
