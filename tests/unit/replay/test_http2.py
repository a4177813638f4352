"""Lanes to shadows that speak HTTP/2, over real sockets: the ``h2`` package answers, or a hand that means no good."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from shadowd.exchange.exchange import Exchange, Response
from shadowd.protocols import http2_frames as frames
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2_client import MAX_IDLE_FRAMES
from shadowd.protocols.http2_frames import frame
from shadowd.replay.connection import OPEN
from shadowd.replay.lane import Lane
from shadowd.replay.streams import StreamLane
from shadowd.replay.target import SECOND, Target, TargetLimits
from tests.unit.certificates import Certificate
from tests.unit.loopback import Mirror, Peer, Shadow, ok

OK = [(b":status", b"200")]
MS = 1_000_000
HELLO = frames.settings({})


class Speaker:
    """A server of the ``h2`` package behind one connection. ``asked``: paths by stream, in the order they came."""

    def __init__(self, mirror: Mirror, shadow: Shadow, number: int = 0, **settings: int) -> None:
        self.mirror = mirror
        self.wire: Peer = mirror.peer(shadow, number)
        self.peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.peer.initiate_connection()
        if settings:
            codes = {getattr(h2.settings.SettingCodes, name.upper()): value for name, value in settings.items()}
            self.peer.update_settings(codes)
        self.asked: dict[int, str] = {}
        self.resets: dict[int, int] = {}
        self.hear()

    def hear(self) -> None:
        data = self.wire.receive()
        for event in self.peer.receive_data(data) if data else ():
            if isinstance(event, h2.events.RequestReceived):
                self.asked[event.stream_id] = dict(event.headers)[b":path"].decode().strip("/")
            elif isinstance(event, h2.events.StreamReset):
                self.resets[event.stream_id] = event.error_code
            elif isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.note(event)
        if not self.wire.ended and (said := self.peer.data_to_send()):
            self.wire.send(said)

    def note(self, event: object) -> None:
        """For whoever wants to know more."""

    def until(self, condition: Callable[[], bool], what: str = "") -> None:
        def heard() -> bool:
            self.hear()
            return condition()

        self.mirror.until(heard, what or f"asked: {self.asked}")

    def hears(self, *paths: int) -> None:
        """It is asked for exactly these, in this order."""
        wanted = [str(path) for path in paths]
        self.until(lambda: len(self.asked) >= len(wanted), f"{wanted} of {self.asked}")
        assert list(self.asked.values()) == wanted

    def answer(self, *paths: int, body: bytes = b"hi") -> None:
        for path in paths:
            stream = next(number for number, asked in self.asked.items() if asked == str(path))
            self.peer.send_headers(stream, OK)
            self.peer.send_data(stream, body, end_stream=True)
        self.hear()


def lane(mirror: Mirror, shadow: Shadow, limits: TargetLimits | None = None, streams: bool = True) -> Lane:
    """From production's HTTP/2, or HTTP/1, to a shadow that speaks HTTP/2."""
    target = mirror.target(shadow.port, limits, scheme="http" if streams else "h2c")
    return StreamLane(mirror.engine, target) if streams else Lane(mirror.engine, target)


def asks(mirror: Mirror, to: Lane, index: int, after: int = 0, rank: int | None = None) -> Exchange:
    """``rank``: how many answers production's client had acknowledged before this one's."""
    exchange = mirror.exchange(index, after)
    exchange.rank = index if rank is None else rank
    if to.streams:
        request = exchange.request
        request.head = request.head.replace(b" HTTP/1.1\r\n", b" HTTP/2\r\n")
    return mirror.submit(answered(mirror, exchange), to)


def answered(mirror: Mirror, exchange: Exchange) -> Exchange:
    """By production, with 200."""
    exchange.response = Response(200, ok(), 0, mirror.now)
    exchange.answered = True
    return exchange


# --- order and causality ----------------------------------------------------------------------------------------------


def test_streams_go_side_by_side_and_are_answered_in_any_order(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    for index in range(5):
        asks(mirror, to, index)
    speaker = Speaker(mirror, shadow)
    speaker.hears(0, 1, 2, 3, 4)
    speaker.answer(3, 0, 4, 1, 2)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 5})
    to.finish(mirror.now)
    speaker.until(lambda: speaker.wire.ended)
    assert len(shadow.accept_all()) == 1
    assert not speaker.resets


def test_a_request_waits_for_the_answer_that_caused_it_and_for_no_other(mirror: Mirror, shadow: Shadow) -> None:
    """Production's client had read the answer to the second (rank 0) before it sent the third."""
    to = lane(mirror, shadow)
    asks(mirror, to, 0, rank=1)
    asks(mirror, to, 1, rank=0)
    asks(mirror, to, 2, after=1, rank=2)
    speaker = Speaker(mirror, shadow)
    speaker.hears(0, 1)
    mirror.still()
    speaker.hear()
    assert list(speaker.asked.values()) == ["0", "1"], "the third is not sent yet"
    speaker.answer(1)
    speaker.hears(0, 1, 2)
    speaker.answer(2, 0)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 3})


@pytest.mark.parametrize(("limit", "streams"), [(2, True), (1, True), (1, False)])
def test_no_more_streams_than_the_shadow_allows(mirror: Mirror, shadow: Shadow, limit: int, streams: bool) -> None:
    """Of production's HTTP/2, and of HTTP/1 that is pipelined, so that none waits for another."""
    to = lane(mirror, shadow, streams=streams)
    asks(mirror, to, 0)
    speaker = Speaker(mirror, shadow, max_concurrent_streams=limit)
    speaker.hears(0)
    mirror.still()
    for index in range(1, 6):
        asks(mirror, to, index)
    for done in range(6):
        speaker.hears(*range(min(done + limit, 6)))
        speaker.answer(done)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 6})
    assert not speaker.resets


# --- TLS and times ----------------------------------------------------------------------------------------------------


def secured(mirror: Mirror, peer: Peer, certificate: Certificate, *spoken: str) -> None:
    """The shadow's side of the handshake: it speaks these (ALPN)."""
    context = certificate.server()
    context.set_alpn_protocols(list(spoken))
    sock = peer.sock = context.wrap_socket(peer.sock, server_side=True, do_handshake_on_connect=False)

    def shake() -> bool:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    mirror.until(shake, "a handshake")


def sealed_target(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> Target:
    target = mirror.target(shadow.port, tls=certificate.client())
    target.tls_streams = certificate.client()
    target.tls_streams.set_alpn_protocols(["h2", "http/1.1"])
    return target


def test_times_over_tls_are_those_of_the_segments(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    """Offsets are of the ciphertext; answers come in another order than requests, each in reads of its own."""
    target = sealed_target(mirror, shadow, certificate)
    to = StreamLane(mirror.engine, target)
    asks(mirror, to, 0)
    secured(mirror, mirror.peer(shadow), certificate, "h2")
    speaker = Speaker(mirror, shadow)
    speaker.hears(0)
    speaker.answer(0)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 1})
    mirror.turn()
    ((cookie, _),) = mirror.timed.items()
    connection = to.connection
    assert connection is not None
    seen = [connection._written, connection._received]
    mirror.engine.timing(cookie, 0, 0xFFFFFFFF, 0, 2, 1)
    mirror.engine.timing(cookie, 1, 0xFFFFFFFF, 0, 18, 2)

    def passed(direction: int, at: int) -> None:
        """All that is on the wire by now, and was not before, was in one segment."""
        end = (connection._written, connection._received)[direction]
        mirror.engine.timing(cookie, direction, seen[direction], end - seen[direction], 16, at * MS)
        seen[direction] = end

    mirror.filter.account.seen += 4
    legs = []
    for index in range(1, 5):
        exchange = answered(mirror, mirror.exchange(index))
        exchange.rank = index
        legs.append(mirror.engine.submit(exchange, mirror.filter.policy, to, mirror.now))
        passed(0, 100 + index)
    speaker.hears(0, 1, 2, 3, 4)
    for done, (index, at) in enumerate([(3, 113), (1, 151), (4, 174), (2, 222)]):
        speaker.answer(index, body=b"x" * 3000 * index)
        speaker.until(lambda goal=done + 2: mirror.ledger().get("mirrored") == goal)
        passed(1, at)
        mirror.turn()
    assert [round(leg.first_byte / MS) for leg in legs] == [50, 120, 10, 70]


def test_a_shadow_that_chooses_http1_is_asked_in_it(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    """Side by side, each over a connection of its own, and the next time at once."""
    target = sealed_target(mirror, shadow, certificate)
    to = StreamLane(mirror.engine, target)
    asks(mirror, to, 0)
    asks(mirror, to, 1)
    secured(mirror, mirror.peer(shadow), certificate, "http/1.1")
    for number in (1, 2):
        peer = mirror.peer(shadow, number)
        secured(mirror, peer, certificate, "http/1.1")
        mirror.arrives(peer, number - 1)
    mirror.answer(shadow.peers[2], ok())
    mirror.answer(shadow.peers[1], ok())
    assert mirror.ledger() == {"mirrored": 2}
    again = StreamLane(mirror.engine, target)
    asks(mirror, again, 2)
    mirror.until(lambda: any("2" in peer.paths for peer in shadow.peers[1:]))
    assert len(shadow.accept_all()) == 3


# --- the shadow says goodbye, or no -----------------------------------------------------------------------------------


def test_a_shadow_that_leaves_finishes_what_it_has_while_the_next_connection_goes_on(
    mirror: Mirror, shadow: Shadow
) -> None:
    """GOAWAY, as servers do it: no last stream yet, then one; a stream of events is still under way."""
    to = lane(mirror, shadow)
    for index in range(3):
        asks(mirror, to, index)
    first = Speaker(mirror, shadow)
    first.hears(0, 1, 2)
    first.wire.send(frame(frames.GOAWAY, 0, 0, (0x7FFFFFFF).to_bytes(4, "big") + bytes(4)))
    first.wire.send(frame(frames.GOAWAY, 0, 0, (3).to_bytes(4, "big") + bytes(4)))  # the third was not looked at
    second = Speaker(mirror, shadow, 1)
    second.hears(2)
    asks(mirror, to, 3)
    second.hears(2, 3)
    asks(mirror, to, 4, after=1, rank=4)  # caused by the answer to the first, which its old connection still owes
    mirror.still()
    second.hears(2, 3)
    second.answer(3, 2)
    first.answer(0)
    second.hears(2, 3, 4)
    second.answer(4)
    first.answer(1)
    first.until(lambda: first.wire.ended)
    assert mirror.ledger() == {"mirrored": 5}
    assert not second.wire.ended
    to.finish(mirror.now)
    second.until(lambda: second.wire.ended)


@pytest.mark.parametrize("end", ["reset", "abandon", "timeout"])
def test_a_connection_that_leaves_and_breaks_takes_nothing_along(mirror: Mirror, shadow: Shadow, end: str) -> None:
    to = lane(mirror, shadow, TargetLimits(timeout=2 * SECOND))
    asks(mirror, to, 0)
    first = Speaker(mirror, shadow)
    first.hears(0)
    first.wire.send(frame(frames.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)))
    mirror.still()
    asks(mirror, to, 1)
    second = Speaker(mirror, shadow, 1)
    second.hears(1)
    if end == "abandon":
        to.abandon("removed", mirror.now)
        mirror.filter.account.targets[0].shed.setdefault("removed", 0)
        assert mirror.ledger() == {"removed": 2}
        second.until(lambda: second.wire.ended)
        first.until(lambda: first.wire.ended)
        return
    if end == "timeout":
        mirror.sweep(SECOND)
        second.answer(1)
        second.until(lambda: mirror.ledger().get("mirrored") == 1)
        mirror.sweep(2 * SECOND)
        assert mirror.ledger() == {"mirrored": 1, "failed timeout": 1}
        first.until(lambda: first.wire.ended)
    else:
        first.wire.reset()
        mirror.until(lambda: mirror.ledger() == {"in_flight": 1, "failed reset": 1})
        second.answer(1)
    asks(mirror, to, 2)
    second.hears(1, 2)
    second.answer(2)
    second.until(lambda: mirror.ledger().get("mirrored") == 2)
    assert len(shadow.accept_all()) == 2


def test_who_is_refused_is_asked_once_more(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    asks(mirror, to, 0)
    speaker = Speaker(mirror, shadow)
    speaker.hears(0)
    speaker.peer.reset_stream(1, frames.REFUSED_STREAM)
    speaker.until(lambda: list(speaker.asked.values()) == ["0", "0"])
    speaker.peer.reset_stream(3, frames.REFUSED_STREAM)
    speaker.until(lambda: mirror.ledger() == {"failed reset": 1})
    assert list(speaker.asked.values()) == ["0", "0"], "and not a third time"
    assert to.target.connections == 1


def test_a_stream_that_is_reset_fails_alone(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow)
    for index in range(3):
        asks(mirror, to, index)
    speaker = Speaker(mirror, shadow)
    speaker.hears(0, 1, 2)
    speaker.peer.send_headers(3, OK)
    speaker.peer.reset_stream(3, frames.INTERNAL_ERROR)
    speaker.peer.reset_stream(1, frames.INTERNAL_ERROR)
    speaker.answer(2)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 1, "failed reset": 1, "failed truncated": 1})
    assert to.connection is not None
    assert to.connection.state == OPEN


def test_a_stream_that_is_late_is_reset_and_its_neighbours_go_on(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow, TargetLimits(timeout=2 * SECOND))
    asks(mirror, to, 0)
    speaker = Speaker(mirror, shadow)
    speaker.hears(0)
    mirror.sweep(SECOND)
    asks(mirror, to, 1)
    speaker.hears(0, 1)
    mirror.sweep(SECOND + 1)
    assert mirror.ledger() == {"in_flight": 1, "failed timeout": 1}
    speaker.until(lambda: speaker.resets == {1: frames.CANCEL})
    speaker.answer(1)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 1, "failed timeout": 1})


def test_windows_that_never_open_end_in_time(mirror: Mirror, shadow: Shadow) -> None:
    to = lane(mirror, shadow, TargetLimits(timeout=2 * SECOND))
    mirror.submit(answered(mirror, mirror.exchange(0, body=b"x" * 100_000)), to)
    asks(mirror, to, 1)
    speaker = Speaker(mirror, shadow, initial_window_size=0)
    speaker.hears(0, 1)
    speaker.answer(1)
    speaker.until(lambda: mirror.ledger() == {"mirrored": 1, "in_flight": 1})
    mirror.sweep(2 * SECOND + 1)
    assert mirror.ledger() == {"mirrored": 1, "failed timeout": 1}


# --- no HTTP/2, and no good -------------------------------------------------------------------------------------------


HOSTILE = {
    "pings": HELLO + frame(frames.PING, 0, 0, bytes(8)) * (MAX_IDLE_FRAMES + 1),
    "settings": HELLO * (MAX_IDLE_FRAMES + 1),
    "empty content": HELLO + frames.header_block(1, encode(OK), end=False) + frame(0, 0, 1) * (MAX_IDLE_FRAMES + 1),
    "continuations": HELLO + frame(frames.HEADERS, 0, 1) + frame(frames.CONTINUATION, 0, 1, bytes(16_384)) * 20,
    "empty continuations": HELLO
    + frame(frames.HEADERS, 0, 1)
    + frame(frames.CONTINUATION, 0, 1) * (MAX_IDLE_FRAMES + 1),
    "interim": HELLO + frames.header_block(1, encode([(b":status", b"103")]), end=False) * (MAX_IDLE_FRAMES + 1),
    "promise": HELLO + frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, (2).to_bytes(4, "big") + encode(OK)),
    "window": HELLO + frames.window_update(0, frames.LARGEST_WINDOW),
    "table": HELLO + frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_shadow_that_means_no_good_ends_its_connection_and_no_other(
    mirror: Mirror, shadow: Shadow, kind: str
) -> None:
    beside = mirror.shadow()
    to, well = lane(mirror, shadow), lane(mirror, beside)

    def ask_both(index: int) -> None:
        exchange = answered(mirror, mirror.exchange(index))
        exchange.rank = index
        mirror.submit(exchange, to, well)

    ask_both(0)
    ask_both(1)
    neighbour = Speaker(mirror, beside)
    neighbour.hears(0, 1)
    peer = mirror.peer(shadow)
    peer.send(HOSTILE[kind])
    mirror.until(lambda: mirror.ledger().get("failed malformed") == 2, kind)
    mirror.until(lambda: (peer.receive() or True) and peer.ended)
    assert mirror.engine.budget.used < 10_000  # the requests that the neighbour still has to answer
    neighbour.answer(0, 1)
    neighbour.until(lambda: mirror.ledger(1) == {"mirrored": 2})
    ask_both(2)
    again = Speaker(mirror, shadow, 1)
    again.hears(2)
    again.answer(2)
    again.until(lambda: mirror.ledger().get("mirrored") == 1)
    neighbour.hears(0, 1, 2)
    neighbour.answer(2)
    neighbour.until(lambda: mirror.ledger(1) == {"mirrored": 3})


def test_a_shadow_that_asks_and_never_reads_ends_its_connection(mirror: Mirror, shadow: Shadow) -> None:
    """PINGs between bytes of an answer, so that it goes on; it reads none of our replies."""
    to = lane(mirror, shadow)
    asks(mirror, to, 0)
    peer = mirror.peer(shadow)
    peer.send(HELLO + frames.header_block(1, encode(OK), end=False))
    said = (frame(frames.PING, 0, 0, bytes(8)) * 2000 + frame(frames.DATA, 0, 1, b"x")) * 4
    peer.sock.settimeout(5)
    rest = memoryview(b"")
    most = 0

    def shout() -> bool:
        nonlocal rest, most
        peer.sock.setblocking(False)
        try:
            rest = rest[peer.sock.send(rest := rest or memoryview(said)) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            return True
        most = max([most, *(len(one._out) for one in mirror.engine._connections.values())])
        return "failed malformed" in mirror.ledger()

    mirror.until(shout, "it is cut off")
    assert mirror.ledger() == {"failed malformed": 1}
    assert most < 2 << 20
