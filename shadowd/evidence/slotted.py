"""Mergeable values of durations and of counts by time (sans-IO); what such values are: ``sums.py``.

What is kept by time is cut into slots of 2**shift ns that are aligned on the clock. Where two have different slots, the
wider ones are both's; where there are too many, two neighbours become one. That ends in the same slots whichever were
merged first, since a slot of twice the width is the sum of two.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from shadowd.evidence.plain import LIMIT, exactly, number, numbers
from shadowd.evidence.stretches import GROUPS, SLOTS
from shadowd.evidence.sums import Kind, added, digest

#: Connections are numbered by each node anew, and what is one node's fault is no release's: the groups are divided.
#: More nodes share them; a difference must then still be in most.
NODES = 8
#: Buckets of a sketch: 59 powers of two with 32 each.
_BUCKETS = 2048


class Sketched(Kind):
    """(bucket of the first count, counts) of a ``LatencySketch``."""

    def empty(self) -> tuple[int, array[int]]:
        return 0, array("q")

    def merge(self, one: tuple[int, array[int]], other: tuple[int, array[int]]) -> tuple[int, array[int]]:
        if not one[1] or not other[1]:
            return one if one[1] else other
        base = min(one[0], other[0])
        many = max(one[0] + len(one[1]), other[0] + len(other[1])) - base
        return base, added(_widened(*one, base, many), _widened(*other, base, many))

    def write(self, value: tuple[int, array[int]]) -> list[Any]:
        return [value[0], value[1].tobytes()]

    def read_untrusted(self, data: Any) -> tuple[int, array[int]]:
        base, counts = exactly(data, 2)
        return number(base, 0, _BUCKETS), numbers(counts, _BUCKETS, least=0)


class Tallied(Kind):
    """(count, shift, number of the first slot, slots, groups) of a ``Tally``: by time, and by group of connections."""

    def empty(self) -> tuple[Any, ...]:
        return 0, 0, 0, array("q"), array("q", bytes(8 * GROUPS))

    def merge(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        shift, base, slots = joined((one[1:4], other[1:4]))
        return one[0] + other[0], shift, base, slots, added(one[4], other[4])

    def write(self, value: tuple[Any, ...]) -> list[Any]:
        count, shift, base, slots, groups = value
        return [count, shift, base, slots.tobytes(), groups.tobytes()]

    def read_untrusted(self, data: Any) -> tuple[Any, ...]:
        count, shift, base, slots, groups = exactly(data, 5)
        number(shift, 0, 62)
        read = numbers(slots, SLOTS)
        if number(base, 0) + len(read) > LIMIT >> shift:
            raise ValueError("time")
        return number(count), shift, base, read, numbers(groups, GROUPS, GROUPS)


def grouped(groups: Sequence[int], node: int) -> array[int]:
    """Counts by group of connections, of one node among others (0 … NODES − 1): each has groups of its own, so that
    what is one node's alone is not every group's."""
    found = array("q", bytes(8 * GROUPS))
    each = GROUPS // NODES
    for group, many in enumerate(groups):
        found[each * node + group % each] += many
    return found


def node_of(part: str) -> int:
    """Which of them a run is."""
    return digest(part)[0] % NODES


def joined(parts: Iterable[tuple[int, int, array[int]]]) -> tuple[int, int, array[int]]:
    """(shift, number of the first slot, slots) of several such, at most ``SLOTS`` slots wide; see the module's head."""
    parts = tuple(parts)
    shift = max(part[0] for part in parts)
    filled = [part for part in parts if part[2]]
    if not filled:
        return shift, 0, array("q")
    low = min(base >> (shift - own) for own, base, _ in filled)
    high = max((base + len(slots) - 1) >> (shift - own) for own, base, slots in filled)
    while high - low >= SLOTS:
        shift, low, high = shift + 1, low >> 1, high >> 1
    if len(filled) == 1 and filled[0][0] == shift:
        return filled[0]
    found = array("q", bytes(8 * (high - low + 1)))
    for own, base, slots in filled:
        coarser = shift - own
        for index, many in enumerate(slots, base):
            if many:
                found[(index >> coarser) - low] += many
    return shift, low, found


def _widened(base: int, counts: array[int], wanted: int, many: int) -> array[int]:
    before = base - wanted
    return array("q", bytes(8 * before)) + counts + array("q", bytes(8 * (many - before - len(counts))))
