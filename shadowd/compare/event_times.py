"""When the events of a streamed answer came (sans-IO).

An event has come when its last byte has, by the kernel's clock on both sides; events that one segment brought came
together. Messages of gRPC are events where an answer has several: a call that is answered by one is no stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from shadowd.compare.grpc import GRPC_TEXT, is_grpc
from shadowd.compare.pieces import content_type, encoded, pieces
from shadowd.exchange.exchange import Response
from shadowd.protocols.event_stream import StreamError, reader_of
from shadowd.protocols.grpc_messages import Messages

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
    kind = content_type(response.head)
    reader = Messages() if is_grpc(kind) else reader_of(kind)
    if reader is None or kind.startswith(GRPC_TEXT):
        return None
    times: list[int] = []
    try:
        for content, time in pieces(response):
            note_times(times, len(reader.feed_untrusted(content)), time - asked_at)
    except StreamError:
        return None
    if isinstance(reader, Messages) and (reader.wrong or len(times) < 2):
        return None
    return StreamTimes(times, -1 if response.open else response.marks[-1][1] - asked_at)


def note_times(times: list[int], events: int, time: int) -> None:
    """``events`` more that came at ``time``; the list keeps MAX_EVENTS."""
    room = MAX_EVENTS - len(times)
    times.extend([time] * min(events, room))
    if events > room and times:
        times[-1] = time
