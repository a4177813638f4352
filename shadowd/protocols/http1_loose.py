"""What production's servers read although it is not quite HTTP/1.1, in the form that is (sans-IO).

Servers answer such messages, so they are read; what is kept, compared and sent on is the strict form. Where two servers
might read two things, the answer is None: that message is rejected.
"""

from __future__ import annotations

import re

#: A line end without CR: "a recipient MAY recognize a single LF" (RFC 9112 §2.2); nginx, Apache and Go do.
BARE_LF = re.compile(rb"(?<!\r)\n")
BLANK_LINE = re.compile(rb"\n\r?\n")
#: RFC 9110 §5.5: CR, LF and NUL are dangerous in a value, other control bytes may be kept.
CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")

_FRAMING = re.compile(rb"(?i)\n(?:content-length|transfer-encoding)[ \t]*:[^\r\n]*")
_FIELD = re.compile(rb"(?<=\r\n)([^\r\n: \t]+):([^\r\n]*)")
_WITHOUT_CONTROL = bytes(ord("x") if CONTROL.match(bytes([byte])) else byte for byte in range(256))

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_EXTENSION = rb";" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|\"[^\"\\\x00-\x1f\x7f]*\"))?"
#: Below 2**60: positions in a stream are signed 64-bit numbers.
_SIZE = rb"([0-9A-Fa-f]{1,15}|0[0-9A-Fa-f]{15})"
#: The common case, and one without extensions that is loose, matched where they begin.
plain_chunk_line = re.compile(_SIZE + rb"(?:\r\n|[ \t]{0,64}\r?\n)").match
_CHUNK_LINE = re.compile(_SIZE + rb"(?:" + _EXTENSION + rb")*\r\n")
#: RFC 9112 §7.1.1 allows blanks around the parts of an extension; servers that pad sizes exist (old Apache). A bare LF
#: within an extension ends the line for one server and not for another.
_LOOSE_CHUNK_LINE = re.compile(_SIZE + rb"[ \t]*(?:;[^\r\n\x00]*\r\n|\r?\n)")


def blank_line_end(data: bytes, pos: int) -> int:
    """Where the first blank line behind ``pos`` ends, or the data."""
    found = BLANK_LINE.search(data, pos)
    return len(data) if found is None else found.end()


def strict_head(head: bytes) -> bytes | None:
    """A head, blank line included, with CRLF as every line's end.

    None where a server that takes a bare LF for a blank (RFC 9110 §5.5) would see another length: there are lines that
    end in CRLF as well, and one that has to do with framing stands beside a bare LF.
    """
    if b"\r\n" in head:
        for field in _FRAMING.finditer(head):
            if BARE_LF.match(head, field.start()) or BARE_LF.match(head, field.end()):
                return None
    return BARE_LF.sub(b"\r\n", head)


def strict_piece(wire: bytearray, start: int, end: int) -> bytes:
    """A part of a head with CRLF as every line's end."""
    piece = bytes(wire[start:end])
    if start and piece[:1] == b"\n" and wire[start - 1] == 13:
        return b"\n" + BARE_LF.sub(b"\r\n", piece[1:])
    return BARE_LF.sub(b"\r\n", piece)


def without_control(head: bytes, framing: frozenset[bytes]) -> bytes:
    """The head with ``x`` for control bytes in values, but for those fields that ``framing`` names: same length."""

    def soften(field: re.Match[bytes]) -> bytes:
        return field[0] if field[1].lower() in framing else field[1] + b":" + field[2].translate(_WITHOUT_CONTROL)

    return _FIELD.sub(soften, head)


def chunk_line(line: bytes) -> tuple[int, bytes] | None:
    """The size in a chunk's first line, and the line as llhttp accepts it; None if it is none."""
    match = _CHUNK_LINE.fullmatch(line)
    if match is not None:
        return int(match[1], 16), line
    match = _LOOSE_CHUNK_LINE.fullmatch(line)
    return None if match is None else (int(match[1], 16), match[1] + b"\r\n")
