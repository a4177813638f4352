"""TLS connections of Python's ``ssl`` in memory, as a wiretap would see them, and what became of them behind a session.

``Talk`` is a real client and a real server (OpenSSL); ``segments`` has every piece of ciphertext in the order in which
it was sent, ``said`` the plaintext of both: the oracle.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shadowd.ledger.budget import UNBOUNDED, Budget
from shadowd.stream.flow import ACK, CLIENT, FIN, SERVER, SYN, Flow, FlowSink
from shadowd.stream.table import FlowLimits, FlowTable
from shadowd.tls.keyring import KeyLines, Keyring
from shadowd.tls.opening import TlsOpening
from shadowd.tls.session import PlainSink
from tests.unit.certificates import Certificate

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
KEY = bytes(48)


class Contexts:
    """A client's and a server's for one version; what they log is in ``log``, the server's view."""

    def __init__(
        self, certificate: Certificate, folder: Path, version: ssl.TLSVersion = TLS13, ciphers: str = "",
        setup: Callable[[ssl.SSLContext, ssl.SSLContext], None] | None = None,
    ) -> None:  # fmt: skip
        self.log = folder / "keys.log"
        self.client, self.server = certificate.client(), certificate.server()
        for context in (self.client, self.server):
            context.minimum_version = context.maximum_version = version
            if ciphers:
                context.set_ciphers(ciphers)
        self.server.keylog_filename = str(self.log)
        if setup is not None:
            setup(self.client, self.server)

    def keys(self) -> bytes:
        return self.log.read_bytes()


class Talk:
    """One connection. ``say`` sends whatever is ready; what a side has to send goes out at once, as one segment."""

    def __init__(self, contexts: Contexts, session: ssl.SSLSession | None = None) -> None:
        self._bios = [ssl.MemoryBIO() for _ in range(4)]  # in and out of the client, in and out of the server
        self.client = contexts.client.wrap_bio(
            self._bios[0], self._bios[1], server_hostname="localhost", session=session
        )
        self.server = contexts.server.wrap_bio(self._bios[2], self._bios[3], server_side=True)
        self.segments: list[tuple[int, bytes]] = []
        self.said = [b"", b""]
        self.turns: list[tuple[int, bytes]] = []

    def _flush(self) -> bool:
        moved = False
        for direction, source, sink in ((CLIENT, 1, 2), (SERVER, 3, 0)):
            data = self._bios[source].read()
            if data:
                self.segments.append((direction, data))
                self._bios[sink].write(data)
                moved = True
        return moved

    def shake(self) -> Talk:
        waiting = {CLIENT: self.client, SERVER: self.server}
        while waiting:
            for direction, side in list(waiting.items()):
                try:
                    side.do_handshake()
                    del waiting[direction]
                except ssl.SSLWantReadError:
                    pass
                self._flush()
        self._drain()
        return self

    def _drain(self) -> None:
        for side in (self.client, self.server):
            try:
                side.read(0)
                side.read(1 << 20)
            except ssl.SSLWantReadError:
                pass

    def say(self, direction: int, data: bytes) -> Talk:
        side, other = (self.server, self.client) if direction else (self.client, self.server)
        side.write(data)
        self.said[direction] += data
        self.turns.append((direction, data))
        self._flush()
        left = len(data)
        while left:
            left -= len(other.read(left))
        return self

    def close(self) -> Talk:
        """close_notify both ways."""
        for side in (self.client, self.server, self.client):
            try:
                side.unwrap()
            except (ssl.SSLWantReadError, ssl.SSLSyscallError, ssl.SSLError):
                pass
            self._flush()
        return self


class Reader(PlainSink):
    """What was told of a connection; ``events`` in order, with consecutive data of one direction joined."""

    def __init__(self) -> None:
        self.plain = [b"", b""]
        self.order: list[tuple[int, bytes]] = []
        self.dropped_bytes: dict[str, int] = {}
        self.reasons: list[str] = []
        self.gaps: list[tuple[int, int]] = []
        self.ended: list[str] = []
        self.view: Any = None
        self.acked: list[int] = []

    def sealed(self, view: Any) -> None:
        assert self.view is None
        self.view = view

    def unreadable(self, reason: str) -> None:
        self.reasons.append(reason)

    def dropped(self, reason: str, length: int) -> None:
        assert length > 0
        self.dropped_bytes[reason] = self.dropped_bytes.get(reason, 0) + length

    def data(self, direction: int, data: bytes, time: int) -> None:
        assert not self.ended
        assert data
        if direction == CLIENT and self.view is not None:
            self.acked.append(self.view.client_acked)
        self.plain[direction] += data
        if self.order and self.order[-1][0] == direction:
            data = self.order.pop()[1] + data
        self.order.append((direction, data))

    def gap(self, direction: int, length: int, time: int) -> None:
        assert length >= 0
        self.gaps.append((direction, length))

    def eof(self, direction: int, time: int) -> None:
        self.ended.append("client_eof" if direction == CLIENT else "server_eof")

    def urgent(self, direction: int, time: int) -> None:
        pass

    def closed(self, state: str, time: int) -> None:
        self.ended.append(state)


def tls_begins(opening: bytes) -> int | None:
    """A ClientHello, as the worker tells it, without PROXY headers."""
    if opening[:1] != b"\x16"[: len(opening)]:
        return -1
    return None if len(opening) < 6 else 0 if opening[5] == 1 else -1


class Tap:
    """A flow table whose only flow is read through TLS. ``send`` takes segments as they are captured: each acknowledges
    all that was sent the other way before it, captured or not."""

    def __init__(
        self, keyring: Keyring, midstream: bool = False, budget: Budget = UNBOUNDED,
        begins: Callable[[bytes], int | None] = tls_begins,
    ) -> None:  # fmt: skip
        self.reader = Reader()
        self.keyring = keyring
        self.budget = budget
        self.begins = begins
        self.now = 1_000_000
        self.told = 0
        self.outer: FlowSink | None = None
        self.table = FlowTable(self._open, FlowLimits())
        self._next = [1001, 5001]
        if not midstream:
            self.table.segment(KEY, CLIENT, 1000, 0, SYN, b"", self.now)
            self.table.segment(KEY, SERVER, 5000, 1001, SYN | ACK, b"", self.now)

    def _open(self, key: bytes, time: int, flow: Flow, midstream: bool) -> FlowSink:
        self.flow = flow
        self.outer = TlsOpening(flow, self.keyring, self.reader, self.begins, midstream, self.budget)
        return self.outer

    def send(self, segments: Iterable[tuple[int, bytes]], flags: int = ACK, lost: bool = False) -> Tap:
        for direction, data in segments:
            if not lost:
                self.segment(direction, data, flags)
            self._next[direction] += len(data) + (1 if flags & FIN else 0)
        return self

    def segment(self, direction: int, data: bytes, flags: int = ACK) -> None:
        self.now += 1000
        self.told += len(data)
        seq, ack = self._next[direction], self._next[1 - direction]
        self.table.segment(KEY, direction, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, data, self.now)

    def finish(self) -> Tap:
        return self.send([(CLIENT, b""), (SERVER, b"")], FIN | ACK).send([(CLIENT, b"")])

    @property
    def pending(self) -> int:
        sink = self.flow.sink if hasattr(self, "flow") else None
        found = getattr(sink, "pending", None)
        if found is None and self.reader.view is not None:
            found = self.reader.view.pending
        return found or 0

    def check(self) -> None:
        """Every byte that was handed out by the stream layer is accounted for."""
        statistics = self.table.statistics()
        reader = self.reader
        accounted = sum(map(len, reader.plain)) + sum(reader.dropped_bytes.values()) + self.pending
        assert statistics.delivered == accounted, (
            statistics.delivered,
            reader.plain,
            reader.dropped_bytes,
            self.pending,
        )


def keyring_of(log: bytes, whole: bool = True) -> Keyring:
    keyring = Keyring(whole=whole)
    lines = KeyLines(keyring)
    lines.feed_untrusted(log, 0)
    lines.finish(0)
    return keyring


def cut(segments: Iterable[tuple[int, bytes]], sizes: Iterable[int]) -> list[tuple[int, bytes]]:
    """The same in smaller segments, of the given sizes in turn."""
    steps = list(sizes) or [1 << 30]
    found, number = [], 0
    for direction, data in segments:
        at = 0
        while at < len(data):
            step = steps[number % len(steps)]
            number += 1
            found.append((direction, data[at : at + step]))
            at += step
    return found


def joined(turns: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for direction, data in turns:
        if found and found[-1][0] == direction:
            data = found.pop()[1] + data
        found.append((direction, data))
    return found
