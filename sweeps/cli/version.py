"""`sweeps --version`; part of `sweeps.cli`."""

from typing import Annotated

import typer


def _show(is_asked: bool) -> None:
    if is_asked:
        import platform
        from importlib.metadata import version

        names = ("optuna", "lightning", "ray", "mlflow", "torch")
        others = ", ".join(f"{name} {version(name)}" for name in names)
        typer.echo(f"sweeps {version('lightning-sweeps')} (Python {platform.python_version()}, {others})")
        raise typer.Exit


def root(
    is_asked: Annotated[
        bool, typer.Option("--version", callback=_show, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    """Takes the options that stand before any command."""
