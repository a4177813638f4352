"""Slots of time against a dict, windows against the level they may spend, rates against NumPy, and courses."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence.stretches import GROUPS, SLOTS, Slots, Tally, rate
from shadowd.judge.courses import FEW_CONNECTIONS, Course, hold, windows

SECOND = 1_000_000_000
LEAST = 60 * SECOND
SHIFT = 29  # as the default clock's

times = st.lists(st.integers(0, 5 * SLOTS), max_size=60)


def slots_of(when: list[int], shift: int = 0) -> Slots:
    made = Slots(shift)
    for time in when:
        made.add(time)
    return made


def held(slots: Slots) -> Counter[int]:
    """By number of the slot on the clock."""
    return Counter({slots.base + at: many for at, many in enumerate(slots.counts) if many})


# --- slots ------------------------------------------------------------------------------------------------------------


@given(times, st.integers(0, 4))
def test_slots_are_a_dict_of_times_in_steps(when: list[int], shift: int) -> None:
    made = slots_of(when, shift)
    assert held(made) == Counter(time >> made.shift for time in when)
    assert len(made.counts) <= SLOTS
    assert made.shift >= shift
    span = (max(when) >> shift) - (min(when) >> shift) if when else 0
    assert made.shift == shift or span >= SLOTS, "joined without need"


@given(times)
def test_what_was_taken_back_is_as_if_it_had_never_been(when: list[int]) -> None:
    made = slots_of(when)
    for time in when:
        made.add(time, -1)
    assert not held(made)


@given(times, st.integers(0, 5 * SLOTS), st.integers(0, 5 * SLOTS), st.integers(1, 24))
def test_a_cut_counts_each_slot_by_its_middle(when: list[int], begin: int, end: int, parts: int) -> None:
    made = slots_of(when, 3)
    wanted = [0] * parts
    for slot, many in held(made).items():
        middle = (slot << made.shift) + (1 << made.shift >> 1)
        if begin <= middle < end:
            wanted[(middle - begin) * parts // (end - begin)] += many
    assert made.cut(begin, end, parts) == wanted


@given(times, st.integers(1, 24))
def test_a_cut_over_everything_loses_nothing(when: list[int], parts: int) -> None:
    made = slots_of(when)
    wide = 1 << made.shift
    assert sum(made.cut(-wide, 6 * SLOTS + wide, parts)) == len(when)


@given(times, times, times)
def test_merging_is_commutative_and_associative(one: list[int], two: list[int], three: list[int]) -> None:
    """Up to the width of a slot: the same counts once both are joined to the wider."""

    def merged(*parts: list[int]) -> Slots:
        made = slots_of(parts[0])
        for part in parts[1:]:
            made.merge(slots_of(part))
        return made

    def at(slots: Slots, shift: int) -> Counter[int]:
        found: Counter[int] = Counter()
        for slot, many in held(slots).items():
            found[slot << slots.shift >> shift] += many
        return found

    inner = slots_of(two)
    inner.merge(slots_of(three))
    right = slots_of(one)
    right.merge(inner)
    for other in (merged(two, one, three), merged(three, two, one), right):
        mine = merged(one, two, three)
        shift = max(mine.shift, other.shift)
        assert at(mine, shift) == at(other, shift) == Counter(time >> shift for time in one + two + three)


def test_a_week_of_slots_stays_small() -> None:
    made = Slots(SHIFT)
    for second in range(0, 7 * 86_400, 60):
        made.add(second * SECOND)
    assert len(made.counts) <= SLOTS
    assert sum(made.counts) == 7 * 1440


# --- windows ----------------------------------------------------------------------------------------------------------


def test_all_looks_of_all_windows_spend_no_more_than_the_level() -> None:
    """Every second of four days; a look that was there a second ago is not another one."""
    seen: dict[tuple[str, int, int], float] = {}
    for second in range(0, 4 * 86_400, 5):
        for look in windows(7, 7 + second * SECOND, LEAST):
            key = (look.name, look.begin, look.end)
            assert seen.setdefault(key, look.spent) == look.spent, "a look changes its level"
    spent = Counter[str]()
    for (name, _, _), share in seen.items():
        spent[name] += share
    assert set(spent) == {"run", "last quarter", "last minutes"}
    assert 0.5 < sum(spent.values()) <= 1


@given(st.integers(0, 10**18), st.floats(1.0, 5000.0), st.integers(SECOND, LEAST))
def test_looks_are_fixed_by_time(begin: int, spans: float, least: int) -> None:
    """Where a look ends does not depend on when somebody asks, and it is never ahead of the traffic."""
    latest = begin + int(spans * least)
    looks = windows(begin, latest, least)
    assert looks[0].begin == begin
    for look in looks:
        assert begin <= look.begin < look.end <= latest
        assert look.parts in (16, 24)
    whole = looks[0].end - begin
    assert whole >= least - 1
    steps = math.log(whole / least) / math.log(1.25)
    assert abs(steps - round(steps)) < 1e-6
    assert (latest - begin) / whole < 1.25 + 1e-6


def test_nothing_is_looked_at_before_the_least_span() -> None:
    assert windows(5, 5 + LEAST - 1, LEAST) == []
    assert [look.name for look in windows(5, 5 + LEAST, LEAST)] == ["run"]
    assert windows(5, 500, 0) == []


# --- rates ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-50, 50), st.integers(0, 1000)), min_size=8, max_size=24))
def test_a_rate_is_the_ratio_estimator(parts: list[tuple[float, int]]) -> None:
    found = rate([x for x, _ in parts], [n for _, n in parts])
    x, n = np.array([(x, n) for x, n in parts if n > 0] or np.empty((0, 2))).reshape(-1, 2).T
    if len(n) < 8:
        assert found is None
        return
    assert found is not None
    mean = x.sum() / n.sum()
    error = math.sqrt(((x - mean * n) ** 2).sum() / (len(n) - 1) * len(n)) / n.sum()
    assert (found.mean, found.error, found.parts) == (
        pytest.approx(mean, abs=1e-12), pytest.approx(error, rel=1e-6, abs=1e-12), len(n),
    )  # fmt: skip
    assert found.low(0.01) <= found.mean <= found.high(0.01)


def by_connections(*counts: tuple[int, int]) -> tuple[Tally, Tally]:
    """(all, against) of each connection."""
    total, against = Tally(SHIFT), Tally(SHIFT)
    for group, (many, bad) in enumerate(counts):
        total.add(0, group, many)
        against.add(0, group, bad)
    return total, against


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([(1000, 20)] * 12, True),
        ([(1000, 20)], True),
        ([(1000, 20), (1000, 15), (1000, 25)], True),
        ([(1000, 60), (1000, 0), (1000, 0), (1000, 0)], False),  # one of four servers
        ([(1000, 0)] * 10 + [(1000, 200)] * 2, False),
    ],
)
def test_what_differs_between_connections_is_not_held(counts: list[tuple[int, int]], wanted: bool) -> None:
    total, against = by_connections(*counts)
    assert hold(((1.0, against),), total, 0.001, 0.001) is wanted


def test_unknown_connections_say_nothing_against_it() -> None:
    total, against = Tally(SHIFT), Tally(SHIFT)
    total.add(0, -1, 1000)
    against.add(0, -1, 20)
    assert hold(((1.0, against),), total, 0.001, 0.001)


def drawn(rates: list[float], many: int, dice: random.Random) -> tuple[Tally, Tally]:
    """Connections of ``many`` exchanges each, bad at a rate of their own."""
    return by_connections(*((many, sum(dice.random() < rate for _ in range(many))) for rate in rates))


def share_held(rates: Callable[[random.Random], list[float]], many: int, runs: int = 120) -> float:
    dice = random.Random(11)
    found = 0
    for _ in range(runs):
        total, against = drawn(rates(dice), many, dice)
        found += hold(((1.0, against),), total, 0.001, 1e-12)  # at no such level Student's t is sure of twelve
    return found / runs


def test_few_connections_that_are_even_say_that_it_is_the_release() -> None:
    """As certain as the exchanges are, whatever Student's t says of ten."""
    assert share_held(lambda _: [0.02] * 10, 300) >= 0.9


@pytest.mark.parametrize("pods", [2, 3, 4, 8])
def test_a_bad_pod_behind_some_of_the_connections_is_not_even(pods: int) -> None:
    """Each connection belongs to one of several servers, one of which is bad: six events suffice to see that."""

    def rates(dice: random.Random) -> list[float]:
        own = [number % pods for number in range(12)]
        return [0.02 * pods if pod == 0 else 0.0 for pod in own]

    assert share_held(rates, 300) == 0


def test_connections_that_differ_by_themselves_are_not_even() -> None:
    """A rate of each connection's own, gamma distributed about the mean."""
    assert share_held(lambda dice: [dice.gammavariate(0.4, 0.05) for _ in range(12)], 400) <= 0.3


# --- courses ----------------------------------------------------------------------------------------------------------


def course(bad: Callable[[int], bool], seconds: int = 300, groups: int = GROUPS, each: int = 50) -> Course:
    total, against, better = Tally(SHIFT), Tally(SHIFT), Tally(SHIFT)
    many = seconds * each
    for number in range(many):
        time = number * SECOND // each
        total.add(time, number % groups)
        if bad(number):
            against.add(time, number % groups)
    return Course(((1.0, against), (-1.0, better)), total, 0, seconds * SECOND, LEAST)


def one_percent(seed: int) -> Callable[[int], bool]:
    dice = random.Random(seed)
    return lambda _: dice.random() < 0.01


def test_a_steady_rate_fails_and_a_burst_of_as_many_does_not() -> None:
    assert course(one_percent(1)).fails(True, 0.001, -1.0, 0.005) == (True, "", ())
    failed, why, _ = course(lambda number: 5000 <= number < 5150).fails(True, 0.001, -1.0, 0.005)
    assert not failed
    assert "a burst is one event" in why


def test_before_the_least_span_nothing_fails_or_passes() -> None:
    early = course(one_percent(2), seconds=59)
    for decided, why in (early.fails(True, 0.001, -1.0, 0.005)[:2], early.passes(0.001, 0.05)):
        assert not decided
        assert "before 60 s of evidence (shadowctl filter set NAME --min-span TIME); 59 s so far" in why
    assert early.fails(False, 0.001, -1.0, 0.005) == (False, "", ())


def test_a_fault_that_begins_late_is_found_in_a_late_window() -> None:
    """Ten clean minutes times five, then four in a hundred for five minutes: the bets on all do not say so."""
    dice = random.Random(3)
    late = course(lambda number: number >= 150_000 and dice.random() < 0.04, seconds=3300)
    failed, why, _ = late.fails(False, 0.01, -1.0, 0.005)
    assert failed
    assert "s looked at" in why


def test_clean_runs_pass_and_a_burst_waits() -> None:
    assert course(lambda number: number % 7001 == 0).passes(0.001, 0.05)[0]
    assert not course(lambda number: 5000 <= number < 5300).passes(0.001, 0.05)[0]
    assert not course(one_percent(4)).passes(0.001, 0.05)[0]


def test_two_of_forty_connections_are_not_the_release() -> None:
    dice = random.Random(5)
    failed, why, _ = course(lambda number: number % 40 < 2 and dice.random() < 0.3, groups=40).fails(
        True, 0.001, -1.0, 0.005
    )
    assert (failed, why) == (False, FEW_CONNECTIONS)
