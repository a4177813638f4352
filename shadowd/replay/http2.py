"""A connection to a shadow that speaks HTTP/2: every request is a stream, and answers come in any order.

What is said on it is ``protocols.http2_client``'s; here are the socket's events, deadlines, and which leg a stream is.
A stream ends by itself: one that is late is reset, and the others go on. A shadow that chose HTTP/1 where TLS was to
say what is spoken (ALPN), or answers the preface in HTTP/1, is remembered as one that speaks that, and asked anew.

A dialogue may last as long as production's did, and ``timeout``. A shadow that says less in it than production did is
waited for ``_LONGER`` times what production took, and half of ``timeout``: what is missing is known to be while the
whole is still in time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from operator import itemgetter
from typing import TYPE_CHECKING, cast

from shadowd.protocols.content_digest import content_of
from shadowd.protocols.http2_client import Answer, Http2Client, Http2Error
from shadowd.protocols.http2_heads import request_fields, trailer_fields
from shadowd.replay.answers import stream_ends
from shadowd.replay.connection import CLOSED, FLOOD, OPEN, Connection
from shadowd.replay.timing import MAX_MARKS

if TYPE_CHECKING:
    from shadowd.replay.engine import Engine
    from shadowd.replay.lane import Lane
    from shadowd.replay.leg import Leg
    from shadowd.replay.streams import StreamLane
    from shadowd.replay.target import Address, Target

#: How much longer than production's a message of a dialogue may take, beside half of ``timeout``.
_LONGER = 4
#: Bytes that wait for a shadow which does not read: beyond it no stream is opened.
_UNREAD = 1 << 20
#: Bytes of replies (to PING, SETTINGS) that a shadow may let wait before it reads again: 60,000 PINGs.
_UNREAD_REPLIES = 1 << 20


class Http2Connection(Connection):
    """See the module's head. ``full``: no request can be sent now."""

    __slots__ = ("_client", "_legs", "_unmeasured")

    def __init__(self, engine: Engine, target: Target, owner: Lane, address: Address, raw: bool, now: int) -> None:
        self._client = Http2Client(engine.body_limit, engine.budget)
        self._legs: dict[int, Leg] = {}
        self._unmeasured = 0  # answers whose times will be asked for
        super().__init__(engine, target, owner, address, raw, now)

    @property
    def full(self) -> bool:
        return self._client.full or len(self._out) > _UNREAD

    @property
    def reusable(self) -> bool:
        """It ends with production's connection: another's table of fields and numbers of streams are its own."""
        return False

    def _opened(self, now: int) -> None:
        if self._tls is not None and self._tls.selected_alpn_protocol() != "h2":
            if not self._may_speak_http1():
                self._engine.note_tls_error(self.target, ConnectionError("it does not speak HTTP/2 (ALPN)"))
                self.target.connect_failed(self.address, now)
                owner = self.owner
                self.close(now)
                if owner is not None:
                    owner.connect_failed("tls", now)
                return
            self._ask_in_http1(now)
            return
        self._push(now)
        super()._opened(now)

    def _may_speak_http1(self) -> bool:
        return self.target.protocol == "auto" and self.target.scheme in ("http", "https")

    def _ask_in_http1(self, now: int) -> None:
        """HTTP/1 is all that it speaks: nothing that was sent here was understood."""
        self.target.http1_only = True
        owner = self.owner
        legs, self.in_flight = list(self.in_flight), deque()
        self.close(now)
        if owner is not None:
            owner.disconnected(legs, now)

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, leg: Leg, now: int) -> None:
        """Open a stream for a request, whose wire form is that of HTTP/1."""
        if self.target.sessions is not None:
            leg.wire = self.target.sessions.replaced(leg.wire)
        at = leg.wire.find(b"\r\n\r\n") + 4
        head, body = leg.wire[:at], leg.wire[at:]
        request = leg.exchange.request
        if body:
            body = content_of(head, body)  # of HTTP/1, which frames it
        fields = request_fields(head, b"http" if self._tls is None else b"https")
        stream = self._client.open(fields, body, trailer_fields(request.trailers), now, request.paces)
        self._legs[stream] = leg
        self.in_flight.append(leg)
        leg.connection = self
        leg.received_before = self._received
        leg.sent_at = now
        leg.deadline = now + self.target.limits.timeout
        if request.paces:
            leg.deadline += request.ended - request.started
        self._push(now)

    def _push(self, now: int) -> None:
        """What the client has to say goes out."""
        client = self._client
        if client.out:
            data = bytes(client.out)
            client.out.clear()
            if self._tls is not None:
                self._tls.write(data)
                data = self._tls_out.read()
            self._write(data, now)
        if client.sent:
            for stream in client.sent:
                leg = self._legs.get(stream)
                if leg is not None:
                    leg.sent_end = self._written
            client.sent.clear()

    # --- answers ------------------------------------------------------------------------------------------------------

    def _deliver(self, data: bytes, now: int) -> None:
        client = self._client
        try:
            ended = client.feed_untrusted(data, now)
        except Http2Error:
            if data.startswith(b"HTTP/1.") and not self.answered and self._may_speak_http1():
                self._ask_in_http1(now)
            else:
                self.fail("malformed", now)
            return
        retry = self._settle(ended)
        if client.error is not None:
            self._fail_behind(retry, now)
            return
        for stream, leg in list(self._legs.items()) if self._long_answers() else ():
            if client.received(stream) > self._answer_limit(leg):
                self._give_up(stream, leg, "own_limit" if self._as_long(leg.exchange) else "malformed")
        self._push(now)
        if not self._out:
            client.replies = 0
        elif client.replies > _UNREAD_REPLIES:
            self._fail_behind(retry, now)
        if self.state != CLOSED:
            self._go_on(retry, bool(ended), now)

    def _fail_behind(self, retry: list[Leg], now: int) -> None:
        """It is malformed, and what was refused before that is asked again elsewhere."""
        if self.owner is not None:
            self.owner.queue.extendleft(reversed(retry))
        else:
            for leg in retry:
                self._engine.failed(leg, "malformed")
        self.fail("malformed", now)

    def _long_answers(self) -> bool:
        """Some answer may be beyond its limit: the oldest has had so many bytes since it was asked for."""
        if not self.in_flight:
            return False
        had = self._received - self.in_flight[0].received_before
        if had <= min(FLOOD, self.target.answer_limit):  # below every limit
            return False
        return had > min(map(self._answer_limit, self.in_flight))

    def _settle(self, ended: list[Answer]) -> list[Leg]:
        """Streams that ended; those to ask again."""
        retry = []
        for stream, response, failure in ended:
            leg = self._legs.pop(stream, None)
            if leg is None:
                continue
            self.in_flight.remove(leg)
            if response is not None:
                leg.response = response
                self.answered += 1
                self._unmeasured += 1
                self._engine.answered(leg)
            elif failure == "own_limit":
                self._engine.shed(leg, failure)
            elif failure == "refused" and not leg.retried and leg.wire:
                leg.retried = True
                retry.append(leg)
            else:
                self._engine.failed(leg, "reset" if failure == "refused" else failure)
        return retry

    def _go_on(self, retry: list[Leg], ended: bool, now: int) -> None:
        owner = self.owner
        if self._client.going:
            self.keep_alive = False
            if not self.in_flight:
                self.close(now)
            elif owner is not None and owner.streams:
                cast("StreamLane", owner).leave(self)
        if owner is None:
            return
        owner.queue.extendleft(reversed(retry))
        if (ended or retry) and (owner.queue or owner.finished or self.state != OPEN):
            owner.answered(self, now)
        elif owner.queue and not self.full:  # a window or a limit was raised
            owner.advance(now)

    def _give_up(self, stream: int, leg: Leg, reason: str) -> None:
        """One stream: its answer is not waited for any more."""
        self._client.cancel(stream)
        del self._legs[stream]
        self.in_flight.remove(leg)
        if reason == "own_limit":
            self._engine.shed(leg, reason)
        else:
            self._engine.failed(leg, reason)

    def check_deadline(self, now: int) -> None:
        """Each stream has its own."""
        timeout = self.target.limits.timeout
        for stream, since, took in self._client.silences(now):
            if now - since - self._engine.stalls.within(since, now) > _LONGER * took + timeout // 2:
                self._client.go_on(stream, now)
                self._push(now)
        late = [(stream, leg) for stream, leg in self._legs.items() if leg.deadline <= now]
        for stream, leg in late:
            if leg.deadline > now or not self._overdue(leg, now):
                continue
            client, ends = self._client, stream_ends(leg)
            goes_on = client.latest(stream) + timeout > now or not leg.exchange.answered
            if client.streaming(stream) and now < ends and goes_on:
                leg.deadline = min(now + timeout, max(now, ends))
                continue
            response = client.so_far(stream) if now >= ends else None
            if response is not None:
                self._settle([Answer(stream, response)])
            else:
                self._give_up(stream, leg, "timeout")
        if late and self.state == OPEN:
            self._push(now)
            self._go_on([], True, now)

    def _overdue(self, leg: Leg, now: int) -> bool:
        if not leg.exchange.request.paces:
            return super()._overdue(leg, now)
        return leg.deadline + self._engine.stalls.within(leg.sent_at, now) <= now

    def _ended(self, now: int) -> None:
        self.keep_alive = False
        self.fail("reset", now)

    def fail(self, reason: str, now: int) -> None:
        """The whole connection: what had an answer under way is cut off, what had none may be asked again."""
        if self.state == CLOSED or self.state != OPEN or reason != "reset":
            super().fail(reason, now)
            return
        for stream, leg in list(self._legs.items()):
            if self._client.begun(stream):
                del self._legs[stream]
                self.in_flight.remove(leg)
                self._engine.failed(leg, "truncated")
        super().fail(reason, now)

    def close(self, now: int) -> None:
        super().close(now)
        self._client.end()  # who asks for its times may hold on to it

    # --- kernel times -------------------------------------------------------------------------------------------------

    def measure(self, leg: Leg) -> None:
        """As for HTTP/1, of answers in any order. A dialogue has no time of its own: what production's client thought
        is in its, and not in the shadow's."""
        self._unmeasured -= 1
        response, times = leg.response, self.times
        if response is None or times is None:
            return
        marks, response.marks = response.marks, None
        if leg.exchange.request.paces:
            return
        begin, end = self._wire_offset(response.begin + 1), self._wire_offset(response.end)
        found = times.around(leg.sent_end, begin, end)
        if found is not None:
            sent, begun, ended = found
            trip = times.round_trip(self.sock)
            leg.first_byte, leg.last_byte = max(begun - sent - trip, 0), max(ended - sent - trip, 0)
            if marks is not None:
                came = [(offset, times.arrived(self._wire_offset(at))) for offset, at in marks]
                response.marks = [(offset, max(at - sent - trip, 0)) for offset, at in came if at is not None]
        if not self._unmeasured:
            oldest = self.in_flight[0] if self.in_flight else None
            if oldest is None:
                times.forget(self._written, self._received)
            elif oldest.sent_end:
                times.forget(oldest.sent_end, oldest.received_before)

    def _wire_offset(self, plain: int) -> int:
        """Of the ciphertext, with TLS."""
        if self._tls is None:
            return plain
        marks = self._marks
        at = bisect_left(marks, plain, key=itemgetter(0))
        return marks[at][1] if at < len(marks) and (at or len(marks) < MAX_MARKS) else 1 << 62


def framed_for_http1(wire: bytes, trailers: bytes) -> bytes:
    """A request in HTTP/2 form (its version, content without framing) as HTTP/1 sends it."""
    at = wire.find(b"\r\n\r\n") + 4
    line_end = wire.find(b"\r\n")
    first, rest, body = wire[:line_end], wire[line_end : at - 2], wire[at:]
    first = first.removesuffix(b" HTTP/2") + b" HTTP/1.1"
    lowered = rest.lower()
    if trailers:
        framing = b"Transfer-Encoding: chunked\r\n"
        if b"\r\ncontent-length:" in lowered:
            kept = [line for line in rest.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
            rest = b"\r\n".join(kept)
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        body = chunk + b"0\r\n" + trailers + b"\r\n"
    else:
        bodyless = not body and first.startswith((b"GET ", b"HEAD ", b"OPTIONS "))
        needed = not bodyless and b"\r\ncontent-length:" not in lowered
        framing = b"Content-Length: %d\r\n" % len(body) if needed else b""
    return b"".join((first, rest, framing, b"\r\n", body))
