"""A flow, case by case, and as a whole against a bitmap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.stream.flow import CLIENT, FINAL_STATES, GAP_TIMEOUT, RST_WINDOW, SERVER, TRANSITIONS, Flow, FlowSink
from shadowd.stream.seq import add

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
C, S = 0xFFFFFFFA, 0x7FFFFFFC  # initial sequence numbers: the client's stream wraps after five bytes


class Log(FlowSink):
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.flow: Flow | None = None
        self.idle: list[bool] = []
        self.acked: list[int] = []

    def data(self, direction: int, data: bytes, time: int) -> None:
        self.events.append(("data", direction, data))
        if direction == CLIENT and self.flow is not None:
            self.idle.append(self.flow.idle_point)
            self.acked.append(self.flow.client_acked)

    def gap(self, direction: int, length: int, time: int) -> None:
        self.events.append(("gap", direction, length))

    def eof(self, direction: int, time: int) -> None:
        self.events.append(("eof", direction))

    def urgent(self, direction: int, time: int) -> None:
        self.events.append(("urgent", direction))

    def closed(self, state: str, time: int) -> None:
        self.events.append(("closed", state))

    def text(self, direction: int) -> bytes:
        return b"".join(event[2] for event in self.events if event[:2] == ("data", direction))  # type: ignore[misc]


class Wire:
    """Feeds a flow; offsets are stream offsets, the first byte of each side is 0."""

    def __init__(self, midstream: bool = False, patient: bool = False, max_buffered: int = 1 << 20) -> None:
        self.log = Log()
        self.flow = Flow(midstream, max_buffered=max_buffered, sink=self.log, patient=patient)
        self.log.flow = self.flow
        self.fed = 0
        self.now = 0

    def client(self, at: int, data: bytes = b"", ack: int = 0, flags: int = ACK) -> None:
        self.fed += len(data)
        self.now += 1
        self.flow.segment(CLIENT, add(C, 1 + at), add(S, 1 + ack), flags, data, self.now)

    def server(self, at: int, data: bytes = b"", ack: int = 0, flags: int = ACK) -> None:
        self.fed += len(data)
        self.now += 1
        self.flow.segment(SERVER, add(S, 1 + at), add(C, 1 + ack), flags, data, self.now)

    def shake(self) -> Wire:
        self.client(-1, flags=SYN)
        self.server(-1, flags=SYN | ACK)
        return self

    def accounted(self) -> int:
        flow = self.flow
        return sum(
            side.delivered + side.duplicate + side.buffered + sum(side.discarded.values())
            for side in (flow.client, flow.server)
        )

    @property
    def events(self) -> list[tuple[object, ...]]:
        assert self.accounted() == self.fed
        return self.log.events


def test_request_and_response_without_pure_acks() -> None:
    """As the kernel program gives it: the handshake's ACK and all pure ACKs are missing."""
    wire = Wire().shake()
    assert wire.flow.state == "open"
    wire.client(0, b"GET /")
    assert wire.flow.steady
    wire.server(0, b"200", ack=5)
    wire.client(5, b"", ack=3, flags=FIN | ACK)
    assert wire.flow.state == "client_done"
    wire.server(3, b"", ack=6, flags=FIN | ACK)
    assert wire.events == [
        ("data", CLIENT, b"GET /"),
        ("data", SERVER, b"200"),
        ("eof", CLIENT),
        ("eof", SERVER),
        ("closed", "closed"),
    ]
    assert wire.flow.over


def test_the_urgent_byte_is_taken_out() -> None:
    wire = Wire().shake()
    wire.flow.mark_urgent(CLIENT, add(C, 1 + 4))
    assert not wire.flow.steady
    wire.client(0, b"ab")
    wire.client(2, b"cd!ef")
    assert wire.flow.steady
    wire.flow.mark_urgent(CLIENT, add(C, 1 + 3))  # a repeated segment tells of it again: it is read
    wire.client(7, b"g")
    assert wire.events == [
        ("data", CLIENT, b"ab"), ("data", CLIENT, b"cd"), ("urgent", CLIENT), ("data", CLIENT, b"ef"),
        ("data", CLIENT, b"g"),
    ]  # fmt: skip
    assert (wire.flow.client.offset, wire.flow.client.delivered) == (8, 8)


def test_a_newer_urgent_byte_takes_the_place_of_one_to_come() -> None:
    """tcp_check_urg: there is one urgent pointer."""
    wire = Wire().shake()
    wire.flow.mark_urgent(SERVER, add(S, 1 + 2))
    wire.server(2, b"!c")
    wire.flow.mark_urgent(SERVER, add(S, 1 + 5))
    wire.flow.mark_urgent(SERVER, add(S, 1 + 4))
    wire.server(4, b"d!")
    wire.server(0, b"ab")
    assert wire.log.text(SERVER) == b"ab!cd"
    assert wire.events[-1] == ("urgent", SERVER)
    assert wire.flow.steady


def test_an_urgent_byte_that_is_lost() -> None:
    wire = Wire().shake()
    wire.flow.mark_urgent(CLIENT, add(C, 1 + 2))
    wire.client(4, b"ef")
    wire.flow.give_up_holes(9)
    wire.client(6, b"gh")
    assert wire.events == [("gap", CLIENT, 4), ("data", CLIENT, b"ef"), ("data", CLIENT, b"gh")]
    assert wire.flow.steady


def test_pure_acks_change_nothing() -> None:
    wire = Wire().shake()
    wire.client(0)
    wire.client(0, b"GET /")
    wire.server(0, ack=5)
    wire.server(0, b"200", ack=5)
    wire.client(5, ack=3)
    assert wire.events == [("data", CLIENT, b"GET /"), ("data", SERVER, b"200")]


def test_fin_with_data_and_half_close() -> None:
    wire = Wire().shake()
    wire.client(0, b"all I say", flags=FIN | PSH | ACK)
    wire.server(0, b"I", ack=10)
    wire.server(1, b" go on", ack=10, flags=FIN | ACK)
    assert wire.events == [
        ("data", CLIENT, b"all I say"),
        ("eof", CLIENT),
        ("data", SERVER, b"I"),
        ("data", SERVER, b" go on"),
        ("eof", SERVER),
        ("closed", "closed"),
    ]


def test_data_below_the_fin_after_it() -> None:
    wire = Wire().shake()
    wire.client(4, b"efg", flags=FIN | ACK)
    assert wire.events == []
    wire.client(0, b"abcd")
    assert wire.events == [("data", CLIENT, b"abcdefg"), ("eof", CLIENT)]


def test_fin_out_of_order_alone() -> None:
    wire = Wire().shake()
    wire.client(4, flags=FIN | ACK)
    wire.client(0, b"abcd")
    wire.client(4, flags=FIN | ACK)  # and once more
    assert wire.events == [("data", CLIENT, b"abcd"), ("eof", CLIENT)]


def test_data_beyond_the_fin_is_discarded() -> None:
    wire = Wire().shake()
    wire.client(0, b"ab", flags=FIN | ACK)
    wire.client(2, b"zz")
    assert wire.events == [("data", CLIENT, b"ab"), ("eof", CLIENT)]
    assert wire.flow.client.discarded == {"after_fin": 2}


def test_forged_fin_below_the_stream_is_ignored() -> None:
    wire = Wire().shake()
    wire.client(0, b"abcd")
    wire.client(1, flags=FIN | ACK)
    wire.client(4, b"ef")
    assert wire.events == [("data", CLIENT, b"abcd"), ("data", CLIENT, b"ef")]


def test_syn_data() -> None:
    """TCP Fast Open (RFC 7413): data in the SYN counts, and once when it is sent again."""
    wire = Wire()
    wire.client(-1, b"GET", flags=SYN)
    wire.server(-1, flags=SYN | ACK, ack=0)
    wire.client(0, b"GET /")
    assert wire.events == [("data", CLIENT, b"GET"), ("data", CLIENT, b" /")]
    assert wire.flow.client.duplicate == 3


def test_syn_retransmissions() -> None:
    wire = Wire()
    wire.client(-1, flags=SYN)
    wire.client(-1, flags=SYN)
    wire.server(-1, flags=SYN | ACK)
    wire.client(-1, flags=SYN)
    wire.client(0, b"a")
    wire.server(-1, flags=SYN | ACK)
    wire.client(1, b"b")
    assert wire.events == [("data", CLIENT, b"a"), ("data", CLIENT, b"b")]


def test_syn_ack_before_the_syn() -> None:
    wire = Wire()
    wire.server(-1, flags=SYN | ACK)
    assert not wire.flow.starts_another(CLIENT, C, 0, SYN)
    wire.client(-1, flags=SYN)
    wire.client(0, b"a")
    wire.server(0, b"b", ack=1)
    assert wire.events == [("data", CLIENT, b"a"), ("data", SERVER, b"b")]


def test_second_syn_ack_with_another_number_before_anything_was_said() -> None:
    wire = Wire()
    wire.client(-1, flags=SYN)
    wire.flow.segment(SERVER, 5, add(C, 1), SYN | ACK, b"", 1)
    wire.server(-1, flags=SYN | ACK)
    wire.server(0, b"hello")
    assert wire.events == [("data", SERVER, b"hello")]


def test_stale_syn_ack_is_ignored() -> None:
    wire = Wire().shake()
    wire.server(0, b"hello")
    wire.fed += 3
    wire.flow.segment(SERVER, 5, add(C, 1), SYN | ACK, b"bad", 9)
    wire.server(5, b"!")
    assert wire.log.text(SERVER) == b"hello!"
    assert wire.flow.server.discarded == {"stale_syn": 3}
    assert wire.accounted() == wire.fed


def test_simultaneous_open() -> None:
    """RFC 9293 §3.5: two SYNs cross."""
    wire = Wire()
    wire.client(-1, flags=SYN)
    wire.server(-1, flags=SYN)
    wire.client(-1, flags=SYN | ACK)
    wire.server(-1, flags=SYN | ACK)
    wire.client(0, b"a")
    wire.server(0, b"b", ack=1)
    assert wire.flow.state == "open"
    assert wire.events == [("data", CLIENT, b"a"), ("data", SERVER, b"b")]


def test_simultaneous_close() -> None:
    wire = Wire().shake()
    wire.client(0, b"a", flags=FIN | ACK)
    wire.server(0, b"b", flags=FIN | ACK)
    wire.client(2, ack=2)
    wire.server(2, ack=2)
    assert wire.events[-3:] == [("data", SERVER, b"b"), ("eof", SERVER), ("closed", "closed")]


def test_port_reuse_is_told_from_retransmission() -> None:
    flow = Wire().shake().flow
    assert not flow.starts_another(CLIENT, C, 0, SYN)
    assert flow.starts_another(CLIENT, C + 1, 0, SYN)
    assert not flow.starts_another(SERVER, S, add(C, 1), SYN | ACK)
    assert not flow.starts_another(SERVER, 77, add(C, 1), SYN | ACK)  # stale, or forged
    assert flow.starts_another(SERVER, 77, 4711, SYN | ACK)  # answers a SYN that was not captured
    assert not flow.starts_another(CLIENT, 424242, add(C, 1), SYN | ACK)  # nonsense: a client does not answer


def test_syn_on_a_midstream_flow_starts_another_unless_it_only_came_late() -> None:
    wire = Wire(midstream=True)
    wire.client(0, b"abc")
    assert wire.flow.starts_another(CLIENT, 1, 0, SYN)
    assert not wire.flow.starts_another(CLIENT, C, 0, SYN)


def test_missing_syn_ack_server_speaks_first() -> None:
    """NAT hid the SYN-ACK: the server's stream begins at its first segment."""
    wire = Wire()
    wire.client(-1, flags=SYN)
    wire.server(0, b"220 hi")
    wire.client(0, b"HELO", ack=6)
    assert wire.flow.state == "open"
    assert wire.events == [("data", SERVER, b"220 hi"), ("data", CLIENT, b"HELO")]


def test_missing_syn_ack_client_speaks_first() -> None:
    """The client's ACK says where the server's stream begins, so its missing first segment is seen."""
    wire = Wire()
    wire.client(-1, flags=SYN)
    wire.client(0, b"GET /", ack=0)
    wire.server(3, b" OK", ack=5)
    assert wire.events == [("data", CLIENT, b"GET /")]
    wire.server(0, b"200", ack=5)
    assert wire.events[1:] == [("data", SERVER, b"200 OK")]


def test_missing_syn_ack_lower_number_wins() -> None:
    wire = Wire()
    wire.client(-1, flags=SYN)
    wire.client(0, b"GET /", ack=3)  # it had received three bytes already
    wire.server(5, b"fg", ack=5)
    wire.server(0, b"abc", ack=5)
    wire.server(3, b"de", ack=5)
    assert wire.log.text(SERVER) == b"abcdefg"


def test_provisional_anchor_is_not_moved_by_a_keep_alive() -> None:
    wire = Wire()
    wire.client(-1, flags=SYN)
    wire.client(0, b"GET /", ack=0)
    wire.server(-1, b"\0", ack=5)
    wire.server(0, b"200", ack=5)
    assert wire.log.text(SERVER) == b"200"
    assert wire.flow.server.duplicate == 1
    assert wire.accounted() == wire.fed


def test_midstream_begins_at_the_first_segment_of_each_side() -> None:
    wire = Wire(midstream=True)
    wire.client(100)  # a pure ACK is no beginning: it may be a keep-alive, one below
    wire.client(100, b"GET /", ack=500)
    wire.server(500, b"200", ack=105)
    wire.client(90, b"0123456789", ack=503)  # sent again from before our time
    assert wire.flow.state == "midstream"
    assert wire.events == [("data", CLIENT, b"GET /"), ("data", SERVER, b"200")]
    assert wire.flow.client.discarded == {"before_start": 10}


def test_midstream_flow_closes_as_any_other() -> None:
    wire = Wire(midstream=True)
    wire.client(9, b"x", flags=FIN | ACK)
    wire.server(7, flags=FIN | ACK)
    assert wire.events[-1] == ("closed", "closed")
    assert wire.flow.midstream


# --- holes ------------------------------------------------------------------------------------------------------------


def test_hole_filled_by_a_retransmission() -> None:
    wire = Wire().shake()
    wire.client(3, b"def")
    wire.client(6, b"ghi")
    assert not wire.flow.steady
    assert wire.flow.waiting
    wire.client(0, b"abc")
    assert wire.flow.steady
    assert wire.events == [("data", CLIENT, b"abcdefghi")]


def test_ack_before_its_data_is_no_loss() -> None:
    wire = Wire().shake()
    wire.server(0, b"early answer", ack=6)
    wire.client(0, b"abcdef")
    assert wire.events == [("data", SERVER, b"early answer"), ("data", CLIENT, b"abcdef")]


def test_ack_and_data_beyond_make_a_gap() -> None:
    wire = Wire().shake()
    wire.client(0, b"ab")
    wire.client(5, b"fg")
    wire.server(0, b"x", ack=5)  # exactly to the hole's end: what is behind it is not acknowledged
    assert ("gap", CLIENT, 3) not in wire.events
    wire.server(1, b"y", ack=7)
    assert wire.events == [
        ("data", CLIENT, b"ab"),
        ("data", SERVER, b"x"),
        ("gap", CLIENT, 3),
        ("data", CLIENT, b"fg"),
        ("data", SERVER, b"y"),
    ]
    assert wire.flow.gaps == 1
    assert wire.flow.client.offset == 7


def test_acknowledged_hole_waits_for_data_behind_it() -> None:
    wire = Wire().shake()
    wire.server(0, b"answer", ack=9)
    assert wire.events == [("data", SERVER, b"answer")]
    wire.client(4, b"efghi")
    assert wire.events == [("data", SERVER, b"answer"), ("gap", CLIENT, 4), ("data", CLIENT, b"efghi")]


def test_acknowledged_hole_at_the_fin() -> None:
    wire = Wire().shake()
    wire.client(4, flags=FIN | ACK)
    wire.server(0, ack=5)
    assert wire.events == [("gap", CLIENT, 4), ("eof", CLIENT)]


def test_acknowledged_hole_at_the_close() -> None:
    wire = Wire().shake()
    wire.server(0, b"answer", ack=9)
    wire.flow.close("expired", 99)
    assert wire.events == [("data", SERVER, b"answer"), ("gap", CLIENT, 9), ("closed", "expired")]


def test_number_of_an_uncaptured_fin_is_no_gap() -> None:
    wire = Wire().shake()
    wire.client(0, b"abc")
    wire.server(0, ack=4)
    wire.flow.close("expired", 99)
    assert wire.events == [("data", CLIENT, b"abc"), ("closed", "expired")]


def test_several_holes_in_order() -> None:
    wire = Wire().shake()
    for at in (2, 5, 8):
        wire.client(at, b"x")
    wire.server(0, ack=9)
    expected = [("gap", CLIENT, 2), ("data", CLIENT, b"x")] * 3
    assert wire.events == expected


def test_queue_over_its_limit_makes_a_gap() -> None:
    wire = Wire(max_buffered=10).shake()
    wire.client(2, b"0123456789")
    assert wire.events == []
    wire.client(20, b"z")
    assert wire.events == [("gap", CLIENT, 2), ("data", CLIENT, b"0123456789")]
    assert wire.flow.client.hole() == (add(C, 13), 8)


def test_old_hole_is_given_up() -> None:
    wire = Wire().shake()
    wire.client(2, b"cd")
    wire.flow.expire_holes(wire.now + GAP_TIMEOUT - 1)
    assert wire.events == []
    wire.flow.expire_holes(wire.now + GAP_TIMEOUT)
    assert wire.events == [("gap", CLIENT, 2), ("data", CLIENT, b"cd")]
    assert wire.flow.steady


def test_end_of_the_flow_hands_out_what_is_queued() -> None:
    wire = Wire().shake()
    wire.client(2, b"cd")
    wire.client(6, b"gh")
    wire.server(1, b"b", flags=FIN | ACK)
    wire.flow.close("removed", 99)
    assert wire.events == [
        ("gap", CLIENT, 2),
        ("data", CLIENT, b"cd"),
        ("gap", CLIENT, 2),
        ("data", CLIENT, b"gh"),
        ("gap", SERVER, 1),
        ("data", SERVER, b"b"),
        ("eof", SERVER),
        ("closed", "removed"),
    ]
    wire.flow.close("expired", 100)
    assert wire.events[-1] == ("closed", "removed")


def test_ends_reached_over_gaps_close_the_flow() -> None:
    wire = Wire().shake()
    wire.client(2, flags=FIN | ACK)
    wire.server(2, flags=FIN | ACK)
    wire.flow.close("expired", 99)
    assert wire.events[-1] == ("closed", "closed")


def test_patient_flow_does_not_believe_acks() -> None:
    wire = Wire(patient=True).shake()
    wire.server(0, ack=6)
    wire.client(3, b"def")
    wire.client(0, b"abc")
    assert wire.events == [("data", CLIENT, b"abcdef")]


# --- retransmissions, probes, resets ----------------------------------------------------------------------------------


def test_keep_alive_and_zero_window_probes() -> None:
    wire = Wire().shake()
    wire.client(0, b"abc")
    wire.client(2, b"\0")  # keep-alive with a garbage byte
    wire.client(2)  # and without
    wire.client(3, b"d")  # zero-window probe: a real byte, refused by the peer
    wire.server(0, ack=3)
    wire.client(3, b"def")
    assert wire.events == [("data", CLIENT, b"abc"), ("data", CLIENT, b"d"), ("data", CLIENT, b"ef")]
    assert wire.flow.client.duplicate == 2


def test_retransmission_after_the_close_is_accounted() -> None:
    wire = Wire().shake()
    wire.client(0, b"abc", flags=FIN | ACK)
    wire.server(0, b"xyz", flags=FIN | ACK)
    wire.client(0, b"abc", flags=FIN | ACK)
    wire.server(1, b"yz?")
    assert wire.events[-1] == ("closed", "closed")
    assert wire.flow.client.duplicate == 3
    assert wire.flow.server.duplicate == 2
    assert wire.flow.server.discarded == {"after_close": 1}


def test_reset_with_payload() -> None:
    wire = Wire().shake()
    wire.client(0, b"abc")
    wire.server(0, b"not stream data", flags=RST | ACK, ack=3)
    assert wire.events == [("data", CLIENT, b"abc"), ("closed", "reset")]
    assert wire.flow.server.discarded == {"rst_payload": 15}


def test_reset_hands_out_what_is_queued() -> None:
    wire = Wire().shake()
    wire.client(2, b"cd")
    wire.client(4, flags=RST)
    assert wire.events == [("gap", CLIENT, 2), ("data", CLIENT, b"cd"), ("closed", "reset")]


@pytest.mark.parametrize("ahead", [RST_WINDOW + 1, -RST_WINDOW - 1, 1 << 30])
def test_reset_far_outside_is_ignored(ahead: int) -> None:
    wire = Wire().shake()
    wire.client(0, b"abc")
    wire.client(3 + ahead, flags=RST)
    wire.client(3, b"def")
    assert wire.log.text(CLIENT) == b"abcdef"
    assert wire.flow.ignored_resets == 1


def test_reset_near_the_expected_number_is_believed() -> None:
    wire = Wire().shake()
    wire.client(0, b"abc")
    wire.client(3 + RST_WINDOW, flags=RST)
    assert wire.events[-1] == ("closed", "reset")


def test_refused_connection() -> None:
    wire = Wire()
    wire.client(-1, flags=SYN)
    wire.flow.segment(SERVER, 0, C, RST | ACK, b"", 1)  # does not acknowledge the SYN
    assert wire.flow.ignored_resets == 1
    wire.flow.segment(SERVER, 0, add(C, 1), RST | ACK, b"", 1)
    assert wire.events == [("closed", "reset")]


def test_patient_flow_takes_what_crosses_the_reset() -> None:
    wire = Wire(patient=True).shake()
    wire.client(0, b"abc")
    wire.server(0, flags=RST | ACK, ack=3)
    wire.client(3, b"def")
    wire.flow.close("removed", 9)
    assert wire.events == [("data", CLIENT, b"abc"), ("data", CLIENT, b"def"), ("closed", "reset")]


def test_four_gigabytes_wrap() -> None:
    wire = Wire().shake()
    wire.client(0, b"x" * 70_000)
    wire.flow.client.next_seq = 0xFFFFFF00
    wire.flow.client.offset = (1 << 32) + 12345
    wire.flow.segment(CLIENT, 0xFFFFFF00, add(S, 1), ACK, b"y" * 0x200, 5)
    wire.flow.segment(CLIENT, 0x100, add(S, 1), ACK, b"z", 5)
    assert wire.flow.client.next_seq == 0x101
    assert wire.flow.client.offset == (1 << 32) + 12345 + 0x201


# --- what codecs ask --------------------------------------------------------------------------------------------------


def test_client_acked_is_that_of_the_segment() -> None:
    wire = Wire().shake()
    assert Wire().flow.client_acked == 0
    wire.client(0, b"one", ack=0)
    wire.server(0, b"answer", ack=3)
    wire.client(3, b"two", ack=2)
    wire.client(6, b"three", ack=6)
    wire.client(11, b"four", ack=20)  # acknowledges what was not captured yet
    wire.client(15, b"old", ack=3)
    assert wire.log.acked == [0, 2, 6, 20, 20]


def test_client_acked_does_not_count_the_fin() -> None:
    wire = Wire().shake()
    wire.server(0, b"bye", flags=FIN | ACK)
    wire.client(0, b"thanks", ack=4)
    assert wire.log.acked == [3]


def test_idle_point() -> None:
    wire = Wire().shake()
    wire.client(0, b"one")  # no: nobody spoke yet
    wire.server(0, b"ans", ack=3)
    wire.client(3, b"two", ack=3)  # yes
    wire.client(6, b"more", ack=3)  # no: the client spoke last
    wire.server(3, b"wer", ack=6)
    wire.client(10, b"early", ack=6)  # no: "more" is not acknowledged
    wire.server(6, b"...", ack=15)
    wire.client(15, b"hasty", ack=6)  # no: the server's last bytes are not acknowledged
    wire.server(9, b"!", ack=20)
    wire.client(20, b"calm", ack=10)  # yes
    assert wire.log.idle == [False, True, False, False, False, True]


def test_idle_point_after_lost_server_bytes() -> None:
    wire = Wire().shake()
    wire.client(0, b"one")
    wire.server(0, b"ans", ack=3)
    wire.client(3, b"two", ack=9)  # it has more than we: the response is not known to be whole
    assert wire.log.idle == [False, False]


def test_what_follows_a_client_hole_is_no_idle_point() -> None:
    wire = Wire().shake()
    wire.client(0, b"one")
    wire.server(0, b"ans", ack=3)
    wire.client(8, b"GET / in the middle of an upload", ack=3)
    wire.server(3, ack=40)
    assert ("gap", CLIENT, 5) in wire.events
    assert wire.log.idle == [False, False]


def test_transitions_are_complete() -> None:
    assert set(TRANSITIONS) >= {state for events in TRANSITIONS.values() for state in events.values()}
    assert {"closed", "reset", "expired", "replaced", "removed"} == FINAL_STATES
    for state in set(TRANSITIONS) - FINAL_STATES:
        assert set(TRANSITIONS[state]) == {"client_fin", "server_fin", "reset", "expired", "replaced", "removed"}
    assert repr(Wire().flow) == "<Flow open client=<Assembler unanchored> server=<Assembler unanchored>>"


# --- the whole, against a bitmap --------------------------------------------------------------------------------------

TEXT = (bytes(range(100)), bytes(range(100, 200)))
PIECES = st.lists(
    st.tuples(
        st.sampled_from([CLIENT, SERVER]), st.integers(0, 99), st.integers(0, 40), st.integers(0, 101), st.booleans()
    ),
    max_size=60,
)


class Oracle(FlowSink):
    """One set of positions for each direction; checks every event as it comes."""

    def __init__(self) -> None:
        self.came: tuple[set[int], set[int]] = (set(), set())
        self.at = [0, 0]
        self.given: tuple[set[int], set[int]] = (set(), set())
        self.ended = [False, False]
        self.state = ""

    def data(self, direction: int, data: bytes, time: int) -> None:
        assert not self.state
        assert not self.ended[direction]
        for value in data:
            assert value == TEXT[direction][self.at[direction]]
            self.given[direction].add(self.at[direction])
            self.at[direction] += 1

    def gap(self, direction: int, length: int, time: int) -> None:
        assert length > 0
        assert not self.ended[direction]
        lost = range(self.at[direction], self.at[direction] + length)
        assert not self.came[direction].intersection(lost), "bytes that had come were declared lost"
        self.at[direction] += length

    def eof(self, direction: int, time: int) -> None:
        assert self.at[direction] == 100
        self.ended[direction] = True

    def closed(self, state: str, time: int) -> None:
        assert not self.state
        self.state = state


@settings(deadline=None)
@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), PIECES, st.booleans(), st.booleans())
def test_against_a_bitmap(
    isn: int, other: int, pieces: list[tuple[int, int, int, int, bool]], patient: bool, ack: bool
) -> None:
    """Both directions at random, with ACKs of anything: only what came, in place, and gaps only where nothing came."""
    oracle = Oracle()
    flow = Flow(False, sink=oracle, patient=patient)
    bases = (add(isn, 1), add(other, 1))
    flow.segment(CLIENT, isn, 0, SYN, b"", 0)
    if ack:
        flow.segment(SERVER, other, bases[0], SYN | ACK, b"", 0)
    else:
        flow.segment(CLIENT, bases[0], bases[1], ACK, b"", 0)
    fed = 0
    fins = [False, False]
    for time, (direction, start, length, acked, fin) in enumerate(pieces):
        data = TEXT[direction][start : start + length]
        fed += len(data)
        flags = ACK
        if fin and start + length >= 100:
            flags |= FIN
            fins[direction] = True
        oracle.came[direction].update(range(start, start + len(data)))
        flow.segment(direction, add(bases[direction], start), add(bases[1 - direction], acked), flags, data, time)
        for side, stream in enumerate((flow.client, flow.server)):
            came = oracle.came[side]
            assert all(at in came for at in oracle.given[side])
            assert stream.offset == oracle.at[side]
            assert stream.offset not in came or flow.over, "bytes in order were held back"
            if patient:
                prefix = next(at for at in range(101) if at not in came)
                assert stream.offset == prefix
                assert oracle.ended[side] == (fins[side] and prefix == 100)
    flow.close("expired", 99)
    assert oracle.state == ("closed" if all(oracle.ended) else "expired")
    total = 0
    for side, stream in enumerate((flow.client, flow.server)):
        assert stream.buffered == 0
        total += stream.delivered + stream.duplicate + sum(stream.discarded.values())
        assert stream.delivered == len(oracle.given[side])
        assert oracle.at[side] >= max(oracle.came[side], default=-1) + 1
        if patient:
            assert oracle.given[side] == oracle.came[side]
        late = stream.discarded.get("late", 0) + stream.discarded.get("after_close", 0)
        assert late or oracle.given[side] == oracle.came[side]
        assert oracle.ended[side] == fins[side]
    assert total == fed
