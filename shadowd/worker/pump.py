"""The pump: one trio task that drains ring and sockets in batches.

A turn is synchronous: ready sockets are listed, the ring is drained through the flow table, codecs and lanes, answers
are read, time limits looked at. Between turns the pump

* goes on at once while there is more than a turn's budget waiting,
* while a few requests wait for their connection's answer (causality) waits on the epoll set, ``POLL`` at most; while
  many do, gathers answers for ``GATHER``,
* else sleeps ``POLL`` and looks again: batches are cheap, wake-ups are not,
* and after ``IDLE_AFTER`` without traffic asks the kernel for one wake-up and waits for it, ``IDLE_WAIT`` at most, or
  ``QUIET_WAIT`` where nothing has happened for a second and nothing is under way: each look costs some 300 µs.

While traffic flows these waits are made without trio (a trio sleep costs four to five times the CPU of a plain one),
and trio's other tasks have their turn every ``YIELD_EVERY``: control is that much late, which nobody notices. After a
turn that took long they have several, or a daemon that is behind could not be asked why.

The pump itself refreshes the dead-man switch (``Switch``; of several workers the supervisor does): if it stalls, the
kernel stops copying. A turn that begins much later
than the one before it and the pump's naps explain is noted as a stall: what is late then is so through us.
"""

from __future__ import annotations

import select
import time

import trio

from shadowd.capture.ring import Ring
from shadowd.capture.switch import Switch
from shadowd.protocols.detect import tls_start
from shadowd.replay.engine import DISPATCH, Engine
from shadowd.replay.lateness import STALL
from shadowd.replay.target import Target
from shadowd.stream.flow import Flow, FlowSink
from shadowd.stream.table import FlowLimits, FlowTable
from shadowd.tls.opening import TlsOpening
from shadowd.tls.session import TlsSession
from shadowd.worker.conversation import Conversation, conversation_of
from shadowd.worker.filters import Filter
from shadowd.worker.intake import Intake
from shadowd.worker.keys import Keys

MS = 1_000_000
FEW = 2  # connections waiting for an answer: each is worth waking for; more are gathered
GATHER = MS // 2
DEEP = 4  # requests queued a waiting connection: above it we are falling behind, and answers are taken as they come
POLL = 4 * MS  # the ring holds far more than 4 ms of traffic
YIELD_EVERY = 8 * MS
IDLE_AFTER = 20 * MS
IDLE_WAIT = 50 * MS
QUIET_AFTER = 1000 * MS
QUIET_WAIT = 250 * MS  # a fourth of the shortest dead-man switch
TURN_BYTES = 64 << 10  # of ring space a turn: a few ms of work, then answers are read and connections go on
SLICE_BYTES = 16 << 10  # the same while requests wait for answers: their connections' pace is the turn's
CATCH_UP_BYTES = 256 << 10  # the same while the ring is more than half full: losing segments is worse than waiting
LONG_TURN = 32 * MS  # (of a daemon that gets little CPU: production comes first)
PASSES = 6  # of trio's other tasks after a long turn: a control request takes that many from accept to answer
DISPATCHES = 3  # rounds of reading answers a turn
EXPIRE_EVERY = 1000 * MS


class Pump:
    """See the module's head. Reads one worker's ring."""

    __slots__ = (
        "_by_bit",
        "_cached",
        "_discarded",
        "_due",
        "_expire_at",
        "_intake",
        "_last_traffic",
        "_queued",
        "_ring",
        "engine",
        "keys",
        "longest_turn",
        "now",
        "switch",
        "table",
        "turns",
    )

    def __init__(self, ring: Ring, engine: Engine, limits: FlowLimits, switch: Switch | None = None) -> None:
        self.switch = switch  # None: somebody else refreshes it
        self.engine = engine
        self.table = FlowTable(self._open_conversation, limits)
        self.table.on_tag = self._change_filters
        self.table.on_fault = self._give_up
        self._intake = Intake(self.table, engine)
        self.keys = Keys(engine.budget.limit // 8)
        self._intake.on_secret = self.keys.told_untrusted
        self.now = time.monotonic_ns()
        self.turns = 0
        self.longest_turn = 0  # ns, since the last look at it
        self._ring = ring
        self._by_bit: dict[int, Filter] = {}
        self._cached: dict[int, list[Filter]] = {}
        self._discarded: dict[str, int] = {}
        self._due = 0  # when this turn should begin at the latest, 0 before the first
        self._expire_at = 0
        self._last_traffic = 0
        self._queued = 0  # bytes out of order that the budget knows of
        engine.epoll.register(self._ring.descriptor, select.EPOLLIN | select.EPOLLET)

    # --- of the flows -------------------------------------------------------------------------------------------------

    def _open_conversation(self, key: bytes, time: int, flow: Flow, midstream: bool) -> FlowSink:
        conversation = Conversation(self, key, flow, midstream, flow.tag)
        if self.keys.decrypts and any(chosen.decrypts for chosen in self.filters_of(flow.tag)):
            return TlsOpening(flow, self.keys.keyring, conversation, tls_start, midstream, self.engine.budget)
        return conversation

    def _give_up(self, flow: Flow, error: Exception) -> None:
        """A fault of ours while segments became a stream."""
        sink = flow.sink
        if isinstance(sink, (TlsSession, TlsOpening)):
            conversation_of(sink).give_up(error)
            sink.refuse("fault", told=True)
        elif isinstance(sink, Conversation):
            sink.give_up(error)
        else:
            self.engine.examining.note_fault(error)

    @staticmethod
    def _change_filters(flow: Flow, filters: int) -> None:
        conversation_of(flow.sink).change_filters(filters)

    # --- what conversations ask for -----------------------------------------------------------------------------------

    def filters_of(self, bitmap: int) -> list[Filter]:
        """Filters by their bits; one that changed has two bits for a while."""
        found = self._cached.get(bitmap)
        if found is None:
            found = []
            for bit, chosen in self._by_bit.items():
                if bitmap >> bit & 1 and chosen not in found:
                    found.append(chosen)
            self._cached[bitmap] = found
        return list(found)

    def discarded(self, reason: str, length: int) -> None:
        """Delivered bytes that belong to no exchange, for ``statistics``."""
        self._discarded[reason] = self._discarded.get(reason, 0) + length

    def set_bits(self, by_bit: dict[int, Filter]) -> None:
        """Which filter a bit of the kernel's bitmap means."""
        self._by_bit = dict(by_bit)
        self._cached = {}
        self.keys.follow(self._by_bit.values())

    def _take_keys(self, now: int) -> None:
        try:
            self.keys.take(now)
        except Exception as error:
            self.engine.examining.note_fault(error)

    def leave(self, chosen: Filter, reason: str) -> None:
        """A filter goes: its requests under way are shed, flows that nobody else wants are forgotten (one that follows
        still wants them)."""
        self.now = time.monotonic_ns()
        leave = Conversation.rest if chosen.following else Conversation.leave
        for key, flow in self.table.items():
            conversation = conversation_of(flow.sink)
            leave(conversation, chosen, reason)
            if conversation.deserted:
                self.table.remove(key, self.now)
        for conversation in self._lingering():
            leave(conversation, chosen, reason)
        for pool in chosen.pools.values():
            pool.abandon(reason, self.now)
        chosen.pools.clear()

    def leave_target(self, chosen: Filter, target: Target) -> None:
        """A filter loses one target: what that one has unanswered is shed."""
        self.now = time.monotonic_ns()
        for _, flow in self.table.items():
            conversation_of(flow.sink).leave_target(chosen, target)
        for conversation in self._lingering():
            conversation.leave_target(chosen, target)
        for asked in [asked for asked in chosen.pools if asked[0] is target]:
            chosen.pools.pop(asked).abandon("removed", self.now)

    def _lingering(self) -> list[Conversation]:
        """Of connections that may be over, and wait for their keys."""
        return [conversation_of(waiter) for waiter in self.keys.waiting]

    # --- turns --------------------------------------------------------------------------------------------------------

    async def catch_up(self, limit: float) -> None:
        """Read what was in the ring when this was called, for ``limit`` seconds at most, while the other tasks go on
        (an entry that stays unfinished ends it)."""
        goal = self._ring.produced
        end = time.monotonic() + limit
        while self._ring.consumed < goal and time.monotonic() < end:
            if not self.turn(CATCH_UP_BYTES):
                return
            await trio.lowlevel.checkpoint()

    def turn(self, budget: int = 0) -> int:
        """One batch of at most about ``budget`` bytes of the ring (0: as fits). Returns entries and events seen."""
        engine = self.engine
        self.now = begun = time.monotonic_ns()
        if begun - self._due > STALL and self._due:
            engine.stalls.note(self._due, begun)
        self._due = begun
        ready = engine.poll()
        ring = self._ring
        if ring.backlog > ring.size >> 1:
            budget = CATCH_UP_BYTES
        entries = ring.drain(self._intake, budget or (SLICE_BYTES if engine.waiting else TURN_BYTES))
        self.drained()
        if self.keys.keyring.waiting:
            self._take_keys(ring.oldest or begun if ring.backlog else begun)
        engine.settle()
        if ready or engine.pending:
            taken = engine.dispatch(begun)
            for _ in range(DISPATCHES - 1):  # what was just sent may be answered by now: the next request can go
                if taken >= DISPATCH or not engine.waiting or not engine.poll():
                    break
                taken += engine.dispatch(begun)
        engine.examining.go_on(begun)
        engine.tick(begun)
        if self.switch is not None:
            self.switch.refresh(begun)
        if begun >= self._expire_at:
            self._expire_at = begun + EXPIRE_EVERY
            # behind, the flows' clock is that of what is read next: what they wait for may be in the ring
            passed = ring.oldest if ring.backlog else begun
            if passed:
                self.table.expire(passed)
            self.keys.expire(begun)
        queued = self.table.buffered
        if queued != self._queued:
            engine.budget.change(queued - self._queued)
            self._queued = queued
        self.turns += 1
        spent = time.monotonic_ns() - begun
        if spent > self.longest_turn:
            self.longest_turn = spent
        return entries + ready

    def drained(self) -> None:
        """What was read in this turn is counted: a worker that shares its counts says so at once."""

    async def run(self) -> None:
        """Until cancelled."""
        ring, engine = self._ring, self.engine
        yielded = 0
        while True:
            traffic = self.turn()
            now = time.monotonic_ns()
            if traffic:
                self._last_traffic = now
            elif now - self._last_traffic >= IDLE_AFTER:
                yielded = now
                limit = QUIET_WAIT if self.quiet else IDLE_WAIT
                self._due = now + limit
                if ring.prepare_sleep():
                    await self._wait_sockets(limit)
                    ring.cancel_sleep()
                else:
                    await trio.lowlevel.checkpoint()
                continue
            if now - yielded >= YIELD_EVERY:
                for _ in range(1 if now - yielded < LONG_TURN else PASSES):
                    await trio.lowlevel.checkpoint()
                yielded = time.monotonic_ns()
            if ring.backlog > TURN_BYTES // 8 or engine.pending:
                continue
            waiting = engine.waiting
            if not waiting:
                time.sleep(POLL / 1e9)
            elif waiting <= FEW or engine.in_flight > DEEP * waiting:
                engine.wait(POLL)
            else:
                time.sleep(GATHER / 1e9)

    async def _wait_sockets(self, limit: int) -> None:
        with trio.move_on_after(limit / 1e9):
            await trio.lowlevel.wait_readable(self.engine.epoll.fileno())

    @property
    def quiet(self) -> bool:
        """Nothing has happened for a second, and nothing is under way that a time limit could end."""
        idle = time.monotonic_ns() - self._last_traffic >= QUIET_AFTER
        return idle and not self.engine.in_flight and not self.table.buffered

    @property
    def taken(self) -> int:
        """Bytes of payload read from the ring so far."""
        return self._intake.taken

    @property
    def backlog(self) -> int:
        """Bytes of the ring that hold entries not read yet."""
        return self._ring.backlog

    def waiting(self) -> int:
        """Bytes of payload in them."""
        return self._ring.waiting()

    def lag(self) -> int:
        """Age (ns) of the oldest segment that waits in the ring."""
        oldest = self._ring.oldest
        return max(0, time.monotonic_ns() - oldest) if oldest else 0

    def statistics(self) -> dict[str, object]:
        """A snapshot for ``ledger`` and ``status``."""
        return {
            "discarded": dict(sorted(self._discarded.items())),
            "turns": self.turns,
            "longest_turn_ms": round(self.longest_turn / MS, 3),
            "ring_backlog": self._ring.backlog,
            "buffered": self.engine.buffered,
            "memory": self.engine.budget.used,
            "memory_limit": self.engine.budget.limit,
        }
