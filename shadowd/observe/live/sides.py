"""Two answers side by side (sans-IO): lines that differ, and in them the part that does.

Bodies of examples are 8 KB at most, and who wrote them may mean harm: beginnings and ends that are equal are taken off
in linear time, and of what is left so many lines are aligned that the work stays within some milliseconds.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

AROUND = 3  # equal lines that are shown before and behind a difference
ALIGNED = 120  # lines of a side that are aligned; of more, line stands beside line
SHOWN = 80  # rows of one example: two screens
_NEAR = 60  # characters of a long line before the part that differs, and behind it
_LONG = 200  # characters of a line that is shown whole

#: Before, the part that differs, behind.
Cut = tuple[str, str, str]


class Row(NamedTuple):
    """A line of either side; ``skipped`` are equal ones that were left out before it."""

    production: Cut
    shadow: Cut
    differs: bool
    skipped: int = 0


def side_by_side(production: Sequence[str], shadow: Sequence[str]) -> list[Row]:
    """What differs, with some equal lines around it; at most ``SHOWN`` rows."""
    pairs = [(left or "", right or "") for left, right in _pairs(production, shadow)]
    near = {at + step for at, (left, right) in enumerate(pairs) if left != right for step in range(-AROUND, AROUND + 1)}
    rows: list[Row] = []
    skipped = 0
    for at, (left, right) in enumerate(pairs):
        if at not in near:
            skipped += 1
            continue
        if len(rows) == SHOWN:
            break
        rows.append(Row(*_cut(left, right), left != right, skipped))
        skipped = 0
    return rows


def _pairs(left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Each line with its counterpart, None where it has none."""
    start, end = _equal_ends(left, right)
    yield from zip(left[:start], right[:start], strict=True)
    middles = left[start : len(left) - end], right[start : len(right) - end]
    if max(map(len, middles)) > ALIGNED:
        yield from zip_longest(*middles)
    else:
        matcher = difflib.SequenceMatcher(None, *middles, autojunk=False)
        for _, i1, i2, j1, j2 in matcher.get_opcodes():
            yield from zip_longest(middles[0][i1:i2], middles[1][j1:j2])
    yield from zip(left[len(left) - end :], right[len(right) - end :], strict=True)


def _equal_ends(left: Sequence[str], right: Sequence[str]) -> tuple[int, int]:
    """How long they are the same from the beginning, and of the rest from the end."""
    most = min(len(left), len(right))
    start = next((at for at in range(most) if left[at] != right[at]), most)
    return start, next((at for at in range(most - start) if left[-1 - at] != right[-1 - at]), most - start)


def _cut(left: str, right: str) -> tuple[Cut, Cut]:
    start, end = _equal_ends(left, right)
    return _part(left, start, end), _part(right, start, end)


def _part(line: str, start: int, end: int) -> Cut:
    """A long line by what differs in it."""
    before, differs, behind = line[:start], line[start : len(line) - end], line[len(line) - end :]
    if len(line) > _LONG:
        before = f"…{before[-_NEAR:]}" if len(before) > _NEAR else before
        differs = f"{differs[:_LONG]}…" if len(differs) > _LONG else differs
        behind = f"{behind[:_NEAR]}…" if len(behind) > _NEAR else behind
    return before, differs, behind
