"""Streamed answers, cut into events: server-sent events and lines of JSON (sans-IO).

``EventStream`` is the algorithm of the HTML standard, 9.2.6 "Interpreting an event stream", fed piece by piece: a byte
order mark is dropped, lines end with CR, LF or CRLF (also where a piece ends between the two), a blank line dispatches
what was gathered, an event without data is none, and what stands after the last blank line when the stream ends is
dropped. ``Lines`` is NDJSON: one JSON text a line, blank lines ignored; a last line without its end counts.
"""

from __future__ import annotations

import re

#: One line; the longest seen in recorded streams has 60 KB (a whole response in ``response.completed``).
MAX_LINE = 1 << 20
#: Data of one event, over all of its lines.
MAX_DATA = 4 << 20

_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")

_BREAK = re.compile(rb"\r\n|\n|\r")
_MARK = b"\xef\xbb\xbf"


class StreamError(Exception):
    """A line or an event is longer than the limits allow."""


class Event:
    """``type`` is ``message`` unless the stream says otherwise; ``id`` the last event ID so far; ``retry`` in ms."""

    __slots__ = ("data", "id", "retry", "type")

    def __init__(self, kind: str, data: str, last_id: str, retry: int | None) -> None:
        self.type = kind
        self.data = data
        self.id = last_id
        self.retry = retry

    def __repr__(self) -> str:
        return f"<{self.type}: {self.data[:60]!r}>"


class _LineReader:
    """Lines of a stream that comes in pieces. Every byte is searched once and copied once, however long a line is and
    however small the pieces: what is unfinished is only ever added to."""

    __slots__ = ("_begun", "_skip_newline", "_tail")

    def __init__(self) -> None:
        self._tail = bytearray()  # of the line that is not finished; MAX_LINE at most
        self._begun = False
        self._skip_newline = False  # the piece before ended with CR: a newline that follows belongs to it

    def lines(self, data: bytes) -> list[bytes]:
        if not self._begun:
            data = bytes(self._tail) + data  # three bytes at most
            self._tail.clear()
            if len(data) < len(_MARK) and _MARK.startswith(data):
                self._tail += data
                return []
            self._begun = True
            data = data.removeprefix(_MARK)
        if self._skip_newline and data:
            data = data.removeprefix(b"\n")
            self._skip_newline = False
        found = _BREAK.split(data)
        rest = found.pop()
        if found:
            if self._tail:
                self._tail += found[0]
                found[0] = bytes(self._tail)
                self._tail.clear()
            self._skip_newline = data.endswith(b"\r")
        self._tail += rest
        if len(self._tail) > MAX_LINE or any(len(line) > MAX_LINE for line in found):
            self._tail.clear()
            raise StreamError(f"a line is longer than {MAX_LINE} bytes")
        return found

    def rest(self) -> bytes:
        rest = bytes(self._tail)
        self._tail.clear()
        return rest


class EventStream:
    """See the module's head. Holds one line and one event's data at most."""

    __slots__ = ("_data", "_id", "_reader", "_retry", "_size", "_type")

    def __init__(self) -> None:
        self._reader = _LineReader()
        self._data: list[str] = []
        self._size = 0
        self._type = ""
        self._id = ""
        self._retry: int | None = None

    def feed_untrusted(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes. Raises ``StreamError``, after which nothing more may be fed."""
        events = []
        for line in self._reader.lines(data):
            if not line:
                if self._data:
                    events.append(Event(self._type or "message", "\n".join(self._data), self._id, self._retry))
                self._data, self._size, self._type = [], 0, ""
            elif line[:1] != b":":
                self._field(line)
        return events

    def _field(self, line: bytes) -> None:
        name, _, raw = line.partition(b":")
        value = raw.removeprefix(b" ").decode("utf-8", "replace")
        if name == b"data":
            self._size += len(raw) + 1  # with its newline: lines without data are no way around the limit
            if self._size > MAX_DATA:
                raise StreamError(f"an event has more than {MAX_DATA} bytes of data")
            self._data.append(value)
        elif name == b"event":
            self._type = value
        elif name == b"id" and "\0" not in value:
            self._id = value
        elif name == b"retry" and value.isascii() and value.isdigit() and len(value) <= 12:
            self._retry = int(value)


class Lines:
    """NDJSON. ``rest`` gives the last line if its end never came."""

    __slots__ = ("_reader",)

    def __init__(self) -> None:
        self._reader = _LineReader()

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        return [line for line in self._reader.lines(data) if line.strip()]

    def rest(self) -> bytes:
        return self._reader.rest().strip()


def reader_of(content_type: str) -> EventStream | Lines | None:
    """What reads a streamed answer of this media type; None if it is no stream of events."""
    kind = content_type.partition(";")[0].strip().lower()
    return EventStream() if kind == "text/event-stream" else Lines() if kind in _LINES else None
