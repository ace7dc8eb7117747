"""What of a project's folders goes to the nodes of a cluster."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sweeps.errors import UserError
from sweeps.executors import code

PROJECT = [
    "net.py", "pkg/__init__.py", "pkg/deep/data.py", "pkg/words.txt", "conf/base.yaml",  # these go
    "sweeps.db", "sweeps.db-wal", "mlflow.db", "sweep-files/x/trial-0/best.ckpt", "mlruns/0/meta.yaml",
    "mlartifacts/x.txt", ".git/config", ".env", "env/pyvenv.cfg", "my-env/pyvenv.cfg", "my-env/lib/a.py",
    "data/train.csv", "pkg/__pycache__/net.pyc", "weights.pt", "pkg/table.parquet", "Datasets/a.csv",
    "caf\udce9.py",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in PROJECT:
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}", errors="replace")
    return tmp_path / "project"


def test_code_goes_and_records_checkpoints_data_and_environments_stay(project: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "more.py").write_text("x = 1")
    names = code.pack([str(project), str(tmp_path / "other")], tmp_path / "code.zip")
    assert names == ("0", "1")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        there = {name for name in archive.namelist() if not name.endswith("/")}
        assert archive.read("0/net.py") == b"text of net.py"
    assert there == {f"0/{name}" for name in PROJECT[:5]} | {"1/more.py"}


def test_pipes_and_links_that_lead_nowhere_or_everywhere_stay(project: Path, tmp_path: Path) -> None:
    os.mkfifo(project / "pipe.py")
    (project / "nowhere.py").symlink_to("nothing")
    (project / "everything").symlink_to("/")
    code.pack([str(project)], tmp_path / "code.zip")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        assert not {"0/pipe.py", "0/nowhere.py", "0/everything"} & set(archive.namelist())


PACK = """
import sys
from pathlib import Path
from sweeps.executors.code import pack
pack([sys.argv[1]], Path(sys.argv[2]))
"""


def test_what_the_user_may_not_read_stays(project: Path, tmp_path: Path) -> None:
    """Such as the folder of a database that a container keeps in the project."""
    powers = "-dac_override,-dac_read_search"  # root's
    without = ["setpriv", "--bounding-set", powers, "--inh-caps", powers] if os.geteuid() == 0 else []
    if without and shutil.which("setpriv") is None:
        pytest.skip("root may read everything")
    for name in ("pgdata", "listed"):
        (project / name).mkdir()
        (project / name / "part.py").touch()
    (project / "secret.py").touch()
    modes = {"pgdata": 0, "listed": 0o400, "secret.py": 0}
    for name, mode in modes.items():
        (project / name).chmod(mode)
    command = [*without, sys.executable, "-c", PACK, str(project), str(tmp_path / "code.zip")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for name in modes:
        (project / name).chmod(0o700)
    assert done.stderr == ""
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        there = {name for name in archive.namelist() if not name.endswith("/")}
    assert there == {f"0/{name}" for name in PROJECT[:5]}


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="the system does not list what is open")
def test_a_database_that_this_process_uses_is_not_read(project: Path, tmp_path: Path) -> None:
    """To close a second look at it would drop the locks of SQLite; its name may say nothing."""
    with contextlib.closing(sqlite3.connect(project / "study.data")) as database:
        database.execute("CREATE TABLE trials (number INTEGER)")
        code.pack([str(project)], tmp_path / "code.zip")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        assert "0/study.data" not in archive.namelist()
        assert "0/net.py" in archive.namelist()


def test_the_same_files_give_the_same_archive(project: Path, tmp_path: Path) -> None:
    code.pack([str(project)], tmp_path / "a.zip")
    subprocess.run(["touch", project / "net.py"], check=True)
    code.pack([str(project)], tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_too_much_is_one_line_that_names_what_is_large(project: Path, tmp_path: Path) -> None:
    (project / "assets").mkdir()
    with (project / "assets" / "film.mp4").open("wb") as file:
        file.truncate(code.MOST_BYTES + 1)
    with pytest.raises(UserError) as caught:
        code.pack([str(project)], tmp_path / "code.zip")
    assert str(caught.value).startswith(f"{project}: more than 50 MiB would go to the cluster's nodes")
    assert "'assets'" in str(caught.value)


def test_a_worker_finds_the_copies_where_ray_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(code.HOME, "/unpacked")
    assert code.unpacked(("0", "1")) == ("/unpacked/0", "/unpacked/1")
    assert code.unpacked(("/home/me/project",)) == ("/home/me/project",)


def test_a_worker_has_the_drivers_environment_but_the_gpu_that_ray_gave_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "HIP_VISIBLE_DEVICES": "3",
        "CUDA_VISIBLE_DEVICES": "3",
        "OF_ANOTHER_SWEEP": "1",
    }.items():
        monkeypatch.setenv(name, value)
    driver = {"CUDA_VISIBLE_DEVICES": "0,3", "CUDA_LAUNCH_BLOCKING": "1"}
    own = {name: value for name, value in os.environ.items() if name.startswith(code.OF_RAY)}
    monkeypatch.setattr(os, "environ", os.environ.copy())
    code.take_over(driver)
    assert dict(os.environ) == own | {"CUDA_LAUNCH_BLOCKING": "1"}
    assert own["HIP_VISIBLE_DEVICES"] == own["CUDA_VISIBLE_DEVICES"] == "3"
