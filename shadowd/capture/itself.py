"""Whether a target is production itself: replayed requests would be served twice by the very service that answered
them, and writes would run twice.

An address does lead there if it is one of this host's and its port is among those that the filter selects. What NAT
makes of an address shows only in a connection: its other end is then a socket of this network namespace, with a port
and a cgroup of the filter's (``arrives_at``).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence

from shadowd.capture.selection import Selected, within
from shadowd.capture.sockets import established, listening
from shadowd.errors import PlatformError

Address = tuple[str, int]


def is_local(host: str) -> bool:
    """Whether ``host``, a literal address, is one of this network namespace's, on whatever interface."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
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
    the kernel does not tell."""
    if not (selected.ports or selected.cgroups) or not within(port, selected.ports) or not is_local(host):
        return False  # a cgroup without ports: whatever listens in it
    if servers and not any(ipaddress.ip_address(_plain(host)) in ipaddress.ip_network(one) for one in servers):
        return False
    if selected.cgroups is None:
        return True
    try:
        return any(one.port == port and one.cgroup in selected.cgroups for one in listening())
    except PlatformError:
        return False


def arrives_at(ends: Iterable[Address], selected: Selected) -> bool:
    """Whether one of our connections, by their local ``ends``, has its other end at a socket of this namespace that a
    filter selects. The kernel looks at all connections: not for the trio thread. Raises PlatformError."""
    return any(
        _plain(found.remote) == _plain(host)
        and within(found.port, selected.ports)
        and (selected.cgroups is None or found.cgroup in selected.cgroups)
        for host, port in ends
        for found in established(port)
    )


def _plain(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
