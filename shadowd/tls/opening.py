"""The first bytes of a flow that may be TLS: a session for it, or the flow as it is.

A flow seen from its middle (it is older than the capture, or its opening was lost) cannot be read if it is TLS: nobody
tells a handshake's secrets twice. A segment that begins like a record decides (``tls_midstream``); records are mostly
written whole, so that one soon comes. One that begins with text decides as well, and where ``MIDDLE_PIECES`` were
neither, the reader of plain flows gets them all, finds no place to begin and says so in its own words (``midstream``).
"""

from __future__ import annotations

from collections.abc import Callable

from shadowd.ledger.budget import UNBOUNDED, Budget, Charge
from shadowd.stream.flow import CLIENT, Flow, FlowSink
from shadowd.tls.keyring import Keyring
from shadowd.tls.records import looks_like_record
from shadowd.tls.session import TRANSITIONS, PlainSink, TlsSession

#: First bytes held until it is known whether they are TLS: a PROXY v2 header may be 64 KB and 16.
OPENING_LIMIT = 96 << 10
#: Segments looked at in the middle of a flow: a record has 12 of the usual size at most.
MIDDLE_PIECES = 12
_TEXT = 12  # bytes that are no accident in what is encrypted; a request line has more before its first line end


class TlsOpening(FlowSink):
    """The sink of a flow until it is known what it speaks; then the flow's sink is a ``TlsSession`` or ``inner``.

    ``begins``: where TLS begins in the client's first bytes (behind a PROXY header), -1 if it is none, None while more
    are needed.
    """

    __slots__ = ("_begins", "_budget", "_charge", "_flow", "_keyring", "_opening", "_pieces", "_size", "inner", "state")

    def __init__(
        self, flow: Flow, keyring: Keyring, inner: PlainSink, begins: Callable[[bytes], int | None],
        midstream: bool = False, budget: Budget = UNBOUNDED,
    ) -> None:  # fmt: skip
        self.inner = inner
        self.state = "joining" if midstream else "opening"
        self._flow = flow
        self._keyring = keyring
        self._begins = begins
        self._budget = budget
        self._charge = Charge(budget)
        self._opening = b""  # of the client
        self._pieces: list[tuple[int, bytes, int]] = []  # direction, bytes, or the length of a gap: once it is joined
        self._size = 0  # bytes held

    def __repr__(self) -> str:
        return f"<TlsOpening {self.state}>"

    @property
    def pending(self) -> int:
        """Bytes told that are not handed on yet."""
        return self._size

    def data(self, direction: int, data: bytes, time: int) -> None:
        if self.state == "opening" and direction != CLIENT and self._flow.spoke_unseen:
            self._miss()
        if self.state == "joining":
            self._join(direction, data, time)
        elif direction != CLIENT:  # who speaks first as a server speaks no TLS
            self._hand_over(time).data(direction, data, time)
        else:
            self._opening += data
            self._hold(len(data))
            start = self._begins(self._opening)
            if start is None and self._size <= OPENING_LIMIT and not self._charge.exhausted:
                return
            if start is None or start < 0:
                self._hand_over(time)
            else:
                if start:  # what stands before it is as it was
                    self.inner.data(CLIENT, self._opening[:start], time)
                self._seal(start).data(CLIENT, self._opening[start:], time)

    def _join(self, direction: int, data: bytes, time: int) -> None:
        if looks_like_record(data):
            self.inner.dropped("tls_midstream", self._size + len(data))
            self._seal(0).refuse("tls_midstream")
            return
        self._pieces.append((direction, data, 0))
        self._hold(len(data))
        text = data[:_TEXT].isascii() and data[:_TEXT].decode().isprintable()
        if text or len(self._pieces) > MIDDLE_PIECES or self._charge.exhausted:
            self._hand_over(time)

    def _hold(self, length: int) -> None:
        self._size += length
        self._charge.hold(self._size)

    def gap(self, direction: int, length: int, time: int) -> None:
        if self.state == "opening":
            self._miss()
        self._pieces.append((direction, b"", length))

    def _miss(self) -> None:
        """Of the client's first bytes some were not captured."""
        self._move("gap")
        if self._opening:
            self._pieces.append((CLIENT, self._opening, 0))
            self._opening = b""

    def eof(self, direction: int, time: int) -> None:
        self._hand_over(time).eof(direction, time)

    def urgent(self, direction: int, time: int) -> None:
        self._hand_over(time).urgent(direction, time)

    def closed(self, state: str, time: int) -> None:
        self._hand_over(time).closed(state, time)

    def refuse(self, reason: str, told: bool = False) -> None:
        """A fault of ours: ``inner`` knows, and is told what follows."""
        self._hand_over(0)

    def _move(self, event: str) -> None:
        self.state = TRANSITIONS[self.state][event]

    def _seal(self, start: int) -> TlsSession:
        self._move("tls")
        self._charge.hold(0)
        self._size = 0
        session = TlsSession(self._flow, self._keyring, self.inner, self._budget, start)
        self._become(session)
        self.inner.sealed(session)
        return session

    def _hand_over(self, time: int) -> PlainSink:
        self._move("plain")
        self._charge.hold(0)
        self._become(self.inner)
        self._size = 0
        if self._opening:
            self.inner.data(CLIENT, self._opening, time)
        for direction, data, length in self._pieces:
            if data:
                self.inner.data(direction, data, time)
            else:
                self.inner.gap(direction, length, time)
        return self.inner

    def _become(self, sink: FlowSink) -> None:
        if self._flow.sink is self:  # else it is over
            self._flow.sink = sink
