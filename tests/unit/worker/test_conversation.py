"""Conversation between the flow table and a shadow on loopback: what a flow speaks, and filters that come and go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.policy.policy import SAFE_METHODS, Policy
from shadowd.protocols.detect import HTTP2_PREFACE
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2_frames import header_block
from shadowd.protocols.websocket_events import MARK_COST
from shadowd.protocols.websocket_frames import TEXT, MessageWriter
from shadowd.replay.target import Target
from shadowd.stream.flow import FlowSink
from shadowd.worker.filters import Filter
from tests.unit.faulty import Faulty
from tests.unit.loopback import Shadow, get, ok
from tests.unit.production import Host, Wire
from tests.unit.protocols.websocket_talk import ASK, Server

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x42" * 500
PROXY_1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 80\r\n"
PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 1]) + b"\x9c\x40\0\x50"


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as built:
        yield built


@pytest.fixture
def shadow(host: Host) -> Shadow:
    return host.shadow()


@pytest.fixture
def target(host: Host, shadow: Shadow) -> Target:
    return host.target(shadow.port)


def http_filter(host: Host, name: str = "other", writes: bool = False, forward: bool = False) -> Filter:
    policy = Policy(b"here/other", methods=None, preserve_host=True)
    return host.add(Filter(name, policy, allow_writes=writes, forward_proxy_header=forward))


def raw_filter(host: Host, shadow: Shadow) -> Filter:
    chosen = host.add(Filter("raw", Policy(b"here/raw"), protocol="raw", allow_writes=True))
    host.target(shadow.port, scheme="tcp", of=chosen)
    return chosen


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# --- the whole way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_requests_in_any_pieces_reach_the_shadow(host: Host, shadow: Shadow, target: Target, size: int) -> None:
    wire = Wire(host, isn=0xFFFFFFF0)
    for index in range(3):
        wire.client(*pieces(get(index), size)).server(*pieces(ok(), size))
    peer = host.peer(shadow)
    for index in range(3):
        host.arrives(peer, *range(index + 1))
        host.answer(peer, ok())
    wire.close()
    assert peer.paths == ["0", "1", "2"]
    assert host.terms(host.filter) == {"seen": 3}
    assert host.ledger() == {"mirrored": 3}
    assert len(target.idle) == 1
    assert host.discards == {}


def test_two_connections_share_nothing(host: Host, shadow: Shadow, target: Target) -> None:
    one, two = Wire(host, 1), Wire(host, 2)
    one.client(get(1)[:9])
    two.client(get(2)[:9])
    one.client(get(1)[9:])
    two.client(get(2)[9:])
    host.arrives(host.peer(shadow, 0), 1)
    host.arrives(host.peer(shadow, 1), 2)
    assert target.connections == 2


@pytest.mark.parametrize("production_first", [False, True])
def test_each_of_two_filters_compares_what_both_mirror(
    host: Host, shadow: Shadow, target: Target, production_first: bool
) -> None:
    """Also where the shadows have answered before production's answer is read: the capture was behind."""
    other = http_filter(host)
    found = [(host.filter, target), (other, host.target(shadow.port, of=other))]
    for chosen, to in found:
        chosen.examiners[to] = Examiner(Settings(twin=0.0), Rules())
    wire = Wire(host)
    for index in range(3):
        wire.client(get(index))
        if production_first:
            wire.server(ok())
        for number in range(2):
            peer = host.peer(shadow, number)
            host.arrives(peer, *range(index + 1))
            peer.send(ok())
        host.still()
        if not production_first:
            wire.server(ok())
        host.still()
    wire.close()
    assert [host.terms(chosen) for chosen, _ in found] == [{"seen": 3}] * 2
    host.until(lambda: [to.account.mirrored for _, to in found] == [3, 3], "all are mirrored")
    host.until(lambda: [chosen.examiners[to].compared for chosen, to in found] == [3, 3], "all are compared")


def test_a_hole_loses_the_request_and_the_next_provable_one_goes_on(host: Host, shadow: Shadow, target: Target) -> None:
    wire = Wire(host).client(get(0)).server(ok())
    wire.client(get(1), lost=True).server(ok()).client(get(2)).server(ok()).client(get(3)).server(ok()).close()
    peer = host.peer(shadow)
    host.until(lambda: peer.has(1))
    for _ in range(int(host.terms(host.filter)["seen"]) - 1):
        host.answer(peer, ok())
    assert "1" not in peer.paths
    assert peer.paths[0] == "0"
    assert peer.paths[-1] == "3"
    assert host.terms(host.filter)["lost gap"] == 1


@pytest.mark.parametrize("cut", [10, 40, 52, 60, 90])
@pytest.mark.parametrize("first", [False, True])
def test_what_follows_a_hole_is_never_taken_for_what_is_missing(
    host: Host, shadow: Shadow, target: Target, cut: int, first: bool
) -> None:
    """The hole is as long as the request behind it, which could fill it."""
    upload = b"POST /0 HTTP/1.1\r\nHost: p\r\nContent-Length: 80\r\n\r\n".ljust(131, b"b")
    wire = Wire(host)
    wire.client(upload[:cut], lost=first).client(upload[cut:], lost=not first)
    wire.client(b"GET /x HTTP/1.1\r\nHost: p\r\n".ljust(127, b"p") + b"\r\n\r\n")
    wire.server(ok(), ok()).client(get(1)).server(ok()).close()
    peer = host.peer(shadow)
    host.arrives(peer, 1)
    assert host.terms(host.filter) == {"seen": 2, "lost gap": 1}


@pytest.mark.parametrize("captured", [0, 5, len(get(0)) - 1])
def test_first_bytes_that_were_lost(host: Host, shadow: Shadow, target: Target, captured: int) -> None:
    """The server's answer acknowledges what was never captured: it does not speak first, and the flow is not lost."""
    wire = Wire(host)
    if captured:
        wire.client(get(0)[:captured])
    wire.client(get(0)[captured:], lost=True).server(ok())
    for index in range(1, 4):
        wire.client(get(index)).server(ok())
    wire.close()
    peer = host.peer(shadow)
    host.until(lambda: bool(peer.paths))
    mirrorable = host.terms(host.filter)["seen"] - host.terms(host.filter)["lost gap"]
    for _ in range(mirrorable):
        host.answer(peer, ok())
    assert peer.paths == [str(index) for index in range(4 - mirrorable, 4)]
    assert set(host.terms(host.filter)) == {"seen", "lost gap"}
    assert mirrorable >= 2


def test_a_flow_seen_from_the_middle(host: Host, shadow: Shadow, target: Target) -> None:
    wire = Wire(host, midstream=True)
    wire.client(b"the end of an upload").server(ok()).client(get(7)).server(ok()).close()
    host.arrives(host.peer(shadow), 7)
    assert host.terms(host.filter) == {"seen": 2, "lost midstream": 1}


def test_a_flow_seen_from_the_middle_whose_first_byte_was_lost(host: Host, shadow: Shadow, target: Target) -> None:
    """``ET / HTTP/1.1`` parses, and the server's ACK before it tells that a byte is missing."""
    wire = Wire(host, midstream=True).server(ok())
    wire.client(get(0)[:1], lost=True).client(get(0)[1:]).server(ok()).client(get(1)).server(ok()).close()
    peer = host.peer(shadow)
    host.arrives(peer, 1)
    assert peer.text.startswith(b"GET /1 ")
    assert host.terms(host.filter) == {"seen": 2, "lost midstream": 1}


# --- what a flow speaks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        (HELLO, "encrypted"),
        (b"SSH-2.0-x\r\n", "not_http"),
        (b"\0\1", "not_http"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1 << 16])
def test_what_is_no_http_is_filtered_by_its_reason(
    host: Host, shadow: Shadow, target: Target, opening: bytes, reason: str, size: int
) -> None:
    wire = Wire(host).client(*pieces(opening, size)).server(b"answer").client(b"more").close()
    assert host.terms(host.filter) == {"seen": 1, f"filtered {reason}": 1}
    assert host.discards == {"filtered": len(wire.text[0]) + len(wire.text[1])}
    assert shadow.accept_all() == []


def test_a_server_that_speaks_first(host: Host, shadow: Shadow, target: Target) -> None:
    wire = Wire(host).server(b"220 mail\r\n").client(b"EHLO x\r\n").close()
    assert host.terms(host.filter) == {"seen": 1, "filtered not_http": 1}
    assert host.discards == {"filtered": len(wire.text[0]) + len(wire.text[1])}


@pytest.mark.parametrize("sent", [0, 5, len(HTTP2_PREFACE)])
def test_a_server_of_http_2_may_speak_first(host: Host, shadow: Shadow, target: Target, sent: int) -> None:
    """grpcio's does, behind TLS: its SETTINGS are captured before the client's preface is whole."""
    settings = b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64"
    wire = Wire(host)
    if sent:
        wire.client(HTTP2_PREFACE[:sent])
    headers = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/0"), (b":authority", b"shop")]
    asked = header_block(1, encode(headers), end=True)
    wire.server(settings).client(HTTP2_PREFACE[sent:] + settings + asked)
    wire.server(header_block(1, encode([(b":status", b"204")]), end=True)).close()
    assert host.terms(host.filter)["seen"] == 1
    assert host.discards == {"http2_control": len(HTTP2_PREFACE) + 2 * len(settings)}


@pytest.mark.parametrize("end", [Wire.close, Wire.reset, Wire.client_fin])
def test_a_client_that_connects_ahead_of_need_has_asked_nothing(host: Host, target: Target, end: object) -> None:
    """Browsers do: such a server greets them, and they close."""
    assert callable(end)
    settings = b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64"
    end(Wire(host).server(settings))
    host.table.close_all(host.now)
    assert host.terms(host.filter) == {}
    assert host.discards == {"http2_control": len(settings)}


def test_a_server_that_speaks_into_the_first_line(host: Host, shadow: Shadow, target: Target) -> None:
    wire = Wire(host).client(b"GET /").server(b"hurry").client(b" HTTP/1.1\r\n\r\n").close()
    assert host.terms(host.filter) == {"seen": 1, "filtered not_http": 1}
    assert sum(host.discards.values()) == len(wire.text[0]) + len(wire.text[1])


@pytest.mark.parametrize("end", [Wire.close, Wire.reset, Wire.client_fin])
def test_a_flow_that_ends_before_it_can_be_told(host: Host, target: Target, end: object) -> None:
    assert callable(end)
    end(Wire(host).client(b"GET /"))
    assert host.terms(host.filter) == {"seen": 1, "filtered not_http": 1}
    assert host.discards == {"filtered": 5}


def test_a_flow_without_a_byte_counts_nothing(host: Host, target: Target) -> None:
    Wire(host).close()
    assert host.terms(host.filter) == {}


def test_raw_where_writes_are_allowed(host: Host, shadow: Shadow) -> None:
    redis = http_filter(host, "redis", writes=True)
    host.target(shadow.port, scheme="tcp", of=redis)
    Wire(host, tag=2).client(b"SET a 1\r\n").server(b"+OK\r\n").close()
    peer = host.peer(shadow)
    host.until(lambda: peer.has(9))
    assert peer.text == b"SET a 1\r\n"
    assert host.terms(redis) == {"seen": 1}


@pytest.mark.parametrize("agreed", [b"", get(0)[:5], get(0)])
def test_a_multipath_subflow_is_counted_not_guessed(host: Host, shadow: Shadow, target: Target, agreed: bytes) -> None:
    wire = Wire(host)
    if agreed:
        wire.client(agreed)
    flow = host.table.get(wire.key)
    assert flow is not None
    for _ in range(2):  # every segment of the server may carry the mark
        host.conversation(flow).multipath()
    before = len(wire.text[0]) if agreed != get(0) else 0
    wire.client(b"GET /x HTTP/1.1\r\n\r\n").server(b"HTTP").close()
    requests = int(agreed == get(0))
    assert host.terms(host.filter) == {"seen": 1 + requests, "filtered mptcp": 1}
    assert host.discards["mptcp"] == before + len(b"GET /x HTTP/1.1\r\n\r\nHTTP")


# --- PROXY ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [PROXY_1, PROXY_2])
@pytest.mark.parametrize("size", [1, 5, 13, 1 << 16])
@pytest.mark.parametrize("forward", [False, True])
def test_a_proxy_header_in_any_pieces(host: Host, shadow: Shadow, header: bytes, size: int, forward: bool) -> None:
    chosen = http_filter(host, forward=forward)
    host.target(shadow.port, of=chosen)
    wire = Wire(host, tag=2).client(*pieces(header + get(0), size))
    flow = host.table.get(wire.key)
    assert flow is not None
    assert host.conversation(flow).client == ("192.0.2.7", 40000)
    peer = host.peer(shadow)
    host.arrives(peer, 0)
    assert peer.text.startswith(header + b"GET" if forward else b"GET")
    assert host.discards == {"proxy_header": len(header)}
    wire.server(ok()).client(get(1))
    host.answer(peer, ok())
    host.arrives(peer, 0, 1)
    assert peer.text.count(header) == int(forward)


@pytest.mark.parametrize("opening", [b"PROXY TCP9 x\r\n", PROXY_2[:12] + b"\x99\x11\0\x0c" + b"\0" * 12])
def test_what_only_looks_like_a_proxy_header(host: Host, target: Target, opening: bytes) -> None:
    wire = Wire(host).client(*pieces(opening + get(0), 6)).close()
    assert host.terms(host.filter) == {"seen": 1, "filtered not_http": 1}
    assert sum(host.discards.values()) == len(wire.text[0])


def test_a_proxy_header_and_no_more(host: Host, target: Target) -> None:
    Wire(host).client(PROXY_1).close()
    assert host.terms(host.filter) == {}
    assert host.discards == {"proxy_header": len(PROXY_1)}


def test_tls_behind_a_proxy_header(host: Host, target: Target) -> None:
    Wire(host).client(PROXY_2, HELLO).close()
    assert host.terms(host.filter) == {"seen": 1, "filtered encrypted": 1}
    assert host.discards == {"proxy_header": len(PROXY_2), "filtered": len(HELLO)}


# --- filters come and go ----------------------------------------------------------------------------------------------


def test_one_flow_two_filters_two_protocols(host: Host, shadow: Shadow, target: Target) -> None:
    deaf = host.shadow()
    raw = raw_filter(host, deaf)
    Wire(host).client(get(0)).server(ok()).close()
    host.arrives(host.peer(shadow), 0)
    peer = host.peer(deaf)
    host.until(lambda: peer.has(len(get(0))))
    assert peer.text == get(0)  # raw adds nothing
    assert host.terms(host.filter) == host.terms(raw) == {"seen": 1}


@pytest.mark.parametrize("protocol", ["http", "raw"])
def test_a_filter_that_joins_begins_with_the_next_request(
    host: Host, shadow: Shadow, target: Target, protocol: str
) -> None:
    late = host.shadow()
    joining = raw_filter(host, late) if protocol == "raw" else http_filter(host)
    if protocol == "http":
        host.target(late.port, of=joining)
    wire = Wire(host, tag=1).client(get(0)).server(ok())
    wire.client(get(1)[:9]).retag(3).client(get(1)[9:]).server(ok()).client(get(2)).server(ok())
    assert host.terms(host.filter) == {"seen": 3}
    if protocol == "http":  # it shares the codec, which has the request whole
        assert host.terms(joining) == {"seen": 2}
        host.arrives(host.peer(late), 1)
    else:  # half a conversation is none
        assert host.terms(joining) == {"seen": 1, "lost midstream": 1}
        assert late.accept_all() == []
    assert (host.filter.flows, joining.flows) == (1, 1)


def test_a_filter_that_joins_an_encrypted_flow(host: Host, target: Target) -> None:
    joining = http_filter(host)
    Wire(host, tag=1).client(HELLO).retag(3).client(b"more").close()
    assert host.terms(joining) == {"seen": 1, "filtered encrypted": 1}


def test_a_filter_that_joins_before_the_flow_is_identified(host: Host, shadow: Shadow, target: Target) -> None:
    joining = http_filter(host)
    host.target(shadow.port, of=joining)
    Wire(host, tag=1).client(get(0)[:5]).retag(3).client(get(0)[5:]).close()
    assert host.terms(joining) == host.terms(host.filter) == {"seen": 1}


def test_a_filter_that_leaves_sheds_what_is_unanswered(host: Host, shadow: Shadow, target: Target) -> None:
    staying = http_filter(host)
    other = host.shadow()
    host.target(other.port, of=staying)
    wire = Wire(host).client(get(0), get(1)).server(ok())
    host.arrives(host.peer(shadow), 0, 1)
    wire.retag(2).client(get(2)).server(ok(), ok()).close()
    assert host.ledger() == {"removed": 2}
    assert host.terms(host.filter) == {"seen": 2}
    assert host.terms(staying) == {"seen": 3}
    host.arrives(host.peer(other), 0, 1)
    host.answer(host.peer(other), ok() * 2, 2)
    host.arrives(host.peer(other), 0, 1, 2)


def test_a_removed_filter_leaves_no_flow_behind(host: Host, shadow: Shadow, target: Target) -> None:
    Wire(host).client(get(0)).server(ok())
    host.arrives(host.peer(shadow), 0)
    host.leave(host.filter)
    assert len(host.table) == 0
    assert host.ledger() == {"removed": 1}


def test_a_filter_that_comes_back(host: Host, shadow: Shadow, target: Target) -> None:
    wire = Wire(host).client(get(0)).server(ok())
    host.answer(host.peer(shadow), ok())
    wire.retag(0).client(get(1)).server(ok())
    wire.retag(1).client(get(2)).server(ok())
    host.arrives(host.peer(shadow, 1), 2)
    assert host.terms(host.filter) == {"seen": 2}
    assert host.ledger() == {"mirrored": 1, "in_flight": 1}


def test_targets_come_and_go_in_the_middle_of_a_flow(host: Host, shadow: Shadow, target: Target) -> None:
    wire = Wire(host).client(get(0))
    host.arrives(host.peer(shadow), 0)
    second = host.shadow()
    host.target(second.port)
    wire.server(ok()).client(get(1))
    host.arrives(host.peer(second), 1)
    assert host.ledger(0) == {"in_flight": 2}
    assert host.ledger(1) == {"before_target": 1, "in_flight": 1}
    host.leave_target(host.filter, target)
    wire.server(ok()).client(get(2))
    host.answer(host.peer(second), ok())
    host.arrives(host.peer(second), 1, 2)
    assert host.ledger() == {"before_target": 1, "mirrored": 1, "in_flight": 1}
    assert host.peer(shadow).paths == ["0"]
    assert host.filter.account.balanced


def test_a_raw_filter_that_comes_back_has_lost_its_conversation(host: Host, shadow: Shadow) -> None:
    raw = raw_filter(host, shadow)
    wire = Wire(host, tag=2).client(b"SELECT 1").server(b"ok").client(b"INCR a").server(b"ok")
    peer = host.peer(shadow)
    host.until(lambda: peer.has(len(b"SELECT 1")))
    for lost in (1, 2):
        wire.retag(0).client(b"INCR a").server(b"ok")
        wire.retag(2).client(b"INCR a").server(b"ok").client(b"INCR a").server(b"ok")
        assert host.terms(raw) == {"seen": 2 + lost, "lost midstream": lost}
    host.still()
    assert len(shadow.accept_all()) == 1  # a new connection would have another database selected
    assert raw.account.targets[0].shed["removed"] == 2
    assert raw.account.balanced


def test_a_raw_filter_that_joins_another_in_the_middle(host: Host, shadow: Shadow) -> None:
    first, late = raw_filter(host, shadow), raw_filter(host, host.shadow())
    wire = Wire(host, tag=2).client(b"SELECT 1").server(b"ok")
    wire.retag(6).client(b"INCR a").server(b"ok").close()
    assert host.terms(first) == {"seen": 2}
    assert host.terms(late) == {"seen": 1, "lost midstream": 1}
    assert late.targets[0].connections == 0


def test_a_target_that_is_added_in_the_middle_of_a_raw_conversation(host: Host, shadow: Shadow) -> None:
    raw = raw_filter(host, shadow)
    wire = Wire(host, tag=2).client(b"SELECT 1").server(b"ok")
    added = host.shadow()
    host.target(added.port, scheme="tcp", of=raw)
    wire.client(b"INCR a").server(b"ok").close()
    host.still()
    assert added.accept_all() == []
    assert raw.account.targets[1].shed["before_target"] == 2
    assert raw.account.balanced
    Wire(host, 1, tag=2).client(b"PING").server(b"ok")
    assert host.peer(added).paths == []
    host.until(lambda: host.peer(added).has(4))
    assert host.peer(added).text == b"PING"


# --- faults of ours ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["client_data", "server_data", "client_gap", "server_gap", "client_eof", "closed"])
def test_a_fault_in_reading_costs_that_connection_alone(host: Host, shadow: Shadow, target: Target, stage: str) -> None:
    """Whatever production's ends say: nothing is raised, the neighbour is mirrored, and the books balance."""
    bad, good = Wire(host, 1), Wire(host, 2)
    bad.client(get(0)).server(ok())
    host.arrives(host.peer(shadow, 0), 0)
    flow = host.table.get(bad.key)
    assert flow is not None
    for group in host.conversation(flow)._groups.values():
        group.codec, group.http = Faulty(group.codec, stage, always=True), None
    good.client(get(1))
    bad.client(get(2)).server(ok(), lost=True).client(get(3), lost=True).server(ok()).client(get(4))
    good.server(ok())
    bad.close()
    host.arrives(host.peer(shadow, 1), 1)
    host.answer(host.peer(shadow, 1), ok())
    good.close()
    assert host.terms(host.filter)["lost fault"] == 1
    assert host.ledger()["mirrored"] >= 1
    assert all(place.endswith("KeyError") for place in host.engine.examining.failed)
    numbers = host.table.statistics()
    assert (numbers.flows, numbers.buffered) == (0, 0)
    assert numbers.delivered == sum(len(text) for wire in (bad, good) for text in wire.text) - len(ok()) - len(get(3))


def test_a_connection_that_cannot_even_begin_is_let_go(host: Host) -> None:
    told: list[str] = []
    host.table.on_fault = lambda flow, error: told.append(str(error))
    host.table._open_sink = lambda *given: 1 / 0  # type: ignore[assignment,return-value]
    Wire(host, 3).client(get(0))
    assert set(told) == {"division by zero"}
    assert len(host.table) == 0


def test_a_fault_among_segments_ends_that_flow_alone(host: Host, shadow: Shadow, target: Target) -> None:
    """What follows of the connection is read again from its next provable begin."""
    wire = Wire(host, 1).client(get(0)).server(ok())
    flow = host.table.get(wire.key)
    assert flow is not None
    sink = host.conversation(flow)
    host.table.on_fault = lambda _, error: sink.give_up(error)

    class Broken(FlowSink):
        def eof(self, direction: int, time: int) -> None:
            raise KeyError("hunter2")

        def closed(self, state: str, time: int) -> None:
            sink.closed(state, time)

    flow.sink = Broken()
    wire.client_fin()
    assert host.terms(host.filter) == {"seen": 2, "lost fault": 1}
    assert len(host.table) == 0
    assert host.table.statistics().ended == {"removed": 1}
    again = Wire(host, 1, isn=50_000).client(get(1))
    host.arrives(host.peer(shadow), 0)
    host.answer(host.peer(shadow), ok())
    assert again.key == wire.key
    assert len(host.table) == 1


@pytest.mark.parametrize("talks", [False, True])
def test_of_a_websocket_whose_turns_are_only_counted_nothing_is_kept(talks: bool) -> None:
    with Host(body_limit=1 << 16) as host:
        host.add(Filter("talks" if talks else "safe", Policy(b"here/other", methods=None if talks else SAFE_METHODS)))
        host.target(host.shadow().port, of=host.filters[1])
        server, writer = Server(), MessageWriter()
        wire = Wire(host, tag=2).client(ASK).server(Server.agreement())
        wire.client(writer.framed(TEXT, b"subscribe", b"mask"))
        wire.server(*[server.framed(TEXT, b"tick") for _ in range(500)])
        assert (host.engine.budget.used > 500 * MARK_COST) == talks
        assert host.terms(host.filters[1]) == {"seen": 2, **({} if talks else {"filtered method": 1})}
        wire.close()
