"""A server of the Model Context Protocol over HTTP, live: each side knows the sessions that it opened, no others."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import WORKERS, Daemon, running, wait_for

pytestmark = pytest.mark.skipif(
    WORKERS != "1", reason="sessions are known to the worker that saw them begin: workers = 1"
)


class McpServer(ThreadingHTTPServer):
    """Streamable HTTP with sessions (2025-06-18). ``price``: what its tool says."""

    daemon_threads = True

    def __init__(self, price: int = 7) -> None:
        self.price = price
        self.sessions: set[str] = set()
        self.called = 0
        self.unknown = 0
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join(10)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: McpServer

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, headers = self.server, {}
        if asked["method"] == "initialize":
            session = str(uuid.uuid4())
            server.sessions.add(session)
            headers["Mcp-Session-Id"] = session
            result: Any = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
        elif self.headers.get("Mcp-Session-Id") not in server.sessions:
            server.unknown += 1
            self._say(
                404, {"jsonrpc": "2.0", "id": asked.get("id"), "error": {"code": -32001, "message": "no session"}}
            )
            return
        elif "id" not in asked:
            self._say(202, None)
            return
        else:
            server.called += 1
            result = {"content": [{"type": "text", "text": f"{asked['params']['name']} costs {server.price}"}]}
        self._say(200, {"jsonrpc": "2.0", "id": asked["id"], "result": result}, headers)

    def _say(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def converse(port: int, tool: str, calls: int, known: Callable[[], object]) -> None:
    """A session: begun on one connection, gone on with on another. ``known`` returns when both sides know it."""
    first, second = HTTPConnection("127.0.0.1", port), HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    session = ""

    def ask(connection: HTTPConnection, document: dict[str, Any]) -> int:
        nonlocal session
        more = {"Mcp-Session-Id": session} if session else {}
        connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", **document}), {**headers, **more})
        answer = connection.getresponse()
        answer.read()
        session = answer.headers.get("Mcp-Session-Id", session)
        return answer.status

    assert ask(first, {"id": 1, "method": "initialize", "params": {}}) == 200
    assert ask(first, {"method": "notifications/initialized"}) == 202
    known()
    for number in range(calls):
        call = {"id": number + 2, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
        assert ask(first if number % 2 else second, call) == 200
    first.close()
    second.close()


@pytest.fixture
def servers() -> Iterator[list[McpServer]]:
    made = [McpServer(), McpServer(), McpServer(price=9)]
    yield made
    for server in made:
        server.end()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "d") as made:
        yield made


def test_the_shadow_is_asked_in_its_own_sessions(daemon: Daemon, servers: list[McpServer]) -> None:
    production, same, dearer = servers
    for name, one in (("same", same), ("dearer", dearer)):
        daemon.add(name, production.port, f"http://127.0.0.1:{one.port}", methods="any")
    for number in range(12):

        def seen(count: int) -> object:
            return [daemon.settled(name, lambda found: found["seen"] == count) for name in ("same", "dearer")]

        # nobody orders what comes on another connection: the shadow knows the session before
        converse(production.port, "anvil" if number % 2 else "rope", 10, partial(seen, 12 * number + 2))
        seen(12 * (number + 1))
    for name in ("same", "dearer"):
        assert daemon.ledger(name)["targets"][0]["mirrored"] == 144
    assert production.unknown == 0
    for shadow in (same, dearer):
        assert shadow.unknown == 0, "sessions of production's were said to the shadow"
        assert shadow.called == 120
        assert not shadow.sessions & production.sessions
    for name in ("same", "dearer"):
        # the comparer gets what the host has left: beside other tests that takes its time
        wait_for("all are compared", lambda name=name: daemon.call("verdict", name=name)["compared"] == 144, 60)
    assert daemon.call("diffs", name="same")["differences"] == []
    assert daemon.call("verdict", name="same")["verdict"] != "fail"
    found = daemon.call("diffs", name="dearer")["differences"]
    assert {(one["endpoint"], one["where"]) for one in found} == {
        (f"POST /mcp tools/call {tool}", "body") for tool in ("anvil", "rope")
    }


def test_sessions_are_forgotten_in_their_order() -> None:
    from shadowd.replay.sessions import MAX_SESSIONS, Sessions, session_of

    sessions = Sessions()
    for number in range(MAX_SESSIONS + 10):
        sessions.learn(b"p%d" % number, b"own%d" % number)
    wire = b"POST /mcp HTTP/1.1\r\nHost: x\r\nmcp-session-id: p%d\r\nContent-Length: 30\r\n\r\nMcp-Session-Id: p20\r\n"
    assert sessions.replaced(wire % 5) == wire % 5
    assert sessions.replaced(wire % 20) == wire.replace(b"session-id: p%d", b"session-id: own20", 1)
    assert sessions.replaced(b"GET / HTTP/1.1\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"
    assert session_of(b"HTTP/1.1 200 OK\r\nMcp-Session-Id: \t abc-1 \r\n\r\n") == b"abc-1"
    assert session_of(b"HTTP/1.1 200 OK\r\nX: mcp-session-id: 1\r\n\r\n") == b""
