"""Pump on a ring in a memory file: a daemon that is behind judges flows by the time of what it reads."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import trio

from shadowd.capture.abi import DIRECTION_CLIENT, DIRECTION_SERVER, RECORD, RECORD_SEGMENT
from shadowd.replay.engine import Engine
from shadowd.replay.lateness import STALL
from shadowd.stream.table import FlowLimits
from shadowd.worker.pump import TURN_BYTES, Pump
from tests.unit.capture.test_ring import Bench

ACK, SYN = 16, 2
RING = 4 * TURN_BYTES
SECOND = 1_000_000_000
LIMITS = FlowLimits()


class Behind(Bench):
    """A pump whose ring holds what passed a while ago."""

    def __init__(self) -> None:
        super().__init__(RING)
        self.ring.descriptor = os.eventfd(0)  # what epoll takes; the memory file is none
        self.engine = Engine(1)
        self.pump = Pump(self.ring, self.engine, LIMITS)

    def passes(
        self, flow: int, payload: bytes, seq: int, ago: int, direction: int = DIRECTION_CLIENT, flags: int = ACK
    ) -> None:
        """The kernel copied a segment, ``ago`` ns ago."""
        at = time.monotonic_ns() - ago
        size = len(payload)
        head = RECORD.pack(at, 0, seq, 1, size, 0, size, RECORD_SEGMENT, direction, flags, 0)
        self.kernel.output(head + flow.to_bytes(48, "little") + payload)

    def fill(self, ago: int) -> None:
        """More than a turn's worth of something else."""
        end, seq = self.kernel.produced + TURN_BYTES, 0
        while self.kernel.produced <= end:
            self.passes(99, bytes(8000), seq, ago)
            seq += 8000

    def read_all(self) -> int:
        """How many turns it took."""
        turns = 0
        while self.ring.backlog:
            self.pump.turn()
            turns += 1
        return turns

    def close(self) -> None:
        os.close(self.ring.descriptor)
        self.engine.close(time.monotonic_ns())
        super().close()


@pytest.fixture
def behind() -> Iterator[Behind]:
    built = Behind()
    yield built
    built.close()


def test_a_hole_that_was_closed_in_time_is_none_however_late_it_is_read(behind: Behind) -> None:
    ago = LIMITS.gap_timeout + 60 * SECOND
    behind.passes(1, b"", 100, ago, flags=SYN)
    behind.passes(1, b"", 900, ago, DIRECTION_SERVER, SYN | ACK)
    behind.passes(1, b"later", 107, ago)
    behind.fill(ago)
    behind.passes(1, b"sooner", 101, ago)
    assert behind.read_all() > 1
    numbers = behind.pump.table.statistics()
    assert (numbers.gaps, numbers.gap_bytes, numbers.buffered) == (0, 0, 0)


def test_a_hole_that_stayed_is_told_once_everything_is_read(behind: Behind) -> None:
    ago = LIMITS.gap_timeout + 60 * SECOND
    behind.passes(1, b"", 100, ago, flags=SYN)
    behind.passes(1, b"", 900, ago, DIRECTION_SERVER, SYN | ACK)
    behind.passes(1, b"later", 107, ago)
    assert behind.read_all() == 1
    assert behind.pump.table.statistics().gap_bytes == 6


def test_a_connection_does_not_expire_while_what_it_said_waits(behind: Behind) -> None:
    ago = LIMITS.handshake_idle + 60 * SECOND
    behind.passes(1, b"", 100, ago, flags=SYN)
    behind.passes(1, b"", 900, ago, DIRECTION_SERVER, SYN | ACK)
    behind.fill(ago)
    behind.passes(1, b"GET / HTTP/1.1\r\n\r\n", 101, ago)
    assert behind.read_all() > 1
    flow = behind.pump.table.get((1).to_bytes(48, "little"))
    assert flow is not None
    assert not flow.midstream


# --- our own lateness -------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes only when somebody sleeps, or stands still."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND

    def monotonic_ns(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / SECOND

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("shadowd.worker.pump.time", made)
    return made


@pytest.mark.parametrize(("away", "counts"), [(STALL, False), (STALL + 1, True), (8 * SECOND, True)])
def test_a_pump_that_did_not_run_says_so(clock: Clock, behind: Behind, away: int, counts: bool) -> None:
    stalls = behind.engine.stalls
    clock.now += 5 * SECOND
    behind.pump.turn()  # there was none before it
    assert stalls.latest == 0
    begun = clock.now
    clock.now += away
    behind.pump.turn()
    assert stalls.within(0, clock.now) == (away if counts else 0)
    assert stalls.within(begun + away // 2, begun + away) == (away - away // 2 if counts else 0)


@pytest.mark.parametrize("more", [0, STALL, 3 * SECOND])
def test_an_idle_pumps_wait_is_no_stall(clock: Clock, behind: Behind, more: int) -> None:
    """Waiting for a wake-up takes ``IDLE_WAIT``; what it takes beyond that is ours."""
    pump, waits = behind.pump, []

    class Idle(Pump):
        __slots__ = ()

        async def _wait_sockets(self, limit: int) -> None:
            waits.append(limit)
            clock.now += limit + more * (len(waits) == 3)
            await trio.lowlevel.checkpoint()
            if len(waits) == 6:
                scope.cancel()

    async def run() -> None:
        with scope:
            await pump.run()

    scope = trio.CancelScope()
    pump.__class__ = Idle
    trio.run(run)
    assert len(waits) >= 5
    assert behind.engine.stalls.within(0, clock.now) == (more if more > STALL else 0)
