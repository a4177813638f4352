"""An offer of HTTP/2 is production's alone."""

from __future__ import annotations

import pytest

from shadowd.exchange.exchange import Request
from shadowd.policy.policy import Policy
from shadowd.policy.upgrade import without_offer
from shadowd.protocols.http2_upgrade import names_h2c

HEAD = b"GET / HTTP/1.1\r\nHost: shop\r\n"


@pytest.mark.parametrize(
    ("offer", "left"),
    [
        (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n", b""),
        (b"upgrade: h2c\r\nconnection: http2-settings , keep-alive,Upgrade\r\n", b"Connection: keep-alive\r\n"),
        (b"Upgrade: websocket, h2c\r\nConnection: upgrade\r\n", b""),
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        (b"Connection: close\r\n", b"Connection: close\r\n"),
        (b"X-Upgrade: h2c\r\n", b"X-Upgrade: h2c\r\n"),
    ],
)
def test_what_is_left(offer: bytes, left: bytes) -> None:
    assert without_offer(HEAD + offer + b"Accept: */*\r\n\r\n") == HEAD + left + b"Accept: */*\r\n\r\n"
    assert names_h2c(HEAD + offer + b"\r\n") == (left == b"" or b"keep-alive" in left)


def test_the_shadow_is_asked_in_plain() -> None:
    head = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"
    request = Request(b"GET", b"/", head, b"", 0, len(head), 1, 2, True, True)
    assert Policy(b"node/shop").rewrite(request, b"next") == (
        b"GET / HTTP/1.1\r\nHost: next\r\nX-Shadowd: node/shop\r\n\r\n"
    )
