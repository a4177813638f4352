"""A WebSocket to a shadow: when its turns are said, and whose answers its messages are."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from shadowd.exchange.exchange import MESSAGE_COST, WEBSOCKET, Exchange, Request, Response, Turn
from shadowd.protocols.websocket_frames import CLOSE, PING, TEXT, Message
from shadowd.replay import websocket
from shadowd.replay.connection import CLOSED
from shadowd.replay.engine import SWEEP
from shadowd.replay.leg import Leg
from shadowd.replay.target import SECOND, TargetLimits
from shadowd.replay.websocket import WebSocketLane
from tests.unit.certificates import Certificate
from tests.unit.loopback import Mirror, Peer, Shadow
from tests.unit.protocols.websocket_talk import ASK, Server
from tests.unit.replay.test_connection import secured

TIMEOUT = 2 * SECOND
LONG = SECOND  # a client that thinks: what the shadow has said before is no crossing


class Talk:
    """The shadow's end: what it heard, and what it says."""

    def __init__(self, mirror: Mirror, peer: Peer, lane: WebSocketLane) -> None:
        self._mirror = mirror
        self.peer = peer
        assert lane.connection is not None
        self._connection = lane.connection
        self._sent = 0
        self._read = 0
        self._hears = Connection(ConnectionType.SERVER)
        self._says = Server()
        self.heard: list[str | bytes] = []
        self.pongs: list[bytes] = []
        self.closed: int | None = None

    def _hear(self) -> None:
        self.peer.receive()
        at = self.peer.text.find(b"\r\n\r\n") + 4
        data, self._read = self.peer.text[max(at, self._read) :], len(self.peer.text)
        self._hears.receive_data(data)
        for event in self._hears.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                self.heard.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
            elif isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                self.closed = event.code
            else:
                assert isinstance(event, Ping)

    def hears(self, *texts: str | bytes) -> Talk:
        """Wait until it has heard exactly these since the handshake."""

        def come() -> bool:
            self._hear()
            return len(self.heard) >= len(texts)

        self._mirror.until(come, f"{texts} of {self.heard}")
        assert self.heard == list(texts)
        return self

    def still_hears(self, *texts: str | bytes) -> Talk:
        self._mirror.still()
        self._hear()
        assert self.heard == list(texts)
        return self

    def says(self, *texts: str) -> Talk:
        return self.send(b"".join(self._says.framed(TEXT, text.encode()) for text in texts))

    def frame(self, kind: int, data: bytes) -> Talk:
        return self.send(self._says.framed(kind, data))

    def send(self, data: bytes) -> Talk:
        """And wait until it has come, if anybody listens."""
        self.peer.send(data)
        self._sent += len(data)
        connection = self._connection
        self._mirror.until(lambda: connection.state == CLOSED or connection._received >= self._sent, "what was sent")
        return self


@pytest.fixture
def lane(mirror: Mirror, shadow: Shadow) -> WebSocketLane:
    return WebSocketLane(mirror.engine, mirror.target(shadow.port, TargetLimits(timeout=TIMEOUT)))


def shake_hands(mirror: Mirror, lane: WebSocketLane, shadow: Shadow, answer: bytes | None = None) -> Talk:
    request = Request(b"GET", b"/talk", ASK, b"", 0, len(ASK), mirror.now, mirror.now, True, True)
    exchange = Exchange(0, request, 0)
    exchange.response = Response(101, b"", 0, mirror.now)
    exchange.answered = True
    mirror.submit(exchange, lane)
    peer = mirror.peer(shadow)
    mirror.until(lambda: peer.has(len(ASK)), "the handshake")
    mirror.until(lambda: b"\r\n\r\n" in peer.text, "all of it")
    talk = Talk(mirror, peer, lane)
    return talk.send(Server().agreement() if answer is None else answer)


def test_a_shadow_that_breaks_its_encryption_leaves_nothing_in_flight(
    mirror: Mirror, shadow: Shadow, certificate: Certificate
) -> None:
    """No Close can be said where TLS has ended by an error."""
    lane = WebSocketLane(mirror.engine, mirror.target(shadow.port, tls=certificate.client()))
    request = Request(b"GET", b"/talk", ASK, b"", 0, len(ASK), mirror.now, mirror.now, True, True)
    exchange = Exchange(0, request, 0)
    exchange.response = Response(101, b"", 0, mirror.now)
    exchange.answered = True
    mirror.submit(exchange, lane)
    peer = mirror.peer(shadow)
    assert secured(mirror, peer, certificate)
    mirror.until(lambda: peer.has(len(ASK)), "the handshake")
    peer.send(Server().agreement())
    mirror.until(lambda: exchange.answered and mirror.engine.in_flight == 0, "its answer")
    leg = say(mirror, lane, 1, "one")
    os.write(peer.sock.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that nobody has sealed
    mirror.until(lambda: leg.done, "its end")
    assert leg.failure == "tls"
    assert not mirror.engine.examining.failed


def say(mirror: Mirror, lane: WebSocketLane, index: int, *texts: str, read: int = 0) -> Leg:
    """A turn of production's, to which nothing was said yet."""
    messages = tuple(Message(TEXT, text.encode(), 0, 0, 0) for text in texts)
    content = texts[0].encode() if len(texts) == 1 else b"several"
    head = b"WEBSOCKET /talk HTTP/1.1\r\nHost: shop\r\n\r\n"
    request = Request(WEBSOCKET, b"/talk", head, content, 0, 9, mirror.now, mirror.now)
    request.turn = Turn(messages, read)
    mirror.filter.account.seen += 1
    leg = mirror.engine.submit(Exchange(index, request, index), mirror.filter.policy, lane, mirror.now)
    assert isinstance(leg, Leg)
    return leg


def replied(mirror: Mirror, leg: Leg, count: int, closed: bool = False, at: int = 0) -> None:
    """Production's answer is over, which took ``at`` ns."""
    exchange, turn = leg.exchange, leg.exchange.request.turn
    assert turn is not None
    turn.answers, turn.closed = count, closed
    if count or closed:
        exchange.response = Response(101, b"", 0, exchange.request.ended + at)
        exchange.response.last_byte = exchange.request.ended + at
    exchange.answered = True
    mirror.engine.primary_known(exchange)
    mirror.sweep(SWEEP)


def answer(leg: Leg) -> list[str]:
    """The shadow's, event by event."""
    assert leg.response is not None, leg.failure or leg.shed or "still under way"
    return leg.response.body.decode().replace("data: ", "").replace("event: ", "").split("\n\n")[:-1]


def test_a_turn_is_said_when_the_shadow_has_said_as_much_as_production_s_client_had_read(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    second = say(mirror, lane, 2, "two", "three", read=2)
    talk.hears("one").says("eins").still_hears("one")
    talk.says("mehr").hears("one", "two", "three")
    replied(mirror, first, 2)
    talk.says("zwei")
    replied(mirror, second, 1)
    assert (answer(first), answer(second)) == (["eins", "mehr"], ["zwei"])
    assert mirror.ledger() == {"mirrored": 3}


def test_nothing_is_said_before_the_shadow_has_agreed(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    talk = shake_hands(mirror, lane, shadow, answer=b"HTTP/1.1 101 Switching")
    say(mirror, lane, 1, "one")
    talk.still_hears()
    assert mirror.ledger() == {"in_flight": 2}
    talk.send(Server().agreement().removeprefix(b"HTTP/1.1 101 Switching"))
    talk.hears("one")
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}


@pytest.mark.parametrize(
    "refusal",
    [
        b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
        Server().agreement().replace(b"s3pPLM", b"AAAAAA"),  # RFC 6455 §4.1: of another question
        Server().agreement("mystery"),
    ],
)
def test_a_shadow_that_does_not_agree(mirror: Mirror, shadow: Shadow, lane: WebSocketLane, refusal: bytes) -> None:
    shake_hands(mirror, lane, shadow, answer=refusal)
    say(mirror, lane, 1, "one")
    assert mirror.ledger() == {"mirrored": 1, "failed refused": 1}
    assert mirror.engine.in_flight == 0


def test_what_came_with_the_agreement_is_heard(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    greeting = Server().framed(TEXT, b"hello")
    talk = shake_hands(mirror, lane, shadow, answer=Server().agreement() + greeting)
    silence = say(mirror, lane, 1)
    replied(mirror, silence, 1)
    first = say(mirror, lane, 2, "one", read=1)
    talk.hears("one").says("eins")
    replied(mirror, first, 1)
    assert (answer(silence), answer(first)) == ([""], ["eins"])  # of what was pushed only its kind


def test_what_the_shadow_says_more_is_its_answer_if_production_had_the_time(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one").says("eins").says("again")
    mirror.turn(LONG)
    replied(mirror, first, 1)
    second = say(mirror, lane, 2, "two", read=1)
    talk.hears("one", "two").says("zwei")
    replied(mirror, second, 1)
    assert (answer(first), answer(second)) == (["eins", "again"], ["zwei"])


def test_what_may_have_crossed_the_client_s_next_words_is_no_difference(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    """A ticker: production's fifth tick came just behind what its client said, the shadow's just before."""
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one")
    mirror.turn(LONG)
    talk.says("tick", "tick")
    replied(mirror, first, 1)
    second = say(mirror, lane, 2, "two", read=1)
    talk.hears("one", "two").says("zwei")
    replied(mirror, second, 2)
    assert (answer(first), answer(second)) == (["tick"], ["tick", "zwei"])


def test_what_production_said_only_to_the_client_s_next_words_is_not_lost_for_those(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    """A Ping of the server's parts two turns of a client that does not wait; the shadow is faster than production."""
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one").says("eins")
    mirror.turn(LONG)
    first.exchange.uncomparable = True
    replied(mirror, first, 0)
    second = say(mirror, lane, 2, "two")
    talk.hears("one", "two").says("zwei")
    replied(mirror, second, 2)
    assert answer(second) == ["eins", "zwei"]


def test_a_shadow_that_says_less_is_waited_for_and_the_talk_goes_on(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one").says("eins")
    replied(mirror, first, 2, at=SECOND)
    second = say(mirror, lane, 2, "two", read=2)
    mirror.turn(TIMEOUT)
    talk.still_hears("one")  # production took a second longer
    for _ in range(4):
        mirror.sweep(SECOND)
    assert answer(first) == ["eins"]
    talk.hears("one", "two").says("zwei")
    replied(mirror, second, 1)
    assert answer(second) == ["zwei"]
    assert mirror.ledger() == {"mirrored": 3}


def test_less_is_waited_for_as_long_as_production_took_and_no_longer(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one").says("eins")
    replied(mirror, first, 2, at=SECOND // 2)
    second = say(mirror, lane, 2, "two", read=2)
    mirror.sweep(TIMEOUT - SECOND // 4)
    mirror.sweep(SECOND // 2)  # production took a half more
    talk.still_hears("one")
    mirror.sweep(SECOND // 2)
    talk.hears("one", "two").says("zwei")
    assert answer(first) == ["eins"]
    replied(mirror, second, 1)
    assert answer(second) == ["zwei"]


def test_a_shadow_that_says_nothing_is_late(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one")
    replied(mirror, first, 1)
    for _ in range(5):
        mirror.sweep(SECOND)
    assert mirror.ledger() == {"mirrored": 1, "failed timeout": 1}
    say(mirror, lane, 2, "two", read=1)
    assert mirror.ledger() == {"mirrored": 1, "failed timeout": 1, "failed reset": 1}


def test_where_nobody_says_anything_there_is_nothing_to_be_late_for(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    talk = shake_hands(mirror, lane, shadow)
    leg = say(mirror, lane, 1, "one")
    talk.hears("one")
    for _ in range(20):
        mirror.sweep(SECOND)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}
    leg.exchange.uncomparable = True
    replied(mirror, leg, 0)
    assert mirror.ledger() == {"mirrored": 2}


def test_pings_are_answered_and_a_close_ends_the_talk(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one").frame(PING, b"?").still_hears("one")
    assert talk.pongs == [b"?"]
    talk.says("eins").frame(CLOSE, b"\x03\xf3out").still_hears("one")
    assert talk.closed == 1011
    replied(mirror, first, 1)
    assert answer(first) == ["eins", 'close\n{"code": 1011, "reason": "out"}']


def test_a_close_of_production_s_is_waited_for(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one").says("eins")
    replied(mirror, first, 1, closed=True)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}
    talk.frame(CLOSE, b"\x03\xf3out")
    assert answer(first) == ["eins", 'close\n{"code": 1011, "reason": "out"}']


def test_an_end_without_a_close(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first, second = say(mirror, lane, 1, "one"), say(mirror, lane, 2, "two")
    talk.hears("one", "two").peer.close()
    mirror.until(lambda: lane.connection is None, "the end")
    assert answer(first) == ['close\n{"code": 1006, "reason": ""}']
    assert second.failure == "reset"


def test_production_s_end_is_said_to_the_shadow(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    talk.hears("one").says("eins")
    lane.finish(mirror.now)
    replied(mirror, first, 1)
    mirror.until(lambda: talk.still_hears("one").closed is not None, "a Close")
    assert talk.closed == 1000
    assert mirror.ledger() == {"mirrored": 2}


def test_what_nobody_can_frame_is_malformed(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    talk = shake_hands(mirror, lane, shadow)
    first = say(mirror, lane, 1, "one")
    replied(mirror, first, 1)
    talk.hears("one").send(b"\x81\x85mask")
    assert mirror.ledger() == {"mirrored": 1, "failed malformed": 1}


def test_an_answer_beyond_what_is_kept_is_equal_to_production_s_only_if_it_is_as_long(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    talk = shake_hands(mirror, lane, shadow)
    leg = say(mirror, lane, 1, "one")
    talk.hears("one").says("a" * 600).says("b" * 600, "c" * 600)
    replied(mirror, leg, 3)
    assert answer(leg) == ["a" * 600]  # of 1,024 bytes
    assert leg.response is not None
    assert leg.response.body_length == 3 * len("data: \n\n" + "a" * 600)


def test_an_answer_that_goes_on_is_read_as_long_as_its_window(mirror: Mirror, shadow: Shadow) -> None:
    limits = TargetLimits(timeout=TIMEOUT, stream_window=4 * SECOND)
    lane = WebSocketLane(mirror.engine, mirror.target(shadow.port, limits))
    talk = shake_hands(mirror, lane, shadow)
    leg = say(mirror, lane, 1, "subscribe")
    talk.hears("subscribe")
    for _ in range(6):
        talk.says("tick")
        mirror.sweep(SECOND)
    assert leg.response is not None
    assert leg.response.open
    assert answer(leg)[:3] == ["tick"] * 3
    talk.says("tick")
    after = say(mirror, lane, 2, "more", read=5)
    talk.hears("subscribe", "more").says("tock")
    replied(mirror, after, 1)
    assert answer(after) == ["tock"], "what came while nobody listened is nobody's"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.data())
def test_the_same_said_is_the_same_heard(counts: list[int], data: st.DataObject) -> None:
    """A shadow that says what production said, sooner or later: every turn has its own answer."""
    with Mirror(body_limit=1 << 16) as mirror:
        shadow = mirror.shadow()
        lane = WebSocketLane(mirror.engine, mirror.target(shadow.port))
        talk = shake_hands(mirror, lane, shadow)
        legs: list[Leg] = []
        due: list[str] = []
        for number, count in enumerate(counts):
            if legs:
                replied(mirror, legs[-1], counts[number - 1])
            read = data.draw(st.integers(0, sum(counts[:number]) - len(due)))  # or else it would wait for the shadow
            legs.append(say(mirror, lane, number + 1, f"turn {number}", read=read))
            talk.hears(*(f"turn {earlier}" for earlier in range(number + 1)))
            due += [f"{number}.{at}" for at in range(count)]
            now = data.draw(st.integers(0, len(due)))
            talk.says(*due[:now])
            del due[:now]
        talk.says(*due)
        replied(mirror, legs[-1], counts[-1])
        expected = [[f"{number}.{at}" for at in range(count)] for number, count in enumerate(counts)]
        assert [answer(leg) for leg in legs] == expected


def test_a_close_before_production_s_is_known_is_the_answer_all_the_same(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane
) -> None:
    """Both servers turn the client away as soon as it is there, and the shadow's words are read first."""
    talk = shake_hands(mirror, lane, shadow)
    talk.frame(CLOSE, b"\x03\xf0no")
    silence = say(mirror, lane, 1)
    replied(mirror, silence, 0, closed=True)
    assert answer(silence) == ['close\n{"code": 1008, "reason": "no"}']
    assert mirror.ledger() == {"mirrored": 2}


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
@pytest.mark.parametrize("closes", [True, False])
def test_a_talk_that_is_over_before_production_s_is_known(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane, end: Callable[[Peer], None], closes: bool
) -> None:
    talk = shake_hands(mirror, lane, shadow).says("hello")
    if closes:
        talk.frame(CLOSE, b"\x03\xf0no")
    end(talk.peer)
    mirror.until(lambda: lane.connection is None, "the end")
    silence, more = say(mirror, lane, 1), say(mirror, lane, 2, "more", read=1)
    replied(mirror, silence, 1, closed=True)
    code = '{"code": 1008, "reason": "no"}' if closes else '{"code": 1006, "reason": ""}'
    assert answer(silence) == ["", f"close\n{code}"]
    assert more.failure == "reset"
    assert mirror.ledger() == {"mirrored": 2, "failed reset": 1}


def test_of_many_pings_the_latest_is_answered(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    """RFC 6455 §5.5.3. 64 KB can be 32,000 of them, each with a frame, a mask and a call of the kernel."""
    talk = shake_hands(mirror, lane, shadow)
    talk.send(b"\x89\x00" * 1000 + b"\x89\x01!").still_hears()
    assert talk.pongs[-1] == b"!"
    assert len(talk.pongs) < 10


def test_a_flood_of_messages_ends_the_talk(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    talk = shake_hands(mirror, lane, shadow)
    leg = say(mirror, lane, 1, "subscribe")
    talk.hears("subscribe")
    connection = lane.connection
    assert connection is not None
    for _ in range(websocket._FLOOD // 1000 + 1):
        talk.send(b"\x81\x00" * 1000)
    mirror.until(lambda: connection.state == CLOSED, "its end")
    replied(mirror, leg, 1)
    assert mirror.ledger() == {"mirrored": 1, "failed malformed": 1}


def test_a_turn_of_many_messages_takes_more_than_its_bytes(mirror: Mirror, shadow: Shadow, lane: WebSocketLane) -> None:
    shake_hands(mirror, lane, shadow)
    say(mirror, lane, 1, *[""] * 100, read=1)
    assert mirror.engine.buffered > 100 * MESSAGE_COST


@pytest.mark.parametrize("apart", [0, SECOND // 4])
def test_a_turn_whose_messages_production_heard_one_by_one_is_not_timed(
    mirror: Mirror, shadow: Shadow, lane: WebSocketLane, apart: int
) -> None:
    """Its server works at the first while the client says the second; the shadow is told both at once."""
    talk = shake_hands(mirror, lane, shadow)
    leg = say(mirror, lane, 1, "one", "two")
    leg.exchange.request.started -= apart
    talk.hears("one", "two")
    connection = lane.connection
    assert connection is not None
    ((cookie, _),) = mirror.timed.items()
    sent, received = connection._written, connection._received
    talk.says("eins")
    for direction, seq, length, flags, at in (
        (0, 0xFFFFFFFF, 0, 2, 1), (1, 0xFFFFFFFF, 0, 18, 2), (0, 0, sent, 16, 10), (1, 0, received, 16, 11),
        (1, received, connection._received - received, 16, 20),
    ):  # fmt: skip
        mirror.engine.timing(cookie, direction, seq, length, flags, at * 1_000_000)
    replied(mirror, leg, 1)
    mirror.turn()
    mirror.turn()
    assert (leg.first_byte >= 0) == (not apart)
