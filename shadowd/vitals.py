"""Memory and CPU of a shadow's process and of production's, sampled several times a second for one run.

A process on this host is found by its port; where there is none, or the operator says so, a Prometheus text page is
read. What cannot be seen is no judgement, never a pass.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import trio

from shadowd.capture.processes import ProcessProbe, ProcessSample, restarted
from shadowd.compare.judgement import Judgement
from shadowd.compare.resources import CpuEvidence, MemorySeries
from shadowd.errors import ShadowdError
from shadowd.observe.exposition import parse_untrusted
from shadowd.observe.scrape import fetch_page

MEMORY = "process_resident_memory_bytes"
CPU = "process_cpu_seconds_total"
START = "process_start_time_seconds"
PAGE_EVERY = 1.0  # seconds: exporters collect anew for each request
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

    __slots__ = ("_before", "_due", "_place", "_probe", "_run_key", "_url", "_version", "another_version", "problem")

    def __init__(
        self, url: str | None, place: Callable[[], tuple[int, str | None] | None], run_key: str | None = None
    ) -> None:
        self._url = url
        self._run_key = (run_key or "").encode()
        self._version: list[bytes] = []
        self._due = 0.0
        self.another_version = False  # the page's metric of the run key has other labels or another value
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

    __slots__ = ("_cpu_begun", "_production", "_shadow", "changed", "cpu", "memory", "memory_seen")

    def __init__(self, shadow: Source, production: Source, first_look: int) -> None:
        self._shadow = shadow
        self._production = production
        self._cpu_begun: tuple[float, float] | None = None
        self.memory = MemorySeries(first_look=first_look)
        self.cpu = CpuEvidence()
        self.memory_seen = False
        self.changed = ""  # why either side is no longer the process it was, since the last look

    async def look(self, served: int, asked: int) -> None:
        """``served``: requests the shadow has answered in this run; ``asked``: requests production was asked."""
        shadow, shadow_changed = await self._shadow.read()
        production, production_changed = await self._production.read()
        self.changed = ""
        if shadow_changed:
            self.memory.restarted(served, shadow_changed, fault="killed" in shadow_changed)
            self.changed = f"the shadow {shadow_changed}"
        if production_changed:
            self.changed = self.changed or f"production {production_changed}"
        if shadow is not None and shadow.memory is not None:
            self.memory_seen = True
            self.memory.add(served, int(shadow.memory))
        if self.changed:
            self._cpu_begun = None
            self.cpu = CpuEvidence()
        if shadow is None or production is None or shadow.cpu is None or production.cpu is None:
            return
        self.cpu.add(production.cpu, asked, shadow.cpu, served)

    @property
    def unseen(self) -> str:
        """Why the shadow's memory is not judged, "" if it is, or if nobody expects it (a shadow on another host)."""
        problem = self._shadow.problem
        return f"Memory and CPU are not judged: {problem}." if problem and not self.memory_seen else ""

    @property
    def another_version(self) -> str:
        """Which side's metric of the run key has changed, "" if none."""
        if self._shadow.another_version:
            return "the candidate changed its version"
        return "production changed its version" if self._production.another_version else ""

    def judgements(self, max_leak: float, max_cpu: float, memory_alpha: float, cpu_alpha: float) -> list[Judgement]:
        found = list(self.memory.judge(max_leak, memory_alpha)) if self.memory_seen else []
        return [*found, self.cpu.judge(max_cpu, cpu_alpha)] if self.cpu.count else found

    def view(self) -> dict[str, Any] | None:
        """For the report's plot; None where nothing was seen."""
        if not self.memory_seen:
            return None
        fit = self.memory.fit()
        slope, low, high = fit if fit is not None else (None, None, None)
        return {
            "points": [list(point) for point in self.memory.points()],
            "slope": slope,
            "low": low,
            "high": high,
            "unit": "bytes/request",
            "problem": self._shadow.problem,
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
