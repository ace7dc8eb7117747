"""`sweeps launch`: a sweep with its progress, and at the end the best trial and where to look."""

from typing import Any

from rich.console import Console
from rich.text import Text

from sweeps.errors import SweepFailed
from sweeps.progress import Progress, duration, short_value
from sweeps.records import Outcome, State
from sweeps.runner import SweepResult, run_sweep
from sweeps.spec import SweepSpec
from sweeps.storage import study_url


def launch(spec: SweepSpec, storage: str | None, console: Console) -> SweepResult:
    """Runs a sweep and shows it.

    Raises:
        UserError: Something in the sweep is not right; nothing was created.
        SweepFailed: The trials fail, or none could be completed.
    """
    console.print(Text.assemble((spec.name, "bold"), ": starting the workers and training one batch ..."))
    with Progress(spec, console) as progress:
        result = run_sweep(spec, storage=storage, observers=[progress])
    counts = ", ".join(f"{result.counts[state]} {state.value}" for state in State if result.counts[state])
    console.print(Text(f"{result.counts.total()} trials finished: {counts}"))
    for problem in result.problems:
        console.print(Text(f"not everything is in MLflow: {problem}", "yellow"))
    if progress.best is None:
        raise SweepFailed(f"no trial of {spec.name} was completed, so there is no best one: {counts}")
    for line in _best(spec, *progress.best):
        console.print(line, soft_wrap=True)
    for line in _next_steps(spec, storage, result):
        console.print(line, soft_wrap=True)
    return result


def _best(spec: SweepSpec, outcome: Outcome, params: dict[str, Any]) -> list[Text]:
    metric = spec.objective.metric
    others = "  ".join(f"{key} {short_value(value)}" for key, value in outcome.metrics.items()
                       if key != metric and not key.endswith("_step"))  # fmt: skip
    head = Text.assemble(("best ", "bold"), f"trial {outcome.number}  {metric} ",
                         (short_value(outcome.value), "bold green"), f"  {others}")  # fmt: skip
    head.append(f"  trained in {duration(outcome.timing.slot_seconds)}", "dim")
    return [head, *(Text(f"  {name}: {short_value(value)}") for name, value in params.items())]


def _next_steps(spec: SweepSpec, storage: str | None, result: SweepResult) -> list[Text]:
    option = f" --storage {storage}" if storage else ""
    if not storage and study_url(None) != study_url(None, spec.storage):
        option = f" --storage {spec.storage}"
    name = f"'{spec.name}'" if any(c in spec.name for c in " '&;()$") else spec.name
    steps = [
        (
            f"sweeps export {name} -o best.yaml{option}",
            "the best configuration, for `LightningCLI fit --config best.yaml`",
        ),
        (f"sweeps dashboard {name}{option}", "every trial and loss curve in MLflow"),
        (f"sweeps status {name}{option}", "the table of trials"),
    ]
    width = max(len(command) for command, _ in steps)
    lines = [Text.assemble((command.ljust(width), "cyan"), f"  {what}") for command, what in steps]
    best = f"{result.files}/trial-{result.best.number}" if result.best else result.files
    return [*lines, Text(f"logs and checkpoints: {best}", "dim")]
