"""The language of ``--where``: against an evaluator of trees, and what a mistake is told."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.cli.where import FIELDS, FLAG, MAX_DEPTH, NUMBER, SIZE, TEXT, TIME, WORDS, parse
from shadowd.errors import UsageError
from shadowd.redact.quoting import visible
from tests.conftest import ROOT

# --- a tree, its text, and what it means ------------------------------------------------------------------------------

Tree = tuple[Any, ...]
WORD = st.text("abcXYZ/_-$[]*.0129ü\"' (),=~é", min_size=1, max_size=6)
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq,
}  # fmt: skip


def quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


def quantity(kind: str, value: float) -> str:
    return {NUMBER: f"{value:g}", TIME: f"{value:g}ms", SIZE: f"{value:g}B"}[kind]


def names(*kinds: str) -> list[str]:
    return [name for name, (kind, _) in FIELDS.items() if kind in kinds]


AMOUNT = st.integers(0, 5).map(float)
MEASURES = st.sampled_from(names(NUMBER, TIME, SIZE))
LEAF = st.one_of(
    st.tuples(st.just("measure"), MEASURES, st.sampled_from([*OPERATORS, "!="]), AMOUNT),
    st.tuples(st.just("related"), MEASURES, st.sampled_from([*OPERATORS, "!="]), MEASURES).filter(
        lambda leaf: FIELDS[leaf[1]][0] == FIELDS[leaf[3]][0]
    ),
    st.tuples(st.just("text"), st.sampled_from(names(TEXT, WORDS)), st.sampled_from(["=", "!=", "~", "!~"]), WORD),
    st.tuples(st.just("in"), st.sampled_from(names(TEXT, WORDS)), st.booleans(), st.lists(WORD, min_size=1)),
    st.tuples(st.just("flag"), st.sampled_from([*names(FLAG, WORDS), "failed", "shed", "failure", "excused"])),
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
        st.tuples(st.just("not"), inner),
    ),
    max_leaves=12,
)


def written(tree: Tree) -> str:
    match tree:
        case ("and" | "or") as joint, parts:
            return "(" + f" {joint} ".join(map(written, parts)) + ")"
        case "not", part:
            return f"not {written(part)}"
        case "measure", name, sign, value:
            return f"{name}{sign}{quantity(FIELDS[name][0], value)}"
        case "related", name, sign, other:
            return f"{name} {sign} {other}"
        case "text", name, sign, value:
            return f"{name} {sign} {quoted(re.escape(value) if '~' in sign else value)}"
        case "in", name, negated, values:
            return f"{name} {'not ' * negated}in ({', '.join(map(quoted, values))})"
    return str(tree[1])


def value_of(exchange: dict[str, Any], name: str) -> Any:
    """A field by the documentation's words."""
    shadow, differences = exchange["shadow"], exchange["differences"]
    side, plain = (shadow, name.removeprefix("shadow.")) if name.startswith("shadow.") else (exchange, name)
    if name == "slower":
        both = shadow["latency_ms"], exchange["latency_ms"]
        return None if None in both else both[0] - both[1]
    if name in ("diff", "place"):
        return [one["id" if name == "diff" else "path"] for one in differences]
    renamed = {"latency": "latency_ms", "total": "total_ms", "request.size": "request_size"}
    return side[renamed.get(plain, plain)]


def meant(tree: Tree, exchange: dict[str, Any]) -> bool:
    kind = tree[0]
    if kind in ("and", "or"):
        found = [meant(part, exchange) for part in tree[1]]
        return all(found) if kind == "and" else any(found)
    if kind == "not":
        return not meant(tree[1], exchange)
    value = value_of(exchange, tree[1])
    if kind == "flag":
        return bool(value)
    if kind in ("measure", "related"):
        other = tree[3] if kind == "measure" else value_of(exchange, tree[3])
        if value is None or other is None:
            return bool(tree[2] == "!=")
        return bool(value != other) if tree[2] == "!=" else OPERATORS[tree[2]](value, other)
    texts = value if isinstance(value, list) else [value]
    if kind == "in":
        return bool(set(texts) & set(tree[3])) is not bool(tree[2])
    hit = any(tree[3] in text if "~" in tree[2] else tree[3] == text for text in texts)
    return bool(hit != tree[2].startswith("!"))


def side() -> dict[str, st.SearchStrategy[Any]]:
    few = st.none() | AMOUNT
    return {"status": few, "latency_ms": few, "total_ms": few, "size": few}


EXCHANGES = st.fixed_dictionaries(
    {
        **side(), "shadow": st.fixed_dictionaries(side()), "request_size": AMOUNT,
        **dict.fromkeys(("method", "path", "endpoint", "target"), WORD),
        **{name: WORD | st.just("") for name in ("failed", "shed", "failure", "excused")},
        **{name: st.booleans() for name in ("differs", "noise", "worse", "better")},
        "differences": st.lists(st.fixed_dictionaries({"id": WORD, "path": WORD}), max_size=2),
    }
)  # fmt: skip


@given(TREES, st.lists(EXCHANGES, min_size=1, max_size=4))
def test_what_is_written_is_what_is_meant(tree: Tree, exchanges: list[dict[str, Any]]) -> None:
    chooses = parse(written(tree))
    assert [chooses(one) for one in exchanges] == [meant(tree, one) for one in exchanges]


@given(st.text(max_size=60) | st.text("aeinorstuwd <>=!~()'\",.&|0159", max_size=60))
def test_whatever_is_typed_is_chosen_by_or_refused_with_its_column(text: str) -> None:
    refused: UsageError | None = None
    try:
        parse(text)
    except UsageError as error:
        refused = error
    if refused is not None:
        found = re.match(r"--where, column (\d+): ", refused.problem)
        assert found is not None
        assert 1 <= int(found[1]) <= len(text) + 1
        assert refused.remedy.splitlines()[-1].strip() == "^"
        assert [visible(line, 10_000) for line in str(refused).splitlines()] == str(refused).splitlines()


# --- the words --------------------------------------------------------------------------------------------------------

ONE: dict[str, Any] = {
    "status": 200, "latency_ms": 10.0, "total_ms": 12.0, "size": 5000, "request_size": 0, "method": "POST",
    "path": "/orders/7?x=1", "endpoint": "POST /orders/{id}", "target": "http://next:80", "failed": "", "shed": "",
    "shadow": {"status": 500, "latency_ms": 1500.0, "total_ms": None, "size": None}, "failure": "", "excused": "",
    "worse": True, "better": False, "differs": True, "noise": False,
    "differences": [{"id": "1f3a09bc", "path": "$.total"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("worse", True), ("! worse", False), ("!worse", False), ("not worse or differs", True),
        ("better || worse && noise", False), ("better or worse and differs", True), ("WORSE AND Status == 200", True),
        ("slower>1s", True), ("slower > 1490ms", False), ("slower = 1.49s", True), ("shadow.latency >= 0.025m", True),
        ("latency < 10001us", True), ("size > 4KB", True), ("size > 4.9kib", False), ("size <= 5000", True),
        ("path=/orders/7?x=1", True), ("path ~ ^/orders/[0-9]+", True), ("path !~ '(a|orders)'", False),
        ("endpoint = 'POST /orders/{id}'", True), ('method in (GET, "POST")', True), ("method not in (GET)", True),
        ("shadow.status in (500, 502)", True), ("shadow.status != status", True), ("shadow.size > 0", False),
        ("shadow.size != 4", True), ("shadow.total < total or shadow.total >= total", False), ("failed", False),
        ("place", True), ("place ~ total", True), ("diff = 1f3a09bc", True), ("worse = true", True),
        ("worse != yes", False), ("not not worse", True), ("(((worse)))", True), ("failed <> timeout", True),
    ],
)  # fmt: skip
def test_words(text: str, chosen: bool) -> None:
    assert parse(text)(ONE) is chosen


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "nothing in it"), ("staus >= 500", 1, "did you mean status?"), ("frobnicate", 1, "fields are: status"),
        ("status >= 500 and", 18, "a field is expected, not the end"), ("status", 1, "status >= 500"),
        ("path", 1, "compare it with a text"), ("status >= fast", 11, "fast is not a number"),
        ("latency > 5", 11, "5ms"), ("latency > 5kb", 11, "kb is no unit of it"), ("status = 5ms", 10, "has no unit"),
        ("size > 4x", 8, "x is no unit of it"), ("worse = maybe", 9, "neither true nor false"),
        ("path < a", 6, "has no order"), ("worse < true", 7, "has no order"), ("status ~ 5", 8, "no pattern matches"),
        ("(worse", 1, "this ( is not closed"), ("(worse worse)", 8, "is not expected here"),
        ("worse)", 6, "closes nothing"), ("worse differs", 7, "join two tests by"), ("path = 'a", 8, "does not end"),
        ("method in POST", 11, "( is expected after in"), ("method in (GET", 15, "the list is not closed"),
        ("path ~ '('", 8, "the pattern cannot be used"), ("path ~ '(?=a)'", 8, "lookaround is not supported"),
        ("path ~ ^/(a|b)", 8, "quote it"),
        ("path =", 7, "a text is expected here"), ("latency > status", 11, "status is not a time"),
        ("and worse", 1, "a field is expected, not and"), ("worse or or", 10, "a field is expected, not or"),
        ("5 > 3", 1, "a field is expected, not 5"), ("worse ,", 7, "is not expected here"),
    ],
)  # fmt: skip
def test_a_mistake_is_pointed_at(text: str, column: int, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text)
    lines = str(refused.value).splitlines()
    assert lines[0].startswith(f"--where, column {column}: ")
    assert said in lines[0]
    assert lines[1] == f"  {text}"
    assert lines[2] == " " * (column + 1) + "^"


def test_the_caret_stands_below_wide_and_unseen_characters_too() -> None:
    with pytest.raises(UsageError) as refused:
        parse("path = 注文 and path = '\x1b' and nonsense")
    _, shown, caret = str(refused.value).splitlines()
    assert shown == "  path = 注文 and path = '\\u{1b}' and nonsense"
    assert len(caret) - 1 == shown.index("nonsense") + 2, "two characters of two columns"


def test_long_and_deep_texts_are_refused() -> None:
    with pytest.raises(UsageError, match="2,001 characters"):
        parse("w" * 2001)
    assert parse("(" * (MAX_DEPTH - 1) + "worse" + ")" * (MAX_DEPTH - 1))(ONE)
    for deep in ("(" * 900 + "worse" + ")" * 900, "not " * 400 + "worse"):
        with pytest.raises(UsageError, match="nested too deep"):
            parse(deep)
    with pytest.raises(UsageError) as refused:
        parse("worse and " * 50 + "nonsense" + " and worse" * 50)
    assert len(str(refused.value).splitlines()[1]) < 130, "what stands around it is enough"
    assert refused.value.remedy.splitlines()[1].index("nonsense") == refused.value.remedy.splitlines()[2].index("^")


def test_the_page_names_every_field_and_its_examples_are_of_use() -> None:
    page = (ROOT / "docs/tail.md").read_text()
    table = page.split("| field |")[1].split("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`([a-z.]+)`", row.split("|")[1])}
    assert named == set(FIELDS)
    examples = re.findall(r"--where (?:'([^']+)'|\"([^\"]+)\")", page.split("Ten that are of use:")[1])
    assert len(examples) == 10
    for single, double in examples:
        assert parse(single or double)(ONE) in (True, False)
    with pytest.raises(UsageError) as refused:
        parse("staus >= 500")
    shown = "".join(f"error: {line}\n" for line in str(refused.value).splitlines())
    assert f"```log\n{shown}```" in page
