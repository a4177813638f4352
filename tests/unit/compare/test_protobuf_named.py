"""Messages by their schema, against Google's own Protocol Buffers."""

from __future__ import annotations

import math
import pickle
import struct
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.compare.answers import compare_answers
from shadowd.compare.context import Context
from shadowd.compare.descriptors import Message, SchemaError, schema_untrusted
from shadowd.compare.difference import Options
from shadowd.compare.protobuf import MAX_FIELDS
from shadowd.compare.protobuf_named import documents
from shadowd.exchange.exchange import Response
from shadowd.redact.redaction import Redactor
from tests.unit.compare.protos import COLOURS, SCALARS, class_of, field, file_of, pool_of, set_of

FILES = {syntax: file_of(syntax) for syntax in ("proto2", "proto3")}
UNPACKED = {syntax: file_of(syntax, packed=False) for syntax in FILES}
CLASSES = {syntax: class_of(pool_of(file), "all.Everything") for syntax, file in FILES.items()}
LOOSE = {syntax: class_of(pool_of(file), "all.Everything") for syntax, file in UNPACKED.items()}
SCHEMAS = {syntax: schema_untrusted(set_of(file)) for syntax, file in FILES.items()}

WORDS = st.text("abc xyzäö", max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "double": st.floats(), "float": st.floats(width=32), "bool": st.booleans(), "string": WORDS,
    "bytes": st.binary(max_size=5),
    **{name: st.integers(-(1 << 31), (1 << 31) - 1) for name in ("int32", "sint32", "sfixed32")},
    **{name: st.integers(-(1 << 63), (1 << 63) - 1) for name in ("int64", "sint64", "sfixed64")},
    **{name: st.integers(0, (1 << 32) - 1) for name in ("uint32", "fixed32")},
    **{name: st.integers(0, (1 << 64) - 1) for name in ("uint64", "fixed64")},
}  # fmt: skip
COLOUR = st.sampled_from([number for _, number in COLOURS])


@st.composite
def filled(draw: st.DrawFn, syntax: str, made: Any, depth: int = 0) -> Any:
    """A message with some of its fields."""
    message = made()
    for name in draw(st.sets(st.sampled_from(sorted(SCALARS)), max_size=4)):
        setattr(message, f"one_{name}", draw(VALUES[name]))
        getattr(message, f"some_{name}").extend(draw(st.lists(VALUES[name], max_size=3)))
        if syntax == "proto3" and draw(st.booleans()):
            setattr(message, f"maybe_{name}", draw(VALUES[name] | st.just(type(getattr(message, f"maybe_{name}"))())))
    if draw(st.booleans()):
        message.colour = draw(COLOUR)
        message.colours.extend(draw(st.lists(COLOUR, max_size=3)))
    message.stock.update(draw(st.dictionaries(WORDS, VALUES["int64"], max_size=3)))
    message.flags.update(draw(st.dictionaries(st.booleans(), COLOUR, max_size=2)))
    if syntax == "proto2" and draw(st.booleans()):
        message.grouped.depth = draw(VALUES["int32"])
    choice = draw(st.sampled_from(["", "chosen_text", "chosen_number"]))
    if choice:
        setattr(message, choice, draw(WORDS if choice == "chosen_text" else VALUES["sint32"]))
    if depth < 2:
        if draw(st.booleans()):
            message.inner.CopyFrom(draw(filled(syntax, made, depth + 1)))
        for _ in range(draw(st.integers(0, 2))):
            message.inners.append(draw(filled(syntax, made, depth + 1)))
        for key in draw(st.sets(VALUES["sint32"], max_size=2)):
            message.parts[key].CopyFrom(draw(filled(syntax, made, depth + 1)))
        if draw(st.booleans()):
            message.held.Pack(draw(filled(syntax, made, depth + 1)))
    return message


def expected(message: Any) -> dict[str, Any]:
    """The document, by what Google's reflection says is there."""
    found: dict[str, Any] = {}
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        held = class_of(message.DESCRIPTOR.file.pool, "all.Everything").FromString(message.value)
        return {"@type": message.type_url, **expected(held)}
    for one, value in message.ListFields():
        if one.message_type is not None and one.message_type.GetOptions().map_entry:
            of = one.message_type.fields_by_name["value"]
            found[one.name] = {
                str(key).lower() if type(key) is bool else str(key): plain(of, value[key]) for key in value
            }
        elif one.is_repeated:
            found[one.name] = [plain(one, each) for each in value]
        else:
            found[one.name] = plain(one, value)
    return found


def plain(one: Any, value: Any) -> Any:
    if one.message_type is not None:
        return expected(value)
    if one.enum_type is not None:
        return one.enum_type.values_by_number[value].name
    if isinstance(value, float):
        kind = "f" if one.type == one.TYPE_FLOAT else "d"
        return "NaN" if math.isnan(value) else struct.pack(kind, value)
    return value


def comparable(document: Any, other: Any) -> Any:
    """What the reader made, as ``plain`` makes it; ``other``: what is expected there."""
    if isinstance(document, dict) and isinstance(other, dict):
        return {key: comparable(value, other.get(key)) for key, value in document.items()}
    if isinstance(document, list) and isinstance(other, list):
        return [comparable(a, b) for a, b in zip(document, other, strict=False)] + document[len(other) :]
    if isinstance(other, bytes):
        if isinstance(document, str) and document not in ("Infinity", "-Infinity", "NaN"):
            return other if document in (other.hex(), other.decode("utf-8", "replace")) else document
        return struct.pack("f" if len(other) == 4 else "d", float(document))
    return document


def told(data: bytes, syntax: str) -> dict[str, Any]:
    pair = documents(data, b"", SCHEMAS[syntax].message("all.Everything"))
    assert pair is not None
    return dict(pair[0])


def without_minus_zero(document: Any) -> Any:
    """-0.0 of implicit presence was sent, and is no other number than 0."""
    if isinstance(document, dict):
        zeros = (struct.pack("f", -0.0), struct.pack("d", -0.0))
        return {
            key: without_minus_zero(value)
            for key, value in document.items()
            if not (key in ("one_float", "one_double") and value in zeros)
        }
    return [without_minus_zero(one) for one in document] if isinstance(document, list) else document


@pytest.mark.parametrize("syntax", sorted(FILES))
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_message_is_read_as_googles_library_reads_it(syntax: str, data: st.DataObject) -> None:
    message = data.draw(filled(syntax, CLASSES[syntax]))
    wanted = without_minus_zero(expected(message)) if syntax == "proto3" else expected(message)
    assert comparable(told(message.SerializeToString(), syntax), wanted) == wanted
    loose = LOOSE[syntax].FromString(message.SerializeToString())  # packed or not: the same
    assert comparable(told(loose.SerializeToString(), syntax), wanted) == wanted


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_names_and_presence_are_those_of_json_format(data: st.DataObject) -> None:
    message = data.draw(filled("proto3", CLASSES["proto3"]))
    message.ClearField("held")
    message.one_float = message.one_double = 1.0
    del message.inners[:], message.inner.inners[:]
    message.parts.clear()
    message.ClearField("inner")
    assert (
        told(message.SerializeToString(), "proto3").keys()
        == json_format.MessageToDict(message, preserving_proto_field_name=True).keys()
    )


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_two_messages_that_are_equal_to_google_have_equal_documents(data: st.DataObject) -> None:
    """Merged, repeated and reordered on the wire: what counts is what a reader makes of it."""
    one, two = (data.draw(filled("proto3", CLASSES["proto3"])) for _ in range(2))
    wire = one.SerializeToString() + two.SerializeToString()
    merged = CLASSES["proto3"].FromString(wire)
    pair = documents(wire, merged.SerializeToString(), SCHEMAS["proto3"].message("all.Everything"))
    assert pair is not None
    assert repr(sorted(pair[0].items())) == repr(sorted(pair[1].items())) or not merged.held.value  # of Any: replaced


def readable(one: bytes, other: bytes, message: Message | None) -> bool:
    """Whether both can be read. Of two equal ones the documents are, and which stands first says nothing."""
    pair, back = documents(one, other, message), documents(other, one, message)
    assert (pair is None) == (back is None)
    if pair is None or back is None:
        return False
    assert repr(pair) == repr((back[1], back[0]))
    same = documents(one, one, message)
    assert same is not None
    assert repr(same[0]) == repr(same[1])
    return True


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_whatever_comes_ends_in_documents_or_in_none(one: bytes, other: bytes) -> None:
    message = SCHEMAS["proto3"].message("all.Everything")
    alone = [documents(data, data, message) is not None for data in (one, other)]
    assert readable(one, other, message) == all(alone)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_message_that_was_damaged_ends_so_too(data: st.DataObject) -> None:
    wire = bytearray(data.draw(filled("proto3", CLASSES["proto3"])).SerializeToString() or b"\x08")
    for _ in range(data.draw(st.integers(1, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    message = SCHEMAS["proto3"].message("all.Everything")
    assert readable(bytes(wire), b"", message) == (documents(bytes(wire), bytes(wire), message) is not None)


def test_what_is_not_declared_stands_under_its_number() -> None:
    message = CLASSES["proto3"](one_double=1.5, some_int64=[7], one_string="x")
    pair = documents(message.SerializeToString(), b"", SCHEMAS["proto3"].message("all.Less"))
    numbers = {one.name: str(one.number) for one in CLASSES["proto3"].DESCRIPTOR.fields}
    assert pair == ({"one_double": 1.5, numbers["some_int64"]: "07", numbers["one_string"]: "x"}, {})


def test_an_any_of_a_type_that_nobody_knows_is_read_by_the_wire() -> None:
    message = CLASSES["proto3"]()
    message.held.type_url = "type.example/other.Thing"
    message.held.value = b"\x08\x05"
    assert told(message.SerializeToString(), "proto3") == {
        "held": {"@type": "type.example/other.Thing", "value": {"1": 5}}
    }


def test_more_packed_values_than_are_looked_at_keep_their_name() -> None:
    message = CLASSES["proto3"](some_int32=[1] * (MAX_FIELDS + 1), one_string="x")
    found = told(message.SerializeToString(), "proto3")
    assert found["one_string"] == "x"
    assert found["some_int32"] == [(b"\x01" * (MAX_FIELDS + 1)).hex()]


def test_messages_nested_beyond_all_measure_are_bytes() -> None:
    message = CLASSES["proto3"](one_string="x")
    for _ in range(80):
        message = CLASSES["proto3"](inner=message)
    found = told(message.SerializeToString(), "proto3")
    depth = 0
    while isinstance(found, dict):
        found, depth = found["inner"], depth + 1
    assert depth == 33


def test_implicit_presence_of_editions_and_extensions() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="e.proto", package="e", syntax="editions")
    file.edition = descriptor_pb2.EDITION_2023
    message = file.message_type.add(name="M")
    field(message, "explicit", 1, "int32")
    field(message, "implicit", 2, "int32").options.features.field_presence = 2
    message.extension_range.add(start=100, end=200)
    file.extension.add(name="more", number=100, label=1, type=3, extendee=".e.M")
    pair = documents(b"\x08\x00\x10\x00\xa0\x06\x07", b"\x08\x00", schema_untrusted(set_of(file)).message("e.M"))
    assert pair == ({"explicit": 0, "[e.more]": 7}, {"explicit": 0})


# --- the comparison ---------------------------------------------------------------------------------------------------


def shop() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    item = file.message_type.add(name="Item")
    field(item, "name", 1, "string")
    field(item, "unit_price", 2, "int64")
    order = file.message_type.add(name="Order")
    field(order, "items", 1, ".shop.Item", repeated=True)
    field(order, "password", 2, "string")
    file.message_type.add(name="Empty")
    service = file.service.add(name="Shop")
    for name, level in (("GetOrder", 0), ("Quote", 1), ("Put", 2)):
        method = service.method.add(name=name, input_type=".shop.Empty", output_type=".shop.Order")
        method.options.idempotency_level = level
    return file


SHOP = schema_untrusted(set_of(shop()))
Order = class_of(pool_of(shop()), "shop.Order")


def answer(message: bytes, kind: bytes = b"application/grpc", framed: bool = True) -> Response:
    response = Response(200, b"HTTP/2 200\r\ncontent-type: " + kind + b"\r\n\r\n", 0, 0)
    response.body = b"\0" + len(message).to_bytes(4, "big") + message if framed else message
    response.body_length = len(response.body)
    return response


def found(production: Any, candidate: Any, target: bytes = b"/shop.Shop/GetOrder", **told: Any) -> list[str]:
    options = Options()
    options.schema = SHOP
    context = Context(b"POST " + target + b" HTTP/2\r\nhost: shop\r\n\r\n")
    sides = [
        answer(one if isinstance(one, bytes) else one.SerializeToString(), **told) for one in (production, candidate)
    ]
    return [f"{one.path} {one.kind} {one.production}" for one in compare_answers(*sides, options, context)]


def order(*prices: int) -> Any:
    return Order(items=[{"name": f"item {at}", "unit_price": price} for at, price in enumerate(prices)])


def test_a_difference_has_the_name_of_its_field() -> None:
    assert found(order(5, 7), order(5, 8)) == ["$.items[*].unit_price value 7"]
    assert found(order(5, 7), order(5, 7)) == []


def test_a_default_that_was_sent_is_none_that_was_not() -> None:
    assert found(b"\x0a\x02\x10\x00", b"\x0a\x00") == []
    assert found(b"\x0a\x02\x10\x01", b"\x0a\x00") == ["$.items[*].unit_price missing 1"]


def test_a_call_that_the_schema_does_not_have_is_read_by_the_wire() -> None:
    assert found(order(5), order(6), b"/shop.Other/GetOrder") == ["$['1']['2'] value 5"]


def test_a_message_that_is_none_of_the_schemas_is_read_by_the_wire() -> None:
    assert found(b"\x0a\x03\x08\x05\xff\x18\x01", b"\x0a\x03\x08\x05\xff\x18\x02") == ["$['3'] value 1"]


@pytest.mark.parametrize(
    ("target", "kind"),
    [(b"/twirp/shop.Shop/GetOrder", b"application/protobuf"), (b"/shop.Shop/GetOrder?x=1", b"application/x-protobuf")],
)
def test_messages_without_frames_are_named_by_their_path(target: bytes, kind: bytes) -> None:
    assert found(order(5), order(6), target, kind=kind, framed=False) == ["$.items[*].unit_price value 5"]


def test_a_field_with_a_secret_name_is_redacted_by_it() -> None:
    """What the wire calls 2 may be anything."""
    options = Options()
    options.schema = SHOP
    context = Context(b"POST /shop.Shop/GetOrder HTTP/2\r\nhost: shop\r\n\r\n")
    sides = [answer(Order(password=word).SerializeToString()) for word in ("tulip", "daisy")]
    (one,) = compare_answers(*sides, options, context)
    assert (one.path, one.production) == ("$.password", '"tulip"')
    assert "tulip" not in Redactor(b"k" * 32).value(one.path, one.production)


# --- the schema -------------------------------------------------------------------------------------------------------


def test_methods_that_change_nothing_are_told() -> None:
    assert SHOP.reads == {b"/shop.Shop/Quote"}


def test_a_schema_travels() -> None:
    again = pickle.loads(pickle.dumps(SHOP))
    assert again.methods == SHOP.methods
    assert pickle.loads(pickle.dumps(SHOP)) is again, "it is read once"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it has no messages"),
        (b"\x0a\x00", "it has no messages"),
        (b"syntax = \"proto3\";\n", "it is no FileDescriptorSet"),
        (b"{}", "it is no FileDescriptorSet"),
        (b"\x08\x01", "it is no FileDescriptorSet"),
        (bytes(shop().SerializeToString()), "it is no FileDescriptorSet"),
        (
            bytes(descriptor_pb2.FileDescriptorSet(file=[FILES["proto3"]]).SerializeToString()),
            "it lacks google/protobuf/any.proto, which all.proto imports",
        ),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        schema_untrusted(data)


def google_reads(data: bytes) -> bool:
    try:
        descriptor_pb2.FileDescriptorSet.FromString(data)
    except DecodeError:
        return False
    return True


@given(st.binary(max_size=200))
def test_any_bytes_are_a_schema_or_none(data: bytes) -> None:
    known: set[str] | None
    try:
        known = set(schema_untrusted(data).methods)
    except SchemaError:
        known = None
    assert known is None or google_reads(data), "a set that nobody else takes for one"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_schema_that_was_damaged_is_read_or_refused(data: st.DataObject) -> None:
    """And whatever it says of messages, reading by it ends."""
    wire = bytearray(set_of(FILES["proto3"]))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        schema = schema_untrusted(bytes(wire))
    except SchemaError:
        return
    message = data.draw(filled("proto3", CLASSES["proto3"])).SerializeToString()
    found = schema.message("all.Everything")
    assert readable(message, b"", found)
    assert found is None or all(isinstance(one.name, str) for one in found.fields.values())
