"""The driver's memory of its trials beside the database that they are in; Optuna's suite runs on it, too."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from sweeps.driver import drive
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.planning.places import Places
from sweeps.records import News, Outcome, Report, State
from sweeps.storages.alone import alone
from sweeps.storages.known_trials import KnownTrials
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from tests import fakes


@dataclass
class Both:
    """A driver's study, the database's URL, and the statements that the driver sends there."""

    study: optuna.Study
    url: str
    statements: list[str]

    def elsewhere(self) -> optuna.Study:
        """The study as another process sees it."""
        return optuna.load_study(study_name="some", storage=open_storage(self.url))


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    storage = open_storage(url)
    made = optuna.create_study(
        study_name="some",
        storage=storage,
        sampler=optuna.samplers.TPESampler(n_startup_trials=3, seed=1),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
    )
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", note)
    yield Both(alone(made), url, statements)
    storage.engine.dispose()


def train(trial: optuna.Trial, validations: int = 3) -> float:
    rate = trial.suggest_float("rate", 1e-5, 1.0, log=True)
    kind = trial.suggest_categorical("kind", ["a", "b", None])
    trial.set_user_attr("config", {"tuple": (1, 2), "nan": float("inf"), "rate": rate})
    for step in range(validations):
        trial.report(rate / (1 + step) if kind else float("nan"), step)
    return rate


def plain(trial: FrozenTrial) -> dict[str, Any]:
    fields = {key: value for key, value in vars(trial).items() if "datetime" not in key}
    fields["_user_attrs"] = sorted(trial.user_attrs.items())  # a database gives them in any order
    return {key: repr(value) for key, value in fields.items()}  # as text, in which NaN equals itself


def test_memory_and_database_say_the_same(both: Both) -> None:
    both.study.enqueue_trial({"rate": 0.25}, user_attrs={"from": "a friend"})
    ends = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    for number in range(9):
        trial = both.study.ask()
        value = train(trial)
        if number < 7:  # the others run on
            end = ends[number % 3]
            both.study.tell(trial, value if end is TrialState.COMPLETE else None, state=end)
    both.study.enqueue_trial({"rate": 0.5})
    known = both.study.get_trials(deepcopy=False)
    kept = both.elsewhere().get_trials()
    assert [plain(trial) for trial in known] == [plain(trial) for trial in kept]
    assert {trial.state for trial in known} == set(TrialState)
    for one, other in zip(known, kept, strict=True):
        for name in ("datetime_start", "datetime_complete"):
            here, there = getattr(one, name), getattr(other, name)
            assert (here is None) == (there is None)
            assert here is None or abs(here - there) < timedelta(seconds=1)


def test_samplers_and_pruners_look_without_a_question_to_the_database(both: Both) -> None:
    for _ in range(4):
        trial = both.study.ask()
        both.study.tell(trial, train(trial))
    running = both.study.ask()
    train(running)
    both.statements.clear()
    assert isinstance(running.should_prune(), bool)
    assert both.study.sampler.infer_relative_search_space(both.study, running._get_latest_trial())
    assert len(both.study.get_trials(states=[TrialState.RUNNING])) == 1
    assert both.study.best_trials
    assert both.statements == []


def test_a_trial_that_somebody_adds_meanwhile_gets_its_turn(both: Both) -> None:
    both.study.tell(both.study.ask(), 1.0)
    both.elsewhere().enqueue_trial({"rate": 0.125})
    asked = [both.study.ask() for _ in range(3)]
    assert [trial.number for trial in asked] == [2, 1, 3]
    assert [trial.suggest_float("rate", 1e-5, 1.0, log=True) for trial in asked][1] == 0.125


def test_what_another_process_wrote_before_is_known(both: Both) -> None:
    other = both.elsewhere()
    trial = other.ask()
    train(trial)
    other.tell(other.ask(), 2.0)
    again = optuna.trial.Trial(both.study, trial._trial_id)
    both.study.tell(again, 3.0)
    assert [known.value for known in both.study.trials] == [3.0, 2.0]
    assert [kept.value for kept in both.elsewhere().trials] == [3.0, 2.0]


@pytest.mark.parametrize("ends", [False, True])
def test_a_trial_that_somebody_else_takes_or_ends_is_not_waited_for(both: Both, ends: bool) -> None:
    both.study.enqueue_trial({"rate": 0.125})
    other = both.elsewhere()
    taken = other.ask()
    if ends:
        other.tell(taken, 1.0)
    assert both.study.ask().number == 1
    assert both.study.get_trials(states=[TrialState.WAITING]) == []


def test_a_trial_that_somebody_adds_to_a_grid_that_is_through_is_run(tmp_path: Path) -> None:
    grid = {"class_path": "grid", "init_args": {"points": 3}}
    spec, url = fakes.spec(sampler=grid, budget={"hours": 1}), f"sqlite:///{tmp_path / 's.db'}"
    study = create_study(spec, open_storage(url), validations=4, notes={"mlflow": {"key": "key"}})

    class Adds:
        def record(self, event: News) -> None:
            if isinstance(event, Outcome) and event.number == 2:  # nothing will be drawn after that
                other = optuna.load_study(study_name=study.study_name, storage=open_storage(url))
                other.enqueue_trial({"model.init_args.x": 0.25})

    done = drive(study, spec, places(tmp_path, url), ScriptedExecutor(fakes.falling, length=4), [Adds()])
    assert done.counts.total() == 4


@pytest.mark.parametrize("step", [2, 4], ids=["in the middle", "after the last report"])
@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL])
def test_a_trial_that_another_program_ends_counts_as_it_says_and_the_sweep_goes_on(
    tmp_path: Path, state: TrialState, step: int
) -> None:
    spec, url = fakes.spec(budget={"trials": 5}), f"sqlite:///{tmp_path / 's.db'}"
    study = create_study(spec, open_storage(url), validations=4, notes={"mlflow": {"key": "key"}})
    said: list[str] = []
    seen: list[News] = []

    class Ends:
        def record(self, event: News) -> None:
            seen.append(event)
            if isinstance(event, Report) and (event.number, event.step) == (1, step):
                other = optuna.load_study(study_name=study.study_name, storage=open_storage(url))
                other.tell(1, -3.0 if state is TrialState.COMPLETE else None, state=state)

    executor = ScriptedExecutor(fakes.falling, slots=2, length=4)
    done = drive(study, spec, places(tmp_path, url), executor, [Ends()], say=said.append)
    ours = State.COMPLETE if state is TrialState.COMPLETE else State.FAILED
    assert done.counts == Counter({State.COMPLETE: 4}) + Counter([ours])
    assert done.best is not None
    assert (done.best.value == -3.0) is (ours is State.COMPLETE)
    [line] = [line for line in said if "another program" in line]
    assert line.startswith(f"trial 1 was ended by another program and counts as {ours}; ")
    steps = [event.step for event in seen if isinstance(event, Report) and event.number == 1]
    assert steps[-1] == min(step + 1, 4)  # and no further
    kept = optuna.load_study(study_name=study.study_name, storage=open_storage(url)).trials
    assert [trial.state for trial in kept] == [TrialState.COMPLETE, state, *[TrialState.COMPLETE] * 3]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(spec.name)
    [run] = client.search_runs([experiment.experiment_id], "tags.trial_number = '1'")
    value = -3.0 if ours is State.COMPLETE else None
    assert (run.data.tags["state"], run.data.metrics.get("objective")) == (ours, value)
    assert run.info.status == ("FINISHED" if ours is State.COMPLETE else "FAILED")


def test_a_trial_that_another_program_ends_is_not_tried_again(tmp_path: Path) -> None:
    spec, url = fakes.spec(budget={"trials": 1}), f"sqlite:///{tmp_path / 's.db'}"
    study = Study(alone(create_study(spec, open_storage(url), validations=4)), spec)
    assignment = study.ask()
    assert assignment is not None
    optuna.load_study(study_name=study.name, storage=open_storage(url)).tell(0, 1.0)
    told = study.tell(Outcome(0, State.FAILED, reason="its worker is gone", lost=True))
    assert isinstance(told, Outcome)
    assert (told.state, told.value, study.finished, study.ask()) == (State.COMPLETE, 1.0, 1, None)


def places(folder: Path, url: str) -> Places:
    return Places(url, f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"), folder / "files")


class Looking(optuna.samplers.RandomSampler):
    """Keeps the study that it is asked for."""

    seen: optuna.Study | None = None

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.seen = study


def test_a_driver_with_a_thread_that_draws_reads_from_memory_what_is_in_the_database(tmp_path: Path) -> None:
    spec, url = fakes.spec(pruner="median", budget={"trials": 30}), f"sqlite:///{tmp_path / 's.db'}"
    study = create_study(spec, open_storage(url), validations=4, notes={"mlflow": {"key": "key"}})
    study.sampler = sampler = Looking(seed=1)
    executor = ScriptedExecutor(fakes.falling, slots=4, length=4)
    drive(study, spec, places(tmp_path, url), executor, [], asks_ahead=True)
    assert sampler.seen is not None
    assert isinstance(sampler.seen._storage, KnownTrials)
    kept = optuna.load_study(study_name=study.study_name, storage=open_storage(url)).trials
    assert [plain(trial) for trial in sampler.seen.get_trials(deepcopy=False)] == [plain(t) for t in kept]


def test_a_trial_that_another_program_ends_while_the_pruner_looks_ends_the_training_only(
    tmp_path: Path,
) -> None:
    spec, url = fakes.spec(pruner="successive_halving"), f"sqlite:///{tmp_path / 's.db'}"
    made = create_study(spec, open_storage(url), validations=4)

    class EndsFirst(optuna.pruners.SuccessiveHalvingPruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            optuna.load_study(study_name=made.study_name, storage=open_storage(url)).tell(trial.number, 1.0)
            return super().prune(study, trial)

    made.pruner = EndsFirst(min_resource=1)
    study = Study(alone(made), spec)
    assert study.ask() is not None
    assert study.should_stop(Report(0, 1, 2.0))
    assert study.tell(Outcome(0, State.PRUNED, value=2.0)) is not None
    assert study.counts == {State.COMPLETE: 1}
