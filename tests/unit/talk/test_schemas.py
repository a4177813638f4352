"""Schemas of strangers on the JSON of others: what is checked, and that no pair of the two costs more than it may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from shadowd.talk.schemas import STEPS, Checking

MIXED = [one for number in range(6_000) for one in (number, str(number))]  # jsonschema compares each with each
STRINGS = {"type": "string"}


def nested(depth: int) -> dict[str, Any]:
    return {"anyOf": [nested(depth - 1)] * 2} if depth else STRINGS


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"anyOf": [STRINGS] * 200}}, [1] * 5_000),
        ({"items": {"enum": list(range(2_000))}}, ["a"] * 5_000),
        ({"items": {"enum": [[0] * 80 + [number] for number in range(60)]}}, [[0] * 81] * 200),
        ({"items": {"const": [0] * 4_000}}, [[0] * 4_000] * 3),
        ({"allOf": [STRINGS] * 900}, [1] * 20_000),  # each error quotes all of it
        ({"allOf": [{"items": {}}] * 900}, [1] * 20_000),
        ({"items": {"not": {"contains": nested(6)}}}, [[1, 2]] * 3_000),
        (nested(10), 1),
    ],
)
def test_what_would_take_seconds_is_not_checked(schema: dict[str, Any], value: Any) -> None:
    assert Checking().problem(json.dumps(value), schema) is None


def test_the_steps_are_those_of_all_answers() -> None:
    checking, schema = Checking(), {"type": "array", "items": {"type": "integer", "minimum": 0}}
    texts = [json.dumps(list(range(number, number + STEPS // 10))) for number in range(4)]
    assert [checking.problem(text, schema) for text in texts] == ["", "", None, None]
    assert [checking.problem(text, schema) for text in texts] == ["", "", None, None]  # and the same when asked again


def test_ordinary_answers_are_checked() -> None:
    properties = {
        "id": {"type": "integer"}, "name": {"type": "string", "maxLength": 80}, "kind": {"enum": ["a", "b", "c"]},
        "price": {"type": "number", "minimum": 0}, "tags": {"type": "array", "items": STRINGS, "uniqueItems": True},
    }  # fmt: skip
    schema = {
        "type": "array",
        "items": {
            "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
        },
    }  # fmt: skip
    rows = [{"id": n, "name": f"n{n}", "kind": "b", "price": n / 7, "tags": ["x", "y"]} for n in range(100)]
    checking = Checking()
    assert checking.problem(json.dumps(rows), schema) == ""
    wrong = [*rows[:50], {**rows[50], "kind": "d"}]
    told = checking.problem(json.dumps(wrong), schema)
    assert told is not None
    assert told.startswith("$[50].kind: 'd' is not one of")


def test_what_cannot_be_checked_is_neither_good_nor_bad() -> None:
    checking = Checking()
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"not": deep}
    for schema in ({"$ref": "#/a"}, {"pattern": "(a+)+"}, {"type": "nonsense"}, {"unevaluatedItems": False}, deep):
        assert checking.problem("[1]", schema) is None
    assert checking.problem("[1", {"$ref": "#/a"}) == "no JSON"
    assert Checking().problem("", {"type": "object"}) == ""


_VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -2, 0.0, 1.0, 0.5, -2.0, "", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(st.lists(_VALUES, max_size=5))
def test_unique_items_as_the_library_has_it(items: list[Any]) -> None:
    schema = {"uniqueItems": True}
    assert (Checking().problem(json.dumps(items), schema) == "") == Draft202012Validator(schema).is_valid(items)
