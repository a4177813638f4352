"""The wire between the supervisor and a worker process: length-prefixed msgpack over a socket pair.

Down: ``["begin", …]`` once, ``["settings", {…}]`` (all that is wanted, each time whole: ``settings.py``) and
``["catch_up", seconds, token]``. Up: ``["snapshot", {…}]`` (``accounts.py``) and ``["reports", [report, …]]``.

Neither side waits for the other: what does not fit into the socket waits here, bounded by whoever sends.
"""

from __future__ import annotations

import struct
from collections import deque
from socket import socket
from typing import Any

import msgpack

HEADER = struct.Struct("!I")
#: One message. A turn's reports are some MB at most: each has up to three bodies of ``max_body``.
MAX_FRAME = 256 << 20
#: Bytes given to the kernel at once.
PIECE = 256 << 10


class ChannelError(Exception):
    """What came is no message, or the other side is gone."""


class Outbox:
    """Messages on their way. ``waiting``: bytes that the socket has not taken."""

    __slots__ = ("_begun", "_pieces", "waiting")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._begun = 0  # of the first piece, bytes that are sent
        self.waiting = 0

    def put(self, *message: object) -> None:
        """Queue one message."""
        content: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
        for piece in (HEADER.pack(len(content)), content):
            self._pieces.append(piece)
            self.waiting += len(piece)

    def send(self, channel: socket) -> bool:
        """Give to a non-blocking socket what it takes. Whether nothing waits any more. Raises ChannelError."""
        pieces = self._pieces
        while pieces:
            piece = pieces[0]
            if len(piece) - self._begun < PIECE // 4 and len(pieces) > 1:
                piece = self._join()
            try:
                sent = channel.send(memoryview(piece)[self._begun : self._begun + PIECE])
            except BlockingIOError:
                return False
            except OSError as error:
                raise ChannelError(str(error)) from None
            self.waiting -= sent
            self._begun += sent
            if self._begun == len(piece):
                pieces.popleft()
                self._begun = 0
        return True

    def _join(self) -> bytes:
        """Small pieces become one: a send costs more than a copy."""
        pieces = self._pieces
        size, few = -self._begun, []
        while pieces and size < PIECE:
            piece = pieces.popleft()
            few.append(piece)
            size += len(piece)
        few[0] = few[0][self._begun :]
        self._begun = 0
        joined = b"".join(few)
        pieces.appendleft(joined)
        return joined


class Inbox:
    """Messages out of bytes."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed_untrusted(self, data: bytes) -> list[list[Any]]:
        """The messages that are whole now. Raises ChannelError."""
        held = self._data
        held += data
        found: list[list[Any]] = []
        begin = 0
        while len(held) - begin >= HEADER.size:
            (length,) = HEADER.unpack_from(held, begin)
            if length > MAX_FRAME:
                raise ChannelError("a message beyond all measure")
            end = begin + HEADER.size + length
            if len(held) < end:
                break
            with memoryview(held) as view:
                found.append(_message(view[begin + HEADER.size : end]))
            begin = end
        if begin:
            del held[:begin]
        return found


def _message(content: memoryview) -> list[Any]:
    try:
        message = msgpack.unpackb(content, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ChannelError(f"no msgpack: {error}") from None
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise ChannelError("no message")
    return message
