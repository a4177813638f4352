"""A capture file through the daemon's own flow table: what ``shadowctl pcap`` reads, and what it could not."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from shadowd.capture.frames import FrameReader, Segment
from shadowd.capture.pcap import CaptureFileError, Packet, read_packets
from shadowd.cli.progress import Progress
from shadowd.errors import ShadowdError
from shadowd.stream.flow import ACK, CLIENT, FIN, SYN, Flow, FlowSink
from shadowd.stream.seq import add
from shadowd.stream.table import FlowLimits, FlowTable

_SECOND = 1_000_000_000
_STREAMS_LIMIT = 1_000_000  # connections of one file: 2 KB of memory each

#: A file is read at leisure: connections of any age, more out of order than the daemon would hold; retransmissions
#: after the end are recognised for two segment lifetimes (RFC 9293 §3.4.2).
LIMITS = {
    "max_flows": _STREAMS_LIMIT,
    "max_buffered_flow": 16 << 20,
    "max_buffered_total": 256 << 20,
    "max_ranges": 4096,
    "idle": 1 << 62,
    "handshake_idle": 1 << 62,
    "gap_timeout": 1 << 62,
    "closed_linger": 240 * _SECOND,
    "max_ended": _STREAMS_LIMIT,
}

#: Told of a new connection: client's and server's endpoint (address and port in network order), its flow, and whether
#: it is seen from the middle.
OpenSink = Callable[[bytes, bytes, Flow, bool], FlowSink]


class CaptureFile:
    """Packets of a file; ``packets`` were read, of which ``unread`` (by what they are) may have had TCP in them."""

    def __init__(self, path: Path, progress: Callable[[int], None] | None = None) -> None:
        """Raises ``CaptureFileError`` if it is none."""
        self.path = path
        self.packets = 0
        self.fault: ShadowdError | None = None  # the file could be read in part only
        self._frames = FrameReader()
        self._following = read_packets(path, progress)
        self._first = next(self._following, None)

    @property
    def unread(self) -> dict[str, int]:
        return self._frames.unread

    def feed(self, open_sink: OpenSink) -> None:
        """Read it to its end, or to its ``fault``. Times that sinks are told rise with each segment (ns)."""

        def open_flow(key: bytes, time: int, flow: Flow, midstream: bool) -> FlowSink:
            half = len(key) // 2
            return open_sink(key[:half], key[half:], flow, midstream)

        table = FlowTable(open_flow, FlowLimits(**LIMITS, offline=True))
        roles = _Roles()
        now = expire_at = 0
        packets: chain[Packet] = chain([] if self._first is None else [self._first], self._following)
        try:
            for link, stamp, data in packets:
                self.packets += 1
                for segment in self._frames.segments_untrusted(link, data, stamp):
                    now = max(now + 1, stamp)
                    if now >= expire_at:
                        table.expire(now)
                        expire_at = now + _SECOND
                    _feed(table, *roles.orient(segment, table), segment, now)
        except CaptureFileError as error:
            self.fault = error
        self._frames.finish()
        table.close_all(now + 1)
        if self.fault is None and self.packets and self._frames.skipped.get("link_type") == self.packets:
            self.fault = CaptureFileError(
                f"{self.path} has a link layer that shadowctl cannot read",
                "capture on an Ethernet or loopback device, or `any`",
            )
        if self.fault is None and table.statistics().refused_flows:
            self.fault = ShadowdError(f"{self.path} has more than {_STREAMS_LIMIT} connections at once", "split it")

    def tell_unread(self) -> None:
        """On standard error: what may have had TCP in it, and was not read."""
        if self.unread and self.fault is None:
            each = ", ".join(f"{count} {what}" for what, count in sorted(self.unread.items(), key=lambda one: -one[1]))
            print(f"not read: {sum(self.unread.values())} of {self.packets} packets ({each})", file=sys.stderr)


class _Roles:
    """Who is the client. A SYN tells; a flow seen from the middle: who has the well-known port is the server."""

    def __init__(self) -> None:
        self._clients: dict[bytes, bytes] = {}

    def orient(self, segment: Segment, table: FlowTable) -> tuple[bytes, int]:
        """The flow's key (client's endpoint, then the server's) and the segment's direction."""
        source, target = segment.source, segment.target
        pair = source + target if source < target else target + source
        client = self._clients.get(pair)
        opens = segment.flags & (SYN | ACK) == SYN
        if client is None:
            answers = segment.flags & (SYN | ACK) == SYN | ACK
            source_port, target_port = source[-2] << 8 | source[-1], target[-2] << 8 | target[-1]
            serves = not opens and source_port < 1024 <= target_port
            client = self._clients[pair] = target if answers or serves else source
        elif opens and client != source:
            flow = table.get(client + source)
            if flow is None or flow.midstream:  # else both ends open at once (RFC 9293 §3.5)
                if flow is not None:
                    table.remove(client + source, flow.seen, "replaced")
                client = self._clients[pair] = source
        return (source + target, CLIENT) if client == source else (target + source, 1 - CLIENT)


def endpoint(raw: bytes) -> str:
    """``address:port``; IPv6 without brackets too, the port is what follows the last colon."""
    return f"{ipaddress.ip_address(raw[:-2])}:{int.from_bytes(raw[-2:], 'big')}"


def _feed(table: FlowTable, key: bytes, direction: int, segment: Segment, now: int) -> None:
    _, _, seq, ack, flags, payload, missing, urgent = segment
    if urgent >= 0 and payload:
        flow = table.get(key)
        if flow is not None:
            flow.mark_urgent(direction, urgent)
    if missing and flags & FIN:  # the FIN stands behind bytes that were not captured
        table.segment(key, direction, seq, ack, flags & ~FIN, payload, now)
        seq = add(seq, len(payload) + missing + (1 if flags & SYN else 0))
        flags, payload = FIN | ACK, b""
    table.segment(key, direction, seq, ack, flags, payload, now)


def reading(path: Path) -> Progress:
    """How far it is read; a pipe has no size."""
    return Progress(path.name, path.stat().st_size if path.is_file() else 0)
