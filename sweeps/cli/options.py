"""Arguments and options that several commands have; part of `sweeps.cli`."""

from typing import Annotated

import typer

from sweeps.cli.completion import sweep_names

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The sweep's name.", show_default=False, autocompletion=sweep_names),
]


def not_empty(ctx: typer.Context, param: typer.CallbackParam, value: str | None) -> str | None:
    """Refuses an option without its value, such as a variable of the shell that is not set."""
    if value is not None and not value.strip():
        raise typer.BadParameter("it is empty; leave it out, or name one")
    return value


Storage = Annotated[
    str | None,
    typer.Option(
        help="Study database: URL or SQLite file; $SWEEPS_STORAGE or ./sweeps.db if none.",
        callback=not_empty,
    ),
]
File = Annotated[str, typer.Argument(metavar="FILE", help="The sweep file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key, such as trainer.max_epochs=5; repeatable."
    ),
]
NewName = Annotated[str | None, typer.Option(help="The sweep's name, instead of the file's.")]
Trials = Annotated[int | None, typer.Option(help="How many trials to finish, instead of the file's.")]
Hours = Annotated[float | None, typer.Option(help="Start no trial after so many hours.")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="A Ray cluster; $RAY_ADDRESS or this machine if none.",
        callback=not_empty,
        show_default=False,
    ),
]
ResultAsJson = Annotated[
    bool, typer.Option("--json", help="The result as JSON on stdout, the progress on stderr.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
