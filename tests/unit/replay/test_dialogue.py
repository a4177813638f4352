"""Dialogues of gRPC with a shadow, over real sockets: the ``h2`` package answers, or says less than production did."""

from __future__ import annotations

import h2.events
import pytest

from shadowd.exchange.exchange import Exchange
from shadowd.protocols.dialogue import PACE_BYTES, Pace
from shadowd.replay.lane import Lane
from shadowd.replay.streams import StreamLane
from shadowd.replay.target import SECOND, TargetLimits
from shadowd.replay.timing import SegmentTimes
from tests.unit.loopback import Mirror, Shadow
from tests.unit.replay.test_http2 import OK, Speaker, answered, lane
from tests.unit.replay.test_http2 import asks as asks

MESSAGE = b"\0\0\0\0\1m"
PACES = (Pace(2, 1, 0), Pace(4, 2, SECOND), Pace(6, 3, 0))


class Chatting(Speaker):
    """``come``: bytes of content by stream; ``over``: streams whose client has ended its side."""

    def __init__(self, mirror: Mirror, shadow: Shadow, number: int = 0) -> None:
        self.come: dict[int, int] = {}
        self.over: set[int] = set()
        super().__init__(mirror, shadow, number)

    def note(self, event: object) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.come[event.stream_id] = self.come.get(event.stream_id, 0) + len(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            self.over.add(event.stream_id)

    def says(self, stream: int = 1, ends: bool = False) -> None:
        self.peer.send_data(stream, MESSAGE, end_stream=ends)
        self.hear()

    def opens(self, stream: int = 1) -> None:
        self.peer.send_headers(stream, OK)
        self.hear()

    def has(self, size: int, over: bool = False, stream: int = 1) -> None:
        """So much has come, and no more comes."""
        self.until(lambda: self.come.get(stream, 0) >= size and (stream in self.over) >= over, f"{self.come}")
        self.mirror.still()
        self.hear()
        assert self.come.get(stream, 0) == size
        assert (stream in self.over) == over


def talks(mirror: Mirror, to: Lane, index: int, took: int = 0, after: int = 0) -> Exchange:
    """A dialogue that has taken production so long."""
    exchange = mirror.exchange(index, after, b"q" * 6)
    request = exchange.request
    request.head = request.head.replace(b" HTTP/1.1\r\n", b" HTTP/2\r\n")
    request.paces = PACES
    request.started = request.ended - took
    return mirror.submit(answered(mirror, exchange), to)


def test_each_turn_waits_for_its_answer_and_no_time_is_told(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    exchange = talks(mirror, to, 0)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    speaker.opens()
    for size, over in ((4, False), (6, False), (6, True)):
        speaker.says()
        speaker.has(size, over)
    speaker.says(ends=True)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 1})
    mirror.turn()
    target = to.target
    assert target.account.mirrored == 1
    assert target.shadow_latency.count == 0
    assert exchange.answered


def test_its_messages_have_no_times_either(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    talks(mirror, to, 0)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    connection = to.connection
    assert connection is not None
    connection.times = SegmentTimes()
    (leg,) = connection.in_flight
    speaker.peer.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    speaker.hear()
    for size, over in ((4, False), (6, False), (6, True)):
        speaker.says()
        speaker.has(size, over)
    speaker.says(ends=True)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 1})
    mirror.turn()
    assert leg.response is not None
    assert leg.response.marks is None


def test_a_reply_that_is_missing_is_waited_for_once_and_the_rest_is_compared(mirror: Mirror, shadow: Shadow) -> None:
    """The second: production took a second for it, so that it may take 4, and 5 more."""
    to = lane(mirror, shadow)
    talks(mirror, to, 0, took=20 * SECOND)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    assert to.connection is not None
    (leg,) = to.connection.in_flight
    speaker.opens()
    speaker.says()
    speaker.has(4)
    mirror.sweep(9 * SECOND - 10_000_000)
    speaker.has(4)
    mirror.sweep(SECOND)
    speaker.has(6)
    speaker.says()
    speaker.has(6, over=True)
    speaker.says(ends=True)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 1})
    assert leg.response is not None
    assert leg.response.body == 3 * MESSAGE, "of production's four"


def test_a_shadow_that_says_nothing_ends_by_the_clock(mirror: Mirror, shadow: Shadow) -> None:
    """As long as production's dialogue was, and the limit."""
    to = lane(mirror, shadow)
    talks(mirror, to, 0, took=20 * SECOND)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    for _ in range(29):
        mirror.sweep(SECOND)
        assert mirror.ledger() == {"in_flight": 1}
    mirror.sweep(2 * SECOND)
    speaker.until(lambda: bool(speaker.resets))
    assert mirror.ledger() == {"failed timeout": 1}


def test_our_own_stall_is_not_the_shadows_silence(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    talks(mirror, to, 0, took=20 * SECOND)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    begin = mirror.now
    mirror.now += 15 * SECOND
    mirror.engine.stalls.note(begin, mirror.now)
    mirror.sweep(SECOND)
    speaker.has(2)
    mirror.sweep(5 * SECOND)
    speaker.has(4)
    assert mirror.ledger() == {"in_flight": 1}


def test_our_own_stall_is_no_part_of_a_long_dialogue(mirror: Mirror, shadow: Shadow) -> None:
    """Shorter than production's dialogue was, so that its limit alone would not tell."""
    to = lane(mirror, shadow)
    talks(mirror, to, 0, took=20 * SECOND)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    begin = mirror.now
    mirror.now += 15 * SECOND
    mirror.engine.stalls.note(begin, mirror.now)
    for _ in range(29):
        mirror.sweep(SECOND)
        assert mirror.ledger() == {"in_flight": 1}
    mirror.sweep(2 * SECOND)
    assert mirror.ledger() == {"failed timeout": 1}


def test_its_paces_are_charged_as_long_as_it_is_under_way(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    exchange = talks(mirror, to, 0)
    (leg,) = to.queue
    assert mirror.engine.buffered == len(leg.wire) + 3 * PACE_BYTES > exchange.request.size
    mirror.sweep(SECOND)


def test_a_shadow_that_ends_early_has_answered(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    talks(mirror, to, 0)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    speaker.opens()
    assert to.connection is not None
    (leg,) = to.connection.in_flight
    speaker.says(ends=True)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 1})
    assert leg.response is not None
    assert leg.response.body == MESSAGE


def test_what_waits_for_a_dialogue_is_not_late(mirror: Mirror, shadow: Shadow) -> None:
    """It begins when production's was over: the next request waits for longer than any lag."""
    to = lane(mirror, shadow, TargetLimits(max_lag=SECOND))
    talks(mirror, to, 0, took=20 * SECOND)
    asks(mirror, to, 1, after=1)
    asks(mirror, to, 2, after=1)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    for _ in range(8):
        mirror.sweep(SECOND // 2)
    speaker.opens()
    for size, over in ((4, False), (6, False), (6, True)):
        speaker.says()
        speaker.has(size, over)
    assert list(speaker.asked.values()) == ["0"]
    speaker.says(ends=True)
    speaker.hears(0, 1, 2)
    speaker.answer(1, 2)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 3})


def test_what_waits_for_another_request_is(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow, TargetLimits(max_lag=SECOND))
    asks(mirror, to, 0)
    asks(mirror, to, 1, after=1)
    speaker = Chatting(mirror, shadow)
    speaker.hears(0)
    for _ in range(4):
        mirror.sweep(SECOND // 2)
    assert mirror.ledger() == {"in_flight": 1, "shadow_lag": 1}


def test_one_that_is_refused_unread_begins_anew_elsewhere(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    talks(mirror, to, 0)
    speaker = Chatting(mirror, shadow)
    speaker.has(2)
    speaker.peer.reset_stream(1, 7)
    speaker.hear()
    speaker.has(2, stream=3)
    speaker.opens(3)
    speaker.says(3)
    speaker.has(4, stream=3)
    speaker.peer.reset_stream(3, 7)
    speaker.hear()
    speaker.until(lambda: mirror.ledger() == {"failed truncated": 1})
    assert list(speaker.asked) == [1, 3], "once more, and no third time"


@pytest.mark.parametrize("known", [True, False])
def test_http1_cannot_hold_one(mirror: Mirror, shadow: Shadow, known: bool) -> None:
    target = mirror.target(shadow.port)
    target.http1_only = known
    to = StreamLane(mirror.engine, target)
    talks(mirror, to, 0)
    asks(mirror, to, 1)
    if not known:
        mirror.peer(shadow).send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer = mirror.peer(shadow, 0 if known else 1)
    mirror.arrives(peer, 1)
    assert mirror.ledger() == {"interactive": 1, "in_flight": 1}
