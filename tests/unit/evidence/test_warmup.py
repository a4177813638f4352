"""A candidate that was started a moment ago: what it did then is listed, and is no evidence."""

from __future__ import annotations

import math

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side

RATE = 100  # a second


def run(settings: Settings, seconds: int, took: object, began: float | None = None) -> Examiner:
    """``took(second)``: how many ms the candidate takes; production takes 20."""
    examiner = Examiner(settings, Rules())
    if began is not None:
        examiner.candidate_began(began)
    assert callable(took)
    for number in range(seconds * RATE):
        time = SECOND + number * SECOND // RATE
        asked = request(f"/items/{number % 50}", time=time)
        production = answer({"n": number % 50}, time=time)
        production.first_byte = production.last_byte = time + 20 * MS
        candidate = side(answer({"n": number % 50}), took=int(took(number / RATE) * MS))
        examine(examiner, asked, production, candidate)
    return examiner


def cold(second: float) -> float:
    return 20 * (1 + 4 * math.exp(-second / 10))


def test_a_cold_start_passes_once_it_is_warm() -> None:
    examiner = run(Settings(twin=0), 200, cold)
    verdict = Assessment(examiner, examiner.compared, 200).finish()
    assert [one["judge"] for one in verdict["judges"] if one["result"] == "fail"] == []
    medians = [one for one in verdict["judges"] if one["path"] == "first_byte p50" and not one["endpoint"]]
    assert [one["result"] for one in medians] == ["pass"]
    assert 1000 <= examiner.warmed < 10_000
    assert any("warmed up" in limit for limit in verdict["limits"])


def test_off_forgets_nothing() -> None:
    examiner = run(Settings(twin=0, warmup=0.0), 70, cold)
    assert (examiner.warmed, examiner.first_byte.count) == (0, 70 * RATE)
    verdict = Assessment(examiner, examiner.compared, 70).finish()
    assert verdict["verdict"] != "pass", "five seconds of four times the latency are in its tail"


def test_a_process_that_runs_since_an_hour_does_not_warm_up() -> None:
    examiner = run(Settings(twin=0), 70, cold, began=3600.0)
    assert examiner.warmed == 0


def test_what_is_left_of_a_fixed_warm_up() -> None:
    fresh, older = (run(Settings(twin=0, warmup=30.0), 40, lambda _: 20, began) for began in (None, 20.0))
    assert (fresh.warmed, older.warmed) == (30 * RATE, 10 * RATE)
    assert (fresh.first_byte.count, older.first_byte.count) == (10 * RATE, 30 * RATE)


def test_a_candidate_that_stays_slow_is_not_warming_up() -> None:
    examiner = run(Settings(twin=0), 70, lambda _: 40)
    assert examiner.warmed == 0
    verdict = Assessment(examiner, examiner.compared, 70).finish()
    assert verdict["verdict"] == "fail"
