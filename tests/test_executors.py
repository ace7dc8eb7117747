"""One suite that every executor passes: the contract of `sweeps.executors.Executor`."""

import functools
import itertools
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import UserError
from sweeps.executors import Executor
from sweeps.executors.resources import Need
from sweeps.executors.scripted import Script, ScriptedExecutor
from sweeps.records import Assignment, Event, Outcome, Report, Started, State
from sweeps.runner import run
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from tests import fakes
from tests.browser import wait_for

Make = Callable[[Script, int], Executor]


@pytest.fixture(scope="module")
def on_ray(ray_cluster: None) -> Iterator[Callable[[int], Any]]:
    """Gives an executor of so many slots, whose workers are those of the tests before: one takes seconds."""
    from sweeps.executors.ray import RayExecutor

    class Reused(RayExecutor):
        script: Script

        def submit(self, assignment: Assignment) -> None:
            super().submit(replace(assignment, config={"script": self.script}))

        def rest(self) -> None:
            """Ends what a test has left."""
            slots, self.script = self._workers.slots, fakes.falling
            for number in [*(slot.trial for slot in slots), *(waiting.number for waiting in self._waiting)]:
                self.cancel(number, "the test is over")
            while not self.idle:
                self.next_event(0.1)
            self.hold(held=False)

    made: list[Reused] = []

    @functools.cache
    def of(slots: int) -> Reused:
        made.append(Reused(fakes.AsAssigned(), slots=slots))
        return made[-1]

    yield of
    for executor in made:
        executor.close()


@pytest.fixture(params=["scripted", "ray"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    used: list[Any] = []

    def scripted(script: Script, slots: int) -> Executor:
        used.append(ScriptedExecutor(script, slots=slots))
        return used[-1]

    def ray(script: Script, slots: int) -> Executor:
        used.append(request.getfixturevalue("on_ray")(slots))
        used[-1].script = script
        used[-1].resize(slots)
        return used[-1]

    yield ray if request.param == "ray" else scripted
    for executor in used:
        executor.rest() if request.param == "ray" else executor.close()


def assignment(number: int, x: float = 0.5) -> Assignment:
    return Assignment(number, {"model.init_args.x": x}, {})


def drain(executor: Executor, stop: Callable[[Report], bool] = lambda report: False) -> list[Event]:
    """Answers everything until nothing runs."""
    events: list[Event] = []
    while not executor.idle:
        event = executor.next_event()
        if event is None or isinstance(event, Started):
            continue
        events.append(event)
        if isinstance(event, Report):
            executor.reply(event.number, stop=stop(event))
    return events


def after_starts(executor: Executor) -> Event:
    """The next event that is not a start."""
    while (event := executor.next_event()) is None or isinstance(event, Started):
        pass
    return event


def test_a_new_executor_is_idle_and_has_room(make: Make) -> None:
    executor = make(fakes.falling, 2)
    assert executor.idle
    assert executor.has_room


def test_a_trial_reports_each_validation_from_one_and_ends_with_its_outcome(make: Make) -> None:
    executor = make(fakes.falling, 1)
    executor.submit(assignment(7, x=0.5))
    *reports, outcome = drain(executor)
    assert [(r.number, r.step, r.value) for r in reports if isinstance(r, Report)] == [
        (7, 1, 1.25), (7, 2, 0.75), (7, 3, pytest.approx(0.5 + 1 / 3 - 0.25)), (7, 4, 0.5)
    ]  # fmt: skip
    assert isinstance(outcome, Outcome)
    assert (outcome.number, outcome.state, outcome.value) == (7, State.COMPLETE, 0.5)


def test_a_trial_told_to_stop_reports_no_more_and_is_pruned(make: Make) -> None:
    executor = make(fakes.falling, 1)
    executor.submit(assignment(0))
    events = drain(executor, stop=lambda report: report.step == 2)
    assert [type(event) for event in events] == [Report, Report, Outcome]
    assert isinstance(events[-1], Outcome)
    assert events[-1].state is State.PRUNED


def test_a_trial_that_diverges_ends_as_diverged_whatever_it_is_told(make: Make) -> None:
    executor = make(fakes.diverging, 1)
    executor.submit(assignment(0))
    events = drain(executor)
    assert len(events) == 4
    assert isinstance(events[-1], Outcome)
    assert (events[-1].state, events[-1].value) == (State.DIVERGED, 0.4)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(fakes.raising, "ValueError: the data are gone", id="an exception"),
        pytest.param(fakes.exiting, "SystemExit: sys.exit(3)", id="sys.exit"),
    ],
)
def test_a_trial_that_raises_is_a_failed_outcome_and_its_slot_goes_on(
    make: Make, script: Script, reason: str
) -> None:
    executor = make(script, 1)
    for number in (0, 1):
        executor.submit(assignment(number))
        outcome = drain(executor)[-1]
        assert isinstance(outcome, Outcome)
        assert (outcome.number, outcome.state, outcome.reason) == (number, State.FAILED, reason)


def test_it_takes_one_assignment_more_than_it_has_slots(make: Make) -> None:
    executor = make(fakes.falling, 2)
    for number in range(3):
        assert executor.has_room
        executor.submit(assignment(number))
    assert not executor.has_room
    outcomes = [event for event in drain(executor) if isinstance(event, Outcome)]
    assert sorted(outcome.number for outcome in outcomes) == [0, 1, 2]


def test_a_trial_starts_when_it_gets_a_slot_and_not_when_it_is_submitted(make: Make) -> None:
    executor = make(fakes.falling, 1)
    executor.submit(assignment(0))
    executor.submit(assignment(1))
    order: list[tuple[str, int]] = []
    while not executor.idle:
        event = executor.next_event()
        if isinstance(event, Report):
            executor.reply(event.number, stop=False)
        elif event is not None:
            order.append((type(event).__name__, event.number))
    assert order.index(("Started", 1)) > order.index(("Started", 0))
    assert sorted(order) == [("Outcome", 0), ("Outcome", 1), ("Started", 0), ("Started", 1)]


def test_a_cancelled_trial_fails_for_the_given_reason_and_another_takes_its_slot(make: Make) -> None:
    executor = make(fakes.falling, 1)
    executor.submit(assignment(0))
    executor.submit(assignment(1))
    assert isinstance(after_starts(executor), Report)
    executor.cancel(0, "killed")
    outcomes = {event.number: event for event in drain(executor) if isinstance(event, Outcome)}
    assert (outcomes[0].state, outcomes[0].reason, outcomes[0].lost) == (State.FAILED, "killed", False)
    assert outcomes[0].fault == "killed"
    assert outcomes[1].state is State.COMPLETE


def test_more_slots_take_more_trials_at_once(make: Make) -> None:
    executor = make(fakes.falling, 1)
    executor.submit(assignment(0))
    executor.submit(assignment(1))
    assert not executor.has_room
    executor.resize(3)
    assert executor.has_room
    assert {event.number for event in drain(executor) if isinstance(event, Outcome)} == {0, 1}


def test_what_waits_for_a_slot_is_held_back_until_it_may_start(make: Make) -> None:
    executor = make(fakes.falling, 1)
    for number in range(2):
        executor.submit(assignment(number))
    assert isinstance(executor.next_event(), Started)
    executor.hold(held=True)
    assert {event.number for event in drain(executor)} == {0}
    assert executor.next_event(0.1) is None
    executor.hold(held=False)
    assert not executor.idle
    assert {event.number for event in drain(executor)} == {1}
    executor.submit(assignment(2))
    executor.submit(assignment(3))
    executor.hold(held=True)
    executor.cancel(3, "killed")
    events = [event for event in drain(executor) if isinstance(event, Outcome)]
    assert {event.number: event.state for event in events} == {2: State.COMPLETE, 3: State.FAILED}


def test_what_never_had_a_slot_is_given_back_and_what_goes_on_is_not(make: Make) -> None:
    executor = make(fakes.falling, 1)
    executor.submit(assignment(0))
    assert isinstance(executor.next_event(), Started)
    executor.submit(replace(assignment(1), attempt=1))
    assert executor.recall() == []
    assert {event.number for event in drain(executor)} == {0, 1}
    executor.submit(assignment(2))
    assert isinstance(executor.next_event(), Started)
    executor.submit(assignment(3))
    assert [given_back.number for given_back in executor.recall()] == [3]
    assert {event.number for event in drain(executor)} == {2}


def test_no_more_trials_run_at_once_than_there_are_slots(make: Make) -> None:
    executor = make(fakes.falling, 2)
    for number in range(3):
        executor.submit(assignment(number))
    running: set[int] = set()
    for event in drain(executor):
        running = running | {event.number} if isinstance(event, Report) else running - {event.number}
        assert len(running) <= 2


def test_nothing_comes_from_a_trial_before_its_report_is_answered(make: Make) -> None:
    executor = make(fakes.falling, 2)
    executor.submit(assignment(0))
    executor.submit(assignment(1))
    first, other = after_starts(executor), after_starts(executor)
    assert {first.number, other.number} == {0, 1}


def test_every_trial_has_exactly_one_outcome(make: Make) -> None:
    executor = make(fakes.falling, 3)
    outcomes: dict[int, int] = defaultdict(int)
    submitted = 0
    while True:
        while executor.has_room and submitted < 20:
            executor.submit(assignment(submitted, x=submitted / 20))
            submitted += 1
        if executor.idle:
            break
        event = after_starts(executor)
        if isinstance(event, Report):
            executor.reply(event.number, stop=event.number % 3 == 0)
        else:
            outcomes[event.number] += 1
    assert outcomes == dict.fromkeys(range(20), 1)


def test_an_outcome_says_who_ran_it_and_how_long_it_took(make: Make) -> None:
    executor = make(fakes.falling, 1)
    executor.submit(assignment(0))
    outcome = drain(executor)[-1]
    assert isinstance(outcome, Outcome)
    assert outcome.worker
    assert outcome.timing.slot_seconds > 0


def test_it_may_be_closed_while_trials_run_and_twice(make: Make) -> None:
    executor = make(fakes.falling, 2)
    executor.submit(assignment(0))
    after_starts(executor)
    executor.close()
    executor.close()


@pytest.mark.usefixtures("ray_cluster")
def test_a_dead_worker_process_fails_its_trial_and_is_replaced() -> None:
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Scripted(fakes.dying), slots=1)
    executor.submit(assignment(0))
    died = drain(executor)[-1]
    executor.submit(assignment(1))
    lived = drain(executor)[-1]
    executor.close()
    assert isinstance(died, Outcome)
    assert isinstance(lived, Outcome)
    assert died.state is State.FAILED
    assert died.reason.startswith("the worker process died")
    assert lived.state is State.COMPLETE
    assert died.worker != lived.worker


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("gpus", "slots"),
    [
        pytest.param(0.5, 5, id="two trials share each GPU"),
        pytest.param(0.25, 4, id="four quarters"),
        pytest.param(1.0, 3, id="each trial has its own"),
    ],
)
def test_workers_are_placed_on_fractions_of_gpus(gpus: float, slots: int) -> None:
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Scripted(fakes.visible_devices), slots=slots, need=Need(gpus=gpus))
    for number in range(slots):
        executor.submit(assignment(number))
    reports: list[Report] = []
    while len(reports) < slots:  # none is answered before all have a slot of their own
        event = after_starts(executor)
        assert isinstance(event, Report)
        reports.append(event)
    executor.close()
    on_gpu = Counter(report.value for report in reports)
    assert max(on_gpu.values()) <= 1 / gpus


@pytest.mark.usefixtures("ray_cluster")
def test_a_trial_that_takes_too_long_is_ended_and_its_slot_goes_on() -> None:
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Scripted(fakes.hanging), slots=1, timeout_seconds=1.5)
    executor.submit(assignment(0))
    executor.submit(assignment(1))
    outcomes = {event.number: event for event in drain(executor) if isinstance(event, Outcome)}
    executor.close()
    assert outcomes[0].reason == "it ran longer than trial_timeout=1.5 seconds"
    assert outcomes[0].timing.slot_seconds >= 1.5  # its GPU was paid for
    assert outcomes[0].timing.started <= outcomes[1].timing.started - outcomes[0].timing.slot_seconds
    assert outcomes[1].state is State.COMPLETE


@pytest.mark.parametrize(
    ("grace", "attempt", "state"),
    [(30.0, 1, State.COMPLETE), (0.0, 1, State.FAILED), (30.0, 0, State.FAILED)],
)
def test_a_trial_that_goes_on_may_wait_for_its_checkpoint_beside_its_time(
    ray_cluster: None, grace: float, attempt: int, state: State
) -> None:
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Scripted(fakes.late), slots=1, timeout_seconds=1, grace_seconds=grace)
    executor.submit(replace(assignment(0), attempt=attempt))
    *_, outcome = drain(executor)
    executor.close()
    assert isinstance(outcome, Outcome)
    assert outcome.state is state


def test_time_for_which_the_driver_is_held_up_is_not_the_trials(ray_cluster: None) -> None:
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Scripted(fakes.falling), slots=1, timeout_seconds=2)
    executor.submit(assignment(0))
    first = after_starts(executor)
    time.sleep(2.5)
    executor.reply(first.number, stop=False)
    *_, outcome = drain(executor)
    executor.close()
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.COMPLETE, outcome.reason


@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_without_work_is_ended_and_another_comes_when_there_is_some() -> None:
    from sweeps.executors.cluster import nodes
    from sweeps.executors.ray import RayExecutor

    def is_all_free() -> bool:
        executor.next_event(0.1)
        return all(node.free.get("CPU") == node.total["CPU"] for node in nodes().values())

    executor = RayExecutor(fakes.Scripted(fakes.falling), slots=2, idle_seconds=0.5)
    outcomes = []
    for number in range(3):
        executor.submit(assignment(number))
        outcomes += [event for event in drain(executor) if isinstance(event, Outcome)]
        if number == 0:  # the second one goes on with a worker that is there
            continue
        wait_for(is_all_free)
        assert executor.has_room
    executor.close()
    assert [outcome.state for outcome in outcomes] == [State.COMPLETE] * 3
    assert outcomes[2].worker not in {outcome.worker for outcome in outcomes[:2]}


@pytest.mark.usefixtures("ray_cluster")
def test_it_starts_with_the_workers_that_are_wanted_and_more_come_for_more_trials() -> None:
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Scripted(fakes.falling), slots=3, first=1)
    assert len(executor._workers.slots) == 1
    assert executor.call(abs, -1) == 1
    for number in range(2):
        executor.submit(assignment(number))
    assert len(executor._workers.slots) == 2
    outcomes = [event for event in drain(executor) if isinstance(event, Outcome)]
    executor.close()
    assert [outcome.state for outcome in outcomes] == [State.COMPLETE] * 2


@pytest.mark.usefixtures("ray_cluster")
def test_a_grid_whose_trials_are_drawn_ahead_tries_each_cell_once_and_ends(tmp_path: Path) -> None:
    from sweeps.executors.ray import RayExecutor

    space = {"model.init_args.x": [0.0, 0.5, 1.0], "model.init_args.y": [1, 2, 3, 4]}
    spec = fakes.spec(search_space=space, sampler="grid", budget={"hours": 1})
    storage = open_storage(f"sqlite:///{tmp_path}/sweeps.db")
    inner = create_study(spec, storage, validations=4)
    study = Study(inner, spec)
    executor = RayExecutor(fakes.Scripted(fakes.falling), slots=4)
    run(study, executor, asks_ahead=True)
    executor.close()
    cells = Counter(tuple(trial.params.values()) for trial in inner.trials)
    assert cells == dict.fromkeys(itertools.product(*space.values()), 1)
    assert {trial.state.name for trial in inner.trials} == {"COMPLETE"}


def test_a_function_runs_for_each_of_the_arguments_and_an_exception_or_a_death_is_a_result(
    ray_cluster: None,
) -> None:
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Scripted(fakes.falling), slots=3)
    *squares, error, died = executor.map(
        fakes.apply, [*((pow, n, 2) for n in range(8)), (int, "x"), (os._exit, 1)]
    )
    assert squares == [n * n for n in range(8)]
    assert isinstance(error, ValueError)
    assert isinstance(died, Exception)
    assert executor.map(fakes.apply, [(abs, -1)]) == [1]
    executor.close()
    alone = RayExecutor(fakes.Scripted(fakes.falling), slots=1)
    first, error, second = alone.map(fakes.apply, [(os.getpid,), (int, "x"), (os.getpid,)])
    assert isinstance(error, ValueError)
    assert first != second  # what raised may have spoilt its GPU
    alone.close()


def test_a_worker_that_dies_on_its_way_is_replaced_also_before_the_first_trial(
    ray_cluster: None, tmp_path: Path
) -> None:
    from sweeps.executors.ray import RayExecutor

    executor = RayExecutor(fakes.Preempted(tmp_path, [1, 2]), slots=1)
    died, result = executor.map(fakes.apply, [(os._exit, 1), (abs, -1)])
    assert isinstance(died, Exception)
    assert result == 1
    executor.close()
    never = RayExecutor(fakes.Preempted(tmp_path, range(4, 12)), slots=1)
    with pytest.raises(UserError, match=r"^the worker process dies: "):
        never.map(fakes.apply, [(abs, -1)])
    never.close()


@pytest.mark.usefixtures("ray_cluster")
def test_a_late_message_of_an_attempt_that_was_given_up_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    from sweeps.executors.ray import RayExecutor

    kill, given_up = ray.kill, []
    executor = RayExecutor(fakes.Scripted(fakes.late), slots=1)
    executor.submit(assignment(0))
    assert isinstance(executor.next_event(), Started)
    monkeypatch.setattr(ray, "kill", given_up.append)  # as if its node could not be reached any more
    executor.cancel(0, "lost")
    lost = after_starts(executor)
    executor.submit(replace(assignment(0), attempt=1))
    events = drain(executor)
    monkeypatch.undo()
    executor.close()
    kill(given_up[0])
    assert isinstance(lost, Outcome)
    assert [event.value for event in events] == [0.5] * 4
    assert {event.worker for event in events if isinstance(event, Outcome)} != {lost.worker}


def test_an_address_beside_a_connection_is_refused(ray_cluster: None) -> None:
    from sweeps.executors.cluster import cluster

    refused = pytest.raises(UserError, match=r"^--address local: this process is connected to a Ray cluster")
    with refused, cluster("local"):
        pass


ASKED_IN = """
import os, sys
from sweeps.errors import UserError
from sweeps.executors.address import ensure_admission

address, token = sys.argv[1:]
try:
    ensure_admission(address, "--address it")
except UserError as error:
    print(error)
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
ensure_admission(address, "--address it")
"""


def test_a_cluster_that_asks_for_a_token_is_one_line_at_once(ray_cluster: None) -> None:
    """In a process of its own, since this one has the token; that one is told so, then gives it."""
    import ray

    from sweeps.executors.local import token

    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", ASKED_IN, ray.get_runtime_context().gcs_address, token()],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(
        "--address it: the Ray cluster asks for its token: set RAY_AUTH_MODE=token, "
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
