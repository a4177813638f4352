"""SVG marks and scales, of which the report's plots are made (sans-IO).

Coordinates are CSS pixels. Text is escaped here, and nowhere else on the way to the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from shadowd.redact.quoting import html


def svg(width: float, height: float, label: str, body: Iterable[str], name: str = "plot") -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html(label, 400)}">'
        f"{''.join(body)}</svg>"
    )


def words(x: float, y: float, what: str, name: str = "", anchor: str = "") -> str:
    """A text; ``what`` is escaped here."""
    extra = (f' class="{name}"' if name else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{extra}>{html(what, 120)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{name}"/>'


def box(x: float, y: float, width: float, height: float, name: str, radius: float = 0) -> str:
    round_ = f' rx="{radius:g}"' if radius else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{round_} class="{name}"/>'


def dot(x: float, y: float, radius: float, name: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{name}"/>'


def path(points: Sequence[tuple[float, float]], name: str) -> str:
    """A line through the points; a single one is a dot."""
    if len(points) == 1:
        return dot(*points[0], 3, f"{name} solo")
    drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{drawn}" class="{name}"/>' if points else ""


class Scale:
    """Values to pixels, linear or logarithmic."""

    __slots__ = ("_factor", "_first", "_log", "_start", "high", "low")

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        self.low, self.high, self._log, self._start = low, high, log, start
        first, last = (math.log(low), math.log(high)) if log else (low, high)
        self._first = first
        self._factor = (end - start) / (last - first) if last > first else 0.0

    def __call__(self, value: float) -> float:
        place = math.log(max(value, 1e-12)) if self._log else value
        return self._start + (place - self._first) * self._factor

    def ticks(self, most: int) -> list[float]:
        """At most about ``most`` round values inside."""
        if not self._log:
            return linear_ticks(self.low, self.high, most)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ticks: list[float] = []
        for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            ticks = [s * 10.0**d for d in decades for s in steps if self.low <= s * 10.0**d <= self.high]
            if len(ticks) <= most:
                break
        return ticks


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """At most about ``most`` round values from ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def spread(places: Sequence[float], widths: Sequence[float], low: float, high: float) -> list[float]:
    """Middles of labels near their places, in order, without overlaps, inside low…high as far as they fit."""
    middles = [min(max(place, low + w / 2), high - w / 2) for place, w in zip(places, widths, strict=True)]
    for index in range(1, len(middles)):
        middles[index] = max(middles[index], middles[index - 1] + (widths[index - 1] + widths[index]) / 2)
    end = high
    for index in range(len(middles) - 1, -1, -1):
        middles[index] = min(middles[index], end - widths[index] / 2)
        end = middles[index] - widths[index] / 2
    return middles
