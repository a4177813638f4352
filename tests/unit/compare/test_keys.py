"""Keys that are data, by their looks and by experience."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.difference import Options
from shadowd.compare.jsondiff import diff_documents
from shadowd.compare.keys import CHILDREN, MEMO, REMEMBERED, Keys, is_id


@pytest.mark.parametrize(
    "key",
    ["12345", "3f2b8c1e-9d4a-4e6f-8b7a-1c2d3e4f5a6b", "9f86d081", "9F86D081884C7D65", "2026-11-26", "2026-11-26T10:00",
     "10.0.0.7:8080", "ann@shop.example", "user-10001", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "V1StGXR8_Z5jdHi6B-myT",
     "dQw4w9WgXcQ8aB1c", "k" * 65],
)  # fmt: skip
def test_ids(key: str) -> None:
    assert is_id(key)


@pytest.mark.parametrize(
    "key",
    ["id", "item1", "f12", "f1999", "sha256", "v2", "2024", "line_2", "iso_8601", "utf8", "base64", "address_line_1",
     "total_price_excluding_vat_2024", "totalPriceExcludingVat2", "x-request-id", "deadbeef", "accessed", "p99_9",
     "content-type", "größe", "", "first name", "internationalization"],
)  # fmt: skip
def test_names(key: str) -> None:
    assert not is_id(key)


def test_a_map_of_random_ids_is_one_field_and_its_values_are_compared() -> None:
    p = {"sessions": {"9f86d0818": {"n": 1}, "9f86d0819": {"n": 1}}}
    c = {"sessions": {"9f86d0818": {"n": 2}, "77aa00b11": {"n": 1}}}
    assert {(d.path, d.kind) for d in diff_documents(p, c, Options())} == {
        ("$.sessions.{key}.n", "value"),
        ("$.sessions.{key}", "missing"),
        ("$.sessions.{key}", "extra"),
    }


def test_more_than_twenty_children_fold_from_then_on() -> None:
    keys = Keys()
    for number in range(CHILDREN):
        assert keys.fold(f"$.users.u{number}.at") == f"$.users.u{number}.at"
    assert not keys.folded("$.users")
    assert keys.taken() == []
    assert keys.fold("$.users.one_more.at") == "$.users.{key}.at"
    assert keys.folded("$.users")
    assert keys.taken() == ["$.users"]
    assert keys.taken() == []
    assert keys.fold("$.users.u3.at") == "$.users.{key}.at"  # the old name has a new one
    assert keys.fold("$.total") == "$.total"
    assert keys.fold("$.users") == "$.users"


def test_the_same_few_paths_never_fold() -> None:
    keys = Keys()
    for number in range(10_000):
        assert "{key}" not in keys.fold(f"$.items[*].f{number % CHILDREN}")


def test_other_notations() -> None:
    keys = Keys()
    for number in range(100):
        keys.fold(f"$.m['key {number}'].a")
        keys.fold(f"line[{number}].word[2]")
        keys.fold(f"$.html.p({number}).b")
    assert keys.fold("$.m['key 7'].a") == "$.m.{key}.a"
    assert keys.fold("$.html.p(3).b") == "$.html.{key}.b"
    assert keys.fold("line[7].word[2]") == "line[*].word[2]"
    assert keys.fold("$.m['it\\'s.here'][*].x") == "$.m.{key}[*].x"
    assert keys.fold("") == ""


def test_what_is_below_a_folded_place_is_learned_anew() -> None:
    keys = Keys()
    for number in range(50):
        keys.fold(f"$.m.k{number}.{'abc'[number % 3]}")
    assert keys.fold("$.m.k1.a") == "$.m.{key}.a"
    assert keys.fold("$.m.k1.b") == "$.m.{key}.b"


def test_memory_is_bounded() -> None:
    keys = Keys()
    for number in range(REMEMBERED * 2):
        keys.fold(f"$.a{number // 15}x.b{number}")
    assert sum(map(len, keys._children.values())) <= REMEMBERED
    assert len(keys._memo) <= MEMO


@given(st.lists(st.text("$.[]'*\\(){}ab0", max_size=30), max_size=60))
def test_any_path(paths: list[str]) -> None:
    keys = Keys()
    for path in paths:
        folded = keys.fold(path)
        assert keys.fold(path) == folded
