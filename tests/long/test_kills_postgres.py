"""Drivers that are killed while their study is on PostgreSQL; `tests.chaos` has those on SQLite."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.drivers import Yard
from tests.chaos.test_chaos import SHORT
from tests.postgres import Server

ON_POSTGRES = ("create", "tell", "resume")


def test_a_driver_whose_study_is_on_postgresql_may_be_killed_too(tmp_path: Path, postgres: Server) -> None:
    with Yard(tmp_path, postgres.database("chaos")) as yard, ThreadPoolExecutor(2) as pool:
        for kills in pool.map(lambda name: yard.survive(name, *SHORT[name]), ON_POSTGRES):
            assert kills
