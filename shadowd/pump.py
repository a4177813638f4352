"""The pump: one trio task that drains ring and sockets in batches (DESIGN §6).

A turn is synchronous: ready sockets are listed, the ring is drained through the flow table, codecs and lanes, answers
are read, time limits looked at. Between turns the pump

* yields at once while there is more than a turn's budget waiting,
* sleeps on the epoll set while a request waits for a shadow's answer (causality),
* else sleeps ``POLL`` and looks again: batches are cheap, wake-ups are not,
* and after ``IDLE_AFTER`` without traffic asks the kernel for one wake-up and waits for it, ``IDLE_WAIT`` at most.

The pump itself refreshes the dead-man switch: if it stalls, the kernel stops copying.
"""

from __future__ import annotations

import select
import time

import trio

from shadowd.capture.abi import MARK_MPTCP
from shadowd.capture.programs import Programs
from shadowd.capture.ring import RingSink
from shadowd.conversation import Conversation
from shadowd.filters import Filter
from shadowd.replay.engine import Engine
from shadowd.replay.target import Target
from shadowd.stream.flow import Flow
from shadowd.stream.table import FlowLimits, FlowTable

MS = 1_000_000
POLL = 2 * MS  # DESIGN §5: 1-2 ms; the ring holds far more than 2 ms of traffic
IDLE_AFTER = 20 * MS
IDLE_WAIT = 50 * MS
TURN_BYTES = 4 << 20  # of ring space a turn: some 5 ms of work
EXPIRE_EVERY = 1000 * MS
KEEP_ALIVE_EVERY = 500 * MS


class Pump(RingSink):
    """See the module's head. Reads one worker's ring."""

    __slots__ = (
        "_alive_at",
        "_by_bit",
        "_cached",
        "_current",
        "_dead_man",
        "_discarded",
        "_expire_at",
        "_last_traffic",
        "_ring",
        "engine",
        "longest_turn",
        "now",
        "programs",
        "stopping",
        "table",
        "turns",
    )

    def __init__(self, programs: Programs, engine: Engine, limits: FlowLimits, dead_man_seconds: float) -> None:
        self.programs = programs
        self.engine = engine
        self.table = FlowTable(self._open_conversation, limits)
        self.now = time.monotonic_ns()
        self.stopping = False
        self.turns = 0
        self.longest_turn = 0  # ns, since the last look at it
        self._ring = programs.ring
        self._by_bit: dict[int, Filter] = {}
        self._cached: dict[int, list[Filter]] = {}
        self._current = 0
        self._discarded: dict[str, int] = {}
        self._dead_man = int(dead_man_seconds * 1e9)
        self._alive_at = 0
        self._expire_at = 0
        self._last_traffic = 0
        engine.epoll.register(self._ring.descriptor, select.EPOLLIN | select.EPOLLET)

    # --- from the ring ------------------------------------------------------------------------------------------------

    def segment(
        self, key: bytes, filters: int, direction: int, seq: int, ack: int, flags: int, payload: bytes, time: int
    ) -> None:
        self._current = filters
        flow = self.table.segment(key, direction, seq, ack, flags & 0xFF, payload, time)
        if flow is not None:
            conversation: Conversation = flow.sink  # type: ignore[assignment]  # _open_conversation made it
            if conversation.filters != filters:
                conversation.change_filters(filters)
            if flags >> 8 & MARK_MPTCP and direction:
                conversation.multipath()

    def timing(self, cookie: int, direction: int, seq: int, length: int, flags: int, time: int) -> None:
        self.engine.timing(cookie, direction, seq, length, flags, time)

    def _open_conversation(self, key: bytes, time: int, flow: Flow, midstream: bool) -> Conversation:
        return Conversation(self, key, flow, midstream, self._current)

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

    def leave(self, chosen: Filter, reason: str) -> None:
        """A filter goes: its requests under way are shed, flows that nobody else wants are forgotten."""
        self.now = time.monotonic_ns()
        for key, flow in self.table.items():
            conversation: Conversation = flow.sink  # type: ignore[assignment]
            conversation.leave(chosen, reason)
            if conversation.deserted:
                self.table.remove(key, self.now)
        for pool in chosen.pools.values():
            pool.abandon(reason, self.now)
        chosen.pools.clear()

    def leave_target(self, chosen: Filter, target: Target) -> None:
        """A filter loses one target: what that one has unanswered is shed."""
        self.now = time.monotonic_ns()
        for _, flow in self.table.items():
            conversation: Conversation = flow.sink  # type: ignore[assignment]
            conversation.leave_target(chosen, target)
        pool = chosen.pools.pop(target, None)
        if pool is not None:
            pool.abandon("removed", self.now)

    # --- turns --------------------------------------------------------------------------------------------------------

    def turn(self) -> int:
        """One batch. Returns the number of ring entries and socket events seen."""
        engine = self.engine
        self.now = begun = time.monotonic_ns()
        ready = engine.poll()
        entries = self._ring.drain(self, TURN_BYTES)
        engine.settle()
        if ready or engine.pending:
            engine.dispatch(begun)
        engine.tick(begun)
        if begun >= self._alive_at and not self.stopping:
            self._alive_at = begun + KEEP_ALIVE_EVERY
            self.programs.keep_alive(begun + self._dead_man)
        if begun >= self._expire_at:
            self._expire_at = begun + EXPIRE_EVERY
            self.table.expire(begun)
        self.turns += 1
        spent = time.monotonic_ns() - begun
        if spent > self.longest_turn:
            self.longest_turn = spent
        return entries + ready

    async def run(self) -> None:
        """Until cancelled."""
        ring, engine = self._ring, self.engine
        while True:
            traffic = self.turn()
            now = time.monotonic_ns()
            if traffic:
                self._last_traffic = now
            if ring.backlog > TURN_BYTES // 4 or engine.pending:
                await trio.lowlevel.checkpoint()
            elif engine.waiting:
                await self._wait_sockets(POLL)
            elif now - self._last_traffic < IDLE_AFTER:
                await trio.sleep(POLL / 1e9)
            elif ring.prepare_sleep():
                await self._wait_sockets(IDLE_WAIT)
                ring.cancel_sleep()

    async def _wait_sockets(self, limit: int) -> None:
        with trio.move_on_after(limit / 1e9):
            await trio.lowlevel.wait_readable(self.engine.epoll.fileno())

    def statistics(self) -> dict[str, object]:
        """A snapshot for ``ledger`` and ``status``."""
        return {
            "discarded": dict(sorted(self._discarded.items())),
            "turns": self.turns,
            "longest_turn_ms": round(self.longest_turn / MS, 3),
            "ring_backlog": self._ring.backlog,
            "buffered": self.engine.buffered,
        }
