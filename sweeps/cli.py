"""The command line. Every command opens what it needs late, so that `sweeps --help` is quick."""

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sweeps.errors import SweepFailed, UserError

app = typer.Typer(
    name="sweeps",
    help="Hyperparameter sweeps for PyTorch Lightning: from one YAML file to the best configuration.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep file (YAML).", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The sweep's name.", show_default=False)]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage", help="Study database: a URL or an SQLite file. [default: $SWEEPS_STORAGE or ./sweeps.db]"
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the file, such as trainer.max_epochs=5; repeatable.",
    ),
]
NewName = Annotated[str | None, typer.Option("--name", help="The sweep's name, instead of the file's.")]
Trials = Annotated[int | None, typer.Option("--trials", help="Finished trials, instead of the file's.")]
Hours = Annotated[float | None, typer.Option("--hours", help="Hours after which no trial starts.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def main() -> None:
    """Runs the command line; a mistake is one line on stderr and exit code 2, a failed sweep exit code 1."""
    try:
        app()
    except (UserError, *_reader_errors()) as error:
        _complain(str(error))
        sys.exit(2)
    except SweepFailed as error:
        _complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt as error:
        _complain("interrupted")
        sys.exit(128 + getattr(error, "signal", 2))


def _reader_errors() -> tuple[type[Exception], ...]:
    """The reader's error class, once something of the reader was loaded."""
    loaded = sys.modules.get("dashboards.errors")
    return (loaded.ResultsError,) if loaded else ()


def _complain(message: str) -> None:
    sys.stderr.write(f"sweeps: {message}\n")


def _spec(
    file: Path, name: str | None, trials: int | None, hours: float | None, overrides: list[str] | None
) -> Any:
    from sweeps.spec import load_spec

    fields = {"name": name, "budget.trials": trials, "budget.hours": hours}
    return load_spec(file, overrides=overrides or [], **fields)


@app.command()
def check(
    file: File, name: NewName = None, trials: Trials = None, hours: Hours = None,
    overrides: Overrides = None, storage: Storage = None,
) -> None:  # fmt: skip
    """Validate a sweep file without training, and print what it would do."""
    from rich.console import Console

    from sweeps.check import check as check_and_show

    check_and_show(_spec(file, name, trials, hours, overrides), storage, Console())


@app.command()
def launch(
    file: File, name: NewName = None, trials: Trials = None, hours: Hours = None,
    overrides: Overrides = None, storage: Storage = None,
) -> None:  # fmt: skip
    """Run a sweep to its end."""
    from rich.console import Console

    from sweeps.launch import launch as launch_and_show

    launch_and_show(_spec(file, name, trials, hours, overrides), storage, Console())


@app.command(name="list")
def list_(storage: Storage = None, as_json: AsJson = False) -> None:
    """List the sweeps of a study database."""
    from sweeps.storage import study_url

    results, views = _reader("results"), _reader("views")
    sweeps = results.list_sweeps(study_url(storage))
    _print(views.list_json(sweeps) if as_json else views.list_table(sweeps))


@app.command()
def status(name: Name, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show a sweep: counts, the best trial, and every trial."""
    from sweeps.storage import study_url

    results, views = _reader("results"), _reader("views")
    sweep = results.load(study_url(storage), name)
    _print(views.status_json(sweep) if as_json else views.status_table(sweep))


def _reader(module: str) -> Any:
    return importlib.import_module(f"dashboards.{module}")


def _print(content: Any) -> None:
    if isinstance(content, dict | list):
        sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        return
    from rich.console import Console

    Console().print(content)
