"""How often something happened, by stretches of the run and by groups of connections (sans-IO).

A burst of 503s, a collector's pause or a pod behind four of forty connections hits hundreds of exchanges at once, and
hundreds of witnesses of one event are one witness. So counts are kept by time, in slots that become wider as the run
becomes longer, and by the hash of the connection. What is made of them: ``judge/courses.py``.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shadowd.evidence.student import upper_quantile

#: Slots of time kept of one count; then two neighbours become one. The last sixteenth of a run, which the moving window
#: looks at, has at least 32 of them: two a stretch.
SLOTS = 1024
#: Stretches of a window, by its length in shortest windows: fewer have fat tails (Student), more are so short that a
#: pause of seconds reaches over several; 24 find 0.2 points of errors within 60,000 exchanges, 16 seldom do.
STRETCHES, MORE_STRETCHES = 16, 24
#: Stretches that have something to say, of those: with fewer no level would be reached.
LEAST_STRETCHES = 8
GROUPS = 64  # of connections, by hash: eight seldom meet there
LEAST_GROUPS = 8


class Slots:
    """Counts by time, aligned on the clock so that those of several examiners can be added. 4 KB at most."""

    __slots__ = ("base", "counts", "shift")

    def __init__(self, shift: int) -> None:
        self.shift = shift  # a slot is 2**shift ns
        self.base = 0  # number of the first slot
        self.counts = array("i")

    def add(self, time: int, many: int = 1) -> None:
        index = (time >> self.shift) - self.base
        if not 0 <= index < len(self.counts):
            index = self.reach(time)
        self.counts[index] += many

    def cut(self, begin: int, end: int, parts: int) -> list[int]:
        """How many fell into each of ``parts`` equal parts of the time from ``begin`` to ``end`` (ns)."""
        found = [0] * parts
        if end <= begin:
            return found
        half = (1 << self.shift) >> 1
        first = max(0, (begin >> self.shift) - self.base)
        last = min(len(self.counts), (end >> self.shift) - self.base + 1)
        for index in range(first, last):
            here = self.counts[index]
            if here:
                middle = ((self.base + index) << self.shift) + half
                if begin <= middle < end:
                    found[(middle - begin) * parts // (end - begin)] += here
        return found

    def merge(self, other: Slots) -> None:
        for index, count in enumerate(other.counts):
            if count:
                self.add((other.base + index) << other.shift, count)

    def reach(self, time: int) -> int:
        """The place of a time among the counts, which it makes if need be."""
        if not self.counts:
            self.base = time >> self.shift
            self.counts.append(0)
            return 0
        while True:
            index = (time >> self.shift) - self.base
            if 0 <= index < SLOTS:
                self.counts.extend([0] * (index + 1 - len(self.counts)))
                return index
            if index < 0 and len(self.counts) - index <= SLOTS:  # an exchange that ended late
                self.counts = array("i", bytes(4 * -index)) + self.counts
                self.base += index
                return 0
            self._join()

    def _join(self) -> None:
        counts = self.counts
        if self.base & 1:
            counts.insert(0, 0)
        if len(counts) & 1:
            counts.append(0)
        self.counts = array("i", map(sum, zip(counts[::2], counts[1::2], strict=True)))
        self.base >>= 1
        self.shift += 1


class Tally:
    """How often something happened: in all, by time and by group of connections."""

    __slots__ = ("by_group", "count", "slots")

    def __init__(self, shift: int) -> None:
        self.count = 0
        self.slots = Slots(shift)
        self.by_group = array("i", bytes(4 * GROUPS))

    def add(self, time: int, group: int, many: int = 1) -> None:
        """``group``: of the connection, 0 … GROUPS − 1; -1 if nobody knows."""
        self.count += many
        slots = self.slots  # as ``Slots.add``, on the hot path
        index = (time >> slots.shift) - slots.base
        counts = slots.counts
        if not 0 <= index < len(counts):
            index = slots.reach(time)
            counts = slots.counts
        counts[index] += many
        if group >= 0:
            self.by_group[group] += many

    def merge(self, other: Tally) -> None:
        self.count += other.count
        self.slots.merge(other.slots)
        for group, many in enumerate(other.by_group):
            self.by_group[group] += many


#: What a sample of each tally is worth: (+1, worse), (−1, better).
Values = Sequence[tuple[float, Tally]]


class Rate(NamedTuple):
    """A rate over parts of something: its mean, the mean's standard error, and of how many parts."""

    mean: float
    error: float
    parts: int

    def low(self, alpha: float) -> float:
        return self.mean - upper_quantile(alpha, self.parts - 1) * self.error

    def high(self, alpha: float) -> float:
        return self.mean + upper_quantile(alpha, self.parts - 1) * self.error


def rate(samples: Iterable[float], sizes: Iterable[float], least: int = LEAST_STRETCHES) -> Rate | None:
    """Σ samples / Σ sizes, with its error from how the parts differ (a ratio estimator: W. Cochran, "Sampling
    Techniques", 1977, 6.4); None if fewer than ``least`` parts have any size."""
    pairs = [(x, n) for x, n in zip(samples, sizes, strict=True) if n > 0]
    many = len(pairs)
    if many < max(2, least):
        return None
    size = sum(n for _, n in pairs)
    mean = sum(x for x, _ in pairs) / size
    off = sum((x - mean * n) ** 2 for x, n in pairs)
    return Rate(mean, math.sqrt(off * many / (many - 1)) / size, many)
