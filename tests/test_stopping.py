"""`stop_when` ends a sweep before its budget is used, the same after a crash, and says so."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

import dashboards
from dashboards import tables
from sweeps.errors import SpecError, UserError
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.planning.places import Places
from sweeps.records import Assignment, Outcome, State
from sweeps.runner import run
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, load_study
from sweeps.study.stopping import Stopping
from sweeps.study.study import Study
from sweeps.sweep import resume_sweep
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.sections import StopWhen
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes


def ended(spec: SweepSpec, values: list[float | None], *, slots: int = 1) -> Study:
    """A sweep whose trials have these values, in the order in which they are asked; None fails."""

    def script(assignment: Assignment) -> Iterator[Step]:
        value = values[assignment.number]
        if value is None:
            raise ValueError("no")
        yield 1.0, value

    study = fakes.study(spec)
    run(study, ScriptedExecutor(script, slots=slots, direction=spec.objective.direction))
    return study


def spec(direction: str = "minimize", **stop_when: Any) -> SweepSpec:
    return fakes.spec(
        budget={"trials": 8}, stop_when=stop_when, objective={"metric": "loss", "direction": direction}
    )


def test_it_ends_once_so_many_trials_were_no_better() -> None:
    study = ended(spec(no_improvement_for=3), [0.5, 0.4, 0.4, None, 0.9, 0.1, 0.1, 0.1])
    # The trial that was asked ahead is finished: trial 5 was asked before trial 4 ended.
    assert study.finished == 8, "a trial that ran brought something better, so the search went on"
    study = ended(spec(no_improvement_for=3), [0.5, 0.4, 0.4, None, 0.9, 0.8, 0.1, 0.1])
    assert study.finished == 6
    assert study.stop_reason == "3 trials in a row were no better than the best"


@pytest.mark.parametrize(
    ("direction", "values"),
    [pytest.param("minimize", [0.5, 0.2, 0.6, 0.1], id="min"),
     pytest.param("maximize", [0.1, 0.3, 0.0, 0.4], id="max")],
)  # fmt: skip
def test_it_ends_at_a_value(direction: str, values: list[float | None]) -> None:
    wanted = {"minimize": 0.25, "maximize": 0.3}[direction]
    study = ended(spec(direction, value=wanted), values)
    assert study.finished == 3, "the trial asked ahead is finished, no further one is asked"
    assert study.stop_reason == f"the objective reached {wanted:g}"


def test_failures_and_pruned_trials_count_but_nothing_ends_before_a_trial_is_complete() -> None:
    stopping = Stopping(spec(no_improvement_for=2))
    for number in range(5):
        stopping.count(Outcome(number, State.PRUNED, 0.1))
    assert stopping.reason == ""
    stopping.count(Outcome(5, State.COMPLETE, 0.3))
    stopping.count(Outcome(6, State.INVALID))
    stopping.count(Outcome(7, State.PRUNED, 0.1))
    assert stopping.reason == ""
    stopping.count(Outcome(8, State.FAILED))
    assert stopping.reason != ""


def test_of_several_objectives_whatever_joins_the_pareto_set_is_an_improvement() -> None:
    both = [{"metric": metric, "direction": "minimize"} for metric in ("a", "b")]
    stopping = Stopping(fakes.spec(objective=both, stop_when={"no_improvement_for": 2}))
    for number, (a, b) in enumerate([(1.0, 1.0), (2.0, 2.0), (0.5, 3.0), (2.0, 2.0)]):
        stopping.count(Outcome(number, State.COMPLETE, a, others=(b,)))
        assert stopping.reason == ""
    stopping.count(Outcome(4, State.COMPLETE, 2.0, others=(2.0,)))
    assert stopping.reason != ""
    with pytest.raises(SpecError, match=r"`stop_when.value` is of one objective, but there are several"):
        fakes.spec(objective=both, stop_when={"value": 0.5})


def test_a_resumed_sweep_counts_on_in_the_order_of_the_ends() -> None:
    rules = spec(no_improvement_for=3)
    first = fakes.study(rules)
    slow, *others = [first.ask() for _ in range(3)]
    for number, assignment in enumerate(others):
        assert assignment
        first.tell(Outcome(assignment.number, State.COMPLETE, 0.3 + number))
    assert slow
    first.tell(Outcome(slow.number, State.COMPLETE, 0.1))
    again = Study(fakes.optuna_study(first), rules)
    again.adopt()
    assert again.stop_reason == ""
    for _ in range(3):
        assignment = again.ask()
        assert assignment
        again.tell(Outcome(assignment.number, State.COMPLETE, 0.2))
    assert again.ask() is None
    third = Study(fakes.optuna_study(first), rules)
    third.adopt()
    assert third.stop_reason == again.stop_reason != ""


def test_status_says_why_it_ended_and_resume_asks_for_more_by_name(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sweeps.db"
    rules = spec(value=1.0)
    where = Places(url, f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path), tmp_path)
    there = str(tmp_path)
    mlflow = {"tracking_uri": where.tracking_uri, "experiment": "test", "artifacts": there, "key": "k"}
    notes = {"files": there, "spool": there, "mlflow": mlflow}
    study = Study(create_study(rules, open_storage(url), validations=4, notes=notes), rules)
    run(study, ScriptedExecutor(fakes.falling))
    study.end("finished")
    sweep = dashboards.load(tmp_path / "sweeps.db", "test")
    assert sweep.stop_reason == "the objective reached 1"
    text = io.StringIO()
    Console(file=text, width=200).print(tables.status_table(sweep))
    assert "ended by `stop_when`: the objective reached 1" in text.getvalue()
    fakes.optuna_study(study).enqueue_trial({"model.init_args.x": 0.5})  # as one that was drawn and put back
    with pytest.raises(UserError, match="test: the objective reached 1, so `stop_when` ended it; `--trials`"):
        resume_sweep("test", storage=url)
    assert isinstance(load_study("test", url), optuna.Study)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({}, "stop_when: give `no_improvement_for`, `value` or both", id="nothing"),
        pytest.param({"no_improvement_for": 0}, "stop_when.no_improvement_for: input should be gr", id="0"),
        pytest.param({"value": ".nan"}, "stop_when.value: ", id="nan"),
        pytest.param({"patience": 3}, "stop_when.patience: unknown key; known are no_improvement_for, value",
                     id="an unknown key"),
        pytest.param(20, "stop_when: must be a mapping with no_improvement_for, value, but got 20",
                     id="a number"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(given: Any, message: str) -> None:
    raw = fakes.spec().model_dump(exclude={"stop_when"}) | {"stop_when": given}
    with pytest.raises(SpecError) as caught:
        load_spec({key: value for key, value in raw.items() if value is not None})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_rules_read_as_a_sentence() -> None:
    rules = StopWhen(no_improvement_for=20, value=0.01)
    assert str(rules) == "20 trials in a row were no better than the best or the objective reaches 0.01"
