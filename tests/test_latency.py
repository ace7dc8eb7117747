"""What a server that is far away costs: counted round trips, not times."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import optuna
import pytest

from sweeps.records import Outcome, Report, State
from sweeps.storages.known_trials import alone
from sweeps.storages.patience import patient
from sweeps.storages.storage import open_storage
from sweeps.storages.uris import study_url
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from tests import fakes
from tests.postgres import Server
from tests.relay import Relay, relayed

SPEC = fakes.spec(pruner="hyperband")  # which finds its study by name whenever it is asked
WARM = 8
"""So many trials, and psycopg has prepared what is said again and again."""


@dataclass
class Far:
    """A driver's study on a server, and what is between them."""

    study: optuna.Study
    relay: Relay

    def trips(self, call: Callable[[], object]) -> int:
        """How many round trips it takes."""
        before = self.relay.trips
        call()
        return self.relay.trips - before


@pytest.fixture
def far(postgres: Server, request: pytest.FixtureRequest) -> Iterator[Far]:
    name = f"far_{abs(hash(request.node.name))}"
    postgres.database(name)
    with relayed(postgres.port) as relay:
        storage = open_storage(study_url(postgres.url(name, relay.port)))
        yield Far(alone(create_study(SPEC, storage, validations=4)), relay)
        storage.close()


def test_what_a_trial_costs_in_round_trips(far: Far) -> None:
    study = Study(far.study, SPEC)
    for number in range(WARM):
        assert study.ask() is not None
        for step in (1, 2):
            study.should_stop(Report(number, step, 1.0))
        outcome = Outcome(number, State.COMPLETE, 1.0)
        study.as_it_stands(outcome)
        study.tell(outcome)
    # With BEGIN and COMMIT: the study, the trial, its number and that written; a row for the parameter, the
    # bracket and the configuration each, after a look at the trial.
    assert far.trips(study.ask) <= 6 + 3 * 2
    # A look at the trial and at what it has of this step, and a row.
    assert far.trips(lambda: study.should_stop(Report(WARM, 1, 1.0))) <= 3
    outcome = Outcome(WARM, State.COMPLETE, 1.0)
    assert far.trips(lambda: study.as_it_stands(outcome)) <= 3
    # The outcome's row; the trial's lock, its value and its state in one transaction.
    assert far.trips(lambda: study.tell(outcome)) <= 2 + 6
    assert far.trips(lambda: far.study.user_attrs) == 2
    assert far.trips(lambda: far.study.set_user_attr("driver", {"beat": 1})) <= 3


def test_a_broken_connection_is_replaced_without_a_word_and_without_a_look_before(far: Far) -> None:
    said: list[str] = []
    with patient(0.0, said.append):  # as the lease's thread, which waits for nothing
        trial = far.study.ask()
        for step in range(3):
            far.relay.cut()
            trial.report(0.5, step)
        far.relay.cut()
        far.study.tell(trial, 1.0)
        far.relay.cut()
        assert far.study.ask().number == 1
    assert said == []
    [kept, _] = far.study.get_trials()
    assert (list(kept.intermediate_values), kept.value) == ([0, 1, 2], 1.0)
    kept_there = optuna.load_study(study_name=far.study.study_name, storage=far.study._storage._storage)  # type: ignore[attr-defined]
    assert [trial.state.name for trial in kept_there.get_trials()] == ["COMPLETE", "RUNNING"]
