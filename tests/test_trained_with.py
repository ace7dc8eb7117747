"""With what each trial was trained, where a sweep went on with another commit, version or code."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState, create_trial

from dashboards import load
from dashboards.export import export
from dashboards.provenance import drivers, ranges, sentences
from dashboards.records import Driver, Sweep, to_json
from dashboards.report.page import footer
from sweeps.driver import drive
from sweeps.executors.scripted import ScriptedExecutor
from sweeps.interruption import Interrupted
from sweeps.provenance import imported_sources, note_imports, run_with
from sweeps.records import News, Outcome, Report, State
from sweeps.storages.storage import open_storage
from sweeps.study.persistence import create_study, equip, load_study
from sweeps.study.study import Study
from tests import fakes
from tests.live_sweeps import places_in
from tests.studies import Ended, add_sweep, sweep_record, trial_record

COMMITS = ("a" * 40, "b" * 40 + "-dirty", "c" * 40)


class Stop:
    """Ends the driver at the first report of a trial, as Ctrl-C does."""

    def __init__(self, number: int | None) -> None:
        self.number = number

    def record(self, event: News) -> None:
        """Looks at an event."""
        if isinstance(event, Report) and event.number == self.number:
            raise Interrupted


def driven(folder: Path, index: int, stop_at: int | None) -> None:
    """Runs the driver of this index, with a commit of its own, until a report of a trial."""
    where, spec = places_in(folder), fakes.spec(budget={"trials": 6})
    now = run_with(str(folder), {"net": "1" * 16, "data": str(index) * 16}) | {"git_commit": COMMITS[index]}
    if index:
        study = load_study("test", where.storage)
        equip(study, spec, 4)
    else:
        mlflow = {"tracking_uri": where.tracking_uri, "experiment": "test", "key": "key", "artifacts": ""}
        study = create_study(spec, open_storage(where.storage), validations=4, notes={"mlflow": mlflow})
        study.set_user_attr("lightning_sweeps", {"format": 1, **now})
    executor = ScriptedExecutor(fakes.falling, slots=1, length=4)
    try:
        drive(study, spec, where, executor, [Stop(stop_at)], resumed_with=now if index else None)
    except Interrupted:
        assert stop_at is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a sweep with three drivers: the first two are interrupted in the trials 2 and 4."""
    folder = tmp_path_factory.mktemp("trained")
    for index, stop_at in enumerate((2, 4, None)):
        driven(folder, index, stop_at)
    return folder


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Sweep:
    return load(folder / "sweeps.db", "test")


def test_each_trial_says_which_drivers_trained_it(sweep: Sweep) -> None:
    assert [trial.drivers for trial in sweep.trials] == [(0,), (0,), (0, 1), (1,), (1, 2), (2,)]
    plain = to_json(sweep)
    assert [driver["git_commit"] for driver in plain["drivers"]] == list(COMMITS)
    assert [driver["sources"]["data"] for driver in plain["drivers"]] == ["0" * 16, "1" * 16, "2" * 16]
    assert plain["trials"][4]["drivers"] == [1, 2]


def test_of_a_resumption_only_the_sources_that_changed_are_kept(folder: Path) -> None:
    study = load_study("test", places_in(folder).storage)
    _, *resumed = study.user_attrs["lightning_sweeps"]["resumed"]
    assert [set(kept) for kept in resumed] == [{"versions", "git_commit", "created", "changed"}]
    assert resumed[0]["changed"] == {"data": "2" * 16}


def test_the_footer_says_which_trials_ran_with_what(sweep: Sweep) -> None:
    said = sentences(sweep)
    assert said[0].startswith("the sweep ran with lightning-sweeps ")
    assert "commit" not in said[0]
    assert said[1:] == [
        f"trials 0-2 ran with commit {COMMITS[0]}, data 00000000",
        f"trials 2-4 ran with commit {COMMITS[1]}, data 11111111",
        f"trials 4-5 ran with commit {COMMITS[2]}, data 22222222",
    ]
    assert said[2] in footer([sweep])


def test_one_commit_for_all_is_said_once_and_not_by_trials() -> None:
    one = Driver(None, {"optuna": "5.0"}, "abc", {"net": "1"})
    trials = [trial_record(0, drivers=(0,)), trial_record(1, drivers=(0, 1))]
    both = sweep_record(trials, drivers=(one, replace(one, started=datetime.now(UTC))))
    assert sentences(both) == ["the sweep ran with optuna 5.0, commit abc"]
    assert sentences(sweep_record([], drivers=(one,))) == ["the sweep ran with optuna 5.0, commit abc"]
    newer = replace(one, versions={"optuna": "5.1"}, sources={"net": "1", "aug": "2"})
    assert sentences(sweep_record(trials, drivers=(one, newer))) == [
        "the sweep ran with commit abc",
        "trials 0-1 ran with optuna 5.0, no aug",
        "trial 1 ran with optuna 5.1, aug 2",
    ]


def test_the_header_of_an_export_names_the_commit_of_its_trial(sweep: Sweep) -> None:
    def said(number: int) -> list[str]:
        lines = export(sweep, number=number).splitlines()
        return [line.partition(", lightning-sweeps ")[0] for line in lines if "with commit" in line]

    assert said(0) == [f"# trained with commit {COMMITS[0]}"]
    assert said(4) == [f"# trained with commit {COMMITS[1]}", f"# gone on with commit {COMMITS[2]}"]


def test_the_runs_in_mlflow_have_the_commit_of_the_driver_that_trained_them(folder: Path) -> None:
    client = MlflowClient(places_in(folder).tracking_uri)
    experiment = client.get_experiment_by_name("test")
    runs = client.search_runs([experiment.experiment_id], "tags.trial_number LIKE '%'")
    tags = {int(run.data.tags["trial_number"]): run.data.tags for run in runs}
    commits = [tags[number]["mlflow.source.git.commit"][0] for number in range(6)]
    assert "".join(commits) == "aabbcc"
    assert (tags[3]["mlflow.source.git.commit"], tags[3]["git_commit"]) == ("b" * 40, COMMITS[1])
    [parent] = client.search_runs([experiment.experiment_id], "tags.state = 'finished'")
    assert parent.data.tags["mlflow.source.git.commit"] == COMMITS[0]


def test_an_older_study_says_it_by_its_times(tmp_path: Path) -> None:
    mark: dict[str, Any] = {"format": 1, "versions": {}, "created": "2024-05-01T10:00:00+00:00"}
    mark["resumed"] = [{"created": f"2024-05-0{day}T10:00:00+00:00", "sources": {}} for day in (2, 3)]
    study = add_sweep(tmp_path / "sweeps.db", "old", [Ended("complete", 0.5)], lightning_sweeps=mark)
    middle = datetime(2024, 5, 2, 12, tzinfo=UTC)
    attributes = {"outcome": {"timing": {"started": middle.timestamp()}}}
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.4, user_attrs=attributes))
    study.ask()
    study.enqueue_trial({})
    found = load(tmp_path / "sweeps.db", "old")
    assert [trial.drivers for trial in found.trials] == [(0,), (1,), (2,), ()]
    assert [driver.sources for driver in drivers(mark | {"sources": {"net": "1"}})] == [{"net": "1"}, {}, {}]


def test_an_outcome_that_only_the_journal_has_is_of_the_driver_that_trained_it() -> None:
    spec = fakes.spec()
    study = fakes.study(spec)
    assignment = study.ask()
    assert assignment is not None
    mark = fakes.optuna_study(study).user_attrs["lightning_sweeps"]
    fakes.optuna_study(study).set_user_attr("lightning_sweeps", mark | {"resumed": [{}, {}]})
    again = fakes.Study(fakes.optuna_study(study), spec)
    again.adopt([Outcome(assignment.number, State.COMPLETE, 0.5)])
    assert fakes.optuna_study(study).trials[0].user_attrs["outcome"]["driver"] == 1


def test_numbers_are_ranges() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert ranges(range(0, 60, 2)).endswith(", 22 and 18 more")


def test_what_was_edited_meanwhile_stays_so_though_it_is_committed_for_the_next_driver() -> None:
    first = Driver(None, {}, "abc", {"net": "1"})
    trials = [trial_record(0, drivers=(0,)), trial_record(1, drivers=(0,), code={"net": "2"}),
              trial_record(2, drivers=(1,))]  # fmt: skip
    both = sweep_record(trials, drivers=(first, replace(first, git_commit="def", sources={"net": "2"})))
    assert sentences(both) == [
        "trial 0 ran with commit abc, net 1",
        "trial 1 ran with commit abc, net 2, edited while the sweep ran",
        "trial 2 ran with commit def, net 2",
    ]


def trained(executor: Any, number: int) -> dict[str, str]:
    """What a trial's worker had otherwise."""
    executor.submit(fakes.assignment(number))
    while not isinstance(event := executor.next_event(), Outcome):
        if isinstance(event, Report):
            executor.reply(number, stop=False)
    return event.code


@pytest.mark.usefixtures("ray_cluster")
def test_what_only_a_later_trial_of_a_worker_imports_is_looked_at_too(tmp_path: Path) -> None:
    from sweeps.executors.ray import RayExecutor

    (module := tmp_path / "net_that_is_needed_later.py").write_text("WIDTH = 22\n")
    executor = RayExecutor(fakes.Importing(tmp_path, module.stem, first=1), slots=1, say=lambda line: None)
    executor.expect({module.stem: "of before"})
    found = [trained(executor, number) for number in range(2)]
    executor.close()
    assert found == [{}, {module.stem: sha256(module.read_bytes()).hexdigest()[:16]}]


@pytest.mark.usefixtures("ray_cluster")
def test_a_module_that_is_edited_meanwhile_is_said_once_and_kept_with_the_trials_that_have_it(
    tmp_path: Path,
) -> None:
    from sweeps.executors.ray import RayExecutor

    module, said = tmp_path / "net_that_is_edited.py", []
    module.write_text("WIDTH = 1\n")
    executor = RayExecutor(fakes.Importing(tmp_path, module.stem), slots=1, say=said.append)
    before = {module.stem: sha256(module.read_bytes()).hexdigest()[:16]}
    executor.expect(before)
    assert trained(executor, 0) == {}
    module.write_text("WIDTH = 22\n")
    after = {module.stem: sha256(module.read_bytes()).hexdigest()[:16]}
    assert trained(executor, 1) == {}  # its worker has the old code in memory
    for number in (2, 3):
        executor._workers.end(executor._workers.slots[0])
        assert trained(executor, number) == after
    executor.close()
    assert len(said) == 1
    assert said[0].startswith(f"your code has changed while the sweep runs: {module.stem}; ")


def test_a_worker_notes_a_module_as_it_was_when_it_was_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "net_that_is_noted.py"
    module.write_text("WIDTH = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_module(module.stem)
    note_imports()
    noted = imported_sources()[module.stem]
    module.write_text("WIDTH = 22\n")
    monkeypatch.setitem(sys.modules, "another_that_is_new", sys)
    note_imports()
    assert imported_sources()[module.stem] == noted == sha256(b"WIDTH = 1\n").hexdigest()[:16]


def test_trials_of_edited_code_are_named_in_the_report_and_in_their_exports(tmp_path: Path) -> None:
    spec = fakes.spec(retries={"exceptions": 1})
    study = create_study(spec, open_storage(f"sqlite:///{tmp_path}/sweeps.db"), validations=4,
                         sources={"net": "1" * 16, "data": "1" * 16})  # fmt: skip
    running = Study(study, spec)
    edited = {"net": "2" * 16}
    for code in ({}, edited, {}):
        assignment = running.ask()
        assert assignment is not None
        running.tell(Outcome(assignment.number, State.COMPLETE, 0.5, code=code))
    again = running.ask()
    assert again is not None
    running.tell(Outcome(again.number, State.FAILED, code=edited))  # tried again, by a worker with the old
    running.tell(Outcome(again.number, State.COMPLETE, 0.5))
    assert "code" not in study.trials[0].user_attrs["outcome"]
    sweep = load(tmp_path / "sweeps.db", "test")
    assert [trial.code for trial in sweep.trials] == [{}, edited, {}, edited]
    assert sentences(sweep)[1:] == [
        "trials 0, 2 ran with net 11111111",
        "trials 1, 3 ran with net 22222222, edited while the sweep ran",
    ]
    assert "# its code was edited while the sweep ran: net\n" in export(sweep, number=1)
    assert "edited" not in export(sweep, number=0)
