"""How the candidate's pace went over the run: blocks of time in order, for the test over stretches (sans-IO).

A row is a closed block (``slowdown.py``): when it ended, the median of its paired log-ratios, how many pairs of each
side lay beyond that side's thresholds near p90 and p99 (``bursts.py``). When there are too many, two neighbours become
one, so that a row is never longer than a 256th of the run.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from shadowd.evidence.stretches import Rate, rate

_ROWS = 512  # then neighbours are joined: 22 KB; at 60 s of half-second blocks there are 120
_COLUMNS = 5  # pairs, and beyond the reference's p90 and p99, the candidate's p90 and p99
_FARTHEST = 12.0  # of a log-ratio: a side that never answered, as in ``blocks.py``
#: Stretches with a row: of fewer no interval is worth reading.
_LEAST = 6
#: Successive stretches that differ by so much more than their blocks would have it, do not only scatter: they wander.
_WANDERS = 1.7
#: Neighbours more alike than that make one of the whole window anyway.
_LIKEST = 0.9
#: Rows before the first look for a warm-up: eight seconds.
WARM_ROWS = 16
#: A fall of the log-ratio that is one: smaller than half the margin it does no harm; in standard errors.
_FALL, _FALL_ERRORS = 0.05, 3.0


class Median(NamedTuple):
    """Of log-ratios over a window; ``wandered``: how far the pace may have strayed by chance, as a log-ratio."""

    rate: Rate
    wandered: float

    def moved(self, wandered: float) -> Rate:
        """The rate, less certain by what others wandered if that is more."""
        square = self.rate.error**2 + max(0.0, wandered**2 - self.wandered**2)
        return self.rate._replace(error=math.sqrt(square))


class Pace:
    """See the module's head. Idle 200 bytes."""

    __slots__ = ("_counts", "_ends", "_medians", "_waiting", "begin", "each", "thresholds_from")

    def __init__(self) -> None:
        self.begin = 0  # when the first block began (ns)
        self.each = 1  # blocks a row
        self.thresholds_from = 0  # rows from which on exceedances are by the present thresholds
        self._waiting = 0  # blocks in the newest row, if it is not complete
        self._ends = array("q")
        self._medians = array("f")
        self._counts = array("I")

    @property
    def latest(self) -> int:
        """When the newest row ended (ns); 0 without any."""
        return self._ends[-1] if self._ends else 0

    def add(self, began: int, ended: int, log_ratio: float, counts: tuple[int, int, int, int, int]) -> None:
        """A block is over; ``counts``: pairs, then exceedances as in the module's head."""
        if not self._ends and not self._waiting:
            self.begin = began
        median = max(-_FARTHEST, min(_FARTHEST, log_ratio))
        if self._waiting:  # rows are of as many blocks as the joined ones
            self._ends[-1] = ended
            self._medians[-1] += (median - self._medians[-1]) / (self._waiting + 1)
            for column, many in enumerate(counts, len(self._counts) - _COLUMNS):
                self._counts[column] += many
        else:
            self._ends.append(ended)
            self._medians.append(median)
            self._counts.extend(counts)
        self._waiting = (self._waiting + 1) % self.each
        if len(self._ends) >= _ROWS and not self._waiting:
            self._join()

    def thresholds_changed(self) -> None:
        """Exceedances of the rows so far were by others."""
        self.thresholds_from = len(self._ends)

    def medians(self, begin: int, end: int, parts: int) -> Median | None:
        """The mean over stretches of their medians, with its error: neighbours that are alike counted, and a pace that
        wanders off (a slow load of either side's own) too; None if fewer than ``_LEAST`` stretches have any."""
        stretches = [one for one in self._stretches(begin, end, parts) if one]
        values = [_median(sorted(one)) for one in stretches]
        found = rate(values, [1.0] * len(values), _LEAST)
        if found is None:
            return None
        wandered = _wandering(values, stretches)
        square = found.error**2 * _alike([value - found.mean for value in values]) + wandered
        return Median(found._replace(error=math.sqrt(square)), math.sqrt(wandered))

    def _stretches(self, begin: int, end: int, parts: int) -> list[list[float]]:
        length = (end - begin) / parts
        stretches: list[list[float]] = [[] for _ in range(parts)]
        for ended, median in zip(self._ends, self._medians, strict=True):
            if begin < ended <= end:
                stretches[min(parts - 1, int((ended - 1 - begin) / length))].append(median)
        return stretches

    def beyond(self, threshold: float, parts: int) -> str:
        """For how long and when the candidate was slower: ``in 14 of 16 stretches of 38 s, from 0 s to 600 s``."""
        if self.latest <= self.begin:
            return ""
        found = [
            _median(sorted(one)) > threshold if one else None for one in self._stretches(self.begin, self.latest, parts)
        ]
        slow = [index for index, one in enumerate(found) if one]
        if not slow:
            return ""
        length = (self.latest - self.begin) / parts / 1e9
        known = sum(one is not None for one in found)
        return (
            f"in {len(slow)} of {known} stretches of {length:.3g} s, from {slow[0] * length:,.0f} s to "
            f"{(slow[-1] + 1) * length:,.0f} s of the evidence"
        )

    def signs(self, begin: int, end: int, threshold: float) -> tuple[int, int]:
        """Blocks beyond the threshold, and all, between two times."""
        here = [
            median > threshold for ended, median in zip(self._ends, self._medians, strict=True) if begin < ended <= end
        ]
        return sum(here) * self.each, len(here) * self.each

    def exceedances(self, column: int, begin: int, end: int, parts: int) -> Rate | None:
        """How much oftener the candidate lay beyond its threshold than the reference beyond its own, over stretches.
        ``column``: 0 for p90, 1 for p99."""
        begin = max(begin, self._ends[self.thresholds_from - 1] if self.thresholds_from else begin)
        if self.thresholds_from >= len(self._ends) or end <= begin:
            return None
        length = (end - begin) / parts
        samples, sizes = [0.0] * parts, [0.0] * parts
        for row in range(self.thresholds_from, len(self._ends)):
            ended = self._ends[row]
            if begin < ended <= end:
                index = min(parts - 1, int((ended - 1 - begin) / length))
                pairs, *beyond = self._counts[row * _COLUMNS : (row + 1) * _COLUMNS]
                sizes[index] += pairs
                samples[index] += beyond[column + 2] - beyond[column]
        return rate(samples, sizes, _LEAST)

    def falls(self, least: float = 0.0) -> bool:
        """Whether the candidate was clearly slower at the beginning than later, by ``least`` as a log-ratio: the first
        quarter of the rows against the second half, by how sixteenths of them differ."""
        many = len(self._medians)
        if many < WARM_ROWS:
            return False
        parts = [_mean(self._medians[many * k // 16 : many * (k + 1) // 16]) for k in range(16)]
        first, last = parts[:4], parts[8:]
        slower = _mean(first) - _mean(last)
        off = sum((x - _mean(part)) ** 2 for part in (first, last) for x in part)
        return slower > max(_FALL, least) and slower > _FALL_ERRORS * math.sqrt(off / 10 * (1 / 4 + 1 / 8))

    def _join(self) -> None:
        ends, medians, counts = array("q"), array("f"), array("I")
        for row in range(0, len(self._ends) - 1, 2):
            ends.append(self._ends[row + 1])
            medians.append((self._medians[row] + self._medians[row + 1]) / 2)
            first, second = (self._counts[at * _COLUMNS : (at + 1) * _COLUMNS] for at in (row, row + 1))
            counts.extend(a + b for a, b in zip(first, second, strict=True))
        self._ends, self._medians, self._counts = ends, medians, counts
        self.thresholds_from = (self.thresholds_from + 1) // 2
        self.each *= 2


def _wandering(values: Sequence[float], stretches: Sequence[Sequence[float]]) -> float:
    """Variance of a random walk over the window whose steps are what neighbouring stretches differ by beyond their
    blocks' own scatter; 0 if that is no more than chance.

    A load that rises and falls over minutes is flat within a minute, but not that flat. Simulated with each side's own
    Ornstein-Uhlenbeck load of sd 20 %: false fails of the median in 10 minutes fall from 19 to 11 % for τ = 300 s, from
    8 to 0 % for 60 s; 15 % slower is found as before.
    """
    steps = sum((after - before) ** 2 for before, after in pairwise(values)) / (len(values) - 1)
    inner = [sum((x - _mean(one)) ** 2 for x in one) / (len(one) - 1) / len(one) for one in stretches if len(one) > 1]
    if not inner:
        return 0.0
    chance = math.pi * _mean(inner)  # twice the variance of a median of the blocks
    return (steps - chance) * len(values) if steps > _WANDERS * chance else 0.0


def _alike(off: Sequence[float]) -> float:
    """By how much more the mean of a series varies than that of independent ones: a first-order process's factor, from
    the autocorrelation of neighbours where that is more than chance (one standard error)."""
    square = sum(x * x for x in off)
    rho = sum(a * b for a, b in pairwise(off)) / square if square else 0.0
    rho = min(_LIKEST, rho + 1 / len(off))  # estimated too low by as much, because the mean is estimated too
    return (1 + rho) / (1 - rho) if rho > 1 / math.sqrt(len(off)) else 1.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _median(ordered: list[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
