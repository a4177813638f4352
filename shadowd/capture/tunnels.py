"""What tunnels carry: GRE, VXLAN, Geneve, GTP-U (sans-IO). A tunnel's header goes, what is inside is read as a frame.

IP within IP (4in4, 6in4, 4in6, 6in6) needs no header of its own and is in ``frames``. Every byte is untrusted:
``struct.error`` or ``IndexError`` for a header that ends too early, None for what is no such tunnel or has nothing that
can be read.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ETHERNET = 0x6558  # Transparent Ethernet Bridging (RFC 1701): Ethernet within GRE, Geneve, NVGRE (RFC 7637)
_IP4, _IP6, _PPP = 0x0800, 0x86DD, 0x880B
_ERSPAN, _ERSPAN_3 = 0x88BE, 0x22EB

#: By the destination's UDP port (IANA; 8472 is what Linux' VXLAN took before there was one).
_VXLAN, _VXLAN_GPE, _GENEVE, _GTP_USER = (4789, 8472), 4790, 6081, 2152
#: Next Protocol of VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe §3.2).
_GPE = {1: _IP4, 2: _IP6, 3: ETHERNET}
_GTP_PACKET = 255  # G-PDU (3GPP TS 29.281 §6.1)
_MAX_EXTENSIONS = 8

#: What cannot be read, and may have carried TCP: by IP protocol, and by UDP port.
SEALED_PROTOCOLS = {50: "ESP", 47: "GRE", 115: "L2TP", 98: "ENCAP", 97: "EtherIP", 137: "MPLS in IP"}
SEALED_PORTS = {
    1701: "L2TP", 4500: "ESP in UDP", 51820: "WireGuard", 1194: "OpenVPN", 3544: "Teredo", 6635: "MPLS in UDP",
    4789: "VXLAN", 8472: "VXLAN", 4790: "VXLAN-GPE", 6081: "Geneve", 2152: "GTP-U",
}  # fmt: skip


class Inner(NamedTuple):
    """What a tunnel carries: an EtherType, and the bytes behind it. ``ETHERNET``: a whole frame."""

    kind: int
    frame: bytes


def gre_untrusted(body: bytes) -> Inner | None:
    """RFC 2784 and 2890; version 1 is PPTP's (RFC 2637 §4.1); ERSPAN types I to III (draft-foschiano-erspan)."""
    flags, kind = struct.unpack_from("!HH", body)
    version = flags & 7
    if flags & 0x4000 or version > 1:  # routing was never used (RFC 2784 §2.3)
        return None
    at = 4 + 4 * (flags >> 15 & 1) + 4 * (flags >> 13 & 1) + 4 * (flags >> 12 & 1)
    if version == 1:
        return _ppp(body[at + 4 * (flags >> 7 & 1) :]) if kind == _PPP else None
    inner = body[at:]
    if kind == _ERSPAN:  # type I has neither a sequence number nor a header of its own
        return Inner(ETHERNET, inner[8:] if flags & 0x1000 else inner)
    if kind == _ERSPAN_3:
        return Inner(ETHERNET, inner[20 if inner[11] & 1 else 12 :])
    return Inner(kind, inner)


def udp_untrusted(body: bytes) -> Inner | None:
    """A UDP datagram with its header; None if it is no tunnel that can be read."""
    (port,) = struct.unpack_from("!H", body, 2)
    if port in _VXLAN:  # RFC 7348 §5: the I flag must be set
        return Inner(ETHERNET, body[16:]) if body[8] & 8 else None
    if port == _VXLAN_GPE:
        kind = _GPE.get(body[11]) if body[8] & 4 else ETHERNET
        return None if kind is None else Inner(kind, body[16:])
    if port == _GENEVE:  # RFC 8926 §3.4: version 0, options in words of four bytes, the O flag is control
        version_and_length, flags, kind = struct.unpack_from("!BBH", body, 8)
        if version_and_length >> 6 or flags & 0x80:
            return None
        return Inner(kind, body[16 + 4 * (version_and_length & 63) :])
    return _gtp(body) if port == _GTP_USER else None


def _gtp(body: bytes) -> Inner | None:
    """3GPP TS 29.281 §5.1: version 1, protocol type GTP; an optional word, then extension headers in words."""
    flags, message = struct.unpack_from("!BB", body, 8)
    if flags >> 4 != 3 or message != _GTP_PACKET:
        return None
    at = 16
    if flags & 7:
        following, at = body[at + 3], at + 4
        for _ in range(_MAX_EXTENSIONS):
            if not following or not flags & 4:
                break
            size = body[at] * 4
            if not size:
                return None
            following, at = body[at + size - 1], at + size
    kind = {4: _IP4, 6: _IP6}.get(body[at] >> 4)
    return None if kind is None else Inner(kind, body[at:])


def _ppp(body: bytes) -> Inner | None:
    """RFC 1661 §2: address and control, and the protocol's first byte, may be left out."""
    at = 2 if body[:2] == b"\xff\x03" else 0
    protocol, at = (body[at], at + 1) if body[at] & 1 else (body[at] << 8 | body[at + 1], at + 2)
    kind = {0x21: _IP4, 0x57: _IP6}.get(protocol)
    return None if kind is None else Inner(kind, body[at:])
