"""A shadow that takes its time for each answer, for any number of requests at once: one thread, no thread each."""

from __future__ import annotations

import contextlib
import heapq
import selectors
import socket
import threading
import time

_END = b"\r\n\r\n"


class SlowServer:
    """Answers each request, in its connection's order, ``delay`` seconds after it came (never, if that is None)."""

    def __init__(self, delay: float | None) -> None:
        self.delay = delay
        self.paths: list[bytes] = []  # in the order they came
        self.connections = 0  # open now
        self.most = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._due: list[tuple[float, int, socket.socket]] = []
        self._unread: dict[socket.socket, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._over.is_set():
                wait = self._due[0][0] - time.monotonic() if self._due else 0.1
                for key, _ in selector.select(min(max(wait, 0), 0.1)):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    else:
                        assert isinstance(key.fileobj, socket.socket)
                        self._read(selector, key.fileobj)
                while self._due and self._due[0][0] <= time.monotonic():
                    with contextlib.suppress(OSError):
                        heapq.heappop(self._due)[2].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
        for sock in (self._listener, *self._unread):
            sock.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                self._unread[sock] = b""
                selector.register(sock, selectors.EVENT_READ)
                self.connections += 1
                self.most = max(self.most, self.connections)

    def _read(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        try:
            data = sock.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            selector.unregister(sock)
            sock.close()
            del self._unread[sock]
            self.connections -= 1
            return
        *heads, self._unread[sock] = (self._unread[sock] + data).split(_END)
        for head in heads:
            self.paths.append(head.split(b" ", 2)[1])
            if self.delay is not None:
                heapq.heappush(self._due, (time.monotonic() + self.delay, len(self.paths), sock))

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
