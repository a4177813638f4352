"""The demo's production service: a small but honest HTTP/1.1 server around ``shop``.

``python -m shadowd.demo.service --port P --version 1|2`` serves loopback until SIGTERM and prints one line,
``listening on 127.0.0.1:P``, once it accepts connections (``--port 0`` lets the kernel choose).

``read_request_untrusted`` cuts requests out of the bytes (sans-IO), ``Shop`` (or ``chat``) answers, ``Connection`` is
the only I/O: keep-alive, pipelining, chunked bodies both ways, HEAD, ``Expect: 100-continue``.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import signal
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Protocol

from shadowd.demo.shop import Reply, Request, Shop

HEAD_LIMIT = 16 * 1024  # bytes of request line and headers; nginx's and Apache's defaults lie at 8-32 KB
BODY_LIMIT = 1024 * 1024  # bytes of request body, nginx's default client_max_body_size
READ_AHEAD = 256 * 1024  # bytes a client may pipeline while an answer is due; then its socket is not read
CHUNK_LINE_LIMIT = 256  # bytes of a chunk-size line with extensions; a size alone has at most 16 digits

PHRASES = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}


class BadRequest(Exception):
    """The client's bytes are no request we serve; ``status`` is the answer, after which the connection closes."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def read_request_untrusted(buffer: bytearray) -> Request | None:
    """Take one whole request off the front of ``buffer``; None (and an untouched buffer) while bytes are missing.

    Raises BadRequest. Source: RFC 9112 §3 (request line), §5 (fields), §6 (body length), §7.1 (chunked).
    """
    if buffer[:2] == b"\r\n":  # §2.2: one empty line before the request line is ignored
        del buffer[:2]
    end = buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT)
    if end < 0:
        if len(buffer) >= HEAD_LIMIT:
            raise BadRequest(431, f"the head is longer than {HEAD_LIMIT} bytes")
        return None
    lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[1]:
        raise BadRequest(400, "malformed request line")
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "malformed header line")
        name = name.lower()
        if name == "content-length" and headers.get(name, value.strip()) != value.strip():
            raise BadRequest(400, "two different Content-Length headers")
        headers[name] = value.strip()
    start = end + 4
    if "transfer-encoding" in headers:
        if "content-length" in headers:
            raise BadRequest(400, "both Transfer-Encoding and Content-Length")  # §6.3: the shape of smuggling
        if headers["transfer-encoding"].lower() != "chunked":
            raise BadRequest(501, "only the chunked transfer coding is known")
        chunked = _read_chunked_untrusted(buffer, start)
        if chunked is None:
            return None
        body, stop = chunked
    else:
        declared = headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit() and len(declared) < 16):
            raise BadRequest(400, "malformed Content-Length")
        if int(declared) > BODY_LIMIT:
            raise BadRequest(413, f"the body is longer than {BODY_LIMIT} bytes")
        stop = start + int(declared)
        if len(buffer) < stop:
            return None
        body = bytes(buffer[start:stop])
    del buffer[:stop]
    return Request(method, target, version, headers, body)


def _read_chunked_untrusted(buffer: bytearray, position: int) -> tuple[bytes, int] | None:
    """The decoded body and the offset after it, or None while bytes are missing. Trailers are skipped."""
    body = bytearray()
    while True:
        end = buffer.find(b"\r\n", position, position + CHUNK_LINE_LIMIT)
        if end < 0:
            if len(buffer) - position >= CHUNK_LINE_LIMIT:
                raise BadRequest(400, "chunk-size line too long")
            return None
        digits = bytes(buffer[position:end]).split(b";")[0].strip()
        if not digits or len(digits) > 8 or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadRequest(400, "malformed chunk size")
        size = int(digits, 16)
        position = end + 2
        if size == 0:
            break
        if len(body) + size > BODY_LIMIT:
            raise BadRequest(413, f"the body is longer than {BODY_LIMIT} bytes")
        if len(buffer) < position + size + 2:
            return None
        if buffer[position + size : position + size + 2] != b"\r\n":
            raise BadRequest(400, "a chunk does not end where it says")
        body += buffer[position : position + size]
        position += size + 2
    while True:  # the trailer section ends with an empty line
        end = buffer.find(b"\r\n", position, position + HEAD_LIMIT)
        if end < 0:
            if len(buffer) - position >= HEAD_LIMIT:
                raise BadRequest(431, "the trailers are too long")
            return None
        if end == position:
            return bytes(body), end + 2
        position = end + 2


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    """An HTTP date (RFC 9110 §5.6.7); formatted once a second, it is a fifth of a small answer's cost."""
    return formatdate(second, usegmt=True)


class Answers(Protocol):
    """What a service says; ``requests`` counts them."""

    requests: int

    def answer(self, request: Request) -> Reply: ...


class Connection(asyncio.Protocol):
    """One client: requests are answered in order, one at a time, pipelined ones wait in the buffer."""

    def __init__(self, answers: Answers, live: set[Connection]) -> None:
        self._answers = answers
        self._live = live
        self._buffer = bytearray()
        self._busy = False  # an answer is due later: a delay or the rest of a stream
        self._clogged = False  # the client does not read: nothing more is answered until it does
        self._continued = False
        self._eof = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._live.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._live.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._busy or self._clogged:
            if len(self._buffer) > READ_AHEAD and self._transport is not None:
                self._transport.pause_reading()
            return
        self._serve()

    def eof_received(self) -> bool:
        """A half-closed client still gets the answers that are due (RFC 9112 §9.6)."""
        self._eof = True
        return self._busy or self._clogged

    def pause_writing(self) -> None:
        self._clogged = True

    def resume_writing(self) -> None:
        self._clogged = False
        self._next()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _serve(self) -> None:
        while self._transport is not None and not (self._busy or self._clogged or self._transport.is_closing()):
            try:
                request = read_request_untrusted(self._buffer)
            except BadRequest as error:
                refused = Request("GET", "*", "HTTP/1.1", {"connection": "close"}, b"")
                self._send(refused, Reply(error.status, json.dumps({"error": error.reason}).encode()))
                return
            if request is None:
                self._continue_if_asked()
                return
            self._continued = False
            reply = self._answers.answer(request)
            if reply.delay:
                self._busy = True
                asyncio.get_running_loop().call_later(reply.delay, self._resume, request, reply)
            else:
                self._send(request, reply)

    def _continue_if_asked(self) -> None:
        """RFC 9110 §10.1.1: a client that sent ``Expect: 100-continue`` waits for our word before its body."""
        head, blank, _ = bytes(self._buffer[:HEAD_LIMIT]).partition(b"\r\n\r\n")
        if blank and not self._continued and b"\nexpect: 100-continue" in head.lower():
            self._continued = True
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _resume(self, request: Request, reply: Reply) -> None:
        self._busy = False
        self._send(request, reply)
        self._next()

    def _send(self, request: Request, reply: Reply) -> None:
        chunked = bool(reply.parts) and request.version == "HTTP/1.1"
        keep = request.keep_alive and (chunked or not reply.parts)  # 1.0 has no chunks: its stream ends by close
        head = [
            f"HTTP/1.1 {reply.status} {PHRASES[reply.status]}",
            f"Date: {_date(int(time.time()))}",
            f"Content-Type: {reply.content_type}",
            f"X-Request-Id: {id(self):x}-{self._answers.requests}",
            *(f"{name}: {value}" for name, value in reply.headers.items()),
        ]
        if chunked:
            head.append("Transfer-Encoding: chunked")
        elif not reply.parts:
            head.append(f"Content-Length: {len(reply.body)}")
        if not keep:
            head.append("Connection: close")
        elif request.version == "HTTP/1.0":
            head.append("Connection: keep-alive")
        start = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        if request.method == "HEAD":
            self._write(start)
        elif reply.parts:
            self._busy = True
            self._write(start)
            self._stream(list(reply.parts), reply.pauses, chunked, keep)
            return
        else:
            self._write(start + reply.body)
        if not keep:
            self.close()

    def _stream(self, parts: list[bytes], pauses: Iterator[float], chunked: bool, keep: bool) -> None:
        if parts:
            part = parts.pop(0)
            self._write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            pause = next(pauses) if parts else 0.0
            asyncio.get_running_loop().call_later(pause, self._stream, parts, pauses, chunked, keep)
            return
        if chunked:
            self._write(b"0\r\n\r\n")
        self._busy = False
        if not keep:
            self.close()
        self._next()

    def _next(self) -> None:
        """Go on with what the client pipelined meanwhile."""
        if self._transport is None or self._busy or self._clogged:
            return
        self._transport.resume_reading()
        self._serve()
        if self._eof and not self._busy and not self._clogged:
            self.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(port: int, answers: Answers) -> None:
    """Serve ``127.0.0.1:port`` until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    live = set[Connection]()
    server = await loop.create_server(lambda: Connection(answers, live), "127.0.0.1", port, backlog=1024)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()
    server.close()
    for connection in list(live):
        connection.close()
    await server.wait_closed()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m shadowd.demo.service", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="loopback port, 0 for any free one (default)")
    parser.add_argument("--version", type=int, choices=(1, 2), default=1, help="2 has the planted faults")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(serve(options.port, Shop(options.version)))
    except OSError as error:
        parser.exit(1, f"cannot listen on 127.0.0.1:{options.port}: {error.strerror} — choose another --port\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
