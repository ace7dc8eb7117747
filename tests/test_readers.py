"""A sweep that opens its own study while it runs; everything else that does so is in `tests.long`."""

import subprocess
import sys
from pathlib import Path

from dashboards import load

DRIVER_THAT_READS = """
import os, sys
from pathlib import Path
import optuna
from dashboards import load, tracking
from sweeps.storages.storage import open_storage
from tests.studies import Ended, add_sweep
database = Path(sys.argv[1])
open_storage(f"sqlite:///{database}").close()
add_sweep(database, "s", [Ended(value=1.0)])
study = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{database}"))
for _ in range(2):
    study.tell(study.ask(), 1.0)
    print(len(load(database, "s").trials), flush=True)
    sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


def test_a_sweep_that_looks_at_itself_is_seen_by_others_and_survives_its_death(tmp_path: Path) -> None:
    database = tmp_path / "sweeps.db"
    seen = "import sys; from dashboards import load; print(len(load(sys.argv[1], 's').trials))"
    command = [sys.executable, "-c", DRIVER_THAT_READS, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdin
        assert driver.stdout
        for trials in (2, 3):
            assert driver.stdout.readline() == f"{trials}\n"
            look = [sys.executable, "-c", seen, str(database)]
            assert subprocess.check_output(look, text=True) == f"{trials}\n"
            driver.stdin.write("\n")
            driver.stdin.flush()
    assert driver.returncode == -9
    assert len(load(database, "s").trials) == 3
