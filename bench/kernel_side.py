"""One set of capture programs under measurement: a child of ``kernel_path.py``, which runs two of them side by side.

    python kernel_side.py TREE        TREE: where ``shadowd`` and ``bpf/`` are, of whatever age

It loads what TREE holds, as bytecode, and obeys lines of JSON: ``{"port": n}`` makes a filter on each hook,
``{"run": {case: frame in hex}}`` gives the mean ns of each by BPF_PROG_TEST_RUN, ``{"attach": cgroup}`` puts the socket
programs there, ``{"detach": true}`` takes them away, and ``{"stats": true}`` gives what the kernel counted of them.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, sys.argv[1])

from shadowd.capture import bpf
from shadowd.capture.preflight import find_bcc_python
from shadowd.capture.programs import Programs, load
from shadowd.capture.ring import RingSink
from shadowd.capture.rules import Rule

RING_BYTES = 16 << 20  # the default
REPEAT = 7000  # so often does a packet of 1,400 bytes fit into it: a full one would measure the refusal
SOCKET_PROGRAMS = ("socket_ingress", "socket_egress")


class _Drop(RingSink):
    """Reads the ring empty."""

    def segment(self, *_: object) -> None:  # type: ignore[override]
        return

    def timing(self, *_: object) -> None:  # type: ignore[override]
        return


def _empty(programs: Programs) -> None:
    while programs.ring.drain(_Drop(), RING_BYTES):
        pass


def _facts(programs: Programs) -> dict[str, dict[str, int]]:
    """What /proc says of the programs: instructions verified (5.16), nanoseconds and runs where they are counted."""
    facts = {}
    for name, descriptor in programs.descriptors.items():
        if name.startswith(("socket_", "tc_")):
            with open(f"/proc/self/fdinfo/{descriptor}") as file:
                told = dict(re.findall(r"(\w+):\s*(\d+)", file.read()))
            facts[name] = {key: int(told.get(key, 0)) for key in ("verified_insns", "run_time_ns", "run_cnt")}
    return facts


def _load(tree: str) -> tuple[Programs, float, float]:
    """The programs as a machine without bcc loads them, the seconds that it took, and the child's CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        made = os.path.join(folder, "bpf")
        shutil.copytree(os.path.join(tree, "bpf"), made, ignore=shutil.ignore_patterns("*.bytecode", "__pycache__"))
        built = [find_bcc_python(), os.path.join(tree, "bpf/build_bytecode.py"), f"{made}/shadowd.bytecode"]
        subprocess.run(built, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.environ.update(SHADOWD_BPF_DIR=made, SHADOWD_LOADER="prebuilt")
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        programs = load(RING_BYTES, 0x40000000)
        seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        return programs, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    programs, seconds, cpu = _load(sys.argv[1])
    told: dict[str, object] = {"load_seconds": seconds, "load_cpu": cpu, "programs": _facts(programs)}
    links: list[int] = []
    while True:
        print(json.dumps(told), flush=True)
        line = sys.stdin.readline()
        if not line:
            break
        asked = json.loads(line)
        told = {}
        if "port" in asked:  # one filter on each hook
            port = asked["port"]
            programs.apply([Rule(0, [(port, port)], interface="lo"), Rule(1, [(port, port)])])
            programs.set_interfaces({1: (1, True)}, set())
            programs.keep_alive(time.monotonic_ns() + 3600 * 10**9)
        if "run" in asked:
            for name, frame in asked["run"].items():
                told[name] = bpf.run_packet(programs.descriptors["tc_ingress"], bytes.fromhex(frame), REPEAT)[1]
                _empty(programs)
        if "attach" in asked:
            cgroup = os.open(asked["attach"], os.O_RDONLY | os.O_DIRECTORY)
            for name in SOCKET_PROGRAMS:
                links.append(bpf.link_cgroup(programs.descriptors[name], cgroup, name.endswith("egress")))
            os.close(cgroup)
        if "detach" in asked:
            for link in links:
                os.close(link)
            links = []
            _empty(programs)
        if "stats" in asked:
            told = {name: facts for name, facts in _facts(programs).items() if name in SOCKET_PROGRAMS}
        told["ring_full"] = programs.counters()["ring_full"]
    programs.close()


if __name__ == "__main__":
    main()
