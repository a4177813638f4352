"""/healthz and /readyz: what an orchestrator is told of a real daemon, and what a door without verdicts hides."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shadowd.observe.http import address_of, serve_http
from shadowd.service.health import Health
from tests.conftest import need
from tests.control.test_http_door import Fine
from tests.netns.lab import Daemon, HttpClient, Server, free_port, ok, running, wait_for


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


# --- a real daemon ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def daemon(tmp_path: Path, ports: tuple[int, int]) -> Iterator[Daemon]:
    need(os.geteuid() == 0, "needs root")
    config = f'http = "127.0.0.1:{ports[0]}"\nmonitor = "0.0.0.0:{ports[1]}"\n'
    config += '[[filters]]\nname = "configured"\nports = ["9"]\ntargets = [{url = "http://127.0.0.1:10"}]\n'
    with running(tmp_path, config) as started:
        yield started


def test_a_running_daemon_is_alive_and_ready_at_both_doors(daemon: Daemon, ports: tuple[int, int]) -> None:
    """From the moment on that it says so: nobody need wait for the doors."""
    for port in ports:
        assert get(port, "/healthz") == (200, "ok\n")
        assert get(port, "/readyz") == (200, "ok\n")
    assert get(ports[0], "/verdict?filter=configured")[0] == 200
    for path in ("/", "/verdict?filter=configured", "/report/configured", "/report/configured.json", "/flagger/x"):
        assert get(ports[1], path)[0] == 404, "the monitor's door has neither verdicts nor reports"


def test_a_daemon_that_drains_is_alive_and_not_ready(daemon: Daemon, ports: tuple[int, int]) -> None:
    released = threading.Event()

    def slow(number: int, head: bytes, body: bytes) -> bytes:
        released.wait(20)
        return ok(b"late")

    production, shadow = Server(), Server(answer=slow)
    daemon.add("slow", production.port, shadow.url)
    client = HttpClient(production.host, production.port)
    client.get("/one")
    wait_for("the request is at the shadow", lambda: shadow.requests)
    os.kill(daemon.pid, signal.SIGTERM)  # it waits for the answer
    told = wait_for("it says so", lambda: (found := get(ports[1], "/readyz"))[0] == 503 and found)
    assert told == (503, "the daemon is stopping\n")
    assert get(ports[1], "/healthz") == (200, "ok\n")
    released.set()
    daemon.stop()
    client.close()
    production.close()
    shadow.close()


# --- what is made of it -----------------------------------------------------------------------------------------------


def state(silent: float = 0.0, unattached: str = "") -> Health:
    crew: Any = SimpleNamespace(silent=silent, switch=SimpleNamespace(stopping=False))
    return Health(crew, lambda: unattached, 3.0)


def test_a_silent_pump_is_dead_and_not_ready() -> None:
    assert state(silent=1).dead() == ""
    found = state(silent=1000)
    assert found.dead().startswith("the pump has not turned for 1000.")
    assert found.unready() == found.dead()


def test_a_filter_that_is_not_attached_is_no_reason_for_a_restart() -> None:
    found = state(unattached="tc:eth0: Cilium stands first")
    assert (found.dead(), found.unready()) == ("", "tc:eth0: Cilium stands first")


@pytest.mark.parametrize(
    ("health", "path", "expected"),
    [
        (Fine(dead="the pump has not turned for 9.0 s"), "/healthz", (503, "the pump has not turned for 9.0 s\n")),
        (Fine(unready="tc:eth0: busy\r\nX: y"), "/readyz", (503, "tc:eth0: busy\\u{d}\\nX: y\n")),
        (Fine(unready="later"), "/healthz", (200, "ok\n")),
    ],
)
def test_bad_news_is_503_with_the_reason(health: Fine, path: str, expected: tuple[int, str]) -> None:
    found: list[tuple[int, str]] = []

    async def main() -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                bound = await nursery.start(serve_http, "127.0.0.1:0", None, health)
                _, port = address_of(bound)
                found.append(await trio.to_thread.run_sync(get, port, path))
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert found == [expected]
