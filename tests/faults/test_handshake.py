"""https:// to a port that takes connections and speaks no TLS, and a problem that ends when the target is right."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Daemon, HttpClient, Server, running, wait_for
from tests.unit.certificates import Certificate

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


class Listener:
    """Takes connections and says nothing, closing them at once or never."""

    def __init__(self, closes: bool) -> None:
        self._closes = closes
        self._taken: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            if self._closes:
                taken.close()
            else:
                self._taken.append(taken)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for taken in self._taken:
            taken.close()


class TlsServer(Server):
    def __init__(self, certificate: Certificate) -> None:
        self._context = certificate.server()
        super().__init__()

    def _serve(self, connection: socket.socket) -> None:
        self._open.discard(connection)
        with contextlib.suppress(OSError):  # the daemon's refusal of our certificate
            super()._serve(self._context.wrap_socket(connection, server_side=True))


@pytest.mark.parametrize("closes", [True, False], ids=["closing", "silent"])
def test_no_handshake_is_a_fault_of_tls_until_an_answer_comes(daemon: Daemon, tmp_path: Path, closes: bool) -> None:
    production, listener, shadow = Server(), Listener(closes), TlsServer(Certificate(tmp_path))

    def ask() -> None:
        client = HttpClient("127.0.0.1", production.port)
        client.get("/")
        client.close()

    def told() -> bool:
        return any("no handshake" in problem for problem in daemon.call("status")["problems"])

    wrong = f"https://127.0.0.1:{listener.port}"
    daemon.call("filter.add", spec={"name": "shop", "ports": [production.port], "to": wrong, "twin": 0})
    ask()
    ledger = daemon.settled("shop", lambda found: found["seen"] == 1)
    assert ledger["targets"][0]["failed"] == {"tls": 1}
    assert told()
    changes = {"to": f"https://127.0.0.1:{shadow.port}", "insecure": True}
    daemon.call("filter.set", name="shop", changes=changes)
    assert not told()
    wait_for("the address is known", lambda: daemon.call("filter.show", name="shop")["targets"][0]["addresses"])
    ask()
    daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 1)
    assert daemon.call("status")["problems"] == []
    daemon.call("filter.rm", name="shop")
    for server in (production, listener, shadow):
        server.close()


def test_an_answer_ends_a_problem_of_tls(daemon: Daemon, tmp_path: Path) -> None:
    """The same target, first unverified, then trusted."""
    production, certificate = Server(), Certificate(tmp_path)
    shadow = TlsServer(certificate)
    url = f"https://127.0.0.1:{shadow.port}"
    daemon.call("filter.add", spec={"name": "shop", "ports": [production.port], "to": url, "twin": 0})
    client = HttpClient("127.0.0.1", production.port)
    client.get("/1")
    daemon.settled("shop", lambda found: found["targets"][0]["failed"] == {"tls": 1})
    assert any("certificate verify failed" in problem for problem in daemon.call("status")["problems"])
    daemon.call("filter.set", name="shop", changes={"ca": str(certificate.chain)})
    client.get("/2")
    daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 1)
    assert daemon.call("status")["problems"] == []
    client.close()
    daemon.call("filter.rm", name="shop")
    production.close()
    shadow.close()
