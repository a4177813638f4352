"""``--tls decrypt`` of an nginx whose handshakes are not the usual ones: asked for again, with early data, new keys."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Server, running, wait_for
from tests.netns.test_tls_programs import SIZES, ask, shadow
from tests.tlsservers import recording, servers
from tests.tlsservers.servers import TlsProgram, serving
from tests.unit.certificates import Certificate

__all__ = ["shadow"]  # a fixture

pytestmark = pytest.mark.usefixtures("probed")


@pytest.fixture
def made(tmp_path: Path, certificate: Certificate) -> TlsProgram:
    return TlsProgram(tmp_path / "server", certificate, "1.3")


def request(path: str, *fields: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: shop.example", "Content-Length: 0", *fields, "", ""]
    return "\r\n".join(lines).encode()


def test_another_hello_is_asked_for(tmp_path: Path, made: TlsProgram, shadow: Server) -> None:
    """HelloRetryRequest: the client's key share is of a group that this server does not have."""
    made.directives = "ssl_ecdh_curve secp384r1;"
    context, errors = made.certificate.client(), []
    with serving(servers.nginx, made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt", max_lag=600)
        for number in range(5):
            ask(made.port, context, number, True, errors)
        assert errors == []
        count = 5 * (len(SIZES) + 2)
        ledger = daemon.settled("shop", lambda found: found["seen"] == count)
        assert ledger["targets"][0]["mirrored"] == count, ledger
        assert sorted(map(recording.recorded, shadow.requests)) == made.requests


def test_early_data(tmp_path: Path, made: TlsProgram, shadow: Server) -> None:
    """0-RTT: a request stands in the client's first flight."""
    made.directives = "ssl_early_data on;"
    ticket, early = tmp_path / "ticket", tmp_path / "early"
    early.write_bytes(request("/early"))
    client = ["openssl", "s_client", "-connect", f"127.0.0.1:{made.port}", "-ign_eof"]
    with serving(servers.nginx, made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt", max_lag=600)
        for options, path in (
            (["-sess_out", str(ticket)], "/first"),
            (["-sess_in", str(ticket), "-early_data", str(early)], "/later"),
        ):
            said = subprocess.run(
                [*client, *options],
                input=request(path, "Connection: close"),
                capture_output=True,
                timeout=30,
                check=True,
            )
        assert b"Early data was accepted" in said.stdout
        ledger = daemon.settled("shop", lambda found: found["seen"] == 3)
        assert ledger["targets"][0]["mirrored"] == 3, ledger
        assert sorted(map(recording.recorded, shadow.requests)) == made.requests
        assert [line.split()[1] for line in made.requests] == ["/early", "/first", "/later"]


class Talk:
    """``openssl s_client``, to which lines can be said; what it prints is collected."""

    def __init__(self, port: int) -> None:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self._said = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := self._process.stdout.read(4096):
            self._said += data

    def say(self, data: bytes, until: bytes) -> None:
        assert self._process.stdin is not None
        before = self._said.count(until)
        self._process.stdin.write(data)
        wait_for(f"it prints {until!r}", lambda: self._said.count(until) > before)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._reader.join(10)
        self._process.stdout.close()


@pytest.fixture
def talk(made: TlsProgram) -> Iterator[list[Talk]]:
    begun: list[Talk] = []
    yield begun
    for one in begun:
        one.close()


def test_new_keys_on_an_open_connection(tmp_path: Path, made: TlsProgram, shadow: Server, talk: list[Talk]) -> None:
    """KeyUpdate: of the client's direction, and asked for of the server's."""
    with serving(servers.nginx, made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt", max_lag=600)
        talk.append(Talk(made.port))
        for number in range(4):
            talk[0].say(request(f"/{number}"), b"GET /%d 0 " % number)
            talk[0].say(b"K\n", b"KEYUPDATE")
        talk[0].say(request("/last"), b"GET /last 0 ")
        ledger = daemon.settled("shop", lambda found: found["seen"] == 5)
        assert ledger["targets"][0]["mirrored"] == 5, ledger
        assert not ledger["lost"]
        assert sorted(map(recording.recorded, shadow.requests)) == made.requests
        assert len(made.requests) == 5
