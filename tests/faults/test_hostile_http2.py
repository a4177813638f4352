"""Peers of HTTP/2 that mean harm, on both sides of a real daemon: its memory stays where it was told to, every request
has its line in the ledger, and what comes after is mirrored as if nothing had been."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shadowd.protocols import http2_frames as frames
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2_frames import PREFACE_BYTES, frame
from tests.faults.test_hostile_answers import MEMORY, daemon, own_memory
from tests.faults.test_shadow import listener
from tests.netns.lab import Daemon, check_ledger, wait_for
from tests.netns.test_http2 import h2load, nginx

__all__ = ["daemon", "nginx"]
pytestmark = pytest.mark.usefixtures("root_user")

HELLO = frames.settings({})
OK = encode([(b":status", b"200")])
ASKED = encode([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/bomb"), (b":authority", b"shop")])
LONG = b"\x40\x01x\x7f\x80\x1e" + b"v" * 3967  # a field of 4,000 bytes, put into the table
AGAIN = b"\xbe" * 60  # and named sixty times


def streams(first: bytes, again: bytes, count: int, end: bool) -> bytes:
    """Header blocks on so many streams."""
    return b"".join(frames.header_block(1 + 2 * n, again if n else first, end=end) for n in range(count))


#: What a shadow says, again and again, to whoever has asked.
SAID = {
    "pings": (HELLO, frame(frames.PING, 0, 0, bytes(8)) * 500),
    "pings within an answer": (
        HELLO + frames.header_block(1, OK, end=False),
        frame(frames.PING, 0, 0, bytes(8)) * 500 + frame(frames.DATA, 0, 1, b"x"),
    ),
    "settings": (HELLO, frames.settings({frames.MAX_CONCURRENT_STREAMS: 7}) * 500),
    "a bomb": (HELLO + streams(OK + LONG, OK + AGAIN, 500, end=False), b""),
    "a bomb that answers": (HELLO + streams(OK + LONG, OK + AGAIN, 500, end=True), b""),
    "content without end": (
        HELLO + frames.header_block(1, OK, end=False), frame(frames.DATA, 0, 1, bytes(16_384)) * 4,
    ),
    "content byte by byte": (HELLO + frames.header_block(1, OK, end=False), frame(frames.DATA, 0, 1, b"x") * 2000),
    "continuations": (HELLO + frame(frames.HEADERS, 0, 1), frame(frames.CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 100)),
    "windows of a byte": (frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), frames.window_update(1, 1) * 500),
    "goodbye": (HELLO + frame(frames.GOAWAY, 0, 0, bytes(8)), b""),
    "refusals": (HELLO + b"".join(frames.reset(n, frames.REFUSED_STREAM) for n in range(1, 200, 2)), b""),
    "noise": (b"\x00\x00\x04\x00" * 100, b""),
    "nothing": (b"", b""),
}  # fmt: skip


def conduct(kind: str) -> Any:
    first, then = SAID[kind]

    def says(connection: socket.socket, number: int) -> None:
        connection.recv(65_536)
        connection.sendall(first)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if then:
                connection.sendall(then)  # what we are told in return is never read
            elif not connection.recv(65_536):
                return

    return says


@pytest.mark.parametrize("kind", SAID)
def test_a_shadow_that_floods_costs_its_own_requests_alone(daemon: Daemon, nginx: Any, kind: str) -> None:
    """Beside it a well-behaved shadow of the same filter is asked for all."""
    production, well = nginx("now"), nginx("next")
    with listener(conduct(kind)) as shadow:
        daemon.call(
            "filter.add",
            spec={
                "name": "shop", "ports": [str(production.port)], "timeout": "2s", "twin": 0,
                "to": [shadow.url, f"http://127.0.0.1:{well.port}"],
            },
        )  # fmt: skip
        h2load(production.port, 100, "-c", "4", "-m", "10", "--rps", "20")
        most = 0

        def over() -> bool:
            nonlocal most
            most = max(most, own_memory(daemon))
            return not daemon.ledger("shop")["in_flight"]

        wait_for("all of it has ended", over, 60)
        ledger = daemon.ledger("shop")
        check_ledger(ledger)
        assert (ledger["seen"], ledger["lost"]) == (100, {})
        hostile, other = ledger["targets"]
        assert hostile["mirrored"] + sum(hostile["failed"].values()) + sum(hostile["shed"].values()) == 100
        assert other["mirrored"] == 100, ledger
        assert well.asked == production.asked
        assert most <= MEMORY
        assert daemon.call("status")["examining"]["comparison_failed"] == {}


def attacks() -> Iterator[tuple[str, bytes]]:
    """What a client says to production, and so to us."""
    yield "bomb", streams(ASKED + LONG, ASKED + AGAIN, 1000, end=False)
    yield "bomb that asks", streams(ASKED + LONG, ASKED + AGAIN, 1000, end=True)
    rapid = [frames.header_block(1 + 2 * n, ASKED, end=True) + frames.reset(1 + 2 * n, 8) for n in range(5000)]
    yield "rapid reset", b"".join(rapid)
    yield "continuations", frame(frames.HEADERS, 0, 1, ASKED) + frame(frames.CONTINUATION, 0, 1, b"") * 20_000
    yield "pings", frame(frames.PING, 0, 0, bytes(8)) * 20_000
    yield "noise", b"\xff" * 100_000


def test_a_client_that_attacks_production_bloats_nothing(daemon: Daemon, nginx: Any) -> None:
    production, shadow = nginx("now"), nginx("next")
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}")
    for name, said in attacks():
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", production.port)) as client:
                client.settimeout(5)
                with contextlib.suppress(OSError):  # production may cut it off
                    client.sendall(PREFACE_BYTES + HELLO + said)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65_536):
                        pass
            assert own_memory(daemon) <= MEMORY, name
    wait_for("all of it has ended", lambda: not daemon.ledger("shop")["in_flight"], 60)
    assert own_memory(daemon) <= MEMORY
    before = daemon.ledger("shop")
    check_ledger(before)
    mirrored = before["targets"][0]["mirrored"]
    h2load(production.port, 100, "-c", "2", "-m", "5", "--rps", "50")
    ledger = daemon.settled("shop", lambda found: found["seen"] == before["seen"] + 100)
    assert ledger["targets"][0]["mirrored"] == mirrored + 100


def test_no_request_hides_in_the_content_of_another(daemon: Daemon, nginx: Any) -> None:
    """A GET that says it has no content, and has some: to a shadow of HTTP/1 the rest would be a DELETE of its own."""
    production, shadow = nginx("now"), nginx("next", http2=False)
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}", to_protocol="http1")
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/item/1"), (b":authority", b"shop")]
    asked = encode([*fields, (b"content-length", b"0")])
    hidden = b"DELETE /item/2 HTTP/1.1\r\nHost: shop\r\n\r\n"
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", production.port)) as client:
            client.settimeout(5)
            said = frames.header_block(1, asked, end=False) + frame(frames.DATA, frames.END_STREAM, 1, hidden)
            with contextlib.suppress(OSError):
                client.sendall(PREFACE_BYTES + HELLO + said)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65_536):
                    pass
    h2load(production.port, 50, "-c", "2", "-m", "5", "--rps", "50")
    ledger = daemon.settled("shop", lambda found: found["seen"] == 60)
    assert ledger["filtered"] == {"unparsable": 10}
    assert ledger["targets"][0]["mirrored"] == 50, ledger
    assert {method for method, *_ in shadow.asked} == {"GET"}
