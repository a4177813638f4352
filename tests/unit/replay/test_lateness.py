"""Stalls: how much of a time was ours, against counting every tick of it; and who is blamed for a lag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.replay.lateness import CATCH_UP, LONG_STALL, Stalls
from shadowd.replay.target import SECOND

LIMIT = 5 * SECOND


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=12), st.integers(0, 300), st.integers(0, 300)
)
def test_within_counts_every_tick_that_was_ours(steps: list[tuple[int, int]], begin: int, length: int) -> None:
    stalls, at, ours = Stalls(), 0, set()
    for pause, duration in steps:
        stalls.note(at + pause, at + pause + duration)
        ours |= set(range(at + pause, at + pause + duration))
        at += pause + duration
    assert stalls.within(begin, begin + length) == len(ours & set(range(begin, begin + length)))


@pytest.mark.parametrize(
    ("read_after", "stall", "age", "blamed"),
    [
        (0, 0, 5.05, "shadow_lag"),  # it hangs, and we are well
        (0.004, 0, 5.003, "shadow_lag"),  # a nap is in every request's age
        (0, 0.1, 5.05, "shadow_lag"),  # a hiccup of ours is not why
        (0, 8, 8.3, "own_lag"),  # stopped for 8 s
        (0, 8, 8.9, "own_lag"),  # a slow shadow besides
        (4, 0, 5.5, "own_lag"),  # behind in the ring, and then in the lane for what had piled up
        (6, 0, 6.0, "own_lag"),
        (1, 0, 8, "shadow_lag"),  # 7 s of it are the shadow's, which alone are too much
        (0, 2, 7.5, "shadow_lag"),
    ],
)
def test_a_lag_is_ours_if_without_our_part_there_were_none(
    read_after: float, stall: float, age: float, blamed: str
) -> None:
    stalls, since = Stalls(), 1000 * SECOND
    queued = since + int(read_after * SECOND)
    if stall:
        stalls.note(queued, queued + int(stall * SECOND))
    assert stalls.blame(since, queued, since + int(age * SECOND), LIMIT) == blamed


def test_what_a_long_stall_left_undone_is_caught_up_with_for_as_long() -> None:
    stalls = Stalls()
    stalls.note(0, LONG_STALL - 1)
    assert stalls.caught_up == 0
    stalls.note(SECOND, SECOND + LONG_STALL)
    assert stalls.caught_up == SECOND + 2 * LONG_STALL
    stalls.note(10 * SECOND, 20 * SECOND)
    assert stalls.caught_up == 20 * SECOND + CATCH_UP


def test_only_so_many_are_remembered() -> None:
    stalls = Stalls()
    for number in range(5000):
        stalls.note(10 * number, 10 * number + 5)
    assert stalls.within(0, 50_000) == 5 * 1024
