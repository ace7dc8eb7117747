"""Where a Ray cluster is: what a person may write for it, and whether one may be there."""

import contextlib
import os
import socket
from collections.abc import Iterator

from sweeps.errors import ServerAway, UserError

ANSWER_SECONDS = 5.0
"""How long a cluster may take to answer at all; Ray itself would try for minutes."""

SETTINGS = b"\x04"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
"""What an HTTP/2 client says first: the preface, and a frame of settings without any."""

CLIENT = "ray://"
"""Ray Client, of which Ray says that it does not suit training; it is in no minimal installation either."""


def reachable(address: str, place: str) -> str:
    """The `host:port` of a cluster, once something there has answered as Ray does.

    Ray speaks gRPC, that is HTTP/2: a server sends its settings when it gets the preface (RFC 9113, 3.4).

    Args:
        address: `host:port`, or `auto`.
        place: Where it was written, for messages.

    Raises:
        UserError: Nothing answers there within seconds, or something else does, or the address is none.
    """
    if address.startswith(CLIENT):
        host = address.removeprefix(CLIENT).partition("/")[0].rpartition(":")[0] or "HOST"
        raise UserError(
            f"{place}: sweeps do not run through Ray Client; type the command on a node of the cluster with "
            f"--address {host}:6379, or send it there: ray job submit -- sweeps launch FILE"
        )
    if address == "auto":
        address = _of_this_machine(place)
        place = f"{place} ({address})"
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise UserError(f"{place}: not an address; give HOST:PORT, such as 10.0.0.1:6379, auto or local")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
                return address
            connection.sendall(PREFACE)
            answer = connection.recv(9)
    except (OSError, UnicodeError) as error:  # a name that is too long is a UnicodeError
        reason = getattr(error, "strerror", None) or "nothing answers"
        raise ServerAway(f"{place}: no Ray cluster there ({reason})") from None
    if answer[3:4] != SETTINGS:
        raise UserError(f"{place}: something else than a Ray cluster answers there; Ray's usual port is 6379")
    return address


def ensure_admission(address: str, place: str) -> None:
    """Finds out whether a cluster takes us; Ray itself would try for long and print each time.

    As with Ray, the user's token is sent only to a cluster that `ray start` has noted on this machine, unless
    RAY_AUTH_MODE says `token`. A cluster without tokens could not answer a driver with one.

    Raises:
        UserError: It wants a token, which we have not.
    """
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available,
    )

    forget_token()  # of an earlier cluster of this process
    is_admitted = _admits(address)
    if not is_admitted and address == _noted() and maybe_enable_token_auth_if_token_available(False):
        is_admitted = _admits(address)
    if not is_admitted:
        raise UserError(
            f"{place}: the Ray cluster asks for its token: set RAY_AUTH_MODE=token, "
            "and RAY_AUTH_TOKEN to that of its head node unless ~/.ray/auth_token holds it"
        )


def forget_token() -> None:
    """Has Ray read again which token there is: it keeps what it has read for as long as the process lives."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _admits(address: str) -> bool:
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError, RayError

    try:
        with _silenced():
            GcsClient(address=address)
    except AuthenticationError:
        return False
    except RayError:
        pass  # joining it will say more
    return True


def _of_this_machine(place: str) -> str:
    found = _noted()
    if not found:
        raise UserError(
            f"{place}: no Ray cluster was started on this machine with `ray start`; give HOST:PORT, "
            "or leave it out to run on this machine alone"
        )
    return found


def _noted() -> str | None:
    """What `ray start` wrote down here.

    Ray's own `auto` would, without that, take any cluster that runs here: another sweep's, another user's.
    """
    from ray._private.utils import read_ray_address

    found: str | None = read_ray_address()
    return found


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Nothing reaches the terminal meanwhile, whoever writes it: Ray's C++ part does so by itself."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
