"""Messages without their schema, against Google's own Protocol Buffers, which have it."""

from __future__ import annotations

import copy
import gzip
import zlib
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.answers import compare_answers
from shadowd.compare.difference import Options
from shadowd.compare.grpc import FrameError, messages_untrusted
from shadowd.compare.inband import in_band_error_untrusted
from shadowd.compare.protobuf import MAX_FIELDS, WireError, documents, parse_untrusted
from shadowd.exchange.exchange import Response


def _schema() -> Any:
    """Item { int64 id = 1; string name = 2; double price = 3; Part part = 4; repeated Part parts = 5;
    map<string, int64> stock = 6; repeated int32 packed = 7; bytes raw = 8; bool sold = 9; float weight = 10;
    fixed64 stamp = 11; } Part { string label = 1; sint64 delta = 2; }"""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    part = file.message_type.add(name="Part")
    part.field.add(name="label", number=1, type=kinds.TYPE_STRING, label=1)
    part.field.add(name="delta", number=2, type=kinds.TYPE_SINT64, label=1)
    item = file.message_type.add(name="Item")
    entry = item.nested_type.add(name="StockEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=kinds.TYPE_INT64, label=1)
    for name, number, kind, label, of in (
        ("id", 1, kinds.TYPE_INT64, 1, ""), ("name", 2, kinds.TYPE_STRING, 1, ""),
        ("price", 3, kinds.TYPE_DOUBLE, 1, ""),
        ("part", 4, kinds.TYPE_MESSAGE, 1, ".shop.Part"), ("parts", 5, kinds.TYPE_MESSAGE, 3, ".shop.Part"),
        ("stock", 6, kinds.TYPE_MESSAGE, 3, ".shop.Item.StockEntry"), ("packed", 7, kinds.TYPE_INT32, 3, ""),
        ("raw", 8, kinds.TYPE_BYTES, 1, ""), ("sold", 9, kinds.TYPE_BOOL, 1, ""),
        ("weight", 10, kinds.TYPE_FLOAT, 1, ""),
        ("stamp", 11, kinds.TYPE_FIXED64, 1, ""),
    ):  # fmt: skip
        item.field.add(name=name, number=number, type=kind, label=label, **({"type_name": of} if of else {}))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Item"))


Item = _schema()
WORDS = st.text("abcdefghij xyz", min_size=1, max_size=20)


def made(values: dict[str, Any]) -> Any:
    item = Item(
        id=values["id"], name=values["name"], price=values["price"], sold=values["sold"], weight=values["weight"]
    )
    item.part.label, item.part.delta = values["part"]
    for label, delta in values["parts"]:
        item.parts.add(label=label, delta=delta)
    item.stock.update(values["stock"])
    item.packed.extend(values["packed"])
    item.raw, item.stamp = values["raw"], values["stamp"]
    return item


PARTS = st.tuples(WORDS, st.integers(1, 1000))
VALUES = st.fixed_dictionaries(
    {
        "id": st.integers(1, 1 << 40), "name": WORDS, "price": st.floats(0.01, 1e6), "sold": st.just(True),
        "weight": st.sampled_from([0.5, 1.5, 2.25]), "part": PARTS, "parts": st.lists(PARTS, min_size=2, max_size=4),
        "stock": st.dictionaries(WORDS, st.integers(1, 99), min_size=2, max_size=4),
        "packed": st.lists(st.integers(0, 5), min_size=3, max_size=6), "raw": st.just(b"\xff\xfe\x00"),
        "stamp": st.integers(1, 1 << 30),
    }
)  # fmt: skip


def body(*messages: Any, flags: int = 0) -> bytes:
    pieces = [message if isinstance(message, bytes) else message.SerializeToString() for message in messages]
    if flags:
        pieces = [gzip.compress(piece) for piece in pieces]
    return b"".join(bytes([flags]) + len(piece).to_bytes(4, "big") + piece for piece in pieces)


def answer(data: bytes, trailers: bytes = b"grpc-status: 0\r\n", kind: bytes = b"application/grpc") -> Response:
    response = Response(200, b"HTTP/2 200\r\ncontent-type: " + kind + b"\r\n\r\n", 0, 0)
    response.body, response.body_length, response.trailers = data, len(data), trailers
    return response


def paths(production: bytes, candidate: bytes) -> list[str]:
    return [one.path for one in compare_answers(answer(production), answer(candidate), Options())]


@given(VALUES)
def test_equal_messages_have_no_difference_however_they_are_written(values: dict[str, Any]) -> None:
    item = made(values)
    shuffled = {**values, "stock": dict(reversed(list(values["stock"].items())))}
    assert paths(body(item), body(made(shuffled))) == []
    assert paths(body(item), body(item, flags=1)) == []


CHANGES = {
    "id": (lambda v: v + 1, "$['1']"), "name": (lambda v: v + "!", "$['2']"), "price": (lambda v: v + 1, "$['3']"),
    "weight": (lambda v: v + 1, "$['10']"), "stamp": (lambda v: v + 1, "$['11']"),
    "raw": (lambda v: v + b"\xff", "$['8']"), "part": (lambda v: (v[0], v[1] + 1), "$['4']['2']"),
    "packed": (lambda v: [*v, 6], "$['7']"),
}  # fmt: skip


@given(VALUES, st.sampled_from(sorted(CHANGES)))
def test_a_field_that_changed_is_the_one_that_is_named(values: dict[str, Any], name: str) -> None:
    change, path = CHANGES[name]
    other = {**copy.deepcopy(values), name: change(values[name])}
    found = paths(body(made(values)), body(made(other)))
    assert len(found) == 1
    assert found[0].replace(".", "").replace("['", "").replace("']", "") == path.replace("['", "").replace("']", "")


@given(VALUES)
def test_a_map_is_compared_by_key_and_a_list_by_place(values: dict[str, Any]) -> None:
    other = copy.deepcopy(values)
    key = sorted(values["stock"])[0]
    other["stock"][key] += 1000
    (path,) = paths(body(made(values)), body(made(other)))
    assert "6" in path
    assert key in path
    more = copy.deepcopy(values)
    more["parts"].append(("one more", 7))
    found = paths(body(made(values)), body(made(more)))
    assert found
    assert all("5" in path for path in found)


def test_streams_are_compared_message_by_message_and_their_number() -> None:
    items = [Item(id=number, name="same") for number in (1, 2, 3)]
    changed = [*items[:2], Item(id=3, name="other")]
    assert ["2" in path for path in paths(body(*items), body(*changed))] == [True]
    found = compare_answers(answer(body(*items)), answer(body(*items[:2])), Options())
    assert ("length", "3 messages", "2 messages") in [(one.kind, one.production, one.candidate) for one in found]


def test_trailers_are_compared_and_a_status_is_an_error_inside() -> None:
    good, bad = answer(body(Item(id=1))), answer(body(Item(id=1)), b"grpc-status: 14\r\ngrpc-message: no%20stock\r\n")
    found = compare_answers(good, bad, Options())
    assert {(one.where, one.path) for one in found} == {("trailer", "grpc-status"), ("trailer", "grpc-message")}
    error = in_band_error_untrusted(bad)
    assert error is not None
    assert in_band_error_untrusted(good) is None
    assert "UNAVAILABLE" in error.signature.title
    assert "no stock" in error.signature.title


@pytest.mark.parametrize("flags", [0, 1])
def test_frames(flags: int) -> None:
    data = body(b"one", b"", b"three" * 100, flags=flags)
    assert messages_untrusted("application/grpc+proto", data) == [b"one", b"", b"three" * 100]
    deflated = zlib.compress(b"two")
    assert messages_untrusted("application/grpc", b"\1" + len(deflated).to_bytes(4, "big") + deflated) == [b"two"]
    assert messages_untrusted("application/grpc-web", data + b"\x80\0\0\0\x0fgrpc-status: 0\n")[0] == b"one"
    for broken in (data[:-1], b"\0\0\0", b"\2\0\0\0\0", b"\1\0\0\0\3abc"):
        with pytest.raises(FrameError):
            messages_untrusted("application/grpc", broken)


def test_bombs_are_no_messages() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    with pytest.raises(FrameError):
        messages_untrusted("application/grpc", b"\1" + len(bomb).to_bytes(4, "big") + bomb)
    with pytest.raises(WireError):
        parse_untrusted(b"\x08\x01" * (MAX_FIELDS + 1), [MAX_FIELDS])
    deep = b""
    for _ in range(200):
        deep = (
            b"\x0a" + (bytes([len(deep)]) if len(deep) < 128 else bytes([len(deep) & 127 | 128, len(deep) >> 7])) + deep
        )
    assert documents(deep, deep + b"\x10\x01") is not None
    assert documents(b"\x0b" * 200, b"\x08\x01") is None


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_comes_is_compared(production: bytes, candidate: bytes) -> None:
    for kind in (b"application/grpc", b"application/grpc-web-text", b"application/x-protobuf", b"application/proto"):
        for ours, theirs in ((production, candidate), (body(production), body(candidate))):
            found = compare_answers(answer(ours, kind=kind), answer(theirs, kind=kind), Options())
            if ours == theirs:
                assert not found
