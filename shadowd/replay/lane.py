"""Order and causality: the way of one production connection's requests to one target.

``Lane`` (order: connection) keeps their order on one shadow connection at a time. A request waits while an earlier
one whose answer production's client had received before sending it (``Exchange.after``) is unanswered by the shadow;
pipelined requests do not wait. ``Pool`` (order: none) gives each request to any free connection.

When production's connection is over and everything is answered, an HTTP connection goes to the target's idle pool
for the next production connection: a new one per request exhausts the ephemeral ports within a minute at 1,000/s.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from shadowd.replay.connection import OPEN, Connection, Leg

if TYPE_CHECKING:
    from shadowd.replay.engine import Engine
    from shadowd.replay.target import Target

#: A request that leaves so much later than it could (ns) met another moment of the shadow: five of the pump's naps.
LATE = 20_000_000


class Lane:
    """See the module's head. ``preamble`` is sent first on every connection (a forwarded PROXY header)."""

    __slots__ = (
        "_broken",
        "_engine",
        "_shared",
        "_waited",
        "connection",
        "finished",
        "given_up",
        "preamble",
        "queue",
        "raw",
        "target",
    )

    def __init__(
        self, engine: Engine, target: Target, raw: bool = False, preamble: bytes = b"", shared: bool = False
    ) -> None:
        self._engine = engine
        self._shared = shared  # by several production connections: their requests' numbers say nothing of each other
        self.target = target
        self.raw = raw
        self.preamble = preamble
        self.queue: deque[Leg] = deque()
        self.connection: Connection | None = None
        self.finished = False
        self._waited = 0  # when the shadow, not we, last kept a request back (ns)
        self._broken = ""  # raw: why the shadow connection ended, and its state with it
        self.given_up = ""  # raw: why a turn was shed; without it the rest would be another conversation

    @property
    def load(self) -> int:
        """Requests queued or sent."""
        return len(self.queue) + (len(self.connection.in_flight) if self.connection is not None else 0)

    def submit(self, leg: Leg, now: int) -> None:
        self.queue.append(leg)
        self.advance(now)

    def advance(self, now: int) -> None:
        """Send what may be sent."""
        queue = self.queue
        connection = self.connection
        if self.raw and connection is not None and connection.in_flight:
            connection.settle_raw(now)
            connection = self.connection
        while queue:
            if self._broken:
                self._engine.failed(queue.popleft(), self._broken)
                continue
            if connection is None:
                connection = self._connect(now)
                if connection is None:
                    break
            if connection.state != OPEN:
                self._waited = now
                break
            leg = queue[0]
            waits = connection.in_flight
            if waits and (self._shared or waits[0].exchange.index < leg.exchange.after or not connection.keep_alive):
                self._waited = now
                break
            queue.popleft()
            if now - leg.since > self.target.limits.max_lag:
                self._shed(leg, "lag")
                continue
            if now - leg.since > LATE and now - self._waited > LATE:
                leg.late = True
            connection.send(leg, now)
            connection = self.connection
        if queue:
            self.target.blocked.add(self)
        else:
            self.target.blocked.discard(self)
            if self.finished:
                self._release(now)

    def _connect(self, now: int) -> Connection | None:
        """A connection for the head of the queue: an idle one, a new one, or none now."""
        target = self.target
        # a request that met a connection the shadow had closed goes to a new one: the others may be closed as well
        while target.idle and not self.raw and not self.preamble and not self.queue[0].retried:
            connection, _ = target.idle.popitem()
            if connection.reusable:
                connection.owner = self
                self.connection = connection
                return connection
            connection.close(now)
        if not target.addresses:
            if target.resolve_error:
                self._fail_all("resolve")
                self._broken = "resolve" if self.raw else ""
            return None
        if target.breaker_until > now:
            self._shed_all("circuit_open")
            return None
        if target.connections >= target.limits.max_connections:
            if target.idle:
                next(iter(target.idle)).close(now)
            else:
                self._shed_all("max_connections")
                return None
        self.connection = self._engine.connect(self, now)
        if self.connection is None and self.raw:
            self._broken = "connect"
        return self.connection

    def shed_lagging(self, now: int) -> None:
        """Shed what has waited longer than ``max_lag``."""
        while self.queue and now - self.queue[0].since > self.target.limits.max_lag:
            self._shed(self.queue.popleft(), "lag")

    def _shed(self, leg: Leg, reason: str) -> None:
        self._engine.shed(leg, reason)
        if self.raw:
            self.given_up = self.given_up or reason
            while self.queue:
                self._engine.shed(self.queue.popleft(), reason)

    def _shed_all(self, reason: str) -> None:
        while self.queue:
            self._shed(self.queue.popleft(), reason)

    def _fail_all(self, reason: str) -> None:
        while self.queue:
            self._engine.failed(self.queue.popleft(), reason)

    # --- told by the connection ---------------------------------------------------------------------------------------

    def opened(self, connection: Connection, now: int) -> None:
        if self.preamble:
            connection.send_preamble(self.preamble, now)
        self.advance(now)

    def answered(self, connection: Connection, now: int) -> None:
        if connection.state != OPEN and self.connection is connection:
            self.connection = None
            self._broken = "reset" if self.raw else ""
        if self.queue or self.finished:
            self.advance(now)

    def connect_failed(self, reason: str, now: int) -> None:
        self.connection = None
        if self.target.has_another(now):  # nothing was sent yet
            self.advance(now)
            return
        self._fail_all(reason)
        if self.raw:
            self._broken = reason  # the turns that failed are missing
        self.advance(now)

    def disconnected(self, retry: list[Leg], now: int) -> None:
        self.connection = None
        self._broken = "reset" if self.raw else ""
        self.queue.extendleft(reversed(retry))
        self.advance(now)

    # --- told by production's connection ------------------------------------------------------------------------------

    def finish(self, now: int) -> None:
        """Production's connection is over: what is queued still goes out, then the shadow's is let go."""
        self.finished = True
        self.advance(now)

    def abandon(self, reason: str, now: int) -> None:
        """The filter or target goes away: everything unanswered is shed by ``reason``."""
        self.finished = True
        connection, self.connection = self.connection, None
        if connection is not None:
            legs, connection.in_flight = connection.in_flight, deque()
            connection.close(now)
            for leg in legs:
                self._engine.shed(leg, reason)
        self._shed_all(reason)
        self.target.blocked.discard(self)

    def _release(self, now: int) -> None:
        connection = self.connection
        if connection is None or connection.in_flight:
            return
        self.connection = None
        if connection.reusable and not self.preamble:
            connection.owner = None
            connection.idle_since = now
            self.target.idle[connection] = None
        else:
            connection.close(now)


class Pool:
    """``--order none``: requests of all production connections share the target's connections, one at a time each."""

    __slots__ = ("_engine", "_lanes", "given_up", "queue", "target")

    #: Connections of the pool: requests in flight are bounded by max_in_flight, connections by max_connections too.
    SIZE = 64

    def __init__(self, engine: Engine, target: Target) -> None:
        self._engine = engine
        self.target = target
        self._lanes: list[Lane] = []
        self.given_up = ""  # never: raw flows have lanes of their own

    def submit(self, leg: Leg, now: int) -> None:
        best = next((lane for lane in self._lanes if not lane.load), None)
        if best is None and len(self._lanes) < min(self.SIZE, self.target.limits.max_connections):
            best = Lane(self._engine, self.target, shared=True)
            self._lanes.append(best)
        if best is None:
            best = min(self._lanes, key=lambda lane: lane.load)
        leg.lane = best
        best.submit(leg, now)

    def abandon(self, reason: str, now: int) -> None:
        for lane in self._lanes:
            lane.abandon(reason, now)
        self._lanes = []
