"""The guard and the memory budget on the real kernel: production comes first, and what is shed is accounted for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.traffic import production_under_load
from tests.netns.lab import Daemon, Server, one_worker, wait_for

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def guard_of(daemon: Daemon) -> dict[str, Any]:
    time.sleep(1.0)  # as often as it looks; asking costs CPU too, of which this daemon has little
    return dict(daemon.call("status")["guard"])


def told(daemon: Daemon, *words: str) -> bool:
    """Whether one of the daemon's problems has all of ``words``."""
    time.sleep(0.3)
    return any(all(word in problem for word in words) for problem in daemon.call("status")["problems"])


def test_a_daemon_that_uses_too_much_sheds_whole_connections_and_comes_back(tmp_path: Path, shadow: Server) -> None:
    daemon = Daemon(tmp_path, 'cpu_max = "10%"\n').start()
    try:
        with production_under_load(connections=8, pause=0.001) as (production, traffic):
            daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}")
            wait_for("something is shed", lambda: guard_of(daemon)["shed"] > 0.1, 60)
            traffic.more(200)
            wait_for("it is told why", lambda: told(daemon, "of a core", "cpu_max"))
            shed = wait_for("it is counted", lambda: daemon.ledger("shop")["targets"][0]["shed"].get("pressure", 0))
            assert shed > 0
        wait_for("it goes back when nothing is to do", lambda: guard_of(daemon)["shed"] == 0, 90)
        ledger = daemon.settled("shop")
        assert "pressure" in ledger["targets"][0]["shed"]
        assert ledger["targets"][0]["failed"] == {}
        assert "shedding for production's sake" in daemon.log.read_text()
        assert "mirroring everything again" in daemon.log.read_text()
    finally:
        daemon.stop()


def test_when_reading_is_too_much_the_kernel_stops_copying_and_says_so(tmp_path: Path, shadow: Server) -> None:
    daemon = Daemon(tmp_path, 'cpu_max = "3%"\n').start()
    try:
        with production_under_load(connections=8, pause=0.0) as (production, traffic):
            daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}")
            wait_for("the kernel holds", lambda: guard_of(daemon)["holding"], 60)
            traffic.more(300)
            kernel = wait_for("what passed is counted", lambda: daemon.ledger("shop")["kernel"]["pressure"])
            assert kernel > 0
            assert daemon.ledger("shop")["kernel"]["dead"] == 0
            wait_for("it is told", lambda: told(daemon, "nothing is copied"), 60)  # it looks again now and then
        wait_for("it copies again", lambda: not guard_of(daemon)["holding"], 90)
        daemon.settled("shop")
    finally:
        daemon.stop()


def _held(daemon: Daemon) -> int:
    return int(str(daemon.call("status")["pump"]["memory"]))


@one_worker
def test_uploads_that_never_end_stay_within_the_budget(tmp_path: Path, shadow: Server) -> None:
    limit = 8 << 20
    # a ring and a patience for a host that is busy otherwise: a FIN that the kernel could not hand over is another test
    patient = 'ring_bytes = "128MB"\ndead_man_seconds = "30s"\n'
    daemon = Daemon(tmp_path, f'memory_max = "8MB"\n{patient}').start()
    piece = os.urandom(64 << 10)
    try:
        with production_under_load(connections=2) as (production, traffic):
            daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}", methods="any")
            clients = [socket.create_connection(("127.0.0.1", production.port)) for _ in range(12)]
            head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n"
            for client in clients:
                client.sendall(head)
            most = 0
            for _ in range(32):  # 2 MB each, 24 MB in all: three times the budget
                for client in clients:
                    client.sendall(piece)
                most = max(most, _held(daemon))
            # what of it still waits in the ring is read soon, and what is let go leaves three quarters of the budget
            wait_for("the uploads fill it", lambda: _held(daemon) > limit // 2, 60)
            most = max(most, _held(daemon))
            assert most <= limit + 12 * (256 << 10)  # each connection may pass it by one segment
            traffic.more(50)
            for client in clients:
                for _ in range(32):
                    client.sendall(piece)
            wait_for("the uploads are over", lambda: daemon.ledger("shop")["lost"].get("memory", 0) > 0, 60)
            for client in clients:
                client.close()
        ledger = daemon.settled("shop")
        assert ledger["lost"]["memory"] >= 1
        kernel = daemon.ledger("shop")["kernel"]
        assert (kernel["ring_full"], kernel["dead"]) == (0, 0)
        wait_for("everything was given back", lambda: daemon.call("status")["pump"]["memory"] == 0, 60)
        assert daemon.call("status")["pump"]["memory_limit"] == limit
    finally:
        daemon.stop()
