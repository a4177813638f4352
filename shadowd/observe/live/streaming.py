"""Server-sent events (WHATWG HTML §9.2): what changed of a page, as long as somebody reads it. Asks for ASGI alone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import trio
from starlette.types import Receive, Scope, Send

from shadowd.observe.live.watching import Watched

HEARTBEAT = 15.0  # seconds without a change: proxies close what is silent for 60
RETRY = 2000  # ms until a browser asks again
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx hands on what it gets
]


class EventStream:
    """An ASGI response. ``seen``: the version that the reader has."""

    def __init__(self, watched: Watched, seen: int) -> None:
        self._watched = watched
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._watched.readers += 1  # before anything is waited for: places are counted by it
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_gone, receive, nursery.cancel_scope)
                await self._tell(send)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the reader went
        finally:
            self._watched.readers -= 1

    async def _tell(self, send: Send) -> None:
        """While one write waits for a slow reader, nothing is kept for it: the next tells the newest."""
        watched, body = self._watched, b"retry: %d\n\n" % RETRY
        while True:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            body = b": here\n\n"
            with trio.move_on_after(HEARTBEAT):
                await watched.changed(self._seen)
                body = b"".join(_events(watched, self._seen))
                self._seen = watched.version

    @staticmethod
    async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


def _events(watched: Watched, seen: int) -> Iterator[bytes]:
    """A part each; the last of them says what the reader then has, so that one that was cut off asks for all."""
    for name, html in watched.since(seen).items():
        yield b"data: %b\n\n" % json.dumps({"id": name, "html": html}).encode()
    yield b"id: %b\n\n" % watched.name.encode()
