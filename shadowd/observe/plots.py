"""The report's plots as inline SVG (sans-IO).

A plot is drawn for a width in CSS pixels, so that letters have their real size: the page holds a wide and a narrow one
and shows the one that fits. Colours are classes that the page's style sheet defines (``p`` production, ``s`` shadow),
so that dark mode and paper need no second drawing. Production is a grey area, the shadow a strong line, and both are
named beside their marks: nothing is told by colour alone. All functions return "" when there is nothing to draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from shadowd.observe.drawing import Scale, box, dot, line, linear_ticks, path, spread, svg, words
from shadowd.observe.figures import (
    beyond_noise,
    count,
    entries,
    interval,
    milliseconds,
    moment,
    number,
    part,
    percent,
    quantity,
    size,
)

WIDE = 920
NARROW = 350

_LETTER = 7.0  # width of a character of 12 px type, in the wider of the usual system fonts
_TAIL = 0.0005  # share of exchanges at each end of a distribution that is not drawn: one outlier must not be the axis


# --- a judge's interval against its margin ----------------------------------------------------------------------------


def interval_plot(judge: Mapping[str, Any]) -> str:
    """The interval as a bar, the effect as a dot, the margin as a line, and what lies beyond it shaded."""
    low, high = judge_interval(judge)
    effect, margin = number(judge.get("effect")), number(judge.get("margin"))
    if margin is None or (low is None and high is None):
        return ""
    unit = str(judge.get("unit") or "")
    width, height, edge = 190.0, 34.0, 6.0
    reach = max(abs(margin) * 3, abs(effect or 0) * 2.5, 1e-12)
    left = max(low if low is not None else -reach, -reach)
    right = min(high if high is not None else reach, reach)
    # The no-change point is always in sight, and so is some room beyond the margin.
    first, last = min(0.0, left), max(abs(margin) * 1.5, right)
    room = (last - first) * 0.06
    x = Scale(first - room, last + room, edge, width - edge)
    y = 11.0
    body = [box(x(margin), 1, max(width - x(margin), 0), 20, "beyond"), line(x(0), 1, x(0), 21, "zero")]
    state = str(judge.get("result") or "inconclusive")
    name = state if state in ("pass", "fail") else "inconclusive"
    start, end = x(left), x(right)
    body.append(box(start, y - 3, max(end - start, 1.5), 6, f"reach {name}", 3))
    if low is None or low < left:
        body.append(f'<path d="M{start:.1f} {y - 5:.1f}l-5 5l5 5z" class="reach {name}"/>')
    if high is None or high > right:
        body.append(f'<path d="M{end:.1f} {y - 5:.1f}l5 5l-5 5z" class="reach {name}"/>')
    if effect is not None and left <= effect <= right:
        body.append(dot(x(effect), y, 4.5, f"effect {name}"))
    body.append(line(x(margin), 0, x(margin), 22, "margin"))
    at = quantity(margin, unit, signed=True)
    half = len(at) * 5.4 / 2
    centre = min(max(x(margin), half), width - half)
    body.append(words(centre, 32, at, "tiny", "middle"))
    if abs(x(0) - centre) > half + 10:
        body.append(words(x(0), 32, "0", "tiny", "middle"))
    label = f"interval {interval(low, high, unit)}, margin {quantity(margin, unit)}"
    return svg(width, height, label, body, "spark")


def judge_interval(judge: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The ends of a judge's interval, in order."""
    ends = judge.get("interval")
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        return None, None
    low, high = number(ends[0]), number(ends[1])
    return (high, low) if low is not None and high is not None and high < low else (low, high)


# --- distributions ----------------------------------------------------------------------------------------------------


def buckets_of(side: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """(lower ms, upper ms, count) of every usable bucket."""
    result = []
    for bucket in entries(side, "buckets"):
        if isinstance(bucket, Sequence) and len(bucket) == 3:
            low, high, amount = (number(value) for value in bucket)
            if low is not None and high is not None and amount is not None and high > low >= 0 and amount > 0:
                # Below a microsecond the log axis has nothing to tell.
                result.append((max(low / 1e6, 0.001), max(high / 1e6, 0.00101), amount))
    return sorted(result)


def _reach(buckets: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """The values between which all but the tails lie."""
    total = sum(amount for *_, amount in buckets)
    below, low, high = 0.0, buckets[0][0], buckets[-1][1]
    found = False
    for first, last, amount in buckets:
        if not found and below + amount > _TAIL * total:
            low, found = first, True
        below += amount
        if below >= (1 - _TAIL) * total:
            high = last
            break
    return low, high


def _density(buckets: Sequence[tuple[float, float, float]], low: float, high: float, bins: int) -> list[float]:
    """Shares per bin of the log axis, smoothed over two neighbours on each side."""
    first, per = math.log(low), bins / (math.log(high) - math.log(low))
    result = [0.0] * bins
    total = sum(amount for *_, amount in buckets)
    for lower, upper, amount in buckets:
        start, end = (math.log(lower) - first) * per, (math.log(upper) - first) * per
        for index in range(max(0, math.floor(start)), min(bins, math.ceil(end))):
            result[index] += amount / total * (min(end, index + 1) - max(start, index)) / (end - start)
    for _ in range(2):
        padded = [0.0, *result, 0.0]
        result = [(a + 2 * b + c) / 4 for a, b, c in zip(padded, padded[1:], padded[2:], strict=False)]
    return result


def distribution(
    point: Mapping[str, Any], width: int, shown: Callable[[object], str] = milliseconds, what: str = "Latency"
) -> str:
    """Both sides' latencies on one log axis, with a lane each for p50, p90 and p99; ``shown`` writes a value."""
    sides = [(side, part(point, side), name) for side, name in (("production", "p"), ("candidate", "s"))]
    drawn = [(side, data, name, buckets_of(data)) for side, data, name in sides]
    drawn = [entry for entry in drawn if entry[3]]
    if not drawn:
        return ""
    gutter = 88 if width >= 600 else 8
    reaches = [_reach(buckets) for *_, buckets in drawn]
    marks = [value for _, data, _, _ in drawn for _, value in _quantiles(data)]
    low = min([first for first, _ in reaches] + marks) / 1.12
    high = max([last for _, last in reaches] + marks) * 1.12
    x = Scale(low, high, gutter, width - 14, log=True)
    top, floor = 8.0, 168.0
    total = min(sum(amount for *_, amount in entry[3]) for entry in drawn)
    bins = int(min(max(24.0, 4 * total ** (1 / 3)), (width - gutter) / 6))
    shapes = [(name, _density(buckets, low, high, bins)) for _, _, name, buckets in drawn]
    peak = max(max(shape) for _, shape in shapes) or 1.0
    y = Scale(0, peak, floor, top)
    step = (width - 14 - gutter) / bins
    body = []
    for tick in x.ticks(width // (90 if width >= 600 else 70)):
        body.append(line(x(tick), top, x(tick), floor, "grid"))
        body.append(words(x(tick), floor + 17, shown(tick), "tick", "middle"))
    for name, shape in shapes:
        points = [(gutter + (index + 0.5) * step, y(share)) for index, share in enumerate(shape)]
        outline = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        body.append(
            f'<path d="M{points[0][0]:.1f} {floor:g}L{outline}L{points[-1][0]:.1f} {floor:g}Z" class="{name}a"/>'
        )
        body.append(path(points, f"{name}l"))
    body.append(line(gutter, floor, width - 14, floor, "axis"))
    at = floor + 46
    for side, data, name, _ in drawn:
        body.extend(_lane(data, side, name, at, x, width, floor, shown))
        at += 44 if width >= 600 else 54
    label = f"{what} of production and shadow on a logarithmic axis: " + "; ".join(
        f"{_called(side)} p50 {shown(data.get('p50_ms'))}, p90 {shown(data.get('p90_ms'))}, "
        f"p99 {shown(data.get('p99_ms'))}"
        for side, data, _, _ in drawn
    )
    return svg(width, at - 18, label, body)


def _quantiles(data: Mapping[str, Any]) -> list[tuple[int, float]]:
    """(percentile, ms) of those that are known, each where a log axis has a place for it."""
    values = [(q, number(data.get(f"p{q}_ms"))) for q in (50, 90, 99)]
    return [(q, max(value, 0.001)) for q, value in values if value is not None]


def _called(side: str) -> str:
    return "shadow" if side == "candidate" else side


def _lane(
    data: Mapping[str, Any], side: str, name: str, at: float, x: Scale, width: int, floor: float,
    shown: Callable[[object], str],
) -> list[str]:  # fmt: skip
    """p50, p90 and p99 of one side on a line of its own, each with its value."""
    found = _quantiles(data)
    if not found:
        return []
    body = []
    if width >= 600:
        body.append(words(0, at + 4, _called(side), f"name {name}t"))
    else:
        body.append(words(8, at - 9, _called(side), f"name {name}t"))
    places = [x(value) for _, value in found]
    body.append(line(places[0], at, places[-1], at, f"{name}l thin"))
    labels = [f"p{q} {shown(value)}" for q, value in found]
    middles = spread(places, [len(label) * _LETTER + 8 for label in labels], 0 if width < 600 else 88, width)
    for (q, _), place, middle, label in zip(found, places, middles, labels, strict=True):
        if q == 50:
            body.append(line(place, 8, place, floor, f"{name}l median"))
        body.append(dot(place, at, {50: 5.5, 90: 4, 99: 4}[q], f"{name}d" + ("" if q == 50 else " hollow")))
        body.append(words(middle, at + 20, label, "tick strong" if q == 50 else "tick", "middle"))
    return body


# --- over time --------------------------------------------------------------------------------------------------------

_LINES = (
    ("production", "p50_ms", "pl", "production p50", "pt"),
    ("production", "p99_ms", "pl dash", "production p99", "pt"),
    ("candidate", "p50_ms", "sl", "shadow p50", "st"),
    ("candidate", "p99_ms", "sl dash", "shadow p99", "st"),
)


def over_time(points: Sequence[Mapping[str, Any]], width: int) -> str:
    """p50 and p99 of both sides on a log axis, and beneath them the share of exchanges that were worse or differed
    beyond noise."""
    timed = sorted(
        ((time, point) for point in points if (time := number(point.get("time"))) is not None), key=lambda pair: pair[0]
    )
    values = [v for _, point in timed for side, q, *_ in _LINES if (v := number(part(point, side).get(q))) and v > 0]
    if not values:
        return ""
    gutter, right = (64, 112) if width >= 600 else (52, 10)
    top, floor = 10.0, 178.0
    low, high = min(values) / 1.25, max(values) * 1.25
    y = Scale(low, high, floor, top, log=True)
    first, last = timed[0][0], timed[-1][0]
    x = Scale(first, last if last > first else first + 1, gutter, width - right)
    body = []
    for tick in y.ticks(5):
        body.append(line(gutter, y(tick), width - right, y(tick), "grid"))
        body.append(words(gutter - 8, y(tick) + 4, milliseconds(tick), "tick", "end"))
    ends: list[tuple[float, str, str]] = []
    for side, q, name, label, colour in _LINES:
        runs = _runs([(time, number(part(point, side).get(q))) for time, point in timed])
        for run in runs:
            body.append(path([(x(time), y(value)) for time, value in run], name))
        if runs:
            ends.append((y(runs[-1][-1][1]), label, colour))
    if width >= 600:
        ends.sort()
        heights = spread([at for at, *_ in ends], [15.0] * len(ends), top - 6, floor + 6)
        for at, (_, label, colour) in zip(heights, ends, strict=True):
            body.append(words(width - right + 8, at + 4, label, f"tick {colour}"))
    body.extend(_harm([(x(time), point) for time, point in timed], floor + 14, gutter, width - right))
    clock = "%H:%M:%S" if last - first < 7200 else "%H:%M" if last - first < 2 * 86400 else "%d %b %H:%M"
    most = max(2, int((width - right - gutter) // 120))
    for index in range(most + 1):
        time = first + (last - first) * index / most
        anchor = "start" if index == 0 else "end" if index == most else "middle"
        body.append(words(x(time), floor + 66, moment(time, clock), "tick", anchor))
        if last <= first:
            break
    label = f"p50 and p99 of production and shadow from {moment(first)} to {moment(last)}"
    return svg(width, floor + 74, label, body)


def _runs(series: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """The parts of a series between missing values."""
    runs: list[list[tuple[float, float]]] = [[]]
    for time, value in series:
        if value is None or value <= 0:
            if runs[-1]:
                runs.append([])
        else:
            runs[-1].append((time, value))
    return [run for run in runs if run]


def _harm(places: Sequence[tuple[float, Mapping[str, Any]]], top: float, left: float, right: float) -> list[str]:
    """Bars of the share of a period's exchanges that were worse (dark) or differed beyond noise (light)."""
    floor = top + 32
    shares = []
    for place, point in places:
        exchanges = number(point.get("exchanges")) or 0
        worse, differing = number(point.get("worse")) or 0, beyond_noise(point)
        if exchanges > 0:
            shares.append((place, min(worse / exchanges, 1.0), min(max(differing, worse) / exchanges, 1.0)))
    peak = max((both for *_, both in shares), default=0.0)
    body = [line(left, floor, right, floor, "axis")]
    if not peak:
        body.append(words(left, floor - 8, "no exchange was worse or differed beyond noise", "tick muted"))
        return body
    gaps = [b - a for (a, *_), (b, *_) in pairwise(shares)]
    wide = max(1.0, min([*gaps, 14.0]) * 0.7)
    y = Scale(0, peak, floor, top)
    for place, worse, both in shares:
        at = min(max(place - wide / 2, left), right - wide)
        body.append(box(at, y(both), wide, floor - y(both), "differs"))
        body.append(box(at, y(worse), wide, floor - y(worse), "worse"))
    body.append(words(left - 8, top + 9, percent(peak), "tick", "end"))
    body.append(words(left - 8, floor + 1, "0", "tick", "end"))
    return body


# --- memory -----------------------------------------------------------------------------------------------------------


def memory(data: Mapping[str, Any], width: int) -> str:
    """Resident memory over requests, with the fitted slope and its band over the half that it was fitted to."""
    points = []
    for pair in entries(data, "points"):
        if isinstance(pair, Sequence) and len(pair) == 2:
            requests, bytes_ = number(pair[0]), number(pair[1])
            if requests is not None and bytes_ is not None:
                points.append((requests, bytes_))
    if len(points) < 2:
        return ""
    points.sort()
    slope, low, high = (number(data.get(name)) for name in ("slope", "low", "high"))
    half = points[len(points) // 2 :]
    pivot = half[len(half) // 2][0]
    # The line of Theil and Sen goes through the median of what is left when its slope is taken off.
    level = sorted(value - (slope or 0) * (requests - pivot) for requests, value in half)[len(half) // 2]
    ends = (half[0][0], half[-1][0])
    band = [level + s * (e - pivot) for s in (low, high, slope) if s is not None for e in ends]
    values = [value for _, value in points]
    bottom, peak = min([*values, *band]), max([*values, *band])
    room = max((peak - bottom) * 0.08, peak * 0.01, 1.0)
    gutter, right, top, floor = 64, 14, 10.0, 178.0
    x = Scale(points[0][0], max(points[-1][0], points[0][0] + 1), gutter, width - right)
    y = Scale(max(0.0, bottom - room), peak + room, floor, top)
    body = []
    for tick in _size_ticks(y.low, y.high):
        body.append(line(gutter, y(tick), width - right, y(tick), "grid"))
        body.append(words(gutter - 8, y(tick) + 4, size(tick), "tick", "end"))
    for tick in x.ticks(max(3, width // 110)):
        body.append(words(x(tick), floor + 17, count(tick), "tick", "middle"))
    body.append(words(width - right, floor + 33, "requests served by the shadow", "tick muted", "end"))
    if slope is not None:
        if low is not None and high is not None:
            corners = [(ends[0], low), (pivot, 0.0), (ends[1], low), (ends[1], high), (pivot, 0.0), (ends[0], high)]
            wedge = "L".join(f"{x(e):.1f} {y(level + s * (e - pivot)):.1f}" for e, s in corners)
            body.append(f'<path d="M{wedge}Z" class="band"/>')
        fitted = [(x(e), y(level + slope * (e - pivot))) for e in ends]
    body.append(path([(x(requests), y(value)) for requests, value in points], "sl"))
    if slope is not None:
        body.append(path(fitted, "fit"))
    body.append(line(gutter, floor, width - right, floor, "axis"))
    label = f"Resident memory of the shadow from {size(values[0])} to {size(values[-1])}"
    return svg(width, floor + 40, label, body)


def _size_ticks(low: float, high: float) -> list[float]:
    """Round numbers of the unit in which the larger end is written."""
    unit = 1024.0 ** max(0, math.floor(math.log(max(high, 1.0), 1024) + 0.01))
    return [tick * unit for tick in linear_ticks(low / unit, high / unit, 5)]


# --- the ledger -------------------------------------------------------------------------------------------------------


def stacked(parts: Sequence[tuple[str, int, str]], width: int) -> str:
    """One bar of (name, count, class), each part that is not empty at least 2 px wide."""
    shown = [entry for entry in parts if entry[1] > 0]
    total = sum(amount for _, amount, _ in shown)
    if not total:
        return ""
    free = width - 2.0 * len(shown)
    at, body = 0.0, []
    for _, amount, name in shown:
        wide = 2 + free * amount / total
        body.append(box(at, 0, max(wide - 1, 1), 22, name, 2))
        at += wide
    label = ", ".join(f"{name} {count(amount)}" for name, amount, _ in shown)
    return svg(width, 22, label, body, "bar")
