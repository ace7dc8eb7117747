"""The tables of `sweeps status` and `sweeps list`, as a terminal of 80 columns shows them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from dashboards import tables
from dashboards.results import list_sweeps, load
from tests.studies import Ended, add_sweep, sweep_record, trial_record

PARAMS = {
    "model.init_args.hidden": 64,
    "trainer.callbacks.1.init_args.patience": 3,
    "optimizer": "adamw",
    "optimizer.adamw.init_args.lr": 0.0265712,
    "optimizer.adamw.init_args.weight_decay": 0.0000554812,
}
OTHER = {"model.init_args.hidden": 8, "optimizer": "sgd", "optimizer.sgd.init_args.lr": 0.5}
EARLY = "stopped early at validation 6 of 8: Monitored metric loss did not improve in the last 2 records"


def printed(content: Any, width: int = 80) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(content)
    return [line.rstrip() for line in captured.get().splitlines()]


def status(folder: Path, trials: list[Ended]) -> list[str]:
    add_sweep(folder / "sweeps.db", "digits", trials)
    return printed(tables.status_table(load(folder / "sweeps.db", "digits")))


def test_a_value_is_not_broken_on_eighty_columns(tmp_path: Path) -> None:
    shown = status(tmp_path, [Ended("complete", 0.5, PARAMS), Ended("complete", 0.7, OTHER)])
    words = {word for line in shown for word in line.split()}
    assert {"hidden=64", "patience=3", "adamw.lr=0.02657", "weight_decay=5.548e-05", "sgd.lr=0.5"} <= words


def test_why_a_trial_ended_stands_below_its_parameters(tmp_path: Path) -> None:
    shown = status(tmp_path, [
        Ended("complete", 0.5, PARAMS, reason=f"{EARLY}; no room: disk full"),
        Ended("failed", None, OTHER, reason="KeyError: 'tan'"),
        Ended("failed", None, {}, reason="it had none"),
    ])  # fmt: skip
    text = " ".join(" ".join(shown).split())
    assert "weight_decay=5.548e-05 stopped early at validation 6 of 8; no room: disk full" in text
    assert "Monitored" not in text
    (reason,) = [line for line in shown if "KeyError" in line]
    assert reason.split() == ["KeyError:", "'tan'"]
    assert any(line.startswith("2") and line.endswith("it had none") for line in shown)


def test_the_list_of_sweeps_that_ended_fits_eighty_columns(tmp_path: Path) -> None:
    database = tmp_path / "sweeps.db"
    add_sweep(database, "cancer", [Ended("complete", 0.138434, PARAMS)])
    ended = [replace(sweep, duration_seconds=34.9) for sweep in list_sweeps(database)]
    assert len(printed(tables.list_table(ended))) == 2
    add_sweep(database, "digits", [Ended("running", None, PARAMS)], sweep_state="running")
    head, *_ = printed(tables.list_table(list_sweeps(database)), width=120)
    assert "running" in head


def test_no_trial_runs_in_a_sweep_that_was_stopped() -> None:
    sweep = sweep_record([trial_record(0, "complete", 0.5), trial_record(1, "running")])
    for state, word in (("running", "running"), ("interrupted", "unfinished")):
        shown = printed(tables.status_table(replace(sweep, summary=replace(sweep.summary, state=state))))
        assert shown[1].split()[2:4] == ["1", word], shown
        assert shown[-1].split()[:2] == ["1", word]


def test_a_front_of_one_trial_beats_all_others() -> None:
    sweep = sweep_record([trial_record(0, "complete", 0.5, values=(0.5, 2.0))])
    objectives = (("val_loss", "minimize"), ("latency", "minimize"))
    summary = replace(sweep.summary, front=(0,), objectives=objectives)
    shown = printed(tables.status_table(replace(sweep, summary=summary)))
    assert "Pareto front: 1 trial, better than all others" in shown


def test_many_parameters_stand_below_their_trial_where_they_find_no_room_beside_it() -> None:
    params = {f"model.init_args.parameter_{n}": 0.25 for n in range(12)}
    sweep = sweep_record([trial_record(n, "complete", 0.5, params=params) for n in range(2)])
    wide, narrow, tiny = (printed(tables.status_table(sweep), width=width) for width in (200, 80, 30))
    [beside] = [line for line in wide if line.startswith("1 ")]
    assert "parameter_0=0.25" in beside
    at = narrow.index(next(line for line in narrow if line.startswith("1 ")))
    assert "parameter" not in narrow[at]
    below = narrow[at + 1 : at + 6]
    assert all(line.startswith("       parameter_") for line in below[:4])
    assert "".join(below).count("=0.25") == 12
    assert max(map(len, narrow)) <= 80
    assert "".join("".join(tiny).split()).count("=0.25") == 2 * 12  # broken, but there


def test_very_many_parameters_and_metrics_keep_to_a_line() -> None:
    params, metrics = {f"p{n}": "x" * 1_000 for n in range(300)}, {f"m{n}": 0.5 for n in range(500)}
    trial = trial_record(0, "complete", 0.5, params=params, metrics=metrics)
    text = " ".join(" ".join(printed(tables.status_table(sweep_record([trial])), width=4_000)).split())
    assert f"p19={'x' * 59}… and 280 more" in text
    assert "m19 0.5 and 480 more" in text
