"""Structural differences of JSON, against mutations whose effect is known."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shadowd.compare.difference import PATH, SHOWN, Options
from shadowd.compare.jsondiff import (
    JsonError,
    Unbounded,
    diff_documents,
    parse_json_untrusted,
)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
KEYS = st.text("abcde", min_size=1, max_size=3)
DOCUMENTS = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4), max_leaves=20
)


def found(p: Any, c: Any, **options: Any) -> set[tuple[str, str]]:
    return {(d.path, d.kind) for d in diff_documents(p, c, Options(**options))}


def shuffled(value: Any, draw: random.Random) -> Any:
    """The same document with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        draw.shuffle(keys)
        return {key: shuffled(value[key], draw) for key in keys}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else copy.copy(value)


def places(value: Any, path: str = "$") -> list[tuple[Any, Any, str]]:
    """(container, key, collapsed path) of everything in a document."""
    result: list[tuple[Any, Any, str]] = []
    if isinstance(value, dict):
        for key, item in value.items():
            result += [(value, key, f"{path}.{key}"), *places(item, f"{path}.{key}")]
    elif isinstance(value, list):
        for index, item in enumerate(value):
            result += [(value, index, f"{path}[*]"), *places(item, f"{path}[*]")]
    return result


@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_equal_documents_have_no_differences(document: Any, draw: random.Random) -> None:
    assert found(document, shuffled(document, draw)) == set()
    text = json.dumps(document), json.dumps(shuffled(document, draw), indent=1)
    assert found(*(parse_json_untrusted(t.encode()) for t in text)) == set()


@given(DOCUMENTS, st.sampled_from(["value", "type", "missing", "extra"]), st.data())
def test_one_mutation_is_exactly_that_difference(document: Any, kind: str, data: st.DataObject) -> None:
    root = {"root": document}
    mutated = copy.deepcopy(root)
    container, key, path = data.draw(st.sampled_from(places(mutated)))
    inside = f"{path}.new" if isinstance(container[key], dict) else None
    if kind == "value":
        container[key] = "here"
        reference = copy.deepcopy(mutated)
        container[key] = "there"
        root, expected = reference, {(path, "value")}
    elif kind == "type":
        container[key] = "text"
        reference = copy.deepcopy(mutated)
        container[key] = {"now": 1}
        root, expected = reference, {(path, "type")}
    elif kind == "missing" and isinstance(container, dict):
        del container[key]
        expected = {(path, "missing")}
    elif kind == "missing":
        del container[key]
        expected = {(path.removesuffix("[*]"), "length")}
    elif inside is not None:
        container[key]["new"] = 1
        expected = {(inside, "extra")}
    else:
        container[key] = [1, 2]
        reference = copy.deepcopy(mutated)
        container[key] = [1, 2, 3]
        root, expected = reference, {(path, "length")}
    result = found(root, mutated)
    assume((path.rpartition("[*]")[0], "order") not in result)  # the mutation is a permutation
    assert result == expected


@given(DOCUMENTS, DOCUMENTS)
def test_differences_exist_exactly_when_documents_differ(p: Any, c: Any) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return ("boolean", value) if isinstance(value, bool) else value

    assert bool(found(p, c)) == (plain(p) != plain(c))


@given(DOCUMENTS, DOCUMENTS)
def test_the_reverse_comparison_finds_the_reverse(p: Any, c: Any) -> None:
    mirror = {"missing": "extra", "extra": "missing"}
    assert {(path, mirror.get(kind, kind)) for path, kind in found(p, c)} == found(c, p)


@given(st.lists(DOCUMENTS, max_size=6), st.randoms(use_true_random=False))
def test_a_permutation_is_one_order_difference(items: list[Any], draw: random.Random) -> None:
    other = list(items)
    draw.shuffle(other)
    canonical = [json.dumps(item, sort_keys=True) for item in items], [json.dumps(i, sort_keys=True) for i in other]
    assert found(items, other) == (set() if canonical[0] == canonical[1] else {("$", "order")})
    assert found(items, other, unordered=["$"]) == set()
    assert found(items, other, unordered=["*"]) == set()


@given(st.lists(DOCUMENTS, min_size=1, max_size=8), st.data())
def test_removing_elements_is_one_length_difference(items: list[Any], data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(items), max_size=len(items)).filter(lambda k: not all(k)))
    rest = [item for item, kept in zip(items, keep, strict=True) if kept]
    assert found(items, rest) == {("$", "length")}
    assert found(rest, items) == {("$", "length")}


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_true_is_not_one() -> None:
    assert found([True], [1]) == {("$[*]", "type")}
    assert found({"a": [{"b": False}]}, {"a": [{"b": 0}]}) == {("$.a[*].b", "type")}
    assert found(None, False) == {("$", "type")}


def test_numbers() -> None:
    p, c = parse_json_untrusted(b"[1, 100, 0]"), parse_json_untrusted(b"[1.0, 1e2, -0.0]")
    assert found(p, c) == set()
    p, c = parse_json_untrusted(b"[1, 2.5]", strict=True), parse_json_untrusted(b"[1.0, 2.5]", strict=True)
    assert found(p, c, json_types_strict=True) == {("$[*]", "type")}
    assert found(100, 101, tolerance=0.02) == set()
    assert found(100, 103, tolerance=0.02) == {("$", "value")}
    assert found([1.0, 2], [2, 1.001], tolerance=0.01, unordered=["*"]) == set()
    assert found(float("inf"), 1, tolerance=0.5) == {("$", "value")}
    assert found(10**400, 1.5, tolerance=0.5) == {("$", "value")}
    assert found(10**400, 10**400 + 1, tolerance=0.5) == {("$", "value")}


def test_tolerance_before_order() -> None:
    assert found([1.0, 1.001], [1.001, 1.0], tolerance=0.01) == set()
    assert found([1.0, 2.0], [2.0, 1.0], tolerance=0.01) == {("$", "order")}


def test_one_example_a_field() -> None:
    p = {"items": [{"price": n} for n in range(100)]}
    c = {"items": [{"price": n + 1000} for n in range(100)]}
    (difference,) = diff_documents(p, c, Options())
    assert difference[:] == ("body", "$.items[*].price", "value", "0", "1000")


def test_a_removed_element_with_volatile_neighbours_does_not_flood() -> None:
    p = [{"id": n, "name": f"n{n}", "at": f"p{n}"} for n in range(20)]
    c = [{"id": n, "name": f"n{n}", "at": f"c{n}"} for n in range(20) if n != 3]
    assert found(p, c) == {("$", "length"), ("$[*].at", "value")}


def test_moved_elements_with_volatile_fields_are_matched_by_id() -> None:
    p = [{"id": n, "name": f"n{n}", "at": f"p{n}"} for n in range(5)]
    c = [{"id": n, "name": f"n{n}", "at": f"c{n}"} for n in reversed(range(5))]
    assert found(p, c) == {("$", "order"), ("$[*].at", "value")}
    assert found(p, c, unordered=["$"]) == {("$[*].at", "value")}


def test_unordered_names_one_array() -> None:
    p, c = {"a": [1, 2], "b": [{"t": [3, 4]}]}, {"a": [2, 1], "b": [{"t": [4, 3]}]}
    assert found(p, c) == {("$.a", "order"), ("$.b[*].t", "order")}
    assert found(p, c, unordered=["$.a"]) == {("$.b[*].t", "order")}
    assert found(p, c, unordered=["$.b[*].t"]) == {("$.a", "order")}
    assert found({"a": [1, 2, 2]}, {"a": [2, 1]}, unordered=["*"]) == {("$.a", "length")}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("price", "$.price"), ("_x1", "$._x1"), ("a b", "$['a b']"), ("", "$['']"), ("it's", "$['it\\'s']"),
        ("2024", "$['2024']"), ("123456", "$.{key}"), ("3f2b8c1e-9d4a-4e6f-8b7a-1c2d3e4f5a6b", "$.{key}"),
        ("9f86d081884c7d65", "$.{key}"), ("a\nb", "$['a\\nb']"), ("größe", "$['größe']"),
    ],
)  # fmt: skip
def test_paths(key: str, path: str) -> None:
    assert found({key: 1}, {key: 2}) == {(path, "value")}


def test_texts_and_paths_are_bounded_and_printable() -> None:
    document = {"k" * 1000: {"k" * 999: {"z" * 998: {"y" * 997: {"x" * 998: {"w" * 999: "\x1b[31m" + "v" * 10_000}}}}}}
    other = json.loads(json.dumps(document).replace("vvvv", "uuuu"))
    (difference,) = diff_documents(document, other, Options())
    assert len(difference.path) <= PATH
    assert len(difference.production) == SHOWN
    assert difference.production.endswith("…")
    assert difference.production.isprintable()
    (difference,) = diff_documents({"a": "\ud800"}, {"a": 10**2000}, Options())
    assert "digits" in difference.candidate
    assert difference.production.encode()


def test_limits() -> None:
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    with pytest.raises(Unbounded, match="deep"):
        diff_documents(deep, json.loads(json.dumps(deep).replace("1", "2")), Options())
    wide = [{"a": n} for n in range(200)]
    with pytest.raises(Unbounded, match="many"):
        diff_documents(wide, [{"a": n + 1} for n in range(200)], Options(max_nodes=300))
    assert diff_documents(wide, copy.deepcopy(wide), Options(max_nodes=10)) == ()
    many = {f"k{chr(97 + n % 26)}{chr(97 + n // 26)}": n for n in range(100)}
    differences = diff_documents(many, {}, Options())
    assert (len(differences), differences.more) == (64, 36)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"{'a':1}", b"[1,]", b"nul", b"\xff\xfe\xff",
     b"[" + b"1" * 5000 + b"]", b'"\xff"', b"1 2"],
)  # fmt: skip
def test_malformed(text: bytes) -> None:
    with pytest.raises(JsonError):
        parse_json_untrusted(text)


def test_nested_beyond_python() -> None:
    with pytest.raises(Unbounded):
        parse_json_untrusted(b"[" * 100_000)


def test_encodings() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        assert parse_json_untrusted('{"a": "ü"}'.encode(encoding)) == {"a": "ü"}
    assert parse_json_untrusted('{"a": "ü"}'.encode("latin-1"), "iso-8859-1") == {"a": "ü"}
    assert parse_json_untrusted(b'{"a": 1, "a": 2}') == {"a": 2}


@given(st.binary(max_size=100) | st.text('[]{}",:0123456789.eE-+ntfalsuri\\', max_size=60).map(str.encode))
def test_any_bytes_are_survived(data: bytes) -> None:
    try:
        document = parse_json_untrusted(data)
    except (JsonError, Unbounded):
        with pytest.raises((ValueError, RecursionError)):  # nor does Python take it
            json.loads(data, parse_constant=lambda name: json.loads(""))
        return
    assert found(document, document) == set()


@given(DOCUMENTS, st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_additional_members_are_no_difference_where_they_are_allowed(document: Any, chosen: list[int]) -> None:
    candidate = copy.deepcopy(document)
    objects = [one for one in (candidate, *(box[key] for box, key, _ in places(candidate))) if isinstance(one, dict)]
    assume(objects)
    for number in chosen:
        objects[number % len(objects)][f"zz_{number}"] = {"a": [number]}
    assert found(document, candidate, allow_extra=True) == set()
    assert found(document, candidate) != set()
    lacking = found(candidate, document, allow_extra=True)
    assert lacking, "what production has and the candidate lacks is one all the same"
