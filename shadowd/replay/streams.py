"""The way of one HTTP/2 connection's requests to one target: streams are side by side, so only causality orders them.

A request waits while one is unanswered whose answer production's client had acknowledged before it sent this one
(``Exchange.rank`` below ``Exchange.after``), and nothing else. To a shadow that speaks HTTP/2 all go over one
connection, opened in production's order, as many at once as it allows. To one that speaks HTTP/1 each goes alone over a
connection of its own while it lasts: streams are no pipeline, and one that is slow holds up nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from shadowd.replay.connection import OPEN
from shadowd.replay.http2 import Http2Connection, framed_for_http1
from shadowd.replay.lane import LATE, Branch, Fan, Lane

if TYPE_CHECKING:
    from shadowd.replay.engine import Engine
    from shadowd.replay.leg import Leg


def caused_by(leg: Leg, under_way: Iterable[Leg]) -> bool:
    """Its client had read production's answer to one of these before it sent this request."""
    after = leg.exchange.after
    return after > 0 and any(other.exchange.rank < after for other in under_way)


class StreamLane(Lane):
    """See the module's head."""

    __slots__ = ()
    streams = True

    def advance(self, now: int) -> None:
        """Send what may be sent."""
        if self.spread is None and not self.target.speaks_http2(True):
            self.http2 = False
            self.spread = Streams(self._engine, self)  # type: ignore[assignment]
        if self.spread is not None:
            self.spread.advance(now)
            return
        queue = self.queue
        while queue:
            connection = cast("Http2Connection | None", self.connection) or self._begin(now)
            if connection is None or connection.state != OPEN:
                break
            leg = queue[0]
            if connection.full or not connection.keep_alive or caused_by(leg, connection.in_flight):
                break
            queue.popleft()
            if now - leg.since > LATE and not self.in_time(leg, now):
                continue
            connection.send(leg, now)
        self.rest(now)

    def _begin(self, now: int) -> Http2Connection | None:
        return cast("Http2Connection | None", self.connect(now))


class Streams(Fan):
    """The streams of a lane whose target speaks HTTP/1."""

    __slots__ = ("_lane", "_under_way")

    def __init__(self, engine: Engine, lane: StreamLane) -> None:
        super().__init__(engine, lane.target, lane.server_name)
        self._lane = lane
        self._under_way: dict[Branch, Leg] = {}

    def advance(self, now: int, permits: int = 1) -> None:
        """As many as may: what orders them is causality, not pace."""
        if self._sending:
            return
        lane, target = self._lane, self.target
        queue = lane.queue
        while queue:
            leg = queue[0]
            if caused_by(leg, self._under_way.values()):
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

    def _branch(self, leg: Leg, now: int) -> None:
        branch = leg.lane = Branch(self._engine, self)
        self._branches.add(branch)
        self._under_way[branch] = leg
        self.target.branches += 1
        self._sending = True
        branch.submit(leg, now)
        self._sending = False

    def returned(self, branch: Branch, now: int) -> None:
        self._under_way.pop(branch, None)
        super().returned(branch, now)
