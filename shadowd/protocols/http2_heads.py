"""Heads of HTTP/2 in the form that HTTP/1 gives them, and back: what reads heads need not know both (sans-IO).

``:method`` and ``:path`` become a request line, ``:authority`` the Host field, ``:status`` a status line, each with
``HTTP/2`` for a version. What RFC 9113 §8.2 and §8.3 call malformed is refused: above all nothing in a name or a value
can end a line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from shadowd.protocols.hpack import Field

#: RFC 9113 §8.2.1: lower case, and a token (RFC 9110 §5.6.2).
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
#: §8.2.1: no NUL, LF or CR. Blanks at the ends are malformed too; servers differ, and our lines would lose them.
_VALUE = re.compile(rb"[^\x00\r\n]*\Z")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_TARGET = re.compile(rb"[^\x00-\x20\x7f]+\Z")
_AUTHORITY = re.compile(rb"[^\x00-\x20\x7f/?#]+\Z")
_STATUS = re.compile(rb"[1-9][0-9][0-9]\Z")
#: Beyond 18 digits no content is.
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")
#: §8.2.2: of a connection, and no business of a stream's.
CONNECTION_FIELDS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
#: Lines of fields that were seen, and how long they may be: most are said again with the next request.
_REMEMBERED, _MEMORABLE = 2048, 256
_lines: dict[Field, bytes] = {}
_fields_of: dict[bytes, Field] = {}
_OF_REQUESTS = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})


class HeadError(ValueError):
    """Fields that make no head."""


class RequestHead:
    """``head`` in HTTP/1 form; ``tunnel``: CONNECT, extended (RFC 8441) or not; ``length``: of the content in bytes, as
    Content-Length says, -1 if it is not there."""

    __slots__ = ("head", "length", "method", "target", "tunnel")

    def __init__(self, method: bytes, target: bytes, head: bytes, tunnel: bool, length: int = -1) -> None:
        self.method = method
        self.target = target
        self.head = head
        self.tunnel = tunnel
        self.length = length


def request_head_untrusted(fields: Iterable[Field]) -> RequestHead:
    """Of a request's first header block. Raises HeadError."""
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    cookies: list[bytes] = []
    host = b""
    place = length = -1
    for name, value in fields:
        if name[:1] == b":":
            if lines or cookies or host or name not in _OF_REQUESTS or name in pseudo:
                raise HeadError("a pseudo-header field that cannot be here")
            pseudo[name] = value
            continue
        line = _line((name, value))
        if name == b"cookie":  # §8.2.3: one field, which was cut for the compression's sake
            if place < 0:
                place = len(lines)
            cookies.append(value)
        elif name == b"host":
            host = host or value
        else:
            if name == b"content-length":
                # said twice, readers of HTTP/1 differ in which they believe
                if length >= 0 or not _LENGTH.match(value):
                    raise HeadError("a length that cannot be")
                length = int(value)
            lines.append(line)
    method = pseudo.get(b":method", b"")
    path, authority = pseudo.get(b":path"), pseudo.get(b":authority") or host
    if not _METHOD.match(method) or (authority and not _AUTHORITY.match(authority)):
        raise HeadError("a method or an authority that cannot be")
    tunnel = method == b"CONNECT"
    if tunnel and b":protocol" not in pseudo:
        if path is not None or b":scheme" in pseudo or not authority:
            raise HeadError("CONNECT of a form that cannot be")
        path = authority
    elif path is None or b":scheme" not in pseudo or (b":protocol" in pseudo) > tunnel:
        raise HeadError("a request without its pseudo-header fields")
    if not _TARGET.match(path):
        raise HeadError("a path that cannot be")
    if cookies:
        lines.insert(place, b"cookie: " + b"; ".join(cookies) + b"\r\n")
    first = method + b" " + path + b" HTTP/2\r\n"
    named = b"host: " + authority + b"\r\n" if authority else b""
    return RequestHead(method, path, b"".join((first, named, *lines, b"\r\n")), tunnel, length)


def response_head_untrusted(fields: Iterable[Field]) -> tuple[int, bytes]:
    """(status, head) of a response's header block, an interim one's too. Raises HeadError."""
    status = b""
    lines: list[bytes] = []
    for name, value in fields:
        if name[:1] == b":":
            if lines or status or name != b":status" or not _STATUS.match(value):
                raise HeadError("a pseudo-header field that cannot be here")
            status = value
            continue
        lines.append(_line((name, value)))
    if not status:
        raise HeadError("a response without a status")
    return int(status), b"".join((b"HTTP/2 ", status, b"\r\n", *lines, b"\r\n"))


def trailer_lines_untrusted(fields: Iterable[Field]) -> bytes:
    """Of the header block that ends a stream. Raises HeadError."""
    lines = []
    for name, value in fields:
        lines.append(_line((name, value)))
    return b"".join(lines)


def _line(field: Field) -> bytes:
    """A field as HTTP/1 writes it. Raises HeadError."""
    known = _lines.get(field)
    if known is not None:
        return known
    name, value = field
    if not _NAME.match(name) or not _VALUE.match(value) or name in CONNECTION_FIELDS:
        raise HeadError("a field that cannot be")
    if name == b"te" and value != b"trailers":
        raise HeadError("a field that cannot be")
    line = name + b": " + value + b"\r\n"
    if len(line) <= _MEMORABLE:
        if len(_lines) >= _REMEMBERED:
            _lines.clear()
        _lines[field] = line
    return line


# --- and back ---------------------------------------------------------------------------------------------------------


def request_fields(head: bytes, scheme: bytes) -> list[Field]:
    """The fields of a head in HTTP/1 form, of either version: fields of a connection are left out, names are in lower
    case (§8.2), Host is ``:authority``."""
    first, _, rest = head.partition(b"\r\n")
    method, _, more = first.partition(b" ")
    target = more.rpartition(b" ")[0]
    fields = _fields(rest)
    authority = next((value for name, value in fields if name == b"host"), b"")
    pseudo: list[Field] = [(b":method", method)]
    if method == b"CONNECT":
        return [*pseudo, (b":authority", target)]
    pseudo += [(b":scheme", scheme), (b":path", target)]
    if authority:
        pseudo.append((b":authority", authority))
    return pseudo + [field for field in fields if field[0] != b"host"]


def trailer_fields(lines: bytes) -> list[Field]:
    """Of trailers as field lines."""
    return _fields(lines)


def _fields(lines: bytes) -> list[Field]:
    found: list[Field] = []
    named: set[bytes] = set()  # by Connection: of one hop as well (RFC 9110 §7.6.1)
    for line in lines.split(b"\r\n"):
        known = _fields_of.get(line)
        if known is not None:
            found.append(known)
            continue
        name, colon, value = line.partition(b":")
        name, value = name.strip(b" \t").lower(), value.strip(b" \t")
        if not colon or not name:
            continue
        if name == b"connection":
            named.update(token.strip(b" \t").lower() for token in value.split(b","))
        elif name == b"te":
            if b"trailers" in value.lower():
                found.append((b"te", b"trailers"))
        elif name not in CONNECTION_FIELDS and name != b"http2-settings":
            field = (name, value)
            found.append(field)
            if len(line) <= _MEMORABLE:
                if len(_fields_of) >= _REMEMBERED:
                    _fields_of.clear()
                _fields_of[line] = field
    return [field for field in found if field[0] not in named] if named else found
