"""A run goes on where the daemon is started again, and says what it did not see; and begins anew where it must."""

from __future__ import annotations

import os
import signal
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Daemon, Server, wait_for
from tests.netns.shop import Made, ask, compared

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    try:
        yield made.start()
    finally:
        log = made.stop()
    assert "Traceback" not in log, log[-4000:]


def runs(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = wait_for("the store knows the run", lambda: daemon.call("run.ls", name="shop"))
    return found


def judged(daemon: Daemon, servers: Callable[[Made], Server], count: int = 300) -> tuple[Server, dict[str, Any]]:
    """A filter with a run of some exchanges, one of twenty of them differing."""
    production = servers(lambda number: {"n": number, "secret": "AKIAIOSFODNN7EXAMPLE"})
    shadow = servers(lambda number: {"n": number + (number % 20 == 0), "secret": "AKIAIOSFODNN7EXAMPLE"})
    daemon.add("shop", production.port, shadow.url, twin=0.5)
    daemon.call("run.start", name="shop", label="v2")
    ask(production.port, count)
    wait_for("the store knows it", lambda: daemon.call("verdict", name="shop")["run"]["id"])
    return production, compared(daemon, "shop", count)


def test_a_stopped_daemon_goes_on_with_the_run(daemon: Daemon, servers: Callable[[Made], Server]) -> None:
    production, before = judged(daemon, servers)
    differences = daemon.call("diffs", name="shop")["differences"]
    daemon.stop()
    daemon.start()
    after = daemon.call("verdict", name="shop")
    assert (after["compared"], after["run"]["id"], after["run"]["label"]) == (300, before["run"]["id"], "v2")
    assert after["run"]["started"] == before["run"]["started"]
    assert after["coverage"] == before["coverage"]
    assert any("was resumed after" in limit for limit in after["limits"])
    kept = daemon.call("diffs", name="shop")["differences"]
    assert [(one["id"], one["count"]) for one in kept] == [(one["id"], one["count"]) for one in differences]
    ask(production.port, 200)
    later = compared(daemon, "shop", 500)
    assert (later["compared"], later["coverage"]) == (500, 1.0)
    (only,) = [one for one in runs(daemon) if one["label"] == "v2"]
    wait_for("the run is open again", lambda: runs(daemon)[0]["ended"] is None)
    assert only["id"] == before["run"]["id"]


def test_what_is_kept_is_redacted(daemon: Daemon, servers: Callable[[Made], Server]) -> None:
    judged(daemon, servers)
    daemon.stop()
    with sqlite3.connect(daemon.folder / "state" / "shadowd.db") as store:
        ((packed,),) = store.execute("SELECT data FROM evidence").fetchall()
    data = zlib.decompress(packed)
    assert b"GET /orders/{id}" in data
    assert b"AKIAIOSFODNN7EXAMPLE" not in data
    assert b"Host:" not in data, "no heads of traffic"


def test_another_filter_of_the_name_begins_anew(daemon: Daemon, servers: Callable[[Made], Server]) -> None:
    judged(daemon, servers)
    daemon.stop()
    state = daemon.folder / "state" / "filters.json"
    state.write_text(state.read_text().replace('"twin":0.5', '"twin":0.25').replace('"twin": 0.5', '"twin": 0.25'))
    daemon.start()
    assert daemon.call("filter.show", name="shop")["spec"]["twin"] == 0.25
    after = daemon.call("verdict", name="shop")
    assert (after["compared"], after["run"]["label"]) == (0, "")


@pytest.mark.parametrize("how", ["garbled", "truncated", "another boot", "long ago", "another shape"])
def test_evidence_that_does_not_fit_is_refused_with_its_reason(
    daemon: Daemon, servers: Callable[[Made], Server], how: str
) -> None:
    judged(daemon, servers, 100)
    daemon.stop()
    path = daemon.folder / "state" / "shadowd.db"
    with sqlite3.connect(path) as store:
        ((packed,),) = store.execute("SELECT data FROM evidence").fetchall()
        match how:
            case "garbled":
                store.execute("UPDATE evidence SET data = ?", (os.urandom(len(packed)),))
            case "truncated":
                store.execute("UPDATE evidence SET data = ?", (packed[: len(packed) // 2],))
            case "another boot":
                store.execute("UPDATE evidence SET boot = 'x'")
            case "long ago":
                store.execute("UPDATE evidence SET time = time - 4000")
                store.execute("UPDATE runs SET ended = ended - 4000")
            case _:
                changed = zlib.decompress(packed).replace(b"since_trials", b"since_trialz")
                store.execute("UPDATE evidence SET data = ?", (zlib.compress(changed),))
    daemon.start()
    after = daemon.call("verdict", name="shop")
    assert after["compared"] == 0
    said = [limit for limit in after["limits"] if "was not taken up" in limit]
    assert bool(said) == (how != "long ago")
    assert after["run"]["label"] == ("" if how == "long ago" else "v2"), "the build under test is the same"


def test_a_killed_daemon_goes_on_with_what_it_kept(daemon: Daemon, servers: Callable[[Made], Server]) -> None:
    """Evidence that was kept at the last stop, and a crash after it."""
    _, before = judged(daemon, servers)
    daemon.stop()
    daemon.start()
    compared(daemon, "shop", 300)
    wait_for("the run is open again", lambda: runs(daemon)[0]["ended"] is None)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    after = daemon.call("verdict", name="shop")
    assert (after["compared"], after["run"]["id"]) == (300, before["run"]["id"])
