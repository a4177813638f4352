"""Secrets of real handshakes by probes: what comes out of the ring is what the libraries' own key logs have."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadowd.capture import abi, bytecode, tlslibs, tlsprobes, uprobes
from shadowd.capture.preflight import cgroup_id, check_host
from shadowd.capture.programs import Programs, load
from shadowd.capture.rules import Rule
from shadowd.capture.tlsattach import Attacher
from shadowd.capture.tlsdiscovery import mapped_by
from shadowd.capture.tlssecrets import Secret
from shadowd.errors import PlatformError
from tests.bpf import tls_lab, tls_server
from tests.bpf.test_rings import attached
from tests.bpf.tls_lab import Server, client, connect, drained, exchange, key_log, randoms
from tests.conftest import ROOT, need
from tests.netns.lab import wait_for
from tests.ports import refusing_port

OWN_MARK = 0x08000000  # not the default: daemons of other tests must not be taken for this one
WORKERS = 3
RING = 16 << 20  # 1,000 handshakes of both sides: 10,000 records of 328 bytes
#: Told by each side of a handshake.
LABELS_OF_13 = {
        b"CLIENT_HANDSHAKE_TRAFFIC_SECRET", b"SERVER_HANDSHAKE_TRAFFIC_SECRET", b"CLIENT_TRAFFIC_SECRET_0",
    b"SERVER_TRAFFIC_SECRET_0", b"EXPORTER_SECRET",
}  # fmt: skip
SECRETS_OF_13 = len(LABELS_OF_13)


@pytest.fixture(scope="module")
def programs(root_user: None) -> Iterator[Programs]:
    need(os.uname().machine == "x86_64", "probes are for x86-64")
    try:
        check_host()
        made = load(RING, OWN_MARK, workers=WORKERS, probes=True)
    except PlatformError as error:
        need(False, str(error))
    yield made
    made.close()


@pytest.fixture
def ready(programs: Programs) -> Iterator[Programs]:
    programs.keep_alive(time.monotonic_ns() + 600 * 10**9)
    drained(programs.ring)
    yield programs
    programs.apply([])


@pytest.fixture
def attacher(ready: Programs) -> Iterator[Attacher]:
    made = Attacher(ready)
    yield made
    made.close()


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    tls_server.certificate(folder)
    return folder


@pytest.fixture
def folder(certified: Path, tmp_path: Path) -> Path:
    for name in ("key", "certificate"):
        shutil.copy(certified / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def served(folder: Path) -> Iterator[Server]:
    with tls_lab.cgroup("served") as place, tls_lab.server(folder, place) as server:
        yield server


def secrets(programs: Programs) -> tuple[int, int]:
    counted = programs.counters()
    return counted["secrets"], counted["secrets_lost"]


# --- all of them, and none that is not wanted -------------------------------------------------------------------------


@pytest.mark.parametrize("tls12", [False, True], ids=["TLS 1.3", "TLS 1.2"])
def test_a_thousand_handshakes_and_none_is_missed(
    ready: Programs, attacher: Attacher, folder: Path, tls12: bool
) -> None:
    """Both sides, in a cgroup of their own each."""
    options, keys = ["tls12"] if tls12 else [], folder / "client.keys"
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(tls_lab.cgroup(name)) for name in ("server", "client"))
        server = stack.enter_context(tls_lab.server(folder, one, *options))
        command = [sys.executable, "-m", "tests.bpf.tls_client", str(server.port), str(keys), "1000", *options]
        asking = stack.enter_context(tls_lab.process(two, *command))
        report = attacher.want("shop", server.ports, None)
        assert report.processes == 1
        (library,) = report.libraries
        assert (library.kind, library.new) == (tlslibs.OPENSSL, True)
        report = attacher.want("client", (), [cgroup_id(two)])
        assert [found.new for found in report.libraries] == [False], "one inode, one probe"
        before = secrets(ready)
        assert asking.stdin is not None
        assert asking.stdout is not None
        print("go", file=asking.stdin, flush=True)
        assert asking.stdout.readline() == "done\n"
        wait_for("the server has seen the last one", lambda: len(key_log(server.keys)) == len(key_log(keys)))
        after, both, logged = secrets(ready), {server.pid, asking.pid}, key_log(server.keys, keys)
    told = drained(ready.ring)
    assert len(randoms(logged)) == 1000
    assert told.lines(randoms(logged)) == logged
    assert {label for label, _, _ in logged} == ({b"CLIENT_RANDOM"} if tls12 else LABELS_OF_13)
    each = 1 if tls12 else len(LABELS_OF_13)
    for pid in both:
        assert len([one for one in told.secrets if one.pid == pid]) == 1000 * each
    assert after == (before[0] + 2 * 1000 * each, before[1])


def test_other_cgroups_give_none(ready: Programs, attacher: Attacher, certified: Path, tmp_path: Path) -> None:
    """The same library, the same inode, the same moment: the kernel reads nothing of who is not wanted."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("wanted", "other"):
            folder = tmp_path / name
            shutil.copytree(certified, folder)
            place = stack.enter_context(tls_lab.cgroup(name))
            servers.append(stack.enter_context(tls_lab.server(folder, place)))
        wanted, other = servers
        attacher.want("shop", wanted.ports, None)
        before = secrets(ready)
        for _ in range(20):
            exchange(other.port, client())
        assert secrets(ready) == before
        assert not drained(ready.ring).secrets
        exchange(wanted.port, client())
        told = drained(ready.ring).secrets
        assert {one.pid for one in told} == {wanted.pid}
        assert {one.cgroup for one in told} == {wanted.cgroup}
        assert len(told) == SECRETS_OF_13


def test_a_cgroup_counts_with_those_below(ready: Programs, attacher: Attacher, folder: Path) -> None:
    with tls_lab.cgroup("above") as above:
        below = above / "below"
        below.mkdir()
        try:
            with tls_lab.server(folder, below) as server:
                report = attacher.want("shop", (), [cgroup_id(above)])
                assert report.processes == 1
                exchange(server.port, client())
                assert {one.cgroup for one in drained(ready.ring).secrets} == {cgroup_id(below)}
        finally:
            wait_for("the cgroup is empty", lambda: not (below / "cgroup.procs").read_text())
            below.rmdir()


def test_the_dead_mans_switch_comes_first(ready: Programs, attacher: Attacher, served: Server) -> None:
    attacher.want("shop", served.ports, None)
    ready.keep_alive(0)
    before = secrets(ready)
    exchange(served.port, client())
    assert secrets(ready) == before
    ready.keep_alive(time.monotonic_ns() + 600 * 10**9)
    exchange(served.port, client())
    assert secrets(ready)[0] == before[0] + SECRETS_OF_13


def test_requests_on_an_open_connection_hit_nothing(ready: Programs, attacher: Attacher, served: Server) -> None:
    attacher.want("shop", served.ports, None)
    with connect(served.port, client()) as connection:
        connection.sendall(b"first")
        assert connection.recv(100) == b"first"
        before = secrets(ready)
        for number in range(500):
            asked = b"request %d" % number
            connection.sendall(asked)
            assert connection.recv(100) == asked
        assert secrets(ready) == before


def test_every_worker_gets_every_secret(ready: Programs, attacher: Attacher, served: Server) -> None:
    rings = [ready.ring, *(ready.open_ring(worker) for worker in range(1, WORKERS))]
    for ring in rings:
        drained(ring)
    attacher.want("shop", served.ports, None)
    for _ in range(10):
        exchange(served.port, client())
    told = [[(one.label, one.secret) for one in drained(ring).secrets] for ring in rings]
    assert len(told[0]) == 10 * SECRETS_OF_13
    assert told[0] == told[1] == told[2]
    for ring in rings[1:]:
        ring.close()


def test_secrets_leave_half_of_a_ring_to_packets(root_user: None, folder: Path) -> None:
    """Of a process in scope that never stops, while nobody reads the ring: packets have room, and all of it counts."""
    size, handshakes = 1 << 20, 1000
    programs = load(size, OWN_MARK, probes=True)
    programs.keep_alive(time.monotonic_ns() + 600 * 10**9)
    attacher = Attacher(programs)
    try:
        with tls_lab.cgroup("flooding") as place, tls_lab.server(folder, place) as server:
            attacher.want("shop", server.ports, None)
            keys = folder / "client.keys"
            command = [sys.executable, "-m", "tests.bpf.tls_client", str(server.port), str(keys), str(handshakes)]
            with tls_lab.process(None, *command) as asking:
                assert asking.stdin is not None
                assert asking.stdout is not None
                print("go", file=asking.stdin, flush=True)
                assert asking.stdout.readline() == "done\n"
            told, lost = secrets(programs)
            assert told == handshakes * SECRETS_OF_13
            room = size // 2 // 328 + 1
            assert (told - lost) in range(room - 1, room + 1)
            programs.apply([Rule(0, [(server.port, server.port)])])
            with attached(programs), connect(server.port, client()) as connection:
                for _ in range(8):
                    connection.sendall(b"x" * 10_000)
                    left = 10_000
                    while left:
                        left -= len(connection.recv(left))
            counted = programs.counters()
            assert counted["ring_full"] == 0
            assert counted["bytes"] > 8 * 2 * 10_000
            seen = drained(programs.ring)
            assert sum(len(one["payload"]) for one in seen.segments) == counted["bytes"]
            assert len(seen.secrets) == told - lost
            exchange(server.port, client())
            assert len(drained(programs.ring).secrets) == SECRETS_OF_13, "who reads again has them again"
    finally:
        attacher.close()
        programs.close()


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls12", [False, True], ids=["TLS 1.3", "TLS 1.2"])
def test_secrets_stand_before_the_server_record_that_needs_them(
    ready: Programs, attacher: Attacher, folder: Path, tls12: bool
) -> None:
    """One ring for both: a server's flight is encrypted with what stands there already."""
    rings = [ready.ring, *(ready.open_ring(worker) for worker in range(1, WORKERS))]
    options = ["tls12"] if tls12 else []
    with tls_lab.cgroup("server") as place, tls_lab.server(folder, place, *options) as server:
        attacher.want("shop", server.ports, None)
        ready.apply([Rule(0, [(server.port, server.port)])])
        for ring in rings:
            drained(ring)
        with attached(ready):
            for _ in range(50):
                exchange(server.port, client(folder / "client.keys", tls12))
        seen = [drained(ring) for ring in rings]
        logged = key_log(server.keys)
    flows = 0
    for told in seen:
        whose = {one.label + one.secret: told_random(one, logged) for one in told.secrets}
        hellos: dict[str, bytes] = {}  # client -> its random
        finished: set[str] = set()  # clients that have gone on after the server's flight
        ready_for: dict[bytes, set[bytes]] = {}
        for kind, what in told.order:
            if kind == "secret":
                ready_for.setdefault(whose[what.label + what.secret], set()).add(what.label)
                continue
            data = what["payload"]
            if what["direction"] == abi.DIRECTION_CLIENT and data:
                if what["client"] in hellos:
                    finished.add(what["client"])
                    continue
                assert (data[0], data[5]) == (22, 1), "a ClientHello"
                hellos[what["client"]] = data[11:43]
                flows += 1
            if what["direction"] == abi.DIRECTION_SERVER and data:
                # 1.3: encrypted extensions in the first flight, tickets and data after the client's Finished; 1.2: from
                # the flight with Finished on
                labels = ready_for.get(hellos[what["client"]], set())
                if tls12:
                    encrypted = data[:1] in (b"\x14", b"\x17") or data[5:6] == b"\x04"
                    assert not encrypted or b"CLIENT_RANDOM" in labels
                else:
                    assert b"SERVER_HANDSHAKE_TRAFFIC_SECRET" in labels
                    assert what["client"] not in finished or b"SERVER_TRAFFIC_SECRET_0" in labels
    assert flows == 50
    for ring in rings[1:]:
        ring.close()


def told_random(secret: Secret, logged: set[tls_lab.Line]) -> bytes:
    (found,) = (random for label, random, value in logged if (label, value) == (secret.label, secret.secret))
    return found


# --- nothing stays behind ---------------------------------------------------------------------------------------------


def probed(attacher: Attacher, server: Server) -> tuple[str, int, bytes]:
    """The library, the function's offset, and its first byte in the file; the breakpoint is in the server's memory."""
    (library,) = attacher.want("shop", server.ports, None).libraries
    offset = tlslibs.find_untrusted(Path(library.path).read_bytes()).offset
    original = Path(library.path).read_bytes()[offset : offset + 1]
    path = str(Path(library.path).resolve())
    assert tls_lab.byte_of(server.pid, path, offset) == b"\xcc" != original
    return path, offset, original


def test_forgetting_takes_the_breakpoint_out(attacher: Attacher, served: Server) -> None:
    path, offset, original = probed(attacher, served)
    attacher.want("other", served.ports, None)
    attacher.forget("shop")
    assert tls_lab.byte_of(served.pid, path, offset) == b"\xcc", "another filter needs it"
    attacher.forget("other")
    wait_for("the byte is back", lambda: tls_lab.byte_of(served.pid, path, offset) == original)
    exchange(served.port, client())


def test_a_killed_attacher_leaves_nothing_behind(ready: Programs, served: Server) -> None:
    attacher = Attacher(ready)
    path, offset, original = probed(attacher, served)
    os.kill(attacher.pid, signal.SIGKILL)
    wait_for("the byte is back", lambda: tls_lab.byte_of(served.pid, path, offset) == original)
    exchange(served.port, client())
    wait_for("the attacher has ended", lambda: not attacher.alive)
    with pytest.raises(PlatformError, match="the attacher for TLS ended"):
        attacher.look("shop")
    attacher.close()
    again = Attacher(ready)  # what the one before left in the maps does not disturb it
    assert len(again.want("shop", served.ports, None).libraries) == 1
    again.close()
    wait_for("the byte is back", lambda: tls_lab.byte_of(served.pid, path, offset) == original)


PARENT = """
import sys, time
from shadowd.capture.programs import load
from shadowd.capture.tlsattach import Attacher
from shadowd.capture.tlsdiscovery import mapped_by
programs = load(1 << 20, {mark}, probes=True)
attacher = Attacher(programs)
report = attacher.want("shop", (({port}, {port}),), None)
print(attacher.pid, report.libraries[0].path, flush=True)
time.sleep(1000)
"""


def test_the_attacher_ends_with_its_parent(root_user: None, served: Server) -> None:
    script = PARENT.format(mark=OWN_MARK, port=served.port)
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, path = parent.stdout.readline().split(" ", 1)
        data = Path(path.strip()).read_bytes()
        where = os.path.realpath(path.strip()), tlslibs.find_untrusted(data).offset
        assert tls_lab.byte_of(served.pid, *where) == b"\xcc"
        parent.kill()
    wait_for("the byte is back", lambda: tls_lab.byte_of(served.pid, *where) == data[where[1] : where[1] + 1])
    wait_for("the attacher is gone", lambda: not Path(f"/proc/{pid}").exists())


# --- new files, containers --------------------------------------------------------------------------------------------


@pytest.fixture
def library() -> Path:
    """The one that Python's own TLS is in."""
    found = [one.path for one in mapped_by(os.getpid()) if os.path.basename(one.path) == "libssl.so.3"]
    if not found:
        pytest.skip("this Python has no libssl.so.3")
    return Path(found[0])


def test_a_library_that_is_replaced(ready: Programs, attacher: Attacher, folder: Path, library: Path) -> None:
    """An upgrade: the running process keeps the old file, a restarted one has the new; both are read after a look."""
    own = folder / "lib"
    own.mkdir()
    shutil.copy(library, own / "libssl.so.3")
    with (
        tls_lab.cgroup("replaced") as place,
        tls_lab.server(folder, place, LD_LIBRARY_PATH=str(own)) as old,
    ):
        (first,) = attacher.want("shop", (), [old.cgroup]).libraries
        assert first.path == str(own / "libssl.so.3")
        exchange(old.port, client())
        assert len(drained(ready.ring).secrets) == SECRETS_OF_13
        shutil.copy(library, own / "new")
        os.rename(own / "new", own / "libssl.so.3")
        exchange(old.port, client())
        assert len(drained(ready.ring).secrets) == SECRETS_OF_13, "the old inode's probe holds"
        with tls_lab.server(folder, place, LD_LIBRARY_PATH=str(own)) as new:
            exchange(new.port, client())
            assert not drained(ready.ring).secrets
            report = attacher.look("shop")
            assert [one.new for one in report.libraries] == [False, True]
            for port in (old.port, new.port):
                exchange(port, client())
            told = drained(ready.ring).secrets
            assert {one.pid for one in told} == {old.pid, new.pid}
            assert {one.library for one in told} == {one.number for one in report.libraries}
        assert report.problems == (), "the old one is read still"
        attacher.forget("shop")
        report = attacher.want("shop", (), [old.cgroup])
        (problem,) = report.problems
        assert "was replaced while its process runs" in problem.problem
        assert problem.path.startswith(str(own))


def test_a_library_that_is_written_over(ready: Programs, attacher: Attacher, folder: Path, library: Path) -> None:
    """In place, as by ``cp``: the kernel would go on to put the breakpoint where the function was. Nobody has asked for
    a look."""
    own = folder / "lib"
    own.mkdir()
    shutil.copy(library, own / "libssl.so.3")
    with (
        tls_lab.cgroup("written") as place,
        tls_lab.server(folder, place, LD_LIBRARY_PATH=str(own)) as server,
    ):
        path, offset, original = probed(attacher, server)
        assert path == str(own / "libssl.so.3")
        with open(path, "ab") as file:
            file.write(b"more")
        wait_for("the byte is back", lambda: tls_lab.byte_of(server.pid, path, offset) == original)
        exchange(server.port, client())
        assert not drained(ready.ring).secrets
        wait_for("it is looked at again", lambda: tls_lab.byte_of(server.pid, path, offset) == b"\xcc")
        report = attacher.look("shop")
        assert [one.new for one in report.libraries] == [False]
        exchange(server.port, client())
        assert len(drained(ready.ring).secrets) == SECRETS_OF_13


def test_who_writes_through_a_mapping_is_found_by_a_look(
    ready: Programs, attacher: Attacher, folder: Path, library: Path
) -> None:
    """Nobody is told of such writes (inotify(7))."""
    own = folder / "lib"
    own.mkdir()
    shutil.copy(library, own / "libssl.so.3")
    with (
        tls_lab.cgroup("mapped") as place,
        tls_lab.server(folder, place, LD_LIBRARY_PATH=str(own)) as server,
    ):
        path, offset, _ = probed(attacher, server)
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as data:
            data[-1] ^= 1  # in the table of sections, which nobody who runs it reads
            data.flush()
        assert [one.new for one in attacher.look("shop").libraries] == [True]
        assert tls_lab.byte_of(server.pid, path, offset) == b"\xcc"
        exchange(server.port, client())
        assert len(drained(ready.ring).secrets) == SECRETS_OF_13


def test_two_containers_of_one_layer_have_one_probe(
    ready: Programs, attacher: Attacher, certified: Path, tmp_path: Path, library: Path
) -> None:
    """Two overlay mounts of one lower directory, as two containers of an image: one breakpoint, and each secret once.
    When the containers are gone, nothing of ours holds their mounts."""
    lower = tmp_path / "lower"
    lower.mkdir()
    shutil.copy(library, lower / "libssl.so.3")
    with contextlib.ExitStack() as stack:
        servers = []
        place = stack.enter_context(tls_lab.cgroup("containers"))
        running = contextlib.ExitStack()
        stack.callback(attacher.forget, "shop")
        for name in ("a", "b"):
            for part in ("upper", "work", "merged"):
                (tmp_path / name / part).mkdir(parents=True)
            merged = tmp_path / name / "merged"
            options = f"lowerdir={lower},upperdir={tmp_path / name / 'upper'},workdir={tmp_path / name / 'work'}"
            done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=False)
            if done.returncode:
                pytest.skip("no overlayfs here")
            stack.callback(subprocess.run, ["umount", "-q", str(merged)], check=False)
            folder = tmp_path / name / "server"
            shutil.copytree(certified, folder)
            servers.append(running.enter_context(tls_lab.server(folder, place, LD_LIBRARY_PATH=str(merged))))
        report = attacher.want("shop", (), [servers[0].cgroup])
        assert report.processes == 2
        assert len(report.libraries) == 1
        for server in servers:
            exchange(server.port, client())
        told = drained(ready.ring).secrets
        assert len(told) == 2 * SECRETS_OF_13
        assert {one.pid for one in told} == {server.pid for server in servers}
        running.close()
        for name in ("a", "b"):  # nobody has asked for a look
            unmount = ["umount", str(tmp_path / name / "merged")]
            wait_for("the mount is free", lambda unmount=unmount: not subprocess.run(unmount, check=False).returncode)
        assert attacher.look("shop").libraries == ()


def test_a_port_that_nobody_serves(attacher: Attacher) -> None:
    port = refusing_port()
    report = attacher.want("shop", ((port, port),), None)
    assert (report.processes, report.libraries, report.problems) == (0, (), ())
    with pytest.raises(PlatformError, match="no such filter reads TLS"):
        attacher.look("another")


LISTENING = """
import ctypes, os, socket, sys
for path in sys.argv[2:]:
    ctypes.CDLL(path)
os.setresuid(12345, 12345, 12345)
with socket.create_server(("127.0.0.2", int(sys.argv[1]))):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_who_listens_elsewhere_takes_no_probe_from_the_service(
    ready: Programs, folder: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any user may listen on the service's port at another address, with as many libraries as he likes."""
    monkeypatch.setattr(tlsprobes, "MAX_OF_USER", 2)
    copies = [folder / f"libssl-{number}.so.3" for number in range(5)]
    for number, copy in enumerate(copies):
        copy.write_bytes(library.read_bytes() + bytes(number))
    probes = tlsprobes.Probes(dict(ready.probes), ready.probe_maps())
    try:
        with contextlib.ExitStack() as stack:
            place, elsewhere = (stack.enter_context(tls_lab.cgroup(name)) for name in ("service", "elsewhere"))
            server = stack.enter_context(tls_lab.server(folder, place))
            command = [sys.executable, "-c", LISTENING, str(server.port), *map(str, copies)]
            with tls_lab.process(elsewhere, *command):
                report = probes.want("shop", server.ports, None)
                assert report["processes"] == 2
                paths = [one["path"] for one in report["libraries"]]
                assert sum(path.startswith(str(folder)) for path in paths) <= 2
                assert any("user 12345 has 2 probes already" in one["problem"] for one in report["problems"])
                drained(ready.ring)
                exchange(server.port, client())
                assert len(drained(ready.ring).secrets) == SECRETS_OF_13
    finally:
        probes.forget("shop")


def test_programs_without_probes_are_refused(loaded: Programs) -> None:
    assert "tls_scope" not in loaded.maps, "who reads no TLS has nothing of it"
    with pytest.raises(PlatformError, match="without those for TLS"):
        Attacher(loaded)


# --- ways -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [uprobes.MULTI, uprobes.PERF])
def test_both_ways_tell_which_library_it_was(ready: Programs, served: Server, library: Path, way: str) -> None:
    """Before Linux 6.6 there is the second alone."""
    program = bytecode.load_program(
        "tls_secret", ready.probes["tls_secret"], ready.probe_maps(), uprobes.ATTACH_TYPE[way]
    )
    scope = served.cgroup.to_bytes(8, "little")
    found = tlslibs.find_untrusted(library.read_bytes())
    places = [part for place in found.places * abi.TLS_PLACES for part in (abi.TLS_DIRECT, place.offset)]
    ready.maps["tls_places"].update((7).to_bytes(4, "little"), abi.TLS_PLACES_STRUCT.pack(*places[:12]))
    with open(library, "rb") as file:
        links = uprobes.attach(program, file.fileno(), found.offset, 7, way)
    try:
        ready.maps["tls_scope"].update(scope, (1).to_bytes(8, "little"))
        exchange(served.port, client())
        told = drained(ready.ring)
        assert {one.library for one in told.secrets} == {7}
        logged = key_log(served.keys)
        assert told.lines(randoms(logged)) == logged
    finally:
        ready.maps["tls_scope"].delete(scope)
        for descriptor in (*links, program):
            os.close(descriptor)
