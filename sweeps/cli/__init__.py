"""The command line. Every command imports what it needs when it runs, so that `sweeps --help` is quick."""

import atexit
import errno
import gc
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from dashboards.errors import ResultsError
from sweeps.cli.completion import check_shell
from sweeps.cli.files import files
from sweeps.cli.lr import learning_rates
from sweeps.cli.options import (
    Address,
    File,
    Hours,
    Name,
    NewName,
    Overrides,
    Quiet,
    ResultAsJson,
    Storage,
    Trials,
)
from sweeps.cli.reading import print_json, reading
from sweeps.cli.running import running
from sweeps.cli.usage import usage_problem
from sweeps.cli.version import root
from sweeps.errors import TRY_AGAIN, CutShort, NothingLeft, ServerAway, SweepFailed, UserError
from sweeps.interruption import own_process

if TYPE_CHECKING:
    from sweeps.sweep_file.spec import SweepSpec

app = typer.Typer(
    name="sweeps",
    callback=root,
    help="Hyperparameter sweeps for PyTorch Lightning: from one YAML file to the best configuration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_stay = ExitStack()
"""Closed when everything was said; see `sweeps.sweep.run_sweep`."""

app.add_typer(reading)
app.add_typer(running)
app.add_typer(files)
app.add_typer(learning_rates)


def main() -> None:
    """Runs the command line.

    A user's mistake is one line on stderr and exit code 2, a failed sweep one line and exit code 1, one
    that was cut short by what may pass 75.
    """
    atexit.register(gc.freeze)  # Python would search all that is left for cycles: up to a second
    own_process()
    try:
        check_shell(sys.argv[1:])
        sys.exit(app(prog_name="sweeps", standalone_mode=False))
    except TyperException as error:
        is_only_help = type(error).__name__ == "NoArgsIsHelpError"  # which is printed already
        sys.exit(2 if is_only_help else _complain(usage_problem(error), 2))
    except typer.Abort:  # Ctrl-C where no command takes it
        sys.exit(130)
    except (UserError, ResultsError) as error:
        sys.exit(_complain(error, 2))
    except SweepFailed as error:
        sys.exit(_complain(error, TRY_AGAIN if isinstance(error, CutShort) else 1))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would complain of what it could not write
        sys.exit(_complain(f"the output cannot be written: {error.strerror}", 1))
    finally:
        _leave()


def _leave() -> None:
    """Lets go of what was to stay until everything was said."""
    try:
        _stay.close()
    except KeyboardInterrupt:  # while other sweeps use this process's cluster
        sys.exit(130)


def _complain(message: object, code: int) -> int:
    sys.stderr.write(f"sweeps: {message}\n")
    return code


@app.command()
def check(
    file: File, name: NewName = None, trials: Trials = None, hours: Hours = None,
    overrides: Overrides = None, storage: Storage = None, as_json: ResultAsJson = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also try settings for speed and the largest batch, a minute.")
    ] = False,
) -> None:  # fmt: skip
    """Validate a sweep file without training, and print what it would do."""
    from sweeps.planning.check import check as check_and_show
    from sweeps.terminal.output import console

    spec = _spec(file, name, trials, hours, overrides)
    plan = check_and_show(spec, storage, console(on_stderr=as_json), measures=measure)
    if as_json:
        print_json(plan)


@app.command()
def launch(
    file: File, name: NewName = None, trials: Trials = None, hours: Hours = None,
    overrides: Overrides = None, storage: Storage = None, address: Address = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, as `sweeps check` does.")] = False,
    quiet: Quiet = False, as_json: ResultAsJson = False,
) -> None:  # fmt: skip
    """Run a sweep to its end."""
    from sweeps.planning.check import check as check_and_show
    from sweeps.terminal.commands import interruptible
    from sweeps.terminal.launch import launch as launch_and_show
    from sweeps.terminal.launch import plain
    from sweeps.terminal.output import console_of_a_sweep

    spec = _spec(file, name, trials, hours, overrides)
    console = console_of_a_sweep(on_stderr=as_json, quiet=quiet)
    if dry_run:
        made = check_and_show(spec, storage, console)
    else:
        with interruptible(spec.name, storage, spec.storage):
            made = plain(spec, launch_and_show(spec, storage, console, _stay, address=address))
    if as_json:
        print_json(made)


@app.command()
def resume(
    name: Name,
    trials: Annotated[str | None, typer.Option(help="How many trials to finish, or +N more.")] = None,
    hours: Annotated[
        float | None, typer.Option(help="Start no trial after so many hours from now, instead of those left.")
    ] = None,
    storage: Storage = None,
    address: Address = None,
    quiet: Quiet = False,
    as_json: ResultAsJson = False,
) -> None:
    """Go on with a sweep, whatever ended it; or end its pause."""
    from sweeps.terminal.commands import end_pause, interruptible
    from sweeps.terminal.launch import noting, plain
    from sweeps.terminal.launch import resume as resume_and_show
    from sweeps.terminal.output import console_of_a_sweep

    console = console_of_a_sweep(on_stderr=as_json, quiet=quiet)
    asks_for_nothing = trials is None and hours is None
    try:
        if asks_for_nothing and (done := end_pause(name, storage, noting(console))):
            if not quiet:
                typer.echo(done, err=as_json)
            return
        with interruptible(name, storage):
            spec, result = resume_and_show(name, storage, trials, hours, console, _stay, address=address)
    except ServerAway as error:  # which was there once
        raise CutShort(str(error)) from None
    except NothingLeft as error:
        if not asks_for_nothing:
            raise
        if not quiet:
            _complain(error, 0)
        if as_json:
            print_json({"name": name, "nothing_left": str(error)})
        return
    if as_json:
        print_json(plain(spec, result))


def _spec(
    file: str, name: str | None, trials: int | None, hours: float | None, overrides: list[str] | None
) -> "SweepSpec":
    from sweeps.sweep_file.loading import load_spec

    fields = {"name": name, "budget.trials": trials, "budget.hours": hours}
    return load_spec(file, overrides=overrides or [], **fields)


if __name__ == "__main__":
    main()
