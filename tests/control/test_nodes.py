"""The door to several doors: nodes that come and go, answers that are none."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from shadowd.errors import ShadowdError
from shadowd.observe.http import address_of, serve_http
from shadowd.observe.nodes import Address, Nodes
from shadowd.observe.token import Token
from tests.control.test_http_door import LIMIT, SECRET, Filters, Fine


class Doors:
    """Doors of daemons, and the token that they ask for."""

    def __init__(self, folder: Path) -> None:
        self.token = Token(folder / "token")
        self.token.path.write_text(SECRET)
        self.token.path.chmod(0o640)
        self.places: list[Address] = []

    async def open(self, nursery: trio.Nursery) -> Filters:
        filters = Filters({"shop": "pass"})
        bound = await nursery.start(serve_http, "0.0.0.0:0", filters, Fine(), self.token)
        self.places.append(("127.0.0.1", address_of(bound)[1]))
        return filters


def trying(folder: Path, test: Callable[[Doors, trio.Nursery], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                await test(Doors(folder), nursery)
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_node_that_comes_later_is_given_the_run(tmp_path: Path) -> None:
    async def test(doors: Doors, nursery: trio.Nursery) -> None:
        first = await doors.open(nursery)
        nodes = Nodes(doors.places, doors.token)
        assert nodes.unready() == "no node was asked yet"
        await nodes.look()
        assert (nodes.unready(), nodes.names()) == ("", ["shop"])
        assert (await nodes.start_run("shop", "v2"))["nodes"] == 1
        later = await doors.open(nursery)
        await nodes.look()
        assert first.labels == later.labels == {"shop": "v2"}

    trying(tmp_path, test)


def test_a_node_that_cannot_be_asked_says_why(tmp_path: Path) -> None:
    async def test(doors: Doors, nursery: trio.Nursery) -> None:
        await doors.open(nursery)
        other = Token(tmp_path / "other")
        other.path.write_text("another token of the tests")
        other.path.chmod(0o600)
        no_json = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno\n"
        for port, token, why in (
            (doors.places[0][1], other, "it asks for another token"),
            (await speaking(nursery, b"SSH-2.0-x\r\n\r\n"), doors.token, "it speaks no HTTP"),
            (await speaking(nursery, no_json), doors.token, "it answers with status 200"),
            (closed(), doors.token, "("),
        ):
            nodes = Nodes([("127.0.0.1", port)], token)
            found = await nodes.verdict("shop")
            assert found["verdict"] == "inconclusive"
            assert f"127.0.0.1:{port} (" in found["error"]
            assert why in found["error"]
            with pytest.raises(ShadowdError, match="the run began on 0 of 1 nodes"):
                await nodes.start_run("shop", "v2")
            await nodes.look()
            assert nodes.unready().startswith("no node can be asked: 127.0.0.1:")

    trying(tmp_path, test)


def test_a_name_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    async def test(doors: Doors, nursery: trio.Nursery) -> None:
        nodes = Nodes([("nowhere.invalid", 9750)], doors.token)
        await nodes.look()
        assert nodes.unready().startswith("nowhere.invalid cannot be resolved")

    trying(tmp_path, test)


async def speaking(nursery: trio.Nursery, answer: bytes) -> int:
    """The port of one that answers so to whatever it is asked."""
    listeners: list[trio.SocketListener] = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    nursery.start_soon(trio.serve_listeners, serve, listeners)
    return int(listeners[0].socket.getsockname()[1])


def closed() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
