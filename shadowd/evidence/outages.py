"""Outages: a side that answers nothing at all for a while (sans-IO).

A shadow that is restarted refuses every request for a second, and a deploy of production answers 503 to all: that is
one event, and its cause is known, or can be. So failures in a row wait here; if the side answers again they are an
outage, which is noted, and taken out of the evidence of exchanges. Until it answers again they are evidence: a release
that never comes back must fail. One that goes away again and again is told by how often (``judge/outages.py``).
"""

from __future__ import annotations

from typing import NamedTuple

from shadowd.evidence.evidence import Endpoint

#: Failures in a row that are an outage: of independent ones, one in two hundred, five in a row are one in 3·10¹¹.
LEAST = 5
#: An outage longer than this is no restart any more, and evidence.
LONGEST = 300_000_000_000
#: Places (endpoint, moment, connection) that wait to be taken back; with more the outage is evidence.
MOST_WAITING = 20_000
_MOMENT = 26  # a moment is 2^26 ns, 67 ms: shorter than any slot of time
#: Outages listed; the rest is counted.
LISTED = 20

#: An exchange that was counted: what it was counted in, when, and the group of its connection.
Counted = tuple[Endpoint, int, int]


class Outage(NamedTuple):
    """From the first to the last exchange that failed (ns), and how many did."""

    begin: int
    end: int
    exchanges: int


class Outages:
    """Of one side. ``failed`` and ``answered`` tell of its exchanges in the order in which they end."""

    __slots__ = ("_begin", "_end", "_waiting", "count", "exchanges", "listed", "waiting")

    def __init__(self) -> None:
        self.count = 0
        self.exchanges = 0  # in all outages that are over
        self.listed: list[Outage] = []
        self.forget()

    def forget(self) -> None:
        """What waits is no outage: it is evidence, or the evidence that it was in begins anew."""
        self._begin = self._end = 0
        self.waiting = 0  # failures in a row, up to the last exchange
        self._waiting: dict[Counted, int] = {}

    @property
    def lasting(self) -> Outage | None:
        """The one that is not over."""
        return Outage(self._begin, self._end, self.waiting) if self.waiting >= LEAST else None

    def failed(self, endpoint: Endpoint, time: int, group: int) -> None:
        """An exchange failed and was counted there."""
        if not self.waiting:
            self._begin = time
        self.waiting += 1
        self._end = max(self._end, time)
        key = (endpoint, time >> _MOMENT << _MOMENT, group)
        self._waiting[key] = self._waiting.get(key, 0) + 1
        if len(self._waiting) > MOST_WAITING or self._end - self._begin > LONGEST:
            self.forget()

    def answered(self) -> dict[Counted, int]:
        """The side answered: what is to be taken back, and how often, because it was an outage."""
        if not self.waiting:
            return {}
        taken: dict[Counted, int] = {}
        if self.waiting >= LEAST:
            taken = self._waiting
            self.count += 1
            self.exchanges += self.waiting
            if len(self.listed) < LISTED:
                self.listed.append(Outage(self._begin, self._end, self.waiting))
        self.forget()
        return taken
