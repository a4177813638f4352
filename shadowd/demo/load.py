"""The demo's clients: mixed requests at a fixed rate over keep-alive connections, every answer checked.

``python -m shadowd.demo.load --port P --rate R --connections N --seconds S`` writes one JSON line a second and a last
one with ``"done": true``::

    {"t": 3.0, "sent": 1200, "ok": 1199, "errors": {"status": 1}, "latency_ms": {"p50": 0.6, "p99": 5.1}}

Open loop: request *n* is due ``n / rate`` seconds after the start whether or not earlier answers came, and its latency
counts from that moment, so that a slow service cannot hide behind a slow client (coordinated omission). Counts are
since the start. Error kinds: ``status`` (not the expected one), ``length`` (an answer cut short, or a report of the
wrong size), ``framing`` (not HTTP), ``connection`` (refused, reset, closed too early), ``timeout``.

SIGTERM ends the load early: answers that are due are still awaited and counted.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from collections import Counter, deque

import trio

ANSWER_LIMIT = 5.0  # seconds for one answer: a hundred times the slowest endpoint
HEAD_LIMIT = 16 * 1024  # bytes of response head; our service sends 200
REOPEN_AFTER = 250  # answers per connection, the last asks for close: the demo shows flows that begin and end
SAMPLES = 20_000  # latest latencies kept for the percentiles, under a second of them even at full speed


class Job:
    """One request to make: its bytes, the status a healthy service gives, and when it was due (seconds)."""

    __slots__ = ("due", "head_only", "path", "status", "wire")

    def __init__(self, method: str, path: str, status: int, body: bytes = b"", chunked: bool = False) -> None:
        self.path = path
        self.status = status
        self.head_only = method == "HEAD"
        self.due = 0.0
        head = f"{method} {path} HTTP/1.1\r\nHost: shop.demo\r\nUser-Agent: shadowd-demo/1\r\nAccept: */*\r\n"
        if method == "POST":
            head += "Content-Type: application/json\r\n"
            head += "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {len(body)}\r\n"
        if chunked:
            pieces = [body[k : k + 40] for k in range(0, len(body), 40)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        self.wire = head.encode() + b"\r\n" + body

    def closing(self) -> bytes:
        """The same bytes with ``Connection: close``."""
        return self.wire.replace(b"Accept: */*\r\n", b"Accept: */*\r\nConnection: close\r\n", 1)


def next_job(dice: random.Random) -> Job:
    """One request of the mix: mostly reads, a fifth writes, a third of those chunked."""
    number = dice.randrange(1, 5_000)
    roll = dice.random()
    if roll < 0.20:
        order = {"lines": [{"item": number + k, "quantity": k + 1} for k in range(number % 3 + 1)]}
        return Job("POST", "/orders", 201, json.dumps(order).encode(), chunked=roll < 0.07)
    if roll < 0.50:
        return Job("GET", f"/items/{number}", 200)
    if roll < 0.75:
        return Job("GET", f"/orders/{number}", 200)
    if roll < 0.82:
        return Job("GET", f"/items?page={number % 200 + 1}", 200)
    # the slow ones are a sixteenth of the reads: no percentile that is judged lies where fast turns into slow
    if roll < 0.86:
        return Job("GET", f"/search?q=part+{number % 300}", 200)
    if roll < 0.95:
        return Job("HEAD", f"/items/{number}", 200)
    if roll < 0.96:
        return Job("GET", "/stream", 200)
    if roll < 0.98:
        return Job("GET", "/report", 200)
    return Job("GET", "/health", 200)


class Broken(Exception):
    """This answer cannot be used, nor can the connection; ``kind`` is the error to count."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class AnswerReader:
    """Cuts answers out of one connection's bytes and checks their framing (RFC 9112 §6, §7.1).

    ``body`` is the last answer's, decoded.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self.body = bytearray()

    async def _more(self) -> None:
        data = await self._stream.receive_some(65_536)
        if not data:
            raise Broken("length" if self._buffer else "connection")
        self._buffer += data

    async def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise Broken("framing")
            await self._more()
        taken = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return taken

    async def _take(self, length: int) -> int:
        while len(self._buffer) < length:
            await self._more()
        self.body += self._buffer[:length]
        del self._buffer[:length]
        return length

    async def answer(self, head_only: bool) -> tuple[int, int]:
        """Status and length of the next answer's body (decoded), read to its end. Raises Broken."""
        self.body.clear()
        lines = (await self._until(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        words = lines[0].split(" ", 2)
        if len(words) < 2 or words[0] != "http/1.1" or not words[1].isdigit():
            raise Broken("framing")
        status = int(words[1])
        if head_only:
            return status, 0
        try:
            if fields.get("transfer-encoding") != "chunked":
                return status, await self._take(int(fields["content-length"]))
            length = 0
            while size := int(await self._until(b"\r\n"), 16):
                length += await self._take(size)
                if await self._until(b"\r\n"):
                    raise Broken("length")
            await self._until(b"\r\n")
        except (KeyError, ValueError):
            raise Broken("framing") from None
        return status, length

    def idle(self) -> bool:
        """True if no byte is left over: a service that sent more than it declared is wrong too."""
        return not self._buffer


class Load:
    """The running load: jobs fall due at the rate, whichever connection is free takes the next one."""

    def __init__(self, port: int, rate: float, seconds: float) -> None:
        self.port = port
        self.rate = rate
        self.seconds = seconds
        self.sent = 0
        self.ok = 0
        self.errors: Counter[str] = Counter()
        self._begun = 0.0
        self._due: deque[Job] = deque()
        self._ready = trio.Semaphore(0)
        self._stopping = False
        self._report_size: int | None = None  # of the first /report; the others must be as long
        self.latencies: deque[float] = deque(maxlen=SAMPLES)

    def stop(self) -> None:
        """Make no more requests; those that are due are still answered."""
        self._stopping = True

    def next_job(self, dice: random.Random) -> Job:
        """The next thing that a client wants."""
        return next_job(dice)

    def line(self) -> dict[str, object]:
        """The counts so far, as printed."""
        ordered = sorted(self.latencies)
        points = {"p50": 0.50, "p99": 0.99}
        latency = {
            name: round(ordered[int(len(ordered) * q)] * 1000, 3) if ordered else None for name, q in points.items()
        }
        return {
            "t": round(trio.current_time() - self._begun, 3),
            "sent": self.sent,
            "ok": self.ok,
            "errors": dict(self.errors),
            "latency_ms": latency,
        }

    async def run(self, connections: int, seed: int = 1) -> None:
        """Drive the service until the time is over or ``stop`` was called."""
        self._begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(connections):
                nursery.start_soon(self._connection)
            await self._schedule(random.Random(seed))
            for _ in range(connections):
                self._ready.release()  # an empty queue tells each connection to end

    async def _schedule(self, dice: random.Random) -> None:
        made = 0
        while not self._stopping:
            now = trio.current_time()
            while (due := self._begun + made / self.rate) <= now and made < self.rate * self.seconds:
                job = self.next_job(dice)
                job.due = due
                self._due.append(job)
                self._ready.release()
                made += 1
            if made >= self.rate * self.seconds:
                return
            await trio.sleep_until(max(self._begun + made / self.rate, now + 0.001))

    async def _connection(self) -> None:
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", self.port)
            except OSError:
                stream = None
            if stream is None:
                # The job fails with the connection: refused connections are production errors, not a pause.
                if await self.next_due() is None:
                    return
                self.sent += 1
                self.errors["connection"] += 1
                continue
            async with stream:
                try:
                    if await self.converse(stream):
                        return
                except Broken as broken:
                    self.errors[broken.kind] += 1
                except trio.TooSlowError:
                    self.errors["timeout"] += 1
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self.errors["connection"] += 1

    async def next_due(self) -> Job | None:
        """Wait for a job; None if the load is over."""
        await self._ready.acquire()
        return self._due.popleft() if self._due else None

    async def converse(self, stream: trio.SocketStream) -> bool:
        """Use one connection until it is reopened (False) or the load is over (True). What is raised is counted, and
        ends it."""
        reader = AnswerReader(stream)
        for turn in range(REOPEN_AFTER):
            job = await self.next_due()
            if job is None:
                return True
            with trio.fail_after(ANSWER_LIMIT):
                await self.serve_job(job, stream, reader, last=turn == REOPEN_AFTER - 1)
        return False

    async def serve_job(self, job: Job, stream: trio.SocketStream, reader: AnswerReader, last: bool) -> None:
        """Ask, read and check; ``last`` on this connection. Raises Broken, or what the stream raises."""
        self.sent += 1
        await stream.send_all(job.closing() if last else job.wire)
        status, length = await reader.answer(job.head_only)
        self.latencies.append(trio.current_time() - job.due)
        self._check(job, status, length, reader)

    def _check(self, job: Job, status: int, length: int, reader: AnswerReader) -> None:
        if status != job.status:
            self.errors["status"] += 1
            return
        if job.path == "/report":
            self._report_size = self._report_size or length
        if not reader.idle() or (job.path == "/report" and length != self._report_size):
            self.errors["length"] += 1
            return
        self.ok += 1


async def drive(load: Load, connections: int) -> None:
    """Run the load, print a line a second and the last one; SIGTERM or SIGINT ends it early."""
    async with trio.open_nursery() as nursery:

        async def tell() -> None:
            while True:
                await trio.sleep(1)
                print(json.dumps(load.line()), flush=True)

        async def listen() -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for _ in signals:
                    load.stop()

        nursery.start_soon(tell)
        nursery.start_soon(listen)
        await load.run(connections)
        nursery.cancel_scope.cancel()
    print(json.dumps({**load.line(), "done": True}), flush=True)


def main(
    arguments: list[str] | None = None, kind: type[Load] = Load, what: str = "requests", name: str = "load"
) -> int:
    """Exit code 0 if every answer was right, 1 otherwise. ``name``: of the module that is run."""
    parser = argparse.ArgumentParser(
        prog=f"python -m shadowd.demo.{name}", description=f"Ask a demo's service: {what}."
    )
    parser.add_argument("--port", type=int, required=True, help="loopback port of the service")
    parser.add_argument("--rate", type=float, default=400.0, help=f"{what} per second (default 400)")
    parser.add_argument("--connections", type=int, default=8, help="connections (default 8)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (default 30)")
    options = parser.parse_args(arguments)
    if not (0 < options.rate <= 100_000 and 1 <= options.connections <= 1_000 and options.seconds > 0):
        parser.error("--rate must be 1 to 100000, --connections 1 to 1000, --seconds positive")
    load = kind(options.port, options.rate, options.seconds)
    trio.run(drive, load, options.connections)
    return 1 if load.errors or not load.ok else 0


if __name__ == "__main__":
    sys.exit(main())
