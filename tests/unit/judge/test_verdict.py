"""The verdict from judgements: fails, what is required, caps, score, and how α is divided."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from shadowd.evidence.margins import Margins
from shadowd.judge.discordance import judge_capacity, judge_content, judge_errors
from shadowd.judge.judgement import Judgement, Result, more, percent, span
from shadowd.judge.verdict import (
    ALPHA,
    MAX_REASONS,
    QUANTILE_SHARES,
    SHARES,
    Verdict,
    capacity_alpha,
    cpu_alpha,
    decide,
    decision_alpha,
    errors_alpha,
    field_alpha,
    latency_alpha,
    memory_alpha,
    slow_alpha,
    weight,
)


def said(judge: str, result: Result, required: bool = True, **more_of_it: Any) -> Judgement:
    return Judgement(
        judge=judge, result=result, required=required, sentence=f"{judge} {result}", margin=0.1, **more_of_it
    )


def decided(*judgements: Judgement, coverage: float = 1.0, samples: int = 10_000, **rest: Any) -> Verdict:
    margins = rest.pop("margins", Margins())
    return decide(judgements, coverage, margins, samples=samples, seconds=rest.pop("seconds", 60.0), **rest)


def test_all_required_pass() -> None:
    verdict = decided(said("errors", "pass"), said("content", "pass"), said("cpu", "inconclusive", False))
    assert (verdict.verdict, verdict.reasons) == ("pass", ["errors pass", "content pass"])


def test_one_critical_failure_is_enough_and_comes_first() -> None:
    verdict = decided(
        said("content", "fail", False, endpoint="GET /x", log_e=5.0),
        said("errors", "inconclusive"),
        said("latency", "fail", False, log_e=90.0),
    )
    assert verdict.verdict == "fail"
    assert verdict.reasons == ["content fail", "latency fail"]


def test_what_is_not_critical_neither_fails_nor_blocks() -> None:
    assert decided(said("errors", "pass"), said("cpu", "fail", True)).verdict == "pass"
    critical = Margins(critical={"errors", "cpu"})
    failing = decided(said("errors", "pass"), said("cpu", "fail"), margins=critical)
    assert failing.verdict == "fail"
    assert [judgement.critical for judgement in failing.judgements] == [True, True]


def test_a_failure_that_is_not_required_fails_too() -> None:
    assert decided(said("errors", "pass"), said("content", "fail", False)).verdict == "fail"


def test_an_inconclusive_endpoint_does_not_block() -> None:
    assert decided(said("errors", "pass"), said("latency", "inconclusive", False)).verdict == "pass"


def test_no_data_is_inconclusive() -> None:
    assert decided(samples=0).verdict == "inconclusive"
    assert decided(said("errors", "pass"), samples=0).verdict == "inconclusive"
    assert decided(samples=0).score == 0
    assert decided().verdict == "inconclusive"
    assert decided(samples=0).reasons == ["no exchange was compared yet, and no data is not a pass"]


@pytest.mark.parametrize(
    ("circumstances", "reason"),
    [
        ({"coverage": 0.90}, "only 90 % of the requests"),
        ({"coverage": math.nan}, "of the requests that were to be compared"),
        ({"drift_share": 0.06}, "state has drifted"),
        ({"margins": Margins(min_samples=20_000)}, "10,000 of at least 20,000"),
        ({"margins": Margins(min_duration=600)}, "60 s of at least 600 s"),
    ],
)
def test_caps(circumstances: dict[str, Any], reason: str) -> None:
    verdict = decided(said("errors", "pass"), **circumstances)
    assert verdict.verdict == "inconclusive"
    assert reason in verdict.reasons[0]
    assert verdict.score < 100
    assert decided(said("errors", "fail"), **circumstances).verdict == "fail"  # a cap never hides a fail


def test_a_cap_of_exactly_the_limit_is_met() -> None:
    verdict = decided(said("errors", "pass"), coverage=0.95, drift_share=0.05, seconds=60.0)
    assert verdict.verdict == "pass"
    assert verdict.score == 100


def test_the_score_moves_with_the_evidence() -> None:
    scores = []
    for n in (10, 500, 2000, 4000, 6000):
        judgements = (judge_errors(0, 0, n), judge_content(0, n), judge_capacity(0, n))
        scores.append(decided(*judgements, samples=n).score)
    assert scores == sorted(scores)
    assert scores[0] < 40
    assert scores[-1] == 100
    worse = [decided(judge_errors(n // 50, 0, n), samples=n).score for n in (50, 300, 5000)]
    assert worse == sorted(worse, reverse=True)
    assert worse[-1] == 0


def test_the_parts_add_up() -> None:
    half = {"low": 0.0, "high": 0.2}
    verdict = decided(said("errors", "pass"), said("content", "inconclusive", **half), said("memory", "fail"))
    parts = {part["judge"]: (part["weight"], part["points"]) for part in verdict.parts}
    assert parts == {"errors": (42.9, 42.9), "content": (42.9, 21.4), "memory": (14.3, 0.0)}
    assert verdict.score == 64
    assert sum(part["points"] for part in verdict.parts) == pytest.approx(verdict.score, abs=1)


def test_the_worst_of_a_judge_counts() -> None:
    verdict = decided(said("latency", "pass"), said("latency", "fail", False), said("latency", "inconclusive", False))
    assert verdict.parts == [{"judge": "latency", "weight": 100.0, "points": 0.0}]


def test_reasons_are_bounded_and_notes_come_last() -> None:
    verdict = decided(*[said("content", "fail", False) for _ in range(50)], notes=["a note"])
    assert len(verdict.reasons) == MAX_REASONS + 1
    assert verdict.reasons[-2:] == ["and 31 more", "a note"]


def test_the_view_is_json_without_infinities() -> None:
    verdict = decided(said("latency", "inconclusive", effect=math.inf), said("errors", "inconclusive"))
    text = json.dumps(verdict.view(), allow_nan=False)
    view = json.loads(text)
    assert set(view) == {"verdict", "score", "reasons", "judges", "coverage", "parts"}
    assert view["judges"][0]["effect"] is None
    assert view["judges"][0]["interval"] == [None, None]
    assert decided(said("errors", "pass"), coverage=math.nan).view()["coverage"] is None


def test_alpha_is_not_spent_twice() -> None:
    many = range(1, 2000)
    latency = 2 * sum(latency_alpha()(p) for p in QUANTILE_SHARES)
    latency += 2 * sum(latency_alpha(j)(p) for j in many for p in QUANTILE_SHARES)
    fields = sum(field_alpha(j) for j in many)
    assert latency == pytest.approx(ALPHA * SHARES["latency"], rel=1e-3)
    assert fields == pytest.approx(ALPHA * SHARES["content"], rel=1e-3)
    errors = errors_alpha("failing") + errors_alpha("refused")
    errors += 2 * sum(errors_alpha("endpoints") / 2 * weight(j) for j in many)  # an endpoint's failing, and refused
    assert errors == pytest.approx(ALPHA * SHARES["errors"], rel=1e-3)
    total = latency + fields + errors + slow_alpha() + memory_alpha() + capacity_alpha() + cpu_alpha()
    total += 5 * decision_alpha(5)
    assert 0.99 * ALPHA < total <= ALPHA
    assert [weight(1), weight(2), weight(3)] == [1 / 2, 1 / 6, 1 / 12]
    with pytest.raises(ValueError, match="from 1"):
        weight(0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_error_increase", -0.1),
        ("max_error_increase", 1.5),
        ("max_diff_share", math.nan),
        ("max_slowdown", (0.1, 0.15)),
        ("max_slowdown", (0.1, 0.15, -1)),
        ("latency_floor", -1),
        ("max_leak", math.inf),
        ("max_cpu", "a lot"),
        ("min_coverage", 95),
        ("min_samples", -1),
        ("min_duration", -1),
        ("critical", {"error"}),
    ],
)
def test_margins_out_of_range_say_so(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"must be a number from|needs three values|there is no judge"):
        Margins(**{name: value})


def test_margins_by_default() -> None:
    margins = Margins()
    assert margins.critical == {"errors", "content", "latency", "slow", "memory", "capacity", "restarts"}
    assert margins.max_slowdown == (0.10, 0.15, 0.25)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.00012, "0.012 %"),
        (0.01234, "1.2 %"),
        (0.0999, "10 %"),
        (0.05, "5 %"),
        (2.1, "210 %"),
        (-0.035, "-3.5 %"),
        (9.99, "999 %"),
        (54.321, "54 times"),
        (-1234.5, "-1,234 times"),
        (2e6, "over a million times"),
        (math.inf, "∞ %"),
        (-1e-9, "0 %"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_texts() -> None:
    assert span(0.008, 0.0171) == "0.8…1.7 %"
    assert span(8.03, 10.2) == "803 %…10 times", "the ends have units of their own"
    assert span(12.0, 16.2) == "12…16 times"
    assert more(3412) == "some 3,500 more exchanges are expected to be needed"
    assert more(7, "requests") == "some 7 more requests are expected to be needed"
    assert "longer run is needed" in more(None)
