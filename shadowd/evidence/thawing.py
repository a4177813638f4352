"""Frozen evidence made values again; ``freezing.py`` says how it is written, and what may be in it (sans-IO)."""

from __future__ import annotations

import re
import types
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from typing import Any, cast

import msgpack

from shadowd.evidence.freezing import (
    _ARRAYS,
    _FACTORIES,
    _PATTERN_LIMIT,
    ABSENT,
    FORMAT,
    MAX_BYTES,
    MAX_NODES,
    FreezeError,
    Registry,
)

__all__ = ["thaw_untrusted"]

_REFUSED = "evidence of this run cannot be taken up"
_BEGIN = "the run begins anew"
_MUTABLE = frozenset("dlqOcDsob")
_MAX_WEIGHT = 10_000  # tuples in one tuple, in all; those of evidence have three
_MISSING = object()


def thaw_untrusted(data: bytes, registry: Registry) -> Any:
    """The value that was frozen. Raises FreezeError alone, whatever the bytes are."""
    if len(data) > MAX_BYTES + (1 << 20):
        raise FreezeError(f"{_REFUSED}: it is larger than {MAX_BYTES >> 20} MB", _BEGIN)
    try:
        return _Thawer(data, registry).value()
    except FreezeError:
        raise
    except (
        ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, MemoryError,
        msgpack.UnpackException, re.error,
    ) as error:  # fmt: skip
        raise FreezeError(f"{_REFUSED}: the data is damaged ({type(error).__name__})", _BEGIN) from None


_COMPILED_METHOD = "cython_function_or_method"


class _Thawer:
    __slots__ = ("_classes", "_made", "_nodes", "_registry", "_root", "_weights")

    def __init__(self, data: bytes, registry: Registry) -> None:
        self._registry = registry
        size = len(data)
        unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=True, use_list=True, max_buffer_size=max(1, size), max_str_len=size,
            max_bin_len=size, max_array_len=size, max_map_len=0, max_ext_len=0,
        )  # fmt: skip
        unpacker.feed(data)
        written, table, self._root, count = unpacker.unpack()
        if written != FORMAT:
            raise FreezeError(f"{_REFUSED}: it has format {written!s:.20}, this version writes {FORMAT}", _BEGIN)
        if not isinstance(count, int) or not 0 <= count <= MAX_NODES:
            raise ValueError("count")
        self._classes = [self._known(name, names) for name, names in table]
        self._nodes: list[list[Any]] = [unpacker.unpack() for _ in range(count)]
        if unpacker.tell() != size or not all(type(node) is list and node for node in self._nodes):
            raise ValueError("length")
        self._made: list[Any] = [_MISSING] * count
        self._weights: dict[int, int] = {}  # of tuples: the tuples in them

    def _known(self, name: str, names: list[str]) -> tuple[type, list[str]]:
        cls = self._registry.classes.get(name)
        slots = self._registry.slots(cls) if cls is not None else None
        fits = cls is not None and all(isinstance(one, str) and one.isidentifier() for one in names)
        if cls is None or not fits or (slots is not None and names and list(slots) != names):
            shown = str(name).rpartition(":")[2]
            raise FreezeError(f"{_REFUSED}: {shown:.60} has another shape in this version", _BEGIN)
        return cls, names

    def value(self) -> Any:
        for number, node in enumerate(self._nodes):
            if node[0] in _MUTABLE:
                self._made[number] = self._empty(node)
        for number in range(len(self._nodes)):
            if self._made[number] is _MISSING:
                self._make(number)
        # attributes first: what hashes by them may be a key
        for kinds in ("ol", "qb", "dOcDs"):
            for made, node in zip(self._made, self._nodes, strict=True):
                if node[0] in kinds:
                    self._fill(made, node)
        return self._get(self._root)

    def _get(self, reference: Any) -> Any:
        if type(reference) is not list:
            return reference
        (number,) = reference
        return self._made[_index(number)]

    def _empty(self, node: list[Any]) -> Any:
        match node[0]:
            case "o":
                cls = self._classes[_index(node[1])][0]
                if issubclass(cls, tuple | Enum):
                    raise ValueError("kind")
                try:
                    return object.__new__(cls)
                except TypeError:  # a compiled class: its own __new__ is C, and runs nothing of ours
                    return cls.__new__(cls)
            case "d":
                return {}
            case "l":
                return []
            case "s":
                return set()
            case "q":
                return deque(maxlen=node[1])
            case "O":
                return OrderedDict()
            case "c":
                return Counter()
            case "D":
                return defaultdict(_FACTORIES[node[1]])
        return bytearray()

    def _make(self, wanted: int) -> None:
        """One of those that are whole at once, after those that it is made of."""
        waiting = [wanted]
        begun: set[int] = set()
        while waiting:
            number = waiting[-1]
            node = self._nodes[number]
            missing = [
                one for one in map(_number, node) if one is not None and self._made[one] is _MISSING
            ]  # fmt: skip
            if missing:
                if number in begun:
                    raise ValueError("a cycle of values that are whole at once")
                begun.add(number)
                waiting += missing
                continue
            if self._made[number] is _MISSING:
                # hashing walks through all of a tuple, again for each time that a part stands in it
                weight = 1 + sum(self._weights.get(one, 0) for one in map(_number, node) if one is not None)
                if weight > _MAX_WEIGHT:
                    raise ValueError("tuples in tuples")
                self._weights[number] = weight
                self._made[number] = self._whole(node)
            waiting.pop()

    def _whole(self, node: list[Any]) -> Any:
        match node:
            case ["t", *parts]:
                return tuple(map(self._get, parts))
            case ["f", *parts]:
                return frozenset(map(self._get, parts))
            case ["n"]:
                return None
            case ["i", bytes() as digits]:
                return int.from_bytes(digits, "big", signed=True)
            case ["a", str() as code, int() as size, bytes() as data] if code in _ARRAYS:
                made = array(code)
                if made.itemsize != size:
                    raise ValueError("another machine's array")
                made.frombytes(data)
                return made
            case ["p", (str() | bytes()) as pattern, int() as flags] if len(pattern) <= _PATTERN_LIMIT:
                return re.compile(pattern, flags)
            case ["u", int() as number, *parts]:
                cls: Any = self._classes[_index(number)][0]
                fields = getattr(cls, "_fields", None)
                if not issubclass(cls, tuple) or (fields is not None and len(fields) != len(parts)):
                    raise ValueError("tuple")
                return tuple.__new__(cls, map(self._get, parts))
            case ["e", int() as number, str() as name]:
                cls = self._classes[_index(number)][0]
                if not issubclass(cls, Enum):
                    raise ValueError("enumeration")
                return cls[name]
            case ["m", owner, str() as name]:
                self_ = self._get(owner)
                function = vars(type(self_)).get(name) if type(self_) in self._registry.names else None
                if not isinstance(function, types.FunctionType) and type(function).__name__ != _COMPILED_METHOD:
                    raise ValueError("method")
                return types.MethodType(cast(Any, function), self_)
            case ["F", str() as name]:
                return self._registry.functions[name]
            case ["C", str() as name]:
                return self._registry.classes[name]
        raise ValueError("node")

    def _fill(self, made: Any, node: list[Any]) -> None:
        match node:
            case ["o", number, *parts]:
                names = self._classes[number][1]
                for name, part in zip(names, parts, strict=True):
                    if part != ABSENT:
                        object.__setattr__(made, name, self._get(part))
            case ["l", *parts]:
                made.extend(map(self._get, parts))
            case ["q", _, *parts]:
                made.extend(map(self._get, parts))
            case ["b", bytes() as data]:
                made.extend(data)
            case ["s", *parts]:
                made.update(map(self._get, parts))
            case ["D", _, *pairs]:
                self._fill_table(made, pairs)
            case [_, *pairs]:
                self._fill_table(made, pairs)

    def _fill_table(self, made: Any, pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise ValueError("pairs")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            made[self._get(key)] = self._get(value)


def _number(part: Any) -> int | None:
    """Of a reference."""
    return _index(part[0]) if type(part) is list else None


def _index(number: Any) -> int:
    """Python would count negative ones from the end."""
    if type(number) is not int or number < 0:
        raise ValueError("reference")
    return number
