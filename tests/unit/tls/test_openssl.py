"""What Python's ``ssl`` cannot do, by the openssl command through a wiretap: key updates, 0-RTT taken and refused."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shadowd.stream.flow import CLIENT, SERVER
from shadowd.tls.keyring import KeyLines, Keyring
from shadowd.tls.session import PATIENCE
from tests.ports import free_port
from tests.unit.certificates import Certificate
from tests.unit.tls.handshakes import Tap, cut, keyring_of

Serve = Callable[..., "Server"]
Connect = Callable[..., "Client"]
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


class Piped:
    """A program, and what it has said."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            ["stdbuf", "-o0", *command],  # it writes whole blocks to pipes
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.seen = b""

    def until(self, words: bytes) -> None:
        assert self.process.stdout is not None
        while words not in self.seen:
            assert select.select([self.process.stdout], [], [], 20)[0], self.seen
            data = self.process.stdout.read1()  # type: ignore[attr-defined]
            assert data, self.seen
            self.seen += data


class Wiretap:
    """Passes connections on and keeps what went by, in the order in which it did."""

    def __init__(self, port: int) -> None:
        self.connections: list[list[tuple[int, bytes]]] = []
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                segments: list[tuple[int, bytes]] = []
                self.connections.append(segments)
                with client, socket.create_connection(("127.0.0.1", self._to)) as server:
                    ends = {client: (CLIENT, server), server: (SERVER, client)}
                    while True:
                        for ready in select.select(list(ends), [], [])[0]:
                            direction, other = ends[ready]
                            data = ready.recv(1 << 16)
                            if not data:
                                break
                            segments.append((direction, data))
                            other.sendall(data)
                        else:
                            continue
                        break

    def close(self) -> None:
        self._listener.close()


class Server(Piped):
    """``openssl s_server`` behind a wiretap."""

    def __init__(self, certificate: Certificate, folder: Path, *options: str) -> None:
        port = free_port()
        self.log = folder / f"keys-{port}.log"
        command = ["openssl", "s_server", "-accept", str(port), "-cert", str(certificate.chain)]
        command += ["-key", str(certificate.key), "-keylogfile", str(self.log), *options]
        super().__init__(command)
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < end
            time.sleep(0.02)
        self.tap = Wiretap(port)

    def answer(self, client: Client) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"answer\n")
        self.process.stdin.flush()
        client.until(b"answer")

    def close(self) -> None:
        self.tap.close()
        self.process.kill()
        self.process.communicate()


class Client(Piped):
    """``openssl s_client``: ``say`` sends a line, ``until`` waits for words."""

    def __init__(self, port: int, *options: str) -> None:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
        super().__init__(command)
        self.seen = b""

    def say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def go(port: int, *options: str) -> Client:
        clients.append(Client(port, *options))
        return clients[-1]

    yield go
    for client in clients:
        client.close()


@pytest.fixture
def serve(certificate: Certificate, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def go(*options: str) -> Server:
        servers.append(Server(certificate, tmp_path, *options))
        return servers[-1]

    yield go
    for server in servers:
        server.close()


def readings(segments: list[tuple[int, bytes]], log: bytes) -> list[list[bytes]]:
    """What is read of both directions: in pieces of several sizes, and where the keys come when all is captured."""
    found = []
    for steps in ([1460], [3, 50], [1 << 20]):
        tap = Tap(keyring_of(log)).send(cut(segments, steps)).finish()
        tap.check()
        assert not tap.reader.reasons
        found.append(tap.reader.plain)
    keyring = Keyring()
    tap = Tap(keyring).send(segments)
    KeyLines(keyring).feed_untrusted(log, 0)
    keyring.settle(tap.now, PATIENCE)
    return [*found, tap.reader.plain]


def test_key_updates_of_both_sides(serve: Serve, connect: Connect) -> None:
    server = serve("-rev", "-tls1_3")
    client = connect(server.tap.port)
    said = [b"", b""]
    client.until(b"Verify return code")
    for number in range(4):
        client.say(b"%d one" % number)
        client.until(b"eno %d" % number)
        client.say(b"K" if number % 2 else b"k")
        client.until(b"KEYUPDATE")
        client.seen = client.seen.replace(b"KEYUPDATE", b"")
        said[CLIENT] += b"%d one\n" % number
        said[SERVER] += b"eno %d\n" % number
    client.say(b"last")
    client.until(b"tsal")
    client.close()
    assert readings(server.tap.connections[0], server.log.read_bytes()) == 4 * [
        [said[CLIENT] + b"last\n", said[SERVER] + b"tsal\n"]
    ]


def early(server: Server, connect: Connect, folder: Path) -> None:
    """A first connection that gets a ticket, and what another will send early with it."""
    first = connect(server.tap.port, "-sess_out", str(folder / "ticket"))
    first.until(b"Verify return code")
    server.answer(first)
    end = time.monotonic() + 10
    while not (folder / "ticket").exists() or b"END" not in (folder / "ticket").read_bytes():
        assert time.monotonic() < end
        time.sleep(0.02)
    first.close()
    (folder / "early").write_bytes(b"GET /early HTTP/1.1\r\n\r\n")


def test_early_data_that_is_taken(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    server = serve("-early_data", "-tls1_3", "-no_anti_replay")
    early(server, connect, tmp_path)
    again = connect(server.tap.port, "-sess_in", str(tmp_path / "ticket"), "-early_data", str(tmp_path / "early"))
    again.until(b"Early data was accepted")
    again.say(b"later")
    server.until(b"later")
    server.answer(again)
    again.close()
    assert readings(server.tap.connections[1], server.log.read_bytes()) == 4 * [
        [b"GET /early HTTP/1.1\r\n\r\nlater\n", b"answer\n"]
    ]


@pytest.mark.parametrize("retry", [False, True])
def test_early_data_that_is_refused(serve: Serve, connect: Connect, tmp_path: Path, retry: bool) -> None:
    """By a server that does not know the ticket; ``retry``: it asks for another ClientHello as well."""
    server = serve("-early_data", "-tls1_3")
    early(server, connect, tmp_path)
    other = serve("-early_data", "-tls1_3", *(["-groups", "P-384"] if retry else []))
    again = connect(other.tap.port, "-sess_in", str(tmp_path / "ticket"), "-early_data", str(tmp_path / "early"))
    again.until(b"Early data was rejected")
    again.say(b"later")
    other.until(b"later")
    other.answer(again)
    again.close()
    found = readings(other.tap.connections[0], other.log.read_bytes())
    assert found == 4 * [[b"later\n", b"answer\n"]]


def test_renegotiation_ends_what_can_be_read(serve: Serve, connect: Connect) -> None:
    server = serve("-rev", "-tls1_2", "-client_renegotiation", "-cipher", "ECDHE+AESGCM")
    client = connect(server.tap.port)
    client.until(b"Secure Renegotiation IS supported")
    client.say(b"one")
    client.until(b"eno")
    client.say(b"R")
    client.until(b"RENEGOTIATING")
    client.say(b"two")
    client.until(b"owt")
    client.close()
    tap = Tap(keyring_of(server.log.read_bytes())).send(server.tap.connections[0]).finish()
    tap.check()
    assert tap.reader.reasons == ["tls_undecryptable"]
    assert tap.reader.plain == [b"one\n", b"eno\n"]


def test_a_key_update_within_a_gap(serve: Serve, connect: Connect) -> None:
    """What follows is under keys of which nothing was seen: they are tried."""
    server = serve("-rev", "-tls1_3")
    client = connect(server.tap.port)
    client.until(b"Verify return code")
    for word in (b"one", b"two", b"six"):
        client.say(word)
        client.until(word[::-1])
        if word == b"one":
            client.say(b"k")
            client.until(b"KEYUPDATE")
    client.close()
    tap = Tap(keyring_of(server.log.read_bytes()))
    lost = 0
    for direction, data in server.tap.connections[0]:
        if direction == CLIENT and not lost and tap.reader.plain[CLIENT] == b"one\n":
            assert data[3:5] == (5 + 1 + 16).to_bytes(2, "big")  # a KeyUpdate, and then "two"
            tap.send([(direction, data[:27])], lost=True)
            data, lost = data[27:], 1
        if data:
            tap.send([(direction, data)])
    tap.finish()
    tap.check()
    assert lost == 1
    assert not tap.reader.reasons
    assert tap.reader.plain == [b"one\ntwo\nsix\n", b"eno\nowt\nxis\n"]
    assert [direction for direction, _ in tap.reader.gaps] == [CLIENT]
