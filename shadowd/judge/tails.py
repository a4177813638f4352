"""Which ranks of two samples to compare, so that a ratio of high quantiles is certain (sans-IO).

Let t = 1 − p, and let the reference's p-quantile be x. How many of n samples exceed x is a sum of n bets on a mean of
t, so the numbers k that are not rejected are a confidence sequence for the rank of x, and their values one for x
itself (S. Howard and A. Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
identification", Bernoulli 28 (2022)).

For such an x, the candidate's quantile is at most r·x only if a pair's Y = 1{C > r·x} − 1{R > x} has E[Y] ≤ 0. With j
exceedances of the candidate and k of the reference the capital of a bettor is at least (1+λ)^j · (1−λ)^k: a pair in
which both exceed would multiply it by 1 ≥ (1+λ)(1−λ). So counts of either side alone suffice. The ratio's lower end is
the smallest, over the ranks k of x, of (value that j(k) of the candidate's exceed) / (value that k of the reference's
exceed), j(k) the fewest that convince; the upper end likewise with the most that convince of the opposite.

Ranks depend only on (t, n, α): they are shared by all endpoints and remembered for n in steps of 4.5 % (rounded down)
and α in steps of √2 (rounded down).
"""

from __future__ import annotations

import math
from functools import lru_cache

from shadowd.judge.betting import last_rejected, log_e_above, log_e_below

#: Of α, the part spent on where the reference's quantile is. A tenth costs the ratio's test log(10/9) = 0.1.
_PART_RANK = 0.1
#: Ranks tried between the ends of the reference's interval; what is found between two of them differs by little.
_RANKS = 5
_PRECISION = 0.005  # of a rank: durations half a percent of the samples apart hardly differ
_N_STEPS = 16  # per power of two
_ALPHA_STEPS = 2  # per power of two

#: Pairs of (exceedances of the reference, of the candidate), as shares of the samples.
Ranks = tuple[tuple[float, float], ...]


def ranks_longer(tail: float, samples: float, alpha: float) -> Ranks | None:
    """Ranks whose ratio the true ratio of the quantiles exceeds with probability ≥ 1 − α; None: too few samples."""
    return _ranks(tail, *_steps(samples, alpha), True)


def ranks_shorter(tail: float, samples: float, alpha: float) -> Ranks | None:
    """Ranks whose ratio the true ratio of the quantiles stays below with probability ≥ 1 − α; None: too few."""
    return _ranks(tail, *_steps(samples, alpha), False)


def _steps(samples: float, alpha: float) -> tuple[int, int]:
    return math.floor(math.log2(max(samples, 1.0)) * _N_STEPS), math.floor(math.log2(alpha) * _ALPHA_STEPS)


@lru_cache(maxsize=4096)  # 36 levels and 100 sizes of a run are in use at once
def _ranks(tail: float, samples_step: int, alpha_step: int, longer: bool) -> Ranks | None:
    samples, alpha = 2 ** (samples_step / _N_STEPS), 2 ** (alpha_step / _ALPHA_STEPS)
    around = _rank_interval(tail, samples, -math.log(alpha * _PART_RANK / 2))
    if around is None:
        return None
    fewest, most = around
    enough = -math.log(alpha * (1 - _PART_RANK))
    found = []
    for step in range(_RANKS):
        k = fewest * (most / fewest) ** (step / (_RANKS - 1))
        j = _convincing_longer(k, samples, enough) if longer else _convincing_shorter(k, enough)
        if j is None:
            return None
        found.append((k / samples, j / samples))
    return tuple(found)


def _rank_interval(tail: float, samples: float, enough: float) -> tuple[float, float] | None:
    """Numbers of exceedances that a quantile with this tail may have; None if it may have none at all."""

    def too_few(k: float) -> bool:
        return log_e_below(((1.0, k), (0.0, samples - k)), tail, 0.0, 1.0) >= enough

    def too_many(k: float) -> bool:
        return log_e_above(((1.0, k), (0.0, samples - k)), tail, 0.0, 1.0) >= enough

    expected = samples * tail
    if not too_few(1.0) or not too_many(samples):
        return None
    return last_rejected(too_few, 1.0, expected, _PRECISION), last_rejected(too_many, samples, expected, _PRECISION)


def _convincing_longer(k: float, samples: float, enough: float) -> float | None:
    """The fewest exceedances of the candidate that show it to be longer than a reference with ``k``."""

    def longer(j: float) -> bool:
        return log_e_above(((1.0, j), (-1.0, k)), 0.0, -1.0, 1.0) >= enough

    return last_rejected(longer, samples, k, _PRECISION) if longer(samples) else None


def _convincing_shorter(k: float, enough: float) -> float | None:
    """The most exceedances of the candidate that show it to be shorter than a reference with ``k``."""

    def shorter(j: float) -> bool:
        return log_e_above(((1.0, k), (-1.0, j)), 0.0, -1.0, 1.0) >= enough

    return last_rejected(shorter, 0.0, k, _PRECISION) if shorter(0.0) else None
