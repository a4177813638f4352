"""What a WebSocket's server said, written as an event stream (sans-IO), so that it is compared, timed, redacted and
shown as one.

===============================  ====================================================================================
message                          event
===============================  ====================================================================================
text                             its data; its name is ``type``, ``event`` or ``method`` of a JSON object that has one
binary                           ``binary``, in base64
close                            ``close``: ``{"code": 1011, "reason": "…"}``
said before the client spoke     its name alone: what a server says by itself is another thing at another moment
===============================  ====================================================================================
"""

from __future__ import annotations

import base64
import json
import re
import sys

from shadowd.exchange.exchange import Response
from shadowd.protocols.websocket_frames import BINARY, CLOSE, TEXT, Message

#: Of an answer: HTTP has no status for it, so it is that of its connection.
STATUS = 101
HEAD = b"HTTP/1.1 101 Switching Protocols\r\ncontent-type: text/event-stream\r\n\r\n"

#: Messages of an answer whose times are kept, if any of it is, as of other streams; beyond it the last one's.
MAX_MARKS = 4096
#: Bytes that one of them takes.
MARK_COST = 128
#: §7.4.1: no code was sent.
NO_CODE = 1005
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,60}\Z")
#: Bytes of a JSON object that are parsed for its name; beyond it the first members are looked through.
_PARSED = 4096
_NAMES = ("type", "event", "method")
#: What is none of the application's messages has these names.
_RESERVED = frozenset({"close", "binary"})
_FIRST = re.compile(rb'"(?:type|event|method)"\s{0,9}:\s{0,9}"([A-Za-z0-9_.:/-]{1,60})"')


class Answer:
    """What a server says to one turn, as it comes: ``response``, whose body is there when it is over. ``limit``: bytes
    kept of it."""

    __slots__ = ("_limit", "_pieces", "kept", "response")

    def __init__(self, begin: int, first_byte: int, limit: int) -> None:
        self.response = Response(STATUS, HEAD, begin, first_byte)
        self.response.marks = []
        self._limit = limit
        self._pieces: list[bytes] = []
        self.kept = 0  # bytes

    @property
    def held(self) -> int:
        """Bytes that it takes."""
        return self.kept + MARK_COST * len(self.response.marks or ())

    @property
    def room(self) -> int:
        """Bytes that an event may have to be kept; what follows one that found no room is left out too."""
        return self._limit - self.kept if self.response.body_length == self.kept else 0

    def add(self, event: bytes, length: int, end: int, time: int, mark: int = -1) -> None:
        """``length``: of the event, which may be empty where nobody has kept it; ``end``: of the answer, in the stream;
        ``mark``: what is known of when it came, if that is not ``time``."""
        response = self.response
        if event and length <= self.room:
            self._pieces.append(event)
            self.kept += length
        response.body_length += length
        response.end = end
        response.last_byte = time
        if not self._limit:
            return
        marked = (response.begin + len(HEAD) + response.body_length, time if mark < 0 else mark)
        assert response.marks is not None
        if len(response.marks) < MAX_MARKS:
            response.marks.append(marked)
        else:
            response.marks[-1] = marked

    def finish(self) -> Response:
        """Nothing more comes."""
        self.response.body = b"".join(self._pieces)
        return self.response


def as_event(message: Message, pushed: bool = False) -> bytes:
    """See the module's head. ``pushed``: nobody had asked. Never raises."""
    return measured(message, pushed)[0]


def measured(message: Message, pushed: bool = False, room: int = sys.maxsize) -> tuple[bytes, int]:
    """(a message's event, its length); the event is b"" where it has more than ``room`` bytes: seven times the
    message, if that is empty lines. Never raises."""
    kind, data = message.kind, message.data
    if kind == CLOSE:
        name, data = (
            "close",
            json.dumps({"code": close_code(data), "reason": data[2:].decode("utf-8", "replace")}).encode(),
        )
    elif kind == BINARY:
        name, data = "binary", base64.b64encode(data)
    else:
        name = name_of(data)
    if pushed and kind != CLOSE:
        data = b""
    head = b"event: " + name.encode() + b"\ndata: " if name else b"data: "
    both = data.count(b"\r\n")
    breaks = data.count(b"\n") + data.count(b"\r") - both
    length = len(head) + len(data) - both + breaks * len(b"data: ") + len(b"\n\n")
    if length > room:
        return b"", length
    if breaks:  # by the whole, not by the line: a message may be nothing but ends of lines
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"".join((head, data, b"\n\n")), length


def name_of(text: bytes) -> str:
    """What kind of message a JSON object says that it is; "" if it does not."""
    if text[:1] != b"{":
        return ""
    if len(text) > _PARSED:
        found = _FIRST.search(text, 0, _PARSED)
        name = found[1].decode() if found is not None else ""
        return "" if name in _RESERVED else name
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    for member in _NAMES:
        name = document.get(member)
        if isinstance(name, str):
            return name if _NAME.match(name) and name not in _RESERVED else ""
    return ""


def close_code(data: bytes) -> int:
    """§5.5.1."""
    return int.from_bytes(data[:2], "big") if len(data) >= 2 else NO_CODE


def asked_with(messages: tuple[Message, ...]) -> tuple[bytes, bytes]:
    """(media type, content) of a client's turn: of one message it is that, of several an event stream."""
    if len(messages) != 1:
        return b"text/event-stream", b"".join(map(as_event, messages))
    data = messages[0].data
    if messages[0].kind != TEXT:
        return b"application/octet-stream", data
    return (b"application/json" if data[:1] in (b"{", b"[") else b"text/plain"), data
