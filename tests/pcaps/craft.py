"""Packets and capture files, built with dpkt."""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Iterable

import dpkt

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT4, SERVER4 = ("10.0.0.1", 40000), ("10.0.0.2", 80)
CLIENT6, SERVER6 = ("2001:db8::1", 40000), ("2001:db8::2", 80)
ETHERNET, RAW, NULL, SLL, SLL2 = 1, 101, 0, 113, 276


def tcp(source: int, target: int, seq: int, ack: int, flags: int, data: bytes = b"") -> bytes:
    segment = dpkt.tcp.TCP(
        sport=source, dport=target, seq=seq & 0xFFFFFFFF, ack=ack & 0xFFFFFFFF, flags=flags, off=5, data=data
    )
    return bytes(segment)


def ip4(source: str, target: str, body: bytes, *, ident: int = 1, offset: int = 0, more: bool = False) -> bytes:
    packet = dpkt.ip.IP(src=socket.inet_aton(source), dst=socket.inet_aton(target), p=6, ttl=64, id=ident)
    packet.data = body
    packet.len = 20 + len(body)
    raw = bytearray(bytes(packet))
    struct.pack_into("!H", raw, 6, offset // 8 | (0x2000 if more else 0))
    return bytes(raw)


def ip6(source: str, target: str, body: bytes, following: int = 6) -> bytes:
    """``body`` begins with extension headers if ``following`` is not TCP."""
    packet = dpkt.ip6.IP6(
        src=socket.inet_pton(socket.AF_INET6, source), dst=socket.inet_pton(socket.AF_INET6, target), hlim=64
    )
    head = bytearray(packet.pack_hdr())
    struct.pack_into("!HB", head, 4, len(body), following)
    return bytes(head[:40]) + body


def ethernet(packet: bytes, kind: int = 0, tags: Iterable[int] = (), padding: int = 0) -> bytes:
    """``tags`` are the Ethernet types of VLAN tags, outermost first."""
    kinds = [*tags, kind or (0x86DD if packet[0] >> 4 == 6 else 0x0800)]
    frame = b"\2\0\0\0\0\2" + b"\2\0\0\0\0\1" + struct.pack("!H", kinds[0])
    for following in kinds[1:]:
        frame += struct.pack("!HH", 7, following)
    return frame + packet + bytes(padding)


def wrap(link: int, packet: bytes) -> bytes:
    """An IP packet as a frame of a LINKTYPE_."""
    six = packet[0] >> 4 == 6
    kind = 0x86DD if six else 0x0800
    if link == ETHERNET:
        return ethernet(packet)
    if link == NULL:
        return struct.pack("<I", 30 if six else 2) + packet
    if link == SLL:
        return struct.pack("!HHH8sH", 0, 1, 6, b"\2\0\0\0\0\1", kind) + packet
    if link == SLL2:
        return struct.pack("!HHIHBB8s", kind, 0, 1, 1, 0, 6, b"\2\0\0\0\0\1") + packet
    assert link == RAW
    return packet


class Talk:
    """IP packets of one connection; offsets are stream offsets of each side."""

    def __init__(
        self,
        isn: int = 1000,
        other: int = 5000,
        client: tuple[str, int] = CLIENT4,
        server: tuple[str, int] = SERVER4,
    ) -> None:
        self.isn, self.other = isn, other
        self.client_end, self.server_end = client, server
        self.packets: list[bytes] = []

    def _add(self, source: tuple[str, int], target: tuple[str, int], segment: bytes) -> None:
        build = ip6 if ":" in source[0] else ip4
        self.packets.append(build(source[0], target[0], segment))

    def client(self, at: int, data: bytes = b"", ack: int = 0, flags: int = ACK) -> Talk:
        segment = tcp(self.client_end[1], self.server_end[1], self.isn + 1 + at, self.other + 1 + ack, flags, data)
        self._add(self.client_end, self.server_end, segment)
        return self

    def server(self, at: int, data: bytes = b"", ack: int = 0, flags: int = ACK) -> Talk:
        segment = tcp(self.server_end[1], self.client_end[1], self.other + 1 + at, self.isn + 1 + ack, flags, data)
        self._add(self.server_end, self.client_end, segment)
        return self

    def shake(self) -> Talk:
        return self.client(-1, flags=SYN).server(-1, flags=SYN | ACK).client(0)

    def finish(self, client: int, server: int) -> Talk:
        """Both FINs, at the given ends of the streams."""
        self.client(client, ack=server, flags=FIN | ACK)
        self.server(server, ack=client + 1, flags=FIN | ACK)
        return self.client(client + 1, ack=server + 1)


def pcap(frames: Iterable[bytes], link: int = ETHERNET, nano: bool = False, snap: int = 0) -> bytes:
    """A capture file, one frame a millisecond."""
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file, snaplen=65535, linktype=link, nano=nano)
    for number, frame in enumerate(frames):
        writer.writepkt(frame[:snap] if snap else frame, 1_700_000_000 + number / 1000)
    return file.getvalue()


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int, order: str = "<", resolution: int = 6) -> bytes:
    options = struct.pack(order + "HHB3xHH", 9, 1, resolution, 0, 0)
    return block(1, struct.pack(order + "HHI", link, 0, 0) + options, order)


def enhanced(number: int, frame: bytes, ticks: int = 0, order: str = "<") -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)


def simple(frame: bytes, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(frame)) + frame, order)
