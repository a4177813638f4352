"""The rules of two well-known tools on the same data: what they would have said (own code, from their definitions).

Kayenta, the canary judge of Netflix and Google: each metric's samples of canary and control by Mann–Whitney; it is
*High* if the lower end of the interval of the location shift (Hodges–Lehmann) is beyond tolerance × |estimate|
(spinnaker/kayenta, ``MannWhitneyClassifier``; 98 % and 0.25 in its ``NetflixACAJudge``). Equal samples pass. That judge
removes outliers beyond three interquartile ranges before, which is left out; and only what is worse is asked for.

Diffy, of Twitter: a field is a regression where candidate ≠ primary is oftener than secondary ≠ primary, by more than
20 % of the two together and by more than 0.03 % of the endpoint's requests (twitter-archive/diffy,
``DifferencesFilterFactory``; thresholds as its documentation gives them). It has no noise without a secondary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from .worlds import World

CONFIDENCE, TOLERANCE = 0.98, 0.25
RELATIVE, ABSOLUTE = 20.0, 0.03  # %
SAMPLE = 10.0  # s

Floats = NDArray[np.float64]


def kayenta_high(experiment: Floats, control: Floats) -> bool:
    """Whether the experiment's samples are *High*. Interval by the normal approximation, as R gives it for ties."""
    if not len(experiment) or not len(control) or np.array_equal(experiment, control):
        return False
    shifts = np.sort(np.subtract.outer(experiment, control), axis=None)
    many, others = len(experiment), len(control)
    spread = math.sqrt(many * others * (many + others + 1) / 12)
    rank = max(0, math.floor(many * others / 2 - norm.ppf((1 + CONFIDENCE) / 2) * spread))
    return bool(shifts[rank] > TOLERANCE * abs(float(np.median(shifts))))


def kayenta(world: World) -> list[str]:
    """The metrics that are *High* at the end: 10-second samples of error rate, median and p99."""
    reference = "B" if world.mode == "baseline" else "P"
    samples = (world.at // SAMPLE).astype(int)
    asked = ~(world.write | world.own_lag)
    measured: dict[tuple[str, str], list[float]] = {}
    statuses = np.array([status for status, _, _ in world.templates])
    for side in ("C", reference):
        codes = world.code[side]
        failed = (codes < 0) | (statuses[np.maximum(codes, 0)] >= 500)
        for sample in range(int(world.at[-1] // SAMPLE)):  # the last is not whole
            here = (samples == sample) & asked
            answered = world.lat[side][here & (codes >= 0)]
            if not here.any() or not len(answered):
                continue
            measured.setdefault((side, "errors"), []).append(float(failed[here].mean()))
            measured.setdefault((side, "p50"), []).append(float(np.median(answered)))
            measured.setdefault((side, "p99"), []).append(float(np.quantile(answered, 0.99)))
    return [
        name
        for name in ("errors", "p50", "p99")
        if kayenta_high(np.array(measured.get(("C", name), [])), np.array(measured.get((reference, name), [])))
    ]


def diffy_fails(raw: int, noise: int, total: int) -> bool:
    """Of a field: how often candidate ≠ primary, secondary ≠ primary, and the endpoint's requests."""
    if raw <= noise:
        return False
    return 100 * (raw - noise) / (raw + noise) > RELATIVE and 100 * (raw - noise) / total > ABSOLUTE


def diffy(fields: Iterable[tuple[int, int, int]]) -> bool:
    return any(diffy_fails(*field) for field in fields)
