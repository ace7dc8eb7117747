"""Sweeps from a script that has its class in itself; `tests/test_in_python.py` has the rest of Python."""

import subprocess
import sys
from pathlib import Path

from tests.test_in_python import ENVIRONMENT, SWEEP, python

IN_A_SCRIPT = """
    import os, sys
    from sweeps import load_spec, run_sweep

    sys.path.append(os.path.abspath("../elsewhere"))
    from farther import Net

    class Own(Net):
        pass

    if __name__ == "__main__":
        before = dict(os.environ)
        print(run_sweep(load_spec({SWEEP} | {{"model": Own}}), address="local").counts.total())
        new = os.environ.keys() - before.keys() - {{"RAY_CLIENT_MODE", "_MLFLOW_TELEMETRY_SESSION_ID"}}
        assert not new and os.environ.items() >= before.items(), new
        import ray
        ray.init(num_cpus=1, include_dashboard=False)
        print(int(ray.cluster_resources()["CPU"]))
        ray.shutdown()
"""


def test_a_script_has_its_class_in_itself_and_others_where_it_looks_for_them(tmp_path: Path) -> None:
    """And afterwards its environment is as before, and it may start Ray for itself."""
    (there := tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "farther.py").write_text("from tests.modules import Line as Net\n")
    done = python(IN_A_SCRIPT.format(SWEEP=SWEEP), there)
    assert done.stdout.split() == ["2", "1"], done.stderr
    resume = [sys.executable, "-m", "sweeps.cli", "resume", "t", "--trials", "+1"]
    again = subprocess.run(resume, cwd=there, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert "3 trials finished" in again.stderr + again.stdout


WITHOUT_A_GUARD = """
    from sweeps import load_spec, run_sweep
    from tests.modules import Line

    class Own(Line):
        pass

    run_sweep(load_spec({SWEEP} | {{"model": Own}}), address="local")
"""


def test_a_script_without_a_main_guard_is_one_line_and_starts_no_sweep_in_its_worker(tmp_path: Path) -> None:
    done = python(WITHOUT_A_GUARD.format(SWEEP=SWEEP), tmp_path)
    rule = 'put what runs the sweep under `if __name__ == "__main__":`: each worker imports this file'
    assert f"importing 'script' failed: UserError: {rule} (script.py, line 8)" in done.stderr
    assert not (tmp_path / "sweeps.db").exists()
