"""PostgreSQL as the study database and below an MLflow server."""

import signal

import psycopg

from tests.postgres import Server


def test_the_server_comes_back_after_a_crash_with_what_it_held(postgres: Server) -> None:
    url = postgres.database("comes_back")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postgres.stop(signal.SIGQUIT)
    postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
