"""Bytes that belong to no answer, answers that cannot be read, and limits of this host: whose fault they are not."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket

import pytest

from shadowd.exchange.exchange import Exchange, Response
from shadowd.replay.engine import OWN_LIMITS
from shadowd.replay.lane import Lane, Pool
from shadowd.replay.target import SECOND
from tests.unit.loopback import Mirror, Shadow, get, ok

STRAY = [b"0\r\n\r\n", b'{"a":1}', b"\0", b"hello HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]


@pytest.fixture
def lane(mirror: Mirror, shadow: Shadow) -> Lane:
    return Lane(mirror.engine, mirror.target(shadow.port), auto=True)


# --- stray bytes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stray", STRAY)
def test_an_answer_with_bytes_behind_it_is_whole_and_the_last_of_its_connection(
    mirror: Mirror, shadow: Shadow, lane: Lane, stray: bytes
) -> None:
    mirror.ask(lane, 0)
    mirror.ask(lane, 1, after=1)  # would leave the moment that 0 is answered
    first = mirror.peer(shadow)
    mirror.arrives(first, 0)
    mirror.answer(first, ok() + stray)
    mirror.arrives(mirror.peer(shadow, 1), 1)
    assert first.paths == ["0"]
    mirror.answer(shadow.peers[1], ok())
    assert mirror.ledger() == {"mirrored": 2}
    assert lane.target.account.view()["stray_bytes"] == 1


@pytest.mark.parametrize("stray", STRAY)
def test_bytes_while_nothing_is_asked_end_the_connection(
    mirror: Mirror, shadow: Shadow, lane: Lane, stray: bytes
) -> None:
    mirror.ask(lane, 0)
    first = mirror.peer(shadow)
    mirror.answer(first, ok())
    first.send(stray)
    mirror.until(lambda: lane.target.connections == 0)
    mirror.ask(lane, 1, after=1)
    mirror.arrives(mirror.peer(shadow, 1), 1)
    assert lane.target.account.stray == 1


@pytest.mark.parametrize("stray", STRAY)
def test_bytes_that_come_when_the_next_request_has_left_do_not_fail_it(
    mirror: Mirror, shadow: Shadow, lane: Lane, stray: bytes
) -> None:
    mirror.ask(lane, 0)
    first = mirror.peer(shadow)
    mirror.answer(first, ok())
    mirror.ask(lane, 1, after=1)
    mirror.arrives(first, 0, 1)
    first.send(stray)
    mirror.arrives(mirror.peer(shadow, 1), 1)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}
    mirror.answer(shadow.peers[1], ok())
    assert mirror.ledger() == {"mirrored": 2}


def test_pipelined_requests_behind_stray_bytes_are_asked_again_in_order(
    mirror: Mirror, shadow: Shadow, lane: Lane
) -> None:
    for index in range(4):
        mirror.ask(lane, index)
    first = mirror.peer(shadow)
    mirror.arrives(first, 0, 1, 2, 3)
    mirror.answer(first, ok() + STRAY[0] + ok(), 1)
    mirror.arrives(mirror.peer(shadow, 1), 1, 2, 3)
    mirror.answer(shadow.peers[1], ok() * 3, 3)
    assert mirror.ledger() == {"mirrored": 4}


def test_what_writes_is_not_sent_again_but_has_not_failed(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.ask(lane, 0)
    first = mirror.peer(shadow)
    mirror.answer(first, ok())
    mirror.ask(lane, 1, after=1, body=b"pay")
    mirror.until(lambda: len(first.paths) == 2)
    first.send(STRAY[0])
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1, "stray": 1})
    mirror.still()
    assert len(shadow.accept_all()) == 1


def test_garbage_again_on_a_new_connection_is_the_shadows_fault(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.ask(lane, 0)
    mirror.answer(mirror.peer(shadow), ok())
    mirror.ask(lane, 1, after=1)
    for number in range(2):
        peer = mirror.peer(shadow, number)
        mirror.until(lambda peer=peer: "1" in peer.paths)  # type: ignore[misc]
        peer.send(STRAY[0])
    mirror.until(lambda: "in_flight" not in mirror.ledger())
    assert mirror.ledger() == {"mirrored": 1, "failed malformed": 1}
    mirror.still()
    assert [peer.paths for peer in shadow.accept_all()] == [["0", "1"], ["1"]], "not a third time"


def test_a_broken_answer_is_no_stray_one(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.ask(lane, 0)
    first = mirror.peer(shadow)
    mirror.answer(first, ok())
    mirror.ask(lane, 1, after=1)
    mirror.arrives(first, 0, 1)
    first.send(b"HTTP/1.1 200 OK\r\nContent-Length: what\r\n\r\n")
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1, "failed malformed": 1})
    assert lane.target.account.stray == 0


def test_blank_lines_and_good_byes_are_not_stray(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    for index in range(3):
        mirror.ask(lane, index, after=index)
        peer = mirror.peer(shadow)
        mirror.arrives(peer, *range(index + 1))
        mirror.answer(peer, ok() + b"\r\n" * (index % 2))
        peer.send(b"\r\n")
        mirror.still()
    assert len(shadow.accept_all()) == 1
    shadow.peers[0].send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    mirror.until(lambda: lane.target.connections == 0)
    assert lane.target.account.stray == 0


@pytest.mark.parametrize(
    ("method", "answer", "stray"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", b'{"a":1}'),
        (b"GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", b"abc"),
        (b"GET", b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(), b"abc"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"bc"),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"abc"),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_nothing_of_one_exchange_leaks_into_the_next(
    mirror: Mirror, shadow: Shadow, lane: Lane, method: bytes, answer: bytes, stray: bytes, together: bool
) -> None:
    """Whatever an answer drags behind it, in the same segment or a later one: the next answer is the shadow's own."""
    exchange = mirror.exchange(0)
    exchange.request.method, exchange.request.head = method, get(0).replace(b"GET", method)
    exchange.response, exchange.answered = Response(200, ok(), 0, mirror.now), True
    mirror.submit(exchange, lane)
    first = mirror.peer(shadow)
    mirror.until(lambda: first.has(len(get(0))))
    mirror.answer(first, answer + stray * together)
    following = mirror.exchange(1, 1)
    following.response, following.answered = Response(200, ok(), 0, mirror.now), True
    leg = mirror.engine.submit(following, mirror.filter.policy, lane, mirror.now)
    mirror.filter.account.seen += 1
    if not together:
        mirror.arrives(first, 0, 1)
        first.send(stray)
    fresh = mirror.peer(shadow, 1)
    mirror.arrives(fresh, 1)
    mirror.answer(fresh, ok(b"mine"))
    assert mirror.ledger() == {"mirrored": 2}
    assert leg.response is not None
    assert leg.response.body == b"mine"


# --- what production sends too ----------------------------------------------------------------------------------------


def unread(exchange: Exchange) -> None:
    exchange.response, exchange.answered, exchange.uncomparable = None, True, True


@pytest.mark.parametrize("late", [False, True])
def test_what_cannot_be_read_on_either_side_is_uncomparable(
    mirror: Mirror, shadow: Shadow, lane: Lane, late: bool
) -> None:
    exchange = mirror.exchange(0)
    if not late:
        unread(exchange)
    mirror.submit(exchange, lane)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    peer.send(b"what?\r\n\r\n")
    mirror.until(lambda: lane.target.connections == 0)
    if late:  # production's answer is not known yet: nothing is said
        assert mirror.ledger() == {"in_flight": 1}
        unread(exchange)
        mirror.engine.primary_known(exchange)
    assert mirror.ledger() == {"mirrored": 1}
    assert lane.target.account.uncomparable == 1
    mirror.turn()
    assert lane.target.account.uncomparable == 1


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("failure", ["", "reset"])
def test_what_production_can_be_read_or_failed_itself_is_a_failure(
    mirror: Mirror, shadow: Shadow, lane: Lane, late: bool, failure: str
) -> None:
    exchange = mirror.exchange(0)

    def known() -> None:
        exchange.answered, exchange.failure = True, failure
        exchange.response = None if failure else Response(200, ok(), 0, mirror.now)

    if not late:
        known()
    mirror.submit(exchange, lane)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    peer.send(b"what?\r\n\r\n")
    mirror.until(lambda: lane.target.connections == 0)
    if late:
        known()
        mirror.engine.primary_known(exchange)
    assert mirror.ledger() == {"failed malformed": 1}


def test_an_answer_that_is_too_long_on_both_sides_is_our_limit(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    lane.target.answer_limit = 1 << 16
    for index, length in enumerate((1 << 17, 10)):
        exchange = mirror.exchange(index)
        exchange.response, exchange.answered = Response(200, ok(), 0, mirror.now), True
        exchange.response.body_length = length
        mirror.submit(exchange, lane)
        peer = mirror.peer(shadow, index)
        mirror.arrives(peer, index)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * (1 << 16))
        mirror.until(lambda: lane.target.connections == 0)
    assert mirror.ledger() == {"own_limit": 1, "failed malformed": 1}


# --- what this host lacks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooled", [False, True])
def test_no_descriptor_is_no_failure_of_the_shadow(mirror: Mirror, shadow: Shadow, pooled: bool) -> None:
    target = mirror.target(shadow.port)
    lane: Lane | Pool = Pool(mirror.engine, target) if pooled else Lane(mirror.engine, target, auto=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = socket.socket()
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken.fileno(), hard))
    filler = []
    try:
        with contextlib.suppress(OSError):
            while True:
                filler.append(socket.socket())
        mirror.ask(lane, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for sock in [taken, *filler]:
            sock.close()
    assert mirror.ledger() == {"own_limit": 1}
    assert target.breaker_until == target.connections == target.connecting == target.branches == 0
    mirror.now += 2 * SECOND
    mirror.ask(lane, 1, after=1)
    mirror.arrives(mirror.peer(shadow), 1)


@pytest.mark.parametrize("code", sorted(OWN_LIMITS))
def test_limits_of_this_host_never_trip_the_breaker(mirror: Mirror, shadow: Shadow, code: int) -> None:
    assert errno.ECONNREFUSED not in OWN_LIMITS
    target = mirror.target(shadow.port)
    for index in range(20):
        lane = Lane(mirror.engine, target)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect_ex", lambda *_: code)
            mirror.ask(lane, index)
    assert mirror.ledger() == {"own_limit": 20}
    assert target.breaker_until == target.connections == target.connecting == 0


def test_an_address_that_is_not_available_is_passed_over(mirror: Mirror, shadow: Shadow) -> None:
    """``localhost`` has an IPv6 address even where there is no IPv6."""
    target = mirror.target(shadow.port)
    target.addresses = [(socket.AF_INET, ("127.0.0.1", shadow.port)), (socket.AF_INET, ("127.0.0.2", shadow.port))]
    real = socket.socket.connect_ex
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            socket.socket,
            "connect_ex",
            lambda sock, to: errno.EADDRNOTAVAIL if to[0] == "127.0.0.2" else real(sock, to),
        )
        mirror.ask(Lane(mirror.engine, target), 0)
        mirror.arrives(mirror.peer(shadow), 0)
    assert mirror.ledger() == {"in_flight": 1}
