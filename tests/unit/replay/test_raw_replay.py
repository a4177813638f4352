"""Raw turns on a shadow connection: where an answer ends when nobody says so, and what waits for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.replay.answers import RAW_QUIET
from shadowd.replay.engine import SWEEP
from shadowd.replay.lane import Lane
from shadowd.replay.target import SECOND, TargetLimits
from tests.unit.loopback import Mirror, Peer, Shadow

TIMEOUT = 2 * SECOND


@pytest.fixture
def lane(mirror: Mirror, shadow: Shadow) -> Lane:
    return Lane(mirror.engine, mirror.target(shadow.port, TargetLimits(timeout=TIMEOUT)), raw=True)


def heard(mirror: Mirror, peer: Peer, words: bytes) -> None:
    """Wait until the shadow has got all of ``words`` since it accepted, and nothing else."""
    mirror.until(lambda: peer.has(len(words)), f"{words!r}")
    assert peer.text == words


# --- where an answer ends ---------------------------------------------------------------------------------------------


def test_an_answer_is_whole_when_it_is_as_long_as_productions(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.say(lane, 0, b"PING\r\n", reply=7)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"PING\r\n")
    peer.send(b"+PO")
    mirror.still()
    assert mirror.ledger() == {"in_flight": 1}
    mirror.answer(peer, b"NG\r\n")
    assert mirror.ledger() == {"mirrored": 1}


def test_a_shorter_answer_ends_by_silence(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.say(lane, 0, b"GET k\r\n", reply=100)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"GET k\r\n")
    peer.send(b"$-1\r\n")
    mirror.still()
    mirror.sweep(RAW_QUIET - 1)
    assert mirror.ledger() == {"in_flight": 1}
    mirror.sweep(SWEEP)
    assert mirror.ledger() == {"mirrored": 1}


def test_a_longer_answer_is_charged_to_the_only_turn(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.say(lane, 0, b"a", reply=3)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"a")
    mirror.answer(peer, b"12345")
    peer.send(b"678")  # and what comes later still is nobody's
    mirror.still()
    mirror.say(lane, 1, b"b", after=1, reply=2)
    heard(mirror, peer, b"ab")
    mirror.still()
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}
    mirror.answer(peer, b"90")
    assert mirror.ledger() == {"mirrored": 2}


def test_no_answer_where_production_gave_none(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    exchange = mirror.say(lane, 0, b"QUIT")
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"QUIT")
    exchange.answered = exchange.uncomparable = True  # production closed
    mirror.sweep(SWEEP)
    assert mirror.ledger() == {"mirrored": 1}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.lists(st.integers(1, 60), max_size=12))
def test_pipelined_answers_are_told_apart_by_productions_lengths(lengths: list[int], pieces: list[int]) -> None:
    """A shadow that answers as production did, in any pieces: each turn gets the bytes that are its own."""
    with Mirror(body_limit=100) as mirror:
        shadow = mirror.shadow()
        lane = Lane(mirror.engine, mirror.target(shadow.port), raw=True)
        turns = [mirror.say(lane, index, b"?") for index in range(len(lengths))]
        peer = mirror.peer(shadow)
        heard(mirror, peer, b"?" * len(lengths))
        stream = b"".join(bytes([65 + index]) * length for index, length in enumerate(lengths))
        assert lane.connection is not None
        legs = list(lane.connection.in_flight)
        for turn, length in zip(turns, lengths, strict=True):
            mirror.replied(turn, length)
        for piece in [*pieces, len(stream)]:
            if stream:
                peer.send(stream[:piece])
                stream = stream[piece:]
                mirror.still()
        mirror.sweep(SWEEP)
        assert mirror.ledger() == {"mirrored": len(lengths)}
        answers = [leg.response for leg in legs]
        assert [answer and answer.body_length for answer in answers] == lengths
        ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
        assert [answer and (answer.begin, answer.end) for answer in answers] == list(
            zip([0, *ends], ends, strict=False)
        )


# --- what waits -------------------------------------------------------------------------------------------------------


def test_a_turn_waits_for_the_answer_its_client_had_read(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.say(lane, 0, b"one ", reply=4)
    mirror.say(lane, 1, b"two ", after=1, reply=4)
    mirror.say(lane, 2, b"three", after=1, reply=4)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"one ")
    peer.send(b"ab")
    mirror.still()
    assert peer.text == b"one "
    mirror.answer(peer, b"cd")
    heard(mirror, peer, b"one two three")


def test_silence_on_both_sides_lets_the_next_turn_go(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    """Production's answer is known to be over only when the next turn begins; a client may think long before it."""
    exchange = mirror.say(lane, 0, b"one ")
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"one ")
    peer.send(b"abcd")
    mirror.still()
    mirror.sweep(60 * SECOND)
    assert mirror.ledger() == {"in_flight": 1}  # production has not spoken: nothing can be said
    mirror.replied(exchange, 4, over=False)
    mirror.sweep(RAW_QUIET - 1)
    assert mirror.ledger() == {"in_flight": 1}
    mirror.sweep(SWEEP)
    assert mirror.ledger() == {"mirrored": 1}


def test_a_shadow_that_is_behind_is_not_silent(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    exchange = mirror.say(lane, 0, b"one ")
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"one ")
    mirror.replied(exchange, 10, over=False)
    peer.send(b"abcd")
    mirror.still()
    mirror.sweep(2 * RAW_QUIET)
    assert mirror.ledger() == {"in_flight": 1}


def test_a_greeting_is_no_answer(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.say(lane, 0, b"HELO", reply=3)
    (peer,) = shadow.accept_all()
    peer.send(b"220 hello\r\n")  # with the SYN-ACK, before the mirror has looked
    heard(mirror, peer, b"HELO")
    mirror.still()
    assert mirror.ledger() == {"in_flight": 1}
    mirror.answer(peer, b"250")
    assert mirror.ledger() == {"mirrored": 1}


# --- what is too late -------------------------------------------------------------------------------------------------


def test_a_silent_shadow_times_out_when_production_has_answered(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.say(lane, 0, b"a", reply=5)
    mirror.say(lane, 1, b"b", after=1, reply=5)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"a")
    mirror.sweep(TIMEOUT - 1)
    assert mirror.ledger() == {"in_flight": 2}
    mirror.sweep(SWEEP)
    assert mirror.ledger()["failed timeout"] == 1
    assert "in_flight" not in mirror.ledger()
    assert len(shadow.accept_all()) == 1  # the rest would be another conversation


def test_a_command_that_blocks_on_both_sides_is_no_timeout(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    exchange = mirror.say(lane, 0, b"BLPOP q 0\r\n")
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"BLPOP q 0\r\n")
    for _ in range(10):
        mirror.sweep(TIMEOUT)
    assert mirror.ledger() == {"in_flight": 1}
    mirror.replied(exchange, 4)  # after 20 s; the shadow gets as long, and the limit on top
    mirror.sweep(TIMEOUT - SWEEP)
    assert mirror.ledger() == {"in_flight": 1}
    mirror.answer(peer, b"item")
    assert mirror.ledger() == {"mirrored": 1}


def test_the_shadow_may_take_as_long_as_production_did(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    exchange = mirror.say(lane, 0, b"BLPOP q 0\r\n", reply=4)
    exchange.request.ended -= 10 * SECOND  # we are behind: production has answered by now, after ten seconds
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"BLPOP q 0\r\n")
    for _ in range(5):
        mirror.sweep(TIMEOUT)
    assert mirror.ledger() == {"in_flight": 1}
    for _ in range(2):
        mirror.sweep(TIMEOUT)
    assert mirror.ledger() == {"failed timeout": 1}


def test_a_command_that_blocks_on_the_shadow_alone_is_one(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    exchange = mirror.say(lane, 0, b"BLPOP q 0\r\n")
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"BLPOP q 0\r\n")
    mirror.sweep(3 * TIMEOUT)
    mirror.replied(exchange, 4)
    for _ in range(2):
        mirror.sweep(TIMEOUT)
    assert mirror.ledger() == {"failed timeout": 1}


# --- the conversation is broken off -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_what_follows_a_lost_connection_fails_with_it(mirror: Mirror, shadow: Shadow, lane: Lane, end: object) -> None:
    assert callable(end)
    mirror.say(lane, 0, b"SELECT 1", reply=2)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"SELECT 1")
    mirror.answer(peer, b"ok")
    mirror.say(lane, 1, b"INCR", after=1, reply=2)
    mirror.say(lane, 2, b"INCR", after=2, reply=2)
    end(peer)
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1, "failed reset": 2})
    mirror.say(lane, 3, b"INCR", after=3, reply=2)
    mirror.still()
    assert mirror.ledger() == {"mirrored": 1, "failed reset": 3}
    assert len(shadow.accept_all()) == 1  # a new connection would have another database selected


def test_an_answer_that_the_end_cuts_short_is_an_answer(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.say(lane, 0, b"QUIT", reply=10)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"QUIT")
    peer.send(b"bye")
    peer.half_close()
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1})
    assert lane.target.connections == 0


def test_turns_behind_a_failed_connect_fail_too(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    shadow.listener.close()
    mirror.say(lane, 0, b"SET a 1", reply=2)
    mirror.say(lane, 1, b"GET a", after=1, reply=2)
    mirror.until(lambda: mirror.ledger() == {"failed connect": 2})
    mirror.say(lane, 2, b"GET a", after=2, reply=2)
    assert mirror.ledger() == {"failed connect": 3}


@pytest.mark.parametrize("later", [False, True])
def test_a_shed_turn_ends_the_conversation(mirror: Mirror, shadow: Shadow, later: bool) -> None:
    limits = TargetLimits(max_in_flight=1) if not later else TargetLimits(max_lag=SECOND)
    lane = Lane(mirror.engine, mirror.target(shadow.port, limits), raw=True)
    mirror.say(lane, 0, b"SET a 1", reply=2)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"SET a 1")
    mirror.say(lane, 1, b"INCR a", after=1, reply=2)
    mirror.sweep(SECOND + SWEEP)
    reason = "shadow_lag" if later else "max_in_flight"
    assert mirror.ledger() == {"in_flight": 1, reason: 1}
    mirror.answer(peer, b"ok")
    mirror.say(lane, 2, b"GET a", after=2, reply=2)
    mirror.still()
    assert peer.text == b"SET a 1"
    assert mirror.ledger() == {"mirrored": 1, reason: 2}


def test_a_finished_conversation_is_closed_not_kept(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    mirror.say(lane, 0, b"a", reply=1)
    peer = mirror.peer(shadow)
    heard(mirror, peer, b"a")
    lane.finish(mirror.now)
    mirror.answer(peer, b"b")
    mirror.until(lambda: peer.receive() == b"" and peer.ended)
    assert (lane.target.connections, lane.target.idle) == (0, {})


def test_an_abandoned_conversation_sheds_all_turns(mirror: Mirror, shadow: Shadow, lane: Lane) -> None:
    for index in range(3):
        mirror.say(lane, index, b"x", after=min(index, 1), reply=1)
    mirror.peer(shadow)
    lane.abandon("removed", mirror.now)
    assert mirror.ledger() == {"removed": 3}
    assert lane.target.connections == 0
