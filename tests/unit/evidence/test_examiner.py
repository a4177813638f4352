"""From trials to findings: what is named, what is called noise, and what is only counted."""

from __future__ import annotations

import itertools
import random
from typing import Any

from shadowd.evidence.contents import MAX_REPEATS
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.margins import Margins
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment, signatures
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side

#: Between two exchanges: 33 a second, so that 3,000 are a run of 90 s.
PACE = 30 * MS


def new(rules: Rules | None = None, **settings: Any) -> Examiner:
    return Examiner(Settings(**settings), rules or Rules())


def assess(examiner: Examiner, eligible: int | None = None, seconds: float = 60.0) -> Assessment:
    assessment = Assessment(examiner, examiner.compared if eligible is None else eligible, seconds)
    assessment.finish()
    return assessment


def labels(assessment: Assessment) -> dict[tuple[str, str], str]:
    return {(found["where"], found["path"]): found["label"] for found in assessment.differences}


def test_equal_answers_leave_no_field() -> None:
    examiner = new()
    for number in range(100):
        examine(examiner, request(time=number * MS), answer({"total": number}), side(answer({"total": number})))
    (endpoint,) = examiner.endpoints.values()
    assert (endpoint.name, endpoint.total, endpoint.pairs, endpoint.differing) == ("GET /orders/{id}", 100, 100, 0)
    assert endpoint.fields == {}
    assert assess(examiner).differences == []


def test_a_deterministic_fault_is_found_by_twins_and_noise_is_not_a_fault() -> None:
    dice, examiner = random.Random(1), new()
    for number in range(8000):

        def made(wrong: bool) -> Any:
            return answer({"id": number, "nonce": dice.random(), "total": number + wrong})  # noqa: B023

        wrong = number % 7 == 3
        twin = side(made(wrong)) if dice.random() < 0.05 else None
        asked = request(f"/orders/{number}", time=number * 15 * MS)
        examine(examiner, asked, made(False), side(made(wrong)), twin=twin)
    assessment = assess(examiner)
    assert labels(assessment) == {("body", "$.total"): "regression", ("body", "$.nonce"): "not judged"}
    (finding,) = assessment.verdict["findings"]
    assert (finding["judge"], finding["endpoint"], finding["kind"]) == ("content", "GET /orders/{id}", "value")
    assert "$.total" in finding["path"]
    assert assessment.verdict["verdict"] == "fail"


def test_one_percent_at_random_is_found_with_a_baseline_and_is_noise_to_twins() -> None:
    named = {True: 0, False: 0}
    for baseline, seed in itertools.product((True, False), range(8)):
        dice = random.Random(seed)
        ever = False
        examiner = new(baseline=baseline, twin=0.0 if baseline else 0.05)
        for number in range(4000):

            def made(fault: float = 0.0) -> Any:
                return side(answer({"n": number, "total": -1 if dice.random() < fault else number}))  # noqa: B023

            others: dict[str, Any] = {}
            if baseline:
                others["baseline"] = made()
            elif dice.random() < 0.05:
                others["twin"] = made(0.01)
            examine(examiner, request(time=number * PACE), made().response, made(0.01), **others)
            ever = ever or (number in (2600, 3200, 3999) and "regression" in labels(assess(examiner)).values())
        named[baseline] += ever
        assert any("at random" in limit for limit in assess(examiner).verdict["limits"]) is not baseline
    assert named[True] >= 6
    assert named[False] == 0


def test_a_failing_answer_is_one_error_with_a_signature_and_not_forty_fields() -> None:
    examiner = new()
    for number in range(3000):
        broken = number % 50 == 0
        candidate = answer({"error": "stock lookup failed"}, 500) if broken else answer({"a": 1, "b": 2})
        examine(examiner, request(time=number * PACE), answer({"a": 1, "b": 2}), side(candidate))
    assessment = assess(examiner)
    assert (examiner.worse, examiner.better) == (60, 0)
    assert [(one["where"], one["path"], one["count"]) for one in assessment.differences] == [("status", "failing", 60)]
    finding = next(found for found in assessment.verdict["findings"] if found["judge"] == "errors")
    assert "stock lookup failed" in finding["signature"]["title"]
    (signature,) = signatures(examiner)
    assert (signature["new"], signature["count"], signature["endpoints"]) == (True, 60, ["GET /orders/{id}"])


def test_transport_failures_count_by_what_production_did() -> None:
    examiner = new()
    examine(examiner, request(), answer(b"x"), side(None, failure="timeout"))  # regression
    examine(examiner, request(), None, side(answer(b"x")), failure="reset")  # improvement
    examine(examiner, request(), None, side(None, failure="reset"), failure="reset")  # shared
    (endpoint,) = examiner.endpoints.values()
    failing = endpoint.outcomes.failing
    assert (failing.against.count, failing.better.count, endpoint.outcomes.shared, endpoint.total) == (1, 1, 1, 3)
    assert (examiner.worse, examiner.better, endpoint.outcomes.total.count) == (1, 1, 3)
    assert examiner.lagging.count == 0, "a timeout is a failure, and counted once"
    assert {one["title"] for one in signatures(examiner)} >= {"timeout"} or examiner.signatures


def test_what_cannot_be_compared_is_counted_and_not_compared() -> None:
    examiner = new()
    examine(examiner, request(), None, side(answer(b"x")))  # production's answer has a hole
    examine(examiner, request(), answer(b"x"), side(None, shed="shadow_lag"))
    examine(examiner, request(), answer(b"x"), side(None, shed="own_lag"))
    examine(examiner, request(), answer(b"x"), side(None, shed="max_rps"))
    assert (examiner.uncomparable, examiner.compared, examiner.lagging.count) == (1, 0, 1)
    assert examiner.shed == {"shadow_lag": 1, "own_lag": 1, "max_rps": 1}
    assert assess(examiner, eligible=4).verdict["verdict"] == "inconclusive"


def test_no_data_is_inconclusive_and_low_coverage_caps_a_pass_but_never_a_fail() -> None:
    empty = assess(new(), eligible=0, seconds=0.0).verdict
    assert (empty["verdict"], empty["score"]) == ("inconclusive", 0)
    for failing in (False, True):
        examiner = new(twin=0.0)
        for number in range(8000):
            candidate = side(answer(b"same", 500 if failing and number % 20 == 0 else 200))
            examine(examiner, request(time=number * PACE), answer(b"same"), candidate)
        assert assess(examiner).verdict["verdict"] == ("fail" if failing else "pass")
        assert assess(examiner, eligible=9000).verdict["verdict"] == ("fail" if failing else "inconclusive")


def test_writes_that_were_not_mirrored_are_no_proof_and_too_many_cap_the_verdict() -> None:
    examiner = new(twin=0.5)
    for number in range(200):
        asked = request("/orders/5", time=number * 500 * MS)
        if number == 20:
            examiner.note_write(request("/orders/5", "PUT"))
        different = number >= 20
        twin = side(answer({"state": "new"}))
        examine(
            examiner, asked, answer({"state": "old" if different else "new"}), side(answer({"state": "new"})), twin=twin
        )
    assessment = assess(examiner)
    assert examiner.drifted == 180
    assert labels(assessment) == {("body", "$.state"): "drift"}
    assert assessment.verdict["verdict"] == "inconclusive"
    assert any("drift" in reason for reason in assessment.verdict["reasons"])


def test_the_operators_word_goes_before_what_was_learned() -> None:
    rules = Rules(
        [{"where": "body", "path": "$.time", "endpoint": "", "change": ""}],
        [{"where": "body", "path": "$.currency", "endpoint": "", "change": "extra"}],
    )
    examiner = new(rules)
    for number in range(300):
        twin = side(answer({"time": 2, "currency": "EUR"})) if number % 10 == 0 else None
        production, candidate = answer({"time": 1}), answer({"time": 2, "currency": "EUR"})
        examine(examiner, request(time=number * PACE), production, side(candidate), twin=twin)
    assessment = assess(examiner)
    assert labels(assessment) == {("body", "$.time"): "noise", ("body", "$.currency"): "expected"}
    assert assessment.verdict["findings"] == []
    assert assessment.verdict["expected"] == 300


def test_repeated_requests_teach_noise_from_production_alone() -> None:
    dice, examiner = random.Random(2), new(twin=0.0)
    for number in range(400):
        made = [answer({"nonce": dice.random(), "v": 1 + side_}) for side_ in (0, 1)]
        examine(examiner, request("/health", time=number * MS), made[0], side(made[1]))
    (endpoint,) = examiner.endpoints.values()
    nonce, value = (endpoint.fields["body", path] for path in ("$.nonce", "$.v"))
    assert nonce.repeats_differed == nonce.repeats > 300
    assert (value.repeats > 300, value.repeats_differed) == (True, 0)
    for number in range(2 * MAX_REPEATS):
        examine(examiner, request(f"/health?{number}", time=SECOND), answer({"v": 1}), side(answer({"v": 2})))
    assert len(examiner.contents._repeats) == MAX_REPEATS


def test_another_version_ends_the_run() -> None:
    examiner = new(run_key="X-Version")
    examine(
        examiner, request(), answer(b"x", headers={"X-Version": "1"}), side(answer(b"x", headers={"x-version": "2"}))
    )
    examine(
        examiner, request(), answer(b"x", headers={"X-Version": "1"}), side(answer(b"x", headers={"X-Version": "3"}))
    )
    assert examiner.ended == "the candidate changed its X-Version"
    assert examiner.compared == 1
    examine(examiner, request(), answer(b"x"), side(answer(b"x")))
    assert examiner.compared == 1


def test_answers_that_left_late_say_nothing_of_latency() -> None:
    examiner = new()
    for number in range(10):
        late = side(answer(b"x"), took=50 * MS)
        late.late = number % 2 == 0
        examine(examiner, request(time=number * MS), answer(b"x", time=number * MS), late)
    assert (examiner.timing.late, examiner.timing.timed, examiner.first_byte.count) == (5, 5, 5)


def test_a_slow_endpoint_is_named_once_with_its_interval() -> None:
    dice, examiner = random.Random(3), new()
    for number in range(4000):
        slow = number % 4 == 0
        asked = request("/search?q=x" if slow else "/items/7", time=number * PACE)
        took = int(4 * MS * dice.lognormvariate(0, 0.2))
        production = answer(b"x", time=asked.ended)
        production.first_byte = production.last_byte = asked.ended + took
        candidate = side(answer(b"x"), took=int(4 * MS * dice.lognormvariate(0, 0.2) * (3 if slow else 1)))
        examine(examiner, asked, production, candidate)
    findings = assess(examiner).verdict["findings"]
    assert [(found["judge"], found["endpoint"]) for found in findings] == [("latency", "GET /search")]
    assert 1.5 < findings[0]["interval"][0] < findings[0]["effect"] < findings[0]["interval"][1] < 2.5


def test_margins_are_the_filters() -> None:
    strict, lax = new(margins=Margins(max_error_increase=0.0001)), new(margins=Margins(max_error_increase=0.5))
    for number in range(3000):
        for examiner in (strict, lax):
            candidate = side(answer(b"x", 500 if number % 30 == 0 else 200), measured=False)
            examine(examiner, request(time=number * PACE), answer(b"x"), candidate)
    assert assess(strict).verdict["verdict"] == "fail"
    assert not [found for found in assess(lax).verdict["findings"] if found["judge"] == "errors"]


def test_a_critical_endpoint_needs_its_own_samples() -> None:
    examiner = new(twin=0.0, margins=Margins(min_samples=100), critical_endpoints=("GET /pay", "GET /orders/{id}"))
    for number in range(8000):
        asked = request("/pay" if number % 100 == 0 else "/orders/7", time=number * PACE)
        examine(examiner, asked, answer(b"same"), side(answer(b"same")))
    verdict = assess(examiner).verdict
    assert verdict["verdict"] == "inconclusive"
    assert verdict["reasons"] == ["GET /pay: 80 of at least 100 exchanges were compared"]
    for number in range(8000, 8020):
        examine(examiner, request("/pay", time=number * PACE), answer(b"same"), side(answer(b"same")))
    assert assess(examiner).verdict["verdict"] == "pass"
