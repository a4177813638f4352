"""Probes on TLS libraries, as the daemon asks for them: what a filter wants, and what came of it.

``Attacher`` is the other end of ``tlsattacher.py``. It blocks, for milliseconds as a rule and for seconds when large
programs are looked at for the first time: call it in a thread. It is started while the daemon still has its rights; the
programs must have been loaded with ``probes=True``.

``Lookouts`` says when to look again. New files appear with new containers and upgrades; connections whose ClientHello
got no secret are the sign, and every ``LOOK_EVERY`` it is done anyway.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from shadowd.capture.preflight import kernel_release
from shadowd.capture.programs import Programs
from shadowd.capture.selection import Ranges
from shadowd.errors import PlatformError

#: Bytes of an answer: 64 libraries and as many problems.
_MESSAGE = 64 << 10
#: The programs are verified in 50 ms, and Python imported in a second; an emulated processor takes half a minute.
_BEGIN_SECONDS = 60.0
#: Looking at the files of one filter: the attacher bounds each to 20 s, and large ones take half of one.
_ANSWER_SECONDS = 120.0
#: bpf_get_attach_cookie, and bpf_get_current_ancestor_cgroup_id for such programs.
SINCE = (5, 15)
_BY_HAND = "give its key log: --tls-keylog FILE"
_AGAIN = "it is started anew with the next filter that reads TLS"


class Library(NamedTuple):
    """A probe that is in place. ``cost`` of a hit, "emulated" or "single-stepped"; ``number``: ``Secret.library``."""

    path: str
    kind: str
    how: str
    cost: str
    build_id: str
    number: int
    new: bool


class Problem(NamedTuple):
    """What cannot be read: a file that speaks TLS, or a process. ``kind`` is the library's, "" if it is not known."""

    path: str
    kind: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" + (f" — {self.remedy}" if self.remedy else "")


class Report(NamedTuple):
    """What a filter's processes have. ``processes``: how many there are."""

    processes: int = 0
    libraries: tuple[Library, ...] = ()
    problems: tuple[Problem, ...] = ()


class AnswerError(Exception):
    """What the attacher said is no answer."""


def report_untrusted(reply: object) -> Report:
    """Raises AnswerError."""
    if not isinstance(reply, dict):
        raise AnswerError("no object")
    libraries = tuple(Library(*_entry(Library.__annotations__, one)) for one in _listed(reply, "libraries"))
    problems = tuple(Problem(*_entry(Problem.__annotations__, one)) for one in _listed(reply, "problems"))
    count = reply.get("processes")
    if type(count) is not int or not 0 <= count <= 1 << 22:  # PID_MAX_LIMIT
        raise AnswerError("no number of processes")
    return Report(count, libraries, problems)


def _listed(reply: dict[str, Any], name: str) -> list[Any]:
    found = reply.get(name)
    if not isinstance(found, list):
        raise AnswerError(f"{name} is no list")
    return found


def _entry(fields: dict[str, Any], one: Any) -> list[Any]:
    """The values of a named tuple's fields, each of the type that it names."""
    if not isinstance(one, dict):
        raise AnswerError("no entry")
    for name, wanted in fields.items():
        if type(one.get(name)).__name__ != _name_of(wanted):
            raise AnswerError(f"{name} is no {_name_of(wanted)}")
    return [one[name] for name in fields]


def _name_of(annotation: Any) -> str:
    return str(getattr(annotation, "__forward_arg__", annotation))


class Attacher:
    """The process with the rights, and what it holds. Use from any thread."""

    def __init__(self, programs: Programs, service: str = "") -> None:
        """Start it, or ask the one that listens on the socket ``service``. Raises PlatformError."""
        if not programs.probes:
            raise PlatformError("the capture programs were loaded without those for TLS", "report it, with --version")
        if kernel_release() < SINCE:
            raise PlatformError(
                f"probes cannot read TLS on Linux {os.uname().release}: it takes 5.15", f"{_BY_HAND}, or a newer kernel"
            )
        if os.uname().machine != "x86_64":
            raise PlatformError(f"probes cannot read TLS on {os.uname().machine}: they are for x86-64", _BY_HAND)
        self.way = ""  # "uprobe_multi" or "perf"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        if service:
            self._channel = _connected(service)
        else:
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "shadowd.capture.tlsattacher", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
        try:
            self._begin(programs)
        except BaseException:
            self.close()
            raise

    def _begin(self, programs: Programs) -> None:
        maps = programs.probe_maps()
        message = json.dumps({"programs": programs.probes, "maps": list(maps)}).encode()
        rights = array.array("i", maps.values())
        self._channel.settimeout(_BEGIN_SECONDS)
        try:
            self._channel.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            reply = self._reply()
        except TimeoutError:
            raise PlatformError(
                f"the attacher for TLS did not begin within {_BEGIN_SECONDS:.0f} s", "try again on a calmer host"
            ) from None
        except OSError as error:
            raise PlatformError(f"the attacher for TLS ended: {error.strerror}", _AGAIN) from None
        if "error" in reply:
            log = f"; the kernel said: {reply['log']:.300}" if reply.get("log") else ""
            raise PlatformError(
                f"TLS cannot be read: {reply['error']:.300}{log}",
                f"it takes CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE, and CAP_SYS_ADMIN before Linux 6.6; or {_BY_HAND}",
            )
        self.way = str(reply.get("way"))

    @property
    def pid(self) -> int:
        """0 where it is the service's."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Else nothing is probed any more, and a new one must be told what is wanted."""
        if self._process is not None:
            return self._process.poll() is None
        ended = select.poll()
        ended.register(self._channel, 0)  # the other end's going alone: an answer may be on its way to another thread
        return not ended.poll(0)

    def want(self, name: str, ports: Ranges, cgroups: Sequence[int] | None) -> Report:
        """Read the TLS of a filter's processes from now on: members of ``cgroups``, or, if None, who listens on
        ``ports``. Once more with others: those instead. Raises PlatformError."""
        listed = None if cgroups is None else list(cgroups)
        return self._asked({"want": name, "ports": [list(one) for one in ports], "cgroups": listed})

    def look(self, name: str) -> Report:
        """Look again for files of a filter's processes. Raises PlatformError."""
        return self._asked({"look": name})

    def forget(self, name: str) -> None:
        """Take out the probes that no other filter needs. Raises PlatformError."""
        self._ask({"forget": name})

    def close(self) -> None:
        """Take out all probes."""
        self._channel.close()
        if self._process is None:
            return
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _asked(self, request: dict[str, Any]) -> Report:
        try:
            return report_untrusted(self._ask(request))
        except AnswerError as error:
            raise PlatformError(f"the attacher for TLS does not answer as it should: {error}", _AGAIN) from None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._channel.settimeout(_ANSWER_SECONDS)
            try:
                self._channel.sendall(json.dumps(request).encode())
                reply = self._reply()
            except TimeoutError:
                # an answer that comes later would be taken for that of the next request
                if self._process is not None:
                    self._process.send_signal(signal.SIGKILL)
                self._channel.shutdown(socket.SHUT_RDWR)
                raise PlatformError(
                    f"the attacher for TLS did not answer within {_ANSWER_SECONDS:.0f} s and was ended", _AGAIN
                ) from None
            except OSError as error:
                raise PlatformError(f"the attacher for TLS ended: {error.strerror}", _AGAIN) from None
        if "error" in reply:
            raise PlatformError(f"the attacher for TLS says: {reply['error']:.300}", "")
        return reply

    def _reply(self) -> dict[str, Any]:
        data = self._channel.recv(_MESSAGE)
        if not data:
            raise PlatformError("the attacher for TLS ended", _AGAIN)
        try:
            reply = json.loads(data)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            raise PlatformError("the attacher for TLS does not answer as it should", _AGAIN)
        return reply


def _connected(path: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel.settimeout(_BEGIN_SECONDS)
    try:
        channel.connect(path)
    except OSError as error:
        channel.close()
        raise PlatformError(
            f"TLS cannot be read: nobody with the rights listens on {path} ({error.strerror})",
            "systemctl start shadowd-tls, or give key logs instead (--tls-keylog FILE)",
        ) from None
    return channel


#: ns. Looking costs some ms for each process of the filter and for each of the host.
LOOK_EVERY = 30_000_000_000
#: Between two looks that missing secrets ask for: a service that restarts is found in time for its next connections. It
#: doubles as long as nothing new is found, for connections of a library that cannot be read ask for ever.
LOOK_SPACING = 2_000_000_000


class Lookouts:
    """When to look again, for each filter. Times in ns, monotonic."""

    __slots__ = ("_filters",)

    def __init__(self) -> None:
        self._filters: dict[str, list[int]] = {}  # last look, spacing, and 1 if a secret was missed since

    def add(self, name: str, now: int) -> None:
        """It has just been looked for the first time."""
        self._filters[name] = [now, LOOK_SPACING, 0]

    def remove(self, name: str) -> None:
        self._filters.pop(name, None)

    def missed(self, name: str) -> None:
        """A connection's ClientHello got no secret."""
        if name in self._filters:
            self._filters[name][2] = 1

    def due(self, now: int) -> list[str]:
        """Filters to look for now; each must be told of with ``looked``."""
        return [
            name
            for name, (last, spacing, missed) in self._filters.items()
            if now - last >= (spacing if missed else LOOK_EVERY)
        ]

    def looked(self, name: str, report: Report, now: int) -> None:
        state = self._filters.get(name)
        if state is not None:
            new = any(library.new for library in report.libraries)
            state[:] = now, LOOK_SPACING if new else min(2 * state[1], LOOK_EVERY), 0
