"""Latency of an endpoint, paired, as it is counted (sans-IO); how it is judged: ``judge/slowdown.py``.

Of the median there are blocks of time: one vote each, the median of the paired log-ratios of its exchanges
(``blocks.py``); what slows both sides in the same moment cancels. The 90th and 99th percentile belong to no pair, so
there is a sketch of each side, and how much what is beyond them comes in bursts (``bursts.py``). How the pace went over
the run is in ``pace.py``. What was never answered, or shed because the shadow lagged, counts as longer than everything.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from shadowd.evidence.blocks import Blocks
from shadowd.evidence.bursts import NEVER, Bursts
from shadowd.evidence.latency import LatencySketch
from shadowd.evidence.pace import WARM_ROWS, Pace
from shadowd.evidence.stretches import GROUPS

_BLOCK_NS = 500_000_000  # longer than most bursts and pauses; ten seconds then give a median at the strictest level
BLOCK_MIN = 8  # pairs: fewer say little of their time
_BLOCK_MAX = 256  # ratios kept of a block: its median errs by 1/13 of a standard deviation, and 8 KB are enough
MILLISECOND = 1_000_000
MINUTE = 60_000_000_000
#: Services are warm after that long: what is slower then is slower (``--warmup auto``).
WARMUP = 5 * MINUTE


#: How: told by ``judge/slowdown.py`` when that is imported.
judged_by: list[Callable[..., Any]] = []


class LatencyEvidence:
    """What is kept of one point (first or last byte) at one endpoint: 2 KB idle, 50 KB at most.

    ``late`` counts exchanges left out because they were sent late through the daemon's own fault.
    """

    __slots__ = (
        "_after",
        "_began",
        "_bursts",
        "_pairs",
        "_ratios",
        "_until",
        "blocks",
        "candidate",
        "candidate_lost",
        "count",
        "first",
        "floor",
        "groups",
        "late",
        "least",
        "pace",
        "reference",
        "reference_lost",
        "warmed",
        "warmup",
    )

    def __init__(self, warmup: int = WARMUP, least: int = MINUTE, floor: int = MILLISECOND) -> None:
        self.floor = floor  # ns that nobody minds: a warm-up that is shorter is none
        self.least = least  # ns of evidence before anything is said (``--min-span``)
        self.warmup = warmup  # ns after the first pair in which a slower beginning that falls is forgotten; 0: never
        self.first = 0  # time of the first pair (ns)
        self.warmed = 0  # pairs forgotten so
        self._begin()

    def _begin(self) -> None:
        """Evidence begins, or begins anew."""
        self.count = 0  # pairs, lost ones included
        self.late = 0
        self.reference = LatencySketch()
        self.candidate = LatencySketch()
        self.reference_lost = 0
        self.candidate_lost = 0
        self.blocks = Blocks()
        self._bursts = Bursts()
        self._after = WARM_ROWS  # blocks until the next look for a warm-up
        self._ratios: list[float] = []  # of the open block, candidate by reference
        self._pairs = 0  # in the open block
        self._began = 0  # when the open block did
        self._until = -1
        self.pace = Pace()
        self.groups: array[int] | None = None  # of connections: pairs, then those with the candidate the slower

    def add(self, time_ns: int, reference_ns: int, candidate_ns: int, group: int = -1) -> None:
        """A pair's durations; what is not positive (clocks of different CPUs) counts as 1 ns. ``group``: of the
        connection (``stretches.py``)."""
        if reference_ns < 1:
            reference_ns = 1
        if candidate_ns < 1:
            candidate_ns = 1
        if time_ns >= self._until:
            self._turn(time_ns)
        self.count += 1
        self._pairs += 1
        if self._pairs <= _BLOCK_MAX:
            self._ratios.append(candidate_ns / reference_ns)
        bursts = self._bursts
        if reference_ns > bursts.reference90:
            bursts.count_reference(reference_ns)
        if candidate_ns > bursts.candidate90:
            bursts.count_candidate(candidate_ns)
        self.reference.add(reference_ns)
        self.candidate.add(candidate_ns)
        if group >= 0:
            groups = self.groups
            if groups is None:
                groups = self.groups = array("I", bytes(8 * GROUPS))
            groups[group] += 1
            if candidate_ns > reference_ns:
                groups[GROUPS + group] += 1

    def add_lost(self, time_ns: int, side: str) -> None:
        """A pair of which one side ("candidate" or "reference") never answered, or too late to be sent."""
        if side not in ("candidate", "reference"):
            raise ValueError(f"a side is 'candidate' or 'reference', not {side!r}")
        if time_ns >= self._until:
            self._turn(time_ns)
        self.count += 1
        self._pairs += 1
        if side == "candidate":
            self.candidate_lost += 1
            self._bursts.count_candidate(NEVER)
        else:
            self.reference_lost += 1
            self._bursts.count_reference(NEVER)
        if self._pairs <= _BLOCK_MAX:
            self._ratios.append(math.inf if side == "candidate" else 0.0)

    def judge(self, *given: Any, **named: Any) -> Any:
        """As ``judge/slowdown.py`` does, which stands above and says so."""
        return judged_by[0](self, *given, **named)

    # --- blocks -------------------------------------------------------------------------------------------------------

    def _turn(self, time_ns: int) -> None:
        """The open block's time is over; it stays open until it has enough pairs."""
        if self._until >= 0:
            if self._pairs < BLOCK_MIN:
                return
            middle = _log(_middle(self._ratios))
            self.blocks.add(middle)
            self.pace.add(self._began, time_ns, middle, (self._pairs, *self._bursts.counted))
            if self._bursts.close(self._pairs, self._quantiles):
                self.pace.thresholds_changed()
            self._ratios.clear()
            self._pairs = 0
            if time_ns - self.first <= self.warmup:
                self._warm()
        elif not self.first:
            self.first = time_ns
        self._began = time_ns
        self._until = time_ns + _BLOCK_NS

    def _warm(self) -> None:
        """A candidate that was started a moment ago is slow at first: what it did then is no evidence."""
        if self.blocks.count >= self._after:
            self._after = self._after * 3 // 2
            middle = self.reference_value(0.5)
            if self.pace.falls(math.log1p(self.floor / middle) / 2 if middle > 0 else 0.0):
                self.warmed += self.count
                self._begin()

    def _quantiles(self, tail: float) -> tuple[float, float]:
        return self.reference_value(tail), self.candidate_value(tail)

    def reference_value(self, share: float) -> float:
        """The duration that this share of the reference's exceed; inf if it was lost."""
        return _exceeded(self.reference, self.reference_lost, share)

    def candidate_value(self, share: float) -> float:
        return _exceeded(self.candidate, self.candidate_lost, share)


def _middle(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def _exceeded(sketch: LatencySketch, lost: int, share: float) -> float:
    exceeding = share * (sketch.count + lost)
    if exceeding < lost:
        return math.inf
    value = sketch.exceeded_by(exceeding - lost)
    return 0.0 if value is None else value
