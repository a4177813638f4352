"""From a captured frame to the TCP segments in it: link layer, VLAN, MPLS, PPPoE, IP, fragments, extension headers.

Every byte is untrusted. What cannot be read is not guessed: it is counted in ``skipped`` by reason, and the frame gives
no segment; ``unread`` says in words what may have had one. Tunnels are looked into (``tunnels``).
A frame has one segment, except an sFlow datagram, which carries the heads of several sampled frames.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from shadowd.capture import tunnels

#: Datagrams under reassembly at once, their bytes, and how long they may take (RFC 8200 §4.5: 60 s).
MAX_DATAGRAMS = 1024
MAX_FRAGMENT_BYTES = 8 << 20
FRAGMENT_TIMEOUT = 60_000_000_000
#: Pieces of one datagram: 64 KiB in pieces of an old 576-byte MTU path.
MAX_PIECES = 128
_MAX_DATAGRAM = 65_535
_MAX_NESTING = 8  # tags, labels and tunnels in one frame; extension headers in one packet

_NULL, _ETHERNET, _SLL, _LOOP, _NFLOG, _SLL2 = 0, 1, 113, 108, 239, 276
_RAW = {12, 14, 101, 228, 229}  # LINKTYPE_RAW and its old names, LINKTYPE_IPV4, LINKTYPE_IPV6
_IP4, _IP6, _PPPOE = 0x0800, 0x86DD, 0x8864
_VLAN = {0x8100, 0x88A8, 0x9100, 0x9200}
_MPLS = {0x8847, 0x8848}
_PPP = {0x0021: _IP4, 0x0057: _IP6}
_FAMILIES = {2: _IP4, 10: _IP6, 24: _IP6, 28: _IP6, 30: _IP6}  # AF_INET; AF_INET6 of Linux, NetBSD, FreeBSD, macOS
_TCP, _UDP, _FRAGMENT, _GRE, _AUTHENTICATION = 6, 17, 44, 47, 51
_SFLOW_PORT = 6343
_TUNNELS = {4: _IP4, 41: _IP6}
_EXTENSIONS = {0, 43, 60, 135, 139, 140}  # hop-by-hop, routing, destination, mobility, HIP, shim6 (RFC 8200 §4)

#: EtherTypes in which IP may be hidden.
_SEALED = {0x88E5: "MACsec", 0x88E7: "provider backbone bridging"}
_WORDS = {
    "truncated": "cut short within its headers",
    "malformed": "malformed headers",
    "nesting": "nested too deeply",
    "fragments_incomplete": "IP fragments without the rest of their datagram",
    "fragments_malformed": "malformed IP fragments",
    "fragments_overlap": "overlapping IP fragments",
}

_TCP_HEAD = struct.Struct("!HHIIBB4xH")
_URG = 0x20


class Segment(NamedTuple):
    """A TCP segment. An endpoint is the address in network order (4 or 16 bytes) and the port (2 bytes)."""

    source: bytes
    target: bytes
    seq: int
    ack: int
    flags: int
    payload: bytes
    missing: int  # bytes of the payload's end that were on the wire and not captured (snap length)
    urgent: int = -1  # sequence number of the urgent byte that it tells of


class _Unreadable(Exception):
    """Not an error: why a frame gives no segment."""

    def __init__(self, reason: str, what: str = "") -> None:
        self.reason = reason
        self.what = what  # where TCP may have been in it


class _Sampled(Exception):
    """The frame is an sFlow datagram: what it carries."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames


class _Datagram:
    __slots__ = ("length", "pieces", "size", "time")

    def __init__(self, time: int) -> None:
        self.time = time
        self.length = -1  # known from the last fragment
        self.size = 0
        self.pieces: dict[int, bytes] = {}


class FrameReader:
    """Finds segments; keeps IP fragments until their datagram is whole. One for a capture file."""

    def __init__(self) -> None:
        self.skipped: dict[str, int] = {}  # frames without a segment, by reason
        self.unread: dict[str, int] = {}  # those of them that may have had one, in words for people
        self._datagrams: dict[tuple[bytes, bytes, int, int], _Datagram] = {}  # oldest first
        self._held = 0
        self._now = 0

    def segments_untrusted(self, link: int, frame: bytes, time: int) -> list[Segment]:
        """The TCP segments of a frame of LINKTYPE_ ``link``; ``time`` in ns ages fragments."""
        self._now = time
        try:
            return [self._link(link, frame)]
        except _Sampled as sampled:
            return [s for sample in sampled.frames for s in self._sample(sample)]
        except _Unreadable as why:
            self._skip(why.reason, why.what)
        except (struct.error, IndexError):  # a header that ends too early
            self._skip("truncated")
        return []

    def _sample(self, frame: bytes) -> list[Segment]:
        try:
            return [self._link(_ETHERNET, frame)]
        except (_Sampled, _Unreadable, struct.error, IndexError):
            self._skip("sample")
            return []

    def finish(self) -> None:
        """No frame follows: what waits for its fragments is incomplete."""
        for key in list(self._datagrams):
            self._forget(key, "fragments_incomplete")

    def _skip(self, reason: str, what: str = "") -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        what = what or _WORDS.get(reason, "")
        if what:
            self.unread[what] = self.unread.get(what, 0) + 1

    # --- link layer ---------------------------------------------------------------------------------------------------

    def _link(self, link: int, frame: bytes) -> Segment:
        if link == _ETHERNET:
            return self._network(struct.unpack_from("!H", frame, 12)[0], frame, 14, 0)
        if link == _SLL:
            return self._network(struct.unpack_from("!H", frame, 14)[0], frame, 16, 0)
        if link == _SLL2:
            return self._network(struct.unpack_from("!H", frame)[0], frame, 20, 0)
        if link in _RAW:
            return self._packet(frame, 0)
        if link in (_NULL, _LOOP):
            families = [struct.unpack_from(order, frame)[0] for order in ("<I", ">I")]
            kind = next((_FAMILIES[family] for family in families if family in _FAMILIES), 0)
            return self._network(kind, frame, 4, 0)
        if link == _NFLOG:
            return self._nflog(frame)
        raise _Unreadable("link_type", f"link type {link}")

    def _nflog(self, frame: bytes) -> Segment:
        at = 4
        for _ in range(64):  # attributes: a dozen kinds exist
            length, kind = struct.unpack_from("<HH", frame, at)
            if length < 4:
                break
            if kind == 9:  # NFULA_PAYLOAD
                return self._packet(frame[at + 4 : at + length], 0)
            at += length + 3 & ~3
        raise _Unreadable("malformed")

    def _network(self, kind: int, frame: bytes, at: int, depth: int) -> Segment:
        while depth < _MAX_NESTING:
            depth += 1
            if kind in (_IP4, _IP6):
                return self._packet(frame[at:], depth)
            if kind in _VLAN:
                (kind,) = struct.unpack_from("!H", frame, at + 2)
                at += 4
            elif kind == _PPPOE:  # RFC 2516 §4: session header, then the PPP protocol
                length, protocol = struct.unpack_from("!HH", frame, at + 4)
                kind = _PPP.get(protocol, 0)
                frame = frame[: at + 6 + length]  # what is beyond is padding, whatever the IP header says
                at += 8
            elif kind in _MPLS:  # RFC 3032 §2.1: labels up to the bottom of the stack; the payload names itself
                bottom = frame[at + 2] & 1
                at += 4
                if bottom:
                    kind = {4: _IP4, 6: _IP6}.get(frame[at] >> 4, 0)
                    if frame[at] >> 4 == 0:  # RFC 4448 §4.6: control word, then Ethernet
                        (kind,) = struct.unpack_from("!H", frame, at + 16)
                        at += 18
            elif kind == tunnels.ETHERNET:
                (kind,) = struct.unpack_from("!H", frame, at + 12)
                at += 14
            else:
                break
        raise _Unreadable("not_ip", _SEALED.get(kind, "") if depth < _MAX_NESTING else _WORDS["nesting"])

    # --- network layer ------------------------------------------------------------------------------------------------

    def _packet(self, packet: bytes, depth: int) -> Segment:
        if depth > _MAX_NESTING:
            raise _Unreadable("nesting")
        version = packet[0] >> 4
        if version == 4:
            return self._packet4(packet, depth)
        if version == 6:
            return self._packet6(packet, depth)
        raise _Unreadable("not_ip")

    def _packet4(self, packet: bytes, depth: int) -> Segment:
        head = (packet[0] & 15) * 4
        total, ident, place, protocol = struct.unpack_from("!2xHHHxB", packet)
        if total == 0:  # segmentation offload: captured before the length was known
            total = len(packet)
        if head < 20 or total < head:
            raise _Unreadable("malformed")
        source, target = packet[12:16], packet[16:20]
        if len(packet) < head:
            raise _Unreadable("truncated")
        body = packet[head:total]
        missing = total - head - len(body)
        if place & 0x3FFF:
            more, offset = place >> 13 & 1, (place & 0x1FFF) * 8
            body = self._reassemble((source, target, ident, protocol), offset, bool(more), body, missing)
            missing = 0
        return self._transport(protocol, source, target, body, missing, depth)

    def _packet6(self, packet: bytes, depth: int) -> Segment:
        length, protocol = struct.unpack_from("!4xHB", packet)
        if len(packet) < 40:
            raise _Unreadable("truncated")
        source, target = packet[8:24], packet[24:40]
        body = packet[40 : 40 + length] if length else packet[40:]  # 0: a jumbogram, or segmentation offload
        missing = length - len(body) if length else 0
        for _ in range(_MAX_NESTING):
            if protocol in _EXTENSIONS:
                protocol, size = body[0], body[1] * 8 + 8
            elif protocol == _AUTHENTICATION:
                protocol, size = body[0], body[1] * 4 + 8
            elif protocol == _FRAGMENT:
                following, place, ident = struct.unpack_from("!BxHI", body)
                if place & 0xFFF9:
                    key = (source, target, ident, -1)  # RFC 8200 §4.5: the protocol is not part of it
                    body = self._reassemble(key, place & 0xFFF8, bool(place & 1), body[8:], missing)
                    missing = size = 0
                else:
                    size = 8
                protocol = following
            else:
                return self._transport(protocol, source, target, body, missing, depth)
            if size > len(body):
                raise _Unreadable("truncated")
            body = body[size:]
        raise _Unreadable("nesting")

    def _transport(self, protocol: int, source: bytes, target: bytes, body: bytes, missing: int, depth: int) -> Segment:
        if protocol in _TUNNELS:
            return self._packet(body, depth + 1)
        if protocol != _TCP:
            return self._within(protocol, body, depth)
        _, _, seq, ack, words, flags, pointer = _TCP_HEAD.unpack_from(body)
        head = (words >> 4) * 4
        if head < 20:
            raise _Unreadable("malformed")
        if head > len(body) + missing:
            raise _Unreadable("malformed")
        if head > len(body):  # the options were cut off, and all payload with them
            missing -= head - len(body)
        urgent = seq + max(0, pointer - 1) & 0xFFFFFFFF if flags & _URG else -1  # as Linux counts (tcp_stdurg = 0)
        return Segment(source + body[:2], target + body[2:4], seq, ack, flags, body[head:], missing, urgent)

    def _within(self, protocol: int, body: bytes, depth: int) -> Segment:
        """What is not TCP may carry it."""
        sealed = tunnels.SEALED_PROTOCOLS.get(protocol, "")
        inner = None
        if protocol == _GRE:
            inner = tunnels.gre_untrusted(body)
        elif protocol == _UDP:
            source, target = struct.unpack_from("!HH", body)
            if target == _SFLOW_PORT:
                raise _Sampled(_sflow_frames_untrusted(body[8:]))
            inner = tunnels.udp_untrusted(body)
            sealed = tunnels.SEALED_PORTS.get(target, "") or tunnels.SEALED_PORTS.get(source, "")
        if inner is None:
            raise _Unreadable("not_tcp", sealed)
        if depth >= _MAX_NESTING:
            raise _Unreadable("nesting")
        return self._network(inner.kind, inner.frame, 0, depth + 1)

    # --- fragments ----------------------------------------------------------------------------------------------------

    def _reassemble(
        self, key: tuple[bytes, bytes, int, int], offset: int, more: bool, piece: bytes, missing: int
    ) -> bytes:
        """The whole datagram once its last missing fragment is here; raises while it is not.

        As Linux does: an exact repetition is ignored, any other overlap discards the datagram (RFC 5722 §4).
        """
        while self._datagrams:
            first, oldest = next(iter(self._datagrams.items()))
            crowded = len(self._datagrams) >= MAX_DATAGRAMS or self._held > MAX_FRAGMENT_BYTES
            if not crowded and self._now - oldest.time < FRAGMENT_TIMEOUT:
                break
            self._forget(first, "fragments_incomplete")
        end = offset + len(piece)
        datagram = self._datagrams.get(key)
        if datagram is None:
            datagram = self._datagrams[key] = _Datagram(self._now)
        if missing or end > _MAX_DATAGRAM or (more and (len(piece) % 8 or not piece)):
            self._forget(key, "")
            raise _Unreadable("fragments_malformed")
        if datagram.pieces.get(offset) == piece:
            raise _Unreadable("fragment_repeated")
        overlaps = any(start < end and offset < start + len(held) for start, held in datagram.pieces.items())
        beyond = 0 <= datagram.length < end or (not more and 0 <= datagram.length != end)
        if overlaps or beyond or len(datagram.pieces) >= MAX_PIECES:
            self._forget(key, "")
            raise _Unreadable("fragments_overlap" if overlaps else "fragments_malformed")
        datagram.pieces[offset] = piece
        datagram.size += len(piece)
        self._held += len(piece)
        if not more:
            datagram.length = end
        if datagram.size != datagram.length:
            raise _Unreadable("fragment_waiting")
        whole = b"".join(datagram.pieces[start] for start in sorted(datagram.pieces))
        self._forget(key, "")
        return whole

    def _forget(self, key: tuple[bytes, bytes, int, int], reason: str) -> None:
        self._held -= self._datagrams.pop(key).size
        if reason:
            self._skip(reason)


def _sflow_frames_untrusted(datagram: bytes) -> list[bytes]:
    """The Ethernet frames' heads in the flow samples of an sFlow version 5 datagram (sflow.org/sflow_version_5.txt).

    Raises ``struct.error`` when it ends too early. At most ``MAX_PIECES`` samples and records are looked at.
    """
    frames: list[bytes] = []
    version, family = struct.unpack_from("!II", datagram)
    at = 24 + (16 if family == 2 else 4)
    if version != 5:
        return frames
    (samples,) = struct.unpack_from("!I", datagram, at - 4)
    for _ in range(min(samples, MAX_PIECES)):
        kind, length = struct.unpack_from("!II", datagram, at)
        if kind == 1:  # flow_sample: seven words, then the number of records
            (records,) = struct.unpack_from("!I", datagram, at + 8 + 28)
            record = at + 8 + 32
            for _ in range(min(records, MAX_PIECES)):
                form, size = struct.unpack_from("!II", datagram, record)
                if form == 1:  # sampled_header: protocol (1 is Ethernet), frame length, stripped, header length
                    protocol, _, _, head = struct.unpack_from("!IIII", datagram, record + 8)
                    if protocol == 1:
                        frames.append(datagram[record + 24 : record + 24 + head])
                record += 8 + size
        at += 8 + length
    return frames
