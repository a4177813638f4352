"""The PROXY protocol, v1 and v2, as haproxy's proxy-protocol.txt has it."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.protocols.proxy import MAX_V1, V2_SIGNATURE, ProxyError, looks_like_proxy, parse_untrusted

V1 = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
LONGEST_V1 = b"PROXY UNKNOWN " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n"


def v2(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    return V2_SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(rest) if length is None else length) + rest


V2_INET = v2(1, 0x11, socket.inet_aton("10.0.0.1") + socket.inet_aton("10.0.0.2") + struct.pack("!HH", 1234, 80))
V2_INET6 = v2(
    1,
    0x21,
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "::1")
    + struct.pack("!HH", 9, 8),
)


@pytest.mark.parametrize(
    ("wire", "client", "server"),
    [
        (V1, ("192.168.0.1", 56324), ("192.168.0.11", 443)),
        (b"PROXY TCP6 2001:DB8:0::1 ::1 0 65535\r\n", ("2001:db8::1", 0), ("::1", 65535)),
        (b"PROXY UNKNOWN\r\n", None, None),
        (LONGEST_V1, None, None),
        (V2_INET, ("10.0.0.1", 1234), ("10.0.0.2", 80)),
        (V2_INET6, ("2001:db8::1", 9), ("::1", 8)),
        (v2(1, 0x11, V2_INET[16:] + b"\x04\x00\x02ab"), ("10.0.0.1", 1234), ("10.0.0.2", 80)),  # TLVs follow
        (v2(0, 0x00, b""), None, None),
        (v2(0, 0x11, b"\x00"), None, None),  # LOCAL: addresses are ignored
        (v2(1, 0x00, b"TLV"), None, None),
        (v2(1, 0x31, b"\x00" * 216), None, None),
        (v2(0, 0x00, b"\x00" * 0xFFFF), None, None),
    ],
)
def test_headers(wire: bytes, client: tuple[str, int] | None, server: tuple[str, int] | None) -> None:
    assert looks_like_proxy(wire) is True
    header = parse_untrusted(wire + b"GET / HTTP/1.1\r\n")
    assert header is not None
    assert (header.length, header.client, header.server) == (len(wire), client, server)
    for length in range(0, len(wire), 1 if len(wire) < 1000 else 4999):
        assert parse_untrusted(wire[:length]) is None
        assert looks_like_proxy(wire[:length]) is not False


def test_the_longest_v1_line_is_as_long_as_the_specification_says() -> None:
    assert len(LONGEST_V1) == MAX_V1
    with pytest.raises(ProxyError):
        parse_untrusted(b"PROXY UNKNOWN " + b"x" * MAX_V1)
    assert parse_untrusted(b"PROXY UNKNOWN " + b"x" * 80) is None


@pytest.mark.parametrize(
    "wire",
    [
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
        b"PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP4 192.168.0.256 1.1.1.1 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 2\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 -1 2\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 01 2\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n",
        b"PROXY TCP4 \xff.1.1.1 1.1.1.1 1 2\r\n",
        b"PROXY UDP4 1.1.1.1 1.1.1.1 1 2\r\n",
        b"PROXY \r\n",
        b"PROXX",
        b"GET / HTTP/1.1\r\n",
        V2_SIGNATURE + b"\x11\x11\x00\x0c",
        V2_SIGNATURE + b"\x22\x11\x00\x0c",
        V2_SIGNATURE + b"\x21\x44\x00\x0c",
        v2(1, 0x11, b"", 11),
        v2(1, 0x21, b"", 35),
        v2(1, 0x31, b"", 215),
    ],
)
def test_malformed_headers(wire: bytes) -> None:
    with pytest.raises(ProxyError):
        parse_untrusted(wire)


def test_a_signature_is_told_from_http() -> None:
    assert looks_like_proxy(b"P") is None
    assert looks_like_proxy(b"\r\n\r\n") is None
    assert looks_like_proxy(b"PUT /") is False
    assert looks_like_proxy(b"\r\nGET") is False


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE, V2_SIGNATURE + b"\x21\x11"]), st.binary(max_size=80)
)
def test_arbitrary_bytes_raise_only_proxy_errors(start: bytes, rest: bytes) -> None:
    data = start + rest
    try:
        header = parse_untrusted(data)
    except ProxyError:
        return
    assert header is None or 0 < header.length <= len(data)


@given(
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
    st.integers(0, 65535),
    st.integers(0, 65535),
)
def test_both_versions_say_the_same(client: object, server: object, source: int, destination: int) -> None:
    text = f"PROXY TCP4 {client} {server} {source} {destination}\r\n".encode()
    addresses = socket.inet_aton(str(client)) + socket.inet_aton(str(server))
    one = parse_untrusted(text)
    two = parse_untrusted(v2(1, 0x11, addresses + struct.pack("!HH", source, destination)))
    assert one is not None
    assert two is not None
    assert (one.client, one.server) == (two.client, two.server) == ((str(client), source), (str(server), destination))
