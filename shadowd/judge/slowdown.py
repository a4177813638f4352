"""Latency of an endpoint, paired: is the candidate slower than the margin allows? (sans-IO)

Counted in ``evidence/slowdown.py``. The median is judged by its blocks' votes. The 90th and 99th percentile belong to
no pair, so the two sides' quantiles are compared (``tails.py``), with fewer samples the more they come in
bursts (``evidence/bursts.py``). What was never answered, or shed because the shadow lagged, is longer than everything.

Both must hold over stretches of the run as well (``courses.py``, ``evidence/pace.py``): each side's own slow minute is
no release's fault. For the median that is the mean of the stretches' medians; for a tail, how the exceedances of the
two sides differ from stretch to stretch says how far the candidate's quantile may be off by chance.

A regression needs both: beyond the margin as a ratio, and beyond the floor as a difference. So for a short reference
the floor is a larger margin, max(margin, floor/quantile).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from shadowd.evidence.slowdown import BLOCK_MIN, LatencyEvidence, judged_by
from shadowd.evidence.stretches import GROUPS, LEAST_GROUPS, STRETCHES, rate
from shadowd.evidence.student import upper_quantile
from shadowd.judge.betting import log_e_above
from shadowd.judge.blocks import BlockJudge
from shadowd.judge.courses import FEW_CONNECTIONS, Window, windows
from shadowd.judge.judgement import Judgement, Result, more, percent, span
from shadowd.judge.tails import Ranks, ranks_longer, ranks_shorter
from shadowd.judge.verdict import QUANTILE_SHARES

#: A late window that is looked at apart lasts that many shortest windows: either side's own slow minutes would be found
#: in one as short as a minute.
LATE_SPANS = 4
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


class LatencyJudge:
    """Of one point (first or last byte, …) at one endpoint, as it stands."""

    __slots__ = ("_of", "_wandered", "_why")

    def __init__(self, evidence: LatencyEvidence) -> None:
        self._of = evidence
        self._wandered = 0.0
        self._why = ""  # a median beyond the margin in all its blocks is no finding

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
        looks = windows(self._of.pace.begin, self._of.pace.latest, self._of.least)
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
                samples=self._of.count,
                needed=needed,
                required=required,
                log_e=log_e,
            )
            judgement.sentence = self._sentence(judgement, point, percentile, reference, margin, floor_ns)
            found.append(judgement)
        return found

    def wandering(self) -> float:
        """How far the pace may have strayed by chance at the latest look, as a log-ratio."""
        looks = windows(self._of.pace.begin, self._of.pace.latest, self._of.least)
        found = self._of.pace.medians(looks[0].begin, looks[0].end, STRETCHES) if looks else None
        return found.wandered if found is not None else 0.0

    def median(self, least: float, alpha_fail: float, alpha_pass: float) -> tuple[Result, float, float, float, float]:
        """The median paired ratio against the relative margin ``least``, of whatever was added: (result, effect, low,
        high, log e)."""
        looks = windows(self._of.pace.begin, self._of.pace.latest, self._of.least)
        said = self._steady(self._median(least, alpha_fail, alpha_pass, False), least, alpha_fail, alpha_pass, looks)
        result, effect, low, high, _, log_e = said
        return result, effect, low, high, log_e

    # --- judging ------------------------------------------------------------------------------------------------------

    def _least(self, percentile: int, margin: float, floor_ns: int) -> float:
        """The margin as a ratio, the floor included."""
        quantile = self._of.reference_value(1 - percentile / 100)
        return max(margin, floor_ns / quantile) if quantile > 0 and math.isfinite(quantile) else margin

    def _median(self, least: float, alpha_fail: float, alpha_pass: float, required: bool) -> _Said:
        blocks, threshold = self._of.blocks, math.log1p(least)
        votes = BlockJudge(blocks)
        low, high = votes.bounds(alpha_fail, alpha_pass)
        log_e = votes.evidence_above(threshold)
        result: Result = "inconclusive"
        needed = None
        if log_e >= -math.log(alpha_fail):
            result = "fail"
        elif votes.evidence_below(threshold) >= -math.log(alpha_pass):
            result = "pass"
        elif required:
            further = votes.needed(threshold, alpha_fail, alpha_pass)
            each = self._of.count / blocks.count if blocks.count else BLOCK_MIN
            needed = None if further is None else max(1, math.ceil(further * each))
        return result, math.expm1(blocks.median()), _relative(low), _relative(high), needed, log_e

    def _steady(
        self, said: _Said, least: float, alpha_fail: float, alpha_pass: float, looks: Sequence[Window]
    ) -> _Said:
        """What the blocks' votes say of the median, if the stretches say so too."""
        threshold = math.log1p(least)
        result, effect, low, high, needed, log_e = said
        failed = False
        self._why = ""
        for number, look in enumerate(looks):
            level = alpha_fail * look.spent
            if number and look.end - look.begin < LATE_SPANS * self._of.least:
                continue
            if result != "fail" and (number == 0 or not self._votes(look, threshold, level)):
                continue
            found = self._of.pace.medians(look.begin, look.end, STRETCHES)
            failed = failed or (found is not None and found.moved(self._wandered).low(level) > threshold)
            strayed = max(found.wandered if found is not None else 0.0, self._wandered)
            self._why = self._why or _unsteady(strayed)
        if failed and self._of_few_connections():
            failed, self._why = False, FEW_CONNECTIONS
        passed = False
        if result == "pass" and looks:
            found = self._of.pace.medians(looks[0].begin, looks[0].end, STRETCHES)
            passed = found is not None and found.rate.high(alpha_pass) <= threshold
        return ("fail" if failed else "pass" if passed else "inconclusive"), effect, low, high, needed, log_e

    def _votes(self, look: Window, threshold: float, alpha: float) -> bool:
        """Whether the blocks of a late window alone say that the candidate is slower."""
        above, many = self._of.pace.signs(look.begin, look.end, threshold)
        effect = self._of.blocks.design_effect(threshold)
        counts = ((1.0, above / effect), (0.0, (many - above) / effect))
        return log_e_above(counts, 0.5, 0.0, 1.0) >= -math.log(alpha)

    def _of_few_connections(self) -> bool:
        """Whether it is some connections' candidate that is slower, and not the candidate at large."""
        if self._of.groups is None:
            return False
        pairs, slower = self._of.groups[:GROUPS], self._of.groups[GROUPS:]
        found = rate(slower, pairs, 2)
        if found is not None and found.parts >= LEAST_GROUPS:
            return found.low(_OF_FEW) <= 0.5
        return min(s / n for s, n in zip(slower, pairs, strict=True) if n) <= 0.5

    def _tail(
        self, percentile: int, margin: float, floor_ns: int, alpha_fail: float, alpha_pass: float, required: bool,
        looks: Sequence[Window],
    ) -> _Said:  # fmt: skip
        tail = (100 - percentile) / 100
        spread = self._of._bursts.effect(tail, self._of._pairs)
        reference, candidate = _around(self._of.reference_value, tail), _around(self._of.candidate_value, tail)
        effect = _ratio(candidate, reference) - 1 if self._of.count else 0.0
        low, high = -1.0, math.inf
        result: Result = "inconclusive"
        needed = None
        if spread is not None:
            longer, shorter = self._values(tail, self._of.count / spread, alpha_fail, alpha_pass)
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
        found = self._of.pace.exceedances(0 if tail > 0.05 else 1, look.begin, look.end, STRETCHES)
        middle = self._of.pace.medians(look.begin, look.end, STRETCHES)
        if found is None or middle is None:
            return "inconclusive", math.inf
        level = alpha_fail * look.spent if result == "fail" else alpha_pass
        far = upper_quantile(level, found.parts - 1)
        away = tail + far * found.error if result == "fail" else tail - far * found.error
        reference, candidate = _around(self._of.reference_value, tail), math.inf
        if away > 0:
            candidate = _around(self._of.candidate_value, min(1.0, away))
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
        return [(_around(self._of.reference_value, k), _around(self._of.candidate_value, j)) for k, j in ranks or ()]

    def _needed(
        self, tail: float, spread: float, margin: float, floor_ns: int, alpha_fail: float, alpha_pass: float
    ) -> int | None:
        """How many more pairs like those so far until it is decided."""
        if not self._of.count:
            return None

        def decided(times: float) -> bool:
            longer, shorter = self._values(tail, self._of.count * times / spread, alpha_fail, alpha_pass)
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
        return math.ceil(self._of.count * (many - 1))

    def _sentence(
        self, said: Judgement, point: str, percentile: int, reference: str, margin: float, floor_ns: int
    ) -> str:
        subject = f"{said.endpoint}: {_POINTS[point]}" if said.endpoint else _POINTS[point]
        place, whose = _PLACES[percentile], _REFERENCES[reference]
        allowed = f"margin {percent(margin)}"
        if said.margin > margin:
            allowed += f" or {floor_ns / 1e6:g} ms"
        if not self._of.count:
            return f"{subject} {place}: nothing was measured yet"
        if said.effect == math.inf:
            lost = percent(self._of.candidate_lost / self._of.count)
            effect = f"never comes {place}, {lost} of the answers were lost"
        elif said.effect >= 0:
            effect = f"is {percent(said.effect)} slower than {whose} {place}"
        else:
            effect = f"is {percent(-said.effect)} faster than {whose} {place}"
        bounds = "no interval yet"
        if said.low > -1 or math.isfinite(said.high):
            bounds = f"interval {span(said.low, said.high)}"
        if said.result == "fail":
            when = self._of.pace.beyond(math.log1p(said.margin), STRETCHES) if percentile == 50 else ""
            return f"{subject} {effect} {when} ({bounds}, {allowed})".replace("  (", " (")
        if said.result == "pass" and said.high > margin:
            return f"{subject} {effect}, which is within {floor_ns / 1e6:g} ms (interval {span(said.low, said.high)})"
        if said.result == "pass":
            return f"{subject} {effect}; a slowdown beyond {percent(max(0.0, said.high))} would have been noticed"
        end = f"; {more(said.needed)}" if said.required else ""
        if self._why and percentile == 50:
            end = f"; {self._why}"
        spread = self._of._bursts.effect((100 - percentile) / 100) if percentile != 50 else None
        if end and spread is not None and spread > _BURSTY:
            end = "; the slowest answers come in bursts, and a burst is one event: a longer run is needed"
        return f"{subject} {effect} ({bounds}, {allowed}){end}"


def judge_latency(evidence: LatencyEvidence, *given: Any, **named: Any) -> list[Judgement]:
    """``LatencyJudge.judge`` of it."""
    return LatencyJudge(evidence).judge(*given, **named)


judged_by[:] = [judge_latency]


def _decided(longer: _Values, shorter: _Values, margin: float, floor_ns: int) -> Result:
    """Beyond the margin at each of the ranks that bound from below, or within it at each that bound from above."""

    def beyond(reference: float, candidate: float) -> bool:
        return candidate > max(reference * (1 + margin), reference + floor_ns)

    if longer and all(beyond(r, c) for r, c in longer):
        return "fail"
    if shorter and not any(beyond(r, c) for r, c in shorter):
        return "pass"
    return "inconclusive"


def _unsteady(strayed: float) -> str:
    """Why the stretches do not confirm what the blocks say."""
    if strayed > 0:
        return (
            f"how fast both are strays by up to {percent(math.expm1(strayed))} of itself meanwhile, a longer run tells"
        )
    return "the stretches of the run differ too much from each other, a longer run tells"


def _around(value: Callable[[float], float], share: float) -> float:
    """The duration that about this share exceeds, the mean of a band: where a timer makes steps of 10 ms, a quantile
    that lies on the edge of one says nothing, and its neighbourhood does."""
    return sum(value(min(1.0, share * factor)) for factor in _BAND) / len(_BAND)


def _relative(log_ratio: float) -> float:
    return math.expm1(log_ratio) if log_ratio < math.inf else math.inf


def _ratio(candidate: float, reference: float) -> float:
    """Of two quantiles, each of which may be infinite: against a reference that never answers nothing is slow."""
    if math.isinf(reference):
        return 0.0 if math.isfinite(candidate) else 1.0
    return candidate / max(reference, 1.0)
