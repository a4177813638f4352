"""Identical versions never fail, whatever the weather; and a wrong one does in the same weather.

``min_span`` is two seconds, so that a verdict could fail within the test; a verdict is asked for all the time, because
a pipeline stops at the first that fails.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.service import Service, right
from tests.faults.traffic import Traffic
from tests.netns.lab import Daemon, running, wait_for

pytestmark = pytest.mark.usefixtures("root_user")

CONNECTIONS = 16  # the test over connections needs eight
PAUSE = CONNECTIONS / 400  # of one client: at most 400 requests a second in all
BEFORE, AFTER = 2.0, 4.0  # seconds of fair weather


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


class World:
    """Production under load, and the verdicts so far."""

    def __init__(self, daemon: Daemon, production: Service, shadow: Service, traffic: Traffic) -> None:
        self.daemon = daemon
        self.production = production
        self.shadow = shadow
        self.traffic = traffic
        self.verdicts: list[dict[str, Any]] = []
        self.ledger: dict[str, Any] = {}

    def go_on(self, seconds: float) -> None:
        """Ask for the verdict, again and again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.3)
            self.look()

    def look(self) -> dict[str, Any]:
        self.verdicts.append(self.daemon.call("verdict", name="shop"))
        return self.verdicts[-1]

    def until(self, what: str, condition: Callable[[dict[str, Any]], object]) -> None:
        """Go on until a verdict is so."""
        wait_for(what, lambda: condition(self.look()), 30)


@contextlib.contextmanager
def world(daemon: Daemon, wrong: bool = False, patient: bool = False) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        services = []
        for one in (Service(), Service(wrong)):
            stack.callback(one.close)
            services.append(one.start())
        production, shadow = services
        daemon.add("shop", production.port, shadow.url, twin=0.05, min_span=2)
        stack.callback(daemon.call, "filter.rm", name="shop")
        traffic = Traffic(production.port, CONNECTIONS, PAUSE, right, patient).start()
        made = World(daemon, production, shadow, traffic)
        try:
            made.go_on(BEFORE)
            yield made
            made.go_on(AFTER)
        finally:
            answered = traffic.stop()
        made.ledger = daemon.settled("shop")  # both identities hold
        assert answered >= 300
        assert made.look()["compared"] >= 0.2 * made.ledger["seen"] > 0


def restarted_shadow(world: World) -> None:
    world.shadow.restart()
    # the circuit breaker rests, at most four seconds after so short a time
    world.until("the shadow is asked again", lambda verdict: verdict["outages"]["candidate"]["count"])


def restarted_production(world: World) -> None:
    world.production.restart()


def stopped_daemon(world: World) -> None:
    world.daemon.halt()
    time.sleep(8)
    world.daemon.go_on()


def busy_host(world: World) -> None:
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        world.go_on(5)
    finally:
        for one in spinning:
            one.kill()
            one.wait()


@pytest.mark.parametrize("weather", [stopped_daemon, restarted_shadow, restarted_production, busy_host])
def test_identical_versions_never_fail(daemon: Daemon, weather: Callable[[World], None]) -> None:
    with world(daemon, patient=weather is restarted_production) as made:
        weather(made)
    failed = [one for one in made.verdicts if one["verdict"] == "fail"]
    assert not failed, (len(failed), failed[0]["reasons"], made.verdicts[-1]["reasons"])
    last = made.verdicts[-1]
    assert last["seconds"] >= 2 * BEFORE, "it could have failed"
    weathered(made, weather)


def test_a_wrong_release_fails_in_the_same_weather(daemon: Daemon) -> None:
    with world(daemon, wrong=True) as made:
        restarted_shadow(made)
        made.until("the verdict is fail", lambda verdict: verdict["verdict"] == "fail")
    weathered(made, restarted_shadow)
    found = {one["judge"] for one in made.verdicts[-1]["findings"]}
    assert {"errors", "content"} <= found, made.verdicts[-1]["reasons"]


def weathered(made: World, weather: Callable[[World], None]) -> None:
    """The weather came: else nothing was shown."""
    verdict, ledger = made.verdicts[-1], made.ledger
    target = ledger["targets"][0]
    if weather is stopped_daemon:
        assert ledger["kernel"]["dead"] > 0
        assert ledger["lost"].get("gap", 0) + target["shed"].get("own_lag", 0) > 0
    elif weather is restarted_shadow:
        assert verdict["outages"]["candidate"]["exchanges"] >= 5
        # five in a row open the circuit, of which some may be the twin's and in no account
        assert target["failed"]["connect"] > 0
        assert target["shed"]["circuit_open"] > 0
    elif weather is restarted_production:
        assert made.traffic.cuts >= CONNECTIONS
        assert verdict["outages"]["candidate"]["count"] == 0
