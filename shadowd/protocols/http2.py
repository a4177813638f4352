"""HTTP/2 on one flow, read by somebody who says nothing: streams become exchanges (sans-IO; RFC 9113).

Each direction is cut into frames, and *every* header block goes through the direction's HPACK decoder in the order of
the capture, also those of streams that nobody wants, of trailers and of promises: one that is missed makes the rest
unreadable. So a direction has two states:

==========  ===================================================  ===================================================
direction   what its bytes do                                    leaves it
==========  ===================================================  ===================================================
``READ``    are frames                                           a hole that is not within DATA, a frame or a block
                                                                 that cannot be, the end → DONE
``DONE``    are discarded                                        never: there is no place to start again
==========  ===================================================  ===================================================

The states of a stream are in ``http2_streams``. Heads are handed on in HTTP/1 form (``http2_heads``).

*Causality.* Answers end out of order: the place of one among the ends is its ``rank``, and a request's ``after`` is
how many of these ends production's client had acknowledged when its first byte was sent.

Every byte fed is in an exchange, was told to ``sink.discarded``, or is pending. Reasons: ``http2_control`` (SETTINGS,
PING, windows, priorities, resets, what follows the end of a stream), ``http2_push``, ``interim``, ``upgraded``
(CONNECT, also extended), ``cancelled``, ``goaway``, ``interactive`` (``dialogue``), and those of HTTP/1.
"""

from __future__ import annotations

from collections import deque
from typing import cast

from shadowd.exchange.exchange import Exchange, Response
from shadowd.ledger.budget import UNBOUNDED, Budget, Charge
from shadowd.protocols import http2_frames, http2_heads
from shadowd.protocols.base import CodecSink, FlowView
from shadowd.protocols.dialogue import MAX_PACES, Dialogue
from shadowd.protocols.hpack import HpackError
from shadowd.protocols.http1_reader import MAX_BODY
from shadowd.protocols.http2_frames import BLOCKS, DATA, END_STREAM, Frame, FrameError
from shadowd.protocols.http2_side import CLIENT, SERVER, Block, Side
from shadowd.protocols.http2_streams import COMING, LEFT, NONE, TOLD, Stream

#: Streams that are open at once: servers allow 100 (nginx 128, Envoy 100 to 1,000), some (gRPC) any number.
MAX_STREAMS = 2048
#: A request that is left for one of these is filtered; for others it is lost.
_FILTERED = frozenset({"unparsable", "upgraded", "cancelled", "goaway", "interactive"})


class Http2Codec:
    """A ``Codec``, from the first bytes on, at ``start``: an index of HPACK may name what was said before.
    ``body_limit``: bytes kept of an answer's body; ``max_body``: a longer request is ``lost("too_large")``."""

    __slots__ = (
        "_body_limit", "_charge", "_client", "_ends", "_eof", "_flow", "_held", "_index", "_latest",
        "_max_body", "_ranked", "_server", "_sink", "_streams", "_waiting",
    )  # fmt: skip

    def __init__(
        self, sink: CodecSink, flow: FlowView, body_limit: int = 0, max_body: int = MAX_BODY,
        start: tuple[int, int] = (0, 0), budget: Budget = UNBOUNDED,
    ) -> None:  # fmt: skip
        self._sink = sink
        self._flow = flow
        self._body_limit = body_limit
        self._max_body = max_body
        self._charge = Charge(budget)
        self._client, self._server = Side(CLIENT, start[0]), Side(SERVER, start[1])
        self._streams: dict[int, Stream] = {}
        self._latest = self._held = 0  # the highest stream that the client opened; bytes kept of those not over
        self._waiting = [0, 0]  # bytes of each direction that belong to streams and that nobody was told of
        self._ends: deque[int] = deque()  # of whole answers that the client has not acknowledged
        self._index = self._ranked = 0  # exchanges told; ends that it has acknowledged
        self._eof = False

    @property
    def client_pending(self) -> int:
        """Client bytes in no exchange yet and not discarded."""
        return self._client.pending + self._waiting[CLIENT]

    @property
    def server_pending(self) -> int:
        """Server bytes in no exchange yet and not discarded."""
        return self._server.pending + self._waiting[SERVER]

    @property
    def astray(self) -> bool:
        """Nothing more of what the client says can be read; whoever was there was told."""
        return bool(self._client.reason)

    # --- bytes --------------------------------------------------------------------------------------------------------

    def client_data(self, data: bytes, time: int) -> None:
        ends = self._ends
        if ends:
            acked = self._flow.client_acked
            while ends and ends[0] <= acked:
                ends.popleft()
                self._ranked += 1
        self._feed(self._client, data, time)

    def server_data(self, data: bytes, time: int) -> None:
        self._feed(self._server, data, time)

    def _feed(self, side: Side, data: bytes, time: int) -> None:
        if side.reason:
            self._sink.discarded(side.reason, len(data))
            return
        try:
            frames = side.reader.feed_untrusted(data)
        except FrameError:
            frames = []
        for frame in frames:
            self._frame(side, frame, time)
        if side.reader.error is not None:
            self._lose_side(side, "unparsable")
        self._hold()

    def _hold(self) -> None:
        self._charge.hold(self._held + self._client.held() + self._server.held())

    def client_gap(self, length: int, time: int) -> None:
        self._gap(self._client, length, time)

    def server_gap(self, length: int, time: int) -> None:
        self._gap(self._server, length, time)

    def _gap(self, side: Side, length: int, time: int) -> None:
        if side.reason:
            return
        reader = side.reader
        if length > reader.content_left:
            self._lose_side(side, "gap")
            return
        counted = reader.lose_content(length)
        stream = self._streams.get(reader.stream)
        if stream is None:
            self._discard("http2_control", counted)
            return
        self._count(stream, side.direction, counted)
        if side.direction == SERVER:
            self._spoil(stream)
        elif stream.request == COMING:
            self._give_up(stream, "gap")
        self._forget(stream)

    def urgent(self, direction: int) -> None:
        """A byte was taken out: nothing behind it can be trusted to be frames."""
        side = self._server if direction else self._client
        if not side.reason:
            self._lose_side(side, "urgent")

    def client_eof(self, time: int) -> None:
        if not self._client.reason:
            self._lose_side(self._client, "truncated", quiet=True)

    def server_eof(self, time: int) -> None:
        self._eof = True
        if not self._server.reason:
            self._lose_side(self._server, "truncated")

    def closed(self, time: int) -> None:
        self.client_eof(time)
        if not self._server.reason:
            self._lose_side(self._server, "truncated")
        for stream in list(self._streams.values()):
            if stream.request == COMING:
                self._leave(stream, "truncated")
            self._spoil(stream)
            self._drop(stream)
        self._hold()

    def close_book(self, exchange: Exchange) -> None:
        """Take what has come of a streamed answer that goes on; the rest is discarded."""
        for stream in self._streams.values():
            if stream.exchange is exchange and stream.response == COMING and stream.marks is not None:
                assert stream.answer is not None
                stream.answer.open = True
                self._end_answer(stream, stream.answer.last_byte, -1)
                stream.reason = "open"
                break

    # --- a direction ends ---------------------------------------------------------------------------------------------

    def _lose_side(self, side: Side, reason: str, quiet: bool = False) -> None:
        """Nothing more of it can be read. ``quiet``: nothing is known to be missing unless a request is."""
        self._discard(reason, side.end(reason))
        counted = quiet
        for stream in list(self._streams.values()):
            if side.direction == CLIENT:
                if stream.request == COMING:
                    counted = True
                    self._give_up(stream, reason)
            elif stream.response in (NONE, COMING):
                if self._eof and reason == "truncated":  # production's own failure, unlike an end we only assume
                    stream.failure = "truncated" if stream.response == COMING else "reset"
                self._spoil(stream)
            self._forget(stream)
        if side.direction == CLIENT and not counted:
            self._tell_left(reason)

    def _tell_left(self, reason: str) -> None:
        (self._sink.filtered if reason in _FILTERED else self._sink.lost)(reason)

    def _discard(self, reason: str, size: int) -> None:
        if size:  # of what ends a frame whose rest is in a hole nothing is left
            self._sink.discarded(reason, size)

    # --- a stream's ends ----------------------------------------------------------------------------------------------

    def _leave(self, stream: Stream, reason: str) -> None:
        """It is no exchange: what it was counted as has been told."""
        stream.request, stream.reason = LEFT, reason
        self._release(stream, CLIENT, reason)
        self._held -= len(stream.body)
        stream.body = bytearray()
        if stream.response != LEFT:
            self._drop_answer(stream, reason)
        self._forget(stream)  # its answer may have been whole before

    def _give_up(self, stream: Stream, reason: str) -> None:
        """As ``_leave``, and it is counted."""
        self._tell_left(reason)
        self._leave(stream, reason)

    def _release(self, stream: Stream, direction: int, reason: str) -> None:
        """Its bytes of one direction are nobody's."""
        size = stream.answered_size if direction else stream.size
        if size:
            self._waiting[direction] -= size
            self._sink.discarded(reason, size)
            if direction:
                stream.answered_size = 0
            else:
                stream.size = 0

    def _drop_answer(self, stream: Stream, reason: str) -> None:
        self._release(stream, SERVER, reason)
        self._held -= stream.kept()
        stream.drop_answer()

    def _spoil(self, stream: Stream) -> None:
        """Production's answer will never be known whole."""
        if stream.response in (TOLD, LEFT):
            return
        stream.response = LEFT
        self._drop_answer(stream, stream.reason or "truncated")
        exchange = stream.exchange
        if exchange is not None:
            exchange.failure = stream.failure
            exchange.uncomparable = True
            self._sink.response(exchange)

    def _forget(self, stream: Stream) -> None:
        if stream.request in (TOLD, LEFT) and stream.response in (TOLD, LEFT):
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        if self._streams.pop(stream.number, None) is not None:
            self._held -= stream.weight

    def _count(self, stream: Stream, direction: int, size: int) -> None:
        """Bytes of a frame that belongs to it."""
        own = stream.response if direction else stream.request
        if own in (TOLD, LEFT) or stream.request == LEFT:
            self._discard(stream.reason or "http2_control", size)
        elif direction:
            stream.answered_size += size
            self._waiting[SERVER] += size
        else:
            stream.size += size
            self._waiting[CLIENT] += size

    # --- frames -------------------------------------------------------------------------------------------------------

    def _frame(self, side: Side, frame: Frame, time: int) -> None:
        if side.reason:  # since the frame before
            self._discard(side.reason, frame.size)
        elif frame.kind == DATA:
            self._data(side, frame, time)
        elif frame.kind in BLOCKS:
            try:
                block = side.block_untrusted(frame, time)
            except HpackError:
                self._lose_side(side, "unparsable")
            else:
                if block is not None:
                    self._block(side, block, time)
        else:
            self._control(side, frame)

    def _control(self, side: Side, frame: Frame) -> None:
        self._sink.discarded("http2_control", frame.size)
        if frame.kind == http2_frames.RST_STREAM:
            stream = self._streams.get(frame.stream)
            if stream is not None:
                self._reset(stream, side.direction, int.from_bytes(frame.payload, "big"))
        elif frame.kind == http2_frames.GOAWAY and side.direction == SERVER and len(frame.payload) >= 8:
            last = int.from_bytes(frame.payload[:4], "big") & 0x7FFFFFFF
            for stream in [one for one in self._streams.values() if one.number > last and one.response == NONE]:
                self._refuse(stream, "goaway")

    def _refuse(self, stream: Stream, reason: str) -> None:
        """Production has not looked at it: its client asks again, elsewhere."""
        if stream.request == COMING:
            self._give_up(stream, reason)
            stream.response = LEFT
        else:
            self._spoil(stream)
        self._drop(stream)

    def _reset(self, stream: Stream, direction: int, code: int) -> None:
        if direction == CLIENT:  # it does not want the answer any more
            if stream.request == COMING:
                self._give_up(stream, "cancelled")
        elif code == http2_frames.REFUSED_STREAM and stream.response == NONE:
            self._refuse(stream, "goaway")
            return
        else:
            if stream.response in (NONE, COMING):
                stream.failure = "truncated" if stream.response == COMING else "reset"
            if stream.request == COMING:
                # without an error it has answered, and does not read on: RFC 9113 §8.1
                self._give_up(stream, "truncated" if code == http2_frames.NO_ERROR else "cancelled")
        self._spoil(stream)
        self._drop(stream)

    def _block(self, side: Side, block: Block, time: int) -> None:
        if block.promise or block.stream % 2 == 0:
            self._sink.discarded("http2_push", block.size)
            return
        stream = self._streams.get(block.stream)
        if stream is not None:
            if side.direction == CLIENT:
                self._count(stream, CLIENT, block.size)
                if stream.request == COMING:
                    self._trailers(stream, block, time)
            else:
                self._answer_block(stream, block, time)
        elif side.direction == CLIENT and block.stream > self._latest:
            self._begin(block, time)
        else:  # what follows the end of a stream
            self._sink.discarded("http2_control", block.size)

    # --- the client's direction ---------------------------------------------------------------------------------------

    def _begin(self, block: Block, time: int) -> None:
        """A request's head."""
        number = self._latest = block.stream
        self._hold()  # each: ten bytes on the wire may name 256 KB that were said before
        if len(self._streams) >= MAX_STREAMS or self._charge.exhausted:
            self._sink.lost("memory")
            self._sink.discarded("memory", block.size)
            return
        stream = self._streams[number] = Stream(number, self._ranked, block.begin, block.time)
        self._held += stream.weight
        self._count(stream, CLIENT, block.size)
        try:
            stream.head = head = http2_heads.request_head_untrusted(block.fields)
        except http2_heads.HeadError:
            self._give_up(stream, "unparsable")
            return
        self._held += stream.weigh(head.head)
        if block.oversized:
            self._give_up(stream, "too_large")
        elif head.tunnel:
            self._give_up(stream, "upgraded")
        elif block.ends_stream:
            self._tell(stream, time)

    def _trailers(self, stream: Stream, block: Block, time: int) -> None:
        try:
            if not block.ends_stream:
                raise http2_heads.HeadError("a second head")
            stream.trailers = http2_heads.trailer_lines_untrusted(block.fields)
        except http2_heads.HeadError:
            self._give_up(stream, "unparsable")
            return
        if block.oversized:
            self._give_up(stream, "too_large")
        elif stream.dialogue is None or self._goes_on(stream, 0, time):
            self._tell(stream, time)

    def _goes_on(self, stream: Stream, size: int, time: int) -> bool:
        """The client says more in a dialogue, unless it has more turns than anybody follows."""
        self._held += stream.spoke(size, self._flow.client_acked, time)
        if len(cast(Dialogue, stream.dialogue).paces) > MAX_PACES:
            self._give_up(stream, "interactive")
        return stream.request == COMING

    def _data(self, side: Side, frame: Frame, time: int) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None:
            self._discard("http2_control" if frame.stream % 2 else "http2_push", frame.size)
            return
        self._count(stream, side.direction, frame.size)
        ends = frame.whole and bool(frame.flags & END_STREAM)
        if side.direction == SERVER:
            if stream.request == LEFT and ends:
                self._drop(stream)
            elif stream.request != LEFT and stream.response == COMING:
                self._answer_data(stream, frame, time, ends)
        elif stream.request == COMING:
            if stream.dialogue is not None and not self._goes_on(stream, len(frame.payload), time):
                return
            stream.body += frame.payload
            self._held += len(frame.payload)
            over = len(stream.body) > self._max_body
            if over or self._charge.exhausted:
                self._give_up(stream, "too_large" if over else "memory")
            elif ends:
                self._tell(stream, time)

    def _tell(self, stream: Stream, time: int) -> None:
        """A request is whole."""
        if not stream.has_its_length:
            self._give_up(stream, "unparsable")
            return
        self._held -= len(stream.body)
        exchange = stream.exchange = Exchange(self._index, stream.request_of(time), stream.after, self)
        exchange.rank = stream.rank
        self._index += 1
        self._waiting[CLIENT] -= stream.size
        stream.size = 0
        stream.request = TOLD
        self._sink.request(exchange)
        if stream.response == TOLD:  # before the request was whole
            self._pair(stream, exchange, cast(Response, stream.answer))
        elif stream.response == LEFT or self._server.reason:
            stream.response = NONE
            self._spoil(stream)
        self._forget(stream)

    # --- the server's direction ---------------------------------------------------------------------------------------

    def _answer_block(self, stream: Stream, block: Block, time: int) -> None:
        """A head, interim or final, or trailers."""
        if stream.request == LEFT:
            self._count(stream, SERVER, block.size)
            if block.ends_stream:
                self._drop(stream)
            return
        status = 0
        try:
            if stream.response == NONE:
                status, head = http2_heads.response_head_untrusted(block.fields)
                if status < 200 and not block.ends_stream:
                    self._sink.discarded("interim", block.size)
                    return
                self._count(stream, SERVER, block.size)
                if status < 200 or block.oversized:
                    raise http2_heads.HeadError("an answer that ends with an interim head, or a head that nobody reads")
                stream.begin_answer(status, head, block.begin, block.time, self._body_limit)
                self._held += stream.weigh(head)
            else:
                self._count(stream, SERVER, block.size)
                if stream.response != COMING:
                    return
                if not block.ends_stream or block.oversized:
                    raise http2_heads.HeadError("a second head, or trailers that nobody reads")
                cast(Response, stream.answer).trailers = http2_heads.trailer_lines_untrusted(block.fields)
        except http2_heads.HeadError:
            if not status and stream.response == NONE:
                self._sink.discarded("unparsable", block.size)
            self._spoil(stream)
            self._forget(stream)
            return
        if block.ends_stream:
            self._end_answer(stream, time, block.end)

    def _answer_data(self, stream: Stream, frame: Frame, time: int, ends: bool) -> None:
        if stream.dialogue is not None:
            self._held += stream.answered(frame.payload, frame.end, time, self._charge.exhausted)
        if self._body_limit:
            self._held += stream.keep_answer(frame.payload, time, self._body_limit, self._charge.exhausted)
        else:
            cast(Response, stream.answer).body_length += len(frame.payload)
        if ends:
            self._end_answer(stream, time, frame.end)

    def _end_answer(self, stream: Stream, time: int, end: int) -> None:
        """An answer is whole; ``end``: the stream offset behind it, -1 if it goes on."""
        self._held -= stream.kept()
        answer = stream.answer_of(time)
        exchange = stream.exchange
        if end >= 0:
            stream.rank = self._ranked + len(self._ends)
            self._ends.append(end)
        if exchange is not None:
            exchange.rank = stream.rank
            self._pair(stream, exchange, answer)
        else:
            self._held += stream.keep_early(answer)
        self._forget(stream)

    def _pair(self, stream: Stream, exchange: Exchange, answer: Response) -> None:
        self._waiting[SERVER] -= stream.answered_size
        stream.answered_size = 0
        stream.answer = None
        exchange.response = answer
        self._sink.response(exchange)
