"""What leads to production itself: spellings of this host's addresses, sockets of a cgroup, and what NAT makes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from shadowd.capture.itself import arrives_at, is_local, leads_to
from shadowd.capture.selection import Selected
from shadowd.capture.sockets import listening

LOCAL = (
    "127.0.0.1", "127.9.8.7", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "0.0.0.0", "::", "::ffff:127.0.0.1",
    "::ffff:7f00:1", "::ffff:0.0.0.0", "::FFFF:127.3.2.1", "127.0.0.1%lo", "::1%lo",
)  # fmt: skip
ELSEWHERE = ("192.0.2.200", "2001:db8::7", "::ffff:192.0.2.200", "255.255.255.255", "224.0.0.1", "localhost", "", "1")


@pytest.fixture
def production() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.mark.parametrize("host", LOCAL)
def test_spellings_of_this_host(host: str) -> None:
    assert is_local(host)
    assert leads_to(host, 80, Selected(((79, 81),), None))
    assert not leads_to(host, 82, Selected(((79, 81),), None))


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_hosts(host: str) -> None:
    assert not is_local(host)
    assert not leads_to(host, 80, Selected(((80, 80),), None))


def own_cgroup(port: int) -> int:
    (found,) = [one.cgroup for one in listening() if one.port == port]
    if not found:
        pytest.skip("this kernel does not tell a socket's cgroup")
    return found


@pytest.mark.parametrize("ports", ["none", "its own", "others"])
def test_what_listens_in_a_cgroup_is_selected_with_and_without_ports(production: socket.socket, ports: str) -> None:
    port = production.getsockname()[1]
    given = {"none": (), "its own": ((port, port),), "others": ((1, 2),)}[ports]
    mine = own_cgroup(port)
    assert leads_to("127.0.0.1", port, Selected(given, [mine])) is (ports != "others")
    assert not leads_to("127.0.0.1", port, Selected(given, [mine + 1_000_000]))
    assert not leads_to("127.0.0.1", port, Selected((), ())), "nothing is selected now"


def test_the_other_end_of_a_connection(production: socket.socket) -> None:
    port = production.getsockname()[1]
    mine = own_cgroup(port)
    with socket.create_connection(production.getsockname()) as ours:
        accepted, _ = production.accept()
        with accepted:
            end = ours.getsockname()[:2]
            assert arrives_at([("192.0.2.1", 9), end], Selected(((port, port),), None))
            assert arrives_at([(f"::ffff:{end[0]}", end[1])], Selected(((port, port),), None))
            assert arrives_at([end], Selected((), [mine])), "by its cgroup alone"
            assert not arrives_at([end], Selected((), [mine + 1_000_000]))
            assert not arrives_at([end], Selected(((1, 2),), None))
            assert not arrives_at([], Selected(((port, port),), None))
