"""What the capture program costs a packet, today's beside an older one: ``python -m bench.kernel_path [--json]``.

``--before REV`` names the older one (a commit of this repository; ``none`` leaves it out). Both are loaded by children
of their own (``kernel_side.py``) and see the same packets in turns of one run, for the machine's speed changes from
minute to minute. Needs root.

* tc: BPF_PROG_TEST_RUN of ready-made frames, the least of the rounds. What an empty program costs stands beside it as
  "empty".
* socket: a test run has no real socket, so both are attached to a cgroup in which an echo server runs, and a client
  talks to it, 200 bytes each way; the kernel counts the programs' runs and nanoseconds (BPF_ENABLE_STATS). An empty
  program is attached beside them, and its time, which is that of counting, is taken off: figures near 0 are noise. The
  median of the rounds, for one that disturbs a round may as well disturb what is taken off.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from shadowd.capture import bpf
from shadowd.capture.preflight import find_cgroup2, unlimit_memlock
from tests.bpf.packets import ACK, ethernet, ipv4, ipv6, tcp

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "ee43071079cbafbb50ec18c38eb427a9a46087e6"  # parsed each packet whole before it asked for the port
ROUNDS = 9
EXCHANGES = 3000  # of a round on the socket hook
PORT = 80
WAYS = ("ingress", "egress")

FRAMES = {
    "not TCP": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(1, PORT), protocol=17)),
    "no matching port": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(5000, 81, b"x" * 200))),
    "no matching port, IPv6": ethernet(ipv6("2001:db8::1", "2001:db8::2", tcp(5000, 81, b"x" * 200))),
    "matched, pure ACK": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(5000, PORT, flags=ACK))),
    "matched, 200 bytes": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(5000, PORT, b"x" * 200))),
    "matched, 1,400 bytes": ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(5000, PORT, b"x" * 1400))),
}

#: The echo server: enters the cgroup named first, tells its port, serves one connection after another.
SERVER = """
import os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    connection, _ = listening.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(1000):
        connection.sendall(data)
    connection.close()
"""


class Side:
    """A set of programs in a child."""

    def __init__(self, tree: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, str(ROOT / "bench/kernel_side.py"), str(tree)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tree,
        )  # fmt: skip
        self.loaded = self._told()

    def _told(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit("a set of programs could not be loaded; its words stand above")
        return dict(json.loads(line))

    def ask(self, **what: object) -> dict[str, Any]:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(what) + "\n")
        self._child.stdin.flush()
        return self._told()

    def close(self) -> None:
        self._child.communicate()


def _program(kind: int, returned: int) -> int:
    """A program that does nothing: its descriptor."""
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, returned, 0x95, 0, 0, 0), 16)
    text = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack(
        "=IIQQIIQII16sII", kind, 2, ctypes.addressof(code), ctypes.addressof(text), 0, 0, 0, 0, 0, b"", 0, 0
    )
    return bpf.bpf(5, attr)[0]  # BPF_PROG_LOAD


def _measure_tc(sides: dict[str, Side]) -> dict[str, dict[str, int]]:
    costs: dict[str, dict[str, int]] = {}
    empty = _program(3, -1)
    frames = {name: frame.hex() for name, frame in FRAMES.items()}
    for side in sides.values():
        side.ask(port=PORT)
    for _ in range(ROUNDS):
        for name, side in sides.items():
            told = side.ask(run=frames)
            for case in frames:
                of_case = costs.setdefault(case, {})
                of_case[name] = min(told[case], of_case.get(name, told[case]))
        took = bpf.run_packet(empty, FRAMES["matched, 200 bytes"], 7000)[1]
        of_empty = costs.setdefault("empty", {})
        of_empty.update(dict.fromkeys(sides, min(took, of_empty.get("now", took))))
    os.close(empty)
    return costs


@contextlib.contextmanager
def _cgroup() -> Iterator[str]:
    root = find_cgroup2()
    if root is None:
        raise SystemExit("no cgroup v2 root is mounted: the socket hook cannot be measured")
    folder = os.path.join(root, f"shadowd-bench-{os.getpid()}")
    os.mkdir(folder)
    try:
        yield folder
    finally:
        os.rmdir(folder)


def _talk(port: int) -> None:
    """One segment of 200 bytes each way at a time: more would grow together to larger ones."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(EXCHANGES):
            client.sendall(b"x" * 200)
            client.recv(1000)


def _counted(descriptor: int) -> tuple[int, int]:
    with open(f"/proc/self/fdinfo/{descriptor}") as file:
        told = dict(line.split(":\t") for line in file.read().splitlines() if ":\t" in line)
    return int(told["run_time_ns"]), int(told["run_cnt"])


def _measure_socket(sides: dict[str, Side]) -> dict[str, dict[str, float]]:
    rounds: dict[str, dict[str, list[float]]] = {}
    counting = bpf.bpf(32, struct.pack("=I", 0), 4)[0]  # BPF_ENABLE_STATS (5.8), until it is closed
    with _cgroup() as cgroup:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, cgroup], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            for number in range(ROUNDS):
                for case, wanted in (("no matching port", port % 60000 + 1), ("matched, 200 bytes", port)):
                    for way, spent in _socket_round(sides, cgroup, port, wanted, number % 2 == 1).items():
                        for name, cost in spent.items():
                            rounds.setdefault(f"{case}, {way}", {}).setdefault(name, []).append(cost)
        finally:
            server.kill()
            server.wait()
    os.close(counting)
    return {case: {name: median(all_costs) for name, all_costs in told.items()} for case, told in rounds.items()}


def _socket_round(
    sides: dict[str, Side], cgroup: str, port: int, wanted: int, turned: bool
) -> dict[str, dict[str, float]]:
    """ns a run of each side's programs, by direction, of one conversation through all of them.

    Who stands first pays for what the cache does not hold yet, so every other round is ``turned``.
    """
    folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    empty = {way: _program(8, 1) for way in WAYS}
    links = [bpf.link_cgroup(program, folder, way == "egress") for way, program in empty.items()]
    order, before = list(sides.items())[:: -1 if turned else 1], {}
    for name, side in order:
        side.ask(port=wanted, attach=cgroup)
        before[name] = side.ask(stats=True)
    _talk(port)
    costs: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    for name, side in order:
        after = side.ask(stats=True)
        for way, program in empty.items():
            last, first = after[f"socket_{way}"], before[name][f"socket_{way}"]
            spent, runs = _counted(program)
            costs[way][name] = (last["run_time_ns"] - first["run_time_ns"]) / (last["run_cnt"] - first["run_cnt"])
            costs[way][name] -= spent / runs
        side.ask(detach=True)
    for descriptor in (*links, *empty.values(), folder):
        os.close(descriptor)
    return costs


@contextlib.contextmanager
def _older(revision: str) -> Iterator[Path | None]:
    """The tree of a commit, without its history; None where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            ["git", "-C", str(ROOT), "archive", revision, "bpf", "shadowd"], capture_output=True, check=False
        )
        if revision != "none" and made.returncode == 0:
            subprocess.run(["tar", "-x", "-C", folder], input=made.stdout, check=True)
            yield Path(folder)
        else:
            yield None


def main() -> None:
    parser = argparse.ArgumentParser(description="What the capture program costs a packet.")
    parser.add_argument("--before", default=BEFORE, metavar="REV", help="the older program's commit, or none")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unlimit_memlock()
    with _older(options.before) as tree:
        sides = {"before": Side(tree)} if tree else {}
        sides["now"] = Side(ROOT)
        hooks: dict[str, Any] = {"tc": _measure_tc(sides), "socket": _measure_socket(sides)}
        loaded = {name: side.loaded for name, side in sides.items()}
        full = sum(side.ask()["ring_full"] for side in sides.values())
        for side in sides.values():
            side.close()
    if options.json:
        print(json.dumps({"ns_per_packet": hooks, "loaded": loaded, "ring_full": full}))
        return
    if not tree:
        print(f"the program of {options.before} is not in this clone: nothing to compare with\n")
    for hook, costs in hooks.items():
        for case, cost in costs.items():
            words = "".join(f"{name} {value:5.0f} ns   " for name, value in cost.items())
            ratio = f"{cost['now'] / cost['before']:.2f}" if "before" in cost else ""
            print(f"{hook:7} {case:36} {words}{ratio}")
    for name, told in loaded.items():
        print(f"{name}: loaded prebuilt in {told['load_seconds']:.2f} s ({told['load_cpu']:.2f} s of CPU)")
        for program, facts in told["programs"].items():
            print(f"    {program:16} {facts['verified_insns']:9,} instructions verified")
    if full:
        print(f"warning: a ring was full {full} times: copying is measured too cheap")


if __name__ == "__main__":
    main()
