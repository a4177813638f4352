"""Sequence arithmetic against plain integers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.stream.seq import add, after, before, distance

NUMBERS = st.integers(0, 0xFFFFFFFF)


@settings(deadline=None)
@given(NUMBERS, st.integers(-(1 << 31), (1 << 31) - 1))
def test_distance_undoes_add(seq: int, count: int) -> None:
    moved = add(seq, count)
    assert 0 <= moved <= 0xFFFFFFFF
    assert distance(seq, moved) == count


@settings(deadline=None)
@given(NUMBERS, st.integers(1, (1 << 31) - 1))
def test_order_is_that_of_the_stream_even_across_the_wrap(seq: int, count: int) -> None:
    later = add(seq, count)
    assert before(seq, later)
    assert after(later, seq)
    assert not before(later, seq)
    assert not after(seq, later)


@settings(deadline=None)
@given(NUMBERS)
def test_nothing_is_before_or_after_itself(seq: int) -> None:
    assert not before(seq, seq)
    assert not after(seq, seq)
    assert distance(seq, seq) == 0


def test_wrap_around() -> None:
    assert add(0xFFFFFFFF, 1) == 0
    assert distance(0xFFFFFFFE, 3) == 5
    assert distance(3, 0xFFFFFFFE) == -5
    assert distance(0, 0x80000000) == -(1 << 31)
