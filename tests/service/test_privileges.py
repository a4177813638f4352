"""The daemon without root: it loads, gives up what loading needed in every thread, and mirrors on both hooks."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from shadowd.capture.preflight import kernel_release
from shadowd.service.privileges import kept
from tests.faults.traffic import attached_to_the_host, programs_of
from tests.netns.lab import Daemon, HttpClient, Server, free_port, in_namespace, namespaces, running, veth, wait_for
from tests.service import unprivileged

pytestmark = pytest.mark.usefixtures("root_user")

NET_ADMIN = 1 << unprivileged.NAMES["net_admin"]


def allowed(*names: str) -> int:
    """The bitmap that a daemon started with these may hold once it is loaded."""
    return sum(1 << unprivileged.NAMES[name] for name in names) & kept(kernel_release())


def ask(daemon: Daemon, name: str, host: str, port: int, count: int) -> None:
    client = HttpClient(host, port)
    for number in range(count):
        client.get(f"/{number}")
    client.close()
    ledger = daemon.settled(name, lambda found: found["seen"] >= count)
    assert ledger["targets"][0]["mirrored"] == count, ledger


def check_sets(daemon: Daemon, expected: int) -> int:
    """Every thread has ``expected`` at most, and no way to more. Returns the number of threads."""
    threads = unprivileged.sets(daemon.pid)
    for held in threads:
        assert held["CapEff"] == held["CapPrm"] == expected, f"{held['CapEff']:#x}"
        assert held["CapInh"] == held["CapAmb"] == 0
        assert held["NoNewPrivs"] == 1
        assert held["Uid"] == pwd.getpwnam(unprivileged.USER).pw_uid
    return len(threads)


def test_both_hooks(tmp_path: Path) -> None:
    """Loopback by the socket hook and a cable by the tc hook, with threads of the store and the resolver running."""
    production, shadow = Server(), Server()
    daemon = unprivileged.daemon(tmp_path / "d", *unprivileged.SERVICE)
    try:
        daemon.start()
        check_sets(daemon, allowed(*unprivileged.SERVICE))
        daemon.add("socket", production.port, shadow.url)
        ask(daemon, "socket", production.host, production.port, 20)
        assert programs_of(daemon.pid) & attached_to_the_host()
        daemon.call("filter.rm", name="socket")
        daemon.add("tc", production.port, shadow.url, hook="tc:lo")  # attached long after loading
        assert any("lo" in hook for hook in daemon.call("status")["hooks"])
        ask(daemon, "tc", production.host, production.port, 20)
        assert check_sets(daemon, allowed(*unprivileged.SERVICE)) > 1, "trio's threads were to be looked at too"
        assert (tmp_path / "d/state/filters.json").stat().st_uid == pwd.getpwnam(unprivileged.USER).pw_uid
        ours = programs_of(daemon.pid)
    finally:
        log = daemon.stop()
    assert not ours & attached_to_the_host()
    assert "Traceback" not in log
    assert "stopped" in log
    production.close()
    shadow.close()


def test_a_cable(tmp_path: Path) -> None:
    """A veth that appears after the daemon has given up its rights."""
    with namespaces("a", "b") as (left, right):
        daemon = unprivileged.daemon(tmp_path / "d", *unprivileged.SERVICE, namespace=left)
        daemon.prefix = ("nsenter", f"--net=/run/netns/{left}", *daemon.prefix)
        daemon.namespace = None
        shadow_port = free_port()
        with in_namespace(left):
            shadow = Server("127.0.0.1", shadow_port)
        try:
            daemon.start()
            daemon.add("edge", 8080, shadow.url, hook="tc:cable*")
            veth(left, "cable0", "10.9.0.1/24", right, "far0", "10.9.0.2/24")
            wait_for("the cable is attached", lambda: any("cable0" in h for h in daemon.call("status")["hooks"]))
            with in_namespace(left):
                production = Server("10.9.0.1", 8080)
            with in_namespace(right):
                ask(daemon, "edge", "10.9.0.1", 8080, 20)
            check_sets(daemon, allowed(*unprivileged.SERVICE))
            production.close()
        finally:
            daemon.stop()
        shadow.close()


def refusal(folder: Path, *capabilities: str) -> str:
    made = unprivileged.daemon(folder, *capabilities)
    command = [*made.prefix, *made.program, "run", "--socket", str(made.socket), "--state-dir", str(folder / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("lacking", unprivileged.SERVICE)
def test_each_capability_is_needed(tmp_path: Path, lacking: str) -> None:
    said = refusal(tmp_path / "d", *(name for name in unprivileged.SERVICE if name != lacking))
    assert said.startswith(f"error: CAP_{lacking.upper()} is missing: ")
    assert len(said.splitlines()) == 1


def memory_seen(folder: Path, *capabilities: str) -> str:
    """What a verdict says of a shadow that is a process of root's: "seen", or why not."""
    production, shadow = Server(), Server()
    daemon = unprivileged.daemon(folder, *capabilities)

    def look() -> str:
        verdict = daemon.call("verdict", name="shop")
        told = [limit for limit in verdict["limits"] if limit.startswith("Memory")]
        return "seen" if any(judge["judge"] == "memory" for judge in verdict["judges"]) else "".join(told)

    try:
        daemon.start()
        daemon.add("shop", production.port, shadow.url)
        ask(daemon, "shop", production.host, production.port, 5)
        check_sets(daemon, allowed(*capabilities))
        return str(wait_for("processes were looked at", look))
    finally:
        daemon.stop()
        production.close()
        shadow.close()


def test_what_other_users_processes_take_is_told_or_allowed(tmp_path: Path) -> None:
    assert "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH" in memory_seen(tmp_path / "a", *unprivileged.SERVICE)
    assert memory_seen(tmp_path / "b", *unprivileged.SERVICE, "sys_ptrace", "dac_read_search") == "seen"


# --- root by hand -----------------------------------------------------------------------------------------------------


def test_root_stays_root_unless_told(tmp_path: Path) -> None:
    mine = unprivileged.sets(os.getpid())[0]
    with running(tmp_path / "kept") as daemon:
        assert {held["CapEff"] for held in unprivileged.sets(daemon.pid)} == {mine["CapEff"]}
    production, shadow = Server(), Server()
    with running(tmp_path / "least", "least_privilege = true\n") as daemon:
        expected = mine["CapEff"] & kept(kernel_release())
        daemon.add("shop", production.port, shadow.url)
        ask(daemon, "shop", production.host, production.port, 10)
        for held in unprivileged.sets(daemon.pid):
            assert held["CapEff"] == held["CapPrm"] == held["CapBnd"] == expected
            assert held["CapInh"] == held["CapAmb"] == 0
            assert held["NoNewPrivs"] == 1
    production.close()
    shadow.close()


def test_threads_are_not_forgotten() -> None:
    """A second thread would keep its capabilities: refused, not overlooked."""
    code = (
        "import threading; from shadowd.service.privileges import give_up; from shadowd.errors import PlatformError\n"
        "stop = threading.Event(); thread = threading.Thread(target=stop.wait); thread.start()\n"
        "try: give_up()\n"
        "except PlatformError as error: print(error)\n"
        "finally: stop.set()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "a thread runs already" in done.stdout


def test_the_kernel_decides_what_is_kept() -> None:
    bpf = 1 << unprivileged.NAMES["bpf"]
    assert kept((5, 18)) & bpf
    assert not kept((5, 19)) & bpf
    assert not kept((6, 1)) & bpf
    assert kept((6, 18)) & NET_ADMIN
