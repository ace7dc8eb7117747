"""The short form of the kills; `make chaos` does 200, and `tests.long` has two forms on other ground."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos import points
from tests.chaos.drivers import Yard
from tests.chaos.forked import Template
from tests.chaos.kills import Kill
from tests.chaos.points import Point
from tests.chaos.workers import kill_workers

OFTEN = Point("report", f"{points.STUDY}.should_stop", "before", 4)
SHORT = {
    "create": [Point("create", f"{points.STORAGE}.set_study_user_attr", "after", 2)],
    "ask": [Point("ask", f"{points.OPTUNA}.ask", "after", 2)],
    "submit": [Point("submit", f"{points.EXECUTOR}.submit", "after", 3)],
    "report": [Point("report", f"{points.STUDY}.should_stop", "after", 5)],
    "tell": [Point("tell", f"{points.OPTUNA}.tell", "before", 1)],
    "record": [Point("record", f"{points.JOURNAL}.append", "torn", 9)],
    "write": [Point("record", f"{points.MLFLOW}.create_run", "after", 2)],
    "resume": [OFTEN, Point("resume", f"{points.STUDY}.adopt", "after")],
    "again": [OFTEN, OFTEN],
    "end": [Point("end", f"{points.TRACKING}._crown", "before")],
}
"""Where the drivers of a sweep are killed: once, or twice in a row."""


@pytest.fixture(scope="module")
def templates() -> Iterator[list[Template]]:
    """Two processes that fork drivers, for all tests here."""
    made = [Template(), Template()]
    yield made
    for template in made:
        template.close()


@pytest.fixture(scope="module")
def survived(
    tmp_path_factory: pytest.TempPathFactory, templates: list[Template]
) -> Iterator[dict[str, "Future[list[Kill]]"]]:
    """All these sweeps, two at a time, in one folder."""
    yard = Yard(tmp_path_factory.mktemp("yard"), templates=templates)
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(yard.survive, name, *kills) for name, kills in SHORT.items()}


def test_every_point_of_the_campaign_is_there() -> None:
    assert all(callable(points.found(point)[2]) for point in [*points.ALL, *points.RESUME])


@pytest.mark.parametrize("name", SHORT)
def test_a_driver_may_be_killed_at_any_step(name: str, survived: dict[str, "Future[list[Kill]]"]) -> None:
    assert len(survived[name].result()) == len(SHORT[name])


def test_workers_may_be_killed_at_any_step_of_a_training(tmp_path: Path, templates: list[Template]) -> None:
    assert len(kill_workers(tmp_path, templates[0].run)) == 8
