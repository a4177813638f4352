"""The dead-man switch: the kernel copies as long as somebody says so again and again (``DESIGN``: production first).

Whoever drains the rings refreshes it; the guard may let it lapse for production's sake. What passes then is counted by
the kernel as ``dead``, and here as held.
"""

from __future__ import annotations

import time
from typing import Protocol

KEEP_ALIVE_EVERY = 500_000_000  # ns


class Copies(Protocol):
    """The programs, as far as the switch needs them."""

    def keep_alive(self, until: int) -> None: ...

    def counters(self) -> dict[str, int]: ...


class Switch:
    """``seconds``: how long the kernel goes on after the last word."""

    __slots__ = ("_alive_at", "_dead_man", "_held", "_held_from", "_programs", "holding", "stopping")

    def __init__(self, programs: Copies, seconds: float) -> None:
        self._programs = programs
        self._dead_man = int(seconds * 1e9)
        self._alive_at = 0
        self._held_from = 0  # the kernel's count of segments not looked at when holding began
        self._held = 0
        self.stopping = False
        self.holding = False  # the kernel shall copy nothing for now: the guard's decision

    def refresh(self, now: int) -> None:
        """Whoever drains is at work (ns, monotonic)."""
        if now >= self._alive_at and not (self.stopping or self.holding):
            self._alive_at = now + KEEP_ALIVE_EVERY
            self._programs.keep_alive(now + self._dead_man)

    def hold(self, wanted: bool) -> None:
        """Let the kernel's switch lapse, or copy again: production pays for the program's first look alone."""
        if wanted:
            self._held_from = self._programs.counters()["dead"]
            self._programs.keep_alive(0)
        else:
            self._programs.keep_alive(time.monotonic_ns() + self._dead_man)
            self._held += self._programs.counters()["dead"] - self._held_from
        self.holding = wanted

    def held(self, dead: int) -> int:
        """Of the kernel's ``dead`` segments those that the guard let pass."""
        return self._held + (dead - self._held_from if self.holding else 0)
