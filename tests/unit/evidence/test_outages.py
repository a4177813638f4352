"""Outages: failures in a row are taken back when the side answers again, and exactly those."""

from __future__ import annotations

from collections.abc import Callable

from shadowd.evidence.evidence import Endpoint
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.outages import LEAST, LONGEST, Outages
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from shadowd.judge.outages import judge_outages
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side

Statuses = Callable[[int], int]


def run(candidate: Statuses, many: int = 1000, pace: int = 100 * MS, production: Statuses | None = None) -> Examiner:
    """Exchanges 100 ms apart; the statuses of the candidate (and of production) by number."""
    examiner = Examiner(Settings(twin=0.0, warmup=0.0), Rules())
    for number in range(many):
        ours = 200 if production is None else production(number)
        asked = request(("/a", "/b")[number % 2], time=SECOND + number * pace)
        examine(examiner, asked, answer(b"x", ours), side(answer(b"x", candidate(number))))
    return examiner


def test_an_outage_is_taken_back_exactly() -> None:
    examiner = run(lambda number: 503 if 300 <= number < 310 or number == 700 else 200)
    failing = examiner.outcomes.failing
    assert (examiner.outages.count, examiner.outages.exchanges) == (1, 10)
    assert (failing.against.count, examiner.outcomes.total.count) == (1, 990)
    assert sum(failing.against.slots.counts) == 1
    assert min(failing.against.slots.counts) == 0
    assert min(failing.against.by_group) == 0
    assert [one.outcomes.total.count for one in examiner.endpoints.values()] == [495, 495]
    assert sum(one.outcomes.failing.against.count for one in examiner.endpoints.values()) == 1
    (outage,) = examiner.outages.listed
    assert (outage.begin, outage.end) == (SECOND + 30 * SECOND, SECOND + 309 * 100 * MS)


def test_productions_outage_is_no_merit_of_the_candidate() -> None:
    examiner = run(lambda _: 200, production=lambda number: 503 if 300 <= number < 350 else 200)
    assert (examiner.reference_outages.exchanges, examiner.better, examiner.outcomes.total.count) == (50, 0, 950)
    assert examiner.outages.count == 0


def test_one_that_lasts_stays_evidence() -> None:
    examiner = run(lambda number: 503 if number >= 300 else 200)
    assert (examiner.outages.count, examiner.outcomes.failing.against.count) == (0, 700)
    lasting = examiner.outages.lasting
    assert lasting is not None
    assert lasting.exchanges == 700
    assert Assessment(examiner, 1000, 100.0).finish()["verdict"] == "fail"


def test_failures_that_alternate_with_answers_are_none() -> None:
    examiner = run(lambda number: 503 if number % LEAST else 200)
    assert examiner.outages.count == 0
    assert examiner.outcomes.failing.against.count == 800


def test_fewer_in_a_row_than_the_least_are_evidence() -> None:
    assert run(lambda number: 503 if 300 <= number < 299 + LEAST else 200).outages.count == 0
    assert run(lambda number: 503 if 300 <= number < 300 + LEAST else 200).outages.count == 1


def test_longer_than_a_restart_is_evidence() -> None:
    outages, endpoint = Outages(), Endpoint("e", 1)
    for second in range(LONGEST // SECOND + 2):
        outages.failed(endpoint, second * SECOND, 0)
    assert not outages.answered()
    assert outages.count == 0


def times(many: int) -> Outages:
    outages, endpoint = Outages(), Endpoint("e", 1)
    for number in range(many):
        for failure in range(LEAST):
            outages.failed(endpoint, number * SECOND + failure, 0)
        assert sum(outages.answered().values()) == LEAST
    return outages


def test_how_often_it_is_away_is_judged() -> None:
    assert judge_outages(times(0), times(3), 1000) == []
    (once,) = judge_outages(times(1), times(0), 1000)
    assert (once.result, once.required) == ("pass", False)
    assert "was away once (0.5 % of the exchanges), its reference never" in once.sentence
    assert judge_outages(times(7), times(0), 100)[0].result == "inconclusive"
    assert judge_outages(times(8), times(0), 100)[0].result == "fail"
    assert judge_outages(times(8), times(8), 100)[0].result == "pass"
