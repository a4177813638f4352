"""What code costs as its input grows: ratios of one run, for times depend on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable

ATTEMPTS = 5  # the best of them counts: a collection or a neighbour may fall into one
GRAIN = 0.002  # seconds of CPU time that are the clock's and the interpreter's
#: Of ``growth``: a fourth of the input for a fourth of the cost is 4, for a sixteenth (quadratic) 16.
LINEAR = 8.0


def cost(run: Callable[[], object]) -> float:
    """CPU time in seconds."""
    started = time.process_time()
    run()
    return time.process_time() - started


def growth(whole: Callable[[], object], quarter: Callable[[], object]) -> float:
    """How many times as much ``whole`` costs as ``quarter``, which does the same to a quarter of the input."""
    found = float("inf")
    for _ in range(ATTEMPTS):
        found = min(found, (cost(whole) - GRAIN) / max(cost(quarter), 1e-9))
        if found < LINEAR:
            break
    return found
