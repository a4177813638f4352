"""HTTP/1.0 and 1.1 responses, cut out of a stream piece by piece (sans-IO): production's, and the shadow's answers.

What both readers share is in ``http1_framing``; ``http1_reader`` tells what llhttp is shown in another form.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from shadowd.exchange import octets
from shadowd.exchange.exchange import Response
from shadowd.ledger.budget import UNBOUNDED, Budget
from shadowd.protocols.content_digest import ContentDigest
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
    LENGTH,
    MAX_HEAD,
    STOPPED,
    UNTIL_EOF,
    MessageReader,
)
from shadowd.protocols.http1_loose import CONTROL

_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}[^\r\n]*\r\n")
_STREAMED = re.compile(rb"\r\ncontent-type:[ \t]*(?:text/event-stream|application/(?:grpc|(?:x-)?(?:ndjson|jsonl)))")
#: Pieces of a streamed answer whose times are kept; beyond it the last one's alone. Half a megabyte at most.
MAX_MARKS = 4096
MARK_BYTES = 128  # of memory: a tuple of two integers, and its place in the list
_TRANSFER_CODING = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)")


class ResponseReader(MessageReader):
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
        if self._state == HEAD and not self._buffer:
            done = self._whole_head(data, time)
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

    def _whole_head(self, data: bytes, time: int) -> Sequence[Response] | None:
        """The common case by the shortest way: a segment that begins with a whole head whose Content-Length it does
        not exceed. None if it is not that."""
        expected = self._expected
        if not expected or self._closed:
            return None
        size = len(data)
        method = expected[0]
        status = octets.number(data, 9, 12)
        # 1xx, 204 and 304 have no body whatever Content-Length says (RFC 9112 §6.3, rule 1)
        if not 200 <= status <= 599 or status == 204 or status == 304 or method == b"HEAD" or method == b"CONNECT":
            return None
        end = octets.find(data, HEAD_END, 0, size) + 4
        if octets.find(data, b"HTTP/1.1 ", 0, 9) or end < 4 or end > self._max_head:
            return None
        head = octets.cut(data, 0, end)
        lowered = octets.lower(head)
        value = octets.find(lowered, b"\r\ncontent-length: ", 0, end) + 18
        if value < 18:
            return None
        length = octets.number(lowered, value, octets.find(lowered, b"\r", value, end))
        present = size - end
        if length < 0 or present > length or length > self._body_limit > 0:
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
        self.offset = stop = begin + size
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
                self._keep(octets.cut(data, end, size))
                self._charge.hold(len(self._body))
            return ()
        awaited.append(None)
        expected.popleft()
        response = Response(status, head, begin, time)
        self.boundary = response.end = stop
        response.body_length = length
        if self._body_limit:
            response.body = octets.cut(data, end, size)
        if octets.find(lowered, b"\r\nconnection:", 0, end) >= 0 and not persistent(lowered, b"HTTP/1.1"):
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

    @property
    def streaming(self) -> bool:
        """A stream of events is under way."""
        return self._marks is not None and CHUNKED <= self._state <= UNTIL_EOF

    @property
    def latest(self) -> int:
        """When the latest segment came."""
        return self._last

    def take_so_far(self) -> Response | None:
        """What has come of a stream of events that goes on, as a response that is ``open``; None if none is under way.
        What is still to come will be a response that begins here."""
        if not self.streaming or (response := self.so_far()) is None:
            return None
        assert self._marks is not None
        response.marks = list(self._marks)
        self._begin = self.boundary = self.offset
        return response

    def so_far(self) -> Response | None:
        """What has come of the response whose body is arriving; None where none is."""
        if not self.head_complete:
            return None
        response = Response(int(self._head[9:12]), self._head, self._begin, self._started)
        response.body = bytes(self._body)
        response.body_length = self._body_length
        if self._digest is not None:
            response.digest = self._digest.digest()
        response.last_byte = self._last
        response.keep_alive = False
        response.open = True
        response.end = self.offset
        return response

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
        if len(marks) < MAX_MARKS and not self._charge.exhausted:
            marks.append((offset, time))
            self._charge.hold(len(self._buffer) + len(self._body) + MARK_BYTES * len(marks))
        else:
            marks[-1:] = [(offset, time)]

    def _mendable(self, error: Exception) -> bool:
        if self._deferred:
            return True  # it was asked before: with each piece the whole would be searched again
        buffer = self._buffer
        if _STATUS_LINE.match(buffer) is None:
            return False
        folded = b"\r\n " in buffer or b"\r\n\t" in buffer
        return folded or CONTROL.search(buffer) is not None or tells_lengths(buffer)

    def _mend(self, head: bytes, error: Exception) -> bytes | None:
        if not self._awaited and head[9:12] == b"101":
            return b""
        soft = softened(head)
        mended = None if soft is None else one_length(soft)
        return mended if mended != head else None

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
            self.interim_bytes += end - self._begin
            self._renew()  # an HTTP/1.0 interim response would close llhttp
            return None
        method = self._expected.popleft()
        response = Response(status, head, self._begin, self._started)
        response.body = body[: self._body_limit]
        response.body_length = length
        response.loose = self._strayed
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
