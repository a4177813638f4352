"""``memory_max`` as the kernel counts it (RssAnon): what the buffers may hold is what the process itself leaves of it.

The interpreter, what was learned of each filter, the objects around each buffered byte: none of that is charged to the
budget, and all of it is memory. So the process is looked at again and again::

    the budget's limit = max(FLOOR, memory_max - RESERVE of it - (RssAnon - what the buffers hold))

What the buffers gave back stays with the allocator, as a hole that the kernel counts as ours: where the process has
grown by ``SLACK``, holes are returned first (malloc_trim(3)), every ``TRIM_EVERY`` at most. ``RESERVE`` is for what
comes between two looks: a burst's objects, and holes that nothing fits into. Below ``FLOOR`` nothing could be mirrored
at all, so it is kept, and said.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, MutableMapping
from pathlib import Path

import trio

from shadowd.ledger.budget import Budget

FLOOR = 8 << 20  # some thirty bodies of max_body's default; also the least memory_max that can be configured
LOOK_IDLE = 1.0  # seconds: nothing is held now, and within a second not more than a burst
LOOK_EVERY = 0.25  # seconds; a look is some 50 us
RESERVE = 5  # a fifth: 14 of 96 MB were seen, with 200 endless streams upon hostile answers
SLACK = 8 << 20
TRIM_EVERY = 2.0  # seconds: walking a heap of 100 MB takes milliseconds, in which nothing is mirrored
_MB = 1 << 20
_M_ARENA_MAX = -8  # malloc.h
_STATUS = Path("/proc/self/status")


def anonymous() -> int:
    """RssAnon of this process (bytes), 0 where the kernel does not say."""
    # not statm: since Linux 6.2 its counters may be some MB behind on machines of many cores
    for line in _STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


def trim() -> None:
    """Give the allocator's holes back to the kernel, where it can (glibc)."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)


def one_arena() -> None:
    """Let all threads allocate from one arena (glibc; mallopt(3)). To be called before there are threads.

    Whoever allocates holds the interpreter's lock, so arenas of their own save threads no waiting; they keep what a
    thread once had, 10 MB each in a soak with ten of them.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(_M_ARENA_MAX, 1)


class Memory:
    """Holds ``budget`` to what ``limit`` bytes of RssAnon leave. ``problems``: the daemon's, by what they are about;
    ``tell`` is told of one when it begins."""

    def __init__(
        self,
        limit: int,
        problems: MutableMapping[str, str],
        tell: Callable[[str], None],
        measure: Callable[[], int] = anonymous,
        release: Callable[[], None] = trim,
    ) -> None:
        self.limit = limit
        self.own = measure()  # bytes that are not in buffers
        self.budget = Budget(self._left())
        self._problems = problems
        self._tell = tell
        self._measure = measure
        self._release = release
        self._trimmed = self.own  # what was left after the last time
        self._trim_at = 0.0

    def _left(self) -> int:
        return max(FLOOR, self.limit - self.limit // RESERVE - self.own)

    def look(self, now: float) -> None:
        """Measure, and set the budget's limit. ``now``: monotonic seconds. Without a descriptor to look by, the latest
        measure stands."""
        try:
            self._look(now)
        except OSError:
            return

    def _look(self, now: float) -> None:
        self.own = max(0, self._measure() - self.budget.used)
        holes = self.own > self._trimmed + SLACK
        if holes and now >= self._trim_at:
            holes = False
            self._release()
            self._trim_at = now + TRIM_EVERY
            self.own = self._trimmed = max(0, self._measure() - self.budget.used)
        self.budget.allow(self._left())
        if self.limit >= self.own + FLOOR:
            self._problems.pop("memory", None)
            return
        if holes:
            return  # what is the process's own shows when they are gone
        known = "memory" in self._problems
        self._problems["memory"] = (
            f"memory_max is {self.limit / _MB:.0f} MB, and the daemon itself takes {self.own / _MB:.0f} MB: buffers "
            f"have {FLOOR / _MB:.0f} MB all the same, so it takes more than it was given — raise memory_max to "
            f"{_enough(self.own)}MB or more"
        )
        if not known:
            self._tell(self._problems["memory"])

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look(trio.current_time())
            await trio.sleep(LOOK_EVERY if self.budget.used else LOOK_IDLE)

    def statistics(self) -> dict[str, int]:
        """A snapshot for ``status``, in bytes."""
        return {"max": self.limit, "own": self.own, "buffers": self.budget.used, "buffers_max": self.budget.limit}


def _enough(own: int) -> int:
    """MB that leave four times the least to the buffers, in steps of 16."""
    return -(-(own + 4 * FLOOR) // (16 * _MB)) * 16
