"""What else can go wrong around the daemon while production runs: disks, clocks, limits, and people who mean no good.

In each, production sees no error, the ledger balances, and what went wrong is told.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.control.client import Client
from shadowd.errors import ShadowdError
from tests.faults.test_shadow import listener, read_request
from tests.faults.traffic import Traffic, echo, production_under_load
from tests.netns.lab import (
    Daemon,
    HttpClient,
    Server,
    check_ledger,
    in_namespace,
    namespaces,
    ok,
    running,
    sh,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server(answer=echo)
    yield server
    server.close()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir(parents=True)
    sh("mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes=200,mode=700", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        sh("umount", "-l", str(folder))


def mirrored(daemon: Daemon, name: str) -> int:
    return int(daemon.ledger(name)["targets"][0]["mirrored"])


def goes_on(daemon: Daemon, name: str, traffic: Traffic) -> None:
    """Production is answered and mirrored from here on, and the account is right."""
    before = mirrored(daemon, name)
    traffic.more(30)
    wait_for("more is mirrored", lambda: mirrored(daemon, name) > before + 20)
    check_ledger(daemon.ledger(name))


# --- disks ------------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_stops_storing_and_nothing_else(tmp_path: Path, shadow: Server) -> None:
    with (
        small_disk(tmp_path / "d" / "state", "1m") as state,
        running(tmp_path / "d") as daemon,
        production_under_load() as (production, traffic),
    ):
        daemon.add("shop", production.port, shadow.url)
        goes_on(daemon, "shop", traffic)
        with contextlib.suppress(OSError), open(state / "ballast", "wb") as heavy:
            while True:
                heavy.write(bytes(4096))
                heavy.flush()
        problem = wait_for(
            "the full disk is told",
            lambda: [line for line in daemon.call("status")["problems"] if "full" in line or "space" in line],
        )
        assert " — " in problem[0]  # and what to do
        spare, added, refusal = 0, ["shop"], ""
        while not refusal:  # the store gives up a file of its own now and then, and then there is room for one
            assert len(added) < 50
            with contextlib.suppress(OSError):  # not a file more
                while True:
                    (state / f"ballast{(spare := spare + 1)}").touch()
            try:
                daemon.add(f"another{len(added)}", production.port, shadow.url, paused=True)
                added.append(f"another{len(added)}")
            except ShadowdError as error:
                refusal = str(error)
        assert "cannot be written" in refusal
        assert sorted(view["name"] for view in daemon.call("filter.ls")) == sorted(added)  # nothing half-done
        goes_on(daemon, "shop", traffic)
        for ballast in state.glob("ballast*"):
            ballast.unlink()
        wait_for(
            "it stores again",
            lambda: not [line for line in daemon.call("status")["problems"] if "full" in line or "space" in line],
            60,
        )


def test_a_corrupt_store_is_set_aside_or_told_and_mirroring_goes_on(tmp_path: Path, shadow: Server) -> None:
    state = tmp_path / "d" / "state"
    state.mkdir(parents=True)
    (state / "shadowd.db").write_bytes(b"SQLite format 3\0" + os.urandom(8000))
    with running(tmp_path / "d") as daemon, production_under_load() as (production, traffic):
        daemon.add("shop", production.port, shadow.url)
        goes_on(daemon, "shop", traffic)
        assert any("shadowd.db" in line for line in daemon.call("status")["problems"]), daemon.call("status")
        assert daemon.call("verdict", name="shop")["verdict"] == "inconclusive"


# --- clocks -----------------------------------------------------------------------------------------------------------


#: The wall clock of a process moves by what a file says. (libfaketime breaks sleeping until a monotonic moment.)
JUMPING = """
import time
_time, _time_ns = time.time, time.time_ns
def _offset():
    with open({path!r}) as file:
        return int(file.read() or 0)
time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + _offset() * 10**9
"""


def test_a_wall_clock_that_jumps_changes_no_account(
    tmp_path: Path, shadow: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(JUMPING.format(path=str(offset)))
    daemon = Daemon(tmp_path / "d")
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
        daemon.start()
    try:
        with production_under_load() as (production, traffic):
            daemon.add("shop", production.port, shadow.url)
            goes_on(daemon, "shop", traffic)
            began = daemon.call("verdict", name="shop")["run"]["started"]
            for days in (-40, 400, 0):
                offset.write_text(str(days * 86400))
                goes_on(daemon, "shop", traffic)
                assert daemon.call("verdict", name="shop")["seconds"] >= 0
                assert daemon.call("status")["uptime_s"] < 3600
            daemon.call("run.start", name="shop", label="later")
            assert abs(daemon.call("verdict", name="shop")["run"]["started"] - began) < 3600
        daemon.settled("shop")
    finally:
        log = daemon.stop()
    assert "Traceback" not in log


# --- control clients --------------------------------------------------------------------------------------------------


def test_control_clients_that_flood_and_send_nonsense(tmp_path: Path, shadow: Server) -> None:
    over = threading.Event()

    def pester(kind: int) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(daemon.socket))
                if kind == 0:
                    client.sendall(os.urandom(2000))
                elif kind == 1:
                    client.sendall(struct.pack(">I", 0xFFFFFFFF))
                elif kind == 2:
                    client.sendall(struct.pack(">I", 100) + b"\x81")  # and then nothing for a while
                    time.sleep(0.05)
                else:
                    client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
                client.recv(100)

    with running(tmp_path / "d") as daemon, production_under_load() as (production, traffic):
        daemon.add("shop", production.port, shadow.url)
        pests = [threading.Thread(target=pester, args=(index % 4,), daemon=True) for index in range(12)]
        for pest in pests:
            pest.start()
        try:
            goes_on(daemon, "shop", traffic)
            with contextlib.closing(Client(daemon.socket)) as other:
                assert wait_for("a well-behaved client gets its answer", lambda: _status(other))
        finally:
            over.set()
            for pest in pests:
                pest.join(20)
        goes_on(daemon, "shop", traffic)


def _status(client: Client) -> object:
    try:
        return client.call("status")
    except ShadowdError:
        return None


# --- limits -----------------------------------------------------------------------------------------------------------


def unsent(account: dict[str, Any]) -> dict[str, int]:
    return {**account["failed"], **account["shed"]}


def test_file_descriptors_run_out(tmp_path: Path) -> None:
    """Connections that cannot be made are our own limit, no failure of the shadow; they are made when there is room."""
    hang = threading.Event()

    def patient(connection: socket.socket, number: int) -> None:
        while True:
            path = read_request(connection).split(b" ")[1]
            hang.wait(20)
            connection.sendall(ok(path))

    with running(tmp_path / "d") as daemon, listener(patient) as slow, production_under_load() as (production, traffic):
        daemon.add("shop", production.port, slow.url, timeout="30s")
        soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        assert soft == hard, "it takes what it may have"
        for pid in daemon.pids:  # that of the daemon last
            used = len(os.listdir(f"/proc/{pid}/fd"))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, hard))
        clients = [HttpClient("127.0.0.1", production.port) for _ in range(40)]
        for number, client in enumerate(clients):
            assert client.get(f"/{number}").endswith(f"/{number}".encode())
        wait_for(
            "requests without a descriptor are accounted for",
            lambda: sum(unsent(daemon.ledger("shop")["targets"][0]).values()) > 10,
        )
        check_ledger(daemon.ledger("shop"))
        assert set(unsent(daemon.ledger("shop")["targets"][0])) == {"own_limit"}
        free = used + 8 - len(os.listdir(f"/proc/{daemon.pid}/fd"))
        callers = [socket.socket(socket.AF_UNIX) for _ in range(free + 3)]  # the accept loop meets the limit as well
        for caller in callers:
            caller.connect(str(daemon.socket))
        wait_for("the accept loop tells of it", lambda: "accept returned EMFILE" in daemon.log.read_text())
        time.sleep(1.0)
        assert daemon.log.read_text().count("accept returned EMFILE") == 1, "ten tries a second are one line"
        for caller in callers:
            caller.close()
        for pid in daemon.pids:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        hang.set()
        for client in clients:
            client.close()
        goes_on(daemon, "shop", traffic)


def test_an_answer_of_ten_gigabytes(tmp_path: Path) -> None:
    """It is read no further than the limit, and costs that request only."""

    def endless(connection: socket.socket, number: int) -> None:
        while True:
            path = read_request(connection).split(b" ")[1]
            if b"/0/" not in path:
                connection.sendall(ok(path))
                continue
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
            piece = bytes(1 << 20)
            for _ in range(10240):
                connection.sendall(piece)

    small = 'memory_max = "64MB"\n'  # many such answers at once are within it, whatever the host's pace
    with (
        running(tmp_path / "d", small) as daemon,
        listener(endless) as huge,
        production_under_load() as (production, traffic),
    ):
        daemon.add("shop", production.port, huge.url)
        traffic.more(100)
        wait_for(
            "the endless answers are refused",
            lambda: daemon.ledger("shop")["targets"][0]["failed"].get("malformed"),
            60,
        )
        goes_on(daemon, "shop", traffic)
        assert set(daemon.ledger("shop")["targets"][0]["failed"]) <= {"malformed", "reset", "timeout"}
        memory = Path(f"/proc/{daemon.pid}/status").read_text()
        anonymous = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("RssAnon"))
        assert anonymous < 200 << 10  # KB


# --- clients of production --------------------------------------------------------------------------------------------


def test_a_client_that_sends_a_byte_at_a_time(tmp_path: Path, shadow: Server) -> None:
    with running(tmp_path / "d") as daemon, production_under_load() as (production, traffic):
        daemon.add("shop", production.port, shadow.url)
        request = b"GET /slowly HTTP/1.1\r\nHost: prod.example\r\n\r\n"
        with socket.create_connection(("127.0.0.1", production.port), timeout=20) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in request:
                client.sendall(bytes([byte]))
                time.sleep(0.03)
            assert client.recv(1000).endswith(b"/slowly")
        wait_for("it arrived", lambda: any(sent.startswith(b"GET /slowly HTTP/1.1\r\n") for sent in shadow.requests))
        goes_on(daemon, "shop", traffic)


def _syn(source: bytes, destination: bytes, port: int, to: int) -> bytes:
    """An IPv4 packet with a SYN; the kernel fills the IP checksum in, TCP's is made here (RFC 9293 §3.1)."""
    tcp = struct.pack(">HHIIBBHHH", port, to, 1000 + port, 0, 5 << 4, 2, 64240, 0, 0)
    pseudo = source + destination + struct.pack(">BBH", 0, 6, len(tcp)) + tcp
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    tcp = tcp[:16] + struct.pack(">H", ~total & 0xFFFF) + tcp[18:]
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source, destination) + tcp


def test_a_flood_of_half_open_connections(tmp_path: Path) -> None:
    """20,000 SYNs whose answers go nowhere, more than the daemon follows: real clients are mirrored all the same."""
    with namespaces("flood") as (space,):
        sh("ip", "-n", space, "link", "add", "nowhere", "type", "veth", "peer", "name", "void")
        sh("ip", "-n", space, "addr", "add", "10.98.0.1/24", "dev", "nowhere")
        for end in ("nowhere", "void"):
            sh("ip", "-n", space, "link", "set", end, "up")
        sh("ip", "-n", space, "neigh", "add", "10.98.0.9", "lladdr", "02:00:00:00:00:01", "dev", "nowhere")
        sh("ip", "-n", space, "route", "add", "10.99.0.0/16", "via", "10.98.0.9", "dev", "nowhere")
        for name in ("all", "lo", "nowhere"):
            sh("ip", "netns", "exec", space, "sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
        with in_namespace(space):
            production, shadow = Server("10.98.0.1", 8080, answer=echo), Server("10.98.0.1", answer=echo)
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with running(tmp_path / "d", "max_flows = 2000\n", namespace=space) as daemon:
            daemon.add("shop", 8080, shadow.url)
            with in_namespace(space):
                client = HttpClient("10.98.0.1", 8080)
            assert client.get("/before").endswith(b"/before")
            destination = socket.inet_aton("10.98.0.1")
            for number in range(20_000):
                source = socket.inet_aton(f"10.99.{number % 250}.{number // 250 % 250 + 1}")
                with contextlib.suppress(OSError):
                    raw.sendto(_syn(source, destination, 1024 + number % 60_000, 8080), ("10.98.0.1", 0))
                if number % 1000 == 0:
                    assert client.get(f"/{number}").endswith(f"/{number}".encode())
            assert daemon.ledger("shop")["kernel"]["segments"] > 20_000
            assert daemon.call("status")["flows"] <= 2000
            for number in range(20):
                with in_namespace(space):
                    fresh = HttpClient("10.98.0.1", 8080)
                assert fresh.get(f"/fresh/{number}").endswith(f"/fresh/{number}".encode())
                fresh.close()
            client.close()
            ledger = daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] >= 21)
            assert set(ledger["lost"]) <= {"flow_limit"}
        raw.close()
        production.close()
        shadow.close()


# --- a second daemon --------------------------------------------------------------------------------------------------


def test_a_second_daemon_by_mistake_disturbs_nothing(tmp_path: Path, shadow: Server) -> None:
    with running(tmp_path / "d") as daemon, production_under_load() as (production, traffic):
        daemon.add("shop", production.port, shadow.url)
        goes_on(daemon, "shop", traffic)

        command = [sys.executable, "-m", "shadowd.cli.shadowd", "run", "--socket", str(daemon.socket), "--state-dir",
                   str(tmp_path / "other"), "--http", ""]  # fmt: skip
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert second.returncode == 1
        assert str(daemon.pid) in second.stderr
        assert "Traceback" not in second.stderr
        goes_on(daemon, "shop", traffic)
