"""HTTP/1.0 and 1.1 requests and responses, cut out of a stream piece by piece (sans-IO).

``RequestReader`` reads production's clients, ``ResponseReader`` both production's responses and the shadow's answers.
How a message's end is found, and how llhttp judges it, is in ``http1_framing``; here is what differs between the two:
what may follow a head, and the few things llhttp rejects or cannot know, which it is shown in another form
(``_mend``) while the bytes that are kept stay as they were on the wire:

- methods llhttp does not list (it is shown ``POST``; the framing of a request does not depend on the method),
- bytes above 0x7F in the request-target, which browsers and curl send and nginx accepts,
- obsolete line folding in a header that has nothing to do with framing (RFC 9112 §5.2),
- an upgrade request with a body (RFC 9110 §7.8: the body comes first, in HTTP; llhttp would stop before it),
- a 101 without an ``Upgrade`` header; responses to HEAD and CONNECT, which have no body whatever they announce.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Any

from httptools import (
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
    HttpResponseParser,
)

from shadowd.budget import UNBOUNDED, Budget
from shadowd.exchange import Request, Response
from shadowd.protocols.content_digest import ContentDigest
from shadowd.protocols.http1_framing import (
    CHUNKED,
    HEAD,
    HEAD_END,
    LENGTH,
    MAX_HEAD,
    STOPPED,
    UNTIL_EOF,
    MessageReader,
    ProtocolError,
    content_length,
    persistent,
    unfold,
)
from shadowd.protocols.http1_mending import REQUEST_LINE, repairable

__all__ = ["MAX_BODY", "MAX_HEAD", "OversizedRequest", "ProtocolError", "RequestReader", "ResponseReader"]

#: What one request may keep in memory; uploads above it are rare and nginx accepts 1 MB by default.
MAX_BODY = 16 << 20
#: How much of an overlong header line is kept: enough for a method, or for a field name and a number.
_STUB = 256

_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_BODYLESS_METHODS = frozenset({b"HEAD", b"CONNECT"})
#: Status lines whose body Content-Length tells, unlike 1xx, 204 and 304 (RFC 9112 §6.3, rule 1).
_FINAL = {b"HTTP/1.1 %d" % status: status for status in range(200, 600) if status not in (204, 304)}
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}[^\r\n]*\r\n")
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_KEPT_FIELD = re.compile(rb"\r\n(content-length|transfer-encoding|connection):[^\r\n]{0,256}(?=\r\n)", re.IGNORECASE)
_STREAMED = re.compile(rb"\r\ncontent-type:[ \t]*(?:text/event-stream|application/(?:x-)?(?:ndjson|jsonl))")
#: Pieces of a streamed answer whose times are kept; beyond it the last one's alone. 64 KB at most.
MAX_MARKS = 4096
_TRANSFER_CODING = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)")
_ASCII = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))


class OversizedRequest(Request):
    """A request above ``max_head`` or ``max_body``, or begun while memory was short: read to its end, ``head`` and
    ``body`` not kept. ``reason`` is the ledger's."""

    __slots__ = ("reason",)

    reason: str

    @property
    def size(self) -> int:
        return self.end - self.begin


class RequestReader(MessageReader[Request]):
    """Cuts requests. After a request with ``upgrade`` set it stops: what follows may not be HTTP. The bytes of the
    latest feed that it did not consume are in ``trailing``; ``resume`` makes it go on."""

    __slots__ = ("_closed", "_large", "_max_body", "_upgrade", "_why", "trailing")

    def __init__(
        self, offset: int = 0, max_head: int = MAX_HEAD, max_body: int = MAX_BODY, budget: Budget = UNBOUNDED
    ) -> None:
        super().__init__(offset, max_head, budget)
        self._max_body = max_body
        self._large = False
        self._why = "too_large"  # the message that is not kept is not kept for that
        self._upgrade = False
        self._closed = False  # the client said that it sends no further request
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
            and data.find(HEAD_END) + 4 == size
            and 4 < size <= self._max_head
            and data[0] not in b"\r\n"
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
                        keep_alive = persistent(data.lower(), words[2])
                        self._closed = not keep_alive
                        begin = self.offset
                        self.offset = self.boundary = end = begin + size
                        return (Request(words[0], words[1], data, b"", begin, end, time, time, keep_alive),)
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

    def _make_parser(self, callbacks: Any) -> Any:
        return HttpRequestParser(callbacks)

    def _admit(self) -> None:
        if self._closed:
            raise ProtocolError("malformed", "request after Connection: close")

    def _length(self, head: bytes, lowered: bytes) -> int:
        return 0 if head.startswith(b"CONNECT ") else content_length(lowered)  # RFC 9110 §9.3.6

    def _open(self, head: bytes, lowered: bytes) -> bool:
        if b"\r\ntransfer-encoding:" not in lowered:
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
        unfolded = unfold(head)
        line = REQUEST_LINE.match(unfolded) if unfolded else None
        if unfolded is None or line is None:
            return None
        method = line[1] if line[1] == b"CONNECT" else b"POST"
        return method + b" " + line[2].translate(_ASCII) + unfolded[line.end(2) :]

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
            return Request(words[0], words[1], head, body, begin, end, started, time, keep_alive, upgrade)
        request = OversizedRequest(words[0], words[1], b"", b"", begin, end, started, time, keep_alive, upgrade)
        request.reason, self._why = self._why, "too_large"
        return request


class ResponseReader(MessageReader[Response]):
    """Cuts responses; ``expect`` must be told the method of each request, in order, before its response is fed.

    ``interim`` counts skipped 1xx responses and ``interim_bytes`` their bytes (the owner may reset both). After a 101
    or a CONNECT's 2xx ``upgraded`` is true and the bytes of the latest feed beyond it are in ``trailing``.
    """

    __slots__ = (
        "_body_limit",
        "_closed",
        "_digest",
        "_expected",
        "_last",
        "_marks",
        "interim",
        "interim_bytes",
        "trailing",
        "upgraded",
    )

    def __init__(
        self, body_limit: int = 0, offset: int = 0, max_head: int = MAX_HEAD, budget: Budget = UNBOUNDED
    ) -> None:
        super().__init__(offset, max_head, budget)
        self._body_limit = body_limit
        self._digest: ContentDigest | None = None
        self._expected: deque[bytes] = deque()
        self._closed = False  # the server said that this was its last response
        self._last = 0  # time of the latest segment
        self._marks: list[tuple[int, int]] | None = None  # of a stream of events: when its pieces came
        self.interim = 0
        self.interim_bytes = 0
        self.upgraded = False
        self.trailing = b""

    def expect(self, method: bytes) -> None:
        """A request was sent whose response will come after those expected so far."""
        self._expected.append(method)

    def feed_untrusted(self, data: bytes, time: int) -> Sequence[Response]:
        """The final responses that ``data`` completes, in order.

        ``time`` is the segment's (ns). Raises ``ProtocolError``; responses before the error are returned first, then
        ``error`` is set and the next call raises.
        """
        if self._state == LENGTH and len(data) <= self._remaining:
            return self._more_body(data, time)
        status = _FINAL.get(data[:12])
        if status and self._state == HEAD and not self._buffer:
            done = self._whole_head(data, status, time)
            if done is not None:
                return done
        self._last = time
        begin = self.offset
        done = self._read(data, time)
        if self._marks is not None:
            self._mark(self.offset, time)
        if self.upgraded:
            self.trailing = data[self.offset - begin :]
        return done

    def _whole_head(self, data: bytes, status: int, time: int) -> Sequence[Response] | None:
        """The common case by the shortest way: a segment that begins with a whole head whose Content-Length it does
        not exceed. None if it is not that."""
        expected = self._expected
        if not expected or self._closed or expected[0] in _BODYLESS_METHODS:
            return None
        end = data.find(HEAD_END) + 4
        head = data[:end]
        lowered = head.lower()
        value = lowered.find(b"\r\ncontent-length: ") + 18
        digits = lowered[value : lowered.find(b"\r", value)]
        if value < 18 or end > self._max_head or not digits.isdigit() or len(digits) > 15:
            return None
        length = int(digits)
        present = len(data) - end
        if present > length or length > self._body_limit > 0:
            return None
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._renew()  # the long way judges it again, and mends it if that is allowed
            return None
        awaited = self._awaited
        if bool(awaited) != (present < length):
            self._renew()
            return None
        begin = self.offset
        self.offset = stop = begin + len(data)
        if awaited:
            self._last = time
            self._begin = begin
            self._started = time
            self._head = head
            self._lowered = lowered
            self._state = LENGTH
            self._remaining = length - present
            self._body_length = 0 if self._body_limit else present
            if self._body_limit:
                self._keep(data[end:])
                self._charge.hold(len(self._body))
            return ()
        awaited.append(None)
        expected.popleft()
        response = Response(status, head, begin, time)
        self.boundary = response.end = stop
        response.body_length = length
        if self._body_limit:
            response.body = data[end:]
        if not persistent(lowered, b"HTTP/1.1"):
            self._closed = True
            response.keep_alive = False
        return (response,)

    def _more_body(self, data: bytes, time: int) -> Sequence[Response]:
        """More of a body whose length is known, at most all of it."""
        size = len(data)
        self._judge(data)
        self._last = time
        self._remaining -= size
        if bool(self._awaited) != bool(self._remaining):
            error = ProtocolError("framing", "llhttp disagrees with Content-Length")
            self._fail(error)
            raise error
        self.offset = stop = self.offset + size
        if self._body_limit:
            self._keep(data)
        else:
            self._body_length += size
        if self._remaining:
            self._charge.hold(len(self._body))
            return ()
        self._charge.hold(0)
        self._awaited.append(None)
        self._state = HEAD
        head = self._head
        self._expected.popleft()
        response = Response(int(head[9:12]), head, self._begin, self._started)
        response.body_length = self._body_length
        if self._body_limit:
            response.body = bytes(self._body)
            self._body = bytearray()
            if self._digest is not None:
                response.digest, self._digest = self._digest.digest(), None
        self.boundary = response.end = stop
        response.last_byte = time
        response.keep_alive = persistent(self._lowered, head[:8])
        self._closed = not response.keep_alive
        return (response,)

    def eof(self) -> Sequence[Response]:
        """The server's end of stream: completes a close-delimited response. Raises ``ProtocolError`` (``truncated``)
        in the middle of any other."""
        if self.error is not None:
            raise self.error
        if self._state == UNTIL_EOF:
            done: list[Response] = []
            self._finish(0, self._last, done)
            self._charge.hold(0)
            self._closed = True
            for response in done:
                response.keep_alive = False
            return done
        if self._state != STOPPED and self.pending:
            error = ProtocolError("truncated")
            self._fail(error)
            raise error
        return ()

    def _make_parser(self, callbacks: Any) -> Any:
        return HttpResponseParser(callbacks)

    def _admit(self) -> None:
        if not self._expected:
            raise ProtocolError("unsolicited")
        if self._closed:
            raise ProtocolError("malformed", "response after Connection: close")

    def _bodyless(self, head: bytes) -> bool:
        """RFC 9112 §6.3, rules 1 and 2."""
        status = head[9:12]
        method = self._expected[0]
        if status[:1] == b"1" or status in (b"204", b"304") or method == b"HEAD":
            return True
        return method == b"CONNECT" and status[:1] == b"2"

    def _length(self, head: bytes, lowered: bytes) -> int:
        if len(head) > self._max_head:
            raise ProtocolError("head_too_large")
        if not head.startswith(_VERSIONS):
            raise ProtocolError("malformed", "not HTTP/1.0 or 1.1")
        return 0 if self._bodyless(head) else content_length(lowered)

    def _open(self, head: bytes, lowered: bytes) -> bool:
        if self._bodyless(head):
            return True
        codings = _TRANSFER_CODING.findall(lowered)
        chunked = bool(codings) and codings[-1].rpartition(b",")[2].strip() == b"chunked"
        self._state = CHUNKED if chunked else UNTIL_EOF
        if self._body_limit and _STREAMED.search(lowered):
            self._marks = []
        return False

    def _mark(self, offset: int, time: int) -> None:
        marks = self._marks
        assert marks is not None
        if len(marks) < MAX_MARKS:
            marks.append((offset, time))
        else:
            marks[-1] = (offset, time)

    def _mendable(self, error: Exception) -> bool:
        buffer = self._buffer
        return _STATUS_LINE.match(buffer) is not None and (b"\r\n " in buffer or b"\r\n\t" in buffer)

    def _mend(self, head: bytes, error: Exception) -> bytes | None:
        if not self._awaited and head[9:12] == b"101":
            return b""
        unfolded = unfold(head)
        return unfolded if unfolded != head else None

    def _overfull(self) -> None:
        raise ProtocolError("head_too_large")

    def _keep(self, piece: bytes) -> None:
        self._body_length += len(piece)
        limit = self._body_limit
        if self._digest is None and limit:
            room = limit - len(self._body)
            if self._charge.exhausted:
                room = 0
            self._body += piece[:room]
            piece = piece[room:]
            if piece:  # too long to keep, or no memory to keep it in: the digest of all of it
                self._digest = ContentDigest(self._state == CHUNKED)
                self._digest.update_untrusted(bytes(self._body))
        if self._digest is not None:
            self._digest.update_untrusted(piece)

    def _message(self, head: bytes, lowered: bytes, body: bytes, length: int, end: int, time: int) -> Response | None:
        status = int(head[9:12])
        if 100 <= status < 200 and status != 101:
            self.interim += 1
            self.interim_bytes += len(head)
            self._renew()  # an HTTP/1.0 interim response would close llhttp
            return None
        method = self._expected.popleft()
        response = Response(status, head, self._begin, self._started)
        response.body = body[: self._body_limit]
        response.body_length = length
        digest, self._digest = self._digest, None
        if digest is None and length > self._body_limit > 0:  # it came in one piece, with its head
            digest = ContentDigest(chunked=False)
            digest.update_untrusted(body)
        if digest is not None:
            response.digest = digest.digest()
        if self._marks is not None:
            self._mark(end, time)
            response.marks, self._marks = self._marks, None
        response.end = end
        response.last_byte = time
        response.keep_alive = persistent(lowered, head[:8])
        self._closed = not response.keep_alive
        if status == 101 or (method == b"CONNECT" and 200 <= status < 300):
            self.upgraded = True
            self._state = STOPPED
        return response
