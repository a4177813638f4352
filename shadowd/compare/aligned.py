"""Two sequences of lines laid beside each other in nearly linear time (sans-IO).

Lines that each side has exactly once, and in the same order on both (the longest such chain), hold the two together,
as in Bram Cohen's patience diff; equal lines around them join. What is left between two of them is a *gap*: lines that
were changed, or are on one side only. A small gap of unequal sides is aligned by difflib.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

#: Lines a side, and pairs of equal lines, that difflib may see: its worst case is their product, here some 20 ms.
ALIGNED_LINES = 200
ALIGNED_PAIRS = 1000

#: production[a:b] stands where candidate[x:y] does.
Gap = tuple[int, int, int, int]


def gaps(production: Sequence[str], candidate: Sequence[str]) -> Iterator[Gap]:
    """Where two sequences differ, in order; none if they are equal. In a gap at most one side is empty."""
    shorter = min(len(production), len(candidate))
    head = tail = 0
    while head < shorter and production[head] == candidate[head]:
        head += 1
    while tail < shorter - head and production[-1 - tail] == candidate[-1 - tail]:
        tail += 1
    end, other = len(production) - tail, len(candidate) - tail
    if end - head == other - head == 1 or end == head or other == head:
        if end > head or other > head:
            yield head, end, head, other
        return
    a, x = head, head
    small = [ALIGNED_PAIRS]  # for all gaps of the two together
    for i, j in (*_anchors(production, candidate, head, end, other), (end, other)):
        if i < a or j < x:
            continue  # joined to the anchor before it
        b, y = i, j
        while b > a and y > x and production[b - 1] == candidate[y - 1]:
            b, y = b - 1, y - 1
        if b > a or y > x:
            yield from _refined(production, candidate, (a, b, x, y), small)
        a, x = i + 1, j + 1
        while a < end and x < other and production[a] == candidate[x]:
            a, x = a + 1, x + 1


def _anchors(
    production: Sequence[str], candidate: Sequence[str], head: int, end: int, other: int
) -> list[tuple[int, int]]:
    """Places of lines that both sides have once, the longest chain that rises on both."""
    once = {line for line, count in Counter(candidate[head:other]).items() if count == 1}
    at = {candidate[j]: j for j in range(head, other) if candidate[j] in once}
    counts = Counter(production[head:end])
    pairs = [(i, at[production[i]]) for i in range(head, end) if production[i] in at and counts[production[i]] == 1]
    tops: list[int] = []  # the smallest end of a chain of each length
    places: list[int] = []
    before: list[int] = []
    for index, (_, j) in enumerate(pairs):
        length = bisect_left(tops, j)
        before.append(places[length - 1] if length else -1)
        if length == len(tops):
            tops.append(j)
            places.append(index)
        else:
            tops[length] = j
            places[length] = index
    chain: list[tuple[int, int]] = []
    index = places[-1] if places else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]


def _refined(production: Sequence[str], candidate: Sequence[str], gap: Gap, small: list[int]) -> Iterator[Gap]:
    """A gap of unequal sides cut into smaller ones where that is cheap."""
    a, b, x, y = gap
    if b - a == y - x or b == a or y == x or max(b - a, y - x) > ALIGNED_LINES:
        yield gap
        return
    p, c = production[a:b], candidate[x:y]
    there = Counter(c)
    small[0] -= sum(there[line] for line in p) + (b - a + y - x >> 2)
    if small[0] < 0:
        yield gap
        return
    for tag, i, j, k, m in SequenceMatcher(None, p, c, autojunk=False).get_opcodes():
        if tag != "equal":
            yield a + i, a + j, x + k, x + m
