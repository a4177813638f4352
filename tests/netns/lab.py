"""A host for tests with the real kernel: the daemon as a process, namespaces, servers, and the ledger's promises.

Everything is made here and ended here, by pid and by name; names carry this process's id.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.control.client import Client
from tests.conftest import ROOT
from tests.ports import free_port as free_port

DEADLINE = 20.0
#: Processes that mirror: the suite is run with 1 and with 3 (tests/workers).
WORKERS = os.environ.get("SHADOWD_TEST_WORKERS", "1")
#: For tests that count what a limit lets through to the last request, or look at one process's memory.
one_worker = pytest.mark.skipif(
    WORKERS != "1", reason="several workers fill a limit within turns, and have memory of their own (test_workers)"
)
SOURCES = [path for path in (ROOT / "bpf").rglob("*") if path.suffix in (".c", ".h", ".py")]
BYTECODE = ROOT / "bpf" / "shadowd.bytecode"  # made by `make test`


def wait_for(what: str, condition: Callable[[], object], limit: float = DEADLINE) -> Any:
    """Poll until ``condition`` is true; the value is returned. A time limit, never a timing, decides."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit:.0f} s: {what}; last: {value!r}")
        time.sleep(0.02)


def sh(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


class Daemon:
    """``shadowd run`` as a process of its own."""

    prefix: tuple[str, ...] = ()  # what runs it, such as setpriv: it must replace itself
    program: tuple[str, ...] = (sys.executable, "-m", "shadowd.cli.shadowd")

    def __init__(self, folder: Path, config: str = "", namespace: str | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.socket = folder / "s"
        self.config = folder / "shadowd.toml"
        # many daemons, one port; and two busy cores, which the guard would (rightly) shed for
        defaults = {"http": '""', "cpu_guard": '"off"', "cpu_max": '"10000%"'}
        if BYTECODE.exists() and BYTECODE.stat().st_mtime > max(path.stat().st_mtime for path in SOURCES):
            defaults["loader"] = '"prebuilt"'  # a third of the time; tests/bpf holds both loaders to the same records
        if WORKERS != "1":
            defaults["workers"] = WORKERS
        added = [f"{key} = {value}\n" for key, value in defaults.items() if f"{key} =" not in config]
        self.config.write_text("".join(added) + config)
        self.namespace = namespace
        self.log = folder / "log"
        self._log_read = 0  # where the log of this start begins: a daemon may be started again
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Client(self.socket)

    def start(self) -> Daemon:
        command = [
            *self.prefix, *self.program, "run", "--config", str(self.config),
            "--socket", str(self.socket), "--state-dir", str(self.folder / "state"),
        ]  # fmt: skip
        if self.namespace:
            # not `ip netns exec`: that hides the cgroup mount behind a /sys of its own
            command = ["nsenter", f"--net=/run/netns/{self.namespace}", *command]
        with open(self.log, "ab") as log:
            self._log_read = log.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        wait_for("the daemon is ready", self._ready, 60)
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        return b"shadowd: ready" in self.log.read_bytes()[self._log_read :]

    def call(self, op: str, **args: object) -> Any:
        return self.client.call(op, **args)

    def add(self, name: str, port: int | str, *urls: str, **fields: object) -> Any:
        # without twins: tests count what reaches the shadow; those of the comparison ask for them. A test's traffic
        # lasts a second, and its weather is none of anybody's.
        targets = [{"url": url} for url in urls]
        spec = {"name": name, "ports": [str(port)], "targets": targets, "twin": 0, "min_span": 1, **fields}
        return self.call("filter.add", spec=spec)

    def ledger(self, name: str) -> dict[str, Any]:
        found = self.call("ledger", name=name)
        return {**found["filters"][0], "kernel": found["kernel"]}

    def settled(
        self, name: str, expect: Callable[[dict[str, Any]], object] = bool, limit: float = DEADLINE
    ) -> dict[str, Any]:
        """The ledger once nothing is in flight and ``expect`` holds; both identities are checked always."""

        def look() -> dict[str, Any] | None:
            ledger = self.ledger(name)
            check_ledger(ledger)
            return ledger if not ledger["in_flight"] and expect(ledger) else None

        try:
            return dict(wait_for(f"the ledger of {name} settles", look, limit))
        except AssertionError as error:
            raise AssertionError(f"{error}; ledger: {self.ledger(name)}; log: {self.log.read_text()[-3000:]}") from None

    def stop(self, kind: int = signal.SIGTERM) -> str:
        """End by signal, wait, and return the log."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self._pid(), kind)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the daemon did not end: {self.log.read_text()[-2000:]}") from None
        return self.log.read_text()

    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid  # nsenter replaces itself

    def halt(self) -> None:
        """SIGSTOP for all its processes, the workers first: the supervisor would start a silent one anew."""
        self._halted = self.pids
        for pid in self._halted:
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT for those that were halted."""
        for pid in self._halted:
            os.kill(pid, signal.SIGCONT)

    @property
    def pids(self) -> list[int]:
        """Of the workers, if they are processes of their own, and of the daemon."""
        return [worker["pid"] for worker in self.call("status")["workers"]] + [self.pid]

    @property
    def pid(self) -> int:
        return self._pid()


def check_ledger(ledger: dict[str, Any]) -> None:
    """Promise 2, recomputed from the printed numbers and not from the daemon's own word."""
    filtered, lost = sum(ledger["filtered"].values()), sum(ledger["lost"].values())
    for target in ledger["targets"]:
        ended = target["mirrored"] + sum(target["shed"].values()) + sum(target["failed"].values())
        assert ledger["seen"] == filtered + lost + ended + target["in_flight"], ledger
    assert ledger["balanced"], ledger
    assert ledger["kernel"]["balanced"], ledger["kernel"]


@contextlib.contextmanager
def running(folder: Path, config: str = "", namespace: str | None = None) -> Iterator[Daemon]:
    with started(Daemon(folder, config, namespace)) as daemon:
        yield daemon


@contextlib.contextmanager
def started(daemon: Daemon) -> Iterator[Daemon]:
    """While it runs; whatever happens, it says no traceback."""
    try:
        yield daemon.start()
    finally:
        log = daemon.stop()
    assert "Traceback" not in log, log[-4000:]


class Server:
    """A threaded HTTP/1.1 server that records what it was sent, byte for byte.

    ``answer(request_number, head, body)`` returns the bytes of the response, or None to close without a word.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, answer: Callable[[int, bytes, bytes], bytes | None] | None = None
    ) -> None:
        self.answer = answer or (lambda number, head, body: ok(b"fine"))
        self.requests: list[bytes] = []
        self.connections = 0
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(512)
        self.host, self.port = host, int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        with connection:
            try:
                while True:
                    while b"\r\n\r\n" not in buffer:
                        data = connection.recv(65536)
                        if not data:
                            return
                        buffer += data
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    head += b"\r\n\r\n"
                    length = 0
                    for line in head.split(b"\r\n"):
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    chunked = b"transfer-encoding: chunked" in head.lower()
                    while len(buffer) < length or (chunked and b"0\r\n\r\n" not in buffer):
                        data = connection.recv(65536)
                        if not data:
                            return
                        buffer += data
                    if chunked:
                        length = buffer.index(b"0\r\n\r\n") + 5
                    body, buffer = buffer[:length], buffer[length:]
                    with self._lock:
                        self.requests.append(head + body)
                        number = len(self.requests)
                    reply = self.answer(number, head, body)
                    if reply is None:
                        return
                    if head.startswith(b"HEAD "):
                        reply = reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                    connection.sendall(reply)
            except OSError:
                return
            finally:
                self._open.discard(connection)

    def close(self) -> None:
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def ok(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 " + status + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n" + headers + b"\r\n" + body
    )


class HttpClient:
    """One keep-alive connection of production's client; every answer is checked to be whole."""

    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port), timeout=10)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self, head_only: bool = False) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = 0 if head_only else int(line.split(b":")[1])
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return head + b"\r\n\r\n" + body

    def _more(self) -> None:
        data = self.sock.recv(1 << 16)
        if not data:
            raise AssertionError("production closed the connection")
        self._buffer += data

    def get(self, path: str = "/", headers: str = "") -> bytes:
        self.send(f"GET {path} HTTP/1.1\r\nHost: prod.example\r\n{headers}\r\n".encode())
        return self.receive()

    def close(self) -> None:
        self.sock.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was refused
            self.sock.close()


@contextlib.contextmanager
def namespaces(*names: str) -> Iterator[list[str]]:
    """Network namespaces with loopback up."""
    full = [f"sd{os.getpid() % 100000}{name}" for name in names]
    made = []
    try:
        for name in full:
            sh("ip", "netns", "add", name)
            made.append(name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        yield full
    finally:
        for name in made:
            sh("ip", "netns", "del", name, check=False)


def veth(left: str, left_name: str, left_address: str, right: str, right_name: str, right_address: str) -> None:
    """A cable between two namespaces."""
    sh("ip", "link", "add", left_name, "netns", left, "type", "veth", "peer", "name", right_name, "netns", right)
    for namespace, name, address in ((left, left_name, left_address), (right, right_name, right_address)):
        nodad = ["nodad"] if ":" in address else []
        sh("ip", "-n", namespace, "addr", "add", address, "dev", name, *nodad)
        sh("ip", "-n", namespace, "link", "set", name, "up")


@contextlib.contextmanager
def in_namespace(name: str) -> Iterator[None]:
    """Sockets made by this thread inside belong to the namespace."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if libc.setns(there, 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        libc.setns(here, 0x40000000)
        os.close(here)
        os.close(there)
