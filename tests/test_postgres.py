"""PostgreSQL as the study database: first creation, passwords, a crash; a whole sweep: `test_cluster.py`."""

import multiprocessing
import signal
import socket
from multiprocessing.synchronize import Barrier

import optuna
import psycopg
import pytest

from sweeps.errors import ServerAway, UserError
from sweeps.storages.servers import unusable
from sweeps.storages.storage import open_storage, study_names
from sweeps.storages.uris import study_url
from tests.postgres import PASSWORD, Server


def test_the_server_comes_back_after_a_crash_with_what_it_held(postgres: Server) -> None:
    url = postgres.database("comes_back")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postgres.stop(signal.SIGQUIT)
    postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def create(url: str, name: str, barrier: Barrier) -> None:
    """In a process of its own: opens the database when all others do, and makes a study."""
    barrier.wait()
    optuna.create_study(storage=open_storage(study_url(url)), study_name=name)


def test_processes_that_open_an_empty_database_at_once_all_succeed(postgres: Server) -> None:
    url = postgres.database("at_once")
    assert study_names(study_url(url)) == []  # looking makes nothing
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["optuna", "sqlalchemy", "psycopg", "sweeps.storages.storage"])
    barrier = spawn.Barrier(4)
    processes = [spawn.Process(target=create, args=(url, f"s{number}", barrier)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert sorted(study_names(study_url(url))) == ["s0", "s1", "s2", "s3"]


@pytest.mark.parametrize(
    "said",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is in recovery mode",
        "FATAL:  sorry, too many clients already",
        "server closed the connection unexpectedly",
    ],
)
def test_a_server_that_listens_and_will_take_connections_again_is_away(said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://me@127.0.0.1:{server.getsockname()[1]}/db"
        assert isinstance(unusable(url, said), ServerAway)
        assert not isinstance(unusable(url, 'FATAL:  role "me" does not exist'), ServerAway)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("postgresql://me:W0rd@127.0.0.1:1/db", "Connection refused", id="nothing there"),
        pytest.param("postgresql://sweeper:W0rd@SERVER/db", "password authentication failed", id="wrong"),
        pytest.param(f"postgresql://sweeper:{PASSWORD}@SERVER/db", '"db" does not exist', id="no database"),
        pytest.param("postgresql+psycopg2://me:W0rd@SERVER/db", "pip install 'lightning-sweeps[postgres]'",
                     id="no driver"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_used_is_one_line_without_the_password(
    postgres: Server, url: str, reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_storage(study_url(url.replace("SERVER", f"127.0.0.1:{postgres.port}")))
    assert reason in str(caught.value)
    assert isinstance(caught.value, ServerAway) == (reason == "Connection refused")
    assert "\n" not in str(caught.value)
    assert "W0rd" not in str(caught.value)
