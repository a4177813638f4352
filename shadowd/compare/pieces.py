"""The content of an answer piece by piece, each with the time at which it was seen (sans-IO)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shadowd.exchange.exchange import Response

_CHUNKED = re.compile(rb"(?im)^transfer-encoding:[^\r\n]*chunked")
_ENCODED = re.compile(rb"(?im)^content-encoding:[ \t]*(?!identity)[a-z]")
_TYPE = re.compile(rb"(?im)^content-type:[ \t]*([^\r\n]*)")
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def content_type(head: bytes) -> str:
    """As it was sent, parameters included; "" if there is none."""
    found = _TYPE.search(head)
    return found[1].decode("latin-1") if found else ""


def encoded(head: bytes) -> bool:
    """Whether a Content-Encoding hides which bytes came when."""
    return _ENCODED.search(head) is not None


def pieces(response: Response) -> Iterator[tuple[bytes, int]]:
    """(content without chunk framing, ns on the clock of the response's ``marks``); one piece where there are none."""
    unframe = _Unframed() if _CHUNKED.search(response.head) else None
    at, body_at = 0, response.begin + len(response.head)
    marks = response.marks or [(response.end, response.last_byte)]
    for offset, time in [*marks, (response.end, marks[-1][1])]:
        end = max(at, min(offset - body_at, len(response.body)))
        piece = response.body[at:end]
        at = end
        if piece:
            yield unframe.content(piece) if unframe is not None else piece, time


class _Unframed:
    """Chunked content as it arrives (RFC 9112 §7.1), by llhttp, which has judged the same bytes before."""

    __slots__ = ("_parser", "_pieces", "on_body")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser = HttpResponseParser(self)
        self._parser.feed_data(_CHUNKED_HEAD)

    def content(self, piece: bytes) -> bytes:
        self._pieces.clear()
        try:
            self._parser.feed_data(piece)
        except (HttpParserError, HttpParserUpgrade):
            pass  # what was whole before counts
        return b"".join(self._pieces)
