"""Latency as a mergeable value: blocks of time aligned on the clock (sans-IO).

``LatencyEvidence`` has blocks that begin when an exchange comes, thresholds of its own, and both in the order of
arrival. None of that adds up. What does: the rows of ``pace.py``, each in the slot of the clock in which it ended::

    node A  |--row--|---row---|--row--|         slot k:  Σ pairs, Σ pairs · log-ratio, Σ exceedances
    node B     |----row----|---row---|          one vote for each slot, however many nodes saw it
    clock   |   k   |  k+1  |  k+2  |

**Votes.** A slot has one vote: the mean of its rows' medians by their pairs. So nodes that lived through the same
moment are one witness of it, and there are no more votes than half seconds, nor than blocks. A mean can be moved by a
few rows where a median cannot, so a row has a log-ratio of ``FARTHEST`` at most; only where all the slot's rows are
nearly that far does the slot tell how far in truth.

**Bursts.** Exceedances, each of its own node's thresholds, are added by slot; their variance over the slots is the
design effect, as it is of one examiner's blocks. An effect that a node remembered of thresholds before those stays: the
largest counts. What stands in an open block has no vote, and its exceedances count, since the sketches have them.

**Nodes.** What is slower at one node alone is no release's fault: pairs, and those with the candidate the slower, are
kept by group of connections, of which each node has its own (``slotted.py``); blocks, where connections are not told.

Slots are 2**29 ns wide (a block is 0.5 s), and wider where rows were joined: ``ROWS`` are kept at most, then two
neighbours become one (``slotted.py``).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from shadowd.evidence.blocks import HALF
from shadowd.evidence.bursts import NEVER, TAILS, Bursts, _bursty
from shadowd.evidence.clock import Clock
from shadowd.evidence.latency import LatencySketch
from shadowd.evidence.pace import _COLUMNS as PACE_COLUMNS
from shadowd.evidence.plain import exactly, number, numbers
from shadowd.evidence.slotted import Sketched, grouped
from shadowd.evidence.slowdown import LatencyEvidence
from shadowd.evidence.stretches import GROUPS
from shadowd.evidence.sums import Kind, Least, Maybe, Most, Numbers, Record, Sum

ROWS = 512  # as many as ``pace.py`` keeps: 36 KB
SHIFT = 29  # 0.54 s
#: Of a row's log-ratio in a slot's mean: 2.7 times as long. Where a side never answered it would be e**12; one such row
#: among ten outvotes no slot then. Whoever loses that many fails by its 90th percentile anyway.
FARTHEST = 1.0
_ALL = 0.9  # of that: nearly all of a slot's pairs are as far
_UNIT = 1 << 20  # log-ratios are added as whole numbers, in which order does not matter
#: Of a slot: pairs that vote, Σ pairs · log-ratio as above and in truth, pairs whose exceedances are counted, and
#: those of the reference beyond p90 and p99, of the candidate beyond p90 and p99.
_COLUMNS = 8

Rows = tuple[int, "array[int]", "array[int]"]


class Rowed(Kind):
    """(shift, numbers of the slots, columns of each)."""

    def empty(self) -> Rows:
        return 0, array("q"), array("q")

    def merge(self, one: Rows, other: Rows) -> Rows:
        if not one[1] or not other[1]:
            rows = one if one[1] else other
            return rows if rows[0] >= max(one[0], other[0]) else _gathered(max(one[0], other[0]), _each(rows))
        return _gathered(max(one[0], other[0]), (*_each(one), *_each(other)))

    def write(self, value: Rows) -> list[Any]:
        return [value[0], value[1].tobytes(), value[2].tobytes()]

    def read_untrusted(self, data: Any) -> Rows:
        shift, slots, columns = exactly(data, 3)
        read = numbers(slots, ROWS, least=0)
        if any(after <= before for before, after in pairwise(read)):
            raise ValueError("order")
        found = numbers(columns, _COLUMNS * len(read), _COLUMNS * len(read))
        for column in range(_COLUMNS):
            if column not in (1, 2) and len(read) and min(found[column::_COLUMNS]) < 0:
                raise ValueError("count")
        if read and read[-1] >= 1 << (62 - number(shift, 0, 62)):
            raise ValueError("time")
        return number(shift, 0, 62), read, found


LATENCY = Record(
    count=Sum(), late=Sum(), reference_lost=Sum(), candidate_lost=Sum(), warmed=Sum(), first=Least(), begin=Least(),
    reference=Sketched(), candidate=Sketched(), rows=Rowed(), effect90=Most(), effect99=Most(),
    groups=Maybe(Numbers(2 * GROUPS)),
)  # fmt: skip


def latency_of(evidence: LatencyEvidence, epoch: int, node: int = 0) -> dict[str, Any]:
    """What an examiner counted, by the clock: ``epoch`` is added to its times (ns). ``node``: see ``grouped``."""
    blocks = evidence.blocks
    groups = None  # pairs, and those with the candidate the slower; blocks, where nobody knows the connections
    if evidence.groups is not None:
        groups = grouped(evidence.groups[:GROUPS], node) + grouped(evidence.groups[GROUPS:], node)
    elif blocks.count:
        groups = grouped([blocks.count], node) + grouped([sum(blocks.counts[HALF + 1 :])], node)
    effects = [_bursty(evidence._bursts.effect(tail)) or 0.0 for tail in TAILS]
    return {
        "count": evidence.count,
        "late": evidence.late,
        "reference_lost": evidence.reference_lost,
        "candidate_lost": evidence.candidate_lost,
        "warmed": evidence.warmed,
        "first": evidence.first + epoch if evidence.first else 0,
        "begin": evidence.pace.begin + epoch if evidence.pace.latest else 0,
        "reference": sketch_of(evidence.reference),
        "candidate": sketch_of(evidence.candidate),
        "rows": _rows_of(evidence, epoch),
        "effect90": effects[0],
        "effect99": effects[1],
        "groups": groups,
    }


def latency_again(value: dict[str, Any], evidence: LatencyEvidence) -> LatencyEvidence:
    """``evidence``, which is new, as the judges look at it."""
    for name in ("count", "late", "reference_lost", "candidate_lost", "warmed", "first"):
        setattr(evidence, name, value[name])
    evidence.reference, evidence.candidate = sketch_again(value["reference"]), sketch_again(value["candidate"])
    evidence.groups = array("I", value["groups"]) if value["groups"] else None
    shift, slots, columns = value["rows"]
    pace, bursts = evidence.pace, Bursts()
    bursts._effects = value["effect90"] or None, value["effect99"] or None
    pace.begin = value["begin"]
    for index, slot in enumerate(slots):
        pairs, clipped, whole, *beyond = columns[index * _COLUMNS : (index + 1) * _COLUMNS]
        if beyond[0]:
            bursts._rows.extend(beyond)
        if not pairs:
            continue
        middle = clipped / pairs / _UNIT
        if abs(middle) >= _ALL * FARTHEST:
            middle = whole / pairs / _UNIT
        evidence.blocks.add(middle)
        pace._ends.append(max(pace.begin + 1, slot << shift))  # not later than they ended in truth
        pace._medians.append(middle)
        pace._counts.extend(beyond)
    evidence._bursts = bursts
    return evidence


def sketch_of(sketch: LatencySketch) -> tuple[int, array[int]]:
    return sketch._base, array("q", sketch._counts)


def sketch_again(value: tuple[int, array[int]]) -> LatencySketch:
    made = LatencySketch()
    made._base, made._counts, made.count = value[0], array("Q", value[1]), sum(value[1])
    return made


def clock_of(clock: Clock) -> Clock:
    """The same without a warm-up: that is over where the evidence comes from."""
    return Clock(clock.least, 0, clock.floor)


def _rows_of(evidence: LatencyEvidence, epoch: int) -> Rows:
    pace = evidence.pace
    shift = SHIFT + pace.each.bit_length() - 1
    known = evidence._bursts.reference90 != NEVER  # the thresholds: else nothing can be beyond them
    rows: list[tuple[int, list[int]]] = []
    for row, (ended, median) in enumerate(zip(pace._ends, pace._medians, strict=True)):
        pairs, *beyond = pace._counts[row * PACE_COLUMNS : (row + 1) * PACE_COLUMNS]
        counted = [pairs, *beyond] if known and row >= pace.thresholds_from else [0, 0, 0, 0, 0]
        clipped = max(-FARTHEST, min(FARTHEST, median))
        columns = [pairs, round(pairs * clipped * _UNIT), round(pairs * median * _UNIT), *counted]
        rows.append(((ended + epoch - 1) >> shift, columns))
    if evidence._pairs and known:
        columns = [0, 0, 0, evidence._pairs, *evidence._bursts.counted]
        rows.append(((evidence._began + epoch) >> shift, columns))
    return _gathered(shift, ((shift, slot, columns) for slot, columns in rows))


def _each(rows: Rows) -> list[tuple[int, int, array[int]]]:
    shift, slots, columns = rows
    return [(shift, slot, columns[at * _COLUMNS : (at + 1) * _COLUMNS]) for at, slot in enumerate(slots)]


def _gathered(shift: int, rows: Iterable[tuple[int, int, Iterable[int]]]) -> Rows:
    """Rows of their own shifts in slots of one, at most ``ROWS``."""
    found: dict[int, list[int]] = {}
    for own, slot, columns in rows:
        slot >>= shift - own
        known = found.get(slot)
        found[slot] = list(columns) if known is None else list(map(int.__add__, known, columns))
    while len(found) > ROWS:
        shift += 1
        wider: dict[int, list[int]] = {}
        for slot, columns in found.items():
            known = wider.get(slot >> 1)
            wider[slot >> 1] = list(columns) if known is None else list(map(int.__add__, known, columns))
        found = wider
    slots = array("q", sorted(found))
    return shift, slots, array("q", (many for slot in slots for many in found[slot]))
