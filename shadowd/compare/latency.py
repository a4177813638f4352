"""Latencies in a mergeable sketch: log-linear buckets, so that a quantile is right within 1.6 %.

The bucket of a value is its highest bit and the five bits below it (HdrHistogram's scheme, G. Tene); adding one is a
shift and a dictionary update.
"""

from __future__ import annotations

_SUB_BITS = 5


class LatencySketch:
    """Counts of durations in ns. Quantiles return the middle of a bucket: at most 1/64 off."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        self.count = 0
        self._buckets: dict[int, int] = {}

    def add(self, nanoseconds: int) -> None:
        """Negative durations (clocks of different CPUs) count as 0."""
        value = nanoseconds if nanoseconds > 0 else 0
        shift = value.bit_length() - _SUB_BITS - 1
        bucket = (shift << (_SUB_BITS + 1)) + (value >> shift) if shift > 0 else value
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self.count += 1

    def merge(self, other: LatencySketch) -> None:
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count

    def quantile(self, q: float) -> float | None:
        """The q-quantile in ns, or None without data."""
        if not self.count:
            return None
        rank = max(0, min(self.count - 1, int(q * self.count)))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank < 0:
                return self._middle(bucket)
        return None

    @staticmethod
    def _middle(bucket: int) -> float:
        shift = bucket >> (_SUB_BITS + 1)
        if shift == 0:
            return float(bucket)
        low = bucket - (shift << (_SUB_BITS + 1)) << shift
        return low + (1 << shift) / 2

    def milliseconds(self) -> dict[str, float | None]:
        """``{"p50": ms, "p99": ms}`` for people and machines."""
        result: dict[str, float | None] = {}
        for name, q in (("p50", 0.5), ("p99", 0.99)):
            value = self.quantile(q)
            result[name] = None if value is None else round(value / 1e6, 3)
        return result
