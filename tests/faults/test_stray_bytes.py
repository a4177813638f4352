"""Production and shadow are one program that says more than its answers: nothing fails, and nothing leaks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.lab import Daemon, HttpClient, Server, ok, running

pytestmark = pytest.mark.usefixtures("root_user")

ROUNDS = 60


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


def target(ledger: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = ledger["targets"][0]
    return found


def once(port: int, request: bytes) -> None:
    """Ask on a connection of its own, take what comes first, and go."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request)
        client.recv(1 << 16)


ANSWERS = {
    "a 204 with chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a 304 with a body": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc",
    "more than Content-Length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    "two answers": ok(b"one") + ok(b"two"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_and_more(daemon: Daemon, kind: str) -> None:
    def answer(number: int, head: bytes, body: bytes) -> bytes:
        return ANSWERS[kind] if b" /stray" in head else ok(b"item")

    production, shadow = Server(answer=answer), Server(answer=answer)
    daemon.add("stray", production.port, shadow.url)
    for _ in range(ROUNDS):
        once(production.port, b"GET /stray HTTP/1.1\r\nHost: p\r\n\r\n")
        client = HttpClient("127.0.0.1", production.port)
        for _ in range(2):
            assert client.get("/item").endswith(b"item")
        client.close()
    ledger = daemon.settled("stray", lambda found: found["seen"] == 3 * ROUNDS)
    found = target(ledger)
    assert (found["mirrored"], found["failed"], found["shed"]) == (3 * ROUNDS, {}, {})
    assert found["stray_bytes"] >= ROUNDS // 2
    view = daemon.call("filter.show", name="stray")
    assert f"{found['stray_bytes']} answers were followed by bytes that belong to none" in " ".join(view["words"])
    assert view["status_differences"] == 0  # no answer was taken for another's
    daemon.call("filter.rm", name="stray")
    production.close()
    shadow.close()


LEGACY = {
    "one length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "no HTTP at all": b"hello\r\n\r\n",
}

READ = ("one length twice", "bare line feeds")  # servers and clients agree on what these mean


@pytest.mark.parametrize("kind", LEGACY)
def test_what_production_says_too_is_no_failure(daemon: Daemon, kind: str) -> None:
    def answer(number: int, head: bytes, body: bytes) -> bytes:
        return LEGACY[kind]

    production, shadow = Server(answer=answer), Server(answer=answer)
    daemon.add("legacy", production.port, shadow.url)
    for _ in range(20):
        once(production.port, b"GET /x HTTP/1.1\r\nHost: p\r\n\r\n")
    found = target(daemon.settled("legacy", lambda ledger: ledger["seen"] == 20))
    assert (found["mirrored"], found["failed"], found["shed"]) == (20, {}, {})
    assert found["uncomparable"] == (0 if kind in READ else 20)
    daemon.call("filter.rm", name="legacy")
    production.close()
    shadow.close()


def test_what_the_shadow_alone_says_is_its_failure(daemon: Daemon) -> None:
    production = Server(answer=lambda number, head, body: ok(b"fine"))
    shadow = Server(answer=lambda number, head, body: LEGACY["two lengths"])
    daemon.add("broken", production.port, shadow.url)
    for _ in range(20):
        once(production.port, b"GET /x HTTP/1.1\r\nHost: p\r\n\r\n")
    found = target(daemon.settled("broken", lambda ledger: ledger["seen"] == 20))
    assert (found["mirrored"], found["failed"]) == (0, {"malformed": 20})
    daemon.call("filter.rm", name="broken")
    production.close()
    shadow.close()
