"""Evidence as bytes, and back: so that a run outlives the daemon (sans-IO).

``freeze`` takes a graph of values — plain ones, containers, and objects of registered classes — and gives msgpack;
``thaw`` makes the same graph of it: shared references stay shared, cycles stay cycles. It is no pickle: only classes of
the ``Registry`` are made, by ``__new__`` and by setting the attributes that they have; nothing else is called, and
whatever does not fit is a ``FreezeError``. Each class stands in the data with the names of its attributes: data that
another version of the code wrote in another shape is refused as a whole. What keeps its shape and changes its *meaning*
must raise ``FORMAT``.

The data is a flat list of nodes, which refer to each other by number, so that no nesting can exhaust the stack. Objects
and lists are made empty first and filled last; what has to be whole at once (tuples, sets' members, methods) is made in
the order of what it needs.

Traffic that waits to be stored or is only remembered (``forgotten`` classes) is left out: an attribute becomes None, an
element is dropped. Texts pass through ``text``, which redacts them.
"""

from __future__ import annotations

import re
import types
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Generator, Iterable
from enum import Enum
from typing import Any

import msgpack

from shadowd.errors import ShadowdError

FORMAT = 1
#: A run of 500 endpoints with 20 fields each is some 6 MB; more is not stored, and said.
MAX_BYTES = 32 << 20
MAX_NODES = 2_000_000
#: Nodes between two pauses of ``freeze_steps``: about a millisecond.
STEP = 500
_PATTERN_LIMIT = 4096  # characters of a regular expression that is compiled again
_IMMEDIATE = (bool, float, str, bytes, type(None))
_FACTORIES: dict[str, Any] = {"int": int, "float": float, "list": list, "dict": dict, "set": set, "": None}
_ARRAYS = frozenset("bBhHiIlLqQfd")
_SMALL = 1 << 63
ABSENT = [-1]  # in place of a reference: the object has a slot for it, and nothing in it

Text = Callable[[str], str]


class FreezeError(ShadowdError):
    """Values that cannot be frozen, or data that is no frozen value of this version."""


class Registry:
    """The classes, enumerations and functions that frozen data may name, and the classes that are left out.

    ``of`` finds them in modules: everything defined there. A class without ``__slots__`` is known by the attributes
    that its first frozen object has, so its constructor is to set them all.
    """

    __slots__ = ("_slots", "classes", "forgotten", "functions", "names")

    def __init__(
        self, classes: Iterable[type], forgotten: Iterable[type] = (), functions: Iterable[types.FunctionType] = ()
    ) -> None:
        self.forgotten = tuple(forgotten)
        self.names: dict[type, str] = {}
        self.classes: dict[str, type] = {}
        for one in classes:
            if one not in self.forgotten:
                name = f"{one.__module__}:{one.__qualname__}"
                self.names[one] = name
                self.classes[name] = one
        self.functions = {f"{one.__module__}:{one.__qualname__}": one for one in functions}
        self._slots: dict[type, tuple[str, ...] | None] = {}

    @classmethod
    def of(
        cls, modules: Iterable[types.ModuleType], forgotten: Iterable[type] = (), also: Iterable[type] = ()
    ) -> Registry:
        classes: list[type] = list(also)
        functions: list[types.FunctionType] = []
        for module in modules:
            for value in vars(module).values():
                if getattr(value, "__module__", None) != module.__name__:
                    continue
                if isinstance(value, type) and not issubclass(value, BaseException):
                    classes.append(value)
                elif isinstance(value, types.FunctionType):
                    functions.append(value)
        return cls(classes, forgotten, functions)

    def slots(self, cls: type) -> tuple[str, ...] | None:
        """The attributes of a class in a stable order; None where its objects have a ``__dict__``."""
        if cls not in self._slots:
            names: list[str] = []
            for base in cls.__mro__:
                own = vars(base).get("__slots__", ())
                names += [own] if isinstance(own, str) else list(own)
            has_dict = getattr(cls, "__dictoffset__", 0) != 0
            self._slots[cls] = None if has_dict else tuple(sorted(set(names) - {"__weakref__"}))
        return self._slots[cls]


# --- freezing ---------------------------------------------------------------------------------------------------------


def freeze(value: object, registry: Registry, text: Text = str) -> bytes:
    """The value as bytes. Raises FreezeError for what is not registered, or too large."""
    steps = freeze_steps(value, registry, text)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return bytes(done.value)


def freeze_steps(value: object, registry: Registry, text: Text = str) -> Generator[None, None, bytes]:
    """The same in steps of about a millisecond; the value must not change between them. Returns the bytes."""
    freezer = _Freezer(registry, text)
    root = freezer.reference(value)
    packer = msgpack.Packer(use_bin_type=True, autoreset=True)
    pieces: list[bytes] = []
    size = done = 0
    try:
        while done < len(freezer.objects):
            piece: bytes = packer.pack(freezer.node(freezer.objects[done]))
            pieces.append(piece)
            size += len(piece)
            done += 1
            if size > MAX_BYTES or len(freezer.objects) > MAX_NODES:
                raise FreezeError(f"the evidence is larger than {MAX_BYTES >> 20} MB", "it is not kept over a restart")
            if done % STEP == 0:
                yield
        head: bytes = packer.pack([FORMAT, freezer.table(), root, len(pieces)])
    except (ValueError, OverflowError, TypeError, RuntimeError) as error:
        raise FreezeError(f"the evidence cannot be kept: {error}", "report it") from None
    return head + b"".join(pieces)


class _Freezer:
    __slots__ = ("_classes", "_numbers", "_registry", "_text", "_texts", "objects")

    def __init__(self, registry: Registry, text: Text) -> None:
        self._registry = registry
        self._text = text
        self._texts: dict[str, str] = {}
        self._numbers: dict[int, int] = {}
        self._classes: dict[type, tuple[int, tuple[str, ...]]] = {}
        self.objects: list[object] = []  # by number; held, so that no id is used twice

    def table(self) -> list[list[object]]:
        return [[self._registry.names[cls], list(names)] for cls, (_, names) in self._classes.items()]

    def reference(self, value: object) -> object:
        """An immediate value, or ``[number]``."""
        kind = type(value)
        if kind is str:
            return self._redacted(value)  # type: ignore[arg-type]
        if kind is int:
            if -_SMALL <= value < _SMALL:  # type: ignore[operator]
                return value
        elif kind is bytes:
            return self._redacted_bytes(value)  # type: ignore[arg-type]
        elif kind in _IMMEDIATE:
            return value
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return (number,)

    def _redacted(self, value: str) -> str:
        known = self._texts.get(value)
        if known is None:
            known = self._text(value).encode("utf-8", "replace").decode()
            self._texts[value] = known
        return known

    def _redacted_bytes(self, value: bytes) -> bytes:
        if len(value) < 6 or (len(value) <= 64 and not value.isascii()):  # a digest, or no text
            return value
        text = value.decode("utf-8", "surrogateescape")
        redacted = self._text(text)
        return value if redacted == text else redacted.encode("utf-8", "surrogateescape")

    def _kept(self, values: Iterable[object]) -> list[object]:
        forgotten = self._registry.forgotten
        return [self.reference(one) for one in values if not isinstance(one, forgotten)]

    def _pairs(self, table: dict[Any, Any]) -> list[object]:
        forgotten = self._registry.forgotten
        pairs: list[object] = []
        for key, value in table.items():
            if not isinstance(value, forgotten) and not isinstance(key, forgotten):
                pairs.append(self.reference(key))
                pairs.append(self.reference(value))
        return pairs

    def node(self, value: object) -> list[object]:
        """What is written of one object: its kind, and what it is made of."""
        kind = type(value)
        if kind in self._registry.names:
            return self._object(value, kind)
        if kind is dict:
            return ["d", *self._pairs(value)]  # type: ignore[arg-type]
        if kind is list:
            return ["l", *self._kept(value)]  # type: ignore[arg-type]
        if kind is tuple:
            return ["t", *map(self.reference, value)]  # type: ignore[call-overload]
        if isinstance(value, self._registry.forgotten):
            return ["n"]
        return self._rarer(value, kind)

    def _object(self, value: object, kind: type) -> list[object]:
        if isinstance(value, Enum):
            return ["e", self._number_of(kind, ()), value.name]
        if isinstance(value, tuple):  # a named tuple, or one with methods
            return ["u", self._number_of(kind, ()), *map(self.reference, value)]
        if isinstance(value, str | bytes | int | float | list | dict | set | deque):
            raise FreezeError(f"the evidence cannot be kept: {kind.__name__} extends a plain type", "report it")
        slots = self._registry.slots(kind)
        if slots is None:
            # what hides a method stands there for a moment only (``resuming.Hold``)
            names = tuple(sorted(name for name in vars(value) if not hasattr(kind, name)))
            number = self._number_of(kind, names)
            if self._classes[kind][1] != names:
                raise FreezeError(f"the evidence cannot be kept: two {kind.__name__} differ in shape", "report it")
            return ["o", number, *(self.reference(vars(value)[name]) for name in names)]
        parts = [self.reference(getattr(value, name)) if hasattr(value, name) else ABSENT for name in slots]
        return ["o", self._number_of(kind, slots), *parts]

    def _number_of(self, kind: type, names: tuple[str, ...]) -> int:
        found = self._classes.get(kind)
        if found is None:
            found = self._classes[kind] = len(self._classes), names
        return found[0]

    def _rarer(self, value: object, kind: type) -> list[object]:
        match value:
            case int() if kind is int:
                return ["i", value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)]
            case array():
                return ["a", value.typecode, value.itemsize, value.tobytes()]
            case deque() if kind is deque:
                return ["q", value.maxlen, *self._kept(value)]
            case OrderedDict() if kind is OrderedDict:
                return ["O", *self._pairs(value)]
            case Counter() if kind is Counter:
                return ["c", *self._pairs(value)]
            case defaultdict() if kind is defaultdict:
                factory = next((name for name, one in _FACTORIES.items() if one is value.default_factory), None)
                if factory is not None:
                    return ["D", factory, *self._pairs(value)]
            case set() if kind is set:
                return ["s", *self._kept(value)]
            case frozenset() if kind is frozenset:
                return ["f", *self._kept(value)]
            case bytearray():
                return ["b", bytes(value)]
            case re.Pattern():
                return ["p", value.pattern, value.flags]
            case types.MethodType() if type(value.__self__) in self._registry.names:
                return ["m", self.reference(value.__self__), value.__name__]
            case types.FunctionType():
                name = f"{value.__module__}:{value.__qualname__}"
                if self._registry.functions.get(name) is value:
                    return ["F", name]
            case type() if value in self._registry.names:
                return ["C", self._registry.names[value]]
        raise FreezeError(
            f"the evidence cannot be kept: there is a {kind.__module__}.{kind.__name__} in it", "report it"
        )
