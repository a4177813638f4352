"""Ethernet frames for BPF_PROG_TEST_RUN."""

from __future__ import annotations

import ipaddress
import struct

SYN, ACK, PSH, FIN, RST = 2, 16, 8, 1, 4
URG = 32


def tcp(
    sport: int,
    dport: int,
    payload: bytes = b"",
    flags: int = ACK | PSH,
    seq: int = 1000,
    ack: int = 2000,
    options: bytes = b"",
    urgent: int = 0,
) -> bytes:
    options += b"\0" * (-len(options) % 4)
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, (5 + len(options) // 4) << 4, flags, 65535, 0, urgent)
    return head + options + payload


def ipv4(
    source: str, destination: str, body: bytes, options: bytes = b"", fragment: int = 0, protocol: int = 6
) -> bytes:
    total = 20 + len(options) + len(body)
    head = struct.pack(">BBHHHBBH", 0x40 | (5 + len(options) // 4), 0, total, 7, fragment, 64, protocol, 0)
    return head + ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed + options + body


def ipv6(source: str, destination: str, body: bytes, extensions: bytes = b"", first: int = 6) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(extensions) + len(body), first, 64)
    return head + ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed + extensions + body


def ethernet(packet: bytes, tags: tuple[int, ...] = (), pad_to: int = 0) -> bytes:
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    types = b"".join(struct.pack(">HH", tag, 5) for tag in tags)
    return (bytes(12) + types + struct.pack(">H", kind) + packet).ljust(pad_to, b"\xee")
