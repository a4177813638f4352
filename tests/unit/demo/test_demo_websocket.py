"""The WebSocket demo's desk, service, page and load: what they are said to do wrong they do, and nothing else."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from shadowd.demo.children import Child
from shadowd.demo.shop import SEARCH_MS
from shadowd.demo.websocket_desk import CLOSE_EACH, MESSAGE_LIMIT, Desk, Said
from shadowd.demo.websocket_load import TalkLoad
from shadowd.demo.websocket_page import PAGE
from tests.unit.demo.test_demo_service import exchange

ITEMS = [*range(100), 999_999_999]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ASKED = st.fixed_dictionaries(
    {"type": st.sampled_from(["price", "ask", "find", "order", "sing"]) | JSON}, optional={"item": JSON, "text": JSON}
)


def hear(desk: Desk, turn: int = 1, **asked: object) -> tuple[list[dict[str, Any]], Said]:
    said = desk.hear_untrusted(json.dumps(asked), turn)
    return [json.loads(message) for message in said.messages], said


# --- what is said -----------------------------------------------------------------------------------------------------


@given(text=st.text(max_size=200) | (ASKED | JSON).map(json.dumps), version=st.sampled_from([1, 2]))
def test_whatever_is_said_is_answered(text: str, version: int) -> None:
    said = Desk(version).hear_untrusted(text, 1)
    assert not said.code
    kinds = [json.loads(message)["type"] for message in said.messages]
    assert kinds
    assert kinds[-1] in {"price", "done", "found", "ordered", "error"}
    assert set(kinds[:-1]) <= {"token"}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "17", "[" * 2000, '{"type":"price"}', '{"type":"price","item":-1}',
        '{"type":"order","item":1e400}', '{"type":"ask","text":7}', '{"type":"sing"}', '{"type":["price"],"item":1}',
        '"' + "x" * MESSAGE_LIMIT + '"',
    ],
)  # fmt: skip
def test_what_is_not_understood_is_an_error_in_words(text: str) -> None:
    (message,) = Desk(1).hear_untrusted(text, 1).messages
    told = json.loads(message)
    assert told["type"] == "error"
    assert told["text"]


def test_version_1_depends_on_the_message_and_the_turn_alone() -> None:
    one, two = Desk(1), Desk(1)
    hear(two, type="order", item=3)
    for item in ITEMS:
        for asked in ({"type": "ask", "text": f"and {item}?"}, {"type": "find", "text": str(item)}):
            assert hear(one, item, **asked) == hear(two, item, **asked)
        for kind in ("price", "order"):
            assert hear(one, type=kind, item=item) == hear(two, type=kind, item=item)
    assert hear(one, 1, type="ask", text="17") != hear(one, 2, type="ask", text="17")


@pytest.mark.parametrize("item", ITEMS)
def test_each_fault_is_where_it_is_planted_and_nowhere_else(item: int) -> None:
    one, two = Desk(1), Desk(2)
    (right,), _ = hear(one, type="price", item=item)
    (other,), _ = hear(two, type="price", item=item)
    assert other == {**right, "cents": right["cents"] - (item % 7 == 3)}
    told, _ = hear(one, type="ask", text=f"Is item {item} in stock?")
    less, _ = hear(two, type="ask", text=f"Is item {item} in stock?")
    assert told[-1]["words"] == len(told) - 1
    assert less[:-1] == told[:-1]
    assert less[-1] == {name: value for name, value in told[-1].items() if name != "turn" or item % 10 != 7}
    assert hear(one, type="order", item=item) == hear(two, type="order", item=item)
    found, quick = hear(one, type="find", text=str(item))
    again, slow = hear(two, type="find", text=str(item))
    assert found == again
    assert slow.delay - quick.delay == pytest.approx((SEARCH_MS[2] - SEARCH_MS[1]) / 1000)


def test_a_total_is_that_of_its_lines() -> None:
    for item in ITEMS:
        (ordered,), _ = hear(Desk(1), type="order", item=item)
        assert ordered["cents"] == sum(line["cents"] for line in ordered["lines"])
        for line in ordered["lines"]:
            (price,), _ = hear(Desk(1), type="price", item=line["item"])
            assert line["cents"] == price["cents"]


def test_version_2_closes_at_each_nth_order_and_leaks() -> None:
    one, two = Desk(1), Desk(2)
    codes = [hear(two, type="order", item=item)[1].code for item in range(CLOSE_EACH * 3)]
    assert [place for place, code in enumerate(codes, 1) if code == 1011] == [CLOSE_EACH * k for k in (1, 2, 3)]
    assert not any(hear(one, type="order", item=item)[1].code for item in range(CLOSE_EACH * 3))
    assert len(two._kept) == CLOSE_EACH * 3
    assert not one._kept


# --- over the wire ----------------------------------------------------------------------------------------------------


def started(version: int, folder: Path) -> tuple[Child, int]:
    child = Child.python(
        "service", "shadowd.demo.websocket_service", ["--port", "0", "--version", str(version)], folder
    )
    return child, int(child.wait_line("listening on 127.0.0.1:", 10))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    child, port = started(1, tmp_path_factory.mktemp("service"))
    try:
        yield port
    finally:
        assert child.stop(), "SIGTERM ends it in time"
    assert child.exit_code == 0
    assert child.log.read_text().count("\n") == 1, "and nothing went wrong"


def talk(port: int, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/talk", **options)


def heard(client: ClientConnection, count: int) -> list[str]:
    return [str(client.recv(10)) for _ in range(count)]


@pytest.mark.parametrize("compression", ["deflate", None])
def test_a_conversation_with_another_s_client(port: int, compression: str | None) -> None:
    desk = Desk(1)
    with talk(port, compression=compression) as client:
        assert not client.protocol.extensions
        kinds = ("price", "ask", "find", "order")
        asked = [{"type": kind, "item": 17, "text": "is 17 there? Ünïcode"} for kind in kinds]
        for turn, one in enumerate(asked, 1):
            client.send(json.dumps(one))
            expected = desk.hear_untrusted(json.dumps(one), turn).messages
            assert heard(client, len(expected)) == list(expected)
        assert client.ping().wait(5)
    assert client.protocol.close_code == 1000


def test_what_is_said_ahead_is_answered_in_order(port: int) -> None:
    with talk(port) as client:
        for item in range(50):
            asked = json.dumps({"type": "find" if item % 5 else "ask", "text": str(item)})
            client.send([asked[:9], asked[9:]])  # a message of two frames
        ends = [one for text in heard(client, 10 * 6 + 40) if (one := json.loads(text))["type"] != "token"]
    assert [one.get("turn", one.get("text")) for one in ends] == [
        str(item) if item % 5 else item + 1 for item in range(50)
    ]


def test_what_is_no_talk_is_closed_with_its_code(port: int) -> None:
    for wrong, code in ((b"\x00", 1003), ("x" * (MESSAGE_LIMIT + 1), 1009)):
        with talk(port) as client:
            client.send(wrong)
            with pytest.raises(ConnectionClosed):
                client.recv(10)
        assert client.protocol.close_code == code


OPENING = (
    b"GET /talk HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /talk HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 426),
        (OPENING.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), 400),
        (OPENING.replace(b"Host: x\r\n", b""), 400),
        (OPENING.replace(b"Version: 13", b"Version: 8"), 426),
        (OPENING.replace(b"GET", b"POST"), 426),
        (b"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
        (b"garbage\r\n\r\n", 400),
        (OPENING + b"\x81\x01x", 101),  # not masked
        (OPENING + b"\xff", 101),
        (OPENING[:40], 0),
    ],
)
def test_odd_clients_are_refused_and_nobody_else_notices(port: int, sent: bytes, status: int) -> None:
    answered = exchange(port, sent)
    assert answered.startswith(b"HTTP/1.1 %d " % status if status else b"")
    assert bool(answered) == bool(status)
    with talk(port) as client:
        client.send('{"type":"price","item":1}')
        assert json.loads(client.recv(10))["item"] == 1


def test_a_client_that_goes_away_in_the_middle_of_an_answer(port: int) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), 5) as peer:
            peer.sendall(OPENING)
            assert peer.recv(1000).startswith(b"HTTP/1.1 101 ")
            asked = b'{"type":"ask","text":"17"}'
            peer.sendall(bytes((0x81, 0x80 | len(asked), 0, 0, 0, 0)) + asked)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset
    test_a_conversation_with_another_s_client(port, None)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_asks_nobody_else() -> None:
    text = PAGE.decode()
    assert not re.search(r"https?://|//[a-z]|@import|url\(", text)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) == {"data:,"}
    assert "innerHTML" not in text, "what a service says is shown as text"
    assert re.search(r"<noscript>.*scripts.*</noscript>", text)


def test_the_page_is_served_and_may_reach_its_own_service_alone(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for method in ("GET", "HEAD", "GET"):  # one connection
        connection.request(method, "/?auto=1")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read() == (b"" if method == "HEAD" else PAGE)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    connection.close()


# --- load -------------------------------------------------------------------------------------------------------------


async def drive(port: int, rate: float = 300, seconds: float = 1.0) -> dict[str, Any]:
    load = TalkLoad(port, rate, seconds)
    with trio.fail_after(20):
        await load.run(connections=4)
    return load.line()


def test_the_load_finds_nothing_wrong_with_version_1(port: int) -> None:
    told = trio.run(drive, port)
    assert told["errors"] == {}
    assert told["sent"] == told["ok"] == 300 + told["conversations"]
    assert told["conversations"] > 40
    assert told["latency_ms"]["p99"] >= told["latency_ms"]["p50"] > 0


def test_the_load_counts_what_version_2_closes_and_who_is_gone(tmp_path: Path) -> None:
    child, target = started(2, tmp_path)
    try:
        told = trio.run(drive, target, 900)
    finally:
        child.stop()
    assert set(told["errors"]) == {"closed"}
    closed = told["errors"]["closed"]
    assert closed >= 2
    assert told["sent"] == told["ok"] + closed == 900 + told["conversations"] + closed
    gone = trio.run(drive, target, 50, 0.4)  # nobody listens there any more
    assert (gone["sent"], gone["ok"], gone["errors"]) == (20, 0, {"connection": 20})


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", "connection"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "refused"),
        (b"SSH-2.0-x\r\n\r\n", "framing"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "framing"),
    ],
)
def test_the_load_names_what_is_no_websocket(answer: bytes, kind: str) -> None:
    async def broken(stream: trio.SocketStream) -> None:
        async with stream:
            if await stream.receive_some(65_536):
                await stream.send_all(answer)

    async def check() -> dict[str, Any]:
        load = TalkLoad(0, 40, 0.2)
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, broken, 0)
            load.port = listeners[0].socket.getsockname()[1]
            with trio.move_on_after(0.5):
                await load.run(connections=2)
            nursery.cancel_scope.cancel()
        return {"sent": load.sent, "ok": load.ok, "errors": dict(load.errors)}

    told = trio.run(check)
    assert set(told["errors"]) == {kind}
    assert told["ok"] == 0
