"""The daemon and its service manager: READY, STATUS, RELOADING, STOPPING, and a watchdog that the pump feeds."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from shadowd.capture import bpf
from shadowd.errors import ConfigError
from shadowd.service.notify import STATUS_LIMIT, Notifier, keep_told
from tests.netns.lab import Daemon, HttpClient, Server, free_port, in_namespace, namespaces, running, sh
from tests.service.manager import Manager

BPF_PROG_LOAD, BPF_PROG_TYPE_SCHED_CLS = 5, 3  # include/uapi/linux/bpf.h
WATCHDOG = 1.5  # seconds: three beats of half a second


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    listening = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG * 1e6)))
    yield listening
    listening.close()


# --- the protocol -----------------------------------------------------------------------------------------------------


def test_both_kinds_of_address(tmp_path: Path) -> None:
    for address in (str(tmp_path / "n"), f"@shadowd-test-{os.getpid()}"):
        manager = Manager(address)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
        notifier.ready()
        notifier.status("a line\nREADY=0 " + "é" * 1000)
        assert manager.wait("READY") == {"READY": "1"}
        told = manager.wait("STATUS")
        assert told.keys() == {"STATUS"}
        assert told["STATUS"].startswith("a line READY=0 éé")
        assert len(told["STATUS"].encode()) <= STATUS_LIMIT
        notifier.close()
        manager.close()


@pytest.mark.parametrize(
    ("environment", "notifies", "watchdog"),
    [
        ({}, False, 0.0),
        ({"NOTIFY_SOCKET": ""}, False, 0.0),
        ({"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "1000000"}, False, 0.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000"}, True, 3.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, True, 3.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, True, 0.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "-3"}, True, 0.0),
        ({"WATCHDOG_USEC": "3000000"}, False, 0.0),
    ],
)
def test_the_environment(environment: dict[str, str], notifies: bool, watchdog: float) -> None:
    notifier = Notifier.from_environment(environment)
    assert (bool(notifier), notifier.watchdog) == (notifies, watchdog)
    assert environment == {}, "children do not inherit the manager's variables"
    notifier.close()


def test_nobody_listens(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nothing"))
    notifier.ready()
    assert notifier.is_ready
    notifier.close()
    deaf = Manager(tmp_path / "deaf")
    notifier = Notifier(deaf.address)
    for _ in range(10_000):  # far more than a queue holds: a send that waited would never come back
        notifier.send("STATUS=x")
    notifier.close()
    queued = deaf.read()
    assert 0 < len(queued) < 10_000
    assert all(message == {"STATUS": "x"} for message in queued)
    deaf.close()


def test_reload_is_told_only_after_ready(tmp_path: Path) -> None:
    manager = Manager(tmp_path / "n")
    notifier = Notifier(manager.address)
    notifier.reloading()
    notifier.reloaded()
    assert manager.read() == []
    notifier.ready()
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    notifier.reloaded()
    ready, reloading, again = manager.read()
    assert (ready, again) == ({"READY": "1"}, {"READY": "1"})
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    notifier.close()
    manager.close()


def test_the_watchdog_follows_the_pump(tmp_path: Path) -> None:
    """By trio's own clock: turns move, stand still, and move again."""
    manager = Manager(tmp_path / "n")
    turns, reason, fed_before = [0], ["tc:eth0: no"], [0]

    def fed() -> int:
        manager.read()
        counted, fed_before[0] = fed_before[0], len([m for m in manager.messages if "WATCHDOG" in m])
        return fed_before[0] - counted

    async def main() -> None:
        notifier = Notifier(manager.address, watchdog=9.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_told, notifier, lambda: reason[0], lambda: "fine", lambda: turns[0])
            await trio.sleep(1)
            assert fed() == 1
            assert manager.messages[0] == {"STATUS": "not ready: tc:eth0: no"}
            await trio.sleep(30)
            assert fed() == 0, "the pump did not turn"
            assert not notifier.is_ready
            reason[0] = ""
            for _ in range(30):
                turns[0] += 1
                await trio.sleep(1)
                manager.read()  # the kernel queues ten datagrams
            assert 9 <= fed() <= 11
            assert [message for message in manager.messages if "READY" in message] == [{"READY": "1"}]
            assert 5 <= len([message for message in manager.messages if message.get("STATUS") == "fine"]) <= 7
            nursery.cancel_scope.cancel()
        notifier.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))
    manager.close()


# --- the daemon -------------------------------------------------------------------------------------------------------


def beats(manager: Manager, seconds: float) -> int:
    manager.read()
    time.sleep(seconds)
    return len([message for message in manager.read() if "WATCHDOG" in message])


@pytest.mark.usefixtures("root_user")
def test_a_life(tmp_path: Path, manager: Manager) -> None:
    production, shadow = Server(), Server()
    with running(tmp_path / "d") as daemon:
        manager.wait("READY")
        assert any("loading" in message.get("STATUS", "") for message in manager.messages)
        manager.wait("STATUS", "idle: no filter is active")
        manager.wait("WATCHDOG")
        daemon.add("shop", production.port, shadow.url)
        manager.wait("STATUS", "1 filter on socket; 0/s seen")
        client = HttpClient(production.host, production.port)
        for _ in range(50):
            client.get()
        client.close()
        daemon.settled("shop", lambda ledger: ledger["seen"] == 50)
        told = manager.wait("STATUS", "/s mirrored")
        assert "problem" not in told["STATUS"]
        daemon.call("reload")
        manager.wait("RELOADING", "1")
        manager.wait("READY")
        os.kill(daemon.pid, signal.SIGHUP)
        manager.wait("RELOADING", "1")
        manager.wait("READY")
        daemon.config.write_text("filters = 3\n")
        with pytest.raises(ConfigError):
            daemon.call("reload")
        manager.wait("RELOADING", "1")
        manager.wait("READY")  # the old configuration is in force: the manager must not wait for another
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            assert beats(manager, 0.5) <= 1  # one may have been under way
            assert beats(manager, 2 * WATCHDOG) == 0
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        manager.wait("WATCHDOG")
    manager.wait("STOPPING")
    production.close()
    shadow.close()


STALLED = """
import trio
from shadowd.cli.shadowd import main
from shadowd.worker.pump import Pump

run = Pump.run

async def run_for_a_while(self):
    with trio.move_on_after(3):
        await run(self)
    await trio.sleep_forever()

Pump.run = run_for_a_while
main()
"""


@pytest.mark.usefixtures("root_user")
def test_a_pump_that_stands_still_is_not_excused_by_the_rest(tmp_path: Path, manager: Manager) -> None:
    daemon = Daemon(tmp_path / "d")
    daemon.program = (sys.executable, "-c", STALLED)
    try:
        daemon.start()
        manager.wait("WATCHDOG")
        deadline = time.monotonic() + 60
        while beats(manager, 2 * WATCHDOG):
            assert time.monotonic() < deadline, "the watchdog is fed without the pump"
        assert beats(manager, 2 * WATCHDOG) == 0
        turns = daemon.call("status")["pump"]["turns"]
        assert turns > 0
        assert daemon.call("status")["pump"]["turns"] == turns, "everything but the pump goes on"
    finally:
        daemon.stop(signal.SIGKILL)


def program_that_does_nothing() -> int:
    """A tc program ``return -1`` of its own (an interface takes each program once); BPF_PROG_LOAD of bpf(2)."""
    code = ctypes.create_string_buffer(struct.pack("=BBhi", 0xB7, 0, 0, -1) + struct.pack("=BBhi", 0x95, 0, 0, 0), 16)
    licence = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("=IIQQ", BPF_PROG_TYPE_SCHED_CLS, 2, ctypes.addressof(code), ctypes.addressof(licence))
    return bpf.bpf(BPF_PROG_LOAD, attr, 48)[0]


@pytest.mark.usefixtures("root_user")
def test_ready_is_told_when_the_doors_are_open(tmp_path: Path, manager: Manager) -> None:
    ports = [free_port(), free_port()]
    doors = f'http = "127.0.0.1:{ports[0]}"\nmonitor = "127.0.0.1:{ports[1]}"\n'
    daemon = Daemon(tmp_path / "d", doors)
    opened: list[int] = []

    def connect() -> None:
        manager.wait("READY")
        for port in ports:
            with socket.create_connection(("127.0.0.1", port), 10):
                opened.append(port)

    looking = threading.Thread(target=connect)
    looking.start()
    try:
        daemon.start()
        looking.join(60)
        assert opened == ports
    finally:
        daemon.stop()


@pytest.mark.usefixtures("root_user")
def test_a_door_that_cannot_be_opened_keeps_nobody_waiting(tmp_path: Path, manager: Manager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with running(tmp_path / "d", f'http = "{address}"\n') as daemon:
            manager.wait("READY")
            assert address in " ".join(daemon.call("status")["problems"])


@pytest.mark.usefixtures("root_user")
def test_ready_waits_for_what_the_configuration_asks_for(tmp_path: Path, manager: Manager) -> None:
    """The kernel takes 64 programs a side: the last place is taken by another until it goes."""
    config = '[[filters]]\nname = "edge"\nhook = "tc:edge*"\nports = [80]\ntargets = [{ url = "http://127.0.0.1:1" }]\n'
    with namespaces("edge") as (namespace,):
        sh("ip", "-n", namespace, "link", "add", "edge0", "type", "veth", "peer", "name", "peer0")
        sh("ip", "-n", namespace, "link", "set", "edge0", "up")
        others, links = [], []
        with in_namespace(namespace):
            index = socket.if_nametoindex("edge0")
            while True:
                others.append(program_that_does_nothing())
                try:
                    links.append(bpf.link_tcx(others[-1], index, False))
                except OSError:
                    break
        assert len(links) > 10
        try:
            with running(tmp_path / "d", config, namespace) as daemon:
                told = manager.wait("STATUS", "not ready")
                assert "edge0" in told["STATUS"]
                assert not any("READY" in message for message in manager.messages)
                os.close(links.pop())
                manager.wait("READY")
                assert "tcx:edge0" in daemon.call("status")["hooks"]
                assert daemon.call("status")["problems"] == []
        finally:
            for descriptor in (*others, *links):
                os.close(descriptor)
