"""Paused filters that follow, and HTTP/2 connections that are older than their filter, live."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from tests.netns.lab import Daemon, HttpClient, Server, running, wait_for
from tests.netns.test_doctor import asked as doctor
from tests.netns.test_http2 import Nginx, nginx
from tests.unit.certificates import Certificate

__all__ = ["nginx"]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "d") as made:
        yield made


class Client:
    """One connection of HTTP/2, over TLS where there is a ``certificate``, which asks one thing at a time."""

    def __init__(self, port: int, certificate: Certificate | None = None, keylog: Path | None = None) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        if certificate is not None:
            context = ssl.create_default_context(cafile=str(certificate.chain))
            context.set_alpn_protocols(["h2"])
            context.keylog_filename = str(keylog)
            self._sock = context.wrap_socket(self._sock, server_hostname="localhost")
        self._peer = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._peer.initiate_connection()
        self._sock.sendall(self._peer.data_to_send())

    def get(self, path: str) -> tuple[str, bytes]:
        """Status and body."""
        peer, stream = self._peer, self._peer.get_next_available_stream_id()
        # one header that is new each time, and one that is an index from the second request on
        headers = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "shop"), ("x-id", path[1:])]
        peer.send_headers(stream, headers, end_stream=True)
        status, body = "", b""
        while True:
            self._sock.sendall(peer.data_to_send())
            data = self._sock.recv(1 << 16)
            assert data, "production closed the connection"
            for event in peer.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    peer.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamEnded):
                    self._sock.sendall(peer.data_to_send())
                    return status, body

    def ask(self, name: str, count: int) -> None:
        for number in range(count):
            assert self.get(f"/{name}/{number}") == (
                "200",
                b'{"version": "1", "path": "/%s/%d"}' % (name.encode(), number),
            )

    def close(self) -> None:
        self._sock.close()


def targets(shadow: Nginx) -> list[str]:
    return sorted(line[1] for line in shadow.log)


def paths(name: str, count: int) -> list[str]:
    return [f"/{name}/{number}" for number in range(count)]


@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_that_was_followed_is_mirrored_when_the_filter_is_resumed(
    daemon: Daemon, nginx: Callable[..., Nginx], certificate: Certificate, tmp_path: Path, tls: bool
) -> None:
    """All on one connection: mirrored, paused, resumed, and once more."""
    production, shadow = nginx("now", certificate=certificate if tls else None), nginx("next")
    keys = tmp_path / "keys"
    more: dict[str, Any] = {"tls_keylog": str(keys)} if tls else {}
    daemon.add("shop", production.port, f"h2c://127.0.0.1:{shadow.port}", **more)
    wanted: list[str] = []
    with closing(Client(production.port, certificate if tls else None, keys)) as client:
        for turn in range(2):
            client.ask(f"seen{turn}", 10)
            wanted += paths(f"seen{turn}", 10)
            daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == len(wanted))  # noqa: B023
            view = daemon.call("filter.pause", name="shop", follow=True)
            assert view["state"] == "following"
            assert any("resume shop" in words for words in view["words"])
            client.ask(f"paused{turn}", 10)
            daemon.call("filter.resume", name="shop")
        client.ask("last", 10)
        wanted += paths("last", 10)
        ledger = daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == len(wanted))
    assert ledger["seen"] == len(wanted), ledger
    assert not ledger["lost"]
    assert not ledger["filtered"]
    assert "missed" not in ledger
    assert targets(shadow) == sorted(wanted)
    verdict = daemon.call("verdict", name="shop")
    assert daemon.call("diffs", name="shop")["differences"] == [], verdict


def test_a_filter_is_added_paused_and_follows_what_begins_then(daemon: Daemon, nginx: Callable[..., Nginx]) -> None:
    production, shadow = nginx("now"), nginx("next")
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}", paused=True, follow=True)
    with closing(Client(production.port)) as client, closing(HttpClient("127.0.0.1", production.port)) as other:
        client.ask("before", 20)
        assert daemon.ledger("shop")["seen"] == 0
        daemon.call("filter.resume", name="shop")
        client.ask("after", 20)
        ledger = daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 20)
    assert other
    assert ledger["seen"] == 20, ledger
    assert targets(shadow) == sorted(paths("after", 20))


def test_http1_too(daemon: Daemon) -> None:
    production, shadow = Server(), Server()
    daemon.add("shop", production.port, shadow.url, paused=True, follow=True)
    with closing(HttpClient("127.0.0.1", production.port)) as client:
        for number in range(10):
            client.get(f"/before/{number}")
        daemon.call("filter.resume", name="shop")
        client.get("/after")
        daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 1 == found["seen"])
    assert [request.split()[1] for request in shadow.requests] == [b"/after"]
    production.close()
    shadow.close()


def test_a_pause_that_does_not_follow_copies_nothing(daemon: Daemon, nginx: Callable[..., Nginx]) -> None:
    """And its connections of HTTP/2 are lost, counted and waited for, until they end."""
    production, shadow = nginx("now"), nginx("next")
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}")
    with closing(Client(production.port)) as client, closing(Client(production.port)) as another:
        client.ask("before", 3)
        daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 3)
        assert daemon.call("filter.pause", name="shop", follow=True)["state"] == "following"
        assert daemon.call("filter.pause", name="shop")["state"] == "paused"  # as it is said the last time
        copied = daemon.ledger("shop")["kernel"]
        client.ask("paused", 10)
        another.ask("paused", 10)
        assert daemon.ledger("shop")["kernel"] == copied
        daemon.call("filter.resume", name="shop")
        client.ask("lost", 10)
        another.ask("lost", 10)
        wait_for("both are waited for", lambda: older(daemon) == 2)
        words = daemon.call("filter.show", name="shop")["words"]
        assert any(one.startswith("2 HTTP/2 connections began before") for one in words), words
        found = doctor(daemon.socket, "--filter", "shop")[1]["older_http2"]
        assert found["level"] == "warning"
        assert found["what"].startswith("2 HTTP/2 connections")
        ledger = daemon.settled("shop", lambda found: found["lost"] == {"midstream": 2})
        assert ledger["seen"] == 5
        another.close()
        wait_for("one has ended", lambda: older(daemon) == 1)
    wait_for("both have ended", lambda: older(daemon) == 0)
    with closing(Client(production.port)) as client:
        client.ask("new", 3)
        daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 6)
    assert targets(shadow) == sorted(paths("before", 3) + paths("new", 3))


def older(daemon: Daemon) -> int:
    return int(daemon.call("filter.show", name="shop")["older"]["http2"])


def test_who_looks_before_resuming_sees_what_will_be_missing(daemon: Daemon, nginx: Callable[..., Nginx]) -> None:
    production, shadow = nginx("now"), nginx("next")
    with closing(Client(production.port)) as client:
        client.ask("old", 3)
        daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}", paused=True, follow=True)
        client.ask("old", 10)
        wait_for("it is waited for", lambda: older(daemon) == 1)
        assert daemon.ledger("shop")["seen"] == 0
    wait_for("it has ended", lambda: older(daemon) == 0)
    with closing(Client(production.port)) as client:
        client.ask("new", 3)
        daemon.call("filter.resume", name="shop")
        client.ask("after", 3)
        ledger = daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 3)
    assert ledger["seen"] == 3
    assert not ledger["lost"]
