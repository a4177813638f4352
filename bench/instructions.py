"""Instructions of user space that an exchange costs: ``python -m bench.instructions [MODE ...] [--json]``.

What a processor executes for the same traffic is the same whatever else the machine does, to one in a hundred: so it
can be held by a test, and a change of one in fifty can be seen. valgrind counts what runs within ``Pump.turn``; the
ring is a memory file that this process fills, production's packets are made, the shadow is a real server.

=========== ============================================================================================
mode        an exchange
=========== ============================================================================================
mirror      GET of 1 KB, mirrored
compare     the same, answers compared, one of twenty asked twice (the default)
twin        the same, each asked twice
browser     as compare, with the head that a browser sends
post        POST of 10 KB, answered with 1 KB, compared
chunked     as compare, the answer in four chunks
pipelined   as compare, four requests in a segment
tls         as compare, over TLS 1.3 (AES-256-GCM)
http2       as compare, each exchange a stream of HTTP/2 on both sides
shed        as compare, and each came too late to be sent
=========== ============================================================================================

Needs valgrind and a C compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import pickle
import random
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shadowd.capture import abi
from shadowd.capture.ring import Ring
from shadowd.capture.switch import Switch
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.rules import Rules
from shadowd.evidence.settings import Settings
from shadowd.ledger.budget import Budget
from shadowd.policy.policy import Policy, loop_value
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2_frames import (
    DATA,
    END_STREAM,
    HEADERS,
    PREFACE_BYTES,
    FrameReader,
    frame,
    header_block,
    settings,
)  # fmt: skip
from shadowd.replay.connection import Connection
from shadowd.replay.engine import Engine
from shadowd.replay.target import Target, TargetLimits
from shadowd.stream.table import FlowLimits
from shadowd.worker.filters import Filter
from shadowd.worker.pump import Pump

MODES = ("mirror", "compare", "twin", "browser", "post", "chunked", "pipelined", "tls", "http2", "shed")
FLOWS = 16
WARM, ROUNDS = 40, 20  # batches of an exchange on each flow
MOST_BATCHES = 500
_SIZE = 16 << 20
_PAGE = mmap.PAGESIZE
_SECOND = 1_000_000_000
_MEASURED = """#include <valgrind/callgrind.h>
void shadowd_begin(void) { CALLGRIND_START_INSTRUMENTATION; }
void shadowd_measured(void (*turn)(void)) { CALLGRIND_TOGGLE_COLLECT; turn(); CALLGRIND_TOGGLE_COLLECT; }
"""
_ROOMS = (128, 256, 512, 1024, 2048, 4096, 16384)  # the record's size classes (bpf/abi.h)

_BODY = (b"0123456789abcdef" * 64)[:1024]
_PLAIN = b"GET /orders/1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: load\r\n\r\n"
_BROWSER = (
    b"GET /orders/1?page=2&sort=price HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
    b"Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    b"Referer: https://shop.example/orders?page=1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
    b"Cookie: session=5f1d7a84c3b24e0f9a6d; consent=all; theme=dark\r\n\r\n"
)  # fmt: skip


def request_of(mode: str) -> bytes:
    """What a client sends for one exchange."""
    if mode == "browser":
        return _BROWSER
    if mode == "post":
        head = b"POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10240\r\n\r\n"
        return head + (b'{"item":"screw","count":12}' * 400)[:10240]
    return _PLAIN


def answer_of(mode: str) -> bytes:
    """What both servers answer."""
    head = (
        b"HTTP/1.1 200 OK\r\nServer: shop\r\nDate: Thu, 26 Nov 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\n"
        b'ETag: "5f1d-400"\r\n'
    )
    if mode == "chunked":
        chunks = b"".join(b"100\r\n" + _BODY[at : at + 256] + b"\r\n" for at in range(0, 1024, 256))
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    return head + b"Content-Length: 1024\r\n\r\n" + _BODY


def stream_of(number: int) -> tuple[bytes, bytes]:
    """A plain exchange as a stream of HTTP/2: what the client sends, and what servers answer."""
    asked = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/orders/1"), (b":authority", b"shop.example")]
    said = [(b":status", b"200"), (b"server", b"shop"), (b"date", b"Thu, 26 Nov 2026 12:00:00 GMT")]
    said += [(b"content-type", b"text/plain"), (b"etag", b'"5f1d-400"'), (b"content-length", b"1024")]
    request = header_block(number, encode([*asked, (b"user-agent", b"load")]), end=True)
    return request, header_block(number, encode(said), end=False) + frame(DATA, END_STREAM, number, _BODY)


def serve_streams(report: Callable[[int], object]) -> None:
    """``serve`` for HTTP/2."""
    listener = socket.create_server(("127.0.0.1", 0))
    report(listener.getsockname()[1])

    def attend(client: socket.socket) -> None:
        reader = FrameReader(client=True)
        with client:
            client.sendall(settings({}))
            while data := client.recv(1 << 16):
                asked = [one.stream for one in reader.feed_untrusted(data) if one.kind == HEADERS]
                if asked:
                    client.sendall(b"".join(stream_of(number)[1] for number in asked))

    while True:
        client, _ = listener.accept()
        threading.Thread(target=attend, args=(client,), daemon=True).start()


# --- the shadow, in a process of its own ------------------------------------------------------------------------------


def serve(mode: str, report: Callable[[int], object]) -> None:
    """Answers until the process is ended. All requests of a mode have one length, but for what a shadow is sent."""
    if mode == "http2":
        serve_streams(report)
    listener = socket.create_server(("127.0.0.1", 0))
    report(listener.getsockname()[1])
    ending = b"\r\n\r\n"
    body = 10240 if mode == "post" else 0
    answer = answer_of(mode)

    def attend(client: socket.socket) -> None:
        waiting = b""
        with client:
            while data := client.recv(1 << 16):
                waiting += data
                many = 0
                while (end := waiting.find(ending)) >= 0 and len(waiting) >= end + 4 + body:
                    waiting = waiting[end + 4 + body :]
                    many += 1
                if many:
                    client.sendall(answer * many)

    while True:
        client, _ = listener.accept()
        threading.Thread(target=attend, args=(client,), daemon=True).start()


# --- what is measured -------------------------------------------------------------------------------------------------


class Kernel:
    """The producer's side of a ring in a memory file."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("ring")
        os.ftruncate(self.descriptor, 2 * _PAGE + 2 * _SIZE)
        self._memory = mmap.mmap(self.descriptor, 2 * _PAGE + 2 * _SIZE)
        self._produced = 0

    def put(self, record: bytes) -> None:
        place = (len(record) + 15) & ~7
        at = self._produced & (_SIZE - 1)
        if at + place > _SIZE:  # no record wraps: the rest is an entry that was discarded
            struct.pack_into("=II", self._memory, 2 * _PAGE + at, (_SIZE - at - 8) | 1 << 30, 0)
            self._produced += _SIZE - at
            at = 0
        begin = 2 * _PAGE + at
        struct.pack_into("=II", self._memory, begin, len(record), 0)
        self._memory[begin + 8 : begin + 8 + len(record)] = record
        self._produced += place

    def publish(self) -> None:
        struct.pack_into("=Q", self._memory, _PAGE, self._produced)


class Ends:
    """Both ends of a TLS connection in memory; the server's tells its secrets."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        self._bios = [ssl.MemoryBIO() for _ in range(4)]  # what the client reads and writes, and the server
        self._ends = (
            client.wrap_bio(self._bios[0], self._bios[1], server_hostname="shop.example"),
            server.wrap_bio(self._bios[2], self._bios[3], server_side=True),
        )

    def shake(self) -> list[tuple[int, bytes]]:
        """What both send for a handshake: direction and bytes."""
        sent = []
        waiting = [0, 1]
        while waiting:
            for end in tuple(waiting):
                try:
                    self._ends[end].do_handshake()
                    waiting.remove(end)
                except ssl.SSLWantReadError:
                    pass
                if data := self._move(end):
                    sent.append((end, data))
        return sent

    def _move(self, end: int) -> bytes:
        data = self._bios[2 * end + 1].read()
        self._bios[2 - 2 * end].write(data)
        return data

    def say(self, end: int, text: bytes) -> bytes:
        """As it is on the wire."""
        self._ends[end].write(text)
        data = self._move(end)
        left = len(text)
        while left:
            left -= len(self._ends[1 - end].read(left))
        return data


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext, Path]:
    """A client's and a server's, and the server's key log."""
    chain, log = folder / "chain.pem", folder / "keys.log"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=shop.example", "-keyout", str(chain), "-out", str(folder / "certificate.pem")]
    subprocess.run(command, check=True, capture_output=True)
    with chain.open("ab") as file:
        file.write((folder / "certificate.pem").read_bytes())
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    server.keylog_filename = str(log)
    return client, server, log


class Sealed:
    """What a connection says on the wire: its handshake, then request and answer of each batch."""

    def __init__(self, ends: Ends, request: bytes, answer: bytes, batches: int) -> None:
        self.shake = ends.shake()
        self.said = [(ends.say(0, request), ends.say(1, answer)) for _ in range(batches)]
        self.said.reverse()


def seal(mode: str, folder: Path, batches: int) -> Path:
    """All of it for all connections, in a file: made before anything is measured, for a libssl in which somebody has
    breakpoints does not run in valgrind."""
    client, server, log = contexts(folder)
    sealed = [Sealed(Ends(client, server), request_of(mode), answer_of(mode), batches) for _ in range(FLOWS)]
    file = folder / "sealed"
    file.write_bytes(pickle.dumps((str(log), [(one.shake, one.said) for one in sealed])))
    return file


class Flow:
    """A client's connection."""

    def __init__(self, number: int, sealed: Any = None) -> None:
        self.shake, self.said = sealed or ((), None)
        address = abi.pack_address("127.0.0.1")
        self.key = abi.FLOW_KEY.pack(1, address, address, 40_000 + number, 8080, 0)
        self.next = [1000 + number, 5000 + number]


class World:
    """A pump with one filter and one target, and what feeds it."""

    def __init__(self, mode: str, port: int, sealed: str = "-") -> None:
        self.request, self.answer = stream_of(1) if mode == "http2" else (request_of(mode), answer_of(mode))
        self.each = 4 if mode == "pipelined" else 1
        self.kernel = Kernel()
        ring = Ring(self.kernel.descriptor, _SIZE, SimpleNamespace(update=lambda key, value: None))  # type: ignore[arg-type]
        ring.descriptor = os.eventfd(0, os.EFD_NONBLOCK)  # epoll takes no memory file
        programs = SimpleNamespace(keep_alive=lambda until: None, counters=lambda: {"dead": 0})
        compared = mode != "mirror"
        self.engine = Engine(0, 64 << 20, 1 << 20, time_socket=lambda cookie, on: None, budget=Budget(256 << 20))
        self.pump = Pump(ring, self.engine, FlowLimits(), Switch(programs, 2.0))
        chosen = Filter("bench", Policy(loop_value("node", "bench", None), methods=None), allow_writes=True)
        url = f"http://127.0.0.1:{port}"
        account = chosen.account.add_target(url)
        self.target = target = Target(
            url, "http", "127.0.0.1", port, account, TargetLimits(max_lag=-1 if mode == "shed" else 600 * _SECOND)
        )
        target.addresses = [(socket.AF_INET, ("127.0.0.1", port))]
        chosen.targets.append(target)
        self.engine.targets.append(target)
        if compared:
            chosen.examiners[target] = Examiner(Settings(twin=1.0 if mode == "twin" else 0.05), Rules())
        said: list[Any] = [None] * FLOWS
        if sealed != "-":
            chosen.keylog, said = pickle.loads(Path(sealed).read_bytes())
        self.pump.set_bits({0: chosen})
        self.filter = chosen
        self._told: dict[Connection, list[int]] = {}
        self._ready: dict[int, int] = {}
        if mode == "http2":
            shake = [(0, PREFACE_BYTES + settings({})), (1, settings({}))]
            said = [(shake, [stream_of(number) for number in range(2 * MOST_BATCHES - 1, 0, -2)]) for _ in range(FLOWS)]
        self.flows = [Flow(number, said[number]) for number in range(FLOWS)]
        for flow in self.flows:
            self._segment(flow, 0, b"", 2)
            self._segment(flow, 1, b"", 0x12)
            for direction, data in flow.shake:
                self._segment(flow, direction, data)
        self.kernel.publish()
        self.pump.turn()

    def _segment(self, flow: Flow, direction: int, payload: bytes, flags: int = 0x18, later: int = 0) -> None:
        now = time.monotonic_ns() + later
        at = 0
        while True:  # a chunk holds 16 KB at most
            piece = payload[at : at + _ROOMS[-1]]
            ack = flow.next[1 - direction] if flags != 2 else 0
            head = abi.RECORD.pack(
                now, 1, flow.next[direction], ack, len(payload), at, len(piece), abi.RECORD_SEGMENT, direction, flags, 0
            )
            room = next((room for room in _ROOMS if room >= len(piece)), 0) if piece else 0
            self.kernel.put(head + flow.key + piece + bytes(room - len(piece)))
            at += len(piece)
            if at >= len(payload):
                break
        flow.next[direction] += len(payload) + (flags & 2 > 0)

    def _times(self) -> None:
        """The timing records of our own timed connections that the kernel would have sent since the last call."""
        pack = abi.RECORD.pack
        for connection in list(self.engine._connections.values()):
            if connection.times is None:
                continue
            now, cookie = time.monotonic_ns(), connection.cookie
            told = self._told.get(connection)
            if told is None:
                told = self._told[connection] = [0, 0]
                self.kernel.put(pack(now, cookie, 100, 0, 0, 0, 0, abi.RECORD_TIMING, 0, 2, 0))
                self.kernel.put(pack(now, cookie, 500, 0, 0, 0, 0, abi.RECORD_TIMING, 1, 0x12, 0))
            expected = connection._received + len(self.answer) * len(connection.in_flight)
            for direction, first, known in ((0, 101, connection._written), (1, 501, expected)):
                if known > told[direction]:
                    seq, many = first + told[direction], known - told[direction]
                    self.kernel.put(
                        pack(now, cookie, seq & 0xFFFFFFFF, 0, many, 0, 0, abi.RECORD_TIMING, direction, 0x18, 0)
                    )
                    told[direction] = known

    def batch(self, turn: Callable[[], object]) -> None:
        """An exchange (or four) on each flow, through to the last answer."""
        for flow in self.flows:
            said = (self.request * self.each, self.answer * self.each) if flow.said is None else flow.said.pop()
            self._segment(flow, 0, said[0])
            self._segment(flow, 1, said[1], later=60_000)
        self.kernel.publish()
        turn()
        end = time.monotonic() + 60
        account, engine = self.target.account, self.engine
        while account.in_flight or account.twins_in_flight or engine.examining.statistics().waiting:
            self._times()
            self.kernel.publish()
            wanted = sum(1 for one in engine._connections.values() if one.in_flight)
            while len(self._ready) < wanted and time.monotonic() < end:
                self._ready.update(engine.epoll.poll(0.002))
            engine._ready = [one for one in self._ready.items() if one[0] in engine._connections]
            self._ready.clear()
            turn()
            if time.monotonic() > end:
                raise SystemExit("the shadow does not answer")

    def settle(self) -> None:
        """As it is under load: a quarter of the exchanges is timed, and no clock is looked at."""
        self.target.busy = True
        self.engine._stop_timing(self.target, self.target.timed_beyond_share)
        self.target._rated_at = 1 << 62
        assert self.pump.switch is not None
        self.engine._next_sweep = self.pump._expire_at = self.pump.switch._alive_at = 1 << 62


def measure(mode: str, port: int, library: str, rounds: int, sealed: str) -> None:
    """Within valgrind: prints how many exchanges were counted."""
    random.seed(1)
    world = World(mode, port, sealed)
    for _ in range(WARM):
        world.batch(world.pump.turn)
    world.settle()
    world.batch(world.pump.turn)
    turn = ctypes.CFUNCTYPE(None)(lambda: world.pump.turn() and None)
    functions = ctypes.PyDLL(library)
    measured = functions.shadowd_measured
    functions.shadowd_begin()
    before = world.filter.account.seen
    for _ in range(rounds):
        world.batch(lambda: measured(turn))
    if not world.filter.account.balanced:
        raise SystemExit(f"the ledger does not balance: {world.filter.account.view()}")
    print(world.filter.account.seen - before)


def count(mode: str, rounds: int = ROUNDS) -> int:
    """Instructions an exchange. Raises RuntimeError where it cannot be measured."""
    if not (shutil.which("valgrind") and shutil.which("cc")):
        raise RuntimeError("valgrind or a C compiler is missing: apt-get install valgrind gcc")
    with tempfile.TemporaryDirectory() as folder:
        library, out = Path(folder, "measured.so"), Path(folder, "out")
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O0", "-x", "c", "-", "-o", str(library)], input=_MEASURED.encode(), check=True
        )
        base = [sys.executable, "-m", "bench.instructions"]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
        shadow = subprocess.Popen([*base, "--serve", mode], stdout=subprocess.PIPE, text=True, env=environment)
        try:
            assert shadow.stdout is not None
            port = shadow.stdout.readline().strip()
            sealed = seal(mode, Path(folder), WARM + 1 + rounds) if mode == "tls" else "-"
            done = subprocess.run(
                ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no",
                 "--instr-atstart=no",
                 getattr(sys, "_base_executable", sys.executable), *base[1:],
                 "--measure", mode, port, str(library), str(rounds), str(sealed)],
                capture_output=True, text=True, env=environment, timeout=600, check=False,
            )  # fmt: skip
        finally:
            shadow.kill()
            shadow.communicate()
        if done.returncode:
            raise RuntimeError(f"{mode}: {done.stderr.strip()[-2000:]}")
        exchanges = int(done.stdout)
        found = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)
        if found is None or not exchanges:
            raise RuntimeError(f"{mode}: nothing was counted")
        return int(found[1]) // exchanges


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modes", nargs="*", metavar="MODE", help=", ".join(MODES))
    parser.add_argument("--json", action="store_true", help="one object")
    parser.add_argument("--serve", metavar="MODE", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, lambda port: print(port, flush=True))
        return
    if options.measure:
        mode, port, library, rounds, sealed = options.measure
        measure(mode, int(port), library, int(rounds), sealed)
        return
    unknown = set(options.modes) - set(MODES)
    if unknown:
        parser.error(f"there is no mode {min(unknown)}, only {', '.join(MODES)}")
    found = {}
    for mode in options.modes or MODES:
        try:
            found[mode] = count(mode)
        except RuntimeError as error:
            raise SystemExit(f"error: {error}") from None
        if not options.json:
            print(f"{mode:<10} {found[mode]:>9,} instructions an exchange", flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
