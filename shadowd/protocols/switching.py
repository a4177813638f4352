"""What a flow goes on with after 101 Switching Protocols (sans-IO, RFC 9110 §7.8)."""

from __future__ import annotations

from shadowd.exchange.exchange import Exchange
from shadowd.ledger.budget import Budget
from shadowd.protocols.base import Codec, CodecSink, FlowView
from shadowd.protocols.websocket import WebSocketCodec
from shadowd.protocols.websocket_handshake import UnknownExtension, agreed, asks_websocket
from shadowd.protocols.withheld import Withheld


def successor(
    sink: CodecSink, flow: FlowView, asked: Exchange | str, index: int, body_limit: int, budget: Budget
) -> Codec | None:
    """Reads what follows the answer to ``asked``; None if nobody here does. ``index``: of its next exchange."""
    if not isinstance(asked, Exchange) or asked.response is None:
        return None
    if not (asks_websocket(asked.request.head) and asks_websocket(asked.response.head)):
        return None
    try:
        deflate = agreed(asked.response.head)
    except UnknownExtension:
        return None
    return WebSocketCodec(sink, flow, asked, deflate, index, body_limit, budget)


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
