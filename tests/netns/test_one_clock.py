"""Both sides are timed by the kernel's clock: a daemon that stalls does not make the shadow look slower."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Daemon, Server, ok, running
from tests.netns.shop import ask, compared

pytestmark = pytest.mark.usefixtures("root_user")

TAKES = 0.04  # seconds that both services take for an answer
STALL = 0.05  # seconds that the daemon is stopped, again and again


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@contextlib.contextmanager
def stalled(pid: int) -> Iterator[None]:
    """The process stands still half of the time."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(STALL):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STALL)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def served(number: int, head: bytes, body: bytes) -> bytes:
    time.sleep(TAKES)
    return ok(b"same")


def test_stalls_of_the_daemon_are_not_the_shadows(daemon: Daemon, tmp_path: Path) -> None:
    production, shadow = Server(answer=served), Server(answer=served)
    effects: list[float] = []
    for name in ("steady", "stalled"):
        daemon.add(name, production.port, shadow.url)
        with stalled(daemon.pid) if name == "stalled" else contextlib.nullcontext():
            ask(production.port, 200, connections=8)
        compared(daemon, name, 200)
        first: dict[str, Any] = daemon.call("report", name=name)["latency"]["first_byte"]
        assert first["candidate"]["count"] > 20, "some exchanges left in time and were timed"
        effects.append(first["candidate"]["p50_ms"] / first["production"]["p50_ms"])
        daemon.call("filter.rm", name=name)
    # read times would carry half a stall, 60 % of what an answer takes; buckets of the sketch are 1.6 % wide
    assert abs(effects[1] - effects[0]) < 0.05, effects
    production.close()
    shadow.close()
