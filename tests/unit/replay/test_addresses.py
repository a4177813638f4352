"""A name with several addresses of which some cannot be connected to: no request fails for it."""

from __future__ import annotations

import socket

import pytest

from shadowd.replay.lane import Lane
from shadowd.replay.target import ADDRESS_REST, BREAKER_FAILURES, Address
from tests.ports import refusing_port
from tests.unit.loopback import Mirror


def refusing() -> Address:
    """An address that refuses, and is nobody else's meanwhile."""
    return socket.AF_INET, ("127.0.0.1", refusing_port())


UNREACHABLE: Address = (socket.AF_INET, ("224.0.0.1", 9))  # refused by the kernel at once, as IPv6 without a route is


@pytest.mark.parametrize("dead", [refusing(), UNREACHABLE], ids=["refused", "unreachable"])
@pytest.mark.parametrize("first", [True, False])
def test_the_other_address_takes_every_request(mirror: Mirror, dead: Address, first: bool) -> None:
    shadow = mirror.shadow()
    target = mirror.target(shadow.port)
    alive = target.addresses[0]
    target.addresses = [dead, alive] if first else [alive, dead]
    lanes = 2 * BREAKER_FAILURES + 1  # at once: enough to open the breaker if each counted
    for index in range(lanes):
        mirror.ask(Lane(mirror.engine, target), index)
    mirror.until(lambda: len(shadow.accept_all()) == lanes)
    assert mirror.ledger() == {"in_flight": lanes}
    assert target.breaker_until == 0


def test_an_address_is_tried_again_after_its_rest(mirror: Mirror) -> None:
    shadow, other = mirror.shadow(), mirror.shadow()
    target = mirror.target(shadow.port)
    dead, alive = refusing(), target.addresses[0]
    target.addresses = [dead, alive]
    for index in range(2):
        mirror.ask(Lane(mirror.engine, target), index)
    mirror.until(lambda: len(shadow.accept_all()) == 2)
    target.connect_failed((socket.AF_INET, ("127.0.0.1", other.port)), mirror.now)
    target.addresses = [(socket.AF_INET, ("127.0.0.1", other.port)), alive]
    mirror.ask(Lane(mirror.engine, target), 2)
    mirror.until(lambda: len(shadow.accept_all()) == 3)
    mirror.turn(ADDRESS_REST - 1)
    mirror.still()
    assert other.accept_all() == [], "passed over, while it rests and another is there"
    mirror.turn(1)
    for index in (3, 4):
        mirror.ask(Lane(mirror.engine, target), index)
    mirror.until(lambda: len(other.accept_all()) == 1)
    assert len(shadow.accept_all()) == 4, "in turn again"
    assert "failed connect" not in mirror.ledger()


def test_with_no_address_left_requests_fail_and_the_breaker_opens(mirror: Mirror) -> None:
    target = mirror.target(1)
    target.addresses = [refusing(), refusing()]
    for index in range(BREAKER_FAILURES + 1):
        mirror.ask(Lane(mirror.engine, target), index)
        mirror.until(lambda: "in_flight" not in mirror.ledger())
    assert mirror.ledger()["failed connect"] >= BREAKER_FAILURES
    assert target.breaker_until > mirror.now
