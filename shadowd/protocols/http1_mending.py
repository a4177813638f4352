"""What of a request's head that llhttp rejects can be put right (sans-IO): see ``http1_reader``."""

from __future__ import annotations

import re

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from shadowd.protocols.http1_fields import tells_lengths
from shadowd.protocols.http1_loose import CONTROL

#: token of RFC 9110 §5.6.2; the longest registered method has 17 characters (UPDATEREDIRECTREF).
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}"
_METHOD_START = re.compile(_TOKEN + rb"(?: |\Z)")
REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") +([^ \r\n]+) +HTTP/1\.[01]\r\n")
_TARGET_CONTROL = re.compile(rb"[^ \r\n]+ +[^ \r\n]*[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]")
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")


def repairable(head: bytes | bytearray, error: Exception, deferred: bool) -> bool:
    """Whether ``head``, or its first part, was rejected for what the reader can put right."""
    if not _METHOD_START.match(head) or (b"\n" in head and not REQUEST_LINE.match(head)):
        return False
    if _TARGET_CONTROL.match(head):  # never valid, whatever else could be mended
        return False
    if deferred or isinstance(error, HttpParserInvalidMethodError):
        return True
    if isinstance(error, HttpParserInvalidURLError):
        return _fails_at_high_byte(head)
    return b"\r\n " in head or b"\r\n\t" in head or CONTROL.search(head) is not None or tells_lengths(head)


def _fails_at_high_byte(head: bytes | bytearray) -> bool:
    """Whether llhttp accepts all that stands before the first byte above 0x7F: what it rejects earlier stays so."""
    high = _HIGH_BYTE.search(head)
    if high is None:
        return False
    try:
        HttpRequestParser(object()).feed_data(bytes(head[: high.start()]))
    except (HttpParserError, HttpParserUpgrade):
        return False
    return True
