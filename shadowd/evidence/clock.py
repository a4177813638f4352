"""How a run's time is cut (sans-IO)."""

from __future__ import annotations

from shadowd.evidence.slowdown import MILLISECOND, MINUTE, WARMUP, LatencyEvidence


class Clock:
    """How a run's time is cut: nothing is said before ``least`` ns, a slot of time is 2^``shift`` ns. ``warmup``: ns of
    the beginning that are no evidence; None: while the latency falls, for ``slowdown.WARMUP`` at most."""

    __slots__ = ("auto", "floor", "least", "shift", "warmup")

    def __init__(self, least: int = MINUTE, warmup: int | None = None, floor: int = MILLISECOND) -> None:
        self.floor = floor  # ns by which nobody minds an answer to be slower
        self.least = least
        self.auto = WARMUP  # what may be left of a warm-up when the run begins
        self.warmup = warmup
        self.shift = max(0, least.bit_length() - 7)  # 64 to 128 slots in the shortest window, of 2^29 ns by default

    def latencies(self) -> LatencyEvidence:
        return LatencyEvidence(self.auto if self.warmup is None else 0, self.least, self.floor)

    def measures(self) -> LatencyEvidence:
        """Of what does not warm up: tokens, costs."""
        return LatencyEvidence(0, self.least, self.floor)
