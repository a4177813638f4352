"""Latencies in a mergeable sketch: log-linear buckets, so that a quantile is right within 1.6 %.

The bucket of a value is its highest bit and the five bits below it (HdrHistogram's scheme, G. Tene). Counts lie in an
array that covers the buckets seen so far, 256 bytes a power of two: adding is a shift and an increment, and durations
from 1 µs to 1000 s take 8 KB at most.
"""

from __future__ import annotations

from array import array

_SUB_BITS = 5


class LatencySketch:
    """Counts of durations in ns. Quantiles return the middle of a bucket: at most 1/64 off."""

    __slots__ = ("_base", "_counts", "count")

    def __init__(self) -> None:
        self.count = 0
        self._base = 0  # bucket of the first element
        self._counts = array("Q")

    def add(self, nanoseconds: int) -> None:
        """Negative durations (clocks of different CPUs) count as 0."""
        value = nanoseconds if nanoseconds > 0 else 0
        shift = value.bit_length() - _SUB_BITS - 1
        index = ((shift << _SUB_BITS) + (value >> shift) if shift > 0 else value) - self._base
        counts = self._counts
        if not 0 <= index < len(counts):
            index = self._reach(index)
            counts = self._counts
        counts[index] += 1
        self.count += 1

    def add_many(self, nanoseconds: int, count: int) -> None:
        """So many durations of one bucket."""
        self.add(nanoseconds)
        shift = max(0, nanoseconds).bit_length() - _SUB_BITS - 1
        index = (shift << _SUB_BITS) + (nanoseconds >> shift) if shift > 0 else nanoseconds
        self._counts[index - self._base] += count - 1
        self.count += count - 1

    def merge(self, other: LatencySketch) -> None:
        if not other._counts:
            return
        start = self._reach(other._base - self._base)
        self._reach(start + len(other._counts) - 1)
        start = other._base - self._base
        counts = self._counts
        for index, count in enumerate(other._counts, start):
            counts[index] += count
        self.count += other.count

    def quantile(self, q: float) -> float | None:
        """The q-quantile in ns, or None without data."""
        if not self.count:
            return None
        rank = max(0, min(self.count - 1, int(q * self.count)))
        for bucket, count in enumerate(self._counts, self._base):
            rank -= count
            if rank < 0:
                return self._middle(bucket)
        return None

    def exceeded_by(self, count: float) -> float | None:
        """The value in ns that ``count`` of the durations exceed, linear within a bucket; None without data.

        ``count`` beyond the number of durations gives the lowest, below 0 the highest.
        """
        if not self.count:
            return None
        left = max(0.0, count)
        for index in range(len(self._counts) - 1, -1, -1):
            here = self._counts[index]
            if here and left <= here:
                low, high = _edges(self._base + index)
                return high - (high - low) * left / here
            left -= here
        return float(_edges(self._base + next(i for i, n in enumerate(self._counts) if n))[0])

    def buckets(self) -> list[tuple[int, int, int]]:
        """(lowest, one above the highest, count) of every bucket that is not empty, in ns, rising."""
        return [(*_edges(bucket), count) for bucket, count in enumerate(self._counts, self._base) if count]

    def milliseconds(self) -> dict[str, float | None]:
        """``{"p50": ms, "p99": ms}`` for people and machines."""
        result: dict[str, float | None] = {}
        for name, q in (("p50", 0.5), ("p99", 0.99)):
            value = self.quantile(q)
            result[name] = None if value is None else round(value / 1e6, 3)
        return result

    def _reach(self, index: int) -> int:
        """Make the array cover ``index``; returns where it is now."""
        if not self._counts:
            self._base += index
            self._counts = array("Q", (0,))
            return 0
        if index < 0:
            self._counts = array("Q", bytes(8 * -index)) + self._counts
            self._base += index
            return 0
        if index >= len(self._counts):
            self._counts.frombytes(bytes(8 * (index + 1 - len(self._counts))))
        return index

    @staticmethod
    def _middle(bucket: int) -> float:
        low, high = _edges(bucket)
        return float(low) if high - low == 1 else low + (high - low) / 2


def _edges(bucket: int) -> tuple[int, int]:
    """Lowest value of a bucket, and one above its highest."""
    shift = (bucket >> _SUB_BITS) - 1
    if shift <= 0:
        return bucket, bucket + 1
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low, low + (1 << shift)
