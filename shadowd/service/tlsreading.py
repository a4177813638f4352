"""Probes for the filters that read TLS (``tls = "decrypt"``): asked for, looked after, and told of.

The probes are the attacher's (``capture/tlsattach.py``): our own child where we have the rights, else the service
``shadowd-tls``. It is asked in a thread, for it looks into files. A filter gets its probes before it captures, so that
no handshake is missed; files that appear later (containers, upgrades) are found when a connection had no secret, and
every half minute. If the attacher ends, a new one is asked for all filters again.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping
from datetime import datetime

import trio

from shadowd.capture.capabilities import CAP_SYS_PTRACE
from shadowd.capture.preflight import CAP_BPF, CAP_PERFMON, effective_capabilities, kernel_release
from shadowd.capture.programs import Programs
from shadowd.capture.selection import Selected
from shadowd.capture.tlsattach import SINCE, Attacher, Lookouts, Report
from shadowd.config.filter import FilterSpec
from shadowd.errors import PlatformError, ShadowdError, UsageError
from shadowd.service.log import Log
from shadowd.service.roster import Roster
from shadowd.worker.entry import Entry

EVERY = 0.5  # seconds between two looks at what filters want now
BEGINS = 10.0  # seconds from a filter's probes to the filter: if it did not come, they go again
AGAIN = 5.0  # seconds until an attacher that could not be had is asked for again
#: The probes read its registers.
_MACHINE = "x86_64"
_RIGHTS = 1 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_SYS_PTRACE


def can_probe() -> bool:
    """Whether this kernel can run the programs at all, whoever may attach them."""
    return platform.machine() == _MACHINE and kernel_release() >= SINCE


class _Asked:
    """What was asked for a filter, and what came of it. ``since``: seconds since the epoch."""

    __slots__ = ("begun", "in_force", "report", "selected", "since", "unread")

    def __init__(self, selected: Selected) -> None:
        self.selected = selected
        self.since = time.time()
        self.report = Report()
        self.begun = time.monotonic()
        self.in_force = False
        self.unread = 0  # connections without a secret when it was last looked at


def _wanted(entry: Entry | None) -> bool:
    return entry is not None and entry.spec.tls == "decrypt" and entry.spec.captures


class TlsReading:
    """See the module's head."""

    def __init__(self, roster: Roster, programs: Programs, service: str, problems: dict[str, str], log: Log) -> None:
        """``service``: the socket of an attacher that has the rights, for a daemon that has not."""
        self._service = service
        self._roster = roster
        self._programs = programs
        self._problems = problems
        self._log = log
        self._attacher: Attacher | None = None
        self._asked: dict[str, _Asked] = {}
        self._lookouts = Lookouts()
        self._lock = trio.Lock()  # one thread at the attacher
        self._not_before = 0.0

    # --- what filters want --------------------------------------------------------------------------------------------

    async def begin(self, spec: FilterSpec) -> None:
        """Before a filter captures: its probes are in place. Raises ShadowdError for what cannot be; nothing is left of
        it then."""
        if spec.tls != "decrypt" or not spec.captures:
            return
        selected = self._roster.selected_by(spec)
        if spec.direction == "outbound" and selected.cgroups is None:
            raise UsageError(
                "--tls decrypt of outbound connections needs to know whose they are",
                "give --unit, --cgroup, --container, --process or --pid of the clients",
            )
        await self._want(spec.name, selected)

    async def prepare(self, specs: Iterable[FilterSpec]) -> None:
        """At the start: as ``begin``; what cannot be is a problem in the status."""
        for spec in specs:
            try:
                await self.begin(spec)
            except ShadowdError as error:
                self._fail(spec.name, str(error))

    async def _want(self, name: str, selected: Selected) -> None:
        async with self._lock:
            attacher = await self._ready()
            report = await trio.to_thread.run_sync(
                attacher.want, name, selected.ports, selected.cgroups, abandon_on_cancel=True
            )
            before = self._asked.get(name)
            asked = self._asked[name] = _Asked(selected)  # another object: who waits to forget the one before need not
            if before is not None:
                asked.since, asked.report = before.since, before.report
            self._problems.pop(f"tls {name}", None)
            self._lookouts.add(name, time.monotonic_ns())
            self._take(name, asked, report)

    async def _ready(self) -> Attacher:
        """The attacher, a new one if need be. Raises PlatformError."""
        if self._attacher is not None and self._attacher.alive:
            return self._attacher
        if not self._programs.probes:
            raise PlatformError(
                f"TLS cannot be read by probes here: they need Linux 5.15 and {_MACHINE}",
                "give key logs instead: --tls-keylog FILE",
            )
        if self._attacher is not None:
            await trio.to_thread.run_sync(self._attacher.close)
            self._attacher = None
            self._asked.clear()
        service = "" if effective_capabilities() & _RIGHTS == _RIGHTS else self._service
        self._attacher = await trio.to_thread.run_sync(Attacher, self._programs, service, abandon_on_cancel=True)
        return self._attacher

    def _take(self, name: str, asked: _Asked, report: Report) -> None:
        if report != asked.report:
            libraries = ", ".join(library.path for library in report.libraries)
            self._log(
                "tls is read", name=name, processes=report.processes, libraries=libraries or "none",
                problems="; ".join(map(str, report.problems)),
            )  # fmt: skip
        asked.report = report

    def _fail(self, name: str, error: str) -> None:
        if self._problems.get(f"tls {name}") != error:
            self._problems[f"tls {name}"] = error
            self._log("tls is not read", name=name, problem=error)

    # --- as time goes on ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled; then the probes are taken out."""
        try:
            while True:
                await self._follow()
                for entry in self._roster.entries.values():
                    entry.reading = tuple(self.words(entry))
                await trio.sleep(EVERY)
        finally:
            if self._attacher is not None:
                self._attacher.close()

    async def _follow(self) -> None:
        wanted = {name: entry for name, entry in self._roster.entries.items() if _wanted(entry)}
        now = time.monotonic()
        for name, asked in list(self._asked.items()):
            asked.in_force = asked.in_force or name in wanted
            if name not in wanted and (asked.in_force or now - asked.begun > BEGINS):
                await self._forget(name)
        for name in [name for name in self._problems if name.startswith("tls ") and name[4:] not in wanted]:
            del self._problems[name]
        if self._attacher is not None and not self._attacher.alive and self._asked:
            self._log("the attacher for TLS ended")
            self._asked.clear()
            for entry in wanted.values():
                entry.reading = ("TLS is not read now: the attacher ended, and another is started",)
        if time.monotonic() < self._not_before:
            return
        for name, entry in wanted.items():
            known = self._asked.get(name)
            if known is None or not known.selected.same_rule(entry.selected):
                try:
                    await self._want(name, entry.selected)
                except ShadowdError as error:
                    self._fail(name, str(error))
                    self._not_before = time.monotonic() + AGAIN
                    return
        await self._look(wanted)

    async def _look(self, wanted: Mapping[str, Entry]) -> None:
        for name, asked in self._asked.items():
            unread = wanted[name].filter.account.lost["tls_no_key"] if name in wanted else 0
            if unread > asked.unread:
                self._lookouts.missed(name)
            asked.unread = unread
        for name in self._lookouts.due(time.monotonic_ns()):
            known = self._asked.get(name)
            if known is None or self._attacher is None:
                self._lookouts.remove(name)
                continue
            try:
                async with self._lock:
                    report = await trio.to_thread.run_sync(self._attacher.look, name, abandon_on_cancel=True)
            except PlatformError as error:
                self._fail(name, str(error))
                self._lookouts.remove(name)
                self._asked.pop(name, None)  # it is asked for anew, and the others have their turn
                continue
            self._lookouts.looked(name, report, time.monotonic_ns())
            self._take(name, known, report)

    async def _forget(self, name: str) -> None:
        asked = self._asked.get(name)
        async with self._lock:  # it may be wanted again meanwhile: then it was asked for anew
            entry = self._roster.entries.get(name)
            if self._asked.get(name) is not asked or _wanted(entry):
                return
            self._asked.pop(name, None)
            self._lookouts.remove(name)
            self._problems.pop(f"tls {name}", None)
            if self._attacher is None or not self._attacher.alive:
                return
            try:
                await trio.to_thread.run_sync(self._attacher.forget, name, abandon_on_cancel=True)
            except PlatformError as error:
                self._log("tls", name=name, problem=str(error))
        self._log("tls is read no more", name=name)

    # --- words --------------------------------------------------------------------------------------------------------

    def words(self, entry: Entry) -> Iterable[str]:
        """Since when a filter's TLS is read, whose, and what of it cannot be."""
        asked = self._asked.get(entry.spec.name)
        if asked is None:
            return
        since = datetime.fromtimestamp(asked.since).strftime("%Y-%m-%d %H:%M:%S")
        report = asked.report
        if report.libraries:
            names = ", ".join(sorted({f"{one.path} ({one.kind}, {one.cost})" for one in report.libraries}))
            count = report.processes
            yield f"TLS is read since {since}, of {count} process{'es' * (count != 1)}, by probes in {names}"
        elif not report.processes:
            yield f"TLS is to be read since {since}, and nobody serves these ports now"
        else:
            yield (
                f"TLS is to be read since {since}, and no library that is known was found in the processes that serve "
                "these ports — do they speak TLS? If so give their key log: --tls-keylog FILE"
            )
        yield from map(str, report.problems)
