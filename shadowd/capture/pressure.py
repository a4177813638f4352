"""How much of the traffic to shed so that production's host is not hurt (sans-IO; readings and time are arguments).

One number is controlled: ``shed``, the share of connections that are not mirrored. Each step knows two distances in
cores: from the host's CPU use to ``cpu_guard`` of it, and from the daemon's own use to ``cpu_max``. The smaller is the
``room``. What mirroring one more share of the connections costs is the daemon's own use over the share it mirrors now,
which is above the truth (a part of it does not depend on the share), so steps fall short and the controller comes from
one side: it does not swing. Without room it sheds as much as would make room, half of it a step; with more room than
``SLACK`` it takes connections back, half of what would fit a step; in between it rests. The arithmetic fails where the
host is full: then nobody's use says what was wanted, and a daemon that is behind uses all it gets whatever it sheds. So
there, after ``PATIENCE`` steps, each sheds twice what the one before did.

Memory that runs out has no such arithmetic: each step below ``LOW_MEMORY``, or while the kernel's pressure figures
(Documentation/accounting/psi.rst) say that everything waited for memory, halves what is mirrored.

When nothing is mirrored and there is still no room, reading the traffic is what costs: the controller asks to *hold*,
that is to stop copying in the kernel, for ``HOLD`` at first and twice as long each time, and looks again.
"""

from __future__ import annotations

SMOOTHING = 0.5  # of readings: a burst of one period moves the controller half as much as a lasting load
SLACK = 0.03  # of the host's cores (and of cpu_max) that stay unused, so that a steady load means a steady share
SMALLEST = 0.02  # share that a first step back takes: below it a cost per share cannot be told from noise
LOW_MEMORY = 0.05  # of the host's memory: the kernel begins to reclaim in earnest well before its last percents
STALLED = 0.10  # PSI memory ``full`` over 10 s: a tenth of the time nothing at all could run
FULL = 0.95  # of the host's CPU time: what is left is the tick's and the idle loop's rounding
PATIENCE = 1  # steps: one that helped shows in the next reading
MOST_DOUBLINGS = 6  # 64 times: beyond it a step sheds everything anyway
HOLD_AFTER = 2  # steps with everything shed and no room, before the kernel is told to stop copying
HOLD = 5.0  # seconds, at first
HOLD_LONGEST = 60.0
OWN_MATTERS = 0.05  # cores: stopping something smaller makes no room


class Reading:
    """A quarter of a second of the host. Shares are of 1; cores are CPUs' worth of time."""

    __slots__ = ("available", "cores", "host", "own", "stalled")

    def __init__(self, host: float, own: float, cores: int, available: float = 1.0, stalled: float = 0.0) -> None:
        self.host = host  # share of all CPUs' time that was used
        self.own = own  # cores that the daemon used
        self.cores = cores
        self.available = available  # share of memory that can be had without swapping (MemAvailable)
        self.stalled = stalled  # PSI memory ``full avg10``, as a share; 0 where the kernel does not tell


class Controller:
    """``cpu_guard``: share of the host's CPU time, 1 or more for no guard. ``cpu_max``: cores of the daemon's own."""

    __slots__ = (
        "_full_steps",
        "_hold",
        "_hold_until",
        "_host",
        "_own",
        "_starved",
        "cpu_guard",
        "cpu_max",
        "holding",
        "reason",
        "shed",
    )

    def __init__(self, cpu_guard: float, cpu_max: float) -> None:
        self.cpu_guard = cpu_guard
        self.cpu_max = cpu_max
        self.shed = 0.0  # 0: everything is mirrored, 1: nothing
        self.holding = False  # the kernel shall copy nothing
        self.reason = ""  # in words, while something is shed
        self._host = self._own = -1.0  # smoothed; -1: no reading yet
        self._starved = 0  # steps without room on a full host, one after another
        self._full_steps = 0
        self._hold = HOLD
        self._hold_until = 0.0

    def step(self, reading: Reading, now: float) -> None:
        """Take in a reading (``now`` in seconds) and decide ``shed`` and ``holding``."""
        if self.holding:
            if now < self._hold_until:
                return
            self.holding = False  # look again, with everything still shed
            self._full_steps = HOLD_AFTER - 1
            self._host = self._own = -1.0
            return
        self._host = _smooth(self._host, reading.host)
        self._own = _smooth(self._own, reading.own)
        room, slack = self._room(reading)
        mirrored = 1.0 - self.shed
        self._starved = self._starved + 1 if room < 0 and self._host > FULL else 0
        if reading.available < LOW_MEMORY or reading.stalled > STALLED:
            mirrored = mirrored / 2 if mirrored > SMALLEST else 0.0
            self.reason = "the host's memory is short"
        elif room < 0:
            mirrored += self._share(room, mirrored) / 2 * 2 ** min(max(0, self._starved - PATIENCE), MOST_DOUBLINGS)
        elif room > slack and self.shed:
            mirrored += max(self._share(room - slack, mirrored) / 2, SMALLEST / 2)
        mirrored = 0.0 if mirrored < SMALLEST / 2 else min(mirrored, 1.0)
        self.shed = 1.0 - mirrored
        if not self.shed:
            self.reason = ""
            self._hold = HOLD
        self._consider_hold(room, now)

    def _room(self, reading: Reading) -> tuple[float, float]:
        """Cores left below the nearer limit (negative: above it), and how many of them shall stay unused."""
        host = (self.cpu_guard - self._host) * reading.cores if self.cpu_guard < 1 else float(reading.cores)
        own = self.cpu_max - self._own
        if host < own:
            if host < 0:
                self.reason = f"the host's CPU use is {self._host:.0%}, above {self.cpu_guard:.0%}"
            return host, SLACK * reading.cores
        if own < 0:
            self.reason = f"shadowd used {self._own:.0%} of a core, more than {self.cpu_max:.0%}"
        return own, SLACK * self.cpu_max

    def _share(self, cores: float, mirrored: float) -> float:
        """What share of the connections costs so many cores."""
        cost = max(self._own, 1e-3) / max(mirrored, SMALLEST)
        return max(-1.0, min(1.0, cores / cost))

    def _consider_hold(self, room: float, now: float) -> None:
        if self.shed < 1 or room >= 0 or self._own < OWN_MATTERS:
            self._full_steps = 0
            return
        self._full_steps += 1
        if self._full_steps >= HOLD_AFTER:
            self.holding = True
            self._hold_until = now + self._hold
            self._hold = min(2 * self._hold, HOLD_LONGEST)


def _smooth(before: float, value: float) -> float:
    return value if before < 0 else before + SMOOTHING * (value - before)
