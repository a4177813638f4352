"""The attacher: a process that puts probes on TLS libraries for the daemon, and holds them.

    python -m shadowd.capture.tlsattacher SOCKET_FD

It is apart from the daemon for its rights: it keeps CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH
(CAP_SYS_ADMIN, too, where the kernel has no uprobe_multi links), which the daemon, who reads strangers' bytes, has
given up. It reads no traffic and never sees a secret: those go from the kernel into the workers' rings. When the daemon
ends, the socket does, and so does the attacher; with it the kernel takes every probe out again, also if it is killed.

It is told the programs and maps once, in its first message (``begin``), so that later nobody can have it load others.
Then requests and answers alternate, a JSON object each: ``{"want": name, "ports": [[first, last], …], "cgroups": [id,
…] or null}``, ``{"look": name}``, ``{"forget": name}``. The answers are in ``tlsattach.py``.

Files are other people's, and are looked into without any of these rights (``tlsexamine.py``).
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import stat
import sys
import time
from typing import Any, NamedTuple

from shadowd.capture import abi, bytecode, tlsdiscovery, uprobes
from shadowd.capture.bpf import Map
from shadowd.capture.capabilities import CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, give_up_all_but
from shadowd.capture.preflight import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, kernel_release
from shadowd.capture.tlsexamine import Key, examine, identity
from shadowd.capture.tlslibs import ABI_GO, UNKNOWN, Finding, LibraryError, Place, usual_places
from shadowd.errors import ShadowdError

#: Bytes of a message either way: 64 libraries and as many problems, some 300 bytes each.
MESSAGE = 64 << 10
MAX_TOLD = 64
MAX_TEXT = 200
#: What was found in files is remembered: a host's processes have some hundred. Beyond, the oldest are looked at again.
MAX_KNOWN = 4096
#: Filters: as many as the kernel's programs have.
MAX_WANTS = abi.MAX_FILTERS
#: Seconds that a probe stays on a file that no process of its filter has: a service that is restarted has it again. Of
#: the host's own file systems alone: the kernel's link holds the mount that a file is on, and others, those of
#: containers, shall be able to go with their last process.
KEEP = 600.0
_UPROBE_MULTI_SINCE = (6, 6)


class Attached(NamedTuple):
    finding: Finding
    path: str
    number: int  # its cookie
    descriptors: list[int]
    way: str
    keep: float  # seconds: KEEP or 0


class Want:
    """What one filter asks for. ``seen``: when a process of it last had a file."""

    __slots__ = ("cgroups", "ports", "scope", "seen")

    def __init__(self, ports: tuple[tuple[int, int], ...], cgroups: list[int] | None) -> None:
        self.ports = ports
        self.cgroups = cgroups
        self.scope: set[int] = set(cgroups or ())
        self.seen: dict[Key, float] = {}


class Attacher:
    """All filters' probes."""

    def __init__(self, programs: dict[str, Any], maps: dict[str, int]) -> None:
        self._programs = programs
        self._maps = maps
        self._scope = Map(maps["tls_scope"], *abi.MAPS["tls_scope"])
        self._places = Map(maps["tls_places"], *abi.MAPS["tls_places"])
        self._loaded: dict[tuple[str, str], int] = {}
        self._known: dict[Key, Finding | LibraryError] = {}
        self._attached: dict[Key, Attached] = {}
        self._wants: dict[str, Want] = {}
        self._in_scope: set[int] = set()
        self._last_number = 0
        self.way = self._choose()
        self._write_places(0, usual_places(UNKNOWN))
        for key in list(self._scope.keys()):  # of an attacher before this one
            self._scope.delete(key)

    def _choose(self) -> str:
        """The way of this kernel, by trying. Raises BytecodeError."""
        try:
            self._program(False, uprobes.MULTI)
        except bytecode.BytecodeError:
            self._program(False, uprobes.PERF)
            return uprobes.PERF
        return uprobes.MULTI

    def _program(self, go: bool, way: str) -> int:
        name = "tls_secret_go" if go else "tls_secret"
        if (name, way) not in self._loaded:
            made = bytecode.load_program(name, self._programs[name], self._maps, uprobes.ATTACH_TYPE[way])
            self._loaded[name, way] = made
        return self._loaded[name, way]

    # --- requests -----------------------------------------------------------------------------------------------------

    def want(self, name: str, ports: tuple[tuple[int, int], ...], cgroups: list[int] | None) -> dict[str, Any]:
        if name not in self._wants and len(self._wants) >= MAX_WANTS:
            return {"error": f"there are {MAX_WANTS} filters that read TLS already"}
        before = self._wants.get(name)
        self._wants[name] = wanted = Want(ports, cgroups)
        if before is not None:
            wanted.seen = before.seen
        return self.look(name)

    def look(self, name: str) -> dict[str, Any]:
        """Look for files that a filter's processes have now."""
        want = self._wants.get(name)
        if want is None:
            return {"error": "no such filter reads TLS"}
        now = time.monotonic()
        pids = tlsdiscovery.processes(want.ports, want.cgroups)
        # first the scope: what a probe hits from its first moment on is wanted
        want.scope = set(want.cgroups) if want.cgroups is not None else tlsdiscovery.cgroups_of(pids)
        self._write_scope()
        fresh: list[Key] = []
        problems: dict[str, dict[str, str]] = {}
        looked: set[tuple[int, str]] = set()
        for pid in sorted(pids):
            self._look_at(pid, want, now, looked, fresh, problems)
        for key, seen in list(want.seen.items()):
            if key not in self._attached or now - seen > self._attached[key].keep:
                del want.seen[key]
        self._drop()
        libraries = [self._told(key, key in fresh) for key in want.seen if key in self._attached]
        return {
            "processes": len(pids),
            "libraries": libraries[:MAX_TOLD],
            "problems": list(problems.values())[:MAX_TOLD],
        }

    def forget(self, name: str) -> dict[str, Any]:
        self._wants.pop(name, None)
        self._write_scope()
        self._drop()
        return {}

    # --- files --------------------------------------------------------------------------------------------------------

    def _look_at(
        self, pid: int, want: Want, now: float, looked: set[tuple[int, str]], fresh: list[Key],
        problems: dict[str, dict[str, str]],
    ) -> None:  # fmt: skip
        try:
            files = tlsdiscovery.mapped_by(pid)
            namespace = os.stat(f"/proc/{pid}/ns/mnt").st_ino  # a path means one file there
        except OSError as error:
            if isinstance(error, PermissionError):
                _note(problems, f"process {pid}", "", f"it may not be looked into: {error.strerror}",
                      "give the attacher CAP_SYS_PTRACE")  # fmt: skip
            return
        for mapped in files:
            if (namespace, f"{mapped.inode} {mapped.path}") in looked:
                continue
            looked.add((namespace, f"{mapped.inode} {mapped.path}"))
            try:
                descriptor = tlsdiscovery.open_mapped(pid, mapped)
            except OSError as error:
                if not mapped.deleted:
                    _note(problems, mapped.path, "", f"it cannot be opened: {error.strerror}",
                          "give the attacher CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")  # fmt: skip
                elif "ssl" in mapped.path or "tls" in mapped.path:
                    _note(problems, mapped.path, "", "it was replaced while its process runs",
                          "restart the process")  # fmt: skip
                continue
            try:
                key = self._file(descriptor, mapped.path, fresh, problems)
            finally:
                os.close(descriptor)
            if key is not None:
                want.seen[key] = now

    def _file(self, descriptor: int, path: str, fresh: list[Key], problems: dict[str, dict[str, str]]) -> Key | None:
        """The file's key if a probe is on it now."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        key = identity(descriptor, status)
        if key in self._attached:
            return key
        found = self._known.pop(key, None) or examine(descriptor, status.st_size)
        self._known[key] = found  # as the youngest
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        if isinstance(found, LibraryError):
            if found.kind:
                _note(problems, path, found.kind, str(found), found.remedy)
            return None
        try:
            self._attached[key] = self._attach(descriptor, found, path)
        except (OSError, ShadowdError, bytecode.BytecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            _note(problems, path, found.kind, f"no probe can be put on it: {reason}",
                  "check that the attacher has CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN before Linux 6.6)")  # fmt: skip
            return None
        fresh.append(key)
        return key

    def _attach(self, descriptor: int, found: Finding, path: str) -> Attached:
        number = self._free_number()
        if number:
            self._write_places(number, found.places)
        go = found.abi == ABI_GO
        try:
            links = uprobes.attach(self._program(go, self.way), descriptor, found.offset, number, self.way)
        except OSError:
            if self.way == uprobes.PERF:
                raise
            # a kernel that loads such programs may still be built without the links
            links = uprobes.attach(self._program(go, uprobes.PERF), descriptor, found.offset, number, uprobes.PERF)
            self.way = uprobes.PERF
        return Attached(found, path, number, links, self.way, KEEP if _is_the_hosts(descriptor) else 0)

    def _free_number(self) -> int:
        """Not used now, and as long ago as can be; 0, with the usual places, where all are."""
        used = {one.number for one in self._attached.values()}
        for step in range(1, abi.MAX_TLS_LIBRARIES):
            number = (self._last_number + step - 1) % (abi.MAX_TLS_LIBRARIES - 1) + 1
            if number not in used:
                self._last_number = number
                return number
        return 0

    def _drop(self) -> None:
        """Take out the probes that no filter needs any more."""
        needed = {key for want in self._wants.values() for key in want.seen}
        for key in [key for key in self._attached if key not in needed]:
            for descriptor in self._attached.pop(key).descriptors:
                os.close(descriptor)

    def _write_scope(self) -> None:
        wanted = {one for want in self._wants.values() for one in want.scope}
        for one in sorted(wanted - self._in_scope)[: abi.MAX_CGROUPS - len(self._in_scope & wanted)]:
            self._scope.update(one.to_bytes(8, "little"), (1).to_bytes(8, "little"))
            self._in_scope.add(one)
        for one in self._in_scope - wanted:
            self._scope.delete(one.to_bytes(8, "little"))
        self._in_scope &= wanted

    def _write_places(self, number: int, places: tuple[Place, ...]) -> None:
        """Fewer than there is room for: the last one again."""
        filled = [*places, *[places[-1]] * abi.TLS_PLACES][: abi.TLS_PLACES] if places else [Place(None, 0)]
        numbers: list[int] = []
        for place in filled:
            numbers += [abi.TLS_DIRECT if place.through is None else place.through, place.offset]
        numbers += [0] * (2 * abi.TLS_PLACES - len(numbers))
        self._places.update(number.to_bytes(4, "little"), abi.TLS_PLACES_STRUCT.pack(*numbers))

    def _told(self, key: Key, fresh: bool) -> dict[str, Any]:
        one = self._attached[key]
        return {
            "path": _text(one.path), "kind": one.finding.kind, "how": one.finding.how, "cost": one.finding.cost,
            "offset": one.finding.offset, "build_id": one.finding.build_id, "number": one.number, "way": one.way,
            "new": fresh,
        }  # fmt: skip


def _is_the_hosts(descriptor: int) -> bool:
    """Whether a file is on a file system that is there as long as the host is up."""
    own = set()
    for path in ("/", "/usr", "/opt"):
        with contextlib.suppress(OSError):
            own.add(os.stat(path).st_dev)
    return os.fstat(descriptor).st_dev in own


def _note(problems: dict[str, dict[str, str]], path: str, kind: str, problem: str, remedy: str) -> None:
    if len(problems) < MAX_TOLD:
        problems[path] = {"path": _text(path), "kind": kind, "problem": _text(problem), "remedy": _text(remedy)}


def _text(text: str) -> str:
    """For a message: bounded, and what is no UTF-8 shown."""
    return text[:MAX_TEXT].encode(errors="backslashreplace").decode(errors="replace")


# --- the process ------------------------------------------------------------------------------------------------------


def rights() -> int:
    """The capabilities that are kept, as a bitmap."""
    numbers = [CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH]
    if kernel_release() < _UPROBE_MULTI_SINCE:
        numbers.append(CAP_SYS_ADMIN)
    return sum(1 << number for number in numbers)


def _begin(channel: socket.socket) -> Attacher:
    message, ancillary, _, _ = channel.recvmsg(MESSAGE, socket.CMSG_SPACE(4 * 64))
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % 4])
    begun = json.loads(message)
    return Attacher(begun["programs"], dict(zip(begun["maps"], descriptors, strict=True)))


def _answer(attacher: Attacher, message: bytes) -> dict[str, Any]:
    try:
        request = json.loads(message)
        if "want" in request:
            cgroups = request["cgroups"]
            ports = tuple((int(first), int(last)) for first, last in request["ports"])
            return attacher.want(str(request["want"]), ports, None if cgroups is None else [int(c) for c in cgroups])
        if "look" in request:
            return attacher.look(str(request["look"]))
        return attacher.forget(str(request["forget"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return {"error": f"no request: {type(error).__name__}"}
    except OSError as error:
        return {"error": f"the kernel refuses: {error.strerror}"}


def main(argv: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's: it ends, and with it the socket
    channel = socket.socket(fileno=int(argv[1]))
    try:
        give_up_all_but(rights())
        attacher = _begin(channel)
        reply: dict[str, Any] = {"way": attacher.way}
    except (ShadowdError, bytecode.BytecodeError, OSError, ValueError, KeyError) as error:
        log = " ".join(getattr(error, "log", "").split())[-300:]
        channel.sendall(json.dumps({"error": _text(str(error)), "log": log}).encode())
        return 1
    while True:
        channel.sendall(json.dumps(reply).encode())
        message = channel.recv(MESSAGE)
        if not message:
            return 0
        reply = _answer(attacher, message)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
