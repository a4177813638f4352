"""Compiled tables against an obviously correct oracle: ask every rule, one after the other."""

from __future__ import annotations

import ipaddress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shadowd.capture.abi import PORT_FILTERS, PREFIX_KEY, pack_address
from shadowd.capture.rules import Rule, compile_rules

FOUR = st.builds(lambda a, n: str(ipaddress.ip_network((a & 0xC0C00003, n), strict=False)),
                 st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 8, 9, 10, 30, 31, 32]))  # fmt: skip
SIX = st.builds(lambda a, n: str(ipaddress.ip_network((a, n), strict=False)),
                st.sampled_from([0, 1 << 127, 3 << 126, 0xFFFF << 32, (0xFFFF << 32) + (3 << 30)]),
                st.sampled_from([0, 1, 2, 64, 80, 95, 96, 97, 98, 128]))  # fmt: skip
NETWORKS = st.lists(FOUR | SIX, max_size=3)
ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda a: str(ipaddress.IPv4Address(a & 0xC0C00003))),
    st.sampled_from([0, 1, 1 << 127, (1 << 127) + 1, 3 << 126]).map(lambda a: str(ipaddress.IPv6Address(a))),
)
# no ports at all means 65,536 entries, which the examples below have; drawing it again and again takes a minute
PORTS = st.lists(
    st.tuples(st.integers(1, 20), st.integers(0, 5)).map(lambda p: (p[0], p[0] + p[1])), min_size=1, max_size=2
)


def as_six(network: str) -> ipaddress.IPv6Network:
    """The network in the one address space the kernel program uses."""
    net = ipaddress.ip_network(network)
    if isinstance(net, ipaddress.IPv6Network):
        return net
    return ipaddress.IPv6Network((int.from_bytes(pack_address(str(net.network_address))), net.prefixlen + 96))


def longest_match(table: dict[bytes, bytes], address: str) -> int:
    """What an LPM trie answers."""
    wanted = int.from_bytes(pack_address(address))
    best, value = -1, 0
    for key, entry in table.items():
        length, prefix = PREFIX_KEY.unpack(key)
        shift = 128 - length
        if int.from_bytes(prefix) >> shift == wanted >> shift and length > best:
            best, value = length, int.from_bytes(entry, "little")
    return value


@settings(max_examples=300, deadline=None)
@example(  # an IPv6 prefix inside the mapped IPv4 space, below an IPv4 one
    [([], [], ["0.0.0.0/0"], False), ([], [], ["::ffff:0:0/97"], False)], "0.0.0.0", "0.0.0.0", 1
)
@example([([], ["10.0.0.0/8"], [], True), ([(3, 4)], [], [], False), ([], [], [], False)], "10.1.1.1", "::1", 4)
@given(
    st.lists(st.tuples(PORTS, NETWORKS, NETWORKS, st.booleans()), min_size=1, max_size=5),
    ADDRESSES,
    ADDRESSES,
    st.integers(1, 26),
)
def test_tables_say_what_the_rules_say(
    shapes: list[tuple[list[tuple[int, int]], list[str], list[str], bool]], client: str, server: str, port: int
) -> None:
    rules = [
        Rule(bit, ports, clients, servers, outbound=out) for bit, (ports, clients, servers, out) in enumerate(shapes)
    ]
    tables = compile_rules(rules)
    inbound, outbound = PORT_FILTERS.unpack(tables.ports.get(port.to_bytes(4, "little"), bytes(16)))
    matched = (
        (inbound | outbound)
        & longest_match(tables.client_prefixes, client)
        & longest_match(tables.server_prefixes, server)
    )

    def inside(address: str, networks: tuple[str, ...]) -> bool:
        ip = ipaddress.IPv6Address(pack_address(address))
        return not networks or any(ip in as_six(network) for network in networks)

    expected = sum(
        rule.mask
        for rule in rules
        if (not rule.ports or any(low <= port <= high for low, high in rule.ports))
        and inside(client, rule.clients)
        and inside(server, rule.servers)
    )
    assert matched == expected
    assert inbound & outbound == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(PORTS, st.booleans(), st.booleans()), min_size=1, max_size=5))
@example([([], False, False), ([(7, 9)], True, False)])
@example([([(65535, 65535)], False, False), ([(1, 1)], False, True)])
def test_port_bits_are_the_ports_that_have_filters(
    shapes: list[tuple[list[tuple[int, int]], bool, bool]],
) -> None:
    """One bit too few would lose a port's traffic, one too many is time in production's path."""
    rules = [
        Rule(bit, ports, outbound=out, interface="eth0" if tc else None) for bit, (ports, out, tc) in enumerate(shapes)
    ]
    found = compile_rules(rules).port_bits
    expected = [0, 0, 0]
    for rule in rules:
        part = 2 if rule.interface else int(rule.outbound)
        for low, high in rule.ports or ((1, 65535),):
            for port in range(low, high + 1):
                expected[part] |= 1 << port
    assert found == expected


def test_a_plain_filter_selects_sockets_by_port_alone() -> None:
    every_port: list[tuple[int, int]] = []
    rules = [
        Rule(0, [(1, 9)]),
        Rule(1, every_port, outbound=True),
        Rule(2, [(1, 9)], clients=["10.0.0.0/8"]),
        Rule(3, [(1, 9)], servers=["10.0.0.0/8"]),
        Rule(4, [(1, 9)], cgroups=[]),
        Rule(5, [(1, 9)], sample=0.99),
        Rule(6, [(1, 9)], interface="eth0"),
    ]
    assert compile_rules(rules).plain == 0b11


def test_cgroups_and_sampling() -> None:
    tables = compile_rules(
        [Rule(0, [(1, 1)], cgroups=[7, 8]), Rule(3, [(1, 1)], cgroups=[8], sample=0.5), Rule(4, [(1, 1)])]
    )
    assert tables.cgroup_bound == 0b1001
    assert tables.cgroups == {
        (7).to_bytes(8, "little"): (1).to_bytes(8, "little"),
        (8).to_bytes(8, "little"): (9).to_bytes(8, "little"),
    }
    assert tables.sampled == 0b1000
    assert int.from_bytes(tables.sampling[24:32], "little") == 1 << 31
    assert int.from_bytes(tables.sampling[0:8], "little") == 1 << 32
