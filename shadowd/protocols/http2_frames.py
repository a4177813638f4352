"""HTTP/2 frames, RFC 9113 §4 and §6: cut out of one direction as they come, and written (sans-IO).

==========  ====================================================  ==================================================
state       what its bytes are                                    leaves it
==========  ====================================================  ==================================================
``PREFACE`` the client's 24 bytes ahead of its first frame        whole → HEAD; anything else → BROKEN
``HEAD``    the nine bytes of a frame's head                      whole → the frame's kind decides
``WHOLE``   the payload of a frame that is needed whole           whole → HEAD
``PIECES``  the content of DATA, told as it comes                 its end → PADDING
``PADDING`` what stands behind the content, or of a frame that    its end → HEAD
            nobody needs: skipped
``BROKEN``  nothing                                               never
==========  ====================================================  ==================================================

DATA may have 16 MB (§4.2) and is never gathered here. A frame of another kind that is longer than ``MAX_WHOLE`` is one
that no reader takes: the reader is broken, as it is behind a frame that cannot be (RFC 9113 calls both connection
errors). A frame of an unknown kind is skipped (§5.5).
"""

from __future__ import annotations

from shadowd.protocols.detect import HTTP2_PREFACE

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
#: Flags. ACK is of SETTINGS and PING, END_STREAM of DATA and HEADERS.
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20
#: Of SETTINGS (§6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441
#: Error codes (§7).
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED = 7, 8, 11, 13

PREFACE_BYTES = HTTP2_PREFACE
FRAME_HEAD = 9
#: What implementations take unless they said otherwise, and the windows that connections begin with (§6.5.2).
DEFAULT_FRAME_SIZE, DEFAULT_WINDOW = 16_384, 65_535
LARGEST_WINDOW = (1 << 31) - 1
#: A header block's first frame, with all that follows of it: more than any server takes (``hpack.MAX_LIST``).
MAX_WHOLE = 256 << 10

_PREFACE, _HEAD, _WHOLE, _PIECES, _PADDING, _BROKEN = range(6)
#: Lengths that frames of a kind have (§6.3, 6.4, 6.7, 6.9).
_LENGTHS = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
#: Kinds that belong to a stream, and those that belong to none (§5.1.1).
_OF_STREAM = frozenset({DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION})
#: What carries a header block.
BLOCKS = frozenset({HEADERS, CONTINUATION, PUSH_PROMISE})
_OF_NONE = frozenset({SETTINGS, PING, GOAWAY})


class FrameError(ValueError):
    """Bytes that are no HTTP/2 frames. Nothing behind them can be read."""


class Frame:
    """``payload`` without padding and priority. Of DATA it is what has come of it: ``whole`` is False while more is to
    come. ``size``: bytes of the direction that are counted with it, its head, padding and priority among them.
    ``begin``: the stream offset of its head; ``end``: the offset behind what has come of it."""

    __slots__ = ("begin", "end", "flags", "kind", "payload", "size", "stream", "whole")

    def __init__(
        self, kind: int, flags: int, stream: int, payload: bytes, whole: bool, size: int, begin: int, end: int
    ) -> None:
        self.kind = kind
        self.flags = flags
        self.stream = stream
        self.payload = payload
        self.whole = whole
        self.size = size
        self.begin = begin
        self.end = end


class FrameReader:
    """One direction. ``offset``: of the first byte; ``client``: it begins with the preface."""

    __slots__ = (
        "_begin", "_begun", "_block", "_buffer", "_flags", "_kind", "_left", "_open_block", "_padding", "_position",
        "_state", "_stream", "_uncounted", "error", "longest", "offset",
    )  # fmt: skip

    def __init__(self, client: bool, offset: int = 0) -> None:
        self._state = _PREFACE if client else _HEAD
        self.offset = offset  # of what was fed
        self.error: FrameError | None = None
        self.longest = 1 << 24  # payload of a frame that its reader takes: whose word it is, a listener need not know
        self._begun = False  # a frame has
        self._open_block = 0  # the stream whose header block goes on in CONTINUATION frames
        self._block = 0  # bytes of that block
        self._position = offset  # of what was read
        self._buffer = bytearray()  # of a preface, head or frame that is not whole
        self._begin = offset  # of the frame
        self._kind = self._flags = self._stream = 0
        self._left = 0  # bytes of the payload, padding apart, that are to come
        self._padding = 0
        self._uncounted = 0  # bytes of this frame that no piece of it has counted yet

    @property
    def pending(self) -> int:
        """Bytes fed that were not told as a frame's yet."""
        return self.held()

    def held(self) -> int:
        """The same, for who asks often."""
        return len(self._buffer) + self._uncounted

    @property
    def content_left(self) -> int:
        """Bytes that are still to come of the content of a DATA frame: a hole within them is that stream's alone."""
        return self._left if self._state == _PIECES else 0

    @property
    def stream(self) -> int:
        """Of the frame that has begun."""
        return self._stream

    def feed_untrusted(self, data: bytes) -> list[Frame]:
        """The frames, or pieces of DATA, that are known now. Raises FrameError; frames before the error are returned
        first, then ``error`` is set and the next call raises."""
        frames: list[Frame] = []
        base = self.offset
        self.offset += len(data)
        try:
            self._feed(data, base, frames)
        except FrameError as error:
            # another: one that was raised refers to its frames, and what they hold would be freed late
            self._state, self.error = _BROKEN, FrameError(str(error))
            self._uncounted += self.offset - self._position
            if not frames:
                raise
        return frames

    def _feed(self, data: bytes, base: int, frames: list[Frame]) -> None:
        at, end = 0, len(data)
        while True:
            self._position = base + at
            state = self._state
            if state == _HEAD:
                if not self._buffer and end - at >= FRAME_HEAD:
                    head = data[at : at + FRAME_HEAD]
                    self._begin = base + at
                    at += FRAME_HEAD
                else:
                    if not self._buffer:
                        self._begin = base + at
                    piece = data[at : at + FRAME_HEAD - len(self._buffer)]
                    self._buffer += piece
                    at += len(piece)
                    if len(self._buffer) < FRAME_HEAD:
                        return
                    head = bytes(self._buffer)
                    self._buffer.clear()
                self._position = base + at
                self._uncounted += FRAME_HEAD
                self._open(head)
            elif state == _WHOLE:
                wanted = self._left - len(self._buffer)
                if not self._buffer and end - at >= wanted:
                    payload = data[at : at + wanted]
                    at += wanted
                else:
                    piece = data[at : at + wanted]
                    self._buffer += piece
                    at += len(piece)
                    if len(piece) < wanted:
                        return
                    payload = bytes(self._buffer)
                    self._buffer.clear()
                self._position = base + at
                self._uncounted += len(payload)
                self._close(payload, frames)
            elif state == _PIECES:
                piece = data[at : at + self._left]
                if not piece and self._left:
                    return
                at += len(piece)
                self._position = base + at
                self._left -= len(piece)
                self._piece(piece, frames)
            elif state == _PADDING:
                step = min(self._padding, end - at)
                at += step
                self._padding -= step
                self._uncounted += step
                if self._padding:
                    return
                self._position = base + at
                self._state = _HEAD
                self._tell(b"", True, frames)
            elif state == _PREFACE:
                piece = data[at : at + len(PREFACE_BYTES) - len(self._buffer)]
                self._buffer += piece
                at += len(piece)
                self._position = base + at
                if not PREFACE_BYTES.startswith(self._buffer):
                    raise FrameError("no preface")
                if len(self._buffer) < len(PREFACE_BYTES):
                    return
                self._buffer.clear()
                self._uncounted = len(PREFACE_BYTES)
                self._state = _HEAD
            else:
                raise FrameError("behind a frame that cannot be")

    def lose_content(self, length: int) -> int:
        """``length`` bytes of the content of a DATA frame were never seen, at most ``content_left``. Returns the bytes
        of the frame that nothing has counted yet."""
        self.offset += length
        self._left -= length
        counted, self._uncounted = self._uncounted, 0
        return counted

    def _open(self, head: bytes) -> None:
        """A frame's head."""
        length = head[0] << 16 | head[1] << 8 | head[2]
        kind, flags = head[3], head[4]
        stream = (head[5] & 0x7F) << 24 | head[6] << 16 | head[7] << 8 | head[8]
        self._kind, self._flags, self._stream = kind, flags, stream
        if not self._begun:  # §3.4: of either side
            if kind != SETTINGS:
                raise FrameError("a connection that does not begin with SETTINGS")
            self._begun = True
        if length > self.longest:
            raise FrameError("a frame that is longer than its reader takes")
        if self._open_block:
            if kind != CONTINUATION or stream != self._open_block:
                raise FrameError("a header block that something else stands in")
            self._block += length
        elif kind == CONTINUATION or (stream == 0 and kind in _OF_STREAM):
            raise FrameError("a frame that cannot be here")
        if (stream and kind in _OF_NONE) or length != _LENGTHS.get(kind, length):
            raise FrameError("a frame of a form that cannot be")
        if kind == DATA:
            self._padding = 0
            self._left = length
            if flags & PADDED:
                self._state = _WHOLE  # the length of the padding comes first
                self._left = 1
                self._padding = length - 1
                if length < 1:
                    raise FrameError("padding beyond its frame")
            else:
                self._state = _PIECES
        elif kind == PRIORITY or kind > CONTINUATION:
            self._padding = length
            self._state = _PADDING
        elif length > MAX_WHOLE or self._block > MAX_WHOLE:
            raise FrameError("a frame or a header block beyond all measure")
        else:
            self._left = length
            self._state = _WHOLE

    def _close(self, payload: bytes, frames: list[Frame]) -> None:
        """A payload is whole."""
        kind, flags = self._kind, self._flags
        if kind == DATA:  # the length of its padding
            content = self._padding - payload[0]
            if content < 0:
                raise FrameError("padding beyond its frame")
            self._left, self._padding = content, payload[0]
            self._state = _PIECES
            return
        if kind in (HEADERS, PUSH_PROMISE):
            padding = start = 0
            if flags & PADDED:
                padding, start = payload[0] if payload else 1, 1
            if flags & PRIORITIZED and kind == HEADERS:
                start += 5
            if start + padding > len(payload):
                raise FrameError("padding beyond its frame")
            payload = payload[start : len(payload) - padding]
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            whole = flags & END_HEADERS
            self._open_block = 0 if whole else self._stream
            self._block = 0 if whole else max(self._block, len(payload))
        self._state = _HEAD
        self._tell(payload, True, frames)

    def _piece(self, piece: bytes, frames: list[Frame]) -> None:
        self._uncounted += len(piece)
        whole = not self._left
        if whole:
            self._state = _PADDING if self._padding else _HEAD
            if self._padding:  # told with the padding, or its end would be told before it is there
                whole = False
        if piece or whole:
            self._tell(piece, whole, frames)

    def _tell(self, payload: bytes, whole: bool, frames: list[Frame]) -> None:
        counted, self._uncounted = self._uncounted, 0
        frames.append(
            Frame(self._kind, self._flags, self._stream, payload, whole, counted, self._begin, self._position)
        )


# --- writing ----------------------------------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return b"".join((len(payload).to_bytes(3, "big"), bytes((kind, flags)), stream.to_bytes(4, "big"), payload))


def settings(pairs: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs.items())
    return frame(SETTINGS, 0, 0, payload)


def settings_of_untrusted(payload: bytes) -> dict[int, int]:
    """What a SETTINGS frame says, the last word on each. Raises FrameError."""
    if len(payload) % 6:
        raise FrameError("SETTINGS of a length that cannot be")
    found = {}
    for at in range(0, len(payload), 6):
        key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
        if (key == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW) or (
            key == MAX_FRAME_SIZE and not DEFAULT_FRAME_SIZE <= value < 1 << 24
        ):
            raise FrameError("a setting that cannot be")
        found[key] = value
    return found


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def header_block(stream: int, block: bytes, end: bool, limit: int = DEFAULT_FRAME_SIZE) -> bytes:
    """HEADERS, with CONTINUATION where it does not fit ``limit``; ``end``: the stream ends with it."""
    first = frame(HEADERS, END_STREAM * end | END_HEADERS * (len(block) <= limit), stream, block[:limit])
    if len(block) <= limit:
        return first
    rest = range(limit, len(block), limit)
    return first + b"".join(
        frame(CONTINUATION, END_HEADERS * (at + limit >= len(block)), stream, block[at : at + limit]) for at in rest
    )
