"""What people know — a process, a unit, a container, a pod — as ports and cgroup ids, which the kernel can match.

A unit or a container is its cgroup: every port that is listened on inside belongs to it. A process is the sockets that
it and its descendants listen on: their ports, together with the cgroups the kernel says the sockets belong to (not
always the process's: with socket activation it is init's). Whose a socket is can be seen by root, or with
CAP_SYS_PTRACE; without, a process that has its cgroup to itself is selected by that.

Answers change as services restart: ``select`` is asked again every few seconds (``RESELECT``), and its problems are
words for the operator, not errors. It blocks for some 10 ms; call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from shadowd.capture.attach import resolve_cgroup
from shadowd.capture.cgrouptree import MAX_DEPTH, cgroup_of, find_container, find_pods, find_unit, members
from shadowd.capture.pods import PodList, PodSelector
from shadowd.capture.preflight import cgroup_id, find_cgroup2
from shadowd.capture.sockets import Listening, listening
from shadowd.errors import ShadowdError

RESELECT = 2.0  # seconds between two looks: what a restarted service's first connections miss at most
ROOT_CGROUP = 1  # its id: inode of the cgroup v2 root, include/linux/cgroup-defs.h

Ranges = tuple[tuple[int, int], ...]


class Selected:
    """``cgroups`` None: any. ``problem`` is "" or why nothing is selected now, ``found`` what is, for people. ``paths``
    of the cgroups below the root, where it is they that were asked for."""

    __slots__ = ("cgroups", "found", "paths", "ports", "problem")

    def __init__(
        self,
        ports: Ranges,
        cgroups: Sequence[int] | None,
        problem: str = "",
        found: str = "",
        paths: Sequence[str] = (),
    ) -> None:
        self.ports = ports
        self.cgroups = None if cgroups is None else tuple(cgroups)
        self.problem = problem
        self.found = found
        self.paths = tuple(paths)

    def same_rule(self, other: Selected) -> bool:
        return (self.ports, self.cgroups) == (other.ports, other.cgroups)


class Wanted:
    """What a filter says of it; at most one of cgroup, unit, container, process, pid and pod is set. ``pods``: where a
    pod is looked for."""

    __slots__ = ("cgroup", "container", "outbound", "pid", "pod", "pods", "ports", "process", "unit")

    def __init__(
        self,
        ports: Ranges,
        cgroup: str | None = None,
        unit: str | None = None,
        container: str | None = None,
        process: str | None = None,
        pid: int | None = None,
        outbound: bool = False,
        pod: PodSelector | None = None,
        pods: PodList | None = None,
    ) -> None:
        self.ports = ports
        self.cgroup = cgroup
        self.unit = unit
        self.container = container
        self.process = process
        self.pid = pid
        self.outbound = outbound
        self.pod = pod
        self.pods = pods

    @property
    def moves(self) -> bool:
        """Whether the answer can change."""
        return bool(self.cgroup or self.unit or self.container or self.process or self.pid or self.pod)


def select(wanted: Wanted) -> Selected:
    """Ports and cgroups of what is wanted, now."""
    if not wanted.moves:
        return Selected(wanted.ports, None)
    root = find_cgroup2()
    if root is None:
        return _nothing(wanted, "no cgroup v2 root is mounted: select by port instead")
    try:
        if wanted.cgroup:
            return _cgroups(wanted, root, [str(resolve_cgroup(wanted.cgroup).relative_to(root))], "")
        if wanted.unit:
            paths = find_unit(root, wanted.unit)
            return _cgroups(wanted, root, paths, f"no unit {wanted.unit} runs now; it is taken up when it starts")
        if wanted.container:
            return _container(wanted, root, wanted.container)
        if wanted.pod and wanted.pods:
            return _pods(wanted, root, wanted.pod, wanted.pods)
        return _processes(wanted, root)
    except (ShadowdError, psutil.Error, OSError) as error:
        return _nothing(wanted, str(error))


def _nothing(wanted: Wanted, problem: str) -> Selected:
    return Selected(wanted.ports, (), problem)


def _cgroups(wanted: Wanted, root: Path, paths: Sequence[str], otherwise: str) -> Selected:
    if not paths:
        return _nothing(wanted, otherwise)
    deep = [path for path in paths if path.count("/") >= MAX_DEPTH]
    if deep:
        return _nothing(wanted, f"the cgroup {deep[0]} lies more than {MAX_DEPTH} levels deep; select by port instead")
    ids = []
    for path in paths:
        try:
            ids.append(cgroup_id(root / path))
        except OSError:  # it went meanwhile
            continue
    if not ids:
        return _nothing(wanted, otherwise)
    return Selected(wanted.ports, sorted(ids), found=f"cgroup {', '.join(paths)}", paths=paths)


def _container(wanted: Wanted, root: Path, container: str) -> Selected:
    paths, ids = find_container(root, container)
    if len(ids) > 1:
        return _nothing(wanted, f"{len(ids)} containers begin with {container}: give more of the ID")
    return _cgroups(wanted, root, paths, f"no container {container} runs on this host now; it is taken up when it does")


def _pods(wanted: Wanted, root: Path, selector: PodSelector, pods: PodList) -> Selected:
    named = {pod.uid: pod for pod in pods.matching(selector)}
    running = find_pods(root, named.keys())
    result = _cgroups(
        wanted,
        root,
        sorted(running.values()),
        f"no pod of {selector} runs on this node now; it is taken up when it does",
    )
    if result.found:
        names = sorted(f"{named[uid].namespace}/{named[uid].name}" for uid in running)
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        result.found = f"pod{'s' * (len(names) > 1)} {', '.join(names[:4])}{more}"
    return result


def _processes(wanted: Wanted, root: Path) -> Selected:
    who = f"process named {wanted.process}" if wanted.process else f"process {wanted.pid}"
    mains = find_processes(wanted.process) if wanted.process else _alive(wanted.pid or 0)
    if not mains:
        again = "; it is taken up when one appears" if wanted.process else ""
        return _nothing(wanted, f"there is no {who} now{again}")
    family = {process.pid: process for process in mains}
    for process in mains:
        for child in _children(process):
            family.setdefault(child.pid, child)
    if wanted.outbound:  # what it connects to has no listening socket here
        return _own_cgroup(wanted, root, set(family), who)
    inodes, hidden = open_sockets(set(family))
    held = [one for one in listening() if one.inode in inodes]
    if held:
        return _held(wanted, held, family)
    if hidden:
        return _own_cgroup(wanted, root, set(family), who)
    return _nothing(wanted, f"{who} listens on no TCP port of this network namespace; it is taken up when it does")


def _held(wanted: Wanted, held: Sequence[Listening], family: dict[int, psutil.Process]) -> Selected:
    ports = sorted({one.port for one in held if within(one.port, wanted.ports)})
    if not ports:
        return _nothing(wanted, "it listens on other ports than the filter's")
    ids = {one.cgroup for one in held}
    cgroups = None if ids & {0, ROOT_CGROUP} else sorted(ids)
    told = f"port{'s' * (len(ports) > 1)} {', '.join(map(str, ports))} of {_pids(family)}"
    return Selected(tuple((port, port) for port in ports), cgroups, found=told)


def _own_cgroup(wanted: Wanted, root: Path, family: set[int], who: str) -> Selected:
    """By its cgroups, if there is nobody else in them."""
    paths = sorted({cgroup_of(pid) for pid in family})
    if "" in paths or any(members(root, path) - family for path in paths):
        return _nothing(
            wanted,
            f"{who} shares its cgroup with others and has no socket that can be told apart; select by port or unit"
            + ("" if wanted.outbound else ", or give the daemon CAP_SYS_PTRACE"),
        )
    return _cgroups(wanted, root, paths, f"there is no {who} now")


def within(port: int, ranges: Ranges) -> bool:
    return not ranges or any(low <= port <= high for low, high in ranges)


def _pids(family: dict[int, psutil.Process]) -> str:
    pids = sorted(family)
    shown = ", ".join(map(str, pids[:4])) + (" …" if len(pids) > 4 else "")
    return f"process{'es' * (len(pids) > 1)} {shown}"


def find_processes(name: str) -> list[psutil.Process]:
    """Processes of that name: as the kernel has it (15 bytes), or the file that runs, or its first argument's.

    An interpreter's script counts (``python3 /srv/app.py`` is app.py). This process and its parents are left out: a
    shell that was asked for nginx is not nginx.
    """
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter(["pid", "name", "cmdline", "status"]):
        about = process.info
        if about["pid"] in ours or about["status"] == psutil.STATUS_ZOMBIE:
            continue
        words = [os.path.basename(word) for word in (about["cmdline"] or [])[:2] if not word.startswith("-")]
        if name == about["name"] or name in words or (words and words[0].split(":")[0] == name):
            found.append(process)
    return found


def _alive(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [] if process.status() == psutil.STATUS_ZOMBIE else [process]
    except psutil.NoSuchProcess:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def open_sockets(pids: set[int]) -> tuple[set[int], bool]:
    """(inodes of the sockets these processes have open, whether some could not be looked into)."""
    inodes: set[int] = set()
    hidden = False
    for pid in pids:
        try:
            with os.scandir(f"/proc/{pid}/fd") as files:
                for file in files:
                    target = _target(file.path)
                    if target.startswith("socket:["):
                        inodes.add(int(target[8:-1]))
        except PermissionError:
            hidden = True
        except OSError:  # it ended
            continue
    return inodes, hidden


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:  # closed meanwhile
        return ""
