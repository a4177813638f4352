"""Frames of one direction of a WebSocket, and the messages that they carry (sans-IO, RFC 6455).

A message is one frame or several (§5.4); between them control frames may stand. Where both sides agreed on
permessage-deflate (RFC 7692) a message is undone whole. The other way round, a message is one frame: whoever reads may
not rely on how it was cut (§5.4).

==============  =====================================================================================================
limit           beyond it nothing more is read, and ``failed`` says
==============  =====================================================================================================
``MAX_MESSAGE`` ``too_large``: on the wire, and undone (few bytes deflate to many)
memory          ``memory``: what of a message has come is charged to the budget
§5.2 to §5.5    ``unparsable``: what they call an error, after which nobody knows where a frame begins
==============  =====================================================================================================
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from shadowd.ledger.budget import UNBOUNDED, Budget, Charge

CONTINUATION, TEXT, BINARY = 0, 1, 2
CLOSE, PING, PONG = 8, 9, 10
_KNOWN = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_FIN, _RSV1, _RSV23, _MASKED = 0x80, 0x40, 0x30, 0x80

#: Bytes of a message; the same as an HTTP request's body.
MAX_MESSAGE = 16 << 20
_LARGEST_HEAD = 14  # §5.2: two bytes, eight of length, four of mask
_LONGEST_CONTROL = 125  # §5.5
_EMPTY_BLOCK = b"\x00\x00\xff\xff"  # RFC 7692 §7.2.1: taken off behind each message


class FrameError(Exception):
    """A reason of the ledger's."""


class Message(NamedTuple):
    """``kind`` is TEXT, BINARY, or of a control frame CLOSE, PING, PONG; ``data`` as the application sees it; offsets
    are of the stream, ``begin`` before the first byte of its first frame, ``end`` after the last of its last; ``size``
    are the bytes of its own frames."""

    kind: int
    data: bytes
    begin: int
    end: int
    size: int


class Deflate(NamedTuple):
    """permessage-deflate as one side does it (RFC 7692 §7.1): whether its messages know of earlier ones, and 2 to the
    power of how many bytes it looks back."""

    takeover: bool = True
    bits: int = 15


class MessageReader:
    """Cuts one direction. ``masked``: the client's, whose frames must be, and the server's must not (§5.1); None: where
    somebody else has to mind, who may not. ``deflate``: None where that was not agreed on. ``failed``:
    why nothing more is read, or ""."""

    __slots__ = (
        "_begin", "_buffer", "_charge", "_data", "_deflate", "_deflated", "_inflate", "_kind", "_masked", "_size",
        "failed", "offset",
    )  # fmt: skip

    def __init__(
        self, masked: bool | None, deflate: Deflate | None = None, offset: int = 0, budget: Budget = UNBOUNDED
    ) -> None:
        self._masked = masked
        self._deflate = deflate
        self._inflate = zlib.decompressobj(-deflate.bits) if deflate is not None else None
        self.offset = offset  # of the stream, after what was fed
        self._charge = Charge(budget)
        self._buffer = bytearray()  # from the begin of a frame that is not whole
        self._data = bytearray()  # of the message's earlier frames
        self._begin = self._size = 0  # of the message that has begun
        self._kind = 0  # of a message of which frames are to come, else 0
        self._deflated = False
        self.failed = ""

    @property
    def pending(self) -> int:
        """Bytes of a message that is not whole."""
        return len(self._buffer) + (self._size if self._kind else 0)

    def feed_untrusted(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes. Never raises."""
        found: list[Message] = []
        if self.failed:
            return found
        buffer = self._buffer
        buffer += data
        self.offset += len(data)
        at = 0
        try:
            while step := self._frame(at, found):
                at += step
        except FrameError as error:
            self.failed = str(error)
            self.release()
            return found
        del buffer[:at]
        self._charge.hold(self.pending)
        if self._charge.exhausted and self.pending:
            self.failed = "memory"
            self.release()
        return found

    def _frame(self, at: int, found: list[Message]) -> int:
        """Take the frame that begins at ``at`` of the buffer. Its length, or 0 if it is not whole."""
        buffer = self._buffer
        have = len(buffer) - at
        if have < 2:
            return 0
        first, second = buffer[at], buffer[at + 1]
        size, head = second & 0x7F, 2
        if size == 126:
            head = 4
            size = int.from_bytes(buffer[at + 2 : at + 4], "big")
        elif size == 127:
            head = 10
            size = int.from_bytes(buffer[at + 2 : at + 10], "big")
        self._check(first, second, size if have >= head else 0)
        masked = bool(second & _MASKED)
        head += 4 if masked else 0
        if have < head + size:
            return 0
        body = bytes(buffer[at + head : at + head + size])
        if masked:
            body = unmasked(body, bytes(buffer[at + head - 4 : at + head]))
        begin = self.offset - len(buffer) + at
        self._take(first, body, begin, begin + head + size, found)
        return head + size

    def _check(self, first: int, second: int, size: int) -> None:
        kind = first & 0x0F
        masked = bool(second & _MASKED)
        if kind not in _KNOWN or first & _RSV23 or masked != (masked if self._masked is None else self._masked):
            raise FrameError("unparsable")
        if kind >= CLOSE:
            if not first & _FIN or first & _RSV1 or second & 0x7F > _LONGEST_CONTROL:
                raise FrameError("unparsable")
            return
        if (kind == CONTINUATION) != bool(self._kind):
            raise FrameError("unparsable")  # no message to go on with, or one that has not ended
        if first & _RSV1 and (self._deflate is None or kind == CONTINUATION):
            raise FrameError("unparsable")
        if size + (self._size if self._kind else 0) > MAX_MESSAGE:  # with its frames' heads: it may be nothing else
            raise FrameError("too_large")

    def _take(self, first: int, body: bytes, begin: int, end: int, found: list[Message]) -> None:
        kind = first & 0x0F
        if kind >= CLOSE:
            found.append(Message(kind, body, begin, end, end - begin))
            return
        if kind != CONTINUATION:
            self._kind, self._begin, self._size = kind, begin, 0
            self._deflated = bool(first & _RSV1)
        self._size += end - begin
        if not first & _FIN:
            self._data += body
            return
        if self._data:
            body = bytes(self._data) + body
            self._data.clear()
        kind, self._kind = self._kind, 0
        if self._deflated:
            body = self._undone(body)
        found.append(Message(kind, body, self._begin, end, self._size))

    def _undone(self, body: bytes) -> bytes:
        inflate, deflate = self._inflate, self._deflate
        assert inflate is not None
        assert deflate is not None
        try:
            data = inflate.decompress(body + _EMPTY_BLOCK, MAX_MESSAGE + 1)
        except zlib.error:
            raise FrameError("unparsable") from None
        if len(data) > MAX_MESSAGE:
            raise FrameError("too_large")
        if not deflate.takeover or inflate.eof:  # RFC 7692 §7.2.3.4: a final block ends nothing but itself
            self._inflate = zlib.decompressobj(-deflate.bits)
        return data

    def release(self) -> None:
        """Nothing more comes."""
        self._buffer.clear()
        self._data.clear()
        self._kind = 0
        self._charge.hold(0)


class MessageWriter:
    """The client's direction, as we say it: one frame a message, masked."""

    __slots__ = ("_compress", "_deflate")

    def __init__(self, deflate: Deflate | None = None) -> None:
        self._deflate = deflate
        self._compress = _compressor(deflate)

    def framed(self, kind: int, data: bytes, mask: bytes) -> bytes:
        """A whole message or control frame; ``mask``: four bytes that the shadow cannot foresee (§5.3)."""
        first = _FIN | kind
        if self._compress is not None and kind < CLOSE:
            first |= _RSV1
            data = (self._compress.compress(data) + self._compress.flush(zlib.Z_SYNC_FLUSH))[: -len(_EMPTY_BLOCK)]
            if self._deflate is not None and not self._deflate.takeover:
                self._compress = _compressor(self._deflate)
        size = len(data)
        if size < 126:
            head = bytes((first, _MASKED | size))
        elif size < 1 << 16:
            head = bytes((first, _MASKED | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, _MASKED | 127)) + size.to_bytes(8, "big")
        return b"".join((head, mask, unmasked(data, mask)))


def _compressor(deflate: Deflate | None) -> zlib._Compress | None:
    if deflate is None:
        return None
    return zlib.compressobj(wbits=-max(deflate.bits, 9))  # zlib knows no 8, and a stream of 9 may say so


def unmasked(data: bytes, mask: bytes) -> bytes:
    """Masked or not, the other (§5.3). As one number: ten times as fast as byte by byte."""
    size = len(data)
    if not size:
        return data
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")
