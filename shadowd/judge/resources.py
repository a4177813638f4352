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
from typing import Any

from shadowd.evidence.resources import CLEARLY, MIN_BLOCKS, CpuEvidence, MemorySeries, minima, swing_of
from shadowd.evidence.trend import theil_sen
from shadowd.judge.blocks import BlockJudge
from shadowd.judge.judgement import Judgement, Result, more, percent, span

_SLOWER = 0.85  # growth in the last quarter by the one before; a leak has 1, a cache that fills like √n 0.84
#: A cache that fills is full, or clearly slowing, by then: exponentially with 20,000 requests it has 13 % to go.
_CONFIRM = 40_000
_DEMO = 10_000  # a first look sooner than this scales the line above: whoever asks for it has small numbers
_LEVEL = 1.03  # of production's memory: heaps of two copies of one release differ by less
_RESTARTS = 3  # more than production's in one run: one is a deployment or a node drained, two a coincidence


class MemoryJudge:
    """Of one series, as it stands."""

    __slots__ = ("_of",)

    def __init__(self, series: MemorySeries) -> None:
        self._of = series

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
        if self._of.reasons:
            found.append(self._restarted(reference))
        return found

    def fit(self) -> tuple[float, float, float] | None:
        """(slope, low, high) of the latest look in bytes per request, at the default levels."""
        return self._fitted(0.005, 0.05)

    def _fitted(self, alpha: float, alpha_pass: float) -> tuple[float, float, float] | None:
        if self._of.look is None or len(self._of.look) < MIN_BLOCKS:
            return None
        spent = 1 / (self._of.looks * (self._of.looks + 1))
        fitted = theil_sen(self._of.look, alpha * spent, alpha_pass * spent)
        return _within(self._of.swing, fitted) if fitted is not None else None

    def _reference(
        self, reference: MemorySeries | None, alpha: float, alpha_pass: float
    ) -> tuple[float, float, float, bool] | None:
        """(slope, low, high) of production in bytes per request, not below 0, and whether the candidate's memory lies
        clearly above production's. Taken once for each look of this series. None where there is too little."""
        if reference is None or self._of.look is None:
            return None
        if self._of.against is None or self._of.against[0] != self._of.looks:
            points = minima(reference.requests, reference.sizes) if len(reference.requests) > 1 else []
            swing = swing_of(reference.requests, reference.sizes) if points else math.inf
            lowest = max(int(size) for _, size in points) if points else 0
            self._of.against = (self._of.looks, lowest, points, reference.served, swing)
        _, level, points, asked, swing = self._of.against
        spent = 1 / (self._of.looks * (self._of.looks + 1))
        fitted = theil_sen(points, alpha_pass * spent, alpha * spent) if len(points) >= MIN_BLOCKS else None
        if fitted is None:  # a flat line with a few steps in it has no rhythm
            if not math.isfinite(swing):
                return None
            fitted = 0.0, -swing, swing
        times = (1.0, asked / self._of.taken_at)  # by production's own requests, and by time: per the shadow's requests
        slope, low, high = (max(0.0, value) for value in _within(swing, fitted))
        above = self._of.look[-1][1] > _LEVEL * level
        return slope * max(times), low * min(times), high * max(times), above

    def _confirmed(self, slope: float, margin: float) -> bool:
        """Two looks in a row, late enough, grew alike."""
        late = _CONFIRM * min(1.0, self._of.first_look / _DEMO)
        if self._of.before is None or self._of.before[0] < late:
            return False
        return self._of.before[1] > margin and slope >= _SLOWER * self._of.before[1]

    def _memory(
        self, margin: float, alpha: float, alpha_pass: float, required: bool, reference: MemorySeries | None
    ) -> Judgement:
        of = self._of
        served = of.served
        needed = max(0, of.next_look - served)
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
        if of.look is None:
            sentence = (
                f"memory is looked at from {of.first_look:,} requests on, the shadow has served {served:,}; {end}"
            )
        elif of.swing <= margin:
            # whatever the shape: all that it moved is less than the margin, so no trend in it can be more
            result, low, high = "pass", max(low, -of.swing), min(high, of.swing)
            slope = min(max(slope, low), high)
            sentence = (
                f"memory moved by {of.swing:,.0f} bytes per request at most over the last half of "
                f"{of.taken_at:,} requests"
            )
        elif fitted is None:
            sentence = (
                f"memory cannot be judged from {of.taken_at:,} requests: too few readings, or a collector's "
                f"sawtooth is too long for them; {end}"
            )
        else:
            than = " more than production's" if against is not None else ""
            grows = f"memory grows by {slope:,.0f} bytes per request{than}" if slope >= 0.5 else "memory does not grow"
            grows += than if slope < 0.5 else ""
            bounds = f"interval {_number(low)}…{_number(high)}, margin {margin:,.0f}, at {of.taken_at:,} requests"
            steady = self._steady(margin)
            flat = against is not None and against[3] and against[2] <= margin
            believed = flat or self._confirmed(own if against is not None else slope, margin)
            if low > margin and steady and believed:
                result = "fail"
                sentence = f"{grows} ({bounds})"
            elif high <= margin:
                result = "pass"
                sentence = (
                    f"{grows} at {of.taken_at:,} requests; more than {high:,.0f} bytes per request would have been "
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
            samples=of.taken_at if of.look is not None else served,
            needed=needed if result == "inconclusive" else None,
            sentence=sentence,
            required=required,
            log_e=-math.log(alpha) if result == "fail" else 0.0,
        )

    def _steady(self, margin: float) -> bool:
        """The last quarter of the series grows beyond the margin too, and not clearly less than the one before."""
        assert self._of.look is not None
        half = len(self._of.look) // 2
        before = theil_sen(self._of.look[:half], CLEARLY, CLEARLY)
        last = theil_sen(self._of.look[half:], CLEARLY, CLEARLY)
        if before is None or last is None:
            return True
        slower = last[0] < _SLOWER * before[0] and last[2] < before[1]
        return last[0] > margin and not slower

    def _restarted(self, reference: MemorySeries | None) -> Judgement:
        times = self._of.restarts
        beyond = times - (reference.restarts if reference is not None else 0)
        last = self._of.reasons[-1]
        if self._of.faults:
            result: Result = "fail"
            sentence = f"the shadow's process changed {_often(len(self._of.reasons))}: {last}"
        elif beyond >= _RESTARTS:
            result = "fail"
            than = f", production's {_often(times - beyond)}" if reference is not None else ""
            sentence = f"the shadow's process was restarted {_often(times)} in this run{than}: {last}"
        else:
            result = "pass"
            sentence = f"noted: the shadow's process changed {_often(len(self._of.reasons))} ({last})"
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


def judge_memory(series: MemorySeries, *given: Any, **named: Any) -> list[Judgement]:
    """``MemoryJudge.judge`` of it."""
    return MemoryJudge(series).judge(*given, **named)


MemorySeries.judged_by = judge_memory


def judge_cpu(
    cpu: CpuEvidence, margin: float = 0.25, alpha: float = 0.002, alpha_pass: float = 0.05, required: bool = False
) -> Judgement:
    """Effect: relative increase of CPU seconds per request (unit "ratio")."""
    blocks, threshold = cpu.blocks, math.log1p(margin)
    votes = BlockJudge(blocks)
    low, high = (math.expm1(min(end, 700.0)) if end < math.inf else end for end in votes.bounds(alpha, alpha_pass))
    effect = math.expm1(blocks.median())
    log_e = votes.evidence_above(threshold)
    result: Result = "inconclusive"
    needed: int | None = None
    if log_e >= -math.log(alpha):
        result = "fail"
    elif votes.evidence_below(threshold) >= -math.log(alpha_pass):
        result = "pass"
    elif blocks.count:
        further = votes.needed(threshold, alpha, alpha_pass)
        needed = None if further is None else math.ceil(further * cpu.served / blocks.count)
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
        samples=cpu.served,
        needed=needed,
        sentence=sentence,
        required=required,
        log_e=log_e,
    )


def _within(swing: float, fitted: tuple[float, float, float]) -> tuple[float, float, float]:
    """No slope is steeper than all that moved, however few the points are that it was fitted through: a flat line with
    a collector's teeth in it has too few minima for an interval with ends, and is flat."""
    slope, low, high = (min(max(value, -swing), swing) for value in fitted)
    return slope, low, high


def _often(times: int) -> str:
    return ("never", "once", "twice")[times] if times < 3 else f"{times} times"


def _number(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "∞" if value > 0 else "-∞"
