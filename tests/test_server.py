"""The server as a stranger on this machine, or a page of another site, would try it."""

import contextlib
import http.client
import json
import math
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dashboards import figures, ports, report, server
from dashboards.errors import ResultsError
from dashboards.records import Sweep
from dashboards.runs import find_runs, histories
from dashboards.tracking import get
from tests.browser import record_experiment
from tests.studies import sweep_record, trial_record


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tracking database with the experiment `digits sweep`."""
    return record_experiment(tmp_path_factory.mktemp("mlflow"), "digits sweep")


@pytest.fixture(scope="module")
def recorded(store: str) -> Sweep:
    """A sweep of three trials that MLflow's own client has recorded."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("digits sweep")
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id]):
        if run.info.run_name.startswith("trial-"):
            client.set_tag(run.info.run_id, "trial_number", run.info.run_name.removeprefix("trial-"))
            client.log_metric(run.info.run_id, "train_loss", 0.25, step=2)
            client.log_metric(run.info.run_id, "train_loss", math.inf, step=3)
    trials = [trial_record(n, "complete", float(n), intermediate={1: float(n)}) for n in range(3)]
    return sweep_record(trials, mlflow={"tracking_uri": store, "experiment": "digits sweep"})


@pytest.fixture(scope="module")
def running(store: str) -> Iterator[server.Server]:
    with pytest.MonkeyPatch.context() as patch:
        # None of these may get through to the server.
        patch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
        patch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "*")
        patch.setenv("MLFLOW_HOST", "0.0.0.0")  # noqa: S104
        patch.setenv("UVICORN_UDS", "/nowhere/socket")
        with server.start(store, "digits sweep", port=ports.free()) as started:
            yield started


def ask(
    port: int | None, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, sent)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def family(pid: int) -> list[int]:
    """Return the live processes of a process group."""
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == pid and fields[0] != "Z":
                pids.append(int(stat.parent.name))
    return pids


def gone(pid: int, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while family(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not family(pid)


SEARCH = "/api/2.0/mlflow/experiments/search"
CREATE = "/api/2.0/mlflow/experiments/create"


def test_the_url_names_the_experiments_page_of_runs(running: server.Server) -> None:
    path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=digits%20sweep"
    experiment = json.loads(ask(running.port, "GET", path)[1])["experiment"]["experiment_id"]
    page = f"http://127.0.0.1:{running.port}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    assert running.url == page
    assert ask(running.port, "GET", "/")[0] == 200


@pytest.mark.parametrize("host", ["10.evil.com", "192.168.evil.com", "evil.com", "127.0.0.1", "localhost:1"])
def test_a_foreign_host_header_is_refused(running: server.Server, host: str) -> None:
    assert ask(running.port, "GET", "/", Host=host)[0] == 403
    assert ask(running.port, "GET", f"{SEARCH}?max_results=1", Host=host)[0] == 403


def test_its_own_two_names_are_answered(running: server.Server) -> None:
    for host in (f"127.0.0.1:{running.port}", f"localhost:{running.port}"):
        assert ask(running.port, "GET", f"{SEARCH}?max_results=1", Host=host)[0] == 200


def test_a_post_from_another_site_is_refused_and_changes_nothing(running: server.Server) -> None:
    body = json.dumps({"name": "evil"})
    for path in (CREATE, CREATE.replace("/api/", "/ajax-api/")):
        status, _ = ask(
            running.port, "POST", path, body, Origin="http://evil.com", Content_Type="application/json"
        )
        assert status == 403
    assert b"evil" not in ask(running.port, "GET", f"{SEARCH}?max_results=100")[1]


def test_other_sites_may_not_frame_the_pages(running: server.Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    connection.request("GET", "/")
    assert connection.getresponse().headers["X-Frame-Options"] == "DENY"
    connection.close()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")
def test_it_listens_on_the_loopback_interface_only(running: server.Server) -> None:
    assert running.port is not None
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
            _, local, _, state = line.split()[:4]
            address, port = local.split(":")
            if int(port, 16) == running.port and state == "0A":
                listening.append(address)
    assert listening == ["0100007F"]


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux's /proc")
def test_hardening_reaches_the_server_and_addresses_are_in_no_command_line(
    running: server.Server, store: str
) -> None:
    child = running._child
    assert child is not None
    pids = family(child.process.pid)
    assert len(pids) >= 3  # guard, mlflow, uvicorn
    for pid in pids:
        assert store.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false" in environment
        assert b"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in environment
        assert not any(line.startswith((b"MLFLOW_SERVER_DISABLE", b"UVICORN_")) for line in environment)


def test_runs_and_histories_are_read_without_mlflows_client(recorded: Sweep) -> None:
    runs = find_runs(recorded)
    assert sorted(runs.run_ids) == [0, 1, 2]
    assert (runs.address, runs.experiment_id) == ("http://127.0.0.1:5000", "1")
    found = histories(recorded, runs.run_ids[1])
    assert found["val_loss"][:2] == [(1, 0.5), (2, pytest.approx(1 / 3))]
    assert found["train_loss"][0] == (2, 0.25)
    assert math.isnan(found["train_loss"][1][1])


def test_the_report_shows_training_against_validation_and_links_the_runs(recorded: Sweep) -> None:
    page = report.build(recorded)
    assert "Training against validation, trial 0 (the best)" in page
    assert {curve.name for curve in figures.logged(recorded).data} == {"val_loss", "train_loss"}
    written = re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)
    assert written is not None
    runs = json.loads(written[1])["trials"]["runs"]
    assert runs["address"] == "http://127.0.0.1:5000/#/experiments/1/runs/"
    assert runs["ids"] == [find_runs(recorded).run_ids[n] for n in range(3)]


def test_the_server_tells_a_reader_the_same(recorded: Sweep, running: server.Server) -> None:
    address = running.url.partition("/#")[0]
    remote = replace(recorded, mlflow=recorded.mlflow | {"tracking_uri": address})
    runs, local = find_runs(remote), find_runs(recorded)
    assert (runs.address, runs.is_server, runs.run_ids) == (address, True, local.run_ids)
    assert histories(remote, runs.run_ids[1])["val_loss"] == histories(recorded, runs.run_ids[1])["val_loss"]


def test_a_taken_port_is_named_with_a_free_one(running: server.Server, store: str) -> None:
    message = rf"port {running.port} is taken by another program; port \d+ is free"
    with pytest.raises(ResultsError, match=message):
        server.start(store, "digits sweep", port=running.port)


def test_a_server_elsewhere_is_only_pointed_at(running: server.Server) -> None:
    address = f"http://me:s3cret@localhost:{running.port}/"
    with server.start(address, "digits sweep") as found:
        assert found.port is None
        assert found.url.startswith(f"http://localhost:{running.port}/#/experiments/")
        found.wait()
    assert ask(running.port, "GET", "/health")[0] == 200
    with pytest.raises(ResultsError, match=r"no experiment 'other'.*another MLflow store") as caught:
        server.start(address, "other")
    assert "s3cret" not in str(caught.value)


def test_without_a_named_port_it_is_5000_or_a_free_one() -> None:
    assert ports.choose(None) > 0
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken already: the same case
            holder.bind(("127.0.0.1", ports.USUAL))
            holder.listen()
        assert ports.choose(None) != ports.USUAL
    with pytest.raises(ResultsError, match="`1 <= port <= 65535` must hold"):
        ports.choose(70000)


def test_a_database_that_is_missing_or_foreign_is_refused_untouched(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such MLflow database"):
        server.start(f"sqlite:///{tmp_path}/mlflow.db", "x")
    assert list(tmp_path.iterdir()) == []
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE runs (x)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(ResultsError, match="not one of MLflow's"):
        server.start(f"sqlite:///{tmp_path}/other.db", "x")
    assert (tmp_path / "other.db").read_bytes() == before
    for uri in (str(tmp_path / "mlruns"), "file:///mlruns", "databricks"):
        with pytest.raises(ResultsError, match="not an MLflow database"):
            server.start(uri, "x")
    with pytest.raises(ResultsError, match="MLFLOW_DB_HERE is not set"):
        server.start("${MLFLOW_DB_HERE}", "x")


@pytest.mark.parametrize(
    ("version", "message"), [("451aebb31d03", "older MLflow"), ("f" * 12, "newer MLflow")]
)
def test_another_versions_schema_is_not_migrated(
    tmp_path: Path, store: str, version: str, message: str
) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(Path(store.removeprefix("sqlite:///")).read_bytes())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ResultsError, match=message):
        server.start(f"sqlite:///{path}", "digits sweep")
    assert path.read_bytes() == before


class _Silent(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_a_server_that_refuses_or_is_down_is_one_line() -> None:
    with HTTPServer(("127.0.0.1", 0), _Silent) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        with pytest.raises(ResultsError, match="refused with status 401"):
            server.start(f"http://127.0.0.1:{httpd.server_port}", "x")
        httpd.shutdown()
    with pytest.raises(ResultsError, match="does not answer"):
        server.start(f"http://127.0.0.1:{ports.free()}", "x")
    with socket.create_server(("127.0.0.1", 0)) as listener:  # Ray's processes, for one, speak otherwise
        threading.Thread(target=_speak_otherwise, args=(listener,), daemon=True).start()
        with pytest.raises(ResultsError, match="does not answer: what answers is no HTTP server"):
            server.start(f"http://127.0.0.1:{listener.getsockname()[1]}", "x")


def _speak_otherwise(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\n")


def test_a_free_port_is_none_that_the_system_gives_to_others() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < ports.free() < min(first, 6000) for _ in range(50))


_SERVE = """
import sys
from dashboards import ports, server
def say(line):
    print(line, flush=True)
server.serve(sys.argv[1], "digits sweep", port=ports.free(), open_browser=True, say=say)
print("ended", flush=True)
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("number", "says_goodbye"),
    [
        pytest.param(signal.SIGINT, True, id="ctrl-c"),  # SIGTERM ends the server of `test_browser`
        pytest.param(signal.SIGKILL, False, id="killed"),
    ],
)
def test_nothing_outlives_the_command(store: str, number: signal.Signals, says_goodbye: bool) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-c", _SERVE, store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        url = process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        guard = int(children[0])
        assert url.startswith("http://127.0.0.1:")
        assert len(family(guard)) >= 3
        process.send_signal(number)
        assert process.wait(20) == (0 if says_goodbye else -number)
        assert gone(guard)
        assert ("ended" in process.stdout.read()) is says_goodbye


def test_a_server_that_ends_by_itself_is_an_error_with_its_last_words(running: server.Server) -> None:
    """The last test here: it is the server of all."""
    assert running._child is not None
    guard = running._child.process.pid
    os.kill(guard, signal.SIGKILL)
    with pytest.raises(ResultsError, match="ended by itself"):
        running.wait()
    running.stop()  # and again at the end
    assert gone(guard)


def test_a_server_whose_address_is_ipv6_needs_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    class Six(HTTPServer):
        address_family = socket.AF_INET6

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *_: object) -> None:
            pass

    try:
        there = Six(("::1", 0), Answer)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with there:
        threading.Thread(target=there.handle_request, daemon=True).start()
        monkeypatch.setattr(http.client.HTTPConnection, "default_port", there.server_port)
        assert get("http://[::1]", "/") == (200, b"here")
