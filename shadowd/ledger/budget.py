"""The memory budget: every buffer of the daemon is charged to one account (sans-IO).

What grows with traffic and may wait is charged: requests queued or sent, production's answers that wait for a
shadow's, messages that are not whole yet on either side, segments out of order. Whoever would keep more asks
``exhausted`` first and lets go instead: a request is shed or lost (``memory``), an answer is compared by digest. One
piece, a segment's payload at most, may pass the limit by itself. The ring, mapped once and of fixed size, is apart.
"""

from __future__ import annotations


class Budget:
    """``limit`` bytes; 0 is no limit."""

    __slots__ = ("exhausted", "limit", "used")

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.used = 0
        self.exhausted = False

    def change(self, amount: int) -> None:
        """``amount`` bytes more, or fewer if negative."""
        self.used += amount
        self.exhausted = 0 < self.limit <= self.used

    def allow(self, limit: int) -> None:
        """Another limit from now on; what is held already stays held."""
        self.limit = limit
        self.exhausted = 0 < limit <= self.used


class Charge:
    """What one owner holds of a budget. It is given back when the owner says so, or is gone."""

    __slots__ = ("_budget", "amount")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.amount = 0

    @property
    def exhausted(self) -> bool:
        return self._budget.exhausted

    def hold(self, amount: int) -> None:
        """Hold ``amount`` bytes from now on."""
        if amount != self.amount:
            self._budget.change(amount - self.amount)
            self.amount = amount

    def __del__(self) -> None:
        self.hold(0)


#: For readers outside the daemon (tests, tools): nothing is refused.
UNBOUNDED = Budget()
