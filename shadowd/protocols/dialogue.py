"""A dialogue of gRPC: how far its client had read the answer when it said more (sans-IO).

In most calls the request is whole before anything is answered. In a *dialogue* it is not: the client waits for
messages of the answer, and what it says next may follow from them. Whoever listens notes, whenever more of the request
comes, how many whole messages of the answer the client had acknowledged by then: the ``Pace`` s of the request. Whoever
asks another server the same says no more than its paces allow:

==========  ===================================================  ===================================================
pacing      what may be sent                                     leaves it
==========  ===================================================  ===================================================
waits       the content in front of the next pace's ``offset``   as many messages of the answer are whole → the next
                                                                 pace; silence → the next pace, and as many fewer are
                                                                 waited for from then on
free        everything, and the request's end                    never
==========  ===================================================  ===================================================

What a message is says ``grpc_messages``.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from shadowd.protocols.grpc_messages import Messages

#: Paces of a request. One that has more is no exchange: ``filtered(interactive)``.
MAX_PACES = 10_000
#: Messages that the client has not acknowledged: beyond it two count as one that ends where the second does.
_MAX_UNREAD = 10_000
#: What a pace or a mark is charged as: a tuple of three numbers.
PACE_BYTES = 160
#: Not gRPC-web, whose clients have said everything when they read.
_GRPC = re.compile(rb"\ncontent-type:[ \t]*application/grpc(?!-)")


class Pace(NamedTuple):
    """The content from ``offset`` on was sent when ``messages`` of the answer were read. ``took``: ns from what the
    client had said before to the last of these messages."""

    offset: int
    messages: int
    took: int


class Dialogue:
    """What is noted of a request whose answer has begun. Methods return the bytes by which more is held."""

    __slots__ = ("_messages", "_said", "_unread", "paces")

    def __init__(self, began: int) -> None:
        self.paces: list[Pace] = []
        self._messages = Messages()
        self._unread: deque[tuple[int, int, int]] = deque()  # (stream offset behind a message, its number, its time)
        self._said = began  # when the client spoke last

    def answered_untrusted(self, piece: bytes, end: int, time: int, exhausted: bool) -> int:
        """More of the answer; ``end``: the stream offset behind it; ``exhausted``: there is no memory for more."""
        unread = self._unread
        begin, before = end - len(piece), len(unread)
        number = self._messages.count
        for at in self._messages.feed_untrusted(piece):
            number += 1
            if len(unread) >= (1 if exhausted else _MAX_UNREAD):
                unread.pop()
            unread.append((begin + at, number, time))
        return (len(unread) - before) * PACE_BYTES

    def spoke(self, offset: int, size: int, acknowledged: int, time: int) -> int:
        """``size`` bytes more of the request, from ``offset`` on, or its end."""
        unread, paces = self._unread, self.paces
        before = len(unread) + len(paces)
        number = came = 0
        while unread and unread[0][0] <= acknowledged:
            _, number, came = unread.popleft()
        if number:
            if paces and paces[-1].offset == offset:  # of a piece without content
                paces.pop()
            paces.append(Pace(offset, number, max(0, came - self._said)))
        if size:
            self._said = time
        return (len(unread) + len(paces) - before) * PACE_BYTES


def begun(head: bytes, started: int) -> Dialogue | None:
    """For a request that is not whole when its answer begins; None if it is not of gRPC."""
    return Dialogue(started) if _GRPC.search(head) else None


class Pacing:
    """The same dialogue with another server. ``until``: where the content ends that may be sent now; beyond all content
    when its end may be, too. ``since``: when the last was said, by either side."""

    __slots__ = ("_at", "_messages", "_missing", "_paces", "since", "until")

    def __init__(self, paces: tuple[Pace, ...], now: int) -> None:
        self._paces = paces
        self._at = 0
        self._messages = Messages()
        self._missing = 0  # messages that the other server has said and this one has not
        self.until = paces[0].offset
        self.since = now

    def answered_untrusted(self, piece: bytes, now: int) -> bool:
        """More of the answer; whether more may be sent."""
        self.since = now
        self._messages.feed_untrusted(piece)
        return self._advance()

    @property
    def took(self) -> int:
        """How long (ns) the other server took for what is waited for."""
        return self._paces[self._at].took

    def go_on(self, now: int) -> None:
        """It has said nothing for too long: what it has not said by now it will not."""
        self.since = now
        self._missing = self._paces[self._at].messages - self._messages.count
        self._advance()

    def _advance(self) -> bool:
        before = self._at
        paces, said = self._paces, self._messages.count + self._missing
        while self._at < len(paces) and paces[self._at].messages <= said:
            self._at += 1
        self.until = paces[self._at].offset if self._at < len(paces) else 1 << 62
        return self._at > before
