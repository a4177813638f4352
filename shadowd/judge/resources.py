"""Memory and CPU of the shadow's process against the requests it served (sans-IO).

**Memory.** A leak is resident memory that grows by more than the margin with every request, and keeps on. The series is
looked at only when it reaches 10,000, 20,000, 40,000 … requests, and the k-th look has α/(k(k+1)); in between the
latest look stands. A look takes the last half, where a warm-up is over; divides it into at most 32 blocks, each at
least as long as a garbage collector's sawtooth; and fits a Theil–Sen line through the blocks' minima (``trend.py``). It
is no leak if the last quarter grows clearly less than the one before it: then a warm-up is just ending, and the next
look, at twice the requests, will tell. A sawtooth longer than what has been seen cannot be told from a leak, and one of
fewer than some twenty readings hides it: its lowest point is rarely read.

**Production is the yardstick.** Where its process is seen, its own slope (by its own requests, or over the same time if
that is more: what grows by the clock grows faster per request where there are few) is taken off, so what both do is no
leak. A candidate is believed at once only if production is flat *and* lies clearly lower: a cache that fills where
production's is full since long looks like a leak until it has caught up. In all other cases, and where production is
not seen, growth is a warning until two looks in a row, both at 40,000 requests or more, agree on it undiminished.

**CPU.** Seconds per request, each side by its own count of requests, in blocks of time; a vote for each block as in
``blocks.py``, because both sides live through the same load at the same time.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import pairwise

from shadowd.evidence.blocks import Blocks
from shadowd.judge.judgement import Judgement, Result, more, percent, span
from shadowd.judge.trend import median, theil_sen

_MAX_READINGS = 4096  # 64 KB; an even number; then the lower one of two neighbours stays
_MAX_SHOWN = 500  # points of a plot
_MAX_BLOCKS = 32  # 496 slopes: more blocks narrow the interval little, and the minima of longer ones are steadier
#: With eight minima, all in order, the interval of the first look is bounded; with fewer no level would reach it.
_MIN_BLOCKS = 8
#: A sawtooth's fall: of the range of the last half, and by the median step between two readings. Independent noise
#: spans less than eight of those in 2,000 readings (7.6 standard deviations); a tooth has more readings than that.
_DROP, _DROP_STEPS = 0.25, 8
_SLOWER = 0.85  # growth in the last quarter by the one before; a leak has 1, a cache that fills like √n 0.84
_CLEARLY = 0.10  # level of each quarter: a leak under noise is then put off in few looks, a warm-up to 20,000 seen

#: A cache that fills is full, or clearly slowing, by then: exponentially with 20,000 requests it has 13 % to go.
_CONFIRM = 40_000
_DEMO = 10_000  # a first look sooner than this scales the line above: whoever asks for it has small numbers
_LEVEL = 1.03  # of production's memory: heaps of two copies of one release differ by less
_RESTARTS = 3  # more than production's in one run: one is a deployment or a node drained, two a coincidence

_CPU_LEAST = 0.2  # seconds of each side in a block: the kernel counts in ticks of 10 ms, so both are right within 5 %
_CPU_REQUESTS = 20  # of each side in a block


class MemorySeries:
    """Resident memory of one process, by the requests it served. 64 KB at most."""

    __slots__ = (
        "_against",
        "_base",
        "_before",
        "_bytes",
        "_each",
        "_faults",
        "_first",
        "_look",
        "_looks",
        "_next",
        "_pending",
        "_reasons",
        "_requests",
        "_restarts",
        "_served",
        "_swing",
        "_taken_at",
    )

    def __init__(self, first_look: int = 10_000) -> None:
        if first_look < 1:
            raise ValueError(f"the first look must be after at least one request, not {first_look}")
        self._first = first_look
        self._next = first_look  # requests of the series
        self._requests = array("q")  # since the series began
        self._bytes = array("q")
        self._each = 1  # readings of which the lowest is kept: all are kept at the same density, old and new
        self._pending = 0  # readings that the newest kept one stands for, if they are not all there
        self._served = 0
        self._base = 0  # requests served when the series began
        self._looks = 0
        self._taken_at = 0
        self._swing = math.inf  # highest less lowest reading of the latest look, by request: no slope there is steeper
        self._look: list[tuple[float, float]] | None = None  # minima of the latest look's blocks
        self._before: tuple[int, float] | None = None  # requests and last quarter's slope of the look before
        self._against: tuple[int, int, list[tuple[float, float]], int, float] | None = None  # see _reference
        self._reasons: list[str] = []  # of the latest ten restarts
        self._restarts = 0  # without those of workers only: pools recycle theirs
        self._faults = 0

    def add(self, requests: int, bytes_: int) -> None:
        """A reading: requests served since the run began (never falling), and the resident memory then."""
        served = requests - self._base
        if served < self._served:
            return
        self._served = served
        if self._pending == 0 or bytes_ <= self._bytes[-1]:
            if self._pending:
                self._requests[-1], self._bytes[-1] = served, bytes_
            else:
                self._requests.append(served)
                self._bytes.append(bytes_)
        self._pending = (self._pending + 1) % self._each
        if len(self._requests) >= _MAX_READINGS and self._pending == 0:
            self._thin()
        if served >= self._next:
            self._looks += 1
            end = self._end_slope()
            first = self._next == self._first  # the look before was of another process, if there was one
            self._before = (self._taken_at, end) if end is not None and not first else None
            self._taken_at = served
            self._look = _minima(self._requests, self._bytes)
            self._swing = _swing(self._requests, self._bytes)
            while self._next <= served:
                self._next *= 2

    def restarted(self, requests: int, reason: str, fault: bool = False) -> None:
        """The process is another one: a note (a failure if ``fault``: killed or crashed, or if it is repeated), and the
        series begins anew. What the latest look found stands until the next."""
        self._reasons = [*self._reasons[-9:], reason]
        self._restarts += not reason.startswith("workers changed")
        self._faults += fault
        self.begin_anew(requests)

    def begin_anew(self, requests: int) -> None:
        """Forget the readings: the other side's process was started anew, and the two are compared over one time."""
        self._base = requests
        self._each, self._pending, self._served = 1, 0, 0
        self._requests = array("q")
        self._bytes = array("q")
        self._next = self._first

    def judge(
        self,
        margin: float = 256.0,
        alpha: float = 0.005,
        alpha_pass: float = 0.05,
        required: bool = True,
        reference: MemorySeries | None = None,
    ) -> list[Judgement]:
        """ "memory", and "restarts" if there were any. ``margin`` in bytes per request; ``reference`` is the series of
        production's process by production's requests, where it is seen."""
        found = [self._memory(margin, alpha, alpha_pass, required, reference)]
        if self._reasons:
            found.append(self._restarted(reference))
        return found

    def points(self) -> list[tuple[int, int]]:
        """(requests, bytes) of the present series, at most 500 of them."""
        step = -(-len(self._requests) // _MAX_SHOWN) or 1
        pairs = zip(self._requests[::step], self._bytes[::step], strict=True)
        return [(self._base + served, size) for served, size in pairs]

    def fit(self) -> tuple[float, float, float] | None:
        """(slope, low, high) of the latest look in bytes per request, at the default levels."""
        return self._fitted(0.005, 0.05)

    def _fitted(self, alpha: float, alpha_pass: float) -> tuple[float, float, float] | None:
        if self._look is None or len(self._look) < _MIN_BLOCKS:
            return None
        spent = 1 / (self._looks * (self._looks + 1))
        return theil_sen(self._look, alpha * spent, alpha_pass * spent)

    def _end_slope(self) -> float | None:
        """Slope of the latest look's last quarter of the series."""
        if self._look is None or len(self._look) < _MIN_BLOCKS:
            return None
        fitted = theil_sen(self._look[len(self._look) // 2 :], _CLEARLY, _CLEARLY)
        return fitted[0] if fitted is not None else None

    def _reference(
        self, reference: MemorySeries | None, alpha: float, alpha_pass: float
    ) -> tuple[float, float, float, bool] | None:
        """(slope, low, high) of production in bytes per request, not below 0, and whether the candidate's memory lies
        clearly above production's. Taken once for each look of this series. None where there is too little."""
        if reference is None or self._look is None:
            return None
        if self._against is None or self._against[0] != self._looks:
            points = _minima(reference._requests, reference._bytes) if len(reference._requests) > 1 else []
            swing = _swing(reference._requests, reference._bytes) if points else math.inf
            lowest = max(int(size) for _, size in points) if points else 0
            self._against = (self._looks, lowest, points, reference._served, swing)
        _, level, points, asked, swing = self._against
        spent = 1 / (self._looks * (self._looks + 1))
        fitted = theil_sen(points, alpha_pass * spent, alpha * spent) if len(points) >= _MIN_BLOCKS else None
        if fitted is None:  # a flat line with a few steps in it has no rhythm; no slope is steeper than all it moved
            if not math.isfinite(swing):
                return None
            fitted = 0.0, -swing, swing
        times = (1.0, asked / self._taken_at)  # by production's own requests, and by time: per the shadow's requests
        slope, low, high = (max(0.0, value) for value in fitted)
        above = self._look[-1][1] > _LEVEL * level
        return slope * max(times), low * min(times), high * max(times), above

    def _confirmed(self, slope: float, margin: float) -> bool:
        """Two looks in a row, late enough, grew alike."""
        late = _CONFIRM * min(1.0, self._first / _DEMO)
        if self._before is None or self._before[0] < late:
            return False
        return self._before[1] > margin and slope >= _SLOWER * self._before[1]

    def _memory(
        self, margin: float, alpha: float, alpha_pass: float, required: bool, reference: MemorySeries | None
    ) -> Judgement:
        served = self._served
        needed = max(0, self._next - served)
        fitted = self._fitted(alpha, alpha_pass)
        against, own = None, 0.0
        if fitted is not None:
            against = self._reference(reference, 0.1 * alpha, 0.1 * alpha_pass)
            if against is not None:  # both intervals must hold: they share the level
                mine = self._fitted(0.9 * alpha, 0.9 * alpha_pass) or fitted
                own = mine[0]
                fitted = mine[0] - against[0], mine[1] - against[2], min(fitted[2], mine[2] - against[1])
        result: Result = "inconclusive"
        slope, low, high = fitted or (0.0, -math.inf, math.inf)
        end = more(needed, "requests")
        if self._look is None:
            sentence = f"memory is looked at from {self._first:,} requests on, the shadow has served {served:,}; {end}"
        elif self._swing <= margin:
            # whatever the shape: all that it moved is less than the margin, so no trend in it can be more
            result, low, high = "pass", max(low, -self._swing), min(high, self._swing)
            slope = min(max(slope, low), high)
            sentence = (
                f"memory moved by {self._swing:,.0f} bytes per request at most over the last half of "
                f"{self._taken_at:,} requests"
            )
        elif fitted is None:
            sentence = (
                f"memory cannot be judged from {self._taken_at:,} requests: too few readings, or a collector's "
                f"sawtooth is too long for them; {end}"
            )
        else:
            than = " more than production's" if against is not None else ""
            grows = f"memory grows by {slope:,.0f} bytes per request{than}" if slope >= 0.5 else "memory does not grow"
            grows += than if slope < 0.5 else ""
            bounds = f"interval {_number(low)}…{_number(high)}, margin {margin:,.0f}, at {self._taken_at:,} requests"
            steady = self._steady(margin)
            flat = against is not None and against[3] and against[2] <= margin
            believed = flat or self._confirmed(own if against is not None else slope, margin)
            if low > margin and steady and believed:
                result = "fail"
                sentence = f"{grows} ({bounds})"
            elif high <= margin:
                result = "pass"
                sentence = (
                    f"{grows} at {self._taken_at:,} requests; more than {high:,.0f} bytes per request would have been "
                    "noticed"
                )
            elif low > margin and steady:
                why = (
                    "production's process is not seen, so a cache that fills cannot be told from a leak yet"
                    if reference is None
                    else "production's memory is too restless to compare with yet"
                    if against is None
                    else "production's grows too, so both may be warming up"
                    if against[2] > margin
                    else "it may still be warming up to production's"
                )
                watch = " (--production-metrics shows it)" if reference is None else ""
                sentence = f"{grows} ({bounds}), but {why}{watch}; {end}"
            elif low > margin:
                sentence = f"{grows} ({bounds}), but ever more slowly, like a warm-up; {end}"
            else:
                sentence = f"{grows} ({bounds}); {end}"
        return Judgement(
            judge="memory",
            result=result,
            effect=slope,
            low=low,
            high=high,
            unit="bytes/request",
            margin=margin,
            samples=self._taken_at if self._look is not None else served,
            needed=needed if result == "inconclusive" else None,
            sentence=sentence,
            required=required,
            log_e=-math.log(alpha) if result == "fail" else 0.0,
        )

    def _steady(self, margin: float) -> bool:
        """The last quarter of the series grows beyond the margin too, and not clearly less than the one before."""
        assert self._look is not None
        half = len(self._look) // 2
        before = theil_sen(self._look[:half], _CLEARLY, _CLEARLY)
        last = theil_sen(self._look[half:], _CLEARLY, _CLEARLY)
        if before is None or last is None:
            return True
        slower = last[0] < _SLOWER * before[0] and last[2] < before[1]
        return last[0] > margin and not slower

    def _restarted(self, reference: MemorySeries | None) -> Judgement:
        times = self._restarts
        beyond = times - (reference._restarts if reference is not None else 0)
        last = self._reasons[-1]
        if self._faults:
            result: Result = "fail"
            sentence = f"the shadow's process changed {_often(len(self._reasons))}: {last}"
        elif beyond >= _RESTARTS:
            result = "fail"
            than = f", production's {_often(times - beyond)}" if reference is not None else ""
            sentence = f"the shadow's process was restarted {_often(times)} in this run{than}: {last}"
        else:
            result = "pass"
            sentence = f"noted: the shadow's process changed {_often(len(self._reasons))} ({last})"
        return Judgement(
            judge="restarts",
            result=result,
            effect=float(times),
            low=float(times),
            high=float(times),
            unit="restarts",
            samples=max(1, times),
            sentence=sentence,
        )

    def _thin(self) -> None:
        """Of two neighbours the lower one stays, and of readings to come as many are joined."""
        requests, sizes = array("q"), array("q")
        for index in range(0, len(self._requests), 2):
            lower = min(index, index + 1, key=self._bytes.__getitem__)
            requests.append(self._requests[lower])
            sizes.append(self._bytes[lower])
        self._requests, self._bytes = requests, sizes
        self._each *= 2


def _often(times: int) -> str:
    return ("never", "once", "twice")[times] if times < 3 else f"{times} times"


def _swing(requests: Sequence[int], sizes: Sequence[int]) -> float:
    """Range of the last half's readings over its requests."""
    begin = next(index for index, served in enumerate(requests) if 2 * served >= requests[-1])
    span = requests[-1] - requests[begin]
    return (max(sizes[begin:]) - min(sizes[begin:])) / span if span > 0 else math.inf


def _number(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "∞" if value > 0 else "-∞"


def _minima(requests: Sequence[int], sizes: Sequence[int]) -> list[tuple[float, float]]:
    """Lowest point of each block of the last half; a block is a 32nd of it, or a sawtooth if that is longer."""
    end = requests[-1]
    begin = next(index for index, served in enumerate(requests) if 2 * served >= end)
    start = requests[begin]
    half = sizes[begin:]
    steps = sorted(abs(after - before) for before, after in pairwise(half))
    drop = max(_DROP * (max(half) - min(half)), _DROP_STEPS * median(steps)) if steps else 0.0
    length = max((end - start) / _MAX_BLOCKS, _sawtooth(requests, sizes, start, drop))
    count = int((end - start) / length) if length else 0
    found: dict[int, tuple[float, float]] = {}
    for index in range(begin, len(requests)):
        # blocks end with the series: what is left over is at the half's beginning, where a warm-up may be
        block = int((end - requests[index]) / length) if length else 0
        if block < count and (block not in found or sizes[index] <= found[block][1]):
            found[block] = (float(requests[index]), float(sizes[index]))
    return sorted(found.values())


def _sawtooth(requests: Sequence[int], sizes: Sequence[int], start: int, drop: float) -> float:
    """Way between two falls by ``drop``: the longest that reaches beyond ``start``; 0 if it never falls so far.

    At most twice the median way: a collector keeps to its rhythm, and what falls now and then is noise.
    """
    falls: list[int] = []
    peak = sizes[0]
    for served, size in zip(requests, sizes, strict=True):
        if size > peak:
            peak = size
        elif drop and peak - size >= drop:
            falls.append(served)
            peak = size
    if not falls or falls[-1] < start:
        return 0.0
    ways = [after - before for before, after in zip([requests[0], *falls], falls, strict=False) if after >= start]
    longest = max(*ways, requests[-1] - falls[-1])
    return float(longest if len(ways) < 3 else min(longest, 2 * median(sorted(ways))))


class CpuEvidence:
    """CPU seconds per request of both sides."""

    __slots__ = ("_blocks", "_from", "_served", "count")

    def __init__(self) -> None:
        self.count = 0  # readings
        self._blocks = Blocks()
        self._from: tuple[float, int, float, int] | None = None
        self._served = 0  # requests of the candidate in whole blocks

    def add(
        self,
        production_cpu_seconds: float,
        production_requests: int,
        candidate_cpu_seconds: float,
        candidate_requests: int,
    ) -> None:
        """Readings that only rise; one that falls (a restart) begins a new block."""
        self.count += 1
        now = (production_cpu_seconds, production_requests, candidate_cpu_seconds, candidate_requests)
        if self._from is None or any(new < old for new, old in zip(now, self._from, strict=True)):
            self._from = now
            return
        production, asked = now[0] - self._from[0], production_requests - self._from[1]
        candidate, served = now[2] - self._from[2], candidate_requests - self._from[3]
        if min(asked, served) < _CPU_REQUESTS or min(production, candidate) < _CPU_LEAST:
            return
        self._blocks.add(math.log((candidate / served) / (production / asked)))
        self._served += served
        self._from = now

    def judge(
        self, margin: float = 0.25, alpha: float = 0.002, alpha_pass: float = 0.05, required: bool = False
    ) -> Judgement:
        """Effect: relative increase of CPU seconds per request (unit "ratio")."""
        blocks, threshold = self._blocks, math.log1p(margin)
        low, high = (math.expm1(min(end, 700.0)) if end < math.inf else end for end in blocks.bounds(alpha, alpha_pass))
        effect = math.expm1(blocks.median())
        log_e = blocks.evidence_above(threshold)
        result: Result = "inconclusive"
        needed: int | None = None
        if log_e >= -math.log(alpha):
            result = "fail"
        elif blocks.evidence_below(threshold) >= -math.log(alpha_pass):
            result = "pass"
        elif blocks.count:
            further = blocks.needed(threshold, alpha, alpha_pass)
            needed = None if further is None else math.ceil(further * self._served / blocks.count)
        said = f"a request costs {percent(abs(effect))} {'more' if effect >= 0 else 'less'} CPU than production's"
        bounds = f"interval {span(low, high)}, margin {percent(margin)}"
        if not blocks.count:
            sentence = "too little CPU was used to compare it"
        elif result == "fail":
            sentence = f"{said} ({bounds})"
        elif result == "pass":
            sentence = f"{said}; more than {percent(max(0.0, high))} would have been noticed"
        else:
            sentence = f"{said} ({bounds}); {more(needed, 'requests')}"
        return Judgement(
            judge="cpu",
            result=result,
            effect=effect,
            low=low,
            high=high,
            unit="ratio",
            margin=margin,
            samples=self._served,
            needed=needed,
            sentence=sentence,
            required=required,
            log_e=log_e,
        )
