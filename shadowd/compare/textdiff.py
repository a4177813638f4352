"""Texts compared by the position of their lines, and lines by that of their words (sans-IO).

    line[3]           the third line of production's text was changed, or is missing
    line[3].word[2]   its second word was, where both lines have the same blanks and punctuation around as many words
    line              the same lines in another order

So a token in one line does not hide a price in another. A line that was inserted or removed moves no other: the lines
both sides have hold the texts together (``aligned.py``).
"""

from __future__ import annotations

import re

from shadowd.compare.aligned import gaps
from shadowd.compare.alike import Alike
from shadowd.compare.difference import NONE, Collector, Difference, Differences

PATH = "line"
#: Words of a line that are told apart; a longer line is a minified page, one field.
WORDS = 64
#: Characters of such a line.
_LONGEST = 4096
#: Lines that are listed one by one, whatever ``Options`` allows: of a text that is another one nobody reads more.
_LISTED = 64

_WORD = re.compile(r"[^\s,;|=&\"'<>(){}\[\]]+")


def diff_texts(
    production: str, candidate: str, where: str = "body", alike: Alike | None = None, limit: int = _LISTED
) -> Differences:
    """Lines end at LF, which belongs to none of them; a CR before it does. At most ``limit`` are listed."""
    if production == candidate:
        return NONE
    found = Collector(min(limit, _LISTED))
    diff_lines(production, candidate, PATH, where, alike, found)
    return found.result()


def diff_lines(production: str, candidate: str, path: str, where: str, alike: Alike | None, found: Collector) -> None:
    """Two texts of one place, line by line: ``path[3]``."""
    p, c = production.split("\n"), candidate.split("\n")
    if len(p) == len(c) and sorted(p) == sorted(c):
        at = next((i for i, line in enumerate(p) if line != c[i]), -1)
        if at >= 0:
            found.add(Difference(where, path, "order", p[at], c[at]))
        return
    for a, b, x, y in gaps(p, c):
        paired = min(b - a, y - x)
        for i in range(paired):
            if found.full():  # the rest is counted
                found.more += paired - i
                break
            diff_words(p[a + i], c[x + i], f"{path}[{a + i + 1}]", where, alike, found)
        if b - a > paired:
            found.add(Difference(where, f"{path}[{a + paired + 1}]", "missing", _some(p[a + paired : b])))
        elif y - x > paired:
            found.add(Difference(where, f"{path}[{a + paired + 1}]", "extra", "", _some(c[x + paired : y])))


def diff_words(production: str, candidate: str, path: str, where: str, alike: Alike | None, found: Collector) -> None:
    """Two texts of one place, word by word if they are built alike."""
    if production == candidate:
        return
    p, c = (production, candidate) if alike is None else alike.marked(production, candidate)
    if p == c:
        return
    if max(len(p), len(c)) <= _LONGEST:
        ours, theirs = _WORD.findall(p), _WORD.findall(c)
        if 1 < len(ours) == len(theirs) <= WORDS and _WORD.sub("w", p) == _WORD.sub("w", c):
            for number, (a, b) in enumerate(zip(ours, theirs, strict=True), 1):
                if a != b:
                    found.add(Difference(where, f"{path}.word[{number}]", "value", a, b))
            return
    found.add(Difference(where, path, "value", production, candidate))


def _some(lines: list[str]) -> str:
    """The first line that says something."""
    return next((line for line in lines if line.strip()), lines[0] or "(an empty line)")
