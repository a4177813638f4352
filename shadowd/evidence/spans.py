"""Outages of several nodes (sans-IO): one restart is one event, however many nodes saw it.

The spans of two that touch within ``apart`` ns are one, from the first failure to the last. Which become one does not
depend on the order: what touches in the end has touched all along. Without ``apart`` each stays what it is.
"""

from __future__ import annotations

from typing import Any

from shadowd.evidence.outages import LISTED, Outage, Outages
from shadowd.evidence.plain import exactly, listed, number
from shadowd.evidence.sums import Kind

#: Spans kept, the earliest; the rest is counted. A hundred nodes with as many as an examiner lists.
_MOST = 2000

Value = tuple[int, int, tuple[tuple[int, int, int], ...]]


class Spans(Kind):
    """(exchanges, outages that are not listed, those that are: begin, end, exchanges)."""

    def __init__(self, apart: int | None) -> None:
        self._apart = apart

    def empty(self) -> Value:
        return 0, 0, ()

    def merge(self, one: Value, other: Value) -> Value:
        """Of those that are not listed nobody knows which are one: the most of a node where they would be."""
        unlisted = one[1] + other[1] if self._apart is None else max(one[1], other[1])
        spans = self._touching(sorted((*one[2], *other[2])))
        return one[0] + other[0], unlisted + max(0, len(spans) - _MOST), tuple(spans[:_MOST])

    def _touching(self, spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        if self._apart is None:
            return spans
        found: list[tuple[int, int, int]] = []
        for begin, end, many in spans:
            if found and begin <= found[-1][1] + self._apart:
                first, last, before = found[-1]
                found[-1] = first, max(last, end), before + many
            else:
                found.append((begin, end, many))
        return found

    def of(self, outages: Outages, epoch: int) -> Value:
        """Of one examiner; ``epoch`` is added to its times (ns)."""
        spans = tuple((one.begin + epoch, one.end + epoch, one.exchanges) for one in outages.listed)
        return self.merge((outages.exchanges, outages.count - len(spans), spans), self.empty())

    def write(self, value: Value) -> list[Any]:
        return [value[0], value[1], [list(span) for span in value[2]]]

    def read_untrusted(self, data: Any) -> Value:
        exchanges, unlisted, spans = exactly(data, 3)
        read = []
        for one in listed(spans, _MOST):
            begin, end, many = (number(part, 0) for part in exactly(one, 3))
            read.append((begin, end, many))
        return self.merge((number(exchanges, 0), number(unlisted, 0), tuple(read)), self.empty())


def outages_again(value: Value) -> Outages:
    made = Outages()
    made.exchanges, made.count = value[0], value[1] + len(value[2])
    made.listed = [Outage(*span) for span in value[2][:LISTED]]
    return made
