"""The commands that speak to a running sweep, or look into one trial's log; part of `sweeps.cli`."""

import shlex
from typing import Annotated

import typer

from sweeps.cli.options import Name, Storage

running = typer.Typer()


@running.command()
def stop(
    name: Name,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the trials that run.")] = False,
    storage: Storage = None,
) -> None:
    """End a running sweep; `sweeps resume` goes on with it."""
    from sweeps.terminal.commands import ask, end_preparation

    if done := end_preparation(name, storage):
        typer.echo(done)
        return
    ask(name, storage, "stop", now=now)
    how = "now; what runs goes on from its checkpoint" if now else "with the trials that run"
    typer.echo(f"{name} ends {how}; `sweeps resume {shlex.quote(name)}` goes on with it")


@running.command()
def pause(name: Name, storage: Storage = None) -> None:
    """Start no further trial until `sweeps resume`."""
    from sweeps.terminal.commands import ask

    ask(name, storage, "pause")
    typer.echo(f"{name} starts no further trial; `sweeps resume {shlex.quote(name)}` goes on with it")


@running.command()
def update(
    name: Name,
    changes: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE", help="trials, hours (in all) or concurrency.")
    ],
    storage: Storage = None,
) -> None:
    """Change a running sweep: trials=200 concurrency=4 hours=12."""
    from sweeps.terminal.commands import ask, parse_changes

    asked = parse_changes(changes)
    ask(name, storage, "update", **asked)
    typer.echo(f"{name} goes on with {', '.join(f'{key}={value:.15g}' for key, value in asked.items())}")


trial = typer.Typer(help="Kill or retry one trial.", no_args_is_help=True)
running.add_typer(trial, name="trial")
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The trial's number.", show_default=False)]


@trial.command()
def kill(name: Name, number: Number, storage: Storage = None) -> None:
    """End a running trial; it counts as failed."""
    from sweeps.terminal.commands import ask_of_trial

    ask_of_trial(name, storage, "kill", number)
    typer.echo(f"{name}: trial {number} ends, and counts as failed")


@trial.command()
def retry(name: Name, number: Number, storage: Storage = None) -> None:
    """Train the parameters of a trial that ended once more, as a new trial; without a driver at `resume`."""
    from sweeps.terminal.commands import ask_of_trial

    to_type = ask_of_trial(name, storage, "retry", number)
    when = f" once you type `{to_type}`" if to_type else ""
    typer.echo(f"{name}: the parameters of trial {number} are trained once more, as a new trial{when}")


@running.command()
def logs(
    name: Name,
    number: Annotated[int | None, typer.Argument(metavar="NUMBER", help="The latest if none.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the trial has ended.")] = False,
    storage: Storage = None,
) -> None:
    """Print a trial's log."""
    from sweeps.terminal.commands import show_log

    show_log(name, storage, number, follow=follow)
