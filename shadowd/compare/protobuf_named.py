"""Protocol Buffers by their schema: two messages as documents with the names and types of their fields (sans-IO).

===============  =====================================================================================================
a field that is  stands in the document as
===============  =====================================================================================================
a scalar         number, true or false, text; an enumeration's value by its name; bytes as text where both sides' are,
                 else in hexadecimal
repeated         a list, packed or not; a map as an object by key: its order says nothing
one of several   the one that came last (``oneof``)
absent           absent; so is one of implicit presence (proto3 without ``optional``) whose default was sent: they are
                 one to whoever reads the message
``Any``          ``@type`` and the fields of that message, where the schema has it
not declared     its number, as ``protobuf.py`` reads it without a schema; so is one of another wire type
===============  =====================================================================================================

Names are those of the .proto file (``unit_price``, not ``unitPrice``); extensions have theirs in brackets. Both
messages are read at once, each value beside its counterpart, because what has no schema is read so.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from shadowd.compare import descriptors as types
from shadowd.compare import protobuf as wire
from shadowd.compare.descriptors import Field, Message, signed
from shadowd.compare.numbers import Constant
from shadowd.compare.protobuf import I32, I64, LEN, MAX_DEPTH, MAX_FIELDS, VARINT, Fields, WireError, scan_untrusted

#: Values of a field as they came: (wire type, value).
_Raw = list[tuple[int, Any]]
_ABSENT: Any = object()


def _zigzag(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return (value >> 1) ^ -(value & 1)


def _double(value: bytes) -> float | Constant:
    (number,) = struct.unpack("<d", value)
    return _finite(number)


def _float(value: bytes) -> float | Constant:
    """The shortest decimal that is this float: people wrote 0.1, not 0.10000000149011612."""
    (number,) = struct.unpack("<f", value)
    if not math.isfinite(number):
        return _finite(number)
    for digits in (6, 7, 8):
        short = float(f"{number:.{digits}g}")
        try:
            if struct.pack("<f", short) == value:
                return short
        except OverflowError:  # rounded beyond the largest float
            continue
    return float(f"{number:.9g}")


def _finite(number: float) -> float | Constant:
    if math.isfinite(number):
        return number
    return Constant("NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity")


#: Of each scalar type its wire type, and its value.
_SCALARS: dict[int, tuple[int, Callable[[Any], Any]]] = {
    types.DOUBLE: (I64, _double),
    types.FLOAT: (I32, _float),
    types.INT64: (VARINT, lambda value: signed(value, 64)),
    types.UINT64: (VARINT, lambda value: value & 0xFFFFFFFFFFFFFFFF),
    types.INT32: (VARINT, lambda value: signed(value, 32)),
    types.UINT32: (VARINT, lambda value: value & 0xFFFFFFFF),
    types.SINT32: (VARINT, lambda value: _zigzag(value, 32)),
    types.SINT64: (VARINT, lambda value: _zigzag(value, 64)),
    types.BOOL: (VARINT, bool),
    types.ENUM: (VARINT, lambda value: signed(value, 32)),
    types.FIXED32: (I32, lambda value: int.from_bytes(value, "little")),
    types.FIXED64: (I64, lambda value: int.from_bytes(value, "little")),
    types.SFIXED32: (I32, lambda value: int.from_bytes(value, "little", signed=True)),
    types.SFIXED64: (I64, lambda value: int.from_bytes(value, "little", signed=True)),
}
_SIZES = {I32: 4, I64: 8}
_LENGTHY = frozenset({types.STRING, types.BYTES, types.MESSAGE, types.GROUP})


def documents(production: bytes, candidate: bytes, message: Message | None) -> tuple[Any, Any] | None:
    """Of two messages of one type, that are not equal; of one that is not known, or that they are not, by the wire.
    None if one of them is no message at all."""
    if message is not None:
        try:
            return _Reading(message).both(message, production, candidate, 0)
        except WireError:
            pass
    return wire.documents(production, candidate)


class _Reading:
    """Of one pair. ``_budget``: what may still be looked at, in fields and packed values."""

    __slots__ = ("_budget", "_schema")

    def __init__(self, message: Message) -> None:
        self._schema = message.schema
        self._budget = [MAX_FIELDS]

    def both(self, message: Message, p: bytes, c: bytes, depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Raises WireError."""
        ours: dict[str, Any] = {}
        theirs: dict[str, Any] = {}
        left, left_unknown = self._gathered(message, p, depth)
        right, right_unknown = self._gathered(message, c, depth)
        if message.is_any:
            ours, theirs = self._any(left, right, depth)
            left, right = {}, {}
        for number in sorted({*left, *right}):
            field = message.fields[number]
            found = self._field(field, left.get(number), right.get(number), depth)
            for document, value in zip((ours, theirs), found, strict=True):
                if value is not _ABSENT:
                    document[field.name] = value
        if left_unknown or right_unknown:
            for document, unknown in zip(
                (ours, theirs), wire.both(left_unknown, right_unknown, self._budget, depth), strict=True
            ):
                document.update(unknown)
        return ours, theirs

    def _gathered(self, message: Message, data: bytes, depth: int) -> tuple[dict[int, _Raw], Fields]:
        """What the message declares, and what it does not."""
        known: dict[int, _Raw] = {}
        unknown: Fields = {}
        for number, kind, value in scan_untrusted(data, self._budget, depth):
            field = message.fields.get(number)
            if field is None or not _fits(field, kind):
                unknown.setdefault(number, []).append((kind, value))
                continue
            if field.oneof >= 0:
                for other in message.oneofs[field.oneof]:
                    if other != number:
                        known.pop(other, None)
            known.setdefault(number, []).append((kind, value))
        return known, unknown

    # --- fields -------------------------------------------------------------------------------------------------------

    def _field(self, field: Field, p: _Raw | None, c: _Raw | None, depth: int) -> tuple[Any, Any]:
        """Its value on both sides, _ABSENT where there is none."""
        if field.kind in (types.MESSAGE, types.GROUP):
            return self._messages(field, p, c, depth)
        if not field.repeated:
            left, right = self._values(field, p and p[-1:], c and c[-1:])
            return self._one(field, left), self._one(field, right)
        left, right = self._values(field, p, c)
        return _ABSENT if p is None else left, _ABSENT if c is None else right

    def _one(self, field: Field, values: list[Any]) -> Any:
        if not values or (field.implicit and values[0] == _default(field, self._schema)):
            return _ABSENT
        return values[0]

    def _values(self, field: Field, p: _Raw | None, c: _Raw | None) -> tuple[Any, Any]:
        """Lists of scalars; a text where they are more than are looked at."""
        p, c = p or [], c or []
        if field.kind == types.STRING:  # what is no UTF-8 keeps what it is
            left, right = ([value.decode("utf-8", "surrogateescape") for _, value in side] for side in (p, c))
            return left, right
        if field.kind == types.BYTES:
            return wire.shown_bytes([value for _, value in p], [value for _, value in c])
        packed = sum(len(value) for kind, value in (*p, *c) if kind == LEN)
        kind, read = _SCALARS[field.kind]
        cost = packed // _SIZES.get(kind, 1)
        if cost > self._budget[0]:
            return [_uncounted(p)], [_uncounted(c)]
        self._budget[0] -= cost
        names = self._schema.values(field.of) if field.kind == types.ENUM else {}
        found = []
        for side in (p, c):
            values = [read(value) for value in _unpacked(side, kind)]
            found.append([names.get(value, value) for value in values] if names else values)
        return found[0], found[1]

    # --- messages -----------------------------------------------------------------------------------------------------

    def _messages(self, field: Field, p: _Raw | None, c: _Raw | None, depth: int) -> tuple[Any, Any]:
        message = self._schema.message(field.of)
        sides = [None if side is None else [value for _, value in side] for side in (p, c)]
        if not field.repeated:
            sides = [None if side is None else [b"".join(side)] for side in sides]  # parts are merged: so says the wire
        elif message is not None and message.is_entry:
            return self._maps(message, sides[0], sides[1], depth)
        left, right = sides[0] or [], sides[1] or []
        pairs = [
            self._message(message, left[at] if at < len(left) else None, right[at] if at < len(right) else None, depth)
            for at in range(max(len(left), len(right)))
        ]
        found = [
            _ABSENT if side is None else [pair[at] for pair in pairs[: len(side)]] for at, side in enumerate(sides)
        ]
        if not field.repeated:
            found = [side if side is _ABSENT else side[0] for side in found]
        return found[0], found[1]

    def _message(self, message: Message | None, p: bytes | None, c: bytes | None, depth: int) -> tuple[Any, Any]:
        """One beside its counterpart, None where there is none: what is made of it then is not looked at."""
        if depth >= MAX_DEPTH:
            return (p or b"").hex(), (c or b"").hex()
        if message is not None:
            return self.both(message, p or b"", c or b"", depth + 1)
        left, right = ([] if side is None else [side] for side in (p, c))
        ours, theirs = wire.lengthy(left, right, self._budget, depth)
        return ours[0] if ours else _ABSENT, theirs[0] if theirs else _ABSENT

    def _maps(self, entry: Message, p: list[bytes] | None, c: list[bytes] | None, depth: int) -> tuple[Any, Any]:
        sides = [None if side is None else self._entries(entry, side, depth) for side in (p, c)]
        left, right = sides[0] or {}, sides[1] or {}
        field = entry.fields[2]
        ours: dict[str, Any] = {}
        theirs: dict[str, Any] = {}
        for key in dict.fromkeys((*left, *right)):
            found = self._field(field, left.get(key), right.get(key), depth)
            for document, side, value in ((ours, left, found[0]), (theirs, right, found[1])):
                if key in side:
                    document[key] = _default(field, self._schema) if value is _ABSENT else value
        return _ABSENT if p is None else ours, _ABSENT if c is None else theirs

    def _entries(self, entry: Message, values: list[bytes], depth: int) -> dict[str, _Raw]:
        """A map's values by key; of one key the last."""
        found: dict[str, _Raw] = {}
        field = entry.fields[1]
        for data in values:
            known, _ = self._gathered(entry, data, depth)
            key = self._values(field, known.get(1, [])[-1:], None)[0]
            name = key[0] if key else _default(field, self._schema)
            found[str(name).lower() if isinstance(name, bool) else str(name)] = known.get(2, [])
        return found

    def _any(self, p: dict[int, _Raw], c: dict[int, _Raw], depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What it holds beside its name. Two of one type are read at once; others each by itself."""
        urls = [side[1][-1][1].decode("utf-8", "surrogateescape") if 1 in side else "" for side in (p, c)]
        values = [side[2][-1][1] if 2 in side else b"" for side in (p, c)]
        if urls[0] == urls[1]:
            pair = self._held(urls[0], values[0], values[1], depth)
        else:
            pair = self._held(urls[0], values[0], b"", depth)[0], self._held(urls[1], b"", values[1], depth)[1]
        ours, theirs = ({"@type": url, **held} if url else held for url, held in zip(urls, pair, strict=True))
        return ours, theirs

    def _held(self, url: str, p: bytes, c: bytes, depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
        message = self._schema.message(url.rpartition("/")[2])
        if message is not None and depth < MAX_DEPTH:
            try:
                return self.both(message, p, c, depth + 1)
            except WireError:
                if self._budget[0] < 0:
                    raise
        ours, theirs = wire.lengthy([p], [c], self._budget, depth)
        return ({"value": ours[0]} if p else {}), ({"value": theirs[0]} if c else {})


def _fits(field: Field, kind: int) -> bool:
    if field.kind in _LENGTHY:
        return kind == LEN
    scalar = _SCALARS.get(field.kind)
    return scalar is not None and (kind == scalar[0] or (kind == LEN and field.repeated))


def _unpacked(values: _Raw, kind: int) -> list[Any]:
    """Of a field of this wire type, the packed ones too. Raises WireError."""
    found: list[Any] = []
    for came, value in values:
        if came == kind:
            found.append(value)
        elif kind == VARINT:
            at = 0
            while at < len(value):
                number, at = wire.varint(value, at)
                found.append(number)
        else:
            size = _SIZES[kind]
            if len(value) % size:
                raise WireError("packed values that end too early")
            found += [value[at : at + size] for at in range(0, len(value), size)]
    return found


def _uncounted(values: _Raw) -> str:
    """Of more packed values than are looked at: their bytes."""
    return " ".join(str(value) if kind == VARINT else value.hex() for kind, value in values)


def _default(field: Field, schema: types.Schema) -> Any:
    """What a map's key or value is when it was not sent."""
    if field.kind in (types.MESSAGE, types.GROUP):
        return {}
    if field.kind in (types.STRING, types.BYTES):
        return ""
    if field.kind == types.ENUM:
        return schema.values(field.of).get(0, 0)
    return False if field.kind == types.BOOL else 0
