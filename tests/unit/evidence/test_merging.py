"""Evidence of several runs as one value: it does not matter in which order and grouping it is merged, and nothing that
was counted is lost or counted twice."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Mapping
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.compare.keys import CHILDREN as KEYS
from shadowd.evidence import merging
from shadowd.evidence.carrying import from_bytes_untrusted, to_bytes
from shadowd.evidence.conditions import MergeError, settings_again
from shadowd.evidence.endpoints import CHILDREN
from shadowd.evidence.evidence import OVERFLOW
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.margins import Margins
from shadowd.evidence.merging import EMPTY, merge
from shadowd.evidence.outages import Outages
from shadowd.evidence.paced import ROWS, Rowed
from shadowd.evidence.refolding import folded_names
from shadowd.evidence.restoring import examiner_of
from shadowd.evidence.rules import Rules
from shadowd.evidence.slotted import Sketched, Tallied
from shadowd.evidence.spans import Spans, outages_again
from shadowd.evidence.stretches import GROUPS, SLOTS, Tally
from shadowd.evidence.sums import Counts, Kind, Least, Most, Newest, Table, Word, Words
from shadowd.judge.merged import assess_untrusted
from shadowd.talk.llm import Price
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side
from tests.unit.evidence.fleet import BEGIN, WIDE, World, dealt, value_of, with_margins

# --- the kinds by themselves ------------------------------------------------------------------------------------------

short = st.text(st.characters(codec="utf-8"), max_size=3)
counts = st.integers(-5, 1 << 40)


@st.composite
def tallies(draw: st.DrawFn) -> tuple[Any, ...]:
    """Of a tally that counted: few times within a short or a very long run."""
    tally = Tally(draw(st.integers(0, 31)))
    far = draw(st.sampled_from([1 << 20, 1 << 33, 1 << 45]))
    for at, many, group in draw(st.lists(st.tuples(st.integers(0, far), st.integers(1, 9), st.integers(-1, 63)))):
        tally.add(BEGIN + at, group, many)
    found = (tally.count, tally.slots.shift, tally.slots.base, array("q", tally.slots.counts))
    return Tallied().merge(Tallied().empty(), (*found, array("q", tally.by_group)))


@st.composite
def rows(draw: st.DrawFn) -> Any:
    """Some, or more than are kept."""
    shift, kind = draw(st.integers(0, 33)), Rowed()
    slots = sorted(draw(st.one_of(st.sets(st.integers(0, 5000), max_size=5), st.just(set(range(ROWS + 7))))))
    columns = draw(st.tuples(*[st.integers(0, 1000)] * 8))
    halves = (slots[: len(slots) // 2], slots[len(slots) // 2 :])
    return kind.merge(*((shift, array("q", half), array("q", columns * len(half))) for half in halves))


def sketches() -> st.SearchStrategy[Any]:
    return st.lists(st.integers(0, 5), min_size=1, max_size=8).flatmap(
        lambda found: st.integers(0, 900).map(lambda base: (base, array("q", found)))
    ) | st.just((0, array("q")))


spans = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 40), st.integers(5, 9)), max_size=6).map(
    lambda found: tuple((begin, begin + length, many, 1 << begin % 60) for begin, length, many in found)
)


def spanned(apart: int) -> st.SearchStrategy[Any]:
    kind = Spans(apart)
    return st.builds(
        lambda many, rest, found: kind.merge((many, rest, found), kind.empty()),
        st.integers(0, 99),
        st.integers(0, 9),
        spans,
    )


KINDS: list[tuple[Kind, st.SearchStrategy[Any]]] = [
    (Tallied(), tallies()),
    (Rowed(), rows()),
    (Sketched(), sketches()),
    (Spans(20), spanned(20)),
    (Least(), st.integers(0, 9)),
    (Most(), st.integers(0, 9)),
    (Word(), short),
    (Newest(), st.tuples(st.integers(1, 3), short, short) | st.just(())),
    (Words(4), st.sets(short, max_size=4).map(lambda found: tuple(sorted(found)))),
    (Counts(3), st.dictionaries(st.sampled_from("abcdefgh"), counts, max_size=3)),
    (Table(Words(3), 4, "rest"), st.dictionaries(st.sampled_from("abcdefgh"), st.just(("x",)), max_size=4)),
]


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=lambda one: type(one).__name__)
@given(data=st.data())
def test_of_each_kind_the_order_and_grouping_do_not_matter(
    kind: Kind, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    one, other, third = (data.draw(values) for _ in range(3))
    assert kind.merge(one, other) == kind.merge(other, one)
    assert kind.merge(kind.merge(one, other), third) == kind.merge(one, kind.merge(other, third))
    assert kind.merge(kind.empty(), one) == one == kind.merge(one, kind.empty())
    again = kind.read_untrusted(_carried(kind.write(one)))
    assert again == one


def _carried(value: Any) -> Any:
    """Tuples are lists to msgpack."""
    return [_carried(part) for part in value] if isinstance(value, list | tuple) else value


@given(st.lists(tallies(), min_size=1, max_size=4))
def test_no_count_of_a_tally_is_lost_and_each_stays_where_it_was_in_time(values: list[Any]) -> None:
    """The oracle has each slot of each value by itself."""
    count, shift, base, slots, _ = reduce(Tallied().merge, values)
    wanted: Counter[int] = Counter()
    for _, own, first, these, _ in values:
        assert shift >= own
        for index, many in enumerate(these, first):
            wanted[(index << own) >> shift] += many
    assert Counter({base + index: many for index, many in enumerate(slots) if many}) == +wanted
    assert count == sum(value[0] for value in values)
    assert len(slots) <= SLOTS


@given(st.lists(rows(), min_size=1, max_size=4))
def test_no_column_of_a_row_is_lost(values: list[Any]) -> None:
    shift, slots, columns = reduce(Rowed().merge, values)
    assert len(slots) <= ROWS
    assert list(slots) == sorted(set(slots))
    for column in range(8):
        assert sum(columns[column::8]) == sum(sum(value[2][column::8]) for value in values)
    finest = max(value[0] for value in values)
    if sum(len(value[1]) for value in values) <= ROWS:
        assert shift == finest


def test_outages_that_several_nodes_see_are_one() -> None:
    """The oracle for one restart that ten nodes see, and another a minute later: two outages."""
    seen = []
    for node in range(10):
        outages = Outages()
        for begin in (100, 160):
            for number in range(6):
                outages.failed(None, (begin + number) * SECOND + node * SECOND // 3, 0)  # type: ignore[arg-type]
            outages.answered()
        seen.append(outages)
    kind, names = Spans(SECOND), [f"n{node}" for node in range(10)]
    values = [kind.of(one, 0, [name]) for name, one in zip(names, seen, strict=True)]
    whole = reduce(kind.merge, values)
    outages, others = outages_again(whole, names)
    assert (outages.count, outages.exchanges, others) == (2, 120, 0)
    assert [one[:2] for one in outages.listed] == [(100 * SECOND, 108 * SECOND), (160 * SECOND, 168 * SECOND)]
    few, theirs = outages_again(reduce(kind.merge, values[:3]), names)
    assert (few.count, few.exchanges, theirs) == (0, 0, 36), "three of ten have seen it: it was theirs"


# --- evidence ---------------------------------------------------------------------------------------------------------

PATHS = ["/cart", "/orders/{}", "/users/name{}", "/a/{}/b"]
WHAT = ["same", "same", "value", "key", "500", "lost", "shed"]
shapes = st.tuples(
    st.sampled_from(PATHS), st.integers(0, 40), st.sampled_from(WHAT),
    st.integers(0, 9), st.booleans(),
)  # fmt: skip
scripts = st.lists(shapes, max_size=40)


def told(script: list[Any], node: int, begin: int = BEGIN) -> Examiner:
    """An examiner that saw it; nodes are some ms apart."""
    examiner = Examiner(Settings(min_span=1.0, twin=0.5), Rules())
    for number, (path, which, what, connection, twice) in enumerate(script):
        time = begin + (37 * number + node) * MS
        production, body = answer({"n": which, "m": {"k": 1}}, time=time), {"n": which, "m": {"k": 1}}
        if what == "value":
            body = {**body, "n": -1}
        elif what == "key":
            body = {**body, "m": {f"key_{which}x": number}}
        candidate = side(answer(body, 500 if what == "500" else 200), took=(3 + number % 5) * MS)
        if what == "lost":
            candidate = side(None, failure="reset")
        elif what == "shed":
            candidate = side(None, shed="shadow_lag")
        twin = side(answer(body)) if twice and what not in ("lost", "shed") else None
        asked = request(path.format(f"x{'abcdefghijklmnopqrstuvwxyz'[which % 26]}{which // 26}"), time=time)
        examine(examiner, asked, production, candidate, twin=twin, connection=connection)
    return examiner


@settings(max_examples=60, deadline=None)
@given(scripts, scripts, scripts)
def test_evidence_is_merged_in_any_order_and_survives_as_bytes(one: Any, other: Any, third: Any) -> None:
    values = [value_of(told(script, node), f"n{node}") for node, script in enumerate((one, other, third))]
    whole = merge(merge(values[0], values[1]), values[2])
    assert whole == merge(values[0], merge(values[1], values[2]))
    assert whole == merge(values[2], merge(values[1], values[0]))
    assert merge(EMPTY, values[0]) == values[0] == merge(values[0], EMPTY)
    for value in (EMPTY, values[0], whole):
        assert from_bytes_untrusted(to_bytes(value)) == value


@settings(max_examples=60, deadline=None)
@given(st.lists(scripts, min_size=1, max_size=4))
def test_nothing_that_was_counted_is_lost_or_counted_twice(given_: list[Any]) -> None:
    """The oracle is the sum over the examiners, each asked by itself."""
    examiners = [told(script, node) for node, script in enumerate(given_)]
    again = examiner_of(reduce(merge, [value_of(one, f"n{node}") for node, one in enumerate(examiners)]))

    def total(of: Any) -> list[Any]:
        return [of(again), sum(of(one) for one in examiners)]

    for of in (
        lambda one: one.compared, lambda one: one.twins, lambda one: one.outcomes.total.count,
        lambda one: one.worse, lambda one: one.better, lambda one: sum(one.shed.values()), lambda one: one.differing,
        lambda one: one.lagging.count, lambda one: one.timed, lambda one: one.first_byte.count,
        lambda one: one.first_byte.reference.count, lambda one: one.first_byte.candidate_lost,
        lambda one: sum(one.outcomes.total.by_group), lambda one: sum(e.total for e in one.endpoints.values()),
        lambda one: sum(e.pairs for e in one.endpoints.values()),
        lambda one: sum(e.thirds.count for e in one.endpoints.values()),
        lambda one: sum(f.differed for e in one.endpoints.values() for f in e.fields.values()),
        lambda one: sum(f.negative.count for e in one.endpoints.values() for f in e.fields.values()),
        lambda one: sum(s.count for s in one.signatures.values()),
        lambda one: sum(g.count for e in one.endpoints.values() for f in e.fields.values() for g in f.groups.values()),
    ):  # fmt: skip
        merged, counted = total(of)
        assert merged == counted
    proofs = total(lambda one: sum(f.positive.count for e in one.endpoints.values() for f in e.fields.values()))
    assert proofs[0] <= proofs[1]


def test_hypotheses_are_numbered_by_their_first_appearance_anywhere() -> None:
    late, early = (
        told([("/cart", 1, "value", 1, False)], 0, BEGIN + 9 * SECOND),
        told([("/orders/{}", 1, "500", 1, False)], 1),
    )
    again = examiner_of(merge(value_of(late, "n1"), value_of(early, "n2")))
    assert [(one.order, name) for name, one in again.endpoints.items()] == [(1, "GET /orders/xb0"), (2, "GET /cart")]
    numbers = {place: field.order for one in again.endpoints.values() for place, field in one.fields.items()}
    assert numbers == {("status", "failing"): 1, ("body", "$.n"): 2}


def test_an_endpoint_that_one_node_has_folded_is_folded_in_all() -> None:
    many = [("/users/name{}", which, "same", 1, False) for which in range(CHILDREN + 1)]
    few = [("/users/name{}", which, "value", 1, False) for which in range(3)]
    for first, second in ((many, few), (few, many)):
        again = examiner_of(merge(value_of(told(first, 0), "n1"), value_of(told(second, 1), "n2")))
        (endpoint,) = again.endpoints.values()
        assert (endpoint.name, endpoint.total, endpoint.differing) == ("GET /users/{name}", CHILDREN + 4, 3)


def test_and_so_is_one_that_only_all_together_have_seen_too_many_of() -> None:
    halves = [[("/a/{}/b", which, "same", 1, False) for which in range(start, start + 12)] for start in (0, 12)]
    values = [value_of(told(half, node), f"n{node}") for node, half in enumerate(halves)]
    assert [len(value["endpoints"]) for value in values] == [12, 12]
    assert list(merge(*values)["endpoints"]) == ["GET /a/{name}/b"]


def test_what_an_operator_named_is_not_folded_and_neither_are_prompts() -> None:
    names = [f"GET /users/{name}" for name in "abc"] + ["POST /users", "raw GET", "other"]
    called, _ = folded_names(names, ["/users"], ["GET /users/b"])
    assert sorted(set(called.values())) == ["GET /users/b", "GET /users/{name}", "POST /users", "other", "raw GET"]


def test_a_field_under_an_old_name_is_listed_and_is_no_proof() -> None:
    """Of one exchange several keys may differ: under their old names it would be counted for each."""
    maps = [("/cart", which, "key", which % 9, True) for which in range(KEYS + 9)]
    folding, other = told(maps, 0), told(maps[:8] * 3, 1)
    (known,) = (one for one in other.endpoints.values())
    assert sum(field.positive.count for field in known.fields.values())
    again = examiner_of(merge(value_of(folding, "n1"), value_of(other, "n2")))
    (endpoint,) = again.endpoints.values()
    proof = sum(field.positive.count for one in folding.endpoints.values() for field in one.fields.values())
    (there,) = (field for (where, path), field in endpoint.fields.items() if path == "$.m.{key}")
    assert there.differed == sum(
        field.differed for one in (folding, other) for each in one.endpoints.values() for field in each.fields.values()
    )
    assert there.positive.count == sum(field.positive.count for field in endpoint.fields.values()) <= proof


def test_too_many_fields_become_the_overflow_whichever_came_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MOST_FIELDS", 5)
    scripts_ = [[("/cart", which, "key", 1, True) for which in range(start, start + 6)] for start in (0, 6, 12)]
    values = [value_of(told(script, node), f"n{node}") for node, script in enumerate(scripts_)]
    whole = merge(merge(values[0], values[1]), values[2])
    assert whole == merge(values[0], merge(values[2], values[1]))
    fields = whole["endpoints"]["GET /cart"]["fields"]
    assert len(fields) == 6
    assert fields[OVERFLOW]["differed"] > 0


# --- conditions -------------------------------------------------------------------------------------------------------


def test_settings_come_back_as_they_were() -> None:
    asked = Settings(
        margins=WIDE, routes=["/users/{id}"], twin=0.25, run_key="X-Version", prices=[Price("m", 1.0, 2.5)],
        warmup=30.0,
        critical_endpoints=["GET /cart"], min_span=7.5, similarity="/models/one",
    )  # fmt: skip
    rules = Rules([{"where": "body", "path": "$.id"}], [{"where": "header", "path": "X-A", "endpoint": "GET /cart"}])
    value = value_of(Examiner(asked, rules))
    again, ruled = settings_again(from_bytes_untrusted(to_bytes(value))["conditions"])
    for name in Settings.__slots__:
        if name not in ("options", "margins", "prices"):
            assert getattr(again, name) == getattr(asked, name), name
    for name in Margins.__slots__:
        assert getattr(again.margins, name) == getattr(asked.margins, name), name
    assert [(one.model, one.for_input, one.for_output) for one in again.prices] == [("m", 1.0, 2.5)]
    assert ruled.label("GET /x", "body", "$.id", "value") == "noise"
    assert ruled.label("GET /cart", "header", "x-a", "value") == "expected"
    assert ruled.label("GET /y", "header", "x-a", "value") == ""


OTHERWISE: list[tuple[Mapping[str, Any], str]] = [
    ({"name": "basket"}, "two filters, basket and shop"),
    ({"target": "http://other:1"}, "two targets"),
    ({"label": "v3"}, "two labels, v2 and v3"),
]


@pytest.mark.parametrize(("changed", "said"), OTHERWISE, ids=lambda one: str(one)[:20])
def test_evidence_of_two_questions_is_not_merged(changed: Mapping[str, Any], said: str) -> None:
    values = [value_of(told([], 0), "n1"), value_of(told([], 1), "n2", **changed)]
    for pair in (values, values[::-1]):
        with pytest.raises(MergeError) as raised:
            merge(*pair)
        assert "two" in str(raised.value)
    assert said.split(",")[0] in str(raised.value)


def test_a_setting_or_a_rule_that_differs_is_named() -> None:
    one = value_of(told([], 0), "n1")
    with pytest.raises(MergeError, match=r"max_slowdown differs: 0\.1, 0\.15, 0\.25 and 0\.3, 0\.4, 0\.6") as raised:
        merge(one, with_margins(value_of(told([], 1), "n2"), Margins(max_slowdown=(0.3, 0.4, 0.6))))
    assert len(str(raised.value).splitlines()) == 1
    assert raised.value.exit_code == 2
    with pytest.raises(MergeError, match=r"max_error_increase differs: 0\.001 and 0\.01"):
        merge(one, with_margins(value_of(told([], 1), "n2"), Margins(max_error_increase=0.01)))
    ruled = Examiner(Settings(min_span=1.0, twin=0.5), Rules([{"where": "body", "path": "$.id"}]))
    with pytest.raises(MergeError, match=r"the rules differ: noise body \$\.id"):
        merge(one, value_of(ruled, "n2"))


def test_two_builds_are_never_mixed() -> None:
    values = []
    for node, build in enumerate((b"1", None, b"2")):
        examiner = told([], node)
        examiner._versions = [None, build]
        values.append(value_of(examiner, f"n{node}"))
    merge(values[0], values[1])
    for pair in ((values[0], values[2]), (merge(values[0], values[1]), values[2])):
        with pytest.raises(MergeError, match="the candidate is of two builds, 1 and 2"):
            merge(*pair)


def test_one_run_is_not_two_witnesses() -> None:
    value = value_of(told([], 0), "edge-1")
    with pytest.raises(MergeError, match="edge-1 is there twice"):
        merge(value, value)


# --- dealt out to several examiners -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_the_same_exchanges_are_the_same_counts_by_time_and_by_connection(nodes: int) -> None:
    """One examiner that saw all is the oracle. To the exchange: outcomes and twins, in all, by slot of time, and by
    connection. Up to one exchange for each node and hypothesis: what speaks for a field."""
    one, several = dealt(World(seconds=8, failing=0.02, wrong=0.1), 3, nodes)
    dice = random.Random(nodes)
    values = [value_of(each, f"n{node}") for node, each in enumerate(several)]
    dice.shuffle(values)
    again = examiner_of(reduce(merge, values))
    assert (again.compared, again.twins, again.timed) == (one.compared, one.twins, one.timed)
    assert again.endpoints.keys() == one.endpoints.keys()
    pairs = [(again.outcomes, one.outcomes)]
    for name, endpoint in one.endpoints.items():
        there = again.endpoints[name]
        assert (there.total, there.pairs, there.differing) == (endpoint.total, endpoint.pairs, endpoint.differing)
        pairs.append((there.outcomes, endpoint.outcomes))
        for denominators in ((there.thirds, endpoint.thirds), (there.trials, endpoint.trials)):
            assert _counted(denominators[0]) == _counted(denominators[1])
        assert there.fields.keys() == endpoint.fields.keys()
        for place, field in endpoint.fields.items():
            mine = there.fields[place]
            assert (mine.differed, mine.began) == (field.differed, field.began)
            for name_ in ("positive", "negative", "differing"):
                assert 0 <= getattr(field, name_).count - getattr(mine, name_).count <= nodes - 1
    for mine_, theirs in pairs:
        assert _counted(mine_.total) == _counted(theirs.total)
        for balance in ("failing", "refused"):
            for which in ("against", "better"):
                here, there_ = getattr(getattr(mine_, balance), which), getattr(getattr(theirs, balance), which)
                assert _counted(here) == _counted(there_)
    for point in ("first_byte", "last_byte"):
        for sketch in ("reference", "candidate"):
            mine_ = getattr(getattr(again, point), sketch)
            assert mine_.buckets() == getattr(getattr(one, point), sketch).buckets()


def _counted(tally: Tally) -> tuple[int, dict[int, int], int]:
    slots = {(tally.slots.base + index): many for index, many in enumerate(tally.slots.counts) if many}
    return tally.count, slots, sum(tally.by_group)


def test_nodes_that_saw_the_same_moment_are_one_vote() -> None:
    """Twenty nodes have as many votes as one: a half second each."""
    one, several = dealt(World(rate=900, seconds=8, connections=40), 1, 20)
    again = examiner_of(reduce(merge, [value_of(each, f"n{node}") for node, each in enumerate(several)]))
    apart = sum(each.first_byte.blocks.count for each in several)
    assert again.first_byte.blocks.count <= one.first_byte.blocks.count < apart / 10
    assert again.first_byte.pace.latest <= one.latest
    assert abs(again.first_byte.blocks.median()) < 0.1


def test_a_restart_that_no_node_sees_five_failures_of_is_a_burst_and_fails_nothing() -> None:
    """The tolerance of outages: to one examiner it is one, which is no evidence; to nodes with little traffic it is a
    burst of failures, which is evidence, and one event."""
    world = World(rate=20, seconds=40, restarts=1, connections=60)
    one, several = dealt(world, 1, 20)
    assert one.outages.count == 1
    assert sum(each.outages.count for each in several) == 0
    value = reduce(merge, [value_of(each, f"n{node}") for node, each in enumerate(several)])
    assert examiner_of(value).outcomes.failing.against.count == one.outages.exchanges
    assert assess_untrusted(value).verdict["verdict"] == "inconclusive"


def test_clocks_of_two_hosts_are_one() -> None:
    """One started a week before the other: their exchanges are of the same seconds."""
    week = 7 * 86400 * SECOND
    script = [("/cart", 1, "500" if number % 9 == 0 else "same", number % 7, False) for number in range(120)]
    old, young = told(script, 0, BEGIN + week), told(script, 1, BEGIN)
    old.contents.epoch, young.contents.epoch = 3 * week, 4 * week
    again = examiner_of(merge(value_of(old, "n1"), value_of(young, "n2")))
    assert again.latest - again.began < 5 * SECOND
    assert len(again.outcomes.total.slots.counts) <= len(old.outcomes.total.slots.counts) + 1
    assert sum(again.outcomes.total.slots.counts) == again.outcomes.total.count == 2 * old.outcomes.total.count
    assert len(again.outcomes.total.by_group) == GROUPS
