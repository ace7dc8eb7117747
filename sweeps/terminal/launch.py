"""`sweeps launch`: a sweep with its progress, and at the end the best trial and where to look."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from sweeps.driver import SweepResult
from sweeps.errors import SweepFailed
from sweeps.layout import folder_of
from sweeps.planning.advice import advice
from sweeps.planning.plan import schedule_of
from sweeps.planning.resumption import continued
from sweeps.records import Outcome, State
from sweeps.storages.uris import masked, study_url
from sweeps.study.hours import ran_seconds
from sweeps.study.outcomes import counted, outcome_of
from sweeps.study.persistence import load_study
from sweeps.sweep import resume_sweep, run_sweep
from sweeps.sweep_file.spec import SweepSpec
from sweeps.terminal.progress import Progress, duration, short_value, took
from sweeps.tracking.live_report import LiveReport


def launch(
    spec: SweepSpec, storage: str | None, console: Console, stay: ExitStack, *, address: str | None = None
) -> SweepResult:
    """Runs a sweep and shows it; `stay` is to be closed then (see `sweeps.sweep.run_sweep`).

    Raises:
        UserError: Something in the sweep is not right; nothing was created.
        SweepFailed: The trials fail, or none could be completed.
    """
    console.print(Text.assemble((spec.name, "bold"), ": starting the workers and training one batch ..."))
    for note in (*spec.notes, *advice(spec, schedule_of(spec).validations())):
        console.print(Text(f"note: {note}", "yellow"))
    report = LiveReport(spec.name, study_url(storage, spec.storage))
    with _reported(report, console), Progress(spec, console) as progress:
        result = run_sweep(spec, storage=storage, address=address, observers=[progress, report],
                           say=noting(console), stay=stay)  # fmt: skip
    return _show(spec, storage, result, console)


def resume(
    name: str,
    storage: str | None,
    trials: str | None,
    hours: float | None,
    console: Console,
    stay: ExitStack,
    *,
    address: str | None = None,
) -> tuple[SweepSpec, SweepResult]:
    """Goes on with a sweep and shows it; see `launch`.

    Raises:
        UserError: It cannot go on.
        SweepFailed: The trials fail, or none could be completed.
    """
    study = load_study(name, url := study_url(storage))
    spec, _ = continued(study, url, trials, hours, noting(console))  # or nothing is said to begin
    progress = Progress(spec, console, earlier_seconds=ran_seconds(study.user_attrs))
    for trial in counted(study):
        progress.catch_up(outcome_of(trial), trial.params, is_earlier=True)
    console.print(Text.assemble((name, "bold"), ": starting the workers and training one batch ..."))
    report = LiveReport(name, url)
    with _reported(report, console), progress:
        result = resume_sweep(
            name,
            storage=storage,
            trials=trials,
            hours=hours,
            address=address,
            observers=[progress, report],
            say=noting(console),
            stay=stay,
        )
    return spec, _show(spec, storage, result, console)


def plain(spec: SweepSpec, result: SweepResult) -> dict[str, Any]:
    """The result of a sweep as plain values, for `--json`."""
    metrics = [objective.metric for objective in spec.objectives]
    front = [
        {"number": outcome.number, "values": dict(zip(metrics, outcome.values, strict=True))}
        for outcome in result.front
    ]
    best = result.best
    return {
        "name": result.name,
        "is_stopped": result.is_stopped,
        "counts": {state.value: result.counts[state] for state in State},
        "best": best and {**front[0], "params": result.best_params, "metrics": best.metrics},
        "pareto_front": front if len(metrics) > 1 else None,
        "files": str(result.files),
        "problems": result.problems,
    }


@contextmanager
def _reported(report: LiveReport, console: Console) -> Iterator[None]:
    """Keeps the report in MLflow up to date while the block runs, and once more when it has ended."""
    try:
        with report:
            yield
    finally:
        if report.problem:
            console.print(
                Text(f"the report in MLflow is not up to date: {report.problem}", "yellow"), soft_wrap=True
            )


def noting(console: Console) -> Callable[[str], None]:
    """What shows a line that a person should know."""
    return lambda line: console.print(Text(f"note: {line}", "yellow"), soft_wrap=True)


def _show(spec: SweepSpec, storage: str | None, result: SweepResult, console: Console) -> SweepResult:
    counts = ", ".join(f"{result.counts[state]} {state.value}" for state in State if result.counts[state])
    finished = result.counts.total() - result.counts[State.INVALID]
    console.print(Text(f"{finished} trials finished: {counts}"))
    for problem in result.problems:
        console.print(Text(f"not everything is in MLflow: {problem}", "yellow"), soft_wrap=True)
    if result.stop_reason:
        console.print(Text(f"ended by `stop_when`: {result.stop_reason}"), soft_wrap=True)
    if result.journal:
        how = f"`sweeps resume {shlex.quote(spec.name)}` writes it"
        console.print(Text(f"the rest is kept in {result.journal}; {how}", "yellow"), soft_wrap=True)
    if result.is_stopped:
        console.print(Text(f"stopped; `sweeps resume {shlex.quote(spec.name)}` goes on with it"))
    if result.best is None:
        if result.is_stopped:
            return result
        raise SweepFailed(f"no trial of {spec.name} was completed, so there is no best one: {counts}")
    several = len(spec.objectives) > 1
    for line in _front(spec, result) if several else _best(spec, result.best, result.best_params):
        console.print(line, soft_wrap=True)
    for line in _next_steps(spec, storage, result):
        console.print(line, soft_wrap=True)
    return result


def _best(spec: SweepSpec, outcome: Outcome, params: dict[str, Any]) -> list[Text]:
    metric = spec.objectives[0].metric
    others = "  ".join(f"{key} {short_value(value)}" for key, value in outcome.metrics.items()
                       if key != metric and not key.endswith("_step"))  # fmt: skip
    head = Text.assemble(("best ", "bold"), f"trial {outcome.number}  {metric} ",
                         (short_value(outcome.value), "bold green"), f"  {others}")  # fmt: skip
    head.append(f"  trained in {duration(took(outcome.timing))}", "dim")
    lines = [head, *(Text(f"  {name}: {short_value(value)}") for name, value in params.items())]
    if outcome.reason:  # such as a checkpoint for which the disk had no room
        lines.append(Text(f"  {outcome.reason}", "yellow"))
    return lines


def _front(spec: SweepSpec, result: SweepResult) -> list[Text]:
    """The Pareto set, the best in the first objective first."""
    count = len(result.front)
    which = "1 trial, better than all others" if count == 1 else f"{count} trials, none better in everything"
    lines = [Text(f"Pareto front: {which}", "bold")]
    for outcome in result.front:
        pairs = zip(spec.objectives, outcome.values, strict=True)
        values = "  ".join(f"{objective.metric} {short_value(value)}" for objective, value in pairs)
        lines.append(Text.assemble(f"  trial {outcome.number}  ", (values, "green")))
    return lines


def _next_steps(spec: SweepSpec, storage: str | None, result: SweepResult) -> list[Text]:
    url = storage or (spec.storage if study_url(None) != study_url(None, spec.storage) else None)
    option = f" --storage {shlex.quote(masked(url))}" if url else ""
    name = shlex.quote(spec.name)
    steps = [
        (
            f"sweeps export {name} -o best.yaml{option}",
            "the best configuration, for `LightningCLI fit --config best.yaml`"
            if len(spec.objectives) == 1
            else f"the best in {spec.objectives[0].metric}; `--trial N` exports another one",
        ),
        (f"sweeps dashboard {name}{option}", "every trial and loss curve in MLflow, and the report"),
        (f"sweeps status {name}{option}", "the table of trials"),
    ]
    width = max(len(command) for command, _ in steps)
    lines = [Text.assemble((command.ljust(width), "cyan"), f"  {what}") for command, what in steps]
    best = f"{result.files}/{folder_of(result.best.number)}" if result.best else result.files
    return [*lines, Text(f"logs and checkpoints: {best}", "dim")]
