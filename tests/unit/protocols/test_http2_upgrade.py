"""HTTP/2 that a request of HTTP/1 asked for: the h2 package at both ends."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from shadowd.protocols.http1 import Http1Codec
from shadowd.protocols.http2 import Http2Codec
from tests.unit.protocols.http2_peers import CLIENT, SERVER, Reading

TAKEN = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
HEAD = [(":method", "GET"), (":path", "/two"), (":scheme", "http"), (":authority", "shop")]


def offer(client: H2Connection) -> bytes:
    settings = client.initiate_upgrade_connection()
    assert settings is not None
    return (
        b"GET /one HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
        + settings
        + b"\r\n\r\n"
    )


def ends() -> tuple[Reading, H2Connection, H2Connection, bytes]:
    seen = Reading()
    seen.codec = Http1Codec(seen, seen, body_limit=1 << 16)  # type: ignore[assignment]
    client = H2Connection(H2Configuration(client_side=True))
    asked = offer(client)
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_upgrade_connection(asked.split(b"HTTP2-Settings: ")[1].strip())
    return seen, client, server, asked


def said(connection: H2Connection, text: bytes, stream: int = 1) -> bytes:
    connection.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
    connection.send_data(stream, text, end_stream=True)
    return bytes(connection.data_to_send())


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_request_is_answered_in_http2_and_more_may_follow(size: int) -> None:
    seen, client, server, asked = ends()
    wire = [(CLIENT, asked), (SERVER, TAKEN), (CLIENT, bytes(client.data_to_send()))]
    wire.append((SERVER, said(server, b"first")))
    client.send_headers(3, HEAD, end_stream=True)
    wire.append((CLIENT, bytes(client.data_to_send())))
    server.receive_data(wire[2][1] + wire[4][1])
    wire.append((SERVER, said(server, b"second", 3)))
    for direction, data in wire:
        for at in range(0, len(data), size):
            seen.feed(direction, data[at : at + size])
    seen.close()
    assert isinstance(seen.codec, Http2Codec)
    assert [one.request.target for one in seen.exchanges] == [b"/one", b"/two"]
    answers = [one.response for one in seen.answered]
    assert [(one.status, one.body) for one in answers if one is not None] == [(200, b"first"), (200, b"second")]
    assert seen.gone["interim"] == len(TAKEN)
    assert [one.index for one in seen.exchanges] == [0, 1]
    assert [one.rank for one in seen.exchanges] == [0, 1]
    assert seen.exchanges[1].after == 1


def test_an_offer_that_is_not_taken_is_answered_in_http1() -> None:
    seen, _, _, asked = ends()
    seen.feed(CLIENT, asked)
    seen.feed(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert seen.told == ["request /one", "response /one 200"]
    assert isinstance(seen.codec, Http1Codec)


def test_a_promise_that_is_not_kept_is_no_answer() -> None:
    seen, _, _, asked = ends()
    seen.feed(CLIENT, asked)
    seen.feed(SERVER, TAKEN)
    seen.codec.server_eof(1)
    seen.close()
    assert seen.told == ["request /one", "response /one unknown"]
    assert seen.exchanges[0].failure == "reset"
