"""Production's throughput in a closed loop, with and without mirroring: ``python -m bench.closed_loop [--rounds N]``.

Sixteen connections ask nginx for 1 KB as fast as it answers. Production and the client have the first core, the daemon
and the shadow the others: as on a host with cores to spare, what mirroring costs production is what the kernel's
part takes from its core. ``without`` the filter is paused, so that one daemon serves both arms, which take turns.
Needs root and two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from bench.arms import Shadowd, family
from bench.run import SMALL, Bench, Scenario

REQUESTS = 60_000
LOAD = Scenario("closed loop", 1_000_000, SMALL, requests=REQUESTS)


def pin(pid: int, cores: set[int]) -> None:
    for member in family(pid):
        for task in os.listdir(f"/proc/{member}/task"):
            os.sched_setaffinity(int(task), cores)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.closed_loop", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arm", choices=("mirror", "shadowd"), default="mirror", help="shadowd compares, too")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench: needs two cores")
    with tempfile.TemporaryDirectory(prefix="shadowd-bench-") as place:
        bench = Bench(Path(place), [options.arm])
        try:
            (arm,) = bench.arms
            assert isinstance(arm, Shadowd)
            pin(bench.production.child.pid, {cores[0]})
            pin(bench.shadow.child.pid, set(cores[1:]))
            pin(arm.child.pid, set(cores[1:]))
            os.sched_setaffinity(0, {cores[0]})  # the clients are this process's children
            ratios = []
            for number in range(options.rounds):
                speed = {}
                for mirrored in (False, True):
                    if mirrored:
                        arm.open(False)
                    client = bench._load(arm.port, LOAD, REQUESTS / LOAD.rate)
                    answer = client.communicate(timeout=60)[0]
                    found = json.loads(answer)
                    speed[mirrored] = found["completed"] / found["seconds"]
                    if mirrored:
                        ledger = arm.close()["ledger"]
                ratios.append(speed[True] / speed[False])
                target = ledger["targets"][0]
                print(
                    f"round {number + 1}: {speed[False]:,.0f}/s without, {speed[True]:,.0f}/s with mirroring "
                    f"({ratios[-1]:.2f}); mirrored {target['mirrored'] / REQUESTS:.1%}, "
                    f"shed {sum(target['shed'].values()):,}, lost {sum(ledger['lost'].values()):,}",
                    flush=True,
                )
            print(f"median ratio {statistics.median(ratios):.2f}")
        finally:
            bench.close()


if __name__ == "__main__":
    main()
