"""A filter in force: what it was asked to be, what it selects, and what runs for it."""

from __future__ import annotations

from shadowd.capture.pods import PodList, PodSelector
from shadowd.capture.programs import FilterCounters
from shadowd.capture.selection import Selected, Wanted, select
from shadowd.compare.descriptors import Schema
from shadowd.config.document import FilterSpec
from shadowd.worker.filters import Filter


class Entry:
    """A filter with where it came from and what it selects now. ``bit`` is -1 while nothing is captured for it."""

    __slots__ = ("bit", "counted", "filter", "origin", "problem", "reading", "schema", "selected", "spec")

    def __init__(self, spec: FilterSpec, origin: str, running: Filter, selected: Selected | None = None) -> None:
        self.spec = spec
        self.origin = origin
        self.filter = running
        self.selected = selected or select(wanted_by(spec))
        self.bit = -1
        self.counted = FilterCounters()  # the kernel's counters of the bit when they were last taken over
        self.problem = ""
        self.schema: Schema | None = None  # of its gRPC
        self.reading: tuple[str, ...] = ()  # of its TLS, for people


def wanted_by(spec: FilterSpec, pods: PodList | None = None) -> Wanted:
    """What the filter asks to be selected; pods of this list."""
    return Wanted(
        spec.ports, spec.cgroup, spec.unit, spec.container, spec.process, spec.pid, spec.direction == "outbound",
        PodSelector.parse(spec.pod) if spec.pod else None, pods,
    )  # fmt: skip
