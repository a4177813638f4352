"""What differs is counted once, beyond noise, and agrees with what is found; a row tells of each threshold."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from tests.unit.compare.exchanges import MS, answer, examine, request, side

MANY, EACH = 1500, 4


@cache
def assessed(wrong: bool) -> tuple[Examiner, Assessment]:
    """Each answer has an id of its own; with ``wrong`` each fourth total is another, and its currency is lost too."""
    dice, examiner = random.Random(5), Examiner(Settings(twin=0.5), Rules())
    for number in range(MANY):
        bad = wrong and number % EACH == 3

        def said(bad: bool = bad, number: int = number) -> Any:
            body = {"id": f"{dice.getrandbits(64):x}", "total": number + bad, "currency": "EUR"}
            if bad:
                del body["currency"]
            return answer(body)

        twin = side(said()) if dice.random() < 0.5 else None
        examine(examiner, request(f"/orders/{number}", time=number * 60 * MS), said(False), side(said()), twin=twin)
    found = Assessment(examiner, examiner.compared, 90.0)
    found.finish()
    return examiner, found


def test_an_exchange_that_differs_in_noise_and_beyond_counts_once_and_beyond() -> None:
    examiner, found = assessed(True)
    (endpoint,) = found.endpoints
    assert endpoint["differing"] == MANY
    assert endpoint["differing_beyond_noise"] + endpoint["differing_noise"] == MANY
    assert abs(endpoint["differing_beyond_noise"] - MANY // EACH) <= 3, "the first ones teach what noise is"
    assert found.verdict["differing"]["beyond_noise"] == endpoint["differing_beyond_noise"]
    assert abs(found.beyond_noise(examiner.contents.take_places()) - MANY // EACH) <= 3, "over time it is the same"
    assert examiner.contents.take_places() == {}


def test_the_content_as_a_whole_says_what_its_fields_say() -> None:
    _, found = assessed(True)
    (whole,) = (one for one in found.verdict["judges"] if (one["judge"], one["path"]) == ("content", ""))
    assert whole["result"] == "fail"
    assert "in fields that fail by themselves" in whole["sentence"]
    assert {one["path"] for one in found.verdict["findings"]} == {"body $.total", "body $.currency"}
    _, quiet = assessed(False)
    (whole,) = (one for one in quiet.verdict["judges"] if (one["judge"], one["path"]) == ("content", ""))
    assert whole["result"] != "fail"
    assert quiet.verdict["differing"]["beyond_noise"] <= 1
    assert (
        f"{quiet.verdict['differing']['noise']:,} more in noise alone" in whole["sentence"]
        or "needed" in (whole["sentence"])
    )


def test_each_threshold_has_a_row_whatever_came_of_it() -> None:
    _, found = assessed(True)
    rows = {(one["name"], one["endpoint"]): one for one in found.verdict["thresholds"]}
    assert {"errors", "content", "slow", "capacity", "latency first byte p99", "coverage"} <= {name for name, _ in rows}
    field = rows["content body $.total", "GET /orders/{id}"]
    assert (field["result"], field["threshold"], field["margin"]) == ("fail", "max_diff_share", 0.001)
    assert field["interval"][0] < field["measured"] < field["interval"][1]
    coverage = rows["coverage", ""]
    assert (coverage["result"], coverage["measured"], coverage["margin"], coverage["bound"]) == (
        "pass",
        1,
        0.95,
        "least",
    )
    told = {(one["judge"], one["endpoint"], one["path"]) for one in found.verdict["thresholds"]}
    for judge in found.verdict["judges"]:  # what failed, and what speaks of the whole, is there
        if judge["result"] == "fail" or not judge["endpoint"]:
            assert (judge["judge"], judge["endpoint"], judge["path"]) in told
