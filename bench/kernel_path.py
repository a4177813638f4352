"""What the capture program costs a packet, by BPF_PROG_TEST_RUN: ``python -m bench.kernel_path [--json]``.

A test run has no socket and starts with an Ethernet header, so the tc program is measured; the socket program shares
everything behind the parser with it. Needs root.
"""

from __future__ import annotations

import json
import sys
import time

from shadowd.capture import bpf
from shadowd.capture.programs import load
from shadowd.capture.ring import RingSink
from shadowd.capture.rules import Rule
from tests.bpf.packets import ACK, ethernet, ipv4, tcp

REPEAT = 100_000
ROUNDS = 7


class _Drop(RingSink):
    """Reads the ring empty."""

    def segment(self, *_: object) -> None:  # type: ignore[override]
        return

    def timing(self, *_: object) -> None:  # type: ignore[override]
        return


def main() -> None:
    programs = load(1 << 26, 0x40000000)
    programs.apply([Rule(0, [(80, 80)], interface="lo")])
    programs.set_interfaces({1: (1, True)}, set())
    programs.keep_alive(time.monotonic_ns() + 600 * 10**9)
    cases = {
        "not TCP": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(1, 80), protocol=17)),
        "no matching port": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(5000, 81, b"x" * 200))),
        "matched, pure ACK": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(5000, 80, flags=ACK))),
        "matched, 200 bytes": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(5000, 80, b"x" * 200))),
        "matched, 1,400 bytes": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(5000, 80, b"x" * 1400))),
    }
    costs = {}
    for name, frame in cases.items():
        copies = "bytes" in name
        best = []
        for _ in range(ROUNDS):
            # a full ring would measure the refusal, so copying runs in batches that fit
            repeat = 15_000 if copies else REPEAT
            best.append(bpf.run_packet(programs.descriptors["tc_ingress"], frame, repeat)[1])
            while programs.ring.drain(_Drop(), 1 << 26):
                pass
        costs[name] = min(best)
    full = programs.counters()["ring_full"]
    programs.close()
    if "--json" in sys.argv:
        print(json.dumps({"ns_per_packet": costs, "ring_full": full}))
        return
    for name, cost in costs.items():
        print(f"{name:24} {cost:5} ns")
    if full:
        print(f"warning: the ring was full {full} times: copying is measured too cheap")


if __name__ == "__main__":
    main()
