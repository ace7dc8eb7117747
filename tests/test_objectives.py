"""Several objectives: the file, the study, the Pareto set, the files that stay, and all that reads them."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dashboards import figures, load, tables
from dashboards.errors import ResultsError
from dashboards.export import export
from dashboards.pareto import pareto_set
from dashboards.records import Sweep, Trial
from dashboards.report import build
from sweeps.errors import SpecError
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.files import TrialFiles
from sweeps.records import Assignment, Outcome, Report, State
from sweeps.runner import run
from sweeps.storages.storage import open_storage
from sweeps.study.front import Front
from sweeps.study.persistence import create_study, equip, load_study, loaded_spec
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes
from tests.studies import sweep_record, trial_record
from tests.test_invalid import printed

LOSS = {"metric": "loss", "direction": "minimize"}
SPEED = {"metric": "speed", "direction": "maximize"}


def spec(*objectives: Any, **changes: Any) -> SweepSpec:
    raw = fakes.spec(**changes).model_dump(exclude={"pruner", "file", "notes"} - changes.keys())
    return load_spec(raw | {"objective": list(objectives) or [LOSS, SPEED]})


def trade(assignment: Assignment) -> Iterator[Step]:
    """The smaller x, the better the loss and the worse the speed; the second validation has the best loss."""
    x = fakes.x_of(assignment)
    yield from [(1.0, (x + 1, 9.0)), (1.0, (x, x)), (1.0, (x + 2, 9.0))]


def worse_than_some(assignment: Assignment) -> Iterator[Step]:
    """Every second trial loses in both."""
    x = fakes.x_of(assignment)
    yield 1.0, (x, x - assignment.number % 2)


def test_a_list_of_one_objective_is_that_objective() -> None:
    assert spec(LOSS) == fakes.spec(pruner="forecast")


def test_nothing_prunes_several_objectives_unless_the_file_asks_for_it() -> None:
    assert spec().pruner == "none"
    assert spec(pruner="none").pruner == "none"
    assert SweepSpec.model_validate(spec().model_dump(exclude={"file", "notes"})) == spec()


@pytest.mark.parametrize(
    ("objectives", "changes", "message"),
    [
        pytest.param([LOSS, SPEED], {"pruner": "median"}, "pruner: 2 objectives cannot be pruned: leave it "
                     "out, or say `pruner: none`, but got 'median'", id="a pruner"),
        pytest.param([LOSS, SPEED], {"pruner": {"class_path": "optuna.pruners.HyperbandPruner"}},
                     "pruner: 2 objectives cannot be pruned", id="a pruner by its class"),
        pytest.param([LOSS, LOSS], {}, "objective.1.metric: 'loss' is an objective already", id="twice"),
        pytest.param([LOSS, {**SPEED, "value": "last"}], {},
                     "objective.1.value: only the first objective says", id="which validation counts, again"),
        pytest.param([LOSS, {"metric": "speed"}], {}, "objective.1.direction: is missing", id="no direction"),
        pytest.param([LOSS, {**SPEED, "directoin": "x"}], {},
                     "objective.1.directoin: unknown key, did you mean 'direction'?", id="an unknown key"),
        pytest.param([LOSS, "speed"], {},
                     "objective.1: must be a mapping with metric, direction", id="a name"),
        pytest.param([{"metric": f"m{i}", "direction": "minimize"} for i in range(9)], {},
                     "objective: must be a mapping with metric, direction, value, or a list", id="nine"),
        pytest.param([LOSS, SPEED], {"sampler": "cmaes"}, "sampler: CmaEsSampler has one objective only",
                     id="a sampler for one"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_the_right_answer(
    objectives: list[Any], changes: dict[str, Any], message: str
) -> None:
    from sweeps.planning.plan import check_algorithms

    with pytest.raises(SpecError) as caught:
        check_algorithms(spec(*objectives, **changes), 4)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("objective", [3, [], "loss", None])
def test_what_is_no_objective_at_all_is_one_line(objective: Any) -> None:
    with pytest.raises(
        SpecError, match=r"^objective: must be a mapping with metric, direction, value, or a list of"
    ):
        fakes.spec(objective=objective)


def test_the_pareto_set_is_optunas() -> None:
    rng = random.Random(1)
    for objectives in ([LOSS, SPEED], [LOSS, SPEED, {"metric": "size", "direction": "minimize"}]):
        front = Front(spec(*objectives).objectives)
        study = optuna.create_study(directions=[o["direction"] for o in objectives])
        trials: list[Trial] = []
        for number in range(80):
            values = [float(rng.randrange(4)) for _ in objectives]  # with many equals
            study.add_trial(optuna.create_trial(values=values))
            front.add(Outcome(number, State.COMPLETE, values[0], others=tuple(values[1:])))
            trials.append(trial_record(number, "complete", values[0], values=tuple(values)))
        expected = {trial.number for trial in study.best_trials}
        assert {outcome.number for outcome in front.outcomes} == expected
        directions = [o["direction"] for o in objectives]
        ours = [trial.number for trial in pareto_set(trials, directions)]
        assert set(ours) == expected
        assert ours == [outcome.number for outcome in front.outcomes]


def swept(tmp_path: Path, script: Any, **changes: Any) -> tuple[Study, optuna.Study]:
    of = spec(**changes)
    inner = create_study(of, open_storage(f"sqlite:///{tmp_path}/sweeps.db"), validations=4)
    study = Study(inner, of)
    run(study, ScriptedExecutor(script, slots=2))
    return study, inner


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsgaii"])
def test_a_sweep_of_two_objectives_keeps_all_values_of_one_validation(tmp_path: Path, sampler: str) -> None:
    study, inner = swept(tmp_path, trade, sampler=sampler, budget={"trials": 14})
    known = load(tmp_path / "sweeps.db", "test").trials
    trials = inner.trials
    for trial in trials:
        x = trial.params["model.init_args.x"]
        assert trial.values == [x, x]
        assert known[trial.number].intermediate == {1: x + 1, 2: x, 3: x + 2}
    assert len(study.front.outcomes) == 14  # each is a trade
    assert study.best is study.front.outcomes[0]
    assert study.best.value == min(trial.values[0] for trial in trials)


def test_diverged_and_excluded_trials_have_no_values_and_the_sampler_goes_on(tmp_path: Path) -> None:
    def diverging(assignment: Assignment) -> Iterator[Step]:
        yield 1.0, (0.5, 0.5)
        if assignment.number % 2:
            yield 1.0, (float("nan"), 0.5)

    limit = ["model.init_args.x <= 0.7"]
    study, inner = swept(tmp_path, diverging, sampler="tpe", budget={"trials": 16}, constraints=limit)
    assert study.counts[State.DIVERGED] + study.counts[State.COMPLETE] == 16
    pruned = [trial for trial in inner.trials if trial.state is TrialState.PRUNED]
    assert len(pruned) > study.counts[State.DIVERGED]  # those that the constraint excluded
    assert all(trial.values is None for trial in pruned)


def test_a_sweep_of_two_objectives_goes_on_from_its_study(tmp_path: Path) -> None:
    study, _ = swept(tmp_path, worse_than_some, budget={"trials": 6})
    assert study.ask() is None
    again = load_study("test", f"sqlite:///{tmp_path}/sweeps.db")
    of = loaded_spec(again)
    assert of == spec(budget={"trials": 6}).model_copy(update={"start": str(Path.cwd())})
    of = of.model_copy(update={"budget": of.budget.model_copy(update={"trials": 9})})
    equip(again, of, 4)
    later = Study(again, of)
    first = later._study.ask()  # as a driver that was killed leaves it
    of.space.suggest(first)
    later.adopt([Report(first.number, 1, 0.4)])
    assert [o.number for o in later.front.outcomes] == [o.number for o in study.front.outcomes]
    cut = later.ask()
    assert cut is not None
    assert (cut.number, cut.attempt, cut.known_step) == (first.number, 1, 1)
    later.should_stop(Report(first.number, 2, 0.3))
    later = Study(again, of)
    later.adopt()
    cut = later.ask()
    assert cut is not None
    assert (cut.number, cut.attempt, cut.known_step) == (first.number, 2, 2)
    later.tell(Outcome(cut.number, State.COMPLETE, 0.25, others=(0.5,)))
    run(later, ScriptedExecutor(worse_than_some))
    assert later.counts == {State.COMPLETE: 9}
    assert {o.number for o in later.front.outcomes} == {t.number for t in again.best_trials}


@pytest.mark.parametrize(("keep", "expected"), [(1, [0, 2]), (0, [])])
def test_the_checkpoints_of_the_pareto_set_stay(tmp_path: Path, keep: int, expected: list[int]) -> None:
    files = TrialFiles(tmp_path, spec().objectives, keep=keep)
    for number, values in enumerate([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (2.0, 2.5), (1.5, 0.5), (2.0, 4.0)]):
        folder = tmp_path / f"trial-{number}"
        folder.mkdir()
        (folder / "best.ckpt").touch()
        files.record(Outcome(number, State.COMPLETE, values[0], others=(values[1],)))
    kept = sorted(int(path.parent.name.removeprefix("trial-")) for path in tmp_path.glob("*/best.ckpt"))
    assert kept == ([0, 5] if keep else expected)


@pytest.fixture
def half_dominated(tmp_path: Path) -> Sweep:
    """Eight trials, the even ones of which are the Pareto set."""
    swept(tmp_path, worse_than_some, budget={"trials": 8}, sampler="random")
    return load(tmp_path / "sweeps.db", "test")


def test_status_and_list_show_the_pareto_set(half_dominated: Sweep) -> None:
    summary = half_dominated.summary
    assert summary.objectives == (("loss", "minimize"), ("speed", "maximize"))
    assert sorted(summary.front) == [0, 2, 4, 6]
    assert summary.best_number == summary.front[0]
    shown = printed(tables.status_table(half_dominated))
    assert "minimize loss, maximize speed" in shown
    assert "Pareto front: 4 trials" in shown
    assert "(best of 4 on the Pareto front)" in printed(tables.list_table([summary]))


def test_export_gives_the_pareto_set_first_and_any_trial_by_its_number(
    half_dominated: Sweep,
) -> None:
    found = json.loads(export(half_dominated, "json", 8))
    assert [entry["number"] for entry in found[:4]] == list(half_dominated.summary.front)
    assert found[0]["values"] == {"loss": found[0]["value"], "speed": found[0]["value"]}
    text = export(half_dominated)
    assert "(minimized), speed = " in text
    assert "(maximized), one of 4 on the Pareto front" in text
    assert "trial 3: " in export(half_dominated, number=3)
    assert "Pareto" not in export(half_dominated, number=3)
    with pytest.raises(ResultsError, match=r"^test has no trial 9; it has 0 to 7$"):
        export(half_dominated, number=9)


def test_the_report_shows_the_pareto_set_and_says_what_the_rest_is_about(
    half_dominated: Sweep,
) -> None:
    page = build([half_dominated])
    assert "Which trials are on the Pareto front?" in page
    assert "4 trials of 8 complete" in page
    assert "The sections below are about the first objective, loss, alone." in page
    assert "Hypervolume" in page
    compared = build([half_dominated, half_dominated])
    assert "minimize loss" in compared


def test_the_report_of_a_single_best_trial_does_not_speak_of_several(tmp_path: Path) -> None:
    swept(tmp_path, worse_than_some, budget={"trials": 1}, sampler="random")
    page = build([load(tmp_path / "sweeps.db", "test")])
    assert "1 trial of 1 complete: it is better than all others" in page


def test_the_report_of_many_objectives_does_not_take_minutes() -> None:
    drawing = random.Random(0)
    values = [tuple(drawing.random() for _ in range(8)) for _ in range(200)]
    trials = [trial_record(n, "complete", row[0], values=row) for n, row in enumerate(values)]
    front = tuple(trial.number for trial in pareto_set(trials, ["minimize"] * 8))
    sweep = sweep_record(trials)
    named = tuple((f"of {number}", "minimize") for number in range(8))
    sweep = replace(sweep, summary=replace(sweep.summary, objectives=named, front=front))
    data = figures.pareto_data(sweep)
    assert len(data.ended) == len(data.hypervolume) == 40
    assert data.hypervolume[-1] > 0
    assert len(data.numbers) + len(data.front_numbers) == 200
    assert "Of 40 trials, evenly chosen." in build([sweep])


def test_the_figures_hold_every_complete_trial(half_dominated: Sweep) -> None:
    data = figures.pareto_data(half_dominated)
    assert sorted([*data.numbers, *data.front_numbers]) == list(range(8))
    assert list(data.hypervolume) == sorted(data.hypervolume)
    assert data.hypervolume[-1] > 0
    drawn = figures.pareto(half_dominated)
    assert [len(trace.x) for trace in drawn.data] == [4, 4]


def test_the_notebooks_table_has_a_column_a_value(half_dominated: Sweep) -> None:
    from dashboards.frames import frame

    table = frame(half_dominated)
    assert list(table["on_front"]) == [True, False] * 4
    assert list(table["value_2"]) == [trial.values[1] for trial in half_dominated.trials]


def test_a_sweep_of_several_objectives_without_a_complete_trial_is_read_as_well(tmp_path: Path) -> None:
    create_study(spec(), open_storage(f"sqlite:///{tmp_path}/sweeps.db"), validations=4)
    from dashboards.frames import frame

    sweep = load(tmp_path / "sweeps.db", "test")
    assert sweep.summary.front == ()
    assert {"value_2", "on_front"} <= {*frame(sweep)}
    printed(tables.status_table(sweep))
    assert "there is no Pareto front" in build([sweep])
    with pytest.raises(ResultsError, match="there is no Pareto set"):
        figures.pareto(sweep)
