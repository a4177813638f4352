"""Filters by process, unit and container, as they restart and get other cgroups; `shadowctl ps`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.capture.preflight import find_cgroup2
from shadowd.errors import ShadowdError
from tests.conftest import ROOT, need
from tests.netns.lab import Daemon, HttpClient, Server, free_port, running, sh, wait_for

pytestmark = pytest.mark.usefixtures("root_user")

# A server whose worker listens: what a pre-forking server does. argv: port, cgroup.procs or "", address.
PROGRAM = textwrap.dedent("""
    import http.server, os, sys
    port, procs, address = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    if procs:
        open(procs, "w").write(str(os.getpid()))
    child = os.fork()
    if child == 0:
        import ctypes, signal
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_GET(self):
                self.send_response(200); self.send_header("Content-Length", "4"); self.end_headers()
                self.wfile.write(b"fine")
            def log_message(self, *about): pass
        http.server.ThreadingHTTPServer((address, port), Answer).serve_forever()
    os.waitpid(child, 0)
""")


class Service:
    """A process named by its script, in a cgroup of its own if one is given; started again with ``restart``."""

    def __init__(self, script: Path, port: int, cgroup: Path | None = None, namespace: str = "") -> None:
        self.script, self.port, self.cgroup, self.namespace = script, port, cgroup, namespace
        script.write_text(PROGRAM)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, port: int = 0) -> Service:
        self.port = port or self.port
        procs = ""
        if self.cgroup is not None:
            self.cgroup.mkdir(parents=True, exist_ok=True)
            procs = str(self.cgroup / "cgroup.procs")
        address = "0.0.0.0" if self.namespace else "127.0.0.1"
        command = [sys.executable, str(self.script), str(self.port), procs, address]
        inside = ["nsenter", f"--net=/run/netns/{self.namespace}"] if self.namespace else []
        self.process = subprocess.Popen([*inside, *command])
        if not inside:
            wait_for("the service listens", self._listens)
        return self

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 5).close()
            return True
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None
        if self.cgroup is not None and self.cgroup.is_dir():
            procs = self.cgroup / "cgroup.procs"
            wait_for("the cgroup is empty", lambda: not procs.read_text())
            self.cgroup.rmdir()

    def ask(self, times: int = 3) -> None:
        client = HttpClient("127.0.0.1", self.port)
        for number in range(times):
            assert client.get(f"/{self.script.stem}/{number}").endswith(b"fine")
        client.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as made:
        yield made


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def slice_() -> Iterator[Path]:
    """A slice of the host's cgroup tree."""
    root = find_cgroup2()
    need(root is not None, "needs a cgroup v2 mount")
    assert root is not None
    made = root / f"shadowd{os.getpid()}.slice"
    made.mkdir()
    yield made
    made.rmdir()


def words(daemon: Daemon, name: str) -> str:
    return "; ".join(daemon.call("filter.show", name=name)["words"])


def add(daemon: Daemon, name: str, shadow: Server, **fields: object) -> None:
    daemon.call("filter.add", spec={"name": name, "to": shadow.url, "twin": 0, **fields})


@pytest.mark.parametrize("by", ["process", "pid"])
def test_a_process_is_what_its_workers_listen_on(daemon: Daemon, shadow: Server, tmp_path: Path, by: str) -> None:
    service = Service(tmp_path / f"checkout-{by}.py", free_port())
    other = Service(tmp_path / "other.py", free_port())
    try:
        service.start()
        other.start()
        assert service.process is not None
        add(daemon, by, shadow, **{by: service.script.name if by == "process" else service.process.pid})
        # in the order of their numbers: a child's is the smaller one where the host has counted anew
        found = words(daemon, by)
        assert f"port {service.port} of processes " in found
        assert {str(service.process.pid)} < set(
            re.findall(r"\d+", found.partition(" of processes ")[2].partition(";")[0])
        )
        other.ask()
        service.ask()
        assert daemon.settled(by, lambda ledger: ledger["seen"] >= 3)["seen"] == 3
        if by == "pid":
            service.stop()
            wait_for("it is told", lambda: "there is no process" in words(daemon, by))
            return
        service.stop()
        wait_for("it is told", lambda: "it is taken up when one appears" in words(daemon, by))
        service.start(free_port())  # another pid, another port
        wait_for("it is taken up", lambda: f"port {service.port} of" in words(daemon, by))
        service.ask(2)
        assert daemon.settled(by, lambda ledger: ledger["seen"] >= 5)["seen"] == 5
    finally:
        service.stop()
        other.stop()
        daemon.call("filter.rm", name=by)


UID = f"0d9f1c2e-58a3-4b6e-9c1d-{os.getpid():012x}"  # of this process: they are looked for in the whole tree
ID = f"{os.getpid():08x}" * 8


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("checkout-{}.service", {"unit": "checkout-{}"}),
        (f"docker-{ID}.scope", {"container": ID[:12]}),
        (f"kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope", {"container": f"pod:{UID}"}),
    ],
    ids=["unit", "container", "pod"],
)
def test_a_cgroup_is_found_again_after_a_restart(
    daemon: Daemon, shadow: Server, slice_: Path, tmp_path: Path, place: str, fields: dict[str, str]
) -> None:
    """A restarted service has another cgroup of the same name; the host's other services are not touched."""
    mark = str(os.getpid())
    fields = {key: value.format(mark) for key, value in fields.items()}
    service = Service(tmp_path / "inside.py", free_port(), slice_ / place.format(mark))
    other = Service(tmp_path / "outside.py", free_port())
    assert service.cgroup is not None
    try:
        add(daemon, "owned", shadow, **fields)
        assert "it is taken up when it" in words(daemon, "owned")
        other.start()
        seen = 0
        for _ in range(2):
            service.start()
            wait_for("it is selected", lambda: "selected now: cgroup" in words(daemon, "owned"))
            other.ask()
            service.ask()
            seen += 3
            ledger = daemon.settled("owned", lambda ledger, seen=seen: ledger["seen"] >= seen)
            assert ledger["seen"] == seen, [request.split(b" ")[1] for request in shadow.requests]
            service.stop()
            if service.cgroup.parent != slice_:
                service.cgroup.parent.rmdir()
            wait_for("it is told", lambda: "it is taken up when it" in words(daemon, "owned"))
        assert len(shadow.requests) == 6, shadow.requests
    finally:
        service.stop()
        other.stop()
        daemon.call("filter.rm", name="owned")


def test_a_prefix_of_two_containers_selects_neither(daemon: Daemon, shadow: Server, slice_: Path) -> None:
    made = [slice_ / f"docker-{'5a' * 30}{end * 2}.scope" for end in ("01", "02")]
    try:
        for path in made:
            path.mkdir()
        add(daemon, "twice", shadow, container="5a5a5a")
        assert "2 containers begin with 5a5a5a: give more of the ID" in words(daemon, "twice")
    finally:
        daemon.call("filter.rm", name="twice")
        for path in made:
            path.rmdir()


def test_other_filters_miss_nothing_while_a_process_restarts(daemon: Daemon, shadow: Server, tmp_path: Path) -> None:
    steady = Service(tmp_path / "steady.py", free_port())
    restless = Service(tmp_path / "restless.py", free_port())
    try:
        steady.start()
        daemon.add("steady", steady.port, shadow.url)
        add(daemon, "restless", shadow, process="restless.py")
        client = HttpClient("127.0.0.1", steady.port)
        asked = 0
        for _ in range(3):
            restless.start(free_port())
            until = wait_for("it is taken up", lambda: f"port {restless.port} of" in words(daemon, "restless"))
            assert until
            for _ in range(50):
                client.get(f"/{asked}")
                asked += 1
            restless.stop()
        client.close()
        assert daemon.settled("steady", lambda ledger: ledger["seen"] >= asked)["targets"][0]["mirrored"] == asked
    finally:
        steady.stop()
        restless.stop()
        daemon.call("filter.rm", name="steady")
        daemon.call("filter.rm", name="restless")


SELECT = """
import json, sys
from shadowd.capture.selection import Wanted, select
found = select(Wanted((), process=sys.argv[1]))
print(json.dumps([found.ports, found.cgroups, found.problem]))
"""


def selected_by_nobody(process: str) -> Any:
    """What a daemon without rights over other people's processes finds."""
    done = sh("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", SELECT, process)
    return json.loads(done)


def test_without_rights_a_process_is_told_by_a_cgroup_of_its_own(slice_: Path, tmp_path: Path) -> None:
    service = Service(tmp_path / "lonely.py", free_port(), slice_ / "lonely.service")
    assert service.cgroup is not None
    try:
        service.start()
        number = service.cgroup.stat().st_ino
        assert selected_by_nobody("lonely.py") == [[], [number], ""]
        with_company = subprocess.Popen(["sleep", "60"])
        try:
            (service.cgroup / "cgroup.procs").write_text(str(with_company.pid))
            ports, cgroups, problem = selected_by_nobody("lonely.py")
            assert (ports, cgroups) == ([], [])
            assert "shares its cgroup with others" in problem
            assert "CAP_SYS_PTRACE" in problem
        finally:
            with_company.kill()
            with_company.wait(10)
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"process": "a", "unit": "b.service"}, "process: cannot be combined with unit"),
        ({"process": "/usr/sbin/nginx"}, "is not a process's name"),
        ({"container": "checkout"}, "is not a container"),
        ({"unit": "../x"}, "is not a unit"),
        ({"pid": "0"}, "pid: '0' is out of range"),
        ({"process": "nginx", "hook": "tc:lo"}, "process: works at the socket hook only"),
    ],
)
def test_what_cannot_be_meant_is_refused(daemon: Daemon, shadow: Server, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ShadowdError, match=problem):
        add(daemon, "wrong", shadow, **fields)


# --- ps ---------------------------------------------------------------------------------------------------------------


def listed(daemon: Daemon) -> list[dict[str, Any]]:
    done = sh(sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket), "ps", "--json")
    return list(json.loads(done)["services"])


def test_ps_names_services_and_the_command_that_mirrors_them(
    daemon: Daemon, shadow: Server, slice_: Path, tmp_path: Path
) -> None:
    unit = f"orders-{os.getpid()}.service"
    service = Service(tmp_path / "orders.py", free_port(), slice_ / unit)
    try:
        service.start()
        client = HttpClient("127.0.0.1", service.port)
        client.get("/1")
        (row,) = (row for row in listed(daemon) if row["port"] == service.port)
        assert (row["unit"], row["container"], row["loopback_only"]) == (unit, None, True)
        assert row["addresses"] == ["127.0.0.1"]
        assert row["process"].startswith("python")
        assert service.process is not None
        # the worker holds the socket, the one who waits for it does not
        assert int(Path(f"/proc/{row['pid']}/stat").read_text().rpartition(")")[2].split()[1]) == service.process.pid
        assert row["connections"] == 1
        assert row["received"] > 20
        assert row["sent"] > 20
        assert row["filters"] == []
        command = row["command"].replace(f"http://SHADOW:{service.port}", shadow.url).split()
        assert command[0] == "shadowctl"
        # the command is to be run as it stands
        sh(sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket), *command[1:])
        name = command[3]
        client.close()
        service.ask()
        assert daemon.settled(name, lambda ledger: ledger["seen"] >= 3)["seen"] == 3
        (row,) = (row for row in listed(daemon) if row["port"] == service.port)
        assert row["filters"] == [name]
        daemon.call("filter.rm", name=name)
        text = sh(sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket), "ps")
        assert row["command"] in text
    finally:
        service.stop()


def test_ps_looks_into_other_namespaces_and_needs_no_daemon(tmp_path: Path) -> None:
    namespace = f"sdps{os.getpid()}"
    sh("ip", "netns", "add", namespace)
    service = Service(tmp_path / "hidden.py", free_port(), namespace=namespace)
    try:
        service.start()

        def found() -> list[dict[str, Any]]:
            none = Daemon(tmp_path / "none")
            return [row for row in listed(none) if row["port"] == service.port]

        (row,) = wait_for("it is listed", found)
        assert row["other_namespace"]
        assert row["addresses"] == ["0.0.0.0"]
        assert f"--pid {row['pid']}" in row["command"]
    finally:
        service.stop()
        sh("ip", "netns", "del", namespace)


def test_ps_without_rights_says_what_it_could_not_see(tmp_path: Path) -> None:
    server = Server()
    try:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m",
             "shadowd.cli.shadowctl", "ps", "--json"],
            capture_output=True, text=True, cwd=ROOT, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        (row,) = (row for row in shown["services"] if row["port"] == server.port)
        assert row["pid"] is None
        assert row["command"]
        assert any("run it as root" in sentence for sentence in shown["unseen"])
    finally:
        server.close()


WORKERS = """
import os, signal, socket, sys
others = socket.create_server(("127.0.0.1", int(sys.argv[2])))
for _ in range(3):
    if not os.fork():
        own = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
        os.write(1, b"up\\n")
        signal.pause()
os.write(1, b"up\\n")
signal.pause()
"""


def test_ps_has_a_row_for_a_service_and_none_for_our_own_ports(tmp_path: Path) -> None:
    """Workers that each have a socket, and a second port of the same process."""
    first, second, door = free_port(), free_port(), free_port()
    service = subprocess.Popen(
        [sys.executable, "-c", WORKERS, str(first), str(second)], stdout=subprocess.PIPE, process_group=0
    )
    try:
        assert service.stdout is not None
        assert [service.stdout.readline() for _ in range(4)] == [b"up\n"] * 4
        with running(tmp_path / "d", f'http = "127.0.0.1:{door}"\n') as started:
            rows = {row["port"]: row for row in listed(started)}
            assert len([row for row in listed(started) if row["port"] == first]) == 1
            assert rows[second]["pid"] == service.pid
            assert door not in rows
            none = ["--socket", str(tmp_path / "none")]  # nobody says which process is the daemon
            text = sh(sys.executable, "-m", "shadowd.cli.shadowctl", *none, "ps")
            assert f":{door}" not in text
            assert len([line for line in text.splitlines() if line.startswith(f"{first} ")]) == 1
    finally:
        os.killpg(service.pid, signal.SIGKILL)
        service.wait()
        if service.stdout is not None:
            service.stdout.close()
