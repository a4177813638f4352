"""Any protocol in which the client speaks first: turns instead of messages (sans-IO).

An exchange is one client turn and the server turn that follows. Nobody says where a turn ends, so the other side does:

=============  =====================================================================================================
state          what happens
=============  =====================================================================================================
idle           client bytes begin a turn; server bytes before the first turn are a greeting, discarded
client's turn  client bytes join it, unless the client acknowledged new server bytes since it began: then it is
               told and a new one begins. The server's first byte, the client's FIN or the end tell it
server's turn  server bytes grow the response in place; client bytes begin the next turn, which ends the response
given up       a client hole, or first seen in the middle: a raw stream has no place to start again
=============  =====================================================================================================

Every byte fed is in an exchange, was told to ``sink.discarded`` (``server_first``, ``gap``, ``midstream``,
``too_large``), or is pending (``client_pending``).
"""

from __future__ import annotations

from collections import deque

from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.ledger.budget import UNBOUNDED, Budget, Charge
from shadowd.protocols.base import CodecSink, FlowView

#: What one client turn may keep in memory; the same as an HTTP request's body.
MAX_TURN = 16 << 20


class RawCodec:
    """A ``Codec``. A turn above ``max_turn`` is ``lost("too_large")``: what follows depends on it, so the flow is given
    up. ``body_limit``: bytes kept of each response. ``start``: stream offsets of the first client and server byte."""

    __slots__ = (
        "_acked_at_begin",
        "_begin",
        "_charge",
        "_client_offset",
        "_counted",
        "_exchange",
        "_firsts",
        "_flow",
        "_given_up",
        "_index",
        "_max_turn",
        "_received",
        "_response",
        "_server_lost",
        "_server_offset",
        "_server_over",
        "_sink",
        "_started",
        "_turn",
        "_turn_after",
        "_turn_ended",
        "body_limit",
    )

    def __init__(
        self,
        sink: CodecSink,
        flow: FlowView,
        midstream: bool = False,
        max_turn: int = MAX_TURN,
        body_limit: int = 0,
        start: tuple[int, int] = (0, 0),
        budget: Budget = UNBOUNDED,
    ) -> None:
        self._charge = Charge(budget)  # the client's turn and the answer that grows
        self._sink = sink
        self._flow = flow
        self._max_turn = max_turn
        self.body_limit = body_limit
        self._given_up = "midstream" if midstream else ""
        self._counted = not midstream  # the loss is counted with the first client bytes
        self._index = 0
        self._turn = bytearray()  # the client's turn while it lasts
        self._begin = 0
        self._started = 0
        self._turn_ended = 0
        self._turn_after = 0
        self._acked_at_begin = 0
        self._exchange: Exchange | None = None  # told, its response still grows
        self._response: Response | None = None
        self._firsts: deque[int] = deque()  # offset after the first byte of each answer not acknowledged yet
        self._received = 0  # earlier turns of whose answer the client has received something
        self._server_lost = False  # the response that grows has a hole
        self._server_over = False
        self._client_offset, self._server_offset = start

    @property
    def client_pending(self) -> int:
        """Client bytes of the turn that lasts."""
        return len(self._turn)

    @property
    def server_pending(self) -> int:
        """Always 0: a server byte belongs to a response at once."""
        return 0

    def client_data(self, data: bytes, time: int) -> None:
        if self._given_up:
            if not self._counted:
                self._counted = True
                self._sink.lost(self._given_up)
            self._client_offset += len(data)
            self._sink.discarded(self._given_up, len(data))
            return
        acked = self._flow.client_acked
        if self._turn and acked > self._acked_at_begin:
            self._tell()
        if not self._turn:
            self._end_response()
            self._begin = self._client_offset
            self._started = time
            self._acked_at_begin = acked
            firsts = self._firsts
            while firsts and firsts[0] <= acked:
                firsts.popleft()
                self._received += 1
            self._turn_after = self._received
        self._client_offset += len(data)
        self._turn += data
        self._turn_ended = time
        self._charge.hold(len(self._turn))
        if len(self._turn) > self._max_turn or self._charge.exhausted:
            reason = "too_large" if len(self._turn) > self._max_turn else "memory"
            self._sink.lost(reason)
            self._give_up(reason)

    def server_data(self, data: bytes, time: int) -> None:
        begin = self._server_offset
        self._server_offset = end = begin + len(data)
        if self._turn:
            self._tell()
        exchange = self._exchange
        if exchange is None:
            self._sink.discarded(self._given_up or "server_first", len(data))
            return
        response = self._response
        if response is None:
            response = self._response = exchange.response = Response(0, b"", begin, time)
            self._firsts.append(begin + 1)
        response.end = end
        response.last_byte = time
        room = self.body_limit - response.body_length
        if room > 0 and not self._server_lost:
            if self._charge.exhausted:  # an answer with a part missing is no answer to compare
                self._server_lost = exchange.uncomparable = True
            else:
                response.body += data[:room]
                self._charge.hold(len(response.body))
        response.body_length += len(data)

    def client_gap(self, length: int, time: int) -> None:
        self._client_offset += length
        if self._given_up in ("too_large", "memory"):
            return  # already counted as one loss, with all that follows
        self._counted = True
        self._sink.lost("gap")
        if not self._given_up:
            self._give_up("gap")

    def server_gap(self, length: int, time: int) -> None:
        self._server_offset += length
        if self._turn:
            self._tell()  # the server spoke, though its words were not captured
        if self._exchange is not None:
            self._exchange.uncomparable = True
            self._server_lost = True
            if self._response is None:
                self._firsts.append(self._server_offset)

    def client_eof(self, time: int) -> None:
        if self._turn:
            self._tell()

    def urgent(self, direction: int) -> None:
        """Turns are what they are without it."""

    def server_eof(self, time: int) -> None:
        if self._turn:
            self._tell()
        self._server_over = True
        self._end_response()

    def closed(self, time: int) -> None:
        if self._turn:
            self._tell()
        self._end_response()

    def _tell(self) -> None:
        """The client's turn is over."""
        self._end_response()
        body = bytes(self._turn)
        self._turn = bytearray()
        request = Request(b"", b"", b"", body, self._begin, self._begin + len(body), self._started, self._turn_ended)
        self._exchange = Exchange(self._index, request, self._turn_after)
        self._index += 1
        self._sink.request(self._exchange)
        if self._server_over:
            self._end_response()

    def _end_response(self) -> None:
        exchange, self._exchange = self._exchange, None
        response, self._response = self._response, None
        self._server_lost = False
        self._charge.hold(0)
        if exchange is not None:
            if response is None:
                exchange.uncomparable = True
            self._sink.response(exchange)

    def _give_up(self, reason: str) -> None:
        """The answer that grows cannot be told from what the server says to the bytes that are missing."""
        self._given_up = reason
        if self._turn:
            self._sink.discarded(reason, len(self._turn))
            self._turn = bytearray()
        self._charge.hold(0)
        if self._exchange is not None:
            self._exchange.uncomparable = True
            self._end_response()
