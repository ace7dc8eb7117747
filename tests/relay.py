"""A relay between a client and a server on the loopback: counts trips, holds them up, cuts connections."""

import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator

PIECE = 65_536
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a connection that is closed is reset


class Relay:
    """Listens on a port of its own and passes everything on.

    Attributes:
        port: Where it listens.
        trips: How often a client spoke after it had been answered, or for the first time.
        connections: How many there were.

    Args:
        target: The server's port on the loopback.
        trip_seconds: How long a round trip takes.
    """

    def __init__(self, target: int, trip_seconds: float = 0.0) -> None:
        self._target, self._delay = target, trip_seconds / 2
        self.trips = self.connections = 0
        self._is_refusing = False
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nothing gets through during the block; it does afterwards."""
        self._goes_on.clear()
        try:
            yield
        finally:
            self._goes_on.set()

    @contextlib.contextmanager
    def refused(self) -> Iterator[None]:
        """Every connection is reset and none is let through, until the block ends or `accept` is called."""
        self.refuse()
        try:
            yield
        finally:
            self.accept()

    def refuse(self) -> None:
        """Resets every connection and lets none through until `accept` is called."""
        self._is_refusing = True
        self.cut()

    def accept(self) -> None:
        """Lets connections through again."""
        self._is_refusing = False

    def cut(self) -> None:
        """Resets every connection, as a router does that was started again."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        """Ends it, with all connections."""
        self._listening.close()
        self.cut()
        self._goes_on.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listening.accept()
                if self._is_refusing:
                    client.close()
                    continue
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._target))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += [client, server]
                is_answered = threading.Event()
                is_answered.set()
                for ends in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pass, args=[*ends, is_answered, ends[0] is client], daemon=True
                    ).start()

    def _pass(
        self, here: socket.socket, there: socket.socket, is_answered: threading.Event, asks: bool
    ) -> None:
        on_its_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._deliver, args=[on_its_way, there], daemon=True).start()
        with contextlib.suppress(OSError):
            while piece := here.recv(PIECE):
                if asks and is_answered.is_set():
                    is_answered.clear()
                    self.trips += 1
                elif not asks:
                    is_answered.set()
                on_its_way.put((time.monotonic() + self._delay, piece))
        on_its_way.put((time.monotonic() + self._delay, b""))
        with contextlib.suppress(OSError):
            here.shutdown(socket.SHUT_RDWR)

    def _deliver(self, on_its_way: "queue.SimpleQueue[tuple[float, bytes]]", there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, piece = on_its_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                self._goes_on.wait()
                if not piece:
                    break
                there.sendall(piece)
        with contextlib.suppress(OSError):
            there.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relayed(target: int, trip_seconds: float = 0.0) -> Iterator[Relay]:
    """A relay to a port, for the block."""
    relay = Relay(target, trip_seconds)
    try:
        yield relay
    finally:
        relay.close()
