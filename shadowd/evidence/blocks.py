"""Blocks of time: the sign of a typical log-ratio, one vote a block (sans-IO).

Exchanges that follow each other share their luck (a full queue, a garbage collection), so they are not independent
samples; half a second of them gives one vote, the median of its paired log-ratios. Under H0 "the median of those is at
most t" a block lies above t with probability at most 1/2, whatever its distribution, which is a bet on a bounded mean
(``betting.py``) that may be looked at at any time. The values of t that are not rejected are a confidence sequence of
the median (S. Howard and A. Ramdas, "Sequential estimation of quantiles", Bernoulli 28 (2022)).

Neighbouring blocks may still be alike. The design effect 1 + 2·Σρₖ, from the autocorrelations ρₖ of the last blocks'
votes up to the first that is within its own error (an initial sequence, C. Geyer 1992), divides the counts.
"""

from __future__ import annotations

import math
from array import array

from shadowd.evidence.betting import log_e_above, samples_needed

#: Buckets of log-ratios, rising in width: 0.1 % where margins are (a block in the margin's bucket speaks for nobody;
#: with 0.5 % that was a third of what 12 % slower has to say against 10 %), coarse where only the sign matters. Beyond
#: e^±12 everything is one bucket: a side that never answered.
_ZONES = ((0.3, 0.001), (0.5, 0.005), (2.0, 0.02), (12.0, 0.1))
_POSITIVE = [0.0]
for _end, _width in _ZONES:
    _steps, _start = round((_end - _POSITIVE[-1]) / _width), _POSITIVE[-1]
    _POSITIVE.extend(_start + _width * (_step + 1) for _step in range(_steps))
_HALF = len(_POSITIVE)  # buckets on each side of 0

#: Votes kept in their order to tell how alike neighbours are: two minutes of half-second blocks.
_RECENT = 256


def _bucket(log_ratio: float) -> int:
    size = abs(log_ratio)
    index, start = 0, 0.0
    for end, width in _ZONES:
        if size < end:
            index += int((size - start) / width)
            break
        index += round((end - start) / width)
        start = end
    return _HALF + index if log_ratio >= 0 else _HALF - 1 - index


def _lower_edge(bucket: int) -> float:
    if bucket >= _HALF:
        return _POSITIVE[bucket - _HALF]
    return -_POSITIVE[_HALF - bucket] if bucket > 0 else -math.inf


class Blocks:
    """Votes of blocks. 5 KB at most: a histogram of all, and the order of the last 256."""

    __slots__ = ("_at", "_counts", "_recent", "count")

    def __init__(self) -> None:
        self.count = 0
        self._counts = array("I")
        self._recent = array("f")
        self._at = 0  # the oldest of the recent, once there are enough

    def add(self, log_ratio: float) -> None:
        """One block's typical log-ratio; ±inf if one side was never done."""
        if not self._counts:
            self._counts = array("I", bytes(4 * 2 * _HALF))
        self._counts[_bucket(log_ratio)] += 1
        self.count += 1
        if len(self._recent) < _RECENT:
            self._recent.append(log_ratio)
        else:
            self._recent[self._at] = log_ratio
            self._at = (self._at + 1) % _RECENT

    def median(self) -> float:
        """Of all blocks, within a bucket; 0 without any."""
        left = self.count / 2
        for bucket, here in enumerate(self._counts):
            if here and left <= here:
                low, high = _lower_edge(bucket), _lower_edge(bucket + 1) if bucket + 1 < 2 * _HALF else math.inf
                return low + (high - low) * left / here if math.isfinite(high - low) else (low if low > 0 else high)
            left -= here
        return 0.0

    def evidence_above(self, threshold: float) -> float:
        """log e-value against "the median log-ratio is at most ``threshold``"; a block in its bucket counts against."""
        above = sum(self._counts[_bucket(threshold) + 1 :])
        return self._evidence(above, self.count - above, threshold)

    def evidence_below(self, threshold: float) -> float:
        """log e-value against "the median log-ratio is at least ``threshold``"."""
        below = sum(self._counts[: _bucket(threshold)])
        return self._evidence(below, self.count - below, threshold)

    def bounds(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """The median log-ratio lies above the first with probability ≥ 1 − ``alpha_low`` at all times, and below the
        second with 1 − ``alpha_high``."""
        if not self.count:
            return -math.inf, math.inf
        enough_low, enough_high = -math.log(alpha_low), -math.log(alpha_high)
        rejected, kept = -1, 2 * _HALF - 1  # buckets whose lower edge is (not) rejected as too low
        while kept - rejected > 1:
            middle = (rejected + kept) // 2
            if self._at_edge(middle, above=True) >= enough_low:
                rejected = middle
            else:
                kept = middle
        low = _lower_edge(rejected) if rejected >= 0 else -math.inf
        kept, rejected = 0, 2 * _HALF
        while rejected - kept > 1:
            middle = (rejected + kept) // 2
            if self._at_edge(middle, above=False) >= enough_high:
                rejected = middle
            else:
                kept = middle
        return low, _lower_edge(rejected) if rejected < 2 * _HALF else math.inf

    def needed(self, threshold: float, alpha_fail: float, alpha_pass: float) -> int | None:
        """How many more blocks until ``threshold`` is decided."""
        above = sum(self._counts[_bucket(threshold) + 1 :])
        effect = self.design_effect(threshold)
        counts = ((1.0, above / effect), (0.0, (self.count - above) / effect))
        more = samples_needed(counts, 0.5, 0.0, 1.0, alpha_pass, alpha_fail)
        return None if more is None else math.ceil(more * effect)

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

    def _at_edge(self, bucket: int, above: bool) -> float:
        """Evidence at a bucket's lower edge, where no block is ambiguous."""
        edge = _lower_edge(bucket)
        up = sum(self._counts[bucket:])
        return self._evidence(up, self.count - up, edge) if above else self._evidence(self.count - up, up, edge)

    def _evidence(self, for_it: int, against: int, threshold: float) -> float:
        effect = self.design_effect(threshold)
        return log_e_above(((1.0, for_it / effect), (0.0, against / effect)), 0.5, 0.0, 1.0)
