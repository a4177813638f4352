"""A shop for tests of the comparison: services that answer JSON, its clients, and the verdict once all is compared."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.netns.lab import Daemon, HttpClient, ok, wait_for

Made = Callable[[int], dict[str, Any]]
SPAN = 1.6  # seconds
JSON = b"Content-Type: application/json\r\n"


def answered(fields: Made, head: bytes) -> bytes:
    target = head.split(b" ", 2)[1]
    found = fields(int(target.rpartition(b"/")[2] or 0))
    if "status" in found:
        return ok(b'{"error":"stock lookup failed"}', found["status"], JSON)
    return ok(json.dumps(found).encode(), headers=JSON)


def ask(port: int, count: int, path: str = "/orders/{}", connections: int = 7) -> None:
    """``count`` requests over some connections at once, in more than the second that a verdict waits for."""
    numbers = itertools.count()
    pause = SPAN * connections / count

    def work() -> None:
        client = HttpClient("127.0.0.1", port)
        while (number := next(numbers)) < count:
            client.get(path.format(number))
            time.sleep(pause)
        client.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def compared(daemon: Daemon, name: str, count: int) -> dict[str, Any]:
    """The verdict once ``count`` exchanges were compared."""

    def look() -> dict[str, Any] | None:
        verdict: dict[str, Any] = daemon.call("verdict", name=name)
        return verdict if verdict["compared"] >= count else None

    return dict(wait_for(f"{count} exchanges are compared", look))
