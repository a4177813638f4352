"""The arms that are compared: how production's traffic reaches the shadow in each, and what that costs.

An arm is opened before one run of the client and closed after it; the run's figures come from outside the thing
measured: requests counted by the shadow's nginx, CPU and memory from /proc.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from bench.servers import Envoy, Nginx
from shadowd.demo.children import Child
from shadowd.errors import ShadowdError

TICKS = os.sysconf("SC_CLK_TCK")
DRAIN = 10.0  # seconds in which requests in flight must come to their end after the client stopped


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its living descendants and those it has waited for."""
    total = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime (proc(5))
    return total / TICKS


def anonymous_mb(pid: int) -> float:
    """RssAnon of the largest process of the family: the budget is for each worker."""
    largest = 0
    for member in family(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        largest = max(largest, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")))
    return largest / 1024


#: Load, servers and daemon share the host: what it can do is measured, not what the guard would let it.
UNGUARDED = ("--cpu-guard", "off", "--cpu-max", "10000%")


class Arm(Protocol):
    """One way of mirroring. ``port`` is where the client goes; ``pids`` do the mirroring; ``direct`` says that the
    shadow gets its load from a second client."""

    name: str
    port: int
    pids: list[int]
    direct: bool

    def open(self, writes: bool) -> None:
        """Get ready for a run, with POSTs mirrored too if ``writes``."""

    def close(self) -> dict[str, Any]:
        """End the run; figures of the arm's own."""


class Plain:
    """Production alone; a second client gives the shadow the same load."""

    name = "without"
    direct = True

    def __init__(self, production: Nginx) -> None:
        self.port = production.port
        self.pids: list[int] = []

    def open(self, writes: bool) -> None:
        """Nothing to do."""

    def close(self) -> dict[str, Any]:
        return {}


class Shadowd:
    """The daemon, started once; each run has a filter of its own. Without ``compare`` it only mirrors; ``guarded`` it
    sheds for production's sake, as it does by default."""

    direct = False

    def __init__(
        self,
        production: Nginx,
        shadow: Nginx,
        directory: Path,
        children: list[Child],
        compare: bool = True,
        guarded: bool = False,
        workers: int = 1,
    ) -> None:
        from shadowd.control.client import Client

        self.name = "guarded" if guarded else "shadowd" if compare else "mirror only"
        self.name = f"{workers} workers" if workers > 1 else self.name
        self._options = [] if compare else ["--no-compare"]
        directory = directory / self.name.replace(" ", "-")
        directory.mkdir()
        self._client = Client
        self.port = production.port
        self._shadow = shadow.port
        self._socket = directory / "control.sock"
        state = directory / "state"
        options = ["--socket", str(self._socket), "--state-dir", str(state), "--http", "", "--workers", str(workers)]
        self.child = Child.python(
            "shadowd", "shadowd.cli.shadowd", ["run", *options, *([] if guarded else UNGUARDED)], directory
        )
        children.append(self.child)  # to be ended even if it does not get ready
        self.pids = [self.child.pid]
        deadline = time.monotonic() + 20
        while True:
            self.child.must_run()
            try:
                self._call("status")
                return
            except ShadowdError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _call(self, operation: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._client(str(self._socket)).call(operation)
        return answer

    def _shadowctl(self, *words: str) -> None:
        command = [sys.executable, "-m", "shadowd.cli.shadowctl", *words, "--socket", str(self._socket)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise ShadowdError(f"shadowctl {' '.join(words)} failed: {done.stderr.strip()}", f"see {self.child.log}")

    def open(self, writes: bool) -> None:
        to = f"http://127.0.0.1:{self._shadow}"
        methods = ["--methods", "any"] if writes else []
        self._shadowctl("filter", "add", "bench", "--port", str(self.port), "--to", to, *methods, *self._options)

    def close(self) -> dict[str, Any]:
        """The ledger of the run, once nothing is in flight."""
        deadline = time.monotonic() + DRAIN
        while True:
            ledger = self._call("ledger")
            view = next(entry for entry in ledger["filters"] if entry["name"] == "bench")
            if not view["in_flight"] or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self._shadowctl("filter", "rm", "bench")
        twins = sum(sum(target.get("twins", {}).values()) for target in view["targets"])
        return {"ledger": view, "kernel": ledger["kernel"], "twins": twins}


class NginxMirror:
    """Production nginx with ``mirror``: the copies are made in the request path."""

    name = "nginx mirror"
    direct = False

    def __init__(self, server: Nginx) -> None:
        self.port = server.port
        self.pids = [server.child.pid]

    def open(self, writes: bool) -> None:
        """It mirrors all methods anyway."""

    def close(self) -> dict[str, Any]:
        return {}


class EnvoyMirror:
    """Envoy before production."""

    name = "envoy"
    direct = False

    def __init__(self, server: Envoy) -> None:
        self.port = server.port
        self.pids = [server.child.pid]

    def open(self, writes: bool) -> None:
        """It mirrors all methods anyway."""

    def close(self) -> dict[str, Any]:
        return {}
