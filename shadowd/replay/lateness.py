"""Our own lateness: when the pump did not run though there may have been something to do (sans-IO).

A daemon that is stopped, starved of CPU or busy with a long turn reads neither the ring nor a shadow's answers; what
is then too late is so through us. The pump notes every such stall, and whoever finds that a request is too old asks how
much of its age is ours:

    captured ── in the ring ── queued ── waits for the shadow's answer or connection ── sent, or too old
             all of it ours           the stalls in it are ours, the rest is the shadow's
"""

from __future__ import annotations

from collections import deque

#: A pump away for less (ns) is at work as usual, naps included: five of its naps.
STALL = 20_000_000
#: After a stall this long what it left undone is caught up with for as long as it took, ``CATCH_UP`` at most.
LONG_STALL = 10 * STALL
CATCH_UP = 1_000_000_000
#: The part of the limit that must be ours before a lag can be: naps and batches are in every one.
OWN_PART = 10
#: Stalls remembered: of a daemon that stands still every other ``STALL``, for 40 s.
_REMEMBERED = 1024


class Stalls:
    """When the pump stood still. All times are ns of one monotonic clock; those noted only grow."""

    __slots__ = ("_seen", "caught_up", "latest")

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # begin, end
        self.latest = 0  # end of the latest
        self.caught_up = 0  # when what the last long one left undone should be done

    def note(self, begin: int, end: int) -> None:
        """The pump stood still between the two."""
        self._seen.append((begin, end))
        self.latest = end
        if end - begin >= LONG_STALL:
            self.caught_up = end + min(end - begin, CATCH_UP)

    def within(self, begin: int, end: int) -> int:
        """How long (ns) the pump stood still from ``begin`` to ``end``."""
        if begin >= self.latest:
            return 0
        total = 0
        for first, last in reversed(self._seen):
            if last <= begin:
                break
            total += max(0, min(last, end) - max(first, begin))
        return total

    def share(self, since: int, queued_at: int, now: int) -> int:
        """How much (ns) of the age of a request that could have been sent from ``since`` on, and was known from
        ``queued_at`` on, is ours."""
        return max(queued_at - since, 0) + self.within(queued_at, now)

    def blame(self, since: int, queued_at: int, now: int, limit: int) -> str:
        """Whose lag it is that a request is older than ``limit``: ours, if without our part it would not be."""
        own = self.share(since, queued_at, now)
        return "own_lag" if own * OWN_PART >= limit and now - since - own <= limit else "shadow_lag"
