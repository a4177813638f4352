"""Texts compared line by line (sans-IO).

At path ``line`` at most one difference of each kind: ``value`` (lines that were changed), ``missing``, ``extra``, and
``order`` (the same lines in another order); the first such line is the example. The cost is bounded: after the common
beginning and end are set aside, ``difflib`` aligns what is left only if that is small; a larger rest is compared as two
multisets of lines, in linear time.
"""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher

from shadowd.compare.difference import NONE, Collector, Difference, Differences

#: Lines a side, and pairs of equal lines, that difflib may see: its worst case is their product, here some 20 ms.
ALIGNED_LINES = 200
ALIGNED_PAIRS = 1000
PATH = "line"


def diff_texts(production: str, candidate: str, where: str = "body") -> Differences:
    """Lines end at LF, which belongs to none of them; a CR before it does."""
    if production == candidate:
        return NONE
    p, c = production.split("\n"), candidate.split("\n")
    shorter = min(len(p), len(c))
    head = tail = 0
    while head < shorter and p[head] == c[head]:
        head += 1
    while tail < shorter - head and p[-1 - tail] == c[-1 - tail]:
        tail += 1
    p, c = p[head : len(p) - tail], c[head : len(c) - tail]
    found = Collector(4)
    if max(len(p), len(c)) <= ALIGNED_LINES and _pairs(p, c) <= ALIGNED_PAIRS:
        _align(p, c, where, found)
    else:
        _count(p, c, where, found)
    return found.result()


def _pairs(p: list[str], c: list[str]) -> int:
    there = Counter(c)
    return sum(there[line] for line in p)


def _align(p: list[str], c: list[str], where: str, found: Collector) -> None:
    for tag, a, b, x, y in SequenceMatcher(None, p, c, autojunk=False).get_opcodes():
        if tag == "replace":
            found.add(Difference(where, PATH, "value", p[a], c[x]))
        elif tag == "delete":
            found.add(Difference(where, PATH, "missing", _some(p[a:b])))
        elif tag == "insert":
            found.add(Difference(where, PATH, "extra", "", _some(c[x:y])))


def _count(p: list[str], c: list[str], where: str, found: Collector) -> None:
    missing = next(iter(Counter(p) - Counter(c)), None)
    extra = next(iter(Counter(c) - Counter(p)), None)
    if missing is not None and extra is not None:
        found.add(Difference(where, PATH, "value", missing, extra))
    elif missing is not None:
        found.add(Difference(where, PATH, "missing", missing))
    elif extra is not None:
        found.add(Difference(where, PATH, "extra", "", extra))
    else:
        at = next(i for i, line in enumerate(p) if line != c[i])
        found.add(Difference(where, PATH, "order", p[at], c[at]))


def _some(lines: list[str]) -> str:
    """The first line that says something."""
    return next((line for line in lines if line.strip()), lines[0] or "(an empty line)")
