"""Addresses and sockets of a network namespace, as /proc shows them; the oracle is what is really bound."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import pytest

from shadowd.capture.neighbours import ESTABLISHED, LISTEN, addresses, neighbours, plain, sockets

OURS = Path("/proc/self/net")
TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.0.0/24 2 0 2
        +-- 10.1.0.0/30 2 0 2
           |-- 10.1.0.0
              /24 link UNICAST
           |-- 10.1.0.2
              /32 host LOCAL
        |-- 10.1.0.255
           /32 link BROADCAST
Local:
     |-- 10.1.0.2
        /32 host LOCAL
     |-- 10.9.0.0
        /24 host LOCAL
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
"""
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
fd000088000000000000000000000002 02 40 00 80     eth0
"""


def test_addresses_that_lead_there_from_outside(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(TRIE)
    (tmp_path / "if_inet6").write_text(IF_INET6)
    assert [str(one) for one in addresses(tmp_path)] == ["10.1.0.2/32", "10.9.0.0/24", "fd00:88::2/128"]


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert addresses(tmp_path) == []
    assert list(sockets(tmp_path)) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_sockets_as_they_are(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        found = [one.local for one in sockets(OURS) if one.port == port and one.state == LISTEN]
        assert found.count(ipaddress.ip_address(host)) == 1  # others may listen on that port of other addresses


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")])
def test_a_connection_by_either_family(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as client:
        client.connect((host, server.getsockname()[1]))
        end = client.getsockname()
        found = [one for one in sockets(OURS) if one.remote_port == end[1] and one.port == server.getsockname()[1]]
        assert [(str(one.remote), str(one.local), one.state) for one in found] == [
            ("127.0.0.1", "127.0.0.1", ESTABLISHED)
        ]


def test_a_literal_address_is_plain() -> None:
    assert [str(plain(one)) for one in ("::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.1")] == [
        "10.0.0.1",
        "fe80::1",
        "10.0.0.1",
    ]
    with pytest.raises(ValueError, match="localhost"):
        plain("localhost")


def test_processes_of_one_namespace_are_one(tmp_path: Path) -> None:
    """By what /proc says of this process: ours is no neighbour of ours, a namespace counts once."""
    proc = tmp_path / "proc"
    for pid, namespace in (("self", "a"), ("1", "a"), ("2", "b"), ("3", "b"), ("4", "c")):
        (proc / pid).mkdir(parents=True)
        (tmp_path / namespace).mkdir(exist_ok=True)
        (tmp_path / namespace / "dev").touch()
        os.symlink(tmp_path / namespace, proc / pid / "net")
    root = tmp_path / "cgroup"
    (root / "x").mkdir(parents=True)
    (root / "x" / "cgroup.procs").write_text("1\n2\n3\n4\n99\n")
    assert neighbours(root, ["x"], proc) == [proc / "2" / "net", proc / "4" / "net"]
    assert neighbours(root, ["gone"], proc) == []
