"""Quantiles of Student's t distribution (sans-IO): how far a mean of few values may be off by chance.

The tail is an incomplete beta function (M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions", 26.7.1),
which loses nothing where it is small: levels of 10⁻¹² are as right as those of 0.05. SciPy would do as well; it is
60 MB for one function, and stays the oracle of the tests.
"""

from __future__ import annotations

import math
from functools import lru_cache

#: A level below it is as good as never, and above it is no test.
_LEAST, _MOST = 1e-15, 0.5


@lru_cache(maxsize=4096)  # levels of one run times a handful of degrees of freedom
def upper_quantile(alpha: float, freedom: int) -> float:
    """The t that a variable with ``freedom`` degrees of freedom exceeds with probability ``alpha`` (0 < α ≤ 0.5).

    ValueError for no degree of freedom or a level outside.
    """
    if freedom < 1:
        raise ValueError(f"a t distribution has at least one degree of freedom, not {freedom}")
    if not 0 < alpha <= _MOST:
        raise ValueError(f"a level is above 0 and at most {_MOST}, not {alpha}")
    alpha = max(alpha, _LEAST)
    low, high = 0.0, 1.0
    while _tail(high, freedom) > alpha:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if _tail(middle, freedom) > alpha:
            low = middle
        else:
            high = middle
        if high - low <= 1e-9 * high:
            break
    return high


def _tail(t: float, freedom: int) -> float:
    """P(T > t) for t ≥ 0, half the regularised incomplete beta function I_x(ν/2, 1/2) at x = ν/(ν + t²)."""
    return 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised, by its continued fraction (Abramowitz and Stegun 26.5.8; evaluated as by W. Lentz 1976)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) / a
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 500):
        for part in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + part * d
            c = 1 + part / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * value
