"""The frames of the control protocol: any split, any bytes, any value."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.control.wire import (
    DEPTH_LIMIT,
    REPLY_LIMIT,
    REQUEST_LIMIT,
    FrameDecoder,
    Request,
    WireError,
    encode,
    error_reply,
    ok_reply,
    request_untrusted,
    result_untrusted,
)
from shadowd.errors import ConfigError, PlatformError, ShadowdError, UsageError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)
MESSAGES = st.dictionaries(st.text(max_size=8), PLAIN, max_size=5)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[low:high] for low, high in pairwise(at)]


@settings(deadline=None)  # a loaded machine is no failure
@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(0, 10_000), max_size=8))
def test_round_trip_under_any_split(messages: list[dict[str, Any]], cuts: list[int]) -> None:
    decoder = FrameDecoder()
    data = b"".join(encode(message) for message in messages)
    found = [message for piece in pieces(data, cuts) for message in decoder.feed_untrusted(piece)]
    assert found == messages
    assert not decoder.pending


def outcome(chunks: list[bytes]) -> tuple[list[dict[str, Any]] | None, bool]:
    decoder = FrameDecoder()
    found: list[dict[str, Any]] = []
    try:
        for chunk in chunks:
            found += decoder.feed_untrusted(chunk)
    except WireError:
        return None, False
    return found, decoder.pending


@settings(deadline=None)  # a loaded machine is no failure
@given(
    st.lists(st.binary(max_size=40) | st.binary(max_size=20).map(frame) | MESSAGES.map(encode), max_size=6).map(
        b"".join
    ),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_any_bytes_are_frames_or_an_error_whatever_the_split(data: bytes, cuts: list[int]) -> None:
    whole = repr(outcome([data]))  # repr: NaN is not equal to itself
    assert repr(outcome(pieces(data, cuts))) == whole
    assert repr(outcome([bytes([byte]) for byte in data])) == whole


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\x81\xa1a", "not msgpack"),
        (b"\x80\x80", "not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),
        (b"\xdf\xff\xff\xff\xff", "not msgpack"),
        (b"\xdb\xff\xff\xff\xff", "not msgpack"),
        (b"\x81\xa1a\xa1\xff", "not msgpack"),
        (b"\x90", "the frame is not a map"),
        (b"\x05", "the frame is not a map"),
        (b"\x81\x01\x02", "not msgpack"),
        (b"\x81\xc4\x01a\x02", "not msgpack"),
        (msgpack.packb({"a": b"bytes"}), "not msgpack"),
        (msgpack.packb({"a": b""}), "a value of type bytes"),
        (msgpack.packb({b"": 1}), "a map's key is not text"),
        (msgpack.packb({"a": msgpack.ExtType(5, b"x")}), "not msgpack"),
        (msgpack.packb({"a": msgpack.Timestamp(5)}), "not msgpack"),
        (msgpack.packb({"a": [0] * 20_000}), "not msgpack"),
        (b"\x81\xa1a" + b"\x91" * 5000 + b"\xc0", "not msgpack|nested deeper"),
    ],
)
def test_what_does_not_belong_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says):
        FrameDecoder().feed_untrusted(frame(body))


def test_depth_is_limited() -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(depth - 1):
            value = {"a": value}
        return value

    assert FrameDecoder().feed_untrusted(encode(nested(DEPTH_LIMIT))) == [nested(DEPTH_LIMIT)]
    with pytest.raises(WireError, match=f"nested deeper than {DEPTH_LIMIT}"):
        FrameDecoder().feed_untrusted(encode(nested(DEPTH_LIMIT + 1)))


def test_a_frame_is_refused_by_its_length_alone() -> None:
    decoder = FrameDecoder(REQUEST_LIMIT)
    with pytest.raises(WireError, match="over the limit"):
        decoder.feed_untrusted((REQUEST_LIMIT + 1).to_bytes(4, "big"))
    text = {"a": "x" * (REQUEST_LIMIT + 10)}
    assert FrameDecoder(REPLY_LIMIT).feed_untrusted(encode(text)) == [text]
    with pytest.raises(WireError, match="over the limit"):
        encode(text, REQUEST_LIMIT)
    with pytest.raises(WireError, match="over the limit"):
        encode({"a": "x" * REPLY_LIMIT})


@pytest.mark.parametrize("value", [object(), "\udcff", 2**70, {1, 2}], ids=["object", "surrogate", "huge", "set"])
def test_what_cannot_travel_is_told(value: object) -> None:
    with pytest.raises(WireError, match="cannot be encoded"):
        encode({"a": value})


def test_a_request_comes_through() -> None:
    (message,) = FrameDecoder().feed_untrusted(Request("filter.add", {"spec": {"name": "a"}}, 7).frame())
    request = request_untrusted(message)
    assert (request.op, request.args, request.number) == ("filter.add", {"spec": {"name": "a"}}, 7)


@pytest.mark.parametrize(
    "message",
    [
        {"v": 1},
        {"v": 1, "id": "x", "op": "a", "args": {}},
        {"v": 1, "id": 1, "op": 5, "args": {}},
        {"v": 1, "id": 1, "op": "a", "args": []},
    ],
)
def test_other_requests_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="a request is a map of v, id, op and args"):
        request_untrusted(message)


def test_another_version_is_named_on_both_sides() -> None:
    with pytest.raises(ShadowdError, match="the client speaks control protocol 2, this daemon 1"):
        request_untrusted({"v": 2, "id": 1, "op": "a", "args": {}})
    with pytest.raises(ShadowdError, match="the daemon speaks control protocol 3, this shadowctl 1"):
        result_untrusted({"v": 3, "id": 1, "ok": True, "result": None}, 1)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("a", "b"),
        ConfigError("f: k: x — y"),
        PlatformError("no kernel", "upgrade"),
        ShadowdError("failed"),
        ShadowdError("x" * 100_000, "name \udcff"),
    ],
)
def test_errors_come_through_with_kind_and_exit_code(error: ShadowdError) -> None:
    (message,) = FrameDecoder(REPLY_LIMIT).feed_untrusted(encode(error_reply(3, error)))
    with pytest.raises(ShadowdError) as raised:
        result_untrusted(message, 3)
    assert type(raised.value) is type(error)
    assert raised.value.exit_code == error.exit_code
    assert raised.value.problem == error.problem[:32768]
    assert raised.value.remedy == error.remedy.replace("\udcff", "?")


def test_a_result_comes_through_for_its_own_request_only() -> None:
    assert result_untrusted(ok_reply(4, {"a": 1}), 4) == {"a": 1}
    with pytest.raises(WireError, match="does not fit"):
        result_untrusted(ok_reply(4, None), 5)


@settings(deadline=None)  # a loaded machine is no failure
@given(MESSAGES, st.integers(0, 3))
def test_any_reply_is_a_result_or_an_error(message: dict[str, Any], number: int) -> None:
    for version in ({}, {"v": 1}):
        try:
            result = result_untrusted({**message, **version}, number)
        except (WireError, ShadowdError):
            continue
        assert message["ok"] is True
        assert result == message["result"]
