"""A session's next request says the shadow's id, whoever answers first and however little time is between."""

from __future__ import annotations

import pytest

from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.replay.lane import Lane
from tests.unit.loopback import Mirror, Shadow, ok

PRODUCTIONS, OWN = b"Mcp-Session-Id: of-production\r\n", b"Mcp-Session-Id: of-the-shadow\r\n"


def post(mirror: Mirror, index: int, fields: bytes = b"") -> Exchange:
    head = b"POST /%d HTTP/1.1\r\nHost: p\r\n%sContent-Length: 2\r\n\r\n" % (index, fields)
    return Exchange(
        index, Request(b"POST", b"/%d" % index, head, b"{}", 0, len(head) + 2, mirror.now, mirror.now), index
    )


def production_answers(mirror: Mirror, exchange: Exchange) -> None:
    """As a group tells the engine of it."""
    exchange.response, exchange.answered = Response(200, ok(fields=PRODUCTIONS), 0, mirror.now), True
    if exchange.trials or exchange.early is not None:
        mirror.engine.primary_known(exchange)


@pytest.mark.parametrize("first", ["production", "shadow, and it is settled", "shadow, in the same turn"])
def test_the_next_request_says_the_shadow_s_id(mirror: Mirror, shadow: Shadow, first: str) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    begun = mirror.submit(post(mirror, 0), lane)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    if first == "production":
        production_answers(mirror, begun)
    mirror.answer(peer, ok(fields=OWN))
    if "settled" in first:
        mirror.turn()
    if first != "production":  # the ring brings its answer and what the client asked next at once
        production_answers(mirror, begun)
    mirror.submit(post(mirror, 1, PRODUCTIONS), lane)
    mirror.arrives(peer, 0, 1)
    assert peer.text.count(OWN) == 1
    assert PRODUCTIONS not in peer.text
    mirror.answer(peer, ok())
    mirror.turn()
    assert mirror.ledger() == {"mirrored": 2}
