"""The WebSocket demo's service: wsproto around ``websocket_desk``, and a page to talk to it from a browser.

``python -m shadowd.demo.websocket_service --port P --version 1|2`` serves loopback until SIGTERM and prints one line,
``listening on 127.0.0.1:P``. ``GET /`` is the page, ``/talk`` the WebSocket.

A connection is one task: what a client says before it was answered waits in its socket, and so does what it does not
read. Nothing is compressed: zlib's 260 KB for each connection come and go, and hide a leak of 1 KB a turn.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
from functools import partial

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    TextMessage,
)
from wsproto.events import Request as Opening
from wsproto.utilities import RemoteProtocolError

from shadowd.demo.service import PHRASES, BadRequest, read_request_untrusted
from shadowd.demo.shop import Request
from shadowd.demo.websocket_desk import MESSAGE_LIMIT, TOKEN_PAUSE, Desk
from shadowd.demo.websocket_page import PAGE

UNSUPPORTED, TOO_BIG = 1003, 1009  # RFC 6455 §7.4.1
LEAVE = 0.5  # seconds in which a client may say Close too, or read why it was refused
#: Of the page: it asks nobody else.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'"


def wants_to_talk(request: Request) -> bool:
    path = request.target.partition("?")[0]
    return path == "/talk" and request.method == "GET" and request.headers.get("upgrade", "").lower() == "websocket"


def page(request: Request) -> bytes:
    """What is answered by HTTP, with its head."""
    path = request.target.partition("?")[0]
    status, kind, body, more = 200, "text/html; charset=utf-8", PAGE, f"Content-Security-Policy: {POLICY}\r\n"
    if path == "/talk":
        status, kind, body, more = 426, "text/plain", b"this is a WebSocket\n", "Upgrade: websocket\r\n"
    elif path != "/":
        status, kind, body, more = 404, "text/plain", b"there is / and the WebSocket /talk\n", ""
    elif request.method not in ("GET", "HEAD"):
        status, kind, body, more = 405, "text/plain", b"method not allowed\n", "Allow: GET, HEAD\r\n"
    head = f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}"
    if not request.keep_alive:
        head += "Connection: close\r\n"
    return head.encode() + b"\r\n" + (b"" if request.method == "HEAD" else body)


class Talk:
    """One WebSocket, whose handshake was read already."""

    def __init__(self, desk: Desk, stream: trio.SocketStream) -> None:
        self._desk = desk
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._text = ""  # of a message that is not whole
        self._turns = 0
        self._time = trio.CancelScope()
        self._closing = self._over = False

    async def run(self, asked: Request, rest: bytes) -> None:
        """Until both sides have closed it. ``rest``: what came with the handshake."""
        lines = [f"GET {asked.target} {asked.version}", *(f"{name}: {value}" for name, value in asked.headers.items())]
        data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + rest
        with self._time:
            while data and not self._over:
                await self._read_untrusted(data)
                data = b"" if self._over else await self._stream.receive_some(65_536)

    async def _read_untrusted(self, data: bytes) -> None:
        try:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                await self._take(event)
        except RemoteProtocolError as error:
            self._over = True
            if error.event_hint is not None and not self._closing:
                await self._say(error.event_hint)

    async def _take(self, event: Event) -> None:
        if isinstance(event, CloseConnection):
            self._over = True
            if not self._closing:
                await self._say(event.response())
        elif self._closing:
            return
        elif isinstance(event, Opening):
            await self._say(AcceptConnection())
        elif isinstance(event, TextMessage):
            self._text += event.data
            if len(self._text) > MESSAGE_LIMIT:
                await self._close(TOO_BIG)
            elif event.message_finished:
                text, self._text = self._text, ""
                await self._answer(text)
        elif isinstance(event, BytesMessage):
            await self._close(UNSUPPORTED)
        elif isinstance(event, Ping):
            await self._say(event.response())

    async def _answer(self, text: str) -> None:
        self._turns += 1
        said = self._desk.hear_untrusted(text, self._turns)
        if said.code:
            await self._close(said.code)
        pause = said.delay
        for message in said.messages:
            if pause:
                await trio.sleep(pause)
            await self._say(TextMessage(data=message))
            pause = TOKEN_PAUSE

    async def _close(self, code: int) -> None:
        """The client has so long to say Close too (RFC 6455 §7.1.1: the server ends the connection)."""
        self._closing = True
        self._time.deadline = trio.current_time() + LEAVE
        await self._say(CloseConnection(code=code))

    async def _say(self, event: Event) -> None:
        await self._stream.send_all(self._protocol.send(event))


async def serve_client(desk: Desk, stream: trio.SocketStream) -> None:
    """Pages, one after the other, and then perhaps a talk."""
    buffer = bytearray()
    try:
        while True:
            request = read_request_untrusted(buffer)
            if request is None:
                data = await stream.receive_some(65_536)
                if not data:
                    return
                buffer += data
            elif wants_to_talk(request):
                await Talk(desk, stream).run(request, bytes(buffer))
                return
            else:
                await stream.send_all(page(request))
                if not request.keep_alive:
                    return
    except BadRequest as error:
        refused = f"HTTP/1.1 {error.status} {PHRASES[error.status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with trio.move_on_after(LEAVE), contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(refused.encode())
    except trio.BrokenResourceError:
        return  # it went away


async def serve(port: int, version: int) -> None:
    """Serve ``127.0.0.1:port`` until SIGTERM or SIGINT; who talks then is cut off. Raises OSError."""
    desk = Desk(version)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            listeners: list[trio.SocketListener] = await nursery.start(
                partial(trio.serve_tcp, partial(serve_client, desk), port, host="127.0.0.1", backlog=1024)
            )
            print(f"listening on 127.0.0.1:{listeners[0].socket.getsockname()[1]}", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shadowd.demo.websocket_service", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--port", type=int, default=0, help="loopback port, 0 for any free one (default)")
    parser.add_argument("--version", type=int, choices=(1, 2), default=1, help="2 has the planted faults")
    options = parser.parse_args(arguments)
    try:
        trio.run(serve, options.port, options.version)
    except OSError as error:
        parser.exit(1, f"cannot listen on 127.0.0.1:{options.port}: {error.strerror} — choose another --port\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
