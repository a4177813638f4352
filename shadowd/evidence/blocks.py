"""Blocks of time: the sign of a typical log-ratio, one vote a block (sans-IO; judged in ``judge/blocks.py``).

Exchanges that follow each other share their luck (a full queue, a garbage collection), so they are not independent
samples; half a second of them gives one vote, the median of its paired log-ratios.

Neighbouring blocks may still be alike. The design effect 1 + 2·Σρₖ, from the autocorrelations ρₖ of the last blocks'
votes up to the first that is within its own error (an initial sequence, C. Geyer 1992), divides the counts.
"""

from __future__ import annotations

import math
from array import array

#: Buckets of log-ratios, rising in width: 0.1 % where margins are (a block in the margin's bucket speaks for nobody;
#: with 0.5 % that was a third of what 12 % slower has to say against 10 %), coarse where only the sign matters. Beyond
#: e^±12 everything is one bucket: a side that never answered.
_ZONES = ((0.3, 0.001), (0.5, 0.005), (2.0, 0.02), (12.0, 0.1))
_POSITIVE = [0.0]
for _end, _width in _ZONES:
    _steps, _start = round((_end - _POSITIVE[-1]) / _width), _POSITIVE[-1]
    _POSITIVE.extend(_start + _width * (_step + 1) for _step in range(_steps))
HALF = len(_POSITIVE)  # buckets on each side of 0

#: Votes kept in their order to tell how alike neighbours are: two minutes of half-second blocks.
_RECENT = 256


def bucket_of(log_ratio: float) -> int:
    size = abs(log_ratio)
    index, start = 0, 0.0
    for end, width in _ZONES:
        if size < end:
            index += int((size - start) / width)
            break
        index += round((end - start) / width)
        start = end
    return HALF + index if log_ratio >= 0 else HALF - 1 - index


def lower_edge(bucket: int) -> float:
    if bucket >= HALF:
        return _POSITIVE[bucket - HALF]
    return -_POSITIVE[HALF - bucket] if bucket > 0 else -math.inf


class Blocks:
    """Votes of blocks. 5 KB at most: a histogram of all, and the order of the last 256."""

    __slots__ = ("_at", "_recent", "count", "counts")

    def __init__(self) -> None:
        self.count = 0
        self.counts = array("I")
        self._recent = array("f")
        self._at = 0  # the oldest of the recent, once there are enough

    def add(self, log_ratio: float) -> None:
        """One block's typical log-ratio; ±inf if one side was never done."""
        if not self.counts:
            self.counts = array("I", bytes(4 * 2 * HALF))
        self.counts[bucket_of(log_ratio)] += 1
        self.count += 1
        if len(self._recent) < _RECENT:
            self._recent.append(log_ratio)
        else:
            self._recent[self._at] = log_ratio
            self._at = (self._at + 1) % _RECENT

    def median(self) -> float:
        """Of all blocks, within a bucket; 0 without any."""
        left = self.count / 2
        for bucket, here in enumerate(self.counts):
            if here and left <= here:
                low, high = lower_edge(bucket), lower_edge(bucket + 1) if bucket + 1 < 2 * HALF else math.inf
                return low + (high - low) * left / here if math.isfinite(high - low) else (low if low > 0 else high)
            left -= here
        return 0.0

    def design_effect(self, threshold: float) -> float:
        """By how much fewer independent votes the blocks are worth, at least 1."""
        recent = [*self._recent[self._at :], *self._recent[: self._at]]
        many = len(recent)
        votes = sum(1 << position for position, value in enumerate(recent) if value > threshold)
        share = votes.bit_count() / many if many else 0.0
        spread = share * (1 - share)
        if not spread:
            return 1.0
        total, noise = 0.0, 1 / math.sqrt(many)
        for lag in range(1, many // 4 + 1):
            together = (votes & (votes >> lag)).bit_count() / (many - lag)
            # an autocorrelation is estimated too low by some 1/n because the mean is estimated too
            correlation = (together - share * share) / spread + 1 / many
            if correlation < noise:
                break
            total += correlation
        return min(float(many), 1 + 2 * total)
