"""curl asks for HTTP/2 within HTTP/1; production's server agrees, the shadows speak what they speak."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from tests.conftest import need
from tests.faults.test_shadow import listener, read_request
from tests.netns.lab import Daemon, Server, ok, running

TEXT = b"Content-Type: text/plain\r\n"
Asked = list[tuple[str, str]]


def upgrading(asked: Asked) -> Callable[[socket.socket, int], None]:
    """A server that takes every offer. ``asked``: paths, and in which protocol."""

    def answer(http2: H2Connection, stream: int, path: str, spoken: str) -> None:
        asked.append((path, spoken))
        http2.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
        http2.send_data(stream, path.encode(), end_stream=True)

    def conduct(connection: socket.socket, number: int) -> None:
        lines = read_request(connection).split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        assert fields[b"upgrade"] == b"h2c"
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        http2 = H2Connection(H2Configuration(client_side=False))
        http2.initiate_upgrade_connection(fields[b"http2-settings"])
        answer(http2, 1, lines[0].split(b" ")[1].decode(), "HTTP/1.1")
        connection.sendall(http2.data_to_send())
        while data := connection.recv(1 << 16):
            for event in http2.receive_data(data):
                if isinstance(event, RequestReceived):
                    path = {bytes(name): bytes(value) for name, value in event.headers}[b":path"].decode()
                    answer(http2, event.stream_id, path, "HTTP/2")
            connection.sendall(http2.data_to_send())

    return conduct


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "d") as made:
        yield made


def test_an_upgrade_to_http2(daemon: Daemon) -> None:
    need(shutil.which("curl") is not None, "needs curl")
    asked: Asked = []
    shadow = Server(answer=lambda number, head, body: ok(b"".join(head.split(b" ")[1:2]), headers=TEXT))
    with listener(upgrading(asked)) as production:
        daemon.add("shop", production.port, shadow.url)
        urls = [f"{production.url}/{path}" for path in ("one", "two", "three")]
        done = subprocess.run(["curl", "-sS", "--http2", *urls], capture_output=True, timeout=30)
        assert done.stdout == b"/one/two/three", done.stderr
        ledger = daemon.settled("shop", lambda found: found["seen"] == 3)
    assert asked == [("/one", "HTTP/1.1"), ("/two", "HTTP/2"), ("/three", "HTTP/2")]
    assert ledger["targets"][0]["mirrored"] == 3, ledger
    assert daemon.call("diffs", name="shop")["differences"] == []
    assert b"upgrade: h2c" not in b"".join(shadow.requests).lower()
    shadow.close()
