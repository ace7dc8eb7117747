"""`lr_finder: {mode: trial}`: each trial trains with the rate that its own range test finds."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import dashboards
from dashboards import report
from dashboards.export import export
from sweeps.errors import SpecError
from sweeps.executors.ray import RayExecutor
from sweeps.layout import RATE
from sweeps.lr.each import advice, outlook
from sweeps.lr.finder import REPEATS
from sweeps.planning.plan import context_of
from sweeps.records import Answer, Assignment, Outcome, Report, State
from sweeps.study.study import Study
from sweeps.sweep import run_sweep
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.trial import make_trial_function
from sweeps.training.worker import Worker
from tests import fakes
from tests.test_cli import RUN_BY_LIGHTNING
from tests.test_resume import Driver, Killed, curve

ROOT = Path.cwd()
LR = "optimizer.init_args.lr"
MULTIPLIER = "lr_finder.multiplier"
FACTOR = {"type": "float", "low": 0.3, "high": 3, "log": True}
RANGE = {"type": "float", "low": 1e-5, "high": 1.0, "log": True}


def spec(finder: dict[str, Any] | None = None, **changes: Any) -> SweepSpec:
    """A sweep of `tests.modules.Noisy`, which draws from all random numbers while it trains."""
    return load_spec({
        "name": "each", "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 1}, "model": {"class_path": "tests.modules.Noisy"},
        "data": {"class_path": "tests.modules.Data", "init_args": {"batch_size": 32}},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-7}},
        "search_space": {"model.init_args.width": [4, 8]}, "sampler": "random",
        "lr_finder": {"mode": "trial", "steps": 60, "low": 1e-6, "high": 10.0} | (finder or {}),
    } | changes)  # fmt: skip


def study_of(of: SweepSpec, **params: Any) -> Study:
    study = fakes.study(of, validations=3)
    fakes.optuna_study(study).enqueue_trial(params)
    return study


def trained(study: Study, of: SweepSpec, files: Path) -> list[tuple[Assignment, list[Report], Outcome]]:
    """The attempts of one trial, each in a worker of its own, as the executor gives them."""
    attempts: list[tuple[Assignment, list[Report], Outcome]] = []
    while not study.finished and (assignment := study.ask()):
        worker = Worker(lambda: make_trial_function(context_of(of, files, 0.0)), "worker-0")
        event, reports = worker.exchange(assignment), []
        while isinstance(event, Report):
            reports.append(event)
            event = worker.exchange(Answer(event.number, study.should_stop(event)))
        assert isinstance(event, Outcome)
        study.tell(event)
        attempts.append((assignment, reports, event))
    return attempts


def test_it_trains_as_if_the_rate_that_was_found_stood_in_the_file(tmp_path: Path) -> None:
    of = spec()
    study = study_of(of)
    [(_, reports, outcome)] = trained(study, of, tmp_path / "found")
    assert outcome.state is State.COMPLETE
    rate = outcome.rate["rate"]
    assert 1e-3 < rate == outcome.rate["suggestion"] < 1
    assert outcome.reason == f"learning rate {rate:.3g} by a range test: {rate:.3g}"
    assert outcome.effective["learning_rate"] == rate
    assert outcome.config["optimizer"]["init_args"]["lr"] == rate
    [trial] = fakes.optuna_study(study).trials
    assert trial.user_attrs["config"] == outcome.config
    # Neither the weights, nor the optimizer, nor the order of the data, nor any random number is another.
    plain = load_spec(of.model_dump(exclude_none=True, exclude={"lr_finder", "file", "notes"})
                      | {"optimizer": outcome.config["optimizer"]})  # fmt: skip
    same = study_of(plain, **trial.params)
    [(_, expected, _)] = trained(same, plain, tmp_path / "plain")
    assert curve(reports) == curve(expected)
    losses = [point for point in reports[0].points if point.key == "lr_finder/loss"]
    assert [point.step for point in losses] == list(range(len(losses)))
    assert len(losses) > 30


def test_an_attempt_that_goes_on_keeps_the_rate_and_makes_no_test(tmp_path: Path) -> None:
    of = spec()
    assignment = study_of(of).ask()
    assert assignment is not None
    function = make_trial_function(context_of(of, tmp_path, 0.0))
    whole = Driver()
    finished = function(assignment, whole)
    kept = tmp_path / f"trial-{assignment.number}" / RATE
    first = json.loads(kept.read_text())
    assert first == finished.rate
    kept.unlink()

    cut = Driver(at_answer=2)
    with pytest.raises(Killed):
        function(assignment, cut)
    kept.write_text(json.dumps(first | {"notes": ["it was read"]}))
    rest = Driver()
    again = Assignment(assignment.number, assignment.params, assignment.config, attempt=1, known_step=2)
    outcome = function(again, rest)
    assert outcome.rate["notes"] == ["it was read"]
    assert outcome.config == finished.config
    assert curve(rest.reports) == curve(whole.reports)[2:]

    kept.write_text('{"torn')
    assert function(again, Driver()).rate == first


def test_the_multiplier_is_searched_and_no_part_of_the_configuration(tmp_path: Path) -> None:
    of = spec({"multiplier": FACTOR})
    study = study_of(of, **{"model.init_args.width": 4, MULTIPLIER: 0.5})
    [(assignment, _, outcome)] = trained(study, of, tmp_path)
    assert "lr_finder" not in assignment.config
    assert outcome.rate["rate"] == pytest.approx(0.5 * outcome.rate["suggestion"], rel=1e-3)
    assert outcome.reason.endswith(f"{outcome.rate['suggestion']:.3g} times 0.5")
    assert fakes.optuna_study(study).trials[0].params[MULTIPLIER] == 0.5
    assert of.space.centre()[MULTIPLIER] == pytest.approx(0.9486, rel=1e-3)


def test_a_range_of_the_file_holds_what_is_found(tmp_path: Path) -> None:
    of = spec(search_space={LR: RANGE | {"high": 1e-3}})
    [(_, _, outcome)] = trained(study_of(of, **{LR: 1e-4}), of, tmp_path)
    assert outcome.config["optimizer"]["init_args"]["lr"] == 1e-3
    assert "is held to the range of the sweep file" in outcome.reason
    assert "is searched, too" in advice(of)[0]
    assert advice(spec()) == []


@pytest.mark.parametrize(
    ("changes", "parameter", "rate", "why"),
    [
        pytest.param({"model": {"class_path": "tests.lr_modules.Adversarial"}, "optimizer": None,
                      "search_space": {"model.init_args.lr": RANGE}}, "model.init_args.lr", 0.25,
                     "manual optimization", id="by hand, searched"),
        pytest.param({"optimizer": None, "search_space": {"optimizer": {
                          "sgd": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}, "none": None}}},
                     LR, None, "this configuration has no place for it", id="no place"),
    ],
)  # fmt: skip
def test_where_none_is_found_it_says_so_and_trains_with_what_there_is(
    tmp_path: Path, changes: dict[str, Any], parameter: str, rate: float | None, why: str
) -> None:
    of = spec({"parameter": parameter}, trainer={"max_epochs": 1, "accelerator": "cpu"}, **changes)
    params = {"model.init_args.lr": 0.25} if rate else {"optimizer": "none"}
    [(assignment, _, outcome)] = trained(study_of(of, **params), of, tmp_path)
    assert outcome.state is State.COMPLETE
    used = rate or "the default"
    assert outcome.reason.startswith(f"no learning rate found, so {used} is used; ")
    assert why in outcome.reason
    assert "\n" not in outcome.reason
    assert outcome.config == assignment.config


def test_a_test_that_runs_out_of_memory_is_the_trials_and_is_made_again(tmp_path: Path) -> None:
    hungry = {"class_path": "tests.modules.Hungry", "init_args": {"limit": 64}}
    of = spec(model=hungry, trainer={"max_epochs": 1, "accelerator": "cpu"})
    attempts = trained(study_of(of, **{"model.init_args.width": 4}), of, tmp_path)
    assert [outcome.fault for *_, outcome in attempts] == ["oom", ""]
    outcome = attempts[-1][-1]
    assert outcome.config["data"]["init_args"]["batch_size"] == 16
    assert outcome.reason.startswith("batches of 16 x 2 instead of 32 x 1 to fit into memory; learning rate ")
    assert outcome.rate["suggestion"]


@pytest.mark.parametrize(
    ("finder", "space", "key", "rule"),
    [
        ({"configs": 3}, {}, "lr_finder", "`configs` belongs to `mode: range`"),
        ({"mode": "range", "multiplier": FACTOR}, {}, "lr_finder", "`multiplier` belongs to `mode: trial`"),
        ({"multiplier": FACTOR | {"low": 0}}, {}, MULTIPLIER, "`low > 0` must hold"),
        ({"multiplier": ["a", "b"]}, {}, MULTIPLIER, "must be numbers above 0"),
        ({"multiplier": [0, 1]}, {}, MULTIPLIER, "must be numbers above 0"),
        ({"multiplier": 2}, {}, MULTIPLIER, "a fixed value"),
        ({"multiplier": FACTOR}, {MULTIPLIER: [1, 2]}, "search_space.lr_finder.multiplier", "is a parameter"),
        ({"parameter": "model.init_args.lrr"}, {}, "lr_finder.parameter", "no number at"),
        ({"parameter": "model.init_args.rate.big.lr"}, {"model.init_args.rate": {"big": {"lr": FACTOR}}},
         "lr_finder.parameter", "did you mean 'model.init_args.rate.lr'?"),
        ({}, {LR: [0.1, 0.2]}, "lr_finder.parameter", "must be a float range"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(finder: dict[str, Any], space: dict[str, Any], key: str, rule: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(finder, search_space={"model.init_args.width": [4, 8]} | space)
    assert caught.value.key == key
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


def test_check_says_what_it_does_and_costs() -> None:
    text = "a range test of 60 optimizer steps, 1e-06 .. 10"
    of = spec({"multiplier": FACTOR}, budget={"trials": 40})
    assert outlook(of, 8) == (
        f"each trial begins with {text}, and trains with {LR} as found, times a searched multiplier; "
        "at most 2,400 steps (about 300 epochs) for 40 trials"
    )
    narrow = {"mode": "range", "configs": 8}
    assert outlook(spec(narrow, search_space={LR: RANGE}), None) == (
        f"8 times {text}, before the first trial narrow {LR}; at most 480 steps"
    )
    once = outlook(spec({"mode": "range", "configs": 1}, search_space={LR: RANGE}), None)
    assert once.startswith(f"{REPEATS} times {text}, ")
    accumulating = of.model_copy(update={"trainer": of.trainer | {"accumulate_grad_batches": 2}})
    assert "2,400 steps (about 600 epochs)" in outlook(accumulating, 8)
    assert outlook(fakes.spec(), 8) == ""


def test_a_sweep_finds_records_and_exports(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of = spec({"multiplier": FACTOR}, search_space={"model.init_args.width": [4, 8]})
    run_sweep(of)
    sweep = dashboards.load("sweeps.db", "each")
    rates = [trial.rate["rate"] for trial in sweep.trials]
    assert len(rates) == 1
    assert [trial.config["optimizer"]["init_args"]["lr"] for trial in sweep.trials] == rates
    best = sweep.best
    assert best is not None
    exported = yaml.safe_load(export(sweep))
    assert exported["optimizer"]["init_args"]["lr"] == best.rate["rate"]
    assert "lr_finder" not in exported
    assert trained_by_lightning(export(sweep), tmp_path) == pytest.approx(best.value, rel=1e-3)
    page = report.build(sweep)
    assert f"Loss at rising {LR}" in page
    assert f"A rate for {LR} was found in 1 of 1 trial." in page

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [experiment] = [e for e in client.search_experiments() if e.name == "each"]
    runs = client.search_runs([experiment.experiment_id], f"tags.trial_number = '{best.number}'")
    assert runs[0].data.tags["effective.learning_rate"] == str(best.rate["rate"])
    assert float(runs[0].data.params[MULTIPLIER]) == pytest.approx(best.rate["multiplier"], rel=1e-3)
    losses = client.get_metric_history(runs[0].info.run_id, "lr_finder/loss")
    known = [loss for loss in best.rate["curve"]["losses"] if loss is not None]
    assert [p.value for p in sorted(losses, key=lambda p: p.step)] == pytest.approx(known, rel=1e-4)
    file = client.download_artifacts(runs[0].info.run_id, "config.yaml", str(tmp_path))
    assert yaml.safe_load(Path(file).read_text())["optimizer"]["init_args"]["lr"] == best.rate["rate"]


def trained_by_lightning(exported: str, folder: Path) -> float:
    """The value to which LightningCLI itself trains a configuration."""
    (folder / "best.yaml").write_text(exported)
    done = subprocess.run(
        [sys.executable, "-c", RUN_BY_LIGHTNING, "fit", "--config", "best.yaml", "--trainer.logger=false"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split("val_loss")[-1])


@pytest.mark.usefixtures("ray_cluster")
def test_range_tests_obey_the_timeout_of_a_trial() -> None:
    executor = RayExecutor(fakes.Scripted(fakes.falling), slots=1, timeout_seconds=1.0)
    try:
        late, quick = executor.map(fakes.apply, [(time.sleep, 3600), (abs, -1)])
    finally:
        executor.close()
    assert str(late) == "it ran longer than trial_timeout=1 seconds"
    assert quick == 1
