"""Where the programs sit: on the root cgroup (socket hook) and on interfaces (tc hook).

Socket hook: two links on the root of cgroup v2; gone with their descriptors. tc hook: a TCX link where the kernel has
it (6.6), else clsact and a direct-action classifier through netlink. Classifiers outlive a killed daemon, so they bear
a fixed name, handle and priority; at start exactly those are removed and nothing else, and the clsact qdisc is left
alone (others use it). Our programs return "next" on every path, so order matters only for what ends the chain first.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import socket
from pathlib import Path
from typing import Any

from shadowd.capture import bpf
from shadowd.capture.preflight import find_cgroup2
from shadowd.capture.programs import Programs
from shadowd.errors import PlatformError

CLASSIFIER = {False: "shadowd:v1:in", True: "shadowd:v1:out"}  # by egress
PRIORITY = 61170  # never 1: Cilium owns it; high, so that ordinary classifiers stay before us
HANDLE = 0x5AD0
CLSACT_INGRESS, CLSACT_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
ETHERNET_TYPES = frozenset({1, 772})  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_RTMGRP_LINK = 1
ETH_P_ALL = 3  # linux/if_ether.h, in host order: pyroute2 turns it round
_NO_TCX = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class Interface:
    """A network interface as netlink lists it."""

    __slots__ = ("ethernet", "index", "name")

    def __init__(self, index: int, name: str, ethernet: bool) -> None:
        self.index = index
        self.name = name
        self.ethernet = ethernet


class SocketHook:
    """The two links on the root cgroup."""

    def __init__(self, programs: Programs) -> None:
        root = find_cgroup2()
        if root is None:
            raise PlatformError("no cgroup v2 root is mounted: the socket hook cannot be attached",
                                "mount -t cgroup2 none DIR, or use a tc:<interface> hook")  # fmt: skip
        self._links: list[int] = []
        cgroup = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, egress in (("socket_egress", True), ("socket_ingress", False)):
                self._links.append(bpf.link_cgroup(programs.descriptors[name], cgroup, egress))
        except OSError as error:
            self.close()
            raise PlatformError(
                f"the socket hook could not be attached to {root}: {error.strerror}",
                "check for CAP_NET_ADMIN, and for a program attached without BPF_F_ALLOW_MULTI (bpftool cgroup show)",
            ) from error
        finally:
            os.close(cgroup)

    def close(self) -> None:
        for link in self._links:
            os.close(link)
        self._links = []


class InterfaceHook:
    """Our programs on one interface, both directions (``lo``: ingress alone, for it shows each packet twice)."""

    def __init__(self, programs: Programs, interface: Interface) -> None:
        self.interface = interface
        self.kind = "tcx"
        self._links: list[int] = []
        self._sides = (False,) if interface.name == "lo" else (False, True)
        try:
            for egress in self._sides:
                name = "tc_egress" if egress else "tc_ingress"
                self._links.append(bpf.link_tcx(programs.descriptors[name], interface.index, egress))
        except OSError as error:
            self.close()
            if error.errno not in _NO_TCX:
                raise PlatformError(
                    f"cannot attach to {interface.name}: {error.strerror}", "check for CAP_NET_ADMIN"
                ) from error
            self.kind = "clsact"
            for egress in self._sides:
                _add_classifier(programs.descriptors["tc_egress" if egress else "tc_ingress"], interface, egress)

    def close(self) -> None:
        for link in self._links:
            os.close(link)
        self._links = []
        if self.kind == "clsact":
            remove_classifiers([self.interface])


def _route() -> Any:
    from pyroute2 import IPRoute  # 20 MB: only hosts that use the tc hook pay for it

    return IPRoute()


def list_interfaces(pattern: str = "*") -> list[Interface]:
    """Interfaces of this network namespace whose names match a glob."""
    with _route() as route:
        return [
            Interface(link["index"], link.get_attr("IFLA_IFNAME"), link["ifi_type"] in ETHERNET_TYPES)
            for link in route.get_links()
            if fnmatch.fnmatchcase(link.get_attr("IFLA_IFNAME"), pattern)
        ]


def _classifiers(route: Any, interface: Interface, egress: bool) -> list[tuple[int, str]]:
    """(priority, name) of the bpf classifiers of one side."""
    found = []
    for entry in route.get_filters(index=interface.index, parent=CLSACT_EGRESS if egress else CLSACT_INGRESS):
        options = entry.get_attr("TCA_OPTIONS")
        name = options.get_attr("TCA_BPF_NAME") if options is not None and hasattr(options, "get_attr") else None
        found.append((entry["info"] >> 16, str(name or "")))
    return found


def list_classifiers(interface: Interface, egress: bool) -> list[tuple[int, str]]:
    """(priority, name) of the bpf classifiers that anybody has on one side of an interface."""
    with _route() as route:
        return _classifiers(route, interface, egress)


def _add_classifier(program: int, interface: Interface, egress: bool) -> None:
    with _route() as route:
        try:
            route.tc("add", "clsact", interface.index)
        except Exception as error:  # NetlinkError lives in a module of its own; EEXIST means that clsact is there
            if getattr(error, "code", None) != errno.EEXIST:
                raise PlatformError(
                    f"cannot add clsact to {interface.name}: {error}", "check for CAP_NET_ADMIN"
                ) from error
        ahead = [
            name
            for priority, name in _classifiers(route, interface, egress)
            if 0 < priority < PRIORITY and "cil" in name
        ]
        if ahead:
            raise PlatformError(
                f"{ahead[0]} (Cilium) on {interface.name} ends the chain before us: nothing would be seen",
                "use the socket hook, or a kernel with TCX (6.6 or later)",
            )
        parent = CLSACT_EGRESS if egress else CLSACT_INGRESS
        route.tc(
            "add-filter", "bpf", interface.index, HANDLE, fd=program, name=CLASSIFIER[egress], parent=parent,
            prio=PRIORITY, protocol=ETH_P_ALL, classid=1, direct_action=True,
        )  # fmt: skip


def remove_classifiers(interfaces: list[Interface]) -> int:
    """Delete classifiers of ours that a killed daemon left: exact name, priority and handle. Returns how many."""
    removed = 0
    with _route() as route:
        for interface in interfaces:
            for egress, name in CLASSIFIER.items():
                if (PRIORITY, name) in _classifiers(route, interface, egress):
                    parent = CLSACT_EGRESS if egress else CLSACT_INGRESS
                    route.tc("del-filter", "bpf", interface.index, HANDLE, parent=parent, prio=PRIORITY,
                             protocol=ETH_P_ALL)  # fmt: skip
                    removed += 1
    return removed


def clean_interfaces() -> int:
    """``remove_classifiers`` on every interface of this namespace. Raises PlatformError where it may not."""
    try:
        return remove_classifiers(list_interfaces())
    except Exception as error:  # NetlinkError lives in a module of its own
        code = getattr(error, "code", None)
        reason = os.strerror(code) if isinstance(code, int) else str(error)
        raise PlatformError(f"classifiers cannot be removed: {reason}", "run as root or with CAP_NET_ADMIN") from None


def open_link_events() -> socket.socket:
    """A netlink socket that becomes readable when interfaces come and go; what it says is only a reason to look."""
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    events.bind((0, _RTMGRP_LINK))
    return events


def drain_events(events: socket.socket) -> None:
    """Read what is there; an overrun (ENOBUFS) is one more reason to look."""
    while True:
        try:
            events.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def resolve_cgroup(selected: str) -> Path:
    """The directory of a cgroup given by path, absolute or below the cgroup v2 root."""
    root = find_cgroup2()
    if root is None:
        raise PlatformError("no cgroup v2 root is mounted: filters by cgroup cannot work", "select by port instead")
    path = Path(selected)
    inside = path if path.is_relative_to(root) else root / selected.lstrip("/")
    if not inside.is_dir():
        raise PlatformError(
            f"there is no cgroup {selected}", f"give a path below {root}, for example system.slice/nginx.service"
        )
    return inside
