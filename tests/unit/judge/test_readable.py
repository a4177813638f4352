"""Figures in sentences: what is said of numbers that are too large, or are none."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.judge.readable import beyond, change, interval, still_needed, times

WORDS = ("more tokens", "fewer tokens", "tokens")


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (0.12, "12 % more tokens than before"),
        (-0.5, "50 % fewer tokens than before"),
        (0.99, "99 % more tokens than before"),
        (1.5, "2.5 times the tokens of before"),
        (1.0, "2 times the tokens of before"),
        (162.0, "163 times the tokens of before"),
        (162_753.79, "more than 100,000 times the tokens of before"),
        (math.inf, "more than 100,000 times the tokens of before"),
        (math.nan, "more than 100,000 times the tokens of before"),
    ],
)
def test_changes(effect: float, said: str) -> None:
    assert change(effect, *WORDS) == said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.03, 0.12, "interval -3…12 %"),
        (0.5, 40.0, "interval 50 % to 41 times as much"),
        (-math.inf, math.inf, "no interval yet"),
        (-1.0, math.inf, "no interval yet"),
        (0.05, math.inf, "at least 5 %"),
        (-1.0, 0.12, "at most 12 %"),
        (-1.0, 1e9, "no interval yet"),
    ],
)
def test_intervals(low: float, high: float, said: str) -> None:
    assert interval(low, high) == said


def test_what_is_needed() -> None:
    assert still_needed(None) == "not decidable at this rate"
    assert still_needed(17_672_701) == "more than a million more exchanges are expected to be needed"
    assert still_needed(12_345, "conversations") == "some 13,000 more conversations are expected to be needed"


@given(st.floats(min_value=-1), st.floats(min_value=-1), st.none() | st.integers(0, 10**30))
def test_no_number_is_monstrous(low: float, high: float, needed: int | None) -> None:
    for said in (change(low, *WORDS), beyond(low), interval(low, max(low, high)), still_needed(needed), times(low + 1)):
        assert not re.search(r"∞|inf\b|nan|e\+|\d,\d{3},\d{3}|\d,\d{3} %", said), said
