"""`when:`, constraints and starting points."""

import pickle
from typing import Any

import optuna
import pytest

from search_spaces import Constraints, SearchSpace, SpaceError, load_space, read_yaml, start_params

SPACE = """
optimizer: {adamw: {a: 1}, sgd: {a: 2, nesterov: {type: categorical, choices: [true, false]}}, lion: null}
model.norm: {type: categorical, choices: [batch, layer, none]}
model.momentum: {type: float, low: 0.1, high: 0.9, when: {model.norm: batch}}
model.depth: {type: int, low: 1, high: 4}
model.skip: {type: categorical, choices: [add, cat], when: {model.depth: [3, 4], optimizer: [sgd, adamw]}}
model.gate: {type: int, low: 1, high: 2, when: {model.skip: cat}}
warmup:
  type: choice
  choices: {short: {steps: 10}, long: {steps: {type: int, low: 20, high: 40}}}
  when: {optimizer.sgd.nesterov: true}
"""


def space_of(text: str = SPACE) -> SearchSpace:
    return load_space(read_yaml(text, "sweep.yaml"))


def params_of(**values: Any) -> dict[str, Any]:
    """The parameters of a small trial, with others."""
    small = {"optimizer": "lion", "model.norm": "none", "model.depth": 1}
    return small | {key.replace("__", "."): value for key, value in values.items()}


def test_every_trial_has_exactly_the_parameters_whose_conditions_hold() -> None:
    space = space_of()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = set()
    for _ in range(100):
        params = space.suggest(study.ask())
        assert ("model.momentum" in params) == (params["model.norm"] == "batch")
        skips = params["model.depth"] in (3, 4) and params["optimizer"] in ("sgd", "adamw")
        assert ("model.skip" in params) == skips
        assert ("model.gate" in params) == (skips and params["model.skip"] == "cat")
        assert ("warmup" in params) == (params.get("optimizer.sgd.nesterov") is True)
        assert ("warmup.long.steps" in params) == (params.get("warmup") == "long")
        assert space.configure({}, params)
        seen |= params.keys()
    assert seen == set(space.names)


def test_a_parameter_that_is_not_active_leaves_the_base_as_it_is() -> None:
    space = space_of()
    base = {"model": {"momentum": 0.5, "skip": "none"}, "warmup": {"steps": 1}}
    assert space.configure(base, params_of()) == {
        "optimizer": None,
        "model": {"momentum": 0.5, "skip": "none", "norm": "none", "depth": 1},
        "warmup": {"steps": 1},
    }
    active = params_of(model__norm="batch", model__momentum=0.3)
    assert space.configure(base, active)["model"]["momentum"] == 0.3  # type: ignore[index]


def test_inside_a_branch_a_parameter_that_is_not_active_is_left_out() -> None:
    space = space_of(
        "n: [1, 2]\no: {x: {init: {k: {type: float, low: 0, high: 1, when: {n: 2}}, l: 3}}, y: null}\n"
    )
    assert space.configure({}, {"n": 1, "o": "x"})["o"] == {"init": {"l": 3}}
    assert space.configure({}, {"n": 2, "o": "x", "o.x.init.k": 0.5})["o"] == {"init": {"k": 0.5, "l": 3}}


def test_variations_meet_the_conditions_of_what_they_vary() -> None:
    space = space_of()
    varied = dict(space.variations())
    assert set(varied) == set(space.names)
    assert varied["model.gate"]["model.skip"] == "cat"
    assert varied["model.gate"]["model.depth"] == 3
    assert varied["warmup.long.steps"]["optimizer"] == "sgd"


def test_conditions_are_shown() -> None:
    rows = {row.name: row.condition for row in space_of().rows()}
    assert rows["model.momentum"] == "model.norm = batch"
    assert rows["model.skip"] == "optimizer = sgd | adamw and model.depth = 3 | 4"
    assert rows["warmup"] == "optimizer = sgd and optimizer.sgd.nesterov = true"


def test_a_configuration_path_names_its_only_parameter() -> None:
    space = space_of(
        "o: {x: {k: [1, 2]}, y: null}\nm: {type: categorical, choices: [a, b], when: {o.k: 2}}\n"
    )
    assert space.sites[-1].conditions == (("o", ("x",)), ("o.x.k", (2,)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "a: {type: categorical, choices: [1, 2], when: {b: 1}}\nb: [1, 2]",
            "a.when.b: `when` names 'b', which is no parameter above this one.",
            id="a later one",
        ),
        pytest.param(
            "size: [1, 2]\nb: {type: int, low: 1, high: 2, when: {sise: 1}}",
            "b.when.sise: `when` names 'sise', which is no parameter above this one, did you mean 'size'?",
            id="an unknown one",
        ),
        pytest.param(
            "a: [x, y]\nb: {type: int, low: 1, high: 2, when: {a: z}}",
            'b.when.a: "z" is no value of a; there is x, y.',
            id="a value that is none",
        ),
        pytest.param(
            "a: {type: int, low: 1, high: 3}\nb: {type: int, low: 1, high: 2, when: {a: 4}}",
            "b.when.a: 4 is no value of a, int 1 .. 3.",
            id="an integer out of range",
        ),
        pytest.param(
            "a: {type: int, low: 1, high: 3}\nb: {type: int, low: 1, high: 2, when: {a: 1.5}}",
            "b.when.a: 1.5 is no value of a, int 1 .. 3.",
            id="a number that is no integer",
        ),
        pytest.param(
            "a: {type: int, low: 1, high: 3}\nb: {type: int, low: 1, high: 2, when: {a: two}}",
            "b.when.a: 'two' is no value of a, int 1 .. 3.",
            id="no number",
        ),
        pytest.param(
            "a: {type: float, low: 1, high: 3}\nb: {type: int, low: 1, high: 2, when: {a: 2}}",
            "b.when.a: a is a float, which hardly ever equals a value.",
            id="a float",
        ),
        pytest.param(
            "a: [1, 2]\nb: {type: int, low: 1, high: 2, when: 3}",
            "b.when: `when` must be a mapping such as {optimizer: sgd}, but is 3.",
            id="no mapping",
        ),
        pytest.param(
            "a: [1, 2]\nb: {type: int, low: 1, high: 2, when: {a: []}}",
            "b.when.a: the list of values is empty.",
            id="no value",
        ),
        pytest.param(
            "a: [1, 2]\nb: {x: 1, y: 2, when: {a: 1}}",
            "b: `when` needs the long form of named choices: {type: choice, choices: {...}, when: {...}}.",
            id="beside names",
        ),
        pytest.param(
            "a: [1, 2]\nb: {type: int, low: 1, high: 2, when: {a: 1}}\n"
            "c: {type: int, low: 1, high: 2, when: {a: 2, b: 1}}",
            "c.when.b: this can never be: it needs another a than c itself does.",
            id="never",
        ),
        pytest.param(
            "a: [1, 2]\no: {x: {type: int, low: 1, high: 2, when: {a: 1}}, y: null}",
            "o.x.when: `when` can leave out a key; this is a branch as a whole or an item of a list.",
            id="a branch",
        ),
        pytest.param(
            "o: {x: {k: [1, 2]}, y: {k: [1, 2]}}\nm: {type: int, low: 1, high: 2, when: {o.k: 1}}",
            "m.when.o.k: 'o.k' may be one of several parameters: o.x.k, o.y.k.",
            id="one of several",
        ),
    ],
)
def test_a_condition_that_is_none_is_one_line(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(text)
    assert str(caught.value).replace("'z' is", '"z" is') == message


NUMBERS = """
model.width: {type: int, low: 8, high: 128, log: true}
model.depth: {type: int, low: 1, high: 8}
model.shape: [[1, 2], [3, 4]]
optimizer: {sgd: {lr: {type: float, low: 0.1, high: 1}}, adam: {lr: {type: float, low: 0.001, high: 0.01}}}
"""
BASE = {"model": {"heads": 4}, "trainer": {"callbacks": [{"patience": 3}]}}


def constraints(*texts: str) -> Constraints:
    return Constraints.of(texts, space_of(NUMBERS), BASE)


def numbers(width: int = 32, depth: int = 4, optimizer: str = "sgd", lr: float = 0.5) -> dict[str, Any]:
    return {"model.width": width, "model.depth": depth, "model.shape": "[1,2]", "optimizer": optimizer,
            f"optimizer.{optimizer}.lr": lr}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "params", "holds"),
    [
        pytest.param("model.width * model.depth <= 512", numbers(), True, id="a product"),
        pytest.param("model.width * model.depth <= 512", numbers(128, 5), False, id="too large a product"),
        pytest.param("model.width % model.heads == 0", numbers(32), True, id="with a value of the base"),
        pytest.param("model.width % model.heads == 0", numbers(33), False, id="which it breaks"),
        pytest.param("optimizer != 'sgd' or model.depth < 4", numbers(depth=3), True, id="a named choice"),
        pytest.param(
            "optimizer != 'sgd' or model.depth < 4", numbers(depth=5), False, id="which is excluded"
        ),
        pytest.param("optimizer.sgd.lr * model.depth < 1", numbers(depth=3), False, id="an active parameter"),
        pytest.param(
            "optimizer.sgd.lr * model.depth < 1",
            numbers(depth=3, optimizer="adam", lr=0.01),
            True,
            id="one that is not active",
        ),
        pytest.param("optimizer.lr < 0.2", numbers(), False, id="a path of the configuration"),
        pytest.param("trainer.callbacks[0].patience < model.depth", numbers(depth=3), False, id="a list"),
        pytest.param(
            "max(model.shape[0], 2) == 2 and log2(model.width) <= 5", numbers(), True, id="functions"
        ),
        pytest.param("model.depth in [2, 4]", numbers(), True, id="one of several"),
        pytest.param("1 < model.depth <= 3", numbers(), False, id="a chain"),
    ],
)
def test_a_constraint_is_about_parameters_and_paths(text: str, params: dict[str, Any], holds: bool) -> None:
    assert constraints(text).violated(params) == (None if holds else text)


def test_the_centre_meets_the_constraints() -> None:
    assert constraints("model.depth <= 8").centre == space_of(NUMBERS).centre()
    found = constraints("model.depth == 7", "model.width > 100")
    assert found.centre["model.depth"] == 7
    assert found.violated(found.centre) is None
    assert pickle.loads(pickle.dumps(found)).centre == found.centre  # noqa: S301


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "model.width <=",
            "0: 'model.width <=' is no expression such as a.b * a.c <= 512.",
            id="half an expression",
        ),
        pytest.param(
            "model.widht < 3",
            "0: 'model.widht' is neither in the search space nor in the base, did you mean 'model.width'?",
            id="an unknown name",
        ),
        pytest.param(
            "model.width * 2",
            "0: 'model.width * 2' must be true or false, but gives 64: compare it with something.",
            id="a number",
        ),
        pytest.param(
            "model.width < 'a'",
            "0: \"model.width < 'a'\" cannot be computed with model.width = 32: "
            "'<' not supported between instances of 'int' and 'str'",
            id="what cannot be compared",
        ),
        pytest.param(
            "__import__('os').system('x')",
            "0: there is no function \"__import__('os').system\"; "
            "there is abs, ceil, floor, len, log2, max, min, round, ...",
            id="a call",
        ),
        pytest.param(
            "exp(model.width) < 3", "0: there is no function 'exp'; there is abs, ceil, ", id="a function"
        ),
        pytest.param(
            "model.width.__class__ == 3",
            "0: 'model.width.__class__' is neither",
            id="an attribute of Python's",
        ),
        pytest.param(
            "model.depth > 8",
            "0: none of 1000 random configurations meets 'model.depth > 8' and the others.",
            id="nothing is left",
        ),
        pytest.param("(lambda: True)()", "0: there is no function", id="a lambda"),
        pytest.param(
            "min(model.width, 3).real > 1",
            "0: 'min(model.width, 3)' is no dotted name.",
            id="an attribute of a number",
        ),
        pytest.param("model.shape[1:] == [4]", "0: 'model.shape[1:]' is no dotted name.", id="a slice"),
        pytest.param("model.width ** 9999999999 > 1", "0: ", id="a number that fills the memory"),
    ],
)
def test_a_constraint_that_is_none_is_one_line(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        constraints(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


STEPS = "a: {type: float, low: 0.5, high: 2.0, step: 0.5}\nb: {type: int, low: 2, high: 8, step: 3}"


def test_a_starting_point_is_on_the_steps_of_its_ranges() -> None:
    assert start_params(space_of(STEPS), {"a": 1.5, "b": 5}) == {"a": 1.5, "b": 5}
    with pytest.raises(SpaceError, match=r"^a: 1.25 is not in the range"):
        start_params(space_of(STEPS), {"a": 1.25})
    with pytest.raises(SpaceError, match=r"^b: 4 is not in the range"):
        start_params(space_of(STEPS), {"b": 4})


@pytest.mark.parametrize(
    ("raw", "params"),
    [
        pytest.param({"model.depth": 3}, {"model.depth": 3}, id="a part"),
        pytest.param(
            {"optimizer": "adam", "optimizer.lr": 0.005},
            {"optimizer": "adam", "optimizer.adam.lr": 0.005},
            id="by configuration path",
        ),
        pytest.param(
            {"optimizer.adam.lr": 0.01, "optimizer": "adam"},
            {"optimizer": "adam", "optimizer.adam.lr": 0.01},
            id="by name, in any order",
        ),
        pytest.param({"model.shape": [3, 4]}, {"model.shape": "[3,4]"}, id="a list"),
        pytest.param({"model.shape": "[3,4]"}, {"model.shape": "[3,4]"}, id="as Optuna stores it"),
    ],
)
def test_a_starting_point_is_what_optuna_would_have_stored(raw: Any, params: dict[str, Any]) -> None:
    found = start_params(space_of(NUMBERS), raw)
    assert found == params
    study = optuna.create_study()
    study.enqueue_trial(found)
    asked = space_of(NUMBERS).suggest(study.ask())
    assert {name: asked[name] for name in found} == found


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(3, "must be a mapping from parameters to values, but is 3.", id="a number"),
        pytest.param({}, "must be a mapping from parameters to values, but is {}.", id="empty"),
        pytest.param(
            {"model.dpth": 3},
            "model.dpth: the search space has no such parameter, did you mean 'model.depth'?",
            id="an unknown name",
        ),
        pytest.param({"model.depth": 9}, "model.depth: 9 is not in the range int 1 .. 8.", id="too large"),
        pytest.param(
            {"model.depth": 2.5}, "model.depth: `value` must be a whole number, but is 2.5.", id="half"
        ),
        pytest.param(
            {"model.shape": [5, 6]},
            "model.shape: [5, 6] is not a choice; there is [1,2], [3,4].",
            id="no choice",
        ),
        pytest.param(
            {"optimizer": "adm"},
            "optimizer: 'adm' is not a choice, did you mean 'adam'?",
            id="no named choice",
        ),
        pytest.param(
            {"optimizer": "adam", "optimizer.sgd.lr": 0.5},
            "optimizer.sgd.lr: this parameter is active only when optimizer = sgd.",
            id="not active",
        ),
    ],
)
def test_a_starting_point_that_is_none_is_one_line(raw: Any, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        start_params(space_of(NUMBERS), raw)
    assert str(caught.value) == message
