"""The commands that read what a sweep has left: tables, exports, MLflow, reports; part of `sweeps.cli`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dashboards.errors import ResultsError
from sweeps.cli.completion import sweep_names
from sweeps.cli.options import Storage

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dashboards.records import Sweep

reading = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
NameOrLatest = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="The sweep's name; the latest if none.", autocompletion=sweep_names),
]


@reading.command(name="list")
def list_(storage: Storage = None, as_json: AsJson = False) -> None:
    """List the sweeps of a study database."""
    from dashboards import list_sweeps, tables
    from dashboards.records import to_json

    sweeps = list_sweeps(_database(storage))
    print_json(to_json(sweeps)) if as_json else _print(tables.list_table(sweeps))


@reading.command()
def status(name: NameOrLatest = None, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show a sweep: its state, its best trial and its trials."""
    from dashboards import tables
    from dashboards.records import to_json
    from sweeps.preparing import preparation
    from sweeps.storages.uris import study_url

    name = name or _latest(storage)
    sweep = _load(name, storage)
    if sweep.summary.state != "running" and (said := preparation(name, study_url(storage))):
        sys.stderr.write(f"sweeps: {said}\n")
    print_json(to_json(sweep)) if as_json else _print(tables.status_table(sweep))


@reading.command()
def watch(name: NameOrLatest = None, storage: Storage = None) -> None:
    """Show a sweep that runs elsewhere, until it ends."""
    from sweeps.terminal.output import console
    from sweeps.terminal.watch import watch as watch_and_show

    watch_and_show(name or _latest(storage), storage, console())


@reading.command()
def export(
    name: NameOrLatest = None,
    format: Annotated[  # noqa: A002 - the option is called so
        Literal["lightning", "params", "json", "args"],
        typer.Option(
            metavar="FORMAT",
            help="lightning: a config for LightningCLI; args: the same as flags; params: names and values; "
            "json: all of these.",
        ),
    ] = "lightning",
    top: Annotated[int, typer.Option(help="How many trials, the best first.")] = 1,
    number: Annotated[
        int | None, typer.Option("--trial", help="This trial instead of the best, however it ended.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of stdout.")] = None,
    storage: Storage = None,
) -> None:
    """Write the best configuration, ready for `LightningCLI fit --config`."""
    from dashboards.export import export as exported
    from dashboards.export import write_text

    name = name or _latest(storage)
    text = exported(_load(name, storage), format, top, number=number)
    if output is None:
        sys.stdout.write(text)
        return
    write_text(output, text)
    what = "best" if number is None else f"trial {number}"
    sys.stderr.write(f"{output}: {what} of {name}, format {format}\n")


@reading.command()
def dashboard(
    name: NameOrLatest = None,
    port: Annotated[int | None, typer.Option(help="5000, or a free one, if none.")] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = True,
    storage: Storage = None,
) -> None:
    """Show a sweep's runs in MLflow, on this machine only, until Ctrl-C."""
    from dashboards.server import serve

    place = _load(name or _latest(storage), storage).mlflow
    serve(place["tracking_uri"], place["experiment"], port=port, open_browser=open_browser, say=typer.echo)


@reading.command()
def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="One sweep, or several to compare; the latest if none.",
            autocompletion=sweep_names,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file.")] = Path("report.html"),
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    storage: Storage = None,
) -> None:
    """Write a report: one HTML page that needs no network."""
    import webbrowser

    from dashboards import lean, report
    from dashboards.export import write_text

    lean.import_optuna()
    # One that was named twice is compared with nothing.
    names = list(dict.fromkeys(names or [_latest(storage)]))
    write_text(output, report.build([_load(name, storage) for name in names]))
    typer.echo(f"{output}: the report of {', '.join(names)}")
    if open_browser and not webbrowser.open(output.resolve().as_uri()):
        sys.stderr.write(f"no browser was found; open {output.resolve().as_uri()}\n")


def _load(name: str, storage: str | None) -> "Sweep":
    """A sweep as its study has it.

    Raises:
        ResultsError: There is none.
        UserError: There is none yet, since it is being launched.
    """
    from dashboards import load
    from sweeps.preparing import check_it_is_not
    from sweeps.storages.uris import study_url

    try:
        return load(_database(storage), name)
    except ResultsError:
        check_it_is_not(name, study_url(storage))
        raise


def _database(storage: str | None) -> str | Path:
    """The study database for a reader: SQLite by its path, which may hold what a URL may not."""
    from sweeps.storages.uris import sqlite_path, study_url

    url = study_url(storage)
    return sqlite_path(url) or url


def _latest(storage: str | None) -> str:
    """The name of the sweep that was launched last."""
    from dashboards import list_sweeps

    sweeps = list_sweeps(_database(storage))
    if not sweeps:
        raise ResultsError("no sweeps here yet; `sweeps launch FILE` makes one")
    return sweeps[-1].name


def _print(content: "RenderableType") -> None:
    from sweeps.terminal.output import console

    console().print(content)


def print_json(content: Any) -> None:
    """JSON on stdout."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
