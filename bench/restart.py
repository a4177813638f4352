"""How long the connections of a killed worker are not mirrored: ``python -m bench.restart [--rounds N]``.

24 connections ask a hundred times a second each; the busiest worker is killed (SIGKILL). The figure is the time from
the kill to the first request of a connection that the shadow receives after it. What was asked meanwhile waits in the
ring, which outlives its reader. Needs root, as the daemon does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from bench.arms import Shadowd
from bench.servers import Nginx
from shadowd.demo.children import Child

CONNECTIONS = 24
PAUSE = 0.01
BEFORE, AFTER = 2.0, 4.0  # seconds of load around the kill
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Counting:
    """A server that notes when each connection's requests come: production (nobody looks at its notes) or shadow."""

    def __init__(self) -> None:
        self.came: list[tuple[int, float]] = []  # connection, when
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        waiting = b""
        with contextlib.suppress(OSError), client:
            while data := client.recv(1 << 16):
                *heads, waiting = (waiting + data).split(b"\r\n\r\n")
                now = time.monotonic()
                for head in heads:
                    self.came.append((int(head.split(b" ", 2)[1][1:]), now))
                client.sendall(_ANSWER * len(heads))


def ask(port: int, number: int, end: threading.Event) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        while not end.wait(PAUSE):
            client.sendall(b"GET /%d HTTP/1.1\r\nHost: bench\r\n\r\n" % number)
            client.recv(1 << 12)


@contextlib.contextmanager
def load(port: int) -> Iterator[None]:
    end = threading.Event()
    clients = [threading.Thread(target=ask, args=(port, number, end)) for number in range(CONNECTIONS)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        end.set()
        for client in clients:
            client.join()


def once(arm: Shadowd, production: Counting, shadow: Counting) -> list[float]:
    """Seconds for each connection that was the killed worker's, the shortest first."""
    shadow.came.clear()
    with load(production.port):
        time.sleep(BEFORE)
        victim = max(arm._call("status")["workers"], key=lambda one: float(one["share"]))
        killed = time.monotonic()
        os.kill(victim["pid"], signal.SIGKILL)
        time.sleep(AFTER)
    found = []
    for number in range(CONNECTIONS):
        first = min(came for one, came in shadow.came if one == number and came > killed) - killed
        if first > 5 * PAUSE:  # others go on
            found.append(first)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.restart", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    children: list[Child] = []
    production, shadow = Counting(), Counting()
    with tempfile.TemporaryDirectory(prefix="shadowd-bench-") as place:
        servers = [cast("Nginx", SimpleNamespace(port=one.port)) for one in (production, shadow)]
        try:
            arm = Shadowd(servers[0], servers[1], Path(place), children, workers=options.workers)
            arm.open(False)
            for number in range(options.rounds):
                found = once(arm, production, shadow)
                if not found:
                    raise SystemExit("all connections went on: was the worker killed?")
                print(
                    f"round {number + 1}: {len(found)} connections, mirrored again after {found[0]:.2f} s (first), "
                    f"{statistics.median(found):.2f} s (median), {found[-1]:.2f} s (last)",
                    flush=True,
                )
            arm.close()
        finally:
            for child in children:
                child.stop()


if __name__ == "__main__":
    main()
