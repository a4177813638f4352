"""Kinds of values of which two make one of the same kind, in any order and grouping (sans-IO).

``merge`` of each is commutative and associative, ``empty`` is its identity. Values are plain and never changed:
numbers, texts, tuples, tables, arrays. ``write`` gives what msgpack carries, ``read_untrusted`` takes it back, and
raises ValueError for whatever is no such value: it believes no number, length or order.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from shadowd.evidence.plain import LIMIT, exactly, listed, number, numbers, text


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


def added(one: array[int], other: array[int]) -> array[int]:
    """Of the same length."""
    return array("q", map(int.__add__, one, other))


def digest(name: Any) -> bytes:
    """Which of too many names stay."""
    parts = name if isinstance(name, tuple) else (name,)
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
