"""The way of one HTTP/2 connection's requests to one target: streams are side by side, so only causality orders them.

A request waits while one is unanswered whose answer production's client had acknowledged before it sent this one
(``Exchange.rank`` below ``Exchange.after``), and nothing else. To a shadow that speaks HTTP/2 all go over one
connection, opened in production's order, as many at once as it allows. To one that speaks HTTP/1 each goes alone over a
connection of its own while it lasts: streams are no pipeline, and one that is slow holds up nobody.

A dialogue (``protocols.dialogue``) takes the shadow as long as it took production, but begins when that was over: what
waits for it is not late by that. HTTP/1 cannot hold one: ``shed(interactive)``.

A shadow that says GOAWAY finishes what it has (a stream of events may take minutes) and takes nothing new: its
connection *leaves*, and what comes goes to the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, cast

from shadowd.replay.connection import CLOSED, OPEN
from shadowd.replay.http2 import Http2Connection, framed_for_http1
from shadowd.replay.lane import LATE, Fan, Lane

if TYPE_CHECKING:
    from shadowd.replay.engine import Engine
    from shadowd.replay.leg import Leg
    from shadowd.replay.target import Target


def cause_of(leg: Leg, under_way: Iterable[Leg]) -> Leg | None:
    """Its client had read production's answer to this one before it sent this request."""
    after = leg.exchange.after
    return next((other for other in under_way if other.exchange.rank < after), None) if after > 0 else None


class StreamLane(Lane):
    """See the module's head."""

    __slots__ = ("_held", "_leaving")
    streams = True

    def __init__(self, engine: Engine, target: Target, preamble: bytes = b"", server_name: str = "") -> None:
        super().__init__(engine, target, preamble=preamble, server_name=server_name)
        self._leaving: list[Http2Connection] = []
        self._held = 0  # when the queue was last seen to wait for a dialogue

    def advance(self, now: int) -> None:
        """Send what may be sent."""
        if self.spread is None and not self.target.speaks_http2(True):
            self.http2 = False
            self.spread = Streams(self._engine, self)  # type: ignore[assignment]
        if self.spread is not None:
            self.spread.advance(now)
            return
        queue = self.queue
        if self._leaving:
            self._leaving = [one for one in self._leaving if one.state != CLOSED]
        while queue:
            connection = cast("Http2Connection | None", self.connection) or self._begin(now)
            if connection is None or connection.state != OPEN:
                break
            leg = queue[0]
            if connection.full or not connection.keep_alive:
                break
            cause = cause_of(leg, self._under_way(connection))
            if cause is not None:
                if cause.exchange.request.paces:
                    self._held = now
                break
            queue.popleft()
            if now - leg.since > LATE and not self.in_time(leg, now):
                continue
            connection.send(leg, now)
        self.rest(now)

    def in_time(self, leg: Leg, now: int) -> bool:
        self._excuse(leg)
        return Lane.in_time(self, leg, now)  # super() is not known to what Cython makes of this

    def shed_lagging(self, now: int) -> None:
        if self._held:
            for leg in self.queue:
                self._excuse(leg)
        super().shed_lagging(now)

    def _excuse(self, leg: Leg) -> None:
        if leg.since < self._held:
            leg.since = self._held
            leg.queued_at = max(leg.queued_at, leg.since)

    def _begin(self, now: int) -> Http2Connection | None:
        return cast("Http2Connection | None", self.connect(now))

    def _under_way(self, connection: Http2Connection) -> Iterable[Leg]:
        if not self._leaving:
            return connection.in_flight
        return chain(connection.in_flight, *(one.in_flight for one in self._leaving))

    def leave(self, connection: Http2Connection) -> None:
        """It takes no more streams; it closes itself behind its last answer."""
        if self.connection is connection:
            self.connection = None
            self._leaving.append(connection)

    def disconnected(self, retry: list[Leg], now: int) -> None:
        if self.connection is None or self.connection.state == CLOSED:
            super().disconnected(retry, now)
            return
        self.queue.extendleft(reversed(retry))  # it was one that left
        self.advance(now)

    def abandon(self, reason: str, now: int) -> None:
        leaving, self._leaving = self._leaving, []
        for connection in leaving:
            self._let_go(connection, reason, now)
        super().abandon(reason, now)


class Streams(Fan):
    """The streams of a lane whose target speaks HTTP/1."""

    __slots__ = ("_lane",)

    def __init__(self, engine: Engine, lane: StreamLane) -> None:
        super().__init__(engine, lane.target, lane.server_name)
        self._lane = lane

    def advance(self, now: int, permits: int = 1) -> None:
        """As many as may: what orders them is causality, not pace."""
        if self._sending:
            return
        lane, target = self._lane, self.target
        queue = lane.queue
        while queue:
            leg = queue[0]
            if leg.exchange.request.paces:
                queue.popleft()
                self._engine.shed(leg, "interactive")
                continue
            if cause_of(leg, self._under_way()) is not None:
                break
            if now - leg.since > LATE and not lane.in_time(leg, now):
                queue.popleft()
                continue
            if not target.may_connect(now):
                target.starved[lane] = None
                break
            queue.popleft()
            leg.wire = framed_for_http1(leg.wire, leg.exchange.request.trailers)
            self._branch(leg, now)
        lane.rest(now)

    def _under_way(self) -> Iterator[Leg]:
        for branch in self._branches:
            yield from branch.queue
            if branch.connection is not None:
                yield from branch.connection.in_flight
