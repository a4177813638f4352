"""JSON-RPC's messages are paired by what they answer: batches in any order, streams with other messages between."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.jsonrpc import in_order
from tests.unit.compare.test_bodies import found

EVENTS = "text/event-stream"
IDS = st.one_of(st.integers(-5, 50), st.text("ab1", max_size=3), st.none())


def response(number: Any, value: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": {"price": value, "of": f"n{number}"}}


def note(value: Any, method: str = "notifications/progress") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": {"progress": value}}


def stream(*messages: Any, start: int = 0) -> str:
    return "".join(f"event: message\nid: {start + n}\ndata: {json.dumps(one)}\n\n" for n, one in enumerate(messages))


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    ids = draw(st.lists(IDS, min_size=1, max_size=8, unique_by=lambda one: (type(one), one)))
    batch = [response(one, draw(st.integers(0, 3))) for one in ids]
    return batch, draw(st.permutations(batch))


@given(batches())
def test_a_batch_may_be_answered_in_any_order(both: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    batch, moved = both
    assert found(json.dumps(batch), json.dumps(moved)) == set()
    assert found(stream(*batch), stream(*moved), EVENTS) == set()
    assert found(stream(batch), stream(*moved), EVENTS) == set()


@given(batches(), st.data())
def test_what_differs_in_one_answer_of_a_batch_is_that_alone(
    both: tuple[list[dict[str, Any]], list[dict[str, Any]]], data: st.DataObject
) -> None:
    batch, moved = both
    at = data.draw(st.integers(0, len(moved) - 1))
    dearer = [response(one["id"], 9) if n == at else one for n, one in enumerate(moved)]
    assert found(json.dumps(batch), json.dumps(dearer)) == {("$[*].result.price", "value")}
    fewer = moved[:at] + moved[at + 1 :]
    assert found(json.dumps(batch), json.dumps(fewer)) == {("$", "length")}
    assert found(json.dumps(fewer), json.dumps(batch)) == {("$", "length")}


MESSAGES = st.one_of(
    st.builds(response, IDS, st.integers(0, 2)),
    st.sampled_from([1, None, "x", [], {}, {"id": 1}, {"id": [1], "jsonrpc": "2.0", "result": 1}, note(1)]),
)


@given(st.lists(st.builds(response, IDS), min_size=1, max_size=8), st.lists(MESSAGES, max_size=8))
def test_no_message_is_lost_or_doubled(ours: list[Any], theirs: list[Any]) -> None:
    assert Counter(map(repr, in_order(ours, theirs))) == Counter(map(repr, theirs))


@given(
    st.data(), st.sets(st.integers(0, 12), min_size=6, max_size=6), st.sets(st.integers(0, 12), min_size=6, max_size=6)
)
def test_partners_stand_together(data: st.DataObject, asked: set[int], answered: set[int]) -> None:
    ours = [response(one) for one in data.draw(st.permutations(sorted(asked)))]
    theirs = [response(one) for one in data.draw(st.permutations(sorted(answered)))]
    made = in_order(ours, theirs)
    pairs = {(p["id"], c["id"]) for p, c in zip(ours, made, strict=True)}
    assert {one for one, other in pairs if one == other} == asked & answered
    alone = [one["id"] for one in theirs if one["id"] not in asked]
    assert [c["id"] for c in made if c["id"] not in asked] == alone, "what has no partner keeps its order"


def test_an_id_of_another_type_is_a_difference() -> None:
    batch = [response(1), response(2), response(3)]
    other = [response(3), {**response(1), "id": "1"}, response(2)]
    assert found(json.dumps(batch), json.dumps(other)) == {("$[*].id", "type")}
    assert found(json.dumps(response(1)), json.dumps({**response(1), "id": 2})) == {("$.id", "value")}


def test_ids_of_two_types_are_two_ids() -> None:
    batch = [response(1), response("1", 5)]
    assert found(json.dumps(batch), json.dumps(batch[::-1])) == set()


def test_json_rpc_1_0() -> None:
    batch = [{"id": n, "result": n * n, "error": None} for n in (1, 2, 3)]
    assert found(json.dumps(batch), json.dumps(batch[::-1])) == set()


@pytest.mark.parametrize(
    "items",
    [[{"id": 1, "price": 2}, {"id": 2, "price": 3}], [{"id": 1, "result": 2}, {"id": 2, "result": 3}],
     [note(1), note(2)]],
)  # fmt: skip
def test_other_lists_keep_their_order(items: list[Any]) -> None:
    assert found(json.dumps(items), json.dumps(items[::-1])) == {("$", "order")}


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=6), st.randoms(use_true_random=False))
def test_messages_between_are_compared_by_method(methods: list[str], random: Any) -> None:
    notes = [note(at, method) for at, method in enumerate(methods)]
    other = sorted(notes, key=lambda one: one["method"])  # in order among its like
    ours, theirs = [list(side) for side in (notes, other)]
    ours.insert(random.randint(0, len(ours)), response(1))
    theirs.insert(random.randint(0, len(theirs)), response(1))
    assert found(stream(*ours), stream(*theirs, start=40), EVENTS) == set()
    dearer = [response(1, 9) if "id" in one else one for one in theirs]
    assert found(stream(*ours), stream(*dearer), EVENTS) == {("$.result.price", "value")}
    if notes:
        fewer = [one for one in theirs if one is not other[0]]
        lengths = {(f"$['(sent)'].{other[0]['method']}", "length")}
        assert found(stream(*ours), stream(*fewer), EVENTS) == lengths
        assert found(stream(*fewer), stream(*ours), EVENTS) == lengths


def test_what_a_server_sends_by_itself() -> None:
    ours, theirs = stream(note(1), note(2), response(1)), stream(note(1), response(1), note(3))
    assert found(ours, theirs, EVENTS) == {("$['(sent)']['notifications/progress'][*].params.progress", "value")}
    ours, theirs = stream(response(1), response(2)), stream(response(2, 5), response(1))
    assert found(ours, theirs, EVENTS) == {("$.responses[*].result.price", "value")}


def test_parts_of_one_answer_keep_their_order() -> None:
    """A2A answers ``message/stream`` by several responses of one id."""
    parts = [response("t", value) for value in (1, 2, 3)]
    assert found(stream(*parts), stream(*parts[::-1]), EVENTS) == {("$.responses", "order")}
    assert found(stream(*parts), stream(*parts[:2]), EVENTS) == {("$.responses", "length")}


def test_where_a_stream_may_be_taken_up_again_is_no_difference() -> None:
    ours, theirs = stream(note(1), response(1)), stream(note(1), response(1), start=900)
    assert found("id: a\nretry: 100\ndata:\n\n" + ours, theirs, EVENTS) == set()


def test_events_that_are_no_messages_are_compared_as_events() -> None:
    ours = stream(response(1))
    for more in ("data: ping\n\n", "event: tick\ndata: 1\n\n"):
        assert ("$.events", "length") in found(ours, ours + more, EVENTS)
    assert ("$['(cut)']", "extra") in found(ours, ours + "data: {", EVENTS)
    assert found(stream(1), stream(2), EVENTS) == {("$.events[*].message.data", "value")}  # never was one of JSON-RPC


def test_a_stream_where_the_other_answers_at_once_is_another_type() -> None:
    assert found(json.dumps(response(1)), stream(response(1)), "") == {("$", "type")}
