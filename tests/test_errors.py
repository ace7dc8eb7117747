"""The errors: what they say, what they are, and that they travel between processes."""

import pickle

import pytest

from sweeps import errors
from sweeps.errors import (
    ClusterLost,
    CutShort,
    NothingLeft,
    ServerAway,
    SpecError,
    StoreAway,
    SweepFailed,
    SweepsError,
    TrialsFail,
    UserError,
)

EXAMPLES = [
    UserError("there is no such sweep"),
    SpecError("digits.yaml", "budget.trials", "must be more than 0"),
    ClusterLost("the cluster has ended"),
    CutShort("the database is away"),
    NothingLeft("its budget of 8 trials is used"),
    ServerAway("no server answers there"),
    TrialsFail("20 trials in a row failed"),
    SweepFailed("the first 3 trials all failed"),
    StoreAway("s3://bucket/trial-0: the connection was refused"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_pickling(error: SweepsError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_every_error_has_an_example_here() -> None:
    defined = {
        thing
        for thing in vars(errors).values()
        if isinstance(thing, type) and issubclass(thing, SweepsError) and thing is not SweepsError
    }
    assert {type(error) for error in EXAMPLES} == defined


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(SpecError("a.yaml", "budget", "no end"), "a.yaml: budget: no end", id="all three"),
        pytest.param(SpecError("", "budget", "no end"), "budget: no end", id="no file"),
        pytest.param(SpecError("a.yaml", "", "is empty"), "a.yaml: is empty", id="the file as a whole"),
    ],
)
def test_an_error_in_a_sweep_file_reads_file_key_rule(error: SpecError, text: str) -> None:
    assert str(error) == text


def test_an_error_in_a_sweep_file_is_the_users_and_a_failed_sweep_is_not() -> None:
    assert issubclass(SpecError, UserError)
    assert not issubclass(SweepFailed, UserError)
