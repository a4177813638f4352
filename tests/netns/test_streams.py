"""Streams of events through the live path: longer than the time limit, without an end, and ended on one side alone."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Daemon, running, wait_for

pytestmark = pytest.mark.usefixtures("root_user")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Streamer:
    """Says an event every 50 ms, ``events`` of them (0: for ever), to each request."""

    def __init__(self, events: int = 0) -> None:
        self.events = events
        self.closed = 0  # streams that the other side ended
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                connection.sendall(HEAD)
                said = 0
                while not self.events or said < self.events:
                    event = b'data: {"n": %d}\n\n' % said
                    connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                    said += 1
                    time.sleep(0.05)
                connection.sendall(b"0\r\n\r\n")
                connection.recv(1)
            except OSError:
                self.closed += 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as made:
        yield made


@pytest.fixture
def streamer() -> Iterator[Callable[[int], Streamer]]:
    made: list[Streamer] = []

    def make(events: int = 0) -> Streamer:
        made.append(Streamer(events))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Listener:
    """A client that reads a stream until ``close``."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.sendall(b"GET /events HTTP/1.1\r\nHost: shop\r\n\r\n")
        self.heard = b""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.sock.recv(65536):
                self.heard += data
                if data.endswith(b"0\r\n\r\n"):
                    return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def compared(daemon: Daemon, name: str) -> dict[str, Any]:
    """The run's report once one exchange was compared."""

    def look() -> dict[str, Any] | None:
        report = daemon.call("report", name=name)
        return report if sum(endpoint["exchanges"] for endpoint in report["endpoints"]) else None

    return dict(wait_for("it is compared", look))


def test_a_stream_may_take_longer_than_the_time_limit(
    daemon: Daemon, streamer: Callable[[int], Streamer], tmp_path: Path
) -> None:
    production, shadow = streamer(40), streamer(40)  # two seconds
    daemon.add("long", production.port, shadow.url, timeout="500ms")
    client = Listener(production.port)
    ledger = daemon.settled("long", lambda ledger: ledger["targets"][0]["mirrored"])
    client.thread.join(20)
    client.close()
    assert not any(ledger["targets"][0]["failed"].values())
    report = compared(daemon, "long")
    assert not report["differences"]
    (endpoint,) = report["endpoints"]
    stream = endpoint["stream"]
    assert (stream["streams"], stream["events"]) == (1, {"production": 40, "candidate": 40})
    for point, least in (("between_events_ms", 40), ("total_ms", 1900)):  # both say an event every 50 ms, or later
        assert min(stream[point]["production"]["p50"], stream[point]["candidate"]["p50"]) >= least, stream
    daemon.call("filter.rm", name="long")


def test_a_stream_without_an_end_is_compared_when_its_window_is_over(
    daemon: Daemon, streamer: Callable[[int], Streamer]
) -> None:
    production, shadow = streamer(0), streamer(0)
    daemon.add("endless", production.port, shadow.url, timeout="500ms", stream_window="1s")
    client = Listener(production.port)
    ledger = daemon.settled("endless", lambda ledger: ledger["targets"][0]["mirrored"])
    assert not any(ledger["targets"][0]["failed"].values())
    wait_for("the shadow's stream is ended", lambda: shadow.closed == 1)
    report = compared(daemon, "endless")
    assert not report["differences"]
    before = len(client.heard)
    wait_for("production's goes on", lambda: len(client.heard) > before)
    assert production.closed == 0
    client.close()
    daemon.call("filter.rm", name="endless")


def test_a_shadow_that_ends_a_stream_which_production_goes_on_with(
    daemon: Daemon, streamer: Callable[[int], Streamer]
) -> None:
    production, shadow = streamer(0), streamer(3)
    daemon.add("short", production.port, shadow.url, timeout="500ms", stream_window="1s")
    client = Listener(production.port)
    report = compared(daemon, "short")
    (found,) = report["differences"]
    assert (found["where"], found["kind"]) == ("stream", "value")
    client.close()
    daemon.call("filter.rm", name="short")


def test_a_shadow_that_falls_silent_is_late(daemon: Daemon, streamer: Callable[[int], Streamer]) -> None:
    """Production's stream is over; the shadow has begun to answer and says nothing more."""
    production = streamer(3)
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            held.append(connection)
            connection.recv(65536)
            connection.sendall(HEAD + b"9\r\ndata: 1\n\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    daemon.add("silent", production.port, f"http://127.0.0.1:{listener.getsockname()[1]}", timeout="500ms")
    client = Listener(production.port)
    ledger = daemon.settled("silent", lambda ledger: sum(ledger["targets"][0]["failed"].values()))
    assert ledger["targets"][0]["failed"]["timeout"] == 1
    client.close()
    for connection in held:
        connection.close()
    listener.close()
    daemon.call("filter.rm", name="silent")
