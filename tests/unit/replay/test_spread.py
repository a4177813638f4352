"""``--order auto``: a lane that is behind spreads what is safe, and what is not stays where it was."""

from __future__ import annotations

import re

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from shadowd.exchange.exchange import Exchange, Response
from shadowd.policy.policy import Policy
from shadowd.replay.lane import BEHIND, GROWTH, Lane, Pool
from shadowd.replay.leg import Leg
from shadowd.replay.target import CONNECTING, IDLE_KEEP, SECOND, TargetLimits
from shadowd.worker.filters import Filter
from tests.unit.loopback import Mirror, Peer, Shadow, ok

LATER = 2 * BEHIND


def behind(mirror: Mirror, shadow: Shadow, limits: TargetLimits | None = None) -> Lane:
    """A lane whose first request is not answered and whose second has gone by a branch for that."""
    lane = Lane(mirror.engine, mirror.target(shadow.port, limits), auto=True)
    mirror.ask(lane, 0)
    mirror.arrives(mirror.peer(shadow), 0)
    mirror.ask(lane, 1, after=1)
    mirror.still()
    assert shadow.peers[0].paths == ["0"]
    mirror.sweep(LATER)
    mirror.arrives(mirror.peer(shadow, 1), 1)
    return lane


def everywhere(shadow: Shadow) -> list[str]:
    """What the shadow has been asked, whichever the connection."""
    return sorted((path for peer in shadow.accept_all() for path in peer.paths), key=int)


def account(lane: Lane) -> dict[str, int]:
    found = lane.target.account
    return {"spread": found.spread, "stray": found.stray}


# --- safe requests ----------------------------------------------------------------------------------------------------


def test_a_lane_that_keeps_pace_keeps_order(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port), auto=True)
    for index in range(5):
        mirror.ask(lane, index, after=index)
        peer = mirror.peer(shadow)
        mirror.turn(LATER // 3)
        mirror.arrives(peer, *range(index + 1))
        mirror.answer(peer, ok())
    assert len(shadow.accept_all()) == 1
    assert account(lane)["spread"] == 0
    assert lane.spread is None


def test_what_came_before_the_first_connection_has_not_waited_for_the_shadow(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port), auto=True)
    addresses, lane.target.addresses = lane.target.addresses, []  # the name is being looked up
    for index in range(4):
        mirror.ask(lane, index, after=index)
    mirror.sweep(LATER)
    lane.target.addresses = addresses
    mirror.sweep(LATER)
    for index in range(4):
        mirror.arrives(mirror.peer(shadow), *range(index + 1))
        mirror.answer(shadow.peers[0], ok())
    assert len(shadow.accept_all()) == 1
    assert account(lane)["spread"] == 0


def test_a_slow_shadow_is_asked_at_productions_pace(mirror: Mirror, shadow: Shadow) -> None:
    lane = behind(mirror, shadow)
    for index in range(2, 20):
        mirror.ask(lane, index, after=index)
        mirror.arrives(mirror.peer(shadow, index), index)  # at once, on a connection of its own
    for number in (3, 19, 0):
        mirror.answer(shadow.peers[number], ok())
    assert mirror.ledger() == {"mirrored": 3, "in_flight": 17}
    assert account(lane)["spread"] == 19
    assert not any(leg.late for peer in lane.target.idle for leg in peer.in_flight)


def test_branches_take_connections_that_are_free(mirror: Mirror, shadow: Shadow) -> None:
    lane = behind(mirror, shadow)
    mirror.answer(shadow.peers[1], ok())
    for index in range(2, 12):
        mirror.ask(lane, index, after=index)
        mirror.arrives(shadow.peers[1], *range(1, index + 1))
        mirror.answer(shadow.peers[1], ok())
    assert len(shadow.accept_all()) == 2
    assert lane.target.branches == 0


def test_a_shadow_that_keeps_pace_again_is_asked_in_order_again(mirror: Mirror, shadow: Shadow) -> None:
    lane = behind(mirror, shadow)
    mirror.answer(shadow.peers[1], ok())
    mirror.answer(shadow.peers[0], ok())
    for index in range(2, 5):
        mirror.ask(lane, index, after=index)
        mirror.arrives(shadow.peers[0], 0, *range(2, index + 1))
        mirror.answer(shadow.peers[0], ok())
    assert lane.spread is None
    mirror.sweep(IDLE_KEEP + LATER)
    mirror.until(lambda: lane.target.connections == 1)


def test_what_piled_up_is_no_burst(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port), auto=True)
    mirror.ask(lane, 0)
    mirror.arrives(mirror.peer(shadow), 0)
    for index in range(1, 40):
        mirror.ask(lane, index, after=1)
    mirror.sweep(LATER)
    mirror.until(lambda: everywhere(shadow) == ["0", "1"])
    mirror.ask(lane, 40, after=40)
    mirror.still()
    assert len(everywhere(shadow)) == 2 + GROWTH
    mirror.answer(next(peer for peer in shadow.peers[1:] if peer.paths), ok())
    mirror.still()
    assert len(everywhere(shadow)) == 3 + GROWTH


def test_while_we_catch_up_the_shadow_is_asked_at_productions_pace(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port), auto=True)
    mirror.ask(lane, 0)
    mirror.arrives(mirror.peer(shadow), 0)
    for index in (1, 2, 3):
        mirror.ask(lane, index, after=1)
    mirror.engine.stalls.note(mirror.now, mirror.now + SECOND)
    mirror.turn(SECOND)
    mirror.ask(lane, 4, after=1)
    mirror.still()
    assert lane.spread is None  # the answer may have come long ago
    mirror.sweep(LATER)
    mirror.still()
    assert everywhere(shadow) == ["0"]
    mirror.ask(lane, 5, after=1)
    mirror.until(lambda: everywhere(shadow) == ["0", "1"])
    mirror.answer(shadow.peers[1], ok())
    mirror.still()
    assert everywhere(shadow) == ["0", "1"]
    mirror.answer(shadow.peers[0], ok())
    mirror.until(lambda: everywhere(shadow) == ["0", "1", "2"])  # in order, on its own connection
    mirror.sweep(SECOND)
    mirror.until(lambda: everywhere(shadow) == ["0", "1", "2", "3"])


def test_late_is_what_we_kept_back_not_what_the_shadow_did(mirror: Mirror, shadow: Shadow) -> None:
    lane = behind(mirror, shadow)
    legs = [sent(mirror, lane, index) for index in (2, 3)]
    assert not any(leg.late for leg in legs)
    exchange = mirror.exchange(4)
    exchange.request.ended -= LATER  # it was in the ring so long
    leg = submitted(mirror, lane, exchange)
    mirror.arrives(mirror.peer(shadow, 4), 4)
    assert leg.late


def sent(mirror: Mirror, lane: Lane | Pool, index: int, body: bytes = b"") -> Leg:
    exchange = mirror.exchange(index, index, body)
    exchange.response, exchange.answered = Response(200, ok(), 0, mirror.now), True
    return submitted(mirror, lane, exchange)


def submitted(mirror: Mirror, lane: Lane | Pool, exchange: Exchange) -> Leg:
    mirror.filter.account.seen += 1
    leg = mirror.engine.submit(exchange, mirror.filter.policy, lane, mirror.now)
    assert isinstance(leg, Leg)
    return leg


# --- unsafe requests --------------------------------------------------------------------------------------------------


def test_an_unsafe_request_is_a_barrier(mirror: Mirror, shadow: Shadow) -> None:
    lane = behind(mirror, shadow)
    mirror.ask(lane, 2, after=2, body=b"pay")
    mirror.ask(lane, 3, after=3)
    mirror.sweep(LATER)
    mirror.still()
    assert everywhere(shadow) == ["0", "1"]
    mirror.answer(shadow.peers[0], ok())
    mirror.still()
    assert everywhere(shadow) == ["0", "1"]  # its own connection is free, but 1 is not answered
    mirror.answer(shadow.peers[1], ok())
    mirror.arrives(shadow.peers[0], 0, 2)
    mirror.sweep(LATER)
    mirror.still()
    assert everywhere(shadow) == ["0", "1", "2"]
    mirror.answer(shadow.peers[0], ok())
    mirror.until(lambda: everywhere(shadow) == ["0", "1", "2", "3"])


def test_safe_requests_behind_an_unsafe_one_that_is_under_way_wait(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port), auto=True)
    mirror.ask(lane, 0, body=b"pay")
    mirror.arrives(mirror.peer(shadow), 0)
    for index in (1, 2):
        mirror.ask(lane, index, after=index)
    mirror.sweep(LATER)
    mirror.still()
    assert everywhere(shadow) == ["0"]
    mirror.answer(shadow.peers[0], ok())
    mirror.until(lambda: everywhere(shadow) == ["0", "1", "2"])


def test_an_upgrade_and_a_body_are_not_spread(mirror: Mirror, shadow: Shadow) -> None:
    lane = behind(mirror, shadow)
    exchange = mirror.exchange(2, 2)
    exchange.request.upgrade = True
    submitted(mirror, lane, exchange)
    mirror.sweep(LATER)
    mirror.still()
    assert everywhere(shadow) == ["0", "1"]


def test_lanes_that_cannot_spread(mirror: Mirror, shadow: Shadow) -> None:
    target = mirror.target(shadow.port)
    for number, lane in enumerate((Lane(mirror.engine, target), Lane(mirror.engine, target, preamble=b"", auto=False))):
        mirror.ask(lane, 10 * number)
        mirror.arrives(mirror.peer(shadow, number), 10 * number)
        mirror.ask(lane, 10 * number + 1, after=10 * number + 1)
    assert not Lane(mirror.engine, target, raw=True, auto=True).auto
    assert not Lane(mirror.engine, target, preamble=b"PROXY UNKNOWN\r\n", auto=True).auto
    mirror.sweep(LATER)
    mirror.still()
    assert everywhere(shadow) == ["0", "10"]


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_a_shadow_that_never_answers_gets_so_many_connections_and_no_more(mirror: Mirror, shadow: Shadow) -> None:
    limits = TargetLimits(max_connections=5, max_lag=SECOND, timeout=3 * SECOND)
    lane = behind(mirror, shadow, limits)
    for index in range(2, 30):
        mirror.ask(lane, index, after=index)
        mirror.turn(1000)
    mirror.still()
    assert len(everywhere(shadow)) == len(shadow.accept_all()) == lane.target.connections == 5
    mirror.sweep(SECOND)
    assert mirror.ledger() == {"in_flight": 5, "shadow_lag": 25}
    other = Lane(mirror.engine, lane.target, auto=True)
    mirror.ask(other, 90)  # a new connection of production's waits in its turn, as branches have taken the room
    assert mirror.ledger() == {"in_flight": 6, "shadow_lag": 25}
    mirror.answer(shadow.peers[3], ok())
    mirror.until(lambda: "90" in shadow.peers[3].paths)


def test_lanes_that_wait_for_a_connection_have_their_turns(mirror: Mirror, shadow: Shadow) -> None:
    limits = TargetLimits(max_connections=3)
    first = Lane(mirror.engine, mirror.target(shadow.port, limits), auto=True)
    second = Lane(mirror.engine, first.target, auto=True)
    for number, lane in enumerate((first, second)):
        mirror.ask(lane, 100 * number)
        mirror.arrives(mirror.peer(shadow, number), 100 * number)
        for index in range(1, 5):
            mirror.ask(lane, 100 * number + index, after=100 * number + index)
    mirror.sweep(LATER)
    branch = mirror.peer(shadow, 2)
    mirror.until(lambda: len(branch.paths) == 1)
    for answered in range(1, 8):
        mirror.answer(branch, ok())
        mirror.until(lambda answered=answered: len(branch.paths) == answered + 1)  # type: ignore[misc]
    turns = [int(path) // 100 for path in branch.paths]
    assert turns in ([0, 1] * 4, [1, 0] * 4)


def test_only_so_many_are_in_the_handshake(mirror: Mirror) -> None:
    shadow = mirror.shadow(backlog=0)  # connects hang
    pool = Pool(mirror.engine, mirror.target(shadow.port))
    for index in range(3 * CONNECTING):
        mirror.ask(pool, index)
    assert pool.target.connecting <= CONNECTING
    assert pool.target.connections <= CONNECTING + 1
    pool.abandon("removed", mirror.now)
    assert pool.target.connections == pool.target.connecting == pool.target.branches == 0


# --- whose lag --------------------------------------------------------------------------------------------------------


def test_a_stopped_daemon_does_not_blame_the_shadow(mirror: Mirror, shadow: Shadow) -> None:
    """Both lanes wait, as it seems, for an answer: one through us, which is there when we look."""
    lane = Lane(mirror.engine, mirror.target(shadow.port), auto=True)
    mirror.ask(lane, 0)
    mirror.arrives(mirror.peer(shadow), 0)
    for index in (1, 2):
        mirror.ask(lane, index, after=index)
    mirror.engine.stalls.note(mirror.now, mirror.now + 8 * SECOND)
    mirror.sweep(8 * SECOND)
    assert mirror.ledger() == {"in_flight": 1, "own_lag": 2}


def test_what_was_read_too_late_is_our_lag(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, TargetLimits(max_lag=SECOND)), auto=True)
    mirror.ask(lane, 0)
    mirror.answer(mirror.peer(shadow), ok())
    exchange = mirror.exchange(1)
    exchange.request.ended -= 2 * SECOND
    mirror.filter.account.seen += 1
    side = mirror.engine.submit(exchange, mirror.filter.policy, lane, mirror.now)
    assert not isinstance(side, Leg), "nothing of it was made"
    assert side.shed == "own_lag"
    assert mirror.ledger() == {"mirrored": 1, "own_lag": 1}


def test_our_standing_still_is_no_timeout(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, TargetLimits(timeout=SECOND)), auto=True)
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    mirror.engine.stalls.note(mirror.now, mirror.now + 8 * SECOND)
    mirror.sweep(8 * SECOND)
    assert mirror.ledger() == {"in_flight": 1}
    mirror.sweep(2 * SECOND)
    assert mirror.ledger() == {"failed timeout": 1}


# --- whatever happens -------------------------------------------------------------------------------------------------

_ASKED = re.compile(rb"(?:GET|POST) /(\d+) HTTP/1.1\r\n")
STEP = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(["get", "get", "get", "post"])),
    st.tuples(st.just("pass"), st.sampled_from([BEHIND // 4, LATER, LATER, 3 * SECOND])),
    st.tuples(st.just("stall"), st.sampled_from([LATER, 4 * SECOND])),
    st.tuples(
        st.sampled_from(["ok"] * 6 + ["stray", "late stray", "last", "cut", "reset", "close", "garbage"]),
        st.integers(0, 3),
    ),
    st.tuples(st.just("end"), st.just(0)),
)


class Play:
    """Two lanes of one target, as two of production's connections whose clients wait for each answer."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.shadow = mirror.shadow()
        limits = TargetLimits(max_connections=4, max_lag=5 * SECOND, timeout=8 * SECOND)
        self.target = mirror.target(self.shadow.port, limits)
        self.lanes: list[Lane] = []
        self.legs: dict[int, tuple[Lane, Leg]] = {}
        self.told: dict[Peer, int] = {}
        self.counts: dict[int, int] = {}
        self.next = 0
        for _ in range(2):
            self.open()

    def open(self) -> None:
        self.lanes.append(Lane(self.mirror.engine, self.target, auto=True))

    def do(self, name: str, detail: object) -> None:
        mirror = self.mirror
        if name == "ask":
            lane = self.lanes[self.next % 2 - 2]
            index = self.next
            self.next += 1
            # numbers grow over both lanes, so that `after` holds for a lane's own too
            self.legs[index] = (lane, sent(mirror, lane, index, b"pay" if detail == "post" else b""))
        elif name in ("pass", "stall"):
            assert isinstance(detail, int)
            if name == "stall":
                mirror.engine.stalls.note(mirror.now, mirror.now + detail)
            mirror.sweep(detail)
        elif name == "end":
            self.lanes[-2].finish(mirror.now)
            self.open()
        else:
            assert isinstance(detail, int)
            waiting = [peer for peer in self.shadow.accept_all() if self.open_requests(peer)]
            if waiting:
                self.say(waiting[detail % len(waiting)], name)
        mirror.engine.wait(SECOND // 500)
        mirror.turn()
        self.check()

    def open_requests(self, peer: Peer) -> int:
        if peer.sock.fileno() < 0:
            return 0
        peer.receive()
        return 0 if peer.ended else len(_ASKED.findall(peer.text)) - self.told.get(peer, 0)

    def say(self, peer: Peer, name: str) -> None:
        self.told[peer] = self.told.get(peer, 0) + 1
        try:
            if name in ("ok", "stray", "late stray"):
                peer.send(ok() + (b"0\r\n\r\n" if name == "stray" else b""))
                if name == "late stray":  # the next request has left by then, if one waits
                    self.mirror.engine.wait(SECOND // 500)
                    self.mirror.turn()
                    peer.send(b"{oh}")
            elif name == "garbage":
                peer.send(b"\0what?\r\n\r\n")
            elif name == "last":
                peer.send(ok(fields=b"Connection: close\r\n"))
                peer.close()
            elif name == "cut":
                peer.send(ok()[:-1])
                peer.close()
            else:
                getattr(peer, name)()
        except OSError:
            peer.close()

    def check(self) -> None:
        assert self.mirror.filter.account.balanced
        assert self.target.connections <= 4
        for peer in self.shadow.accept_all():
            if peer.sock.fileno() >= 0:
                peer.receive()
        found: dict[int, int] = {}
        for peer in self.shadow.peers:
            for path in _ASKED.findall(peer.text):
                found[int(path)] = found.get(int(path), 0) + 1
        for index, count in found.items():
            lane, leg = self.legs[index]
            unsafe = leg.exchange.request.method == b"POST"
            assert count <= (1 if unsafe else 2)
            if count > self.counts.get(index, 0):
                before = [(number, other) for number, (owner, other) in self.legs.items() if owner is lane]
                barrier = [
                    other.done
                    for number, other in before
                    if number < index and (unsafe or other.exchange.request.method == b"POST")
                ]
                assert all(barrier)
        self.counts = found

    def end(self) -> None:
        for lane in self.lanes:
            lane.finish(self.mirror.now)
        for _ in range(8):
            for peer in self.shadow.accept_all():
                while self.open_requests(peer):
                    self.say(peer, "ok")
            self.mirror.still()
            self.mirror.sweep(LATER)
            self.check()
        for _ in range(4):
            self.mirror.sweep(5 * SECOND)


@settings(max_examples=120, deadline=None)
@given(st.lists(STEP, min_size=10, max_size=60))
def test_nothing_unsafe_is_sent_twice_or_overtaken_and_nothing_is_lost(steps: list[tuple[str, object]]) -> None:
    with Mirror() as mirror:
        play = Play(mirror)
        opening: list[tuple[str, object]] = [("ask", "get")] * 4 + [("pass", LATER)]  # both lanes are behind
        for name, detail in opening + steps:
            play.do(name, detail)
        play.end()
        assert all(leg.done for _, leg in play.legs.values())
        assert mirror.filter.account.in_flight == 0
        assert play.target.branches == play.target.buffered == mirror.engine.waiting == 0
        assert not any(lane.queue for lane in play.target.starved)
        event(f"spread: {min(play.target.account.spread, 3)}")
        event(f"stray: {min(play.target.account.stray, 3)}")


# --- which lane a filter gives ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["auto", "connection", "none"])
def test_a_filter_gives_the_lane_of_its_order(mirror: Mirror, shadow: Shadow, order: str) -> None:
    """For the exchange itself and for its twin alike; raw flows, and those with a header of their own, keep order."""
    target = mirror.target(shadow.port)
    chosen = Filter("shop", Policy(b"here/shop"), order=order, forward_proxy_header=True)
    http = chosen.lane(target, mirror.engine, False, b"")
    if order == "none":
        assert isinstance(http, Pool)
        assert chosen.lane(target, mirror.engine, False, b"") is http
    else:
        assert isinstance(http, Lane)
        assert http.auto is (order == "auto")
        proxied = chosen.lane(target, mirror.engine, False, b"PROXY UNKNOWN\r\n")
        assert isinstance(proxied, Lane)
        assert not proxied.auto
    raw = chosen.lane(target, mirror.engine, True, b"")
    assert isinstance(raw, Lane)
    assert raw.raw
    assert not raw.auto
