"""One answer of a language model, read as it comes (sans-IO).

How it is read is found by looking at its first bytes; the media type decides only what they leave open. Gateways and
proxies put other names on streams, and answer in one piece where a stream was asked for:

===================================  ===================================================================================
begins with                          is read as
===================================  ===================================================================================
``data:``, ``event:``, ``id:``,      server-sent events
``retry:`` or a colon
``{`` or ``[``                       JSON; lines of it if the media type says so, or if a stream was asked for, the
                                     first line is an object and more follows it
anything else                        what the media type says
===================================  ===================================================================================
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Literal

from shadowd.protocols.event_stream import EventStream, Lines, StreamError, reader_of
from shadowd.protocols.llm_anthropic import Anthropic
from shadowd.protocols.llm_assembly import Assembler, Message
from shadowd.protocols.llm_gemini import Gemini
from shadowd.protocols.llm_ollama import Ollama
from shadowd.protocols.llm_openai import Chat, Responses
from shadowd.protocols.llm_request import MAX_JSON, Ask

#: Events whose times are kept apart; beyond it the last one's alone. A long answer has some thousand.
MAX_TIMES = 4096
_BLANK_LIMIT = 4096  # of blanks before the first byte that says something
_EXCERPT = 80  # characters of an answer that is no JSON, told in its error
_ASSEMBLERS: dict[str, type[Assembler]] = {
    "chat": Chat, "responses": Responses, "anthropic": Anthropic, "ollama": Ollama, "gemini": Gemini,
}  # fmt: skip
_FIELDS = (b"data:", b"event:", b"id:", b"retry:")
_MARK = b"\xef\xbb\xbf"

Look = Literal["events", "json", "label", "more"]


class LlmError(Exception):
    """The content is not what its media type says."""


def look(begin: bytes) -> Look:
    """What an answer is by its first bytes; ``label``: they do not say it; ``more``: they do not say it yet."""
    text = begin.removeprefix(_MARK).lstrip(b" \t\r\n")
    if not text:
        return "more" if len(begin) < _BLANK_LIMIT else "label"
    if text[:1] in (b"{", b"["):
        return "json"
    if text[:1] == b":" or text.startswith(_FIELDS):
        return "events"
    return "more" if any(field.startswith(text) for field in (*_FIELDS, _MARK)) else "label"


class Reader:
    """Rebuilds the message of one answer. Times are in ns, -1 where there is none."""

    __slots__ = (
        "_assembler",
        "_broken",
        "_events",
        "_first_line",
        "_label",
        "_lines",
        "_looking",
        "_maybe_lines",
        "_searched",
        "_whole",
        "event_times",
        "first_byte",
        "first_content",
        "first_event",
        "last",
    )

    def __init__(self, ask: Ask, content_type: str, status: int) -> None:
        self._assembler = _ASSEMBLERS[ask.api](status)
        self._label = reader_of(content_type)
        self._events: EventStream | None = None
        self._lines: Lines | None = None
        self._whole = bytearray()  # what is not read yet
        self._looking = True
        self._maybe_lines = ask.stream
        self._searched = 0  # bytes of the whole in which no line ends
        self._first_line = -1  # when the first line ended
        self._broken = ""
        self.first_byte = self.first_event = self.first_content = self.last = -1
        self.event_times: list[int] = []  # MAX_TIMES at most

    @property
    def streamed(self) -> bool:
        return self._events is not None or self._lines is not None

    @property
    def kind(self) -> str:
        """The media type that the content has by looking."""
        if self._events is not None:
            return "text/event-stream"
        return "application/x-ndjson" if self._lines is not None else "application/json"

    def feed_untrusted(self, content: bytes, time: int) -> None:
        """More content, without chunk framing and Content-Encoding, and when it was seen. Raises ``LlmError``, after
        which the rest is ignored."""
        if not content or self._broken:
            return
        self.last = time
        if self.first_byte < 0:
            self.first_byte = time
        try:
            if self._looking:
                self._whole += content
                found = look(bytes(self._whole[: _BLANK_LIMIT + 16]))
                if found == "more":
                    return
                content = self._decide(found)
            self._read(content, time)
        except StreamError as error:
            self._broken = str(error)
            self._whole.clear()
            raise LlmError(self._broken) from None

    def _decide(self, found: Look) -> bytes:
        """Chooses how to read; gives what came so far."""
        self._looking = False
        if found == "events":
            self._events = EventStream()
        elif found == "label" or isinstance(self._label, Lines):
            self._events = self._label if isinstance(self._label, EventStream) else None
            self._lines = self._label if isinstance(self._label, Lines) else None
        content = bytes(self._whole)
        self._whole.clear()
        return content

    def _read(self, content: bytes, time: int) -> None:
        if self._events is not None:
            for event in self._events.feed_untrusted(content):
                self._take(event.data, event.type, time)
        elif self._lines is not None:
            for line in self._lines.feed_untrusted(content):
                self._take(line.decode("utf-8", "replace"), "message", time)
        elif len(self._whole) + len(content) > MAX_JSON:
            raise StreamError(f"an answer is longer than {MAX_JSON} bytes")
        else:
            self._whole += content
            if self._maybe_lines:
                self._look_for_lines(time)

    def _look_for_lines(self, time: int) -> None:
        """JSON where a stream was asked for: lines, or all of it in one piece."""
        end = self._whole.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._whole)
            return
        self._searched = end  # found again at once while nothing follows
        if self._first_line < 0:
            self._first_line = time
            try:
                self._maybe_lines = isinstance(json.loads(bytes(self._whole[:end])), dict)
            except (ValueError, RecursionError):
                self._maybe_lines = not self._whole[:end].strip().removeprefix(_MARK)
                self._first_line = -1
                self._searched = end + 1
                return
        if self._maybe_lines and self._whole[end:].strip():
            self._maybe_lines = False
            self._lines = Lines()
            first, rest = bytes(self._whole[: end + 1]), bytes(self._whole[end + 1 :])
            self._whole.clear()
            self._read(first, self._first_line)
            self._read(rest, time)

    def _take(self, data: str, kind: str, time: int) -> None:
        assembler = self._assembler
        message = assembler.message
        message.events += 1
        if self.first_event < 0:
            self.first_event = time
        if len(self.event_times) < MAX_TIMES:
            self.event_times.append(time)
        else:
            self.event_times[-1] = time
        before = message.deltas
        if data.strip() == "[DONE]":
            assembler.terminated = True
            return
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            message.unknown += 1
            message.broken += 1
            return
        if not isinstance(found, dict):
            message.unknown += 1
            return
        assembler.event(kind, found)
        if message.deltas != before and self.first_content < 0:
            self.first_content = time

    def finish(self, ended: bool) -> Message:
        """The message. ``ended``: the answer came to the end that HTTP tells; else the book is closed on it."""
        if self._looking and self._whole and not self._broken:
            content = self._decide("label")  # too short to say what it is
            try:
                self._read(content, self.last)
            except StreamError as error:
                self._broken = str(error)
        if self._lines is not None and not self._broken:
            rest = self._lines.rest()
            if rest:
                self._take(rest.decode("utf-8", "replace"), "message", self.last)
        assembler = self._assembler
        message = assembler.message
        if not self.streamed and not self._broken and (self._whole or self._label is None):
            self._finish_whole(ended)
        assembler.close()
        if message.error or self._broken:
            message.error = message.error or self._broken
            message.outcome = "error"
        elif not ended:
            message.outcome = "open"
        elif assembler.terminated or not (self.streamed or self._label is not None):
            message.outcome = "whole"
        elif not self.streamed and self._whole:
            message.outcome = "whole"  # in one piece, whatever the media type says
        else:
            message.outcome = "unterminated" if message.finish_reason else "cut"
        return message

    def _finish_whole(self, ended: bool) -> None:
        message = self._assembler.message
        try:
            found = json.loads(bytes(self._whole)) if self._whole else None
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and found and all(isinstance(one, dict) for one in found):
            for one in found:  # Gemini's stream without alt=sse is one JSON array
                self._assembler.event("message", one)
        elif isinstance(found, dict):
            self._assembler.whole(found)
        else:
            if not ended and self._whole:
                return  # half a JSON text, and the rest is still to come
            begins = " ".join(bytes(self._whole[:_EXCERPT]).decode("utf-8", "replace").split())
            message.unread = blake2b(self._whole, digest_size=8).hexdigest()
            message.error = message.error or "the answer is no JSON" + (f": {begins}" if begins else "")
            return
        if message.deltas:
            self.first_content = self.first_byte
