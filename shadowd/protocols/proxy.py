"""The PROXY protocol in front of a flow, versions 1 (text) and 2 (binary) (sans-IO).

A load balancer that terminates TCP tells the service who the client was, in a header before the first byte of the
real protocol. Source: haproxy, ``doc/proxy-protocol.txt``, §2.1 (v1), §2.2 (v2).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

#: §2.1: the longest v1 line, CRLF included.
MAX_V1 = 107
#: §2.2: a v2 header is 16 bytes and what its 16-bit length says.
MAX_V2 = 16 + 0xFFFF

V1_SIGNATURE = b"PROXY "
V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

#: v2: family and transport → (length of one address, the two ports follow both addresses). 0x12 and 0x22 are UDP.
_ADDRESS_LENGTH = {0x11: 4, 0x12: 4, 0x21: 16, 0x22: 16}
_KNOWN_FAMILIES = frozenset({0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32})
_UNIX_LENGTH = 216  # two paths of 108 bytes


class ProxyError(Exception):
    """A header that begins like a PROXY header and is none. ``reason`` says what is wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ProxyHeader:
    """``length``: bytes of the header. ``client``, ``server``: (IP address, port), or None for v1 ``UNKNOWN``, v2
    ``LOCAL``, and address families without IP."""

    __slots__ = ("client", "length", "server")

    def __init__(self, length: int, client: tuple[str, int] | None, server: tuple[str, int] | None) -> None:
        self.length = length
        self.client = client
        self.server = server


def looks_like_proxy(data: bytes) -> bool | None:
    """Whether ``data`` begins with a PROXY signature; None while it is too short to tell (at most 12 bytes)."""
    if data.startswith((V1_SIGNATURE, V2_SIGNATURE)):
        return True
    return None if V1_SIGNATURE.startswith(data) or V2_SIGNATURE.startswith(data) else False


def parse_untrusted(data: bytes) -> ProxyHeader | None:
    """The header at the start of ``data``, or None while more bytes are needed (at most ``MAX_V1`` or ``MAX_V2``).

    Raises ``ProxyError``.
    """
    if data.startswith(V1_SIGNATURE):
        return _parse_v1(data)
    if data.startswith(V2_SIGNATURE):
        return _parse_v2(data)
    if looks_like_proxy(data) is None:
        return None
    raise ProxyError("no PROXY signature")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise ProxyError("v1 line without an end")
        return None
    words = data[:end].split(b" ")
    length = end + 2
    if words[1] == b"UNKNOWN":
        return ProxyHeader(length, None, None)  # §2.1: the rest of the line is to be ignored
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise ProxyError("v1 line malformed")
    client = (_address(words[2], words[1]), _port(words[4]))
    server = (_address(words[3], words[1]), _port(words[5]))
    return ProxyHeader(length, client, server)


def _address(word: bytes, family: bytes) -> str:
    if b"%" in word:
        raise ProxyError("v1 address with a zone")
    try:
        text = word.decode("ascii")
        return str(IPv4Address(text) if family == b"TCP4" else IPv6Address(text))
    except ValueError:
        raise ProxyError("v1 address malformed") from None


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[0] == 0x30 and len(word) > 1) or int(word) > 0xFFFF:
        raise ProxyError("v1 port malformed")
    return int(word)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) > 12 and data[12] not in (0x20, 0x21):
        raise ProxyError("v2 version or command unknown")
    if len(data) > 13 and data[13] not in _KNOWN_FAMILIES:
        raise ProxyError("v2 address family unknown")
    if len(data) < 16:
        return None
    length = 16 + int.from_bytes(data[14:16], "big")
    family = data[13]
    size = _ADDRESS_LENGTH.get(family, 0)
    needed = 2 * size + 4 if size else _UNIX_LENGTH if family in (0x31, 0x32) else 0
    local = data[12] == 0x20
    if not local and length < 16 + needed:
        raise ProxyError("v2 header shorter than its addresses")
    if len(data) < length:
        return None
    if local or not size:
        return ProxyHeader(length, None, None)  # §2.2: LOCAL is the proxy's own connection
    ports = 16 + 2 * size
    kind = IPv4Address if size == 4 else IPv6Address
    client = str(kind(data[16 : 16 + size]))
    server = str(kind(data[16 + size : ports]))
    return ProxyHeader(
        length,
        (client, int.from_bytes(data[ports : ports + 2], "big")),
        (server, int.from_bytes(data[ports + 2 : ports + 4], "big")),
    )
