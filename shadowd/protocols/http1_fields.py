"""What the fields of a head say about its message's end, and which of them may be put right for llhttp (sans-IO)."""

from __future__ import annotations

import re

from shadowd.exchange import octets
from shadowd.protocols.http1_loose import without_control

#: 2**64 has 20 digits; more than this are leading zeros without a purpose.
MAX_LENGTH_DIGITS = 32
#: Nobody sends an exabyte, and positions in a stream are signed 64-bit numbers.
MAX_LENGTH = 1 << 60
_CONNECTION = re.compile(rb"\r\nconnection:([^\r\n]*)")
_FOLD = re.compile(rb"\r\n([^\r\n: \t]*+)[^\r\n]*+(?:\r\n[ \t][^\r\n]*+)++")
_LENGTH_FIELD = re.compile(rb"\r\ncontent-length:([^\r\n]*)", re.IGNORECASE)
#: Content-Length more than once, or a list of them, in a head of which the rest may be missing.
_LENGTHS = re.compile(rb"\r\ncontent-length(?=:|$)|(?<=\r\ncontent-length:)[^\r\n]*,", re.IGNORECASE)
_FOLD_BREAK = re.compile(rb"\r\n(?=[ \t])")
#: A folded one of these may mean different things to different parsers (RFC 9112 §5.2, §11.2): rejected.
_FRAMING_FIELDS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"host", b""})


class ProtocolError(Exception):
    """Bytes that are not the protocol they should be.

    ``reason``: ``malformed`` (llhttp says no, see ``detail``), ``framing`` (llhttp and the reader disagree about the
    end), ``head_too_large``, ``chunk_too_large``, ``unsolicited`` (a response nobody asked for), ``truncated``.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


def content_length(lowered: bytes) -> int:
    """Value of Content-Length in a lower-cased head, 0 if there is none or it is no number (llhttp rejects that)."""
    size = len(lowered)
    at = octets.find(lowered, b"\r\ncontent-length:", 0, size)
    if at < 0:
        return 0
    at += 17
    end = octets.find(lowered, b"\r", at, size)
    length = octets.number(lowered, at + 1, end) if octets.find(lowered, b" ", at, at + 1) == at else -1
    if length >= 0:
        return length
    value = lowered[at:end].strip(b" \t")
    if not value.isdigit():  # a list of one number again and again: see `one_length`
        value = value.partition(b",")[0].rstrip(b" \t")
    if len(value) > MAX_LENGTH_DIGITS or (value.isdigit() and int(value) > MAX_LENGTH):
        raise ProtocolError("malformed", "overlong Content-Length")
    return int(value) if value.isdigit() else 0


def persistent(lowered: bytes, version: bytes) -> bool:
    """Whether the connection stays open after this message (RFC 9112 §9.3)."""
    at = lowered.find(b"\r\nconnection:")
    if at < 0:
        return version == b"HTTP/1.1"
    if version == b"HTTP/1.1" and lowered.find(b"close", at) < 0:
        return True
    options = {option.strip() for value in _CONNECTION.findall(lowered) for option in value.split(b",")}
    return b"close" not in options and (version == b"HTTP/1.1" or b"keep-alive" in options)


def unfold(head: bytes) -> bytes | None:
    """The head with obsolete line folding replaced by spaces (RFC 9112 §5.2), same length; None if a framing
    header, or the request or status line, is folded."""
    fields = head[head.find(b"\r\n") :]
    if any(fold[1].lower() in _FRAMING_FIELDS for fold in _FOLD.finditer(fields)) or fields[2:3] in (b" ", b"\t"):
        return None
    return head[: len(head) - len(fields)] + _FOLD_BREAK.sub(b"  ", fields)


def softened(head: bytes) -> bytes | None:
    """The head with neither folds nor control bytes in fields that have nothing to do with framing."""
    unfolded = unfold(head)
    return None if unfolded is None else without_control(unfolded, _FRAMING_FIELDS)


def tells_lengths(head: bytes | bytearray) -> bool:
    """Whether a head, or its first part, tells more than one length: the same, perhaps (see ``one_length``)."""
    return len(_LENGTHS.findall(head)) > 1


def one_length(head: bytes) -> bytes | None:
    """The head with one Content-Length where several, or a list, say the same (RFC 9112 §6.3, rule 5); None where they
    contradict each other."""
    fields = _LENGTH_FIELD.findall(head)
    if not fields:
        return head
    values: set[bytes] = {value.strip(b" \t") for field in fields for value in field.split(b",")}
    value = values.pop()
    if values or not value.isdigit():
        return None
    start = head.find(b"\r\n")
    return head[:start] + b"\r\nContent-Length: " + value + _LENGTH_FIELD.sub(b"", head[start:])
