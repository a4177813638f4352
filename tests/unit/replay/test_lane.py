"""Lane and Pool against a shadow on loopback: order, causality, reuse, second tries, removal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.replay.lane import Lane, Pool
from shadowd.replay.target import IDLE_KEEP, SECOND, TargetLimits
from tests.unit.loopback import MARK, Mirror, Peer, Shadow, get, ok

SAFELY_LATER = SECOND // 10


@pytest.fixture
def lane(mirror: Mirror, shadow: Shadow) -> Lane:
    return Lane(mirror.engine, mirror.target(shadow.port))


# --- order and causality ----------------------------------------------------------------------------------------------


def test_pipelined_requests_go_out_at_once_in_order(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    for index in range(4):
        mirror.ask(lane, index)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0, 1, 2, 3)
    assert peer.text == b"".join(get(index)[:-2] + MARK + b"\r\n" for index in range(4))
    mirror.answer(peer, ok() * 3, 3)
    assert mirror.ledger() == {"mirrored": 3, "in_flight": 1}
    mirror.answer(peer, ok())
    assert mirror.ledger() == {"mirrored": 4}
    assert len(shadow.accept_all()) == 1


def test_a_request_waits_for_the_answers_its_client_had_read(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.ask(lane, 0)
    mirror.ask(lane, 1, after=1)
    mirror.ask(lane, 2, after=1)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    mirror.still()
    assert peer.paths == ["0"]
    mirror.answer(peer, ok()[:20] + ok()[20:])
    mirror.arrives(peer, 0, 1, 2)  # both were sent after one answer, so they do not wait for each other
    mirror.ask(lane, 3, after=2)
    mirror.still()
    assert peer.paths == ["0", "1", "2"]
    mirror.answer(peer, ok())
    mirror.arrives(peer, 0, 1, 2, 3)
    mirror.answer(peer, ok() * 2, 2)
    assert mirror.ledger() == {"mirrored": 4}


def test_half_an_answer_is_no_answer(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.ask(lane, 0)
    mirror.ask(lane, 1, after=1)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    peer.send(ok(b"x" * 100)[:-1])
    mirror.still()
    assert peer.paths == ["0"]
    mirror.answer(peer, b"x")
    mirror.arrives(peer, 0, 1)


def test_answers_of_requests_that_were_not_mirrored_are_not_waited_for(
    mirror: Mirror, shadow: Shadow, lane: Lane
) -> None:
    mirror.ask(lane, 5, after=5)
    mirror.arrives(mirror.peer(shadow), 5)
    assert mirror.ledger() == {"in_flight": 1}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12), st.data())
def test_nothing_overtakes_what_its_client_had_read(steps: list[tuple[int, bool]], data: st.DataObject) -> None:
    """The oracle: the shadow has a request if and only if those before it are there, and it has answered all that the
    client had read of their answers."""
    with Mirror() as mirror:
        shadow = mirror.shadow()
        lane = Lane(mirror.engine, mirror.target(shadow.port))
        after: list[int] = []
        answered = 0

        def there() -> int:
            count = 0
            while count < len(after) and after[count] <= answered:
                count += 1
            return count

        for back, pipelined in steps:
            least = after[-1] if after else 0
            after.append(least if pipelined else max(least, len(after) - back, 0))
            mirror.ask(lane, len(after) - 1, after[-1])
            peer = mirror.peer(shadow)
            mirror.arrives(peer, *range(there()))
            for _ in range(data.draw(st.integers(0, there() - answered))):
                mirror.answer(peer, ok())
                answered += 1
                mirror.arrives(peer, *range(there()))
        while answered < len(after):
            mirror.answer(peer, ok())
            answered += 1
            mirror.arrives(peer, *range(there()))
        assert mirror.ledger() == {"mirrored": len(after)}
        assert len(shadow.accept_all()) == 1


def test_a_lagging_connection_sheds_whole_requests(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, TargetLimits(max_lag=SECOND)))
    mirror.ask(lane, 0)
    for index in range(1, 4):
        mirror.ask(lane, index, after=1)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    mirror.sweep(SECOND - 1)
    assert mirror.ledger() == {"in_flight": 4}
    mirror.sweep(SAFELY_LATER)
    assert mirror.ledger() == {"in_flight": 1, "shadow_lag": 3}
    mirror.ask(lane, 4, after=1)
    mirror.now += SECOND + 1
    mirror.ask(lane, 5, after=1)
    mirror.answer(peer, ok())  # before the sweep: the first that waited is shed as it would be sent
    mirror.arrives(peer, 0, 5)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1, "shadow_lag": 4}


# --- connections are kept, and found closed ---------------------------------------------------------------------------


def used(mirror: Mirror, shadow: Shadow, lane: Lane) -> Peer:
    """A connection that has answered a request and is nobody's now."""
    before = len(shadow.accept_all())
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow, before)
    mirror.arrives(peer, 0)
    mirror.answer(peer, ok())
    lane.finish(mirror.now)
    return peer


def test_an_idle_connection_serves_the_next_lane(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    peer = used(mirror, shadow, lane)
    assert len(lane.target.idle) == lane.target.connections == 1
    for index in range(1, 4):
        following = Lane(mirror.engine, lane.target)
        mirror.ask(following, index)
        mirror.arrives(peer, *range(index + 1))
        following.finish(mirror.now)  # production's client is gone before the shadow has answered
        assert len(lane.target.idle) == 0
        mirror.answer(peer, ok())
        assert len(lane.target.idle) == 1
    assert len(shadow.accept_all()) == 1
    assert mirror.ledger() == {"mirrored": 4}


def test_idle_connections_are_closed_in_time(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    peer = used(mirror, shadow, lane)
    mirror.sweep(IDLE_KEEP)
    peer.receive()
    assert not peer.ended
    mirror.sweep(SAFELY_LATER)
    mirror.until(lambda: peer.receive() == b"" and peer.ended)
    assert lane.target.connections == 0


def test_an_idle_connection_that_the_shadow_closed_is_forgotten(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    used(mirror, shadow, lane).close()
    mirror.until(lambda: not lane.target.idle)
    following = Lane(mirror.engine, lane.target)
    mirror.ask(following, 1)
    mirror.arrives(mirror.peer(shadow, 1), 1)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_a_request_that_met_an_idle_close_is_tried_again_once(
    mirror: Mirror, shadow: Shadow, lane: Lane, end: object
) -> None:
    assert callable(end)
    end(used(mirror, shadow, lane))
    following = Lane(mirror.engine, lane.target)
    mirror.ask(following, 1)  # the engine has not been told yet that the connection is closed
    fresh = mirror.peer(shadow, 1)
    mirror.arrives(fresh, 1)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}
    end(fresh)  # nothing was answered on this one: no race, the shadow's fault
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1, "failed reset": 1})
    mirror.still()
    assert len(shadow.accept_all()) == 2


def test_the_second_try_goes_to_a_new_connection(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    """A shadow that closed one idle connection has closed the others as well."""
    other = Lane(mirror.engine, lane.target)
    mirror.ask(other, 9)
    mirror.answer(mirror.peer(shadow), ok())
    peers = [mirror.peer(shadow), used(mirror, shadow, lane)]
    other.finish(mirror.now)
    assert len(lane.target.idle) == 2
    for peer in peers:
        peer.close()
    mirror.ask(Lane(mirror.engine, lane.target), 1)
    mirror.arrives(mirror.peer(shadow, 2), 1)
    assert mirror.ledger() == {"mirrored": 2, "in_flight": 1}


def test_a_request_has_two_tries_in_all(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    for index in range(3):
        mirror.ask(lane, index)
    for number in range(2):  # each connection answers one request and is closed
        peer = mirror.peer(shadow, number)
        mirror.arrives(peer, *range(number, 3))
        mirror.answer(peer, ok(fields=b"Connection: close\r\n"))
        peer.close()
    mirror.until(lambda: mirror.ledger() == {"mirrored": 2, "failed reset": 1})
    mirror.still()
    assert len(shadow.accept_all()) == 2


def test_what_is_not_safe_is_never_sent_twice(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    used(mirror, shadow, lane).close()
    mirror.ask(Lane(mirror.engine, lane.target), 1, body=b"pay")
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1, "failed reset": 1})
    mirror.still()
    assert len(shadow.accept_all()) == 1


@pytest.mark.parametrize(("end", "reason"), [(Peer.close, "truncated"), (Peer.reset, "reset")])
def test_what_is_answered_in_part_is_not_sent_again(
    mirror: Mirror, shadow: Shadow, lane: Lane, end: object, reason: str
) -> None:
    assert callable(end)
    mirror.ask(lane, 0)
    mirror.ask(lane, 1)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0, 1)
    mirror.answer(peer, ok() + ok()[:-1])
    end(peer)
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1, f"failed {reason}": 1})
    mirror.still()
    assert len(shadow.accept_all()) == 1


def test_a_shadow_that_closes_after_each_answer(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    for index in range(3):
        mirror.ask(lane, index, after=index)
    for index in range(3):
        peer = mirror.peer(shadow, index)
        mirror.arrives(peer, index)
        mirror.answer(peer, ok(fields=b"Connection: close\r\n"))
        peer.close()
    assert mirror.ledger() == {"mirrored": 3}
    assert lane.target.connections == 0


def test_pipelined_requests_behind_the_last_answer_of_a_connection(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    for index in range(3):
        mirror.ask(lane, index)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0, 1, 2)
    mirror.answer(peer, ok(fields=b"Connection: close\r\n"))
    peer.close()
    mirror.arrives(mirror.peer(shadow, 1), 1, 2)
    mirror.answer(mirror.peer(shadow, 1), ok() * 2, 2)
    assert mirror.ledger() == {"mirrored": 3}


def test_a_forwarded_header_comes_first_on_every_connection(mirror: Mirror, shadow: Shadow) -> None:
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    lane = Lane(mirror.engine, mirror.target(shadow.port), preamble=header)
    mirror.ask(lane, 0)
    mirror.ask(lane, 1, after=1)
    for index in range(2):
        peer = mirror.peer(shadow, index)
        mirror.arrives(peer, index)
        assert peer.text.startswith(header + b"GET /%d " % index)
        assert peer.text.count(header) == 1
        mirror.answer(peer, ok(fields=b"Connection: close\r\n"))
    mirror.ask(lane, 2, after=2)
    peer = mirror.peer(shadow, 2)
    mirror.arrives(peer, 2)
    lane.finish(mirror.now)
    mirror.answer(peer, ok())
    assert not lane.target.idle  # another client's requests must not go out under this header


# --- removal ----------------------------------------------------------------------------------------------------------


def test_abandoning_sheds_what_is_sent_and_what_is_queued(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.ask(lane, 0)
    mirror.ask(lane, 1)
    mirror.ask(lane, 2, after=1)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0, 1)
    peer.send(ok()[:-1])
    mirror.still()
    lane.abandon("removed", mirror.now)
    assert mirror.ledger() == {"removed": 3}
    assert mirror.engine.buffered == lane.target.buffered == lane.target.connections == mirror.engine.waiting == 0
    mirror.until(lambda: peer.receive() == b"" and peer.ended)
    assert peer.paths == ["0", "1"]
    lane.abandon("removed", mirror.now)  # a second time changes nothing
    assert mirror.ledger() == {"removed": 3}


def test_an_answer_that_came_as_the_lane_was_abandoned_is_nobodys(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    peer.send(ok())
    mirror.engine.wait(SECOND)  # the answer is ready to be read in the next turn
    lane.abandon("shutdown", mirror.now)
    mirror.turn()
    assert mirror.ledger() == {"shutdown": 1}


# --- order: none ------------------------------------------------------------------------------------------------------


def test_a_pool_asks_on_any_free_connection(mirror: Mirror, shadow: Shadow) -> None:
    pool = Pool(mirror.engine, mirror.target(shadow.port))
    for index in range(3):
        mirror.ask(pool, index, after=index)
    peers = [mirror.peer(shadow, number) for number in range(3)]
    mirror.until(lambda: all(peer.paths for peer in peers))
    assert sorted(path for peer in peers for path in peer.paths) == ["0", "1", "2"]
    mirror.answer(peers[2], ok())
    mirror.ask(pool, 3, after=3)
    mirror.until(lambda: len(peers[2].paths) == 2)
    assert peers[2].paths[1] == "3"
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 3}


def test_a_pool_keeps_to_the_connection_limit_and_one_request_each(mirror: Mirror, shadow: Shadow) -> None:
    pool = Pool(mirror.engine, mirror.target(shadow.port, TargetLimits(max_connections=2)))
    for index in range(6):
        mirror.ask(pool, index)
    peers = [mirror.peer(shadow, number) for number in range(2)]
    for round_ in range(3):
        mirror.still()
        assert [len(peer.paths) for peer in peers] == [round_ + 1] * 2
        mirror.answer(peers[0], ok())
        mirror.answer(peers[1], ok())
    assert len(shadow.accept_all()) == 2
    assert sorted(path for peer in peers for path in peer.paths) == [str(index) for index in range(6)]
    assert mirror.ledger() == {"mirrored": 6}


def test_a_pool_is_abandoned_whole(mirror: Mirror, shadow: Shadow) -> None:
    pool = Pool(mirror.engine, mirror.target(shadow.port, TargetLimits(max_connections=2)))
    for index in range(5):
        mirror.ask(pool, index)
    mirror.peer(shadow, 1)
    pool.abandon("removed", mirror.now)
    assert mirror.ledger() == {"removed": 5}
    assert pool.target.connections == 0
