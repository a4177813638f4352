"""The median of blocks' log-ratios, by their votes (sans-IO; counted in ``evidence/blocks.py``).

Under H0 "the median of those is at most t" a block lies above t with probability at most 1/2, whatever its
distribution, which is a bet on a bounded mean (``betting.py``) that may be looked at at any time. The values of t that
are not rejected are a confidence sequence of the median (S. Howard and A. Ramdas, "Sequential estimation of quantiles",
Bernoulli 28 (2022)). Neighbours that are alike count for less, by ``Blocks.design_effect``.
"""

from __future__ import annotations

import math

from shadowd.evidence.blocks import HALF, Blocks, bucket_of, lower_edge
from shadowd.judge.betting import log_e_above, samples_needed


class BlockJudge:
    """Of blocks, as they stand."""

    __slots__ = ("_of",)

    def __init__(self, blocks: Blocks) -> None:
        self._of = blocks

    def evidence_above(self, threshold: float) -> float:
        """log e-value against "the median log-ratio is at most ``threshold``"; a block in its bucket counts against."""
        above = sum(self._of.counts[bucket_of(threshold) + 1 :])
        return self._evidence(above, self._of.count - above, threshold)

    def evidence_below(self, threshold: float) -> float:
        """log e-value against "the median log-ratio is at least ``threshold``"."""
        below = sum(self._of.counts[: bucket_of(threshold)])
        return self._evidence(below, self._of.count - below, threshold)

    def bounds(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """The median log-ratio lies above the first with probability ≥ 1 − ``alpha_low`` at all times, and below the
        second with 1 − ``alpha_high``."""
        if not self._of.count:
            return -math.inf, math.inf
        enough_low, enough_high = -math.log(alpha_low), -math.log(alpha_high)
        rejected, kept = -1, 2 * HALF - 1  # buckets whose lower edge is (not) rejected as too low
        while kept - rejected > 1:
            middle = (rejected + kept) // 2
            if self._at_edge(middle, above=True) >= enough_low:
                rejected = middle
            else:
                kept = middle
        low = lower_edge(rejected) if rejected >= 0 else -math.inf
        kept, rejected = 0, 2 * HALF
        while rejected - kept > 1:
            middle = (rejected + kept) // 2
            if self._at_edge(middle, above=False) >= enough_high:
                rejected = middle
            else:
                kept = middle
        return low, lower_edge(rejected) if rejected < 2 * HALF else math.inf

    def needed(self, threshold: float, alpha_fail: float, alpha_pass: float) -> int | None:
        """How many more blocks until ``threshold`` is decided."""
        above = sum(self._of.counts[bucket_of(threshold) + 1 :])
        effect = self._of.design_effect(threshold)
        counts = ((1.0, above / effect), (0.0, (self._of.count - above) / effect))
        more = samples_needed(counts, 0.5, 0.0, 1.0, alpha_pass, alpha_fail)
        return None if more is None else math.ceil(more * effect)

    def _at_edge(self, bucket: int, above: bool) -> float:
        """Evidence at a bucket's lower edge, where no block is ambiguous."""
        edge = lower_edge(bucket)
        up = sum(self._of.counts[bucket:])
        return self._evidence(up, self._of.count - up, edge) if above else self._evidence(self._of.count - up, up, edge)

    def _evidence(self, for_it: int, against: int, threshold: float) -> float:
        effect = self._of.design_effect(threshold)
        return log_e_above(((1.0, for_it / effect), (0.0, against / effect)), 0.5, 0.0, 1.0)
