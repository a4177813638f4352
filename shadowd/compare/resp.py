"""Redis turns as structures (sans-IO): RESP2 and RESP3, as in the Redis serialization protocol specification.

A turn is everything the server said between two client turns: usually one reply, several after a pipeline. It is
parsed only when it is over, so there is no state: whole or not RESP. What a reply becomes:

===========================================  =====================================================================
bulk, verbatim ``$ =``                       str
simple string ``+``, error ``- !``           ``Status``, ``Failure`` (str, but of another type than a bulk string)
integer, big number ``: (``, double ``,``    int, float (``inf`` and ``nan``: str)
boolean ``#``, null ``_ $-1 *-1``            bool, None
array ``*``, push ``>``                      list, ``{"push": list}``
map ``%``, set ``~``                         dict, list in canonical order
attribute ``|``                              read and left out: it is about the reply (RESP3)
===========================================  =====================================================================
"""

from __future__ import annotations

import json
import re
from typing import Any

from shadowd.compare.alike import Alike
from shadowd.compare.difference import Differences, Options
from shadowd.compare.jsondiff import Unbounded, diff_documents

#: Nesting: EXEC of commands that answer with arrays of arrays is 5.
MAX_DEPTH = 32
#: Values in one turn; beyond it the turn is compared as bytes.
MAX_VALUES = 100_000
_INTEGER = re.compile(rb"[+-]?[0-9]{1,300}\Z")
_DOUBLE = re.compile(rb"[+-]?[0-9]{1,300}(?:\.[0-9]{0,300})?(?:[eE][+-]?[0-9]{1,4})?\Z")
_LINE_LIMIT = 64 << 10  # of a simple string or error: Redis's own inline limit
_TYPES = frozenset(b"$=+-!:(,#_*>%~|")


class Status(str):
    """A simple string: ``+OK``."""

    __slots__ = ()


class Failure(str):
    """An error reply: ``-ERR unknown command``."""

    __slots__ = ()


class RespError(Exception):
    """Not RESP, cut off, or beyond a limit."""


def parse_turn_untrusted(turn: bytes) -> list[Any]:
    """The replies of a whole turn. Raises ``RespError``."""
    reader = _Reader(turn)
    replies = []
    while reader.at < len(turn):
        reply = reader.value(0)
        if reply is not _ATTRIBUTE:
            replies.append(reply)
    return replies


def compare_turns(
    production: bytes, candidate: bytes, options: Options, alike: Alike | None = None
) -> Differences | None:
    """Differences at ``turn`` paths: ``$`` is the reply, or the array of replies if either side sent not exactly one.
    None if either turn is not whole RESP. Equal structures are equal turns: sets in another order, for example."""
    if production[:1] not in _FIRST or candidate[:1] not in _FIRST:
        return None
    try:
        p, c = parse_turn_untrusted(production), parse_turn_untrusted(candidate)
        if len(p) == len(c) == 1:
            p, c = p[0], c[0]
        return diff_documents(p, c, options, "turn", alike)
    except (RespError, Unbounded):
        return None


_FIRST = frozenset(bytes((kind,)) for kind in _TYPES)
_ATTRIBUTE: Any = object()


class _Reader:
    __slots__ = ("at", "data", "values")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.values = 0

    def value(self, depth: int) -> Any:
        """The value at ``at``; ``_ATTRIBUTE`` if it was one."""
        self.values += 1
        if depth > MAX_DEPTH or self.values > MAX_VALUES:
            raise RespError("beyond the limits")
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind in b"+-" and kind:
            return (Status if kind == b"+" else Failure)(_text(rest))
        if kind in (b":", b"("):
            return self._integer(rest)
        if kind in (b"$", b"=", b"!"):
            return self._blob(kind, rest)
        if kind in (b"*", b">", b"~"):
            return self._array(kind, rest, depth)
        if kind in (b"%", b"|"):
            return self._map(kind, rest, depth)
        return self._scalar(kind, rest)

    def _line(self) -> bytes:
        end = self.data.find(b"\r\n", self.at, self.at + _LINE_LIMIT)
        if end < 0:
            raise RespError("a line that does not end")
        line = self.data[self.at : end]
        self.at = end + 2
        return line

    def _integer(self, text: bytes) -> int:
        if not _INTEGER.match(text):
            raise RespError("not an integer")
        return int(text)

    def _blob(self, kind: bytes, text: bytes) -> Any:
        length = self._integer(text)
        if length == -1 and kind == b"$":
            return None
        end = self.at + length
        if length < 0 or self.data[end : end + 2] != b"\r\n":
            raise RespError("a bulk string that does not end")
        blob, self.at = self.data[self.at : end], end + 2
        if kind == b"=":
            blob = blob[4:]  # "txt:" or "mkd:"
        return Failure(_text(blob)) if kind == b"!" else _text(blob)

    def _array(self, kind: bytes, text: bytes, depth: int) -> Any:
        count = self._integer(text)
        if count == -1 and kind == b"*":
            return None
        items = self._items(count, depth)
        if kind == b"~":
            items.sort(key=lambda item: json.dumps(item, sort_keys=True))
        return {"push": items} if kind == b">" else items

    def _items(self, count: int, depth: int) -> list[Any]:
        # Every element takes at least three bytes: a count that promises more is a lie, found out at once.
        if count < 0 or count * 3 > len(self.data) - self.at:
            raise RespError("an impossible count")
        items: list[Any] = []
        while len(items) < count:
            item = self.value(depth + 1)
            if item is not _ATTRIBUTE:
                items.append(item)
        return items

    def _map(self, kind: bytes, text: bytes, depth: int) -> Any:
        items = self._items(2 * self._integer(text), depth)
        if kind == b"|":
            return _ATTRIBUTE
        keys = (key if isinstance(key, str) else json.dumps(key, sort_keys=True) for key in items[::2])
        return dict(zip(keys, items[1::2], strict=True))

    def _scalar(self, kind: bytes, rest: bytes) -> Any:
        if kind == b"_" and not rest:
            return None
        if kind == b"#" and rest in (b"t", b"f"):
            return rest == b"t"
        if kind == b"," and _DOUBLE.match(rest):
            return float(rest)
        if kind == b"," and rest in (b"inf", b"-inf", b"nan"):
            return _text(rest)
        raise RespError("not RESP")


def _text(data: bytes) -> str:
    """Bytes that are not UTF-8 stay apart from one another as lone surrogates."""
    return data.decode("utf-8", errors="surrogateescape")
