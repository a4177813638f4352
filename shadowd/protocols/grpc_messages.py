"""The messages of a gRPC content that comes in pieces, counted (sans-IO).

A frame is five bytes, flags (1: compressed) and a length of four, and what is as long (github.com/grpc/grpc,
doc/PROTOCOL-HTTP2.md). One of gRPC-web that holds trailers (0x80, doc/PROTOCOL-WEB.md) is no message.
"""

from __future__ import annotations

COMPRESSED, TRAILERS = 0x01, 0x80
HEAD = 5


class Messages:
    """``count``: whole ones so far. ``wrong``: flags that nobody knows were seen, and nothing is counted behind them.
    Nothing of a message is held."""

    __slots__ = ("_head", "_left", "count", "wrong")

    def __init__(self) -> None:
        self.count = 0
        self.wrong = False
        self._head = b""  # of the frame that has begun, as far as it has come
        self._left = 0  # bytes of it that are to come

    def feed_untrusted(self, piece: bytes) -> list[int]:
        """For each message that is whole now, the offset within ``piece`` behind it. Never raises."""
        ends: list[int] = []
        at, size = 0, len(piece)
        while at < size and not self.wrong:
            if len(self._head) < HEAD:
                begun = piece[at : at + HEAD - len(self._head)]
                self._head += begun
                at += len(begun)
                if len(self._head) < HEAD:
                    break
                self.wrong = bool(self._head[0] & ~(COMPRESSED | TRAILERS))
                self._left = int.from_bytes(self._head[1:], "big")
            step = min(self._left, size - at)
            self._left -= step
            at += step
            if not self._left:
                if not self._head[0] & TRAILERS and not self.wrong:
                    ends.append(at)
                self._head = b""
        self.count += len(ends)
        return ends
