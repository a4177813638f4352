"""Memory and CPU of a shadow's process and of production's, sampled several times a second for one run.

A process on this host is found by its port; where there is none, or the operator says so, a Prometheus text page is
read. What cannot be seen is no judgement, never a pass.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import Any

import trio

from shadowd.capture.builds import rebuilt
from shadowd.capture.processes import ProcessProbe, ProcessSample, restarted
from shadowd.errors import ShadowdError
from shadowd.evidence.resources import CpuEvidence, MemorySeries
from shadowd.judge.judgement import Judgement
from shadowd.judge.resources import MemoryJudge, judge_cpu
from shadowd.runs.exposition import parse_untrusted
from shadowd.runs.scrape import fetch_page

MEMORY = "process_resident_memory_bytes"
CPU = "process_cpu_seconds_total"
START = "process_start_time_seconds"
PAGE_EVERY = 1.0  # seconds: exporters collect anew for each request
MAX_RESTARTS = 50  # that are remembered: more is a loop, and the judge says how many
MAX_LINES = 100  # of the metric that names the version: build information has one


class Reading:
    """One look at one side."""

    __slots__ = ("cpu", "identity", "memory", "sample", "started")

    def __init__(self, memory: float | None, cpu: float | None, started: float | None, sample: ProcessSample | None):
        self.memory = memory  # bytes
        self.cpu = cpu  # seconds
        self.started = started  # Unix epoch
        self.sample = sample


class Source:
    """Where one side's readings come from: a page, or the process at ``place()`` (port and address) once that is known.
    ``problem`` says why there is none."""

    __slots__ = (
        "_before",
        "_due",
        "_place",
        "_probe",
        "_run_key",
        "_url",
        "_version",
        "another_version",
        "problem",
        "rebuilt",
    )

    def __init__(
        self, url: str | None, place: Callable[[], tuple[int, str | None] | None], run_key: str | None = None
    ) -> None:
        self._url = url
        self._run_key = (run_key or "").encode()
        self._version: list[bytes] = []
        self._due = 0.0
        self.another_version = False  # the page's metric of the run key has other labels or another value
        self.rebuilt = ""  # why the process that runs now is of another build than the one before
        self._place = place
        self._probe: ProcessProbe | None = None
        self._before: Reading | None = None
        self.problem = ""

    async def read(self) -> tuple[Reading | None, str]:
        """A reading, and why it is of another process than the one before ("" if it is of the same)."""
        reading: Reading | None = None
        if self._url is not None:
            if trio.current_time() < self._due:
                return None, ""
            self._due = trio.current_time() + PAGE_EVERY
            try:
                page = await fetch_page(self._url)
                self._look_at_version(page)
                found = parse_untrusted(page)
                reading = Reading(found.get(MEMORY), found.get(CPU), found.get(START), None)
                self.problem = ""
            except ShadowdError as error:
                self.problem = str(error)
        elif self._found() and self._probe is not None:
            sample = await trio.to_thread.run_sync(self._probe.sample)
            self.problem = self._probe.problem
            if sample is not None:
                reading = Reading(float(sample.rss), sample.cpu_seconds, sample.started, sample)
        if reading is None:
            return None, ""
        before, self._before = self._before, reading
        if before is not None and before.sample is not None and reading.sample is not None:
            self.rebuilt = self.rebuilt or rebuilt(before.sample.build, reading.sample.build)
        return reading, _changed(before, reading)

    def _look_at_version(self, page: bytes) -> None:
        """``--run-key`` may name a metric, such as ``app_build_info``: its lines are the version."""
        if not self._run_key:
            return
        key = self._run_key
        lines = sorted(line for line in page.splitlines() if re.split(rb"[{ ]", line, maxsplit=1)[0] == key)[:MAX_LINES]
        if lines and self._version and lines != self._version:
            self.another_version = True
        self._version = lines or self._version

    def _found(self) -> bool:
        if self._probe is None:
            place = self._place()
            if place is not None:
                self._probe = ProcessProbe(*place)
        return self._probe is not None


def _changed(before: Reading | None, after: Reading) -> str:
    if before is None:
        return ""
    if before.sample is not None and after.sample is not None:
        return restarted(before.sample, after.sample)
    if before.started != after.started:
        return "restarted: the process's start time changed"
    if before.cpu is not None and after.cpu is not None and after.cpu < before.cpu:
        return "restarted: its CPU time began anew"
    return ""


class Vitals:
    """Of one run. ``look`` is called about once a second."""

    __slots__ = (
        "_production",
        "_shadow",
        "changed",
        "cpu",
        "memory",
        "memory_seen",
        "production_memory",
        "production_seen",
        "restarts",
        "shadow_started",
    )

    def __init__(self, shadow: Source, production: Source, first_look: int) -> None:
        self._shadow = shadow
        self._production = production
        self.memory = MemorySeries(first_look=first_look)
        self.production_memory = MemorySeries(first_look=first_look)
        self.cpu = CpuEvidence()
        self.memory_seen = self.production_seen = False
        self.changed = ""  # why either side is no longer the process it was, since the last look
        self.restarts: list[tuple[float, str, str]] = []  # Unix epoch, "candidate" or "production", why
        self.shadow_started = 0.0  # Unix epoch: when the candidate's process began; 0 where it is not seen

    async def look(self, served: int, asked: int) -> None:
        """``served``: requests the shadow has answered in this run; ``asked``: requests production was asked."""
        shadow, shadow_changed = await self._shadow.read()
        production, production_changed = await self._production.read()
        self.changed = ""
        if shadow_changed:
            self.memory.restarted(served, shadow_changed, fault="killed" in shadow_changed)
            self.production_memory.begin_anew(asked)  # growth of both is compared over one time
            self.changed = f"the shadow {shadow_changed}"
            self._note("candidate", shadow_changed)
        if production_changed:
            self.production_memory.restarted(asked, production_changed)
            self.changed = self.changed or f"production {production_changed}"
            self._note("production", production_changed)
        if shadow is not None:
            self.shadow_started = shadow.started or self.shadow_started
        if production is not None and production.memory is not None:
            self.production_seen = True
            self.production_memory.add(asked, int(production.memory))
        if shadow is not None and shadow.memory is not None:
            self.memory_seen = True
            self.memory.add(served, int(shadow.memory))
        if self.changed:
            self.cpu = CpuEvidence()
        if shadow is None or production is None or shadow.cpu is None or production.cpu is None:
            return
        self.cpu.add(production.cpu, asked, shadow.cpu, served)

    def _note(self, side: str, reason: str) -> None:
        if len(self.restarts) < MAX_RESTARTS:
            self.restarts.append((time.time(), side, reason))

    @property
    def unseen(self) -> str:
        """Why the shadow's memory is not judged, "" if it is, or if nobody expects it (a shadow on another host)."""
        problem = self._shadow.problem
        return f"Memory and CPU are not judged: {problem}." if problem and not self.memory_seen else ""

    @property
    def another_version(self) -> str:
        """Which side's metric of the run key, executable, script or image has changed, "" if none."""
        for side, source in (("the candidate", self._shadow), ("production", self._production)):
            if source.another_version:
                return f"{side} changed its version"
            if source.rebuilt:
                return f"{side} changed its version: {source.rebuilt}"
        return ""

    def judgements(self, max_leak: float, max_cpu: float, memory_alpha: float, cpu_alpha: float) -> list[Judgement]:
        reference = self.production_memory if self.production_seen else None
        found = MemoryJudge(self.memory).judge(max_leak, memory_alpha, reference=reference) if self.memory_seen else []
        return [*found, judge_cpu(self.cpu, max_cpu, cpu_alpha)] if self.cpu.count else found

    def view(self) -> dict[str, Any] | None:
        """For the report's plot; None where nothing was seen."""
        if not self.memory_seen:
            return None
        fit = MemoryJudge(self.memory).fit()
        slope, low, high = fit if fit is not None else (None, None, None)
        return {
            "points": [list(point) for point in self.memory.points()],
            "slope": slope,
            "low": low,
            "high": high,
            "unit": "bytes/request",
            "problem": self._shadow.problem,
            "production": [list(point) for point in self.production_memory.points()],
            "restarts": [list(one) for one in self.restarts],
        }


def is_local(address: str) -> bool:
    """Whether an address belongs to this host: only then can its process be watched."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address.partition("%")[0], 0))
    except OSError:
        return False
    return True
