"""Which processes a filter is about, and which files their TLS may come from (reads /proc, as the attacher).

Processes are the members of the filter's cgroups, or who holds a socket that listens on its ports, in whatever network
namespace: a container's program holds its own. To see that takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (proc(5): a
process's descriptors are its owner's); without the second, it is the members of the cgroups that the kernel says such
sockets are of, in our own namespace. Files are what a process has mapped to be executed: its program (Go, node, Envoy
have TLS in it) and its libraries.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from shadowd.capture.cgrouptree import cgroup_of, directories, members
from shadowd.capture.neighbours import LISTEN
from shadowd.capture.preflight import cgroup_id, find_cgroup2
from shadowd.capture.selection import ROOT_CGROUP, Ranges, within
from shadowd.capture.sockets import listening
from shadowd.errors import PlatformError

#: Of one filter: each costs some 100 us, and those of one service have the same files.
MAX_PROCESSES = 2_000
#: Of one process: a browser has 200 executable mappings, a JVM with agents 60.
MAX_FILES = 512
#: Lines of /proc/PID/maps that are read: a database with many arenas has some 10,000. (The kernel allows 65,530
#: mappings, vm.max_map_count.)
MAX_LINES = 65_536
#: Lines of a namespace's list of sockets, some 2 us each: what listens comes first (net/ipv4/tcp_ipv4.c).
MAX_SOCKETS = 20_000
#: Descriptors of one process that are looked at: 10 us each.
MAX_DESCRIPTORS = 20_000
DELETED = " (deleted)"
#: ioctl_ns(2): the user namespace around one, and who made it.
_NS_GET_PARENT, _NS_GET_OWNER_UID = 0xB702, 0xB704
_MAX_NESTING = 33  # user_namespaces(7): 32 levels


class Mapped(NamedTuple):
    """A file that is mapped to be executed: its path as the process sees it."""

    path: str
    inode: int

    @property
    def deleted(self) -> bool:
        return self.path.endswith(DELETED)


def mapped_untrusted(lines: Iterator[str]) -> list[Mapped]:
    """Of the lines of /proc/PID/maps (proc_pid_maps(5)); the process chooses the names of its files. Raises nothing."""
    found: dict[tuple[str, str], Mapped] = {}
    for number, line in enumerate(lines):
        if number >= MAX_LINES or len(found) >= MAX_FILES:
            break
        words = line.rstrip("\n").split(None, 5)
        if len(words) == 6 and words[1][2:3] == "x" and words[5].startswith("/") and words[4].isdecimal():
            found.setdefault((words[3], words[4]), Mapped(words[5].replace("\\012", "\n"), int(words[4])))
    return list(found.values())


def mapped_by(pid: int) -> list[Mapped]:
    """What a process executes; nothing of one that is gone. Raises PermissionError."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as lines:
            return mapped_untrusted(iter(lines))
    except PermissionError:
        raise
    except OSError:
        return []


def open_mapped(pid: int, mapped: Mapped) -> int:
    """A descriptor of the file. Raises OSError."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        running = os.stat(f"/proc/{pid}/exe")
        if running.st_ino == mapped.inode:  # also where it was deleted, or its directory is hidden by a mount
            return os.open(f"/proc/{pid}/exe", flags)
    except OSError:
        pass
    return os.open(f"/proc/{pid}/root{mapped.path}", flags)


def processes(ports: Ranges, cgroups: Sequence[int] | None) -> set[int]:
    """Whom a filter is about. ``cgroups`` None: whoever listens on ``ports``."""
    if cgroups is None:
        found, hidden = owners(ports)
        return found if found or not hidden else members_of(_listening_cgroups(ports))
    return members_of(set(cgroups))


def responsible(pid: int) -> int:
    """The user, in our user namespace, whose a process is: in a namespace of its own (a container without root) who
    made that, whatever it calls itself there. Raises OSError."""
    own = os.stat("/proc/self/ns/user").st_ino
    namespace, owner = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC), -1
    try:
        for _ in range(_MAX_NESTING):
            if os.fstat(namespace).st_ino == own:
                break
            owner = int.from_bytes(fcntl.ioctl(namespace, _NS_GET_OWNER_UID, bytes(4)), "little")
            inner, namespace = namespace, fcntl.ioctl(namespace, _NS_GET_PARENT)
            os.close(inner)
    finally:
        os.close(namespace)
    return owner if owner >= 0 else _real_user(pid)


def _real_user(pid: int) -> int:
    """Not the owner of its folder in /proc, which is root where a process does not want to be looked into."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as lines:
        return next((int(line.split()[1]) for line in lines if line.startswith("Uid:")), 0)


def members_of(wanted: set[int]) -> set[int]:
    """The processes in these cgroups and below them."""
    root = find_cgroup2()
    found: set[int] = set()
    for path in ("", *(path for _, path in directories(root))) if root is not None else ():
        assert root is not None
        try:
            if cgroup_id(root / path) not in wanted:
                continue
        except OSError:  # it went meanwhile
            continue
        found |= members(root, path) if path else _direct(root)
        if len(found) >= MAX_PROCESSES:
            break
    return set(sorted(found)[:MAX_PROCESSES])


def _direct(root: Path) -> set[int]:
    """The root stands for those in it directly, as for the probes (bpf/shadowd.bpf.c: in_scope)."""
    try:
        return {int(line) for line in (root / "cgroup.procs").read_text().split()}
    except (OSError, ValueError):
        return set()


def cgroups_of(pids: set[int]) -> set[int]:
    """The ids of the cgroups that these processes are in."""
    root = find_cgroup2()
    found = set()
    for path in {cgroup_of(pid) for pid in pids} if root is not None else ():
        assert root is not None
        try:
            found.add(cgroup_id(root / path))
        except OSError:
            continue
    return found


def _listening_cgroups(ports: Ranges) -> set[int]:
    """Those of the sockets that listen there; the root is nobody's in particular."""
    try:
        return {one.cgroup for one in listening() if within(one.port, ports)} - {0, ROOT_CGROUP}
    except PlatformError:
        return set()


def owners(ports: Ranges) -> tuple[set[int], bool]:
    """Who holds a socket that listens on one of the ports, in any network namespace, and whether some processes could
    not be looked into. Not init, which holds sockets for others. Without ports: nobody, for that would be everybody."""
    if not ports:
        return set(), False
    inodes: dict[int, set[str]] = {}  # by namespace
    found: set[int] = set()
    hidden = False
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        try:
            namespace = os.stat(f"/proc/{pid}/net/dev").st_ino
        except OSError:
            continue
        if namespace not in inodes:
            inodes[namespace] = _listening(pid, ports)
        if not inodes[namespace] or pid == 1:
            continue
        try:
            if _holds(pid, inodes[namespace]):
                found.add(pid)
        except PermissionError:
            hidden = True
        if len(found) >= MAX_PROCESSES:
            break
    return found, hidden


def _listening(pid: int, ports: Ranges) -> set[str]:
    """``socket:[N]`` of what listens there in a process's network namespace."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}", encoding="ascii", errors="replace") as lines:
                next(lines, None)
                for _, line in zip(range(MAX_SOCKETS), lines, strict=False):
                    fields = line.split(None, 10)
                    if int(fields[3], 16) == LISTEN and within(int(fields[1].rpartition(":")[2], 16), ports):
                        found.add(f"socket:[{fields[9]}]")
        except (OSError, ValueError, IndexError):  # gone, no IPv6, another format
            continue
    return found


def _holds(pid: int, links: set[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            for _, file in zip(range(MAX_DESCRIPTORS), files, strict=False):
                try:
                    if os.readlink(file.path) in links:
                        return True
                except FileNotFoundError:  # closed meanwhile
                    continue
    except PermissionError:
        raise
    except OSError:  # it ended
        return False
    return False
