"""What third answers say of a field: the table of the module's head against a list of triples, and its limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence.contents import MAX_EXAMPLES
from shadowd.evidence.evidence import MAX_FIELDS, OVERFLOW, Endpoint, Field
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side

PACE = 10 * MS
CONNECTIONS = 5


def new(baseline: bool = False, **settings: Any) -> Examiner:
    return Examiner(Settings(twin=0.0 if baseline else 0.5, warmup=0.0, baseline=baseline, **settings), Rules())


def see(
    examiner: Examiner, production: object, candidate: object, third: object = None,
    status: tuple[int, int, int] = (200, 200, 200),
) -> None:  # fmt: skip
    """One exchange; every request is another one. ``third`` None: nobody else was asked."""
    number = examiner.compared
    others: dict[str, Any] = {}
    if third is not None:
        others["baseline" if examiner.settings.baseline else "twin"] = side(answer(third, status[2]))
    examine(
        examiner, request(f"/orders/{number}", time=SECOND + number * PACE), answer(production, status[0]),
        side(answer(candidate, status[1])), connection=number % CONNECTIONS, **others,
    )  # fmt: skip


def endpoint_of(examiner: Examiner) -> Endpoint:
    (endpoint,) = examiner.endpoints.values()
    return endpoint


def counts(field: Field) -> dict[str, int]:
    return {
        "positive": field.positive.count, "negative": field.negative.count, "both": field.both,
        "all_differ": field.all_differ, "differed": field.differed, "differing": field.differing.count,
    }  # fmt: skip


# --- the table --------------------------------------------------------------------------------------------------------

triples = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.none() | st.integers(0, 2)), max_size=40)


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("place", [("body", "$.v"), ("status", "")])
@given(told=triples)
def test_each_triple_counts_as_the_table_says(
    baseline: bool, place: tuple[str, str], told: list[tuple[int, int, int | None]]
) -> None:
    examiner = new(baseline)
    wanted = dict.fromkeys(("positive", "negative", "both", "all_differ", "differed", "differing"), 0)
    known, trials, since, since_pairs = False, 0, 0, 0
    for pairs, (production, candidate, third) in enumerate(told, 1):
        if place[0] == "body":
            see(examiner, {"v": production}, {"v": candidate}, None if third is None else {"v": third})
        else:
            codes = (200 + production, 200 + candidate, 200 + (third or 0))
            see(examiner, {"v": 1}, {"v": 1}, None if third is None else {"v": 1}, codes)
        ours, theirs = candidate != production, third not in (None, production)
        trials += third is not None
        fresh = not known and (ours or theirs)
        known = known or fresh
        wanted["differed"] += ours
        wanted["differing"] += ours and not fresh
        if fresh:
            since, since_pairs = trials, pairs
        elif third is None or not (ours or theirs):
            pass
        elif baseline:
            wanted["both" if ours and theirs else "positive" if ours else "negative"] += 1
        elif ours and theirs:
            wanted["positive" if candidate == third else "all_differ"] += 1
        else:
            wanted["negative"] += 1
    if not known:
        assert not any(one.fields for one in examiner.endpoints.values())
        return
    endpoint = endpoint_of(examiner)
    assert list(endpoint.fields) == [place]
    field = endpoint.fields[place]
    assert counts(field) == wanted
    assert (endpoint.denominator(field).count, field.since_trials) == (trials, since)
    assert (endpoint.pairs, field.since_pairs) == (len(told), since_pairs)
    noisy = wanted["negative"] + wanted["both"] + wanted["all_differ"]
    assert field.noise(endpoint) == (noisy, trials - since)
    for tally in (field.positive, field.negative, field.differing):
        assert sum(tally.slots.counts) == sum(tally.by_group) == tally.count


# --- what a third answer does not say ---------------------------------------------------------------------------------


def test_a_third_that_fails_says_nothing_of_content_nor_of_the_status() -> None:
    examiner = new(baseline=True)
    see(examiner, {"v": 1}, {"v": 2}, {"v": 1})
    for code in (500, 503, 429):
        see(examiner, {"v": 1}, {"v": 2}, {"error": "down"}, (200, 200, code))
    endpoint = endpoint_of(examiner)
    assert endpoint.trials.count == 1
    assert counts(endpoint.fields["body", "$.v"])["differing"] == 3
    see(examiner, {"v": 1}, {"v": 2}, {"error": "down"}, (403, 200, 503))
    see(examiner, {"v": 1}, {"v": 2}, {"error": "down"}, (403, 200, 503))
    status = endpoint.fields["status", ""]
    assert counts(status) == {**dict.fromkeys(counts(status), 0), "differed": 2, "differing": 1}


def test_what_another_status_comes_with_is_not_compared() -> None:
    examiner = new()
    see(examiner, {"v": 1}, {"w": 2}, {"w": 2}, (200, 404, 404))
    assert list(endpoint_of(examiner).fields) == [("status", "")]
    assert endpoint_of(examiner).trials.count == 0


def test_a_write_that_was_not_mirrored_takes_the_third_out_too() -> None:
    examiner = new(routes=["/orders/{id}"])
    see(examiner, {"v": 1}, {"v": 2}, {"v": 2})
    examiner.note_write(request("/orders/1", "PUT"))
    see(examiner, {"v": 1}, {"v": 2}, {"v": 2})
    field = endpoint_of(examiner).fields["body", "$.v"]
    assert (field.drifted, field.differed, field.positive.count) == (1, 2, 0)
    assert endpoint_of(examiner).trials.count == 1, "both twins miss the same write"


def test_nor_of_a_status_that_it_explains() -> None:
    examiner = new(routes=["/orders/{id}"])
    see(examiner, {"v": 1}, {"v": 1}, {"v": 1}, (200, 201, 201))
    for number in (1, 2):
        examiner.note_write(request(f"/orders/{number}", "PUT"))
        see(examiner, {"v": 1}, {"v": 1}, {"v": 1}, (200, 404, 404))
    field = endpoint_of(examiner).fields["status", ""]
    assert (field.drifted, field.differed, field.positive.count) == (2, 3, 0)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_more_fields_than_are_followed_are_counted_in_one() -> None:
    examiner = new()
    for number in range(MAX_FIELDS + 50):
        candidate = answer(b"x", headers={f"X-Field-{number}": "1"})
        examine(examiner, request(f"/orders/{number}", time=SECOND + number * PACE), answer(b"x"), side(candidate))
    fields = endpoint_of(examiner).fields
    assert len(fields) == MAX_FIELDS + 1
    assert fields[OVERFLOW].differed == 50
    assert examiner.fields == MAX_FIELDS + 1, "hypotheses, which share the level"


def test_examples_are_the_first_and_then_ever_rarer() -> None:
    examiner = new()
    for number in range(300):
        see(examiner, {"v": number}, {"v": -1})
    kept = [int(one.request[1].rpartition(b"/")[2]) + 1 for one in examiner.examples]
    assert kept == [1, 2, 3, 4, 8, 16, 32, 64, 128, 256]
    (group,) = endpoint_of(examiner).fields["body", "$.v"].groups.values()
    assert (group.count, group.production, group.candidate) == (300, "299", "-1"), "the newest pair is shown"
    assert {one.group for one in examiner.examples} == {group.name}


def test_examples_are_bounded_and_the_newest_stay() -> None:
    examiner = new()
    for number in range(MAX_EXAMPLES + 30):
        examiner.contents.remember(f"{number}", Endpoint("e", 1), request(), "reset", answer(b"x"), number)
    assert len(examiner.examples) == MAX_EXAMPLES
    assert examiner.examples[0].group == "30"


def test_without_content_nothing_that_was_said_is_kept() -> None:
    examiner = new(content=False)
    for _ in range(20):
        see(examiner, {"patient": "Marigold"}, {"patient": "Barnaby"}, {"patient": "Barnaby"})
    field = endpoint_of(examiner).fields["body", "$.patient"]
    (group,) = field.groups.values()
    assert (group.count, group.production, group.candidate, len(examiner.examples)) == (20, "", "", 0)
    assert field.positive.count == 19
