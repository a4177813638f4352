"""Our end of an HTTP/2 connection to a shadow: requests in, bytes out; bytes in, answers out (sans-IO; RFC 9113).

Requests become streams in the order in which they are given. Their bodies are sent as the shadow's windows and frame
size allow, each stream its share in turn; that of a dialogue also as the shadow answers (``dialogue``). What the shadow
may send is bounded by others (bytes of an answer, time); its windows here are as large as they can be, so that it never
waits for us.

==========  ===================================================  ===================================================
stream      what the shadow may do                               event
==========  ===================================================  ===================================================
asked       interim heads; a final head                          –
answering   content; trailers; its end                           an ``Answer`` with a response
refused     REFUSED_STREAM, or GOAWAY below its number           ``refused``: nobody looked at it, ask again elsewhere
over        RST_STREAM, a head that makes none                   ``reset``, ``truncated``, ``malformed``
==========  ===================================================  ===================================================

Everything else that cannot be (frames, blocks, settings, windows, promises, which were switched off) ends the whole
connection: ``Http2Error``.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from shadowd.exchange.exchange import Response
from shadowd.ledger.budget import UNBOUNDED, Budget, Charge
from shadowd.protocols.dialogue import Pace, Pacing
from shadowd.protocols.hpack import DEFAULT_TABLE, MAX_LIST, NO_TABLE, Field, HpackError, encode
from shadowd.protocols.http2_frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_STREAM,
    FRAME_HEAD,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    PING,
    PREFACE_BYTES,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    FrameError,
    frame,
    header_block,
    reset,
    settings,
    settings_of_untrusted,
    window_update,
)  # fmt: skip
from shadowd.protocols.http2_heads import HeadError, response_head_untrusted, trailer_lines_untrusted
from shadowd.protocols.http2_side import SERVER, Block, Side
from shadowd.protocols.http2_streams import COMING, NONE, Stream

#: Streams at once before the shadow has said how many (RFC 9113 §6.5.2: not below 100).
USUAL_STREAMS = 100
#: Frames in a row that bring no stream on: 10,000 PINGs or empty DATA are a flood, not a conversation.
MAX_IDLE_FRAMES = 10_000
#: What we send may be taken note of (a window opened, a PING to measure with) this often without being a flood.
_BYTES_A_FRAME = 512
#: Bytes of heads in one feed (64 KB), and of a head when no memory is left: HPACK names 256 KB by ten bytes.
MAX_HEADS, _SMALL_HEAD = 16 << 20, 16 << 10
#: Bytes of the shadow after which the connection's window is opened again: half of it.
_REOPEN = 1 << 30
_BLOCKS = frozenset({HEADERS, CONTINUATION})


class Http2Error(ValueError):
    """The connection cannot go on."""


class Answer(NamedTuple):
    """How a stream ended: with a response, or why not (``refused``, ``reset``, ``truncated``, ``malformed``;
    ``own_limit``: no memory)."""

    stream: int
    response: Response | None
    failure: str = ""


class _Unsent:
    """What is still to be sent of a request. ``until``: where that ends which may be sent now; beyond the body when its
    end may be, too."""

    __slots__ = ("at", "body", "pacing", "trailers", "until", "window")

    def __init__(self, body: bytes, trailers: list[Field], window: int, pacing: Pacing | None) -> None:
        self.body = body
        self.at = 0
        self.trailers = trailers
        self.window = window
        self.pacing = pacing
        self.until = len(body) + 1 if pacing is None else pacing.until


class Http2Client:
    """See the module's head. ``out`` is for the wire, and emptied by whoever writes it; ``sent`` has the streams whose
    requests are whole in it. ``replies``: bytes put there because the shadow asked for them."""

    __slots__ = (
        "_body_limit", "_charge", "_frame_size", "_heads", "_held", "_idle", "_initial", "_next", "_received", "_side",
        "_streams", "_table_update", "_unsent", "_window", "error", "going", "limit", "out", "replies", "sent",
    )  # fmt: skip

    def __init__(self, body_limit: int = 0, budget: Budget = UNBOUNDED) -> None:
        self._body_limit = body_limit
        self._charge = Charge(budget)
        self._side = Side(SERVER, 0)
        self._side.reader.longest = DEFAULT_FRAME_SIZE  # §4.2: we ask for no more
        self._streams: dict[int, Stream] = {}
        self._unsent: dict[int, _Unsent] = {}
        self._next = 1
        self._window = self._initial = DEFAULT_WINDOW  # ours to send into: of the connection, of a new stream
        self._frame_size = DEFAULT_FRAME_SIZE
        self._received = 0  # of what the connection's window counts, since it was opened last
        self._held = 0
        self._idle = 0  # frames in a row that bring no stream on, less what our own let expect
        self._heads = 0  # bytes of heads in this feed
        self._table_update = False  # the next block is to say that no table is used: the shadow made its smaller
        self.replies = 0
        self.limit = USUAL_STREAMS
        self.going = False  # it wants no more streams
        self.error: Http2Error | None = None
        self.sent: list[int] = []
        ours = {ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: LARGEST_WINDOW, MAX_HEADER_LIST_SIZE: MAX_LIST}
        self.out = bytearray(PREFACE_BYTES + settings(ours) + window_update(0, LARGEST_WINDOW - DEFAULT_WINDOW))

    @property
    def full(self) -> bool:
        """No stream may be opened now."""
        return self.going or len(self._streams) >= self.limit or self._next > LARGEST_WINDOW

    def begun(self, stream: int) -> bool:
        """Its answer has begun."""
        found = self._streams.get(stream)
        return found is not None and found.response == COMING

    def received(self, stream: int) -> int:
        """Bytes of its answer's content so far."""
        found = self._streams.get(stream)
        return found.answer.body_length if found is not None and found.answer is not None else 0

    def open(
        self, fields: list[Field], body: bytes, trailers: list[Field], now: int, paces: tuple[Pace, ...] = ()
    ) -> int:
        """A request; the number of its stream. ``paces``: of a dialogue."""
        number = self._next
        self._next += 2
        stream = self._streams[number] = Stream(number, 0, 0, now)
        self._held += stream.weight
        whole = not body and not trailers and not paces
        self.out += header_block(number, self._encoded(fields), whole, self._frame_size)
        if whole:
            self.sent.append(number)
        else:
            self._unsent[number] = _Unsent(body, trailers, self._initial, Pacing(paces, now) if paces else None)
            self._send()
        return number

    def _encoded(self, fields: list[Field]) -> bytes:
        block = encode(fields)
        if self._table_update:  # RFC 7541 §4.2: nghttp2, Envoy and h2 refuse a block that does not begin with it
            self._table_update = False
            return NO_TABLE + block
        return block

    def cancel(self, stream: int) -> None:
        """Nobody waits for its answer any more."""
        self._close(stream)
        self.out += reset(stream, CANCEL)

    def so_far(self, stream: int) -> Response | None:
        """What has come of a stream of events that goes on, and is cancelled; None if it is none."""
        found = self._streams.get(stream)
        if found is None or found.marks is None:
            return None
        answer = cast(Response, found.answer)
        self._held -= found.kept()
        last = answer.last_byte
        found.answer_of(last)
        answer.open = True
        answer.end = self._side.reader.offset
        self.cancel(stream)
        return answer

    def streaming(self, stream: int) -> bool:
        """Its answer is a stream of events that goes on."""
        found = self._streams.get(stream)
        return found is not None and found.marks is not None

    def latest(self, stream: int) -> int:
        """When the latest piece of its answer came."""
        found = self._streams.get(stream)
        return found.answer.last_byte if found is not None and found.answer is not None else 0

    def feed_untrusted(self, data: bytes, now: int) -> list[Answer]:
        """Streams that have ended by what the shadow said. Raises Http2Error; those that ended before the error are
        returned first, then ``error`` is set."""
        ended: list[Answer] = []
        self._heads = 0
        try:
            for one in self._side.reader.feed_untrusted(data):
                self._frame(one, ended, now)
            if self._side.reader.error is not None:
                raise FrameError(str(self._side.reader.error))
        except (FrameError, HpackError, Http2Error) as error:
            self.error = Http2Error(str(error))
            if not ended:  # another: one that was raised refers to this frame, and nobody would be freed
                raise Http2Error(str(error)) from None
        if self._received >= _REOPEN:
            self.out += window_update(0, self._received)
            self._received = 0
        self._hold()
        return ended

    def _hold(self) -> None:
        self._charge.hold(self._held + self._side.held())

    def end(self) -> None:
        """The connection is over: nothing is held any more."""
        self._side.end("over")
        self._streams.clear()
        self._unsent.clear()
        self._held = 0
        self._charge.hold(0)

    # --- sending ------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """As much as the windows allow: a frame of each stream in turn."""
        progress = True
        while self._unsent and progress:
            progress = False
            for number, unsent in list(self._unsent.items()):
                said = min(len(unsent.body), unsent.until)
                room = min(said - unsent.at, self._frame_size, self._window, unsent.window)
                last = unsent.at + max(room, 0) == len(unsent.body) < unsent.until
                if room > 0 or last:
                    progress = True
                    self._send_piece(number, unsent, max(room, 0), last)

    def _send_piece(self, number: int, unsent: _Unsent, size: int, last: bool) -> None:
        piece = unsent.body[unsent.at : unsent.at + size]
        unsent.at += size
        unsent.window -= size
        self._window -= size
        self._idle -= 1 + size // _BYTES_A_FRAME
        if piece or (last and not unsent.trailers):
            self.out += frame(DATA, END_STREAM if last and not unsent.trailers else 0, number, piece)
        if last:
            if unsent.trailers:
                self.out += header_block(number, self._encoded(unsent.trailers), True, self._frame_size)
            del self._unsent[number]
            self.sent.append(number)

    def _pace(self, one: Frame, now: int) -> None:
        """More of an answer: in a dialogue more may be said."""
        unsent = self._unsent.get(one.stream)
        if unsent is not None and unsent.pacing is not None and unsent.pacing.answered_untrusted(one.payload, now):
            unsent.until = unsent.pacing.until
            self._send()

    def silences(self, now: int) -> list[tuple[int, int, int]]:
        """Dialogues that wait for the shadow to say something: (stream, since when, how long production took)."""
        found = []
        for number, unsent in self._unsent.items():
            pacing = unsent.pacing
            if pacing is None or unsent.until > len(unsent.body):
                continue
            if unsent.at < unsent.until:  # it is the shadow that does not read
                pacing.since = now
            found.append((number, pacing.since, pacing.took))
        return found

    def go_on(self, stream: int, now: int) -> None:
        """What a dialogue waits for is not waited for any more."""
        unsent = self._unsent[stream]
        pacing = cast(Pacing, unsent.pacing)
        pacing.go_on(now)
        unsent.until = pacing.until
        self._send()

    # --- frames -------------------------------------------------------------------------------------------------------

    def _frame(self, one: Frame, ended: list[Answer], now: int) -> None:
        kind = one.kind
        if kind == DATA:
            self._received += one.size - (FRAME_HEAD if one.end - one.size == one.begin else 0)
            self._data(one, ended, now)
        elif kind in _BLOCKS:
            block = self._side.block_untrusted(one, now)
            if block is not None:
                self._block(block, ended, now)
            elif not one.payload:
                self._rest()
        elif kind == PUSH_PROMISE:
            raise Http2Error("a promise, which was switched off")
        elif kind == RST_STREAM:
            self._reset(one, ended)
        elif kind == GOAWAY:
            self._goaway(one.payload, ended)
        else:
            self._rest()
            if kind == SETTINGS:
                self._settings(one)
            elif kind == PING and not one.flags & ACK:
                self._reply(frame(PING, ACK, 0, one.payload))
            elif kind == WINDOW_UPDATE:
                self._open_window(one, ended)

    def _rest(self) -> None:
        """A frame that brings no stream on."""
        self._idle += 1
        if self._idle > MAX_IDLE_FRAMES:
            raise Http2Error("a flood of frames that say nothing")

    def _reply(self, data: bytes) -> None:
        self.replies += len(data)
        self.out += data

    def _settings(self, one: Frame) -> None:
        if one.flags & ACK:
            if one.payload:
                raise Http2Error("an acknowledgement that says something")  # §6.5
            return
        said = settings_of_untrusted(one.payload)
        if said.get(ENABLE_PUSH):
            raise Http2Error("a setting that is a client's")  # §6.5.2
        self.limit = said.get(MAX_CONCURRENT_STREAMS, self.limit)
        self._frame_size = said.get(MAX_FRAME_SIZE, self._frame_size)
        if said.get(HEADER_TABLE_SIZE, DEFAULT_TABLE) < DEFAULT_TABLE:
            self._table_update = True
        initial = said.get(INITIAL_WINDOW_SIZE)
        if initial is not None:  # §6.9.2: streams that are open, too
            for unsent in self._unsent.values():
                unsent.window += initial - self._initial
                if unsent.window > LARGEST_WINDOW:
                    raise Http2Error("a window beyond all measure")
            self._initial = initial
        self._reply(frame(SETTINGS, ACK, 0))
        self._send()

    def _open_window(self, one: Frame, ended: list[Answer]) -> None:
        increment = int.from_bytes(one.payload, "big") & LARGEST_WINDOW
        if not one.stream:
            self._window += increment
            if not increment or self._window > LARGEST_WINDOW:
                raise Http2Error("a window that opens by nothing, or beyond all measure")
        elif one.stream not in self._streams:
            self._must_be_known(one.stream)
        else:  # §6.9: of a stream, which that ends alone
            unsent = self._unsent.get(one.stream)
            if unsent is not None:
                unsent.window += increment
            if not increment or (unsent is not None and unsent.window > LARGEST_WINDOW):
                self._refuse(one.stream, ended)
        self._send()

    def _close(self, number: int) -> None:
        """The stream is over."""
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._held -= stream.kept() + stream.weight
            stream.drop_answer()
        self._unsent.pop(number, None)
        self._idle = min(self._idle, 0)

    def _must_be_known(self, number: int) -> None:
        """§5.1: of a stream that was never opened nothing can be said; of one that is over, something may cross."""
        if number % 2 == 0 or number >= self._next:
            raise Http2Error("a frame of a stream that is none")

    def _refuse(self, number: int, ended: list[Answer]) -> None:
        """§5.4.2: what the shadow says of a stream ends that stream."""
        self._fail(number, "malformed", ended)
        self.out += reset(number, PROTOCOL_ERROR)

    def _fail(self, number: int, reason: str, ended: list[Answer]) -> None:
        self._close(number)
        ended.append(Answer(number, None, reason))

    def _reset(self, one: Frame, ended: list[Answer]) -> None:
        stream = self._streams.get(one.stream)
        if stream is None:
            self._must_be_known(one.stream)
            self._rest()
            return
        code = int.from_bytes(one.payload, "big")
        if code == REFUSED_STREAM and stream.response == NONE:
            self._fail(one.stream, "refused", ended)
        else:
            self._fail(one.stream, "truncated" if stream.response == COMING else "reset", ended)

    def _goaway(self, payload: bytes, ended: list[Answer]) -> None:
        if len(payload) < 8:
            raise Http2Error("GOAWAY of a length that cannot be")
        self._rest()
        self.going = True
        last = int.from_bytes(payload[:4], "big") & LARGEST_WINDOW
        for number in [number for number in self._streams if number > last]:
            self._fail(number, "refused", ended)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _block(self, block: Block, ended: list[Answer], now: int) -> None:
        stream = self._streams.get(block.stream)
        if stream is None:
            self._must_be_known(block.stream)
            self._rest()  # it crossed our reset
            return
        try:
            if block.oversized:
                raise HeadError("longer than anybody reads")
            if stream.response == NONE:
                status, head = response_head_untrusted(block.fields)
                if status < 200:
                    if block.ends_stream or status == 101:
                        raise HeadError("an answer that ends with an interim head")
                    self._rest()
                    return
                stream.begin_answer(status, head, block.begin, now, self._body_limit)
                self._weigh(stream, head)
            elif not block.ends_stream:
                raise HeadError("a second head")
            else:
                cast(Response, stream.answer).trailers = trailer_lines_untrusted(block.fields)
        except HeadError:
            self._refuse(block.stream, ended)
            return
        if self._charge.exhausted and stream.weight > _SMALL_HEAD:
            self.cancel(block.stream)
            ended.append(Answer(block.stream, None, "own_limit"))
            return
        self._idle = min(self._idle, 0)
        if block.ends_stream:
            self._end(stream, block.end, ended, now)

    def _weigh(self, stream: Stream, head: bytes) -> None:
        stream.weight += len(head)
        self._held += len(head)
        self._heads += len(head)
        if len(head) > _SMALL_HEAD:
            self._hold()
        if self._heads > MAX_HEADS:
            raise Http2Error("heads beyond all measure")

    def _data(self, one: Frame, ended: list[Answer], now: int) -> None:
        stream = self._streams.get(one.stream)
        ends = one.whole and bool(one.flags & END_STREAM)
        if stream is None or (not one.payload and not ends):
            self._must_be_known(one.stream)
            self._rest()
            return
        if stream.response != COMING:
            self._refuse(one.stream, ended)
            return
        self._idle = min(self._idle, 0)
        answer = stream.answer
        assert answer is not None
        if self._body_limit:  # a piece's mark is where it ends on the wire: the kernel knows when that came
            self._held += stream.keep_answer(one.payload, one.end, self._body_limit, self._charge.exhausted)
        else:
            answer.body_length += len(one.payload)
        answer.last_byte = now
        if self._unsent:
            self._pace(one, now)
        if ends:
            self._end(stream, one.end, ended, now)

    def _end(self, stream: Stream, end: int, ended: list[Answer], now: int) -> None:
        answer = stream.answer
        assert answer is not None
        self._held -= stream.kept()
        stream.answer_of(now)
        answer.end = end
        if stream.number in self._unsent:  # it has answered, and does not read on
            self.out += reset(stream.number, NO_ERROR)
        self._close(stream.number)
        ended.append(Answer(stream.number, answer))
