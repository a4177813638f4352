"""The plots say what the numbers say: places in the picture are read back and held against the data."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.observe import plots
from shadowd.observe.drawing import Scale, linear_ticks, spread
from tests.unit.observe.sample import judge, latencies, over_time, sample

WIDTHS = [plots.WIDE, plots.NARROW]


def marks(picture: str, tag: str, name: str) -> list[dict[str, Any]]:
    """The elements of a tag that have the class, with numbers as numbers. Also proves that the picture is XML."""
    root = ElementTree.fromstring(picture)
    found = []
    for element in root.iter(tag):
        if name in element.get("class", "").split():
            found.append({key: number(value) for key, value in element.attrib.items()} | {"text": element.text})
    return found


def number(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter("text")]


def places(picture: str) -> list[float]:
    """All x of a picture."""
    found = []
    for element in ElementTree.fromstring(picture).iter():
        for name in ("x", "x1", "x2", "cx"):
            if name in element.attrib:
                found.append(float(element.attrib[name]))
        for x, _ in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", element.get("d", "")):
            found.append(float(x))
    return found


FINITE = st.floats(min_value=-5, max_value=5).filter(lambda x: x == 0 or abs(x) > 1e-5)


@settings(deadline=None)
@given(FINITE, st.floats(min_value=0, max_value=3), st.floats(min_value=0.001, max_value=1))
def test_an_interval_stands_on_its_side_of_the_margin(low: float, width: float, margin: float) -> None:
    high = low + width
    result = "fail" if low > margin else "pass" if high < margin else "inconclusive"
    picture = plots.interval_plot(judge("x", result, effect=low + width / 2, interval=[low, high], margin=margin))
    (bar,) = marks(picture, "rect", "reach")
    (edge,) = marks(picture, "line", "margin")
    (beyond,) = marks(picture, "rect", "beyond")
    assert beyond["x"] == edge["x1"]
    assert 0 <= edge["x1"] <= 190
    if result == "fail":
        assert bar["x"] >= edge["x1"] - 0.2
    elif result == "pass":
        assert bar["x"] + bar["width"] <= edge["x1"] + 1.6  # a bar is at least 1.5 px wide
    else:
        assert bar["x"] <= edge["x1"] + 0.2
    (dot,) = marks(picture, "circle", "effect") or [{"cx": bar["x"]}]
    assert bar["x"] - 0.2 <= dot["cx"] <= bar["x"] + bar["width"] + 0.2
    assert result in str(bar["class"])


def test_an_unbounded_interval_ends_in_an_arrow() -> None:
    picture = plots.interval_plot(
        judge("x", "inconclusive", interval=[None, 0.4], margin=0.25, effect=0.1, unit="ratio")
    )
    assert len(marks(picture, "path", "reach")) == 1
    assert "interval −∞ … 40 %, margin 25 %" in picture


@pytest.mark.parametrize("interval", [None, [], [None, None], "ab", [1], [math.nan, math.inf]])
def test_no_interval_no_plot(interval: Any) -> None:
    assert plots.interval_plot(judge("x", "inconclusive", interval=interval)) == ""


@pytest.mark.parametrize("width", WIDTHS)
def test_quantiles_are_marked_where_the_axis_says(width: int) -> None:
    point = sample()["latency"]["first_byte"]
    picture = plots.distribution(point, width)
    ticks = {mark["x1"]: "" for mark in marks(picture, "line", "grid")}
    labels = [mark for mark in marks(picture, "text", "tick") if "p" not in mark["text"]]
    axis = {mark["x"]: float(mark["text"].split()[0]) for mark in labels if mark["x"] in ticks}
    assert len(axis) >= 2
    (first, low), (last, high) = min(axis.items()), max(axis.items())
    for side, name in (("production", "pd"), ("candidate", "sd")):
        dots = [mark["cx"] for mark in marks(picture, "circle", name)]
        values = [point[side][f"p{q}_ms"] for q in (50, 90, 99)]
        for dot, value in zip(dots, values, strict=True):
            at = first + (last - first) * math.log(value / low) / math.log(high / low)
            assert dot == pytest.approx(at, abs=0.3)
    said = " ".join(texts(picture))
    assert "production" in said
    assert "shadow" in said
    assert f"p99 {point['candidate']['p99_ms']:.3g} ms" in said


@pytest.mark.parametrize("width", WIDTHS)
def test_pictures_stay_inside_their_frame(width: int) -> None:
    data = sample()
    for picture in (
        plots.distribution(data["latency"]["last_byte"], width),
        plots.over_time(data["latency"]["over_time"], width),
        plots.memory(data["memory"], width),
        plots.stacked([("a", 1_000_000, "l-mirrored"), ("b", 1, "l-lost"), ("c", 0, "l-shed")], width),
    ):
        assert picture
        assert min(places(picture)) >= 0
        assert max(places(picture)) <= width


def test_a_shape_of_shares_has_its_mass_where_the_values_are() -> None:
    """Mass below the median is half, within a bin."""
    side = latencies(5, 20.0, 0.3, 5000)
    buckets = plots.buckets_of(side)
    low, high = plots._reach(buckets)
    shape = plots._density(buckets, low, high, 60)
    assert sum(shape) == pytest.approx(1, abs=0.01)
    below = sum(shape[: int(60 * math.log(side["p50_ms"] / low) / math.log(high / low))])
    assert below == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    "point",
    [{}, {"production": None}, {"production": {"buckets": []}}, {"candidate": {"buckets": [[5, 4, 1], ["a"], None]}}],
)
def test_without_measurements_there_is_no_plot(point: dict[str, Any]) -> None:
    assert plots.distribution(point, plots.WIDE) == ""
    assert plots.over_time([point], plots.WIDE) == ""
    assert plots.memory(point, plots.WIDE) == ""
    assert plots.stacked([], plots.WIDE) == ""


def test_one_side_or_one_value_is_drawn() -> None:
    assert "p50 5 ms" in plots.distribution({"candidate": {"buckets": [[5_000_000, 5_100_000, 1]], "p50_ms": 5}}, 350)
    one = plots.over_time([{"time": 5, "exchanges": 1, "production": {"p50_ms": 3}}], plots.WIDE)
    assert len(marks(one, "circle", "solo")) == 1


def test_a_gap_in_time_is_a_gap_in_the_line() -> None:
    points = over_time()
    whole = plots.over_time(points, plots.WIDE).count('class="sl"')
    points[10]["candidate"] = {"p50_ms": None, "p99_ms": None}
    assert plots.over_time(points, plots.WIDE).count('class="sl"') == whole + 1


def test_the_fitted_line_has_the_slope_it_is_said_to_have() -> None:
    data = sample()["memory"] | {"points": [[n * 100, 5_000_000 + 1024 * n * 100] for n in range(50)]}
    picture = plots.memory(data, plots.WIDE)
    ends = next(re.findall(r"([\d.]+) ([\d.]+)", str(mark["d"])) for mark in marks(picture, "path", "fit"))
    drawn = next(re.findall(r"([\d.]+) ([\d.]+)", str(mark["d"])) for mark in marks(picture, "path", "sl"))
    slope = (float(ends[1][1]) - float(ends[0][1])) / (float(ends[1][0]) - float(ends[0][0]))
    line = (float(drawn[-1][1]) - float(drawn[0][1])) / (float(drawn[-1][0]) - float(drawn[0][0]))
    assert slope == pytest.approx(line, rel=0.01)
    assert slope < 0  # upwards


def test_parts_of_a_bar_are_in_proportion_and_all_in_sight() -> None:
    picture = plots.stacked([("a", 750_000, "l-mirrored"), ("b", 250_000, "l-filtered"), ("c", 1, "l-lost")], 920)
    (a,), (b,), (c,) = (marks(picture, "rect", name) for name in ("l-mirrored", "l-filtered", "l-lost"))
    assert a["width"] / b["width"] == pytest.approx(3, rel=0.02)
    assert c["width"] >= 1


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12))
def test_linear_ticks_are_inside_even_and_few(low: float, span: float, most: int) -> None:
    ticks = linear_ticks(low, low + span, most)
    assert len(ticks) <= most + 1
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    gaps = [b - a for a, b in pairwise(ticks)]
    assert not gaps or max(gaps) == pytest.approx(min(gaps), rel=1e-3, abs=1e-7)


@settings(deadline=None)
@given(st.floats(0.001, 1e4), st.floats(1.3, 1e5), st.integers(3, 12))
def test_log_ticks_are_inside_and_in_order(low: float, times: float, most: int) -> None:
    scale = Scale(low, low * times, 0, 100, log=True)
    ticks = scale.ticks(most)
    assert ticks == sorted(ticks)
    assert all(-0.001 <= scale(tick) <= 100.001 for tick in ticks)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1000), min_size=1, max_size=6), st.floats(5, 100))
def test_labels_do_not_overlap(at: list[float], width: float) -> None:
    middles = spread(sorted(at), [width] * len(at), 0, 1000)
    assert all(b - a >= width - 1e-6 for a, b in pairwise(middles))
    assert middles[0] >= width / 2 - 1e-6
    assert middles[-1] <= 1000 - width / 2 + 1e-6
