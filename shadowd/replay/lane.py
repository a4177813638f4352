"""Order and causality: the way of one production connection's requests to one target.

``Lane`` keeps their order on one shadow connection at a time. A request waits while an earlier one whose answer
production's client had received before sending it (``Exchange.after``) is unanswered by the shadow; pipelined requests
do not wait. When production's connection is over and everything is answered, an HTTP connection goes to the target's
idle pool for the next production connection: a new one per request exhausts the ephemeral ports within a minute at
1,000/s.

Order costs pace: production's connections are as many as a *fast* service needs, and a shadow that takes 500 ms answers
two requests a second on each. So with ``--order auto`` a lane whose oldest request has waited ``BEHIND`` gives it up
where nobody can tell the difference, and spreads:

==============  ===================================================================================================
request         while the lane is behind (``Spread``)
==============  ===================================================================================================
safe            goes at once, on the lane's own connection if that is free, else on a *branch*: another connection
                of the target, for this one request
unsafe          a barrier: waits until everything before it is answered, and what comes after it waits for it
==============  ===================================================================================================

When a request comes and nothing is unanswered, the shadow keeps pace again and the lane keeps order again. Safe are
GET, HEAD and OPTIONS (RFC 9110 §9.2.1) without a body: the shadow's state is the same whichever of them comes first.

How the growth is bounded: a branch takes an idle connection before it opens one, so that there are never more of them
than requests in flight (rate times latency, Little's law), and idle ones are closed after ``IDLE_KEEP``; never more
than ``max_connections``, and no more than ``CONNECTING`` in the handshake; beyond that requests wait, each lane in its
turn, and are ``shed(shadow_lag)`` after ``max_lag``. What has piled up does not become a burst: a request that comes
lets ``GROWTH`` go, an answer one; and while we catch up after a long stall of our own, one and none.

``Pool`` (order: none) sends every request so, whether behind or not.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from shadowd.replay.connection import OPEN, Connection
from shadowd.replay.lateness import STALL
from shadowd.replay.leg import Leg

if TYPE_CHECKING:
    from shadowd.replay.engine import Engine
    from shadowd.replay.http2 import Http2Connection
    from shadowd.replay.target import Target

#: A request that leaves so much later than it could through us (ns) met another moment of the shadow.
LATE = STALL
#: A lane whose oldest request has waited so long (ns) is behind: a sweep's length. The pump's batches alone make a
#: shadow that keeps pace look a few ms late.
BEHIND = 50_000_000
#: Waiting requests that one that comes lets go: twice production's pace, so that a lane catches up.
GROWTH = 2
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


def spreadable(leg: Leg) -> bool:
    """Whether order says nothing to this request."""
    request = leg.exchange.request
    return request.method in _SAFE and not request.body and not request.upgrade


class Lane:
    """See the module's head. ``preamble`` is sent first on every connection (a forwarded PROXY header, which such a
    connection is for: it is never shared, and ``auto`` means nothing there). ``server_name``: whom production's client
    asked for, by TLS; connections to the target do likewise (``Target.name_for``)."""

    __slots__ = (
        "_broken",
        "_engine",
        "_opened_at",
        "auto",
        "connection",
        "finished",
        "given_up",
        "http2",
        "preamble",
        "queue",
        "raw",
        "server_name",
        "spread",
        "target",
    )

    streams = False  # production's connection has streams: HTTP/2
    websocket = False

    def __init__(
        self, engine: Engine, target: Target, raw: bool = False, preamble: bytes = b"", auto: bool = False,
        server_name: str = "",
    ) -> None:  # fmt: skip
        self._engine = engine
        self.target = target
        self.raw = raw
        self.preamble = preamble
        self.server_name = server_name
        self.http2 = target.speaks_http2(self.streams)
        self.auto = auto and not raw and not preamble
        self.queue: deque[Leg] = deque()
        self.connection: Connection | None = None
        self.spread: Spread | None = None  # while the lane is behind
        self.finished = False
        self._opened_at = 0  # its first connection
        self._broken = ""  # raw: why the shadow connection ended, and its state with it
        self.given_up = ""  # raw: why a turn was shed; without it the rest would be another conversation

    def submit(self, leg: Leg, now: int) -> None:
        self.queue.append(leg)
        if self.spread is None:
            self.advance(now)
        else:
            self.spread.advance(now, GROWTH)

    def advance(self, now: int) -> None:
        """Send what may be sent."""
        if self.spread is not None:
            self.spread.advance(now)
            return
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
                connection = self.connect(now)
                if connection is None:
                    break
            if connection.state != OPEN:
                break
            leg = queue[0]
            waits = connection.in_flight
            if waits and (
                waits[0].exchange.index < leg.exchange.after
                or not connection.keep_alive
                or (self.http2 and cast("Http2Connection", connection).full)
            ):
                if self.auto and now - leg.queued_at > BEHIND and self._waits_for_the_shadow(leg, now):
                    self.spread = Spread(self._engine, self)
                    self.spread.advance(now)
                    return
                break
            queue.popleft()
            if now - leg.since > LATE and not self.in_time(leg, now):
                continue
            connection.send(leg, now)
            connection = self.connection
        self.rest(now)

    def _waits_for_the_shadow(self, leg: Leg, now: int) -> bool:
        """Longer than ``BEHIND``. An answer that came while we stood still is not waited for, and what came before
        there was a connection (the name was looked up) has waited for no answer yet."""
        begun = max(leg.queued_at, self._opened_at)
        return now - begun - self._engine.stalls.within(begun, now) > BEHIND

    def in_time(self, leg: Leg, now: int) -> bool:
        """Whether a request that is late may be sent all the same; else it is shed."""
        stalls = self._engine.stalls
        if now - leg.since > self.target.limits.max_lag:
            self._shed(leg, stalls.blame(leg.since, leg.queued_at, now, self.target.limits.max_lag))
            return False
        leg.late = stalls.share(leg.since, leg.queued_at, now) > LATE
        return True

    def rest(self, now: int) -> None:
        """Nothing more can be sent now."""
        if self.queue:
            self.target.blocked.add(self)
        else:
            self.target.blocked.discard(self)
            if self.finished:
                self._release(now)

    def connect(self, now: int) -> Connection | None:
        """A connection for the head of the queue: an idle one, a new one, or none now."""
        target = self.target
        # a request that met a connection the shadow had closed goes to a new one: the others may be closed as well
        while target.idle and not self.http2 and not self.raw and not self.preamble and not self.queue[0].retried:
            connection = target.take_idle(self.server_name)
            if connection is None:
                break
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
            self.shed_all("circuit_open")
            return None
        if target.connections >= target.limits.max_connections:
            if target.idle:
                next(iter(target.idle)).close(now)
            elif self.auto and target.branches:  # they have taken the room, and will give it back
                target.starved[self] = None
                return None
            else:
                self.shed_all("max_connections")
                return None
        self.connection = self._engine.connect(self, now)
        if self.connection is None and self.raw and not self.given_up:
            self._broken = "connect"
        return self.connection

    @property
    def busy(self) -> bool:
        """Something waits to be sent or answered, or may."""
        return bool(self.queue) or self.connection is not None or self.spread is not None

    def shed_lagging(self, now: int) -> None:
        """Shed what has waited longer than ``max_lag``."""
        while self.queue and now - self.queue[0].since > self.target.limits.max_lag:
            self.in_time(self.queue.popleft(), now)

    def _shed(self, leg: Leg, reason: str) -> None:
        self._engine.shed(leg, reason)
        if self.raw:
            self.given_up = self.given_up or reason
            while self.queue:
                self._engine.shed(self.queue.popleft(), reason)

    def shed_all(self, reason: str) -> None:
        """What is queued is given up."""
        while self.queue:
            self._shed(self.queue.popleft(), reason)

    def _fail_all(self, reason: str) -> None:
        while self.queue:
            self._engine.failed(self.queue.popleft(), reason)

    # --- told by the connection ---------------------------------------------------------------------------------------

    def opened(self, connection: Connection, now: int) -> None:
        if not self._opened_at:
            self._opened_at = now
        if self.preamble:
            connection.send_preamble(self.preamble, now)
        self.advance(now)

    def answered(self, connection: Connection, now: int) -> None:
        if connection.state != OPEN and self.connection is connection:
            self.connection = None
            self._broken = "reset" if self.raw else ""
        if self.queue or self.finished or self.spread is not None:
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
            self._let_go(connection, reason, now)
        self.shed_all(reason)
        spread, self.spread = self.spread, None
        if spread is not None:
            spread.abandon_branches(reason, now)
        self.target.blocked.discard(self)
        self.target.starved.pop(self, None)

    def _let_go(self, connection: Connection, reason: str, now: int) -> None:
        legs, connection.in_flight = connection.in_flight, deque()
        connection.close(now)
        for leg in legs:
            self._engine.shed(leg, reason)

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


class Branch(Lane):
    """The way of one request that need not keep order: a lane that is finished from the first."""

    __slots__ = ("_fan",)

    def __init__(self, engine: Engine, fan: Fan) -> None:
        super().__init__(engine, fan.target, server_name=fan.server_name)
        self._fan: Fan | None = fan
        self.finished = True

    def opened(self, connection: Connection, now: int) -> None:
        super().opened(connection, now)
        self.target.wake(now)  # one fewer in the handshake

    def abandon(self, reason: str, now: int) -> None:
        self._fan = None
        self.target.branches -= 1
        super().abandon(reason, now)

    def _release(self, now: int) -> None:
        if self.connection is not None and self.connection.in_flight:
            return
        super()._release(now)
        fan, self._fan = self._fan, None
        if fan is not None:
            self.target.branches -= 1
            fan.returned(self, now)


class Fan:
    """Whoever sends requests by branches."""

    __slots__ = ("_branches", "_engine", "_sending", "server_name", "target")

    def __init__(self, engine: Engine, target: Target, server_name: str = "") -> None:
        self._engine = engine
        self.server_name = server_name
        self.target = target
        self._branches: set[Branch] = set()
        self._sending = False  # a branch that ends at once must not begin the next within its own

    def advance(self, now: int, permits: int = 1) -> None:
        """Send what may be sent, ``permits`` at most where that is limited."""
        raise AssertionError("a fan has every method")

    def _branch(self, leg: Leg, now: int) -> None:
        branch = leg.lane = Branch(self._engine, self)
        self._branches.add(branch)
        self.target.branches += 1
        self._sending = True
        branch.submit(leg, now)
        self._sending = False

    def returned(self, branch: Branch, now: int) -> None:
        """A branch is over, and its connection is free for another."""
        self._branches.discard(branch)
        if not self._sending:
            self.target.wake(now)
            self.advance(now)

    def abandon_branches(self, reason: str, now: int) -> None:
        branches, self._branches = self._branches, set()
        for branch in branches:
            branch.abandon(reason, now)


class Spread(Fan):
    """A lane that is behind; see the module's head."""

    __slots__ = ("_barrier", "_lane")

    def __init__(self, engine: Engine, lane: Lane) -> None:
        super().__init__(engine, lane.target, lane.server_name)
        self._lane = lane
        sent = lane.connection.in_flight if lane.connection is not None else ()
        self._barrier = not all(map(spreadable, sent))  # an unsafe request is under way, on the lane's own connection

    def advance(self, now: int, permits: int = 1) -> None:
        if self._sending:
            return
        lane, target = self._lane, self.target
        queue = lane.queue
        if lane.connection is None or not lane.connection.in_flight:
            self._barrier = False
            if len(queue) < 2 and not self._branches:
                lane.spread = None  # the shadow keeps pace
                lane.advance(now)
                return
        if self._engine.stalls.caught_up > now:
            permits -= 1
        while queue and not self._barrier:
            leg = queue[0]
            if now - leg.since > LATE and not lane.in_time(leg, now):
                queue.popleft()
                continue
            connection = lane.connection
            if not spreadable(leg):
                if self._branches:
                    break
                if connection is None:
                    connection = lane.connect(now)
                if connection is None or connection.state != OPEN or connection.in_flight:
                    break
                self._barrier = True
                connection.send(queue.popleft(), now)
                break
            if connection is not None and connection.state == OPEN and not connection.in_flight:
                connection.send(queue.popleft(), now)
                continue
            if not permits:
                break
            if not target.may_connect(now):
                target.starved[lane] = None
                break
            permits -= 1
            target.account.spread += 1
            self._branch(queue.popleft(), now)
        lane.rest(now)

    def returned(self, branch: Branch, now: int) -> None:
        if self._lane.spread is self:
            super().returned(branch, now)


class Pool(Fan):
    """``--order none``: the requests of all production connections go to any free connection, one at a time each."""

    __slots__ = ("given_up", "queue")

    raw = False

    def __init__(self, engine: Engine, target: Target, server_name: str = "") -> None:
        super().__init__(engine, target, server_name)
        self.queue: deque[Leg] = deque()
        self.given_up = ""  # never: raw flows have lanes of their own

    def submit(self, leg: Leg, now: int) -> None:
        self.queue.append(leg)
        self.advance(now)

    def advance(self, now: int, permits: int = 1) -> None:
        if self._sending:
            return
        queue, target = self.queue, self.target
        while queue and target.may_connect(now):
            self._branch(queue.popleft(), now)
        if queue:
            target.blocked.add(self)
            target.starved[self] = None
        else:
            target.blocked.discard(self)
            target.starved.pop(self, None)

    def shed_lagging(self, now: int) -> None:
        """Shed what has waited longer than ``max_lag``."""
        while self.queue and now - self.queue[0].since > self.target.limits.max_lag:
            leg = self.queue.popleft()
            blamed = self._engine.stalls.blame(leg.since, leg.queued_at, now, self.target.limits.max_lag)
            self._engine.shed(leg, blamed)

    def shed_all(self, reason: str) -> None:
        """What is queued is given up."""
        while self.queue:
            self._engine.shed(self.queue.popleft(), reason)

    def abandon(self, reason: str, now: int) -> None:
        self.shed_all(reason)
        self.abandon_branches(reason, now)
        self.target.blocked.discard(self)
        self.target.starved.pop(self, None)
