"""What of a rate each worker may use (sans-IO): it holds for the filter, so it is dealt out, and dealt anew.

Each worker gets what it uses now, and of what is free more who had to shed more. What one is to give up counts as used
until that worker has said that it knows: the sum is never above the limit.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Of its equal part, what is always left to a worker: a connection that comes to it must be able to show that it asks.
LEAST = 0.1


class Share:
    """One limit of one target. ``bounds``: what each worker may use as far as it has confirmed."""

    __slots__ = ("_bounds", "limit", "shares")

    def __init__(self, limit: float, workers: int) -> None:
        self.limit = limit
        self.shares = [limit / workers] * workers
        self._bounds = list(self.shares)

    def deal(self, used: Sequence[float], asks: Sequence[float], confirmed: Sequence[bool]) -> list[float]:
        """By what each uses now and how much more it would; ``confirmed``: it knows the shares of the last deal.
        Returns the shares."""
        count = len(self.shares)
        for place in range(count):
            bound = self.shares[place]
            self._bounds[place] = bound if confirmed[place] else max(self._bounds[place], bound)
        least = self.limit / count * LEAST
        demands = [max(0.0, use) + max(0.0, ask) for use, ask in zip(used, asks, strict=True)]
        total = sum(demands)
        spread = self.limit - least * count
        wanted = [least + spread * (demand / total if total else 1 / count) for demand in demands]
        room = self.limit - sum(self._bounds)
        for place, want in enumerate(wanted):
            if want > self.shares[place]:
                more = min(want - self.shares[place], max(0.0, room))
                room -= more
                self.shares[place] += more
            else:
                self.shares[place] = want
        return list(self.shares)
