"""A shadow that answers to do harm: bombs, depths, floods, drips and confused types. The daemon goes on, nobody waits,
memory stays where it was told to, and a neighbour's filter loses nothing."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import random
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadowd.worker.comparer_worker import MEMORY as COMPARER
from tests.faults.test_shadow import listener
from tests.faults.traffic import echo, production_under_load
from tests.netns.lab import Daemon, HttpClient, Server, check_ledger, ok, running, started, wait_for
from tests.service.unprivileged import SERVICE
from tests.service.unprivileged import daemon as service_rights

pytestmark = pytest.mark.usefixtures("root_user")

MEMORY = 112 << 20  # the process itself takes some 40 of it, 72 when all of it was loaded
JSON = b"Content-Type: application/json\r\n"
GZIP = JSON + b"Content-Encoding: gzip\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def bomb(size: int) -> bytes:
    packed = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join(packed.compress(zeros) for _ in range(size >> 20)) + packed.flush()


def numbers(seed: int, count: int) -> bytes:
    dice = random.Random(seed)
    return json.dumps([dice.random() for _ in range(count)]).encode()


@functools.cache
def whole_answers() -> dict[str, bytes]:
    empties = b"[" + b"[]," * 1_300_000 + b"{}]"
    return {
        "bomb": ok(bomb(200 << 20), headers=GZIP),
        "bomb-500": ok(bomb(200 << 20), b"500 Oh", GZIP),
        "empties": ok(gzip.compress(empties), headers=GZIP),
        "nested": ok(gzip.compress(gzip.compress(bomb(50 << 20))), headers=GZIP + b"Content-Encoding: gzip,gzip\r\n"),
        "members": ok(gzip.compress(b"") * 8_000, headers=GZIP),
        "deep": ok(b"[" * 100_000 + b"]" * 100_000, headers=JSON),
        "wide-and-deep": ok(b"[" * 60 + b"0," * 80_000 + b"1" + b"]" * 60, headers=JSON),
        "numbers": ok(numbers(1, 12_000), headers=JSON),
        "keys": ok(json.dumps({f"k{n}": n for n in range(15_000)}).encode(), headers=JSON),
        "digits": ok(b'{"n":' + b"9" * 200_000 + b"}", headers=JSON),
        "lines": ok(b"1\n" * 120_000, headers=b"Content-Type: text/plain\r\n"),
        "markup": ok(b"<a>" * 80_000, headers=b"Content-Type: text/html\r\n"),
        "nothing": ok(bytes(250_000), headers=b"Content-Type: text/plain\r\n"),
        "headers": ok(b"", headers=b"".join(b"X-%d: y\r\n" % n for n in range(1500))),
        "interim": b"HTTP/1.1 103 Early\r\n\r\n" * 3_000 + ok(b"{}", headers=JSON),
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 60_000 + b"0\r\n\r\n",
        "confused": STREAM.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"".join(
            b"data: " + json.dumps(one).encode() + b"\n\n" for one in CONFUSED
        ),
        "answered-500": ok(b"\xff" * 5_000, b"500 \x1b[31m"),
    }  # fmt: skip


CONFUSED = [
    {"type": "content_block_delta", "index": [], "delta": {"type": "input_json_delta", "partial_json": "x"}},
    {"type": "response.function_call_arguments.delta", "output_index": {}, "delta": "x"},
    {"choices": [{"index": [0], "delta": {"tool_calls": [{"index": {}, "function": []}]}}]},
    {"choices": {"0": None}, "usage": [], "model": 7},
    {"candidates": [[{"content": {"parts": {"text": 1}}}]]},
    [[[]]],
    {"error": [1, 2]},
]
ENDLESS = ("events", "body", "head", "drip", "silence")


def hostile(connection: socket.socket, number: int) -> None:
    answers = whole_answers()
    while True:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(
            next((x.split(b":")[1] for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")), 0)
        )
        while len(body) < length:
            more = connection.recv(65536)
            if not more:
                return
            body += more
        kind = head.split(b" ")[1].split(b"/")[-1].decode()
        if kind not in ENDLESS:
            connection.sendall(answers.get(kind, ok(b'{"ok":true}', headers=JSON)))
            if kind == "confused":
                return
            continue
        if kind == "silence":
            time.sleep(30)
            return
        connection.sendall({"events": STREAM, "body": b"HTTP/1.1 200 OK\r\n\r\n"}.get(kind, b"HTTP/1.1 200 OK\r\n"))
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if kind == "events":
                connection.sendall(b'data: {"choices":[{"delta":{"content":"A"}}]}\n\n' * 50)
                time.sleep(0.005)
            elif kind == "body":
                connection.sendall(b"A" * 65_536)
            elif kind == "head":
                connection.sendall(b"X-A: b\r\n" * 1_000)
            else:
                connection.sendall(b"X")
                time.sleep(0.2)
        return


def benign(number: int, head: bytes, body: bytes) -> bytes:
    if b"/chat/" in head.split(b"\r\n")[0]:
        return ok(b'data: {"choices":[]}\n\ndata: [DONE]\n\n', headers=b"Content-Type: text/event-stream\r\n")
    return ok(b'{"ok":true,"list":[1,2,3]}', headers=JSON)


def asks(path: str) -> bytes:
    """A request to a model."""
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    # the ring is large, for hosts that are busy otherwise: what this looks at is the daemon's own doing
    config = f'memory_max = {MEMORY}\nring_bytes = "128MB"\ndead_man_seconds = "30s"\n'
    with started(service_rights(tmp_path / "daemon", *SERVICE, config=config)) as running:
        yield running


def own_memory(daemon: Daemon) -> int:
    """RssAnon, as the kernel counts it (bytes)."""
    for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    raise AssertionError("no RssAnon")


def test_nothing_a_shadow_answers_stops_or_bloats_it(daemon: Daemon) -> None:
    production, beside = Server(answer=benign), Server(answer=echo)
    with listener(hostile) as shadow, production_under_load(connections=2, pause=0.01) as (neighbour, traffic):
        daemon.add("neighbour", neighbour.port, beside.url)
        daemon.add("hostile", production.port, shadow.url, methods="any", twin=0.5, timeout=2.0, max_connections=64)
        traffic.more(50)
        lost = daemon.ledger("neighbour")["lost"]  # what was under way when it came
        asked = 0
        for kind in (*whole_answers(), *ENDLESS):
            for path in (f"/x/{kind}", f"/v1/chat/{kind}"):
                client = HttpClient("127.0.0.1", production.port)
                if "chat" in path:
                    client.send(asks(path.replace("chat/", "chat/completions/")))
                    assert b"[DONE]" in client.receive()
                    asked += 1
                else:
                    for _ in range(3):
                        assert b'"ok":true' in client.get(path)
                        asked += 1
                client.close()
            daemon.call("status")  # it answers, whatever it is given
            assert own_memory(daemon) <= MEMORY
        wait_for("all of it has ended", lambda: not daemon.ledger("hostile")["in_flight"], 60)
        ledger = daemon.ledger("hostile")
        check_ledger(ledger)
        assert ledger["seen"] == asked
        assert ledger["lost"] == {}
        status = daemon.call("status")
        assert status["examining"]["comparison_failed"] == {}
        wait_for("what is heavy was compared", lambda: not daemon.call("status")["examining"]["heavy_waiting"], 90)
        compared = daemon.call("status")["examining"]
        assert compared["compared_elsewhere"] + compared["compared_by_digest"] > 10
        assert own_memory(daemon) <= MEMORY
        assert daemon.call("verdict", name="hostile")["verdict"] in ("fail", "inconclusive")
        traffic.more(50)
        side = daemon.settled("neighbour")
        assert (side["lost"], side.get("missed")) == (lost, None)
        assert side["targets"][0]["mirrored"] + sum(lost.values()) == side["seen"], side["targets"]
    production.close()
    beside.close()


def test_streams_without_end_stay_in_the_budget(daemon: Daemon) -> None:
    """Two hundred at once, after uploads that fill the buffers: what the kernel counts as the daemon's own stays within
    ``memory_max`` all the time, and the streams end soon after production's."""
    production = Server(answer=benign)
    with listener(hostile) as shadow, contextlib.ExitStack() as opened:
        daemon.add("streams", production.port, shadow.url, methods="any", timeout=1.0, max_connections=300)
        uploads = [opened.enter_context(socket.create_connection(("127.0.0.1", production.port))) for _ in range(20)]
        for upload in uploads:  # 60 MB that are not whole: more than there is room for
            upload.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n")
            upload.sendall(bytes(3 << 20))
        # else what does not fit into the ring decides what is lost, and not the budget
        wait_for("they were read", lambda: not daemon.ledger("streams")["kernel"]["waiting"], 60)
        for number in range(200):
            client = HttpClient("127.0.0.1", production.port)
            client.sock.settimeout(60)  # two hundred endless answers are made by this very process
            client.send(asks(f"/v1/chat/completions/{number}/events"))
            assert b"[DONE]" in client.receive()
            client.close()
            assert own_memory(daemon) <= MEMORY
        until = time.monotonic() + 120
        while daemon.ledger("streams")["in_flight"] and time.monotonic() < until:
            assert own_memory(daemon) <= MEMORY
            time.sleep(0.1)
        memory = daemon.call("status")["memory"]
        assert memory["max"] == MEMORY
        assert memory["buffers_max"] < MEMORY - (40 << 20)
        assert memory["comparer_max"] == COMPARER
        for upload in uploads:
            upload.close()
        ledger = daemon.settled("streams", lambda found: found["seen"] == 220, 60)
        assert own_memory(daemon) <= MEMORY
        (target,) = ledger["targets"]
        assert target["mirrored"] + sum(target["shed"].values()) + sum(target["failed"].values()) == 200
        assert sum(ledger["lost"].values()) == 20
    production.close()


def test_a_limit_below_the_process_itself_is_said(tmp_path: Path) -> None:
    with running(tmp_path / "d", 'memory_max = "16MB"\n') as small:
        said = wait_for("it is a problem", lambda: [x for x in small.call("status")["problems"] if "memory_max" in x])
        assert "memory_max is 16 MB, and the daemon itself takes" in said[0]
        assert "memory: problem=memory_max is 16 MB" in small.log.read_text()
