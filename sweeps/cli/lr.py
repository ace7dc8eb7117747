"""`sweeps lr-find`; part of `sweeps.cli`."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.options import Address, File, Overrides

learning_rates = typer.Typer()


@learning_rates.command(name="lr-find")
def lr_find(
    file: File,
    configs: Annotated[int, typer.Option(help="1: the centre of the space; more: others drawn from it.")] = 1,
    low: Annotated[float, typer.Option("--min", help="The first rate.")] = 1e-8,
    high: Annotated[float, typer.Option("--max", help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Optimizer steps of one range test.")] = 100,
    parameter: Annotated[
        str | None, typer.Option(help="The rate's path, instead of the file's or optimizer.init_args.lr.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The figure, instead of NAME-lr.html.")
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Find a learning rate with range tests: a suggestion, an interval and a figure."""
    from dashboards.export import write_text
    from dashboards.report.learning_rates import build
    from sweeps.errors import SweepFailed
    from sweeps.lr import command, finder
    from sweeps.sweep_file.loading import load_spec

    spec = load_spec(file, overrides=overrides or [])
    settings = command.section(spec, parameter, configs=configs, low=low, high=high, steps=steps)
    found, problems = command.lr_find(spec, settings, address)
    for line in finder.lines(found):
        typer.echo(line)
    for problem in problems:
        typer.echo(f"not everything is in MLflow: {problem}")
    output = output or Path(f"{spec.name}-lr.html")
    # Only now: where it cannot be written, what was found is not lost.
    write_text(output, build(spec.name, found["lr_finder"]))
    typer.echo(f"{output}: the curves")
    if all(finding["suggestion"] is None for finding in finder.findings(found)):
        raise SweepFailed(f"{spec.name}: no learning rate was found")
