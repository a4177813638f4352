"""The batch engine: every shadow socket in one epoll set, drained synchronously a turn at a time.

The pump calls, in this order each turn: ``poll``, then drains the ring, then ``settle`` (answers of the turn before
have their timing records by now), ``dispatch``, ``tick``. Every end of a request for a target passes through
``answered``, ``failed`` or ``shed``: the ledger is written nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import select
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from shadowd.evidence.examining import Examining
from shadowd.evidence.trial import Side
from shadowd.ledger.budget import Budget
from shadowd.protocols.content_digest import drop_body
from shadowd.replay.connection import CLOSED, CONNECTING, HANDSHAKE, Connection
from shadowd.replay.http2 import Http2Connection
from shadowd.replay.lateness import Stalls
from shadowd.replay.leg import Leg
from shadowd.replay.target import IDLE_KEEP, SECOND, Target
from shadowd.replay.timing import SegmentTimes
from shadowd.replay.websocket import WebSocketConnection

if TYPE_CHECKING:
    from shadowd.evidence.trial import Trial
    from shadowd.exchange.exchange import Exchange
    from shadowd.policy.policy import Policy
    from shadowd.replay.lane import Lane, Pool

#: How often queues are looked through for lag and silence, connections for time-outs: a fiftieth of the shortest
#: default. Looking costs less than keeping a list of deadlines, which would hold on to what ended long before.
SWEEP = SECOND // 20
#: Bytes that one round of reading answers takes: the ring is not to wait longer for a shadow that floods. The costliest
#: (chunks of one byte) take some 10 ms, ordinary ones a tenth of a millisecond.
DISPATCH = 64 << 10
#: Bytes of production's answers kept for shadows that are slower; above it answers are compared by digest.
MAX_KEPT = 32 << 20
#: What this host lacks, not the target: descriptors, ephemeral ports, memory of the kernel.
OWN_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
#: How long no more connections are opened beside those that order needs when this host lacked something for one.
SHORT = SECOND


class Engine:
    """See the module's head. ``max_buffered`` bounds request bytes over all targets: shed(memory)."""

    __slots__ = (
        "_again", "_broken", "_closed", "_connecting", "_connections", "_ended", "_next_sweep", "_on_tls_error",
        "_ready", "_retired", "_time_socket", "_timings", "_waiting", "body_limit", "budget", "buffered", "epoll",
        "examining", "kept", "max_buffered", "own_mark", "spared", "stalls", "taken", "targets",
    )  # fmt: skip

    def __init__(
        self,
        own_mark: int,
        max_buffered: int = 64 << 20,
        body_limit: int = 0,
        on_tls_error: Callable[[Target, Exception], None] | None = None,
        time_socket: Callable[[int, bool], None] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.own_mark = own_mark
        self.body_limit, self.max_buffered = body_limit, max_buffered
        self.budget = budget or Budget()
        self.examining = Examining(self.budget, time.monotonic_ns)
        self.buffered = 0
        self.stalls = Stalls()  # the pump notes them
        self.targets: list[Target] = []
        self.epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._timings: dict[int, SegmentTimes] = {}  # by socket cookie
        self._ready: list[tuple[int, int]] = []
        self.taken = 0  # bytes of answers read in this round
        self._closed: set[int] = set()  # descriptors closed since `poll`: their events are not of who has them now
        self._again: dict[Connection, None] = {}  # in the order in which they go on
        self._broken: list[Connection] = []
        self._ended: list[Leg] = []
        self.spared = 0  # of 65,536 parts of the connections, how many are not mirrored now: the guard's decision
        self.kept = 0  # bytes of production's answers that wait to be compared
        self._waiting: dict[Exchange, int] = {}  # a shadow's end is known, production's not: until when to wait
        self._retired: list[int] = []
        self._connecting: set[Connection] = set()
        self._next_sweep = 0
        self._on_tls_error = on_tls_error
        self._time_socket = time_socket  # asks the kernel for a socket's timing records, by cookie

    # --- a turn -----------------------------------------------------------------------------------------------------

    def poll(self) -> int:
        """Which sockets are ready now; the ring's descriptor may be among them and means nothing here."""
        if not self._ready:
            self._ready = self.epoll.poll(0)
        return len(self._ready)

    def is_ready(self, fd: int) -> bool:
        """Whether it is among the sockets that ``poll`` found."""
        return any(found == fd for found, _ in self._ready)

    def wait(self, limit: int) -> None:
        """Wait for sockets, ``limit`` ns at most; what is ready is for the next turn."""
        self._ready = self.epoll.poll(limit / SECOND)

    def settle(self) -> None:
        """What ended in the turn before is measured and compared."""
        if self._ended:
            legs, self._ended = self._ended, []
            for leg in legs:
                connection = leg.connection
                if connection is not None and connection.times is not None:
                    connection.measure(leg)
                elif leg.response is not None:
                    leg.response.marks = None  # of the daemon's own clock: no times of an answer that was not timed
                if leg.trials:
                    # legs, trials and exchanges refer to each other: no cycles stay
                    trials, leg.trials = leg.trials, ()
                    for trial in trials:
                        trial.pending -= 1
                        if not trial.pending and leg.exchange.answered:
                            self._examine(trial)
                if not leg.exchange.answered:  # production may stream for ever
                    self._waiting[leg.exchange] = leg.exchange.request.ended + leg.target.limits.stream_window
                if leg.twin or leg.response is None:
                    continue
                if leg.exchange.answered:
                    self.pair(leg)
                elif leg.exchange.early is None:
                    leg.exchange.early = [leg]
                else:
                    leg.exchange.early.append(leg)
        if self._retired:  # their last timing records have been read by now
            for cookie in self._retired:
                self._timings.pop(cookie, None)
                if self._time_socket is not None:
                    self._time_socket(cookie, False)
            self._retired.clear()

    def dispatch(self, now: int) -> int:
        """Answers and writable sockets, until ``DISPATCH`` bytes were read: what is left is for the next turn. Returns
        how many were."""
        connections, closed = self._connections, self._closed
        self.taken = 0
        ready = self._ready
        for index, (fd, events) in enumerate(ready):
            connection = connections.get(fd)
            if connection is not None and fd not in closed:
                self._handle(connection, events, now)
                if self.taken >= DISPATCH:
                    self._ready = ready[index + 1 :]
                    break
        else:
            self._ready = []
        if not self._ready:  # else a descriptor among what is left may be another connection's by now
            closed.clear()
        if self._again and not self._ready:
            for connection in list(self._again):
                del self._again[connection]
                if connection.state != CLOSED:
                    self._handle(connection, select.EPOLLIN | select.EPOLLRDHUP, now)  # the FIN may have been told
                    if self.taken >= DISPATCH:
                        break
        if self._broken:
            broken, self._broken = self._broken, []
            for connection in broken:
                connection.fail("reset", now)
        return self.taken

    def _handle(self, connection: Connection, events: int, now: int) -> None:
        """A fault of ours with what a shadow said is that connection's: what it carried is shed, and told once."""
        try:
            connection.on_event(events, now)
        except Exception as error:
            self.examining.note_fault(error)
            self._cut(connection, "own_limit", now)

    def tick(self, now: int) -> None:
        """Time limits."""
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP
            self._sweep(now)

    def _sweep(self, now: int) -> None:
        for connection in list(self._connecting):
            if connection.state not in (CONNECTING, HANDSHAKE):
                self._connecting.discard(connection)
            elif connection.connect_deadline <= now:
                began = connection.connect_deadline - connection.target.limits.connect_timeout
                stalled = self.stalls.within(began, now)  # the handshake may be over, and we have not looked
                if connection.connect_deadline + stalled <= now:
                    connection.fail("connect", now)
        for target in self.targets:
            excess = target.ration_times(now)
            if excess:
                self._stop_timing(target, excess)
            for lane in list(target.blocked):
                lane.shed_lagging(now)
                lane.advance(now)
            for connection in [idle for idle in target.idle if idle.idle_since + IDLE_KEEP < now]:
                connection.close(now)
        for exchange in [exchange for exchange, until in self._waiting.items() if until <= now]:
            del self._waiting[exchange]
            if exchange.source is not None:
                try:
                    exchange.source.close_book(exchange)
                except Exception as error:  # a fault of ours with this exchange
                    self.examining.note_fault(error)
        for connection in list(self._connections.values()):
            if connection.in_flight:
                if connection.owner is not None and connection.owner.raw:
                    connection.settle_raw(now)
                connection.check_deadline(now)

    def _stop_timing(self, target: Target, excess: int) -> None:
        """Time so many connections fewer, the newest first: what they carry has no say in it."""
        for connection in reversed(list(self._connections.values())):
            if connection.target is target and connection.times is not None and excess:
                excess -= 1
                target.timed -= 1
                connection.times = None
                self._retired.append(connection.cookie)

    @property
    def waiting(self) -> int:
        """How many production connections have a request that waits for a shadow's answer or connection."""
        return sum(len(target.blocked) for target in self.targets)

    @property
    def in_flight(self) -> int:
        """Requests queued or sent, over all targets."""
        return sum(target.account.in_flight for target in self.targets)

    # --- requests ---------------------------------------------------------------------------------------------------

    def submit(self, exchange: Exchange, policy: Policy, lane: Lane | Pool, now: int, twin: bool = False) -> Side:
        """One exchange for one target, whose account it enters here. Returns what will tell how it went."""
        target = lane.target
        account = target.account
        request = exchange.request
        size = request.size
        reason = target.admits(size, now)
        if not reason and (self.buffered + size > self.max_buffered or self.budget.exhausted):
            reason = "memory"
        if not reason and lane.given_up:
            reason = lane.given_up
        since = request.ended if request.method and request.turn is None else now  # turns are told late
        if not reason and now - since > target.limits.max_lag:  # as it comes to us: nothing of it need be made
            reason = "own_lag"
        if reason:
            if twin:
                account.twins["shed"] += 1
            else:
                account.shed[reason] += 1
            if lane.raw:  # what follows depends on the turn that is left out
                lane.given_up = lane.given_up or reason
            return Side(reason)
        edit = target.role != "baseline"
        wire = policy.rewrite(request, target.host_header, edit) if request.method else request.body
        leg = Leg(exchange, wire, lane, since, now, twin)  # type: ignore[arg-type]  # a pool puts its own lane in
        if twin:
            account.twins_in_flight += 1
        else:
            account.in_flight += 1
        target.buffered += leg.size
        self.buffered += leg.size
        self.budget.change(leg.size)
        lane.submit(leg, now)
        return leg

    def spare(self, share: float) -> None:
        """Mirror this share of the connections (0 to 1) no longer: shed(pressure)."""
        self.spared = round(share * 65_536)

    def _end(self, leg: Leg) -> Target:
        assert not leg.done
        leg.done = True
        leg.wire = b""
        target = leg.target
        if leg.twin:
            target.account.twins_in_flight -= 1
        else:
            target.account.in_flight -= 1
        target.buffered -= leg.size
        self.buffered -= leg.size
        self.budget.change(-leg.size)
        return target

    def answered(self, leg: Leg) -> None:
        """Sent whole and answered whole."""
        target = self._end(leg)
        target.tls_error = ""
        if leg.twin:
            target.account.twins["answered"] += 1
        else:
            target.account.mirrored += 1
            target.learn_session(leg.exchange, leg.response)  # before the client's next request goes out
        self._ended.append(leg)  # its latency is known when the next drain of the ring has brought the times

    def failed(self, leg: Leg, reason: str) -> None:
        exchange = leg.exchange
        if reason == "malformed":
            if not exchange.answered:  # production may say the very same: the request is in flight until that is known
                leg.failure = reason
                if exchange.early is None:
                    exchange.early = []
                exchange.early.append(leg)
                return
            if exchange.response is None and not exchange.failure and not leg.twin:
                self._unreadable_twice(leg)
                return
        account = self._end(leg).account
        if leg.twin:
            account.twins["failed"] += 1
        else:
            account.failed[reason] += 1
        leg.failure = reason
        if leg.trials:
            self._ended.append(leg)

    def _unreadable_twice(self, leg: Leg) -> None:
        """Production's answer could not be read either: that the shadow's cannot is no fault, and no comparison."""
        account = self._end(leg).account
        account.mirrored += 1
        account.uncomparable += 1
        if leg.trials:
            self._ended.append(leg)

    def shed(self, leg: Leg, reason: str) -> None:
        account = self._end(leg).account
        if leg.twin:
            account.twins["shed"] += 1
        else:
            account.shed[reason] += 1
        leg.shed = reason
        if leg.trials:
            self._ended.append(leg)

    def primary_known(self, exchange: Exchange) -> None:
        """Production's answer is over; trials whose sides are too can be examined."""
        if exchange.early is not None:
            early, exchange.early = exchange.early, None
            if exchange.request.method == b"POST":  # its client's next request may be read before `_ended` is settled
                for leg in self._ended:
                    if leg.exchange is exchange and not leg.twin:
                        leg.target.learn_session(exchange, leg.response)
            for leg in early:
                if leg.done:
                    self.pair(leg)
                else:
                    self.failed(leg, leg.failure)
        self._waiting.pop(exchange, None)
        response = exchange.response
        trials, exchange.trials = exchange.trials, ()
        for trial in trials:
            if not trial.pending:
                self._examine(trial)
            elif response is not None and response.body:
                if self.kept + len(response.body) > MAX_KEPT or self.budget.exhausted:
                    drop_body(response)
                trial.kept = len(response.body)
                self.kept += trial.kept
                self.budget.change(trial.kept)

    def _examine(self, trial: Trial) -> None:
        if trial.kept:
            self.kept -= trial.kept
            self.budget.change(-trial.kept)
            trial.kept = 0
        self.examining.take(trial)

    def pair(self, leg: Leg) -> None:
        """Both answers are known: the figures that ``status`` shows of each target."""
        exchange, target = leg.exchange, leg.target
        primary, answer = exchange.response, leg.response
        if exchange.uncomparable or primary is None or answer is None:
            target.account.uncomparable += exchange.uncomparable
            return
        target.learn_session(exchange, answer)  # it may have answered before production did
        if primary.status != answer.status:
            target.status_differences += 1
        if leg.first_byte >= 0:
            target.production_latency.add(primary.first_byte - exchange.request.ended)
            target.shadow_latency.add(leg.first_byte)

    # --- connections ------------------------------------------------------------------------------------------------

    def connect(self, lane: Lane, now: int) -> Connection | None:
        """Begin a connection for ``lane``; a refusal at once is a failed connect, but not what this host lacks."""
        target = lane.target
        while (address := target.next_address(now)) is not None:
            try:
                kind = Http2Connection if lane.http2 else WebSocketConnection if lane.websocket else Connection
                connection = kind(self, target, lane, address, lane.raw, now)
            except OSError as error:
                lacking = error.errno in OWN_LIMITS
                if not lacking or (error.errno == errno.EADDRNOTAVAIL and len(target.addresses) > 1):
                    target.connect_failed(address, now)  # not available: also an IPv6 address where there is no IPv6
                    if target.has_another(now):
                        continue
                if lacking:
                    target.short_until = now + SHORT
                    lane.shed_all("own_limit")
                    return None
                while lane.queue:
                    self.failed(lane.queue.popleft(), "connect")
                return None
            self._connecting.add(connection)
            return connection
        return None

    def register(self, connection: Connection, events: int) -> None:
        self._connections[connection.fd] = connection
        if self._time_socket is not None and connection.target.wants_times():
            connection.times = SegmentTimes()
            self._timings[connection.cookie] = connection.times
            self._time_socket(connection.cookie, True)
        self.epoll.register(connection.fd, events)

    def unregister(self, connection: Connection) -> None:
        self.epoll.unregister(connection.fd)
        del self._connections[connection.fd]
        if self._ready:
            self._closed.add(connection.fd)
        if connection.times is not None:
            connection.target.timed -= 1
            self._retired.append(connection.cookie)
        self._connecting.discard(connection)

    def read_again(self, connection: Connection) -> None:
        self._again[connection] = None

    def fail_soon(self, connection: Connection) -> None:
        self._broken.append(connection)

    @property
    def pending(self) -> bool:
        """Work is left for the next turn whatever the descriptors say."""
        return bool(self._ready or self._again or self._broken or self._ended or self.examining.pending)

    def timing(self, cookie: int, direction: int, seq: int, length: int, flags: int, time: int) -> None:
        times = self._timings.get(cookie)
        if times is not None:
            times.record(direction, seq, length, flags, time)

    def note_tls_error(self, target: Target, error: Exception) -> None:
        if self._on_tls_error is not None:
            self._on_tls_error(target, error)

    def local_ends(self, target: Target) -> list[tuple[str, int]]:
        """Where two of its open connections begin on this host."""
        found = []
        for connection in self._connections.values():
            if connection.target is target and connection.state not in (CONNECTING, CLOSED):
                with contextlib.suppress(OSError):
                    found.append(connection.sock.getsockname()[:2])
                if len(found) == 2:
                    break
        return found

    def cut(self, target: Target, now: int) -> None:
        """Nothing more is sent there: its connections are closed, and what was under way or waited is shed(itself), not
        its failure. ``target.itself`` is set: it takes nothing new."""
        for lane in list(target.blocked):
            lane.shed_all("itself")
            lane.advance(now)
        for connection in [one for one in self._connections.values() if one.target is target]:
            if connection.owner is not None:
                connection.owner.shed_all("itself")
            self._cut(connection, "itself", now)

    def _cut(self, connection: Connection, reason: str, now: int) -> None:
        """Close it; what is in flight is shed by ``reason``, and what else there is of a conversation."""
        owner = connection.owner
        legs, connection.in_flight = connection.in_flight, deque()
        connection.close(now)
        for leg in legs:
            if not leg.done:
                self.shed(leg, reason)
        if owner is not None:
            if owner.raw:  # the rest would be another conversation, and no fault of the shadow's
                owner.given_up = owner.given_up or reason
                owner.shed_all(reason)
            owner.disconnected([], now)

    def remove_target(self, target: Target, now: int) -> None:
        """Forget a target whose lanes were abandoned."""
        target.removed = True
        for connection in list(target.idle):
            connection.close(now)
        if target in self.targets:
            self.targets.remove(target)

    def close(self, now: int) -> None:
        for connection in list(self._connections.values()):
            connection.close(now)
        self.epoll.close()
