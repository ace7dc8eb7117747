"""`warm_start`: earlier sweeps teach the sampler, are counted by nobody, and names are checked."""

from pathlib import Path
from typing import Any

import optuna
import pytest

import dashboards
from sweeps.errors import SpecError
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.planning.places import places
from sweeps.runner import run
from sweeps.samplers.warm_start import MOST_TRIALS, check_warm_start, history
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, equip, load_study, loaded_spec
from sweeps.study.study import Study
from sweeps.sweep_file.spec import SweepSpec
from tests import fakes


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with the finished sweep `first`: 12 trials over x in 0..1, the best at 0."""
    url = f"sqlite:///{tmp_path}/sweeps.db"
    swept(spec("first", warm_start=[], budget={"trials": 12}, sampler="random"), url)
    return url


def spec(name: str = "second", **changes: Any) -> SweepSpec:
    return fakes.spec(**({"name": name, "sampler": "auto", "warm_start": ["first"]} | changes))


def swept(of: SweepSpec, url: str) -> optuna.Study:
    study = create_study(of, open_storage(url), validations=4)
    run(Study(study, of), ScriptedExecutor(fakes.falling))
    return study


def test_the_first_trial_is_already_near_the_best_of_the_earlier_sweep(url: str) -> None:
    best = min(params["model.init_args.x"] for params, _ in history(spec(), open_storage(url)))
    taught = swept(spec(budget={"trials": 3}), url).trials
    assert [trial.params["model.init_args.x"] < max(2 * best, 0.1) for trial in taught].count(True) >= 2


def test_only_the_sweeps_own_trials_are_counted(url: str) -> None:
    swept(spec(budget={"trials": 3}), url)
    path = Path(url.removeprefix("sqlite:///"))
    assert len(dashboards.load(path, "second").trials) == 3
    assert len(dashboards.load(path, "first").trials) == 12


def test_a_resumed_sweep_is_taught_again_and_does_without_a_sweep_that_is_gone(url: str) -> None:
    swept(spec(budget={"trials": 1}), url)
    study = load_study("second", url)
    again = loaded_spec(study)
    assert again.warm_start == ["first"]
    equip(study, again, 4)
    assert len(study.sampler._history) == 12  # type: ignore[attr-defined]
    optuna.delete_study(study_name="first", storage=url)
    equip(study, again, 4)
    assert study.sampler._history == []  # type: ignore[attr-defined]


def test_only_trials_that_fit_the_space_are_taken(url: str) -> None:
    narrow = {"model.init_args.x": {"type": "float", "low": 0.0, "high": 0.5}}
    known = history(spec(search_space=narrow), open_storage(url))
    assert 0 < len(known) < 12
    assert all(params["model.init_args.x"] <= 0.5 for params, _ in known)
    wider = narrow | {"model.init_args.y": [1, 2]}
    assert history(spec(search_space=wider), open_storage(url)) == []


def test_of_many_trials_the_best_and_some_of_every_rank_are_taken(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sweeps.db"
    study = create_study(spec("first", warm_start=[]), open_storage(url), validations=4)
    place = optuna.distributions.FloatDistribution(0, 1)
    study.add_trials([
        optuna.trial.create_trial(params={"model.init_args.x": n / 500}, value=n,
                                  distributions={"model.init_args.x": place})
        for n in range(500)
    ])  # fmt: skip
    values = [value for _, value in history(spec(), open_storage(url))]
    assert (len(values), values[0], values[-1]) == (MOST_TRIALS, 0, 499)
    assert len(set(values)) == MOST_TRIALS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"warm_start": ["frist"]}, "warm_start.0: no sweep 'frist' in this database, did you "
                     "mean 'first'?; it holds: first", id="a name"),
        pytest.param({"objective": {"metric": "loss", "direction": "maximize"}}, "warm_start.0: 'first' had "
                     "another objective: minimize loss, not maximize loss", id="a direction"),
        pytest.param({"sampler": "tpe"}, "warm_start: only the sampler `auto` learns from earlier sweeps; "
                     "leave `sampler` out", id="a sampler that does not learn"),
        pytest.param({"objective": [{"metric": "loss", "direction": "minimize"},
                                    {"metric": "b", "direction": "minimize"}]},
                     "warm_start: a sweep of several objectives does not learn", id="several objectives"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(url: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        places(spec(**changes), url)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_is_not_there_holds_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="it holds: none"):
        check_warm_start(spec(), f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []
