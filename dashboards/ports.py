"""Finds a port of this machine's loopback interface to listen on."""

import secrets
import socket

from dashboards.errors import ResultsError

LOOPBACK = "127.0.0.1"
USUAL = 5000
OTHERS = range(5100, 6000)
"""Below those that the system hands out: nobody gets one of them while a server starts. Browsers open all."""


def choose(port: int | None) -> int:
    """Return the named port, or else 5000, or else a free one.

    Raises:
        ResultsError: The named port is not one, needs rights this user lacks, or is taken.
    """
    if port is None:
        return USUAL if _obstacle(USUAL) is None else free()
    if not 1 <= port <= 65535:
        raise ResultsError(f"port {port}: `1 <= port <= 65535` must hold")
    obstacle = _obstacle(port)
    if obstacle is not None:
        raise ResultsError(f"port {port} {obstacle}; port {free()} is free, or leave the port out")
    return port


def free() -> int:
    """Return a port that nothing listens on at this moment."""
    for port in (secrets.choice(OTHERS) for _ in range(20)):
        if _obstacle(port) is None:
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _obstacle(port: int) -> str | None:
    with socket.socket() as probe:
        # As the server does: connections of a server that just ended do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            return "needs administrator rights"
        except OSError:
            return "is taken by another program"
    return None
