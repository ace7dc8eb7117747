"""Samplers and pruners by name and by class, and the rung table compared with what Optuna's pruners do."""

import math
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.errors import SpecError
from sweeps.samplers.algorithms import (
    DEFAULTS,
    PRUNERS,
    SAMPLERS,
    make_pruner,
    make_sampler,
    pruning_text,
    rung_table,
)
from tests import fakes

RUNGS = "completed_rung_"


def component(class_path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": init_args}


def pruning_study(pruner: optuna.pruners.BasePruner, trials: int, validations: int) -> optuna.Study:
    """A real study of trials that are pruned as `sweeps.study.study` has them pruned."""
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=1), study_name="s")
    for _ in range(trials):
        trial = study.ask()
        height = trial.suggest_float("x", 0, 1)
        state = TrialState.COMPLETE
        for step in range(1, validations + 1):
            trial.report(height + 1 / step, step)
            if step < validations and trial.should_prune():
                state = TrialState.PRUNED
                break
        study.tell(trial, height if state is TrialState.COMPLETE else None, state=state)
    return study


def rungs_of(trial: optuna.trial.FrozenTrial) -> dict[int, float]:
    """The values that the pruner noted, by rung."""
    notes = trial.system_attrs.items()
    return {int(key.removeprefix(RUNGS)): value for key, value in notes if key.startswith(RUNGS)}


SHAPES = [
    (1, 1, 3),
    (2, 1, 3),
    (4, 1, 2),
    (9, 1, 3),
    (10, 1, 3),
    (27, 2, 3),
    (16, 1, 4),
    (12, 3, 2),
    (5, 5, 2),
]


@pytest.mark.parametrize(("validations", "low", "eta"), SHAPES)
def test_successive_halving_prunes_at_the_rungs_of_the_table(validations: int, low: int, eta: int) -> None:
    spec = fakes.spec(pruner=component("successive_halving", min_resource=low, reduction_factor=eta))
    [bracket] = rung_table(spec, validations)
    study = pruning_study(make_pruner(spec, validations), 40, validations)
    assert (bracket.share, bracket.keep) == (1.0, 1 / eta)
    pruned_at = {trial.last_step for trial in study.trials if trial.state is TrialState.PRUNED}
    assert pruned_at == set(bracket.rungs)
    for trial in study.trials:
        noted = rungs_of(trial)
        assert noted == {i: trial.intermediate_values[bracket.rungs[i]] for i in noted}


@pytest.mark.parametrize(("validations", "low", "eta"), SHAPES)
def test_hyperband_prunes_at_the_rungs_of_the_table(validations: int, low: int, eta: int) -> None:
    spec = fakes.spec(pruner=component("hyperband", min_resource=low, reduction_factor=eta))
    brackets = rung_table(spec, validations)
    pruner = make_pruner(spec, validations)
    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    study = pruning_study(pruner, 120, validations)
    pruned_in: dict[int, set[int | None]] = {number: set() for number in range(len(brackets))}
    for trial in study.trials:
        number = pruner._get_bracket_id(study, trial)
        noted = rungs_of(trial)
        assert noted == {i: trial.intermediate_values[brackets[number].rungs[i]] for i in noted}
        if trial.state is TrialState.PRUNED:
            pruned_in[number].add(trial.last_step)
    for number, bracket in enumerate(brackets):
        assert pruned_in[number] <= set(bracket.rungs)
    assert set().union(*pruned_in.values()) == {rung for bracket in brackets for rung in bracket.rungs}


@pytest.mark.parametrize(("validations", "low", "eta"), SHAPES)
def test_hyperbands_brackets_and_shares_are_optunas(validations: int, low: int, eta: int) -> None:
    spec = fakes.spec(pruner=component("hyperband", min_resource=low, reduction_factor=eta))
    pruner = make_pruner(spec, validations)
    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    pruner._try_initialization(optuna.create_study())
    total = pruner._total_trial_allocation_budget
    shares = [budget / total for budget in pruner._trial_allocation_budgets]
    brackets = rung_table(spec, validations)
    assert [bracket.share for bracket in brackets] == pytest.approx(shares)
    assert {bracket.keep for bracket in brackets} == {1 / eta}


def test_a_late_start_of_successive_halving_moves_its_rungs() -> None:
    late = component("SuccessiveHalvingPruner", min_early_stopping_rate=1)
    spec = fakes.spec(pruner=late)
    assert [bracket.rungs for bracket in rung_table(spec, 30)] == [(3, 9, 27)]
    study = pruning_study(make_pruner(spec, 30), 60, 30)
    assert {trial.last_step for trial in study.trials} == {3, 9, 27, 30}


def test_hyperband_below_its_smallest_resource_has_no_rungs_and_prunes_nothing() -> None:
    spec = fakes.spec(pruner=component("hyperband", min_resource=5, max_resource=3))
    assert [bracket.rungs for bracket in rung_table(spec, 10)] == [()]
    study = pruning_study(make_pruner(spec, 10), 20, 10)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


@pytest.mark.parametrize(
    "pruner",
    [
        pytest.param("none", id="none"),
        pytest.param("median", id="median"),
        pytest.param(component("successive_halving", min_resource="auto"), id="rungs that Optuna estimates"),
        pytest.param(component("hyperband", max_resource="auto"), id="brackets that Optuna estimates"),
    ],
)
def test_other_pruners_have_no_rung_table(pruner: Any) -> None:
    assert rung_table(fakes.spec(pruner=pruner), 10) == []


def test_hyperbands_upper_bound_is_the_full_training_unless_given() -> None:
    assert vars(make_pruner(fakes.spec(pruner="hyperband"), 81))["_max_resource"] == 81
    given = fakes.spec(pruner=component("hyperband", max_resource=27))
    assert vars(make_pruner(given, 81))["_max_resource"] == 27


@pytest.mark.parametrize(
    ("pruner", "text", "first"),
    [
        pytest.param("median", "from 2 on but the last, once 5 trials", 2, id="median"),
        pytest.param(component("median", n_warmup_steps=4), "from 4 on but the last, once 5 trials", 4,
                     id="a later start"),
        pytest.param(component("percentile", percentile=30.0, n_warmup_steps=0, n_startup_trials=2),
                     "from 1 on but the last, once 2 trials", 1, id="no warm-up"),
    ],
)  # fmt: skip
def test_the_text_of_a_median_pruner_says_when_it_first_prunes(pruner: Any, text: str, first: int) -> None:
    spec = fakes.spec(pruner=pruner)
    assert text in pruning_text(spec)
    study = pruning_study(make_pruner(spec, 8), 40, 8)
    steps = [trial.last_step or 0 for trial in study.trials if trial.state is TrialState.PRUNED]
    assert min(steps) == first


def test_the_text_of_no_pruner_says_so() -> None:
    assert pruning_text(fakes.spec(pruner="none")) == "no trial is pruned"
    text = pruning_text(fakes.spec(pruner=component("threshold", upper=3.0)))
    assert text == "asked after every validation but the last"


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_short_name_of_a_sampler_is_its_class(name: str) -> None:
    space = {"model.init_args.width": {"type": "int", "low": 1, "high": 8}}  # a grid, too
    made = make_sampler(fakes.spec(sampler=name, search_space=space))
    assert type(made).__name__ == SAMPLERS[name].rpartition(".")[2]


@pytest.mark.parametrize("name", PRUNERS)
def test_every_short_name_of_a_pruner_is_its_class(name: str) -> None:
    pruner = component(name, **({"upper": 3.0} if name == "threshold" else {}))
    assert type(make_pruner(fakes.spec(pruner=pruner), 10)).__name__ == PRUNERS[name].rpartition(".")[2]


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_default_is_an_argument_that_its_class_takes(name: str) -> None:
    given = {key: value for key, value in DEFAULTS[name].items() if key != "wrapped_pruner"}
    [short] = [short for short, path in PRUNERS.items() if path.rpartition(".")[2] == name]
    made = vars(make_pruner(fakes.spec(pruner=component(short)), 10))
    assert {key: made[f"_{key}"] for key in given if f"_{key}" in made} == {
        key: value for key, value in given.items() if f"_{key}" in made
    }


@pytest.mark.parametrize("path", ["optuna.samplers.TPESampler", "TPESampler", "tpe"])
def test_a_sampler_is_named_by_its_path_its_class_or_our_name(path: str) -> None:
    made = make_sampler(fakes.spec(sampler=component(path, n_startup_trials=3)))
    assert isinstance(made, optuna.samplers.TPESampler)
    assert made._n_startup_trials == 3


@pytest.mark.parametrize("path", ["optuna.pruners.MedianPruner", "MedianPruner", "median"])
def test_a_pruner_is_named_by_its_path_its_class_or_our_name(path: str) -> None:
    made = make_pruner(fakes.spec(pruner=component(path, n_startup_trials=3)), 10)
    assert isinstance(made, optuna.pruners.MedianPruner)
    assert made._n_startup_trials == 3
    assert made._n_warmup_steps == 2


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param("hyperband", id="by our name"),
        pytest.param({"class_path": "HyperbandPruner"}, id="by its class"),
        pytest.param(component("hyperband", min_resource=1), id="with arguments"),
    ],
)
def test_a_pruner_inside_a_patient_one_is_made_as_any_other(inner: Any) -> None:
    spec = fakes.spec(pruner=component("patient", wrapped_pruner=inner, patience=1))
    made = make_pruner(spec, 27)
    assert isinstance(made, optuna.pruners.PatientPruner)
    assert isinstance(made._wrapped_pruner, optuna.pruners.HyperbandPruner)
    assert made._wrapped_pruner._max_resource == 27


def first_values(**changes: Any) -> list[float]:
    study = optuna.create_study(sampler=make_sampler(fakes.spec(**changes)))
    return [study.ask().suggest_float("x", 0, 1) for _ in range(3)]


def test_a_sampler_has_the_sweeps_seed_unless_it_has_its_own() -> None:
    assert first_values(seed_everything=7) == first_values(seed_everything=7)
    assert first_values(seed_everything=7) != first_values(seed_everything=8)
    own = component("random", seed=7)
    assert first_values(sampler=own, seed_everything=8) == first_values(seed_everything=7)


def test_tpe_searches_each_branch_of_named_choices_jointly() -> None:
    choices = {"optimizer": {"adam": {"lr": {"type": "float", "low": 0.0, "high": 1.0}}, "sgd": {}}}
    flat = make_sampler(fakes.spec(sampler="tpe"))
    branched = make_sampler(fakes.spec(sampler="tpe", search_space=choices))
    apart = make_sampler(fakes.spec(sampler=component("tpe", group=False), search_space=choices))
    assert [vars(sampler)["_group"] for sampler in (flat, branched, apart)] == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        pytest.param({"sampler": "tep"}, "sampler", ["unknown sampler 'tep'", "did you mean 'tpe'?", "gp"],
                     id="an unknown sampler"),
        pytest.param({"sampler": "bayes"}, "sampler", ["did you mean 'gp'?"], id="a sampler of another tool"),
        pytest.param({"sampler": "TPESampler"}, "sampler", ["did you mean 'tpe'?"], id="Optuna's class"),
        pytest.param({"pruner": "ASHA"}, "pruner", ["did you mean 'successive_halving'?"],
                     id="a pruner of another tool"),
        pytest.param({"pruner": "zzz"}, "pruner",
                     ["unknown pruner 'zzz'", "median", "{class_path, init_args}"], id="an unknown pruner"),
        pytest.param({"sampler": component("TPESampler", n_startup_trails=3)},
                     "sampler.init_args.n_startup_trails",
                     ["TPESampler does not accept it", "did you mean 'n_startup_trials'?", "multivariate"],
                     id="an unknown argument of a sampler"),
        pytest.param({"pruner": component("median", warmup=3)}, "pruner.init_args.warmup",
                     ["MedianPruner does not accept it", "n_warmup_steps"],
                     id="an unknown argument of a pruner"),
        pytest.param({"pruner": component("successive_halving", max_resource=3)},
                     "pruner.init_args.max_resource", ["does not accept it", "min_resource"],
                     id="an argument of another pruner"),
        pytest.param({"sampler": component("optuna.samplers.Tpe")}, "sampler.class_path",
                     ["'optuna.samplers.Tpe' cannot be imported"], id="a class that is not there"),
        pytest.param({"sampler": component("no_such_module.Sampler")}, "sampler.class_path",
                     ["'no_such_module.Sampler' cannot be imported", "no_such_module"],
                     id="a module that is not there"),
        pytest.param({"sampler": component("optuna.pruners.NopPruner")}, "sampler.class_path",
                     ["not a class of Optuna's BaseSampler"], id="a pruner for a sampler"),
        pytest.param({"pruner": component("optuna.pruners")}, "pruner.class_path",
                     ["not a class of Optuna's BasePruner"], id="a module for a pruner"),
        pytest.param({"pruner": component("percentile", percentile=200.0)}, "pruner",
                     ["PercentilePruner: ", "200"], id="a percentile above 100"),
        pytest.param({"pruner": "threshold"}, "pruner", ["ThresholdPruner: ", "lower", "upper"],
                     id="a threshold pruner without a threshold"),
        pytest.param({"pruner": component("hyperband", reduction_factor=1)},
                     "pruner.init_args.reduction_factor", ["whole number from 2 on", "1"],
                     id="hyperband that reduces nothing"),
        pytest.param({"pruner": component("hyperband", min_resource=0)}, "pruner.init_args.min_resource",
                     ["whole number from 1 on", "0"], id="hyperband from zero"),
        pytest.param({"pruner": component("hyperband", min_resource="auto")},
                     "pruner.init_args.min_resource", ["whole number from 1 on", "'auto'"],
                     id="hyperband from somewhere"),
        pytest.param({"pruner": component("successive_halving", reduction_factor=2.5)},
                     "pruner.init_args.reduction_factor", ["whole number from 2 on", "2.5"],
                     id="halving by a fraction"),
        pytest.param({"pruner": component("patient", wrapped_pruner="zzz")},
                     "pruner.init_args.wrapped_pruner", ["unknown pruner 'zzz'", "median"],
                     id="an unknown pruner in another"),
        pytest.param({"pruner": component("patient", wrapped_pruner={"class": "median"})},
                     "pruner.init_args.wrapped_pruner", ["a name or {class_path, init_args}"],
                     id="a pruner in another, written wrongly"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_key_and_what_there_is(
    changes: dict[str, Any], key: str, words: list[str]
) -> None:
    spec = fakes.spec(**changes)
    with pytest.raises(SpecError) as caught:
        make_pruner(spec, 10) if "pruner" in changes else make_sampler(spec)
    assert caught.value.key == key
    assert [word for word in words if word not in caught.value.rule] == []
    assert "\n" not in str(caught.value)


def test_a_training_without_an_end_cannot_have_a_pruner() -> None:
    with pytest.raises(SpecError, match=r"pruner: .*trainer\.max_epochs.*`pruner: none`"):
        make_pruner(fakes.spec(pruner="median"), None)
    assert isinstance(make_pruner(fakes.spec(pruner="none"), None), optuna.pruners.NopPruner)


def test_the_share_of_all_brackets_is_the_whole() -> None:
    table = rung_table(fakes.spec(pruner="hyperband"), 100)
    assert math.fsum(bracket.share for bracket in table) == pytest.approx(1.0)
    assert [bracket.rungs for bracket in table] == [
        (1, 3, 9, 27, 81), (3, 9, 27, 81), (9, 27, 81), (27, 81), (81,)
    ]  # fmt: skip
