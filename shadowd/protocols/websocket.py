"""A WebSocket on one flow, after its handshake: turns of messages (sans-IO, RFC 6455).

An exchange is one client turn and what the server says until the next one.

=============  =====================================================================================================
state          what a message does
=============  =====================================================================================================
silence        the client's begins a turn; one of the server's, before the first turn, is the answer to an empty turn:
               the client's silence
client's turn  another of the client's joins it, unless the client acknowledged a message of the server's since the
               turn began: then it is told and a new one begins. The server's next byte, a Close or the end tell it
server's turn  the server's grow the answer in place, as events (``websocket_events``); the client's next message, a
               Close of either side or the end are the answer's end
given up       a hole, or what cannot be read: the state of compression, and what the client had read, are gone. What
               follows is discarded
=============  =====================================================================================================

Control frames belong to no turn (``discarded("control")``), but a Close of the server's is the last event of its
answer, and its end without one is an event too: code 1006 (§7.4.1), unless the client had ended before. Every byte fed
is in an exchange, was told to ``sink.discarded``, or is pending.
"""

from __future__ import annotations

import re
from collections import deque

from shadowd.exchange.exchange import MESSAGE_COST, WEBSOCKET, Exchange, Request, Turn
from shadowd.ledger.budget import UNBOUNDED, Budget, Charge
from shadowd.protocols.base import CodecSink, FlowView
from shadowd.protocols.websocket_events import Answer, asked_with, measured
from shadowd.protocols.websocket_frames import CLOSE, MAX_MESSAGE, Deflate, Message, MessageReader

#: Of the handshake's lines, those that say nothing about a turn (RFC 6455 §4.1, RFC 9110 §7.6.1).
_LEFT_OUT = re.compile(
    rb"(?im)^(?:connection|upgrade|sec-websocket-[a-z-]+|content-(?:type|length|encoding)|transfer-encoding):"
    rb"[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n"  # with what is folded (RFC 9112 §5.2): tokens are sent as protocols
)
#: Messages of one turn: a client that never listens speaks in several.
MAX_MESSAGES = 10_000
#: Messages of the server's whose ends are known one by one until the client's next word acknowledges them.
MAX_UNREAD = 1024
#: Bytes of a turn, on the wire, and undone with what keeping it costs.
LARGEST_TURN = MAX_MESSAGE + MAX_MESSAGES * MESSAGE_COST
_ABNORMAL = Message(CLOSE, (1006).to_bytes(2, "big"), 0, 0, 0)  # §7.4.1: never sent, told where none was


class WebSocketCodec:
    """A ``Codec``. ``handshake``: the exchange that agreed on it; ``deflate``: of the client's and the server's
    messages; ``index``: of its first exchange; ``body_limit``: bytes kept of each answer."""

    __slots__ = (
        "_answer", "_began", "_charge", "_client", "_closing", "_ended", "_ends", "_exchange", "_flow", "_given_up",
        "_handshake", "_head", "_index", "_messages", "_older", "_older_end", "_read", "_server", "_server_began",
        "_sink", "_size", "_spoken", "_started", "_turn_read", "_urgent", "body_limit",
    )  # fmt: skip

    def __init__(
        self, sink: CodecSink, flow: FlowView, handshake: Exchange, deflate: tuple[Deflate | None, Deflate | None],
        index: int, body_limit: int = 0, budget: Budget = UNBOUNDED,
    ) -> None:  # fmt: skip
        response = handshake.response
        assert response is not None
        self._sink = sink
        self._flow = flow
        self._handshake = handshake.request
        self._head = _turn_head(handshake.request)
        self._index = index
        self.body_limit = body_limit
        self._charge = Charge(budget)  # the turn and the answer that grow
        self._client = MessageReader(None, deflate[0], handshake.request.end, budget)
        self._server = MessageReader(None, deflate[1], response.end, budget)
        self._given_up = ""
        self._closing = False  # somebody has said Close
        self._messages: list[Message] = []  # of the client's turn while it lasts
        self._size = self._started = self._ended = self._turn_read = 0  # of that turn
        self._spoken = False  # there was a turn, if only the client's silence
        self._exchange: Exchange | None = None  # told, its answer grows
        self._answer: Answer | None = None
        self._began = self._server_began = 0  # when a message began that is not whole
        self._urgent = False
        self._ends: deque[int] = deque()  # of the server's messages that the client has not acknowledged
        self._older = self._older_end = 0  # how many before those, and where the last of them ends
        self._read = 0  # how many it has

    @property
    def client_pending(self) -> int:
        """Client bytes in no exchange yet and not discarded."""
        return self._client.pending + self._size

    @property
    def server_pending(self) -> int:
        """Server bytes in no exchange yet and not discarded."""
        return self._server.pending

    # --- the client's direction ---------------------------------------------------------------------------------------

    def client_data(self, data: bytes, time: int) -> None:
        if self._given_up:
            self._sink.discarded(self._given_up, len(data))
            return
        self._note_read()
        client = self._client
        left = client.pending + len(data)
        began = self._began
        for message in client.feed_untrusted(data):
            left -= message.size
            if message.kind < CLOSE:
                self._say(message, began or time, time)
            else:
                self._sink.discarded("control", message.size)
                if message.kind == CLOSE:
                    self._close()
            began = 0
        if client.failed:
            self._fail(client.failed, left)
        self._began = (began or time) if client.pending else 0

    def _note_read(self) -> None:
        acked, ends = self._flow.client_acked, self._ends
        if self._older and self._older_end <= acked:
            self._read += self._older
            self._older = 0
        while not self._older and ends and ends[0] <= acked:
            ends.popleft()
            self._read += 1

    def _note_said(self, end: int) -> None:
        """A message of the server's. The client may listen for hours without a word, and then has read the older."""
        ends = self._ends
        ends.append(end)
        if len(ends) > MAX_UNREAD:
            self._older_end = ends.popleft()
            self._older += 1

    def _say(self, message: Message, began: int, time: int) -> None:
        if self._given_up:  # within what came at once
            self._sink.discarded(self._given_up, message.size)
            return
        if self._messages and (self._read > self._turn_read or len(self._messages) >= MAX_MESSAGES):
            self._tell()
        if not self._messages:
            self._end_response()
            self._turn_read = self._read
            self._started = began
        self._messages.append(message)
        self._size += message.size
        self._ended = time
        self._charge.hold(self._charge.amount + len(message.data) + MESSAGE_COST)
        large = max(self._size, self._charge.amount) > LARGEST_TURN
        if large or self._charge.exhausted:
            reason = "too_large" if large else "memory"
            self._sink.lost(reason)
            self._give_up(reason)

    def client_gap(self, length: int, time: int) -> None:
        if not self._given_up:
            self._sink.lost("gap")
            self._give_up("gap")

    def client_eof(self, time: int) -> None:
        """It has gone without a word: the end of the server's answer is its doing too."""
        self._close()

    def urgent(self, direction: int) -> None:
        self._urgent = True

    # --- the server's direction ---------------------------------------------------------------------------------------

    def server_data(self, data: bytes, time: int) -> None:
        if self._given_up:
            self._sink.discarded(self._given_up, len(data))
            return
        self._tell()
        server = self._server
        left = server.pending + len(data)
        began = self._server_began
        for message in server.feed_untrusted(data):
            left -= message.size
            if message.kind < CLOSE:
                self._note_said(message.end)
                self._grow(message, began or time, time)
            elif message.kind != CLOSE or self._closing:
                self._sink.discarded("control", message.size)
            else:
                self._grow(message, began or time, time)
                self._close()
            began = 0
        if server.failed:
            self._fail(server.failed, left)
        self._server_began = (began or time) if server.pending else 0

    def _grow(self, message: Message, began: int, time: int) -> None:
        """The answer of the turn that is under way, by a message."""
        if self._given_up:
            self._sink.discarded(self._given_up, message.size)
            return
        exchange = self._exchange
        if exchange is None:
            if self._spoken:  # its book is closed
                self._sink.discarded("open", message.size)
                return
            exchange = self._tell_silence()
        turn = exchange.request.turn
        assert turn is not None
        answer = self._answer
        if answer is None:
            answer = self._answer = Answer(message.begin, began, self.body_limit)
            exchange.response = answer.response
        if message.kind < CLOSE:
            turn.answers += 1
        else:
            turn.closed = True
        answer.add(*measured(message, not turn.messages, answer.room), answer.response.end + message.size, time)
        self._charge.hold(answer.held)
        if self._charge.exhausted:
            exchange.uncomparable = True
            self._sink.lost("memory")
            self._give_up("memory")

    def server_gap(self, length: int, time: int) -> None:
        if self._given_up:
            return
        self._tell()
        if self._exchange is not None:
            self._exchange.uncomparable = True
        self._sink.lost("gap")  # what the client says from now on answers what nobody here has read
        self._give_up("gap")

    def server_eof(self, time: int) -> None:
        self._tell()
        if self._exchange is not None and not self._closing and not self._given_up:
            self._grow(_ABNORMAL, time, time)
        self._end_response()

    def closed(self, time: int) -> None:
        self._tell()
        if not self._given_up:
            client, server = self._client.pending, self._server.pending
            if client:
                self._sink.lost("truncated")
                self._sink.discarded("truncated", client)
            if server:
                self._sink.discarded("truncated", server)
                if self._exchange is not None and self._answer is None:
                    self._exchange.failure = "truncated"
            self._client.release()
            self._server.release()
        self._end_response()

    def close_book(self, exchange: Exchange) -> None:
        """Take what has come of an answer that goes on; the rest is discarded."""
        if exchange is self._exchange and self._answer is not None:
            self._answer.response.open = True
            self._end_response()

    # --- turns --------------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """The client's turn is over, if there is one."""
        messages = tuple(self._messages)
        if not messages:
            return
        self._messages.clear()
        begin, size, self._size = messages[0].begin, self._size, 0
        kind, content = asked_with(messages)
        head = self._head + b"content-type: " + kind + b"\r\n\r\n"
        self._open(head, content, begin, begin + size, Turn(messages, self._turn_read), self._started, self._ended)
        self._started = 0

    def _tell_silence(self) -> Exchange:
        """The server spoke before the client: it answers the handshake, and so it is timed."""
        asked = self._handshake
        turn = Turn((), 0)
        return self._open(self._head + b"\r\n", b"", asked.end, asked.end, turn, asked.started, asked.ended)

    def _open(
        self, head: bytes, content: bytes, begin: int, end: int, turn: Turn, started: int, ended: int
    ) -> Exchange:
        request = Request(WEBSOCKET, self._handshake.target, head, content, begin, end, started, ended)
        request.turn = turn
        exchange = self._exchange = Exchange(self._index, request, self._index, self)
        self._index += 1
        self._spoken = True
        self._charge.hold(0)
        self._sink.request(exchange)
        return exchange

    def _end_response(self) -> None:
        exchange, self._exchange = self._exchange, None
        answer, self._answer = self._answer, None
        if exchange is not None:
            self._charge.hold(0)
            if answer is not None:
                answer.finish()
            elif not exchange.failure:
                exchange.uncomparable = True
            self._sink.response(exchange)

    def _close(self) -> None:
        """Nobody says anything more."""
        self._tell()
        self._closing = True

    def _fail(self, reason: str, length: int) -> None:
        """Of ``length`` bytes nothing can be read."""
        if self._given_up:  # by what stood before them, which was counted
            self._sink.discarded(self._given_up, length)
            return
        if reason == "unparsable" and self._urgent:  # it may be our reading that is wrong
            reason = "urgent"
        if reason == "unparsable":
            self._sink.filtered(reason)
        else:
            self._sink.lost(reason)
        self._sink.discarded(reason, length)
        if self._exchange is not None:
            self._exchange.uncomparable = True
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        self._given_up = reason
        left = self._size + self._client.pending + self._server.pending
        if left:
            self._sink.discarded(reason, left)
        self._messages.clear()
        self._size = 0
        self._client.release()
        self._server.release()
        self._charge.hold(0)
        if self._exchange is not None:
            self._exchange.uncomparable = True
            self._end_response()


def _turn_head(asked: Request) -> bytes:
    """The handshake's head without what is about the handshake, up to its blank line."""
    line_end = asked.head.find(b"\r\n") + 2
    rest = _LEFT_OUT.sub(b"", asked.head[line_end:])
    return WEBSOCKET + b" " + asked.target + b" HTTP/1.1\r\n" + rest[: -len(b"\r\n")]
