"""Is a connection that was first seen in its middle HTTP/2? (sans-IO; RFC 9113 §4.1, §6)

Nothing of such a connection can be read: its header compression refers to what was said before. But its frames can be
told from other bytes, for the head of each says where the next one begins. A direction is looked at from a segment's
first byte, where most frames begin:

=========  ==========================================================  ================================================
state      what its bytes are                                          leaves it
=========  ==========================================================  ================================================
``LOST``   at a segment's begin the head of a frame, or anything       a head that can be → ``CHAIN``
``CHAIN``  a payload, then a head, and so on                           a head that cannot be, a hole → ``LOST``
=========  ==========================================================  ================================================

Nine random bytes are such a head once in eleven million times. It is said to be HTTP/2 where each direction has shown
``ENOUGH`` in a row, each where the one before it said; what says so little is not named. A frame above 16 KB, which a
peer must have asked for, ends a chain: the next one begins behind it.
"""

from __future__ import annotations

from shadowd.protocols.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

#: Heads in a row, of each direction.
ENOUGH = 3
#: Pieces that are looked at before it is given up: a connection that is HTTP/2 shows it at its next exchanges.
MAX_PIECES = 4096

#: Flags that a frame of a kind may have; others must be unset (§4.1).
_FLAGS = {
    DATA: END_STREAM | PADDED, HEADERS: END_STREAM | END_HEADERS | PADDED | PRIORITIZED, PRIORITY: 0, RST_STREAM: 0,
    SETTINGS: ACK, PUSH_PROMISE: END_HEADERS | PADDED, PING: ACK, GOAWAY: 0, WINDOW_UPDATE: 0,
    CONTINUATION: END_HEADERS,
}  # fmt: skip
#: Least and greatest lengths (§6); those of flags beside.
_LENGTHS = {
    DATA: (0, DEFAULT_FRAME_SIZE), HEADERS: (1, DEFAULT_FRAME_SIZE), PRIORITY: (5, 5), RST_STREAM: (4, 4),
    SETTINGS: (0, 240), PUSH_PROMISE: (5, DEFAULT_FRAME_SIZE), PING: (8, 8), GOAWAY: (8, DEFAULT_FRAME_SIZE),
    WINDOW_UPDATE: (4, 4), CONTINUATION: (0, DEFAULT_FRAME_SIZE),
}  # fmt: skip
_OF_CONNECTION = frozenset({SETTINGS, PING, GOAWAY})


class _Chain:
    """One direction."""

    __slots__ = ("_block", "_client", "_head", "_left", "heads")

    def __init__(self, client: bool) -> None:
        self._client = client
        self.heads = 0  # in a row; 0: the place is lost
        self._left = 0  # bytes of the payload that are to come
        self._head = b""  # as far as it has come
        self._block = 0  # the stream whose header block goes on

    def lose(self) -> None:
        self.heads = self._left = self._block = 0
        self._head = b""

    def feed(self, data: bytes) -> None:
        at, end = 0, len(data)
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            step = FRAME_HEAD - len(self._head)
            self._head += data[at : at + step]
            at += step
            if len(self._head) < FRAME_HEAD:
                return
            head, self._head = self._head, b""
            if not self._can_be(head):
                self.lose()
                return
            self.heads += 1

    def _can_be(self, head: bytes) -> bool:
        length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        stream = int.from_bytes(head[5:])
        least, most = _LENGTHS.get(kind, (1, 0))
        if flags & PADDED and kind in (DATA, HEADERS, PUSH_PROMISE):
            least += 1
        if flags & PRIORITIZED and kind == HEADERS:
            least += 5
        if kind == SETTINGS and (length % 6 or (flags & ACK and length)):
            return False
        if not least <= length <= most or flags & ~_FLAGS[kind] or stream >> 31:
            return False
        if kind == PUSH_PROMISE and self._client:
            return False
        # streams of clients alone: of even numbers are pushed ones, which hardly anybody has
        if not (stream == 0 if kind in _OF_CONNECTION else stream & 1 or (kind == WINDOW_UPDATE and not stream)):
            return False
        if (kind == CONTINUATION) != bool(self._block) or (self._block and stream != self._block):
            return False
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._block = 0 if flags & END_HEADERS else stream
        self._left = length
        return True


class Glance:
    """Both directions, until it is known. ``is_http2``: it is; ``over``: it is, or there is nothing more to find."""

    __slots__ = ("_chains", "_pieces")

    def __init__(self) -> None:
        self._chains = (_Chain(client=True), _Chain(client=False))
        self._pieces = 0

    def feed_untrusted(self, direction: int, data: bytes) -> None:
        """A segment's bytes, in order. Raises nothing."""
        self._pieces += 1
        self._chains[direction].feed(data)

    def gap(self, direction: int) -> None:
        self._chains[direction].lose()

    @property
    def is_http2(self) -> bool:
        client, server = self._chains
        return client.heads >= ENOUGH and server.heads >= ENOUGH

    @property
    def over(self) -> bool:
        return self._pieces >= MAX_PIECES or self.is_http2
