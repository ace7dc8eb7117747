"""Everything that opens a sweep while it runs: it sees the sweep, and the sweep loses nothing."""

import io
import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from dashboards import load
from dashboards.runs import find_runs
from dashboards.tracking import get
from sweeps.driver import SweepResult
from sweeps.storages.storage import open_storage
from sweeps.terminal.watch import watch
from tests import fakes
from tests.browser import optuna_dashboard, wait_for
from tests.live_sweeps import driven, has_begun, look, places_in, reader

TRIALS = 40


def shown_by_optuna(address: str) -> list[int]:
    """How many validations of each trial Optuna's dashboard knows."""
    trials = json.loads(get(address, "/api/studies/1")[1])["trials"]
    return [len(trial["intermediate_values"]) for trial in trials]


def test_a_sweep_that_is_read_all_the_time_loses_nothing_and_is_seen(tmp_path: Path) -> None:
    database, out, where = tmp_path / "sweeps.db", io.StringIO(), places_in(tmp_path)
    spec = fakes.spec(budget={"trials": TRIALS}, sampler="tpe", pruner="median")
    results: list[SweepResult] = []
    events = threading.Semaphore(20)  # that may come
    driver = threading.Thread(target=lambda: results.append(driven(spec, where, events.acquire)))
    finished, listed = [], []
    with ExitStack() as stack:
        open_storage(where.storage).engine.dispose()
        address = stack.enter_context(optuna_dashboard(database))
        process = stack.enter_context(reader(database))
        driver.start()
        wait_for(lambda: has_begun(database), 120)
        watcher = threading.Thread(
            target=watch,
            args=("test", where.storage, Console(file=out, width=160)),
            kwargs={"pause": lambda: time.sleep(0.05)},
        )
        watcher.start()
        while driver.is_alive():
            events.release(20)  # they come while it is read
            status, answer = get(address, "/api/studies/1")
            assert status == 200, answer
            listed.append(len(json.loads(answer)["trials"]))
            finished.append(look(process))
        driver.join()
        watcher.join()
        lengths = [len(trial.intermediate) for trial in load(database, "test").trials]
        wait_for(lambda: shown_by_optuna(address) == lengths)  # it looks anew every ten seconds
    [result] = results
    assert result.problems == []
    assert sum(result.counts.values()) == TRIALS
    sweep = load(database, "test")
    assert {
        trial.number: list(trial.intermediate) for trial in sweep.trials if trial.state == "complete"
    } == {trial.number: [1, 2, 3, 4] for trial in sweep.trials if trial.state == "complete"}
    assert len(find_runs(sweep).run_ids) == TRIALS
    assert finished == sorted(finished)
    assert any(0 < count < TRIALS for count in finished)
    assert listed == sorted(listed)
    assert any(0 < count < TRIALS for count in listed)
    assert f"[{TRIALS}/{TRIALS}] trial" in out.getvalue()
