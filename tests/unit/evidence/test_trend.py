"""Theil–Sen and Hamed–Rao against scipy and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shadowd.evidence import trend
from shadowd.evidence.trend import average_ranks, inflation, slopes, theil_sen

SERIES = st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=32)


@given(SERIES)
def test_the_slope_is_scipys(values: list[float]) -> None:
    points = [(float(x), y) for x, y in enumerate(values)]
    fitted = theil_sen(points, 0.025, 0.025)
    assert fitted is not None
    expected = stats.theilslopes(values, [x for x, _ in points], 0.95)
    assert fitted[0] == pytest.approx(expected.slope, abs=1e-6)
    assert fitted[1] <= fitted[0] <= fitted[2]


def test_the_interval_is_scipys_or_a_rank_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its correction for autocorrelation, which scipy has not. Ranks are rounded outwards here."""
    monkeypatch.setattr(trend, "inflation", lambda residuals: 1.0)
    generator = np.random.default_rng(1)
    for n in (8, 12, 20, 32):
        for _ in range(10):
            x, y = np.arange(n) * 3.0, generator.normal(size=n)
            points = list(zip(x.tolist(), y.tolist(), strict=True))
            fitted, ordered = theil_sen(points, 0.025, 0.025), np.array(slopes(points))
            expected = stats.theilslopes(y, x, 0.95)
            assert fitted is not None
            low, high = np.abs(ordered - expected.low_slope).argmin(), np.abs(ordered - expected.high_slope).argmin()
            assert 0 <= low - np.abs(ordered - fitted[1]).argmin() <= 1
            assert 0 <= np.abs(ordered - fitted[2]).argmin() - high <= 1


@given(SERIES)
def test_ranks_are_scipys(values: list[float]) -> None:
    assert average_ranks(values) == stats.rankdata(values).tolist()


def autocorrelated(generator: np.random.Generator, n: int, rho: float) -> list[float]:
    noise = generator.normal(size=n).tolist()
    series = [noise[0] / math.sqrt(1 - rho * rho)]
    for value in noise[1:]:
        series.append(rho * series[-1] + value)
    return series


@pytest.mark.parametrize(("rho", "least", "most"), [(0.0, 0.0, 0.02), (0.3, 0.02, 0.03), (0.6, 0.09, 0.05)])
def test_autocorrelation_widens_the_interval(rho: float, least: float, most: float) -> None:
    """A 99 % interval misses in ``most`` of 500 cases at most; the plain one in ``least`` at least."""
    generator = np.random.default_rng(5)
    missed = plain = 0
    for _ in range(500):
        series = autocorrelated(generator, 32, rho)
        fitted = theil_sen([(float(x), y) for x, y in enumerate(series)], 0.005, 0.005)
        assert fitted is not None
        missed += not fitted[1] <= 0 <= fitted[2]
        bare = stats.theilslopes(series, None, 0.99)
        plain += not bare.low_slope <= 0 <= bare.high_slope
    assert plain >= 500 * least
    assert missed <= 500 * most


def test_inflation_is_at_least_that_of_the_paper() -> None:
    """Hamed and Rao's factor, written out once more with numpy."""
    series = [float(v) for v in (1, 2, 3, 4, 5, 6, 7, 8, 16, 15, 14, 13, 12, 11, 10, 9)]
    n = len(series)
    ranks = np.array(stats.rankdata(series)) - (n + 1) / 2
    factor = 1.0
    for lag in range(1, n - 2):
        rho = float((ranks[:-lag] * ranks[lag:]).sum() / (ranks**2).sum())
        if abs(rho) > 1.959964 / math.sqrt(n):
            factor += 2 / (n * (n - 1) * (n - 2)) * (n - lag) * (n - lag - 1) * (n - lag - 2) * rho
    assert factor > 1.5
    assert trend._hamed_rao(trend._rank_correlations(series), n) == pytest.approx(factor)
    assert inflation(series) >= factor


def test_alternation_does_not_narrow_the_interval() -> None:
    assert inflation([float(x % 2) for x in range(20)]) == 1.0


def test_too_few_points_are_no_line() -> None:
    assert theil_sen([(1, 1), (2, 2), (3, 3)], 0.1, 0.1) is None
    assert theil_sen([(1, 1), (1, 2), (1, 3), (1, 4)], 0.1, 0.1) is None
    fitted = theil_sen([(float(x), float(x)) for x in range(4)], 0.001, 0.001)
    assert fitted == (1.0, -math.inf, math.inf)


def test_a_flat_series_has_no_slope() -> None:
    assert theil_sen([(float(x), 7.0) for x in range(20)], 0.01, 0.01) == (0.0, 0.0, 0.0)
