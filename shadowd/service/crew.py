"""Who mirrors: the worker in this process, or several in processes of their own (``workers.py``).

The supervisor (roster, guard, ledger, doors) knows workers by what is here, and by the accounts of filters and targets,
which it reads wherever requests were counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import trio

from shadowd.capture.switch import Switch
from shadowd.config.document import FilterSpec
from shadowd.evidence.examining import Examining
from shadowd.replay.target import Target
from shadowd.worker.filters import Filter
from shadowd.worker.pump import Pump


class CrewStatistics(NamedTuple):
    """A snapshot over all workers. Bytes are of payload, but ``backlog`` (of ring space) and ``used`` of ``limit`` (of
    buffers)."""

    flows: int
    delivered: int
    duplicate: int
    buffered: int  # out of order
    gap_bytes: int
    discarded: dict[str, int]  # by reason, of bytes
    lag: int  # ns: age of the oldest segment that waits in a ring
    backlog: int
    used: int
    limit: int
    turns: int


class Crew(Protocol):
    """See the module's head. ``examining`` is where complete trials end up, ``switch`` what lets the kernel copy."""

    switch: Switch

    @property
    def examining(self) -> Examining: ...

    @property
    def targets(self) -> Iterable[Target]:
        """Those in use."""

    # --- filters

    def run_by(self, chosen: Filter, spec: FilterSpec) -> None:
        """A filter's specification, before it is shown."""

    def show(self, bits: dict[int, Filter]) -> None:
        """Which filter a bit of the kernel's bitmap means, before the kernel uses it."""

    def sync(self) -> None:
        """Runs or addresses of targets are others now."""

    def adopt(self, target: Target) -> None:
        """One more target is in use."""

    def leave(self, chosen: Filter, reason: str) -> None:
        """A filter goes: its requests under way are shed."""

    def leave_target(self, chosen: Filter, target: Target) -> None:
        """A filter loses one target: what that one has unanswered is shed."""

    def drop(self, target: Target) -> None:
        """A target that nobody uses any more."""

    def cut(self, target: Target) -> None:
        """Nothing more is sent there: it is production itself."""

    def local_ends(self, target: Target) -> list[tuple[str, int]]:
        """Where some of its open connections begin on this host."""

    # --- the host

    def spare(self, share: float) -> None:
        """Mirror this share of the connections no longer."""

    # --- standing

    @property
    def silent(self) -> float:
        """Seconds since the worker that has been silent the longest turned."""

    @property
    def turns(self) -> int:
        """Grows as long as all of them work."""

    def statistics(self) -> CrewStatistics: ...

    def waiting(self) -> int:
        """Bytes of payload in the rings."""

    def pump_view(self) -> dict[str, Any]:
        """As ``status`` shows it."""

    def views(self) -> list[dict[str, Any]]:
        """Each worker as ``status`` shows it; none for the one in this process."""

    async def catch_up(self, limit: float) -> None:
        """Read what is in the rings now, ``limit`` seconds at most, and bring the accounts up to date."""

    @property
    def quiet(self) -> bool:
        """Nothing has happened for a second."""

    @property
    def problems(self) -> list[str]:
        """What workers say that an operator should know."""

    def cpu_seconds(self) -> float:
        """That worker processes have used so far."""

    async def settle(self) -> None:
        """What filters that were left have shed is in the accounts."""

    async def start(self) -> None:
        """Before there are filters. Raises ShadowdError."""

    async def run(self) -> None:
        """Until cancelled."""

    def close(self) -> None:
        """Forget it all."""

    @property
    def idle(self) -> bool:
        """Nothing is in flight, and nothing waits to be read."""


class Alone:
    """The worker in this process."""

    def __init__(self, pump: Pump, switch: Switch) -> None:
        self._pump = pump
        self.switch = switch
        self._engine = pump.engine
        self.show = pump.set_bits
        self.leave = pump.leave
        self.leave_target = pump.leave_target
        self.local_ends = pump.engine.local_ends
        self.spare = pump.engine.spare
        self.waiting = pump.waiting
        self.pump_view = pump.statistics
        self.catch_up = pump.catch_up
        self.run = pump.run

    @property
    def examining(self) -> Examining:
        return self._engine.examining

    @property
    def targets(self) -> Iterable[Target]:
        return self._engine.targets

    def run_by(self, chosen: Filter, spec: FilterSpec) -> None:
        """It runs here, by it."""

    def sync(self) -> None:
        """It reads what is here."""

    def adopt(self, target: Target) -> None:
        self._engine.targets.append(target)

    def drop(self, target: Target) -> None:
        self._engine.remove_target(target, time.monotonic_ns())

    def cut(self, target: Target) -> None:
        self._engine.cut(target, time.monotonic_ns())

    @property
    def silent(self) -> float:
        return (time.monotonic_ns() - self._pump.now) / 1e9

    @property
    def turns(self) -> int:
        return self._pump.turns

    def statistics(self) -> CrewStatistics:
        pump = self._pump
        table, budget = pump.table.statistics(), self._engine.budget
        return CrewStatistics(
            table.flows, table.delivered, table.duplicate, table.buffered, table.gap_bytes, dict(table.discarded),
            pump.lag(), pump.backlog, budget.used, budget.limit, pump.turns,
        )  # fmt: skip

    def views(self) -> list[dict[str, Any]]:
        return []

    async def start(self) -> None:
        """It is this process."""

    @property
    def quiet(self) -> bool:
        return self._pump.quiet

    @property
    def problems(self) -> list[str]:
        return self._pump.keys.problems

    def cpu_seconds(self) -> float:
        return 0.0

    async def settle(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._engine.close(time.monotonic_ns())

    @property
    def idle(self) -> bool:
        return not self._engine.in_flight and not self._pump.backlog
