"""What this host offers, and who else is there: rights, bcc, the socket, other people's programs, memory, disk."""

from __future__ import annotations

import ctypes.util
import grp
import os
import pwd
import resource
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from shadowd import compiled
from shadowd.capture import bpf
from shadowd.capture.attach import CLASSIFIER, list_classifiers, list_interfaces
from shadowd.capture.preflight import (
    CAP_BPF,
    CAP_NET_ADMIN,
    CAP_PERFMON,
    CAP_SYS_ADMIN,
    effective_capabilities,
    find_bcc_python,
    find_cgroup2,
)
from shadowd.capture.programs import PACKAGED, find_bpf
from shadowd.doctor.finding import Finding
from shadowd.errors import PlatformError

#: Below it the daemon's own limits (256 MB and a ring of 16 MB) would be felt by others.
LEAST_MEMORY = 512 << 20
#: The store's default limit (max_size).
LEAST_DISK = 1 << 30
#: One for each of the shadow's connections, of which a target may have 1,024.
LEAST_FILES = 4096

_GET_PROGRAM = 13  # BPF_PROG_GET_FD_BY_ID
_GET_INFO = 15
_NAME_AT = 64  # offset of name[16] in struct bpf_prog_info
_TCX = {"ingress": bpf.ATTACH_TCX_INGRESS, "egress": bpf.ATTACH_TCX_EGRESS}
_CGROUP = {"ingress": bpf.ATTACH_CGROUP_INGRESS, "egress": bpf.ATTACH_CGROUP_EGRESS}
_OURS = ("tc_", "socket_")  # how our programs' names begin (bpf/shadowd.bpf.c)


def check_rights(daemon: bool) -> Iterator[Finding]:
    """Of this process; they matter where it is to start the daemon."""
    held = effective_capabilities()
    names = ((CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON"), (CAP_NET_ADMIN, "CAP_NET_ADMIN"))
    missing = [name for number, name in names if not (held >> number & 1 or held >> CAP_SYS_ADMIN & 1)]
    if not missing:
        yield Finding("capabilities", "ok", "this process may load and attach programs")
    elif daemon:
        yield Finding("capabilities", "note", f"this process has no {', '.join(missing)}", "the daemon has its own")
    else:
        yield Finding("capabilities", "warning", f"this process has no {', '.join(missing)}",
                      "a daemon started like this cannot capture", "run it as root, or as a service")  # fmt: skip
    root = find_cgroup2()
    if root is None:
        yield Finding("cgroup2", "error", "no cgroup v2 root is mounted", "the socket hook attaches there",
                      "mount -t cgroup2 none /sys/fs/cgroup/unified, or use tc:<interface> hooks")  # fmt: skip
    else:
        yield Finding("cgroup2", "ok", f"cgroup v2 is mounted at {root}")


def check_loader() -> Iterator[Finding]:
    prebuilt = find_bpf("shadowd.bytecode")
    packaged = prebuilt is not None and prebuilt.parent == PACKAGED
    try:
        yield Finding("bcc", "ok", f"bcc can be imported by {find_bcc_python()}")
    except PlatformError as error:
        problem, _, remedy = str(error).partition(" — ")
        if packaged:
            yield Finding("bcc", "ok", "there is no bcc, and none is needed: the package has its bytecode")
        elif prebuilt:
            yield Finding("bcc", "note", problem, "the prebuilt bytecode is used", remedy)
        else:
            yield Finding("bcc", "error", problem, "nothing can be loaded", remedy)
    if prebuilt:
        yield Finding("bytecode", "ok", f"prebuilt bytecode: {prebuilt}")
    else:
        yield Finding("bytecode", "note", "there is no prebuilt bytecode", "it serves hosts without bcc",
                      "make bpf-bytecode")  # fmt: skip
    if compiled.STATE == "compiled":
        yield Finding("compiled", "ok", "the hot modules are compiled")
    else:
        what, _, remedy = compiled.STATE.partition(" — ")
        yield Finding("compiled", "note", f"the hot modules are {what}", "an exchange costs twice as much", remedy)
    library = ctypes.util.find_library("bpf")
    if library is None and packaged:
        return  # it is bcc's
    yield Finding("libbpf", "ok" if library else "note", library or "libbpf is not found",
                  "" if library else "bcc brings a copy on most distributions")  # fmt: skip


def check_socket(path: Path, answered: str, problem: str, version: str) -> Iterator[Finding]:
    """``answered``: the daemon's version, "" if it did not answer, and why in ``problem``."""
    try:
        about = path.stat()
    except FileNotFoundError:
        yield Finding("daemon", "note", f"no daemon listens at {path}", "", "systemctl start shadowd, or shadowd run")
        return
    except PermissionError:
        yield Finding("daemon", "error", f"{path.parent} may not be looked into by {_user(os.geteuid())}",
                      "the daemon cannot be asked", "run it as root, or join the group shadowd")  # fmt: skip
        return
    mode, group = stat.S_IMODE(about.st_mode), _group(about.st_gid)
    told = f"{path}: {_user(about.st_uid)}:{group}, {mode:04o}"
    if answered:
        same = answered == version
        yield Finding("daemon", "ok" if same else "warning", f"the daemon answers, version {answered}",
                      "" if same else f"this command is of version {version}",
                      "" if same else "restart the daemon after an upgrade: systemctl restart shadowd")  # fmt: skip
    elif not os.access(path, os.W_OK):
        yield Finding("daemon", "error", f"{told}: {_user(os.geteuid())} may not write to it",
                      "the daemon cannot be asked", f"run it as root, or join the group {group}")  # fmt: skip
    else:
        what, _, remedy = problem.partition(" — ")
        yield Finding(
            "daemon",
            "warning",
            what,
            f"{told} is there",
            f"{remedy}; as a service: journalctl -u shadowd says why",
        )
    if mode & 0o007:
        yield Finding("socket_open", "warning", f"{told}: everybody may command the daemon", "",
                      "restart the daemon, which makes it 0660; look who changed it")  # fmt: skip


def check_neighbours(daemon: bool) -> Iterator[Finding]:
    """Other people's programs in packets' way, and classifiers that a killed daemon of ours left."""
    try:
        interfaces = list_interfaces()
    except Exception as error:  # pyroute2's errors live in a module of their own
        yield Finding("tc_programs", "unseen", f"interfaces cannot be listed: {error}", "", "run it as root")
        return
    stale = found = 0
    for interface in interfaces:
        for side, kind in _TCX.items():
            try:
                ids = bpf.attached_programs(interface.index, kind)
            except OSError:  # no TCX, or not ours to see
                ids = []
            names = [_program(number) for number in ids]
            if names and not all(name.startswith(_OURS) for name in names):
                found += 1
                yield _chain(f"{interface.name} {side} (TCX, first to last)", names)
        for egress in (False, True):
            try:
                chain = list_classifiers(interface, egress)
            except Exception:  # there is no clsact
                continue
            stale += sum(name == CLASSIFIER[egress] for _, name in chain) if not daemon else 0
            others = [name for _, name in sorted(chain) if name and name not in CLASSIFIER.values()]
            if others:
                found += 1
                yield _chain(f"{interface.name} {'egress' if egress else 'ingress'} (clsact, first to last)", others)
    if stale:
        yield Finding("stale_filters", "warning", f"{stale} classifiers of a shadowd that is gone",
                      "they copy nothing, and cost a little", "shadowd clean, or start the daemon")  # fmt: skip
    if not found:
        yield Finding("tc_programs", "ok", "no other tc programs are attached")
    yield from _at_root()


def _chain(where: str, names: list[str]) -> Finding:
    shown = ", ".join(names[:6])
    if any(name.startswith(("cil_", "cilium")) for name in names):
        return Finding("tc_programs", "note", f"{where}: {shown} (Cilium)",
                       "behind its classifiers nothing is seen where there is no TCX",
                       "use the socket hook, or Linux 6.6")  # fmt: skip
    who = " (Calico)" if any(name.startswith("cali") for name in names) else ""
    return Finding("tc_programs", "note", f"{where}: {shown}{who}", "ours return 'next': they do not change the chain")


def _at_root() -> Iterator[Finding]:
    root = find_cgroup2()
    if root is None:
        return
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for side, kind in _CGROUP.items():
            try:
                names = [_program(number) for number in bpf.attached_programs(descriptor, kind)]
            except (OSError, PlatformError):
                yield Finding("cgroup_programs", "unseen", "programs at the root cgroup cannot be listed", "",
                              "run it as root")  # fmt: skip
                return
            others = [name for name in names if not name.startswith(_OURS)]
            if others:
                yield Finding("cgroup_programs", "note", f"root cgroup {side}: {', '.join(others[:6])}",
                              "what one of them drops, nobody receives; ours never drop")  # fmt: skip
    finally:
        os.close(descriptor)


def _program(number: int) -> str:
    """A program's name, or its id where it may not be looked at."""
    try:
        descriptor, _ = bpf.bpf(_GET_PROGRAM, struct.pack("=II", number, 0), 16)
    except OSError:
        return f"program {number}"
    try:
        info = ctypes.create_string_buffer(256)
        bpf.bpf(_GET_INFO, struct.pack("=IIQ", descriptor, 256, ctypes.addressof(info)), 16)
        return info.raw[_NAME_AT : _NAME_AT + 16].rstrip(b"\0").decode("ascii", "replace") or f"program {number}"
    finally:
        os.close(descriptor)


def check_resources(state: Path) -> Iterator[Finding]:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
    free = int(fields["MemAvailable"].split()[0]) << 10
    if free < LEAST_MEMORY:
        yield Finding("memory", "warning", f"{free >> 20} MB of memory are available",
                      "the daemon may use 256 MB and a ring of 16 MB", "lower memory_max and ring_bytes")  # fmt: skip
    else:
        yield Finding("memory", "ok", f"{free >> 20} MB of memory are available")
    about = os.statvfs(next(path for path in (state, *state.parents) if os.path.exists(path)))
    room = about.f_bavail * about.f_frsize
    if room < LEAST_DISK:
        yield Finding("disk", "warning", f"{room >> 20} MB are free for {state}", "evidence of runs is not stored when "
                      "the disk is full; mirroring goes on", "make room, or lower max_size")  # fmt: skip
    else:
        yield Finding("disk", "ok", f"{room >> 20} MB are free for {state}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < LEAST_FILES:
        yield Finding("files", "warning", f"a process may open {hard} files", "each connection to a shadow is one",
                      "LimitNOFILE= of the service, or ulimit -n")  # fmt: skip
    else:
        yield Finding("files", "ok", f"a process may open {soft} files, {hard} if it asks")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
