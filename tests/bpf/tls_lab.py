"""Servers in cgroups of their own, key logs, and what leaves the ring: for tests of probes on TLS libraries."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shadowd.capture.preflight import cgroup_id, find_cgroup2
from shadowd.capture.ring import Ring
from shadowd.capture.tlssecrets import Secret, Whose
from tests.bpf.test_programs import Seen
from tests.conftest import ROOT, need
from tests.netns.lab import wait_for
from tests.ports import free_port

Line = tuple[bytes, bytes, bytes]  # label, client random, secret


class Told(Seen):
    """All of the ring, in its order: ("secret", Secret) and ("segment", …)."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[tuple[str, Any]] = []

    def segment(self, *arguments: Any) -> None:
        super().segment(*arguments)
        self.order.append(("segment", self.segments[-1]))

    def secret(self, record: bytes) -> None:
        self.order.append(("secret", Secret(record)))

    @property
    def secrets(self) -> list[Secret]:
        return [what for kind, what in self.order if kind == "secret"]

    def lines(self, known: set[bytes]) -> set[Line]:
        """As a key log has them; ``known``: client randoms."""
        whose = Whose()
        return {(one.label, whose.random(one, known.__contains__) or b"", one.secret) for one in self.secrets}


def drained(ring: Ring) -> Told:
    told = Told()
    while ring.drain(told, 1 << 20):
        pass
    return told


def key_log(*files: Path) -> set[Line]:
    found = set()
    for file in files:
        for line in file.read_text().splitlines():
            if line and not line.startswith("#"):
                label, random, secret = line.split()
                found.add((label.encode(), bytes.fromhex(random), bytes.fromhex(secret)))
    return found


def randoms(lines: set[Line]) -> set[bytes]:
    return {random for _, random, _ in lines}


@contextlib.contextmanager
def cgroup(name: str) -> Iterator[Path]:
    root = find_cgroup2()
    need(root is not None, "needs cgroup v2")
    assert root is not None
    made = root / f"shadowd-tls-{os.getpid()}-{name}"
    made.mkdir()
    try:
        yield made
    finally:
        wait_for("the cgroup is empty", lambda: not (made / "cgroup.procs").read_text())
        made.rmdir()


@contextlib.contextmanager
def process(place: Path | None, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a cgroup; it has said "ready"."""
    script = f'echo $$ > "{place}/cgroup.procs"; exec "$@"' if place else 'exec "$@"'
    running = subprocess.Popen(
        ["sh", "-c", script, "sh", *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running
    finally:
        running.kill()
        running.wait()
        running.stdin.close()
        running.stdout.close()


class Server:
    """A Python server of TLS; ``place`` its cgroup."""

    def __init__(self, folder: Path, port: int, pid: int, place: Path | None) -> None:
        self.folder = folder
        self.port = port
        self.pid = pid
        self.cgroup = cgroup_id(place) if place else 0
        self.keys = folder / "server.keys"
        self.ports = ((port, port),)


@contextlib.contextmanager
def server(folder: Path, place: Path | None, *options: str, **environment: str) -> Iterator[Server]:
    port = free_port()
    command = (sys.executable, "-m", "tests.bpf.tls_server", str(port), str(folder), *options)
    with process(place, *command, **environment) as running:
        yield Server(folder, port, running.pid, place)


def client(keys: Path | None = None, tls12: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if keys is not None:
        context.keylog_filename = str(keys)
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))


def exchange(port: int, context: ssl.SSLContext) -> None:
    with connect(port, context) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"


def byte_of(pid: int, library: str, offset: int) -> bytes:
    """The first byte of a function as the process has it in memory."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and words[5] == library and "x" in words[1]:
            begin, at = int(words[0].split("-")[0], 16), int(words[2], 16)
            with open(f"/proc/{pid}/mem", "rb", 0) as memory:
                memory.seek(begin + offset - at)
                return memory.read(1)
    raise AssertionError(f"{pid} has no {library}")


def kill(pid: int, limit: float = 10) -> None:
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError(f"{pid} does not end")
