"""Client bytes behind an upgrade request: HTTP or not, which its answer will tell (sans-IO)."""

from __future__ import annotations

from shadowd.ledger.budget import Budget, Charge

#: Clients wait for the 101; h2c clients send some frames ahead at most.
MAX_WITHHELD = 1 << 20


class Withheld:
    """Pieces in order, each with its time and how many responses the client had. ``eof``: the client has finished."""

    __slots__ = ("_charge", "_pieces", "eof")

    def __init__(self, budget: Budget) -> None:
        self._charge = Charge(budget)
        self._pieces: list[tuple[bytes, int, int]] = []
        self.eof = False

    @property
    def size(self) -> int:
        return self._charge.amount

    def add(self, data: bytes, time: int, after: int) -> str:
        """Keep a piece. Why it is too much (a reason of the ledger), or ""."""
        self._pieces.append((data, time, after))
        self._charge.hold(self.size + len(data))
        if self.size > MAX_WITHHELD:
            return "too_large"
        return "memory" if self._charge.exhausted else ""

    def take(self) -> list[tuple[bytes, int, int]]:
        """All pieces; none is kept."""
        pieces, self._pieces = self._pieces, []
        self._charge.hold(0)
        return pieces

    def drop(self) -> int:
        """None is kept. How many bytes there were."""
        size = self.size
        self.take()
        return size
