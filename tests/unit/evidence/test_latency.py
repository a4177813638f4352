"""Latency sketch against a sorted list."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence.latency import LatencySketch

WITHIN = 1 / 64  # 1.6 %
DURATIONS = st.lists(
    st.one_of(st.integers(0, 200), st.integers(0, 10**7), st.integers(10**6, 10**13), st.just(2**40 - 1)),
    min_size=1,
    max_size=300,
)
QUANTILES = st.one_of(st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]), st.floats(0, 1))


def oracle(values: list[int], q: float) -> int:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def filled(values: list[int]) -> LatencySketch:
    sketch = LatencySketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(DURATIONS, QUANTILES)
def test_quantiles_are_within_1_6_percent(values: list[int], q: float) -> None:
    found = filled(values).quantile(q)
    assert found is not None
    exact = oracle(values, q)
    assert abs(found - exact) <= exact * WITHIN


@given(st.integers(0, 63))
def test_small_values_are_exact(value: int) -> None:
    assert filled([value]).quantile(0.5) == value


@given(DURATIONS, DURATIONS, QUANTILES)
def test_merging_is_adding_both(left: list[int], right: list[int], q: float) -> None:
    merged, whole = filled(left), filled(left + right)
    other = filled(right)
    merged.merge(other)
    assert merged.count == len(left) + len(right)
    assert merged.quantile(q) == whole.quantile(q)
    assert other.count == len(right)


@given(st.integers(0, 2**62))
def test_the_middle_of_a_power_of_two_is_near(value: int) -> None:
    found = filled([value]).quantile(0)
    assert found is not None
    assert math.isclose(found, value, rel_tol=WITHIN, abs_tol=0)


def test_negative_durations_count_as_zero() -> None:
    assert filled([-5, -1]).quantile(0.5) == 0


def test_nothing_seen() -> None:
    assert LatencySketch().quantile(0.5) is None
    assert LatencySketch().milliseconds() == {"p50": None, "p99": None}


def test_milliseconds() -> None:
    shown = filled([2_000_000] * 99 + [80_000_000]).milliseconds()
    p50, p99 = shown["p50"], shown["p99"]
    assert p50 is not None
    assert p99 is not None
    assert abs(p50 - 2) <= 2 * WITHIN
    assert abs(p99 - 80) <= 80 * WITHIN
