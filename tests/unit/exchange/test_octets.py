"""Finding, cutting, lower-casing: what is compiled into the readers does what Python's bytes do, in either form.

The inline functions cannot be called from here: they are tried through the functions that are made of them.
"""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from shadowd.exchange import octets
from shadowd.policy.policy import Policy
from shadowd.protocols.http1_fields import MAX_LENGTH, ProtocolError, content_length
from shadowd.protocols.http1_reader import RequestReader
from shadowd.protocols.http1_response import ResponseReader

PLACE = st.integers(0, 40)
NEAR_NUMBERS = st.text("0123456789 \t+-_aZ,\xb2", max_size=20).map(lambda text: text.encode("latin-1"))
VALUE = st.binary(max_size=40).map(lambda data: re.sub(rb"[\x00-\x1f\x7f]", b"x", data))


@given(st.binary(max_size=30), st.binary(max_size=3), PLACE, PLACE)
def test_functions_are_those_of_bytes(data: bytes, what: bytes, start: int, end: int) -> None:
    assert octets.find(data, what, start, end) == data.find(what, start, end)
    assert octets.cut(data, start, end) == data[start:end]
    assert octets.lower(data) == data.lower()


@given(NEAR_NUMBERS, PLACE, PLACE)
@example(b"123456789012345", 0, 15)
@example(b"1234567890123456", 0, 16)
def test_a_number_is_digits_alone(data: bytes, start: int, end: int) -> None:
    piece = data[start:end]
    assert octets.number(data, start, end) == (int(piece) if re.fullmatch(rb"[0-9]{1,15}", piece) else -1)


@given(NEAR_NUMBERS | st.integers(0, 1 << 70).map(lambda number: b" %d" % number), st.binary(max_size=3))
def test_content_length(value: bytes, before: bytes) -> None:
    value = value.lower()
    head = b"get / http/1.1\r\n" + before.replace(b"\r", b"") + b"\r\ncontent-length:" + value + b"\r\nhost: x\r\n\r\n"
    first = value.strip(b" \t").partition(b",")[0].rstrip(b" \t")
    number = int(first) if re.fullmatch(rb"[0-9]+", first) else 0
    try:
        assert content_length(head) == number <= MAX_LENGTH
    except ProtocolError:
        assert number > MAX_LENGTH or len(first) > 32


@given(VALUE)
@example(bytes(range(0x80, 0x100)) + b"@AZ[`az{")
def test_heads_are_lower_cased_as_ascii(value: bytes) -> None:
    head = b"GET /Ab HTTP/1.1\r\nHost: X\r\nX-Any: " + value + b"\r\n\r\n"
    (request,) = RequestReader().feed_untrusted(head, 1)
    assert request.head == head
    assert request.lowered == head.lower()


@given(st.binary(max_size=30), st.sampled_from([b"200", b"204", b"304", b"599", b"299", b"404"]))
def test_a_response_in_one_piece_is_what_it_is_in_pieces(body: bytes, status: bytes) -> None:
    wire = b"HTTP/1.1 " + status + b" X\r\nContent-Length: %d\r\n\r\n" % len(body)
    wire += b"" if status in (b"204", b"304") else body
    whole, pieces = ResponseReader(100), ResponseReader(100)
    whole.expect(b"GET")
    pieces.expect(b"GET")
    (one,) = whole.feed_untrusted(wire, 1)
    (other,) = [found for at in range(len(wire)) for found in pieces.feed_untrusted(wire[at : at + 1], 1)]
    assert (one.status, one.head, one.body, one.body_length, one.end, one.keep_alive) == (
        other.status, other.head, other.body, other.body_length, other.end, other.keep_alive,
    )  # fmt: skip
    assert one.status == int(status)


@given(st.sampled_from([b"", b" ", b"shop", b"  shop.example:80 "]), st.booleans(), st.booleans())
def test_a_host_is_replaced_wherever_it_stands(value: bytes, first: bool, preserve: bool) -> None:
    others = [b"A: 1", b"B: 2"]
    fields = [b"HOST:" + value, *others] if first else [*others, b"HOST:" + value]
    head = b"\r\n".join([b"GET / HTTP/1.1", *fields]) + b"\r\n\r\n"
    (request,) = RequestReader().feed_untrusted(head, 1)
    host = b"HOST:" + value if preserve else b"HOST: other:9"
    sent = [b"GET / HTTP/1.1", *([host, *others] if first else [*others, host]), b"X-Shadowd: n/f"]
    policy = Policy(b"n/f", methods=None, preserve_host=preserve)
    assert policy.rewrite(request, b"other:9") == b"\r\n".join(sent) + b"\r\n\r\n"
