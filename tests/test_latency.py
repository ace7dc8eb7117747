"""What a server that is far away costs: counted round trips, not times."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Barrier, Event, current_thread

import optuna
import pytest
from mlflow import MlflowClient

from dashboards import load
from sweeps.control import find_driver
from sweeps.driver import drive
from sweeps.errors import CutShort
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.files import TrialFiles
from sweeps.provenance import run_with
from sweeps.records import Assignment, News, Outcome, Report, State
from sweeps.runner import Observer, run
from sweeps.storages.alone import alone
from sweeps.storages.behind import MOST, Behind
from sweeps.storages.patience import StudyGone, StudyUnwritable, current, patient, share
from sweeps.storages.storage import open_storage
from sweeps.storages.uris import study_url
from sweeps.study.persistence import create_study, equip
from sweeps.study.study import Study
from sweeps.tracking.at_once import do_each
from sweeps.tracking.journal import Journal
from sweeps.tracking.recorder import Recorder
from sweeps.tracking.runs import SweepInfo
from sweeps.tracking.writer import AT_ONCE
from tests import fakes
from tests.browser import wait_for
from tests.live_sweeps import places_in
from tests.postgres import Server
from tests.relay import Relay, relayed
from tests.stores import TrackingServer

SPEC = fakes.spec(pruner="hyperband")  # which finds its study by name whenever it is asked
WARM = 8
"""So many trials, and psycopg has prepared what is said again and again."""


@dataclass
class Far:
    """A driver's study on a server, as others and as the driver see it, and what is between them."""

    kept: optuna.Study
    study: optuna.Study
    relay: Relay

    def states(self) -> list[str]:
        """Those of the trials as the server has them."""
        return [trial.state.name for trial in self.kept.get_trials(deepcopy=False)]

    def trips(self, call: Callable[[], object]) -> int:
        """How many round trips it takes."""
        before = self.relay.trips
        call()
        return self.relay.trips - before


@pytest.fixture
def far(postgres: Server, request: pytest.FixtureRequest) -> Iterator[Far]:
    name = f"far_{abs(hash(request.node.name))}"
    postgres.database(name)
    with relayed(postgres.port) as relay:
        storage = open_storage(study_url(postgres.url(name, relay.port)))
        made = create_study(SPEC, storage, validations=4)
        yield Far(made, alone(made), relay)
        storage.close()


def test_what_a_trial_costs_in_round_trips(far: Far) -> None:
    study = Study(far.study, SPEC)
    for number in range(WARM):
        assert study.ask() is not None
        for step in (1, 2):
            study.should_stop(Report(number, step, 1.0))
        outcome = Outcome(number, State.COMPLETE, 1.0)
        study.as_it_stands(outcome)
        study.tell(outcome)
    # With BEGIN and COMMIT: the study, the trial, its number and that written; a row for the parameter, the
    # bracket and the configuration each, after a look at the trial.
    assert far.trips(study.ask) <= 6 + 3 * 2
    # A look at the trial and at what it has of this step, and a row.
    assert far.trips(lambda: study.should_stop(Report(WARM, 1, 1.0))) <= 3
    outcome = Outcome(WARM, State.COMPLETE, 1.0)
    assert far.trips(lambda: study.as_it_stands(outcome)) <= 3
    # The outcome's row; the trial's lock, its value and its state in one transaction.
    assert far.trips(lambda: study.tell(outcome)) <= 2 + 6
    assert far.trips(lambda: far.study.user_attrs) == 2
    assert far.trips(lambda: far.study.set_user_attr("driver", {"beat": 1})) <= 3


def test_a_broken_connection_is_replaced_without_a_word_and_without_a_look_before(far: Far) -> None:
    said: list[str] = []
    with patient(0.0, said.append):  # as the lease's thread, which waits for nothing
        trial = far.study.ask()
        for step in range(3):
            far.relay.cut()
            trial.report(0.5, step)
        far.relay.cut()
        far.study.tell(trial, 1.0)
        far.relay.cut()
        assert far.study.ask().number == 1
    assert said == []
    [kept, _] = far.kept.get_trials()
    assert (list(kept.intermediate_values), kept.value) == ([0, 1, 2], 1.0)
    assert far.states() == ["COMPLETE", "RUNNING"]


def test_reports_and_ends_are_not_waited_for_and_come_in_their_order(far: Far) -> None:
    behind = Behind()
    study = Study(alone(far.kept, behind), SPEC)
    for _ in range(3):
        assert study.ask() is not None
    behind.settle()
    with far.relay.held():  # whoever waits for an answer waits for good
        for number in range(3):
            for step in (1, 2, 3):
                study.should_stop(Report(number, step, 1.0 / step))
            study.tell(Outcome(number, State.COMPLETE, 0.5))
    assert study.counts == {State.COMPLETE: 3}
    study.end("finished")  # which says that all is there
    assert far.states() == ["COMPLETE"] * 3
    for trial in far.kept.get_trials():
        assert trial.intermediate_values == {1: 1.0, 2: 0.5, 3: 1.0 / 3}
        assert trial.user_attrs["outcome"]["state"] == "complete"


def test_a_trial_that_another_program_ends_takes_no_more_of_what_is_behind(far: Far) -> None:
    behind = Behind()
    study = Study(alone(far.kept, behind), SPEC)
    for _ in range(2):
        assert study.ask() is not None
    far.kept.tell(0, 7.0)
    study.should_stop(Report(0, 1, 1.0))
    behind.settle()
    assert study.should_stop(Report(0, 2, 1.0))  # at the next report
    told = study.tell(Outcome(0, State.PRUNED, 1.0))
    assert isinstance(told, Outcome)
    assert (told.state, told.value) == (State.COMPLETE, 7.0)
    far.kept.tell(1, 8.0)
    ended = study.as_it_stands(Outcome(1, State.PRUNED, 1.0))  # at its end, without a report
    assert (ended.state, ended.value) == (State.COMPLETE, 8.0)  # type: ignore[union-attr]


def test_records_wait_for_what_is_behind(far: Far, tmp_path: Path) -> None:
    behind = Behind()
    study = Study(alone(far.kept, behind), SPEC)
    assert study.ask() is not None
    journal = Journal(tmp_path, behind=behind)
    with far.relay.held():
        study.should_stop(Report(0, 1, 1.0))
        waiting = ThreadPoolExecutor(1).submit(journal.sync_study)
        assert not waiting.done()
    waiting.result()
    assert far.kept.get_trials()[0].intermediate_values == {1: 1.0}


@dataclass
class Cut:
    """Cuts the way to the database for good, as a trial has ended and the database does not know it yet."""

    relay: Relay
    number: int

    def record(self, event: News) -> None:
        """Takes an event that the study was told."""
        if isinstance(event, Outcome) and event.number == self.number:
            self.relay.refuse()


def test_a_trial_whose_end_a_database_never_took_has_ended_all_the_same_once_the_sweep_goes_on(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.control.LEASE_SECONDS", 1.0)  # it cannot be given back
    postgres.database("cut")
    began: list[list[int]] = []

    def script(assignment: Assignment) -> Iterator[Step]:
        began[-1].append(assignment.number)
        return fakes.falling(assignment)

    with relayed(postgres.port, 0.005) as relay:
        url, spec = study_url(postgres.url("cut", relay.port)), fakes.spec(budget={"trials": 4})
        where = replace(places_in(tmp_path), storage=url)
        mlflow = {"tracking_uri": where.tracking_uri, "experiment": "test", "key": "key", "artifacts": ""}
        study = create_study(spec, open_storage(url), validations=4, notes={"mlflow": mlflow})

        def run(*observers: Observer, resumed_with: dict[str, object] | None = None) -> None:
            began.append([])
            executor = ScriptedExecutor(script, slots=1, length=4)
            drive(study, spec, where, executor, observers, resumed_with=resumed_with)

        with patient(0.0), pytest.raises(StudyUnwritable):
            run(Cut(relay, 1))
        relay.accept()
        assert study.get_trials()[1].state.name == "RUNNING"
        wait_for(lambda: find_driver(study) is None)
        equip(study, spec, 4)
        run(resumed_with=run_with(str(tmp_path)))
        assert 1 in began[0]
        assert 1 not in began[1]
        assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE"] * 4
    client = MlflowClient(where.tracking_uri)
    [experiment] = client.search_experiments(filter_string="name = 'test'")
    runs = client.search_runs([experiment.experiment_id], "tags.trial_number = '1'")
    assert [run.info.status for run in runs] == ["FINISHED"]


def fail() -> None:
    raise StudyUnwritable("away")


def test_what_fails_behind_is_raised_by_the_next_write_and_nothing_is_written_after_it() -> None:
    behind, done = Behind(), list[int]()
    behind.put(1, partial(done.append, 1))
    behind.put(1, fail)
    behind.put(1, partial(done.append, 2))
    with pytest.raises(StudyUnwritable, match="away"):
        behind.settle()
    with pytest.raises(StudyUnwritable):
        behind.put(2, partial(done.append, 3))
    assert done == [1]


def filled(behind: Behind) -> Event:
    """Has more wait than may; the first of it hangs until the event is set."""
    hangs = Event()
    behind.put(1, lambda: hangs.wait(60))
    for _ in range(MOST):
        behind.put(1, lambda: None)
    return hangs


def test_who_waits_for_what_is_behind_is_told_of_a_failure_at_once() -> None:
    with Behind() as behind, ThreadPoolExecutor(2) as threads:
        hangs = filled(behind)
        waiting = [threads.submit(wait) for wait in (behind.settle, behind.wait_for_room)]
        assert not any(one.done() for one in waiting)
        behind.drop(CutShort("lost"))
        for one in waiting:
            with pytest.raises(CutShort, match="lost"):
                one.result(30)
        hangs.set()


def test_a_driver_takes_no_further_event_while_too_much_is_behind() -> None:
    with Behind() as behind, ThreadPoolExecutor(1) as threads:
        hangs = filled(behind)
        waiting = threads.submit(behind.wait_for_room)
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        hangs.set()
        waiting.result(30)


def test_calls_wait_for_the_writes_before_them_and_come_in_their_order() -> None:
    done = list[object]()
    with Behind() as behind:
        behind.then(partial(done.append, "nothing was put"))
        behind.settle()
        hangs = Event()
        behind.put(1, lambda: hangs.wait(60))
        behind.then(partial(done.append, "first"))
        behind.put(2, partial(done.append, 2))
        behind.then(partial(done.append, "second"))
        wait_for(lambda: 2 in done)
        assert done == ["nothing was put", 2]
        hangs.set()
        behind.settle()
        assert done == ["nothing was put", 2, "first", "second"]
        behind.put(1, fail)
        behind.then(partial(done.append, "never"))
        with pytest.raises(StudyUnwritable):
            behind.settle()
        assert "never" not in done


def test_a_checkpoint_stays_until_the_study_knows_that_its_trial_has_ended(far: Far, tmp_path: Path) -> None:
    behind = Behind()
    study = Study(alone(far.kept, behind), SPEC)
    assert study.ask() is not None
    behind.settle()
    checkpoint = tmp_path / "trial-0" / "last.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    files = TrialFiles(tmp_path, SPEC.objectives, when_kept=behind.then)
    with far.relay.held():
        pruned = study.tell(Outcome(0, State.PRUNED, 1.0))
        files.record(pruned)
        assert checkpoint.exists()
    behind.settle()
    assert not checkpoint.exists()


def test_a_sweep_that_ends_well_waits_for_its_last_writes_as_long_as_a_driver_waits() -> None:
    with patient(12.0):
        run(fakes.study(), ScriptedExecutor(fakes.falling, slots=2, length=4))
        assert current().seconds == 12.0


def test_a_connection_that_a_firewall_forgets_is_noticed(far: Far) -> None:
    with far.kept._storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
        parameters = connection.connection.driver_connection.info.get_parameters()
    assert parameters["tcp_user_timeout"] == "30000"
    assert parameters["keepalives_idle"] == "30"


def test_a_study_that_was_deleted_keeps_no_record_from_mlflow(tmp_path: Path) -> None:
    def is_gone() -> None:
        raise StudyGone("deleted")

    with Behind() as behind:
        behind.put(1, is_gone)
        Journal(tmp_path, behind=behind).sync_study()  # the records are all there is
        assert not behind.has_failed
        with pytest.raises(StudyGone):
            behind.check()


def test_what_is_behind_ends_with_its_sweep() -> None:
    with Behind() as behind:
        behind.put(1, lambda: None)
        behind.settle()
    with pytest.raises(CutShort, match="the sweep has ended"):
        behind.put(1, lambda: None)


def test_a_trial_takes_four_requests_of_a_server_and_several_trials_are_written_at_once(
    tracking_server: TrackingServer, tmp_path: Path
) -> None:
    """Its run, what it logged, its configuration and its end."""
    trials, most_of_the_sweep = 12, 12
    with relayed(int(tracking_server.url.rsplit(":")[-1])) as relay:
        info = SweepInfo("far", "loss", "minimize", f"http://127.0.0.1:{relay.port}", "", "x", tmp_path)
        recorder = Recorder(info)
        with relay.held():  # so that all are there at the next look
            for number in range(trials):
                recorder.record(Assignment(number, {"x": 0.5}, {"model": {"x": 0.5}}))
                recorder.record(Outcome(number, State.COMPLETE, 0.5))
        assert recorder.close(status="finished", best=None) == []
        assert relay.trips <= 4 * trials + most_of_the_sweep
        assert 1 + 2 <= relay.connections <= 1 + AT_ONCE
    client = MlflowClient(tracking_server.url)
    runs = client.search_runs([client.get_experiment_by_name("far").experiment_id])
    assert sorted(run.info.run_name for run in runs) == sorted(
        ["far", *(f"trial-{n}" for n in range(trials))]
    )
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_none_is_begun_once_one_has_failed_and_all_of_a_row_may_run_at_once() -> None:
    meeting, done = Barrier(3), list[int]()

    def meet(number: int) -> None:
        meeting.wait(30)
        if current_thread() is not here:
            time.sleep(0.1)  # all are waited for
        done.append(number)

    here = current_thread()
    do_each(meet, range(3), 3)
    assert sorted(done) == [0, 1, 2]

    def refuse(number: int) -> None:
        done.append(number)
        raise OSError(number)

    done.clear()
    with pytest.raises(OSError, match="0"):
        do_each(refuse, range(9), 1)
    assert done == [0]


def test_the_process_does_not_wait_at_its_end_for_a_server_that_does_not_answer() -> None:
    meeting, are_daemons = Barrier(3), list[bool]()

    def look(_: int) -> None:
        meeting.wait(30)
        if current_thread() is not here:
            are_daemons.append(current_thread().daemon)

    here = current_thread()
    do_each(look, range(3), 3)
    assert are_daemons == [True, True]


def test_of_several_threads_that_wait_for_a_database_one_says_so(far: Far) -> None:
    said: list[str] = []
    behind_all = Barrier(4)

    def write(number: int) -> None:
        with contextlib.suppress(StudyUnwritable):
            share(patience)
            behind_all.wait(30)
            far.kept.set_user_attr(f"key {number}", number)

    with patient(30, said.append):
        patience = current()
        with far.relay.refused(), ThreadPoolExecutor(4) as threads:
            done = threads.map(write, range(4))
            wait_for(lambda: patience.waiting == 4)
            far.relay.accept()
        list(done)
    waiting, over = said
    assert "waiting for up to 30 s" in waiting
    assert "works again" in over


def test_a_reader_opens_three_connections_and_asks_for_all_trials_at_once(far: Far, postgres: Server) -> None:
    url = far.kept._storage._backend.engine.url.render_as_string(hide_password=False)  # type: ignore[attr-defined]
    load(url, SPEC.name)
    few_trials, connections = far.relay.trips, far.relay.connections
    load(url, SPEC.name)
    assert far.relay.connections - connections == 3  # of the check; Optuna's, which needs two once
    few_trials = far.relay.trips - few_trials
    for _ in range(30):
        far.study.tell(far.study.ask(), 1.0)
    before = far.relay.trips
    assert len(load(url, SPEC.name).trials) == 30
    assert far.relay.trips - before <= few_trials + 5  # parameters, values and attributes have a query each
