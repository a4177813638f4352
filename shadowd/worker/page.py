"""A page of memory that a worker process shares with the supervisor: what it has counted, even if it is killed.

Snapshots come four times a second; what was read since the last one would be lost with the process. So after each turn
the worker writes here what the byte identity and the requests' ledger need, and that it is alive. What it uses of each
target's limits stands here too: the other workers look at it, for a limit is the filter's and not a worker's.
"""

from __future__ import annotations

import mmap
import os

FILTERS = 64  # capture/abi.MAX_FILTERS
TARGETS = 512  # as many limits are shared; further targets have theirs in each worker
_HEAD = 16
#: Places of the head, 64 bits each.
NOW, TURNS, TAKEN, BACKLOG, OLDEST, IN_FLIGHT, SEQUENCE, QUIET, BUSY = range(9)
#: Of each target's slot.
USES = 3  # requests in flight, connections, bytes of requests
_BYTES = 8 * (_HEAD + FILTERS + USES * TARGETS)


class Page:
    """``numbers`` by place, ``seen`` by the filter's slot, ``uses`` by ``USES`` times the target's."""

    __slots__ = ("_mapped", "descriptor", "numbers", "seen", "uses")

    def __init__(self, descriptor: int = -1) -> None:
        """A new page, or the one that a descriptor stands for."""
        if descriptor < 0:
            descriptor = os.memfd_create("shadowd-page", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, _BYTES)
        self.descriptor = descriptor
        self._mapped = mmap.mmap(descriptor, _BYTES)
        whole = memoryview(self._mapped).cast("Q")
        self.numbers = whole[:_HEAD]
        self.seen = whole[_HEAD : _HEAD + FILTERS]
        self.uses = whole[_HEAD + FILTERS :]

    def clear(self) -> None:
        """For the next process."""
        self._mapped[:] = bytes(_BYTES)
