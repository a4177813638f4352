"""What code costs as its input grows: ratios of one run, for times depend on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable

ATTEMPTS = 5  # the best of them counts: a collection or a neighbour may fall into one
GRAIN = 0.002  # seconds of CPU time that are the clock's and the interpreter's


def cost(run: Callable[[], object]) -> float:
    """CPU time in seconds."""
    started = time.process_time()
    run()
    return time.process_time() - started


def assert_linear(whole: Callable[[], object], quarter: Callable[[], object]) -> float:
    """`quarter` does the same to a quarter of the input: a fourth of the cost is linear, a sixteenth quadratic.
    Returns what `whole` took, in seconds."""
    costs = []
    for _ in range(ATTEMPTS):
        costs.append((cost(whole), cost(quarter)))
        if costs[-1][0] < 8 * costs[-1][1] + GRAIN:
            return costs[-1][0]
    raise AssertionError(f"four times the input costs more than eight times as much: {costs} seconds")
