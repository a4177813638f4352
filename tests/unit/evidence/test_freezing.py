"""Evidence as bytes and back: the same graph, only known classes, and nothing but its own error for any bytes."""

from __future__ import annotations

import functools
import math
import random
import re
import sys
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.evidence import freezing
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.freezing import FreezeError, Registry, freeze, freeze_steps
from shadowd.evidence.rules import Rules
from shadowd.evidence.thawing import thaw_untrusted
from shadowd.judge.assessment import Assessment
from shadowd.runs import resuming
from tests.unit.compare.exchanges import MS, answer, examine, request, side


class Point(NamedTuple):
    x: int
    y: object


class Colour(Enum):
    RED = 1


class Node:
    __slots__ = ("items", "owner")

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self.items: list[object] = []


class Child(Node):
    __slots__ = ("more",)

    def __init__(self, owner: object) -> None:
        super().__init__(owner)
        self.more = 1


class Open:
    def __init__(self) -> None:
        self.count = 0

    def step(self) -> int:
        self.count += 1
        return self.count


class Secret:
    """Left out."""


def known() -> int:
    return 7


REGISTRY = Registry([Point, Colour, Node, Child, Open], forgotten=[Secret], functions=[known])

plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(st.characters(codec="utf-8")),
        st.binary(), st.builds(Point, st.integers(), st.text(st.characters(codec="utf-8"))), st.just(Colour.RED),
        st.lists(st.integers(0, 2**64 - 1)).map(lambda values: array("Q", values)),
        st.frozensets(st.integers()), st.sets(st.tuples(st.integers(), st.binary())),
    ),
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.lists(inner).map(lambda items: deque(items, 3)),
        st.dictionaries(st.one_of(st.integers(), st.tuples(st.booleans(), st.binary())), inner),
        st.dictionaries(st.integers(), inner).map(OrderedDict),
    ),
    max_leaves=30,
)  # fmt: skip


def back(value: object, registry: Registry = REGISTRY) -> Any:
    return thaw_untrusted(freeze(value, registry), registry)


@given(plain)
def test_plain_values_come_back_equal_and_of_their_types(value: object) -> None:
    found = back(value)
    assert found == value
    assert _types(found) == _types(value)


def _types(value: object) -> object:
    if isinstance(value, dict):
        return (type(value), [(_types(key), _types(item)) for key, item in value.items()])
    if isinstance(value, list | tuple | deque):
        limit = value.maxlen if isinstance(value, deque) else None
        return (type(value), limit, [_types(item) for item in value])
    return type(value)


def test_odd_numbers() -> None:
    for number in (2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**40, -(10**40), math.inf, -math.inf, -0.0):
        found = back([number])[0]
        assert (found, type(found), math.copysign(1, found)) == (number, type(number), math.copysign(1, number))
    assert math.isnan(back(math.nan))


def test_what_is_shared_stays_shared_and_cycles_stay_cycles() -> None:
    owner = Child(None)
    shared = [1]
    table: dict[object, object] = {(owner, "a"): shared}
    owner.items = [shared, shared, table, owner]
    owner.owner = (owner, frozenset([(1, 2)]))
    found = back(owner)
    assert type(found) is Child
    assert found.more == 1
    assert found.items[0] is found.items[1]
    assert found.items[3] is found
    assert found.owner[0] is found
    ((key, value),) = found.items[2].items()
    assert key[0] is found
    assert value is found.items[0]


def test_an_empty_slot_stays_empty() -> None:
    node = Node(1)
    del node.items
    found = back(node)
    assert found.owner == 1
    assert not hasattr(found, "items")


def test_any_depth() -> None:
    deep: list[object] = []
    for _ in range(20_000):
        deep = [deep]
    found, depth = back(deep), 0
    while found:
        (found,) = found
        depth += 1
    assert depth == 20_000


def test_methods_functions_patterns_and_tables_with_defaults() -> None:
    counted = Open()
    table: defaultdict[str, int] = defaultdict(int, a=2)
    again, one, function, pattern, numbers, counter = back(
        [counted.step, counted, known, re.compile(rb"a+(?i:B)"), table, Counter("aab")]
    )
    assert again() == 1
    assert one.count == 1, "the method is the one object's own"
    assert function is known
    assert pattern.match(b"AAb") is None
    assert pattern.match(b"aab")
    assert numbers["new"] == 0
    assert (type(counter), counter["a"]) == (Counter, 2)


def test_what_is_forgotten_is_left_out_and_nothing_else() -> None:
    node = Node(Secret())
    node.items = [1, Secret(), {"a": Secret(), "b": 2}, deque([Secret(), 3]), (Secret(), 4)]
    found = back(node)
    assert found.owner is None
    assert found.items == [1, {"b": 2}, deque([3]), (None, 4)]


def test_texts_are_redacted_the_same_everywhere() -> None:
    def mask(text: str) -> str:
        return text.replace("hunter2!", "[gone]")

    value = {("body", "$.hunter2!"): b"token hunter2!", "digest": bytes(range(240, 256))}
    found = thaw_untrusted(freeze(value, REGISTRY, mask), REGISTRY)
    assert found == {("body", "$.[gone]"): b"token [gone]", "digest": bytes(range(240, 256))}


class Stranger:
    pass


@pytest.mark.parametrize(
    "value", [Stranger(), lambda: 1, functools.partial(known), Stranger().__init__, sys, iter([]), {1: memoryview(b"")}]
)  # type: ignore[misc]
def test_what_is_not_registered_is_refused(value: object) -> None:
    with pytest.raises(FreezeError, match="cannot be kept"):
        freeze([value], REGISTRY)


def test_a_size_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "MAX_BYTES", 10_000)
    freeze(["x" * 9_000], REGISTRY)
    with pytest.raises(FreezeError, match="larger than"):
        freeze([f"{number:0200}" for number in range(60)], REGISTRY)


def test_steps_are_short() -> None:
    steps = sum(1 for _ in freeze_steps([[number] for number in range(5 * freezing.STEP)], REGISTRY))
    assert steps == 5


def test_another_shape_is_refused_with_its_name() -> None:
    data = freeze(Child(None), REGISTRY)

    class Other:
        __slots__ = ("items", "owner")

    Other.__module__, Other.__qualname__ = Child.__module__, "Child"
    for registry in (Registry([Node]), Registry([Node, Other])):
        with pytest.raises(FreezeError, match="Child has another shape"):
            thaw_untrusted(data, registry)


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "FORMAT", freezing.FORMAT + 1)
    data = freeze([1], REGISTRY)
    with pytest.raises(FreezeError, match="format"):
        thaw_untrusted(data, REGISTRY)


def sample() -> bytes:
    node = Child(Point(1, (2, b"x")))
    node.items = [{(1, "a"): {2, 3}}, deque([Open().step], 4), array("Q", [1, 2**63]), 2**70, node, frozenset([5])]
    return freeze(node, REGISTRY)


SAMPLE = sample()


def only_its_own_error(data: bytes) -> bool:
    """It is refused, or what comes of it has known classes alone: it can be frozen again, and of nothing else can."""
    try:
        found = thaw_untrusted(data, REGISTRY)
    except FreezeError:
        return True
    again = thaw_untrusted(freeze(found, REGISTRY), REGISTRY)
    return type(again) is type(found)


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_truncated_data_is_refused(length: int) -> None:
    with pytest.raises(FreezeError):
        thaw_untrusted(SAMPLE[:length], REGISTRY)
    with pytest.raises(FreezeError):
        thaw_untrusted(SAMPLE + SAMPLE[: length + 1], REGISTRY)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_garbled_data_raises_only_its_own_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for place, value in changes:
        data[place] = value
    assert only_its_own_error(bytes(data))


parts = st.recursive(
    st.one_of(st.none(), st.integers(-2, 8), st.sampled_from([*"dlqOcDsobtfuniapeumFC", "Q", "int", "step", "RED"]),
              st.binary(max_size=9), st.floats()),
    lambda inner: st.lists(inner, max_size=4), max_leaves=12,
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.lists(parts, min_size=1, max_size=6), max_size=8), parts)
def test_hostile_nodes_raise_only_their_own_error(nodes: list[list[object]], root: object) -> None:
    table = [[REGISTRY.names[one], list(REGISTRY.slots(one) or ())] for one in (Node, Point, Colour, Open)]
    head = msgpack.packb([freezing.FORMAT, table, root, len(nodes)])
    assert only_its_own_error(head + b"".join(map(msgpack.packb, nodes)))


def test_hostile_nesting_is_refused() -> None:
    for wide in (1, 2):  # a tuple in a tuple …, and one whose hash would take 2^60 steps
        depth = 200_000 if wide == 1 else 60
        nodes = [["t", *[[number + 1]] * wide] for number in range(depth)] + [["t"], ["f", [0]]]
        head = msgpack.packb([freezing.FORMAT, [], [depth + 1], len(nodes)])
        with pytest.raises(FreezeError, match="damaged"):
            thaw_untrusted(head + b"".join(map(msgpack.packb, nodes)), REGISTRY)


def test_no_class_is_made_that_is_not_registered_and_no_constructor_runs() -> None:
    called: list[object] = []

    class Loud:
        __slots__ = ("a",)

        def __new__(cls) -> Loud:
            called.append(cls)
            return super().__new__(cls)

        def __init__(self) -> None:
            called.append(self)
            self.a = 1

    registry = Registry([Loud])
    data = freeze(Loud(), registry)
    called.clear()
    assert thaw_untrusted(data, registry).a == 1
    assert called == []
    for name in ("os:system", "builtins:eval", "subprocess:Popen"):
        head = msgpack.packb([freezing.FORMAT, [[name, []]], [0], 1])
        with pytest.raises(FreezeError):
            thaw_untrusted(head + msgpack.packb(["o", 0]), registry)


# --- the evidence of a run --------------------------------------------------------------------------------------------


def exchanges(examiner: Examiner, numbers: range) -> None:
    """The same ones for the same numbers."""
    for number in numbers:
        dice = random.Random(number)
        body = {"n": number, "price": 7 if dice.random() < 0.9 else 8, "trace": dice.random()}
        asked = request(f"/orders/{number}", time=(number + 1) * 10 * MS)
        candidate = side(answer(body, 500 if dice.random() < 0.02 else 200), took=dice.randrange(1, 9) * MS)
        examine(examiner, asked, answer({"n": number, "price": 7, "trace": dice.random()}), candidate,
                **{"baseline" if examiner.settings.baseline else "twin": side(answer(body))})  # fmt: skip


def judged(examiner: Examiner) -> Any:
    assessment = Assessment(examiner, examiner.compared, 60.0)
    assessment.finish()
    return assessment.verdict, assessment.differences, assessment.endpoints


@pytest.mark.parametrize(
    "options", [{"twin": 0.5}, {"baseline": True, "run_key": "X-Version", "routes": ["/orders/{id}"]}]
)
def test_a_run_that_is_thawed_goes_on_as_if_nothing_had_happened(options: dict[str, Any]) -> None:
    """The oracle is a run that was never frozen."""
    registry = resuming.registry()
    whole, half = Examiner(Settings(**options), Rules()), Examiner(Settings(**options), Rules())
    exchanges(whole, range(600))
    exchanges(half, range(300))
    thawed = thaw_untrusted(freeze(half, registry), registry)
    exchanges(thawed, range(300, 600))
    assert thawed.compared == 600
    assert judged(thawed) == judged(whole)


def broken(side_: str, at: int) -> tuple[int, int]:
    """Statuses of production and candidate: one of them fails from 290 on, six times, and at 100 three times."""
    fails = 290 <= at < 296 or 100 <= at < 103
    return (503 if fails and side_ == "reference" else 200), (503 if fails and side_ == "candidate" else 200)


@pytest.mark.parametrize("side_", ["candidate", "reference"])
@pytest.mark.parametrize("at", [101, 291, 293, 296, 400])
def test_a_run_that_is_thawed_in_an_outage_takes_back_what_the_other_half_counted(side_: str, at: int) -> None:
    """What waits to be taken back stands in the endpoints' own counts: after the thaw it must be those."""

    def go(examiner: Examiner, numbers: range) -> None:
        for number in numbers:
            ours, theirs = broken(side_, number)
            asked = request(("/a", "/b")[number % 2], time=(number + 1) * 10 * MS)
            examine(examiner, asked, answer(b"x", ours), side(answer(b"x", theirs)), connection=number % 16)

    registry = resuming.registry()
    whole, half = (Examiner(Settings(twin=0.0, warmup=0.0), Rules()) for _ in range(2))
    go(whole, range(450))
    go(half, range(at))
    thawed = thaw_untrusted(freeze(half, registry), registry)
    before = half.outages if side_ == "candidate" else half.reference_outages
    waiting = thawed.outages if side_ == "candidate" else thawed.reference_outages
    assert (waiting.waiting, waiting.lasting) == (before.waiting, before.lasting)
    if at == 296:
        assert waiting.lasting is not None
        assert waiting.lasting.exchanges == 6
    go(thawed, range(at, 450))
    found = thawed.outages if side_ == "candidate" else thawed.reference_outages
    assert (found.count, found.exchanges) == (1, 6)
    assert thawed.outcomes.total.count == 444
    assert sum(one.outcomes.total.count for one in thawed.endpoints.values()) == 444
    left = thawed.outcomes.failing
    assert (left.against.count, left.better.count) == ((3, 0) if side_ == "candidate" else (0, 3))
    assert min(left.against.by_group) == min(left.better.by_group) == 0
    assert judged(thawed) == judged(whole)
    assert half.outcomes.total.count == at - before.exchanges, "the frozen one is left as it was"
