"""Streams, conversations and warm-ups in a fleet's verdict: dealt out to nodes they are judged as one examiner does."""

from __future__ import annotations

import random
from functools import reduce
from itertools import accumulate
from typing import Any

import pytest

from shadowd.evidence.carrying import from_bytes_untrusted, to_bytes
from shadowd.evidence.conversing import ALL_PROMPTS
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.merging import merge
from shadowd.evidence.restoring import examiner_of
from shadowd.evidence.rules import Rules
from shadowd.evidence.slowdown import MINUTE
from shadowd.judge.assessment import Assessment
from shadowd.judge.merged import assess_untrusted
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side
from tests.unit.evidence.fleet import value_of
from tests.unit.evidence.test_genai import PRICES, answered, asked
from tests.unit.evidence.test_streams import streamed

NODES = 3


def nodes(settings: Settings) -> tuple[Examiner, list[Examiner]]:
    return Examiner(settings, Rules()), [Examiner(settings, Rules()) for _ in range(NODES)]


def fleet(several: list[Examiner]) -> Any:
    """As it travels."""
    values = [from_bytes_untrusted(to_bytes(value_of(one, f"n{number}"))) for number, one in enumerate(several)]
    return reduce(merge, values)


def failing(verdict: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(one["judge"], one["endpoint"], one["path"]) for one in verdict["judges"] if one["result"] == "fail"}


def alone(one: Examiner) -> dict[str, Any]:
    return Assessment(one, one.compared, (one.latest - one.began) / SECOND).finish()


@pytest.mark.parametrize("slower", [1.0, 1.6])
def test_events_that_come_more_slowly_are_found(slower: float) -> None:
    dice = random.Random(4)
    one, several = nodes(Settings(twin=0.0, min_span=10.0))
    for number in range(3000):
        at = SECOND + number * 20 * MS
        pace = int(30 * MS * dice.lognormvariate(0, 0.1))
        ours, theirs = ([pace, *(int(pace * times) for _ in range(6))] for times in (1.0, slower))
        production = streamed([at + 20 * MS + sum_ for sum_ in accumulate(ours)])
        candidate = side(streamed([20 * MS + sum_ for sum_ in accumulate(theirs)]), took=20 * MS)
        for examiner in (one, several[number % NODES]):
            examine(examiner, request("/feed", time=at), production, candidate, connection=number % 16)
    value = fleet(several)
    (endpoint,) = value["endpoints"].values()
    assert endpoint["stream"]["streams"] == one.endpoints["GET /feed"].stream.streams == 3000  # type: ignore[union-attr]
    merged, whole = assess_untrusted(value).verdict, alone(one)
    between = ("latency", "GET /feed", "between_events p50")
    assert (between in failing(merged)) == (between in failing(whole)) == (slower > 1)
    assert merged["verdict"] == whole["verdict"]


def test_conversations_are_counted_and_judged_together() -> None:
    dice = random.Random(5)
    one, several = nodes(Settings(baseline=True, prices=PRICES, min_span=10.0))
    for number in range(1500):
        asking, ours, baseline = asked(number), answered(dice.randint(40, 60)), answered(dice.randint(40, 60))
        theirs = answered(dice.randint(40, 60), "aria-2-2026")
        ours.first_byte = ours.last_byte = asking.ended + 50 * MS
        for examiner in (one, several[number % NODES]):
            examine(examiner, asking, ours, side(theirs), baseline=side(baseline), connection=number % 16)
    value = fleet(several)
    again, talk = examiner_of(value).endpoints[ALL_PROMPTS].talk, one.endpoints[ALL_PROMPTS].talk
    assert again is not None
    assert talk is not None
    assert again.models == talk.models
    assert again.likeness == talk.likeness
    assert again.spent == pytest.approx(talk.spent)
    assert again.tokens.reference.buckets() == talk.tokens.reference.buckets()
    orders = [again.order_tokens, again.order_likeness, again.order_pace, again.order_cost]
    assert len({*orders, *(f.order for e in examiner_of(value).endpoints.values() for f in e.fields.values())}) >= 4
    cost = ("content", ALL_PROMPTS, "llm cost")
    assert cost in failing(alone(one))
    assert cost in failing(assess_untrusted(value).verdict)


def test_no_hypothesis_has_the_number_of_another() -> None:
    """Their shares of α add up to 1 at most: each has its own."""
    _, several = nodes(Settings(twin=0.5, min_span=1.0, prices=PRICES))
    for number in range(120):
        at = SECOND + number * 50 * MS
        body = {"n": number, f"f{number % 5}": number}
        for node, examiner in enumerate(several):
            production = answer({"n": number}, time=at)
            examine(
                examiner,
                request(f"/p{(number + node) % 4}/x", time=at),
                production,
                side(answer(body)),
                twin=side(answer(body)),
            )
            times = [at + 5 * MS, at + 9 * MS, at + 12 * MS]
            candidate = side(streamed([5 * MS, 8 * MS, 13 * MS]))
            examine(examiner, request("/feed", time=at), streamed(times), candidate)
            asking, said = asked(number), answered(50)
            said.first_byte = said.last_byte = asking.ended + MS
            examine(examiner, asking, said, side(answered(60)))
    again = examiner_of(fleet(several))
    numbers = [field.order for one in again.endpoints.values() for field in one.fields.values()]
    for one in again.endpoints.values():
        numbers += one.stream.order if one.stream is not None and one.talk is None else ()
        if one.talk is not None:
            numbers += [one.talk.order_tokens, one.talk.order_likeness, one.talk.order_pace, one.talk.order_cost]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert sorted(one.order for one in again.endpoints.values()) == list(range(1, len(again.endpoints) + 1))


def test_a_warm_up_that_each_node_forgot_is_no_evidence() -> None:
    """The candidate was started a moment ago: four times as slow at first, and falling."""
    dice = random.Random(6)
    one, several = nodes(Settings(twin=0.0, min_span=20.0))
    for number in range(15_000):
        at = SECOND + number * 10 * MS
        slow = 1 + 3 * max(0.0, 1 - (at - SECOND) / (MINUTE / 3))
        took, theirs = (int(20 * MS * dice.lognormvariate(0, 0.2)) for _ in range(2))
        production = answer(b"x", time=at + took - MS)
        production.first_byte = production.last_byte = at + took
        for examiner in (one, several[number % NODES]):
            examine(
                examiner,
                request(time=at),
                production,
                side(answer(b"x"), took=int(theirs * slow)),
                connection=number % 24,
            )
    assert one.warmed
    assert all(each.warmed for each in several)
    merged = assess_untrusted(fleet(several)).verdict
    assert not failing(merged)
    assert not failing(alone(one))
    assert any("warmed up" in limit for limit in merged["limits"])
    value = fleet(several)
    assert value["warmed"] == sum(each.warmed for each in several)
    assert value["evidence_began"] == min(each.evidence_began for each in several)
