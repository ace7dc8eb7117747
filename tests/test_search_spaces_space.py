"""Tests of `search_spaces.space`: asking, configuring, validating values, and independence of Optuna."""

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import optuna
import pytest

from search_spaces import (
    Branch,
    Choice,
    IntParameter,
    Scalar,
    SearchSpace,
    Slot,
    SpaceError,
    load_space,
    read_yaml,
)
from search_spaces.draws import Draws

SWEEP = """
model.init_args.hidden: {type: int, low: 16, high: 256, log: true}
model.init_args.dropout: {type: float, low: 0.0, high: 0.6}
data.init_args.batch_size: [32, 64, 128]
optimizer:
  adamw:
    class_path: torch.optim.AdamW
    init_args:
      lr: {type: float, low: 1e-5, high: 1e-2, log: true}
      betas: [[0.9, 0.999], [0.9, 0.95]]
  sgd:
    class_path: torch.optim.SGD
    init_args:
      lr: {type: float, low: 1e-3, high: 1, log: true}
      momentum: {type: float, low: 0.0, high: 0.99}
lr_scheduler: {none: null, cosine: {class_path: CosineAnnealingLR, init_args: {T_max: 20}}}
"""
NESTED = """
o:
  x:
    s: {type: choice, choices: {step: {gamma: [0.1, 0.5]}, flat: null}}
  y: {k: {type: int, low: 0, high: 4}}
"""


def space_of(text: str) -> SearchSpace:
    return load_space(read_yaml(text, "sweep.yaml"))


class LastTrial:
    """A trial that answers with the upper end or the last choice, and remembers the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked.append(name)
        return high

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.asked.append(name)
        return high

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        self.asked.append(name)
        return choices[-1]


def test_a_trial_is_asked_in_file_order_for_active_parameters_only() -> None:
    trial = LastTrial()
    params = space_of(SWEEP).suggest(trial)
    assert trial.asked == list(params)
    assert params == {
        "model.init_args.hidden": 256,
        "model.init_args.dropout": 0.6,
        "data.init_args.batch_size": 128,
        "optimizer": "sgd",
        "optimizer.sgd.init_args.lr": 1.0,
        "optimizer.sgd.init_args.momentum": 0.99,
        "lr_scheduler": "cosine",
    }


@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(optuna.samplers.TPESampler(seed=0, n_startup_trials=5), id="TPE"),
        pytest.param(optuna.samplers.RandomSampler(seed=0), id="random"),
    ],
)
def test_an_optuna_study_stores_exactly_the_active_parameters(sampler: optuna.samplers.BaseSampler) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, study, seen = space_of(SWEEP), optuna.create_study(sampler=sampler), set()
    for _ in range(15):
        trial = study.ask()
        params = space.suggest(trial)
        assert params == trial.params
        config: Any = space.configure({}, json.loads(json.dumps(params)))
        chosen = str(params["optimizer"])
        seen.add(chosen)
        assert config["optimizer"]["init_args"]["lr"] == params[f"optimizer.{chosen}.init_args.lr"]
        assert ("momentum" in config["optimizer"]["init_args"]) == (chosen == "sgd")
        assert not [name for name in params if name.startswith("optimizer.") and chosen not in name]
        study.tell(trial, config["model"]["init_args"]["dropout"])
    assert seen == {"adamw", "sgd"}


def test_values_land_at_their_paths_and_a_choice_replaces_its_part() -> None:
    base = {
        "optimizer": {"class_path": "Old", "init_args": {"eps": 1}},
        "lr_scheduler": {"class_path": "Old"},
        "model": None,
        "seed": 3,
    }
    space = space_of(SWEEP)
    params = {**space.centre(), "optimizer.adamw.init_args.betas": "[0.9,0.95]"}
    assert space.configure(base, params) == {
        "optimizer": {
            "class_path": "torch.optim.AdamW",
            "init_args": {"lr": pytest.approx(10**-3.5), "betas": [0.9, 0.95]},
        },
        "lr_scheduler": None,
        "model": {"init_args": {"hidden": 64, "dropout": 0.3}},
        "seed": 3,
        "data": {"init_args": {"batch_size": 32}},
    }


def test_a_numeric_segment_addresses_a_list() -> None:
    space = space_of("trainer.callbacks.1.init_args.x: [1, 2]")
    base = {"trainer": {"callbacks": [{"class_path": "A"}, {"class_path": "B"}]}}
    assert space.configure(base, space.centre())["trainer"] == {
        "callbacks": [{"class_path": "A"}, {"class_path": "B", "init_args": {"x": 1}}]
    }


@pytest.mark.parametrize(
    ("path", "base", "message"),
    [
        pytest.param(
            "t.c.1.x",
            {"t": {"c": [{}]}},
            "t.c.1: the list 't.c' has 1 item in the base configuration, so there is no '1' in it.",
            id="index beyond the list",
        ),
        pytest.param(
            "t.c.x",
            {"t": {"c": [1, 2]}},
            "t.c.x: the list 't.c' has 2 items in the base configuration, so there is no 'x' in it.",
            id="name into a list",
        ),
        pytest.param(
            "t.c.-1",
            {"t": {"c": [1]}},
            "t.c.-1: the list 't.c' has 1 item in the base configuration, so there is no '-1' in it.",
            id="negative index",
        ),
        pytest.param("t.c.0.x", {}, "t.c.0.x: the base configuration has no list at 't.c'.", id="no list"),
        pytest.param(
            "model.x",
            {"model": "MyModel"},
            "model.x: 'model' is 'MyModel' in the base configuration, which has no keys.",
            id="plain value in the way",
        ),
        pytest.param(
            "a.b.c",
            {"a": {"b": 3}},
            "a.b.c: 'a.b' is 3 in the base configuration, which has no keys.",
            id="deeper",
        ),
        pytest.param(
            "a.b.c.d",
            {"a": {"b": 3}},
            "a.b.c.d: 'a.b' is 3 in the base configuration, which has no keys.",
            id="in the middle",
        ),
    ],
)
def test_a_base_without_room_at_a_path_is_refused(path: str, base: dict[str, object], message: str) -> None:
    space = space_of(f"{path}: [1, 2]")
    with pytest.raises(SpaceError) as caught:
        space.configure(base, space.centre())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"o": None}, "o: null is not a choice; there is x, y.", id="null"),
        pytest.param({"o": "z"}, "o: 'z' is not a choice; there is x, y.", id="unknown branch"),
        pytest.param({"o.x.s": "stop"}, "o.x.s: 'stop' is not a choice, did you mean 'step'?", id="misspelt"),
        pytest.param(
            {"o.x.s.step.gamma": 0.2}, "o.x.s.step.gamma: 0.2 is not a choice; there is 0.1, 0.5.", id="value"
        ),
        pytest.param(
            {"o": "y"},
            "o.y.k: no value was given for this parameter, which is active because o = y.",
            id="missing",
        ),
        pytest.param({"o.y.k": 1}, "o.y.k: this parameter is active only when o = y.", id="inactive"),
        pytest.param(
            {"o.x.z": 1},
            "o.x.z: the search space has no such parameter, did you mean 'o.x.s'?",
            id="unknown name",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change: dict[str, Scalar], message: str) -> None:
    # A wrong branch makes other parameters inactive too; the branch is what is reported.
    space = space_of(NESTED)
    with pytest.raises(SpaceError) as caught:
        space.configure({}, {**space.centre(), **change})
    assert str(caught.value) == message


def test_a_number_outside_a_narrowed_range_still_configures() -> None:
    assert space_of("a: {type: int, low: 1, high: 4}").configure({}, {"a": 9}) == {"a": 9}


def test_configuring_never_changes_or_shares_base_parameters_or_templates() -> None:
    space = space_of(SWEEP + "trainer.callbacks.0.x: [[1], [2]]")
    shared = {"x": [1]}
    base = {"trainer": {"callbacks": [shared], "same": shared}, "optimizer": {"keep": [1]}}
    before = copy.deepcopy(base)
    for _, params in space.variations():
        given = dict(params)
        first, second = space.configure(base, params), space.configure(base, params)
        _spoil(first)
        assert base == before
        assert params == given
        assert space.configure(base, params) == second
        assert second["trainer"]["same"] == {"x": [1]}  # type: ignore[index]


def _spoil(value: object) -> None:
    """Change every mapping and list that can be reached."""
    if isinstance(value, dict | list):
        for item in list(value.values() if isinstance(value, dict) else value):
            _spoil(item)
        value.clear()


def test_variations_move_one_parameter_at_a_time_to_every_edge_and_branch() -> None:
    space = space_of(NESTED)
    assert list(space.variations()) == [
        ("o", {"o": "x", "o.x.s": "step", "o.x.s.step.gamma": 0.1}),
        ("o", {"o": "y", "o.y.k": 2}),
        ("o.x.s", {"o": "x", "o.x.s": "flat"}),
        ("o.x.s.step.gamma", {"o": "x", "o.x.s": "step", "o.x.s.step.gamma": 0.5}),
        ("o.y.k", {"o": "y", "o.y.k": 0}),
        ("o.y.k", {"o": "y", "o.y.k": 4}),
    ]


def test_rows_and_paths_show_nested_conditions() -> None:
    space = space_of(NESTED)
    assert space.rows() == (
        ("o", "x | y", ""),
        ("o.x.s", "step | flat", "o = x"),
        ("o.x.s.step.gamma", "0.1 | 0.5", "o = x and o.x.s = step"),
        ("o.y.k", "int 0 .. 4", "o = y"),
    )
    assert [space.config_path(name) for name in space.names] == ["o", "o.s", "o.s.gamma", "o.k"]
    with pytest.raises(
        SpaceError, match=r"^o\.y\.q: the search space has no such parameter, did you mean 'o\.y\.k'\?$"
    ):
        space.config_path("o.y.q")


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        pytest.param("t.e: {type: int, low: 1, high: 30}", 30, id="range"),
        pytest.param("t.e: [5, 12, null, text]", 12, id="choices"),
        pytest.param("t.e: [true, false]", None, id="booleans"),
        pytest.param("t: {a: {e: 3}, b: {e: {type: int, low: 1, high: 7}}, c: null}", 7, id="branches"),
        pytest.param("t.e: {short: 3, long: 40}", 40, id="named numbers"),
        pytest.param("t: [{e: 3}, {e: 8}]", 8, id="mappings in a list"),
        pytest.param("t.f: [1, 2]", None, id="elsewhere"),
        pytest.param("t.e.f: [1, 2]", None, id="deeper"),
    ],
)
def test_the_largest_number_at_a_path_is_found(text: str, largest: int | None) -> None:
    assert space_of(text).max_of("t.e") == largest


def test_unicode_and_quotes_in_names_survive() -> None:
    space = space_of(
        'modèle.\'größe": {type: int, low: 1, high: 3}\n"o\\"\'": {"ä\'": {k: [a, b]}, 数: null}'
    )
    assert space.names == ("modèle.'größe\"", "o\"'", "o\"'.ä'.k")
    config = space.configure({}, space.centre())
    assert config == {"modèle": {"'größe\"": 2}, "o\"'": {"k": "a"}}


def test_two_hundred_parameters_are_read_asked_and_varied() -> None:
    text = "".join(f"m.p{i}: {{type: float, low: 0, high: 1}}\n" for i in range(200))
    space = space_of(text)
    assert len(space.suggest(LastTrial())) == 200
    assert sum(1 for _ in space.variations()) == 400


def test_a_space_built_by_hand_is_checked_and_survives_pickling() -> None:
    choice = Choice((Branch("a", {"k": None}, (Slot(("k",), IntParameter(1, 3)),)), Branch("b")))
    space = SearchSpace((Slot(("o",), choice),))
    assert pickle.loads(pickle.dumps(space)) == space  # noqa: S301
    with pytest.raises(SpaceError, match=r"^the choice 'a' is named twice\.$"):
        Choice((Branch("a"), Branch("a")))
    with pytest.raises(SpaceError, match=r"^o: two parameters would get this name: rename a branch\.$"):
        SearchSpace((Slot(("o",), choice), Slot(("o",), choice)))


def test_an_error_survives_pickling_and_takes_prefixes() -> None:
    error = pickle.loads(pickle.dumps(SpaceError("a.b", "must hold.")))  # noqa: S301
    assert (error.key, error.rule, str(error)) == ("a.b", "must hold.", "a.b: must hold.")
    assert str(error.under("search_space")) == "search_space.a.b: must hold."
    assert str(SpaceError("", "must hold.").under("x")) == "x: must hold."


def test_importing_the_package_loads_no_heavy_library_and_no_other_package_of_ours() -> None:
    forbidden = "{'optuna', 'torch', 'ray', 'mlflow', 'lightning', 'sweeps', 'dashboards'}"
    code = f"import sys, search_spaces; print(sorted({forbidden} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_draws_reach_all_that_a_range_holds_and_nothing_else() -> None:
    space = load_space({
        "a": {"type": "float", "low": 0.25, "high": 1.0, "step": 0.25},
        "b": {"type": "int", "low": 2, "high": 8, "step": 3},
        "c": {"type": "int", "low": 3, "high": 6, "log": True},
        "d": {"type": "float", "low": 1.0, "high": 100.0, "log": True},
    })  # fmt: skip
    draws = Draws()
    a, b, c, d = zip(*(space.suggest(draws).values() for _ in range(200)), strict=True)
    assert set(a) == {0.25, 0.5, 0.75, 1.0}
    assert set(b) == {2, 5, 8}
    assert set(c) == {3, 4, 5, 6}
    assert all(1.0 <= drawn <= 100.0 for drawn in d)
    assert 70 < sum(drawn < 10.0 for drawn in d) < 130  # half of them, as it is logarithmic
