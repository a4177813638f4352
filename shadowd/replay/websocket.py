"""A WebSocket to a shadow, for one of production's: its handshake, then its turns.

A turn is said when the shadow has said as many messages as production's client had read when it said the same. Masks
and compression are our own, for what the shadow agreed to.

Whose answer a message of the shadow's is: that of the oldest turn in flight, until it has as many messages as
production's and the next turn was said too. Production's is over when its client's next turn began. What the shadow has
said more than production

==============================================  =======================================================================
long before that moment                         is its answer too: a difference
about then (``_MARGIN`` and a fifth of the      belongs to the next turn: the two crossed, which shows nothing
time that the turn took), or later

to a turn that production said nothing to       belongs to the next turn: the client did not wait for it, and there
                                                production has said it too
==============================================  =======================================================================

A shadow that says less is waited for as long as production took and ``timeout``; then what it has said is its answer,
and the talk goes on. A shadow that ends the talk before production's turn is told (both turn a client away as soon as
it is there) has given that turn's answer all the same (``WebSocketLane.over``).
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from shadowd.exchange.exchange import Response
from shadowd.ledger.budget import Budget, Charge
from shadowd.protocols.websocket_events import Answer, as_event, measured
from shadowd.protocols.websocket_frames import CLOSE, PING, PONG, Deflate, Message, MessageReader, MessageWriter
from shadowd.protocols.websocket_handshake import UnknownExtension, accepts, agreed
from shadowd.replay.answers import stream_ends
from shadowd.replay.connection import CLOSED, FLOOD_TIMES, OPEN, Connection
from shadowd.replay.lane import LATE, Lane

if TYPE_CHECKING:
    from shadowd.replay.engine import Engine
    from shadowd.replay.leg import Leg
    from shadowd.replay.target import Address, Target

#: By so much (ns) two messages may cross on one side and not on the other: a sweep's length, which is more than a turn
#: is known later here than it was said.
_MARGIN = 50_000_000
#: Messages of an answer, or ahead of their turn, that are held one by one: of a stream that long only its beginning
#: is compared.
_MOST = 8192
#: By so much (ns) the messages of a turn may be apart that is timed: a fraction of what anybody calls slower.
_TOGETHER = 1_000_000
#: An answer of so many messages, and ``FLOOD_TIMES`` as many as production's, is not listened to: each takes memory.
_FLOOD = 8 * _MOST
#: Bytes of Pongs that a shadow may let wait before it reads again.
_UNREAD = 1 << 20
_ABNORMAL = (1006).to_bytes(2, "big")  # §7.4.1: the end without a Close
_NORMAL = (1000).to_bytes(2, "big")


class WebSocketLane(Lane):
    """See the module's head. Its first exchange is the handshake; its connection is nobody else's."""

    __slots__ = ("over",)

    websocket = True

    def __init__(self, engine: Engine, target: Target, preamble: bytes = b"", server_name: str = "") -> None:
        super().__init__(engine, target, True, preamble, server_name=server_name)
        self.http2 = False  # RFC 8441 is not spoken
        self.over: Talk | None = None  # it has ended ahead of a turn of production's, whose answer that is

    def advance(self, now: int) -> None:
        queue = self.queue
        while queue:
            if self._broken:
                leg, over, self.over = queue.popleft(), self.over, None
                if over is None or not over.ended(leg, now):
                    self._engine.failed(leg, self._broken)
                else:
                    self._engine.answered(leg)
                continue
            connection = self.connection or self.connect(now)
            if connection is None or connection.state != OPEN:
                break
            assert isinstance(connection, WebSocketConnection)
            leg = queue[0]
            turn = leg.exchange.request.turn
            if turn is not None and (connection.talk is None or connection.talk.heard < turn.read):
                break
            queue.popleft()
            if now - leg.since > LATE and not self.in_time(leg, now):
                continue
            connection.send(leg, now)
        self.rest(now)

    def refused(self, now: int) -> None:
        """The shadow agreed to no WebSocket, or to none that can be spoken: nothing can be said to it."""
        self.connection = None
        self._broken = "refused"
        self.advance(now)


class WebSocketConnection(Connection):
    """See the module's head. ``talk``: once the shadow has agreed."""

    __slots__ = ("_writer", "talk")

    def __init__(self, engine: Engine, target: Target, owner: Lane, address: Address, raw: bool, now: int) -> None:
        self.talk: Talk | None = None
        self._writer = MessageWriter()
        super().__init__(engine, target, owner, address, False, now)

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, leg: Leg, now: int) -> None:
        turn, talk = leg.exchange.request.turn, self.talk
        if turn is None or talk is None:
            super().send(leg, now)
            return
        self.in_flight.append(leg)
        leg.connection = self
        leg.received_before = self._received
        leg.sent_at = now
        leg.deadline = now + self.target.limits.timeout
        if len(turn.messages) == 1:  # as the filter's edits made it
            self._say(turn.messages[0].kind, leg.wire[leg.wire.find(b"\r\n\r\n") + 4 :], now)
        else:
            for message in turn.messages:
                self._say(message.kind, message.data, now)
        leg.sent_end = self._written
        talk.sent(leg)
        if talk.closing and (done := talk.settle(now)):
            self._answer(done, now)

    def _say(self, kind: int, data: bytes, now: int) -> None:
        frame = self._writer.framed(kind, data, os.urandom(4))
        if self._tls is not None:
            self._tls.write(frame)
            frame = self._tls_out.read()
        self._write(frame, now)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _deliver(self, data: bytes, now: int) -> None:
        talk = self.talk
        if talk is None:
            super()._deliver(data, now)
            return
        done = talk.feed_untrusted(data, now)
        if talk.ping is not None:
            ping, talk.ping = talk.ping, None
            self._say(PONG, ping, now)
        if talk.closing and not talk.said_close:
            talk.said_close = True
            self._say(CLOSE, talk.closing, now)
        if done:
            self._answer(done, now)
        if self.state != CLOSED and (talk.failed or talk.floods or len(self._out) > _UNREAD):
            self.fail("malformed", now)
        elif self.owner is not None and self.owner.queue:
            self.owner.advance(now)

    def _answer(self, responses: Sequence[Response], now: int) -> None:
        for response in responses:
            leg = self.in_flight.popleft()
            leg.response = response
            self.answered += 1
            agrees = leg.exchange.request.turn is not None or self._agreed(leg, response)
            self._engine.answered(leg)
            if not agrees:
                owner = self.owner
                self.close(now)
                if isinstance(owner, WebSocketLane):
                    owner.refused(now)
                return
        if self.talk is not None and not self.talk.legs and (rest := self.talk.rest):
            self.talk.rest = b""
            self._deliver(rest, now)
        if self.owner is not None:
            self.owner.answered(self, now)

    def _agreed(self, leg: Leg, response: Response) -> bool:
        """The handshake's answer: whether the talk may begin."""
        http = self._http
        if response.status != 101 or http is None or not accepts(leg.wire, response.head):
            return False
        try:
            ours, theirs = agreed(response.head)
        except UnknownExtension:
            return False
        engine = self._engine
        self._writer = MessageWriter(ours)
        self.talk = self._answers = Talk(theirs, response.end, engine.body_limit, engine.budget)  # type: ignore[assignment]
        self.talk.rest = http.trailing
        self._http = None
        return True

    def check_deadline(self, now: int) -> None:
        talk = self.talk
        if talk is None:
            super().check_deadline(now)
            return
        if not self.in_flight or self.in_flight[0].deadline > now:
            return
        leg, timeout = self.in_flight[0], self.target.limits.timeout
        if not self._overdue(leg, now):
            return
        ends = min(stream_ends(leg), talk.late_from(leg, now, timeout))
        if now < ends:
            leg.deadline = min(now + timeout, ends)
            return
        response = talk.take(not leg.exchange.answered, now)
        if response is not None:
            self._answer((response,), now)
        elif leg.exchange.answered:
            self.fail("timeout", now)
        else:  # nobody has said anything: there is nothing to wait less for
            leg.deadline = now + timeout

    def fail(self, reason: str, now: int) -> None:
        talk, owner = self.talk, self.owner
        if reason == "reset" and talk is not None and not self.in_flight and isinstance(owner, WebSocketLane):
            talk.eof()
            owner.over = talk
        super().fail(reason, now)

    def close(self, now: int) -> None:
        talk = self.talk
        if self.state == OPEN and talk is not None and not talk.said_close:
            talk.said_close = True
            with contextlib.suppress(ssl.SSLError):  # it may be what TLS broke by
                self._say(CLOSE, _NORMAL, now)
        super().close(now)

    def measure(self, leg: Leg) -> None:
        """As of other answers; and of every message when it came."""
        response, times, asked = leg.response, self.times, leg.exchange.request
        if asked.turn is not None and len(asked.turn.messages) > 1 and asked.ended - asked.started > _TOGETHER:
            if response is not None:  # production had longer for the first of them than the shadow, which is told all
                response.marks = None
            return
        marks = response.marks if response is not None else None
        if not marks or times is None or response is None:
            super().measure(leg)
            return
        begin = self._place(response.begin + 1)
        came = [(offset, times.arrived(self._place(at))) for offset, at in marks]
        response.marks = None
        found = times.between(leg.sent_end, begin, self._place(response.end))
        if found is not None and all(at is not None for _, at in came):
            trip = times.round_trip(self.sock)
            leg.first_byte, leg.last_byte = max(found[0] - trip, 0), max(found[1] - trip, 0)
            sent = (came[-1][1] or 0) - found[1]
            response.marks = [(offset, max((at or 0) - sent - trip, 0)) for offset, at in came]

    def _place(self, plain: int) -> int:
        return plain if self._tls is None else self._cipher_offset(plain)


class _Said(NamedTuple):
    """A message and when it came. ``data`` is None where there was no room for it: then there is what its event would
    be if nobody had asked, and the length of what it would be else."""

    kind: int
    begin: int
    end: int
    at: int
    data: bytes | None
    short: bytes = b""
    length: int = 0

    def event(self, pushed: bool) -> tuple[bytes, int]:
        """(event or b"", its length)."""
        if self.data is not None:
            event = as_event(Message(self.kind, self.data, 0, 0, 0), pushed)
            return event, len(event)
        return (self.short, len(self.short)) if pushed else (b"", self.length)


class Talk:
    """What the shadow says (no I/O here). ``heard``: messages so far, and those that are no longer waited for;
    ``ping``: to be answered; ``closing``: what its Close said; ``floods``: it says so much more than production that it
    is not listened to any longer; ``rest``: bytes that came with its handshake."""

    __slots__ = (
        "_ahead", "_charge", "_drops", "_limit", "_reader", "_said", "_size", "closing", "floods", "heard", "legs",
        "ping", "rest", "said_close",
    )  # fmt: skip

    reusable = False  # it was one talk's

    def __init__(self, deflate: Deflate | None, offset: int, limit: int, budget: Budget) -> None:
        self._reader = MessageReader(False, deflate, offset, budget)
        self._limit = limit
        self._charge = Charge(budget)
        self.legs: deque[Leg] = deque()
        self._said: list[_Said] = []  # to the oldest of them
        self._ahead: deque[_Said] = deque()  # belongs to a turn that was not said yet
        self._size = 0  # bytes of both
        self._drops = False  # the book of the last turn is closed: what still comes is nobody's
        self.heard = 0
        self.ping: bytes | None = None
        self.floods = False
        self.closing = self.rest = b""
        self.said_close = False

    @property
    def failed(self) -> str:
        return self._reader.failed

    @property
    def begun(self) -> bool:
        return bool(self._said)

    def sent(self, leg: Leg) -> None:
        self.legs.append(leg)
        self._drops = False
        self._claim()

    def _claim(self) -> None:
        """What is ahead is said to the oldest turn, if there is one by now."""
        if self._ahead and self.legs:
            self._said += self._ahead
            self._ahead.clear()

    def feed_untrusted(self, data: bytes, now: int) -> Sequence[Response]:
        """The answers that are over. Never raises: see ``failed``."""
        done: list[Response] = []
        for message in self._reader.feed_untrusted(data):
            kind = message.kind
            if kind == PING:
                self.ping = message.data  # the latest alone may be answered (RFC 6455 §5.5.3)
            elif kind < CLOSE:
                self.heard += 1
                self._hear(message, now)
            elif kind == CLOSE and not self.closing:
                done += self.settle(now)
                self.closing = message.data[:2] or _NORMAL
                self._add(_Said(CLOSE, message.begin, message.end, now, message.data))
        done += self.settle(now)
        return done

    def _hear(self, message: Message, now: int) -> None:
        count = len(self._said)
        if self._drops or (not self.legs and len(self._ahead) >= _MOST):
            return
        if count >= _FLOOD and count > FLOOD_TIMES * self._known():
            self.floods = True
            return
        size = len(message.data)
        if count >= _MOST or self._size + size > self._limit or self._charge.exhausted:
            short, length = as_event(message, True), measured(message, room=0)[1]
            said = _Said(message.kind, message.begin, message.end, now, None, short, length)
        else:
            said = _Said(message.kind, message.begin, message.end, now, message.data)
            self._size += size
            self._charge.hold(self._size)
        self._add(said)

    def _add(self, said: _Said) -> None:
        if self.legs:
            self._said.append(said)
        elif not self._drops:
            self._ahead.append(said)

    def settle(self, now: int) -> Sequence[Response]:
        """Answers that are over because production's is, or the shadow's talk."""
        done = []
        while self.legs:
            if self._said and self._said[-1].kind == CLOSE:
                done.append(self._finish(now))
                continue
            expected = self._expected()
            if expected is None or len(self._said) < expected:
                break
            turn = self.legs[0].exchange.request.turn
            if turn is not None and turn.closed and not self.closing:
                break
            done.append(self._finish(now))
        return done

    def eof(self) -> Sequence[Response]:
        """The shadow has closed the connection."""
        if self.closing:
            return self.settle(0)
        self.closing = _ABNORMAL
        self._add(_Said(CLOSE, self._reader.offset, self._reader.offset, 0, _ABNORMAL))
        return self.settle(0)

    def ended(self, leg: Leg, now: int) -> bool:
        """Whether it had ended in what is the answer to this turn, though that was not told yet."""
        turn = leg.exchange.request.turn
        if turn is None or turn.read > self.heard or not self._ahead:
            return False
        self.sent(leg)
        leg.response = self.settle(now)[0]
        return True

    def late_from(self, leg: Leg, now: int, timeout: int) -> int:
        """From when less than production said is a time-out: it took as long. Not yet, while nobody knows how much it
        will say."""
        primary = leg.exchange.response
        if primary is None or not leg.exchange.answered:
            return now + timeout
        return leg.sent_at + primary.last_byte - leg.exchange.request.ended + timeout

    def take(self, is_open: bool, now: int) -> Response | None:
        """What was said to the oldest turn, which is not waited for any longer; None if it is nothing. ``is_open``: it
        may go on, and nobody listens."""
        if not self._said:
            return None
        self.heard += max(0, (self._expected() or 0) - len(self._said))
        response = self._finish(now)
        response.open = self._drops = is_open and not self.closing
        return response

    def _known(self) -> int:
        """Messages that production has said to the oldest turn by now."""
        turn = self.legs[0].exchange.request.turn if self.legs else None
        return turn.answers if turn is not None else 0

    def _expected(self) -> int | None:
        """Messages of production's answer to the oldest turn, None while it may still grow."""
        exchange = self.legs[0].exchange
        return exchange.request.turn.answers if exchange.answered and exchange.request.turn is not None else None

    def _finish(self, now: int) -> Response:
        """The answer to the oldest turn."""
        expected = self._expected()
        leg, said, self._said = self.legs.popleft(), self._said, []
        if expected is not None and len(said) > expected and said[-1].kind != CLOSE:
            crossing = now - _MARGIN - (now - leg.sent_at) // 5
            kept = next((at for at in range(expected, len(said)) if not expected or said[at].at >= crossing), len(said))
            self._ahead.extend(said[kept:])
            del said[kept:]
        turn = leg.exchange.request.turn
        pushed = turn is not None and not turn.messages
        answer = Answer(said[0].begin if said else self._reader.offset, now, self._limit)
        for one in said:
            answer.add(*one.event(pushed), one.end, now, one.end)
            self._size -= len(one.data or b"") if one.kind != CLOSE else 0
        self._charge.hold(self._size)
        self._claim()
        return answer.finish()
