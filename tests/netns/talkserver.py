"""A WebSocket server whose replies depend on what was said to it and on what it has said, and a client that converses
with it: by the ``websockets`` package on both sides."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve


class TalkServer:
    """``greets``: it speaks first. ``price``, ``tokens``, ``twice``: what it says otherwise than another version.
    ``refuses``: it agrees to no WebSocket; ``crashes``: it closes when it is greeted. ``news``: what it greets
    with. ``log``: of each connection (message, how many it had said by then)."""

    def __init__(
        self, greets: bool = False, price: int = 7, tokens: int = 3, twice: bool = False, refuses: bool = False,
        crashes: bool = False, news: str = "news",
        compression: str | None = "deflate", context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:  # fmt: skip
        self.greets, self.price, self.tokens, self.twice = greets, price, tokens, twice
        self.news = news
        self.refuses, self.crashes = refuses, crashes
        self.log: list[list[tuple[Any, int]]] = []
        self.closes: list[int | None] = []
        self._server = serve(
            self._talk, host, 0, ssl=context, compression=compression, process_request=self._admit, max_size=None
        )
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        return connection.respond(403, "not here\n") if self.refuses else None

    def _talk(self, connection: ServerConnection) -> None:
        heard: list[tuple[Any, int]] = []
        self.log.append(heard)
        said = 0
        try:
            if self.greets:
                for number in range(2):
                    connection.send(json.dumps({"type": self.news, "number": number}))
                    said += 1
            for message in connection:
                heard.append((message, said))
                for reply in self._replies(message, said):
                    connection.send(reply)
                    said += 1
                if message == "crash" or (self.crashes and str(message).startswith("hello")):
                    connection.close(1011, "out of rope")
        except ConnectionClosed:
            pass
        self.closes.append(connection.protocol.close_code)

    def _replies(self, message: str | bytes, said: int) -> Iterable[str | bytes]:
        if isinstance(message, bytes):
            yield message[::-1]
        elif message.startswith("{"):
            asked = json.loads(message)
            if asked["type"] == "ask":
                for number in range(self.tokens):
                    yield json.dumps({"type": "token", "text": f"{asked['q']} {number}"})
                yield json.dumps({"type": "done", "said": said})
            elif asked["type"] == "price":
                yield json.dumps({"type": "price", "usd": self.price, "item": asked["item"]})
        elif message != "crash" and not self.crashes:
            yield message.upper()
        if self.twice:
            yield json.dumps({"type": "echo"})

    def end(self) -> None:
        self._server.shutdown()
        self._thread.join(10)


def converse(
    port: int, asks: int, path: str = "/talk", compression: str | None = "deflate", greeted: int = 0, pause: float = 0,
    context: ssl.SSLContext | None = None, host: str = "127.0.0.1",
) -> None:  # fmt: skip
    """A conversation in which the client waits for every reply before it goes on; ``pause``: and thinks, in seconds."""
    url = f"{'ws' if context is None else 'wss'}://{host}:{port}{path}"
    with connect(url, ssl=context, compression=compression, max_size=None) as client:
        for _ in range(greeted):
            client.recv(10)
        for number in range(asks):
            client.send(json.dumps({"type": "ask", "q": f"why {number}"}))
            while json.loads(client.recv(10))["type"] != "done":
                pass
            time.sleep(pause)
            client.send(json.dumps({"type": "price", "item": "rope" * (1 + number % 3)}))
            client.recv(10)
            time.sleep(pause)
            client.send(b"\x00\x01\xff" * (number + 1))
            client.recv(10)
            time.sleep(pause)
            client.send(f"hello {number}")
            client.recv(10)
            time.sleep(pause)
