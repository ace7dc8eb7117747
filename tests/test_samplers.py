"""Every sampler and pruner by name, through the real loop on disk and on after a resume; grids; notes."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from search_spaces import grid_of, load_space
from sweeps.errors import SpecError, UserError
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.planning.advice import advice
from sweeps.planning.check import check
from sweeps.planning.plan import check_algorithms
from sweeps.records import Assignment, State
from sweeps.runner import run
from sweeps.samplers.algorithms import PRUNERS, SAMPLERS, make_sampler, pruning_text, rung_table
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, equip, load_study, loaded_spec
from sweeps.study.study import Study
from sweeps.sweep import resume_sweep
from sweeps.sweep_file.cells import cells_of, trials_of_grid
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes

MIXED = {
    "model.init_args.lr": {"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    "model.init_args.width": {"type": "int", "low": 4, "high": 64, "log": True},
    "model.init_args.norm": ["none", "batch"],
    "model.init_args.momentum": {
        "type": "float", "low": 0.1, "high": 0.9, "step": 0.4, "when": {"model.init_args.norm": "batch"},
    },
}  # fmt: skip
NEEDS = {
    "threshold": {"upper": 2.5},
    "successive_halving": {"bootstrap_count": 1},
    "percentile": {"n_startup_trials": 2},
    "median": {"n_startup_trials": 2},
    "grid": {"points": 3},
    "gp": {"n_startup_trials": 4},
    "nsgaii": {"population_size": 4},
}
"""What a name cannot do without, or so that it has something to do in a short test."""


def named(name: str) -> Any:
    return {"class_path": name, "init_args": NEEDS[name]} if name in NEEDS else name


def learning(assignment: Assignment) -> Iterator[Step]:
    """Six validations that fall to a value of the parameters."""
    lr, width = (assignment.params[f"model.init_args.{name}"] for name in ("lr", "width"))
    floor = abs(math.log10(lr) + 1.5) + abs(math.log2(width) - 4) / 4
    for step in range(1, 7):
        yield 1.0, floor + 1 / step


def space_of(sampler: str) -> dict[str, Any]:
    """The mixed space, with a step where a sampler must have one."""
    stepped = {"type": "float", "low": 0.25, "high": 1.0, "step": 0.25}
    few = {"type": "int", "low": 4, "high": 6}
    replaced = {"model.init_args.lr": stepped, "model.init_args.width": few}
    return MIXED | (replaced if sampler == "brute_force" else {})


def sweep_twice(tmp_path: Path, of: SweepSpec, more: int) -> tuple[Study, optuna.Study]:
    """Runs a sweep to its budget, and on from the database alone."""
    url = f"sqlite:///{tmp_path}/sweeps.db"
    run(
        Study(create_study(of, open_storage(url), validations=6), of),
        ScriptedExecutor(learning, slots=2, length=6),
    )
    inner = load_study(of.name, url)
    spec = loaded_spec(inner)
    spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": more})})
    equip(inner, spec, 6)
    study = Study(inner, spec)
    study.adopt()
    run(study, ScriptedExecutor(learning, slots=2, length=6))
    return study, inner


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_runs_a_sweep_and_goes_on_with_it(tmp_path: Path, name: str) -> None:
    of = fakes.spec(
        sampler=named(name), search_space=space_of(name), pruner=named("median"), budget={"trials": 7}
    )
    check_algorithms(of, 6)
    study, inner = sweep_twice(tmp_path, of, 12)
    assert study.finished == 12
    assert study.counts[State.FAILED] == 0
    assert study.best is not None
    different = {tuple(sorted(trial.params.items())) for trial in inner.trials}
    assert len(different) == 12  # also after the resume
    assert {len(trial.params) for trial in inner.trials} == {3, 4}  # the condition holds


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_runs_a_sweep_and_goes_on_with_it(tmp_path: Path, name: str) -> None:
    of = fakes.spec(sampler="random", search_space=MIXED, pruner=named(name), budget={"trials": 12})
    check_algorithms(of, 6)
    assert bool(rung_table(of, 6)) == (name in ("hyperband", "successive_halving"))
    assert pruning_text(of)
    study, inner = sweep_twice(tmp_path, of, 24)
    assert study.finished == study.counts[State.COMPLETE] + study.counts[State.PRUNED] == 24
    prunes = name not in ("none", "patient")  # the values fall all the time
    assert bool(study.counts[State.PRUNED]) is prunes
    pruned = [trial for trial in inner.trials if trial.state is optuna.trial.TrialState.PRUNED]
    assert not any(trial.last_step == 6 for trial in pruned)


def test_wilcoxon_prunes_what_is_worse_than_the_best_trial_at_each_validation(tmp_path: Path) -> None:
    def folds(assignment: Assignment) -> Iterator[Step]:
        for fold in range(1, 9):
            yield 1.0, fakes.x_of(assignment) + fold / 100

    of = fakes.spec(pruner="wilcoxon", budget={"trials": 12})
    study = fakes.study(of, validations=8)
    run(study, ScriptedExecutor(folds, length=8))
    assert study.counts[State.PRUNED] >= 4
    assert study.counts[State.COMPLETE] >= 1


DISCRETE = {
    "model.init_args.depth": {"type": "int", "low": 1, "high": 3},
    "model.init_args.norm": ["none", "batch"],
    "model.init_args.momentum": {
        "type": "float", "low": 0.1, "high": 0.9, "step": 0.4, "when": {"model.init_args.norm": "batch"},
    },
}  # fmt: skip
CELLS = 3 * (1 + 3)


def grid(**changes: Any) -> SweepSpec:
    return fakes.spec(sampler="grid", search_space=DISCRETE, **changes)


def flat(assignment: Assignment) -> Iterator[Step]:
    yield 1.0, 0.5


@pytest.mark.parametrize("name", ["grid", "brute_force"])
def test_a_grid_without_a_budget_is_every_configuration_once(name: str) -> None:
    raw = fakes.spec(search_space=DISCRETE, sampler=name).model_dump(exclude={"budget", "file", "notes"})
    from sweeps.sweep_file.loading import load_spec

    of = load_spec(raw)
    assert of.budget.trials == CELLS == trials_of_grid(of)
    study = fakes.study(of)
    run(study, ScriptedExecutor(flat, slots=5))
    asked = [tuple(sorted(trial.params.items())) for trial in fakes.optuna_study(study).trials]
    assert len(asked) == len(set(asked)) == CELLS
    assert {frozenset(cell.items()) for cell in cells_of(of)} == {frozenset(cell) for cell in asked}


def test_a_sweep_ends_with_its_grid_although_the_budget_has_more(tmp_path: Path) -> None:
    study = fakes.study(grid(budget={"trials": 50}))
    run(study, ScriptedExecutor(flat, slots=3))
    assert study.counts == {State.COMPLETE: CELLS}
    study.enqueue_again(3)
    run(study, ScriptedExecutor(flat, slots=3))
    assert study.counts == {State.COMPLETE: CELLS + 1}


def cut_short(tmp_path: Path) -> tuple[Study, optuna.Study]:
    """A grid whose driver was killed after five cells, when it had asked for one more."""
    of = grid(budget={"trials": 5})
    url = f"sqlite:///{tmp_path}/sweeps.db"
    killed = create_study(of, open_storage(url), validations=4)
    run(Study(killed, of), ScriptedExecutor(flat, slots=3))
    killed.ask()
    inner = load_study("test", url)
    spec = loaded_spec(inner)
    spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 90})})
    equip(inner, spec, 4)
    return Study(inner, spec), inner


def test_a_grid_goes_on_with_the_cells_that_are_left(tmp_path: Path) -> None:
    study, inner = cut_short(tmp_path)
    study.adopt()
    run(study, ScriptedExecutor(flat, slots=3))
    assert study.counts == {State.COMPLETE: CELLS}
    counted = Counter(tuple(sorted(trial.params.items())) for trial in inner.trials)
    assert len(counted) == CELLS
    assert set(counted.values()) == {1}


def test_starting_points_and_constraints_are_part_of_a_grid() -> None:
    start = [{"model.init_args.depth": 2, "model.init_args.norm": "none"}, {"model.init_args.depth": 1}]
    of = grid(start_with=start, constraints=["model.init_args.depth <= 2"], budget={"trials": 99})
    study = fakes.study(of)
    run(study, ScriptedExecutor(flat, slots=2))
    asked = [tuple(sorted(trial.params.items())) for trial in fakes.optuna_study(study).trials]
    assert len(asked) == len(set(asked)) == CELLS * 2 // 3
    assert asked[0] == (("model.init_args.depth", 2), ("model.init_args.norm", "none"))
    assert dict(asked[1])["model.init_args.depth"] == 1


def test_a_grid_that_is_used_up_has_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of = grid(budget={"trials": 50})
    url = f"sqlite:///{tmp_path}/sweeps.db"
    notes = {
        "files": str(tmp_path / "files"),
        "spool": str(tmp_path / "files"),
        "mlflow": {"tracking_uri": "sqlite:///x.db", "artifacts": "a"},
    }
    study = Study(create_study(of, open_storage(url), validations=4, notes=notes), of)
    run(study, ScriptedExecutor(flat))
    study.end("finished")
    with pytest.raises(UserError, match=r"^test: each configuration of its grid was tried; there"):
        resume_sweep("test", storage=url, trials="+5")


def test_optunas_own_exhaustive_samplers_end_the_sweep_too() -> None:
    of = grid(budget={"trials": 90}).model_copy(update={"sampler": "random"})
    inner = create_study(of, None, validations=4)
    inner.sampler = optuna.samplers.BruteForceSampler(seed=0)
    study = Study(inner, of)
    run(study, ScriptedExecutor(flat))
    assert CELLS <= study.finished <= CELLS + 2  # what was asked ahead is a repetition


def test_points_are_spread_over_a_range_with_both_ends_exact() -> None:
    space = load_space({
        "a": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
        "b": {"type": "float", "low": 0.0, "high": 1.0},
        "c": {"type": "int", "low": 1, "high": 100, "log": True},
        "d": {"type": "int", "low": 1, "high": 2},
        "e": {"type": "float", "low": 0.1, "high": 0.4, "step": 0.1},
    })  # fmt: skip
    cells = grid_of(space, 3)
    found = {name: sorted({cell[name] for cell in cells}) for name in "abcde"}  # type: ignore[type-var]
    assert found["a"] == [1e-4, pytest.approx(1e-2), 1.0]
    assert found["b"] == [0.0, 0.5, 1.0]
    assert found["c"] == [1, 10, 100]
    assert found["d"] == [1, 2]
    assert found["e"] == [0.1, 0.2, 0.3, 0.4]
    assert len(cells) == 3 * 3 * 3 * 2 * 4


FLOAT = {"type": "float", "low": 0.0, "high": 1.0}
HUGE = {"type": "int", "low": 1, "high": 10**6}
LARGE = {f"model.init_args.p{i}": {"type": "int", "low": 1, "high": 10} for i in range(6)}


@pytest.mark.parametrize(
    ("sampler", "space", "message"),
    [
        pytest.param(
            "grid",
            {"model.init_args.x": FLOAT},
            "search_space.model.init_args.x: a grid needs values: "
            "give it a `step`, list its choices, or let the sampler take some",
            id="floats",
        ),
        pytest.param(
            "brute_force",
            {"model.init_args.x": FLOAT},
            "search_space.model.init_args.x: a grid needs",
            id="floats, by brute force",
        ),
        pytest.param(
            "grid",
            {"model.init_args.x": HUGE},
            "search_space.model.init_args.x: a grid over 1,000,000 values: give it a larger `step`",
            id="a huge range",
        ),
        pytest.param(
            "grid", LARGE, "search_space.model.init_args.p0: the grid has more than 100,000", id="a huge grid"
        ),
        pytest.param(
            {"class_path": "grid", "init_args": {"points": 1}},
            DISCRETE,
            "sampler.init_args.points: must be a whole number from 2 on, but got 1",
            id="one point",
        ),
        pytest.param(
            {"class_path": "grid", "init_args": {"point": 3}},
            DISCRETE,
            "sampler.init_args.point: grid does not accept it; it accepts points and seed",
            id="an unknown argument",
        ),
        pytest.param(
            {"class_path": "brute_force", "init_args": {"points": 3}},
            DISCRETE,
            "sampler.init_args.points: brute_force does not accept it",
            id="points of brute force",
        ),
        pytest.param(
            {"class_path": "grid", "init_args": {"seed": "x"}},
            DISCRETE,
            "sampler.init_args.seed: must be a whole number, but got 'x'",
            id="a seed",
        ),
        pytest.param(
            "gird", DISCRETE, "sampler: unknown sampler 'gird', did you mean 'grid'?", id="a wrong name"
        ),
    ],
)
def test_what_is_no_grid_is_one_line(sampler: Any, space: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_sampler(fakes.spec(sampler=sampler, search_space=space))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


HOLDER = {"class_path": "my.Net", "init_args": {"head": {"class_path": "my.A", "init_args": {"width": 3}}}}
LR = {"model.init_args.lr": {"type": "float", "low": 0.1, "high": 1.0}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"sampler": "auto", "pruner": "forecast"}, [], id="the defaults"),
        pytest.param(
            {"sampler": "gp", "pruner": "median"}, ["gp learns nothing from pruned trials"], id="gp"
        ),
        pytest.param({"sampler": "gp"}, [], id="gp without a pruner"),
        pytest.param(
            {"sampler": "cmaes", "search_space": MIXED},
            ["cmaes draws parameters without an order", "cmaes draws parameters that not every trial has"],
            id="cmaes over a mixed space",
        ),
        pytest.param(
            {"sampler": "qmc"}, ["qmc covers the space evenly after 8 or 16 trials"], id="qmc, ten trials"
        ),
        pytest.param({"sampler": "qmc", "budget": {"trials": 16}}, [], id="qmc, a power of two"),
        pytest.param(
            {"sampler": "nsga"}, ["nsga draws its first 50 trials at random, of 10"], id="few for nsga"
        ),
        pytest.param(
            {"sampler": "grid", "search_space": DISCRETE},
            ["the grid has 12 configurations, but the budget"],
            id="a grid larger than the budget",
        ),
        pytest.param(
            {"model": HOLDER, "search_space": {"model.init_args.head": ["my.A", "my.B"], **LR}},
            ["a name of model.init_args.head replaces what the base has there, width included; named"],
            id="names of classes",
        ),
        pytest.param(
            {"model": HOLDER, "search_space": {"model.init_args.head": [{"class_path": "my.A"}, None], **LR}},
            [],
            id="classes written out",
        ),
        pytest.param({"pruner": "wilcoxon"}, ["wilcoxon compares a trial with the best one"], id="wilcoxon"),
        pytest.param(
            {"pruner": "median", "budget": {"trials": 4}},
            ["median prunes nothing before 5 trials"],
            id="too few to prune",
        ),
    ],
)
def test_pairs_that_do_not_fit_get_a_note(changes: dict[str, Any], expected: list[str]) -> None:
    found = advice(fakes.spec(**changes), 4)
    assert [note[: len(start)] for note, start in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize(("pruner", "notes"), [("forecast", 1), ("none", 0)])
def test_a_pruner_does_not_fit_trainings_of_different_lengths(pruner: str, notes: int) -> None:
    space = {"trainer.max_epochs": [5, 10, 40], "model.x": {"type": "float", "low": 0.0, "high": 1.0}}
    found = advice(fakes.spec(pruner=pruner, search_space=space), 40)
    assert ["trainer.max_epochs varies" in note for note in found] == [True] * notes


def test_a_training_of_one_validation_cannot_be_pruned() -> None:
    assert advice(fakes.spec(pruner="hyperband"), 1)[0].startswith("each training validates once")


@pytest.mark.parametrize(("sampler", "pruner"), [("grid", "hyperband"), ("auto", "threshold")])
def test_a_check_leaves_nothing_and_names_sampler_and_pruner(
    sampler: str, pruner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Path.cwd()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(module))
    space = {
        "model.init_args.width": {"type": "int", "low": 2, "high": 4},
        "model.init_args.lr": {"type": "float", "low": 0.25, "high": 1.0, "step": 0.25},
    }
    spec = fakes.spec(
        model={"class_path": "tests.modules.Line"},
        data={"class_path": "tests.modules.Data"},
        search_space=space,
        sampler=named(sampler),
        pruner=named(pruner),
    )
    plan = check(spec, None, Console(quiet=True))
    assert (plan["validations"], plan["sampler"], plan["pruner"]) == (4, sampler, pruner)
    assert list(tmp_path.iterdir()) == []
