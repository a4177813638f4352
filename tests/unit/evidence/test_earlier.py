"""Production that changes in mid-run, and a candidate that does: to twins both look alike, to production's past not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from shadowd.evidence.earlier import LOOKS, MAX_REQUESTS, Earlier
from shadowd.evidence.evidence import Endpoint
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side

#: (number of the exchange, item) -> (body, colour)
Says = Callable[[int, int], tuple[dict[str, Any], str]]
LENGTH = 6_000  # exchanges, 25 a second: enough to pass


def run(production: Says, candidate: Says, twins: float = 0.2) -> tuple[dict[str, Any], dict[str, str]]:
    """The verdict, and the label of each place."""
    dice = random.Random(4)
    examiner = Examiner(Settings(twin=twins), Rules())
    time = SECOND
    for number in range(LENGTH):
        time += 40 * MS
        item = dice.randrange(300)
        asked = request(f"/items/{item}", time=time)
        (ours, our_colour), (theirs, their_colour) = production(number, item), candidate(number, item)
        made = answer(ours, headers={"X-Colour": our_colour}, time=time)
        twin = dice.random() < twins
        again = [side(answer(theirs, headers={"X-Colour": their_colour})) for _ in range(2)]
        examine(examiner, asked, made, again[0], twin=again[1] if twin else None)
    assessed = Assessment(examiner, LENGTH, time / SECOND)
    verdict = assessed.finish()
    return verdict, {f"{one['where']} {one['path']}": one["label"] for one in assessed.differences}


def same(number: int, item: int) -> tuple[dict[str, Any], str]:
    return {"price": item * 3}, "blue"


def other_colour(number: int, item: int) -> tuple[dict[str, Any], str]:
    return {"price": item * 3}, "green" if number > LENGTH // 2 else "blue"


def other_prices(number: int, item: int) -> tuple[dict[str, Any], str]:
    return {"price": item * 3 + (number > LENGTH // 2 and item % 3 == 0)}, "blue"


def test_a_header_that_production_changes_is_its_own() -> None:
    verdict, labels = run(other_colour, same)
    assert labels == {"header x-colour": "drift"}
    assert verdict["verdict"] == "inconclusive"
    assert "begin a run" in verdict["reasons"][0]


def test_a_header_that_the_candidate_changes_is_a_regression() -> None:
    verdict, labels = run(same, other_colour)
    assert (verdict["verdict"], labels) == ("fail", {"header x-colour": "regression"})


def test_values_by_item_that_production_changes_are_its_own() -> None:
    verdict, labels = run(other_prices, same)
    assert (verdict["verdict"], labels) == ("inconclusive", {"body $.price": "drift"})


def test_values_by_item_that_the_candidate_changes_are_a_regression() -> None:
    verdict, labels = run(same, other_prices)
    assert (verdict["verdict"], labels) == ("fail", {"body $.price": "regression"})


def test_what_seldom_has_a_value_is_not_taken_for_a_change() -> None:
    """Production has a discount now and then; the candidate never: it says what most answers said before."""

    def discounts(number: int, item: int) -> tuple[dict[str, Any], str]:
        return {"price": item, "discount": 5 if number > 60 and number % 9 == 0 else None}, "blue"

    def none(number: int, item: int) -> tuple[dict[str, Any], str]:
        return {"price": item, "discount": None}, "blue"

    _, labels = run(discounts, none)
    assert labels["body $.discount"] == "regression"


def test_production_back_at_its_old_version_lets_the_run_pass() -> None:
    def for_a_while(number: int, item: int) -> tuple[dict[str, Any], str]:
        return {"price": item * 3}, "green" if 1_000 < number < 1_500 else "blue"

    verdict, labels = run(for_a_while, same)
    assert labels == {"header x-colour": "drift"}
    assert verdict["verdict"] != "fail"
    assert any("production's own answers changed" in one for one in verdict["limits"])


def test_the_sample_is_bounded_and_recognises_what_it_holds() -> None:
    earlier, endpoint = Earlier(), Endpoint("GET /{id}", 1)
    endpoint.pairs = 3
    for number in range(5_000):
        earlier.keep(request(f"/{number}"), endpoint, answer({"n": number}), True)
    held = set(earlier._of_requests)
    assert MAX_REQUESTS / 2 < len(held) <= MAX_REQUESTS
    for number in range(5_000):  # whoever is in the sample stays there
        earlier.keep(request(f"/{number}"), endpoint, answer({"n": number}), True)
    assert set(earlier._of_requests) == held


def test_looking_back_ends() -> None:
    examiner = Examiner(Settings(twin=0.0), Rules())
    for number in range(3 * LOOKS + 200):
        time = (1 + number) * SECOND
        asked = request("/items/1", time=time)
        made = answer({"price": 1 if number < 200 else 2}, time=time)
        examine(examiner, asked, made, side(answer({"price": 1})))
    (endpoint,) = examiner.endpoints.values()
    (field,) = endpoint.fields.values()
    assert (field.moved, field.stayed, field.differed) == (LOOKS, 0, 3 * LOOKS)
