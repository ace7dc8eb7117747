"""Tests of `search_spaces.parameters`: every rule with its message, centres, edges and texts."""

import math
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from search_spaces import CategoricalParameter, FloatParameter, IntParameter, SpaceError


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        pytest.param(
            {"low": 0.1, "high": 0.001}, "`low < high` must hold, but got low=0.1, high=0.001.", id="order"
        ),
        pytest.param(
            {"low": 1, "high": 1},
            "low and high are both 1.0: put the value in the base configuration instead.",
            id="no range",
        ),
        pytest.param(
            {"low": 0, "high": 1, "log": True},
            "`low > 0` must hold with `log: true`, but got low=0.0.",
            id="log of zero",
        ),
        pytest.param(
            {"low": 1, "high": 2, "log": True, "step": 0.1},
            "`step` and `log: true` exclude each other, but got step=0.1.",
            id="step with log",
        ),
        pytest.param(
            {"low": 0, "high": 1, "step": 0}, "`step > 0` must hold, but got step=0.0.", id="no step"
        ),
        pytest.param(
            {"low": 0, "high": 1, "step": 2},
            "`step <= high - low` must hold, but got low=0.0, high=1.0, step=2.0.",
            id="step too large",
        ),
        pytest.param(
            {"low": 0.1, "high": 1.0, "step": 0.2},
            "`high` must be whole steps above `low`, but got low=0.1, high=1.0, step=0.2: "
            "the nearest is high=0.9.",
            id="high off the step",
        ),
        pytest.param(
            {"low": 0, "high": 1e300, "step": 1e-300},
            "`step` is too small for the range, but got low=0.0, high=1e+300, step=1e-300.",
            id="step too small",
        ),
        pytest.param({"low": math.nan, "high": 1}, "`low` must be finite, but is nan.", id="NaN"),
        pytest.param({"low": 0, "high": math.inf}, "`high` must be finite, but is inf.", id="infinite"),
        pytest.param(
            {"low": -1e308, "high": 1e308},
            "`high - low` must be finite, but got low=-1e+308, high=1e+308.",
            id="overflow",
        ),
        pytest.param(
            {"low": "abc", "high": 1}, "`low` must be a number, but is the string 'abc'.", id="text"
        ),
        pytest.param(
            {"low": "1e-4", "high": 1},
            "`low` must be a number, but is the string '1e-4': write 1e-4 without quotes.",
            id="quoted number",
        ),
        pytest.param({"low": None, "high": 1}, "`low` must be a number, but is null.", id="null"),
        pytest.param({"low": True, "high": 2}, "`low` must be a number, but is true.", id="boolean"),
        pytest.param(
            {"low": 1, "high": 2, "log": "yes"},
            "`log` must be true or false, but is 'yes'.",
            id="log as text",
        ),
    ],
)
def test_a_float_refuses_what_makes_no_range(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(SpaceError) as caught:
        FloatParameter(**fields)
    assert str(caught.value) == rule


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        pytest.param({"low": 9, "high": 1}, "`low < high` must hold, but got low=9, high=1.", id="order"),
        pytest.param({"low": 1, "high": 10.5}, "`high` must be a whole number, but is 10.5.", id="fraction"),
        pytest.param({"low": False, "high": 3}, "`low` must be a number, but is false.", id="boolean"),
        pytest.param(
            {"low": 0, "high": 8, "log": True},
            "`low > 0` must hold with `log: true`, but got low=0.",
            id="log of zero",
        ),
        pytest.param(
            {"low": 1, "high": 9, "log": True, "step": 2},
            "`step` and `log: true` exclude each other, but got step=2.",
            id="step with log",
        ),
        pytest.param(
            {"low": 1, "high": 9, "step": 3},
            "`high` must be whole steps above `low`, but got low=1, high=9, step=3: the nearest is high=10.",
            id="high off the step",
        ),
        pytest.param(
            {"low": 1, "high": 1e30},
            "`high` must lie between -2**53 and 2**53, but is 1e+30.",
            id="too large to be exact",
        ),
        pytest.param(
            {"low": 1, "high": 10**400}, "`high` must be finite, but is 1" + "0" * 56 + "....", id="huge"
        ),
    ],
)
def test_an_integer_refuses_what_makes_no_range(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(SpaceError) as caught:
        IntParameter(**fields)
    assert str(caught.value) == rule


@pytest.mark.parametrize(
    ("choices", "rule"),
    [
        pytest.param((), "`choices` must hold at least two values, but is empty.", id="empty"),
        pytest.param(
            (3,), "the only choice is 3: put the value in the base configuration instead.", id="one"
        ),
        pytest.param((1, True), "the choices 1 and true are equal: keep one of them.", id="one and true"),
        pytest.param((0, 2, 0.0), "the choices 0 and 0.0 are equal: keep one of them.", id="int and float"),
        pytest.param(("a", "a"), "the choices 'a' and 'a' are equal: keep one of them.", id="same text"),
        pytest.param(([1], "[1]"), "the choices [1] and '[1]' are equal: keep one of them.", id="same label"),
        pytest.param(
            ([1], [1.0]), "the choices [1] and [1.0] are equal: keep one of them.", id="equal lists"
        ),
        pytest.param((1, math.nan), "a choice must equal itself, but nan holds NaN.", id="NaN"),
        pytest.param((1, {2}), "the choice {2} is not a YAML value.", id="set"),
        pytest.param("abc", "`choices` must be a list, but is 'abc'.", id="text"),
    ],
)
def test_a_categorical_refuses_choices_that_cannot_be_told_apart(choices: Any, rule: str) -> None:
    with pytest.raises(SpaceError) as caught:
        CategoricalParameter(choices)
    assert str(caught.value) == rule


@pytest.mark.parametrize(
    ("parameter", "centre", "edges", "text"),
    [
        pytest.param(FloatParameter(0, 1), 0.5, (0.0, 1.0), "float 0.0 .. 1.0", id="float"),
        pytest.param(
            FloatParameter(1e-5, 1e-1, log=True), 1e-3, (1e-5, 1e-1), "float 1e-05 .. 0.1 log", id="float log"
        ),
        pytest.param(
            FloatParameter(0.1, 0.9, step=0.2), 0.5, (0.1, 0.9), "float 0.1 .. 0.9 step 0.2", id="float step"
        ),
        pytest.param(
            FloatParameter(0, 0.3, step=0.1), 0.1, (0.0, 0.3), "float 0.0 .. 0.3 step 0.1", id="odd steps"
        ),
        pytest.param(IntParameter(16, 256, log=True), 64, (16, 256), "int 16 .. 256 log", id="int log"),
        pytest.param(IntParameter(1, 10, step=3), 4, (1, 10), "int 1 .. 10 step 3", id="int step"),
        pytest.param(IntParameter(1e3, 2e3), 1500, (1000, 2000), "int 1000 .. 2000", id="int from floats"),  # type: ignore[arg-type]
        pytest.param(
            CategoricalParameter((32, None, True)), 32, (32, None, True), "32 | null | true", id="scalars"
        ),
        pytest.param(
            CategoricalParameter(([0.9, 0.95], {"a": "é"})),
            "[0.9,0.95]",
            ("[0.9,0.95]", '{"a":"é"}'),
            '[0.9,0.95] | {"a":"é"}',
            id="labels",
        ),
        pytest.param(
            CategoricalParameter(("relu", "1", "", "a | b")),
            "relu",
            ("relu", "1", "", "a | b"),
            'relu | "1" | "" | "a | b"',
            id="ambiguous texts",
        ),
        pytest.param(
            CategoricalParameter(tuple(range(10))),
            0,
            tuple(range(10)),
            "0 | 1 | 2 | 3 | 4 | 5 | ... (10 choices)",
            id="many",
        ),
    ],
)
def test_each_parameter_knows_its_centre_edges_and_text(
    parameter: FloatParameter | IntParameter | CategoricalParameter, centre: object, edges: object, text: str
) -> None:
    assert parameter.centre == (pytest.approx(centre) if isinstance(centre, float) else centre)
    assert parameter.edges == edges
    assert parameter.describe() == text


@pytest.mark.parametrize("step", [0.1, 0.07, 1e-3, 0.3])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_optuna_neither_adjusts_nor_refuses_what_is_accepted_here(
    step: float, count: int, recwarn: pytest.WarningsRecorder
) -> None:
    high = float(f"{0.1 + count * step:.9g}")
    parameter = FloatParameter(0.1, high, step=step)
    theirs = FloatDistribution(parameter.low, parameter.high, step=parameter.step)
    assert theirs.high == high
    assert theirs._contains(parameter.centre)
    whole = IntParameter(-3, -3 + count * 5, step=5)
    assert IntDistribution(-3, whole.high, step=5)._contains(whole.centre)
    assert not recwarn.list


def test_the_refused_high_is_corrected_to_one_that_is_accepted() -> None:
    with pytest.raises(SpaceError) as caught:
        FloatParameter(0.05, 1.0, step=0.3)
    nearest = float(caught.value.rule.rsplit("=", 1)[1].rstrip("."))
    assert FloatParameter(0.05, nearest, step=0.3).high == nearest == 0.95


@pytest.mark.parametrize(
    ("parameter", "stored", "rule"),
    [
        pytest.param(
            FloatParameter(0, 1), "x", "`value` must be a number, but is the string 'x'.", id="float"
        ),
        pytest.param(FloatParameter(0, 1), math.nan, "`value` must be finite, but is nan.", id="NaN"),
        pytest.param(IntParameter(0, 4), 1.5, "`value` must be a whole number, but is 1.5.", id="int"),
        pytest.param(
            CategoricalParameter(("relu", "gelu")),
            "rely",
            "'rely' is not a choice, did you mean 'relu'?",
            id="near",
        ),
        pytest.param(CategoricalParameter((32, 64)), 7, "7 is not a choice; there is 32, 64.", id="far"),
    ],
)
def test_a_stored_value_of_the_wrong_kind_is_refused(parameter: Any, stored: object, rule: str) -> None:
    with pytest.raises(SpaceError) as caught:
        parameter.decode(stored)
    assert str(caught.value) == rule


def test_decoding_gives_the_kind_the_configuration_needs() -> None:
    assert type(FloatParameter(0, 1).decode(1)) is float
    assert type(IntParameter(0, 4).decode(2.0)) is int
    betas = CategoricalParameter(([0.9, 0.95], [0.9, 0.999]))
    assert betas.decode("[0.9,0.999]") == [0.9, 0.999]
    assert betas.decode("[0.9,0.999]") is not betas.decode("[0.9,0.999]")
