"""Filters that are paused and follow, and connections of HTTP/2 that began before they could be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shadowd.policy.policy import Policy
from shadowd.replay.target import Target
from shadowd.stream.flow import CLIENT
from shadowd.worker.filters import Filter
from tests.unit.loopback import Shadow, get, ok
from tests.unit.production import Host, Wire
from tests.unit.protocols.http2_peers import Talk, asked

OK = [(b":status", b"200")]
NEW = 64  # a bit that means nothing: the kernel decided anew


class Paused(Host):
    """Pauses and resumes as roster and pump do: every change gives another bitmap."""

    def pause(self, chosen: Filter, *wires: Wire) -> None:
        chosen.following = True
        for _, flow in self.table.items():
            self.conversation(flow).rest(chosen, "removed")
        self._anew(wires)

    def resume(self, chosen: Filter, *wires: Wire) -> None:
        chosen.following = False
        self._anew(wires)

    @staticmethod
    def _anew(wires: tuple[Wire, ...]) -> None:
        for wire in wires:
            wire.retag(wire.tag + (1 << NEW - 1 - wire.tag.bit_count()))


@pytest.fixture
def host() -> Iterator[Paused]:
    with Paused() as built:
        yield built  # type: ignore[misc]


@pytest.fixture
def shadow(host: Paused) -> Shadow:
    return host.shadow()


@pytest.fixture
def target(host: Paused, shadow: Shadow) -> Target:
    made = host.target(shadow.port)
    made.speak("http1")
    return made


class Streams:
    """Production's HTTP/2 connection: what both ends say goes over the wire. Direction ``lose`` is not captured."""

    def __init__(self, wire: Wire, told: int = 0) -> None:
        self.wire = wire
        self.talk = Talk()
        self._told = told  # pieces that were said before anybody listened

    def ask(self, path: bytes, lose: int = -1) -> Streams:
        # a header that is new each time, and one that is the same: what is repeated is an index from then on
        self.talk.answer(self.talk.ask(asked(path, b"GET", (b"x-id", path), (b"x-shop", b"here"))), OK, b"hi")
        for direction, data in self.talk.wire[self._told :]:
            (self.wire.client if direction == CLIENT else self.wire.server)(data, lost=direction == lose)
        self._told = len(self.talk.wire)
        return self


# --- pause and resume -------------------------------------------------------------------------------------------------


def test_what_is_asked_after_a_pause_is_mirrored_on_the_same_connection(
    host: Paused, shadow: Shadow, target: Target
) -> None:
    wire = Wire(host, tag=1)
    streams = Streams(wire).ask(b"/0")
    host.arrives(host.peer(shadow), 0)
    host.answer(host.peer(shadow), ok())
    host.pause(host.filter, wire)
    for number in range(5):
        streams.ask(b"/paused/%d" % number)
    assert host.terms(host.filter) == {"seen": 1}
    host.resume(host.filter, wire)
    streams.ask(b"/1").ask(b"/2")
    assert host.terms(host.filter) == {"seen": 3}
    assert host.filter.older_http2 == 0
    peer = host.peer(shadow)
    host.arrives(peer, 0, 1)
    host.answer(peer, ok())
    host.arrives(peer, 0, 1, 2)
    assert b"x-id: /1\r\nx-shop: here\r\n" in peer.text
    assert host.filter.flows == 1


def test_a_filter_that_was_added_paused(host: Paused, target: Target) -> None:
    host.filter.following = True
    wire, before = Wire(host, tag=1), Wire(host, 1, tag=1)
    streams = Streams(wire).ask(b"/0")
    before.client(get(0)).server(ok())
    assert host.terms(host.filter) == {}
    host.resume(host.filter, wire, before)
    streams.ask(b"/1")
    before.client(get(1)).server(ok())
    assert host.terms(host.filter) == {"seen": 2}


def test_what_is_under_way_at_a_pause_is_shed(host: Paused, shadow: Shadow, target: Target) -> None:
    wire = Wire(host, tag=1).client(get(0))
    host.arrives(host.peer(shadow), 0)
    host.pause(host.filter, wire)
    wire.server(ok()).client(get(1)).server(ok())
    assert host.ledger() == {"removed": 1}
    assert host.terms(host.filter) == {"seen": 1}
    assert len(host.table) == 1
    host.resume(host.filter, wire)
    wire.client(get(2))
    host.arrives(host.peer(shadow, 1), 2)
    wire.close()
    assert host.filter.account.balanced


def test_a_request_that_is_half_said_when_it_is_resumed(host: Paused, shadow: Shadow, target: Target) -> None:
    host.filter.following = True
    wire = Wire(host, tag=1).client(get(0)[:9])
    host.resume(host.filter, wire)
    wire.client(get(0)[9:])
    host.arrives(host.peer(shadow), 0)
    assert host.terms(host.filter) == {"seen": 1}


def test_before_anybody_knows_what_it_speaks(host: Paused, shadow: Shadow, target: Target) -> None:
    host.filter.following = True
    wire = Wire(host, tag=1).client(b"GE")
    host.resume(host.filter, wire)
    wire.client(get(0)[2:]).server(ok())
    host.arrives(host.peer(shadow), 0)
    assert host.terms(host.filter) == {"seen": 1}


def test_the_neighbour_goes_on(host: Paused, target: Target) -> None:
    other = host.add(Filter("other", Policy(b"here/other")))
    wire = Wire(host, tag=3)
    streams = Streams(wire).ask(b"/0")
    host.pause(host.filter, wire)
    streams.ask(b"/1")
    host.resume(host.filter, wire)
    streams.ask(b"/2")
    assert host.terms(host.filter) == {"seen": 2}
    assert host.terms(other) == {"seen": 3}


def test_one_that_is_removed_while_it_follows_leaves_nothing(host: Paused, target: Target) -> None:
    host.filter.following = True
    wire = Wire(host, tag=1)
    Streams(wire).ask(b"/0")
    host.filter.following = False
    host.leave(host.filter)
    assert len(host.table) == 0
    assert host.terms(host.filter) == {}


def test_one_that_follows_and_no_longer_matches(host: Paused, target: Target) -> None:
    host.filter.following = True
    wire = Wire(host, tag=1)
    streams = Streams(wire).ask(b"/0")
    flow = host.table.get(wire.key)
    assert flow is not None
    wire.retag(0)
    streams.ask(b"/1")
    assert host.conversation(flow).deserted


def test_a_hole_while_it_follows_costs_the_connection_and_is_told_when_it_is_resumed(
    host: Paused, target: Target
) -> None:
    host.filter.following = True
    wire = Wire(host, tag=1)
    streams = Streams(wire).ask(b"/0").ask(b"/1", lose=CLIENT).ask(b"/2")
    assert host.terms(host.filter) == {}
    host.resume(host.filter, wire)
    streams.ask(b"/3")
    assert host.terms(host.filter) == {"seen": 1, "lost midstream": 1}
    assert host.filter.older_http2 == 1
    wire.close()
    assert host.filter.older_http2 == 0


@pytest.mark.parametrize(
    ("opening", "reason"), [(b"SSH-2.0-x\r\n", "not_http"), (b"\x16\3\1\2\0\1\0\1\xfc\3\3" + b"x" * 500, "encrypted")]
)
def test_what_is_not_read_is_told_when_it_is_resumed(host: Paused, target: Target, opening: bytes, reason: str) -> None:
    host.filter.following = True
    wire = Wire(host, tag=1).client(opening).server(b"answer")
    assert host.terms(host.filter) == {}
    host.resume(host.filter, wire)
    wire.client(b"more")
    assert host.terms(host.filter) == {"seen": 1, f"filtered {reason}": 1}


def test_multipath_is_told_when_it_is_resumed(host: Paused, target: Target) -> None:
    host.filter.following = True
    wire = Wire(host, tag=1).client(get(0))
    flow = host.table.get(wire.key)
    assert flow is not None
    host.conversation(flow).multipath()
    assert host.terms(host.filter) == {}
    host.resume(host.filter, wire)
    wire.client(get(1))
    assert host.terms(host.filter) == {"seen": 1, "filtered mptcp": 1}


def test_half_a_raw_conversation_is_none(host: Paused, shadow: Shadow) -> None:
    raw = host.add(Filter("raw", Policy(b"here/raw"), protocol="raw", allow_writes=True))
    host.target(shadow.port, scheme="tcp", of=raw)
    wire = Wire(host, tag=2).client(b"SELECT 1").server(b"ok")
    peer = host.peer(shadow)
    host.until(lambda: peer.has(len(b"SELECT 1")))
    for lost in (1, 2):
        host.pause(raw, wire)
        wire.client(b"INCR a").server(b"ok")
        host.resume(raw, wire)
        wire.client(b"INCR a").server(b"ok").client(b"INCR a").server(b"ok")
        assert host.terms(raw) == {"seen": 1 + lost, "lost midstream": lost}
    host.still()
    assert len(shadow.accept_all()) == 1
    assert raw.account.balanced


# --- connections that are older ---------------------------------------------------------------------------------------


def old(host: Paused, number: int = 0, tag: int = 1) -> Streams:
    """A connection on which three were asked before anybody listened."""
    streams = Streams(Wire(host, number, tag=tag, midstream=True))
    for at in range(3):
        streams.talk.answer(streams.talk.ask(asked(b"/old/%d" % at)), OK, b"hi")
    streams._told = len(streams.talk.wire)
    return streams


def test_an_older_connection_is_lost_once_and_waited_for(host: Paused, shadow: Shadow, target: Target) -> None:
    streams, another = old(host), old(host, 1)
    for at in range(5):
        streams.ask(b"/%d" % at)
        another.ask(b"/%d" % at)
    assert host.terms(host.filter) == {"seen": 2, "lost midstream": 2}
    assert host.filter.older_http2 == 2
    assert host.discards == {"midstream": sum(len(text) for one in (streams, another) for text in one.wire.text)}
    streams.wire.close()
    assert host.filter.older_http2 == 1
    another.wire.reset()
    assert host.filter.older_http2 == 0
    assert shadow.accept_all() == []
    assert host.terms(host.filter) == {"seen": 2, "lost midstream": 2}


def test_of_a_paused_filter_it_is_lost_when_that_is_resumed(host: Paused, target: Target) -> None:
    host.filter.following = True
    streams = old(host)
    for at in range(5):
        streams.ask(b"/%d" % at)
    assert host.terms(host.filter) == {}
    assert host.filter.older_http2 == 1  # who looks before resuming sees what will be missing
    host.resume(host.filter, streams.wire)
    streams.ask(b"/9")
    assert host.terms(host.filter) == {"seen": 1, "lost midstream": 1}
    assert host.filter.older_http2 == 1
    host.pause(host.filter, streams.wire)
    assert host.filter.older_http2 == 1
    streams.wire.close()
    assert host.filter.older_http2 == 0


def test_one_that_comes_later_still_loses_it_too(host: Paused, target: Target) -> None:
    """Before it is known what the connection speaks, and after."""
    early, late = (host.add(Filter(name, Policy(b"here/x"))) for name in ("early", "late"))
    streams = old(host).ask(b"/0")
    streams.wire.retag(3)
    for at in range(4):
        streams.ask(b"/%d" % at)
    streams.wire.retag(7)
    streams.ask(b"/9")
    for chosen in (host.filter, early, late):
        assert host.terms(chosen) == {"seen": 1, "lost midstream": 1}, chosen.name
        assert chosen.older_http2 == 1
    streams.wire.retag(5)
    streams.ask(b"/10")
    assert (host.filter.older_http2, early.older_http2, late.older_http2) == (1, 0, 1)
    streams.wire.close()
    assert (host.filter.older_http2, early.older_http2, late.older_http2) == (0, 0, 0)


def test_the_first_bytes_were_lost(host: Paused, target: Target) -> None:
    """As good as older: what came first is not known."""
    streams = Streams(Wire(host, tag=1)).ask(b"/0", lose=CLIENT)
    for at in range(5):
        streams.ask(b"/%d" % at)
    assert host.terms(host.filter) == {"seen": 1, "lost gap": 1}
    assert host.filter.older_http2 == 1


def test_one_that_speaks_http_1_is_none(host: Paused, shadow: Shadow, target: Target) -> None:
    wire = Wire(host, tag=1, midstream=True).client(b"the end of an upload").server(ok())
    for number in range(8):
        wire.client(get(number)).server(ok())
    assert host.filter.older_http2 == 0
    assert host.terms(host.filter) == {"seen": 9, "lost midstream": 1}
    host.arrives(host.peer(shadow), 0)


def test_one_that_is_joined_in_its_middle_by_another_begins_with_its_next_request(host: Paused, target: Target) -> None:
    late = host.add(Filter("late", Policy(b"here/late")))
    wire = Wire(host, tag=1, midstream=True).client(get(0)).server(ok()).client(get(1)).server(ok())
    wire.retag(3).client(get(2)).server(ok())
    assert host.terms(host.filter) == {"seen": 3, "lost midstream": 1}
    assert host.terms(late) == {"seen": 1}
