"""The commands about sweep files themselves; part of `sweeps.cli`."""

import json
from pathlib import Path
from typing import Annotated

import typer

files = typer.Typer()


@files.command()
def schema() -> None:
    """Print the JSON Schema of sweep files, for editors."""
    from sweeps.sweep_file.schema import schema as made

    typer.echo(json.dumps(made(), indent=2, ensure_ascii=False))


@files.command()
def init(
    model: Annotated[str, typer.Argument(metavar="MODEL_CLASS", help="Such as my_project.Net.")],
    data: Annotated[str | None, typer.Argument(metavar="DATA_CLASS", help="Such as my_project.Data.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; named like the model if none.")
    ] = None,
) -> None:
    """Write a first sweep file from the signatures of your classes."""
    from sweeps.sweep_file.init import init as write

    path = write(model, data, None if output is None else str(output))
    typer.echo(f"{path}: `sweeps check {path}` says what it would do")
