"""The daemon dies, stalls, starts again, or may not start at all: production notices nothing, and people are told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from shadowd.capture import attach, bpf
from shadowd.capture.attach import InterfaceHook, list_interfaces, remove_classifiers
from shadowd.capture.preflight import find_bcc_python
from shadowd.errors import PlatformError
from tests.conftest import ROOT, need
from tests.faults.traffic import attached_to_the_host, production_under_load, programs_of
from tests.netns.lab import (
    Daemon,
    HttpClient,
    Server,
    free_port,
    in_namespace,
    namespaces,
    ok,
    running,
    sh,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("root_user")

DEAD_MAN = 1.0  # seconds, the shortest allowed: SIGSTOP must be waited out


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), f"dead_man_seconds = {DEAD_MAN}\n") as started:
        yield started


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def mirrored(daemon: Daemon, name: str) -> int:
    return int(daemon.ledger(name)["targets"][0]["mirrored"])


def wait_mirrored(daemon: Daemon, name: str, more: int) -> None:
    """Until ``more`` further requests have been mirrored."""
    target = mirrored(daemon, name) + more
    wait_for(f"{more} more requests are mirrored", lambda: mirrored(daemon, name) >= target)


def stop_and_expect(daemon: Daemon, code: int, kind: int = signal.SIGTERM) -> str:
    log = daemon.stop(kind)
    assert daemon.process is not None
    assert daemon.process.returncode == code, log[-2000:]
    daemon.client.close()
    return log


def hang_up(daemon: Daemon, word: str) -> str:
    """SIGHUP, and the log once it holds ``word``."""
    before = daemon.log.stat().st_size
    os.kill(daemon.pid, signal.SIGHUP)
    return str(wait_for(f"the log says {word}", lambda: _if_in(word, logged(daemon, before))))


def logged(daemon: Daemon, after: int) -> str:
    """The log behind so many bytes."""
    return daemon.log.read_bytes()[after:].decode()


def _if_in(word: str, text: str) -> str:
    return text if word in text else ""


def test_kill_9_under_load(daemon: Daemon, shadow: Server) -> None:
    with production_under_load() as (production, traffic):
        daemon.add("killed", production.port, shadow.url)
        wait_mirrored(daemon, "killed", 30)
        ours = programs_of(daemon.pid)
        assert len(ours & attached_to_the_host()) == 2
        stop_and_expect(daemon, -signal.SIGKILL, signal.SIGKILL)
        wait_for("nothing of ours stays attached", lambda: not ours & attached_to_the_host())
        traffic.more(50)
        # nobody tidied up: the socket and the lock's file are still there, and a new daemon starts at once
        assert daemon.socket.exists()
        daemon.start()
        (view,) = daemon.call("filter.ls")
        assert (view["name"], view["origin"]) == ("killed", "control")
        wait_mirrored(daemon, "killed", 30)
    daemon.settled("killed")
    daemon.call("filter.rm", name="killed")


def test_sigstop_under_load_trips_the_dead_man_switch(daemon: Daemon, shadow: Server) -> None:
    with production_under_load() as (production, traffic):
        daemon.add("stalled", production.port, shadow.url)
        wait_mirrored(daemon, "stalled", 30)
        dead = daemon.ledger("stalled")["kernel"]["dead"]
        daemon.halt()
        time.sleep(2 * DEAD_MAN)  # the switch is a time in the kernel: nothing else tells that it is past
        traffic.more(60)
        daemon.go_on()
        wait_mirrored(daemon, "stalled", 30)
        # 60 requests and their answers met the switch, each at least one segment
        assert daemon.ledger("stalled")["kernel"]["dead"] >= dead + 60
    ledger = daemon.settled("stalled")
    # what was not copied is a hole on every connection: counted, never guessed
    assert ledger["lost"].get("gap", 0) >= 1
    assert all(request.startswith(b"GET /") and request.count(b"GET /") == 1 for request in shadow.requests)
    daemon.call("filter.rm", name="stalled")


def test_sigterm_drains_and_leaves_nothing_then_filters_come_back(daemon: Daemon) -> None:
    release, finished = threading.Event(), threading.Event()

    def slowly(number: int, head: bytes, body: bytes) -> bytes:
        release.wait(20)
        finished.set()
        return ok(b"late")

    shadow, production = Server(answer=slowly), Server()
    daemon.add("kept", production.port, shadow.url, methods=["GET", "POST"], set_header=["X-Env: shadow"])
    daemon.add("dropped", production.port, shadow.url)
    daemon.call("filter.rm", name="dropped")
    client = HttpClient("127.0.0.1", production.port)
    client.get("/in-flight")
    wait_for("the request is in flight", lambda: shadow.requests)
    ours, before = programs_of(daemon.pid), daemon.log.stat().st_size
    assert ours & attached_to_the_host()
    os.kill(daemon.pid, signal.SIGTERM)
    wait_for("it drains", lambda: "stopping: signal=SIGTERM" in logged(daemon, before))
    wait_for("it is detached before the end", lambda: not ours & attached_to_the_host())
    assert daemon.process is not None
    assert daemon.process.poll() is None  # it waits for the answer
    client.get("/no-longer-ours")
    release.set()
    assert daemon.process.wait(20) == 0
    daemon.client.close()
    assert finished.is_set()
    assert len(shadow.requests) == 1
    assert not daemon.socket.exists()

    daemon.start()
    (view,) = daemon.call("filter.ls")
    assert (view["name"], view["origin"]) == ("kept", "control")
    assert (view["spec"]["methods"], view["spec"]["set_header"]) == (["GET", "POST"], ["X-Env: shadow"])
    fresh = HttpClient("127.0.0.1", production.port)
    fresh.get("/after")
    ledger = daemon.settled("kept", lambda found: found["targets"][0]["mirrored"] == 1)
    assert ledger["seen"] == 1
    assert b"X-Env: shadow" in shadow.requests[-1]
    daemon.call("filter.rm", name="kept")
    production.close()
    shadow.close()


def test_a_second_signal_does_not_wait_and_still_cleans_up(daemon: Daemon) -> None:
    release = threading.Event()

    def stuck(number: int, head: bytes, body: bytes) -> bytes:
        release.wait(20)
        return ok(b"late")

    shadow, production = Server(answer=stuck), Server()
    daemon.add("stuck", production.port, shadow.url)
    HttpClient("127.0.0.1", production.port).get("/in-flight")
    wait_for("the request is in flight", lambda: shadow.requests)
    ours, before, begun = programs_of(daemon.pid), daemon.log.stat().st_size, time.monotonic()
    os.kill(daemon.pid, signal.SIGTERM)
    wait_for("it drains", lambda: "stopping: signal=SIGTERM" in logged(daemon, before))
    for _ in range(5):  # impatient hands: each may meet another step of the end
        try:
            os.kill(daemon.pid, signal.SIGINT)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    assert daemon.process is not None
    assert daemon.process.wait(20) == 0
    assert time.monotonic() - begun < 4.5, "DRAIN_SECONDS were waited for"
    assert not ours & attached_to_the_host()
    assert not daemon.socket.exists()
    release.set()
    daemon.client.close()
    daemon.start()
    daemon.call("filter.rm", name="stuck")
    production.close()
    shadow.close()


def test_a_corrupt_state_file_is_set_aside(daemon: Daemon, shadow: Server) -> None:
    stop_and_expect(daemon, 0)
    state = daemon.folder / "state" / "filters.json"
    state.write_bytes(b'{"version": 1, "filters": [{"na')
    daemon.start()
    assert daemon.call("filter.ls") == []
    assert (state.with_name("filters.json.corrupt")).read_bytes() == b'{"version": 1, "filters": [{"na'
    assert "set aside" in " ".join(daemon.call("status")["problems"])
    assert "not JSON" in daemon.log.read_text()
    production = Server()
    daemon.add("anew", production.port, shadow.url)
    HttpClient("127.0.0.1", production.port).get("/")
    daemon.settled("anew", lambda found: found["targets"][0]["mirrored"] == 1)
    daemon.call("filter.rm", name="anew")
    production.close()


def test_a_second_daemon_on_the_same_socket_refuses(daemon: Daemon) -> None:
    before = programs_of(daemon.pid)
    second = subprocess.run(
        [
            sys.executable, "-m", "shadowd.cli.shadowd", "run", "--socket", str(daemon.socket),
            "--state-dir", str(daemon.folder / "other"),
        ],
        capture_output=True, text=True, timeout=60, cwd=ROOT, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"error: another shadowd is running (pid {daemon.pid}) and answers at {daemon.socket} — ")
    assert daemon.call("status")["pid"] == daemon.pid
    assert programs_of(daemon.pid) == before


def config_of(port: int, url: str, path: str) -> str:
    return f"""
dead_man_seconds = {DEAD_MAN}
[[filters]]
name = "file"
ports = [{port}]
match_path = "{path}"
targets = [{{url = "{url}"}}]
"""


def test_sighup_reloads_and_an_invalid_configuration_changes_nothing(daemon: Daemon, shadow: Server) -> None:
    with production_under_load() as (production, traffic):
        daemon.config.write_text(config_of(production.port, shadow.url, "^/0/"))
        assert "added=1 changed=0 removed=0" in hang_up(daemon, "reloaded")
        wait_mirrored(daemon, "file", 10)
        running_now: dict[str, Any] = daemon.call("filter.show", name="file")["spec"]

        daemon.config.write_text(config_of(99999, "gopher://nowhere", "^/("))
        told = hang_up(daemon, "reload refused")
        for word in ("99999", "gopher", "match_path"):  # every fault at once
            assert word in told
        daemon.config.write_text("filters = [")
        assert "not TOML" in hang_up(daemon, "reload refused")
        daemon.config.unlink()
        assert "cannot be read" in hang_up(daemon, "reload refused")
        assert daemon.call("filter.show", name="file")["spec"] == running_now
        wait_mirrored(daemon, "file", 10)
        assert all(request.startswith(b"GET /0/") for request in shadow.requests)

        daemon.config.write_text(config_of(production.port, shadow.url, "^/1/"))
        assert "added=0 changed=1 removed=0" in hang_up(daemon, "reloaded")
        wait_for("requests of the new path arrive", lambda: shadow.requests[-1].startswith(b"GET /1/"))
        daemon.config.write_text(f"dead_man_seconds = {DEAD_MAN}\n")
        ours = programs_of(daemon.pid)
        assert "added=0 changed=0 removed=1" in hang_up(daemon, "reloaded")
        wait_for("no filter: nothing is attached", lambda: not ours & attached_to_the_host())
        traffic.more(10)
    assert daemon.call("filter.ls") == []


def without(*options: str) -> tuple[int, list[str]]:
    """Exit code and stderr of a daemon started with fewer rights. Its folder is open to everybody."""
    need(shutil.which("setpriv") is not None, "needs setpriv")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        done = subprocess.run(
            [
                "setpriv", *options, sys.executable, "-m", "shadowd.cli.shadowd", "run",
                "--socket", f"{folder}/s", "--state-dir", f"{folder}/state",
            ],
            capture_output=True, text=True, timeout=60, cwd=ROOT, check=False,
        )  # fmt: skip
        assert os.listdir(folder) == []  # refused before anything was made
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("options", "named", "not_named"),
    [
        (["--bounding-set=-bpf,-sys_admin"], ["CAP_BPF"], "CAP_NET_ADMIN is missing"),
        (["--bounding-set=-net_admin"], ["CAP_NET_ADMIN"], "CAP_BPF is missing"),
        (["--reuid=65534", "--regid=65534", "--clear-groups"], ["CAP_BPF", "CAP_NET_ADMIN"], "Traceback"),
    ],
    ids=["no-bpf", "no-net-admin", "nobody"],
)
def test_a_missing_capability_is_named_in_one_line(options: list[str], named: list[str], not_named: str) -> None:
    code, lines = without(*options)
    assert code == 1
    (line,) = lines
    assert line.startswith("error: ")
    assert all(f"{name} is missing" in line for name in named)
    assert "run as root" in line
    assert not_named not in line


def test_no_python_with_bcc_is_a_clear_error(tmp_path: Path) -> None:
    script = tmp_path / "no-program"
    script.write_text("neither a program nor executable")
    given = ["", "/bin/false", str(tmp_path / "absent"), str(script), "/bin/false"]
    with pytest.raises(PlatformError) as caught:
        find_bcc_python(given)
    assert f"(tried /bin/false, {script})" in caught.value.problem
    assert "python3-bpfcc" in caught.value.remedy
    with pytest.raises(PlatformError, match="tried none"):
        find_bcc_python([])
    # one that cannot does not hide one that can
    usable = find_bcc_python()
    assert find_bcc_python([*given, usable]) == usable


def test_classifiers_of_a_killed_daemon_are_inert_and_removed(
    loaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before TCX (6.6) the tc hook leaves its classifiers behind when the daemon is killed. Such leftovers are made
    here by attaching and never detaching; others' classifiers stay."""

    def refused(*_: object) -> int:
        raise OSError(22, "no TCX")

    with namespaces("stale") as (space,):
        sh("ip", "-n", space, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        for name in ("v0", "v1"):
            sh("ip", "-n", space, "link", "set", name, "up")
        with in_namespace(space):
            monkeypatch.setattr(attach.bpf, "link_tcx", refused)
            (interface,) = list_interfaces("v1")
            assert InterfaceHook(loaded, interface).kind == "clsact"
            monkeypatch.undo()
            with IPRoute() as route:  # a neighbour's
                route.tc(
                    "add-filter", "bpf", interface.index, 1, fd=loaded.descriptors["tc_ingress"], name="others",
                    parent=attach.CLSACT_INGRESS, prio=7, protocol=3, classid=1, direct_action=True,
                )  # fmt: skip
            shadow = Server()
        left = sh("tc", "-n", space, "filter", "show", "dev", "v1", "ingress")
        assert "shadowd:v1:in" in left
        assert "others" in left
        # the filter came by control: it is in the state file, not in the configuration
        with running(tmp_path / "d", namespace=space) as daemon:
            daemon.add("stored", 80, shadow.url, hook="tc:v1")
            stop_and_expect(daemon, -signal.SIGKILL, signal.SIGKILL)
            daemon.start()
            assert "removed classifiers that a killed daemon had left: count=2" in daemon.log.read_text()
            assert any(hook.endswith(":v1") for hook in daemon.call("status")["hooks"])
        with in_namespace(space):
            assert remove_classifiers(list_interfaces()) == 0
        assert "others" in sh("tc", "-n", space, "filter", "show", "dev", "v1", "ingress")
        shadow.close()


def test_the_dead_man_switch_makes_a_leftover_program_inert(loaded: Any) -> None:
    """A program that nobody refreshes copies nothing and lets every packet go on."""
    from tests.bpf.packets import ACK, PSH, ethernet, ipv4, tcp

    packet = ethernet(ipv4("192.0.2.1", "192.0.2.2", tcp(4321, 80, b"GET / HTTP/1.1\r\n\r\n", PSH | ACK)))
    loaded.keep_alive(time.monotonic_ns() - 1)
    before = loaded.counters()["records"]
    for name, going_on in (("socket_ingress", 1), ("socket_egress", 1), ("tc_ingress", -1), ("tc_egress", -1)):
        value, _ = bpf.run_packet(loaded.descriptors[name], packet)
        assert value == going_on
    assert loaded.counters()["records"] == before


def test_the_port_of_a_filter_needs_no_service(daemon: Daemon, shadow: Server) -> None:
    """A filter for a port on which nobody listens says so in words, and is no error."""
    daemon.add("silent", free_port(), shadow.url)
    assert "no packets" in " ".join(daemon.call("filter.show", name="silent")["words"])
    assert daemon.settled("silent")["seen"] == 0
    daemon.call("filter.rm", name="silent")
