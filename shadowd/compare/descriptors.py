"""The schema of Protocol Buffers and gRPC as compilers write it: a FileDescriptorSet, read (sans-IO).

``protoc --descriptor_set_out=FILE --include_imports`` and ``buf build -o FILE`` write the files of a schema as messages
of google/protobuf/descriptor.proto, which is their own schema; the numbers below are that file's. The wire parser of
``protobuf.py`` reads them as well as any message.

A set is indexed as a whole: which messages, enumerations and methods there are, and where they stand. What a message
has is read when the first of it is compared: sets have thousands of messages, and a service answers in some of them.

A set may be anything that somebody called so. What is none, or lacks what it imports, is a ``SchemaError`` at once; a
message whose own fields cannot be read has no schema.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shadowd.compare.protobuf import LEN, MAX_DEPTH, VARINT, Fields, WireError, parse_untrusted

#: Fields of a set that are looked at when it is indexed: a second. All of googleapis has a tenth.
MAX_ENTRIES = 1_000_000

# FieldDescriptorProto.Type
DOUBLE, FLOAT, INT64, UINT64, INT32, FIXED64, FIXED32, BOOL, STRING, GROUP, MESSAGE, BYTES, UINT32, ENUM = range(1, 15)
SFIXED32, SFIXED64, SINT32, SINT64 = range(15, 19)
_REPEATED = 3  # of FieldDescriptorProto.Label
_NO_SIDE_EFFECTS = 1  # of MethodOptions.IdempotencyLevel
_IMPLICIT = 2  # of FeatureSet.FieldPresence
_FEATURES_OF_FILE, _FEATURES_OF_MESSAGE, _FEATURES_OF_FIELD = 50, 12, 21
_ANY = "google.protobuf.Any"


class SchemaError(ValueError):
    """No schema; the text says why."""


class Field(NamedTuple):
    """``of``: the name of its message or enumeration. ``implicit``: a value that is the default is not sent.
    ``oneof``: which of the message's, -1 if none."""

    name: str
    kind: int
    repeated: bool
    implicit: bool
    oneof: int
    of: str


class Message:
    """``fields`` by number; ``oneofs``: the numbers that stand in each. ``is_entry``: of a map, with a key (1) and a
    value (2); ``is_any``: google.protobuf.Any, a type's name (1) and a message of it (2)."""

    __slots__ = ("fields", "is_any", "is_entry", "name", "oneofs", "schema")

    def __init__(self, schema: Schema, name: str) -> None:
        self.schema = schema
        self.name = name
        self.fields: dict[int, Field] = {}
        self.oneofs: dict[int, list[int]] = {}
        self.is_entry = self.is_any = False


class Method(NamedTuple):
    """A call's messages by name, and whether it says that it changes nothing."""

    asked: str
    answered: str
    reads: bool


class _Place(NamedTuple):
    """What describes a message, and whether its file's fields have implicit presence unless they say otherwise."""

    data: bytes
    implicit: bool


class Schema:
    """Of one set. ``reads``: paths of the methods that say that they change nothing (``/shop.Shop/GetItem``)."""

    __slots__ = ("_enums", "_extensions", "_known", "_places", "_values", "data", "methods", "reads")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.methods: dict[str, Method] = {}
        self._places: dict[str, _Place] = {}
        self._enums: dict[str, bytes] = {}
        self._extensions: dict[str, list[tuple[str, Fields]]] = {}  # by what they extend, and their scope
        self._known: dict[str, Message | None] = {}
        self._values: dict[str, dict[int, str]] = {}
        _Index(self._places, self._enums, self._extensions, self.methods).read(data)
        self.reads = frozenset(f"/{name}".encode() for name, method in self.methods.items() if method.reads)

    def __reduce__(self) -> tuple[Any, ...]:
        return again, (self.data,)

    def answer_of(self, target: bytes) -> Message | None:
        """What is answered to a call of this path: gRPC, gRPC-web, Connect and Twirp end in ``/Service/Method``."""
        parts = target.partition(b"?")[0].decode("latin-1").rsplit("/", 2)
        method = self.methods.get(f"{parts[-2]}/{parts[-1]}") if len(parts) == 3 else None
        return None if method is None else self.message(method.answered)

    def message(self, name: str) -> Message | None:
        """By its full name; None if the set does not have it, or it cannot be read."""
        if name in self._known:
            return self._known[name]
        place = self._places.get(name)
        if place is None:
            return None
        try:
            found: Message | None = self._message(name, place)
        except (WireError, SchemaError):
            found = None
        self._known[name] = found
        return found

    def values(self, name: str) -> dict[int, str]:
        """An enumeration's names by number; of several for one number the first."""
        found = self._values.get(name)
        if found is None:
            found = self._values[name] = {}
            try:
                for data in _parts(_parse(self._enums.get(name, b"")), 2):
                    value = _parse(data)
                    found.setdefault(signed(_number(value, 2), 32), _text(value, 1))
            except (WireError, SchemaError):
                found.clear()
        return found

    def _message(self, name: str, place: _Place) -> Message:
        message = Message(self, name)
        described = _parse(place.data)
        options = _parse(_joined(described, 7))
        implicit = _presence(options, _FEATURES_OF_MESSAGE, place.implicit)
        for data in _parts(described, 2):
            field = _parse(data)
            self._add(message, field, _text(field, 1), implicit)
        for scope, field in self._extensions.get(name, ()):
            self._add(message, field, f"[{scope}{_text(field, 1)}]", False)
        key, value = message.fields.get(1), message.fields.get(2)
        if _number(options, 7) and key is not None and value is not None and not (key.repeated or value.repeated):
            message.is_entry = DOUBLE <= key.kind <= SINT64 >= value.kind > 0 and key.kind not in (MESSAGE, GROUP)
        message.is_any = (
            name == _ANY
            and key is not None
            and value is not None
            and ((key.kind, key.repeated, value.kind, value.repeated) == (STRING, False, BYTES, False))
        )
        return message

    @staticmethod
    def _add(message: Message, field: Fields, name: str, implicit: bool) -> None:
        number, kind = _number(field, 3), _number(field, 5)
        repeated = _number(field, 4) == _REPEATED
        oneof = _number(field, 9) if 9 in field else -1
        implicit = _presence(_parse(_joined(field, 8)), _FEATURES_OF_FIELD, implicit)
        implicit = implicit and not repeated and oneof < 0 and kind not in (MESSAGE, GROUP)
        message.fields[number] = Field(name, kind, repeated, implicit, oneof, _text(field, 6).removeprefix("."))
        if oneof >= 0:
            message.oneofs.setdefault(oneof, []).append(number)


def declared_by(schema: Schema | None) -> frozenset[bytes]:
    """Paths of the methods that say that they change nothing."""
    return frozenset() if schema is None else schema.reads


#: The comparer process is sent the schema with every trial, and reads it once.
_latest: list[Schema] = []


def again(data: bytes) -> Schema:
    """The schema that was made of this set."""
    if not _latest or _latest[0].data != data:
        _latest[:] = [schema_untrusted(data)]
    return _latest[0]


def schema_untrusted(data: bytes) -> Schema:
    """Of a FileDescriptorSet. Raises SchemaError."""
    try:
        return Schema(data)
    except WireError:
        raise SchemaError("it is no FileDescriptorSet") from None


class _Index:
    """Fills what a ``Schema`` knows of its set."""

    def __init__(
        self, places: dict[str, _Place], enums: dict[str, bytes], extensions: dict[str, list[tuple[str, Fields]]],
        methods: dict[str, Method],
    ) -> None:  # fmt: skip
        self._places, self._enums, self._extensions, self._methods = places, enums, extensions, methods
        self._budget = [MAX_ENTRIES]

    def read(self, data: bytes) -> None:
        fields = parse_untrusted(data, self._budget)
        files = [parse_untrusted(file, self._budget) for file in _parts(fields, 1)]
        if fields.keys() - {1}:
            raise SchemaError("it is no FileDescriptorSet")
        names = {_text(file, 1) for file in files}
        for file in files:
            for imported in (_decoded(data) for data in _parts(file, 3)):
                if imported not in names:
                    raise SchemaError(f"it lacks {imported[:100]}, which {_text(file, 1)[:100]} imports")
            self._file(file)
        if not self._places:
            raise SchemaError("it has no messages")

    def _file(self, file: Fields) -> None:
        package = _text(file, 2)
        scope = f"{package}." if package else ""
        implicit = _presence(_parse(_joined(file, 8)), _FEATURES_OF_FILE, _text(file, 12) == "proto3")
        for data in _parts(file, 4):
            self._message(data, scope, implicit, 0)
        for data in _parts(file, 5):
            self._enums[scope + _text(parse_untrusted(data, self._budget), 1)] = data
        self._extend(_parts(file, 7), scope)
        for data in _parts(file, 6):
            self._service(parse_untrusted(data, self._budget), scope)

    def _message(self, data: bytes, scope: str, implicit: bool, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise SchemaError("its messages are nested too deeply")
        fields = parse_untrusted(data, self._budget)
        name = scope + _text(fields, 1)
        self._places[name] = _Place(data, implicit)
        for nested in _parts(fields, 3):
            self._message(nested, f"{name}.", implicit, depth + 1)
        for enum in _parts(fields, 4):
            self._enums[f"{name}.{_text(parse_untrusted(enum, self._budget), 1)}"] = enum
        self._extend(_parts(fields, 6), f"{name}.")

    def _extend(self, extensions: list[bytes], scope: str) -> None:
        for data in extensions:
            field = parse_untrusted(data, self._budget)
            self._extensions.setdefault(_text(field, 2).removeprefix("."), []).append((scope, field))

    def _service(self, service: Fields, scope: str) -> None:
        name = scope + _text(service, 1)
        for data in _parts(service, 2):
            method = parse_untrusted(data, self._budget)
            options = parse_untrusted(_joined(method, 4), self._budget)
            self._methods[f"{name}/{_text(method, 1)}"] = Method(
                _text(method, 2).removeprefix("."), _text(method, 3).removeprefix("."),
                _number(options, 34) == _NO_SIDE_EFFECTS,
            )  # fmt: skip


def signed(value: int, bits: int) -> int:
    """The lower bits of a number as two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _parse(data: bytes) -> Fields:
    return parse_untrusted(data, [MAX_ENTRIES])


def _presence(options: Fields, features: int, inherited: bool) -> bool:
    """Whether presence is implicit (protobuf.dev, "Feature Settings for Editions")."""
    said = _number(_parse(_joined(options, features)), 1)
    return said == _IMPLICIT if said else inherited


def _parts(fields: Fields, number: int) -> list[bytes]:
    """Values of a repeated field of messages or texts."""
    values = fields.get(number, [])
    if any(kind != LEN for kind, _ in values):
        raise SchemaError("it is no FileDescriptorSet")
    return [value for _, value in values]


def _joined(fields: Fields, number: int) -> bytes:
    """A message that is one field: what comes twice is merged."""
    return b"".join(_parts(fields, number))


def _text(fields: Fields, number: int) -> str:
    values = _parts(fields, number)
    return _decoded(values[-1]) if values else ""


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SchemaError("it is no FileDescriptorSet") from None


def _number(fields: Fields, number: int) -> int:
    values = fields.get(number)
    return int(values[-1][1]) if values and values[-1][0] == VARINT else 0
