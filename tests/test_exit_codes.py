"""What a script learns from how a command ended: to go on, to try again, or to call a person."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

from sweeps.control import LeaseLost
from sweeps.driver import drive
from sweeps.errors import ClusterLost, CutShort, SweepFailed, TrialsFail, UserError
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.storages.patience import StudyGone, StudyUnwritable
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from tests import fakes
from tests.conftest import typed
from tests.live_sweeps import places_in

USED = "sweeps: test: its budget of 3 trials is used; `--trials +3` asks for more\n"


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder with a sweep whose budget is used."""
    where, spec = places_in(tmp_path), fakes.spec(budget={"trials": 3})
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": "test", "key": "key", "artifacts": ""}
    notes = {"files": str(where.files), "spool": str(where.files), "mlflow": mlflow}
    study = create_study(spec, open_storage(where.storage), validations=4, notes=notes)
    drive(study, spec, where, ScriptedExecutor(fakes.falling, slots=1, length=4), [])
    where.files.mkdir(exist_ok=True)
    return tmp_path


def test_to_resume_what_is_at_its_end_is_no_mistake_unless_more_was_asked_for(finished: Path) -> None:
    done = typed("resume", "test", folder=finished)
    assert (done.stdout, done.stderr) == ("", USED)
    assert typed("resume", "test", "--quiet", folder=finished).stderr == ""
    said = json.loads(typed("resume", "test", "--json", folder=finished).stdout)
    assert said == {"name": "test", "nothing_left": USED.removeprefix("sweeps: ").strip()}
    assert typed("resume", "test", "--trials", "3", folder=finished, code=2).stderr == USED


def test_a_cluster_that_is_away_is_worth_another_try_for_a_resumption(finished: Path) -> None:
    asked = ["resume", "test", "--trials", "+1", "--address", "127.0.0.1:1"]
    done = typed(*asked, folder=finished, code=75)
    assert done.stderr.startswith("sweeps: --address 127.0.0.1:1: no Ray cluster there (Connection refused)")


@pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="needs the extra `postgres`")
def test_so_is_a_database_that_is_away_and_for_a_person_who_looks_it_is_a_mistake(tmp_path: Path) -> None:
    url = "postgresql://me:pw@127.0.0.1:1/sweeps"
    assert "onnection refused" in typed("resume", "m", "--storage", url, folder=tmp_path, code=75).stderr
    assert "onnection refused" in typed("status", "m", "--storage", url, folder=tmp_path, code=2).stderr


def test_what_cuts_a_sweep_short_is_told_from_trials_that_fail() -> None:
    assert all(issubclass(kind, CutShort) for kind in (StudyUnwritable, StudyGone, LeaseLost, ClusterLost))
    assert not issubclass(TrialsFail, CutShort)
    assert issubclass(CutShort, SweepFailed)
    assert not issubclass(CutShort, UserError)


LOOP, JOB = re.findall(r"^  ```bash\n(.*?)^  ```", Path("README.md").read_text(), re.MULTILINE | re.DOTALL)

STAND_INS = """
sleep() {{ echo sleeps; }}
scontrol() {{ echo "$1"; }}
timeout() {{ shift; "$@"; }}
codes=({codes})
sweeps() {{ local code=${{codes[0]}}; codes=("${{codes[@]:1}}"); echo "$1 ends with $code"; return $code; }}
"""


@pytest.mark.parametrize(
    ("script", "codes", "said"),
    [
        pytest.param(LOOP, "75 75 0", ["resume 75", "sleeps", "resume 75", "sleeps", "resume 0"], id="until"),
        pytest.param(LOOP, "75 1", ["resume 75", "sleeps", "resume 1"], id="until it fails"),
        pytest.param(JOB, "2 0", ["resume 2", "launch 0"], id="launched"),
        pytest.param(JOB, "2 124", ["resume 2", "launch 124", "requeue"], id="launched, and no time left"),
        pytest.param(JOB, "2 2", ["resume 2", "launch 2"], id="another job runs it"),
        pytest.param(JOB, "124", ["resume 124", "requeue"], id="no time left"),
        pytest.param(JOB, "75", ["resume 75", "requeue"], id="cut short"),
        pytest.param(JOB, "0", ["resume 0"], id="done"),
        pytest.param(JOB, "1", ["resume 1"], id="failed, and so does the job"),
        pytest.param(JOB, "143", ["resume 143"], id="cancelled"),
    ],
)
def test_the_readmes_loops_try_again_and_end(script: str, codes: str, said: list[str]) -> None:
    text = STAND_INS.format(codes=codes) + script
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.replace(" ends with", "").split("\n")[:-1] == said
    assert script == LOOP or done.returncode == int(codes.split()[-1])
