"""HTTP/1.0 and 1.1 requests and responses, cut out of a stream piece by piece (sans-IO).

``RequestReader`` reads production's clients, ``ResponseReader`` both production's responses and the shadow's answers.
How a message's end is found, and how llhttp judges it, is in ``http1_framing``; here is what differs between the two:
what may follow a head, and the few things llhttp rejects or cannot know, which it is shown in another form
(``_mend``) while the bytes that are kept stay as they were on the wire:

- methods llhttp does not list (it is shown ``POST``; the framing of a request does not depend on the method),
- bytes above 0x7F in the request-target, which browsers and curl send and nginx accepts,
- obsolete line folding (RFC 9112 §5.2) and control bytes in a header that has nothing to do with framing,
- an upgrade request with a body (RFC 9110 §7.8: the body comes first, in HTTP; llhttp would stop before it),
- a Content-Length that is told several times, always the same (RFC 9110 §8.6): kept once, too, for it is sent on,
- a 101 without an ``Upgrade`` header; responses to HEAD and CONNECT, which have no body whatever they announce.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from httptools import (
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from shadowd.exchange import octets
from shadowd.exchange.exchange import Request
from shadowd.ledger.budget import UNBOUNDED, Budget
from shadowd.protocols.http1_fields import (
    ProtocolError,
    content_length,
    one_length,
    persistent,
    softened,
    tells_lengths,
)
from shadowd.protocols.http1_framing import (
    CHUNKED,
    HEAD,
    HEAD_END,
    MAX_HEAD,
    STOPPED,
    MessageReader,
)
from shadowd.protocols.http1_mending import REQUEST_LINE, repairable

__all__ = ["MAX_BODY", "MAX_HEAD", "OversizedRequest", "ProtocolError", "RequestReader"]

#: What one request may keep in memory; uploads above it are rare and nginx accepts 1 MB by default.
MAX_BODY = 16 << 20
#: How much of an overlong header line is kept: enough for a method, or for a field name and a number.
_STUB = 256
_METHOD = 33  # bytes of the longest method that is believed, and the blank behind it

_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_KEPT_FIELD = re.compile(rb"\r\n(content-length|transfer-encoding|connection):[^\r\n]{0,256}(?=\r\n)", re.IGNORECASE)
_ASCII = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))


class OversizedRequest(Request):
    """A request above ``max_head`` or ``max_body``, or begun while memory was short: read to its end, ``head`` and
    ``body`` not kept. ``reason`` is the ledger's."""

    __slots__ = ("reason",)

    reason: str

    @property
    def size(self) -> int:
        return self.end - self.begin


class RequestReader(MessageReader):
    """Cuts requests. After a request with ``upgrade`` set it stops: what follows may not be HTTP. The bytes of the
    latest feed that it did not consume are in ``trailing``; ``resume`` makes it go on."""

    __slots__ = ("_closed", "_large", "_max_body", "_repeated", "_upgrade", "_why", "failed_method", "trailing")

    def __init__(
        self, offset: int = 0, max_head: int = MAX_HEAD, max_body: int = MAX_BODY, budget: Budget = UNBOUNDED
    ) -> None:
        super().__init__(offset, max_head, budget)
        self._max_body = max_body
        self._large = False
        self._why = "too_large"  # the message that is not kept is not kept for that
        self._upgrade = False
        self._repeated = False  # this head tells its length several times
        self._closed = False  # the client said that it sends no further request
        self.failed_method = b""  # of the request that was rejected, as far as it is known
        self.trailing = b""

    def feed_untrusted(self, data: bytes, time: int) -> Sequence[Request]:
        """The requests that ``data`` completes, in order (``OversizedRequest`` for one above the limits).

        ``time`` is the segment's (ns). Raises ``ProtocolError``; requests before the error are returned first, then
        ``error`` is set and the next call raises.
        """
        size = len(data)
        if (
            self._state == HEAD
            and not self._buffer
            and 4 < size <= self._max_head
            and octets.find(data, HEAD_END, 0, size) + 4 == size
            and data[0] > 13  # no blank line
        ):  # one segment that is one head, most often the whole request
            try:
                self._parser.feed_data(data)
            except (HttpParserError, HttpParserUpgrade):
                self._renew()
            else:
                if not self._awaited:
                    self._awaited.append(None)
                    words = data.split(None, 3)
                    if len(words) > 2 and words[2] in _VERSIONS:
                        lowered = octets.lower(data)
                        keep_alive = words[2] == b"HTTP/1.1"
                        if octets.find(lowered, b"\r\nconnection:", 0, size) >= 0:
                            keep_alive = persistent(lowered, words[2])
                        self._closed = not keep_alive
                        begin = self.offset
                        self.offset = self.boundary = end = begin + size
                        request = Request(words[0], words[1], data, b"", begin, end, time, time, keep_alive)
                        request.lowered = lowered
                        return (request,)
                self._renew()
        begin = self.offset
        done = self._read(data, time)
        if self._state == STOPPED:
            self.trailing = data[self.offset - begin :]
        return done

    def resume(self) -> None:
        """The upgrade was refused: HTTP goes on."""
        if self._state == STOPPED:
            self._state = HEAD
            self.trailing = b""

    @property
    def partial_method(self) -> bytes:
        """Method of the request that has begun, b"" while its head is not whole."""
        return self._head.split(None, 1)[0] if self.head_complete else b""

    def so_far(self) -> Request | None:
        """What has come of the request whose body is arriving; None where none is, or it is not kept."""
        if not self.head_complete or self._large:
            return None
        method, target, _ = self._head.split(None, 2)
        body = bytes(self._body)
        head = self._once(self._head)
        return Request(method, target, head, body, self._begin, self.offset, self._started, self._started, False)

    def _once(self, head: bytes) -> bytes:
        """A head to be kept: its length is told once ("prior to … forwarding the message", RFC 9110 §8.6)."""
        return (one_length(head) if self._repeated else None) or head

    def _fail(self, error: ProtocolError) -> None:
        self.failed_method = bytes((self._head or self._wire or self._buffer)[:_METHOD]).partition(b" ")[0]
        super()._fail(error)

    def _make_parser(self, callbacks: Any) -> Any:
        return HttpRequestParser(callbacks)

    def _admit(self) -> None:
        if self._closed:
            raise ProtocolError("malformed", "request after Connection: close")

    def _length(self, head: bytes, lowered: bytes) -> int:
        return 0 if head.startswith(b"CONNECT ") else content_length(lowered)  # RFC 9110 §9.3.6

    def _open(self, head: bytes, lowered: bytes) -> bool:
        if lowered.find(b"\r\ntransfer-encoding:") < 0:
            raise ProtocolError("framing", "llhttp expects a body that the head does not announce")
        self._state = CHUNKED
        return False

    def _mendable(self, error: Exception) -> bool:
        return not self._large and repairable(self._buffer, error, self._deferred)

    def _mend(self, head: bytes, error: Exception) -> bytes | None:
        if isinstance(error, HttpParserUpgrade):
            self._upgrade = True
            lowered = head.lower()
            if not self._length(head, lowered) and (
                head.startswith(b"CONNECT ") or b"\r\ntransfer-encoding:" not in lowered
            ):
                return b""
            return None if self._large else _UPGRADE.sub(b"\r\nxpgrade:", head)
        if self._large or not repairable(head, error, self._deferred):
            return None
        mended = softened(head)
        if mended is not None and tells_lengths(mended):
            mended = one_length(mended)
            self._repeated = mended is not None
        line = REQUEST_LINE.match(mended) if mended else None
        if mended is None or line is None:
            return None
        method = line[1] if line[1] == b"CONNECT" else b"POST"
        return method + b" " + line[2].translate(_ASCII) + mended[line.end(2) :]

    def _overfull(self) -> None:
        """Keeps what framing needs; llhttp has judged the rest already."""
        self._large = True
        buffer = self._buffer
        first = buffer.find(b"\r\n")
        if first < 0:
            del buffer[_STUB:-3]  # the last three may be the begin of the blank line
            return
        last = buffer.rfind(b"\r\n")
        tail = buffer[last:]
        del tail[_STUB:-3]
        kept = {match[1].lower(): match[0] for match in _KEPT_FIELD.finditer(buffer, first)}
        buffer[:] = buffer[: min(first, _STUB)] + b"".join(kept.values()) + tail

    def _keep(self, piece: bytes) -> None:
        self._body_length += len(piece)
        if self._body_length > self._max_body or self._charge.exhausted:
            if not self._large:
                self._why = "too_large" if self._body_length > self._max_body else "memory"
            self._large = True
            self._body = bytearray()
        elif not self._large:
            self._body += piece

    def _message(self, head: bytes, lowered: bytes, body: bytes, length: int, end: int, time: int) -> Request:
        words = head.split(None, 3)
        if self._large:  # the request line may be cut short, but llhttp has judged it
            version = b"HTTP/1.1" if self._upgrade else b"HTTP/" + self._parser.get_http_version().encode()
            words = [*words[:2], b"", b""]
        else:
            version = words[2] if len(words) > 2 else b""
        if version not in _VERSIONS:
            raise ProtocolError("malformed", "not HTTP/1.0 or 1.1")
        keep_alive = persistent(lowered, version)
        if self._repeated:
            head = self._once(head)
            lowered = head.lower()
            self._repeated = False
        upgrade, self._upgrade = self._upgrade, False
        large = self._large or length > self._max_body or len(head) > self._max_head
        self._large = False
        if upgrade:
            self._state = STOPPED
            self._renew()
        else:
            self._closed = not keep_alive
        begin, started = self._begin, self._started
        if not large:
            request = Request(words[0], words[1], head, body, begin, end, started, time, keep_alive, upgrade)
            request.lowered = lowered
            return request
        large_one = OversizedRequest(words[0], words[1], b"", b"", begin, end, started, time, keep_alive, upgrade)
        large_one.reason, self._why = self._why, "too_large"
        return large_one
