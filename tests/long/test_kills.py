"""Kills where the study is on PostgreSQL and where a worker is Ray's; `tests.chaos` has the usual ones."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.drivers import Yard
from tests.chaos.test_chaos import SHORT
from tests.chaos.workers import kill_workers
from tests.postgres import Server

ON_POSTGRES = ("create", "tell", "resume")


def test_a_driver_whose_study_is_on_postgresql_may_be_killed_too(tmp_path: Path, postgres: Server) -> None:
    with Yard(tmp_path, postgres.database("chaos")) as yard, ThreadPoolExecutor(2) as pool:
        for kills in pool.map(lambda name: yard.survive(name, *SHORT[name]), ON_POSTGRES):
            assert kills


def test_a_worker_of_rays_may_be_killed_while_it_writes_a_checkpoint(tmp_path: Path) -> None:
    assert len(kill_workers(tmp_path, points=["write"])) == 1
