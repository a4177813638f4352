"""A run's latency over time: slices of ten seconds, as the report draws them."""

from __future__ import annotations

from typing import Any

from shadowd.evidence.latency import LatencySketch

SLICE = 10.0  # seconds of one point of the latency over time
SLICES = 720  # points kept in memory: two hours; older ones are the store's minutes


class Slice:
    """Ten seconds of a run. ``told``: the quantiles of both sides, once it is over."""

    __slots__ = ("candidate", "differing", "exchanges", "places", "production", "seconds", "time", "told", "worse")

    def __init__(self, began: float) -> None:
        self.time = began
        self.seconds = 0.0
        self.exchanges = self.worse = self.differing = 0
        #: Of the exchanges that differ how many, by endpoint and field: which of them is noise is known in the end.
        self.places: dict[tuple[str, str, str], int] = {}
        self.told: dict[str, Any] | None = None
        self.production, self.candidate = LatencySketch(), LatencySketch()
