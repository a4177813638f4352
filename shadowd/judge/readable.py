"""Figures in sentences, for people: a change, an interval, how much more is needed (sans-IO).

``judgement`` has the plain forms. Here is what they become where a number is too large to say anything, or is none:
nobody reads "16,275,379 %", "∞…∞ %" or "17,672,701 more".
"""

from __future__ import annotations

import math

from shadowd.judge.judgement import more, percent, span

#: From twice as much on, a factor says more than a percentage.
_DOUBLE = 1.0
#: Factors beyond which only the size counts, and exchanges that no release waits for.
MAX_TIMES = 100_000
MAX_NEEDED = 1_000_000
NO_INTERVAL = "no interval yet"


def times(factor: float) -> str:
    """``163 times``, ``2.5 times``, ``more than 100,000 times``."""
    if not factor <= MAX_TIMES:
        return f"more than {MAX_TIMES:,} times"
    return f"{factor:,.0f} times" if factor >= 9.95 else f"{factor:.1f}".removesuffix(".0") + " times"


def change(effect: float, increase: str, decrease: str, what: str) -> str:
    """A relative change (0.1: a tenth more) against before: ``12 % more tokens than before``, ``163 times the tokens of
    before``."""
    if not effect < _DOUBLE:
        return f"{times(1 + effect)} the {what} of before"
    return f"{percent(abs(effect))} {decrease if effect < 0 else increase} than before"


def beyond(effect: float) -> str:
    """The size of an increase: ``12 %``, or ``163 times as much``."""
    return percent(effect) if effect < _DOUBLE else f"{times(1 + effect)} as much"


def interval(low: float, high: float) -> str:
    """Of relative changes: ``interval -3…12 %``, ``at least 5 %``, ``at most 12 %``, ``no interval yet``."""
    bounded = low > -1 and not math.isinf(low), high < MAX_TIMES
    if bounded == (True, True):
        return f"interval {span(low, high)}" if high < _DOUBLE else f"interval {beyond(low)} to {beyond(high)}"
    if bounded == (True, False):
        return f"at least {beyond(low)}"
    return f"at most {beyond(high)}" if bounded[1] else NO_INTERVAL


def still_needed(needed: int | None, what: str = "exchanges") -> str:
    """The end of an inconclusive sentence."""
    if needed is None:
        return "not decidable at this rate"
    if needed > MAX_NEEDED:
        return f"more than a million more {what} are expected to be needed"
    return more(needed, what)
