"""The host's load and our own share of it, read from /proc (by psutil): a few files, some 50 µs a reading."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from shadowd.capture.pressure import Reading

_FULL = re.compile(r"^full avg10=([0-9.]+)", re.MULTILINE)


class HostLoad:
    """Gives the load since the reading before. All CPUs of the host count, whatever cpuset or quota we run in."""

    __slots__ = ("_cores", "_cpu", "_others", "_own", "_pressure", "_when")

    def __init__(
        self, pressure: Path = Path("/proc/pressure/memory"), others: Callable[[], float] = lambda: 0.0
    ) -> None:
        """``others``: CPU seconds of our other processes so far."""
        self._others = others
        self._pressure = pressure
        self._cores = psutil.cpu_count() or os.cpu_count() or 1
        self._cpu = psutil.cpu_times()
        self._own = time.process_time() + others()
        self._when = time.monotonic()

    def read(self) -> Reading:
        now, own, cpu = time.monotonic(), time.process_time() + self._others(), psutil.cpu_times()
        elapsed = max(now - self._when, 1e-3)
        idle = cpu.idle + cpu.iowait - self._cpu.idle - self._cpu.iowait
        # guest time is in user time already (proc_stat(5)); steal was used by others of the same machine
        total = sum(cpu[:8]) - sum(self._cpu[:8])
        host = min(1.0, max(0.0, 1 - idle / total)) if total > 0 else 0.0
        memory = psutil.virtual_memory()
        mine = max(0.0, own - self._own) / elapsed
        available = memory.available / max(memory.total, 1)
        reading = Reading(host, mine, self._cores, available, self._stalled())
        self._cpu, self._own, self._when = cpu, own, now
        return reading

    def _stalled(self) -> float:
        """PSI (Linux 4.20, where it is switched on): the share of 10 s in which every task waited for memory."""
        try:
            found = _FULL.search(self._pressure.read_text())
        except OSError:
            return 0.0
        return float(found[1]) / 100 if found else 0.0


def cpu_seconds(pid: int) -> float:
    """That a process has used so far, 0.0 if it is gone."""
    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(used.user + used.system)
