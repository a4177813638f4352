"""Latency of an endpoint, paired: is the candidate slower than the margin allows? (sans-IO)

The median is judged by blocks of time: one vote each, the median of the paired log-ratios of its exchanges
(``blocks.py``); what slows both sides in the same moment cancels. The 90th and 99th percentile belong to no pair, so
the two sides' quantiles are compared (``tails.py``), with fewer samples the more they come in bursts (``bursts.py``).
What was never answered, or shed because the shadow lagged, counts as longer than everything.

Both must hold over stretches of the run as well (``stretches.py``, ``pace.py``): each side's own slow minute is no
release's fault. For the median that is the mean of the stretches' medians; for a tail, how the exceedances of the two
sides differ from stretch to stretch says how far the candidate's quantile may be off by chance.

A regression needs both: beyond the margin as a ratio, and beyond the floor as a difference. So for a short reference
the floor is a larger margin, max(margin, floor/quantile).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence

from shadowd.evidence.betting import log_e_above
from shadowd.evidence.blocks import Blocks
from shadowd.evidence.bursts import NEVER, Bursts
from shadowd.evidence.latency import LatencySketch
from shadowd.evidence.pace import WARM_ROWS, Pace
from shadowd.evidence.stretches import GROUPS, LEAST_GROUPS, STRETCHES, Window, rate, windows
from shadowd.evidence.student import upper_quantile
from shadowd.evidence.tails import Ranks, ranks_longer, ranks_shorter
from shadowd.judge.judgement import Judgement, Result, more, percent, span
from shadowd.judge.verdict import QUANTILE_SHARES

_BLOCK_NS = 500_000_000  # longer than most bursts and pauses; ten seconds then give a median at the strictest level
_BLOCK_MIN = 8  # pairs: fewer say little of their time
_BLOCK_MAX = 256  # ratios kept of a block: its median errs by 1/13 of a standard deviation, and 8 KB are enough
MILLISECOND = 1_000_000
MINUTE = 60_000_000_000
#: A late window that is looked at apart lasts that many shortest windows: either side's own slow minutes would be found
#: in one as short as a minute.
LATE_SPANS = 4
#: Services are warm after that long: what is slower then is slower (``--warmup auto``).
WARMUP = 5 * MINUTE
_FORESEEABLE = 1 << 20  # times the samples so far: more is not a forecast

#: (reference's, candidate's) durations in ns; infinite if never answered.
_Values = list[tuple[float, float]]
#: (result, effect, low, high, needed, log e)
_Said = tuple[Result, float, float, float, int | None, float]
_BAND = (0.8, 0.9, 1.0, 1.1, 1.25)  # of a tail
#: An effect of bursts from which on it is told.
_BURSTY = 10
#: Of the level of a pass, where the stretches alone must certify a tail because it is made of bursts.
_ALONE = 0.2
#: Level at which the candidate must be the slower one over the connections, beside all other levels.
_OF_FEW = 0.01

_POINTS = {
    "first_byte": "first byte", "last_byte": "last byte", "first_content": "first content",
    "first_event": "first event", "between_events": "the time between events",
}  # fmt: skip
_REFERENCES = {"production": "production's", "baseline": "the baseline's"}
_PLACES = {50: "at the median", 90: "at the 90th percentile", 99: "at the 99th percentile"}


class LatencyEvidence:
    """What is kept of one point (first or last byte) at one endpoint: 2 KB idle, 50 KB at most.

    ``late`` counts exchanges left out because they were sent late through the daemon's own fault.
    """

    __slots__ = (
        "_after",
        "_began",
        "_blocks",
        "_bursts",
        "_pairs",
        "_ratios",
        "_until",
        "_wandered",
        "candidate",
        "candidate_lost",
        "count",
        "first",
        "floor",
        "groups",
        "late",
        "least",
        "pace",
        "reference",
        "reference_lost",
        "warmed",
        "warmup",
    )

    def __init__(self, warmup: int = WARMUP, least: int = MINUTE, floor: int = MILLISECOND) -> None:
        self.floor = floor  # ns that nobody minds: a warm-up that is shorter is none
        self.least = least  # ns of evidence before anything is said (``--min-span``)
        self.warmup = warmup  # ns after the first pair in which a slower beginning that falls is forgotten; 0: never
        self.first = 0  # time of the first pair (ns)
        self.warmed = 0  # pairs forgotten so
        self._wandered = 0.0
        self._begin()

    def _begin(self) -> None:
        """Evidence begins, or begins anew."""
        self.count = 0  # pairs, lost ones included
        self.late = 0
        self.reference = LatencySketch()
        self.candidate = LatencySketch()
        self.reference_lost = 0
        self.candidate_lost = 0
        self._blocks = Blocks()
        self._bursts = Bursts()
        self._after = WARM_ROWS  # blocks until the next look for a warm-up
        self._ratios: list[float] = []  # of the open block, candidate by reference
        self._pairs = 0  # in the open block
        self._began = 0  # when the open block did
        self._until = -1
        self.pace = Pace()
        self.groups: array[int] | None = None  # of connections: pairs, then those with the candidate the slower

    def add(self, time_ns: int, reference_ns: int, candidate_ns: int, group: int = -1) -> None:
        """A pair's durations; what is not positive (clocks of different CPUs) counts as 1 ns. ``group``: of the
        connection (``stretches.py``)."""
        if reference_ns < 1:
            reference_ns = 1
        if candidate_ns < 1:
            candidate_ns = 1
        if time_ns >= self._until:
            self._turn(time_ns)
        self.count += 1
        self._pairs += 1
        if self._pairs <= _BLOCK_MAX:
            self._ratios.append(candidate_ns / reference_ns)
        bursts = self._bursts
        if reference_ns > bursts.reference90:
            bursts.count_reference(reference_ns)
        if candidate_ns > bursts.candidate90:
            bursts.count_candidate(candidate_ns)
        self.reference.add(reference_ns)
        self.candidate.add(candidate_ns)
        if group >= 0:
            groups = self.groups
            if groups is None:
                groups = self.groups = array("I", bytes(8 * GROUPS))
            groups[group] += 1
            if candidate_ns > reference_ns:
                groups[GROUPS + group] += 1

    def add_lost(self, time_ns: int, side: str) -> None:
        """A pair of which one side ("candidate" or "reference") never answered, or too late to be sent."""
        if side not in ("candidate", "reference"):
            raise ValueError(f"a side is 'candidate' or 'reference', not {side!r}")
        if time_ns >= self._until:
            self._turn(time_ns)
        self.count += 1
        self._pairs += 1
        if side == "candidate":
            self.candidate_lost += 1
            self._bursts.count_candidate(NEVER)
        else:
            self.reference_lost += 1
            self._bursts.count_reference(NEVER)
        if self._pairs <= _BLOCK_MAX:
            self._ratios.append(math.inf if side == "candidate" else 0.0)

    def judge(
        self,
        point: str,
        endpoint: str,
        reference: str,
        margins: Sequence[float] = (0.10, 0.15, 0.25),
        floor_ns: int = 1_000_000,
        alpha_fail: Callable[[int], float] | float = 0.0045,
        alpha_pass: float = 0.05,
        required: bool = False,
        wandered: float = 0.0,
    ) -> list[Judgement]:
        """Judgements of p50, p90 and p99 of ``point`` ("first_byte" or "last_byte").

        ``reference``: "production" or "baseline"; ``margins`` by quantile, as relative increase; ``alpha_fail`` by
        percentile (50, 90, 99), or one level to be shared by the three; ``wandered``: how far the pace
        of all endpoints together may have strayed by chance (``wandering``). Effects are relative increases (unit
        "ratio").
        """
        self._wandered = wandered
        looks = windows(self.pace.begin, self.pace.latest, self.least)
        found = []
        for percentile, margin in zip((50, 90, 99), margins, strict=True):
            alpha = alpha_fail(percentile) if callable(alpha_fail) else alpha_fail * QUANTILE_SHARES[percentile]
            least = self._least(percentile, margin, floor_ns)
            if percentile == 50:
                said = self._steady(self._median(least, alpha, alpha_pass, required), least, alpha, alpha_pass, looks)
            else:
                said = self._tail(percentile, margin, floor_ns, alpha, alpha_pass, required, looks)
            result, effect, low, high, needed, log_e = said
            judgement = Judgement(
                judge="latency",
                endpoint=endpoint,
                path=f"{point} p{percentile}",
                result=result,
                effect=effect,
                low=low,
                high=high,
                unit="ratio",
                margin=least,
                samples=self.count,
                needed=needed,
                required=required,
                log_e=log_e,
            )
            judgement.sentence = self._sentence(judgement, point, percentile, reference, margin, floor_ns)
            found.append(judgement)
        return found

    def wandering(self) -> float:
        """How far the pace may have strayed by chance at the latest look, as a log-ratio."""
        looks = windows(self.pace.begin, self.pace.latest, self.least)
        found = self.pace.medians(looks[0].begin, looks[0].end, STRETCHES) if looks else None
        return found.wandered if found is not None else 0.0

    def median(self, least: float, alpha_fail: float, alpha_pass: float) -> tuple[Result, float, float, float, float]:
        """The median paired ratio against the relative margin ``least``, of whatever was added: (result, effect, low,
        high, log e)."""
        looks = windows(self.pace.begin, self.pace.latest, self.least)
        said = self._steady(self._median(least, alpha_fail, alpha_pass, False), least, alpha_fail, alpha_pass, looks)
        result, effect, low, high, _, log_e = said
        return result, effect, low, high, log_e

    # --- blocks -------------------------------------------------------------------------------------------------------

    def _turn(self, time_ns: int) -> None:
        """The open block's time is over; it stays open until it has enough pairs."""
        if self._until >= 0:
            if self._pairs < _BLOCK_MIN:
                return
            middle = _log(_middle(self._ratios))
            self._blocks.add(middle)
            self.pace.add(self._began, time_ns, middle, (self._pairs, *self._bursts.counted))
            if self._bursts.close(self._pairs, self._quantiles):
                self.pace.thresholds_changed()
            self._ratios.clear()
            self._pairs = 0
            if time_ns - self.first <= self.warmup:
                self._warm()
        elif not self.first:
            self.first = time_ns
        self._began = time_ns
        self._until = time_ns + _BLOCK_NS

    def _warm(self) -> None:
        """A candidate that was started a moment ago is slow at first: what it did then is no evidence."""
        if self._blocks.count >= self._after:
            self._after = self._after * 3 // 2
            middle = self._reference_value(0.5)
            if self.pace.falls(math.log1p(self.floor / middle) / 2 if middle > 0 else 0.0):
                self.warmed += self.count
                self._begin()

    def _quantiles(self, tail: float) -> tuple[float, float]:
        return self._reference_value(tail), self._candidate_value(tail)

    def _reference_value(self, share: float) -> float:
        """The duration that this share of the reference's exceed; inf if it was lost."""
        return _exceeded(self.reference, self.reference_lost, share)

    def _candidate_value(self, share: float) -> float:
        return _exceeded(self.candidate, self.candidate_lost, share)

    # --- judging ------------------------------------------------------------------------------------------------------

    def _least(self, percentile: int, margin: float, floor_ns: int) -> float:
        """The margin as a ratio, the floor included."""
        quantile = self._reference_value(1 - percentile / 100)
        return max(margin, floor_ns / quantile) if quantile > 0 and math.isfinite(quantile) else margin

    def _median(self, least: float, alpha_fail: float, alpha_pass: float, required: bool) -> _Said:
        blocks, threshold = self._blocks, math.log1p(least)
        low, high = blocks.bounds(alpha_fail, alpha_pass)
        log_e = blocks.evidence_above(threshold)
        result: Result = "inconclusive"
        needed = None
        if log_e >= -math.log(alpha_fail):
            result = "fail"
        elif blocks.evidence_below(threshold) >= -math.log(alpha_pass):
            result = "pass"
        elif required:
            further = blocks.needed(threshold, alpha_fail, alpha_pass)
            each = self.count / blocks.count if blocks.count else _BLOCK_MIN
            needed = None if further is None else max(1, math.ceil(further * each))
        return result, math.expm1(blocks.median()), _relative(low), _relative(high), needed, log_e

    def _steady(
        self, said: _Said, least: float, alpha_fail: float, alpha_pass: float, looks: Sequence[Window]
    ) -> _Said:
        """What the blocks' votes say of the median, if the stretches say so too."""
        threshold = math.log1p(least)
        result, effect, low, high, needed, log_e = said
        failed = False
        for number, look in enumerate(looks):
            level = alpha_fail * look.spent
            if number and look.end - look.begin < LATE_SPANS * self.least:
                continue
            if result != "fail" and (number == 0 or not self._votes(look, threshold, level)):
                continue
            found = self.pace.medians(look.begin, look.end, STRETCHES)
            failed = failed or (found is not None and found.moved(self._wandered).low(level) > threshold)
        if failed and self._of_few_connections():
            failed = False
        passed = False
        if result == "pass" and looks:
            found = self.pace.medians(looks[0].begin, looks[0].end, STRETCHES)
            passed = found is not None and found.rate.high(alpha_pass) <= threshold
        return ("fail" if failed else "pass" if passed else "inconclusive"), effect, low, high, needed, log_e

    def _votes(self, look: Window, threshold: float, alpha: float) -> bool:
        """Whether the blocks of a late window alone say that the candidate is slower."""
        above, many = self.pace.signs(look.begin, look.end, threshold)
        effect = self._blocks.design_effect(threshold)
        counts = ((1.0, above / effect), (0.0, (many - above) / effect))
        return log_e_above(counts, 0.5, 0.0, 1.0) >= -math.log(alpha)

    def _of_few_connections(self) -> bool:
        """Whether it is some connections' candidate that is slower, and not the candidate at large."""
        if self.groups is None:
            return False
        pairs, slower = self.groups[:GROUPS], self.groups[GROUPS:]
        found = rate(slower, pairs, 2)
        if found is not None and found.parts >= LEAST_GROUPS:
            return found.low(_OF_FEW) <= 0.5
        return min(s / n for s, n in zip(slower, pairs, strict=True) if n) <= 0.5

    def _tail(
        self, percentile: int, margin: float, floor_ns: int, alpha_fail: float, alpha_pass: float, required: bool,
        looks: Sequence[Window],
    ) -> _Said:  # fmt: skip
        tail = (100 - percentile) / 100
        spread = self._bursts.effect(tail, self._pairs)
        reference, candidate = _around(self._reference_value, tail), _around(self._candidate_value, tail)
        effect = _ratio(candidate, reference) - 1 if self.count else 0.0
        low, high = -1.0, math.inf
        result: Result = "inconclusive"
        needed = None
        if spread is not None:
            longer, shorter = self._values(tail, self.count / spread, alpha_fail, alpha_pass)
            low = min((_ratio(c, r) - 1 for r, c in longer), default=low)
            high = max((_ratio(c, r) - 1 for r, c in shorter), default=high)
            result = _decided(longer, shorter, margin, floor_ns)
            if result == "inconclusive" and not shorter:  # bursts leave too few of the samples for any rank
                result, alpha_pass = "pass", alpha_pass * _ALONE
            result, bound = self._lasting(result, tail, margin, floor_ns, alpha_fail, alpha_pass, looks)
            high = min(high, bound) if result == "pass" else high
        if result == "inconclusive" and required:
            needed = self._needed(tail, spread or 1.0, margin, floor_ns, alpha_fail, alpha_pass)
        return result, effect, low, high, needed, -math.log(alpha_fail) if result == "fail" else 0.0

    def _lasting(
        self, result: Result, tail: float, margin: float, floor_ns: int, alpha_fail: float, alpha_pass: float,
        looks: Sequence[Window],
    ) -> tuple[Result, float]:  # fmt: skip
        """What the ranks say of a tail, if it stays so when the candidate's quantile is moved as far as the stretches
        differ among each other; and how much slower it is then."""
        if result == "inconclusive" or not looks:
            return "inconclusive", math.inf
        look = looks[0]
        found = self.pace.exceedances(0 if tail > 0.05 else 1, look.begin, look.end, STRETCHES)
        middle = self.pace.medians(look.begin, look.end, STRETCHES)
        if found is None or middle is None:
            return "inconclusive", math.inf
        level = alpha_fail * look.spent if result == "fail" else alpha_pass
        far = upper_quantile(level, found.parts - 1)
        away = tail + far * found.error if result == "fail" else tail - far * found.error
        reference, candidate = _around(self._reference_value, tail), math.inf
        if away > 0:
            candidate = _around(self._candidate_value, min(1.0, away))
        if result == "fail":  # a pace that wanders moves the tails along
            candidate *= math.exp(-far * max(middle.wandered, self._wandered))
        beyond = candidate > max(reference * (1 + margin), reference + floor_ns)
        return result if beyond == (result == "fail") else "inconclusive", _ratio(candidate, reference) - 1

    def _values(self, tail: float, worth: float, alpha_fail: float, alpha_pass: float) -> tuple[_Values, _Values]:
        """Durations (reference's, candidate's) whose ratio bounds that of the quantiles from below, and from above."""
        return (
            self._looked_up(ranks_longer(tail, worth, alpha_fail)),
            self._looked_up(ranks_shorter(tail, worth, alpha_pass)),
        )

    def _looked_up(self, ranks: Ranks | None) -> _Values:
        return [(_around(self._reference_value, k), _around(self._candidate_value, j)) for k, j in ranks or ()]

    def _needed(
        self, tail: float, spread: float, margin: float, floor_ns: int, alpha_fail: float, alpha_pass: float
    ) -> int | None:
        """How many more pairs like those so far until it is decided."""
        if not self.count:
            return None

        def decided(times: float) -> bool:
            longer, shorter = self._values(tail, self.count * times / spread, alpha_fail, alpha_pass)
            return _decided(longer, shorter, margin, floor_ns) != "inconclusive"

        many = 2.0
        while not decided(many):
            many *= 2
            if many > _FORESEEABLE:
                return None
        few = many / 2
        for _ in range(3):
            middle = (few + many) / 2
            if decided(middle):
                many = middle
            else:
                few = middle
        return math.ceil(self.count * (many - 1))

    def _sentence(
        self, said: Judgement, point: str, percentile: int, reference: str, margin: float, floor_ns: int
    ) -> str:
        subject = f"{said.endpoint}: {_POINTS[point]}" if said.endpoint else _POINTS[point]
        place, whose = _PLACES[percentile], _REFERENCES[reference]
        allowed = f"margin {percent(margin)}"
        if said.margin > margin:
            allowed += f" or {floor_ns / 1e6:g} ms"
        if not self.count:
            return f"{subject} {place}: nothing was measured yet"
        if said.effect == math.inf:
            lost = percent(self.candidate_lost / self.count)
            effect = f"never comes {place}, {lost} of the answers were lost"
        elif said.effect >= 0:
            effect = f"is {percent(said.effect)} slower than {whose} {place}"
        else:
            effect = f"is {percent(-said.effect)} faster than {whose} {place}"
        bounds = "no interval yet"
        if said.low > -1 or math.isfinite(said.high):
            bounds = f"interval {span(said.low, said.high)}"
        if said.result == "fail":
            when = self.pace.beyond(math.log1p(said.margin), STRETCHES) if percentile == 50 else ""
            return f"{subject} {effect} {when} ({bounds}, {allowed})".replace("  (", " (")
        if said.result == "pass" and said.high > margin:
            return f"{subject} {effect}, which is within {floor_ns / 1e6:g} ms (interval {span(said.low, said.high)})"
        if said.result == "pass":
            return f"{subject} {effect}; a slowdown beyond {percent(max(0.0, said.high))} would have been noticed"
        end = f"; {more(said.needed)}" if said.required else ""
        spread = self._bursts.effect((100 - percentile) / 100) if percentile != 50 else None
        if end and spread is not None and spread > _BURSTY:
            end = "; the slowest answers come in bursts, and a burst is one event: a longer run is needed"
        return f"{subject} {effect} ({bounds}, {allowed}){end}"


def _decided(longer: _Values, shorter: _Values, margin: float, floor_ns: int) -> Result:
    """Beyond the margin at each of the ranks that bound from below, or within it at each that bound from above."""

    def beyond(reference: float, candidate: float) -> bool:
        return candidate > max(reference * (1 + margin), reference + floor_ns)

    if longer and all(beyond(r, c) for r, c in longer):
        return "fail"
    if shorter and not any(beyond(r, c) for r, c in shorter):
        return "pass"
    return "inconclusive"


def _around(value: Callable[[float], float], share: float) -> float:
    """The duration that about this share exceeds, the mean of a band: where a timer makes steps of 10 ms, a quantile
    that lies on the edge of one says nothing, and its neighbourhood does."""
    return sum(value(min(1.0, share * factor)) for factor in _BAND) / len(_BAND)


def _middle(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def _relative(log_ratio: float) -> float:
    return math.expm1(log_ratio) if log_ratio < math.inf else math.inf


def _ratio(candidate: float, reference: float) -> float:
    """Of two quantiles, each of which may be infinite: against a reference that never answers nothing is slow."""
    if math.isinf(reference):
        return 0.0 if math.isfinite(candidate) else 1.0
    return candidate / max(reference, 1.0)


def _exceeded(sketch: LatencySketch, lost: int, share: float) -> float:
    exceeding = share * (sketch.count + lost)
    if exceeding < lost:
        return math.inf
    value = sketch.exceeded_by(exceeding - lost)
    return 0.0 if value is None else value
