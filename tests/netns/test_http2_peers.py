"""HTTP/2 of programs that others wrote: every exchange is mirrored, and the shadow is asked what production was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests import material
from tests.http2peers import peers
from tests.netns.lab import Daemon, free_port, running
from tests.netns.test_http2 import Nginx, nginx
from tests.unit.certificates import Certificate

__all__ = ["nginx"]
COUNT = 60


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "d") as made:
        yield made


def mirrored(daemon: Daemon, count: int) -> None:
    ledger = daemon.settled("shop", lambda found: found["seen"] == count)
    assert ledger["targets"][0]["mirrored"] == count, ledger
    assert not ledger["filtered"]
    assert not ledger["lost"]
    verdict = daemon.call("verdict", name="shop")
    assert daemon.call("diffs", name="shop")["differences"] == [], verdict


Client = Callable[..., None]
Server = Callable[[Path], AbstractContextManager[peers.Serving]]


@pytest.mark.parametrize("server", [peers.node_server, peers.envoy])
@pytest.mark.parametrize("client", [peers.node_client, peers.curl, peers.nghttp])
def test_in_clear_text(daemon: Daemon, tmp_path: Path, client: Client, server: Server) -> None:
    with server(tmp_path / "now") as production, server(tmp_path / "next") as shadow:
        daemon.add("shop", production.port, f"h2c://127.0.0.1:{shadow.port}", methods="any")
        client(f"http://127.0.0.1:{production.port}", COUNT)
        mirrored(daemon, COUNT)
        assert shadow.asked == production.asked
        assert production.asked.total() == COUNT


@pytest.mark.parametrize("client", [peers.node_client, peers.curl])
def test_what_envoy_asks_of_those_behind_it(daemon: Daemon, tmp_path: Path, client: Client) -> None:
    """Its connections live on from one client of its own to the next."""
    with peers.envoy(tmp_path / "now") as production, peers.node_server(tmp_path / "next") as shadow:
        daemon.add("shop", production.upstream, f"h2c://127.0.0.1:{shadow.port}", methods="any")
        for _ in range(3):
            client(f"http://127.0.0.1:{production.port}", COUNT)
        mirrored(daemon, 3 * COUNT)
        assert shadow.asked == production.asked


@pytest.mark.parametrize("client", [peers.node_client, peers.curl, peers.go_client])
def test_over_tls(daemon: Daemon, tmp_path: Path, certificate: Certificate, client: Client) -> None:
    keys = tmp_path / "keys"
    with (
        peers.node_server(tmp_path / "now", certificate) as production,
        peers.node_server(tmp_path / "next", certificate) as shadow,
    ):
        daemon.add("shop", production.port, f"https://localhost:{shadow.port}", methods="any", tls_keylog=str(keys),
                   ca=str(certificate.chain))  # fmt: skip
        client(f"https://localhost:{production.port}", COUNT, certificate, keys)
        mirrored(daemon, COUNT)
        assert shadow.asked == production.asked
        assert production.asked.total() == COUNT


@pytest.mark.parametrize("client", [peers.node_client, peers.curl, peers.go_client])
def test_a_server_of_gos(daemon: Daemon, tmp_path: Path, certificate: Certificate, client: Client) -> None:
    keys = tmp_path / "keys"
    program = material.find("gosrv-stripped")
    made = [peers.Serving(free_port(), tmp_path / name) for name in ("now", "next")]
    words = [(str(one.port), certificate.chain, certificate.key, one.log) for one in made]
    with peers.running(made[0].port, program, *words[0]), peers.running(made[1].port, program, *words[1]):
        daemon.add("shop", made[0].port, f"h2://localhost:{made[1].port}", methods="any", tls_keylog=str(keys),
                   ca=str(certificate.chain))  # fmt: skip
        client(f"https://localhost:{made[0].port}", COUNT, certificate, keys)
        mirrored(daemon, COUNT)
        assert made[1].asked == made[0].asked


@pytest.mark.parametrize("client", [peers.node_client, peers.curl])
def test_nginx(daemon: Daemon, nginx: Callable[..., Nginx], client: Client) -> None:
    production, shadow = nginx("now"), nginx("next")
    more: dict[str, Any] = {"methods": "any"}
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}", **more)
    client(f"http://127.0.0.1:{production.port}", COUNT)
    mirrored(daemon, COUNT)
    assert shadow.asked == production.asked
    assert isinstance(shadow.asked, Counter)
