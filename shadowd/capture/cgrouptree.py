"""Where units, containers and processes lie in the cgroup v2 tree.

systemd names a directory after each unit (systemd.slice(5)); container runtimes name one after the container's ID, in
one of two ways. The systemd driver makes a scope, ``RUNTIME-ID.scope`` (docker-, cri-containerd-, crio-, libpod-,
nerdctl-), the cgroupfs driver a directory ``ID``. Of a pod Kubernetes makes ``…-podUID.slice``, with ``_`` for ``-``,
or ``podUID``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

MAX_DEPTH = 7  # levels below the root that the kernel program looks at: MAX_CGROUP_DEPTH of bpf/abi.h with the root
MAX_DIRECTORIES = 20_000  # walked; nodes with a thousand containers have some 5,000

_CONTAINER = re.compile(r"(?:(?P<runtime>[a-z][a-z0-9.-]*)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_POD = re.compile(r"(?:(?:[a-z]+-)?kubepods(?:-burstable|-besteffort)?-)?pod(?P<uid>[0-9a-f_-]{16,64})(?:\.slice)?")
_UNIT = re.compile(r".+\.(?:service|scope)")


def container_of(directory: str) -> str:
    """The container's ID if a directory of this name is a container's, else "". Monitors (conmon) are none."""
    found = _CONTAINER.fullmatch(directory)
    if found is None or (found["runtime"] or "").endswith("conmon"):
        return ""
    return found["id"]


def pod_of(directory: str) -> str:
    """The pod's UID if a directory of this name is a pod's, else ""."""
    found = _POD.fullmatch(directory)
    return found["uid"].replace("_", "-") if found else ""


def owner(path: str) -> tuple[str, str]:
    """(unit, container ID) that a cgroup's path below the root belongs to, "" for what it does not: the innermost."""
    unit = container = ""
    for name in path.strip("/").split("/"):
        container = container_of(name) or container
        if _UNIT.fullmatch(name) and not name.startswith("user@"):
            unit = name
    return ("", container) if container else (unit, "")


def directories(root: Path) -> Iterator[tuple[str, str]]:
    """(name, path below the root) of every cgroup, at most MAX_DIRECTORIES; those that go meanwhile are left out."""
    waiting, count = [""], 0
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(root / above) as entries:
                found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        for name in found:
            count += 1
            if count > MAX_DIRECTORIES:
                return
            path = f"{above}/{name}" if above else name
            yield name, path
            waiting.append(path)


def find_unit(root: Path, unit: str) -> list[str]:
    """Paths of a systemd unit; ``checkout`` means ``checkout.service``. Users' managers may run several of one name."""
    wanted = unit if re.search(r"\.(?:service|scope|slice|socket)$", unit) else f"{unit}.service"
    return _outermost(path for name, path in directories(root) if name == wanted)


def find_container(root: Path, container: str) -> tuple[list[str], list[str]]:
    """(paths, IDs found) of a container by ID or the beginning of one, or of the pod ``pod:UID``."""
    if container.startswith("pod:"):
        uid = container[4:].lower()
        found = [(pod_of(name), path) for name, path in directories(root)]
        return _outermost(path for pod, path in found if pod == uid), [uid]
    wanted = container.lower()
    matching = [(container_of(name), path) for name, path in directories(root)]
    matching = [(known, path) for known, path in matching if known.startswith(wanted) and known]
    return _outermost(path for _, path in matching), sorted({known for known, _ in matching})


def find_pods(root: Path, uids: Collection[str]) -> dict[str, str]:
    """Path of each of these pods (UIDs) that has a cgroup now."""
    found: dict[str, str] = {}
    for name, path in directories(root):
        uid = pod_of(name)
        if uid in uids:
            found.setdefault(uid, path)  # the outermost: what is above is walked first
    return found


def _outermost(paths: Iterator[str]) -> list[str]:
    """Without those below another: the kernel's match includes what is below."""
    result: list[str] = []
    for path in sorted(paths):
        if not any(path.startswith(f"{above}/") for above in result):
            result.append(path)
    return result


def cgroup_of(pid: int) -> str:
    """Path of a process's cgroup v2 below the root as this process sees it, "" where it is the root or unknown."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                if line.startswith("0::"):
                    return line[3:].strip().strip("/")
    except OSError:
        pass
    return ""


def members(root: Path, path: str) -> set[int]:
    """All processes in a cgroup and below it."""
    found: set[int] = set()
    for inside in ("", *(below for _, below in directories(root / path))):
        try:
            found.update(int(line) for line in (root / path / inside / "cgroup.procs").read_text().split())
        except (OSError, ValueError):  # gone, or a threaded cgroup, whose processes its parent lists
            continue
    return found
