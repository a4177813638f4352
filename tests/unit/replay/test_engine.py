"""Engine and Target against a shadow on loopback: every limit, slow shadows, connecting, removal."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from shadowd.replay import connection
from shadowd.replay.lane import Lane, Pool
from shadowd.replay.target import BREAKER_FAILURES, BREAKER_FIRST, SECOND, TargetLimits
from tests.ports import refusing_port
from tests.unit.faulty import Faulty
from tests.unit.loopback import Mirror, Shadow, ok

SAFELY_LATER = SECOND // 10


def limited(mirror: Mirror, shadow: Shadow, limits: TargetLimits | None = None) -> Lane:
    return Lane(mirror.engine, mirror.target(shadow.port, limits))


# --- limits: whole requests are shed, each by its reason --------------------------------------------------------------


def test_max_in_flight_counts_queued_and_sent(mirror: Mirror, shadow: Shadow) -> None:
    lane = limited(mirror, shadow, TargetLimits(max_in_flight=3))
    for index in range(5):
        mirror.ask(lane, index, after=index)
    assert mirror.ledger() == {"in_flight": 3, "max_in_flight": 2}
    mirror.answer(mirror.peer(shadow), ok())
    mirror.ask(lane, 5, after=1)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 3, "max_in_flight": 2}


def test_max_rps_is_a_rate_with_a_small_burst(mirror: Mirror, shadow: Shadow) -> None:
    lane = limited(mirror, shadow, TargetLimits(max_rps=20))
    for index in range(10):
        mirror.ask(lane, index)
    assert mirror.ledger() == {"in_flight": 2, "max_rps": 8}  # a tenth of a second's worth at once
    for index in range(10, 110):
        mirror.turn(SECOND // 50)
        mirror.ask(lane, index)
        if index % 10 == 9:
            peer = mirror.peer(shadow)
            peer.send(ok() * (len(peer.paths) - mirror.filter.account.targets[0].mirrored))
            mirror.until(lambda: mirror.filter.account.in_flight == 0)
    assert mirror.filter.account.targets[0].mirrored == 2 + 40  # two seconds more
    assert mirror.ledger()["max_rps"] == 8 + 60


def test_max_connections_sheds_the_lane_that_finds_none(mirror: Mirror, shadow: Shadow) -> None:
    first = limited(mirror, shadow, TargetLimits(max_connections=1))
    mirror.ask(first, 0)
    second = Lane(mirror.engine, first.target)
    mirror.ask(second, 1)
    assert mirror.ledger() == {"in_flight": 1, "max_connections": 1}
    mirror.answer(mirror.peer(shadow), ok())
    first.finish(mirror.now)
    mirror.ask(second, 2)
    mirror.arrives(mirror.peer(shadow), 0, 2)  # the first lane's connection is free
    assert len(shadow.accept_all()) == 1


def test_target_memory_and_total_memory(shadow: Shadow) -> None:
    with Mirror(max_buffered=5_000) as mirror:
        tight = limited(mirror, shadow, TargetLimits(max_buffered=2_500))
        wide = limited(mirror, shadow)
        for index in range(4):
            mirror.submit(mirror.exchange(index, body=b"x" * 1_000), tight, wide)
        assert mirror.ledger(0) == {"in_flight": 2, "target_memory": 2}
        assert mirror.ledger(1) == {"in_flight": 2, "memory": 2}
        assert mirror.engine.buffered == tight.target.buffered + wide.target.buffered
        tight.abandon("removed", mirror.now)
        mirror.submit(mirror.exchange(4, body=b"x" * 1_000), wide)
        mirror.filter.account.targets[0].shed["removed"] += 1  # what a filter does whose target is gone
        assert mirror.ledger(1) == {"in_flight": 3, "memory": 2}
        wide.abandon("removed", mirror.now)
        assert mirror.engine.buffered == 0


# --- the shadow is slow or silent -------------------------------------------------------------------------------------


def test_an_answer_that_does_not_come_in_time(mirror: Mirror, shadow: Shadow) -> None:
    lane = limited(mirror, shadow, TargetLimits(timeout=3 * SECOND, max_lag=10 * SECOND))
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    mirror.sweep(2 * SECOND)
    mirror.ask(lane, 1)
    mirror.ask(lane, 2, after=1)
    peer.send(ok()[:-1])  # a beginning does not extend the limit
    mirror.sweep(SECOND - 1)
    assert mirror.ledger() == {"in_flight": 3}
    mirror.sweep(SAFELY_LATER)
    assert mirror.ledger() == {"in_flight": 1, "failed timeout": 2}  # what was pipelined behind it is lost with it
    mirror.until(lambda: peer.receive() == b"" and peer.ended)
    mirror.arrives(mirror.peer(shadow, 1), 2)


def test_a_connection_that_does_not_open_in_time(mirror: Mirror) -> None:
    deaf = mirror.shadow(backlog=0)
    crowd = [socket.socket() for _ in range(3)]
    for sock in crowd:  # the accept queue is full: further SYNs are dropped
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", deaf.port))
    lane = limited(mirror, deaf, TargetLimits(connect_timeout=2 * SECOND))
    mirror.ask(lane, 0)
    mirror.still()
    mirror.sweep(2 * SECOND - 1)
    assert mirror.ledger() == {"in_flight": 1}
    mirror.sweep(SAFELY_LATER)
    assert mirror.ledger() == {"failed connect": 1}
    for sock in crowd:
        sock.close()


def test_what_waits_for_a_connection_is_shed_when_it_lags(mirror: Mirror) -> None:
    deaf = mirror.shadow(backlog=0)
    crowd = [socket.socket() for _ in range(3)]
    for sock in crowd:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", deaf.port))
    lane = limited(mirror, deaf, TargetLimits(connect_timeout=20 * SECOND, max_lag=SECOND))
    mirror.ask(lane, 0)
    mirror.sweep(SECOND + SAFELY_LATER)
    assert mirror.ledger() == {"shadow_lag": 1}
    for sock in crowd:
        sock.close()


def test_one_target_that_stalls_delays_no_other(mirror: Mirror, shadow: Shadow) -> None:
    stalled = limited(mirror, mirror.shadow())
    well = limited(mirror, shadow)
    for index in range(20):
        mirror.submit(mirror.exchange(index, after=index), stalled, well)
        mirror.answer(mirror.peer(shadow), ok())
    assert mirror.ledger(0) == {"in_flight": 20}
    assert mirror.ledger(1) == {"mirrored": 20}


def test_a_request_larger_than_the_sockets_hold(mirror: Mirror, shadow: Shadow) -> None:
    lane = limited(mirror, shadow)
    body = bytes(range(256)) * (8 << 10)
    mirror.ask(lane, 0, body=body)
    mirror.ask(lane, 1)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0, 1)
    assert peer.text.partition(b"\r\n\r\n")[2].startswith(body)
    mirror.answer(peer, ok() + ok(), 2)
    assert mirror.ledger() == {"mirrored": 2}


def test_a_turn_leaves_the_rest_of_an_answer_to_the_next(
    mirror: Mirror, shadow: Shadow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No edge tells of bytes that were there and not read."""
    monkeypatch.setattr(connection, "_RECV_TURN", connection._RECV_BYTES)
    mirror.ask(limited(mirror, shadow), 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    peer.send(ok(b"z" * (6 * connection._RECV_BYTES)))
    mirror.engine.wait(SECOND)
    mirror.turn()
    assert mirror.ledger() == {"in_flight": 1}
    assert mirror.engine.pending
    for _ in range(6):
        mirror.turn()
    assert mirror.ledger() == {"mirrored": 1}


def test_an_answer_larger_than_a_turn(mirror: Mirror, shadow: Shadow) -> None:
    lane = limited(mirror, shadow)
    exchange = mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    rest = memoryview(ok(b"z" * (5 << 20)))
    while rest:
        try:
            rest = rest[peer.sock.send(rest) :]
        except BlockingIOError:
            mirror.turn()
    peer.half_close()
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1})
    assert exchange.uncomparable is False


def test_an_answer_without_end_is_given_up(mirror: Mirror, shadow: Shadow) -> None:
    lane = limited(mirror, shadow)
    lane.target.answer_limit = 100_000
    for index in range(3):
        mirror.ask(lane, index)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0, 1, 2)
    for _ in range(2):  # each answer for itself, not all that was asked before the first came
        mirror.answer(peer, ok(b"y" * 90_000))
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * 110_000)
    mirror.until(lambda: "in_flight" not in mirror.ledger())
    assert mirror.ledger() == {"mirrored": 2, "failed malformed": 1}
    assert lane.target.connections == 0
    mirror.until(lambda: peer.has(0) and peer.ended, "the connection is closed on the wire")


# --- connecting -------------------------------------------------------------------------------------------------------


def test_refused_connections_open_the_circuit_and_a_probe_closes_it(mirror: Mirror) -> None:
    port = refusing_port()
    target = mirror.target(port)
    for index in range(BREAKER_FAILURES):
        mirror.ask(Lane(mirror.engine, target), index)
        mirror.until(lambda: "in_flight" not in mirror.ledger())
    assert mirror.ledger() == {"failed connect": BREAKER_FAILURES}
    rest = BREAKER_FIRST
    for probe in range(3):
        mirror.ask(Lane(mirror.engine, target), 100)
        assert mirror.ledger() == {"failed connect": BREAKER_FAILURES + probe, "circuit_open": 2 * probe + 1}
        mirror.turn(rest - 1)
        mirror.ask(Lane(mirror.engine, target), 101)
        assert mirror.ledger()["circuit_open"] == 2 * probe + 2
        mirror.turn(1)
        mirror.ask(Lane(mirror.engine, target), 102)  # one request goes to see
        mirror.until(lambda: "in_flight" not in mirror.ledger())
        rest *= 2
    assert mirror.ledger() == {"failed connect": BREAKER_FAILURES + 3, "circuit_open": 6}
    revived = mirror.shadow()
    target.addresses = [(socket.AF_INET, ("127.0.0.1", revived.port))]
    mirror.turn(rest)
    for index in range(2):
        lane = Lane(mirror.engine, target)
        mirror.ask(lane, index)
        mirror.arrives(mirror.peer(revived, index), index)
    assert target.breaker_until == 0
    assert mirror.ledger()["in_flight"] == 2


def test_connections_refused_at_one_moment_are_one_trial(mirror: Mirror) -> None:
    """A shadow restarted under many connections is asked again as soon as under one."""
    target = mirror.target(refusing_port())
    for trial in range(3):
        for index in range(4 * BREAKER_FAILURES):
            mirror.ask(Lane(mirror.engine, target), index)
        mirror.until(lambda: "in_flight" not in mirror.ledger())
        assert target.breaker_until == mirror.now + (BREAKER_FIRST << trial)
        mirror.turn(BREAKER_FIRST << trial)
    assert mirror.ledger() == {"failed connect": 3 * 4 * BREAKER_FAILURES}


def test_several_addresses_are_used_in_turn(mirror: Mirror) -> None:
    shadows = [mirror.shadow() for _ in range(3)]
    target = mirror.target(shadows[0].port)
    target.addresses = [(socket.AF_INET, ("127.0.0.1", shadow.port)) for shadow in shadows]
    for index in range(6):
        mirror.ask(Lane(mirror.engine, target), index)
    mirror.until(lambda: all(len(shadow.accept_all()) == 2 for shadow in shadows))
    assert mirror.ledger() == {"in_flight": 6}


def test_requests_wait_for_the_name_and_fail_when_it_has_no_address(mirror: Mirror, shadow: Shadow) -> None:
    lane = limited(mirror, shadow)
    addresses, lane.target.addresses = lane.target.addresses, []
    mirror.ask(lane, 0)
    mirror.sweep(SAFELY_LATER)
    assert mirror.ledger() == {"in_flight": 1}
    lane.target.addresses = addresses
    mirror.sweep(SAFELY_LATER)
    mirror.arrives(mirror.peer(shadow), 0)
    lane.abandon("removed", mirror.now)
    lane.target.addresses, lane.target.resolve_error = [], "Name or service not known"
    mirror.ask(lane, 1)
    assert mirror.ledger() == {"removed": 1, "failed resolve": 1}


def test_a_connect_that_the_kernel_refuses_at_once(mirror: Mirror, shadow: Shadow) -> None:
    lane = limited(mirror, shadow)
    lane.target.addresses = [(socket.AF_INET, ("224.0.0.1", 9))]  # TCP knows no multicast: ENETUNREACH without a packet
    mirror.ask(lane, 0)
    assert mirror.ledger() == {"failed connect": 1}
    assert lane.target.connections == 0


# --- removal ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooled", [False, True])
def test_a_removed_target_gets_nothing_more(mirror: Mirror, shadow: Shadow, pooled: bool) -> None:
    target = mirror.target(shadow.port)
    lane: Lane | Pool = Pool(mirror.engine, target) if pooled else Lane(mirror.engine, target)
    idle = Lane(mirror.engine, target)
    mirror.ask(idle, 0)
    mirror.answer(mirror.peer(shadow), ok())
    idle.finish(mirror.now)
    mirror.ask(lane, 1)
    mirror.ask(lane, 2, after=2)
    lane.abandon("removed", mirror.now)
    mirror.engine.remove_target(target, mirror.now)
    assert mirror.ledger() == {"mirrored": 1, "removed": 2}
    assert (target.connections, mirror.engine.targets) == (0, [])
    mirror.ask(lane, 3)
    assert mirror.ledger() == {"mirrored": 1, "removed": 3}
    mirror.still()
    assert [path for peer in shadow.accept_all() for path in peer.paths][:2] in (["0"], ["0", "1"])


@pytest.mark.parametrize("kind", ["lane", "pool", "raw", "connecting"])
def test_what_was_under_way_to_production_itself_is_not_the_targets_failure(
    mirror: Mirror, shadow: Shadow, kind: str
) -> None:
    target = mirror.target(shadow.port, TargetLimits(max_connections=1))
    lane: Lane | Pool = (
        Pool(mirror.engine, target) if kind == "pool" else Lane(mirror.engine, target, raw=kind == "raw")
    )
    exchanges = [mirror.ask(lane, index, after=index) for index in range(3)]
    if kind != "connecting":
        peer = mirror.peer(shadow)
        mirror.until(lambda: bool(peer.paths))
    target.addresses, target.itself = [], "it is production itself"
    mirror.engine.cut(target, mirror.now)
    ledger = mirror.ledger()
    assert ledger.pop("mirrored", 0) == (2 if kind == "raw" else 0)  # turns that production answered with nothing
    assert ledger == {"itself": 1 if kind == "raw" else len(exchanges)}
    assert mirror.filter.account.balanced
    assert (target.connections, target.buffered, mirror.engine.buffered, set(target.blocked)) == (0, 0, 0, set())
    mirror.ask(lane, 3)
    for _ in range(3):
        mirror.turn(SECOND)
    assert mirror.ledger()["itself"] == ledger["itself"] + 1
    assert target.breaker_until <= mirror.now, "nor is it what opens the circuit"


@pytest.mark.parametrize(
    ("part", "stage", "raw"),
    [
        ("sock", "recv", False),
        ("sock", "recv", True),
        ("parser", "feed_data", False),
        ("answers", "feed_untrusted", True),
    ],
)
def test_a_fault_of_ours_with_an_answer_is_that_connections(
    mirror: Mirror, shadow: Shadow, part: str, stage: str, raw: bool
) -> None:
    target = mirror.target(shadow.port)
    lane = Lane(mirror.engine, target, raw=raw)
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    chosen: Any = lane.connection
    holder, name = {"parser": (chosen._http, "_parser"), "answers": (chosen, "_answers")}.get(part, (chosen, part))
    broken = Faulty(getattr(holder, name), stage)
    setattr(holder, name, broken)
    peer.send(ok())
    mirror.until(lambda: bool(broken.hit))
    assert mirror.ledger() == {"own_limit": 1}
    assert (list(mirror.engine.examining.failed.values()), target.connections) == ([1], 0)
    mirror.ask(lane, 1)
    if raw:  # the turn that is missing makes another conversation of it
        assert mirror.ledger() == {"own_limit": 2}
    else:
        mirror.answer(mirror.peer(shadow, 1), ok())
        assert mirror.ledger() == {"own_limit": 1, "mirrored": 1}
    assert mirror.filter.account.balanced
