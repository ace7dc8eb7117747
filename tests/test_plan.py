"""What a sweep is going to do: its places, its schedule, its slots."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from sweeps.context import Inspection
from sweeps.errors import SpecError, UserError
from sweeps.executors.resources import Need
from sweeps.planning.places import Places, noted, places, places_of_study
from sweeps.planning.plan import check_algorithms, context_of, raise_problem, schedule_of, slots_of
from sweeps.study.persistence import create_study
from sweeps.sweep_file.loading import load_spec
from sweeps.training.schedule import Schedule
from tests import fakes


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without a setting of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEPS_STORAGE", raising=False)
    return tmp_path


def test_everything_is_kept_in_the_current_folder_by_default(here: Path) -> None:
    assert places(fakes.spec()) == Places(
        storage=f"sqlite:///{here}/sweeps.db",
        tracking_uri=f"sqlite:///{here}/mlflow.db",
        artifacts=str(here / "mlartifacts" / "test"),
        files=here / "sweep-files" / "test",
    )
    assert list(here.iterdir()) == []


def test_everything_may_be_kept_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", str(here / "data"))
    (here / "data").mkdir()
    spec = fakes.spec(storage="sqlite:///${DATA}/s.db", tracking_uri="sqlite:///${DATA}/m.db", files="out")
    where = places(spec)
    assert where.storage == f"sqlite:///{here}/data/s.db"
    assert where.tracking_uri == f"sqlite:///{here}/data/m.db"
    assert where.artifacts == str(here / "data" / "mlartifacts" / "test")
    assert where.files == here / "out" / "test"
    assert places(spec, "sqlite:///o.db").storage == f"sqlite:///{here}/o.db"


@pytest.mark.usefixtures("here")
def test_a_tracking_server_keeps_the_artifacts_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        where = places(fakes.spec(tracking_uri=uri))
    assert (where.tracking_uri, where.artifacts) == (uri, "")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        pytest.param(
            "http://me:hidden@127.0.0.1:1", "answers there (Connection refused)", id="nothing there"
        ),
        pytest.param("http://:hidden@[::1", "not an address", id="no address"),
    ],
)
def test_a_tracking_server_that_does_not_answer_is_a_mistake(uri: str, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        places(fakes.spec(tracking_uri=uri))
    assert reason in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.usefixtures("here")
def test_a_database_that_is_not_ours_is_refused() -> None:
    Path("sweeps.db").write_text("something else")
    with pytest.raises(UserError, match="not a usable SQLite database"):
        places(fakes.spec())


def test_a_folder_that_is_taken_is_refused(here: Path) -> None:
    (here / "sweep-files" / "test" / "trial-0").mkdir(parents=True)
    with pytest.raises(UserError, match="an earlier sweep"):
        places(fakes.spec())


def test_the_context_is_what_all_trials_share(here: Path) -> None:
    spec = fakes.spec(
        objective={"metric": "acc", "direction": "maximize", "value": "last"}, resources={"cpus": 2.5}
    )
    context = context_of(spec, here / "files", 0.5)
    assert (context.metric, context.minimize, context.value) == ("acc", False, "last")
    assert (context.cpus, context.gpus) == (2, 0.5)
    assert (context.files, context.folders) == (here / "files", (str(here),))
    assert context_of(fakes.spec(resources={"cpus": 0.25}), here, 0).cpus == 1


@pytest.mark.parametrize(
    ("trainer", "space", "expected"),
    [
        pytest.param({"max_epochs": 4}, {}, Schedule(4, -1), id="the base configuration"),
        pytest.param({"max_epochs": 1e1}, {}, Schedule(10, -1), id="a whole number with an exponent"),
        pytest.param({"max_epochs": 4}, {"trainer.max_epochs": [2, 9, 5]}, Schedule(9, -1),
                     id="the longest of the space"),
        pytest.param({"max_epochs": 9}, {"trainer.max_epochs": {"type": "int", "low": 1, "high": 3}},
                     Schedule(3, -1), id="the space replaces the base configuration"),
        pytest.param({}, {"trainer.max_steps": {"type": "int", "low": 1, "high": 30}}, Schedule(-1, 30),
                     id="steps of the space"),
        pytest.param({"max_epochs": 2}, {"trainer": {"short": {"max_epochs": 1}, "long": {"max_epochs": 7}}},
                     Schedule(7, -1), id="inside named choices"),
        pytest.param({"max_epochs": 9},
                     {"model.x": ["a", "b"],
                      "trainer.max_epochs": {"type": "int", "low": 1, "high": 3, "when": {"model.x": "b"}}},
                     Schedule(9, -1), id="the base configuration, where the space replaces it sometimes"),
    ],
)  # fmt: skip
def test_the_schedule_is_that_of_the_longest_training(
    trainer: dict[str, Any], space: dict[str, Any], expected: Schedule
) -> None:
    spec = fakes.spec(trainer=trainer, search_space=space or fakes.spec().search_space)
    assert schedule_of(spec) == expected


@pytest.mark.parametrize(
    "key", ["max_epochs", "max_steps", "accumulate_grad_batches", "check_val_every_n_epoch"]
)
@pytest.mark.parametrize("value", ["ten", 2.5, True, [3], float("inf")])
def test_a_length_that_is_no_whole_number_is_one_line(key: str, value: object) -> None:
    with pytest.raises(SpecError) as caught:
        schedule_of(fakes.spec(trainer={key: value}))
    assert str(caught.value) == f"trainer.{key}: must be a whole number, but got {value!r}"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        pytest.param({"sampler": "tep"}, "sampler", id="sampler"),
        pytest.param({"pruner": "medium"}, "pruner", id="pruner"),
    ],
)
def test_a_mistake_in_the_algorithms_shows_before_anything_runs(changes: dict[str, Any], key: str) -> None:
    check_algorithms(fakes.spec(), 4)
    with pytest.raises(SpecError, match=f"^{key}: unknown {key}"):
        check_algorithms(fakes.spec(**changes), 4)


@pytest.mark.parametrize(
    ("trainer", "space", "problem"),
    [
        pytest.param({"max_epochs": 5, "check_val_every_n_epoch": 10}, {},
                     "trainer: a training is over before its first validation, with max_epochs=5,"
                     " check_val_every_n_epoch=10", id="too few epochs"),
        pytest.param({"max_steps": 5}, {}, "trainer: a training is over before its first validation, with"
                     " max_steps=5", id="too few steps"),
        pytest.param({"limit_val_batches": 0}, {}, "trainer.limit_val_batches: must not be 0: a validation"
                     " gives a trial its value", id="no validation"),
        pytest.param({"max_epochs": 5, "check_val_every_n_epoch": 10},
                     {"trainer.check_val_every_n_epoch": [1, 5]}, "", id="the space says otherwise"),
        pytest.param({"max_steps": 5}, {"data.init_args.batch_size": [8, 16]}, "",
                     id="larger batches make it long enough"),
        pytest.param({"limit_val_batches": 0}, {"trainer.limit_val_batches": [1, 2]}, "",
                     id="the space validates"),
    ],
)  # fmt: skip
def test_a_training_without_a_validation_is_refused_before_any_trains(
    trainer: dict[str, Any], space: dict[str, Any], problem: str
) -> None:
    spec = fakes.spec(trainer=trainer, search_space=fakes.spec().search_space | space)
    validations = schedule_of(spec).validations(8)
    if not problem:
        check_algorithms(spec, validations)
        return
    with pytest.raises(SpecError) as caught:
        check_algorithms(spec, validations)
    assert str(caught.value) == problem


def test_what_an_inspection_found_is_raised_as_a_mistake_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(repr(fakes.spec().model_dump(exclude_none=True)))
    spec = load_spec(path)
    raise_problem(Inspection(), spec)
    with pytest.raises(SpecError) as caught:
        raise_problem(Inspection(problem=("model.init_args.z", "Model does not accept it")), spec)
    assert str(caught.value) == f"{path}: model.init_args.z: Model does not accept it"


@pytest.mark.parametrize(
    ("there", "resources", "at_most", "expected"),
    [
        pytest.param({"CPU": 4.0}, {}, None, (4, 0.0), id="a CPU each"),
        pytest.param({"CPU": 4.0}, {"cpus": 3}, None, (1, 0.0), id="three CPUs each"),
        pytest.param({"CPU": 2.0}, {"cpus": 0.1}, None, (20, 0.0), id="a tenth each"),
        pytest.param({"CPU": 8.0}, {}, 3, (3, 0.0), id="no more than there are trials"),
        pytest.param({"CPU": 8.0, "GPU": 2.0}, {}, None, (2, 1.0), id="a GPU each where there are GPUs"),
        pytest.param({"CPU": 8.0, "GPU": 2.0}, {"gpus": 0}, None, (8, 0.0), id="no GPU although there are"),
        pytest.param({"CPU": 8.0, "GPU": 1.0}, {"gpus": 0.25}, None, (4, 0.25), id="four share a GPU"),
        pytest.param(
            {"CPU": 8.0, "GPU": 2.0}, {"gpus": 0.4}, None, (4, 0.4), id="a fraction spans no two GPUs"
        ),
        pytest.param({"CPU": 32.0, "GPU": 3.0}, {"gpus": 0.1}, None, (30, 0.1), id="tenths of a GPU"),
        pytest.param({"CPU": 2.0, "GPU": 4.0}, {}, None, (2, 1.0), id="fewer CPUs than GPUs"),
    ],
)
def test_as_many_trials_run_at_once_as_fit(
    there: dict[str, float], resources: dict[str, float], at_most: int | None, expected: tuple[int, float]
) -> None:
    budget = {"trials": at_most} if at_most else {"hours": 1}
    count, need = slots_of([there], fakes.spec(resources=resources, budget=budget))
    assert (count, need.gpus) == expected


def test_who_trains_on_the_cpu_takes_no_gpu_unless_the_file_says_so() -> None:
    there, trainer = [{"CPU": 8.0, "GPU": 2.0}], {"max_epochs": 1, "accelerator": "cpu"}
    assert slots_of(there, fakes.spec(trainer=trainer)) == (8, Need(1.0, 0.0))
    assert slots_of(there, fakes.spec(trainer=trainer, resources={"gpus": 1})) == (2, Need(1.0, 1.0))
    assert slots_of(TYPES, fakes.spec(trainer=trainer, resources={"accelerator": "H100"}))[0] == 2
    either = {"trainer.accelerator": ["cpu", "gpu"]}
    assert slots_of(there, fakes.spec(trainer=trainer, search_space=either)) == (2, Need(1.0, 1.0))


def test_no_more_trials_run_at_once_than_the_file_allows() -> None:
    assert slots_of([{"CPU": 8.0}], fakes.spec(concurrency=3, budget={"hours": 1}))[0] == 3
    assert slots_of([{"CPU": 2.0}], fakes.spec(concurrency=3, budget={"hours": 1}))[0] == 2


TYPES = [
    {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0},
    {"CPU": 8.0, "GPU": 4.0, "accelerator_type:A100": 1.0},
    {"CPU": 8.0},
]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param({"accelerator": "H100"}, 2, id="one type"),
        pytest.param({"accelerator": "A100", "gpus": 0.25}, 8, id="quarters of the other, as many as CPUs"),
        pytest.param({}, 6, id="any type"),
        pytest.param({"gpus": 0}, 24, id="no GPU"),
        pytest.param({"cpus": 5, "gpus": 0}, 3, id="no trial spans two nodes"),
    ],
)
def test_slots_are_counted_node_by_node(resources: dict[str, float], expected: int) -> None:
    assert slots_of(TYPES, fakes.spec(resources=resources, budget={"hours": 1}))[0] == expected


def test_where_nodes_are_added_on_demand_a_trial_may_need_what_none_has_yet() -> None:
    resources = {"gpus": 0.5, "accelerator": "H100", "autoscaling": True}
    spec = fakes.spec(resources=resources, budget={"trials": 9}, concurrency=4)
    assert slots_of([{}], spec, is_joined=True) == (4, Need(1.0, 0.5, "H100"))
    endless = fakes.spec(resources=resources, budget={"hours": 1})
    assert slots_of([{}], endless, is_joined=True)[0] > 1  # so that trials are asked for ahead
    with pytest.raises(UserError, match="there is no 'H100' here"):  # this machine gets no others
        slots_of([{}], spec)


def test_a_cluster_on_which_no_trial_fits_may_be_one_that_adds_nodes() -> None:
    hint = "are 4 here; where nodes are added on demand, say so with `autoscaling: true`"
    with pytest.raises(UserError, match=hint):
        slots_of([{"CPU": 4.0}], fakes.spec(resources={"cpus": 8}), is_joined=True)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        pytest.param({"cpus": 8}, "resources.cpus: a trial needs 8, but there are 4 here", id="CPUs"),
        pytest.param({"gpus": 0.5}, "resources.gpus: a trial needs 0.5, but there are 0 here", id="GPUs"),
    ],
)
def test_a_trial_that_does_not_fit_is_a_mistake(resources: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        slots_of([{"CPU": 4.0}], fakes.spec(resources=resources))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        pytest.param(
            {"accelerator": "H10"}, "'H10' here, did you mean 'H100'? there are: A100, H100", id="typo"
        ),
        pytest.param({"accelerator": "L4"}, "there is no 'L4' here; there are: A100, H100", id="another"),
        pytest.param({"cpus": 9}, "a trial needs 9, but there are 8 on the largest node", id="too large"),
    ],
)
def test_a_trial_that_fits_on_no_node_is_a_mistake(resources: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        slots_of(TYPES, fakes.spec(resources=resources))


@pytest.mark.parametrize(
    ("given", "kept", "then"),
    [
        (None, "sqlite:///{}/mlflow.db", "sqlite:///{}/mlflow.db"),
        ("sqlite:///runs.db", "sqlite:///{}/runs.db", "sqlite:///{}/runs.db"),
        ("sqlite:///${DATA}/m.db", "sqlite:///${{DATA}}/m.db", "sqlite:///{}/data/m.db"),
        (
            "postgresql://me:pw@host/db",
            "postgresql+psycopg://me:***@host/db",
            "postgresql+psycopg://me:pw@host/db",
        ),
    ],
)
def test_a_sweep_that_goes_on_from_another_folder_has_its_records_where_they_were(
    here: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, kept: str, then: str
) -> None:
    """Also who reads it finds them there."""
    monkeypatch.setenv("DATA", str(here / "data"))
    (here / "data").mkdir()
    (here / "other").mkdir()
    spec = fakes.spec(**({} if given is None else {"tracking_uri": given}))
    notes = noted(places(spec), spec)
    assert notes["mlflow"]["tracking_uri"] == kept.format(here)
    study = create_study(spec, None, validations=4, notes=notes)
    monkeypatch.chdir(here / "other")
    assert places_of_study(study, spec, "sqlite:///s.db").tracking_uri == then.format(here)


def test_a_sweep_whose_folder_has_another_name_by_now_says_so_and_makes_no_other(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was, new = here / "was", here / "new"
    was.mkdir()
    monkeypatch.chdir(was)
    spec = fakes.spec()
    study = create_study(spec, None, validations=4, notes=noted(places(spec), spec))
    was.rename(new)
    monkeypatch.chdir(new)
    with pytest.raises(UserError, match=rf"^test: {was}, which held MLflow's .* such as: ln -s {new} {was}$"):
        places_of_study(study, spec, "sqlite:///s.db")
    was.symlink_to(new)
    assert places_of_study(study, spec, "sqlite:///s.db").tracking_uri == f"sqlite:///{was}/mlflow.db"
