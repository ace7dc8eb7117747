"""The finder in a sweep: what it narrows, notes, starts with and records; and `sweeps lr-find`."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from typer.testing import CliRunner

import dashboards
from dashboards import report
from search_spaces import read_yaml
from sweeps.cli import app
from sweeps.context import TrialContext
from sweeps.errors import SpecError
from sweeps.executors import Crew
from sweeps.lr import finder
from sweeps.lr.curve import Curve, Finding, rates_between, read
from sweeps.lr.narrow import configurations, narrowed, within
from sweeps.planning.plan import context_of
from sweeps.study.persistence import create_study, equip
from sweeps.study.study import Study
from sweeps.sweep import resume_sweep, run_sweep
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec

LR = "optimizer.init_args.lr"
RANGE = {"type": "float", "low": 1e-5, "high": 1.0, "log": True}


def spec(**changes: Any) -> SweepSpec:
    return load_spec({
        "name": "found", "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 1}, "model": {"class_path": "tests.modules.Line"},
        "data": {"class_path": "tests.modules.Data", "init_args": {"batch_size": 32}},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "optimizer": {"class_path": "torch.optim.SGD"},
        "search_space": {"model.init_args.width": [4, 8], LR: RANGE},
        "lr_finder": {"configs": 2, "steps": 60, "low": 1e-6, "high": 10.0},
    } | changes)  # fmt: skip


def choice() -> dict[str, Any]:
    return {
        "optimizer": {
            "adam": {"class_path": "torch.optim.Adam", "init_args": {"lr": RANGE}},
            "sgd": {"class_path": "torch.optim.SGD", "init_args": {"lr": RANGE, "momentum": 0.9}},
        },
        "model.init_args.width": {"type": "int", "low": 2, "high": 8},
    }


class Here:
    """Runs range tests in this process, as a worker would."""

    def map(
        self,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        timeout_seconds: float = math.inf,
    ) -> list[Any]:
        return [function(*given) for given in arguments]


class Broken:
    """All workers die."""

    def map(
        self,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        timeout_seconds: float = math.inf,
    ) -> list[Any]:
        return [RuntimeError("gone")] * len(arguments)


def context(of: SweepSpec) -> TrialContext:
    return context_of(of, Path("nowhere"), 0.0)


def falling(at: float) -> Curve:
    """A curve with its lowest loss around a rate."""
    rates = rates_between(1e-8, 1.0, 100)
    losses = [2.0 - 1 / (1 + (at / 30 / r) ** 2) + (r / at / 3) ** 3 for r in rates]
    return Curve(rates, tuple(min(loss, 50.0) for loss in losses))


def noted(of: SweepSpec, *lowest: float) -> dict[str, Any]:
    """What the study notes of curves with their lowest losses there, one a place."""
    sites = [site for site in of.space.sites if site.config_path == LR]
    found = [finder.Found(s.name, read([falling(at)] * 3), s) for s, at in zip(sites, lowest, strict=True)]
    assert of.lr_finder
    return {"lr_finder": finder.stored(of, of.lr_finder, found)}


def bounds(of: SweepSpec, name: str = LR) -> tuple[float, float]:
    [content] = [site.content for site in of.space.sites if site.name == name]
    return content.low, content.high  # type: ignore[union-attr, return-value]


def test_the_range_becomes_the_interval_and_both_are_noted() -> None:
    notes = noted(spec(), 0.1)
    [finding] = notes["lr_finder"]["findings"]
    assert finding["allowed"] == [1e-5, 1.0]
    assert finding["searched"] == finding["interval"]
    narrow = finder.applied(spec(), notes)
    assert bounds(narrow) == tuple(finding["interval"])
    assert narrow.search_space["model.init_args.width"] == [4, 8]
    assert bounds(spec()) == (1e-5, 1.0)
    assert json.loads(json.dumps(notes)) == notes  # as the study keeps it


@pytest.mark.parametrize(("low", "high"), [(0.02, 1.0), (1e-5, 0.01), (0.011, 0.013)])
def test_the_interval_never_leaves_what_the_file_allows(low: float, high: float) -> None:
    of = spec(search_space={LR: RANGE | {"low": low, "high": high}})
    notes = noted(of, 0.1)
    [finding] = notes["lr_finder"]["findings"]
    there = bounds(finder.applied(of, notes))
    assert low <= there[0] < there[1] <= high
    assert there[0] <= finding["suggestion"] <= there[1]


def test_an_interval_outside_of_the_range_leaves_it_alone_and_says_so() -> None:
    of = spec(search_space={LR: RANGE | {"high": 1e-4}})
    notes = noted(of, 0.5)
    [finding] = notes["lr_finder"]["findings"]
    assert "outside" in finding["notes"][-1]
    assert finding["suggestion"] == 1e-4
    assert finder.applied(of, notes) is of


def test_known_good_points_stay_in_the_range() -> None:
    of = spec(start_with=[{LR: 0.9}])
    notes = noted(of, 0.1)
    narrow = finder.applied(of, notes)
    assert bounds(narrow)[1] == 0.9
    assert narrow.start_with_params == [{LR: 0.9}]


def test_each_optimizer_of_a_choice_has_an_interval_of_its_own() -> None:
    of = spec(search_space=choice(), optimizer=None)
    narrow = finder.applied(of, noted(of, 0.01, 0.5))
    adam, sgd = (bounds(narrow, f"optimizer.{name}.init_args.lr") for name in ("adam", "sgd"))
    assert adam[0] < sgd[0]
    assert adam[1] < sgd[1]


def test_nested_and_long_choices_are_narrowed_too() -> None:
    inner = {"type": "choice", "choices": {"a.b": {"class_path": "A", "init_args": {"lr": RANGE}}, "c": None}}
    of = spec(search_space={"optimizer": inner, "model.init_args.width": [1, 2]}, optimizer=None)
    assert bounds(narrowed(of, {"optimizer.a.b.init_args.lr": (0.1, 0.2)}), "optimizer.a.b.init_args.lr") == (
        0.1,
        0.2,
    )
    listed = {
        "model": {"x": {"class_path": "M", "init_args": {"parts": [{"lr": RANGE}, {"lr": RANGE}]}}, "y": None}
    }
    of = spec(search_space=listed, lr_finder=None)
    name = "model.x.init_args.parts.1.lr"
    assert bounds(narrowed(of, {name: (0.1, 0.2)}), name) == (0.1, 0.2)


def test_the_first_trials_get_the_suggestions() -> None:
    of = spec(search_space=choice(), optimizer=None, budget={"trials": 2})
    notes = noted(of, 0.01, 0.5)
    optuna_study = create_study(of, None, validations=2, notes=notes, starts=finder.suggested(notes, of))
    study = Study(optuna_study, finder.applied(of, notes))
    asked = [study.ask() for _ in range(2)]
    suggestions = [finding["suggestion"] for finding in notes["lr_finder"]["findings"]]
    assert [a.config["optimizer"]["init_args"]["lr"] for a in asked if a] == suggestions
    assert [a.params["optimizer"] for a in asked if a] == ["adam", "sgd"]


def test_the_tested_configurations_come_next_each_with_a_rate_of_its_own() -> None:
    of = spec(search_space=choice(), optimizer=None, budget={"trials": 40}, lr_finder={"configs": 6})
    sites = [site for site in of.space.sites if site.config_path == LR]
    curves = [falling(at) for at in (0.1, 0.05, 0.1, 0.2, 0.1)] + [Curve((), (), problem="it raises")]
    found = [finder.Found(site.name, read(curves), site) for site in sites]
    assert of.lr_finder
    notes = {"lr_finder": finder.stored(of, of.lr_finder, found)}
    first, narrow = finder.suggested(notes, of), finder.applied(of, notes)
    assert len(first) == finder.STARTS == 10  # of each place, what says nothing is left out
    study = Study(create_study(of, None, validations=2, notes=notes, starts=first, searched=narrow), narrow)
    asked = [study.ask() for _ in first]
    assert [dict(a.params) for a in asked if a] == first  # all lie in the range that is searched
    [own, other] = [finding["suggestion"] for finding in notes["lr_finder"]["findings"]]
    rates = [start.get("optimizer.adam.init_args.lr") for start in first]
    assert rates[0] == own
    assert rates[2] < own < rates[6]
    assert first[1]["optimizer.sgd.init_args.lr"] == other
    assert len({start["model.init_args.width"] for start in first}) > 1


@pytest.mark.parametrize(("trials", "count"), [(1, 1), (6, 2), (7, 2), (40, 2)])
def test_they_are_at_most_half_of_the_trials(trials: int, count: int) -> None:
    of = spec(budget={"trials": trials})
    assert len(finder.suggested(noted(of, 0.1), of)) == count


@pytest.mark.parametrize(("own", "count"), [(0, 5), (2, 3), (4, 1), (7, 1)])
def test_the_users_points_count_as_part_of_that_half(own: int, count: int) -> None:
    points = [{LR: 0.1, "model.init_args.width": width} for width in range(4, 4 + own)]
    space = {LR: RANGE, "model.init_args.width": {"type": "int", "low": 4, "high": 32}}
    of = spec(budget={"trials": 10}, lr_finder={"configs": 6}, start_with=points, search_space=space)
    [site] = [site for site in of.space.sites if site.config_path == LR]
    found = [finder.Found(site.name, read([falling(0.1)] * 6), site)]
    assert of.lr_finder
    assert len(finder.suggested({"lr_finder": finder.stored(of, of.lr_finder, found)}, of)) == count


def test_a_grid_keeps_its_own_configurations() -> None:
    of = spec(sampler={"class_path": "grid", "init_args": {"points": 3}}, budget={"trials": 40})
    notes = noted(of, 0.1)
    assert finder.suggested(notes, of) == [{LR: notes["lr_finder"]["findings"][0]["suggestion"]}]


def test_the_sampler_that_learns_knows_the_interval() -> None:
    of = spec(budget={"trials": 30})
    notes = noted(of, 0.1)
    narrow = finder.applied(of, notes)
    study = create_study(of, None, validations=2, notes=notes, searched=narrow)
    proposed = []
    for _ in range(14):  # spread out, then by the Gaussian process
        trial = study.ask()
        proposed.append(study.sampler.sample_relative(study, study.trials[-1], narrow_space(study))[LR])
        study.tell(trial, abs(math.log(float(narrow.space.suggest(trial)[LR]))))
    low, high = bounds(narrow)
    assert all(low <= rate <= high for rate in proposed)
    equip(study, narrow, 2)
    assert narrow_space(study)[LR].low == low


def narrow_space(study: optuna.Study) -> dict[str, Any]:
    """What the sampler proposes from."""
    return study.sampler.infer_relative_search_space(study, study.trials[-1])


def test_tested_are_the_centre_and_draws_that_meet_the_constraints() -> None:
    of = spec(search_space=choice(), optimizer=None, constraints=["model.init_args.width > 5"])
    site = of.space.sites[2]
    tests = list(configurations(of, site, 6))
    assert len(tests) == 6
    assert all(params["optimizer"] == "sgd" and params["model.init_args.width"] > 5 for params, _ in tests)
    assert tests == list(configurations(of, site, 6))
    free = spec(search_space=choice(), optimizer=None)
    [(centre, _)] = configurations(free, site, 1)
    assert centre["optimizer"] == "sgd"
    assert centre["model.init_args.width"] == 5


def test_a_rate_that_depends_on_a_whole_number_is_active_in_what_is_tested() -> None:
    width = {"type": "int", "low": 4, "high": 64}
    of = spec(
        search_space={"model.init_args.width": width, LR: RANGE | {"when": {"model.init_args.width": 64}}}
    )
    site = of.space.sites[1]
    assert [LR in params for params, _ in configurations(of, site, 3)] == [True] * 3


def test_within_gives_none_for_nothing() -> None:
    content = spec().space.sites[1].content
    assert within(content, 2.0, 3.0) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [Here(), Broken()])
def test_where_it_cannot_be_used_the_sweep_goes_on_with_the_users_range(workers: Crew) -> None:
    of = spec(
        model={"class_path": "tests.lr_modules.Adversarial"}, optimizer=None,
        search_space={"model.init_args.lr": RANGE},
        lr_finder={"configs": 2, "parameter": "model.init_args.lr"},
    )  # fmt: skip
    notes = finder.prepare(workers, context(of), of)
    assert finder.applied(of, notes) is of
    [line] = finder.lines(notes)
    assert line.startswith("model.init_args.lr: no learning rate found, the range of the file is searched: ")
    assert "manual optimization" in line or "gone" in line
    optuna_study = create_study(of, None, validations=2, notes=notes, starts=finder.suggested(notes, of))
    assert optuna_study.get_trials() == []


@pytest.mark.parametrize(
    ("section", "space", "key", "rule"),
    [
        ({"parameter": "optimizer.init_args.lrr"}, {}, "lr_finder.parameter", "'optimizer.init_args.lr'"),
        ({}, {LR: [0.1, 0.2]}, "lr_finder.parameter", "must be a float range"),
        ({}, {LR: RANGE | {"log": False, "step": 0.1, "low": 0.1}}, "lr_finder.parameter", "without a step"),
        ({}, {LR: {"type": "float", "low": 0.0, "high": 1.0}}, "lr_finder.parameter", "above 0"),
        ({"mode": "rang"}, {}, "lr_finder.mode", "input should be 'range'"),
        ({"configs": 0}, {}, "lr_finder.configs", "greater than or equal to 1"),
        ({"low": 1.0, "high": 0.1}, {}, "lr_finder", "low < high"),
        ({"steps": 3}, {}, "lr_finder.steps", "greater than or equal to 20"),
        ({"config": 3}, {}, "lr_finder.config", "did you mean 'configs'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_section_is_one_line(
    section: dict[str, Any], space: dict[str, Any], key: str, rule: str
) -> None:
    with pytest.raises(SpecError) as caught:
        spec(lr_finder=section, search_space={LR: RANGE} | space)
    assert caught.value.key == key
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sweep_finds_narrows_records_and_does_not_repeat_it(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of = spec(concurrency=1)
    run_sweep(of)
    [finding] = dashboards.load("sweeps.db", "found").lr_finder["findings"]
    assert finding["parameter"] == LR
    assert len(finding["curves"]) == 2
    assert finding["allowed"] == [1e-5, 1.0]
    low, high = finding["searched"]
    assert 1e-5 < low < finding["suggestion"] < high <= 1.0
    [line] = finder.lines({"lr_finder": dashboards.load("sweeps.db", "found").lr_finder})
    assert line.startswith(f"{LR}: {finding['suggestion']:.2g}, interval ")

    resume_sweep("found", trials="+1")
    sweep = dashboards.load("sweeps.db", "found")
    assert sweep.lr_finder["findings"] == [finding]
    assert sweep.spec["search_space"][LR] == RANGE  # as the user wrote it
    rates = [trial.params[LR] for trial in sweep.trials]
    assert len(rates) == 2
    assert rates[0] == finding["suggestion"]
    assert all(low <= rate <= high for rate in rates)
    assert sweep.space[1].low == low
    page = report.build(sweep)
    assert f"Loss at rising {LR}" in page

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [experiment] = [e for e in client.search_experiments() if e.name == "found"]
    [parent] = client.search_runs([experiment.experiment_id], "tags.mlflow.runName = 'found'")
    assert float(parent.data.params[f"lr_finder.{LR}.suggestion"]) == pytest.approx(
        finding["suggestion"], rel=1e-3
    )
    losses = client.get_metric_history(parent.info.run_id, f"lr_finder/{LR}/0/loss")
    assert [point.value for point in sorted(losses, key=lambda p: p.step)] == [
        loss for loss in finding["curves"][0]["losses"] if loss is not None
    ]
    assert "lr_finder.json" in [file.path for file in client.list_artifacts(parent.info.run_id)]


def test_lr_find_prints_draws_and_records(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(
        json.dumps({key: v for key, v in spec().model_dump(mode="json").items() if v is not None} | {
            "name": "é 'q'", "search_space": {"model.init_args.width": [4, 8]}, "lr_finder": None,
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        })
    )  # fmt: skip
    rates = "--steps", "60", "--min", "1e-6", "--max", "10"
    done = CliRunner().invoke(app, ["lr-find", "sweep.yaml", *rates, "--set", "concurrency=1"])
    assert done.exit_code == 0, done.output
    first, last = done.output.splitlines()
    assert first.startswith("optimizer.init_args.lr: ")
    assert "interval" in first
    assert "confidence" in first
    assert last == "é 'q'-lr.html: the curves"
    page = Path("é 'q'-lr.html").read_text()
    assert "é &#x27;q&#x27; - learning rates" in page
    assert "suggestion" in page
    there = {path.name for path in tmp_path.iterdir() if path.suffix not in (".db-wal", ".db-shm")}
    assert there == {"é 'q'-lr.html", "mlartifacts", "mlflow.db", "sweep.yaml"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--min", "0"], "--min: input should be greater than 0"),
        (["--min", "1", "--max", "0.1"], "--min: low < high must hold, but got low=1, high=0.1"),
        (["--configs", "0"], "--configs: input should be greater than or equal to 1"),
        (["--steps", "1"], "--steps: input should be greater than or equal to 20"),
        (["--parameter", "model.init_args.lrr"], "--parameter: "),
    ],
)
def test_a_mistake_in_lr_find_is_one_line(
    options: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(json.dumps(spec().model_dump(mode="json")))
    done = CliRunner().invoke(app, ["lr-find", "sweep.yaml", *options])
    assert line in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_a_finding_says_nothing_by_default() -> None:
    assert Finding().confidence == "none"
    assert math.isclose(read([falling(0.1)]).suggestion or 0, 0.0273, rel_tol=1.0)
    assert read_yaml("lr_finder: {low: 1e-6}", "") == {"lr_finder": {"low": 1e-6}}
