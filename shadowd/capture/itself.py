"""Whether a target is production itself: replayed requests would be served twice by the very service that answered
them, and writes would run twice.

An address does lead there if it is one of this host's, or of a selected container's network namespace, and its port is
among those that the filter selects. What NAT makes of an address shows only in a connection: its other end is then a
socket of this network namespace, with a port and a cgroup of the filter's, or of the container's (``arrives_at``).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from shadowd.capture.cgrouptree import directories
from shadowd.capture.neighbours import ESTABLISHED, LISTEN, Address, Socket, addresses, neighbours, plain, sockets
from shadowd.capture.preflight import cgroup_id, find_cgroup2
from shadowd.capture.selection import Selected, within
from shadowd.capture.sockets import established, listening
from shadowd.errors import PlatformError

End = tuple[str, int]


def is_local(host: str) -> bool:
    """Whether ``host``, a literal address, is one of this network namespace's, on whatever interface."""
    try:
        address = plain(host)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:  # the kernel connects to itself for 0.0.0.0 and ::
        return True
    try:
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))  # sends nothing: the kernel chooses a source, which is the address itself
            return bool(ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]) == address)
    except OSError:
        return False


def leads_to(host: str, port: int, selected: Selected, servers: Sequence[str] = ()) -> bool:
    """Whether a literal address and port are among what a filter selects on this host. ``servers``: its networks of
    production's addresses, if it has any. Where it selects by cgroup as well, one of those must listen there: no, where
    the kernel does not tell; or the address is that of a selected container, in whose namespace the port is served."""
    if not (selected.ports or selected.cgroups) or not within(port, selected.ports):
        return False  # a cgroup without ports: whatever listens in it
    try:
        address = plain(host)
    except ValueError:
        return False
    if servers and not any(address in ipaddress.ip_network(one) for one in servers):
        return False
    if not is_local(host):
        return _is_neighbours(address, port, selected)
    if selected.cgroups is None:
        return True
    try:
        return any(one.port == port and one.cgroup in _ids(selected) for one in listening())
    except PlatformError:
        return False


def _is_neighbours(address: Address, port: int, selected: Selected) -> bool:
    """Whether an address is that of a selected container, and the port the filter's, or what it serves now if the
    filter names none."""
    return any(
        any(address in network for network in addresses(net))
        and (bool(selected.ports) or any(_serves(one, address, port) for one in sockets(net)))
        for net in _namespaces(selected)
    )


def _serves(one: Socket, address: Address, port: int) -> bool:
    if one.state != LISTEN or one.port != port:
        return False
    # ``::`` takes connections of IPv4, too, unless it was asked not to
    return one.local == address or (one.local.is_unspecified and one.local.version in (6, address.version))


def arrives_at(ends: Iterable[End], selected: Selected) -> bool:
    """Whether one of our connections, by their local ``ends``, has its other end at a socket of this namespace, or of a
    selected container's, that a filter selects. The kernel looks at all connections: not for the trio thread. Raises
    PlatformError."""
    ours = {(plain(host), port) for host, port in ends}
    ids = None if selected.cgroups is None else _ids(selected)
    if any(
        (plain(found.remote), port) in ours
        and within(found.port, selected.ports)
        and (ids is None or found.cgroup in ids)
        for port in {port for _, port in ours}
        for found in established(port)
    ):
        return True
    return any(
        (one.remote, one.remote_port) in ours and one.state == ESTABLISHED and within(one.port, selected.ports)
        for net in (_namespaces(selected) if ours else ())
        for one in sockets(net)
    )


def _namespaces(selected: Selected) -> list[Path]:
    root = find_cgroup2() if selected.paths else None
    return [] if root is None else neighbours(root, selected.paths)


def _ids(selected: Selected) -> set[int]:
    """Of the selected cgroups and of all below them, which the kernel matches as well."""
    found = set(selected.cgroups or ())
    root = find_cgroup2() if selected.paths else None
    for path in selected.paths if root is not None else ():
        assert root is not None
        for _, below in directories(root / path):
            with contextlib.suppress(OSError):  # it went meanwhile
                found.add(cgroup_id(root / path / below))
    return found
