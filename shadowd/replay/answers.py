"""Cutting a shadow's bytes into answers: one reader for HTTP, one for raw flows (no I/O here)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shadowd.exchange.exchange import Response
from shadowd.ledger.budget import UNBOUNDED, Budget, Charge
from shadowd.protocols.http1_response import ResponseReader

if TYPE_CHECKING:
    from shadowd.replay.leg import Leg

#: A raw answer that stays shorter than production's is over when the shadow has been silent this long (ns).
RAW_QUIET = 200_000_000


#: How much longer than production's a shadow's stream may go on, beside ``timeout``.
_LONGER = 4


def stream_ends(leg: Leg) -> int:
    """Until when a stream of the shadow is read (ns): ``stream_window``, but where production's has ended not much
    longer than that took."""
    limits = leg.target.limits
    ends = leg.sent_at + limits.stream_window
    production = leg.exchange.response
    if not leg.exchange.answered or production is None:
        return ends
    took = max(0, production.last_byte - leg.exchange.request.ended)
    return min(ends, leg.sent_at + _LONGER * took + limits.timeout)


class HttpAnswers:
    """HTTP/1: llhttp says where an answer ends."""

    __slots__ = ("reader",)

    def __init__(self, body_limit: int, budget: Budget = UNBOUNDED) -> None:
        self.reader = ResponseReader(body_limit=body_limit, budget=budget)

    def sent(self, leg: Leg) -> None:
        self.reader.expect(leg.exchange.request.method)

    def feed_untrusted(self, data: bytes, now: int) -> Sequence[Response]:
        return self.reader.feed_untrusted(data, now)

    def settle(self, now: int) -> Sequence[Response]:
        return ()

    def eof(self) -> Sequence[Response]:
        return self.reader.eof()

    @property
    def begun(self) -> bool:
        """The oldest request's answer has begun and is not whole."""
        return self.reader.pending

    @property
    def reusable(self) -> bool:
        return not self.reader.upgraded

    def in_time(self, leg: Leg, now: int, timeout: int) -> bool:
        """A stream may go on for ``stream_window`` while it goes on, or production's does too; else the limit is for
        the whole answer."""
        if not self.reader.streaming or now >= stream_ends(leg):
            return False
        return self.reader.latest + timeout > now or not leg.exchange.answered

    def so_far(self) -> Response | None:
        """Of a stream that goes on, when its window is over."""
        return self.reader.take_so_far()


class RawAnswers:
    """Raw: nobody says where an answer ends, so production's length and silence decide.

    Bytes belong to the oldest turn in flight until it has as many as production's answer and the next turn was sent
    too; a turn is answered when production's answer is over and the shadow has sent as much, or has fallen silent.
    A client may think long before its next turn, and production's answer is known to be over only then: when both sides
    have been silent and the shadow is not behind, the turn counts as answered too.
    """

    __slots__ = ("_begin", "_body_limit", "_charge", "_current", "_legs", "_offset")

    error = None  # no bytes are wrong here

    def __init__(self, body_limit: int = 0, budget: Budget = UNBOUNDED) -> None:
        self._charge = Charge(budget)
        self._body_limit = body_limit
        self._legs: deque[Leg] = deque()
        self._current: Response | None = None
        self._offset = 0

    def sent(self, leg: Leg) -> None:
        self._legs.append(leg)

    def feed_untrusted(self, data: bytes, now: int) -> Sequence[Response]:
        done: list[Response] = []
        while data and self._legs:
            answer = self._answer(now)
            expected = self._expected()
            take = len(data)
            if len(self._legs) > 1 and expected is not None:
                take = min(take, max(expected - answer.body_length, 0))
            self._offset += take
            if answer.body_length < self._body_limit and not self._charge.exhausted:
                answer.body += data[: min(take, self._body_limit - answer.body_length)]
                self._charge.hold(len(answer.body))
            answer.body_length += take
            answer.end = self._offset
            answer.last_byte = now
            data = data[take:]
            if expected is not None and answer.body_length >= expected:
                done.append(self._finish())
            elif not take:
                break
        self._offset += len(data)  # more than production said and no turn to charge: read and dropped
        return done

    def so_far(self) -> Response | None:
        return None

    def settle(self, now: int) -> Sequence[Response]:
        done: list[Response] = []
        while self._legs:
            expected = self._expected()
            if expected is None:
                if not self._both_silent(now):
                    break
                done.append(self._finish())
                continue
            answer = self._answer(now)
            if answer.body_length < expected and (not answer.body_length or now - answer.last_byte < RAW_QUIET):
                break
            done.append(self._finish())
        return done

    def eof(self) -> Sequence[Response]:
        done = []
        while self._legs and (self._current is not None or self._expected() == 0):
            self._answer(0)
            done.append(self._finish())
        return done

    @property
    def begun(self) -> bool:
        return self._current is not None

    @property
    def reusable(self) -> bool:
        return False  # the server keeps state by connection

    def in_time(self, leg: Leg, now: int, timeout: int) -> bool:
        """Whether an answer that is not whole is no time-out: production is silent itself, or took as long (a blocking
        command waits on both sides), or the shadow has said as much as production."""
        primary = leg.exchange.response
        if primary is None:
            return not leg.exchange.answered
        took = primary.last_byte - leg.exchange.request.ended
        return leg.sent_at + took + timeout > now or self._keeps_pace(leg, primary)

    def _keeps_pace(self, leg: Leg, primary: Response) -> bool:
        answer = self._current
        return (
            bool(self._legs)
            and self._legs[0] is leg
            and answer is not None
            and answer.body_length >= primary.body_length
        )

    def _both_silent(self, now: int) -> bool:
        leg, answer = self._legs[0], self._current
        primary = leg.exchange.response
        return (
            primary is not None
            and answer is not None
            and self._keeps_pace(leg, primary)
            and now - max(answer.last_byte, primary.last_byte) >= RAW_QUIET
        )

    def _answer(self, now: int) -> Response:
        if self._current is None:
            self._current = Response(0, b"", self._offset, now)
        return self._current

    def _expected(self) -> int | None:
        """Length of production's answer to the oldest turn, None while it may still grow."""
        exchange = self._legs[0].exchange
        if not exchange.answered:
            return None
        return exchange.response.body_length if exchange.response is not None else 0

    def _finish(self) -> Response:
        self._legs.popleft()
        answer, self._current = self._current, None
        self._charge.hold(0)
        assert answer is not None
        return answer
