"""How much a sample in a tail is worth when slow exchanges come in bursts (sans-IO).

A burst of ten slow exchanges is not ten samples. While traffic runs, exceedances of a threshold near each quantile are
counted by block of time; the variance of those counts over that of as many independent ones is the design effect
(L. Kish, "Survey Sampling", 1965) by which the number of samples is divided. What neighbouring blocks have in common
counts too, by the autocorrelations of the counts up to the first that is within its own error
(an initial sequence, C. Geyer 1992).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from operator import mul

#: Of a pair's side that never answered: above any threshold.
NEVER = 1 << 62
_NOT_SET = NEVER  # a threshold before there is one
TAILS = (0.1, 0.01)  # of the 90th and the 99th percentile
_STRIDE = 5  # of a block: pairs, reference beyond p90 and p99, candidate beyond p90 and p99
_MAX_BLOCKS = 256  # then neighbours are joined: 5 KB
#: Blocks before the effect at a tail is known: a variance is then right within a third; rarer events need more.
_MIN_BLOCKS = (16, 32)
#: A threshold may be off by this factor of its tail before it is set anew, which costs the blocks counted so far.
_ASTRAY = (2.0, 3.0)
#: An effect below it, of some sixteen blocks, may be chance: that of a variance, and of the likeness of neighbours.
_CHANCE = 4.0
_FIRST_CHECK = 4  # blocks before the first thresholds: two seconds


class Bursts:
    """Exceedances by block. The traffic's path compares with ``reference90`` and ``candidate90`` itself."""

    __slots__ = (
        "_candidate",
        "_candidate99",
        "_check_at",
        "_closed",
        "_effects",
        "_reference",
        "_reference99",
        "_rows",
        "candidate90",
        "reference90",
    )

    def __init__(self) -> None:
        self.reference90 = self.candidate90 = _NOT_SET
        self._reference99 = self._candidate99 = _NOT_SET
        self._reference = [0, 0]  # exceedances in the open block
        self._candidate = [0, 0]
        self._rows = array("I")
        self._closed = 0
        self._check_at = _FIRST_CHECK
        self._effects: tuple[float | None, float | None] = (None, None)  # the largest by the thresholds before these

    def count_reference(self, nanoseconds: int) -> None:
        """A duration beyond ``reference90``."""
        self._reference[0] += 1
        if nanoseconds > self._reference99:
            self._reference[1] += 1

    def count_candidate(self, nanoseconds: int) -> None:
        """A duration beyond ``candidate90``."""
        self._candidate[0] += 1
        if nanoseconds > self._candidate99:
            self._candidate[1] += 1

    @property
    def counted(self) -> tuple[int, int, int, int]:
        """Exceedances in the open block: the reference's of p90 and p99, the candidate's."""
        return self._reference[0], self._reference[1], self._candidate[0], self._candidate[1]

    def close(self, pairs: int, quantiles: Callable[[float], tuple[float, float]]) -> bool:
        """A block of ``pairs`` is over; ``quantiles`` gives (reference's, candidate's) for a tail. Whether the
        thresholds are others now."""
        if self.reference90 != _NOT_SET:
            self._rows.extend((pairs, *self._reference, *self._candidate))
            if len(self._rows) >= _MAX_BLOCKS * _STRIDE:
                self._join()
        self._reference = [0, 0]
        self._candidate = [0, 0]
        self._closed += 1
        if self._closed >= self._check_at:
            self._check_at = 2 * self._closed
            if self._astray():
                # a burst that was seen once can come again: what is known is kept, whatever the new thresholds show
                self._effects = (_bursty(self.effect(TAILS[0])), _bursty(self.effect(TAILS[1])))
                self._rows = array("I")
                reference90, candidate90 = quantiles(TAILS[0])
                reference99, candidate99 = quantiles(TAILS[1])
                self.reference90, self._reference99 = _threshold(reference90), _threshold(reference99)
                self.candidate90, self._candidate99 = _threshold(candidate90), _threshold(candidate99)
                return True
        return False

    def effect(self, tail: float, pairs: int = 0) -> float | None:
        """By how much fewer samples the pairs are worth at this tail, at least 1; None before that is known.

        ``pairs`` of the open block, which stands in the sketches as well. The rarer tail is worth no more than the
        other: what comes in bursts at p90 does so at p99, where it takes longer to show.
        """
        which = TAILS.index(tail)
        rows = self._rows
        if pairs and self.reference90 != _NOT_SET:
            rows = rows + array("I", (pairs, *self._reference, *self._candidate))
        known = [self._effects[which]]
        if which:
            known.append(self.effect(TAILS[0], pairs))
        if len(rows) >= _MIN_BLOCKS[which] * _STRIDE:
            reference, candidate = rows[which + 1 :: _STRIDE], rows[which + 3 :: _STRIDE]
            known.append(max(_inflations(rows[::_STRIDE], reference, candidate)))
        elif known[0] is None:
            return None
        return max(1.0, *(one for one in known if one is not None))

    def _astray(self) -> bool:
        """The thresholds are not set, or not near their quantiles any more."""
        pairs = sum(self._rows[::_STRIDE])
        if not pairs:
            return True
        for column in range(1, _STRIDE):
            share = sum(self._rows[column::_STRIDE]) / pairs
            tail, factor = TAILS[(column - 1) % 2], _ASTRAY[(column - 1) % 2]
            if not tail / factor <= share <= tail * factor:
                return True
        return False

    def _join(self) -> None:
        rows, joined = self._rows, array("I")
        for start in range(0, len(rows) - _STRIDE, 2 * _STRIDE):
            joined.extend(rows[start + i] + rows[start + _STRIDE + i] for i in range(_STRIDE))
        self._rows = joined


def _bursty(effect: float | None) -> float | None:
    """What is kept of an effect: one that chance makes of independent exceedances is none."""
    return 1.0 if effect is not None and effect < _CHANCE else effect


def _threshold(nanoseconds: float) -> int:
    return int(min(nanoseconds, NEVER - 1))


def _inflations(pairs: Sequence[int], reference: Sequence[int], candidate: Sequence[int]) -> tuple[float, float]:
    """Of the reference's exceedances against binomial ones, and of the difference of the two sides'."""
    many = sum(pairs)
    share_r, share_c = sum(reference) / many, sum(candidate) / many
    off_r = [r - n * share_r for n, r in zip(pairs, reference, strict=True)]
    off = [c - r - n * (share_c - share_r) for n, r, c in zip(pairs, reference, candidate, strict=True)]
    return (
        _spread(off_r) / (many * share_r * (1 - share_r)) if 0 < share_r < 1 else 1.0,
        _spread(off) / (many * (share_r + share_c)) if share_r + share_c else 1.0,
    )


def _spread(off: list[float]) -> float:
    """Variance of the sum of a series that is off its mean by these, neighbours alike."""
    count = len(off)
    alone = sum(value * value for value in off)
    if not alone:
        return 0.0
    alike, noise = 0.0, 1 / math.sqrt(count)
    for lag in range(1, count // 4 + 1):
        correlation = sum(map(mul, off, off[lag:])) / alone * count / (count - lag)
        if correlation < noise:
            break
        alike += correlation
    return alone * count / (count - 1) * (1 + 2 * alike)
