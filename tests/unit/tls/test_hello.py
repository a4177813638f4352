"""What a ClientHello says, told by OpenSSL's own and by whatever else comes."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.tls import hello
from shadowd.tls.schedule import RecordError

LABELS = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?", fullmatch=True).filter(
    lambda label: not label.isdigit() and "--" not in label  # the second is IDNA's, which Python reads itself
)
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)


def client_hello(name: str | None) -> bytes:
    """The handshake message's body, of a client that asks for ``name``."""
    context = ssl.create_default_context()
    context.check_hostname = False
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()[9:]


@given(NAMES)
def test_the_name_is_the_client_s(name: str) -> None:
    body = client_hello(name)
    said = hello.client_hello_untrusted(body)
    assert said.server_name == name.lower()
    assert said.random == body[2:34]
    assert not said.early


@pytest.mark.parametrize("name", [None, "127.0.0.1", "::1"])
def test_who_asks_for_nobody(name: str | None) -> None:
    assert hello.client_hello_untrusted(client_hello(name)).server_name == ""


def with_name(listed: bytes) -> bytes:
    """A ClientHello with this server_name extension."""
    extension = b"\0\0" + len(listed).to_bytes(2, "big") + listed
    return b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + len(extension).to_bytes(2, "big") + extension


def entry(name: bytes, kind: int = 0) -> bytes:
    one = bytes([kind]) + len(name).to_bytes(2, "big") + name
    return len(one).to_bytes(2, "big") + one


@pytest.mark.parametrize(
    "listed",
    [
        b"", b"\0", entry(b""), entry(b"shop.example", kind=1), entry(b"shop.example")[:-1], entry(b"10.0.0.1"),
        entry(b"a b"), entry(b"shop.example\r\nx: y"), entry(b"shop.example\0"), entry(b"shop.example\n"),
        entry(b"-shop.example"), entry("sch\u00f6n.example".encode()), entry(b"a" * 64 + b".example"),
        entry(b"a." * 127 + b"example"), entry(b"..."), entry(b"shop.example") + entry(b"other.example"),
    ],
)  # fmt: skip
def test_what_is_no_name_is_not_asked_for(listed: bytes) -> None:
    assert hello.client_hello_untrusted(with_name(listed)).server_name == ""


def test_a_name_as_some_write_it() -> None:
    assert hello.client_hello_untrusted(with_name(entry(b"Shop_1.Example"))).server_name == "shop_1.example"


@given(st.binary(max_size=400), st.integers(0, 500))
def test_whatever_comes(noise: bytes, at: int) -> None:
    body = with_name(entry(b"shop.example"))
    for tried in (noise, body[:at] + noise, body[:at] + noise + body[at + len(noise) :]):
        with contextlib.suppress(RecordError):
            name = hello.client_hello_untrusted(tried).server_name
            assert len(name) <= 253
            if name:
                name.encode("idna")  # what is asked by it must be able to
