"""Kinds of values of which two make one of the same kind, in any order and grouping (sans-IO).

``merge`` of each is commutative and associative, ``empty`` is its identity. Values are plain and never changed:
numbers, texts, tuples, tables, arrays. ``write`` gives what msgpack carries, ``read_untrusted`` takes it back, and
raises ValueError for whatever is no such value: it believes no number, length or order.

What is kept by time is cut into slots of 2**shift ns that are aligned on the clock. Where two have different slots, the
wider ones are both's; where there are too many, two neighbours become one. That ends in the same slots whichever were
merged first, since a slot of twice the width is the sum of two.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any

from shadowd.evidence.stretches import GROUPS, SLOTS

#: Times are ns of the Unix epoch and counts are those of exchanges: both are far below it.
LIMIT = 1 << 62
TEXT_LIMIT = 4096  # characters: names have 200, values of a difference some hundred
#: Buckets of a sketch: 59 powers of two with 32 each.
_BUCKETS = 2048


class Kind:
    """See the module's head."""

    def empty(self) -> Any:
        raise AssertionError("told by each kind")

    def merge(self, one: Any, other: Any) -> Any:
        raise AssertionError("told by each kind")

    def write(self, value: Any) -> Any:
        return value

    def read_untrusted(self, data: Any) -> Any:
        raise AssertionError("told by each kind")


class Sum(Kind):
    """A count; less than nothing only where something was taken back."""

    def empty(self) -> int:
        return 0

    def merge(self, one: int, other: int) -> int:
        return one + other

    def read_untrusted(self, data: Any) -> int:
        return number(data)


class Most(Kind):
    """The largest; 0 where there is none."""

    def empty(self) -> float:
        return 0

    def merge(self, one: float, other: float) -> float:
        return max(one, other)

    def read_untrusted(self, data: Any) -> float:
        if type(data) is float and 0 <= data < LIMIT:
            return data
        return number(data, least=0)


class Least(Kind):
    """The smallest, such as the time of the first; 0 where there is none."""

    def empty(self) -> int:
        return 0

    def merge(self, one: int, other: int) -> int:
        return min(one, other) if one and other else one or other

    def read_untrusted(self, data: Any) -> int:
        return number(data, least=0)


class Word(Kind):
    """A text, of several the first in the order of the alphabet; "" where there is none."""

    def empty(self) -> str:
        return ""

    def merge(self, one: str, other: str) -> str:
        return min(one, other) if one and other else one or other

    def read_untrusted(self, data: Any) -> str:
        return text(data)


class Newest(Kind):
    """(time, texts): the latest, at one time the last in the alphabet; empty where there is none."""

    def empty(self) -> tuple[Any, ...]:
        return ()

    def merge(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        return max(one, other)

    def read_untrusted(self, data: Any) -> tuple[Any, ...]:
        if not listed(data, 3):
            return ()
        when, ours, theirs = data
        return number(when, least=0), text(ours), text(theirs)


class Words(Kind):
    """Texts, the first ``most`` in the order of the alphabet."""

    def __init__(self, most: int) -> None:
        self._most = most

    def empty(self) -> tuple[str, ...]:
        return ()

    def merge(self, one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
        return one if one == other else tuple(sorted({*one, *other})[: self._most])

    def write(self, value: tuple[str, ...]) -> list[str]:
        return list(value)

    def read_untrusted(self, data: Any) -> tuple[str, ...]:
        return self.merge((), tuple(map(text, listed(data, self._most))))


class Counts(Kind):
    """Counts by name. Of more than ``most`` names those whose digests are lowest stay, and the rest is one, ``rest``:
    which stay does not depend on what was counted first, or how often."""

    def __init__(self, most: int, rest: str = "other") -> None:
        self._table = Table(Sum(), most, rest)

    def empty(self) -> dict[str, int]:
        return {}

    def merge(self, one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
        merged: dict[str, int] = self._table.merge(one, other)
        return merged

    def write(self, value: dict[str, int]) -> Any:
        return self._table.write(value)

    def read_untrusted(self, data: Any) -> dict[str, int]:
        read: dict[str, int] = self._table.read_untrusted(data)
        return read


class Numbers(Kind):
    """``many`` counts in a row, or none of them."""

    def __init__(self, many: int) -> None:
        self._many = many

    def empty(self) -> array[int]:
        return array("q")

    def merge(self, one: array[int], other: array[int]) -> array[int]:
        return added(one, other) if one and other else one or other

    def write(self, value: array[int]) -> bytes:
        return value.tobytes()

    def read_untrusted(self, data: Any) -> array[int]:
        found = numbers(data, self._many)
        if len(found) not in (0, self._many):
            raise ValueError("length")
        return found


class Sketched(Kind):
    """(bucket of the first count, counts) of a ``LatencySketch``."""

    def empty(self) -> tuple[int, array[int]]:
        return 0, array("q")

    def merge(self, one: tuple[int, array[int]], other: tuple[int, array[int]]) -> tuple[int, array[int]]:
        if not one[1] or not other[1]:
            return one if one[1] else other
        base = min(one[0], other[0])
        many = max(one[0] + len(one[1]), other[0] + len(other[1])) - base
        return base, added(_widened(*one, base, many), _widened(*other, base, many))

    def write(self, value: tuple[int, array[int]]) -> list[Any]:
        return [value[0], value[1].tobytes()]

    def read_untrusted(self, data: Any) -> tuple[int, array[int]]:
        base, counts = exactly(data, 2)
        return number(base, 0, _BUCKETS), numbers(counts, _BUCKETS, least=0)


class Tallied(Kind):
    """(count, shift, number of the first slot, slots, groups) of a ``Tally``: by time, and by group of connections."""

    def empty(self) -> tuple[Any, ...]:
        return 0, 0, 0, array("q"), array("q", bytes(8 * GROUPS))

    def merge(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        shift, base, slots = joined((one[1:4], other[1:4]))
        return one[0] + other[0], shift, base, slots, added(one[4], other[4])

    def write(self, value: tuple[Any, ...]) -> list[Any]:
        count, shift, base, slots, groups = value
        return [count, shift, base, slots.tobytes(), groups.tobytes()]

    def read_untrusted(self, data: Any) -> tuple[Any, ...]:
        count, shift, base, slots, groups = exactly(data, 5)
        number(shift, 0, 62)
        read = numbers(slots, SLOTS)
        if number(base, 0) + len(read) > LIMIT >> shift:
            raise ValueError("time")
        return number(count), shift, base, read, numbers(groups, GROUPS, GROUPS)


class Maybe(Kind):
    """Of a kind, or None."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def empty(self) -> None:
        return None

    def merge(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        return self._kind.merge(one, other)

    def write(self, value: Any) -> Any:
        return None if value is None else [self._kind.write(value)]

    def read_untrusted(self, data: Any) -> Any:
        return None if data is None else self._kind.read_untrusted(*exactly(data, 1))


class Record(Kind):
    """Named values, each of its own kind."""

    def __init__(self, **kinds: Kind) -> None:
        self.kinds = kinds

    def empty(self) -> dict[str, Any]:
        return {name: kind.empty() for name, kind in self.kinds.items()}

    def merge(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        return {name: kind.merge(one[name], other[name]) for name, kind in self.kinds.items()}

    def write(self, value: Mapping[str, Any]) -> list[Any]:
        return [kind.write(value[name]) for name, kind in self.kinds.items()]

    def read_untrusted(self, data: Any) -> dict[str, Any]:
        parts = exactly(data, len(self.kinds))
        return {name: kind.read_untrusted(part) for (name, kind), part in zip(self.kinds.items(), parts, strict=True)}


class Table(Kind):
    """Values by name: a text, or a pair of texts. Bounded as ``Counts`` are, where it has a ``rest``."""

    def __init__(self, kind: Kind, most: int, rest: Any = None, pairs: bool = False) -> None:
        self._kind = kind
        self._most = most
        self._rest = rest
        self._pairs = pairs

    def empty(self) -> dict[Any, Any]:
        return {}

    def merge(self, one: Mapping[Any, Any], other: Mapping[Any, Any]) -> dict[Any, Any]:
        found = dict(one)
        for name, value in other.items():
            found[name] = self._kind.merge(found[name], value) if name in found else value
        return self.bounded(found) if len(found) > self._most else found

    def renamed(self, value: Mapping[Any, Any], name_of: Callable[[Any], Any]) -> dict[Any, Any]:
        """What stands under names that become one is merged."""
        found: dict[Any, Any] = {}
        for name, item in value.items():
            new = name_of(name)
            found[new] = self._kind.merge(found[new], item) if new in found else item
        return found

    def bounded(self, value: dict[Any, Any]) -> dict[Any, Any]:
        names = sorted((name for name in value if name != self._rest), key=digest)
        kept = set(names[: self._most])
        if self._rest is None:
            return {name: item for name, item in value.items() if name in kept}
        return self.renamed(value, lambda name: name if name in kept else self._rest)

    def write(self, value: Mapping[Any, Any]) -> list[Any]:
        return [[name, self._kind.write(item)] for name, item in value.items()]

    def read_untrusted(self, data: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for one in listed(data, self._most + 1):
            name, item = exactly(one, 2)
            key = tuple(map(text, exactly(name, 2))) if self._pairs else text(name)
            if key in found:
                raise ValueError("twice the same name")
            found[key] = self._kind.read_untrusted(item)
        return found


# --- what they are made of --------------------------------------------------------------------------------------------


def joined(parts: Iterable[tuple[int, int, array[int]]]) -> tuple[int, int, array[int]]:
    """(shift, number of the first slot, slots) of several such, at most ``SLOTS`` slots wide; see the module's head."""
    parts = tuple(parts)
    shift = max(part[0] for part in parts)
    filled = [part for part in parts if part[2]]
    if not filled:
        return shift, 0, array("q")
    low = min(base >> (shift - own) for own, base, _ in filled)
    high = max((base + len(slots) - 1) >> (shift - own) for own, base, slots in filled)
    while high - low >= SLOTS:
        shift, low, high = shift + 1, low >> 1, high >> 1
    if len(filled) == 1 and filled[0][0] == shift:
        return filled[0]
    found = array("q", bytes(8 * (high - low + 1)))
    for own, base, slots in filled:
        coarser = shift - own
        for index, many in enumerate(slots, base):
            if many:
                found[(index >> coarser) - low] += many
    return shift, low, found


def added(one: array[int], other: array[int]) -> array[int]:
    """Of the same length."""
    return array("q", map(int.__add__, one, other))


def _widened(base: int, counts: array[int], wanted: int, many: int) -> array[int]:
    before = base - wanted
    return array("q", bytes(8 * before)) + counts + array("q", bytes(8 * (many - before - len(counts))))


def digest(name: Any) -> bytes:
    """Which of too many names stay."""
    parts = name if isinstance(name, tuple) else (name,)
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def number(data: Any, least: int = -LIMIT, most: int = LIMIT) -> int:
    if type(data) is not int or not least <= data <= most:
        raise ValueError("number")
    return data


def real(data: Any) -> float:
    """A number that is one, finite or not."""
    if type(data) not in (int, float) or math.isnan(data):
        raise ValueError("number")
    return float(data)


def text(data: Any, most: int = TEXT_LIMIT) -> str:
    if type(data) is not str or len(data) > most:
        raise ValueError("text")
    return data


def listed(data: Any, most: int) -> list[Any]:
    if type(data) is not list or len(data) > most:
        raise ValueError("list")
    return data


def exactly(data: Any, many: int) -> list[Any]:
    if type(data) is not list or len(data) != many:
        raise ValueError("list")
    return data


def numbers(data: Any, most: int, fewest: int = 0, least: int = -LIMIT) -> array[int]:
    """So many signed numbers of 64 bits, as ``array.tobytes`` writes them on machines that are little-endian."""
    if type(data) is not bytes or len(data) % 8 or not 8 * fewest <= len(data) <= 8 * most:
        raise ValueError("numbers")
    found = array("q", data)
    if found and not (least <= min(found) and max(found) <= LIMIT):
        raise ValueError("number")
    return found
