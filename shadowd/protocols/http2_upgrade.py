"""HTTP/2 on a flow that began in HTTP/1 (sans-IO, RFC 7540 §3.2; RFC 9113 has it no more, clients still ask).

The request that offered it is stream 1, which its client has ended: its answer comes in HTTP/2, behind the server's
preface. What the client says next is its own preface.
"""

from __future__ import annotations

import re

from shadowd.exchange.exchange import UNRANKED, Exchange, Response
from shadowd.ledger.budget import Budget
from shadowd.protocols.base import CodecSink, FlowView
from shadowd.protocols.http2 import Http2Codec
from shadowd.protocols.http2_streams import TOLD, Stream

_H2C = re.compile(rb"(?im)^upgrade:[^\r\n]*\bh2c\b")


def names_h2c(head: bytes) -> bool:
    """Of a request that offers HTTP/2, or of the answer that takes the offer."""
    return _H2C.search(head) is not None


class UpgradedHttp2Codec(Http2Codec):
    """``asked``: in HTTP/1, and told; ``taken``: the 101."""

    def __init__(
        self, sink: CodecSink, flow: FlowView, asked: Exchange, taken: Response, body_limit: int, budget: Budget
    ) -> None:
        request = asked.request
        super().__init__(sink, flow, body_limit=body_limit, start=(request.end, taken.end), budget=budget)
        stream = self._streams[1] = Stream(1, asked.after, request.begin, request.started)
        stream.request, stream.exchange = TOLD, asked
        self._held += stream.weight
        self._latest, self._index = 1, asked.index + 1
        asked.source, asked.rank = self, UNRANKED
