"""Where HTTP/1 messages end on the wire: the part that requests and responses share (sans-IO).

llhttp (through httptools) judges every byte, but httptools does not say *where* in its input a message ended. So the
reader works out where a message may end (blank line, Content-Length, chunk sizes), hands llhttp exactly that much, and
looks whether llhttp calls the message complete there, no byte earlier and none later. Two parsers that must agree: if
they do not, the message is rejected, which is what defeats request smuggling (RFC 9112 §11.2).

=============  ========================================================================================
state          what arrives
=============  ========================================================================================
``HEAD``       nothing yet (blank lines between messages are skipped), or the lines up to the blank one
``LENGTH``     a body of Content-Length bytes
``CHUNKED``    chunk lines, chunks, last chunk and trailers (``_part`` says which)
``UNTIL_EOF``  a response body that ends with the connection
``STOPPED``    no more HTTP: an upgrade was asked for (requests) or took place (responses)
``FAILED``     rejected; ``error`` says why, nothing more is read
=============  ========================================================================================

What servers read although it is not strictly HTTP is put into its strict form first (``http1_loose``): that is shown to
llhttp and kept.

The hot case is one segment that holds one whole message: one ``feed_data``, no callback into Python, no copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade

from shadowd.ledger.budget import Budget, Charge
from shadowd.protocols.http1_fields import ProtocolError
from shadowd.protocols.http1_loose import (
    BARE_LF,
    BLANK_LINE,
    blank_line_end,
    chunk_line,
    plain_chunk_line,
    strict_head,
    strict_piece,
)

HEAD, LENGTH, CHUNKED, UNTIL_EOF, STOPPED, FAILED = range(6)
CHUNK_LINE, CHUNK_DATA, CHUNK_END, TRAILER = range(4)

#: Above what servers accept by default (Apache 8 KB a line, nginx 32 KB, Envoy 60 KB): a longer head is an attack.
MAX_HEAD = 64 << 10
#: A chunk line is a size of at most 16 digits and extensions that nobody uses; Node.js allows 16 KB of these in all.
MAX_CHUNK_LINE = 4 << 10

HEAD_END = b"\r\n\r\n"

_ABSTRACT = "a reader has every method"
_NOT_JUDGED = HttpParserError("judged when the head is whole")


class _Callbacks:
    """What httptools looks for. The callback is a C method, so that no Python frame runs for a message."""

    __slots__ = ("on_message_complete",)

    def __init__(self, on_message_complete: Callable[[], None]) -> None:
        self.on_message_complete = on_message_complete


class MessageReader:
    """Incremental reader of one direction: of requests or of responses, as its subclasses have it. ``offset`` is the
    stream offset after everything consumed, ``boundary`` the one after the last whole message; ``skipped`` counts the
    bytes of blank lines between messages (the owner may reset it)."""

    __slots__ = (
        "_awaited", "_begin", "_body", "_body_length", "_buffer", "_charge", "_deferred", "_endless", "_head", "_line",
        "_loose", "_lowered", "_max_head", "_parser", "_part", "_remaining", "_started", "_state", "_strayed",
        "_trailer", "_wire", "boundary", "error", "offset", "skipped",
    )  # fmt: skip

    def __init__(self, offset: int, max_head: int, budget: Budget) -> None:
        self._max_head = max_head
        self._charge = Charge(budget)  # what is kept of a message that is not whole
        self._awaited: list[None] = []  # emptied by llhttp when a message is complete
        self._renew()
        self._state = HEAD
        self._part = CHUNK_LINE
        self._buffer = bytearray()  # a head that is not whole yet
        self._deferred = False  # llhttp shall judge this head when it is whole: it needs mending first
        self._loose = False  # this head has bare line feeds: it is in `_wire`, and in its strict form in `_buffer`
        self._wire = bytearray()
        self._endless = 0  # up to this offset strict heads are not looked for: they are loose here, or not whole
        self._strayed = False  # this message is kept in another form than it came in
        self._head = self._lowered = b""  # of the message whose body is arriving
        self._body = bytearray()
        self._body_length = 0
        self._remaining = 0  # bytes of the body, or of the chunk and its CRLF
        self._line = b""  # a chunk or trailer line that is not whole yet
        self._trailer = 0  # bytes of the trailer section so far
        self._begin, self._started = offset, 0
        self.offset = self.boundary = offset
        self.skipped = 0
        self.error: ProtocolError | None = None

    # --- what the kinds of message differ in --------------------------------------------------------------------------

    def _make_parser(self, callbacks: _Callbacks) -> Any:
        """A new llhttp."""
        raise AssertionError(_ABSTRACT)

    def _admit(self) -> None:
        """A message begins; raises if none may."""
        raise AssertionError(_ABSTRACT)

    def _length(self, head: bytes, lowered: bytes) -> int:
        """How many bytes of body the head announces by Content-Length."""
        raise AssertionError(_ABSTRACT)

    def _open(self, head: bytes, lowered: bytes) -> bool:
        """The head announces no length and llhttp wants more: sets the state, or returns True if it is complete."""
        raise AssertionError(_ABSTRACT)

    def _mend(self, head: bytes, error: Exception) -> bytes | None:
        """llhttp rejected a whole head: what it shall be shown instead, None if the rejection stands; b"" if the
        message is complete all the same."""
        raise AssertionError(_ABSTRACT)

    def _mendable(self, error: Exception) -> bool:
        """llhttp rejected ``_buffer``, the first part of a head: whether to wait for all of it and mend it."""
        raise AssertionError(_ABSTRACT)

    def _overfull(self) -> None:
        """``_buffer`` exceeds ``max_head`` and is not whole: shortens it or raises."""
        raise AssertionError(_ABSTRACT)

    def _keep(self, piece: bytes) -> None:
        """Takes a piece of body."""
        raise AssertionError(_ABSTRACT)

    def _message(self, head: bytes, lowered: bytes, body: bytes, length: int, end: int, time: int) -> Any:
        """A message is complete; ``end`` is its stream offset. None if it is not to be reported."""
        raise AssertionError(_ABSTRACT)

    # --- what they share ----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """A message has begun and is not whole."""
        return self.offset != self.boundary

    @property
    def partial_bytes(self) -> int:
        """How many bytes of it were consumed."""
        return self.offset - self.boundary

    @property
    def head_complete(self) -> bool:
        """The message that has begun has a whole, valid head."""
        return LENGTH <= self._state <= UNTIL_EOF

    def _renew(self) -> None:
        self._awaited[:] = (None,)
        self._parser = self._make_parser(_Callbacks(self._awaited.clear))

    def _judge(self, piece: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(piece)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise ProtocolError("malformed", str(error)) from None

    def _read(self, data: bytes, time: int) -> Sequence[Any]:
        """The messages that ``data`` completes. Those before an error are returned; the error is then raised by the
        next call, and stands in ``error`` at once."""
        if self.error is not None:
            raise self.error
        done: list[Any] = []
        pos = 0
        size = len(data)
        try:
            while pos < size and self._state != STOPPED:
                state = self._state
                if state == HEAD:
                    pos = self._read_head(data, pos, time, done)
                elif state == LENGTH:
                    pos = self._read_length(data, pos, time, done)
                elif state == CHUNKED:
                    pos = self._read_chunks(data, pos, time, done)
                else:
                    piece = data[pos:]
                    self._judge(piece)
                    if not self._awaited:
                        raise ProtocolError("framing", "llhttp saw an end before the connection's")
                    self._keep(piece)
                    pos = size
        except ProtocolError as error:
            self._fail(error)
            self.offset += size
            if not done:
                raise
            return done
        self.offset += pos
        self._charge.hold(len(self._buffer) + len(self._wire) + len(self._body))
        return done

    def release(self) -> None:
        """Nothing more will be read: what was kept is given back to the budget."""
        self._buffer = bytearray()
        self._body = bytearray()
        self._charge.hold(0)

    def _fail(self, error: ProtocolError) -> None:
        self.error = error
        self._state = FAILED
        self._wire = bytearray()
        self.release()
        self._line = b""

    # --- heads --------------------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes, pos: int, time: int, done: list[Any]) -> int:
        size = len(data)
        buffer = self._buffer
        if not buffer:
            if data[pos] in b"\r\n":  # RFC 9112 §2.2: blank lines before a message are ignored
                begin = pos
                while pos < size and data[pos] in b"\r\n":
                    pos += 1
                self.skipped += pos - begin
                self.boundary = self.offset + pos
                return pos
            self._admit()
            self._started = time
            self._begin = self.offset + pos
            self._deferred = self._loose = self._strayed = False
            end = 3 if self._begin < self._endless else data.find(HEAD_END, pos) + 4
            if end > 3:
                head = data[pos:end]
                lowered = head.lower()
                try:
                    length = self._length(head, lowered)
                    fed = self._judge_head(data[pos : end + length], head)
                except ProtocolError:
                    if not BARE_LF.search(head):
                        buffer += head
                        raise
                    self._endless, size = self.offset + size, blank_line_end(data, pos)
                    buffer += data[pos:size]
                    return self._become_loose(data, size, time, done)
                return self._frame(data, pos + fed, end, head, lowered, length, time, done)
        if self._loose:
            before = len(self._wire)
            self._wire += data[pos:]
            return self._read_wire(before, data, size, time, done)
        before = len(buffer)
        if not before:  # what is behind would be copied and searched with each of a thousand small heads
            self._endless = self.offset + size
            size = blank_line_end(data, pos)
        buffer += data[pos:size]
        if self._deferred and BARE_LF.search(buffer, max(0, before - 1)):
            return self._become_loose(data, size, time, done)
        end = buffer.find(HEAD_END, max(0, before - 3)) + 4
        if end < 4:
            if not self._deferred and BARE_LF.search(buffer, max(0, before - 1)):
                return self._become_loose(data, size, time, done)
            self._judge_part(data[pos:])
            if len(buffer) > self._max_head:
                if self._deferred:
                    raise ProtocolError("head_too_large")
                self._overfull()
            return size
        stop = size - (len(buffer) - end)
        head = bytes(buffer[:end])
        try:
            if self._deferred:
                self._judge_mended(head, _NOT_JUDGED)
            else:
                self._judge_head(data[pos:stop], head)
        except ProtocolError:
            if not BARE_LF.search(head):
                raise
            return self._become_loose(data, size, time, done)
        buffer.clear()
        lowered = head.lower()
        return self._frame(data, stop, stop, head, lowered, self._length(head, lowered), time, done)

    def _judge_part(self, piece: bytes) -> None:
        """``piece`` has been added to ``_buffer``, which is not whole yet."""
        if not self._deferred:
            try:
                self._parser.feed_data(piece)
            except (HttpParserError, HttpParserUpgrade) as error:
                if not self._mendable(error):
                    raise ProtocolError("malformed", str(error)) from None
                self._deferred = True
        elif not self._mendable(_NOT_JUDGED):
            raise ProtocolError("malformed", "cannot become a valid head")

    def _become_loose(self, data: bytes, size: int, time: int, done: list[Any]) -> int:
        """The head in ``_buffer``, to which ``data`` up to ``size`` has been added, has bare line feeds."""
        self._loose, self._deferred = True, False
        self._wire, self._buffer = self._buffer, bytearray()
        self._renew()
        return self._read_wire(0, data, size, time, done)

    def _read_wire(self, before: int, data: bytes, size: int, time: int, done: list[Any]) -> int:
        """``_wire`` has grown from ``before`` by ``data`` up to ``size``; a loose head ends at a blank line."""
        wire, buffer = self._wire, self._buffer
        blank = BLANK_LINE.search(wire, max(0, before - 2))
        if blank is None:
            piece = strict_piece(wire, before, len(wire))
            buffer += piece
            self._judge_part(piece)
            if len(buffer) > self._max_head:
                raise ProtocolError("head_too_large")
            return size
        stop = size - (len(wire) - blank.end())
        head = strict_head(bytes(wire[: blank.end()])) if stop > 0 else None
        if head is None:
            raise ProtocolError("malformed", "line feeds that servers read in different ways")
        buffer.clear()
        self._wire = bytearray()
        self._loose, self._strayed = False, True
        self._renew()
        lowered = head.lower()
        length = self._length(head, lowered)
        self._judge_head(head, head)
        return self._frame(data, stop, stop, head, lowered, length, time, done)

    def _judge_head(self, piece: bytes, head: bytes) -> int:
        """Feeds llhttp; returns how many of the bytes it has now seen (the head's only, if that had to be mended)."""
        try:
            self._parser.feed_data(piece)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._judge_mended(head, error)
            return len(head)
        return len(piece)

    def _judge_mended(self, head: bytes, error: Exception) -> None:
        for _ in range(2):  # a mended head may still ask for an upgrade, which is mended in turn
            mended = self._mend(head, error)
            if mended is None:
                break
            self._renew()
            if not mended:
                self._awaited.clear()
                return
            try:
                self._parser.feed_data(mended)
                return
            except (HttpParserError, HttpParserUpgrade) as another:
                head, error = mended, another
        raise ProtocolError("malformed", str(error))

    def _frame(
        self, data: bytes, fed: int, end: int, head: bytes, lowered: bytes, length: int, time: int, done: list[Any]
    ) -> int:
        """llhttp has seen ``data`` up to ``fed``, the head ends at ``end``: the message is complete, or has a body."""
        stop = end + length
        complete = not self._awaited
        if not complete and not length:
            complete = self._open(head, lowered)
            if complete:
                self._renew()
        if complete:
            if fed != stop:
                raise ProtocolError("framing", "llhttp saw an end before Content-Length")
            if not self._awaited:
                self._awaited.append(None)
            self._report(self._message(head, lowered, data[end:stop], length, self.offset + stop, time), stop, done)
            return stop
        self._head = head
        self._lowered = lowered
        self._body_length = 0
        if length:
            if fed == stop:
                raise ProtocolError("framing", "llhttp saw no end at Content-Length")
            self._state = LENGTH
            self._remaining = stop - fed
            self._keep(data[end:fed])
        return fed

    def _report(self, message: Any, stop: int, done: list[Any]) -> None:
        self.boundary = self.offset + stop
        if message is not None:
            done.append(message)

    # --- bodies -------------------------------------------------------------------------------------------------------

    def _read_length(self, data: bytes, pos: int, time: int, done: list[Any]) -> int:
        stop = min(len(data), pos + self._remaining)
        piece = data[pos:stop]  # bytes slices of the whole are the same object: no copy in bulk transfers
        self._judge(piece)
        self._keep(piece)
        self._remaining -= stop - pos
        if bool(self._awaited) != bool(self._remaining):
            raise ProtocolError("framing", "llhttp disagrees with Content-Length")
        if not self._remaining:
            self._finish(stop, time, done)
        return stop

    def _read_chunks(self, data: bytes, pos: int, time: int, done: list[Any]) -> int:
        """Walks the chunks and feeds llhttp in one piece all that cannot hold the end, then the blank line. A line is
        fed when it is whole."""
        start = pos
        strict: list[bytes] = []  # what is not fed yet of lines that had to be mended, and what stands before them
        size = len(data)
        while pos < size:
            if self._part == CHUNK_DATA:
                step = min(self._remaining, size - pos)
                self._remaining -= step
                pos += step
                if not self._remaining:
                    self._part = CHUNK_END
                    if data[pos : pos + 2] == b"\r\n":
                        pos += 2
                        self._part = CHUNK_LINE
                    elif data[pos : pos + 1] == b"\n":
                        strict += (data[start:pos], b"\r\n")
                        start = pos = pos + 1
                        self._part = CHUNK_LINE
                        self._strayed = True
                continue
            if self._part == CHUNK_LINE and not self._line and (plain := plain_chunk_line(data, pos)) is not None:
                self._remaining = int(plain[1], 16)
                self._part = CHUNK_DATA if self._remaining else TRAILER
                self._trailer = 0
                if data[plain.end(1)] != 13 or plain.end() - plain.end(1) != 2:  # no CR right behind, and LF
                    strict += (data[start:pos], plain[1] + b"\r\n")
                    start = plain.end()
                    self._strayed = True
                pos = plain.end()
                continue
            newline = data.find(b"\n", pos)
            begin, pos = pos, newline + 1 if newline >= 0 else size
            line = self._line + data[begin:pos]
            if len(line) + self._trailer > (self._max_head if self._part == TRAILER else MAX_CHUNK_LINE):
                raise ProtocolError("chunk_too_large")
            if newline < 0:
                self._take_unfinished(b"".join((*strict, data[start:begin])))
                self._line = line
                return size
            shown = self._strict_line(line)
            self._strayed = self._strayed or shown is not line
            mended = shown is not line or bool(self._line)
            if mended:
                strict.append(data[start:begin])
                self._line = b""
                start = begin = pos
            if self._part == TRAILER and line in (b"\r\n", b"\n"):
                self._take_unfinished(b"".join((*strict, data[start:begin])))
                self._judge(b"\r\n")
                if self._awaited:
                    raise ProtocolError("framing", "llhttp saw no end after the trailers")
                self._keep(b"\r\n")
                self._finish(pos, time, done)
                return pos
            if mended:
                strict.append(shown)
        self._take_unfinished(b"".join((*strict, data[start:pos])) if strict else data[start:pos])
        return pos

    def _strict_line(self, line: bytes) -> bytes:
        """A line between the chunks' data as llhttp accepts it; the same object if it does already."""
        if self._part == CHUNK_LINE:
            found = chunk_line(line)
            if found is None:
                raise ProtocolError("malformed", "chunk size")
            self._remaining, line = found
            self._part = CHUNK_DATA if self._remaining else TRAILER
            self._trailer = -len(line)  # the trailers begin behind this line
        elif self._part == CHUNK_END:
            if line not in (b"\r\n", b"\n"):
                raise ProtocolError("malformed", "chunk longer than its size")
            self._part = CHUNK_LINE
            return line if line == b"\r\n" else b"\r\n"
        elif not line.endswith(b"\r\n"):
            line = line[:-1] + b"\r\n"
        self._trailer += len(line)
        return line

    def _take_unfinished(self, piece: bytes) -> None:
        if piece:
            self._judge(piece)
            if not self._awaited:
                raise ProtocolError("framing", "llhttp saw an end within the chunks")
            self._keep(piece)

    def _finish(self, stop: int, time: int, done: list[Any]) -> None:
        """The body is complete, ``stop`` bytes into the data being fed."""
        body = bytes(self._body)
        self._body = bytearray()
        head, self._head = self._head, b""
        lowered, self._lowered = self._lowered, b""
        self._state = HEAD
        self._part = CHUNK_LINE
        self._trailer = 0
        if not self._awaited:
            self._awaited.append(None)
        self._report(self._message(head, lowered, body, self._body_length, self.offset + stop, time), stop, done)
