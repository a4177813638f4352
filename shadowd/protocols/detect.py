"""What a flow speaks, told from the client's first bytes (sans-IO).

Nothing is decided before it is certain: a prefix that may still become TLS, the HTTP/2 preface or an HTTP/1 request
line waits for more. The waiting is bounded: ``MAX_METHOD`` bytes without a space, ``MAX_REQUEST_LINE`` bytes without a
line end, 24 bytes for the HTTP/2 preface, 6 for TLS.
"""

from __future__ import annotations

import re

from shadowd.protocols.proxy import ProxyError, looks_like_proxy, parse_untrusted

#: RFC 9113 §3.4.
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Type 4, no flags, stream 0 (RFC 9113 §4.1, §6.5).
_SETTINGS = b"\x04\0\0\0\0\0"
#: The longest registered method has 17 characters (UPDATEREDIRECTREF).
MAX_METHOD = 32
#: RFC 9112 §3 recommends at least 8,000; nginx and Apache stop at 8 KB. Most lines end within the first segment.
MAX_REQUEST_LINE = 8 << 10

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_METHOD = re.compile(_TOKEN + rb"\Z")
_REQUEST_START = re.compile(
    rb"(" + _TOKEN + rb") +(?:[^\x00-\x20\x7f]+(?: +(?:H(?:T(?:T(?:P(?:/(?:1(?:\..*)?)?)?)?)?)?)?)?)?\Z"
)
_REQUEST_LINE = re.compile(_TOKEN + rb" +[^\x00-\x20\x7f]+ +HTTP/1\.[0-9]\r?\n")


def identify(first: bytes) -> str | None:
    """``"http"`` (an HTTP/1 request line), ``"tls"`` (a ClientHello, RFC 8446 §5.1), ``"http2"`` (the preface),
    ``"other"``, or None while more bytes are needed.

    A redis or memcached command (``GET key``) is not HTTP: the line must end in ``HTTP/1.x``. Blank lines before the
    request line are skipped (RFC 9112 §2.2).
    """
    if not first:
        return None
    if first[0] == 0x16:
        return _identify_tls(first)
    if first.startswith(HTTP2_PREFACE):
        return "http2"
    if HTTP2_PREFACE.startswith(first):
        return None
    if first[0] in b"\r\n":
        blank = len(first)
        first = first.lstrip(b"\r\n")
        if not first:
            return None if blank < MAX_REQUEST_LINE else "other"
    line_end = first.find(b"\n", 0, MAX_REQUEST_LINE)
    if line_end >= 0:
        return "http" if _REQUEST_LINE.match(first) else "other"
    if len(first) >= MAX_REQUEST_LINE:
        return "other"
    if b" " not in first[: MAX_METHOD + 1]:
        return None if len(first) <= MAX_METHOD and _METHOD.match(first) else "other"
    return None if _REQUEST_START.match(first) else "other"


def speaks_http2(first: bytes) -> bool:
    """Whether a server that speaks before its client does so with the preface of HTTP/2: SETTINGS of stream 0 (RFC 9113
    §3.4). It may as soon as the connection stands, or the handshake of TLS."""
    return len(first) >= 9 and first[3:9] == _SETTINGS and int.from_bytes(first[:3]) % 6 == 0


def tls_start(opening: bytes) -> int | None:
    """Where TLS begins in a client's first bytes: behind a PROXY header, if there is one. -1 if that is no TLS, None
    while more bytes are needed."""
    start = 0
    if looks_like_proxy(opening) is not False:
        try:
            header = parse_untrusted(opening)
        except ProxyError:
            return -1
        if header is None or header.length == len(opening):
            return None
        start = header.length
    if opening[start] != 0x16:
        return -1
    kind = _identify_tls(opening[start : start + 6])
    return None if kind is None else start if kind == "tls" else -1


def _identify_tls(first: bytes) -> str | None:
    """A handshake record (type 22, version 3.x) whose message is a ClientHello (type 1)."""
    if len(first) > 1 and first[1] != 3:
        return "other"
    if len(first) < 6:
        return None
    return "tls" if first[5] == 1 else "other"
