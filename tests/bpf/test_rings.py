"""A ring for each worker: a flow's records, both directions, go to one of them, and each wakes its own reader alone."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from shadowd.capture import abi, bpf
from shadowd.capture.preflight import check_host, find_bcc_python, find_cgroup2
from shadowd.capture.programs import Programs, load
from shadowd.capture.ring import Ring
from shadowd.capture.rules import Rule
from shadowd.errors import PlatformError
from tests.bpf.packets import ethernet, ipv4, tcp
from tests.bpf.test_programs import TEST_RUN_IFINDEX, Seen
from tests.conftest import ROOT, need

OWN_MARK = 0x10000000  # not the default: daemons of other tests must not be taken for this one
WORKERS = 4
CONNECTIONS = 200


@pytest.fixture(scope="module", params=["bcc", "prebuilt"])
def programs(
    request: pytest.FixtureRequest, root_user: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Programs]:
    """Four rings, by both loaders."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            check_host()
            if request.param == "prebuilt":
                folder = tmp_path_factory.mktemp("rings") / "bpf"
                shutil.copytree(ROOT / "bpf", folder, ignore=shutil.ignore_patterns("*.bytecode", "__pycache__"))
                builder = [find_bcc_python(), str(ROOT / "bpf/build_bytecode.py"), str(folder / "shadowd.bytecode")]
                subprocess.run(builder, check=True, capture_output=True, timeout=300)
                patch.setenv("SHADOWD_BPF_DIR", str(folder))
            patch.setenv("SHADOWD_LOADER", request.param)
            made = load(1 << 20, OWN_MARK, workers=WORKERS)
        except PlatformError as error:
            need(False, str(error))
    yield made
    made.close()


@pytest.fixture
def rings(programs: Programs) -> Iterator[list[Ring]]:
    """The reader of each worker, as its process would open it."""
    opened = [programs.ring, *(programs.open_ring(worker) for worker in range(1, WORKERS))]
    for ring in opened:
        ring.drain(Seen(), 1 << 20)
    yield opened
    programs.apply([])
    for ring in opened[1:]:
        ring.close()


@contextlib.contextmanager
def attached(programs: Programs) -> Iterator[None]:
    """The socket hook of the whole host; other traffic has other ports."""
    cgroup = find_cgroup2()
    need(cgroup is not None, "needs cgroup v2")
    with contextlib.ExitStack() as links:
        root = os.open(str(cgroup), os.O_RDONLY | os.O_DIRECTORY)
        links.callback(os.close, root)
        for name in ("socket_ingress", "socket_egress"):
            link = bpf.link_cgroup(programs.descriptors[name], root, name.endswith("egress"))
            links.callback(os.close, link)
        yield


def prepare(programs: Programs, *rules: Rule) -> None:
    programs.apply(list(rules))
    programs.set_interfaces({TEST_RUN_IFINDEX: (sum(rule.mask for rule in rules if rule.interface), True)}, set())
    programs.keep_alive(time.monotonic_ns() + 600 * 10**9)


def drained(rings: list[Ring]) -> list[Seen]:
    found = [Seen() for _ in rings]
    for ring, seen in zip(rings, found, strict=True):
        while ring.drain(seen, 1 << 20):
            pass
    return found


def echo(listening: socket.socket, connections: int) -> threading.Thread:
    def serve() -> None:
        for _ in range(connections):
            connection, _ = listening.accept()
            with connection:
                while data := connection.recv(1000):
                    connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("shape", ["plain", "decided"])
def test_a_flow_has_one_ring_for_both_directions(programs: Programs, rings: list[Ring], shape: str) -> None:
    """``plain``: a filter of a port alone, whose flows' data are not looked up; ``decided``: one whose are."""
    server = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)
    port = server.getsockname()[1]
    prepare(programs, Rule(0, [(port, port)], clients=["127.0.0.0/8"] if shape == "decided" else []))
    with attached(programs), server:
        thread = echo(server, CONNECTIONS)
        clients = set()
        for number in range(CONNECTIONS):
            with socket.create_connection(("127.0.0.1", port)) as client:
                clients.add(f"127.0.0.1:{client.getsockname()[1]}")
                client.sendall(b"ask %d" % number)
                assert client.recv(1000) == b"ask %d" % number
        thread.join()
    found = drained(rings)
    flows = [{s["client"] for s in seen.segments} for seen in found]
    assert set().union(*flows) == clients, "every connection was captured"
    assert sum(map(len, flows)) == len(clients), "none in two rings"
    for seen in found:
        data: dict[tuple[str, int], bytes] = {}
        for s in seen.segments:
            data[s["client"], s["direction"]] = data.get((s["client"], s["direction"]), b"") + s["payload"]
        assert all(data[client, 0] == data[client, 1] != b"" for client, _ in data), "both directions, whole"
    # binomial(200, 1/4): 50 +- 6
    assert all(20 < len(flow) < 80 for flow in flows), [len(flow) for flow in flows]


def test_sampled_flows_go_to_every_ring(programs: Programs, rings: list[Ring]) -> None:
    """The same hash samples and deals out: what is sampled is the hash's lowest part, not the first worker's."""
    prepare(programs, Rule(0, [(80, 80)], sample=0.25, interface="lo"))
    for port in range(20000, 20800):
        frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(port, 80, b"x")))
        bpf.run_packet(programs.descriptors["tc_ingress"], frame)
    kept = [len(seen.segments) for seen in drained(rings)]
    assert 120 < sum(kept) < 280  # binomial(800, 1/4): 200 +- 12
    assert all(20 < count < 80 for count in kept), kept


def ring_of(programs: Programs, rings: list[Ring], port: int) -> int:
    """Where this client port's flow goes."""
    bpf.run_packet(programs.descriptors["tc_ingress"], ethernet(ipv4("10.0.0.3", "10.0.0.2", tcp(port, 80, b"x"))))
    (worker,) = [number for number, seen in enumerate(drained(rings)) if seen.segments]
    return worker


def test_each_ring_wakes_its_own_reader(programs: Programs, rings: list[Ring]) -> None:
    prepare(programs, Rule(0, [(80, 80)], interface="lo"))
    ports: dict[int, int] = {}
    port = 30000
    while len(ports) < WORKERS:
        ports.setdefault(ring_of(programs, rings, port), port)
        port += 1

    def flags() -> list[int]:
        read = programs.maps["sleeping"].lookup
        return [int.from_bytes(read(number.to_bytes(4, "little")) or b"", "little") for number in range(WORKERS)]

    for woken, client in ports.items():
        pollers = []
        for ring in rings:
            assert ring.prepare_sleep()
            poller = select.epoll()
            poller.register(ring.descriptor, select.EPOLLIN)
            assert poller.poll(0) == []
            pollers.append(poller)
        assert flags() == [1] * WORKERS
        frame = ethernet(ipv4("10.0.0.3", "10.0.0.2", tcp(client, 80, b"wake up")))
        bpf.run_packet(programs.descriptors["tc_ingress"], frame)
        assert flags() == [int(number != woken) for number in range(WORKERS)]
        assert pollers[woken].poll(5), "its reader is woken"
        assert [bool(poller.poll(0)) for poller in pollers] == [number == woken for number in range(WORKERS)]
        for poller in pollers:
            poller.close()
        assert [len(seen.segments) for seen in drained(rings)] == [int(number == woken) for number in range(WORKERS)]
        for ring in rings:
            ring.cancel_sleep()
    assert flags() == [0] * WORKERS


@pytest.mark.parametrize("owner", range(WORKERS))
def test_timing_records_go_to_the_sockets_owner(programs: Programs, rings: list[Ring], owner: int) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    prepare(programs, Rule(0, [(port, port)]))
    with attached(programs), server, socket.socket() as client:
        thread = echo(server, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, OWN_MARK)
        cookie = int.from_bytes(client.getsockopt(socket.SOL_SOCKET, 57, 8), "little")  # SO_COOKIE
        programs.time_socket(cookie, True, owner)
        client.connect(("127.0.0.1", port))
        client.sendall(b"replayed")
        assert client.recv(1000) == b"replayed"
        client.shutdown(socket.SHUT_WR)
        thread.join()
    found = drained(rings)
    assert [bool(seen.timings) for seen in found] == [number == owner for number in range(WORKERS)]
    times = found[owner].timings
    assert {told for told, *_ in times} == {cookie}
    assert [(direction, length) for _, direction, _, length, _, _ in times if length] == [(0, 8), (1, 8)]
    assert [seen.segments for seen in found] == [[]] * WORKERS, (
        "a connection of our own is not captured, by either side"
    )


@pytest.mark.parametrize("workers", [0, -1, abi.MAX_WORKERS + 1])
def test_a_number_of_workers_that_cannot_be(workers: int) -> None:
    with pytest.raises(PlatformError, match=f"there cannot be {workers} workers — have 1 to {abi.MAX_WORKERS}"):
        load(1 << 20, OWN_MARK, workers=workers)


def test_the_most_workers_there_can_be(root_user: None) -> None:
    try:
        check_host()
        many = load(1 << 20, OWN_MARK, workers=abi.MAX_WORKERS)
    except PlatformError as error:
        need(False, str(error))
    open_before = len(os.listdir("/proc/self/fd"))
    assert len({many.ring_descriptor(worker) for worker in range(abi.MAX_WORKERS)}) == abi.MAX_WORKERS
    many.close()
    assert len(os.listdir("/proc/self/fd")) <= open_before - abi.MAX_WORKERS


def test_the_sockets_of_a_worker_that_is_gone_are_timed_no_longer(programs: Programs) -> None:
    before = set(programs.maps["timed"].keys())
    for cookie in range(1, 41):
        programs.time_socket(1_000_000 + cookie, True, cookie % WORKERS)
    programs.forget_times(2)
    left = {int.from_bytes(key, "little") - 1_000_000 for key in set(programs.maps["timed"].keys()) - before}
    assert left == {cookie for cookie in range(1, 41) if cookie % WORKERS != 2}
    for cookie in left:
        programs.time_socket(1_000_000 + cookie, False)
