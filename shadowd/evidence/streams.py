"""When the events of streamed answers came, on both sides (sans-IO).

Of each answer there is the time to its first event, the gaps between its events, and the time to its end.
Gaps of all answers make one distribution a side; what is judged is paired like any latency: the first event, and the
median gap of an answer. Answers of language models are judged by their content (``talking.py``): their events'
times are shown, and not judged twice. The judge of the others: ``judge/streams.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shadowd.compare.event_times import StreamTimes
from shadowd.evidence.clock import Clock
from shadowd.evidence.latency import LatencySketch


class StreamEvidence:
    """Of the streamed answers of one endpoint. ``order`` numbers hypotheses; None where none is judged."""

    __slots__ = ("events", "first_event", "gap", "gaps", "order", "streams", "total")

    def __init__(self, order: Callable[[], int] | None, clock: Clock | None = None) -> None:
        clock = clock or Clock()
        self.first_event = clock.latencies()
        self.gap = clock.latencies()  # the median of an answer
        self.gaps = (LatencySketch(), LatencySketch())  # all of them: production's or the baseline's, the candidate's
        self.total = (LatencySketch(), LatencySketch())
        self.streams = 0
        self.events = [0, 0]
        self.order = (order(), order()) if order is not None else ()  # among all fields: their shares of α

    def note(self, reference: StreamTimes, candidate: StreamTimes, time: int) -> None:
        self.streams += 1
        if reference.last >= 0 and candidate.last >= 0:
            self.total[0].add(reference.last)
            self.total[1].add(candidate.last)
        if reference.events and candidate.events:
            self.first_event.add(time, reference.events[0], candidate.events[0])
        medians = []
        for side, times in enumerate((reference, candidate)):
            self.events[side] += len(times.events)
            gaps = times.gaps
            sketch = self.gaps[side]
            for gap in gaps:
                sketch.add(gap)
            if gaps:
                medians.append(sorted(gaps)[len(gaps) // 2])
        if len(medians) == 2:
            self.gap.add(time, *medians)

    def view(self) -> dict[str, object]:
        """For the report: how many, and quantiles of both sides in ms."""
        first = (self.first_event.reference, self.first_event.candidate)
        return {
            "streams": self.streams,
            "events": dict(zip(_SIDES, self.events, strict=True)),
            "first_event_ms": _both(first),
            "between_events_ms": _both(self.gaps),
            "total_ms": _both(self.total),
        }


_SIDES = ("production", "candidate")


def _both(sketches: Sequence[LatencySketch]) -> dict[str, dict[str, float | None]]:
    return {side: sketch.milliseconds() for side, sketch in zip(_SIDES, sketches, strict=True)}
