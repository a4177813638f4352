"""The gRPC demo's service: grpcio around ``grpc_shop``, and the clients that ask it.

``python -m shadowd.demo.grpc_service --port P --version 1|2`` serves loopback until SIGTERM and prints one line,
``listening on 127.0.0.1:P``. With ``--load --rate R --connections N --seconds S`` it asks instead, and writes what
``load`` writes: a line a second, open loop, a last one with ``"done": true``.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shadowd.demo.grpc_shop import METHODS, GrpcShop, Unavailable, number
from shadowd.demo.grpc_shop import text as of_text
from shadowd.errors import UsageError

ANSWER_LIMIT = 5.0  # seconds for one answer
THREADS = 16  # of a service: Search sleeps 44 ms at 4 % of some hundred requests a second
SAMPLES = 20_000  # latest latencies kept for the percentiles
SERVICE = "shop.Shop"


def library() -> Any:
    """grpcio, which only this demo needs. Raises UsageError."""
    try:
        import grpc
    except ImportError:
        raise UsageError(
            "the gRPC demo needs the package grpcio", "install it beside shadowd: .venv/bin/pip install grpcio"
        ) from None
    return grpc


def serve(port: int, version: int) -> None:
    grpc = library()
    shop = GrpcShop(version)

    def stream(method: str) -> Callable[[bytes, Any], Iterator[bytes]]:
        def handle(message: bytes, context: Any) -> Iterator[bytes]:
            yield from shop.answer(method, message)[0]

        return handle

    def unary(method: str) -> Callable[[bytes, Any], bytes]:
        def handle(message: bytes, context: Any) -> bytes:
            try:
                found, delay = shop.answer(method, message)
            except Unavailable:
                context.abort(grpc.StatusCode.UNAVAILABLE, "stock lookup failed")
                raise
            time.sleep(delay)
            return found[0]

        return handle

    handlers = {
        name: grpc.unary_stream_rpc_method_handler(stream(name))
        if name == "ListItems"
        else grpc.unary_unary_rpc_method_handler(unary(name))
        for name in METHODS
    }
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    server.start()
    print(f"listening on 127.0.0.1:{bound}", flush=True)
    over.wait()
    server.stop(0.5).wait()


class Load:
    """Asks at a fixed rate. Request n is due n / rate seconds after the start, and its latency counts from then."""

    def __init__(self, port: int, connections: int) -> None:
        grpc = library()
        alone = [("grpc.use_local_subchannel_pool", 1)]  # else all channels share one connection
        self._channels = [grpc.insecure_channel(f"127.0.0.1:{port}", alone) for _ in range(connections)]
        self._error = grpc.RpcError
        self._lock = threading.Lock()
        self._latencies: deque[float] = deque(maxlen=SAMPLES)
        self._errors: Counter[str] = Counter()
        self._sent = self._good = 0
        self._calls = [
            {
                name: (channel.unary_stream if name == "ListItems" else channel.unary_unary)(f"/{SERVICE}/{name}")
                for name in METHODS
            }
            for channel in self._channels
        ]

    def ask(self, place: int, due: float, dice: float, known: int) -> None:
        """One request."""
        name = "PutItem" if dice < 0.1 else "GetItem" if dice < 0.5 else "GetOrder" if dice < 0.85 else "ListItems"
        message = number(1, known)
        if dice > 0.96:
            name, message = "Search", of_text(1, b"part %d" % (known % 300))
        outcome = ""
        try:
            answer = self._calls[place % len(self._calls)][name](message, timeout=ANSWER_LIMIT)
            if name == "ListItems" and len(list(answer)) != 4:
                outcome = "length"
        except self._error as error:
            outcome = str(error.code().name).lower() if hasattr(error, "code") else "connection"
        with self._lock:
            self._sent += 1
            self._latencies.append(time.monotonic() - due)
            if outcome:
                self._errors[outcome] += 1
            else:
                self._good += 1

    def line(self, seconds: float, done: bool = False) -> str:
        with self._lock:
            seen = sorted(self._latencies)
            points = {
                name: round(seen[int(len(seen) * share)] * 1000, 3) if seen else None
                for name, share in (("p50", 0.5), ("p99", 0.99))
            }
            told: dict[str, Any] = {"t": round(seconds, 1), "sent": self._sent, "ok": self._good}
            told |= {"errors": dict(self._errors), "latency_ms": points}
        return json.dumps({**told, "done": True} if done else told)

    def run(self, rate: float, seconds: float) -> None:
        over = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: over.set())
        dice = random.Random(7)
        begun = time.monotonic()
        told = asked = 0
        with ThreadPoolExecutor(64) as pool:
            while not over.is_set() and (passed := time.monotonic() - begun) < seconds:
                while asked < passed * rate:
                    due = begun + asked / rate
                    pool.submit(self.ask, asked, due, dice.random(), dice.randrange(1, 5_000))
                    asked += 1
                if passed >= told + 1:
                    told = int(passed)
                    print(self.line(passed), flush=True)
                over.wait(0.002)
        print(self.line(time.monotonic() - begun, done=True), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", type=int, choices=(1, 2), default=1)
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    if given.load:
        Load(given.port, given.connections).run(given.rate, given.seconds)
    else:
        serve(given.port, given.version)


if __name__ == "__main__":
    main()
