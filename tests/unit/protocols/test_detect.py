"""identify: decided as early as it is certain, never before, and within its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.protocols.detect import HTTP2_PREFACE, MAX_METHOD, MAX_REQUEST_LINE, identify, speaks_http2

KNOWN = {
    b"GET / HTTP/1.1\r\n": "http",
    b"GET  /a?b  HTTP/1.0\r\nHost: x\r\n": "http",
    b"\r\n\r\nPOST http://h/x HTTP/1.1\r\n": "http",
    b"BREW /caf\xc3\xa9 HTTP/1.1\r\n": "http",
    b"PRI * HTTP/1.1\r\n": "http",
    b"PROXY / HTTP/1.1\r\n": "http",
    HTTP2_PREFACE: "http2",
    b"\x16\x03\x01\x02\x00\x01": "tls",
    b"\x16\x03\x03\x02\x00\x02": "other",  # a ServerHello
    b"\x16\x02": "other",
    b"PING\r\n": "other",
    b"SET a b\r\n": "other",
    b"GET key\r\n": "other",
    b"get key\r\n": "other",
    b"*1\r\n$4\r\nPING\r\n": "other",
    b"GET / HTTP/2.0\r\n": "other",
    b"PRI * HTTP/2.0\r\n\r\nXX": "other",
    b"GET /a b HTTP/1.1\r\n": "other",
    b" GET / HTTP/1.1\r\n": "other",
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f": "other",  # Postgres SSLRequest
    b"HTTP/1.1 200 OK\r\n": "other",
    b"EHLO me\r\n": "other",
    b"x" * (MAX_METHOD + 1): "other",
    b"GET /" + b"a" * MAX_REQUEST_LINE: "other",
    b"\r\n" * MAX_REQUEST_LINE: "other",
}


@pytest.mark.parametrize(("first", "kind"), KNOWN.items())
def test_kinds_and_every_prefix(first: bytes, kind: str) -> None:
    assert identify(first) == kind
    step = 1 if len(first) < 100 else 997
    for length in range(0, len(first), step):
        assert identify(first[:length]) in (None, kind)
    assert identify(b"") is None
    assert identify(first + b"\x00anything\r\n") == kind


@pytest.mark.parametrize("first", [b"G", b"GET", b"GET ", b"GET /", b"GET / ", b"GET / HTTP/1.1\r", b"P", b"PRI * HT"])
def test_what_may_still_become_http_waits(first: bytes) -> None:
    assert identify(first) is None


def test_what_cannot_become_http_does_not_wait() -> None:
    for first in (b"GET / HTTQ", b"GET /a b", b"G(", b"\x16\x03\x01\x02\x00\x02", b"\x17"):
        assert identify(first) == "other"


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_a_decision_is_never_revised(first: bytes, more: bytes) -> None:
    kind = identify(first)
    assert kind in (None, "http", "tls", "http2", "other")
    if kind is not None:
        assert identify(first + more) == kind


@given(
    st.binary(min_size=1, max_size=20), st.sampled_from([b"", b"GET /", b"\r\n", b"GET / HTTP/1.1", b"\x16", b"PRI "])
)
def test_the_waiting_is_bounded(unit: bytes, start: bytes) -> None:
    assert identify(start + unit * (MAX_REQUEST_LINE // len(unit) + 1)) is not None


@pytest.mark.parametrize(
    ("first", "is_http2"),
    [
        (b"\0\0\0\4\0\0\0\0\0", True),
        (b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64", True),
        (b"\0\0\0\4\1\0\0\0\0", False),  # an acknowledgement of what nobody has said
        (b"\0\0\5\4\0\0\0\0\0", False),
        (b"\0\0\0\4\0\0\0\0\1", False),
        (b"\0\0\0\4", False),
        (b"220 mail ESMTP\r\n", False),
        (b"", False),
    ],
)
def test_a_server_that_speaks_first(first: bytes, is_http2: bool) -> None:
    assert speaks_http2(first) is is_http2
