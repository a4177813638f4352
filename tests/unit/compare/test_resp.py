"""Redis turns: parsed whole or not at all, compared as structures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.difference import Options
from shadowd.compare.resp import Failure, RespError, Status, compare_turns, parse_turn_untrusted


def found(p: bytes, c: bytes) -> set[tuple[str, str, str]] | None:
    differences = compare_turns(p, c, Options())
    return None if differences is None else {d[:3] for d in differences}


@pytest.mark.parametrize(
    ("turn", "value"),
    [
        (b"+OK\r\n", "OK"),
        (b"-ERR no\r\n", "ERR no"),
        (b":-7\r\n", -7),
        (b"$5\r\na\r\nbc\r\n", "a\r\nbc"),
        (b"$0\r\n\r\n", ""),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"_\r\n", None),
        (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", ["a", [1]]),
        (b"*0\r\n", []),
        (b"#t\r\n", True),
        (b",1.5\r\n", 1.5),
        (b",inf\r\n", "inf"),
        (b"(123456789012345678901234567890\r\n", 123456789012345678901234567890),
        (b"!5\r\nERR x\r\n", "ERR x"),
        (b"=8\r\ntxt:word\r\n", "word"),
        (b"%1\r\n$1\r\nk\r\n:1\r\n", {"k": 1}),
        (b"%1\r\n:5\r\n:1\r\n", {"5": 1}),
        (b"~2\r\n:2\r\n:1\r\n", [1, 2]),
        (b">2\r\n+message\r\n:1\r\n", {"push": ["message", 1]}),
        (b"|1\r\n+ttl\r\n:9\r\n+OK\r\n", "OK"),
        (b"*1\r\n|1\r\n+ttl\r\n:9\r\n:4\r\n", [4]),
    ],
)
def test_each_type(turn: bytes, value: Any) -> None:
    assert parse_turn_untrusted(turn) == [value]
    for cut in range(1, len(turn)):
        if turn[:1] == b"|" and cut in (len(turn) - 5,):
            continue  # the attribute alone
        with pytest.raises(RespError):
            parse_turn_untrusted(turn[:cut])


def test_simple_strings_and_errors_are_types_of_their_own() -> None:
    status, failure, bulk = parse_turn_untrusted(b"+OK\r\n-OK\r\n$2\r\nOK\r\n")
    assert (type(status), type(failure), type(bulk)) == (Status, Failure, str)
    assert found(b"+OK\r\n", b"$2\r\nOK\r\n") == {("turn", "$", "type")}
    assert found(b"+OK\r\n", b"-ERR x\r\n") == {("turn", "$", "type")}
    (difference,) = compare_turns(b"+OK\r\n", b"-ERR x\r\n", Options()) or ()
    assert (difference.production, difference.candidate) == ('"OK" (status)', '"ERR x" (failure)')


def test_structures() -> None:
    assert found(b":1\r\n", b":2\r\n") == {("turn", "$", "value")}
    assert found(b"$1\r\na\r\n", b"$-1\r\n") == {("turn", "$", "type")}
    assert found(b"*2\r\n:1\r\n:2\r\n", b"*2\r\n:2\r\n:1\r\n") == {("turn", "$", "order")}
    assert found(b"*2\r\n:1\r\n:2\r\n", b"*1\r\n:1\r\n") == {("turn", "$", "length")}
    assert found(b"+OK\r\n:1\r\n", b"+OK\r\n:2\r\n") == {("turn", "$[*]", "value")}
    assert found(b"%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", b"%2\r\n+b\r\n:3\r\n+a\r\n:1\r\n") == {("turn", "$.b", "value")}


def test_equal_in_structure_is_equal() -> None:
    assert found(b"~2\r\n:1\r\n:2\r\n", b"~2\r\n:2\r\n:1\r\n") == set()
    assert found(b"$1\r\n\xff\r\n", b"$1\r\n\xfe\r\n") == {("turn", "$", "value")}


@pytest.mark.parametrize(
    "turn",
    [b"", b"hello\r\n", b"+OK", b"+OK\n", b"$5\r\nabc\r\n", b"$3\r\nabcd\r\n", b"*2\r\n:1\r\n", b":1x\r\n",
     b":" + b"1" * 400 + b"\r\n", b"*999999999999\r\n", b"$-5\r\n", b"*-2\r\n", b"%-1\r\n", b"#x\r\n", b",1e\r\n",
     b"$?\r\n", b"*1\r\n" * 100 + b":1\r\n", b"_x\r\n"],
)  # fmt: skip
def test_what_is_not_resp_is_compared_as_bytes(turn: bytes) -> None:
    assert found(turn, b"+OK\r\n") is None
    assert found(b"+OK\r\n", turn) is None


@given(st.binary(max_size=60), st.text("*$+-:%~|>#,_(=!0123456789\r\nab", max_size=60).map(str.encode))
def test_any_bytes_are_survived(p: bytes, c: bytes) -> None:
    for turn in (p, c):
        assert compare_turns(turn, turn, Options()) in ((), None)
    compare_turns(p, c, Options())


VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63) | st.text(max_size=6),
    lambda below: st.lists(below, max_size=4),
    max_leaves=12,
)


def encoded(value: Any) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, str):
        return b"$%d\r\n%s\r\n" % (len(value.encode()), value.encode())
    return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_round_trip(values: list[Any]) -> None:
    assert parse_turn_untrusted(b"".join(map(encoded, values))) == values
    assert json.dumps(values)
