"""Databases and trackers that are servers: PostgreSQL's driver and lock; does an MLflow server answer?"""

import contextlib
import difflib
import importlib.util
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from sweeps.errors import ServerAway, UserError

CONNECT_SECONDS = 10
TIMEOUTS = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,  # seconds without a word, as while a trial trains
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds until what was sent has to be taken
}
LOCK_KEY = 0x5EE9_5EE9
"""Of PostgreSQL's advisory lock around the creation of tables and the claim of a lease; any number does."""

RECORDS = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks", "databricks-uc", "uc")
"""Where MLflow keeps records; it takes any other address for a folder, which it does not write any more."""

_POSTGRES = re.compile(r"^(postgres|postgresql)(\+\w+)?://")


def is_postgres(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return bool(_POSTGRES.match(url))


def is_tracking_server(uri: str) -> bool:
    """Whether MLflow's records go to a server, which has its own place for artifacts."""
    return uri.startswith(("http://", "https://"))


def with_driver(url: str) -> str:
    """A PostgreSQL URL with the driver of the extra `postgres`, unless it names one; any other as it is.

    SQLAlchemy would take psycopg2 where none is named.
    """
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


def check_records(url: str, label: str) -> None:
    """Checks that MLflow can keep records at a URL, as far as its form says.

    Raises:
        UserError: It cannot: for it to say nothing would lose them all.
    """
    scheme = re.split(r"://|\+", url)[0]
    if scheme not in RECORDS:
        near = difflib.get_close_matches(scheme, RECORDS, n=1)
        hint = f", did you mean {near[0]}://?" if near else f"; it knows {', '.join(RECORDS)}"
        raise UserError(f"{label}: MLflow keeps no records at {scheme}://{hint}")
    check_driver(url, label)


def check_driver(url: str, label: str) -> None:
    """Checks that the driver which a URL names is installed.

    Raises:
        UserError: It is not.
    """
    named = re.match(r"(\w+)\+(\w+)://", url)
    if named is None or importlib.util.find_spec(named[2]) is not None:
        return
    way = f"pip install {named[2]}"
    if named[1] == "postgresql":
        way = "pip install 'lightning-sweeps[postgres]', and begin the URL with postgresql://"
    raise UserError(f"{label}: its driver {named[2]} is not installed: {way}")


SOON = re.compile(
    r"is starting up|is shutting down|in recovery mode|too many clients|remaining connection slots"
    r"|closed the connection unexpectedly"
)
"""What PostgreSQL answers that will take connections again (its messages of class 53 and 57, and libpq's)."""


def unusable(url: str, message: str) -> UserError:
    """The error of a database that cannot be opened or read: `ServerAway` where nothing listens, or not yet.

    Its driver raises the same for a wrong password.
    """
    import sqlalchemy

    if is_postgres(url) and SOON.search(message):
        return ServerAway(message)
    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError, ValueError):  # no address
        if is_postgres(url) and (host := (parts := sqlalchemy.make_url(url)).host):
            try:
                with socket.create_connection((host, parts.port or 5432), timeout=CONNECT_SECONDS):
                    pass
            except OSError:
                return ServerAway(message)
    return UserError(message)


def engine_options(url: str) -> dict[str, Any]:
    """What SQLAlchemy should know of a server: not to wait for minutes until it answers, or for good.

    A firewall that forgets a connection drops what is sent over it, without a word (libpq's parameters:
    postgresql.org/docs, 34.1.2).
    """
    return {"connect_args": dict(TIMEOUTS)} if is_postgres(url) else {}


def has_table(url: str, name: str) -> bool:
    """Whether a database has a table; makes nothing.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: It cannot be reached.
    """
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **engine_options(url))
    return bool(sqlalchemy.inspect(engine).has_table(name))


@contextlib.contextmanager
def advisory_lock(url: str) -> Iterator[None]:
    """Holds PostgreSQL's advisory lock: of several processes one at a time makes tables or claims a study.

    The server lets go of it when the connection ends, however it does (postgresql.org/docs, 13.3.5).
    """
    if not is_postgres(url):
        yield
        return
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **engine_options(url))
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        try:
            yield
        finally:
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):  # the connection ends: so does the lock
                connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})


def check_answers(uri: str, label: str) -> None:
    """Checks that something listens where MLflow's server should; for a new sweep, not for one that goes on.

    Raises:
        UserError: Nothing does, or the address is none.
    """
    try:
        parts = urlsplit(uri)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=CONNECT_SECONDS):
            return
    except ValueError:
        reason = "not an address"
    except OSError as error:
        reason = f"no MLflow server answers there ({error.strerror or error})"
    raise UserError(f"tracking_uri: {label}: {reason}")
