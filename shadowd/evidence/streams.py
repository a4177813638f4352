"""When the events of streamed answers came, on both sides (sans-IO).

An event has come when its last byte has, by the kernel's clock on both sides; events that one segment brought came
together. Of each answer there is the time to its first event, the gaps between its events, and the time to its end.
Gaps of all answers make one distribution a side; what is judged is paired like any latency: the first event, and the
median gap of an answer. Answers of language models are judged by their content (``llm_evidence``): their events'
times are shown, and not judged twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from shadowd.compare.pieces import content_type, encoded, pieces
from shadowd.evidence.clock import Clock
from shadowd.evidence.latency import LatencySketch
from shadowd.exchange import Response
from shadowd.judge.judgement import Judgement
from shadowd.protocols.event_stream import EventStream, Lines, StreamError, reader_of

#: Timed answers of an endpoint from which on its streams are judged apart: below nothing can be decided.
STREAMS_LEAST = 100
#: Events of an answer whose times are kept; beyond it the last one's alone. A long generated answer has some thousand.
MAX_EVENTS = 4096


class StreamTimes:
    """Of one answer, in ns after the request: ``events`` rise; ``last`` is its last byte, -1 if it goes on."""

    __slots__ = ("events", "last")

    def __init__(self, events: Sequence[int], last: int) -> None:
        self.events = events
        self.last = last

    @property
    def gaps(self) -> list[int]:
        return [after - before for before, after in pairwise(self.events)]


def stream_times(response: Response, asked_at: int) -> StreamTimes | None:
    """Times of a response whose ``marks`` are on the same clock as ``asked_at`` (0: they count since the request).

    None where it is no stream, its pieces have no times, or they do not tell when its events came.
    """
    if not response.marks or response.digest or encoded(response.head):
        return None
    reader = reader_of(content_type(response.head))
    if reader is None:
        return None
    times: list[int] = []
    try:
        for content, time in pieces(response):
            note_times(times, _completed(reader, content), time - asked_at)
    except StreamError:
        return None
    return StreamTimes(times, -1 if response.open else response.marks[-1][1] - asked_at)


def _completed(reader: EventStream | Lines, content: bytes) -> int:
    return len(reader.feed_untrusted(content))


def note_times(times: list[int], events: int, time: int) -> None:
    """``events`` more that came at ``time``; the list keeps MAX_EVENTS."""
    room = MAX_EVENTS - len(times)
    times.extend([time] * min(events, room))
    if events > room and times:
        times[-1] = time


class StreamEvidence:
    """Of the streamed answers of one endpoint. ``order`` numbers hypotheses; None where none is judged."""

    __slots__ = ("_order", "events", "first_event", "gap", "gaps", "streams", "total")

    def __init__(self, order: Callable[[], int] | None, clock: Clock | None = None) -> None:
        clock = clock or Clock()
        self.first_event = clock.latencies()
        self.gap = clock.latencies()  # the median of an answer
        self.gaps = (LatencySketch(), LatencySketch())  # all of them: production's or the baseline's, the candidate's
        self.total = (LatencySketch(), LatencySketch())
        self.streams = 0
        self.events = [0, 0]
        self._order = (order(), order()) if order is not None else ()  # among all fields: their shares of α

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

    def judge(
        self, endpoint: str, reference: str, margins: Sequence[float], floor: int, field_alpha: Callable[[int], float],
        alpha_pass: float,
    ) -> list[Judgement]:  # fmt: skip
        """Of the first event and of the gaps, where there are enough."""
        found: list[Judgement] = []
        points = (("first_event", self.first_event), ("between_events", self.gap))
        for (point, evidence), order in zip(points, self._order, strict=False):
            if evidence.count >= STREAMS_LEAST:
                alpha = field_alpha(order)
                found += evidence.judge(point, endpoint, reference, margins, floor, alpha, alpha_pass, False)
        return found

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
