"""Trials share what their configurations have in common, and nothing else of them changes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.storages.alike import shared
from sweeps.storages.alone import alone
from sweeps.storages.known_trials import KnownTrials
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from tests import fakes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_a_value_says_the_same_whatever_it_is_like(value: Any, like: Any) -> None:
    before = json.dumps(like)
    assert json.dumps(shared(value, like)) == json.dumps(value)
    assert json.dumps(like) == before
    assert shared(json.loads(json.dumps(value)), value) is value or not isinstance(value, dict | list)


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0.0, -0.0), (None, 0), ("1", 1)])
def test_what_is_only_equal_stays_what_it_is(one: Any, other: Any) -> None:
    found = shared({"a": [one]}, {"a": [other]})["a"][0]
    assert (type(found), repr(found)) == (type(one), repr(one))


def test_parts_that_are_the_same_are_one_object() -> None:
    like = {"trainer": {"epochs": [1, {"of": math.nan}]}, "model": {"width": 8}}
    found = shared(json.loads(json.dumps(like | {"model": {"width": 16}})), like)
    assert found["trainer"] is like["trainer"]
    assert found["model"] == {"width": 16}


def test_the_trials_of_a_study_share_what_their_configurations_have_in_common(tmp_path: Path) -> None:
    spec, url = fakes.spec(), f"sqlite:///{tmp_path / 's.db'}"
    optuna_study = alone(create_study(spec, open_storage(url), validations=4))
    assert isinstance(optuna_study._storage, KnownTrials)
    study = Study(optuna_study, spec)
    study.ask(), study.ask()
    one, other = optuna_study.get_trials(deepcopy=False)
    configs = [one.user_attrs["config"], other.user_attrs["config"]]
    assert configs[0] != configs[1]
    same = [key for key in configs[0] if configs[0][key] == configs[1][key]]
    assert same
    assert all(configs[0][key] is configs[1][key] for key in same if isinstance(configs[0][key], dict))
    assert all(one.distributions[name] is other.distributions[name] for name in one.distributions)
