"""Three workers, and what can happen to them: killed, stopped, told something else, and their supervisor gone.
Production sees none of it, the ledger stays balanced, and evidence is kept."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_daemon import logged, mirrored, programs_of, wait_mirrored
from tests.faults.traffic import Traffic, attached_to_the_host, echo, production_under_load
from tests.netns.lab import Daemon, Server, check_ledger, ok, running, wait_for
from tests.netns.shop import compared

pytestmark = pytest.mark.usefixtures("root_user")

WORKERS = 3
CONNECTIONS = 24  # dealt out by a hash: that a worker has none of them is one in 17,000
DEAD_MAN = 1.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    config = f'workers = {WORKERS}\ndead_man_seconds = "{DEAD_MAN:.0f}s"\n'
    with running(tmp_path_factory.mktemp("daemon"), config) as started:
        yield started


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server(answer=echo)
    yield server
    server.close()


def workers(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.call("status")["workers"]
    return found


def busiest(daemon: Daemon) -> dict[str, Any]:
    return max(workers(daemon), key=lambda one: float(one["share"]))


def test_all_of_them_mirror_and_the_sum_is_one(daemon: Daemon, shadow: Server) -> None:
    production = Server(answer=echo)
    daemon.add("sum", production.port, shadow.url, twin=0.2)
    traffic = Traffic(production.port, CONNECTIONS, 0.01).start()
    traffic.more(600)
    traffic.stop()
    asked = len(production.requests)
    ledger = daemon.settled("sum", lambda found: found["seen"] == asked)
    assert ledger["targets"][0]["mirrored"] == asked
    assert ledger["kernel"]["balanced"]
    assert len(workers(daemon)) == WORKERS
    assert all(one["share"] > 0 for one in workers(daemon)), "each has connections of its own"
    assert abs(sum(one["share"] for one in workers(daemon)) - 1) < 0.01
    assert compared(daemon, "sum", asked)["compared"] == asked, "one examiner saw them all"
    answered = ledger["targets"][0]["twins"]["answered"]
    assert len(shadow.requests) == asked + answered
    assert 0.1 * asked < answered < 0.3 * asked
    status = daemon.call("status")
    assert status["examining"]["comparison_failed"] == {}
    assert status["problems"] == []
    (view,) = [one for one in status["filters"] if one["name"] == "sum"]
    assert view["latency_ms"]["shadow"]["p50"] > 0
    daemon.call("filter.rm", name="sum")
    production.close()


def test_kill_9_of_a_worker(daemon: Daemon, shadow: Server) -> None:
    with production_under_load(CONNECTIONS, 0.01) as (production, traffic):
        daemon.add("killed", production.port, shadow.url)
        wait_mirrored(daemon, "killed", 200)
        before = daemon.call("verdict", name="killed")["compared"]
        victim, log = busiest(daemon), daemon.log.stat().st_size
        os.kill(victim["pid"], signal.SIGKILL)
        wait_for("it is started anew", lambda: workers(daemon)[victim["number"]]["restarts"] == victim["restarts"] + 1)
        fresh = wait_for("it turns", lambda: _turning(daemon, victim["number"]))
        assert fresh["pid"] != victim["pid"]
        wait_for("it mirrors again", lambda: workers(daemon)[victim["number"]]["flows"])
        wait_mirrored(daemon, "killed", 200)
        traffic.more(100)
        assert daemon.call("verdict", name="killed")["compared"] >= before, "the evidence is the supervisor's"
    ledger = daemon.settled("killed")
    # what it held: one request of each connection, and what it had read since it was last heard
    assert ledger["lost"].get("worker", 0) <= CONNECTIONS * 60
    assert ledger["seen"] <= len(production.requests)
    assert ledger["targets"][0]["mirrored"] > 400
    assert "worker ended" in logged(daemon, log)
    daemon.call("filter.rm", name="killed")


def _turning(daemon: Daemon, number: int) -> dict[str, Any] | None:
    one = workers(daemon)[number]
    return one if one["pid"] is not None and one["memory"] else None


def test_a_worker_that_stands_still_is_started_anew_and_the_others_go_on(daemon: Daemon, shadow: Server) -> None:
    with production_under_load(CONNECTIONS, 0.01) as (production, traffic):
        daemon.add("stopped", production.port, shadow.url)
        wait_mirrored(daemon, "stopped", 200)
        victim = busiest(daemon)
        others = {one["number"]: one["pid"] for one in workers(daemon) if one["number"] != victim["number"]}
        os.kill(victim["pid"], signal.SIGSTOP)
        wait_mirrored(daemon, "stopped", 50)
        wait_for("it is started anew", lambda: workers(daemon)[victim["number"]]["restarts"] == victim["restarts"] + 1)
        assert {one["number"]: one["pid"] for one in workers(daemon) if one["number"] in others} == others
        wait_for("it mirrors again", lambda: workers(daemon)[victim["number"]]["flows"])
        traffic.more(100)
    daemon.settled("stopped")
    daemon.call("filter.rm", name="stopped")


def test_filters_change_under_load(daemon: Daemon) -> None:
    """Each filter's shadow gets what its own settings let through, and nothing is judged that they leave out."""
    first, second = Server(answer=echo), Server(answer=echo)
    with production_under_load(CONNECTIONS, 0.005) as (production, traffic):
        daemon.add("first", production.port, first.url, match_path="^/1")
        for number in range(6):
            daemon.add("second", production.port, second.url, match_path=f"^/{number}/")
            wait_mirrored(daemon, "second", 10)
            daemon.call("filter.set", name="second", changes={"match_path": f"^/{number + 6}/"})
            wait_mirrored(daemon, "second", 10)
            check_ledger(daemon.ledger("second"))
            found = daemon.call("diffs", name="second")
            assert found["differences"] == []
            daemon.call("filter.rm", name="second")
        traffic.more(100)
    daemon.settled("first")
    assert all(request.split(b" ", 2)[1].startswith(b"/1") for request in first.requests)
    allowed = tuple(b"/%d/" % number for number in range(12))
    assert all(request.split(b" ", 2)[1].startswith(allowed) for request in second.requests)
    daemon.call("filter.rm", name="first")
    first.close()
    second.close()


def test_a_limit_is_the_filters_and_not_each_workers(daemon: Daemon) -> None:
    slow = Server(answer=lambda number, head, body: (time.sleep(0.05), echo(number, head, body))[1])
    with production_under_load(CONNECTIONS, 0.01) as (production, traffic):
        daemon.add("narrow", production.port, slow.url, max_connections=4, max_lag=1)
        wait_mirrored(daemon, "narrow", 100)
        most = 0
        for _ in range(40):
            (view,) = [one for one in daemon.call("status")["filters"] if one["name"] == "narrow"]
            most = max(most, view["targets"][0]["connections"])
            time.sleep(0.02)
        traffic.more(50)
    assert 1 <= most < 4 + WORKERS, "workers that connect in one moment do not see each other"
    daemon.settled("narrow")
    daemon.call("filter.rm", name="narrow")
    slow.close()


def test_a_rate_is_the_filters_and_moves_to_where_it_is_used(daemon: Daemon, shadow: Server) -> None:
    production = Server(answer=echo)
    daemon.add("paced", production.port, shadow.url, max_rps=60)
    traffic = Traffic(production.port, 1, 0.004).start()  # one connection: one worker has all of it
    wait_mirrored(daemon, "paced", 60)
    began, before = time.monotonic(), mirrored(daemon, "paced")
    wait_mirrored(daemon, "paced", 120)
    took, sent = time.monotonic() - began, mirrored(daemon, "paced") - before
    assert sent / took < 60 * 1.3, "never above the limit"
    assert sent / took > 60 / WORKERS * 1.2, "more than an equal share, for the others do not use theirs"
    traffic.stop()
    ledger = daemon.settled("paced")
    assert ledger["targets"][0]["shed"]["max_rps"] > 0
    daemon.call("filter.rm", name="paced")
    production.close()


def test_kill_9_of_the_supervisor(daemon: Daemon, shadow: Server) -> None:
    with production_under_load(CONNECTIONS, 0.01) as (production, traffic):
        daemon.add("orphans", production.port, shadow.url)
        wait_mirrored(daemon, "orphans", 100)
        ours, pids = programs_of(daemon.pid), [one["pid"] for one in workers(daemon)]
        assert len(ours & attached_to_the_host()) == 2
        daemon.stop(signal.SIGKILL)
        daemon.client.close()
        wait_for("the workers end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        wait_for("nothing of ours stays attached", lambda: not ours & attached_to_the_host())
        traffic.more(50)
        daemon.start()
        wait_mirrored(daemon, "orphans", 100)
    daemon.settled("orphans")
    daemon.call("filter.rm", name="orphans")


def test_sigterm_waits_for_what_is_in_flight(daemon: Daemon) -> None:
    def slow(number: int, head: bytes, body: bytes) -> bytes:
        time.sleep(0.5)
        return ok(b"late")

    shadow, production = Server(answer=slow), Server(answer=echo)
    daemon.add("drained", production.port, shadow.url)
    traffic = Traffic(production.port, 6, 0.01).start()
    traffic.more(6)
    wait_for("requests are in flight", lambda: shadow.requests)
    traffic.stop()
    pids = [one["pid"] for one in workers(daemon)]
    daemon.stop()
    assert daemon.process is not None
    assert daemon.process.returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    daemon.client.close()
    daemon.start()
    daemon.call("filter.rm", name="drained")
    production.close()
    shadow.close()


def test_a_worker_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "shadowd.sh"
    broken.write_text("#!/bin/sh\necho 'no such module: shadowd' >&2\nexit 3\n")
    broken.chmod(0o755)
    daemon = Daemon(tmp_path / "d", "workers = 2\n")
    code = (
        "from types import SimpleNamespace; from shadowd.cli.shadowd import main; import shadowd.service.workers as w; "
        f"w.sys = SimpleNamespace(executable={str(broken)!r}); main()"
    )
    daemon.program = (sys.executable, "-c", code)
    with pytest.raises(AssertionError, match="no such module: shadowd"):
        daemon.start()
