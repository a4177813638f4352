"""WebSockets, live: turns are replayed at production's pace, and compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.netns.lab import Daemon, running, wait_for
from tests.netns.talkserver import TalkServer, converse
from tests.unit.certificates import Certificate

TURNS = 4  # of one ask of ``converse``


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as made:
        yield made


@pytest.fixture
def started() -> Iterator[Callable[..., TalkServer]]:
    made: list[TalkServer] = []

    def start(**how: Any) -> TalkServer:
        made.append(TalkServer(**how))
        return made[-1]

    yield start
    for server in made:
        server.end()


@pytest.fixture
def mirrored(daemon: Daemon) -> Iterator[Callable[..., Any]]:
    """Add a filter named shop, which is removed when the test is over."""

    def add(production: TalkServer, shadow: TalkServer, url: str = "", **fields: object) -> None:
        daemon.add("shop", production.port, url or shadow.url, **{"websocket": True, **fields})

    yield add
    daemon.call("filter.rm", name="shop")


def compared(daemon: Daemon, count: int) -> Any:
    """The verdict, when so many are."""

    def look() -> Any:
        found = daemon.call("verdict", name="shop")
        return found if found["compared"] >= count else None

    return wait_for(f"{count} are compared", look, 20)


def differences(daemon: Daemon) -> list[str]:
    return [one["path"] for one in daemon.call("diffs", name="shop")["differences"]]


@pytest.mark.parametrize("compression", ["deflate", None])
def test_turns_are_said_when_production_s_client_said_them(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None], compression: str | None
) -> None:
    production, shadow = started(compression=compression), started(compression="deflate")
    mirrored(production, shadow)
    for _ in range(3):
        converse(production.port, 5, compression=compression)
    ledger = daemon.settled("shop", lambda found: found["seen"] == 3 * (1 + 5 * TURNS))
    target = ledger["targets"][0]
    assert target["mirrored"] == ledger["seen"], target
    assert not ledger["filtered"]
    assert not ledger["lost"]
    assert shadow.log == production.log, "every message, after as many of the shadow's as of production's"
    compared(daemon, ledger["seen"])
    assert differences(daemon) == []
    wait_for("the shadow's connections are closed", lambda: shadow.closes == [1000] * 3, 10)


def test_a_server_that_speaks_first(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None]
) -> None:
    production, shadow = started(greets=True), started(greets=True)
    mirrored(production, shadow)
    converse(production.port, 2, greeted=2)
    ledger = daemon.settled("shop", lambda found: found["seen"] == 2 + 2 * TURNS)
    assert ledger["targets"][0]["mirrored"] == ledger["seen"]
    assert shadow.log == production.log
    compared(daemon, ledger["seen"])
    assert differences(daemon) == []


def test_what_a_server_says_by_itself_is_compared_by_its_kind(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None]
) -> None:
    production, shadow = started(greets=True), started(greets=True, news="weather")
    mirrored(production, shadow)
    converse(production.port, 1, greeted=2)
    ledger = daemon.settled("shop", lambda found: found["seen"] == 2 + TURNS)
    compared(daemon, ledger["seen"])
    found = daemon.call("diffs", name="shop")["differences"]
    assert {one["endpoint"] for one in found} == {"WEBSOCKET /talk (pushed)"}
    assert {one["path"] for one in found} == {"$.events[*].news", "$.events[*].weather"}


@pytest.mark.parametrize(
    ("how", "path"),
    [
        ({"price": 9}, "$.events[*].price.data.usd"),
        ({"tokens": 2}, "$.events"),  # less: what is missing is waited for
        ({"twice": True}, "$.events"),  # more: it has said so before the client speaks again
    ],
)
def test_what_a_version_says_otherwise_is_found(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None], how: dict[str, Any], path: str
) -> None:
    production, shadow = started(), started(**how)
    mirrored(production, shadow, timeout=1)
    converse(production.port, 3, pause=0.15)
    daemon.settled("shop", lambda found: found["seen"] == 1 + 3 * TURNS)
    compared(daemon, 1 + 3 * TURNS)
    found = differences(daemon)
    assert path in found
    assert len(found) <= 4, found  # and what follows is not blamed for it


def test_a_close_with_an_error_is_one(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None]
) -> None:
    production, shadow = started(), started()
    mirrored(production, shadow)
    for _ in range(2):
        with connect(f"ws://127.0.0.1:{production.port}/talk") as client:
            client.send("crash")
            with pytest.raises(ConnectionClosed):
                client.recv(10)
    ledger = daemon.settled("shop", lambda found: found["seen"] == 4)
    assert ledger["targets"][0]["mirrored"] == 4
    compared(daemon, 4)
    assert differences(daemon) == []


def test_a_release_that_closes_fails(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None]
) -> None:
    production, shadow = started(), started(crashes=True)
    mirrored(production, shadow, min_span=1)

    def failed() -> Any:
        converse(production.port, 1)
        verdict = daemon.call("verdict", name="shop")
        return verdict if verdict["verdict"] == "fail" else None

    verdict = wait_for("the verdict is fail", failed, 60)
    assert {one["judge"] for one in verdict["findings"]} >= {"errors"}
    assert verdict["reasons"][0].startswith("WEBSOCKET /talk: "), verdict["reasons"]
    assert "fail than before" in verdict["reasons"][0]


def test_a_shadow_that_agrees_to_none(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None]
) -> None:
    production, shadow = started(), started(refuses=True)
    mirrored(production, shadow)
    converse(production.port, 2)
    ledger = daemon.settled("shop", lambda found: found["seen"] == 1 + 2 * TURNS)
    target = ledger["targets"][0]
    assert (target["mirrored"], target["failed"]) == (1, {"refused": 2 * TURNS})
    assert shadow.log == []


def test_what_is_said_is_left_alone_unless_it_is_allowed(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None]
) -> None:
    production, shadow = started(), started()
    mirrored(production, shadow, websocket=False)
    converse(production.port, 2)
    ledger = daemon.settled("shop", lambda found: found["seen"] == 1 + 2 * TURNS)
    assert ledger["filtered"] == {"method": 2 * TURNS}
    assert ledger["targets"][0]["mirrored"] == 1  # the handshake, a GET
    assert [heard for heard in shadow.log if heard] == []


def test_turns_are_chosen_and_changed_as_requests_are(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None]
) -> None:
    """By method and path, and what the filter edits is said so."""
    production, shadow = started(), started()
    mirrored(production, shadow, websocket=False, methods=["GET", "WEBSOCKET"], exclude_path="^/private",
             set_json=['$.item="nail"'])  # fmt: skip
    converse(production.port, 1, path="/private")
    converse(production.port, 1)
    ledger = daemon.settled("shop", lambda found: found["seen"] == 2 * (1 + TURNS))
    assert ledger["filtered"] == {"path": 1 + TURNS}
    assert ledger["targets"][0]["mirrored"] == 1 + TURNS
    (heard,) = shadow.log
    said = [message for message, _ in production.log[1]]
    for was, (message, _) in zip(said, heard, strict=True):
        if str(was).startswith("{"):  # every JSON text is edited, as every JSON body would be
            assert json.loads(message) == {**json.loads(was), "item": "nail"}
        else:
            assert message == was
    assert any(str(was).startswith("{") for was in said)


def test_a_large_message(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None], tmp_path: Path
) -> None:
    production, shadow = started(), started()
    mirrored(production, shadow)
    large = bytes(range(256)) * 4096 * 2  # 2 MB, answered as large
    with connect(f"ws://127.0.0.1:{production.port}/talk", max_size=None) as client:
        client.send(large)
        assert client.recv(20) == large[::-1]
        client.send([b"in", b" pieces", b" of", b" one"])
        assert client.recv(10) == b"in pieces of one"[::-1]
    ledger = daemon.settled("shop", lambda found: found["seen"] == 3)
    assert ledger["targets"][0]["mirrored"] == 3
    assert shadow.log == production.log


def test_within_tls(
    daemon: Daemon, started: Callable[..., TalkServer], mirrored: Callable[..., None], certificate: Certificate,
    tmp_path: Path,
) -> None:  # fmt: skip
    keys = tmp_path / "keys"
    context = certificate.server()
    context.keylog_filename = str(keys)
    production, shadow = started(context=context), started(context=certificate.server())
    url = f"https://127.0.0.1:{shadow.port}"
    mirrored(production, shadow, url=url, tls_keylog=str(keys), ca=str(certificate.chain))
    for _ in range(2):
        converse(production.port, 4, context=certificate.client())
    ledger = daemon.settled("shop", lambda found: found["seen"] == 2 * (1 + 4 * TURNS))
    assert ledger["targets"][0]["mirrored"] == ledger["seen"], ledger
    assert shadow.log == production.log
    compared(daemon, ledger["seen"])
    assert differences(daemon) == []
