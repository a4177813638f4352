"""The guard: production's host comes first. Looks at the load four times a second and sheds mirroring before it hurts.

What to do is ``pressure.Controller``'s; here it is done: the engine sheds that share of the connections (whole ones, by
a hash of the connection, each request counted as ``shed(pressure)``), and the pump stops refreshing the kernel's
switch while the controller holds (segments that pass meanwhile are counted as the kernel's ``pressure``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import trio

from shadowd.capture.host import HostLoad
from shadowd.capture.pressure import Controller, Reading
from shadowd.service.crew import Crew

#: Seconds between two looks: long against the scheduler's ticks of 10 ms, short enough that a host which fills up has
#: its cores back in two seconds; where nothing is mirrored there is nothing to shed.
PERIOD = 0.25
IDLE_PERIOD = 1.0
TELL_EVERY = 60.0  # seconds between log lines while the shed share changes


class Guard:
    """``log`` takes an event and its fields. ``read`` is where readings come from: the host."""

    def __init__(
        self, crew: Crew, cpu_guard: float, cpu_max: float, log: Callable[..., None], read: Callable[[], Reading]
    ) -> None:
        self.controller = Controller(cpu_guard, cpu_max)
        self.last: Reading | None = None
        self._crew = crew
        self._log = log
        self._read = read
        self._told = (0.0, "")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # within a second of traffic
            await trio.sleep(IDLE_PERIOD if self._crew.quiet else PERIOD)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One step of the controller, and what follows from it."""
        controller = self.controller
        try:
            self.last = self._read()
        except OSError:  # no descriptor is left, for instance: the next second tells
            return
        controller.step(self.last, now)
        self._crew.spare(controller.shed)
        if controller.holding != self._crew.switch.holding:
            self._crew.switch.hold(controller.holding)
        self._tell(now)

    def _tell(self, now: float) -> None:
        reason = self.controller.reason
        told_at, told = self._told
        if bool(reason) == bool(told) and (not reason or now - told_at < TELL_EVERY):
            return
        self._told = (now, reason)
        if reason:
            self._log("shedding for production's sake", share=f"{self.controller.shed:.0%}", because=reason)
        else:
            self._log("mirroring everything again")

    @property
    def problem(self) -> str:
        """One line for ``status`` while something is shed, else ""."""
        shed, reason = self.controller.shed, self.controller.reason
        if not reason:
            return ""
        what = "nothing is copied for a while" if self.controller.holding else f"{shed:.0%} of the connections are shed"
        return f"{what}: {reason} — it goes back by itself; raise cpu_guard or cpu_max if that is too careful"

    def statistics(self) -> dict[str, Any]:
        last = self.last
        return {
            "shed": round(self.controller.shed, 4),
            "holding": self.controller.holding,
            "reason": self.controller.reason,
            "host_cpu": None if last is None else round(last.host, 4),
            "own_cores": None if last is None else round(last.own, 4),
        }


def host_guard(crew: Crew, cpu_guard: float, cpu_max: float, log: Callable[..., None]) -> Guard:
    """A guard that reads this host."""
    return Guard(crew, cpu_guard, cpu_max, log, HostLoad(others=crew.cpu_seconds).read)
