"""Texts within texts (sans-IO): percent-encoding, character references, base64 and backslashes taken off.

Each with the way back."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from html import unescape

_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});")
_DOUBLED_NAME = re.compile(r'""[\w.-]{1,64}"":')
_DOUBLED = re.compile(r'""')
_EVENT = re.compile(r"(?:\r?\n){2}(?:(?:event|id|retry):[^\r\n]{0,200}\r?\n){0,3}data: ?")
_BACKSLASH = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[\"'\\/nrt])")
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}
_MARK = re.compile(r"</?([A-Za-z][A-Za-z0-9]{0,15})(?:\s[^<>]{0,400})?/?>")
_INLINE = frozenset({"b", "i", "em", "strong", "span", "code", "a", "tt", "font", "u", "kbd", "mark", "small", "samp"})
_DIGESTS = frozenset({"etag", "digest", "checksum", "sha1", "sha256", "sha512", "md5", "revision", "commit"})
# In base64 of ASCII the first of four letters is of the first half of the alphabet.
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/=_-])(?:[A-Za-f][A-Za-z0-9+/][A-Za-z0-9+/][A-Za-z0-9+/]){4,}+"
    r"(?:[A-Za-f][A-Za-z0-9+/][A-Za-z0-9+/=]=)?(?![A-Za-z0-9+/=_-])"
)
LAYERED = re.compile(
    r"(?<![A-Za-z0-9+/=_-])(?:[A-Za-f][A-Za-z0-9+/]{3}){4}|</|\"\"[\w.-]+\"\":|%[0-9A-Fa-f]{2}|&[#A-Za-z][0-9A-Za-z]{1,7};|\\[ux\"'/nrt\\]"
)


class Layer:
    """``text`` without one kind of escapes. ``raw(a, b)`` is where a part of it stands in the outer text."""

    __slots__ = ("_places", "_runs", "text", "whole")

    def __init__(self, text: str, runs: list[tuple[int, int, int, int]]) -> None:
        self.text = text
        self._runs = runs  # of escapes: start and end here, start and end outside; in order
        self.whole = False  # a part of a run is all of it
        self._places = [run[0] for run in runs]

    def raw(self, start: int, end: int) -> tuple[int, int]:
        return self._out(start, False), self._out(end, True)

    def _out(self, place: int, is_end: bool) -> int:
        from bisect import bisect_right

        index = bisect_right(self._places, place - is_end) - 1
        if index < 0:
            return place
        inner, inner_end, outer, outer_end = self._runs[index]
        if place >= inner_end:
            return outer_end + place - inner_end
        if self.whole:
            return outer_end if is_end else outer
        if is_end:  # within a run of several characters: all of it goes
            return outer_end
        return outer if inner_end - inner == 1 else outer + (outer_end - outer) * (place - inner) // (inner_end - inner)


def layers(text: str) -> Iterator[Layer]:
    """Each kind of escapes that ``text`` has, taken off."""
    if "%" in text and (layer := _without(text, _PERCENT, _percent)):
        yield layer
    if "&" in text and (layer := _without(text, _REFERENCE, unescape)):
        yield layer
    if "</" in text and (layer := _without(text, _MARK, _mark)):
        yield layer
    if layer := _without(text, _BASE64, _base64):
        layer.whole = True
        yield layer
    if '""' in text and _DOUBLED_NAME.search(text) and (layer := _without(text, _DOUBLED, _first)):  # JSON in CSV
        yield layer
    if "\\" in text and (layer := _without(text, _BACKSLASH, _backslash)):
        yield layer


def told_in_events(text: str) -> Iterator[Layer]:
    """A text that comes in events, whose words bring their blanks or do not."""
    if "\ndata:" in text:
        for between in (_nothing, _blank):
            if layer := _without(text, _EVENT, between):
                yield layer


def _without(text: str, pattern: re.Pattern[str], decode: object) -> Layer | None:
    pieces: list[str] = []
    runs: list[tuple[int, int, int, int]] = []
    done = length = 0
    for found in pattern.finditer(text):
        plain = decode(found[0])  # type: ignore[operator]
        if plain == found[0]:
            continue
        pieces += (text[done : found.start()], plain)
        length += found.start() - done
        runs.append((length, length + len(plain), found.start(), found.end()))
        length += len(plain)
        done = found.end()
    return Layer("".join([*pieces, text[done:]]), runs) if runs else None


def _mark(tag: str) -> str:
    """What is emphasised belongs to its sentence; a digest has its name."""
    found = _MARK.match(tag)
    if found and found[1].lower() in _DIGESTS:
        return tag
    return "" if found and found[1].lower() in _INLINE else "\n"


def _percent(run: str) -> str:
    return bytes.fromhex(run.replace("%", "")).decode("utf-8", "replace")


def _base64(run: str) -> str:
    """What a person could read, else as it is."""
    try:
        plain = b64decode(run, validate=True).decode()
    except ValueError:
        return run
    return plain if plain.isprintable() or all(c.isprintable() or c in "\r\n\t\0" for c in plain) else run


def _first(quotes: str) -> str:
    return quotes[0]


def _nothing(_: str) -> str:
    return ""


def _blank(_: str) -> str:
    return " "


def _backslash(escape: str) -> str:
    if escape[1] in "ux":
        return chr(int(escape[2:], 16))
    return _SHORT.get(escape[1], escape[1])
