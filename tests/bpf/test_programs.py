"""The tc program under BPF_PROG_TEST_RUN: packet in, record out. (The socket program needs a socket: see tests/netns;
here it is run for its verdict, which must let every packet go on.)"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from shadowd.capture import abi, bpf
from shadowd.capture.programs import Programs
from shadowd.capture.ring import RingSink
from shadowd.capture.rules import Rule
from tests.bpf.packets import ACK, FIN, PSH, SYN, URG, ethernet, ipv4, ipv6, tcp

TEST_RUN_IFINDEX = 1  # BPF_PROG_TEST_RUN gives packets the loopback device
NEXT = -1  # TC_ACT_UNSPEC
GO_ON = 1  # cgroup_skb


class Seen(RingSink):
    def __init__(self) -> None:
        self.segments: list[dict[str, Any]] = []
        self.timings: list[tuple[int, ...]] = []
        self.urgents: list[int] = []

    def segment(
        self, key: bytes, direction: int, seq: int, ack: int, flags: int, payload: bytes, time: int, tag: int
    ) -> None:
        client, server = abi.key_endpoints(key)
        self.segments.append(
            {"client": client, "server": server, "filters": tag, "direction": direction, "seq": seq, "ack": ack,
             "flags": flags, "payload": payload, "time": time}
        )  # fmt: skip

    def timing(self, cookie: int, direction: int, seq: int, length: int, flags: int, time: int) -> None:
        self.timings.append((cookie, direction, seq, length, flags, time))

    def urgent(self, key: bytes, direction: int, seq: int) -> None:
        self.urgents.append(seq)

    def marked(self, key: bytes, direction: int, marks: int) -> None:
        self.segments[-1]["marks"] = marks


class Bench:
    """Runs packets through one loaded set of programs with rules of its own."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.port = 20000

    def rules(self, *rules: Rule) -> None:
        self.programs.apply(list(rules))
        mask = sum(rule.mask for rule in rules if rule.interface)
        self.programs.set_interfaces({TEST_RUN_IFINDEX: (mask, True)}, set())
        self.programs.keep_alive(time.monotonic_ns() + 60 * 10**9)

    def run(self, *frames: bytes, program: str = "tc_ingress") -> Seen:
        for frame in frames:
            verdict, _ = bpf.run_packet(self.programs.descriptors[program], frame)
            assert verdict == (NEXT if program.startswith("tc") else GO_ON)
        seen = Seen()
        self.programs.ring.drain(seen, 1 << 20)
        return seen

    def counted(self, name: str) -> int:
        return self.programs.counters()[name]


@pytest.fixture
def bench(loaded: Programs) -> Iterator[Bench]:
    loaded.ring.drain(Seen(), 1 << 20)
    yield Bench(loaded)
    loaded.apply([])


_client_ports = iter(range(1025, 65000))


def fresh() -> int:
    """A client port no other case used: decisions are cached by flow."""
    return next(_client_ports)


def test_payload_arrives_whole_with_its_numbers(bench: Bench) -> None:
    bench.rules(Rule(3, [(80, 80)], interface="lo"))
    port = fresh()
    payload = bytes(range(256)) * 4
    seen = bench.run(ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(port, 80, payload, seq=4294967290, ack=77))))
    (segment,) = seen.segments
    assert segment["payload"] == payload
    assert (segment["client"], segment["server"]) == (f"10.0.0.1:{port}", "10.0.0.2:80")
    assert (segment["seq"], segment["ack"], segment["filters"], segment["direction"]) == (4294967290, 77, 1 << 3, 0)
    assert abs(segment["time"] - time.monotonic_ns()) < 5 * 10**9


@pytest.mark.parametrize("size", [1, 127, 128, 129, 256, 257, 512, 513, 1024, 1025, 2048, 2049, 3500])
def test_every_size_class_copies_exactly(bench: Bench, size: int) -> None:
    # a test run takes at most a page; larger segments come from real sockets in tests/netns
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    payload = bytes(i * 7 % 251 for i in range(size))
    before = bench.counted("bytes")
    seen = bench.run(ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, payload))))
    assert [s["payload"] for s in seen.segments] == [payload]
    assert bench.counted("bytes") - before == size


def test_both_directions_share_the_key(bench: Bench) -> None:
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    port = fresh()
    seen = bench.run(
        ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(port, 80, b"ask"))),
        ethernet(ipv4("10.0.0.2", "10.0.0.1", tcp(80, port, b"answer"))),
    )
    assert [(s["direction"], s["client"], s["server"]) for s in seen.segments] == [
        (0, f"10.0.0.1:{port}", "10.0.0.2:80"),
        (1, f"10.0.0.1:{port}", "10.0.0.2:80"),
    ]


VARIANTS = {
    "IPv4 with options": lambda p: ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(p, 80, b"hello"), options=b"\x01" * 8)),
    "TCP with options": lambda p: ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(p, 80, b"hello", options=b"\x01" * 12))),
    "one VLAN tag in the data": lambda p: ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(p, 80, b"hello")), tags=(0x8100,)),
    "QinQ in the data": lambda p: ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(p, 80, b"hello")), tags=(0x88A8, 0x8100)),
    "padded to the Ethernet minimum": lambda p: ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(p, 80, b"hello")), pad_to=64),
    "IPv6": lambda p: ethernet(ipv6("2001:db8::1", "2001:db8::2", tcp(p, 80, b"hello"))),
    "IPv6 with hop-by-hop options": lambda p: ethernet(
        ipv6("2001:db8::1", "2001:db8::2", tcp(p, 80, b"hello"), b"\x06\x00\x01\x04" + bytes(4), first=0)
    ),
    "IPv6 with destination options and routing": lambda p: ethernet(
        ipv6("2001:db8::1", "2001:db8::2", tcp(p, 80, b"hello"),
             extensions=b"\x2b\x00" + bytes(6) + b"\x06\x01" + bytes(14), first=60)
    ),
}  # fmt: skip


@pytest.mark.parametrize("description", VARIANTS)
def test_headers_of_every_kind(bench: Bench, description: str) -> None:
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    seen = bench.run(VARIANTS[description](fresh()))
    assert [s["payload"] for s in seen.segments] == [b"hello"], description


IGNORED = {
    "another port": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(4000, 81, b"hello"))),
    "UDP": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(4001, 80, b"hello"), protocol=17)),
    "a pure ACK": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(4002, 80, b"", flags=ACK))),
    "truncated TCP header": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(4003, 80)[:12])),
    "ARP": bytes(12) + b"\x08\x06" + bytes(46),
    "three VLAN tags": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(4004, 80, b"x")), tags=(0x8100, 0x8100, 0x8100)),
}


@pytest.mark.parametrize("description", IGNORED)
@pytest.mark.parametrize("program", ["tc_ingress", "tc_egress", "socket_ingress", "socket_egress"])
def test_what_is_not_ours_goes_on_unseen(bench: Bench, description: str, program: str) -> None:
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    assert bench.run(IGNORED[description], program=program).segments == []


def test_fragments_are_counted_never_guessed(bench: Bench) -> None:
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    before = bench.counted("fragments")
    first = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, b"part"), fragment=0x2000))
    later = ethernet(ipv4("10.0.0.1", "10.0.0.2", b"rest" * 5, fragment=3))
    six = ethernet(ipv6("2001:db8::1", "2001:db8::2", tcp(fresh(), 80, b"x"), extensions=b"\x06" + bytes(7), first=44))
    assert bench.run(first, later, six).segments == []
    assert bench.counted("fragments") - before == 3


def test_selection_by_prefix_picks_the_right_filters(bench: Bench) -> None:
    bench.rules(
        Rule(0, [(80, 80)], interface="lo"),
        Rule(1, [(80, 80)], clients=["10.1.0.0/16"], interface="lo"),
        Rule(2, [(80, 90)], clients=["10.1.2.0/24"], servers=["10.9.0.0/16"], interface="lo"),
        Rule(4, [(80, 80)], clients=["2001:db8::/32"], interface="lo"),
    )

    def matched(client: str, server: str) -> int:
        packet = ipv6 if ":" in client else ipv4
        segments = bench.run(ethernet(packet(client, server, tcp(fresh(), 80, b"x")))).segments
        return int(segments[0]["filters"]) if segments else 0

    assert matched("10.2.0.1", "10.9.0.1") == 0b1
    assert matched("10.1.9.1", "10.9.0.1") == 0b11
    assert matched("10.1.2.3", "10.9.0.1") == 0b111
    assert matched("10.1.2.3", "10.8.0.1") == 0b11
    assert matched("2001:db8::5", "2001:db9::1") == 0b10001


def test_rules_changed_are_decided_again_for_living_flows(bench: Bench) -> None:
    port = fresh()
    frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(port, 80, b"x")))
    bench.rules(Rule(5, [(80, 80)], clients=["192.0.2.0/24"], interface="lo"))
    assert bench.run(frame).segments == []  # cached as no match
    bench.rules(Rule(6, [(80, 80)], interface="lo"))
    assert [s["filters"] for s in bench.run(frame).segments] == [1 << 6]
    bench.rules(Rule(7, [(81, 81)], interface="lo"))
    assert bench.run(frame).segments == []


def test_sampling_is_by_connection_and_near_its_rate(bench: Bench) -> None:
    bench.rules(Rule(0, [(80, 80)], sample=0.25, interface="lo"), Rule(1, [(80, 80)], interface="lo"))
    kept = 0
    for number in range(2000):
        client = f"10.{number >> 8}.{number & 255}.9"
        seen = bench.run(
            ethernet(ipv4(client, "10.0.0.2", tcp(3333, 80, b"a"))),
            ethernet(ipv4("10.0.0.2", client, tcp(80, 3333, b"b"))),
        )
        first, second = (s["filters"] for s in seen.segments)
        assert first == second  # the same for both directions
        assert first & 2
        kept += first & 1
    # binomial(2000, 1/4): 500 +- 19; eight standard deviations cannot happen by chance, and the hash is fixed anyway
    assert 345 < kept < 655


def test_dead_man_switch_stops_copying(bench: Bench) -> None:
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, b"x")))
    bench.programs.keep_alive(time.monotonic_ns() - 1)
    before = bench.counted("dead")
    assert bench.run(frame).segments == []
    assert bench.counted("dead") == before + 1
    bench.programs.keep_alive(time.monotonic_ns() + 10**10)
    assert len(bench.run(frame).segments) == 1


def test_full_ring_is_counted_in_bytes(bench: Bench) -> None:
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, bytes(3000))))
    before = bench.programs.counters()
    for _ in range(400):  # a ring of 1 MB takes some 250 of the 4 KB class
        bpf.run_packet(bench.programs.descriptors["tc_ingress"], frame)
    seen = Seen()
    while bench.programs.ring.drain(seen, 1 << 20):
        pass
    after = bench.programs.counters()
    grown = {name: after[name] - before[name] for name in after}
    assert grown["bytes"] == 1_200_000
    assert grown["ring_full"] > 0
    assert grown["ring_full_bytes"] == 3000 * grown["ring_full"]
    assert sum(len(s["payload"]) for s in seen.segments) == grown["bytes"] - grown["ring_full_bytes"]


def test_syn_carries_flags_and_multipath_is_marked(bench: Bench) -> None:
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    plain = bench.run(ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, flags=SYN, options=b"\x02\x04\x05\xb4"))))
    assert [s["flags"] for s in plain.segments] == [SYN]
    option = b"\x02\x04\x05\xb4\x01\x01" + b"\x1e\x0c\x01\x81" + bytes(8)
    multipath = bench.run(ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, flags=SYN, options=option))))
    assert [(s["flags"], s["marks"]) for s in multipath.segments] == [(SYN, abi.MARK_MPTCP)]


def test_the_urgent_byte_is_told(bench: Bench) -> None:
    """Its number as Linux counts: the pointer is one beyond it, and 0 is taken for 1."""
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    for payload, flags, pointer, told in (
        (b"ab!", URG | ACK, 3, [1002]),
        (b"ab!", URG | ACK, 0, [1000]),
        (b"ab!", URG | ACK, 65535, [66534]),
        (b"ab!", ACK, 3, []),
    ):
        segment = tcp(fresh(), 80, payload, flags=flags, urgent=pointer)
        seen = bench.run(ethernet(ipv4("10.0.0.1", "10.0.0.2", segment)))
        assert b"".join(s["payload"] for s in seen.segments) == payload
        assert seen.urgents == told


def test_fin_with_data_keeps_its_flag(bench: Bench) -> None:
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    seen = bench.run(ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, b"bye", flags=FIN | ACK | PSH))))
    assert [(s["payload"], s["flags"] & FIN) for s in seen.segments] == [(b"bye", FIN)]


def test_ports_on_both_sides_take_the_syns_word(bench: Bench) -> None:
    bench.rules(Rule(0, [(7000, 7010)], interface="lo"))
    seen = bench.run(
        ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(7001, 7002, flags=SYN))),
        ethernet(ipv4("10.0.0.2", "10.0.0.1", tcp(7002, 7001, flags=SYN | ACK))),
        ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(7001, 7002, b"ask"))),
        ethernet(ipv4("10.0.0.2", "10.0.0.1", tcp(7002, 7001, b"answer"))),
    )
    assert [(s["client"], s["direction"]) for s in seen.segments] == [("10.0.0.1:7001", d) for d in (0, 1, 0, 1)]


def test_an_interface_is_found_whatever_shares_its_place(bench: Bench) -> None:
    """Interfaces whose numbers end alike share a place in the quick table; the whole one has both."""
    rule = Rule(0, [(80, 80)], interface="lo")
    bench.rules(rule)
    frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, b"x")))
    other = TEST_RUN_IFINDEX + abi.MAX_INTERFACES
    for present, interfaces in (
        (set(), {TEST_RUN_IFINDEX: (1, True), other: (2, True)}),
        ({TEST_RUN_IFINDEX, other}, {other: (2, True), TEST_RUN_IFINDEX: (1, True)}),
        ({TEST_RUN_IFINDEX, other}, {TEST_RUN_IFINDEX: (1, True)}),
    ):
        bench.programs.set_interfaces(interfaces, present)
        assert len(bench.run(frame).segments) == 1, interfaces
    bench.programs.set_interfaces({other: (1, True)}, {TEST_RUN_IFINDEX})
    assert bench.run(frame).segments == []
    bench.programs.set_interfaces({}, {other})


def test_a_tunnel_has_no_ethernet_header(bench: Bench) -> None:
    """Nor may its packets be looked at as if they had, alone or beside an interface that has one."""
    bench.rules(Rule(0, [(80, 80)], interface="lo"))
    for interfaces in ({TEST_RUN_IFINDEX: (1, False)}, {TEST_RUN_IFINDEX: (1, False), 7: (1, True)}):
        bench.programs.set_interfaces(interfaces, {TEST_RUN_IFINDEX})
        for packet, source in ((ipv4, "10.0.0.1"), (ipv6, "2001:db8::1")):
            port = fresh()
            seen = bench.run(packet(source, source[:-1] + "2", tcp(port, 80, b"through the tunnel")))
            assert [s["payload"] for s in seen.segments] == [b"through the tunnel"]
    bench.programs.set_interfaces({TEST_RUN_IFINDEX: (1, True), 7: (1, False)}, {TEST_RUN_IFINDEX, 7})
    frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(fresh(), 80, b"x")))
    assert len(bench.run(frame).segments) == 1
    bench.programs.set_interfaces({TEST_RUN_IFINDEX: (1, True)}, {TEST_RUN_IFINDEX, 7})
