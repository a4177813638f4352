"""TCP cases as capture files, each with the streams that are in it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from tests.pcaps.craft import (
    ACK,
    CLIENT4,
    CLIENT6,
    FIN,
    RAW,
    RST,
    SERVER4,
    SERVER6,
    SYN,
    Talk,
    ethernet,
    ip4,
    ip6,
    pcap,
    tcp,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Stream(NamedTuple):
    """The answer for one connection."""

    client: bytes
    server: bytes
    state: str = "closed"
    client_gaps: tuple[tuple[int, int], ...] = ()
    server_gaps: tuple[tuple[int, int], ...] = ()
    conflicts: int = 0
    client_discarded: dict[str, int] | None = None
    client_urgent: list[int] | None = None


def _raw(*talks: Talk) -> bytes:
    return pcap([packet for talk in talks for packet in talk.packets], RAW)


def _whole(**places: int) -> Talk:
    talk = Talk(**places).shake().client(0, REQUEST).server(0, ANSWER, ack=len(REQUEST))
    return talk.finish(len(REQUEST), len(ANSWER))


def plain() -> tuple[bytes, list[Stream]]:
    return _raw(_whole()), [Stream(REQUEST, ANSWER)]


def reordered_around_the_wrap() -> tuple[bytes, list[Stream]]:
    talk = Talk(isn=0xFFFFFFF8).shake()
    for at in (9, 3, 6, 0):
        talk.client(at, REQUEST[at : at + 3])
    return _raw(talk), [Stream(REQUEST[:12], b"", "open")]


def lost_segment() -> tuple[bytes, list[Stream]]:
    talk = Talk().shake().client(0, b"abc").client(8, b"ij").server(0, ack=10).finish(10, 0)
    return _raw(talk), [Stream(b"abcij", b"", client_gaps=((3, 5),))]


def lost_last_segment() -> tuple[bytes, list[Stream]]:
    talk = Talk().shake().server(0, b"abc").finish(0, 9)
    return _raw(talk), [Stream(b"", b"abc", server_gaps=((3, 6),))]


def conflicting_copies() -> tuple[bytes, list[Stream]]:
    talk = Talk().shake().client(4, b"AAAA").client(2, b"bbbb").client(0, b"--")
    return _raw(talk), [Stream(b"--bbbbAA", b"", "open", conflicts=2)]


def keep_alive_garbage() -> tuple[bytes, list[Stream]]:
    talk = Talk().shake().client(-1, b"\0").client(0, b"ab").client(1, b"\0").client(2, b"c")
    return _raw(talk), [Stream(b"abc", b"", "open")]


def data_in_the_syn() -> tuple[bytes, list[Stream]]:
    talk = Talk().client(-1, b"early", flags=SYN).server(-1, flags=SYN | ACK, ack=5).client(5, b" bird", ack=0)
    return _raw(talk), [Stream(b"early bird", b"", "open")]


def port_reuse() -> tuple[bytes, list[Stream]]:
    return _raw(_whole(), _whole(isn=700_000)), [Stream(REQUEST, ANSWER)] * 2


def reset_with_payload() -> tuple[bytes, list[Stream]]:
    talk = Talk().shake().client(0, b"abc").server(0, b"go away", ack=3, flags=RST | ACK)
    return _raw(talk), [Stream(b"abc", b"", "reset")]


def forged_reset() -> tuple[bytes, list[Stream]]:
    talk = Talk().shake().client(0, b"abc").server(1 << 29, ack=3, flags=RST).client(3, b"def")
    return _raw(talk), [Stream(b"abcdef", b"", "open")]


def midstream() -> tuple[bytes, list[Stream]]:
    talk = Talk().client(500, b"abc", ack=70).server(70, b"xyz", ack=503)
    return _raw(talk), [Stream(b"abc", b"xyz", "midstream")]


def midstream_server_first() -> tuple[bytes, list[Stream]]:
    """The side with the well-known port is the server, whoever is seen first."""
    talk = Talk().server(70, b"xyz", ack=500).client(500, b"abc", ack=73)
    return _raw(talk), [Stream(b"abc", b"xyz", "midstream")]


def reset_alone() -> tuple[bytes, list[Stream]]:
    return _raw(Talk().client(9, flags=RST)), [Stream(b"", b"", "reset")]


def acks_before_their_data() -> tuple[bytes, list[Stream]]:
    talk = Talk().shake().server(0, ack=9).client(6, b"ghi").client(3, b"def").client(0, b"abc")
    return _raw(talk), [Stream(b"abcdefghi", b"", "open")]


def padded_ethernet_with_tags() -> tuple[bytes, list[Stream]]:
    tags = [0x88A8, 0x8100]
    frames = [ethernet(packet, tags=tags, padding=9) for packet in _whole().packets]
    return pcap(frames), [Stream(REQUEST, ANSWER)]


def pppoe_and_mpls() -> tuple[bytes, list[Stream]]:
    frames = []
    for number, packet in enumerate(_whole().packets):
        if number % 2:
            session = struct.pack("!BBHHH", 0x11, 0, 7, len(packet) + 2, 0x21)
            frames.append(ethernet(session + packet + b"padding", 0x8864))
        else:
            frames.append(ethernet(b"\0\1\0\x40" + b"\0\2\1\x40" + packet, 0x8847))
    return pcap(frames), [Stream(REQUEST, ANSWER)]


def ipv6_with_extension_headers() -> tuple[bytes, list[Stream]]:
    talk = Talk(client=CLIENT6, server=SERVER6).shake().client(0, REQUEST)
    options = b"\x3c\0" + bytes(6)  # hop-by-hop, then destination options
    destination = b"\x06\x01" + bytes(14)  # 16 bytes, then TCP
    segment = tcp(CLIENT6[1], SERVER6[1], 1001 + len(REQUEST), 5001, FIN | ACK, b"!")
    talk.packets.append(ip6(CLIENT6[0], SERVER6[0], options + destination + segment, 0))
    talk.server(0, ANSWER, flags=FIN | ACK)
    return _raw(talk), [Stream(REQUEST + b"!", ANSWER)]


def fragments() -> tuple[bytes, list[Stream]]:
    """IPv4 and IPv6 fragments, backwards, one repeated."""
    body = bytes(range(256)) * 8
    first, second = Talk().shake(), Talk(client=CLIENT6, server=SERVER6).shake()
    segment = tcp(CLIENT4[1], SERVER4[1], 1001, 5001, ACK, body)
    pieces = [(at, segment[at : at + 512]) for at in range(0, len(segment), 512)]
    for at, piece in [*reversed(pieces), pieces[0]]:
        more = at + len(piece) < len(segment)
        first.packets.append(ip4(CLIENT4[0], SERVER4[0], piece, ident=77, offset=at, more=more))
        head = struct.pack("!BBHI", 6, 0, at | more, 77)
        second.packets.append(ip6(CLIENT6[0], SERVER6[0], head + piece, 44))
    return _raw(first, second), [Stream(body, b"", "open")] * 2


def overlapping_fragments() -> tuple[bytes, list[Stream]]:
    """RFC 5722: the datagram is dropped, so its bytes are missing."""
    talk = Talk().shake()
    segment = tcp(CLIENT4[1], SERVER4[1], 1001, 5001, ACK, bytes(100))
    for at, end in ((0, 64), (56, len(segment))):
        piece = segment[at:end]
        talk.packets.append(ip4(CLIENT4[0], SERVER4[0], piece, offset=at, more=end < len(segment)))
    talk.client(100, b"next").server(0, ack=104)
    return _raw(talk), [Stream(b"next", b"", "open", client_gaps=((0, 100),))]


def cut_by_the_snap_length() -> tuple[bytes, list[Stream]]:
    talk = Talk().shake().client(0, b"x" * 100).client(100, b"y" * 100, flags=FIN | ACK).server(0, ack=201)
    expected = Stream(b"x" * 60 + b"y" * 60, b"", "open", client_gaps=((60, 40), (160, 40)))
    return pcap(talk.packets, RAW, snap=100), [expected]


def two_connections_interleaved() -> tuple[bytes, list[Stream]]:
    first, second = _whole(), Talk(client=CLIENT6, server=SERVER6).shake().client(0, b"six").finish(3, 0)
    mixed = [packet for pair in zip(first.packets, second.packets, strict=False) for packet in pair]
    mixed += first.packets[len(second.packets) :]
    return pcap(mixed, RAW), [Stream(REQUEST, ANSWER), Stream(b"six", b"")]


def fin_before_the_syn_ack() -> tuple[bytes, list[Stream]]:
    """A host that waits for a SYN drops it (RFC 9293 §3.10.7.3)."""
    talk = Talk().client(-1, flags=SYN).server(-4000, flags=FIN | ACK).server(-1, flags=SYN | ACK).client(0)
    return _raw(talk.client(0, REQUEST).server(0, ANSWER, ack=len(REQUEST))), [Stream(REQUEST, ANSWER, "open")]


def data_before_the_syn_ack() -> tuple[bytes, list[Stream]]:
    """Captured too early: it belongs to the stream. The other side's is nobody's."""
    first = Talk().client(-1, flags=SYN).server(3, b"def").server(0, b"abc").server(-1, flags=SYN | ACK)
    other = Talk(isn=90_000, client=CLIENT6, server=SERVER6).client(-1, flags=SYN).server(-900, b"forged")
    other.server(-1, flags=SYN | ACK).client(0, REQUEST).server(0, b"abc", ack=len(REQUEST))
    return _raw(first, other), [Stream(b"", b"abcdef", "open"), Stream(REQUEST, b"abc", "open")]


def two_syn_acks() -> tuple[bytes, list[Stream]]:
    """The acknowledged one counts, whichever is last (RFC 9293 §3.10.7.4)."""
    talks = []
    for number, order in enumerate(((-1, 77_000, -1), (77_000, -1), (-1, 77_000))):
        talk = Talk(isn=9000 * number, client=("10.0.0.9", 50_000 + number)).client(-1, flags=SYN)
        for at in order[:2]:
            talk.server(at, flags=SYN | ACK)
        talk.client(0)
        if len(order) > 2:
            talk.server(77_000, flags=SYN | ACK)
        talks.append(talk.client(0, REQUEST).server(0, ANSWER, ack=len(REQUEST)))
    return _raw(*talks), [Stream(REQUEST, ANSWER, "open")] * 3


def midstream_first_segment_late() -> tuple[bytes, list[Stream]]:
    """The ACKs say that bytes before it are under way."""
    talk = Talk().server(70, ack=500).client(503, b"def", ack=70).server(70, ack=500).client(500, b"abc", ack=70)
    return _raw(talk.server(70, b"xyz", ack=506)), [Stream(b"abcdef", b"xyz", "midstream")]


def midstream_first_segment_too_late() -> tuple[bytes, list[Stream]]:
    talk = Talk().client(503, b"def", ack=70).server(70, b"xyz", ack=506).client(500, b"abc", ack=73)
    return _raw(talk), [Stream(b"def", b"xyz", "midstream", client_discarded={"before_start": 3})]


def urgent_byte() -> tuple[bytes, list[Stream]]:
    """The pointer of RFC 793, which Linux takes: one beyond the byte."""
    talk = Talk().shake().client(0, b"abc")
    packet = bytearray(ip4(CLIENT4[0], SERVER4[0], tcp(CLIENT4[1], SERVER4[1], 1004, 5001, ACK | 0x20, b"d!e")))
    struct.pack_into("!H", packet, 38, 2)
    talk.packets.append(bytes(packet))
    return _raw(talk.client(6, b"f")), [Stream(b"abcdef", b"", "open", client_urgent=[4])]


CASES: list[Callable[[], tuple[bytes, list[Stream]]]] = [
    plain,
    reordered_around_the_wrap,
    lost_segment,
    lost_last_segment,
    conflicting_copies,
    keep_alive_garbage,
    data_in_the_syn,
    port_reuse,
    reset_with_payload,
    forged_reset,
    midstream,
    midstream_server_first,
    reset_alone,
    acks_before_their_data,
    padded_ethernet_with_tags,
    pppoe_and_mpls,
    ipv6_with_extension_headers,
    fragments,
    overlapping_fragments,
    cut_by_the_snap_length,
    two_connections_interleaved,
    fin_before_the_syn_ack,
    data_before_the_syn_ack,
    two_syn_acks,
    midstream_first_segment_late,
    midstream_first_segment_too_late,
    urgent_byte,
]
