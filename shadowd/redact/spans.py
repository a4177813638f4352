"""Parts of a text that are to be masked: those that are in sight of each other, and words that are known (sans-IO)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from shadowd.redact.secrets import Span

WORDS = re.compile(r"[^\s\"'`<>&,;=:()\[\]{}\\|]{3,200}+")

_PIECES = re.compile(r"[^/@.!?+\u2026*~-]{6,200}+")


def parts_of(words: Iterable[str]) -> Iterator[str]:
    """What stands between signs: a difference of two texts may show no more of a secret."""
    for word in words:
        yield from _PIECES.findall(word)


def known(text: str, hashes: Collection[int]) -> Iterator[tuple[int, int, str]]:
    """Words of ``text`` that are in ``hashes``, or have it in them: ``-pX``, ``bob/X@db``, ``X.``"""
    for word in WORDS.finditer(text):
        if hash(word[0]) in hashes:
            yield *word.span(), word[0]
            continue
        start = word.start() + (2 if word[0].startswith("-") else 0)
        for at, end in ((start, word.end()), (word.start(), word.start() + len(word[0].rstrip(".!?")))):
            if end - at > 3 and hash(text[at:end]) in hashes:
                yield at, end, text[at:end]
        for piece in _PIECES.finditer(text, *word.span()):
            if hash(piece[0]) in hashes:
                yield *piece.span(), piece[0]


def ungrouped(value: str) -> str:
    """Digits in groups are the same number without them."""
    return value.replace(" ", "").replace("-", "") if not value.strip("0123456789 -") and len(value) > 12 else value


def joined(text: str, found: Iterable[tuple[int, int, str]], masks: Sequence[Span]) -> Iterator[tuple[int, int, str]]:
    """In order, what overlaps as one, and nothing of what is a mask already."""
    merged: list[tuple[int, int, str]] = []
    for start, end, value in sorted(found, key=lambda one: (one[0], -one[1])):
        if merged and start < merged[-1][1]:
            before, after, _ = merged[-1]
            if end > after:
                merged[-1] = (before, end, text[before:end])
            continue
        if end > start:
            merged.append((start, end, value))
    if not masks:
        yield from merged
        return
    nearest = 0
    for start, end, value in merged:
        at = start
        while nearest < len(masks) and masks[nearest][1] <= start:
            nearest += 1
        for first, last in islice(masks, nearest, None):
            if first >= end:
                break
            if first > at and text[at:first].strip("\"', :;=&"):
                yield at, first, text[at:first]
            at = max(at, last)
        if at == start:
            yield start, end, value
        elif at < end and text[at:end].strip("\"', :;=&"):
            yield at, end, text[at:end]
