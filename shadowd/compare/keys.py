"""Keys of objects that are data: ``$.sessions.9f86d081.user`` is the field ``$.sessions.{key}.user`` (sans-IO).

By their looks (``is_id``): UUIDs, numbers of five digits, hexadecimal from eight characters with digits among them,
dates, addresses, tokens. Names that people give (``item1``, ``sha256``, ``line_2``, ``iso_8601``) are never taken for
such. By experience (``Keys``): a place of whose children more than ``CHILDREN`` differed is a map, and its children are
``{key}`` from then on. That folds a wide document too, of which many leaves flap: they are judged together.
"""

from __future__ import annotations

import re
from collections.abc import Collection

FOLDED = "{key}"
#: Children of one place that differed before they are data; as for segments of paths (endpoints.CHILDREN).
CHILDREN = 20
#: Children remembered by one ``Keys``, some 150 bytes each; above it no new place is learned.
REMEMBERED = 20_000
#: Paths whose folded form is remembered.
MEMO = 2048

_ID = re.compile(
    r"[0-9]{5,}\Z"  # four digits may be a year
    r"|\{?[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\}?\Z"
    r"|(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{8,}\Z"
    r"|[0-9]{4}-[01][0-9](?:-[0-3][0-9](?:[T_ ][0-9:.,Z+-]*)?)?\Z"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?\Z"
    r"|[^@\s]+@[^@\s]+\.[^@.\s]+\Z"
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*\Z"  # JSON Web Token
    r"|[A-Za-z]{1,20}[-_:./#][0-9]{5,}\Z"  # user-12345
)
_TOKEN = re.compile(r"[\w+=~-]{16,}\Z", re.ASCII)
_DIGITS = re.compile(r"[0-9]+")
#: Steps of a path as ``shadowd.compare.jsondiff`` and ``textdiff`` write them.
_FOLDED_STEPS = ("[*]", f".{FOLDED}")
_STEP = re.compile(r"\.[^.\[]*|\['(?:[^'\\]|\\.)*'\]?|\[[^\]]*\]?")


def is_id(key: str) -> bool:
    """Whether a key names one of many things. Keys of more than 64 characters do."""
    if len(key) < 5 or key.isalpha():
        return len(key) > 64
    if len(key) > 64 or _ID.match(key) is not None:
        return True
    # A token has digits in many places; line1Item2Address3 has one a word.
    if _TOKEN.match(key) is None:
        return False
    runs = _DIGITS.findall(key)
    return len(runs) >= 4 or (len(runs) >= 2 and sum(map(len, runs)) * 4 >= len(key))


def folded_path(path: str, folded: Collection[str]) -> str:
    """The path where the children of the ``folded`` places are one field each."""
    steps = _STEP.findall(path)
    place = path[: len(path) - sum(map(len, steps))]
    for step in steps:
        place += _folded_step(step) if place in folded and step not in _FOLDED_STEPS else step
    return place


def _folded_step(step: str) -> str:
    return "[*]" if step[0] == "[" and step[1:2] != "'" else f".{FOLDED}"


class Keys:
    """What was learned of one endpoint's paths. Give it paths that differed, and count under what it answers."""

    __slots__ = ("_children", "_folded", "_memo", "_remembered", "_unread")

    def __init__(self) -> None:
        self._children: dict[str, set[str]] = {}
        self._folded: set[str] = set()
        self._memo: dict[str, str] = {}
        self._remembered = 0
        self._unread: list[str] = []

    def fold(self, path: str) -> str:
        """The name of a differing field; the same path may be answered with a shorter name later (``taken``)."""
        known = self._memo.get(path)
        if known is not None:
            return known
        steps = _STEP.findall(path)
        begin = path[: len(path) - sum(map(len, steps))]
        place = begin
        for step in steps:
            if step not in _FOLDED_STEPS:
                self._learn(place, step)
                if place in self._folded:
                    step = _folded_step(step)
            place += step
        if len(self._memo) >= MEMO:
            self._memo.clear()
        self._memo[path] = place
        return place

    @property
    def places(self) -> frozenset[str]:
        """Those that are folded."""
        return frozenset(self._folded)

    def folded(self, place: str) -> bool:
        """Whether the children of this place (``$.sessions``) are one field."""
        return place in self._folded

    def taken(self) -> list[str]:
        """Places folded since the last call: what was counted below them has another name now, which ``fold`` tells
        of the old one."""
        unread, self._unread = self._unread, []
        return unread

    def _learn(self, place: str, step: str) -> None:
        if place in self._folded:
            return
        children = self._children.get(place)
        if children is None:
            if self._remembered >= REMEMBERED:
                return
            children = self._children[place] = set()
        if step in children or self._remembered >= REMEMBERED:
            return
        children.add(step)
        self._remembered += 1
        if len(children) > CHILDREN:
            self._folded.add(place)
            self._unread.append(place)
            self._memo.clear()
            below = (place + ".", place + "[")
            for known in [p for p in self._children if p == place or p.startswith(below)]:
                self._remembered -= len(self._children.pop(known))
