"""Whether a cluster is still there; real sweeps whose head goes are in `tests.long`."""

import re
import socket
import threading

import pytest

from sweeps.errors import ClusterLost
from sweeps.executors.life import Life, asked, lives, watched
from tests.clusters import wait_for


def listens() -> tuple[socket.socket, str]:
    server = socket.create_server(("127.0.0.1", 0))
    return server, f"127.0.0.1:{server.getsockname()[1]}"


def test_what_the_cluster_answers_comes_back_as_it_is_until_the_cluster_has_gone() -> None:
    server, address = listens()
    with server, watched(Life(address)):
        assert asked(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            asked(lambda: 1 // 0)
        with pytest.raises(ClusterLost, match=re.escape(f"({address}) is gone")):
            asked(lambda: (server.close(), threading.Event().wait()))
        with pytest.raises(ClusterLost):
            asked(lambda: 7)
    assert asked(lambda: 7) == 7  # connected to no cluster that we know


def test_the_head_of_a_cluster_that_others_started_may_come_back() -> None:
    server, address = listens()
    server.close()
    with watched(Life(address, away_seconds=600)):
        assert lives()
        assert asked(lambda: 7) == 7
    with watched(life := Life(address, away_seconds=0.01)):
        wait_for(lambda: not lives())
        assert life.lost
