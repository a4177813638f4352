"""Several workers, each a process with a ring of its own: started, told what is wanted, heard, and started anew.

::

    supervisor ── settings, questions ──►  worker 0 … N-1        (worker/settings.py)
    roster, guard, examiners, doors  ◄── snapshots, reports ──   (worker/accounts.py, worker/reports.py)

The kernel deals connections out by a hash, so that a connection is one worker's. A worker that ends, or says nothing
for as long as the dead-man switch waits, is started anew on its own ring: what waits there is read; what it held is
``lost(worker)``, by the page that it shared. Evidence is here, and is kept.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import trio

from shadowd.capture.programs import Programs
from shadowd.capture.switch import Switch
from shadowd.config.document import Config, FilterSpec
from shadowd.errors import ShadowdError
from shadowd.evidence.examining import Examining
from shadowd.ledger.budget import Budget
from shadowd.replay.engine import Engine
from shadowd.replay.target import Target
from shadowd.service.crew import Alone, Crew, CrewStatistics
from shadowd.service.privileges import inheriting
from shadowd.service.telling import Telling
from shadowd.service.workerprocess import BEGIN, LISTEN, Books, WorkerProcess
from shadowd.stream.table import FlowLimits
from shadowd.worker.channel import ChannelError
from shadowd.worker.filters import Filter
from shadowd.worker.pump import Pump

TICK = 0.25  # seconds: shares, the guard's word, what else changed
#: What a worker may take at least (RssAnon): its interpreter and code are some 35 MB.
WORKER_MEMORY = 64 << 20
SETTLE = 0.5  # for the last counts
FOLLOWED = 0.0003  # between two looks whether settings are in force
GO_ON = 0.008  # seconds between two looks at comparisons that wait
#: Seconds that a worker which ended again and again rests before it is started once more.
REST = (0.0, 0.0, 0.5, 2.0, 5.0)
SETTLED = 60.0  # seconds after which an end is no repetition


class Workers:
    """See the module's head; a ``Crew``."""

    def __init__(
        self, config: Config, programs: Programs, switch: Switch, budget: Budget, problems: dict[str, str],
        log: Callable[..., None],
    ) -> None:  # fmt: skip
        self._config = config
        self._programs = programs
        self.switch = switch
        self._problems = problems
        self._log = log
        self.examining = Examining(budget, time.monotonic_ns)
        self._telling = Telling(config.workers)
        self._books = Books(self._telling, self.examining, log)
        self.processes = [WorkerProcess(number, self._books) for number in range(config.workers)]
        self._answers: dict[int, trio.Event] = {}
        self._tokens = itertools.count(1)
        self._rounds = 0
        self._turned: list[int] = []
        self._stopped = False

    # --- filters ------------------------------------------------------------------------------------------------------

    @property
    def targets(self) -> Iterable[Target]:
        return self._telling.targets

    def run_by(self, chosen: Filter, spec: FilterSpec) -> None:
        self._telling.run_by(chosen, spec)

    def show(self, bits: dict[int, Filter]) -> None:
        self._telling.show(bits)
        self.sync()
        end = time.monotonic() + LISTEN
        while not all(process.follows for process in self.processes) and time.monotonic() < end:
            time.sleep(FOLLOWED)  # a millisecond or two: what they are to do with a record stands before there is one

    def adopt(self, target: Target) -> None:
        self._telling.adopt(target)
        self._books.join(target)

    def leave(self, chosen: Filter, reason: str) -> None:
        self._telling.leave(chosen, reason)
        self.sync()

    def leave_target(self, chosen: Filter, target: Target) -> None:
        """The settings that come next say so: it is not among the filter's targets any more."""

    def drop(self, target: Target) -> None:
        target.removed = True
        self._telling.drop(target)
        self.sync()

    def cut(self, target: Target) -> None:
        self.sync()  # ``target.itself`` is told

    def local_ends(self, target: Target) -> list[tuple[str, int]]:
        return [end for process in self.processes for end in process.ends_of(target)][:2]

    def spare(self, share: float) -> None:
        self._telling.spared = round(share * 65_536)

    def sync(self) -> None:
        """Tell all workers what is wanted now, if that is something else. Nothing follows before they can read it."""
        settings = self._telling.settings()
        for process in self.processes:
            self._tell_one(process, settings)

    def _tell_one(self, process: WorkerProcess, settings: list[dict[str, Any]]) -> None:
        try:
            process.tell(settings[process.number])
        except ChannelError as error:
            process.kill(f"it does not listen ({error})")

    # --- standing -----------------------------------------------------------------------------------------------------

    @property
    def silent(self) -> float:
        return min(process.silent for process in self.processes)

    @property
    def turns(self) -> int:
        """Rounds in which all have turned, or are being started anew: one that stands still is this supervisor's to
        end, and a supervisor that does not is the service manager's."""
        turned = [process.turns for process in self.processes]
        before = self._turned or turned
        if all(turned[at] != before[at] or not self.processes[at].running for at in range(len(turned))):
            self._rounds += 1
            before = turned
        self._turned = before
        return self._rounds

    def statistics(self) -> CrewStatistics:
        parts = [process.statistics() for process in self.processes]
        discarded: dict[str, int] = {}
        for part in parts:
            for reason, count in part.discarded.items():
                discarded[reason] = discarded.get(reason, 0) + count
        return CrewStatistics(
            sum(part.flows for part in parts), sum(part.delivered for part in parts),
            sum(part.duplicate for part in parts), sum(part.buffered for part in parts),
            sum(part.gap_bytes for part in parts), discarded, max(part.lag for part in parts),
            sum(part.backlog for part in parts), sum(part.used for part in parts), sum(part.limit for part in parts),
            sum(part.turns for part in parts),
        )  # fmt: skip

    def waiting(self) -> int:
        return sum(process.waiting for process in self.processes)

    def pump_view(self) -> dict[str, Any]:
        views = [process.pump for process in self.processes]
        discarded: dict[str, int] = {}
        for view in views:
            for reason, count in view.get("discarded", {}).items():
                discarded[reason] = discarded.get(reason, 0) + count
        summed = {name: sum(int(view.get(name, 0)) for view in views)
                  for name in ("turns", "ring_backlog", "buffered", "memory", "memory_limit")}  # fmt: skip
        longest = max((float(view.get("longest_turn_ms", 0.0)) for view in views), default=0.0)
        return {"discarded": dict(sorted(discarded.items())), "longest_turn_ms": longest, **summed}

    def views(self) -> list[dict[str, Any]]:
        seen = [process.seen for process in self.processes]
        total = sum(seen) or 1
        return [process.view(share / total) for process, share in zip(self.processes, seen, strict=True)]

    @property
    def quiet(self) -> bool:
        return all(process.quiet for process in self.processes)

    @property
    def problems(self) -> list[str]:
        told = [f"worker {process.number}: {one}" for process in self.processes for one in process.problems]
        unreported = sum(process.unreported for process in self.processes)
        if unreported:
            told.append(
                f"{unreported:,} exchanges were mirrored and not compared: the supervisor, which compares for all "
                "workers, was behind — give it more CPU, or take less: shadowctl filter set NAME --sample 10%"
            )
        return told

    def cpu_seconds(self) -> float:
        return sum(process.cpu_seconds() for process in self.processes)

    async def settle(self) -> None:
        self.sync()
        await self.catch_up(SETTLE)

    @property
    def idle(self) -> bool:
        return all(process.idle for process in self.processes)

    async def catch_up(self, limit: float) -> None:
        """All at once; one that does not answer is not waited for longer than a second more."""
        async with trio.open_nursery() as nursery:
            for process in self.processes:
                nursery.start_soon(self._ask, process, limit)

    async def _ask(self, process: WorkerProcess, limit: float) -> None:
        token = next(self._tokens)
        answered = self._answers[token] = trio.Event()
        try:
            process.ask(limit, token)
            with trio.move_on_after(limit + 1):
                await answered.wait()
        except ChannelError:
            return
        finally:
            del self._answers[token]

    # --- tasks --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for process in self.processes:
                    nursery.start_soon(self._mind, process)
                nursery.start_soon(self._tick)
                nursery.start_soon(self._go_on)
        finally:
            self.close()

    async def start(self) -> None:
        """All processes, until each has begun to turn, before there are filters. Raises ShadowdError."""
        for process in self.processes:
            try:
                self._start(process)
            except OSError as error:
                raise ShadowdError(
                    f"a worker cannot be started: {error.strerror or error}", "look at the host's limits of processes"
                ) from None
        with trio.move_on_after(BEGIN) as waiting:
            while not all(process.turns for process in self.processes):
                ended = [process for process in self.processes if process.has_ended]
                if ended:
                    raise ShadowdError(f"a worker ended as it began: {ended[0].bury()}", "report it")
                await trio.sleep(0.01)
        if waiting.cancelled_caught:
            raise ShadowdError(f"the workers have not begun in {BEGIN:.0f} s", "try again on a calmer host")

    def _start(self, process: WorkerProcess) -> None:
        with inheriting():
            programs = self._programs
            ring = programs.ring_descriptor(process.number)
            given = [ring, programs.maps["sleeping"].descriptor, programs.maps["timed"].descriptor]
            process.start([sys.executable, "-m", "shadowd.worker.process"], given, self._begin(process))
        self._tell_one(process, self._telling.settings())

    def _begin(self, process: WorkerProcess) -> dict[str, Any]:
        config = self._config
        key = config.loop_key
        part = config.workers
        return {
            "number": process.number,
            "ring_bytes": config.ring_bytes,
            "own_mark": config.own_mark,
            "max_buffered": config.max_buffered_total // part,
            "max_body": config.max_body,
            "max_flows": config.max_flows // part,
            "memory_max": max(WORKER_MEMORY, config.memory_max // 4),
            "node": config.node,
            "secret": key.get_secret_value().encode() if key is not None else None,
        }

    async def _mind(self, process: WorkerProcess) -> None:
        """Hear one worker; start it anew when it ends."""
        ends: list[float] = []
        place = f"worker {process.number}"
        while True:
            why = ""
            if not process.running:
                try:
                    self._start(process)
                except OSError as error:
                    why = f"it cannot be started: {error.strerror or error}"
            if not why:
                why = await self._hear(process)
            if self._stopped or self.switch.stopping:
                await trio.sleep_forever()
            words = process.bury() if process.running else ""
            self._programs.forget_times(process.number)
            said = f"{why}{'; its last words: ' + words if words else ''}"
            self._log("worker ended", number=process.number, why=said)
            now = trio.current_time()
            ends = [*(end for end in ends if now - end < SETTLED), now]
            often = f"ended {len(ends)} times in a minute" if len(ends) > 1 else "ended"
            self._problems[place] = f"{place} {often}: {said} — it is started anew; report it"
            await trio.sleep(REST[min(len(ends) - 1, len(REST) - 1)])

    async def _hear(self, process: WorkerProcess) -> str:
        """Until it ends; why."""
        while True:
            channel = process.channel
            await trio.lowlevel.wait_readable(channel)
            try:
                messages = process.receive()
            except ChannelError as error:
                return process.why or str(error)
            for message in messages:
                try:
                    self._take(process, message)
                except Exception as error:  # whatever it said, it costs that message alone
                    self.examining.note_fault(error)
            self.examining.go_on(time.monotonic_ns())
            await trio.lowlevel.checkpoint()

    def _take(self, process: WorkerProcess, message: list[Any]) -> None:
        if message[0] == "reports":
            for report in message[1]:
                try:
                    self._books.report(report)
                except Exception as error:
                    self.examining.note_fault(error)
        elif message[0] == "snapshot":
            token = process.take(message[1])
            answered = self._answers.get(token)
            if answered is not None:
                answered.set()

    async def _tick(self) -> None:
        looked = trio.current_time()
        patient = 0.0  # until then nobody is blamed: this process stood still itself, and so did perhaps the host
        limit = self._config.dead_man_seconds
        while True:
            now = trio.current_time()
            if now - looked > 3 * TICK:
                patient = now + limit
            looked = now
            for process in self.processes:
                if process.running and process.silent > limit and now > patient:
                    process.kill(f"it stood still for {process.silent:.1f} s")
                elif process.age > SETTLED:
                    self._problems.pop(f"worker {process.number}", None)
            if any(process.running for process in self.processes):
                self.switch.refresh(time.monotonic_ns())
            self._telling.deal([process.usage for process in self.processes],
                               [process.confirmed == process.told for process in self.processes])  # fmt: skip
            self.sync()
            await trio.sleep(TICK)

    async def _go_on(self) -> None:
        """Comparisons that wait for their turn."""
        while True:
            await trio.sleep(GO_ON if self.examining.pending else TICK)
            self.examining.go_on(time.monotonic_ns())

    def close(self) -> None:
        """End all; none outlives the supervisor."""
        self._stopped = True
        for process in self.processes:
            process.end()


def crew_of(
    config: Config, programs: Programs, budget: Budget, problems: dict[str, str], log: Callable[..., None],
    on_tls_error: Callable[[Target, Exception], None],
) -> Crew:  # fmt: skip
    """The one worker in this process, or several elsewhere."""
    switch = Switch(programs, config.dead_man_seconds)
    if config.workers > 1:
        return Workers(config, programs, switch, budget, problems, log)
    engine = Engine(
        config.own_mark, config.max_buffered_total, config.max_body, on_tls_error=on_tls_error,
        time_socket=programs.time_socket, budget=budget,
    )  # fmt: skip
    out_of_order = min(config.max_buffered_total, budget.limit // 4)
    limits = FlowLimits(max_flows=config.max_flows, max_buffered_total=out_of_order)
    return Alone(Pump(programs.ring, engine, limits, switch), switch)
