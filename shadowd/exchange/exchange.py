"""What is mirrored: a request, production's response to it, and their place on the connection.

All times are nanoseconds of ``CLOCK_MONOTONIC`` taken by the capture program (``bpf_ktime_get_ns``); all offsets are
byte positions in one direction of the flow's stream, counted from its first byte and holes included.
"""

from __future__ import annotations

from typing import Any

#: Nothing waits for an answer whose place is not known: more than a connection can have requests.
UNRANKED = 1 << 62
#: Method of a WebSocket's turns, which HTTP has none for.
WEBSOCKET = b"WEBSOCKET"
#: Bytes that a message of a turn takes beside its content: an empty one has six on the wire.
MESSAGE_COST = 160


class Turn:
    """Of a WebSocket: what its client said until it had read more. ``messages`` are ``protocols.websocket_frames``'s,
    none where the server spoke before its client; ``read`` is how many of the server's messages the client had read
    then, and ``answers`` how many the server has said since; ``closed``: and then no more."""

    __slots__ = ("answers", "closed", "messages", "read")

    def __init__(self, messages: tuple[Any, ...], read: int) -> None:
        self.messages = messages
        self.read = read
        self.answers = 0
        self.closed = False


class Request:
    """One client message, byte for byte as production's client sent it, but for line ends and chunk lines that are not
    quite HTTP (``protocols.http1_loose``): these are put right.

    HTTP/1: ``head`` runs from the request line to the blank line inclusive, ``body`` is what follows on the wire
    (chunk framing and trailers included). HTTP/2: ``head`` is written as HTTP/1 writes it, with ``HTTP/2`` as its
    version and Host for ``:authority``; ``body`` is the content, and ``trailers`` are field lines, each with its line
    end; ``paces`` of a dialogue of gRPC tell which of it followed what was answered (``protocols.dialogue``), and are
    empty otherwise. Raw: ``head`` is empty and ``body`` is the client's turn. WebSocket: ``head`` is that of its
    handshake with ``WEBSOCKET`` as its method, ``body`` what the client said in its turn, and ``turn`` its messages.
    """

    __slots__ = (
        "begin",
        "body",
        "end",
        "ended",
        "head",
        "keep_alive",
        "lowered",
        "method",
        "paces",
        "started",
        "target",
        "trailers",
        "turn",
        "upgrade",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        head: bytes,
        body: bytes,
        begin: int,
        end: int,
        started: int,
        ended: int,
        keep_alive: bool = True,
        upgrade: bool = False,
    ) -> None:
        self.method = method
        self.target = target  # request-target as sent: origin, absolute, authority or asterisk form (RFC 9112 §3.2)
        self.head = head
        self.body = body
        self.begin = begin  # stream offset of the first byte
        self.end = end  # stream offset after the last byte
        self.started = started  # when the segment with the first byte was captured
        self.ended = ended  # when the segment with the last byte was captured
        self.keep_alive = keep_alive
        self.trailers = b""
        self.turn: Turn | None = None
        self.paces: tuple[Any, ...] = ()
        self.lowered = b""  # the head in lower case, if whoever read it had it: nobody needs to make it again
        self.upgrade = upgrade  # asked for a protocol switch (or CONNECT): a 101 / 2xx ends HTTP on this flow

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return self.end - self.begin


class Response:
    """One server message. ``body`` holds at most the reader's ``body_limit`` bytes, ``body_length`` counts them all.

    ``body`` is as on the wire (chunk framing and trailers included, Content-Encoding untouched); of HTTP/2 it is the
    content, and ``trailers`` are field lines, each with its line end. ``digest`` is of the
    whole content, without chunk framing, if the body exceeds the limit; else empty. ``marks`` are (stream offset after
    a piece, when it was seen in ns), for streamed answers whose pieces have times of their own; else None.
    """

    __slots__ = (
        "begin",
        "body",
        "body_length",
        "digest",
        "end",
        "first_byte",
        "head",
        "keep_alive",
        "last_byte",
        "loose",
        "marks",
        "open",
        "status",
        "trailers",
    )

    def __init__(self, status: int, head: bytes, begin: int, first_byte: int) -> None:
        self.status = status  # 0 for raw
        self.head = head
        self.body = b""
        self.body_length = 0
        self.trailers = b""
        self.digest = b""
        self.marks: list[tuple[int, int]] | None = None
        self.begin = begin
        self.end = begin
        self.first_byte = first_byte  # of the final response: interim 1xx do not count (ns)
        self.last_byte = first_byte
        self.keep_alive = True
        self.loose = False  # came with bare line feeds, or blanks around chunk sizes: kept without
        self.open = False  # a stream that went on when ``stream_window`` was over: what had come by then


class Exchange:
    """A request on a flow, and production's answer once it is known.

    ``index`` counts the requests of the flow from 0. ``after`` is how many of the flow's responses production's client
    had received (ACK numbers tell) before it began to send this request: the shadow is sent this request only when
    it has answered those among them that were mirrored to it. ``rank`` is the place of its own answer among the
    flow's, by their ends: its index where answers come in order; else ``UNRANKED`` until production's answer is whole.
    """

    __slots__ = (
        "after",
        "answered",
        "connection",
        "early",
        "failure",
        "index",
        "rank",
        "request",
        "response",
        "source",
        "trials",
        "uncomparable",
        "writes",
    )

    def __init__(self, index: int, request: Request, after: int, source: Any = None) -> None:
        self.index = index
        self.rank = index
        self.connection = -1  # a number of the flow's that stays the same all its life; -1: nobody knows
        self.source = source  # its codec, which may be asked to close the book on a stream
        self.request = request
        self.after = after
        self.response: Response | None = None  # the primary response
        self.early: list[Any] | None = None  # legs that the shadow answered before production did
        self.trials: tuple[Any, ...] = ()  # comparisons that wait for production's answer or a shadow's
        self.writes: tuple[Any, ...] = ()  # examiners that were told of a write which is not mirrored
        self.answered = False  # production's response is over: whole, or known never to be
        self.uncomparable = False  # production's response has a hole, was cut off, or cannot be parsed
        self.failure = ""  # production's server ended the connection: before (reset) or in (truncated) its answer
