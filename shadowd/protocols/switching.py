"""What a flow goes on with after 101 Switching Protocols (sans-IO, RFC 9110 §7.8)."""

from __future__ import annotations

from shadowd.exchange.exchange import Exchange, Response
from shadowd.ledger.budget import Budget
from shadowd.protocols.base import Codec, CodecSink, FlowView
from shadowd.protocols.http2_upgrade import UpgradedHttp2Codec, names_h2c
from shadowd.protocols.websocket import WebSocketCodec
from shadowd.protocols.websocket_handshake import UnknownExtension, agreed, asks_websocket
from shadowd.protocols.withheld import Withheld


def successor(
    sink: CodecSink, flow: FlowView, asked: Exchange | str, answer: Response, index: int, body_limit: int,
    budget: Budget,
) -> Codec | None:  # fmt: skip
    """Reads what follows ``answer`` to ``asked``; None if nobody here does. ``index``: of its next exchange."""
    if not isinstance(asked, Exchange) or answer.status != 101:
        return None
    if goes_on_in_http2(asked, answer):
        return UpgradedHttp2Codec(sink, flow, asked, answer, body_limit, budget)
    if not (asks_websocket(asked.request.head) and asks_websocket(answer.head)):
        return None
    try:
        deflate = agreed(answer.head)
    except UnknownExtension:
        return None
    return WebSocketCodec(sink, flow, asked, deflate, index, body_limit, budget)


def goes_on_in_http2(asked: Exchange | str, answer: Response) -> bool:
    """Whether this answer, a 101, is but the promise of one."""
    return isinstance(asked, Exchange) and names_h2c(answer.head) and names_h2c(asked.request.head)


def hand_over(sink: CodecSink, codec: Codec, held: Withheld, rest: bytes, time: int) -> None:
    """The flow is ``codec``'s, and what was read of it already: ``held`` of the client's, ``rest`` of the server's,
    which came at ``time``."""
    sink.switched(codec)
    for data, sent_at, _ in held.take():
        codec.client_data(data, sent_at)
    if rest:
        codec.server_data(rest, time)
    if held.eof:
        codec.client_eof(time)
