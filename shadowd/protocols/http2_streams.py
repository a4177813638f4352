"""One stream of an HTTP/2 connection: what has come of its request and of production's answer (sans-IO).

Its two directions have a state each (``Stream.request``, ``Stream.response``), which the codec moves:

==========  ===================================================  ===================================================
request     what it is                                           leaves it
==========  ===================================================  ===================================================
``COMING``  its head is known                                    END_STREAM → TOLD; a head that makes none, too long,
                                                                 a hole, a reset, the direction's end → LEFT
``TOLD``    an exchange                                          never
``LEFT``    none: counted once as filtered or lost; what comes   never
            of it is discarded
==========  ===================================================  ===================================================

==========  ===================================================  ===================================================
response    what it is                                           leaves it
==========  ===================================================  ===================================================
``NONE``    nothing, or interim responses                        a final head → COMING
``COMING``  its head is known                                    END_STREAM → TOLD; a hole, a reset, the direction's
                                                                 end, a head that makes none → LEFT
``TOLD``    whole; told with the request, or after it            never
``LEFT``    never to be known whole: uncomparable                never
==========  ===================================================  ===================================================

It is forgotten when both have ended. What is kept is counted: methods that keep something return the bytes by which
more is held.
"""

from __future__ import annotations

import re
from typing import cast

from shadowd.exchange import octets
from shadowd.exchange.exchange import UNRANKED, Exchange, Request, Response
from shadowd.protocols import dialogue
from shadowd.protocols.content_digest import ContentDigest
from shadowd.protocols.dialogue import Dialogue
from shadowd.protocols.http1_response import MARK_BYTES, MAX_MARKS
from shadowd.protocols.http2_heads import RequestHead

NONE, COMING, TOLD, LEFT = range(4)
_LONG_HEAD = 8 << 10
#: What an open stream costs beside its bytes.
_BYTES = 512
_STREAMED = re.compile(rb"\ncontent-type:[ \t]*(?:text/event-stream|application/(?:grpc|(?:x-)?(?:ndjson|jsonl)))")
_GRPC = b"\ncontent-type: application/grpc"


class Stream:
    """``size``, ``answered_size``: bytes of the client and of the server that belong to it, and that nobody was told of
    yet. ``after``: answers that the client had when it began this request. ``dialogue``: its answer has begun before it
    is whole, and it is of gRPC. ``weight``: what it costs beside content."""

    __slots__ = (
        "after", "answer", "answer_body", "answered_size", "begin", "body", "dialogue", "digest", "exchange",
        "failure", "head", "marks", "number", "rank", "reason", "request", "response", "size", "started",
        "trailers", "weight",
    )  # fmt: skip

    def __init__(self, number: int, after: int, begin: int, started: int) -> None:
        self.number = number
        self.after = after
        self.begin = begin
        self.started = started
        self.request = COMING
        self.response = NONE
        self.reason = ""  # why it is LEFT
        self.failure = ""  # why production's answer is
        self.head: RequestHead | None = None
        self.body = bytearray()
        self.trailers = b""
        self.size = 0
        self.exchange: Exchange | None = None
        self.answer: Response | None = None
        self.answer_body = bytearray()
        self.dialogue: Dialogue | None = None
        self.digest: ContentDigest | None = None
        self.marks: list[tuple[int, int]] | None = None
        self.rank = UNRANKED  # of the answer, once it is whole
        self.answered_size = 0
        self.weight = _BYTES

    def kept(self) -> int:
        """Bytes held of production's answer."""
        return len(self.answer_body) + MARK_BYTES * len(self.marks or ())

    @property
    def has_its_length(self) -> bool:
        """Whether the request's content is as long as its head says; if not it is malformed (RFC 9113 §8.1.1). A shadow
        that speaks HTTP/1 would take what is beyond for another request, which no policy has looked at."""
        assert self.head is not None
        said = self.head.length
        return said < 0 or said == len(self.body)

    def request_of(self, time: int) -> Request:
        """The request, whose last byte came at ``time``."""
        head = self.head
        assert head is not None
        begin = self.begin
        request = Request(
            head.method, head.target, head.head, bytes(self.body), begin, begin + self.size, self.started, time
        )
        request.trailers = self.trailers
        if self.dialogue is not None:
            request.paces = tuple(self.dialogue.paces)
            self.dialogue = None
        if len(head.head) <= _LONG_HEAD:  # a longer one is made lower where somebody asks, and not kept twice
            request.lowered = octets.lower(head.head)
        self.body = bytearray()
        return request

    def weigh(self, kept: bytes) -> int:
        """A head, or an answer that is early, is kept as long as the stream. Returns its bytes."""
        self.weight += len(kept)
        return len(kept)

    def spoke(self, size: int, acknowledged: int, time: int) -> int:
        """``size`` bytes more of a request in a dialogue, or its end. Returns the bytes by which more is held."""
        held = cast(Dialogue, self.dialogue).spoke(len(self.body), size, acknowledged, time)
        self.weight += held
        return held

    def answered(self, piece: bytes, end: int, time: int, exhausted: bool) -> int:
        """More of the answer in a dialogue. Returns the bytes by which more is held."""
        held = cast(Dialogue, self.dialogue).answered_untrusted(piece, end, time, exhausted)
        self.weight += held
        return held

    def begin_answer(self, status: int, head: bytes, begin: int, time: int, body_limit: int) -> None:
        self.response = COMING
        self.answer = Response(status, head, begin, time)
        if self.head is not None and self.request == COMING:
            self.dialogue = dialogue.begun(self.head.head, self.started)
        if body_limit and _STREAMED.search(octets.lower(head)):
            self.marks = []

    def keep_answer(self, piece: bytes, time: int, body_limit: int, exhausted: bool) -> int:
        """More of the answer's content. Returns the bytes by which more is held."""
        answer = self.answer
        assert answer is not None
        answer.last_byte = time
        answer.body_length += len(piece)
        before = len(self.answer_body)
        if self.digest is None:
            room = 0 if exhausted else body_limit - before
            self.answer_body += piece[:room]
            piece = piece[room:]
            if piece:  # too long to keep, or no memory to keep it in
                self.digest = ContentDigest(chunked=False)
                self.digest.update_untrusted(bytes(self.answer_body))
        if self.digest is not None and piece:
            self.digest.update_untrusted(piece)
        held = len(self.answer_body) - before
        marks = self.marks
        if marks is not None:
            mark = (answer.begin + len(answer.head) + answer.body_length, time)
            if len(marks) < MAX_MARKS and not exhausted:
                marks.append(mark)
                held += MARK_BYTES
            else:
                marks[-1:] = [mark]
        return held

    def answer_of(self, time: int) -> Response:
        """The answer, whose last byte came at ``time``. Nothing of it is held any more."""
        answer = self.answer
        assert answer is not None
        answer.last_byte = time
        answer.body = bytes(self.answer_body)
        if self.digest is not None:
            answer.digest = self.digest.digest()
        marks = self.marks
        if marks is not None and len(marks) == 1 and octets.find(answer.head, _GRPC, 0, len(answer.head)) >= 0:
            marks = None  # one piece, as most calls are answered: no times between messages
        answer.marks = marks
        answer.end = answer.begin + self.answered_size
        self.drop_answer()
        self.response = TOLD
        return answer

    def keep_early(self, answer: Response) -> int:
        """It is whole before its request, and waits for that. Returns the bytes by which more is held."""
        self.answer = answer
        return self.weigh(answer.body)

    def drop_answer(self) -> None:
        self.answer_body, self.marks, self.answer, self.digest = bytearray(), None, None, None
