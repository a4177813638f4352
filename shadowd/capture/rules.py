"""From filters to the tables the kernel matches against (sans-IO; ``programs.py`` writes them).

Every table entry is a bitmap of filters. A trie lookup returns only its longest match, so each prefix's entry holds
the union of all filters that any covering prefix admits; ``::/0`` holds those that do not restrict that end. Because
a filter's bits are in no table before it becomes active, tables may be written entry by entry: the others never
change meaning on the way.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from shadowd.capture.abi import MAX_FILTERS, MAX_PREFIXES, PORT_FILTERS, PREFIX_KEY, SAMPLING, pack_prefix


class Rule:
    """What one filter selects in the kernel. ``ports`` are inclusive ranges; empty means any port."""

    __slots__ = ("bit", "cgroups", "clients", "interface", "outbound", "ports", "sample", "servers")

    def __init__(
        self,
        bit: int,
        ports: Iterable[tuple[int, int]],
        clients: Iterable[str] = (),
        servers: Iterable[str] = (),
        cgroups: Iterable[int] | None = None,
        sample: float = 1.0,
        outbound: bool = False,
        interface: str | None = None,
    ) -> None:
        self.bit = bit
        self.ports = tuple(ports)
        self.clients = tuple(clients)
        self.servers = tuple(servers)
        self.cgroups = None if cgroups is None else tuple(cgroups)  # ids; None: any, (): none exists now
        self.sample = sample
        self.outbound = outbound
        self.interface = interface  # glob of a tc hook; None: the socket hook

    @property
    def mask(self) -> int:
        return 1 << self.bit


class Tables:
    """Contents of the kernel's maps for a set of rules, as packed keys and values."""

    __slots__ = (
        "cgroup_bound",
        "cgroups",
        "client_prefixes",
        "plain",
        "port_bits",
        "ports",
        "sampled",
        "sampling",
        "server_prefixes",
        "socket_filters",
    )

    def __init__(self) -> None:
        self.plain = 0  # filters of sockets by nothing but ports
        self.port_bits = [0, 0, 0]  # as in struct port_bits; bit n: some filter matches port n
        self.ports: dict[bytes, bytes] = {}
        self.client_prefixes: dict[bytes, bytes] = {}
        self.server_prefixes: dict[bytes, bytes] = {}
        self.cgroups: dict[bytes, bytes] = {}
        self.sampling = SAMPLING.pack(*([1 << 32] * MAX_FILTERS))
        self.sampled = 0
        self.cgroup_bound = 0
        self.socket_filters = 0


def _prefixes(rules: list[Rule], selected: Iterable[tuple[Rule, tuple[str, ...]]]) -> dict[bytes, bytes]:
    """The trie of one end: for every prefix the filters whose own prefixes cover it, or that have none."""
    anywhere = 0
    wanted: dict[tuple[int, int], int] = {}  # (address, length); one space, as in the kernel: IPv4 is ::ffff:0:0/96
    for rule, networks in selected:
        if not networks:
            anywhere |= rule.mask
        for text in networks:
            length, address = PREFIX_KEY.unpack(pack_prefix(text))
            key = (int.from_bytes(address), length)
            wanted[key] = wanted.get(key, 0) | rule.mask
    if rules:
        wanted.setdefault((0, 0), 0)
    table = {}
    around: list[tuple[int, int]] = []  # the networks that hold this one, the innermost last: (end, filters)
    for first, length in sorted(wanted):  # a network comes before those in it
        while around and around[-1][0] <= first:
            around.pop()
        mask = wanted[first, length] | (around[-1][1] if around else anywhere)
        around.append((first + (1 << 128 - length), mask))
        table[PREFIX_KEY.pack(length, first.to_bytes(16))] = mask.to_bytes(8, "little")
    if len(table) > MAX_PREFIXES:
        raise ValueError(f"{len(table)} CIDRs over all filters; the kernel's table holds {MAX_PREFIXES}")
    return table


def compile_prefixes(rules: list[Rule]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """The tries of clients and of servers. Raises ValueError where one would not fit."""
    clients = _prefixes(rules, ((rule, rule.clients) for rule in rules))
    return clients, _prefixes(rules, ((rule, rule.servers) for rule in rules))


def compile_rules(rules: Iterable[Rule]) -> Tables:
    """Tables for ``rules``. Raises ValueError where a kernel limit (bpf/abi.h) would be passed."""
    rules = list(rules)
    tables = Tables()
    below = [1 << 32] * MAX_FILTERS
    turns: dict[int, list[int]] = {}  # port from which on other filters match → the bits that turn, by side
    for rule in rules:
        if rule.interface is None:
            tables.socket_filters |= rule.mask
            if not rule.clients and not rule.servers and rule.cgroups is None and rule.sample >= 1:
                tables.plain |= rule.mask
        if rule.sample < 1:
            tables.sampled |= rule.mask
            below[rule.bit] = round(rule.sample * (1 << 32))
        if rule.cgroups is not None:
            tables.cgroup_bound |= rule.mask
            for cgroup in rule.cgroups:
                key = cgroup.to_bytes(8, "little")
                tables.cgroups[key] = (int.from_bytes(tables.cgroups.get(key, b""), "little") | rule.mask).to_bytes(
                    8, "little"
                )
        side = 1 if rule.outbound and rule.interface is None else 0
        done = 0
        for low, high in sorted(rule.ports or ((1, 65535),)):
            if high > done:
                turns.setdefault(max(low, done + 1), [0, 0])[side] ^= rule.mask
                turns.setdefault(high + 1, [0, 0])[side] ^= rule.mask
                done = high
    inbound = outbound = 0
    for start, end in pairwise(sorted(turns)):
        inbound ^= turns[start][0]
        outbound ^= turns[start][1]
        if inbound or outbound:
            between = (1 << end) - (1 << start)
            of_sockets = tables.socket_filters
            for part, filters in enumerate((inbound & of_sockets, outbound & of_sockets, inbound & ~of_sockets)):
                tables.port_bits[part] |= between if filters else 0
            keys = (port.to_bytes(4, "little") for port in range(start, end))
            tables.ports.update(dict.fromkeys(keys, PORT_FILTERS.pack(inbound, outbound)))
    tables.client_prefixes, tables.server_prefixes = compile_prefixes(rules)
    tables.sampling = SAMPLING.pack(*below)
    return tables
