"""curl asks for HTTP/2 within HTTP/1; production's server agrees, the shadows speak what they speak."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from tests.conftest import need
from tests.netns.lab import Daemon, Server, ok, running


class Upgrading:
    """A server that takes every offer. ``asked``: paths, and in which protocol."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        assert b"upgrade: h2c" in head.lower(), head
        lines = head.split(b"\r\n")
        settings = next(line.partition(b":")[2].strip() for line in lines if line.lower().startswith(b"http2-settings"))
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        http2 = H2Connection(H2Configuration(client_side=False))
        http2.initiate_upgrade_connection(settings)
        self._answer(http2, 1, lines[0].split(b" ")[1].decode(), "HTTP/1.1")
        connection.sendall(http2.data_to_send())
        while data := connection.recv(1 << 16):
            for event in http2.receive_data(data):
                if isinstance(event, RequestReceived):
                    path = {bytes(name): bytes(value) for name, value in event.headers}[b":path"].decode()
                    self._answer(http2, event.stream_id, path, "HTTP/2")
            connection.sendall(http2.data_to_send())

    def _answer(self, http2: H2Connection, stream: int, path: str, spoken: str) -> None:
        self.asked.append((path, spoken))
        http2.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
        http2.send_data(stream, path.encode(), end_stream=True)

    def end(self) -> None:
        self._listener.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "d") as made:
        yield made


def test_an_upgrade_to_http2(daemon: Daemon) -> None:
    need(shutil.which("curl") is not None, "needs curl")
    production = Upgrading()
    shadow = Server(
        answer=lambda number, head, body: ok(b"".join(head.split(b" ")[1:2]), headers=b"Content-Type: text/plain\r\n")
    )
    daemon.add("shop", production.port, shadow.url)
    url = f"http://127.0.0.1:{production.port}"
    done = subprocess.run(
        ["curl", "-sS", "--http2", f"{url}/one", f"{url}/two", f"{url}/three"], capture_output=True, timeout=30
    )
    assert done.stdout == b"/one/two/three", done.stderr
    assert production.asked == [("/one", "HTTP/1.1"), ("/two", "HTTP/2"), ("/three", "HTTP/2")]
    ledger = daemon.settled("shop", lambda found: found["seen"] == 3)
    assert ledger["targets"][0]["mirrored"] == 3, ledger
    assert daemon.call("diffs", name="shop")["differences"] == []
    assert b"upgrade: h2c" not in b"".join(shadow.requests).lower()
    production.end()
