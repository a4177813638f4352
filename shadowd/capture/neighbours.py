"""Network namespaces of what is selected: their addresses and sockets, beside our own namespace.

Read from ``/proc/PID/net``, which shows the namespace of that process and needs no capability (proc_pid_net(5)): the
daemon may neither enter namespaces nor look at the links under ``/proc/PID/ns``. Whose a socket in such a namespace is,
is not told.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from shadowd.capture.cgrouptree import members

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Processes looked at, some 10 us each: containers have a few, and those of one mostly share their namespace.
MAX_PROCESSES = 2_000
#: Lines of a list of sockets, some 2 us each.
MAX_SOCKETS = 20_000
ESTABLISHED, LISTEN = 1, 10  # include/net/tcp_states.h
_LEAF = re.compile(r"\|-- ([0-9.]+)")
_LOCAL = re.compile(r"/(\d+) host LOCAL")
_SOCKET = re.compile(r"\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) ([0-9A-F]+):([0-9A-F]{4}) ([0-9A-F]{2}) ")


class Socket(NamedTuple):
    """A TCP socket. Addresses of IPv4 are such, by whatever family the socket is."""

    local: Address
    port: int
    remote: Address
    remote_port: int
    state: int


def neighbours(root: Path, paths: Iterable[str], proc: Path = Path("/proc")) -> list[Path]:
    """``/proc/PID/net`` of one process for each other network namespace that processes of these cgroups are in."""
    known = {_identity(proc / "self" / "net")}
    found = []
    pids = itertools.chain.from_iterable(sorted(members(root, path)) for path in paths)
    for pid in itertools.islice(pids, MAX_PROCESSES):
        net = proc / str(pid) / "net"
        identity = _identity(net)
        if identity and identity not in known:
            known.add(identity)
            found.append(net)
    return found


def _identity(net: Path) -> int:
    """Of a namespace: each has files of its own under ``net``. 0 if the process ended."""
    try:
        return os.stat(net / "dev").st_ino
    except OSError:
        return 0


def addresses(net: Path) -> list[Network]:
    """All that lead to this namespace from outside: loopback is everybody's own."""
    found: list[Network] = []
    leaf = ""
    for line in _lines(net / "fib_trie"):
        at, local = _LEAF.search(line), _LOCAL.search(line)
        if at is not None:
            leaf = at[1]
        elif local is not None and leaf:
            found.append(ipaddress.ip_network(f"{leaf}/{local[1]}", strict=False))
    for line in _lines(net / "if_inet6"):
        found.append(ipaddress.ip_network(bytes.fromhex(line.split()[0])))
    return [one for one in dict.fromkeys(found) if not one.is_loopback]


def sockets(net: Path) -> Iterator[Socket]:
    """Of the namespace, at most ``MAX_SOCKETS`` of each family."""
    for name in ("tcp", "tcp6"):
        for line in itertools.islice(_lines(net / name), MAX_SOCKETS):
            found = _SOCKET.match(line)
            if found is not None:
                local, port, remote, remote_port, state = found.groups()
                yield Socket(_address(local), int(port, 16), _address(remote), int(remote_port, 16), int(state, 16))


def plain(host: str) -> Address:
    """A literal address without its zone; one of IPv4 that is mapped into IPv6 is itself. Raises ValueError."""
    return _unmapped(ipaddress.ip_address(host.partition("%")[0]))


def _address(text: str) -> Address:
    """Words of 32 bits in hexadecimal, each of network order in host order."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    return _unmapped(ipaddress.ip_address(b"".join(words)))


def _unmapped(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def _lines(file: Path) -> Iterator[str]:
    """Of a file of /proc; none where there is no such thing, or the process ended."""
    try:
        with open(file, encoding="ascii", errors="replace") as lines:
            yield from lines
    except OSError:
        return
