"""``make soak`` (``SOAK=1h``): the daemon under a mixed load for as long as it is given, with hostile shares, filters
that come and go, a shadow that is restarted and a store whose disk is full in turn.

At the end it must stand as it stood after the warm-up (a sixth of the time, ten minutes at most): its own memory
(RssAnon, as the kernel counts it) and its descriptors level, the ledger balanced, and production without an error.
Memory is level if the slope of its readings, by Theil and Sen, comes to less than ``GROWTH`` over the time that was
looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import os
import platform
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from shadowd.errors import ShadowdError
from tests.faults.test_hostile_answers import ENDLESS, asks, benign, hostile, own_memory, whole_answers
from tests.faults.test_shadow import listener
from tests.faults.traffic import Traffic, echo
from tests.fuzz.run import seconds
from tests.netns.lab import Daemon, HttpClient, Server, check_ledger, sh

EVERY = 5.0  # seconds between two readings
GROWTH = 8 << 20  # bytes: what evidence of new endpoints and examples may take
MORE_FILES = 64


class Hostile:
    """Clients whose requests the hostile shadow answers."""

    def __init__(self, port: int) -> None:
        self.errors: list[str] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        for kind in itertools.cycle((*whole_answers(), *ENDLESS)):
            if self._over.wait(0.2):
                return
            try:
                client = HttpClient("127.0.0.1", self._port)
                client.get(f"/x/{kind}")
                client.send(asks(f"/v1/chat/completions/{kind}"))
                client.receive()
                client.close()
            except (OSError, AssertionError) as error:
                self.errors.append(f"{kind}: {error!r}")

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)


class Trouble:
    """What goes wrong by turns, ten seconds each: filters come and go, the shadow is away, the store's disk is full."""

    def __init__(self, daemon: Daemon, production: int, shadow_port: int) -> None:
        self._daemon = daemon
        self._port = production
        self._shadow_port = shadow_port
        self.shadow: Server | None = Server(port=shadow_port, answer=echo)
        self.turns = 0
        self._ballast = daemon.folder / "state" / "ballast"

    def turn(self) -> None:
        self.turns += 1
        match self.turns % 4:
            case 0:
                for number in range(8):
                    self._daemon.add(f"passing-{number}", self._port, f"http://127.0.0.1:{self._shadow_port}")
            case 1:
                for number in range(8):
                    with contextlib.suppress(ShadowdError):
                        self._daemon.call("filter.rm", name=f"passing-{number}")
            case 2 if self.shadow is not None:
                self.shadow.close()
                self.shadow = None
                with contextlib.suppress(OSError), self._ballast.open("wb") as file:
                    while True:
                        file.write(bytes(1 << 20))
            case 3:
                self._ballast.unlink(missing_ok=True)
                for _ in range(20):
                    if self.shadow is None:
                        try:
                            self.shadow = Server(port=self._shadow_port, answer=echo)
                        except OSError:  # a connection of the one before still has the port
                            time.sleep(0.5)


class Reading:
    """At one moment."""

    def __init__(self, daemon: Daemon, began: float) -> None:
        self.time = time.monotonic() - began
        self.memory = own_memory(daemon)
        self.files = len(os.listdir(f"/proc/{daemon.pid}/fd"))


def fixed_port() -> int:
    """One that no connection of anybody takes while the shadow is away: below the ephemeral ones."""
    for port in range(21_000, 32_000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise SystemExit("no port is free")


def slope(readings: list[Reading]) -> float:
    """Bytes a second: the median of the slopes between readings (P. Sen, 1968), at most some 20,000 of them."""
    chosen = readings[:: max(1, len(readings) // 200)]
    found = [(b.memory - a.memory) / (b.time - a.time) for a, b in itertools.combinations(chosen, 2) if b.time > a.time]
    return statistics.median(found) if found else 0.0


def soak(limit: int) -> list[str]:
    """What was found wrong."""
    wrong: list[str] = []
    readings: list[Reading] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state = folder / "d" / "state"
        state.mkdir(parents=True, mode=0o700)
        sh("mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(state))
        stack.callback(sh, "umount", "-l", str(state))
        daemon = Daemon(folder / "d", 'memory_max = "128MB"\ndead_man_seconds = "30s"\n').start()
        stack.callback(daemon.stop)
        production, target = Server(answer=echo), Server(answer=benign)
        bad = stack.enter_context(listener(hostile))
        trouble = Trouble(daemon, production.port, fixed_port())
        daemon.add("shop", production.port, f"http://127.0.0.1:{trouble._shadow_port}", twin=0.05)
        daemon.add("hostile", target.port, bad.url, methods="any", twin=0.2, timeout=2.0)
        traffic = Traffic(production.port, connections=6, pause=0.005).start()
        enemy = Hostile(target.port)
        began, due = time.monotonic(), 10.0
        while (now := time.monotonic() - began) < limit:
            time.sleep(EVERY)
            readings.append(Reading(daemon, began))
            if now >= due:
                due += 10.0
                trouble.turn()
            if len(readings) % 12 == 0:
                last = readings[-1]
                print(
                    f"{now:6.0f} s  {last.memory >> 20} MB  {last.files} files  {traffic.answered:,} answers",
                    flush=True,
                )
        enemy.stop()
        traffic.stop()
        wrong += traffic.errors[:5] + enemy.errors[:5]
        for name in ("shop", "hostile"):
            try:
                check_ledger(daemon.settled(name, limit=60))
            except AssertionError as error:
                wrong.append(f"{name}: {str(error)[:300]}")
        failed = daemon.call("status")["examining"]["comparison_failed"]
        wrong += [f"comparing failed: {failed}"] if failed else []
    warm = [one for one in readings if one.time > min(600.0, limit / 6)]
    grown = slope(warm) * (warm[-1].time - warm[0].time)
    most = max(one.memory for one in warm)
    if grown > GROWTH:
        wrong.append(f"memory grew by {grown / (1 << 20):.1f} MB from {warm[0].memory >> 20} MB")
    quarter = max(1, len(warm) // 4)  # hostile connections come by the hundred and go: what stays is a leak
    files = [min(one.files for one in part) for part in (warm[:quarter], warm[-quarter:])]
    if files[1] > files[0] + MORE_FILES:
        wrong.append(f"descriptors rose from {files[0]} to {files[1]}")
    where = f"{platform.machine()}, {os.cpu_count()} processors, {datetime.datetime.now(datetime.UTC).date()}"
    print(
        f"| soak | {limit} s | {traffic.answered:,} answers, {len(traffic.errors) + len(enemy.errors)} errors | "
        f"RssAnon {warm[0].memory >> 20}…{most >> 20} MB, {grown / (1 << 20):+.1f} MB | "
        f"{warm[0].files}…{max(one.files for one in warm)} descriptors | {trouble.turns} troubles | {where} |"
    )
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Soak the daemon.", epilog="example: python -m tests.soak.run 10m")
    parser.add_argument("limit", nargs="?", type=seconds, default=3600, help="10m, 1h, 24h")
    options = parser.parse_args()
    if os.geteuid():
        parser.error("run as root: it captures")
    if options.limit < 60:
        parser.error("give a minute at least")
    wrong = soak(options.limit)
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
