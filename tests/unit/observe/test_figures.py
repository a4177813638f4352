"""How quantities are written, and how odd data is read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.observe import figures

ODD = st.one_of(st.none(), st.booleans(), st.text(), st.floats(), st.integers(), st.lists(st.integers()))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.005, "0.5 %"), (0.00012, "0.012 %"), (0.31, "31 %"), (0.993, "99.3 %"), (0.99999, "99.99 %"), (1, "100 %"),
     (2.1, "210 %"), (-0.021, "−2.1 %"), (0, "0 %"), (None, "–"), (math.nan, "–"), ("1", "–")],
)  # fmt: skip
def test_percent(value: object, shown: str) -> None:
    assert figures.percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.034, "34 µs"), (0.34, "0.34 ms"), (12.34, "12.3 ms"), (999, "999 ms"), (1234, "1.23 s"), (90_000, "1.5 min"),
     (0, "0 ms"), (None, "–")],
)  # fmt: skip
def test_milliseconds(value: object, shown: str) -> None:
    assert figures.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (940, "940 B"), (1024, "1 KB"), (1130, "1.1 KB"), (88e6, "83.9 MB"), (-2048, "−2 KB"),
     (2e12, "1.82 TB")],
)  # fmt: skip
def test_size(value: float, shown: str) -> None:
    assert figures.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(5.3, "5.3 s"), (31, "31 s"), (310, "5 min"), (7500, "2 h 5 min"), (7200, "2 h"), (None, "–")]
)
def test_seconds(value: object, shown: str) -> None:
    assert figures.seconds(value) == shown


@pytest.mark.parametrize(
    ("low", "high", "unit", "shown"),
    [(0.0032, 0.0081, "share", "0.32 … 0.81 %"), (None, 0.4, "ratio", "−∞ … 40 %"),
     (940, 1130, "bytes/request", "940 B … 1.1 KB"),
     (None, None, "share", "–"), (-0.1, None, "ratio", "−10 % … ∞")],
)  # fmt: skip
def test_interval(low: object, high: object, unit: str, shown: str) -> None:
    assert figures.interval(low, high, unit) == shown


def test_moments_and_counts() -> None:
    assert figures.moment(1_795_000_000) == "2026-11-18 11:06:40 UTC"
    assert figures.moment(1e300) == figures.moment(None) == "–"
    assert figures.plural(1, "exchange") == "1 exchange"
    assert figures.plural(1200, "exchange") == "1,200 exchanges"
    assert figures.quantity(0.1, "share", signed=True) == "+10 %"
    assert figures.quantity(2, "restarts") == "2"


@settings(deadline=None)
@given(ODD)
def test_writing_never_fails(value: Any) -> None:
    writers = (figures.count, figures.percent, figures.milliseconds, figures.size, figures.seconds, figures.moment)
    assert all(isinstance(write(value), str) for write in writers)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), ODD))
def test_reading_gives_what_is_asked_for(data: dict[str, Any]) -> None:
    for name in [*data, "none"]:
        assert isinstance(figures.whole(data.get(name)), int)
        assert all(isinstance(row, dict) for row in figures.rows(data, name))
        assert all(isinstance(one, str) for one in figures.texts(data, name))
        assert isinstance(figures.text(data, name), str)
        assert figures.part(data, name) == {}


@settings(deadline=None)
@given(st.floats(min_value=1e-6, max_value=1e9))
def test_digits_are_right_to_half_of_the_last(value: float) -> None:
    read = float(figures.digits(value).replace(",", ""))
    assert read == pytest.approx(value, rel=0.006)
