"""Nodes that get no trial for a while; a real sweep on one is in `tests.long`."""

import itertools
import math

import pytest

from sweeps.executors.left_out import LeftOut
from sweeps.executors.resources import Need, NodeState
from sweeps.executors.slot import Slot
from sweeps.executors.workers import Workers

NODES = ("good", "bad", "other")
numbers = itertools.count()


def tried(there: LeftOut, node: str, *, well: int = 0, failed: int = 0) -> None:
    """So many trials began well on a node, and then so many failed."""
    for _ in range(well):
        there.begins_well(node)
    for _ in range(failed):
        there.fails(node, next(numbers), f"10.0.0.{node}", "no data", set(NODES) - there.names())


@pytest.mark.parametrize(
    ("elsewhere_well", "elsewhere_failed", "enough"),
    [
        pytest.param(4, 0, 4, id="few began well elsewhere"),
        pytest.param(200, 0, 2, id="many did"),
        pytest.param(5000, 0, 2, id="never after a single one"),
        pytest.param(60, 30, 7, id="a third fails everywhere"),
    ],
)
def test_a_node_is_left_out_once_chance_does_not_explain_its_failures(
    elsewhere_well: int, elsewhere_failed: int, enough: int
) -> None:
    said: list[str] = []
    there = LeftOut(said.append)
    tried(there, "good", failed=elsewhere_failed)
    tried(there, "good", well=elsewhere_well)
    tried(there, "bad", well=3, failed=enough - 1)
    assert not there.names()
    tried(there, "bad", failed=1)
    assert there.names() == {"bad"}
    [line] = said
    assert line.startswith(
        f"no trial for 10 minutes on node 10.0.0.bad: {enough} trials in a row failed there"
    )
    assert line.endswith(f"elsewhere {elsewhere_failed} of {elsewhere_failed + elsewhere_well}: no data")


def test_nothing_is_left_out_while_trials_fail_everywhere() -> None:
    there = LeftOut(pytest.fail)
    for _ in range(100):
        tried(there, "bad", failed=1)
        tried(there, "good", failed=1)
    assert not there.names()


def test_further_attempts_of_a_trial_say_no_more_of_its_node() -> None:
    there = LeftOut(pytest.fail)
    tried(there, "good", well=200)
    for _ in range(9):
        there.fails("bad", 7, "10.0.0.2", "no data", NODES)
    assert not there.names()


def test_the_last_node_is_never_left_out() -> None:
    there = LeftOut(pytest.fail)
    assert there.cannot_begin("bad", "10.0.0.2", "no torch", {"bad", "good"})
    assert there.cannot_begin("bad", "10.0.0.2", "no torch", {"good"})
    assert not there.cannot_begin("good", "10.0.0.1", "no torch", {"good"})
    assert there.names() == {"bad"}
    assert not there.cannot_begin("bad", "10.0.0.2", "no torch", {"bad"})  # it is the last by now


def test_a_node_is_tried_again_and_left_out_again_at_once_if_nothing_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def clock(now: float) -> None:
        monkeypatch.setattr("sweeps.executors.left_out.time.monotonic", lambda: now)

    clock(0.0)
    there = LeftOut(lambda _: None)
    tried(there, "good", well=20)
    tried(there, "bad", failed=3)
    assert there.names() == {"bad"}
    clock(601.0)
    assert not there.names()
    tried(there, "bad", failed=1)
    assert there.names() == {"bad"}
    clock(1300.0)
    tried(there, "bad", well=1, failed=1)
    assert not there.names()


def test_trials_that_stay_on_a_closed_node_take_no_place_on_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full, empty = {"CPU": 4.0}, {"CPU": 0.0}
    states = {"good": NodeState(full, full), "bad": NodeState(full, empty, is_drained=True)}
    monkeypatch.setattr("sweeps.executors.workers.nodes", lambda: states)
    workers = Workers(lambda: pytest.fail("starts none"), Need(), math.inf, 30.0, print)
    workers.slots = [Slot(f"worker-{n}", None, None, node="bad", trial=n, since=0.0) for n in range(4)]
    workers.look()
    assert (workers.closed, workers.capacity) == ({"bad"}, 4 + 4)


def test_a_node_that_is_left_out_is_not_used_while_the_others_are_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its trials would fail one after the other, which ends a sweep; the others may only be started again."""
    states = {"good": NodeState({"CPU": 1.0}, {"CPU": 1.0}), "bad": NodeState({"CPU": 1.0}, {"CPU": 1.0})}
    monkeypatch.setattr("sweeps.executors.workers.nodes", lambda: states)
    workers = Workers(lambda: pytest.fail("starts none"), Need(), math.inf, 30.0, print)
    workers.look()
    assert workers._left_out.cannot_begin("bad", "10.0.0.2", "no torch", workers._open)
    workers.look()
    assert (workers.closed, workers.capacity) == ({"bad"}, 1)
    del states["good"]
    workers.look()
    assert (workers.closed, workers.capacity) == ({"bad"}, 0)
