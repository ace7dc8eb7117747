"""Tests of `search_spaces.loading`: what each form of YAML means, and what each mistake is told."""

from typing import Any

import pytest

from search_spaces import (
    CategoricalParameter,
    Choice,
    FloatParameter,
    IntParameter,
    SpaceError,
    load_space,
    read_yaml,
)


def content(text: str) -> Any:
    """Return what varies at the only key of a search space."""
    return load_space(read_yaml(text, "sweep.yaml")).slots[0].content


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        pytest.param(
            "a: {type: float, low: 1e-5, high: 1, log: true}", FloatParameter(1e-5, 1, log=True), id="float"
        ),
        pytest.param(
            "a: {type: float, low: 0, high: 1, step: 0.25}", FloatParameter(0, 1, step=0.25), id="step"
        ),
        pytest.param("a: {type: int, low: 1, high: 1e3}", IntParameter(1, 1000), id="int"),
        pytest.param("a: [1, x, null]", CategoricalParameter((1, "x", None)), id="list"),
        pytest.param(
            "a: {type: categorical, choices: [1, 2]}", CategoricalParameter((1, 2)), id="categorical"
        ),
        pytest.param("a: [[1, 2], {b: 1}]", CategoricalParameter(([1, 2], {"b": 1})), id="list of values"),
    ],
)
def test_each_form_of_a_parameter_is_read(text: str, parameter: object) -> None:
    assert content(text) == parameter


def test_explicit_and_short_named_choices_mean_the_same() -> None:
    short = content("o: {x: {lr: [1, 2]}, y: null}")
    assert isinstance(short, Choice)
    assert short == content("o: {type: choice, choices: {x: {lr: [1, 2]}, y: null}}")


def test_names_of_choices_may_be_numbers_and_booleans() -> None:
    assert content("o: {1: a, true: b}").edges == ("1", "true")
    assert load_space({"o": {2: "a", False: "b"}}).slots[0].content.edges == ("2", "false")


@pytest.mark.parametrize(
    ("value", "template", "names"),
    [
        pytest.param("null", None, [], id="null"),
        pytest.param("3", 3, [], id="scalar"),
        pytest.param("[0.9, 0.95]", [0.9, 0.95], [], id="a whole list is literal"),
        pytest.param("[]", [], [], id="empty list"),
        pytest.param("{a: []}", {"a": []}, [], id="empty list inside"),
        pytest.param("{a: [[30, 60]]}", {"a": [30, 60]}, [], id="doubled brackets are a literal list"),
        pytest.param("{a: [1, 2]}", {"a": None}, ["o.x.a"], id="list inside varies"),
        pytest.param("{type: float, low: 0, high: 1}", None, ["o.x"], id="the branch itself varies"),
        pytest.param(
            "[{i: {lr: {type: float, low: 0, high: 1}}}, {j: 2}]",
            [{"i": {"lr": None}}, {"j": 2}],
            ["o.x.0.i.lr"],
            id="list of mappings",
        ),
        pytest.param(
            "{c: [{lr: [1, 2]}]}", {"c": [{"lr": None}]}, ["o.x.c.0.lr"], id="list of mappings inside"
        ),
        pytest.param("{type: cosine, T: 3}", {"type": "cosine", "T": 3}, [], id="a type of its own"),
        pytest.param("{low: 0, high: 1}", {"low": 0, "high": 1}, [], id="bounds of its own"),
        pytest.param("{a.b: 1, c: [2, 3]}", {"a.b": 1, "c": None}, ["o.x.c"], id="dotted literal key"),
    ],
)
def test_a_branch_is_literal_but_for_the_parameters_in_it(
    value: str, template: object, names: list[str]
) -> None:
    space = load_space(read_yaml(f"o: {{x: {value}, y: null}}", "sweep.yaml"))
    choice = space.slots[0].content
    assert isinstance(choice, Choice)
    assert choice.branches[0].template == template
    assert list(space.names) == ["o", *names]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "the search space is empty: name at least one parameter that varies.", id="nothing"),
        pytest.param("{}", "the search space is empty: name at least one parameter that varies.", id="empty"),
        pytest.param(
            "[1, 2]",
            "must be a mapping from configuration paths to what may vary, but is [1, 2].",
            id="a list",
        ),
        pytest.param(
            "a.x: 3",
            "a.x: a fixed value belongs into the base configuration, not into the search space: 3.",
            id="fixed",
        ),
        pytest.param(
            "a: null",
            "a: a fixed value belongs into the base configuration, not into the search space: null.",
            id="null",
        ),
        pytest.param(
            "a..b: [1, 2]", "the key 'a..b' has an empty segment between its dots.", id="empty segment"
        ),
        pytest.param("'': [1, 2]", "the key '' has an empty segment between its dots.", id="empty key"),
        pytest.param(
            "o: [1, 2]\no.i.lr: [1, 2]",
            "o.i.lr: this lies inside 'o', which is replaced as a whole: vary one of the two.",
            id="inside",
        ),
        pytest.param(
            "o.i.lr: [1, 2]\no: {x: 1, y: 2}",
            "o.i.lr: this lies inside 'o', which is replaced as a whole: vary one of the two.",
            id="inside, other order",
        ),
        pytest.param(
            "o: {x: {y.z: 1, y: {z: [1, 2]}}, x.y: {z: [1, 2]}}",
            "o.x.y.z: two parameters would get this name: rename a branch.",
            id="same name",
        ),
        pytest.param(
            "a: {type: float, low: 0.1, high: 0.001}",
            "a: `low < high` must hold, but got low=0.1, high=0.001.",
            id="range",
        ),
        pytest.param(
            "a: {type: float, low: 0, hgih: 1}",
            "a: unknown key 'hgih', did you mean 'high'?",
            id="misspelt key",
        ),
        pytest.param(
            "a: {type: float, min: 0, max: 1}", "a: unknown key 'min', did you mean 'low'?", id="min and max"
        ),
        pytest.param(
            "a: {type: int, values: [1, 2]}",
            "a: unknown key 'values': write the list itself, [a, b, c].",
            id="values with type",
        ),
        pytest.param(
            "a: {type: int, zzz: 1}",
            "a: unknown key 'zzz'; there is type, low, high, log, step, when.",
            id="unknown key",
        ),
        pytest.param("a: {type: float, low: 0}", "a: `high` is missing: type float needs it.", id="no high"),
        pytest.param("a: {type: choice}", "a: `choices` is missing: type choice needs it.", id="no choices"),
        pytest.param(
            "a: {type: loguniform, low: 1, high: 2}",
            "a: unknown type 'loguniform': write {type: float, log: true, low: ..., high: ...}.",
            id="loguniform",
        ),
        pytest.param(
            "a: {type: flaot, low: 1, high: 2}",
            "a: unknown type 'flaot', did you mean 'float'?",
            id="misspelt type",
        ),
        pytest.param(
            "a: {type: zzz}",
            "a: unknown type 'zzz'; there is float, int, categorical, choice.",
            id="unknown type",
        ),
        pytest.param(
            "a: {min: 1, max: 2}",
            "a: `type` is missing: write {type: int, low: 1, high: 2} for a range, "
            "or {type: choice, choices: {...}} for named choices.",
            id="W&B range",
        ),
        pytest.param(
            "a: {distribution: uniform, min: 0.5, max: 2}",
            "a: `type` is missing: write {type: float, low: 0.5, high: 2} for a range, "
            "or {type: choice, choices: {...}} for named choices.",
            id="W&B distribution",
        ),
        pytest.param(
            "a: {distribution: log_uniform_values, min: 0.0001, max: 0.1}",
            "a: `type` is missing: write {type: float, log: true, low: 0.0001, high: 0.1} for a range, "
            "or {type: choice, choices: {...}} for named choices.",
            id="W&B log distribution",
        ),
        pytest.param(
            "a: {distribution: log_uniform, min: -9.2, max: -2.3}",
            "a: `type` is missing: write {type: float, log: true, low: ..., high: ...} for a range, "
            "or {type: choice, choices: {...}} for named choices.",
            id="W&B exponents",
        ),
        pytest.param(
            "a: {distribution: q_uniform, min: 0, max: 1, q: 0.25}",
            "a: `type` is missing: write {type: float, step: 0.25, low: 0, high: 1} for a range, "
            "or {type: choice, choices: {...}} for named choices.",
            id="W&B steps",
        ),
        pytest.param(
            "a: {loguniform: [0.0001, 0.1]}",
            "a: 'loguniform' is a word of other tools: "
            "write {type: float, log: true, low: 0.0001, high: 0.1}.",
            id="a range as a key",
        ),
        pytest.param(
            "a: {quniform: [0, 1, 0.25]}",
            "a: 'quniform' is a word of other tools: write {type: float, step: 0.25, low: 0, high: 1}.",
            id="a range with steps as a key",
        ),
        pytest.param(
            "a: {choice: [1, 2]}",
            "a: 'choice' is a word of other tools: write the list itself, [a, b, c].",
            id="a choice as a key",
        ),
        pytest.param(
            "a: {values: [1, 2]}",
            "a: `values` needs no mapping: write the list itself, [a, b, c].",
            id="W&B values",
        ),
        pytest.param(
            "a: {value: 1}", "a: a fixed value belongs into the base configuration.", id="W&B value"
        ),
        pytest.param(
            "a: {type: choice, choices: [1, 2]}",
            "a: `choices` must be a mapping from names, but is [1, 2]: for a list write type: categorical.",
            id="choice of a list",
        ),
        pytest.param(
            "a: {type: categorical, choices: {b: 1}}",
            'a: `choices` must be a list, but is {"b": 1}: for named choices write type: choice.',
            id="categorical of a mapping",
        ),
        pytest.param("a: {}", "a: named choices need at least one name, but there is none.", id="no names"),
        pytest.param(
            "a: {'': 1, b: 2}", "a: a named choice must have a name, but one is empty.", id="empty name"
        ),
        pytest.param(
            "a: [{type: float, low: 0, high: 1}, 2]",
            "a: a list's items do not vary themselves: use named choices, {a: ..., b: ...}.",
            id="parameter in a list",
        ),
        pytest.param(
            "a: [{b: {c: {type: float, low: 0, high: 1}}}, 2]",
            "a: a list's items do not vary themselves: use named choices, {a: ..., b: ...}.",
            id="parameter deep in a list",
        ),
        pytest.param(
            "a: {low: 0.1, high: 1, lgo: true}",
            "a: `type` is missing: write {type: float, low: 0.1, high: 1} for a range, "
            "or {type: choice, choices: {...}} for named choices.",
            id="a range without its type, and a misspelt key",
        ),
        pytest.param(
            "o: {x: {i: {lr: {type: float, low: 2, high: 1}}}}",
            "o.x.i.lr: `low < high` must hold, but got low=2.0, high=1.0.",
            id="inside a branch",
        ),
        pytest.param(
            "o: {x: {lr: {type: flaot, low: 1, high: 2}}}",
            "o.x.lr: unknown type 'flaot', did you mean 'float'?",
            id="misspelt type inside a branch",
        ),
        pytest.param(
            "o: {x: {m: [30]}}",
            "o.x.m: a list here is a choice between its items, and [30] has one: "
            "write 30, or [[30]] for the list itself.",
            id="list of one inside a branch",
        ),
        pytest.param(
            "o: {x: {init_args.lr: [1, 2]}}",
            "o.x.init_args.lr: the key 'init_args.lr' has a dot: inside a branch write nested mappings.",
            id="dotted key inside a branch",
        ),
        pytest.param(
            '"a\\nb": 3',
            "a\\nb: a fixed value belongs into the base configuration, not into the search space: 3.",
            id="line break in a key",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_key(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        load_space(read_yaml(text, "sweep.yaml"))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(
            "text", "must be a mapping from configuration paths to what may vary, but is 'text'.", id="text"
        ),
        pytest.param(
            {1: [1, 2]}, "a key must be a dotted path such as model.init_args.lr, but is 1.", id="key"
        ),
        pytest.param(
            {"o": {None: 1}}, "o: the name of a choice must be a string, but is null.", id="null name"
        ),
        pytest.param(
            {"o": {"x": {1: 2}}},
            "o.x: the key 1 must be a string: put it in quotes.",
            id="key inside a branch",
        ),
    ],
)
def test_mappings_that_yaml_text_cannot_give_are_refused_too(raw: object, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        load_space(raw)
    assert str(caught.value) == message


def test_the_search_space_keeps_no_reference_to_what_it_was_read_from() -> None:
    raw: dict[str, Any] = {"o": {"x": {"i": {"k": [[1, 2]], "m": {"n": 1}}}}, "b": [[1], [2]]}
    space = load_space(raw)
    raw["o"]["x"]["i"]["m"]["n"] = 99
    raw["b"][0].append(99)
    assert space.configure({}, space.centre()) == {"o": {"i": {"k": [1, 2], "m": {"n": 1}}}, "b": [1]}
