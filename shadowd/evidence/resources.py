"""Memory and CPU of a process against the requests it served, as they are read (sans-IO).

How they are judged, and why so: ``judge/resources.py``. A series of memory is looked at when it reaches 10,000, 20,000,
40,000 … requests; what a look found stands until the next.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from shadowd.evidence.blocks import Blocks
from shadowd.evidence.trend import median, theil_sen

_MAX_READINGS = 4096  # 64 KB; an even number; then the lower one of two neighbours stays
_MAX_SHOWN = 500  # points of a plot
_MAX_BLOCKS = 32  # 496 slopes: more blocks narrow the interval little, and the minima of longer ones are steadier
#: With eight minima, all in order, the interval of the first look is bounded; with fewer no level would reach it.
MIN_BLOCKS = 8
#: A sawtooth's fall: of the range of the last half, and by the median step between two readings. Independent noise
#: spans less than eight of those in 2,000 readings (7.6 standard deviations); a tooth has more readings than that.
_DROP, _DROP_STEPS = 0.25, 8
CLEARLY = 0.10  # level of each quarter: a leak under noise is then put off in few looks, a warm-up to 20,000 seen
_CPU_LEAST = 0.2  # seconds of each side in a block: the kernel counts in ticks of 10 ms, so both are right within 5 %
_CPU_REQUESTS = 20  # of each side in a block


class MemorySeries:
    """Resident memory of one process, by the requests it served. 64 KB at most."""

    judged_by: ClassVar[Callable[..., Any]]

    __slots__ = (
        "_base",
        "_each",
        "_looks",
        "_pending",
        "against",
        "before",
        "faults",
        "first_look",
        "look",
        "next_look",
        "reasons",
        "requests",
        "restarts",
        "served",
        "sizes",
        "swing",
        "taken_at",
    )

    def __init__(self, first_look: int = 10_000) -> None:
        if first_look < 1:
            raise ValueError(f"the first look must be after at least one request, not {first_look}")
        self.first_look = first_look
        self.next_look = first_look  # requests of the series
        self.requests = array("q")  # since the series began
        self.sizes = array("q")
        self._each = 1  # readings of which the lowest is kept: all are kept at the same density, old and new
        self._pending = 0  # readings that the newest kept one stands for, if they are not all there
        self.served = 0
        self._base = 0  # requests served when the series began
        self._looks = 0
        self.taken_at = 0
        self.swing = math.inf  # highest less lowest reading of the latest look, by request: no slope there is steeper
        self.look: list[tuple[float, float]] | None = None  # minima of the latest look's blocks
        self.before: tuple[int, float] | None = None  # requests and last quarter's slope of the look before
        self.against: tuple[int, int, list[tuple[float, float]], int, float] | None = None  # see _reference
        self.reasons: list[str] = []  # of the latest ten restarts
        self.restarts = 0  # without those of workers only: pools recycle theirs
        self.faults = 0

    def add(self, requests: int, bytes_: int) -> None:
        """A reading: requests served since the run began (never falling), and the resident memory then."""
        served = requests - self._base
        if served < self.served:
            return
        self.served = served
        if self._pending == 0 or bytes_ <= self.sizes[-1]:
            if self._pending:
                self.requests[-1], self.sizes[-1] = served, bytes_
            else:
                self.requests.append(served)
                self.sizes.append(bytes_)
        self._pending = (self._pending + 1) % self._each
        if len(self.requests) >= _MAX_READINGS and self._pending == 0:
            self._thin()
        if served >= self.next_look:
            self._looks += 1
            end = self._end_slope()
            first = self.next_look == self.first_look  # the look before was of another process, if there was one
            self.before = (self.taken_at, end) if end is not None and not first else None
            self.taken_at = served
            self.look = minima(self.requests, self.sizes)
            self.swing = swing_of(self.requests, self.sizes)
            while self.next_look <= served:
                self.next_look *= 2

    def restarted(self, requests: int, reason: str, fault: bool = False) -> None:
        """The process is another one: a note (a failure if ``fault``: killed or crashed, or if it is repeated), and the
        series begins anew. What the latest look found stands until the next."""
        self.reasons = [*self.reasons[-9:], reason]
        self.restarts += not reason.startswith("workers changed")
        self.faults += fault
        self.begin_anew(requests)

    def begin_anew(self, requests: int) -> None:
        """Forget the readings: the other side's process was started anew, and the two are compared over one time."""
        self._base = requests
        self._each, self._pending, self.served = 1, 0, 0
        self.requests = array("q")
        self.sizes = array("q")
        self.next_look = self.first_look

    @property
    def looks(self) -> int:
        """How many there were."""
        return self._looks

    def judge(self, *given: Any, **named: Any) -> Any:
        """As ``judge/resources.py`` does, which stands above and says so."""
        return type(self).judged_by(self, *given, **named)

    def points(self) -> list[tuple[int, int]]:
        """(requests, bytes) of the present series, at most 500 of them."""
        step = -(-len(self.requests) // _MAX_SHOWN) or 1
        pairs = zip(self.requests[::step], self.sizes[::step], strict=True)
        return [(self._base + served, size) for served, size in pairs]

    def _end_slope(self) -> float | None:
        """Slope of the latest look's last quarter of the series."""
        if self.look is None or len(self.look) < MIN_BLOCKS:
            return None
        fitted = theil_sen(self.look[len(self.look) // 2 :], CLEARLY, CLEARLY)
        return fitted[0] if fitted is not None else None

    def _thin(self) -> None:
        """Of two neighbours the lower one stays, and of readings to come as many are joined."""
        requests, sizes = array("q"), array("q")
        for index in range(0, len(self.requests), 2):
            lower = min(index, index + 1, key=self.sizes.__getitem__)
            requests.append(self.requests[lower])
            sizes.append(self.sizes[lower])
        self.requests, self.sizes = requests, sizes
        self._each *= 2


def swing_of(requests: Sequence[int], sizes: Sequence[int]) -> float:
    """Range of the last half's readings over its requests."""
    begin = next(index for index, served in enumerate(requests) if 2 * served >= requests[-1])
    span = requests[-1] - requests[begin]
    return (max(sizes[begin:]) - min(sizes[begin:])) / span if span > 0 else math.inf


def minima(requests: Sequence[int], sizes: Sequence[int]) -> list[tuple[float, float]]:
    """Lowest point of each block of the last half; a block is a 32nd of it, or a sawtooth if that is longer."""
    end = requests[-1]
    begin = next(index for index, served in enumerate(requests) if 2 * served >= end)
    start = requests[begin]
    half = sizes[begin:]
    steps = sorted(abs(after - before) for before, after in pairwise(half))
    drop = max(_DROP * (max(half) - min(half)), _DROP_STEPS * median(steps)) if steps else 0.0
    length = max((end - start) / _MAX_BLOCKS, _sawtooth(requests, sizes, start, drop))
    count = int((end - start) / length) if length else 0
    found: dict[int, tuple[float, float]] = {}
    for index in range(begin, len(requests)):
        # blocks end with the series: what is left over is at the half's beginning, where a warm-up may be
        block = int((end - requests[index]) / length) if length else 0
        if block < count and (block not in found or sizes[index] <= found[block][1]):
            found[block] = (float(requests[index]), float(sizes[index]))
    return sorted(found.values())


def _sawtooth(requests: Sequence[int], sizes: Sequence[int], start: int, drop: float) -> float:
    """Way between two falls by ``drop``: the longest that reaches beyond ``start``; 0 if it never falls so far.

    At most twice the median way: a collector keeps to its rhythm, and what falls now and then is noise.
    """
    falls: list[int] = []
    peak = sizes[0]
    for served, size in zip(requests, sizes, strict=True):
        if size > peak:
            peak = size
        elif drop and peak - size >= drop:
            falls.append(served)
            peak = size
    if not falls or falls[-1] < start:
        return 0.0
    ways = [after - before for before, after in zip([requests[0], *falls], falls, strict=False) if after >= start]
    longest = max(*ways, requests[-1] - falls[-1])
    return float(longest if len(ways) < 3 else min(longest, 2 * median(sorted(ways))))


class CpuEvidence:
    """CPU seconds per request of both sides."""

    __slots__ = ("_from", "blocks", "count", "served")

    def __init__(self) -> None:
        self.count = 0  # readings
        self.blocks = Blocks()
        self._from: tuple[float, int, float, int] | None = None
        self.served = 0  # requests of the candidate in whole blocks

    def add(
        self,
        production_cpu_seconds: float,
        production_requests: int,
        candidate_cpu_seconds: float,
        candidate_requests: int,
    ) -> None:
        """Readings that only rise; one that falls (a restart) begins a new block."""
        self.count += 1
        now = (production_cpu_seconds, production_requests, candidate_cpu_seconds, candidate_requests)
        if self._from is None or any(new < old for new, old in zip(now, self._from, strict=True)):
            self._from = now
            return
        production, asked = now[0] - self._from[0], production_requests - self._from[1]
        candidate, served = now[2] - self._from[2], candidate_requests - self._from[3]
        if min(asked, served) < _CPU_REQUESTS or min(production, candidate) < _CPU_LEAST:
            return
        self.blocks.add(math.log((candidate / served) / (production / asked)))
        self.served += served
        self._from = now
