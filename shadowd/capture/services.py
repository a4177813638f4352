"""The TCP services of this host: what listens, whose it is, and what its present connections have carried.

Sockets come from the kernel's socket diagnosis, one network namespace after the other; processes from the open files,
which only root sees of everybody's. Services of other namespaces (containers with an address of their own) are found
where this process may enter them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

from shadowd.capture.cgrouptree import cgroup_of, directories, owner
from shadowd.capture.preflight import cgroup_id, find_cgroup2
from shadowd.capture.selection import open_sockets
from shadowd.capture.sockets import Traffic, listening, listening_in, traffic
from shadowd.errors import ShadowdError

MAX_NAMESPACES = 1024  # entered: one a pod on a full node, with a margin


class Service:
    """A port that a process and its workers listen on. ``pid``: the eldest's, 0 where it could not be seen;
    ``namespaced``: in a network namespace other than ours; ``ours``: a daemon of shadowd. ``received`` and ``sent`` in
    bytes of the present connections."""

    __slots__ = (
        "_place", "addresses", "connections", "container", "namespaced", "ours", "pid", "port", "process", "received",
        "sent", "unit",
    )  # fmt: skip

    def __init__(self, port: int, place: int, namespaced: bool, whose: _Whose) -> None:
        self.port = port
        self.namespaced = namespaced
        self._place = place
        self.pid, self.process, self.unit, self.container = whose.pid, whose.process, whose.unit, whose.container
        self.ours = whose.ours
        self.addresses: list[str] = []
        self.connections = self.received = self.sent = 0

    @property
    def family(self) -> tuple[object, ...]:
        """The same for all ports of one service, as far as is seen what belongs together."""
        unit = self.unit if self.unit.endswith(".service") else ""
        return self._place, self.container or unit or self.pid or (self.port,)

    @property
    def loopback_only(self) -> bool:
        return all(address.startswith("127.") or address == "::1" for address in self.addresses)


def list_services() -> tuple[list[Service], list[str]]:
    """All of them by port, and what could not be seen, a sentence each. Raises PlatformError."""
    unseen: list[str] = []
    owners, hidden = _owners()
    if hidden:
        unseen.append(f"the sockets of {hidden} processes of other users cannot be seen — run it as root")
    here = listening()
    places = [(False, here, traffic({one.port for one in here}))]
    closed = 0
    for pid in _namespaces():
        try:
            places.append((True, *listening_in(pid)))
        except (OSError, ShadowdError):
            closed += 1
    if closed:
        unseen.append(f"{closed} other network namespaces cannot be entered — run it as root")
    paths = _paths({one.cgroup for _, sockets, _ in places for one in sockets if one.inode not in owners})
    found: dict[tuple[object, ...], Service] = {}
    known: dict[object, _Whose] = {}
    for place, (namespaced, sockets, carried) in enumerate(places):
        for one in sockets:
            pid = owners.get(one.inode, 0)
            whose = known.setdefault(pid or one.inode, _Whose(pid, paths.get(one.cgroup, "")))
            key = (place, whose.family, one.port)
            service = found.get(key)
            if service is None:
                service = found[key] = Service(one.port, place, namespaced, whose)
                _count(service, carried.get(one.port))
            elif 0 < whose.pid < service.pid:  # of workers that each have a socket, the eldest
                service.pid = whose.pid
            if one.address not in service.addresses:
                service.addresses.append(one.address)
    return sorted(found.values(), key=lambda service: (service.namespaced, service.port, service.pid)), unseen


def behind(service: Service, others: Iterable[Service]) -> list[Service]:
    """Those of ``others`` to which the service's processes have connections now: a proxy's upstreams on this host."""
    listed = {one.port: one for one in others if not one.namespaced and one.port != service.port}
    found: dict[int, Service] = {}
    try:
        eldest = psutil.Process(service.pid)
        family = [eldest, *eldest.children(recursive=True)]
    except psutil.Error:
        return []
    for process in family:
        ask = getattr(process, "net_connections", None) or process.connections  # its name before psutil 6
        try:
            connections = ask(kind="tcp")
        except psutil.Error:  # it ended, or hides them
            continue
        for one in connections:
            if one.status != psutil.CONN_ESTABLISHED or not one.raddr or one.laddr.port == service.port:
                continue
            if one.raddr.port in listed and one.raddr.ip in {one.laddr.ip, "127.0.0.1", "::1"}:
                found[one.raddr.port] = listed[one.raddr.port]
    return [found[port] for port in sorted(found)]


class _Whose:
    """Whose a socket is: ``path`` is its cgroup where the process is hidden. ``family``: its container or unit, else
    the eldest of its line that has the same name; "" where nothing of that is seen."""

    def __init__(self, pid: int, path: str) -> None:
        self.pid = pid
        self.process = self.family = ""
        self.ours = False
        self.unit, self.container = owner(cgroup_of(pid) if pid else path)
        try:
            if pid:
                self._look(psutil.Process(pid))
        except psutil.Error:  # it ended
            self.pid = 0
        self.family = self.container or (self.unit if self.unit.endswith(".service") else self.family)

    def _look(self, process: psutil.Process) -> None:
        self.process = process.name()
        eldest = process
        for parent in process.parents():
            if parent.name() != self.process:
                break
            eldest = parent
        self.family = f"pid {eldest.pid}"
        words = process.cmdline()[:4]  # of an interpreter, its options and its module
        self.ours = any(word == "shadowd.cli.shadowd" or word.rpartition("/")[2] == "shadowd" for word in words)


def _count(service: Service, carried: Traffic | None) -> None:
    if carried is not None:
        service.connections, service.received, service.sent = carried.connections, carried.received, carried.sent


def _owners() -> tuple[dict[int, int], int]:
    """Socket inode → the eldest process that has it open (init aside), and how many processes hide theirs."""
    owners: dict[int, int] = {}
    hidden = 0
    for process in sorted(psutil.process_iter(["create_time"]), key=lambda one: one.info["create_time"] or 0.0):
        if process.pid == 1:  # holds the sockets of services that start when first asked
            continue
        inodes, denied = open_sockets({process.pid})
        hidden += denied
        for inode in inodes:
            owners.setdefault(inode, process.pid)
    return owners, hidden


def _namespaces() -> list[int]:
    """A process of every network namespace but ours."""
    found: dict[int, int] = {}
    try:
        found[os.stat("/proc/self/ns/net").st_ino] = 0
    except OSError:
        return []
    for pid in psutil.pids():
        try:
            found.setdefault(os.stat(f"/proc/{pid}/ns/net").st_ino, pid)
        except OSError:
            continue
    return [pid for pid in found.values() if pid][:MAX_NAMESPACES]


def _paths(ids: Iterable[int]) -> dict[int, str]:
    """Cgroup id → path, for sockets whose process is hidden."""
    wanted, root = set(ids), find_cgroup2()
    found: dict[int, str] = {}
    if root is None or not wanted:
        return found
    for _, path in directories(Path(root)):
        try:
            number = cgroup_id(root / path)
        except OSError:
            continue
        if number in wanted:
            found[number] = path
    return found
