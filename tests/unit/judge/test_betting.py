"""Bets on a bounded mean against a naive mixture, exact binomial intervals (scipy), and simulated peeking."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shadowd.judge import betting
from shadowd.judge.betting import (
    interval,
    log_e_above,
    log_e_below,
    lower_bound,
    samples_needed,
    upper_bound,
)

ENOUGH = math.log(20)
VALUES = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60)


def naive(samples: list[float], mean: float, low: float) -> float:
    """The same bettors, one sample after another, without logarithms."""
    total = 0.0
    for fraction, log_weight in betting._BETS:
        capital = math.exp(log_weight)
        for value in samples:
            capital *= 1 + fraction / (mean - low) * (value - mean)
        total += capital
    return total


@given(VALUES, st.floats(-0.9, 0.9), st.randoms(use_true_random=False))
def test_counts_are_as_good_as_the_sequence(samples: list[float], mean: float, order: random.Random) -> None:
    counts = list(Counter(samples).items())
    order.shuffle(samples)
    expected = naive(samples, mean, -1.0)
    found = math.exp(log_e_above(counts, mean, -1.0, 1.0))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(VALUES, st.floats(-0.9, 0.9))
def test_below_mirrors_above(samples: list[float], mean: float) -> None:
    counts = list(Counter(samples).items())
    mirrored = [(-value, count) for value, count in counts]
    assert log_e_below(counts, mean, -1, 1) == log_e_above(mirrored, -mean, -1, 1)


def test_the_bettors_share_one_unit_of_capital() -> None:
    assert sum(math.exp(log_weight) for _, log_weight in betting._BETS) == pytest.approx(1)
    assert all(0 < fraction <= 1 for fraction, _ in betting._BETS)


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.02, 0.98))
def test_one_sample_more_is_fair_on_average(hits: int, misses: int, mean: float) -> None:
    """Martingale: under the hypothesis the expected capital after the next sample is the present one."""
    now = log_e_above([(1, hits), (0, misses)], mean, 0, 1)
    hit = log_e_above([(1, hits + 1), (0, misses)], mean, 0, 1)
    miss = log_e_above([(1, hits), (0, misses + 1)], mean, 0, 1)
    assert mean * math.exp(hit - now) + (1 - mean) * math.exp(miss - now) == pytest.approx(1, rel=1e-9)


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.001, 0.2))
def test_bounds_are_outside_those_of_clopper_and_pearson(hits: int, misses: int, alpha: float) -> None:
    """Theirs are the tightest for one look; ours hold at all looks, so they must be wider."""
    n = hits + misses
    if not n:
        return
    exact = stats.binomtest(hits, n, alternative="greater").proportion_ci(1 - alpha, method="exact").low
    assert lower_bound([(1, hits), (0, misses)], 0, 1, alpha) <= exact + 1e-6
    exact = stats.binomtest(hits, n, alternative="less").proportion_ci(1 - alpha, method="exact").high
    assert upper_bound([(1, hits), (0, misses)], 0, 1, alpha) >= exact - 1e-6


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 5000))
def test_bounds_are_where_the_evidence_is_enough(worse: int, better: int, same: int) -> None:
    counts = [(1, worse), (-1, better), (0, same)]
    low, high = interval(counts, -1, 1, 0.1)
    mean = (worse - better) / max(1, worse + better + same)
    assert low <= mean <= high
    if low > -1:
        assert log_e_above(counts, low, -1, 1) >= ENOUGH > log_e_above(counts, low + 1e-3 * abs(low) + 1e-8, -1, 1)
    if high < 1:
        assert log_e_below(counts, high, -1, 1) >= ENOUGH > log_e_below(counts, high - 1e-3 * abs(high) - 1e-8, -1, 1)


@pytest.mark.parametrize(("worse", "better"), [(0.001, 0.0), (0.003, 0.002), (0.2505, 0.2495), (0.0105, 0.0095)])
def test_peeking_at_the_margin_rejects_in_at_most_5_percent(worse: float, better: float) -> None:
    """The true mean is the margin 0.001 itself; 200 runs, looked at 60 times each."""
    generator = np.random.default_rng(20261123)
    looks = np.unique(np.geomspace(20, 40_000, 60).astype(int))
    steps = np.diff(looks, prepend=0)
    false = 0
    for _ in range(200):
        counts = generator.multinomial(steps, [worse, better, 1 - worse - better]).cumsum(axis=0)
        false += any(log_e_above(((1, w), (-1, b), (0, s)), 0.001, -1, 1) >= ENOUGH for w, b, s in counts.tolist())
    assert false <= 10 + 6  # 5 % and two standard deviations


def test_peeking_from_the_other_side() -> None:
    generator = np.random.default_rng(7)
    looks = np.unique(np.geomspace(500, 40_000, 60).astype(int))
    false = 0
    for _ in range(200):
        hits = generator.binomial(np.diff(looks, prepend=0), 0.001).cumsum()
        false += any(
            log_e_below(((1, h), (0, n - h)), 0.001, -1, 1) >= ENOUGH
            for h, n in zip(hits.tolist(), looks.tolist(), strict=True)
        )
    assert false <= 16


def first_pass(discordance: float) -> int:
    for n in range(1000, 80_000, 50):
        half = n * discordance / 2
        if log_e_below(((1, half), (-1, half), (0, n - 2 * half)), 0.001, -1, 1) >= ENOUGH:
            return n
    return 80_000


def test_samples_for_a_pass_at_a_tenth_of_a_percent() -> None:
    assert 4000 < first_pass(0.0) <= 5500
    assert first_pass(0.0002) <= 9000
    assert 40_000 < first_pass(0.005) <= 46_000


def test_needed_is_what_is_needed() -> None:
    assert samples_needed([], 0.001, -1, 1, 0.05) == pytest.approx(5240, rel=0.02)
    assert samples_needed([(0, 3000)], 0.001, -1, 1, 0.05) == pytest.approx(2240, rel=0.02)
    assert samples_needed([(0, 6000)], 0.001, -1, 1, 0.05) == 0
    further = samples_needed([(1, 5), (0, 495)], 0.001, -1, 1, 0.05, 1e-4)
    assert further is not None
    share = (500 + further) / 500
    assert log_e_above([(1, 5 * share), (0, 495 * share)], 0.001, -1, 1) == pytest.approx(math.log(1e4), rel=0.02)


def test_needed_is_unknown_at_the_margin() -> None:
    assert samples_needed([(1, 1), (0, 999)], 0.001, -1, 1, 0.05) is None
    assert samples_needed([], 0.5, 0.2, 1, 0.05) is None


def test_extremes() -> None:
    assert log_e_above([], 0.1, 0, 1) == 0
    assert log_e_above([(1, 1)], 0, 0, 1) == math.inf
    assert log_e_above([(0, 5)], 0, 0, 1) == 0
    assert interval([], -1, 1, 0.05) == (-1, 1)
    low, high = interval([(0.0, 1000)], 0, 1, 0.05)
    assert low == 0
    assert 0.003 < high < 0.01
    with pytest.raises(ValueError, match="outside"):
        log_e_above([(2, 1)], 0.5, 0, 1)
    with pytest.raises(ValueError, match="outside"):
        log_e_above([(1, -1)], 0.5, 0, 1)
