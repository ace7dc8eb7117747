"""A choice of a search space whose building ends the process; `tests/test_choices.py` has all others."""

from pathlib import Path

import pytest

from tests.conftest import typed
from tests.test_choices import of, one_line, written


@pytest.mark.usefixtures("ray_cluster")
def test_a_choice_that_ends_the_workers_process_does_not_end_the_launch(tmp_path: Path) -> None:
    written(tmp_path, of("nothing", "die_once"), resources={"gpus": 0, "cpus": 16})
    done = one_line(typed("launch", "choosy.yaml", folder=tmp_path).stdout)
    assert "note: search_space: building one of its choices ended the worker's process, so" in done
    assert "2 complete" in done
