"""Likeness by edits: rapidfuzz's ratio, which is the same number, is the oracle."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rapidfuzz.fuzz import ratio

from shadowd.talk.likeness import likeness

few = st.text(alphabet="ab ", max_size=200)


@given(st.one_of(st.tuples(few, few), st.tuples(st.text(max_size=100), st.text(max_size=100))))
@example(("", ""))
@example(("", "a"))
@example(("aaaa", "aa"))
@example(("a\U0001f600b", "a\U0001f600"))
def test_it_is_the_ratio_of_edits(texts: tuple[str, str]) -> None:
    assert likeness(*texts) == pytest.approx(ratio(*texts) / 100, abs=1e-12)


@given(common=few, one=few, other=few)
def test_what_is_the_same_at_both_ends_counts(common: str, one: str, other: str) -> None:
    first, second = common + one + common, common + other + common
    assert likeness(first, second) == pytest.approx(ratio(first, second) / 100, abs=1e-12)


@pytest.mark.parametrize("length", [63, 64, 65, 1000, 4096])
def test_long_texts_that_differ_here_and_there(length: int) -> None:
    dice = random.Random(length)
    first = "".join(dice.choices("etaoin shrdlu", k=length))
    second = "".join(letter if dice.random() < 0.9 else dice.choice("xyz") for letter in first)
    assert 0.8 < likeness(first, second) < 1
    assert likeness(first, second) == pytest.approx(ratio(first, second) / 100, abs=1e-12)
