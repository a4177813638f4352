"""The TCP sockets of this host as the kernel's socket diagnosis lists them (sock_diag(7)), each with its cgroup.

It needs no capability, unlike the open files of other people's processes. It lists one network namespace; with
CAP_SYS_ADMIN a thread that enters a container's namespace lists that one's (``listening_in``).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from shadowd.errors import PlatformError

#: TCP states of include/net/tcp_states.h as bits
_ESTABLISHED, _LISTEN = 1 << 1, 1 << 10
_INFO = 1 << 1  # INET_DIAG_INFO - 1, include/uapi/linux/inet_diag.h: struct tcp_info
#: Connections that ``traffic`` looks at; some 150 µs each.
MAX_CONNECTIONS = 20_000


class Listening:
    """A listening socket. ``cgroup`` is its id, 0 where the kernel does not tell (before Linux 5.9)."""

    __slots__ = ("address", "cgroup", "inode", "port")

    def __init__(self, address: str, port: int, inode: int, cgroup: int) -> None:
        self.address = address
        self.port = port
        self.inode = inode
        self.cgroup = cgroup


class Traffic:
    """What the present connections of a port have carried, bytes from the service's point of view."""

    __slots__ = ("connections", "received", "sent")

    def __init__(self) -> None:
        self.connections = self.received = self.sent = 0


def listening() -> list[Listening]:
    """All of this network namespace, IPv4 and IPv6. Raises PlatformError where the kernel refuses."""
    found = []
    for entry in _sockets(_LISTEN, 0):
        found.append(
            Listening(
                str(entry["idiag_src"]),
                int(entry["idiag_sport"]),
                int(entry["idiag_inode"]),
                int(entry.get_attr("INET_DIAG_CGROUP_ID") or 0),
            )
        )
    return found


class Established(NamedTuple):
    """A connection: the local port, where the other end is, and the socket's cgroup (0: the kernel does not tell)."""

    port: int
    remote: str
    remote_port: int
    cgroup: int = 0


def established(remote_port: int) -> Iterator[Established]:
    """Connections of this network namespace to a remote port, of which the kernel passes no others: a busy host has a
    hundred thousand, and each that is told costs us 150 µs. Raises PlatformError."""
    for entry in _sockets(_ESTABLISHED, 0, remote_port):
        cgroup = int(entry.get_attr("INET_DIAG_CGROUP_ID") or 0)
        yield Established(int(entry["idiag_sport"]), str(entry["idiag_dst"]), int(entry["idiag_dport"]), cgroup)


def traffic(ports: set[int]) -> dict[int, Traffic]:
    """Of the present connections to local ``ports``; at most MAX_CONNECTIONS are looked at."""
    result = {port: Traffic() for port in ports}
    for count, entry in enumerate(_sockets(_ESTABLISHED, _INFO)):
        if count >= MAX_CONNECTIONS:
            break
        known = result.get(int(entry["idiag_sport"]))
        if known is not None:
            known.connections += 1
            info = entry.get_attr("INET_DIAG_INFO") or {}
            known.received += int(info.get("tcpi_bytes_received", 0))
            known.sent += int(info.get("tcpi_bytes_acked", 0))
    return result


def listening_in(pid: int, ports: bool = True) -> tuple[list[Listening], dict[int, Traffic]]:
    """Of the network namespace of a process: what listens, and its traffic. Raises PermissionError, ProcessLookupError.

    A thread of its own enters the namespace and ends there: no other thread ever leaves ours.
    """
    from pyroute2.netns import setns

    result: list[tuple[list[Listening], dict[int, Traffic]]] = []
    problem: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(descriptor)
            finally:
                os.close(descriptor)
            found = listening()
            result.append((found, traffic({one.port for one in found}) if ports else {}))
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return result[0]


def load() -> None:
    """Load what asks the kernel: 20 MB and 0.15 s of CPU, which had better not fall into the first traffic."""
    import pyroute2  # noqa: F401


def _sockets(states: int, extensions: int, remote_port: int = 0) -> Iterator[Any]:
    from pyroute2 import DiagSocket  # 20 MB: only where it is wanted
    from pyroute2.netlink.exceptions import NetlinkError

    reason = ""
    told = False
    try:
        with DiagSocket() as diagnosis:
            diagnosis.bind()
            for family in (socket.AF_INET, socket.AF_INET6):
                for entry in diagnosis.get_sock_stats(
                    family=family, states=states, extensions=extensions, dport=remote_port
                ):
                    if "idiag_sport" in entry:
                        told = True
                        yield entry
                    else:  # a kernel without the module answers, but not with sockets
                        reason = "it answers otherwise"
    except (OSError, NetlinkError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if reason and not told:
        raise PlatformError(
            f"the kernel does not list sockets: {reason}",
            "it needs CONFIG_INET_DIAG (modprobe tcp_diag, inet_diag); select by port instead",
        )
