"""Outages of several nodes (sans-IO): one restart is one event, however many nodes saw it.

The spans of two that touch within ``apart`` ns are one, from the first failure to the last. Which become one does not
depend on the order: what touches in the end has touched all along.

A node sees a part of a side's exchanges, and where few of them fail at random, some will in a row. So an outage of the
side is what most of the nodes saw; what fewer saw was theirs (``restoring.py``). Who saw a span is kept as bits, one of
64 for each node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shadowd.evidence.outages import LISTED, Outage, Outages
from shadowd.evidence.plain import exactly, listed, number
from shadowd.evidence.sums import Kind, digest

#: Spans kept, the earliest; the rest is counted. A hundred nodes with as many as an examiner lists.
_MOST = 2000
_BITS = 60

Span = tuple[int, int, int, int]
Value = tuple[int, int, tuple[Span, ...]]


def bits_of(parts: Iterable[str]) -> int:
    """Of runs, by their names; of many some share one, so that no span seems to be seen by more than did."""
    bits = 0
    for part in parts:
        bits |= 1 << digest(part)[1] % _BITS
    return bits


class Spans(Kind):
    """(exchanges, outages that are not listed, those that are: begin, end, exchanges, who saw it)."""

    def __init__(self, apart: int) -> None:
        self._apart = apart

    def empty(self) -> Value:
        return 0, 0, ()

    def merge(self, one: Value, other: Value) -> Value:
        """Of those that are not listed nobody knows which are one: it is the most that a node had of them."""
        spans = self._touching(sorted((*one[2], *other[2])))
        unlisted = max(one[1], other[1]) + max(0, len(spans) - _MOST)
        return one[0] + other[0], unlisted, tuple(spans[:_MOST])

    def _touching(self, spans: list[Span]) -> list[Span]:
        found: list[Span] = []
        for begin, end, many, bits in spans:
            if found and begin <= found[-1][1] + self._apart:
                first, last, before, seen = found[-1]
                found[-1] = first, max(last, end), before + many, seen | bits
            else:
                found.append((begin, end, many, bits))
        return found

    def of(self, outages: Outages, epoch: int, parts: Iterable[str]) -> Value:
        """Of one examiner, of this run; ``epoch`` is added to its times (ns)."""
        bits = bits_of(parts)
        spans = tuple((one.begin + epoch, one.end + epoch, one.exchanges, bits) for one in outages.listed)
        return self.merge((outages.exchanges, outages.count - len(spans), spans), self.empty())

    def write(self, value: Value) -> list[Any]:
        return [value[0], value[1], [list(span) for span in value[2]]]

    def read_untrusted(self, data: Any) -> Value:
        exchanges, unlisted, spans = exactly(data, 3)
        read = []
        for one in listed(spans, _MOST):
            begin, end, many, bits = (number(part, 0) for part in exactly(one, 4))
            read.append((begin, end, many, bits))
        return self.merge((number(exchanges, 0), number(unlisted, 0), tuple(read)), self.empty())


def outages_again(value: Value, parts: Iterable[str]) -> tuple[Outages, int]:
    """The outages of a side, and how many exchanges failed in those that were some nodes' alone. ``parts``: of all runs
    whose outages these may be."""
    names = tuple(parts)
    exchanges, unlisted, spans = value
    made = Outages()
    whole = bits_of(names).bit_count()
    common = [span for span in spans if 2 * (span[3] & bits_of(names)).bit_count() > whole]
    made.listed = [Outage(*span[:3]) for span in common[:LISTED]]
    made.count = len(common) + (unlisted if len(names) == 1 else 0)
    made.exchanges = exchanges if len(names) == 1 else sum(span[2] for span in common)
    return made, max(0, exchanges - made.exchanges)
