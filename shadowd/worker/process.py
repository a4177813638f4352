"""A worker in a process of its own: ``python -m shadowd.worker.process CHANNEL RING SLEEPING TIMED PAGE OTHERS…``
(descriptors; the last are the other workers' pages).

Started by the supervisor (``service/workers.py``), which has loaded the programs and judges what is reported. The
worker reads its ring, replays, and ends when the supervisor's end of the channel is closed, whatever it holds.

Settings come before the kernel acts on them: the supervisor waits until they are in force (the page says so), half a
second at most.
"""

from __future__ import annotations

import gc
import select
import signal
import socket
import sys
import time
from typing import Any

import trio

from shadowd.capture.bpf import Map
from shadowd.capture.capabilities import undumpable
from shadowd.capture.ring import Ring
from shadowd.evidence.examining import answers_of, count_faults, place_of
from shadowd.evidence.trial import Trial
from shadowd.exchange.exchange import Exchange, Request
from shadowd.ledger.budget import Budget
from shadowd.replay.engine import Engine
from shadowd.stream.table import FlowLimits
from shadowd.worker import page as places
from shadowd.worker.channel import HEADER, ChannelError, Inbox, Outbox
from shadowd.worker.memory import Memory, one_arena
from shadowd.worker.page import Page
from shadowd.worker.pump import Pump
from shadowd.worker.reports import report_of, report_of_answer, report_of_write
from shadowd.worker.settings import InForce, Reporter

SNAPSHOT_EVERY = 0.25  # seconds
QUIET_SNAPSHOT = 1.0
#: Bytes of reports that the supervisor has not taken; beyond it exchanges are mirrored and not compared.
MAX_REPORTED = 32 << 20
#: Reports go out together: a message costs both sides more than a report. After so long (ns), or so many bytes.
TOGETHER = 20_000_000
FULL = 256 << 10


class Reporting:
    """In the place of ``Examining``: what is complete is reported, many together. ``unreported``: trials for which
    there was no room."""

    pending = False

    def __init__(self, outbox: Outbox, budget: Budget) -> None:
        self._outbox = outbox
        self._budget = budget
        self._reports: list[Any] = []
        self._size = 0
        self._charged = 0
        self._due = 0
        self.unreported = 0
        self.failed: dict[str, int] = {}

    def take(self, trial: Trial) -> None:
        """Of a complete trial. Raises nothing."""
        if self._size + self._outbox.waiting > MAX_REPORTED or self._budget.exhausted:
            self.unreported += 1
            return
        try:
            self._reports.append(report_of(trial, trial.examiner.number))  # type: ignore[attr-defined]  # a Reporter
            request = trial.exchange.request
            self._size += len(request.head) + len(request.body)
            self._size += sum(len(response.head) + len(response.body) for response in answers_of(trial))
        except Exception as error:  # whatever it is, it is this exchange's
            self.note_fault(error)

    def go_on(self, now: int) -> None:
        """A turn ends: its reports go out as one message."""
        if self._reports and (now >= self._due or self._size > FULL):
            reports, self._reports = self._reports, []
            self._size = 0
            self._due = now + TOGETHER
            try:
                self._outbox.put("reports", reports)
            except Exception as error:  # what cannot be written is theirs alone
                self.unreported += len(reports)
                self.note_fault(error)
        if self._outbox.waiting != self._charged:
            self._budget.change(self._outbox.waiting - self._charged)
            self._charged = self._outbox.waiting

    def note_write(self, reporter: Reporter, request: Request) -> None:
        """A write that is not mirrored begins."""
        self._reports.append(report_of_write(request, reporter.number))

    def note_written(self, reporter: Reporter, exchange: Exchange) -> None:
        """Production answered it."""
        self._reports.append(report_of_answer(exchange, reporter.number))

    def wants_twin(self, reporter: Reporter, request: Request, draw: float) -> bool:
        """Whether to ask a second time."""
        try:
            return reporter.wants_twin(request, draw)
        except Exception as error:
            self.note_fault(error)
            return False

    def note_fault(self, error: BaseException) -> None:
        """Count a fault of ours by its place."""
        count_faults(self.failed, place_of(error))


class Worker:
    """One process: the pump, what it is told and what it tells."""

    def __init__(
        self, channel: socket.socket, ring: Ring, timed: Map, page: Page, others: list[Page], begin: dict[str, Any]
    ) -> None:
        self._channel = channel
        self._page = page
        self._ring = ring
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._timed = timed
        self._owner = int(begin["number"]).to_bytes(1, "little")
        self._problems: dict[str, str] = {}
        self.memory = Memory(begin["memory_max"], self._problems, lambda problem: None)
        budget = self.memory.budget
        self.reporting = Reporting(self._outbox, budget)
        self.engine = Engine(
            begin["own_mark"], begin["max_buffered"], begin["max_body"], on_tls_error=self._tls_error,
            time_socket=self._time_socket, budget=budget,
        )  # fmt: skip
        self.engine.examining = self.reporting  # type: ignore[assignment]
        out_of_order = min(begin["max_buffered"], budget.limit // 4)
        limits = FlowLimits(max_flows=begin["max_flows"], max_buffered_total=out_of_order)
        self.pump = _Turning(self, ring, self.engine, limits)
        secret = begin["secret"]
        self.in_force = InForce(self.pump, begin["node"], secret, page, others)
        self._fd = channel.fileno()
        self._asked: list[tuple[float, int]] = []
        self._ask = trio.Event()

    def _tls_error(self, target: Any, error: Exception) -> None:
        target.tls_error = f"TLS to {target.url} failed: {error}"

    def _time_socket(self, cookie: int, wanted: bool) -> None:
        key = cookie.to_bytes(8, "little")
        if wanted:
            self._timed.update(key, self._owner)
        else:
            self._timed.delete(key)

    # --- each turn ----------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """What the supervisor said. Raises ChannelError when it is gone."""
        if not self.engine.is_ready(self._fd):
            return
        while True:
            try:
                data = self._channel.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError as error:
                raise ChannelError(str(error)) from None
            if not data:
                raise ChannelError("the supervisor is gone")
            for message in self._inbox.feed_untrusted(data):
                if message[0] == "settings":
                    self.in_force.take(message[1])
                    self._page.numbers[places.SEQUENCE] = self.in_force.sequence
                elif message[0] == "catch_up":
                    self._asked.append((message[1], message[2]))
                    self._ask.set()

    def drained(self) -> None:
        """Onto the page what was read, before anything is done with it: whoever is killed then has lost no more."""
        numbers, taken = self._page.numbers, self.pump.taken
        if taken != numbers[places.TAKEN]:
            numbers[places.TAKEN] = taken
            numbers[places.BUSY] = self.pump.now

    def tell(self) -> None:
        """After a turn: the page, and what the socket takes."""
        numbers, pump = self._page.numbers, self.pump
        numbers[places.NOW] = pump.now
        numbers[places.TURNS] = pump.turns
        numbers[places.BACKLOG] = pump.backlog
        numbers[places.OLDEST] = self._ring.oldest
        numbers[places.IN_FLIGHT] = self.engine.in_flight
        numbers[places.QUIET] = pump.quiet
        if numbers[places.IN_FLIGHT]:
            numbers[places.BUSY] = pump.now
        self.in_force.count()
        if self._outbox.waiting:
            self._outbox.send(self._channel)

    def snapshot(self, token: int = 0) -> None:
        """Tell what was counted; ``token``: of the question that this answers."""
        stated = self.pump.table.statistics()
        self._outbox.put("snapshot", {
            **self.in_force.snapshot(),
            "token": token,
            "sequence": self.in_force.sequence,
            "table": {"flows": stated.flows, "delivered": stated.delivered, "duplicate": stated.duplicate,
                      "buffered": stated.buffered, "gap_bytes": stated.gap_bytes},
            "discarded": stated.discarded,
            "waiting": self.pump.waiting() if token else 0,
            "pump": self.pump.statistics(),
            "unreported": self.reporting.unreported,
            "failed": self.reporting.failed,
            "problems": [
                *self._problems.values(), *self.in_force.problems.values(), *self.pump.keys.problems,
            ],
        })  # fmt: skip
        self.pump.longest_turn = 0
        self._outbox.send(self._channel)

    # --- tasks --------------------------------------------------------------------------------------------------------

    async def _tell_often(self) -> None:
        while True:
            self.snapshot()
            await trio.sleep(QUIET_SNAPSHOT if self.pump.quiet else SNAPSHOT_EVERY)

    async def _answer(self) -> None:
        """Questions: read what is in the ring, and tell."""
        while True:
            await self._ask.wait()
            self._ask = trio.Event()
            while self._asked:
                limit, token = self._asked.pop(0)
                await self.pump.catch_up(limit)
                self.reporting.go_on(self.pump.now + TOGETHER)
                self.snapshot(token)

    async def run(self) -> None:
        """Until the supervisor is gone."""
        self._channel.setblocking(False)
        # by level, not by edge: a dispatch may drop what it was told of descriptors that are no connection
        self.engine.epoll.register(self._channel.fileno(), select.EPOLLIN)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell_often)
                nursery.start_soon(self._answer)
                nursery.start_soon(self.memory.run)
                await self.pump.run()
        except* ChannelError:
            pass  # an end as it should be
        finally:
            self.engine.close(time.monotonic_ns())


class _Turning(Pump):
    """A pump whose turns listen and tell."""

    __slots__ = ("_worker",)

    def __init__(self, worker: Worker, ring: Ring, engine: Engine, limits: FlowLimits) -> None:
        super().__init__(ring, engine, limits)
        self._worker = worker

    def drained(self) -> None:
        self._worker.drained()

    def turn(self, budget: int = 0) -> int:
        self.engine.poll()
        self._worker.listen()
        done = super().turn(budget)
        self._worker.tell()
        return done


def _first(channel: socket.socket) -> dict[str, Any]:
    """What the worker begins with; nothing of what follows is read."""
    head = channel.recv(HEADER.size, socket.MSG_WAITALL)
    content = channel.recv(HEADER.unpack(head)[0], socket.MSG_WAITALL) if len(head) == HEADER.size else b""
    found = Inbox().feed_untrusted(head + content)
    if not found:
        raise SystemExit("shadowd worker: the supervisor ended before it had begun")
    begin: dict[str, Any] = found[0][1]
    return begin


def main(argv: list[str]) -> int:
    undumpable()
    one_arena()
    descriptors = [int(one) for one in argv[1:]]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is the supervisor's to answer
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = socket.socket(fileno=descriptors[0])
    begin = _first(channel)
    ring = Ring(descriptors[1], begin["ring_bytes"], Map(descriptors[2], 4, 4), begin["number"])
    pages = [Page(one) for one in descriptors[4:]]
    worker = Worker(channel, ring, Map(descriptors[3], 8, 1), pages[0], pages[1:], begin)
    # exchanges make few cycles but many objects: the default threshold would walk them every 700 allocations
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    trio.run(worker.run)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
