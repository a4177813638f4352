"""Tunnels in capture files: what is inside comes out as if captured there, and what is sealed is counted."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.capture.frames import FrameReader
from shadowd.cli.pcap import write_streams
from tests.pcaps.craft import ETHERNET, RAW, Talk, ethernet, ip4, ip6, pcap

REQUEST, ANSWER = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"


def over(protocol: int, body: bytes, six: bool = False) -> bytes:
    """The tunnel's own IP packet."""
    if six:
        return ip6("2001:db8:ffff::1", "2001:db8:ffff::2", body, protocol)
    packet = bytearray(ip4("192.0.2.1", "192.0.2.2", body))
    packet[9] = protocol
    return bytes(packet)


def udp(port: int, body: bytes, source: int = 49_152) -> bytes:
    return over(17, struct.pack("!HHHH", source, port, 8 + len(body), 0) + body)


def gre(kind: int, inner: bytes, flags: int = 0, fields: bytes = b"") -> bytes:
    return over(47, struct.pack("!HH", flags, kind) + fields + inner)


TUNNELS: dict[str, Callable[[bytes], bytes]] = {
    "4in4": lambda packet: over(4, packet),
    "4in6": lambda packet: over(4, packet, six=True),
    "gre": lambda packet: gre(0x0800, packet),
    "gre with checksum, key and number": lambda packet: gre(0x0800, packet, 0xB000, bytes(12)),
    "gre over ipv6": lambda packet: over(47, b"\0\0\x08\0" + packet, six=True),
    "nvgre": lambda packet: gre(0x6558, ethernet(packet), 0x2000, b"\0\0\7\0"),
    "gre with mpls": lambda packet: gre(0x8847, b"\0\1\1\x40" + packet),
    "pptp": lambda packet: gre(0x880B, b"\xff\x03\x00\x21" + packet, 0x3081, bytes(12)),
    "pptp, compressed": lambda packet: gre(0x880B, b"\x21" + packet, 0x2001, bytes(4)),
    "erspan 1": lambda packet: gre(0x88BE, ethernet(packet)),
    "erspan 2": lambda packet: gre(0x88BE, bytes(8) + ethernet(packet), 0x1000, bytes(4)),
    "erspan 3": lambda packet: gre(0x22EB, bytes(12) + ethernet(packet), 0x1000, bytes(4)),
    "erspan 3 with a platform's words": lambda packet: gre(
        0x22EB, bytes(11) + b"\1" + bytes(8) + ethernet(packet), 0x1000, bytes(4)
    ),
    "vxlan": lambda packet: udp(4789, b"\x08\0\0\0\0\0\7\0" + ethernet(packet)),
    "vxlan with tags": lambda packet: udp(8472, b"\x08\0\0\0\0\0\7\0" + ethernet(packet, tags=[0x8100])),
    "vxlan-gpe": lambda packet: udp(4790, b"\x0c\0\0\1\0\0\7\0" + packet),
    "geneve": lambda packet: udp(6081, b"\2\0\x65\x58\0\0\7\0" + bytes(8) + ethernet(packet)),
    "geneve with ip": lambda packet: udp(6081, b"\0\0\x08\0\0\0\7\0" + packet),
    "gtp-u": lambda packet: udp(2152, struct.pack("!BBHI", 0x30, 255, len(packet), 7) + packet),
    "gtp-u with an extension": lambda packet: udp(
        2152, struct.pack("!BBHI", 0x34, 255, len(packet) + 8, 7) + b"\0\0\0\x85" + b"\1\0\0\0" + packet
    ),
    "vxlan in gre in gtp-u": lambda packet: udp(
        2152,
        struct.pack("!BBHI", 0x30, 255, 0, 7)
        + gre(0x0800, udp(4789, b"\x08\0\0\0\0\0\7\0" + ethernet(packet))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TUNNELS)
def test_what_a_tunnel_carries_is_read(name: str, tmp_path: Path) -> None:
    talk = Talk().shake().client(0, REQUEST).server(0, ANSWER, ack=len(REQUEST)).finish(len(REQUEST), len(ANSWER))
    file = tmp_path / "capture"
    file.write_bytes(pcap([ethernet(TUNNELS[name](packet)) for packet in talk.packets], ETHERNET))
    (stream,) = write_streams(file, tmp_path / "out")
    assert stream["client"] == "10.0.0.1:40000"
    assert stream["state"] == "closed"
    assert (tmp_path / "out" / "0.c2s").read_bytes() == REQUEST
    assert (tmp_path / "out" / "0.s2c").read_bytes() == ANSWER


def test_6in4(tmp_path: Path) -> None:
    ends = {"client": ("2001:db8::1", 40000), "server": ("2001:db8::2", 80)}
    talk = Talk(**ends).shake().client(0, REQUEST)
    file = tmp_path / "capture"
    file.write_bytes(pcap([over(41, packet) for packet in talk.packets], RAW))
    (stream,) = write_streams(file, tmp_path / "out")
    assert stream["server"] == "2001:db8::2:80"
    assert stream["c2s"]["bytes"] == len(REQUEST)


INNER = Talk().client(0, b"x").packets[0]
SEALED = {
    "ESP": over(50, bytes(40)),
    "L2TP": udp(1701, bytes(40)),
    "WireGuard": udp(51820, bytes(40)),
    "ESP in UDP": udp(49_152, bytes(40), source=4500),
    "GRE": gre(0x0800, INNER, 0x4000),
    "VXLAN": udp(4789, bytes(8) + ethernet(INNER)),
    "Geneve": udp(6081, b"\x40\0\x65\x58" + bytes(4) + ethernet(INNER)),
    "GTP-U": udp(2152, struct.pack("!BBHI", 0x30, 1, 0, 7) + INNER),  # an echo request
    "cut short within its headers": gre(0x0800, INNER[:9]),
}


@pytest.mark.parametrize("what", SEALED)
def test_what_may_have_had_tcp_and_was_not_read_is_counted_in_words(what: str) -> None:
    reader = FrameReader()
    assert reader.segments_untrusted(RAW, SEALED[what], 0) == []
    assert reader.unread == {what: 1}
    assert sum(reader.skipped.values()) == 1


def test_what_has_no_tcp_in_it_is_no_loss() -> None:
    reader = FrameReader()
    for frame in (ethernet(b"", kind=0x0806), ethernet(udp(53, bytes(12))), ethernet(over(1, bytes(8)))):
        assert reader.segments_untrusted(ETHERNET, frame, 0) == []
    assert reader.unread == {}


def test_link_types_macsec_and_fragments_are_told() -> None:
    reader = FrameReader()
    reader.segments_untrusted(127, bytes(60), 0)
    reader.segments_untrusted(ETHERNET, ethernet(bytes(60), kind=0x88E5), 0)
    reader.segments_untrusted(RAW, ip4("1.2.3.4", "1.2.3.5", bytes(16), more=True), 0)
    reader.finish()
    assert reader.unread == {
        "link type 127": 1, "MACsec": 1, "IP fragments without the rest of their datagram": 1
    }  # fmt: skip


def test_nesting_is_bounded() -> None:
    packet = INNER
    for _ in range(40):
        packet = gre(0x0800, packet)
    reader = FrameReader()
    assert reader.segments_untrusted(RAW, packet, 0) == []
    assert reader.unread == {"nested too deeply": 1}


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(TUNNELS)),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
    st.integers(0, 200),
)
def test_mutated_tunnels_give_a_segment_or_a_reason(name: str, changes: list[tuple[int, int]], cut: int) -> None:
    frame = bytearray(TUNNELS[name](INNER))[: cut or None]
    for at, value in changes:
        frame[at % len(frame)] = value
    reader = FrameReader()
    assert len(reader.segments_untrusted(RAW, bytes(frame), 0)) == 1 or sum(reader.skipped.values()) >= 1
