"""The flow table: opening and ending, limits, time, and the byte identity whatever happens."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shadowd.stream.flow import CLIENT, GAP_TIMEOUT, SERVER, Flow, FlowSink
from shadowd.stream.seq import add
from shadowd.stream.table import FlowLimits, FlowTable

FIN, SYN, RST, ACK = 1, 2, 4, 16
SECOND = 1_000_000_000
C, S = 1000, 9000
KEY = b"10.0.0.1:1234>10.0.0.2:80"


class Log(FlowSink):
    """The sink of one flow."""

    def __init__(self, key: bytes, flow: Flow, midstream: bool) -> None:
        self.key = key
        self.flow = flow
        self.midstream = midstream
        self.text = [b"", b""]
        self.gaps = 0
        self.state = ""

    def data(self, direction: int, data: bytes, time: int) -> None:
        assert not self.state
        self.text[direction] += data

    def gap(self, direction: int, length: int, time: int) -> None:
        assert not self.state
        self.gaps += 1

    def eof(self, direction: int, time: int) -> None:
        assert not self.state

    def closed(self, state: str, time: int) -> None:
        assert not self.state
        self.state = state


class Bench:
    """A table, its sinks, and an independent count of the bytes it was given."""

    def __init__(self, limits: FlowLimits | None = None) -> None:
        self.sinks: list[Log] = []
        self.table = FlowTable(self._open, limits or FlowLimits())
        self.given = 0
        self.now = 0

    def _open(self, key: bytes, time: int, flow: Flow, midstream: bool) -> Log:
        self.sinks.append(Log(key, flow, midstream))
        return self.sinks[-1]

    def feed(
        self, direction: int, seq: int, flags: int = ACK, data: bytes = b"", ack: int | None = None, key: bytes = KEY
    ) -> Flow | None:
        self.given += len(data)
        acked = (C + 1 if direction else S + 1) if ack is None else ack
        flow = self.table.segment(key, direction, seq, acked, flags, data, self.now)
        self.check()
        return flow

    def shake(self, key: bytes = KEY) -> None:
        self.feed(CLIENT, C, SYN, ack=0, key=key)
        self.feed(SERVER, S, SYN | ACK, key=key)

    def finish(self, key: bytes = KEY) -> None:
        self.feed(CLIENT, C + 1, FIN | ACK, key=key)
        self.feed(SERVER, S + 1, FIN | ACK, key=key)

    def check(self) -> None:
        numbers = self.table.statistics()
        accounted = numbers.delivered + numbers.duplicate + numbers.buffered + sum(numbers.discarded.values())
        assert accounted == self.given
        assert numbers.flows == len(self.table) == sum(not sink.state for sink in self.sinks)
        assert numbers.opened == len(self.sinks)
        assert numbers.flows + sum(numbers.ended.values()) == numbers.opened


def test_one_flow() -> None:
    bench = Bench()
    bench.shake()
    flow = bench.feed(CLIENT, C + 1, data=b"GET /")
    assert flow is bench.sinks[0].flow is bench.table.get(KEY)
    assert bench.table.items() == [(KEY, flow)]
    bench.feed(SERVER, S + 1, data=b"200", ack=C + 6)
    assert bench.sinks[0].text == [b"GET /", b"200"]
    assert not bench.sinks[0].midstream
    numbers = bench.table.statistics()
    assert (numbers.segments, numbers.delivered, numbers.midstream) == (4, 8, 0)


def test_statistics_survive_the_flow() -> None:
    bench = Bench()
    bench.shake()
    bench.feed(CLIENT, C + 1, data=b"abc")
    bench.feed(CLIENT, C + 1, data=b"abc")
    bench.feed(CLIENT, C + 6, data=b"xyz")
    bench.feed(CLIENT, C + 6, data=b"xqz")
    assert bench.feed(CLIENT, C + 9, RST, data=b"why") is None
    numbers = bench.table.statistics()
    assert numbers.flows == 0
    assert numbers.ended == {"reset": 1}
    assert (numbers.delivered, numbers.duplicate, numbers.conflicts) == (6, 6, 1)
    assert (numbers.gaps, numbers.gap_bytes, numbers.buffered) == (1, 2, 0)
    assert numbers.discarded == {"rst_payload": 3}


def test_late_retransmission_does_not_open_a_phantom() -> None:
    bench = Bench()
    bench.shake()
    bench.feed(CLIENT, C + 1, FIN | ACK, b"abc")
    assert bench.feed(SERVER, S + 1, FIN | ACK, b"xyz") is None
    assert bench.feed(CLIENT, C + 1, FIN | ACK, b"abc") is None
    assert bench.feed(SERVER, S + 3, ACK, b"z?") is None
    assert bench.feed(CLIENT, C, SYN, b"") is None
    assert bench.feed(SERVER, S, SYN | ACK) is None
    assert bench.feed(SERVER, S + 77, SYN | ACK) is None  # a second answer to the same SYN
    assert bench.feed(CLIENT, C + 5, RST, b"!") is None
    numbers = bench.table.statistics()
    assert numbers.opened == 1
    assert numbers.duplicate == 4
    assert numbers.discarded == {"after_close": 1, "rst_payload": 1}


def test_lingering_ends() -> None:
    limits = FlowLimits()
    bench = Bench(limits)
    bench.shake()
    bench.finish()
    bench.table.expire(limits.closed_linger - 1)
    assert bench.feed(CLIENT, C + 1, data=b"abc") is None
    bench.table.expire(limits.closed_linger)
    assert bench.feed(CLIENT, C + 1, data=b"abc") is not None
    assert bench.sinks[1].midstream


def test_lingering_is_bounded() -> None:
    bench = Bench(FlowLimits(max_ended=2))
    for name in (b"a", b"b", b"c"):
        bench.shake(name)
        bench.finish(name)
    assert bench.feed(CLIENT, C + 1, data=b"x", key=b"c") is None
    assert bench.feed(CLIENT, C + 1, data=b"x", key=b"b") is None
    assert bench.feed(CLIENT, C + 1, data=b"x", key=b"a") is not None


def test_port_reuse_after_the_close_and_before_it() -> None:
    bench = Bench()
    bench.shake()
    bench.feed(CLIENT, C + 1, data=b"first")
    bench.feed(CLIENT, C + 50_000, SYN, ack=0)  # the old one's end was not captured
    bench.feed(SERVER, S, SYN | ACK, ack=C + 50_001)
    bench.feed(CLIENT, C + 50_001, FIN | ACK, b"second")
    bench.feed(SERVER, S + 1, FIN | ACK)
    bench.feed(CLIENT, C + 90_000, SYN, ack=0)
    bench.feed(CLIENT, C + 90_001, data=b"third")
    assert [sink.text[0] for sink in bench.sinks] == [b"first", b"second", b"third"]
    assert [sink.state for sink in bench.sinks] == ["replaced", "closed", ""]


def test_missed_syn_but_not_the_syn_ack_after_a_close() -> None:
    bench = Bench()
    bench.shake()
    bench.finish()
    bench.feed(SERVER, 55, SYN | ACK, ack=777)
    bench.feed(CLIENT, 777, data=b"again", ack=56)
    assert bench.sinks[1].text == [b"again", b""]
    assert not bench.sinks[1].midstream


def test_midstream() -> None:
    bench = Bench()
    assert bench.feed(CLIENT, C) is None
    assert bench.feed(CLIENT, C, FIN | ACK) is None
    assert bench.feed(CLIENT, C, RST, b"x") is None
    assert bench.sinks == []
    assert bench.feed(CLIENT, C, data=b"abc") is not None
    assert bench.sinks[0].midstream
    assert bench.table.statistics().midstream == 1


def test_offline_opens_on_anything() -> None:
    bench = Bench(FlowLimits(offline=True))
    assert bench.feed(CLIENT, C, ACK) is not None
    bench.feed(CLIENT, C, RST, key=b"other")
    bench.table.close_all(5)
    assert [sink.state for sink in bench.sinks] == ["removed", "reset"]


def test_remove_and_close_all() -> None:
    bench = Bench()
    for name in (b"a", b"b", b"c"):
        bench.shake(name)
        bench.feed(CLIENT, C + 3, data=b"queued", key=name)
    bench.table.remove(b"b", 5)
    bench.table.remove(b"b", 5)
    bench.check()
    assert (
        bench.feed(CLIENT, C + 9, data=b"goes on", key=b"b") is not None
    )  # no lingering: the filter went, not the flow
    bench.table.close_all(6)
    bench.check()
    assert [sink.state for sink in bench.sinks] == ["removed"] * 4
    assert [sink.text[0] for sink in bench.sinks] == [b"queued"] * 3 + [b"goes on"]
    assert bench.table.statistics().ended == {"removed": 4}


def test_idle_flows_expire_and_active_ones_do_not() -> None:
    limits = FlowLimits()
    bench = Bench(limits)
    for name in (b"idle", b"busy"):
        bench.shake(name)
        bench.feed(CLIENT, C + 1, data=b"a", key=name)
        bench.feed(SERVER, S + 1, data=b"b", key=name)
    for second in range(1, limits.idle // SECOND + 3):
        bench.now = second * SECOND
        if second % 100 == 0:
            bench.feed(CLIENT, C + 1 + second // 100, data=b"x", key=b"busy")
        bench.table.expire(bench.now)
        if second < limits.idle // SECOND:
            assert len(bench.table) == 2
    assert [sink.state for sink in bench.sinks] == ["expired", ""]
    bench.check()


def test_half_open_flows_expire_sooner() -> None:
    limits = FlowLimits()
    bench = Bench(limits)
    bench.shake()
    bench.feed(CLIENT, C + 1, data=b"anybody?")
    bench.table.expire(limits.handshake_idle - SECOND)
    assert len(bench.table) == 1
    bench.table.expire(limits.handshake_idle + 2 * SECOND)
    assert bench.sinks[0].state == "expired"
    assert bench.table._due == {}


def test_expire_gives_up_old_holes() -> None:
    bench = Bench()
    bench.shake()
    bench.feed(CLIENT, C + 3, data=b"c")
    assert bench.table.statistics().waiting == 1
    bench.table.expire(GAP_TIMEOUT - 1)
    assert bench.sinks[0].gaps == 0
    bench.table.expire(GAP_TIMEOUT)
    assert bench.sinks[0].gaps == 1
    assert bench.sinks[0].text == [b"c", b""]
    assert bench.table.statistics().waiting == 0


def test_a_full_table_refuses_and_counts() -> None:
    bench = Bench(FlowLimits(max_flows=2))
    bench.shake(b"a")
    bench.shake(b"b")
    assert bench.feed(CLIENT, C, SYN, key=b"c") is None
    assert bench.feed(CLIENT, C + 1, data=b"lost", key=b"c") is None
    assert bench.feed(CLIENT, C + 1, data=b"too", key=b"d") is None
    numbers = bench.table.statistics()
    assert numbers.refused_flows == 2
    assert numbers.discarded == {"max_flows": 7}
    bench.table.remove(b"a", 1)
    assert bench.feed(CLIENT, C, SYN, key=b"c") is not None


def test_a_full_table_evicts_the_idle() -> None:
    limits = FlowLimits(max_flows=2)
    bench = Bench(limits)
    bench.shake(b"a")
    bench.shake(b"b")
    bench.now = limits.pressure_idle
    bench.feed(CLIENT, C + 1, data=b"x", key=b"a")
    assert bench.feed(CLIENT, C, SYN, key=b"c") is not None
    assert [sink.state for sink in bench.sinks] == ["", "expired", ""]
    assert bench.table.statistics().refused_flows == 0


def test_memory_of_all_queues_is_bounded() -> None:
    bench = Bench(FlowLimits(max_buffered_total=1000))
    for name in (b"a", b"b", b"c"):
        bench.shake(name)
        bench.feed(CLIENT, C + 2, data=b"x" * 400, key=name)
    assert [sink.gaps for sink in bench.sinks] == [0, 0, 1]
    numbers = bench.table.statistics()
    assert (numbers.buffered, numbers.overflowed) == (800, 1)
    assert bench.sinks[2].text[0] == b"x" * 400
    bench.table.remove(b"a", 1)
    bench.shake(b"d")
    bench.feed(CLIENT, C + 2, data=b"x" * 400, key=b"d")
    assert bench.sinks[3].gaps == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c"]),
        st.sampled_from([CLIENT, SERVER]),
        st.integers(-3, 40),
        st.sampled_from([ACK] * 6 + [SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, FIN | SYN, 0]),
        st.integers(0, 12),
        st.integers(-1, 45),
        st.sampled_from([0, 0, 0, 1, 31, 130, 1000]),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.booleans(), st.integers(1, 3))
@example([(b"a", 0, 0, 16, 0, 0, 0), (b"c", 0, 9, 16, 1, 0, 0), (b"c", 0, 8, 16, 1, 0, 0)], True, 2)  # a probe
def test_every_byte_is_accounted_for(
    steps: list[tuple[bytes, int, int, int, int, int, int]], offline: bool, flows: int
) -> None:
    """Anything at all on three tuples, with tight limits: the identity holds after each segment and at the end."""
    limits = FlowLimits(
        max_flows=flows, max_buffered_flow=20, max_buffered_total=30, max_ranges=3, max_ended=2, offline=offline
    )
    bench = Bench(limits)
    for key, direction, at, flags, length, ack, pause in steps:
        bench.now += pause * SECOND
        base, other = (S, C) if direction else (C, S)
        bench.feed(direction, add(base, at), flags, bytes(range(length)), add(other, ack), key)
        if pause:
            bench.table.expire(bench.now)
            bench.check()
    bench.table.close_all(bench.now)
    bench.check()
    numbers = bench.table.statistics()
    assert (numbers.flows, numbers.waiting, numbers.buffered) == (0, 0, 0)
    assert all(sink.state for sink in bench.sinks)
    assert numbers.delivered == sum(len(text) for sink in bench.sinks for text in sink.text)
    assert bench.table._due == {}
    assert bench.table._buffered == 0


class Events(FlowSink):
    """A sink that writes down everything, with what the flow says at that moment."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.events: list[tuple[object, ...]] = []

    def data(self, direction: int, data: bytes, time: int) -> None:
        asked = (self.flow.client_acked, self.flow.idle_point) if direction == CLIENT else ()
        self.events.append(("data", direction, data, time, *asked))

    def gap(self, direction: int, length: int, time: int) -> None:
        self.events.append(("gap", direction, length, time))

    def eof(self, direction: int, time: int) -> None:
        self.events.append(("eof", direction, time))

    def closed(self, state: str, time: int) -> None:
        self.events.append(("closed", state, time))


TURNS = st.lists(
    st.tuples(
        st.sampled_from([CLIENT, SERVER]),
        st.sampled_from([0] * 8 + [-2, 3]),  # off the expected number
        st.sampled_from([ACK] * 8 + [ACK | 8, FIN | ACK]),
        st.integers(0, 5),
        st.sampled_from([0] * 5 + [-3, 2]),  # off what the other side has sent
    ),
    max_size=50,
)


@settings(deadline=None)
@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), TURNS)
def test_the_short_way_does_what_the_long_way_does(
    isn: int, other: int, turns: list[tuple[int, int, int, int, int]]
) -> None:
    flow = Flow(False)
    flow.sink = slow = Events(flow)
    fast: list[Events] = []

    def open_sink(key: bytes, time: int, flow: Flow, midstream: bool) -> Events:
        fast.append(Events(flow))
        return fast[0]

    table = FlowTable(open_sink, FlowLimits())
    nexts = [add(isn, 1), add(other, 1)]
    segments = [(CLIENT, isn, 0, SYN, b""), (SERVER, other, nexts[0], SYN | ACK, b"")]
    for direction, off, flags, length, ack_off in turns:
        data = bytes(range(length))
        segments.append((direction, add(nexts[direction], off), add(nexts[1 - direction], ack_off), flags, data))
        if not off:
            nexts[direction] = add(nexts[direction], length)
    for time, segment in enumerate(segments):
        if not flow.over:
            flow.segment(*segment, time)
            table.segment(KEY, *segment, time)
            assert fast[0].events == slow.events
            assert repr(fast[0].flow) == repr(flow)
            assert (fast[0].flow.seen, fast[0].flow.steady) == (flow.seen, flow.steady)
