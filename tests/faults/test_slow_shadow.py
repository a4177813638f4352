"""A shadow much slower than production is asked all the same; one that never answers costs what was allowed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.slow import SlowServer
from tests.faults.traffic import production_under_load
from tests.netns.lab import WORKERS, Daemon, check_ledger, running, wait_for

pytestmark = pytest.mark.usefixtures("root_user")

CONNECTIONS = 16
PAUSE = CONNECTIONS / 500  # of one client: 500 requests a second in all


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


def target(ledger: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = ledger["targets"][0]
    return found


@pytest.mark.parametrize(("order", "most"), [("auto", 1.0), ("connection", 0.5)])
def test_half_a_second_an_answer(daemon: Daemon, order: str, most: float) -> None:
    """Production's 16 connections carry 500/s where an answer takes 0.2 ms, and 32/s in order where it takes 500 ms."""
    shadow = SlowServer(0.5)
    with production_under_load(CONNECTIONS, PAUSE) as (production, traffic):
        daemon.add("slow", production.port, shadow.url, order=order, twin=0, max_lag=2)
        wait_for("the filter works", lambda: daemon.ledger("slow")["seen"] > 0)
        traffic.more(2500)
    ledger = daemon.settled("slow")
    offered = ledger["seen"] - sum(ledger["filtered"].values()) - sum(ledger["lost"].values())
    found = target(ledger)
    assert offered > 1000
    assert found["mirrored"] <= most * offered
    assert not found["failed"]
    assert len(shadow.paths) == len(set(shadow.paths)) == found["mirrored"]
    assert shadow.most <= 1024
    if order == "auto":
        assert found["mirrored"] >= 0.99 * offered, found
        assert found["spread"] >= 0.9 * offered
        words = " ".join(daemon.call("filter.show", name="slow")["words"])
        assert f"{found['spread']} safe requests went out of order" in words
    else:
        assert found["shed"]["shadow_lag"] > found["shed"].get("own_lag", 0)
        assert "spread" not in found
    shadow.close()


def test_a_shadow_that_never_answers(daemon: Daemon) -> None:
    shadow = SlowServer(None)
    with production_under_load(CONNECTIONS, PAUSE) as (production, traffic):
        daemon.add("dead", production.port, shadow.url, twin=0, max_connections=40, max_lag=1, timeout=60)
        wait_for("it sheds", lambda: target(daemon.ledger("dead"))["shed"].get("shadow_lag", 0) >= 500)
        traffic.more(100)
    ledger = daemon.ledger("dead")
    check_ledger(ledger)
    # the last ones in the handshake may not have come; each worker that connects while it is not seen by the others may
    # take its part of what they think is free (decision 11): one that the host has put aside in its turn is such a one
    workers = int(WORKERS)
    assert 30 <= shadow.most <= 40 + (workers - 1) * (40 // workers)
    assert not target(ledger)["failed"]
    assert target(ledger)["shed"].get("own_lag", 0) < 50
    shadow.close()


def test_a_stopped_daemon_blames_itself(daemon: Daemon) -> None:
    """SIGSTOP for longer than ``max_lag``: what is then too old is so through us, and nothing failed."""
    shadow = SlowServer(0.01)
    with production_under_load(CONNECTIONS, PAUSE) as (production, traffic):
        daemon.add("stopped", production.port, shadow.url, twin=0, max_lag=0.5, timeout=1)
        wait_for("it mirrors", lambda: target(daemon.ledger("stopped"))["mirrored"] > 100)
        daemon.halt()
        time.sleep(2)
        daemon.go_on()
        traffic.more(300)
    found = target(daemon.settled("stopped"))
    assert found["shed"]["own_lag"] >= 100
    assert found["shed"].get("shadow_lag", 0) == 0
    assert not found["failed"]
    shadow.close()
