"""Student's quantiles against SciPy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shadowd.evidence.student import upper_quantile


@given(st.floats(-14.5, -0.302), st.integers(1, 200))
def test_the_tail_beyond_the_quantile_is_the_level(exponent: float, freedom: int) -> None:
    alpha = 10**exponent
    assert stats.t.sf(upper_quantile(alpha, freedom), freedom) == pytest.approx(alpha, rel=1e-5)


@pytest.mark.parametrize("freedom", [1, 7, 15, 23, 1000])
def test_quantiles_of_the_tables(freedom: int) -> None:
    for alpha in (0.05, 0.01, 1e-4, 1e-8):
        assert upper_quantile(alpha, freedom) == pytest.approx(stats.t.isf(alpha, freedom), rel=1e-6)
    assert upper_quantile(0.5, freedom) == pytest.approx(0, abs=1e-6)


def test_levels_below_what_a_double_tells_are_as_good_as_never() -> None:
    assert upper_quantile(1e-300, 15) == upper_quantile(1e-15, 15)


@pytest.mark.parametrize(("alpha", "freedom"), [(0.05, 0), (0.0, 5), (0.6, 5), (-1.0, 5)])
def test_what_is_no_level_or_no_freedom(alpha: float, freedom: int) -> None:
    with pytest.raises(ValueError, match=r"at least one degree|a level is above 0"):
        upper_quantile(alpha, freedom)
