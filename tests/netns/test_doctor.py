"""``shadowctl doctor``: on this host, without rights, and for filters that mirror nothing, each for another reason."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.capture.attach import remove_classifiers
from shadowd.capture.preflight import find_cgroup2
from shadowd.doctor import mirroring
from shadowd.ledger.ledger import FAILED, FILTERED, LOST, SHED
from tests.conftest import ROOT
from tests.netns.lab import Daemon, HttpClient, Server, free_port, running, sh, wait_for

pytestmark = pytest.mark.usefixtures("root_user")
PAGE = (ROOT / "docs" / "doctor.md").read_text()


def asked(socket_path: Path, *words: str, prefix: tuple[str, ...] = ()) -> tuple[int, dict[str, dict[str, str]]]:
    """(exit code, findings by code); every code must be on the page."""
    command = [*prefix, sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(socket_path), "doctor", "--json"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)["findings"]
    for one in found:
        assert re.search(rf"`{re.escape(one['code'])}`", PAGE), f"{one['code']} is not in docs/doctor.md"
    assert done.returncode == any(one["level"] == "error" for one in found)
    return done.returncode, {one["code"]: one for one in found}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as made:
        yield made


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def shadow() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


# --- the host ---------------------------------------------------------------------------------------------------------


def test_this_host_with_a_daemon(daemon: Daemon) -> None:
    before = sorted(os.listdir(find_cgroup2() or "/"))
    code, found = asked(daemon.socket)
    assert code == 0
    assert {name: found[name]["level"] for name in ("ring_buffer", "cgroup_skb", "tcx", "daemon", "cgroup2")} == (
        dict.fromkeys(("ring_buffer", "cgroup_skb", "tcx", "daemon", "cgroup2"), "ok")
    )
    assert sorted(os.listdir(find_cgroup2() or "/")) == before, "what it tried, it took away"


def test_no_daemon_is_no_error(tmp_path: Path) -> None:
    code, found = asked(tmp_path / "none")
    assert code == 0
    assert found["daemon"]["level"] == "note"
    assert "systemctl start shadowd" in found["daemon"]["remedy"]


def test_a_dead_daemons_socket(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.close()
    _, found = asked(tmp_path / "s")
    assert found["daemon"]["level"] == "warning"


def test_without_rights_it_says_what_it_could_not_see(daemon: Daemon, tmp_path: Path) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
    _, found = asked(tmp_path / "none", prefix=nobody)
    assert {found[name]["level"] for name in ("ring_buffer", "cgroup_skb", "tcx", "cgroup_programs")} == {"unseen"}
    assert found["capabilities"]["level"] == "warning"
    os.chmod(daemon.folder, 0o755)
    _, found = asked(daemon.socket, prefix=nobody)
    assert found["daemon"]["level"] == "error"
    assert "run it as root" in found["daemon"]["remedy"]


def test_a_socket_that_everybody_may_write_to(daemon: Daemon) -> None:
    mode = daemon.socket.stat().st_mode
    try:
        daemon.socket.chmod(0o666)
        _, found = asked(daemon.socket)
        assert found["socket_open"]["level"] == "warning"
    finally:
        daemon.socket.chmod(mode & 0o777)


def test_other_peoples_programs_are_named_in_their_order(tmp_path: Path) -> None:
    namespace = f"sddoc{os.getpid()}"
    sh("ip", "netns", "add", namespace)
    try:
        inside = ("nsenter", f"--net=/run/netns/{namespace}")
        sh("ip", "-n", namespace, "link", "add", "d0", "type", "veth", "peer", "d1")
        _, found = asked(tmp_path / "none", prefix=inside)
        assert found["tc_programs"]["level"] == "ok"
        loaded = (
            "import os, struct, socket\n"
            "from shadowd.doctor.kernel import _load\n"
            "from shadowd.capture import attach\n"
            "program = _load(3)\n"
            "route = attach._route()\n"
            "place = attach.list_interfaces('d0')[0]\n"
            "route.tc('add', 'clsact', place.index)\n"
            "for prio, name in ((1, 'cil_from_netdev'), (attach.PRIORITY, attach.CLASSIFIER[False])):\n"
            "    route.tc('add-filter', 'bpf', place.index, attach.HANDLE, fd=program, name=name, prio=prio,\n"
            "        parent=attach.CLSACT_INGRESS, protocol=3, classid=1, direct_action=True)\n"
            "route.close()\n"  # the classifiers stay, as a killed daemon's do
        )
        sh(*inside, sys.executable, "-W", "ignore", "-c", loaded)
        _, found = asked(tmp_path / "none", prefix=inside)
        assert "d0 ingress (clsact, first to last): cil_from_netdev (Cilium)" in found["tc_programs"]["what"]
        assert found["stale_filters"]["level"] == "warning"
    finally:
        sh("ip", "netns", "del", namespace)
    assert remove_classifiers([]) == 0


# --- a filter that mirrors nothing ------------------------------------------------------------------------------------


def test_why_nothing_is_mirrored(daemon: Daemon, server: Server, shadow: Server) -> None:
    """One filter through its troubles: each is named, and gone when it is mended."""
    nobody = free_port()
    daemon.add("why", nobody, f"http://127.0.0.1:{free_port()}")
    code, found = asked(daemon.socket, "--filter", "why")
    assert code == 1
    assert found["nobody_listens"]["level"] == "error"

    daemon.call("filter.set", name="why", changes={"ports": [str(server.port)]})
    _, found = asked(daemon.socket, "--filter", "why")
    assert "nobody_listens" not in found
    assert found["no_packets"]["level"] == "warning"

    client = HttpClient("127.0.0.1", server.port)
    client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    client.receive()
    daemon.settled("why", lambda ledger: ledger["seen"])
    code, found = asked(daemon.socket, "--filter", "why")
    assert code == 1
    assert found["filtered_method"]["level"] == "error"
    assert "--methods any" in found["filtered_method"]["remedy"]

    client.get("/b")
    daemon.settled("why", lambda ledger: ledger["targets"][0]["failed"])
    code, found = asked(daemon.socket, "--filter", "why")
    assert code == 1
    assert found["filtered_method"]["level"] == "note"
    assert found["failed_connect"]["level"] == "error"

    daemon.call("filter.set", name="why", changes={"to": shadow.url})
    client.get("/c")
    daemon.settled("why", lambda ledger: ledger["targets"][0]["mirrored"])
    code, found = asked(daemon.socket, "--filter", "why")
    assert code == 0
    assert found["mirrored"]["level"] == "ok"

    daemon.call("filter.pause", name="why")
    code, found = asked(daemon.socket, "--filter", "why")
    assert code == 1
    assert found["paused"]["remedy"] == "shadowctl filter resume why"
    client.close()
    daemon.call("filter.rm", name="why")


def test_what_is_encrypted_or_unreadable_or_not_there(daemon: Daemon, server: Server, shadow: Server) -> None:
    daemon.add("how", server.port, shadow.url)
    for opening in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(opening)
    daemon.settled("how", lambda ledger: ledger["seen"] >= 2)
    _, found = asked(daemon.socket, "--filter", "how")
    assert {"filtered_encrypted", "filtered_unparsable"} <= set(found)
    daemon.call("filter.rm", name="how")

    daemon.call("filter.add", spec={"name": "gone", "process": "no-such-service", "to": shadow.url})
    code, found = asked(daemon.socket, "--filter", "gone")
    assert code == 1
    assert "no-such-service" in found["nothing_selected"]["what"]
    daemon.call("filter.rm", name="gone")

    daemon.add("tc", server.port, shadow.url, hook="tc:nosuch0")
    code, found = asked(daemon.socket, "--filter", "tc")
    assert code == 1
    assert found["not_attached"]["level"] == "error"
    daemon.call("filter.rm", name="tc")


def test_an_open_connection_that_is_silent(daemon: Daemon, server: Server, shadow: Server) -> None:
    client = HttpClient("127.0.0.1", server.port)
    client.get("/before")
    daemon.add("silent", server.port, shadow.url)
    _, found = asked(daemon.socket, "--filter", "silent")
    assert found["silent"]["level"] == "warning"
    client.get("/after")
    wait_for("it is taken up", lambda: daemon.ledger("silent")["seen"])
    client.close()
    daemon.call("filter.rm", name="silent")


def test_an_unknown_filter_is_a_usage_error(daemon: Daemon) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket), "doctor", "--filter", "nobody"],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is no filter named nobody" in done.stderr


def test_every_reason_of_the_ledger_is_explained() -> None:
    tables: list[tuple[str, frozenset[str], Any]] = [
        ("filtered", FILTERED, mirroring._FILTERED),
        ("lost", LOST, mirroring._LOST),
        ("failed", FAILED, mirroring.FAILED),
        ("shed", SHED, mirroring._SHED),
    ]
    for prefix, reasons, table in tables:
        assert set(table) == reasons
        assert all(f"`{prefix}_{reason}`" in PAGE for reason in reasons)
