"""The process behind a port: found with its workers, measured, and told apart from its successor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadowd.capture import processes
from shadowd.capture.processes import ProcessProbe, ProcessSample, restarted
from tests.ports import free_port

# Listens, forks so many workers that share the socket, keeps a child that does not, and does as it is told.
SERVER = """
import os, socket, subprocess, sys, time
port, workers, helper, family = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
sock = socket.socket(socket.AF_INET6 if ":" in family else socket.AF_INET)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind((family, port))
sock.listen()
for _ in range(workers):
    if os.fork() == 0:
        while True:
            time.sleep(60)
if helper:
    subprocess.Popen(["sleep", "60"])
print("ready", flush=True)
for line in sys.stdin:
    word, _, value = line.strip().partition(" ")
    if word == "grow":
        ballast = bytearray(os.urandom(1)) * int(value)
    elif word == "burn":
        end = time.process_time() + float(value)
        while time.process_time() < end:
            pass
    elif word == "child":
        subprocess.run([sys.executable, "-c", f"import time\\nwhile time.process_time() < {value}: pass"])
    elif word == "fork" and os.fork() == 0:
        while True:
            time.sleep(60)
    elif word == "helper":
        subprocess.Popen(["sleep", "60"])
    print("done", flush=True)
"""


class Server:
    """The script above in a process group of its own."""

    def __init__(self, port: int, workers: int = 0, helper: bool = False, address: str = "127.0.0.1") -> None:
        self.port = port
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(port), str(workers), str(int(helper)), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._answer("ready")

    def _answer(self, expected: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == expected

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._answer("done")

    def close(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)  # its own group: what it started
        except ProcessLookupError:
            return
        finally:
            self._process.wait(20)
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                stream.close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.close()


def sampled(probe: ProcessProbe) -> ProcessSample:
    sample = probe.sample()
    assert sample is not None, probe.problem
    assert probe.problem == ""
    return sample


def test_memory_and_cpu_of_a_single_process(servers: list[Server]) -> None:
    server = Server(free_port())
    servers.append(server)
    probe = ProcessProbe(server.port, "127.0.0.1")
    before = sampled(probe)
    assert before.pids == (server.pid,)
    assert before.main == server.pid
    assert abs(before.started - time.time()) < 60
    server.tell(f"grow {40 << 20}")
    server.tell("burn 0.3")
    after = sampled(probe)
    assert after.rss - before.rss == pytest.approx(40 << 20, rel=0.05)
    assert 0.25 < after.cpu_seconds - before.cpu_seconds < 0.6
    assert restarted(before, after) == ""


def test_cpu_of_children_that_ended_counts(servers: list[Server]) -> None:
    server = Server(free_port())
    servers.append(server)
    probe = ProcessProbe(server.port)
    before = sampled(probe)
    server.tell("child 0.3")
    after = sampled(probe)
    assert after.cpu_seconds - before.cpu_seconds > 0.25
    assert restarted(before, after) == ""


def test_forked_workers_and_children_are_found_with_it(servers: list[Server]) -> None:
    alone = Server(free_port())
    many = Server(free_port(), workers=3, helper=True)
    servers += [alone, many]
    sample = sampled(ProcessProbe(many.port))
    assert len(sample.pids) == 5
    assert sample.pids == tuple(sorted(sample.pids))
    assert sample.main == many.pid
    assert alone.pid not in sample.pids
    assert len(sample.identity) == 4, "a helper is no worker"
    assert sample.rss > sampled(ProcessProbe(alone.port)).rss


def test_a_restart_is_told(servers: list[Server]) -> None:
    port = free_port()
    servers.append(Server(port))
    probe = ProcessProbe(port)
    before = sampled(probe)
    servers[0].close()
    assert probe.sample() is None
    assert f"nothing listens on port {port}" in probe.problem
    servers.append(Server(port))
    after = sampled(probe)
    assert restarted(before, after) == f"restarted: process {before.main} became {after.main}"


def test_a_successor_that_is_there_before_the_next_sample_is_told(servers: list[Server]) -> None:
    port = free_port()
    servers.append(Server(port))
    probe = ProcessProbe(port)
    before = sampled(probe)
    servers[0].close()
    servers.append(Server(port))
    assert restarted(before, sampled(probe)).startswith("restarted: ")


def test_a_worker_that_is_replaced_is_told_and_a_helper_is_not(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(free_port(), workers=2)
    servers.append(server)
    monkeypatch.setattr(processes, "REDISCOVER", 1)
    probe = ProcessProbe(server.port)
    before = sampled(probe)
    server.tell("helper")
    helped = sampled(probe)
    assert len(helped.pids) == 4
    assert restarted(before, helped) == ""
    os.kill(next(pid for pid in before.pids if pid != server.pid), signal.SIGKILL)
    server.tell("fork")
    after = sampled(probe)
    assert restarted(before, after) == "workers changed: 1 ended, 1 began, 3 run now"


def test_a_kill_for_lack_of_memory_is_told_from_the_kernels_count() -> None:
    def sample(main: int, kills: int) -> ProcessSample:
        return ProcessSample((main,), 1, 1.0, 1.0, main, frozenset({(main, 1.0)}), kills)

    assert restarted(sample(1, 5), sample(2, 6)).endswith("after the kernel killed a process for lack of memory")
    assert "lack of memory" not in restarted(sample(1, 5), sample(2, 5))
    assert restarted(sample(1, 5), sample(1, 6)) == ""
    with Path("/proc/vmstat").open() as file:
        expected = [int(line.split()[1]) for line in file if line.startswith("oom_kill ")]
    assert processes._oom_kills() == (expected[0] if expected else 0)


def test_the_address_tells_two_servers_of_one_port_apart(servers: list[Server]) -> None:
    port = free_port()
    servers += [Server(port, address="127.0.0.2"), Server(port, address="127.0.0.3")]
    assert sampled(ProcessProbe(port, "127.0.0.3")).pids == (servers[1].pid,)
    assert len(sampled(ProcessProbe(port)).pids) == 2
    elsewhere = ProcessProbe(port, "127.0.0.4")
    assert elsewhere.sample() is None
    assert "nothing listens" in elsewhere.problem


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", None])
def test_a_wildcard_gets_the_connections_of_every_own_address(servers: list[Server], address: str | None) -> None:
    server = Server(free_port(), address="::" if address == "::1" else "0.0.0.0")
    servers.append(server)
    assert sampled(ProcessProbe(server.port, address)).pids == (server.pid,)


def test_an_address_of_another_host_is_not_this_ones_wildcard(servers: list[Server]) -> None:
    server = Server(free_port(), address="0.0.0.0")
    servers.append(server)
    probe = ProcessProbe(server.port, "192.0.2.7")
    assert probe.sample() is None
    assert "nothing listens" in probe.problem
    named = ProcessProbe(server.port, "shadow.example")
    assert named.sample() is None
    assert "no numeric address" in named.problem


def test_a_process_that_cannot_be_looked_into_is_told(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(free_port())
    servers.append(server)
    scandir = os.scandir

    def refused(path: str) -> object:
        if path == f"/proc/{server.pid}/fd":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    probe = ProcessProbe(server.port)
    assert probe.sample() is None
    assert "CAP_SYS_PTRACE" in probe.problem
