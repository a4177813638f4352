"""All probes on TLS libraries of one attacher: which filters want them, on which files they are, whom they may tell of.

A file is looked into once, has one probe whoever maps it, and keeps it while some filter's process has it. The scope is
written before a probe is put in place, so what it hits from its first moment on is wanted.

A library that is written over in place (``cp``; package managers make a new file) loses its probe at once: what was the
beginning of a function is one no more, and the kernel would go on to put the breakpoint there for processes that start.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import Any, NamedTuple

from shadowd.capture import abi, bytecode, tlsdiscovery, uprobes
from shadowd.capture.bpf import Map
from shadowd.capture.inotify import Writes
from shadowd.capture.preflight import kernel_release
from shadowd.capture.tlsexamine import Examiner, Key, changed, identity
from shadowd.capture.tlslibs import ABI_GO, UNKNOWN, Finding, LibraryError, Place, usual_places
from shadowd.errors import ShadowdError

#: Libraries and problems of one answer, and characters of a path or a reason: for people, who read the first few.
MAX_TOLD = 64
MAX_TEXT = 200
#: What was found in files is remembered: a host's processes have some hundred. Beyond, the oldest are looked at again.
MAX_KNOWN = 4096
#: Filters: as many as the kernel's programs have.
MAX_WANTS = abi.MAX_FILTERS
#: Files that are looked at for the first time in one look: whoever listens on a port may map many, and large ones. The
#: rest has its turn with the next look.
LOOK_SECONDS = 30.0
#: Of these, for the files of one user who is not root: whoever listens on a port of a filter, at another address or in
#: a namespace of his own, counts as the service, and shall leave the others their turn.
USERS_SECONDS = LOOK_SECONDS / 4
#: A probe is three descriptors; a host has some ten libraries that speak TLS, and an image of each version.
MAX_ATTACHED = 256
MAX_OF_USER = MAX_ATTACHED // 4  # likewise
#: Seconds between two looks that nobody asked for: a service whose processes come and go shall not cost ever more.
OWN_LOOKS = 1.0
#: Seconds from a write to a library to the look for what it is now: who writes goes on for some time.
WRITTEN = 5.0
#: Seconds that a probe stays on a file that no process of its filter has: a service that is restarted has it again. Of
#: the host's own file systems alone: the kernel's link holds the mount that a file is on, and others, those of
#: containers, shall be able to go with their last process.
KEEP = 600.0


class Attached(NamedTuple):
    finding: Finding
    path: str
    number: int  # its cookie
    descriptors: list[int]
    way: str
    keep: float  # seconds: KEEP or 0
    watch: int  # of writes to the file
    file: int  # a descriptor of it
    user: int  # whose process had it first


class Want:
    """What one filter asks for. ``seen``: when a process of it last had a file. ``watched``: of a file that shall be
    let go at once, a descriptor of one process that has it, readable when that ends (pidfd_open(2))."""

    __slots__ = ("cgroups", "looked", "ports", "scope", "seen", "watched")

    def __init__(self, ports: tuple[tuple[int, int], ...], cgroups: list[int] | None) -> None:
        self.ports = ports
        self.cgroups = cgroups
        self.scope: set[int] = set(cgroups or ())
        self.seen: dict[Key, float] = {}
        self.watched: dict[Key, int] = {}
        self.looked = 0.0


class Probes:
    """Of all filters."""

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
        self._until = 0.0  # of this look
        self._spent: dict[int, float] = {}  # seconds of it, by user
        self._last_number = 0
        self._writes = Writes()
        self._examiner = Examiner((self._writes.descriptor, self._heed))
        self._due: dict[str, float] = {}  # looks that nobody asks for, and when
        self.way = self._choose()
        self._write_places(0, usual_places(UNKNOWN))
        for key in list(self._scope.keys()):  # of an attacher before this one
            self._scope.delete(key)

    def _choose(self) -> str:
        """The way of this kernel. Raises BytecodeError."""
        if kernel_release() < uprobes.MULTI_SINCE:
            self._program(False, uprobes.PERF)
            return uprobes.PERF
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
            wanted.seen, wanted.watched = before.seen, before.watched
        return self.look(name)

    def look(self, name: str) -> dict[str, Any]:
        """Look for files that a filter's processes have now."""
        want = self._wants.get(name)
        if want is None:
            return {"error": "no such filter reads TLS"}
        now = want.looked = time.monotonic()
        self._until = now + LOOK_SECONDS
        self._spent.clear()
        self._due.pop(name, None)
        self._take_out_written()
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
        for key in [key for key in want.watched if key not in want.seen]:
            os.close(want.watched.pop(key))
        self._drop()
        libraries = [self._told(key, key in fresh) for key in want.seen if key in self._attached]
        return {
            "processes": len(pids),
            "libraries": libraries[:MAX_TOLD],
            "problems": list(problems.values())[:MAX_TOLD],
        }

    def watched(self) -> list[int]:
        """Descriptors: when one becomes readable, ``happened`` must be told. Each tells once."""
        return [descriptor for want in self._wants.values() for descriptor in want.watched.values()]

    @property
    def writes(self) -> int:
        """Likewise, and always."""
        return self._writes.descriptor

    def happened(self, descriptor: int, now: float) -> None:
        """A write, or a process's end: what that means is seen by ``look_again``."""
        if descriptor == self.writes:
            self._heed()
            return
        for name, want in self._wants.items():
            for key, watched in want.watched.items():
                if watched == descriptor:
                    del want.watched[key]
                    os.close(descriptor)
                    self._due.setdefault(name, max(now, want.looked + OWN_LOOKS))
                    return

    def look_again(self) -> float | None:
        """Look where it is due. In how many seconds it is the next time; None: not that is known."""
        for name, when in sorted(self._due.items(), key=lambda one: one[1]):
            if when <= time.monotonic():
                del self._due[name]
                with contextlib.suppress(OSError):  # it is looked again when somebody asks
                    self.look(name)
        return max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None

    def _heed(self) -> None:
        """Take out the probes of files that were written to. They are looked at again when that is over."""
        written, missing = self._writes.read()
        for key in [key for key, one in self._attached.items() if one.watch in written]:
            self._take_out(key)
        if missing:
            self._take_out_written()

    def _take_out_written(self) -> None:
        """Of files that are others than when they were looked into: who writes through a mapping is not told of
        (inotify(7)), nor is everybody where many write."""
        for key in [key for key, one in self._attached.items() if changed(key, os.fstat(one.file))]:
            self._take_out(key)

    def _take_out(self, key: Key) -> None:
        self._detach(key)
        self._known.pop(key, None)
        for name, want in self._wants.items():
            if key in want.seen:
                self._due[name] = time.monotonic() + WRITTEN

    def forget(self, name: str) -> dict[str, Any]:
        want = self._wants.pop(name, None)
        self._due.pop(name, None)
        for descriptor in want.watched.values() if want is not None else ():
            os.close(descriptor)
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
            user = tlsdiscovery.responsible(pid)
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
                held = [key for key in want.seen if key[1] == mapped.inode] if mapped.deleted else []
                if held:  # it was replaced, and this process has the old one still
                    self._saw(held[0], pid, want, now)
                elif not mapped.deleted:
                    _note(problems, mapped.path, "", f"it cannot be opened: {error.strerror}",
                          "give the attacher CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")  # fmt: skip
                elif "ssl" in mapped.path or "tls" in mapped.path:
                    _note(problems, mapped.path, "", "it was replaced while its process runs",
                          "restart the process")  # fmt: skip
                continue
            try:
                key = self._file(descriptor, mapped.path, user, fresh, problems)
            finally:
                os.close(descriptor)
            if key is not None:
                self._saw(key, pid, want, now)

    def _saw(self, key: Key, pid: int, want: Want, now: float) -> None:
        """A process has a file that a probe is on."""
        want.seen[key] = now
        if key in self._attached and not self._attached[key].keep and key not in want.watched:
            with contextlib.suppress(OSError):  # it has ended: the next look sees that
                want.watched[key] = os.pidfd_open(pid)

    def _file(
        self, descriptor: int, path: str, user: int, fresh: list[Key], problems: dict[str, dict[str, str]]
    ) -> Key | None:  # fmt: skip
        """The file's key if a probe is on it now."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        key = identity(descriptor, status)
        if key in self._attached:
            return key
        began, spent = time.monotonic(), self._spent.get(user, 0.0)
        if key not in self._known and (began > self._until or (user and spent > USERS_SECONDS)):
            _note(
                problems, "files that nobody has looked at yet", "", "a look takes no longer", "they come with the next"
            )
            return None
        try:
            found = self._known.pop(key, None) or self._examiner.examine(descriptor, status.st_size)
            self._spent[user] = spent + time.monotonic() - began
        except OSError as error:  # no descriptor, or no process, for the reader
            _note(problems, path, "", f"it cannot be looked at: {error.strerror}", "raise LimitNOFILE and TasksMax")
            return None
        self._known[key] = found  # as the youngest
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        if isinstance(found, LibraryError):
            if found.kind:
                _note(problems, path, found.kind, str(found), found.remedy)
            return None
        if len(self._attached) >= MAX_ATTACHED:
            _note(problems, path, found.kind, f"there are {MAX_ATTACHED} probes already", "take filters away")
            return None
        if user and sum(one.user == user for one in self._attached.values()) >= MAX_OF_USER:
            _note(problems, path, found.kind, f"user {user} has {MAX_OF_USER} probes already", "select by cgroup")
            return None
        try:
            self._attached[key] = self._attach(descriptor, key, found, path, user)
        except (OSError, ShadowdError, bytecode.BytecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            _note(problems, path, found.kind, f"no probe can be put on it: {reason}",
                  "check that the attacher has CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN before Linux 6.6)")  # fmt: skip
            return None
        fresh.append(key)
        return key

    def _attach(self, descriptor: int, key: Key, found: Finding, path: str, user: int) -> Attached:
        file, watch = os.dup(descriptor), -1
        try:
            watch = self._writes.add(descriptor)
            self._heed()  # now, and not when all files have been looked at
            if identity(descriptor, os.fstat(descriptor)) != key:
                raise OSError(errno.EBUSY, "it is being written to")
            number = self._free_number()
            if number:
                self._write_places(number, found.places)
            links = self._link(descriptor, found, number)
        except BaseException:
            os.close(file)
            self._unwatch(watch)
            raise
        keep = KEEP if _is_the_hosts(descriptor) else 0
        return Attached(found, path, number, links, self.way, keep, watch, file, user)

    def _link(self, descriptor: int, found: Finding, number: int) -> list[int]:
        go = found.abi == ABI_GO
        try:
            return uprobes.attach(self._program(go, self.way), descriptor, found.offset, number, self.way)
        except OSError:
            if self.way == uprobes.PERF:
                raise
            # a kernel that loads such programs may still be built without the links
            links = uprobes.attach(self._program(go, uprobes.PERF), descriptor, found.offset, number, uprobes.PERF)
            self.way = uprobes.PERF
            return links

    def _unwatch(self, watch: int) -> None:
        if watch >= 0 and watch not in {one.watch for one in self._attached.values()}:
            self._writes.remove(watch)

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
            self._detach(key)

    def _detach(self, key: Key) -> None:
        one = self._attached.pop(key)
        for descriptor in (*one.descriptors, one.file):
            os.close(descriptor)
        self._unwatch(one.watch)

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
            "path": shown(one.path), "kind": one.finding.kind, "how": one.finding.how, "cost": one.finding.cost,
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
        problems[path] = {"path": shown(path), "kind": kind, "problem": shown(problem), "remedy": shown(remedy)}


def shown(text: str) -> str:
    """For a message: bounded, and what is no UTF-8 shown."""
    return text[:MAX_TEXT].encode(errors="backslashreplace").decode(errors="replace")
