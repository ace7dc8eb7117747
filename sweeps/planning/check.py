"""`sweeps check`: everything that can be known before a training, and what the sweep would do."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, RenderableType
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.table import Table
from rich.text import Text

from sweeps.context import Inspection, TrialContext
from sweeps.executors.resources import Need
from sweeps.lr.each import advice as rate_notes
from sweeps.lr.each import outlook
from sweeps.planning.advice import advice
from sweeps.planning.choices import choice_notes
from sweeps.planning.places import Places, places
from sweeps.planning.plan import (
    check_algorithms,
    context_of,
    inspect,
    raise_problem,
    schedule_of,
    slots_of,
    validations_of,
)
from sweeps.samplers.algorithms import pruning_text, rung_table
from sweeps.storages.uris import masked
from sweeps.sweep_file.sections import written_out
from sweeps.sweep_file.spec import SweepSpec

COLOURS = ANSISyntaxTheme({("Name", "Tag"): Style(color="cyan")})
"""Keys as the terminal shows cyan, all else as it shows text: readable on light and on dark ones."""


def check(
    spec: SweepSpec, storage: str | None, console: Console, *, measures: bool = False
) -> dict[str, Any]:
    """Checks a sweep in this process and prints its plan; trains nothing and leaves nothing behind.

    Args:
        spec: The sweep.
        storage: URL of the study database.
        console: Where the plan is printed.
        measures: Also train a few batches with several settings, and advise; see `sweeps.planning.measure`.

    Returns:
        The plan as plain values, for `--json`.

    Raises:
        UserError: Something in the sweep is not right.
    """
    from sweeps.executors.local import machine  # Ray is imported when it is needed

    where = places(spec, storage)
    schedule = schedule_of(spec)
    if not schedule.needs_batches:  # at once, before the seconds that torch takes
        check_algorithms(spec, schedule.validations())
    with console.status("importing torch, Lightning and your classes ..."):
        slots, need = slots_of([machine()], spec, is_joined=spec.resources.autoscaling)
        context = context_of(spec, where.files, need.gpus)
        inspection = inspect(context, spec, False)
        raise_problem(inspection, spec)
        unbuildable = choice_notes(context, spec, inspection)
    validations = validations_of(spec, inspection)
    check_algorithms(spec, validations)
    notes = [*spec.notes, *precision_notes(spec, need.gpus), *rate_notes(spec), *advice(spec, validations)]
    notes += [*where.notes, *inspection.notes, *unbuildable]
    for note in notes:
        console.print(Text(f"note: {note}", "yellow"))
    for part in _plan(spec, where, inspection, (slots, need), validations):
        console.print(part)
    return {
        **(_measured(spec, context, console) if measures else {}),
        "name": spec.name,
        "objectives": [objective.model_dump() for objective in spec.objectives],
        "budget": spec.budget.model_dump(),
        "slots": slots,
        "validations": validations,
        "parameters": [row._asdict() for row in spec.space.rows()],
        "sampler": written_out(spec.sampler).class_path,
        "pruner": written_out(spec.pruner).class_path,
        "lr_finder": outlook(spec, inspection.batches),
        "notes": notes,
    }


def _measured(spec: SweepSpec, context: TrialContext, console: Console) -> dict[str, Any]:
    from sweeps.planning.measure import measure

    with console.status("training a few batches with several settings ..."):
        measured = measure(spec, context)
    for part in measured.parts():
        console.print(part)
    return {"measured": measured.plain()}


def precision_notes(spec: SweepSpec, gpus: float) -> list[str]:
    """What a precision means where the trials have no GPU."""
    variations = [spec.space.configure(spec.base, params) for _, params in spec.space.variations()]
    asked = {str(config.get("trainer", {}).get("precision")) for config in (spec.base, *variations)}
    if gpus or not asked & {"16", "16-mixed"}:
        return []
    return ["trainer.precision: without a GPU Lightning trains 16-mixed as bf16-mixed"]


def _plan(
    spec: SweepSpec, where: Places, found: Inspection, room: tuple[int, Need], validations: int | None
) -> Iterator[RenderableType]:
    slots, need = room
    first = spec.objectives[0]
    wanted = ", ".join(f"{objective.direction} {objective.metric}" for objective in spec.objectives)
    which = "" if len(spec.objectives) == 1 else f" (by {first.metric})"
    counts = f"the value of the {first.value} checkpoint{which}"
    yield Text.assemble((spec.name, "bold"), f"  {wanted}, {counts}")
    yield ""
    yield Text("Base configuration (searched keys at the centre of their ranges)", "bold")
    yield Syntax(found.resolved.strip(), "yaml", theme=COLOURS, word_wrap=True)
    yield ""
    yield _space_table(spec)
    if spec.constraints:
        yield Text.assemble(("Always  ", "bold"), ", ".join(spec.constraints))
    if spec.start_with:
        yield Text.assemble(("First   ", "bold"), "; ".join(map(_point, spec.start_with_params)))
    yield ""
    yield Text.assemble(("Budget  ", "bold"), _budget(spec))
    if spec.stop_when:
        yield Text.assemble(("Ends    ", "bold"), f"before, when {spec.stop_when}")
    if spec.auto_batch_size:
        rule = f"the largest that fits is looked for before the first trial and put at {spec.auto_batch_size}"
        yield Text.assemble(("Batch   ", "bold"), rule)
    if text := outlook(spec, found.batches):
        yield Text.assemble(("Rates   ", "bold"), text)
    grows = spec.resources.autoscaling and spec.concurrency is None
    count = "as many at once as the cluster has room for or adds" if grows else f"{slots} at once here"
    yield Text.assemble(("Slots   ", "bold"), f"{count}, each with {need}")
    if spec.price_per_hour is not None and not grows:
        yield Text.assemble(("Price   ", "bold"), _price(spec.price_per_hour * slots, spec.budget.hours))
    taught = f", taught by {', '.join(spec.warm_start)}" if spec.warm_start else ""
    sampler, pruner = (written_out(algorithm).class_path for algorithm in (spec.sampler, spec.pruner))
    yield Text.assemble(("Sampler ", "bold"), f"{sampler}{taught}")
    yield Text.assemble(("Pruner  ", "bold"), f"{pruner}: {_pruning(spec, validations)}")
    if validations is not None and rung_table(spec, validations):
        yield _rung_table(spec, validations)
    files = masked(where.store) or where.files
    yield Text.assemble(("Keeps   ", "bold"), f"study {masked(where.storage)}")
    yield Text(f"        MLflow {masked(where.tracking_uri)}")
    yield Text(f"        files {files}")
    rest = f"; a launch first trains one batch, and looks whether {first.metric} is logged"
    yield Text.assemble((f"{spec.file or spec.name}: no mistakes found", "bold green"), rest)


def _space_table(spec: SweepSpec) -> Table:
    table = Table(title="Search space", title_justify="left", title_style="bold", box=None,
                  padding=(0, 2, 0, 0))  # fmt: skip
    for column in ("parameter", "range", "active when"):
        table.add_column(column, overflow="fold")  # a name that is cut cannot be told from its neighbours
    for row in spec.space.rows():
        table.add_row(Text(row.name), Text(row.text), Text(row.condition))
    return table


def _rung_table(spec: SweepSpec, validations: int) -> Table:
    table = Table("bracket", "share of trials", "pruned after validation", "each rung keeps",
                  box=None, padding=(0, 2, 0, 2))  # fmt: skip
    for number, bracket in enumerate(rung_table(spec, validations)):
        rungs = ", ".join(map(str, bracket.rungs)) or "never"
        table.add_row(str(number), f"{bracket.share:.0%}", rungs, f"the best {bracket.keep:.0%}")
    return table


def _budget(spec: SweepSpec) -> str:
    trials, hours = spec.budget.trials, spec.budget.hours
    ends = [f"{trials} finished trials"] if trials else []
    return " or ".join([*ends, f"no new trial after {hours:g} hours"] if hours else ends)


def _price(per_hour: float, hours: float | None) -> str:
    """What all slots cost; for the whole sweep only where its hours say how long it takes."""
    text = f"{per_hour:,.2f} an hour for all slots"
    return text if hours is None else f"{text}, {per_hour * hours:,.2f} until the last trial is asked for"


def _point(params: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())


def _pruning(spec: SweepSpec, validations: int | None) -> str:
    text = pruning_text(spec)
    if validations is None:
        return text
    if validations == 1 and text.startswith("asked"):
        return "never asked, since a full training has one validation, and the last is not asked about"
    return f"{text} ({validations} validations a full training)"
