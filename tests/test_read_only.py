"""A sweep's folder that can only be read: a copy on a disk that is mounted so, another person's folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.records import Outcome, State
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from tests import fakes

MOUNTED = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && exec "$2" -c "$3"
"""
COMMANDS = """
import sys
from pathlib import Path
from sweeps.cli import main
commands = ["status test", "list", "logs test", "export test", "report test -o ../report.html", "watch test",
            "stop test", "list --storage ../link.db", "logs test --storage ../link.db"]
for command in commands:
    sys.argv = ["sweeps", *command.split()]
    try:
        main()
    except SystemExit as end:
        print(command, "ends with", end.code or 0, flush=True)
try:
    Path("new").touch()
except OSError as error:
    print(error.strerror)
"""


def can_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "mount", "--bind", str(folder), str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("has_log", [False, True], ids=["as it ends", "as a killed driver leaves it"])
def test_a_sweep_can_be_looked_at_where_nothing_can_be_written(tmp_path: Path, has_log: bool) -> None:
    if not can_mount(tmp_path):
        pytest.skip("needs namespaces of its own for a read-only mount")
    made, folder = tmp_path / "made", tmp_path / "folder"
    (made / "files" / "trial-0").mkdir(parents=True)
    (made / "files" / "trial-0" / "log.txt").write_text("what it said\n")
    spec, storage = fakes.spec(budget={"trials": 5}), open_storage(f"sqlite:///{made / 'sweeps.db'}")
    notes = {"files": str(made / "files"), "mlflow": {"key": "key"}}
    inner = create_study(spec, storage, validations=4, notes=notes)
    study = Study(inner, spec)
    for _ in range(2):
        assignment = study.ask()
        assert assignment is not None
        study.tell(Outcome(assignment.number, State.COMPLETE, 0.25))
    study.end("interrupted")
    if not has_log:
        storage.close()
    folder.mkdir()
    for name in ("sweeps.db", "sweeps.db-wal"):  # as a back-up has them, which takes no -shm
        if (made / name).exists():
            shutil.copy(made / name, folder / name)
    assert (folder / "sweeps.db-wal").exists() is has_log
    (tmp_path / "link.db").symlink_to(folder / "sweeps.db")
    command = ["unshare", "-rm", "sh", "-c", MOUNTED, "sh", str(folder), sys.executable, COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ends = [line.rpartition(" ")[2] for line in done.stdout.splitlines() if " ends with " in line]
    assert ends == ["0", "0", "0", "0", "0", "2", "2", "0", "0"], done.stdout + done.stderr
    assert done.stdout.count("what it said\n") == done.stdout.count("loss 0.25  0") == 2
    assert done.stdout.endswith("Read-only file system\n")
    *_, watched, refused = done.stderr.splitlines()
    assert watched.startswith("sweeps: test is not running, it is interrupted")
    assert refused == (
        f"sweeps: {folder}/sweeps.db: no permission to write it; name another database with --storage"
    )
    assert "0.25" in (tmp_path / "report.html").read_text()


CLOSED = """
import os, sys
from sweeps.cli import main
for command in sys.argv[1:]:
    sys.argv = ["sweeps", *command.split()]
    try:
        main()
    except SystemExit as end:
        print(end.code, flush=True)
"""


def test_a_folder_that_the_user_may_not_enter_is_one_line(tmp_path: Path) -> None:
    powers = "-dac_override,-dac_read_search"  # root's
    without = ["setpriv", "--bounding-set", powers, "--inh-caps", powers]
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may enter everywhere")
    closed = tmp_path / "closed"
    (closed / "sub").mkdir(parents=True)
    raw = fakes.spec().model_dump(exclude_none=True)
    (tmp_path / "test.yaml").write_text(repr(raw))
    study = create_study(fakes.spec(), open_storage(f"sqlite:///{tmp_path / 's.db'}"), validations=4,
                         notes={"files": str(closed / "files")})  # fmt: skip
    study.ask()
    database, there = f"--storage {closed}/sub/x.db", f"{closed}/sub/x.db: no permission to enter its folder"
    commands = {
        f"check test.yaml --set files={closed}/sub": f"{closed}/sub/test: no permission to enter its folder",
        f"check test.yaml --set tracking_uri=sqlite:///{closed}/sub/x.db": there,
        f"check test.yaml {database}": f"{closed}/sub: no permission to enter its folder",
        f"stop test {database}": there,
        f"status test {database}": f"{closed}/sub/x.db: not readable by this user",
        f"logs test --storage {tmp_path}/s.db": f"{closed}/files/trial-0/log.txt: no permission to enter its",
    }
    closed.chmod(0)
    try:
        done = subprocess.run(
            [*(without if os.geteuid() == 0 else ()), sys.executable, "-c", CLOSED, *commands],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        closed.chmod(0o700)
    assert done.stdout == "2\n" * len(commands), done.stderr
    for said, expected in zip(done.stderr.splitlines(), commands.values(), strict=True):
        assert said.startswith(f"sweeps: {expected}")
