"""Protocol Buffers without their schema: what two messages have on the wire, as documents to be compared (sans-IO).

The wire says a field's number and how its value is laid out, not what it is (protobuf.dev, "Encoding"): bytes of a
length may be a text, a message, packed numbers or bytes. So it is decided of both messages at once, for all values of a
field in them: a line of text if every one of them is, else a message if every one parses as one, else text, else bytes
in hexadecimal. Nothing is given a name: a field is its number. A field that comes more than once, in either message, is
a list; entries that look like those of a map (fields 1 and 2, keys that differ) are compared by key: their order says
nothing.

Bounds: a message nested deeper than ``MAX_DEPTH`` is bytes, and of more than ``MAX_FIELDS`` in all nothing is made.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

#: protobuf itself stops at 100; what is deeper here is chance.
MAX_DEPTH = 32
#: Fields of both messages together: some 20 ms.
MAX_FIELDS = 20_000

#: Media types of one message; gRPC's hold frames of them.
PROTOBUF = frozenset(
    {"application/protobuf", "application/x-protobuf", "application/vnd.google.protobuf", "application/proto"}
)  # the last: Connect, of unary calls

VARINT, I64, LEN, _START, _END, I32 = range(6)
Fields = dict[int, list[tuple[int, Any]]]


class WireError(ValueError):
    """No message."""


def parse_untrusted(data: bytes, budget: list[int], depth: int = 0) -> Fields:
    """Field numbers, each with (wire type, value) in the order in which they came; groups are fields themselves. Takes
    what it costs off ``budget``. Raises WireError."""
    fields: Fields = {}
    for number, kind, value in scan_untrusted(data, budget, depth):
        fields.setdefault(number, []).append((kind, value))
    return fields


def scan_untrusted(data: bytes, budget: list[int], depth: int = 0) -> Iterator[tuple[int, int, Any]]:
    """The same one by one: (field number, wire type, value)."""
    at, end = 0, len(data)
    while at < end:
        budget[0] -= 1
        if budget[0] < 0:
            raise WireError("more fields than are looked at")
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise WireError("a field number that cannot be")
        value: Any
        if kind == VARINT:
            value, at = varint(data, at)
        elif kind == LEN:
            size, at = varint(data, at)
            value = data[at : at + size]
            at += size
        elif kind in (I64, I32):
            size = 8 if kind == I64 else 4
            value = data[at : at + size]
            at += size
        elif kind == _START and depth < MAX_DEPTH:
            stop = _group_end(data, at, number, budget)
            value = data[at:stop]
            kind = LEN
            _, at = varint(data, stop)
        else:
            raise WireError("a wire type that cannot be")
        if at > end:
            raise WireError("a value that ends too early")
        yield number, kind, value


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends. Raises WireError."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            break
    raise WireError("a number that cannot be")


def _group_end(data: bytes, at: int, number: int, budget: list[int]) -> int:
    """Where the end of a group stands."""
    open_groups = [number]
    while at < len(data):
        budget[0] -= 1
        if budget[0] < 0:
            break
        begin = at
        key, at = varint(data, at)
        kind = key & 7
        if kind == _END:
            if key >> 3 != open_groups.pop():
                break
            if not open_groups:
                return begin
        elif kind == _START:
            if len(open_groups) >= MAX_DEPTH:
                break
            open_groups.append(key >> 3)
        elif kind == VARINT:
            _, at = varint(data, at)
        elif kind == LEN:
            size, at = varint(data, at)
            at += size
        else:
            at += 8 if kind == I64 else 4
    raise WireError("a group without an end")


def documents(production: bytes, candidate: bytes) -> tuple[Any, Any] | None:
    """Of two messages that are not equal: documents of dicts, lists, texts and numbers; None if one of them is none."""
    budget = [MAX_FIELDS]
    try:
        return both(parse_untrusted(production, budget), parse_untrusted(candidate, budget), budget, 0)
    except WireError:
        return None


def both(p: Fields, c: Fields, budget: list[int], depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Documents of the fields of two messages. Raises WireError."""
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for number in sorted({*p, *c}):
        one, other = p.get(number, []), c.get(number, [])
        listed = len(one) > 1 or len(other) > 1
        left, right = _values(one, other, budget, depth)
        if listed:
            left, right = _by_key(left, right)
        for document, found, values in ((ours, one, left), (theirs, other, right)):
            if found:
                document[str(number)] = values if listed else values[0]
    return ours, theirs


def _values(p: list[tuple[int, Any]], c: list[tuple[int, Any]], budget: list[int], depth: int) -> tuple[Any, Any]:
    kinds = {kind for kind, _ in (*p, *c)}
    if kinds == {LEN}:
        return lengthy([value for _, value in p], [value for _, value in c], budget, depth)
    return [_number(kind, value) for kind, value in p], [_number(kind, value) for kind, value in c]


def lengthy(p: list[bytes], c: list[bytes], budget: list[int], depth: int) -> tuple[list[Any], list[Any]]:
    """Values of a length, of one field. Raises WireError if the budget is spent."""
    values = (*p, *c)
    plain = all(map(_is_plain, values))
    if not plain and depth < MAX_DEPTH:
        try:
            left = [parse_untrusted(value, budget, depth) for value in p]
            right = [parse_untrusted(value, budget, depth) for value in c]
        except WireError:
            if budget[0] < 0:
                raise
        else:
            return _messages(left, right, budget, depth + 1)
    return shown_bytes(p, c)


def shown_bytes(p: list[bytes], c: list[bytes]) -> tuple[list[str], list[str]]:
    """As text if all of them are, else in hexadecimal."""
    if all(_is_plain(value) or _is_text(value) for value in (*p, *c)):
        return [value.decode() for value in p], [value.decode() for value in c]
    return [value.hex() for value in p], [value.hex() for value in c]


def _messages(p: list[Fields], c: list[Fields], budget: list[int], depth: int) -> tuple[list[Any], list[Any]]:
    """Each beside its counterpart, so that both are read alike; what has none is read by itself."""
    ours: list[Any] = []
    theirs: list[Any] = []
    for place in range(max(len(p), len(c))):
        left, right = both(p[place] if place < len(p) else {}, c[place] if place < len(c) else {}, budget, depth)
        if place < len(p):
            ours.append(left)
        if place < len(c):
            theirs.append(right)
    return ours, theirs


def _by_key(p: list[Any], c: list[Any]) -> tuple[Any, Any]:
    """Entries of a map as a document by key; other lists as they are."""
    keys = [[_key(one) for one in values] for values in (p, c)]
    if not all(key is not None for one in keys for key in one) or any(len(set(one)) < len(one) for one in keys):
        return p, c
    found = [
        {str(key): value.get("2") for key, value in zip(one, values, strict=True)}
        for one, values in zip(keys, (p, c), strict=True)
    ]
    return found[0], found[1]


def _key(entry: Any) -> str | int | None:
    if not isinstance(entry, dict) or not entry.keys() <= {"1", "2"} or "1" not in entry:
        return None
    key = entry["1"]
    return key if isinstance(key, str | int) else None


def _is_plain(value: bytes) -> bool:
    """A line of text, or nothing at all: most messages begin with what is none (the keys of fields 1 to 3)."""
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _is_text(value: bytes) -> bool:
    """Several lines. A line feed is also the key of a message's first field, so this is asked last."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\t\r\n" for char in text)


def _number(kind: int, value: Any) -> Any:
    """A varint is a number. Eight or four bytes are a number with a point if that looks like one, else a whole one."""
    if kind == VARINT:
        return value - (1 << 64) if value >> 63 else value
    if kind == LEN:
        return value.hex()
    (point,) = struct.unpack("<d" if kind == I64 else "<f", value)
    if point == 0 or (math.isfinite(point) and 1e-9 < abs(point) < 1e18):
        return float(f"{point:.7g}") if kind == I32 else point
    return int.from_bytes(value, "little")
