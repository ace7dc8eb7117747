"""What a shell completes: names of sweeps, read from SQLite in milliseconds, and never an error."""

import contextlib
from collections.abc import Sequence

import typer

from sweeps.errors import UserError

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def check_shell(arguments: Sequence[str]) -> None:
    """Refuses to show or install completion for a shell that typer does not know; it would do so silently.

    Raises:
        UserError: That is asked for, and the shell is none of these.
    """
    asked = [option for option in ("--install-completion", "--show-completion") if option in arguments]
    if not asked:
        return
    import shellingham

    try:
        shell = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        shell = "none"
    if shell not in SHELLS:
        raise UserError(f"{asked[0]}: type it in one of {', '.join(SHELLS)}; this shell is {shell}")


def sweep_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names that start with what is typed, the latest first; none of a database on a server."""
    from sweeps.storages.sqlite import opened
    from sweeps.storages.uris import sqlite_path, study_url

    with contextlib.suppress(Exception):  # whatever is wrong shows when the command runs
        path = sqlite_path(study_url(ctx.params.get("storage")))
        if path is not None and path.is_file():
            with contextlib.closing(opened(path, "mode=ro", wait_seconds=0.5)) as database:
                rows = database.execute("SELECT study_name FROM studies ORDER BY study_id DESC")
                return [name for (name,) in rows if name.startswith(incomplete)]
    return []
