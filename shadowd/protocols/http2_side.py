"""One direction of an HTTP/2 connection: frames, and header blocks out of them (sans-IO; RFC 9113 §4.3, §6.10)."""

from __future__ import annotations

from shadowd.protocols.hpack import Decoder, Field
from shadowd.protocols.http2_frames import END_HEADERS, END_STREAM, PUSH_PROMISE, Frame, FrameReader

CLIENT, SERVER = 0, 1


class Block:
    """A whole header block. ``time``: when its first frame came; ``begin``, ``end``: stream offsets; ``size``: bytes of
    its frames; ``oversized``: fields were left out."""

    __slots__ = ("begin", "end", "ends_stream", "fields", "oversized", "promise", "size", "stream", "time")

    def __init__(
        self, stream: int, fields: list[Field], ends_stream: bool, promise: bool, begin: int, end: int, size: int,
        time: int, oversized: bool,
    ) -> None:  # fmt: skip
        self.stream = stream
        self.fields = fields
        self.ends_stream = ends_stream
        self.promise = promise
        self.begin = begin
        self.end = end
        self.size = size
        self.time = time
        self.oversized = oversized


class Side:
    """``reason``: why nothing more of it can be read, "" while it is."""

    __slots__ = ("_block", "_first", "_size", "_time", "decoder", "direction", "reader", "reason")

    def __init__(self, direction: int, offset: int) -> None:
        self.direction = direction
        self.reader = FrameReader(direction == CLIENT, offset)
        self.decoder = Decoder()
        self.reason = ""
        self._block = bytearray()  # of a header block that goes on, as far as it has come
        self._size = 0
        self._first: Frame | None = None
        self._time = 0

    @property
    def pending(self) -> int:
        """Bytes that were told to nobody yet."""
        return self.held()

    def held(self) -> int:
        """The same, for who asks often."""
        return self.reader.held() + self._size

    def end(self, reason: str) -> int:
        """Nothing more can be read. Returns the bytes that were pending."""
        pending = self.pending
        self.reason = reason
        self._block.clear()
        self._size = 0
        self.reader = FrameReader(client=False)
        return pending

    def block_untrusted(self, frame: Frame, time: int) -> Block | None:
        """The header block that a frame completes; None if it goes on. Raises HpackError: then its bytes are still
        ``pending``."""
        first = self._first
        if first is None:
            first = self._first = frame
            self._time = time
        self._block += frame.payload
        self._size += frame.size
        if not frame.flags & END_HEADERS:
            return None
        promise = first.kind == PUSH_PROMISE
        block = bytes(self._block)
        fields = self.decoder.decode_untrusted(block[4:] if promise else block)
        size, self._size = self._size, 0
        self._block.clear()
        self._first = None
        return Block(
            first.stream, fields, bool(first.flags & END_STREAM), promise, first.begin, frame.end, size, self._time,
            self.decoder.oversized,
        )  # fmt: skip
