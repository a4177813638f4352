"""TLS between a flow and what reads it: ciphertext in, plaintext out, in the order in which it was captured.

A ``TlsSession`` is the sink of its flow and, for a codec, the flow (``FlowView``): offsets, acknowledgements and idle
points are those of the plaintext. The keys come from a ``Keyring``, by the ClientHello's random.

*Holding.* A record is captured before its key is known: a server derives the client's traffic key when it has read the
client's Finished, and 0-RTT data waits until the server says whether it takes it. What cannot be opened yet is held,
and with it whatever was captured later in either direction: answers must not come before their requests. Held are
``HOLD_BYTES`` at most, for ``PATIENCE``, within what the keyring allows all sessions; then the connection cannot be
read (``tls_no_key``). Held is also what the server has not taken yet (``connection.ADMISSION``), however long it takes.

*Bytes.* Every byte told is in the plaintext that was handed on, in ``dropped("tls_framing")`` (heads, tags, handshake,
alerts, padding), ``pending`` (a partial record, or held), or dropped for the reason for which it could not be read.

*Acknowledgement.* A byte of the server is acknowledged when its record's last byte is. Times are those of a record's
last segment. A gap's length in plaintext is told at once, as if it had been one record: only its place matters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shadowd.ledger.budget import UNBOUNDED, Budget, Charge
from shadowd.stream.flow import CLIENT, SERVER, Flow, FlowSink
from shadowd.tls.connection import Connection
from shadowd.tls.held import Held
from shadowd.tls.keyring import Keyring
from shadowd.tls.marks import Marks
from shadowd.tls.records import MAX_RECORD, MIN_RECORD, Half
from shadowd.tls.schedule import MissingKeyError, RecordError, RefusedError

#: What comes before the last key is there: the handshake's flight, and what both send until it is told. A server that
#: writes its key log in the background (node) is some requests ahead of it: 64 KB were not enough for uploads of 100.
#: As much as a flow may hold out of order; ``Keyring.hold_limit`` bounds all of them together.
HOLD_BYTES = 1 << 20
EARLY_BYTES = 96 << 10  # before a server has answered at all: 0-RTT data, of which servers take 16 KB
#: A secret that is not there 2 s after the record that needs it was not told (6 ms were the longest seen).
PATIENCE = 2_000_000_000
#: What a held record costs beside its bytes.
_ITEM = 256
#: Behind a gap, while nobody has told the keys: beyond it the connection cannot be read.
_UNSOUGHT = 4 * MAX_RECORD

#: State → event → state. The first two are ``opening.TlsOpening``'s, the rest a session's; the directions of one have
#: states of their own (``records.TRANSITIONS``).
TRANSITIONS: dict[str, dict[str, str]] = {
    "opening": {"tls": "reading", "plain": "plain", "gap": "joining", "closed": "closed"},
    "joining": {"tls": "unreadable", "plain": "plain", "closed": "closed"},  # seen from the middle
    "reading": {"unreadable": "unreadable", "closed": "closed"},
    "unreadable": {"closed": "closed"},
    "plain": {},  # the flow is read as it is
    "closed": {},
}


class PlainSink(FlowSink):
    """What is told of the plaintext, and of what could not be read."""

    __slots__ = ()

    def sealed(self, view: TlsSession) -> None:
        """The connection is TLS: what follows was decrypted, and ``view`` is the flow from now on."""

    def unreadable(self, reason: str) -> None:
        """Nothing more of it can be read: ``tls_no_key``, ``tls_midstream``, ``tls_undecryptable``, ``tls_suite``,
        ``tls_refused``, ``memory``. ``closed`` follows all the same."""

    def dropped(self, reason: str, length: int) -> None:
        """``length`` bytes of the flow are in no plaintext: ``tls_framing``, ``gap``, ``truncated``, or why."""


class TlsSession(FlowSink):
    """See the module's head. ``start``: bytes of the client that stand before TLS and were handed on as they are."""

    __slots__ = (
        "_acked", "_asking", "_charge", "_counted", "_flow", "_held", "_idle", "_keyring", "_marks", "_order", "_over",
        "_plain", "_reason", "_unopened", "_waits", "connection", "inner", "state",
    )  # fmt: skip

    def __init__(
        self, flow: Flow, keyring: Keyring, inner: PlainSink, budget: Budget = UNBOUNDED, start: int = 0
    ) -> None:
        self.inner = inner
        self.state = "reading"
        self.connection = Connection(keyring, self)
        self._flow = flow
        self._keyring, self._charge = keyring, Charge(budget)
        self._order: deque[Held] = deque()
        self._unopened: tuple[deque[tuple[Held, bytes]], ...] = (deque(), deque())
        self._held = 0  # bytes of records in `_order`
        self._counted = 0  # what the keyring knows of it
        self._asking = False  # somebody is asked for keys
        self._waits = False  # the keyring knows that we do
        self.connection.client.at = start
        self._plain = [start, 0]  # offsets of what was handed on, gaps included
        self._idle = -1  # of what is handed on, if it was held or came in pieces; -1: ask the flow
        self._acked = -1  # the same of what the client has acknowledged
        self._marks = Marks()
        self._over = False  # the flow is closed: nothing more comes
        self._reason = ""

    # --- the flow, in plaintext ---------------------------------------------------------------------------------------

    @property
    def client_acked(self) -> int:
        return self._marks.acked(self._flow.client_acked if self._acked < 0 else self._acked)

    @property
    def idle_point(self) -> bool:
        return self._flow.idle_point if self._idle < 0 else bool(self._idle)

    @property
    def spoke_unseen(self) -> bool:
        return self._flow.spoke_unseen

    @property
    def offsets(self) -> tuple[int, int]:
        return self._plain[CLIENT], self._plain[SERVER]

    @property
    def server_name(self) -> str:
        return self.connection.server_name

    @property
    def pending(self) -> int:
        """Bytes told that are neither handed on nor dropped yet."""
        connection = self.connection
        return len(connection.client.buffer) + len(connection.server.buffer) + self._held

    # --- the flow's sink ----------------------------------------------------------------------------------------------

    def data(self, direction: int, data: bytes, time: int) -> None:
        if self.state == "reading":
            self._take(self.connection.server if direction else self.connection.client, data, time)
        else:
            self.inner.dropped(self._reason, len(data))

    def gap(self, direction: int, length: int, time: int) -> None:
        if self.state == "reading":
            if self.connection.known:
                self._lose(self.connection.server if direction else self.connection.client, length, time)
            else:
                self.refuse("tls_midstream")  # its handshake is not known whole

    def eof(self, direction: int, time: int) -> None:
        self._drop_partial(self.connection.server if direction else self.connection.client)
        self._happened(lambda: self.inner.eof(direction, time), time)

    def urgent(self, direction: int, time: int) -> None:
        """The record that it was in will not open."""
        half = self.connection.server if direction else self.connection.client
        half.at += 1
        self.inner.dropped("urgent", 1)

    def closed(self, state: str, time: int) -> None:
        if self._order and self.state == "reading":
            self._ask(time)
        self._drop_partial(self.connection.client)
        self._drop_partial(self.connection.server)
        self._happened(lambda: self._end(state, time), time)  # what waits may still be told its keys
        self._over = True
        if self.connection.withholds and not self._unopened[SERVER]:
            self.connection.admit("over")
            self._advance(time)
        if self._keyring.whole:
            self.refuse("tls_no_key")

    def _happened(self, event: Callable[[], None], time: int) -> None:
        """In its turn."""
        if self._order:
            item = Held(None, 0, 0, time)
            item.event = event
            self._order.append(item)
        else:
            event()

    def _end(self, state: str, time: int) -> None:
        self._move("closed")
        self._rest()
        self._account()
        self.connection.release()
        self.inner.closed(state, time)

    def _move(self, event: str) -> None:
        self.state = TRANSITIONS[self.state][event]

    # --- what the keyring tells ---------------------------------------------------------------------------------------

    def retry(self, now: int) -> None:
        """A secret has come."""
        if self._waits:
            self._advance(now)

    def give_up(self, now: int) -> None:
        """What was waited for has not come; ``now`` is on the segments' clock."""
        self._waits = False
        if self.state != "reading":
            return
        since = self._lacks_since()
        if since and now - since < PATIENCE:
            self._wait(since)
        elif since or self._over:
            self.refuse("tls_no_key" if since else RefusedError.reason)
        elif self._order:
            self._wait(now)  # for the server, however long it takes

    def _lacks_since(self) -> int:
        """The time of the oldest of what lacks a key; 0: nothing does."""
        connection = self.connection
        times = [half.keyless for half in (connection.client, connection.server) if half.keyless]
        for direction, unopened in enumerate(self._unopened):
            if unopened and not (direction == CLIENT and connection.withholds):
                times.append(unopened[0][0].time)
        return min(times, default=0)

    def _wait(self, since: int) -> None:
        if not self._waits:
            self._waits = True
            self._keyring.wait(self, since)

    def _rest(self) -> None:
        if self._waits:
            self._waits = False
            self._keyring.go_on(self)

    def _ask(self, time: int) -> None:
        """Somebody may have told by now."""
        if self._keyring.refresh is not None:
            self._keyring.refresh()
            self._advance(time)

    # --- records ------------------------------------------------------------------------------------------------------

    def _take(self, half: Half, data: bytes, time: int) -> None:
        if half.lost:
            self._seek(half, data, time)
        else:
            begun = bool(half.buffer)
            at = half.at
            records = half.cut_untrusted(data)
            if records:
                if self._order:
                    self._hold(half, records, 0, at, time)
                    self._advance(time)
                else:
                    self._hand_on(half, records, at, time, int(half.idle) if begun else -1)
            if half.buffer and (records or not begun):
                half.idle = half is self.connection.client and self._flow.idle_point
            if half.broken:
                self.refuse(half.broken)
        self._account()

    def _hand_on(self, half: Half, records: list[bytes], at: int, time: int, idle: int) -> None:
        """Nothing is held: what can be opened goes on at once, a segment's records together."""
        connection, direction = self.connection, half.direction
        whole: list[bytes] = []
        framing = done = 0
        try:
            for record in records:
                plain = connection.read(half, record, time)
                if plain is None:
                    break
                done += 1
                at += len(record)
                framing += len(record) - len(plain)
                if plain:
                    whole.append(plain)
                    self._plain[direction] += len(plain)
                    if direction:
                        self._mark(at)
        except RecordError as error:
            half.broken = error.reason
            half.buffer = b"".join(records[done:]) + half.buffer
            done = len(records)
        if framing:
            self.inner.dropped("tls_framing", framing)
        if whole:
            self._idle = idle
            self.inner.data(direction, whole[0] if len(whole) == 1 else b"".join(whole), time)
            self._idle = -1
        if done < len(records):
            self._hold(half, records, done, at, time)
            self._advance(time)

    def _hold(self, half: Half, records: list[bytes], done: int, at: int, time: int) -> None:
        unopened = self._unopened[half.direction]
        for record in records[done:]:
            at += len(record)
            item = Held(half, len(record), at, time)
            if half.direction == CLIENT:
                item.idle, item.acked = self._flow.idle_point, self._flow.client_acked
            unopened.append((item, record))
            self._order.append(item)
            self._held += len(record)
        self._wait(time)

    def _advance(self, time: int) -> None:
        """Open what can be opened, in each direction by itself; hand on what has its turn."""
        connection = self.connection
        broken = ""
        progress = self.state == "reading"
        while progress and not broken:
            progress = False
            for half in (connection.client, connection.server):
                unopened = self._unopened[half.direction]
                try:
                    while unopened:
                        item, record = unopened[0]
                        item.plain = connection.read(half, record, time)
                        if item.plain is None:
                            break
                        unopened.popleft()
                        progress = True
                    if half.lost and not unopened and half.buffer:
                        progress = self._seek_once(half, time) or progress
                except RecordError as error:
                    broken = error.reason
                    break
        self._release()
        if self.state != "reading":
            return
        if broken:
            self.refuse(broken)
            return
        self._account()
        most = HOLD_BYTES if self.connection.known else EARLY_BYTES
        if self._held and (
            self._counted > most or self._keyring.held > self._keyring.hold_limit or self._charge.exhausted
        ):
            self._too_much(time)

    def _too_much(self, time: int) -> None:
        """More is held than may be: whoever tells keys is asked once more."""
        if self._keyring.refresh is None or self._asking:
            self.refuse("tls_no_key" if self._lacks_since() and not self._charge.exhausted else "memory")
        else:
            self._asking = True
            self._ask(time)
            self._asking = False

    def _release(self) -> None:
        """Hand on what stands first and is opened."""
        order = self._order
        framing = 0
        while order:
            item = order[0]
            if item.event is not None:
                order.popleft()
                item.event()
                continue
            plain, half = item.plain, item.half
            if plain is None or half is None:
                break
            order.popleft()
            self._held -= item.size
            framing += item.size - len(plain)
            if plain:
                if half.direction == CLIENT:
                    self._idle, self._acked = int(item.idle), item.acked
                self._tell(half.direction, plain, item.end, item.time)
                self._idle = self._acked = -1
        if framing:
            self.inner.dropped("tls_framing", framing)
        self._account()
        connection = self.connection
        if not order and not (connection.client.keyless or connection.server.keyless):
            self._rest()

    def _tell(self, direction: int, plain: bytes, end: int, time: int) -> None:
        """One record's content; ``end``: the flow's offset behind it."""
        self._plain[direction] += len(plain)
        if direction == SERVER:
            self._mark(end)
        self.inner.data(direction, plain, time)

    def _mark(self, end: int) -> None:
        """The server's plaintext so far is acknowledged with the flow's bytes up to ``end``."""
        self._marks.add(end, self._plain[SERVER], self._flow.client_acked)

    def _account(self) -> None:
        connection = self.connection
        buffered = len(connection.client.buffer) + len(connection.server.buffer)
        held = self._held + _ITEM * len(self._order)
        if held != self._counted:
            self._keyring.held += held - self._counted
            self._counted = held
        self._charge.hold(held + buffered)

    # --- gaps, and the end of reading ---------------------------------------------------------------------------------

    def _lose(self, half: Half, length: int, time: int) -> None:
        partial = half.lose(length)
        if partial:
            self.inner.dropped("gap", partial)
        try:
            self.connection.lose(half)
        except RecordError as error:
            self.refuse(error.reason)
            return
        direction, end = half.direction, half.at
        gone = max(1, partial + length - MIN_RECORD)

        def tell() -> None:
            self._plain[direction] += gone
            if direction == SERVER:
                self._mark(end)
            self.inner.gap(direction, gone, time)

        self._happened(tell, time)
        self._account()

    def _seek(self, half: Half, data: bytes, time: int) -> None:
        if not half.buffer:
            half.idle = half is self.connection.client and self._flow.idle_point
        half.buffer += data
        try:
            if not self._unopened[half.direction]:
                self._seek_once(half, time)
        except RecordError as error:
            self.refuse(error.reason)
        if self._order:
            self._advance(time)

    def _seek_once(self, half: Half, time: int) -> bool:
        """Look for the direction's place. True when it was found. Raises RecordError."""
        candidates = self.connection.candidates(half)
        if not candidates:
            if len(half.buffer) > _UNSOUGHT:
                raise MissingKeyError("nobody told the keys behind a gap")
            if not half.withheld:
                half.keyless = half.keyless or time
                self._wait(time)
            return False
        half.keyless = 0
        skipped, found = half.seek_untrusted([candidate.opener for candidate in candidates])
        if skipped:
            self.inner.dropped("gap", skipped)
        if found is None:
            return False
        try:
            self.connection.resume(half, candidates[found.key])
            plain = self.connection.take(half, found.kind, found.content)
        except RecordError as error:
            self.inner.dropped(error.reason, found.length)
            raise
        idle = half.idle and not skipped
        if self._order:
            item = Held(half, found.length, half.at, time)
            item.plain, item.idle, item.acked = plain, idle, self._flow.client_acked
            self._order.append(item)
            self._held += found.length
        else:
            self.inner.dropped("tls_framing", found.length - len(plain))
            if plain:
                self._idle = int(idle)
                self._tell(half.direction, plain, half.at, time)
                self._idle = -1
        if half.buffer:
            rest, half.buffer = half.buffer, b""
            self._take(half, rest, time)
        return True

    def _drop_partial(self, half: Half) -> None:
        if half.buffer:
            self.inner.dropped("gap" if half.lost else "truncated", len(half.buffer))
            half.at += len(half.buffer)
            half.buffer, half.keyless = b"", 0
            self._account()

    def refuse(self, reason: str, told: bool = False) -> None:
        """Nothing more of it can be read; what was opened before goes on. ``told``: ``inner`` knows."""
        self._release()
        if self.state != "reading":
            return
        self._move("unreadable")
        self._reason = reason
        connection, order = self.connection, self._order
        gone = self._held + len(connection.client.buffer) + len(connection.server.buffer)
        connection.client.buffer = connection.server.buffer = b""
        self._order = deque()
        self._unopened = (deque(), deque())
        self._held = 0
        self._marks.clear()
        self._rest()
        self._account()
        connection.release()
        if gone:
            self.inner.dropped(reason, gone)
        if not told:
            self.inner.unreadable(reason)
        for item in order:
            if item.event is not None:
                item.event()
