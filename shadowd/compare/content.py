"""From a body on the wire to its content: chunk framing and codings undone, within bounds (sans-IO).

    wire ──► Transfer-Encoding: chunked ──► other codings, last applied first undone ──► ``Content.data``

llhttp takes chunk framing apart, as it did in the reader that cut the message. A decompressor is never asked for more
than the rest of ``limit``: a bomb costs its limit and no more. Whatever goes wrong ends in ``Content.problem``, with
the data undone so far; a body that was cut off is a case like any other.
"""

from __future__ import annotations

import codecs
import re
import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shadowd.compare.descriptors import Message
from shadowd.compare.difference import shown
from shadowd.compare.headers import media_type, unfolded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Codings in a row; curl's limit is the same (MAX_ENCODE_STACK), servers apply one.
MAX_CODINGS = 5
#: gzip members or zstd frames in a row. Servers send one; each costs a copy of what is left.
MAX_MEMBERS = 64
#: Fields of a trailer section; gRPC and checksums have up to five.
MAX_TRAILERS = 100
#: Window of a zstd content coding: RFC 9659 §3 allows at most 8 MB.
ZSTD_WINDOW_LOG = 23

#: Codecs a charset may name. Others of Python's are not charsets, or cost quadratic time (punycode, idna).
_CHARSETS = frozenset(
    {"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "iso8859-1", "gbk",
     "gb2312", "gb18030", "big5", "shift_jis", "cp932", "euc_jp", "iso2022_jp", "euc_kr", "cp949", "koi8-r", "koi8-u",
     "mac-roman", *(f"iso8859-{n}" for n in (*range(2, 12), 13, 14, 15, 16)), *(f"cp{n}" for n in range(1250, 1259))}
)  # fmt: skip

#: Of a whole head only these three are needed: no mapping is made of it.
_DESCRIPTION = re.compile(rb"\n(content-type|content-encoding|transfer-encoding)[ \t]*:([^\r\n]*)", re.IGNORECASE)
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Content:
    """``data``: what the body says, at most ``limit`` bytes. ``media_type``: lower case, no parameters, "" if none.
    ``charset``: the parameter in lower case. ``label``: the Content-Type as it was sent. ``problem``: "" or why
    ``data`` is not whole; then ``sent`` is the body as it was before the coding that could not be undone.
    ``trailers``: fields after a chunked body, a line each. ``message``: by the schema, what its messages are."""

    __slots__ = ("charset", "data", "label", "media_type", "message", "problem", "sent", "trailers")

    def __init__(
        self, data: bytes, media_type: str = "", charset: str = "", problem: str = "", label: str = ""
    ) -> None:
        self.label = label
        self.message: Message | None = None
        self.sent = data
        self.trailers = b""
        self.data = data
        self.media_type = media_type
        self.charset = charset
        self.problem = problem

    def text(self) -> str:
        """``data`` by its charset (UTF-8 if none or not a known one), what cannot be decoded replaced."""
        return self.data.decode(known_charset(self.charset), errors="replace")


class _ContentError(Exception):
    """A body that is not what its head says; ``data`` is what could be undone."""

    def __init__(self, problem: str, data: bytes = b"") -> None:
        super().__init__(problem)
        self.problem = problem
        self.data = data


def content_untrusted(head: bytes, body: bytes, limit: int) -> Content:
    """Undo what ``head`` (status line to blank line) says was done to ``body``, to at most ``limit`` bytes.

    ``problem``: ``malformed chunking``, ``truncated chunking``, ``malformed gzip``, ``truncated gzip`` (and so on for
    ``deflate``, ``br``, ``zstd``), ``unknown coding x`` (``data`` stays encoded), ``too many codings``, ``too large``
    (``data`` is the first ``limit`` bytes). Never raises.
    """
    kind = ""
    codings: list[str] = []
    transfer: list[str] = []
    if b"\n " in head or b"\n\t" in head:
        head = unfolded(head)
    for name, value in _DESCRIPTION.findall(head):
        text = value.decode("latin-1").strip()
        if len(name) == 12:
            kind = kind or text
        else:
            elements = [element for part in text.split(",") if (element := part.strip().lower())]
            (codings if name[:1] in b"cC" else transfer).extend(elements)
    content = Content(body, media_type(kind), _charset(kind) if ";" in kind else "", label=kind)
    try:
        if "chunked" in transfer:
            content.data, content.trailers = _dechunked(body)
        codings += [coding for coding in transfer if coding != "chunked"]
        codings = [coding for coding in codings if coding != "identity"]
        if len(codings) > MAX_CODINGS:
            raise _ContentError("too many codings", content.data)
        for coding in reversed(codings):
            content.sent = content.data
            if content.data:  # nothing is nothing in every coding: answers without a body carry the header too
                content.data = _decoded(coding, content.data, limit)
        if len(content.data) > limit:
            raise _ContentError("too large", content.data[:limit])
    except _ContentError as error:
        content.data = error.data[:limit]
        content.problem = error.problem
    return content


def known_charset(name: str) -> str:
    """``name`` if it is a charset that may be decoded, else UTF-8."""
    if not name or len(name) > 40:
        return "utf-8"
    try:
        return name if codecs.lookup(name).name in _CHARSETS else "utf-8"
    except (LookupError, ValueError):
        return "utf-8"


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return shown(value.strip(" \t\"'").lower(), 40)
    return ""


class _Chunks:
    """What llhttp calls back: C methods for what is frequent, so that a body of tiny chunks runs no Python frames."""

    __slots__ = ("on_body", "on_message_complete", "trailers")

    def __init__(self, pieces: list[bytes], awaited: list[None]) -> None:
        self.on_body = pieces.append
        self.on_message_complete = awaited.clear
        self.trailers: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.trailers) < MAX_TRAILERS:
            self.trailers.append(b"%s: %s\r\n" % (name, value))


def _dechunked(body: bytes) -> tuple[bytes, bytes]:
    """The content, and the trailer section (RFC 9112 §7.1.2) as lines of a head without its first."""
    pieces: list[bytes] = []
    awaited: list[None] = [None]
    chunks = _Chunks(pieces, awaited)
    parser = HttpResponseParser(chunks)
    try:
        parser.feed_data(_CHUNKED_HEAD)
        chunks.trailers.clear()
        parser.feed_data(body)
    except (HttpParserError, HttpParserUpgrade):
        raise _ContentError("malformed chunking", b"".join(pieces)) from None
    if awaited:
        raise _ContentError("truncated chunking", b"".join(pieces))
    return b"".join(pieces), b"\r\n" + b"".join(chunks.trailers) if chunks.trailers else b""


def _decoded(coding: str, data: bytes, limit: int) -> bytes:
    if coding in ("gzip", "x-gzip"):
        return _unpacked("gzip", _gzip_member, b"\0", data, limit)  # RFC 1952; zeros as GNU gzip takes them
    if coding == "deflate":
        return _inflated(data, limit)
    if coding == "br":
        return _unbrotlied(data, limit)
    if coding == "zstd":
        return _unpacked("zstd", _zstd_frame, b"", data, limit)  # RFC 8878
    raise _ContentError(f"unknown coding {shown(coding, 40)}", data)


class _Member(Protocol):
    """What undoes one gzip member or one zstd frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, limit: int, /) -> bytes: ...


def _gzip_member() -> _Member:
    return zlib.decompressobj(wbits=31)


def _zstd_frame() -> _Member:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})


def _unpacked(coding: str, start: Callable[[], _Member], padding: bytes, data: bytes, limit: int) -> bytes:
    """One member after the other; ``padding`` between and behind them is nothing."""
    result = bytearray()
    for _ in range(MAX_MEMBERS):
        member = start()
        try:
            result += member.decompress(data, limit - len(result) + 1)
        except (zlib.error, zstd.ZstdError):
            raise _ContentError(f"malformed {coding}", bytes(result)) from None
        if len(result) > limit:
            raise _ContentError("too large", bytes(result))
        if not member.eof:
            raise _ContentError(f"truncated {coding}", bytes(result))
        data = member.unused_data.lstrip(padding)
        if not data:
            return bytes(result)
    raise _ContentError(f"malformed {coding}", bytes(result))


def _inflated(data: bytes, limit: int) -> bytes:
    """RFC 9110 §8.4.1.2 means the zlib format; some servers send raw DEFLATE, as browsers accept."""
    zlib_format = len(data) > 1 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0  # RFC 1950 §2.2
    stream = zlib.decompressobj(15 if zlib_format else -15)
    try:
        result = stream.decompress(data, limit + 1)
    except zlib.error:
        raise _ContentError("malformed deflate") from None
    if len(result) > limit:
        raise _ContentError("too large", result)
    if not stream.eof:
        raise _ContentError("truncated deflate", result)
    if stream.unused_data.strip(b"\0"):
        raise _ContentError("malformed deflate", result)
    return result


def _unbrotlied(data: bytes, limit: int) -> bytes:
    stream = brotli.Decompressor()
    result = bytearray()
    try:
        result += stream.process(data, output_buffer_limit=limit + 1)
        while len(result) <= limit and not stream.is_finished():
            piece = stream.process(b"", output_buffer_limit=limit + 1 - len(result))
            if not piece:
                break
            result += piece
    except brotli.error:
        raise _ContentError("malformed br", bytes(result)) from None
    if len(result) > limit:
        raise _ContentError("too large", bytes(result))
    if not stream.is_finished():
        raise _ContentError("truncated br", bytes(result))
    return bytes(result)
