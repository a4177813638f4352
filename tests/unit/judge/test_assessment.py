"""What the evidence of a run says as a whole: the daemon's own lateness, what caps a pass, what people are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.margins import Margins
from shadowd.evidence.rules import Rules
from shadowd.evidence.stretches import STRETCHES
from shadowd.judge.assessment import NO_BASELINE, ONE_STOP, OWN_LAG, OWN_LATE, TOO_BUSY, Assessment
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side

MANY = 1600
PACE = 10 * MS
EACH = MANY // STRETCHES  # exchanges of a stretch
CONNECTIONS = 17  # prime: each meets all kinds of exchanges
PACED = ("latency", "slow", "capacity")
Which = Callable[[int], bool]


def never(number: int) -> bool:
    return False


def bad_run(own_lag: Which = never, late: Which = never, baseline: bool = False) -> Assessment:
    """A candidate that is wrong in all ways: slow, failing in one of eight, not keeping up with as many."""
    examiner = Examiner(Settings(min_span=2.0, warmup=0.0, twin=0.0, baseline=baseline), Rules())
    for number in range(MANY):
        asked = request(time=SECOND + number * PACE)
        production = answer(b"x", time=asked.ended)
        made = side(answer(b"x", 500 if number % 8 == 3 else 200), took=100 * MS)
        made.late = late(number)
        if own_lag(number):
            made = side(None, shed="own_lag")
        elif number % 8 == 5:
            made = side(None, shed="shadow_lag")
        others: dict[str, Any] = {"baseline": side(answer(b"x"))} if baseline else {}
        examine(examiner, asked, production, made, connection=number % CONNECTIONS, **others)
    assessment = Assessment(examiner, MANY, MANY * PACE / SECOND)
    assessment.finish()
    return assessment


def results(assessment: Assessment) -> dict[str, set[str]]:
    """By judge, of the judgements on everything together."""
    found: dict[str, set[str]] = {}
    for one in assessment.verdict["judges"]:
        if not one["endpoint"]:
            found.setdefault(one["judge"], set()).add(one["result"])
    return found


def busy(assessment: Assessment) -> list[str]:
    return [one["sentence"] for one in assessment.verdict["judges"] if one["sentence"].startswith(TOO_BUSY)]


# --- the daemon's own lateness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", [False, True])
def test_a_candidate_that_is_bad_in_all_ways_fails_in_all(baseline: bool) -> None:
    assessment = bad_run(baseline=baseline)
    for judge in (*PACED, "errors"):
        assert "fail" in results(assessment)[judge], judge
    assert busy(assessment) == []


@pytest.mark.parametrize("baseline", [False, True])
def test_where_the_daemon_could_not_send_pace_says_nothing_and_errors_stay(baseline: bool) -> None:
    every = round(0.9 / OWN_LAG / 2) | 1  # twice the share, odd: all connections and kinds alike
    assessment = bad_run(own_lag=lambda number: number % every == 0, baseline=baseline)
    found = results(assessment)
    for judge in PACED:
        assert found[judge] == {"inconclusive"}, judge
    assert found["errors"] == {"fail"}
    assert "of the requests could not be sent in time, through the daemon's own fault" in busy(assessment)[0]
    assert assessment.verdict["verdict"] == "fail"
    assert not {one["judge"] for one in assessment.verdict["findings"]} & {*PACED}
    assert not [one for one in assessment.verdict["judges"] if one["judge"] in PACED and one["result"] == "fail"], (
        "nor does an endpoint's"
    )


def test_less_own_lag_than_that_changes_nothing() -> None:
    every = round(1.2 / OWN_LAG) | 1
    assessment = bad_run(own_lag=lambda number: number % every == 0)
    assert busy(assessment) == []
    assert all("fail" in results(assessment)[judge] for judge in PACED)


@pytest.mark.parametrize(("stretches", "capped"), [(1, False), (ONE_STOP, False), (ONE_STOP + 1, True)])
def test_one_stop_of_the_daemon_is_one_event(stretches: int, capped: bool) -> None:
    """SIGSTOP: all that is lost falls into a stretch or two, and the rest of the run says what it says."""
    lost = range(4 * EACH, (4 + stretches) * EACH)
    assessment = bad_run(own_lag=lambda number: number in lost)
    assert bool(busy(assessment)) == capped
    for judge in PACED:
        assert ("fail" in results(assessment)[judge]) != capped


def test_two_stops_are_not_one() -> None:
    lost = (2, 8, 14)
    assert busy(bad_run(own_lag=lambda number: number // EACH in lost and number % EACH < 20))


@pytest.mark.parametrize(("every", "capped"), [(round(0.8 / OWN_LATE) | 1, True), (round(1.3 / OWN_LATE) | 1, False)])
def test_late_departures_beyond_their_share_leave_pace_open(every: int, capped: bool) -> None:
    assessment = bad_run(late=lambda number: number % every == 0)
    assert bool(busy(assessment)) == capped
    assert ("fail" in results(assessment)["latency"]) != capped
    if capped:
        assert "of the requests were sent late, through the daemon's own fault" in busy(assessment)[0]
    (told,) = [limit for limit in assessment.verdict["limits"] if "left late" in limit]
    assert told.startswith(f"{assessment._examiner.timing.late:,} exchanges left late through the daemon's own fault")


# --- what caps a pass, and what is told -------------------------------------------------------------------------------


def good_run(content: Callable[[int], object], production: Callable[[int], object] | None = None, **more: Any) -> Any:
    """Identical but for bodies; margins so wide that a run of seconds passes."""
    wide = Margins(
        max_error_increase=0.1, max_diff_share=0.1, max_slow_increase=0.1, max_slowdown=(5.0, 5.0, 5.0),
        critical=frozenset({"errors", "content", "capacity"}), **more.pop("margins", {}),
    )  # fmt: skip
    examiner = Examiner(Settings(min_span=2.0, warmup=0.0, twin=0.5, margins=wide, **more), Rules())
    for number in range(MANY):
        asked = request(f"/orders/{number}", time=SECOND + number * PACE)
        body = content(number)
        examine(
            examiner, asked, answer((production or content)(number), time=asked.ended), side(answer(body)),
            twin=side(answer(content(number + MANY))) if number % 2 else None, connection=number % CONNECTIONS,
        )  # fmt: skip
    assessment = Assessment(examiner, MANY, MANY * PACE / SECOND)
    assessment.finish()
    return assessment.verdict


def test_a_pass_and_its_limits() -> None:
    verdict = good_run(lambda number: {"a": 1})
    assert verdict["verdict"] == "pass", verdict["reasons"]
    assert (verdict["mode"], verdict["findings"], verdict["not_judged"]) == ("twin", [], [])
    assert NO_BASELINE in verdict["limits"]
    assert "at random" in verdict["limits"][0]


def test_a_body_of_which_nothing_is_judged_caps_a_pass_and_says_which() -> None:
    def blob(number: int) -> bytes:
        return b"\0\xff\xfe" + bytes([number % 251, number // 251])

    verdict = good_run(blob, lambda number: blob(number + 7))
    assert verdict["verdict"] == "inconclusive"
    (reason,) = verdict["reasons"]
    assert reason.startswith("GET /orders/{id}: its bodies cannot be taken apart and differ between answers of one")
    assert verdict["score"] <= 99


def test_a_critical_endpoint_that_was_never_asked_caps_a_pass() -> None:
    verdict = good_run(lambda number: {"a": 1}, critical_endpoints=("GET /pay",))
    assert verdict["verdict"] == "inconclusive"
    assert verdict["reasons"] == ["GET /pay: 0 of at least 1 exchanges were compared"]


def test_a_finding_has_the_error_that_is_new_and_most_frequent_there() -> None:
    examiner = Examiner(Settings(min_span=2.0, warmup=0.0, twin=0.0), Rules())
    said = {3: "stock lookup failed", 5: "stock lookup failed", 7: "no such column: price"}
    for number in range(MANY):
        wrong, known = said.get(number % 10), number % 10 in (0, 1, 2, 4)
        old = answer({"error": "quota is used up"}, 500)
        candidate = old if known else answer({"error": wrong}, 500) if wrong else answer({"a": 1})
        examine(
            examiner, request(time=SECOND + number * PACE), old if known else answer({"a": 1}), side(candidate),
            connection=number % CONNECTIONS,
        )  # fmt: skip
    assessment = Assessment(examiner, MANY, 16.0)
    verdict = assessment.finish()
    (errors,) = [one for one in verdict["findings"] if one["judge"] == "errors"]
    assert "stock lookup failed" in errors["signature"]["title"], "not the one that production has as well"
    assert errors["signature"]["count"] == 2 * MANY // 10
    assert all(one["signature"] is None for one in verdict["findings"] if one["judge"] != "errors")


def test_nothing_seen_is_inconclusive_and_can_be_told() -> None:
    verdict = Assessment(Examiner(Settings(), Rules()), 0, 0.0).finish()
    assert (verdict["verdict"], verdict["score"], verdict["compared"]) == ("inconclusive", 0, 0)
    assert verdict["coverage"] == 0
    assert verdict["reasons"]


def test_work_is_done_in_steps_one_for_each_endpoint_and_field() -> None:
    examiner = Examiner(Settings(min_span=2.0, warmup=0.0), Rules())
    for number in range(300):
        path = f"/{'abcdefghij'[number % 10]}"
        examine(examiner, request(path, time=SECOND + number * PACE), answer({"v": 1}), side(answer({"v": 2})))
    assessment = Assessment(examiner, 300, 3.0)
    assert sum(1 for _ in assessment.steps()) >= 10 * 2
    assert len(assessment.endpoints) == 10
    assert assessment.verdict["compared"] == 300
