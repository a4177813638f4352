"""From the judges' words to one verdict (sans-IO).

**A false fail in at most 5 % of all runs.** Hypothesis i fails when its e-value reaches 1/(α·wᵢ); since the shares wᵢ
of all judges, endpoints, fields and quantiles add up to at most 1, any of them fails falsely with probability ≤ α by
the union bound, whenever and however often somebody looks. Fields and endpoints turn up while traffic runs: the j-th
gets 1/(j(j+1)) of its judge's share, and Σ 1/(j(j+1)) = 1.

**A false pass in at most 5 %.** Every required judge must pass, each at α: if one of them is beyond its margin, that
one alone would have to err (intersection–union test, R. Berger 1982), so α is not split.

**Score.** A judge's position is the part of its interval that lies within the margin, (margin − low)/(high − low)
clipped to 0…1: 0 when it fails, 1 when it passes, in between while the interval still straddles the margin. Of several
judgements of a judge the worst one of those that are required or have failed counts. Points are position × weight,
weights are scaled to 100 over the judges present, and the score is the sum of the points. Without samples it is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from shadowd.evidence.margins import WEIGHTS, Margins
from shadowd.judge.judgement import Judgement, Result, percent

#: Family-wise probability of a false fail, the convention.
ALPHA = 0.05

#: How α is divided. Latency has six hypotheses for all traffic together and six more for every endpoint, and its
#: evidence is cheap to come by but hard to compress, so it gets most; memory gets two or three looks in a run; CPU
#: fails nothing unless made critical.
SHARES = {
    "errors": 0.18, "content": 0.20, "decisions": 0.06, "latency": 0.30, "slow": 0.06, "memory": 0.10, "capacity": 0.06,
    "cpu": 0.04,
}  # fmt: skip
#: Of the errors' share: exchanges that fail, those that are refused, and endpoints apart.
ERRORS_PARTS = {"failing": 0.6, "refused": 0.2, "endpoints": 0.2}

#: Within latency: half for all traffic together; first and last byte alike; the median is what most slowdowns move.
_OVERALL = 0.5
_POINTS = 0.5
QUANTILE_SHARES = {50: 0.6, 90: 0.2, 99: 0.2}

#: State drift beyond this share of the compared exchanges caps a pass: the label must not become a hiding place.
MAX_DRIFT = 0.05

#: Sentences listed for a verdict; the rest is counted. A page of a terminal.
MAX_REASONS = 20


def weight(order: int) -> float:
    """1/(j(j+1)): the share of the j-th hypothesis (from 1) in order of first existence. They add up to 1."""
    if order < 1:
        raise ValueError(f"hypotheses are numbered from 1, not {order}")
    return 1.0 / (order * (order + 1))


def errors_alpha(part: str = "") -> float:
    """Of all errors, or of one of ``ERRORS_PARTS``."""
    return ALPHA * SHARES["errors"] * (ERRORS_PARTS[part] if part else 1.0)


def slow_alpha() -> float:
    return ALPHA * SHARES["slow"]


def field_alpha(order: int) -> float:
    """Level of the ``order``-th field (over all endpoints, from 1, in order of first existence)."""
    return ALPHA * SHARES["content"] * weight(order)


def decision_alpha(many: int) -> float:
    """Level of each of ``many`` decisions of models (refusals, tool calls …) that are known beforehand."""
    return ALPHA * SHARES["decisions"] / many


def latency_alpha(order: int | None = None) -> Callable[[int], float]:
    """Level by percentile (50, 90, 99) of one point (first or last byte); ``order``: of the endpoint, None: overall."""
    share = _OVERALL if order is None else (1.0 - _OVERALL) * weight(order)
    alpha = ALPHA * SHARES["latency"] * _POINTS * share
    return lambda percentile: alpha * QUANTILE_SHARES[percentile]


def memory_alpha() -> float:
    return ALPHA * SHARES["memory"]


def capacity_alpha() -> float:
    return ALPHA * SHARES["capacity"]


def cpu_alpha() -> float:
    return ALPHA * SHARES["cpu"]


class Verdict:
    """``verdict`` is pass, fail or inconclusive; ``reasons`` are sentences, the weightiest first."""

    __slots__ = ("coverage", "judgements", "parts", "reasons", "score", "verdict")

    def __init__(
        self,
        verdict: Result,
        score: int,
        reasons: list[str],
        judgements: list[Judgement],
        coverage: float,
        parts: list[dict[str, Any]],
    ) -> None:
        self.verdict = verdict
        self.score = score
        self.reasons = reasons
        self.judgements = judgements
        self.coverage = coverage
        self.parts = parts

    def view(self) -> dict[str, Any]:
        """For JSON, as ``GET /verdict`` answers."""
        return {
            "verdict": self.verdict,
            "score": self.score,
            "reasons": list(self.reasons),
            "judges": [judgement.view() for judgement in self.judgements],
            "coverage": round(self.coverage, 6) if math.isfinite(self.coverage) else None,
            "parts": [dict(part) for part in self.parts],
        }


def decide(
    judgements: Sequence[Judgement],
    coverage: float,
    margins: Margins,
    *,
    samples: int,
    seconds: float,
    drift_share: float = 0.0,
    notes: Sequence[str] = (),
) -> Verdict:
    """Fail if a critical judge fails; pass if every required one passes and nothing caps it; else inconclusive.

    ``coverage`` is the share compared of (seen − filtered); ``notes`` are appended to the reasons. Judgements are
    marked critical as the margins say.
    """
    for judgement in judgements:
        judgement.critical = judgement.judge in margins.critical
    failed = sorted(
        (j for j in judgements if j.critical and j.result == "fail"),
        key=lambda j: (list(WEIGHTS).index(j.judge), j.endpoint, -j.log_e),
    )
    required = [j for j in judgements if j.required and j.critical]
    missing = _missing(required, coverage, margins, samples, seconds, drift_share)
    verdict: Result
    if failed:
        verdict, reasons = "fail", [j.sentence for j in failed]
    elif missing:
        verdict, reasons = "inconclusive", missing
    else:
        verdict, reasons = "pass", [j.sentence for j in required]
    if len(reasons) > MAX_REASONS:
        reasons = [*reasons[: MAX_REASONS - 1], f"and {len(reasons) - MAX_REASONS + 1} more"]
    parts = _parts(judgements) if samples > 0 else []
    score = round(sum(part["points"] for part in parts))
    if verdict != "pass":  # rounding must not make it look complete
        score = min(score, 99)
    return Verdict(verdict, score, [*reasons, *notes], list(judgements), coverage, parts)


def _missing(
    required: Sequence[Judgement],
    coverage: float,
    margins: Margins,
    samples: int,
    seconds: float,
    drift_share: float,
) -> list[str]:
    """What stands between now and a pass."""
    if samples <= 0:
        return ["no exchange was compared yet, and no data is not a pass"]
    missing = []
    if drift_share > MAX_DRIFT:
        missing.append(
            f"{percent(drift_share)} of the exchanges differ where the shadow's state has drifted "
            f"(more than {percent(MAX_DRIFT)}): writes that were not mirrored may hide regressions"
        )
    missing += [j.sentence for j in required if j.result != "pass"]
    if not required:
        missing.append("no judge that a pass requires has spoken")
    if not coverage >= margins.min_coverage:
        missing.append(
            f"only {percent(coverage)} of the requests that were to be compared were compared "
            f"({percent(margins.min_coverage)} are asked for)"
        )
    if samples < margins.min_samples:
        missing.append(f"{samples:,} of at least {margins.min_samples:,} exchanges were compared")
    if seconds < margins.min_duration:
        missing.append(f"the run has lasted {seconds:,.0f} s of at least {margins.min_duration:,.0f} s")
    return missing


def _position(judgement: Judgement) -> float:
    """How far the interval has moved from fail (0) to pass (1)."""
    if judgement.result != "inconclusive":
        return 1.0 if judgement.result == "pass" else 0.0
    low, high, margin = judgement.low, judgement.high, judgement.margin
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return 0.5  # nothing is known of it
    return min(1.0, max(0.0, (margin - low) / (high - low)))


def _parts(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    worst: dict[str, float] = {}
    for judgement in judgements:
        if judgement.required or judgement.result == "fail" or judgement.judge in ("cpu", "restarts"):
            position = _position(judgement)
            worst[judgement.judge] = min(position, worst.get(judgement.judge, 1.0))
    total = sum(WEIGHTS[judge] for judge in worst)
    return [
        {
            "judge": judge,
            "weight": round(100 * WEIGHTS[judge] / total, 1),
            "points": round(100 * WEIGHTS[judge] / total * worst[judge], 1),
        }
        for judge in WEIGHTS
        if judge in worst
    ]
