"""One connection of the HTTP door, from its first request to its end: h11's HTTP/1.1 on trio, ASGI for the application.

A connection is one task: a request is read, the application called with it, the next request read. Nothing is read that
nobody asked for, so that what a client sends ahead waits in its socket and costs nothing here. It is read

* until a head is whole: so long a connection may be idle, and so long a head may take;
* when the application asks for the body: so long all of it may take;
* when the application asks again, all of the body given: then for the client's end, ``http.disconnect``. Whoever
  streams an answer waits for that beside it. A client that only stopped asking (a half-close) cannot be told from one
  that went, and an application that does not ask answers it.

An application is cancelled where nobody will read its answer: the connection broke, or took no bytes for too long; and
where it can have no body: what came was not HTTP (answered with 400, or what h11 says of it), or did not come (408).
One that fails is logged, and answered for with 500. What has begun and cannot be ended is cut off: neither a length
nor the last chunk is there then, which is how a client knows (RFC 9112 §8).
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import trio
from starlette.types import ASGIApp

from shadowd.observe.http11 import Address, Http11, Message, Refused
from shadowd.redact.quoting import visible

READ = 1 << 16  # bytes asked for at once: the largest body that the door takes
LINGER_SECONDS = 1.0  # for a client that still sends to notice the end; nginx gives 5
LINGER_READS = 64  # of READ bytes

log = logging.getLogger("shadowd.http")


class Serving:
    """Serves the requests of one connection. ``read``: what was read of it already; ``idle``: seconds to wait for a
    head, or for a body; ``patience``: seconds for a write."""

    __slots__ = ("_app", "_due", "_http", "_idle", "_patience", "_scope", "_sending", "_stream", "_torn", "_wrong")

    def __init__(
        self, app: ASGIApp, stream: trio.SocketStream, read: bytes, head_limit: int, idle: float, patience: float
    ) -> None:
        self._app = app
        self._stream = stream
        self._http = Http11(head_limit, _address(stream.socket.getpeername()), _address(stream.socket.getsockname()))
        self._http.feed_untrusted(read)
        self._idle, self._patience = idle, patience
        self._due = 0.0  # when the body must be here
        self._scope = trio.CancelScope()  # of the application
        self._wrong = 0  # the status that answers what was wrong with the request
        self._sending = trio.Lock()  # an application may send while it receives
        self._torn = False  # a write has not ended

    async def run(self) -> None:
        """Until either side ends it; closing is the caller's. Raises trio's BrokenResourceError where the client went,
        and OSError where the socket fails."""
        try:
            while (scope := await self._next_request()) is not None:
                await self._answer(scope)
                if not self._http.goes_on():
                    break
        except Refused as error:
            await self._write(self._http.refusal(error.status))
        if not self._http.ended:
            await self._linger()

    async def _next_request(self) -> Message | None:
        """None: it sends no more, or not in time."""
        with trio.move_on_after(self._idle):
            while (scope := self._http.next_request_untrusted()) is None and not self._http.ended:
                await self._read()
            return scope
        return None

    async def _answer(self, scope: Message) -> None:
        """Raises Refused where there is no answer, and BrokenResourceError where nobody reads on."""
        self._due = trio.current_time() + self._idle
        with trio.CancelScope() as self._scope:
            try:
                await self._app(scope, self._receive, self._send)
            except Exception as error:
                log.error("http: %s failed: %s", visible(scope["path"], 80), named(error), exc_info=error)
        if self._wrong:
            raise Refused(self._wrong)
        if self._torn:
            raise trio.BrokenResourceError
        if not self._http.begun:
            raise Refused(500)

    async def _receive(self) -> MutableMapping[str, Any]:
        """ASGI's receive."""
        try:
            while not (self._http.received or self._http.answered):
                message = self._http.next_body_untrusted()
                if message is not None:
                    return message
                await self._write(self._http.encourage())
                with trio.move_on_at(self._due) as scope:
                    await self._read()
                if scope.cancelled_caught:
                    raise Refused(408)
            while not (self._http.ended or self._http.answered):
                if self._http.ahead > READ:
                    await trio.sleep_forever()  # the rest of what it asks for waits in the socket
                await self._read()
        except Refused as error:
            if not self._http.ended:  # else it went in the middle
                self._wrong = error.status
                await self._cancel()
        except trio.BrokenResourceError:
            self._torn = True
            await self._cancel()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI's send."""
        try:
            await self._write(self._http.answer(dict(message)))
        except trio.BrokenResourceError:
            await self._cancel()
        if self._http.answered and message.get("more_body", False):
            await self._cancel()  # HEAD: nobody reads what would follow

    async def _cancel(self) -> None:
        """End the application: what is called from there does not come back."""
        self._scope.cancel()
        await trio.lowlevel.checkpoint()

    async def _read(self) -> None:
        self._http.feed_untrusted(await self._stream.receive_some(READ))

    async def _write(self, data: bytes) -> None:
        """Raises BrokenResourceError, also where it took too long."""
        if not data:
            return
        async with self._sending:
            if self._torn:
                raise trio.BrokenResourceError
            self._torn = True  # whatever ends this, the client has a part of it
            with trio.move_on_after(self._patience) as scope:
                await self._stream.send_all(data)
            if scope.cancelled_caught:
                raise trio.BrokenResourceError
            self._torn = False

    async def _linger(self) -> None:
        """Let the client see the answer: an end with bytes unread is a reset, which takes it away (RFC 9112 §9.6)."""
        with trio.move_on_after(LINGER_SECONDS):
            await self._stream.send_eof()
            for _ in range(LINGER_READS):
                if not await self._stream.receive_some(READ):
                    return


def _address(name: Any) -> Address:
    return str(name[0]), int(name[1])


def named(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return type(error).__name__
