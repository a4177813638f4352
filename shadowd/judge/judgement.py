"""What a judge says: a result, its effect with an interval, and one sentence for people (sans-IO).

A judge fails when the interval lies beyond the margin, passes when it lies within, and is inconclusive otherwise. The
two ends answer two questions, so each has its own level: the lower end holds with probability 1 − α·w, where w is the
hypothesis's share of the family-wise α (``verdict.py``); the upper end with 1 − α, because a pass needs every required
judge to pass (intersection–union, Berger 1982). Both hold at all times at once: looking again costs nothing.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from shadowd.evidence.margins import CRITICAL

Result = Literal["pass", "fail", "inconclusive"]


class Judgement:
    """One judge's word on one hypothesis.

    ``endpoint`` is "" for all endpoints together; ``path`` says what was measured ("first_byte p50", "body $.total");
    ``effect``, ``low``, ``high`` and ``margin`` are in ``unit`` ("share", "ratio" as relative increase: 0.1 = 10 %
    more, "bytes/request", "restarts"); ``needed`` is the number of further samples expected to be needed, or None;
    ``required`` says that an overall pass needs this one; ``log_e`` is the natural logarithm of the e-value for a fail.
    """

    __slots__ = (
        "critical",
        "effect",
        "endpoint",
        "high",
        "judge",
        "kind",
        "log_e",
        "low",
        "margin",
        "needed",
        "path",
        "required",
        "result",
        "samples",
        "sentence",
        "unit",
    )

    def __init__(
        self,
        *,
        judge: str,
        result: Result,
        endpoint: str = "",
        path: str = "",
        kind: str = "",
        effect: float = 0.0,
        low: float = -math.inf,
        high: float = math.inf,
        unit: str = "share",
        margin: float = 0.0,
        samples: int = 0,
        needed: int | None = None,
        sentence: str = "",
        critical: bool | None = None,
        required: bool = False,
        log_e: float = 0.0,
    ) -> None:
        self.judge = judge
        self.endpoint = endpoint
        self.path = path
        self.kind = kind
        self.result = result
        self.effect = effect
        self.low = low
        self.high = high
        self.unit = unit
        self.margin = margin
        self.samples = samples
        self.needed = needed
        self.sentence = sentence
        self.critical = judge in CRITICAL if critical is None else critical
        self.required = required
        self.log_e = log_e

    def __repr__(self) -> str:
        return f"<{self.judge} {self.endpoint} {self.path} {self.kind}: {self.result}, {self.sentence}>"

    def view(self) -> dict[str, Any]:
        """For JSON: numbers are finite or null."""
        return {
            "judge": self.judge,
            "endpoint": self.endpoint,
            "path": self.path,
            "kind": self.kind,
            "result": self.result,
            "effect": finite(self.effect),
            "interval": [finite(self.low), finite(self.high)],
            "unit": self.unit,
            "margin": finite(self.margin),
            "samples": self.samples,
            "needed": self.needed,
            "sentence": self.sentence,
            "critical": self.critical,
            "required": self.required,
        }


def finite(value: float) -> float | None:
    """The value with six significant digits, or None where JSON has no number for it."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def percent(share: float) -> str:
    """``0.0123`` as ``1.2 %``: two significant digits, no decimals from 10 % on, no exponent; from 1,000 % on
    ``16 times``."""
    value = share * 100
    size = abs(value)
    if not math.isfinite(value):
        return "∞ %" if value > 0 else "-∞ %"
    if size < 0.0005:
        return "0 %"
    if size >= 1000:
        return f"{value / 100:,.0f} times" if size < 1e8 else "over a million times"
    decimals = 0 if size >= 9.95 else max(0, 1 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    if decimals:
        text = text.rstrip("0").rstrip(".")
    return f"{text} %"


def span(low: float, high: float) -> str:
    """An interval of shares: ``0.8…1.7 %``; ends that nobody knows are left out."""
    known = [end if math.isfinite(end) else None for end in (low, high)]
    if known[0] is None or known[0] <= -1:
        return f"at most {percent(high)}" if known[1] is not None else "not known yet"
    if known[1] is None:
        return f"at least {percent(low)}"
    first, last = percent(low), percent(high)
    return f"{first.removesuffix(' %' if last.endswith(' %') else ' times')}…{last}"


def more(needed: int | None, what: str = "exchanges") -> str:
    """The end of an inconclusive sentence: how much more is expected to be needed."""
    if needed is None:
        return "a longer run is needed, and nobody can tell yet how long"
    if needed > 1_000_000:
        return f"more than a million more {what} are expected to be needed"
    if needed >= 100:  # two digits are all that an extrapolation knows
        step = 10 ** (len(str(needed)) - 2)
        needed = -(-needed // step) * step
    return f"some {needed:,} more {what} are expected to be needed"
