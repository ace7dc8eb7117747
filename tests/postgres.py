"""A PostgreSQL server of the tests' own: on a free port of the loopback, in a folder that goes with it.

Debian's package `postgresql` brings the programs. The server refuses to run as root; then it runs as the user
`postgres` that the package makes.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

USER, PASSWORD = "sweeper", "s3cret-W0rd"


def programs() -> Path | None:
    """The folder of the newest installed server's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Server:
    """A running server; `database` makes a database in it and gives its URL."""

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))  # not below pytest's, which others cannot enter
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "scram-sha-256",
                  "--pwfile", str(password), "-N", "-E", "UTF8", "--locale", "C")  # fmt: skip
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Starts it, at the first time or again after `stop`."""
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-F"]
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, *options],
                user=self._user, stdout=log, stderr=log, cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        for _ in range(300):
            command = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
            if subprocess.run(command, check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError((self._folder / "log.txt").read_text()[-2000:])

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ends it, with all connections: SIGINT in order, SIGQUIT as in a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=60)
            self._process = None

    def database(self, name: str) -> str:
        """Makes an empty database and gives its URL, password included."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def url(self, name: str, port: int | None = None) -> str:
        """The URL of a database, password included; `port` is that of a relay to the server."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{name}"

    def close(self) -> None:
        """Ends it and removes its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._bin / program, *arguments]
        done = subprocess.run(command, user=self._user, capture_output=True, cwd=self._folder, check=False)
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server for the whole session; skips where PostgreSQL is not installed, but not under CI."""
    found = programs()
    if found is None:
        assert not os.environ.get("CI"), "PostgreSQL is missing; .ci/run installs it"
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    server = Server(found)
    yield server
    server.close()
