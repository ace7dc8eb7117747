"""Where databases are: URLs as people write them, and as messages and records may show them."""

import os
import re
from pathlib import Path

from sweeps.errors import UserError
from sweeps.storages import sqlite
from sweeps.storages.servers import with_driver

DEFAULT = "sqlite:///sweeps.db"


def expand(url: str) -> str:
    """Replaces each `${NAME}` in a URL by the environment variable of that name.

    Raises:
        UserError: The variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise UserError(f"{masked(url)}: the environment variable {name} is not set")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, url)


def masked(url: str) -> str:
    """The URL with its password replaced, for messages and records; `${NAME}` stays as it is."""
    # Up to the last @ before the query: a password may hold one that its owner forgot to encode.
    url = re.sub(r"(://[^/:@]*):(?!\$\{)(?:[^?]*|[^@]*)@", r"\1:***@", url)
    return re.sub(r"([?&]password=)(?!\$\{)[^&]*", r"\1***", url)


def study_url(option: str | None = None, from_file: str | None = None) -> str:
    """The URL of the study database: the option, else SWEEPS_STORAGE, else the file's, else ./sweeps.db.

    A bare path means an SQLite file; relative SQLite paths are made absolute.
    """
    url = expand(option or os.environ.get("SWEEPS_STORAGE") or from_file or DEFAULT)
    return absolute(url if "://" in url else f"sqlite:///{url}")


def absolute(url: str) -> str:
    """An SQLite URL with an absolute path; PostgreSQL's with its driver; every other URL as it is."""
    path = sqlite_path(url)
    return with_driver(url) if path is None else f"sqlite:///{path.absolute()}"


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL, or None for another database; a folder in it may have any name."""
    if not url.startswith("sqlite:///"):
        return None
    # Only `?key=value` behind the file is a query: a folder's name may hold a question mark.
    return Path(re.sub(r"\?\w+=[^/]*$", "", url.removeprefix("sqlite:///")))


def write_ahead_log(url: str) -> Path | None:
    """Where SQLite keeps the last commits of a database; None for a server's."""
    path = sqlite_path(url)
    return path and sqlite.log(path)
