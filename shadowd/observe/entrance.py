"""How connections come in at the HTTP door, as many as there may be.

    accept ──► lobby: until the head of the first request is there ──► a place: serving.py
                 │ full: the oldest goes                              │ none left: 503, and health is answered here

A connection that has sent no whole request costs a task of the lobby and holds no place; when the lobby is full the
newest comes in and the oldest goes, so that thousands of slow ones do not keep a health check out, and an orchestrator
does not restart a daemon that is well. Requests for health are answered in the lobby where all places are taken.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import trio
from starlette.types import ASGIApp

from shadowd.observe.serving import Serving, named

MAX_CONNECTIONS = 64  # pipelines and people; each costs a task and some 100 KB
LOBBY = 256  # connections without a request yet; each costs a task and some 10 KB
BACKLOG = 4096  # of the kernel, its own limit by default: a SYN that finds no room is sent again a second later
HEADER_LIMIT = 16 << 10  # of a request's head: nginx and Apache allow 8 KB
IDLE_SECONDS = 30.0  # without a request, or without the rest of one
WRITE_SECONDS = 30.0  # for one write to a client that does not read
_BATCH = 512  # accepted in a row before the other tasks have their turn: 15 ms
_RESPITE = 0.1  # seconds after an accept that failed for want of descriptors or memory
_OVER = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 5\r\n\r\n"
_WANTING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("shadowd.http")

#: By its path: an empty text is good news.
Health = dict[str, Callable[[], str]]


class Entrance:
    """Lets connections in and ends them all at the end. ``health`` is answered also when all places are taken."""

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self._app = app
        self._health = health
        self._streams: set[trio.SocketStream] = set()
        self._lobby: dict[trio.SocketStream, trio.CancelScope] = {}  # the oldest first

    async def serve(self, listener: trio.socket.SocketType) -> None:
        """Until cancelled."""
        # trio's own accept lets all tasks run between two: in a flood that is most of what a connection costs
        with socket.socket(fileno=os.dup(listener.fileno())) as plain:
            plain.setblocking(False)
            await self._serve(listener, plain)

    async def _serve(self, listener: trio.socket.SocketType, plain: socket.socket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_at_the_end)
            told = False
            while True:
                await trio.lowlevel.wait_readable(listener)
                arrived: list[socket.socket] = []
                try:
                    while len(arrived) < _BATCH:
                        arrived.append(plain.accept()[0])
                except BlockingIOError:
                    pass  # all are in
                except OSError as error:
                    if error.errno in _WANTING:
                        if not told:
                            log.warning("http: no connection can be accepted: %s — raise LimitNOFILE", error.strerror)
                            told = True
                        await trio.sleep(_RESPITE)
                    elif error.errno == errno.EBADF:
                        raise
                    # else the client had gone before it was let in (accept(2))
                for place, one in enumerate(arrived):
                    if len(arrived) - place > LOBBY and _is_silent(one):
                        one.close()  # those behind it would push it out of the lobby
                    else:
                        nursery.start_soon(self._let_in, trio.SocketStream(trio.socket.from_stdlib_socket(one)))
                await trio.lowlevel.checkpoint()

    async def _let_in(self, stream: trio.SocketStream) -> None:
        """One connection, from accept to close. Nothing of it reaches the others: only cancellation leaves here."""
        try:
            head = await self._wait_for_head(stream)
            if head is None:
                return
            if len(self._streams) >= MAX_CONNECTIONS:
                with trio.move_on_after(1):
                    await stream.send_all(self._without_a_place(head))
                return
            self._streams.add(stream)
            await Serving(self._app, stream, head, HEADER_LIMIT, IDLE_SECONDS, WRITE_SECONDS).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # gone already
        except Exception as error:  # a fault in a connection's handling ends that connection
            log.warning("http: a connection ended by %s", named(error))
        finally:
            self._streams.discard(stream)
            stream.socket.close()

    async def _wait_for_head(self, stream: trio.SocketStream) -> bytes | None:
        """What was read once there is a whole head, or more than one may have; None: it went, or had to go."""
        if len(self._lobby) >= LOBBY:
            self._lobby.pop(next(iter(self._lobby))).cancel()
        head = b""
        with trio.move_on_after(IDLE_SECONDS) as scope:
            self._lobby[stream] = scope
            try:
                while b"\r\n\r\n" not in head[-HEADER_LIMIT:] and len(head) <= HEADER_LIMIT:
                    piece = await stream.receive_some(HEADER_LIMIT)
                    if not piece:
                        return head or None  # the client is told what is wrong with it
                    head += piece
                    if head[:1] and not head[:1].isalpha():
                        break  # no method begins so: not HTTP
            finally:
                self._lobby.pop(stream, None)
        return None if scope.cancelled_caught else head

    def _without_a_place(self, head: bytes) -> bytes:
        """Health, told from the head alone; for all else there is no place."""
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        path = urlsplit(rest.partition(b" ")[0].decode("latin-1")).path
        told = self._health.get(path)
        if told is None or method not in (b"GET", b"HEAD"):
            return _OVER
        wrong = told().encode("ascii", "replace")[:1000]
        body = (wrong or b"ok") + b"\n"
        status = b"503 Service Unavailable" if wrong else b"200 OK"
        answer = b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        return answer % (status, len(body)) + (body if method == b"GET" else b"")

    async def _close_at_the_end(self) -> None:
        """Close what is open when the door is cancelled: no client can hold the daemon's end up."""
        try:
            await trio.sleep_forever()
        finally:
            for stream in [*self._streams, *self._lobby]:
                stream.socket.close()


def _is_silent(accepted: socket.socket) -> bool:
    """Whether nothing has come yet: neither bytes nor the end."""
    try:
        accepted.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
