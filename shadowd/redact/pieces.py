"""Texts that a document, or the documents of an event stream, have in pieces (sans-IO): what a model wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

#: Where a string begins and ends, what it says, and what is shown of it alone.
Part = tuple[int, int, str, str]


def joined(
    leaves: dict[str, list[Part]], masked: Callable[[str], str], noted: Callable[[str], object], events: bool
) -> list[tuple[int, int, str]]:
    """What is secret only when the parts of a text are put together: a mask in the first, nothing in the others. What
    is taken out of a part is ``noted``: a difference may show that part alone."""
    edits: list[tuple[int, int, str]] = []
    for parts in leaves.values():
        values = [part[2] for part in parts]
        if len(parts) < 2 or len(set(values)) * 3 < len(values) or sum(map(len, values)) > 40 * len(values):
            continue
        whole = "".join(values)
        if not events and whole[:1] not in "{[" and not any(" " in value or "\n" in value for value in values):
            continue  # articles' numbers of a list: no text
        told = masked(whole)
        if told == whole:
            continue
        # what is the same at the beginning and at the end of a changed stretch stays in its part
        alone = {part[0]: part[3] != part[2] for part in parts}  # in which something was found
        for start, end, new in _spread(parts, whole, told, noted):
            edits.append((start, end, json.dumps(masked(json.loads(new))) if alone[start] else new))
    return edits


_MASKED = re.compile(r"\[redacted:[0-9a-f]{8}\]")


def _spread(parts: list[Part], whole: str, masked: str, noted: Callable[[str], object]) -> list[tuple[int, int, str]]:
    """The masks put back into the parts: the text between two masks is found in order."""
    spans: list[tuple[int, int, str]] = []
    at = done = 0
    for found in _MASKED.finditer(masked):
        between = masked[done : found.start()]
        start = at + len(between)
        if whole[at:start] != between:
            return [(part[0], part[1], json.dumps("")) for part in parts]  # it cannot be told where: all of it goes
        following = _MASKED.search(masked, found.end())
        rest = masked[found.end() : following.start() if following else len(masked)]
        end = len(whole) - len(rest) if following is None else whole.find(rest, start + 1)
        if rest == "" and following is not None:
            end = start + 1
        if end < start:
            return [(part[0], part[1], json.dumps("")) for part in parts]
        spans.append((start, end, found.group()))
        at, done = end, found.end()
    edits: list[tuple[int, int, str]] = []
    offset = 0
    current = 0
    for start_, end_, value, _ in parts:
        after = offset + len(value)
        while current < len(spans) and spans[current][1] <= offset:
            current += 1
        pieces: list[str] = []
        place, index = offset, current
        while index < len(spans) and spans[index][0] < after:
            start, end, mask = spans[index]
            if start >= offset:
                pieces += (whole[place:start], mask)
            noted(whole[max(start, offset) : min(end, after)])
            place = min(end, after)
            index += 1
        new = "".join([*pieces, whole[place:after]])
        if new != value:
            edits.append((start_, end_, json.dumps(new)))
        offset = after
    return edits
