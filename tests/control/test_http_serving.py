"""The door's server over real sockets, with applications that stream, fail, hang and do not read."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from typing import Any

import pytest
import trio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from shadowd.observe import entrance
from shadowd.observe.entrance import Entrance

LIMIT = 20.0
GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"


class Client:
    """A connection of a client, and what was read of it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.seen = b""

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def until(self, words: bytes, times: int = 1) -> bytes:
        while self.seen.count(words) < times:
            data = await self.stream.receive_some()
            assert data, f"{words!r} did not come: {self.seen!r}"
            self.seen += data
        return self.seen

    async def end(self) -> bytes:
        while data := await self.stream.receive_some():
            self.seen += data
        return self.seen


def serving(app: ASGIApp, test: Callable[[Callable[[], Awaitable[Client]]], Awaitable[None]]) -> None:
    """Runs the test against the application; afterwards somebody else is still served."""

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        plain = scope["path"] == "/still"
        await (PlainTextResponse("still here") if plain else app)(scope, receive, send)

    async def main() -> None:
        with trio.fail_after(LIMIT), ExitStack() as opened:
            listener = opened.enter_context(trio.socket.socket())
            await listener.bind(("127.0.0.1", 0))
            listener.listen(100)

            async def connect() -> Client:
                stream = await trio.open_tcp_stream(*listener.getsockname())
                opened.enter_context(stream.socket)
                return Client(stream)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(Entrance(door, {}).serve, listener)
                await test(connect)
                other = await connect()
                await other.say(b"GET /still HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                assert (await other.end()).endswith(b"still here")
                nursery.cancel_scope.cancel()

    trio.run(main)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(scope["path"].encode() + b"=" + body + b";")(scope, receive, send)


def test_pipelined_requests_are_answered_in_order_with_bodies_of_both_kinds() -> None:
    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(
            GET % 1
            + b"POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            + b"POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nx"
        )
        await client.until(b"/2=abcde;")
        await client.say(b"yz" + (GET % 4)[:20])
        await client.until(b"/3=xyz;")
        await client.say((GET % 4)[20:])
        seen = await client.until(b"/4=;")
        assert seen.count(b"HTTP/1.1 200 ") == 4
        assert b"/1=;HTTP/1.1 200" in seen

    serving(echo, test)


def test_a_body_is_asked_for_where_the_client_waits_and_not_where_nobody_reads_it() -> None:
    head = b"POST /%b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = echo if scope["path"] == "/read" else PlainTextResponse("no", 403)
        await answer(scope, receive, send)

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(head % b"read")
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await client.say(b"ab")
        await client.until(b"/read=ab;")
        await client.say(head % b"leave")
        seen = await client.end()
        assert seen.count(b"HTTP/1.1 100 ") == 1
        assert seen.endswith(b"no")

    serving(app, test)


class Stream:
    """An endless event stream, and how it ended."""

    def __init__(self, events: int = 1, size: int = 10) -> None:
        self.events, self.size = events, size
        self.told = 0
        self.ended = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self.tell()) as told:
                await StreamingResponse(told, media_type="text/event-stream")(scope, receive, send)
        finally:
            self.ended.set()

    async def tell(self) -> AsyncGenerator[bytes]:
        for _ in range(self.events):
            self.told += 1
            yield b"data: " + b"x" * self.size + b"\n\n"
        await trio.sleep_forever()


@pytest.mark.parametrize("reset", [False, True])
def test_a_stream_ends_when_its_client_goes(reset: bool) -> None:
    stream = Stream()

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(GET % 1)
        assert b"\r\ncontent-type: text/event-stream" in (await client.until(b"data: xxxxxxxxxx\n\n")).lower()
        assert not stream.ended.is_set()
        if reset:
            client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await client.stream.aclose()
        await stream.ended.wait()

    serving(stream, test)


def test_a_stream_goes_on_while_its_client_asks_for_more_than_is_taken() -> None:
    """What it sends ahead waits, in its own socket at last, and its going is seen by what can no longer be written."""
    begun = trio.Event()

    class Slow(Stream):
        async def tell(self) -> AsyncGenerator[bytes]:
            yield b"data: first\n\n"
            await begun.wait()
            while True:
                yield b"data: more\n\n"
                await trio.sleep(0.01)

    stream = Slow()

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(GET % 1)
        await client.until(b"first\n\n")
        with trio.move_on_after(0.5) as full:  # megabytes: what sockets hold
            while True:
                await client.say(GET % 2 * 10_000)
        assert full.cancelled_caught
        begun.set()
        await client.until(b"more\n\n", 3)
        await client.stream.aclose()
        await stream.ended.wait()

    serving(stream, test)


def test_a_client_that_takes_nothing_ends_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "WRITE_SECONDS", 0.2)
    stream = Stream(1000, 100_000)

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(GET % 1)
        await stream.ended.wait()
        assert 0 < stream.told < stream.events  # what sockets hold

    serving(stream, test)


def test_head_of_a_stream_is_its_head() -> None:
    stream = Stream()

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say((GET % 1).replace(b"GET", b"HEAD"))
        await stream.ended.wait()
        await client.say((GET % 1).replace(b"GET", b"HEAD"))
        seen = await client.until(b"\r\n\r\n", 2)
        assert seen.count(b"HTTP/1.1 200 ") == 2
        assert b"data:" not in seen

    serving(stream, test)


def test_who_only_stopped_asking_is_answered() -> None:
    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(GET % 1)
        await client.stream.send_eof()
        assert (await client.end()).endswith(b"/1=;")

    serving(echo, test)


def test_a_body_that_does_not_come_and_a_second_request_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "IDLE_SECONDS", 1.0)

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        silent = await connect()
        await silent.say(GET % 1)
        dripping = await connect()
        await dripping.say(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        while not dripping.seen:  # each byte in time, the whole not
            await dripping.say(b"x")
            with trio.move_on_after(0.1):
                dripping.seen += await dripping.stream.receive_some()
        assert (await dripping.end()).startswith(b"HTTP/1.1 408 ")
        assert (await silent.end()).endswith(b"/1=;")

    serving(echo, test)


def test_a_client_that_ends_within_its_body_is_not_answered() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            told.append(message["body"].decode())
        told.append(message["type"])

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        await client.stream.send_eof()
        await client.end()
        assert told == ["abc", "http.disconnect"]

    serving(app, test)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"5\r\nabcdefgh\r\n", b"-1\r\n"])
def test_a_body_that_is_none_is_answered_with_400_and_ends_the_application(rest: bytes) -> None:
    left = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Request(scope, receive).body()
        finally:
            left.set()
        raise AssertionError("it was told that this is a body")

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n" + rest + GET % 2
        )
        seen = await client.end()
        assert seen.startswith(b"HTTP/1.1 400 ")
        assert seen.count(b"HTTP/1.1") == 1
        assert left.is_set()

    serving(app, test)


def test_an_answer_reaches_a_client_that_still_sends() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("too large", 413)(scope, receive, send)

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
        await client.until(b"too large")
        for _ in range(10):
            await client.say(b"x" * 100_000)
        assert (await client.end()).lower().count(b"connection: close") == 1

    serving(app, test)


@pytest.mark.parametrize(
    ("said", "status", "whole"),
    [
        ([], b"500", True),
        (["fail"], b"500", True),
        ([{"type": "http.response.body", "body": b"x"}], b"500", True),
        ([{"type": "http.response.start", "status": 200}], b"200", False),
        ([{"type": "http.response.start", "status": 200}, "fail"], b"200", False),
        ([{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]},
          {"type": "http.response.body", "body": b"short"}], b"200", False),
    ],
)  # fmt: skip
def test_an_application_that_fails(said: list[Any], status: bytes, whole: bool) -> None:
    """Before its answer has begun that is 500, and later the answer is cut off, which a client can see."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()
        for message in said:
            if message == "fail":
                raise RuntimeError("a fault")
            await send(message)

    async def test(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.say(GET % 1 + GET % 2)
        seen = await client.end()
        assert seen.startswith(b"HTTP/1.1 " + status)
        assert seen.count(b"HTTP/1.1 ") == 1
        ended = b"content-length: 0\r\n" in seen.lower() or seen.endswith(b"0\r\n\r\n")
        assert ended == whole

    serving(app, test)
