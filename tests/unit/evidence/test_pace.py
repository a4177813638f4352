"""The pace over the run: rows of time, their stretches, and what wanders; against a list of all blocks."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence.pace import _FARTHEST, _LEAST, _ROWS, WARM_ROWS, Pace
from shadowd.evidence.stretches import STRETCHES
from tests.unit.compare.exchanges import SECOND

BLOCK = SECOND // 2
Block = tuple[float, tuple[int, int, int, int, int]]
NOBODY = (10, 0, 0, 0, 0)


def paced(blocks: list[Block]) -> Pace:
    pace = Pace()
    for number, (log_ratio, counts) in enumerate(blocks):
        pace.add(number * BLOCK, (number + 1) * BLOCK, log_ratio, counts)
    return pace


def of(*ratios: float) -> Pace:
    return paced([(ratio, NOBODY) for ratio in ratios])


blocks = st.lists(
    st.tuples(
        st.floats(-3, 3),
        st.tuples(st.integers(8, 200), st.integers(0, 20), st.integers(0, 5), st.integers(0, 20), st.integers(0, 5)),
    ),
    max_size=300,
)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_nothing_is_said_of_nothing() -> None:
    pace = Pace()
    assert pace.latest == 0
    assert pace.medians(0, 100 * SECOND, STRETCHES) is None
    assert pace.exceedances(0, 0, 100 * SECOND, STRETCHES) is None
    assert pace.beyond(0.0, STRETCHES) == ""
    assert pace.signs(0, 100 * SECOND, 0.0) == (0, 0)
    assert not pace.falls()


@given(blocks, st.integers(0, 300), st.integers(1, 300), st.sampled_from([8, 16, 24]))
def test_exceedances_are_counted_in_their_stretch(given_blocks: list[Block], first: int, many: int, parts: int) -> None:
    """The oracle goes through all blocks."""
    begin, end = first * BLOCK, (first + many) * BLOCK
    pace = paced(given_blocks)
    for column in (0, 1):
        samples, sizes = [0] * parts, [0] * parts
        for number, (_, counts) in enumerate(given_blocks):
            ended = (number + 1) * BLOCK
            if begin < ended <= end:
                stretch = min(parts - 1, int((ended - 1 - begin) / ((end - begin) / parts)))
                sizes[stretch] += counts[0]
                samples[stretch] += counts[3 + column] - counts[1 + column]
        found = pace.exceedances(column, begin, end, parts)
        known = [(x, n) for x, n in zip(samples, sizes, strict=True) if n]
        if len(known) < _LEAST:
            assert found is None
        else:
            assert found is not None
            assert found.parts == len(known)
            assert found.mean == pytest.approx(sum(x for x, _ in known) / sum(n for _, n in known))


@given(blocks, st.integers(0, 300), st.integers(1, 300), st.floats(-1, 1))
def test_signs_are_counted_one_a_block(given_blocks: list[Block], first: int, many: int, threshold: float) -> None:
    here = [ratio for ratio, _ in given_blocks[first : first + many]]
    near = [ratio for ratio in here if abs(ratio - threshold) < 1e-5]  # rows are floats of 32 bits
    slower, total = paced(given_blocks).signs(first * BLOCK, (first + many) * BLOCK, threshold)
    assert total == len(here)
    assert abs(slower - sum(ratio > threshold for ratio in here)) <= len(near)


def test_many_blocks_are_few_rows_and_nothing_is_lost() -> None:
    dice = random.Random(1)
    told = [
        (dice.gauss(0.1, 0.2), (dice.randrange(8, 90), *(dice.randrange(9) for _ in range(4))))
        for _ in range(9 * _ROWS)
    ]
    pace = paced(told)  # type: ignore[arg-type]
    assert len(pace._ends) <= _ROWS
    assert pace.each == 16
    assert sum(pace._counts) == sum(sum(counts) for _, counts in told)
    assert pace.latest == len(told) * BLOCK
    whole = pace.exceedances(0, 0, pace.latest, STRETCHES)
    assert whole is not None
    pairs = sum(counts[0] for _, counts in told)
    assert whole.mean == pytest.approx(sum(counts[3] - counts[1] for _, counts in told) / pairs)
    median = pace.medians(0, pace.latest, STRETCHES)
    assert median is not None
    assert median.rate.mean == pytest.approx(0.1, abs=0.02)


def test_a_row_that_is_not_complete_is_the_mean_of_what_it_has() -> None:
    pace = of(*[0.0] * _ROWS, 1.0)
    assert (pace.each, len(pace._ends)) == (2, _ROWS // 2 + 1)
    assert pace._medians[-1] == 1.0
    pace.add(_ROWS * BLOCK, (_ROWS + 2) * BLOCK, 2.0, NOBODY)
    assert (len(pace._ends), pace._medians[-1], pace.latest) == (_ROWS // 2 + 1, 1.5, (_ROWS + 2) * BLOCK)


@pytest.mark.parametrize("ratio", [float("inf"), float("-inf"), 1e9])
def test_a_side_that_never_answered_is_far_and_finite(ratio: float) -> None:
    found = of(*[ratio] * 64).medians(0, 64 * BLOCK, STRETCHES)
    assert found is not None
    assert abs(found.rate.mean) == _FARTHEST


def test_thresholds_that_changed_are_remembered_when_rows_are_joined() -> None:
    pace = paced([(0.0, (100, 0, 0, 50, 50))] * 300)
    pace.thresholds_changed()
    for number in range(300, 2 * _ROWS):
        pace.add(number * BLOCK, (number + 1) * BLOCK, 0.0, NOBODY)
    assert pace.each == 4
    found = pace.exceedances(0, 0, pace.latest, STRETCHES)
    assert found is not None
    assert found.mean == 0.0, "none of those by others"
    assert found.parts > 10, "and all that came since"


def test_exceedances_by_other_thresholds_are_left_out() -> None:
    pace = paced([(0.0, (100, 0, 0, 50, 50))] * 40)
    pace.thresholds_changed()
    assert pace.exceedances(0, 0, pace.latest, STRETCHES) is None
    for number in range(40, 80):
        pace.add(number * BLOCK, (number + 1) * BLOCK, 0.0, (100, 10, 0, 10, 5))
    p90, p99 = (pace.exceedances(column, 0, pace.latest, STRETCHES) for column in (0, 1))
    assert p90 is not None
    assert p99 is not None
    assert (p90.mean, p90.error) == (0.0, 0.0)
    assert p99.mean == pytest.approx(0.05)


# --- what the stretches say -------------------------------------------------------------------------------------------


def test_the_mean_of_the_medians_of_the_stretches() -> None:
    pace = of(*(ratio for stretch in range(16) for ratio in (stretch / 100, 9.0, -9.0)))
    found = pace.medians(0, pace.latest, STRETCHES)
    assert found is not None
    assert found.rate.mean == pytest.approx(statistics.fmean(stretch / 100 for stretch in range(16)))
    assert found.rate.parts == STRETCHES


def test_fewer_stretches_than_that_say_nothing() -> None:
    for many in (_LEAST - 1, _LEAST):
        found = of(*[0.3] * many).medians(0, 16 * BLOCK, STRETCHES)
        assert (found is not None) == (many >= _LEAST)


def error_of(ratios: list[float]) -> float:
    found = of(*ratios).medians(0, len(ratios) * BLOCK, STRETCHES)
    assert found is not None
    return found.rate.error


def test_a_pace_that_wanders_is_less_certain_than_one_that_scatters() -> None:
    """The same values, in order and shuffled: a load that rises over minutes is one event."""
    dice = random.Random(5)
    scattered = [dice.gauss(0.2, 0.1) for _ in range(320)]
    wandering = sorted(scattered)
    assert error_of(wandering) > 5 * error_of(scattered)
    steady = of(*scattered).medians(0, 320 * BLOCK, STRETCHES)
    astray = of(*wandering).medians(0, 320 * BLOCK, STRETCHES)
    assert steady is not None
    assert astray is not None
    assert steady.wandered == 0 < astray.wandered
    assert steady.moved(0.5).error == pytest.approx((steady.rate.error**2 + 0.25) ** 0.5)
    assert astray.moved(0.0) == astray.rate, "what it strayed by itself is in it already"
    more = (astray.rate.error**2 + 3 * astray.wandered**2) ** 0.5
    assert astray.moved(2 * astray.wandered).error == pytest.approx(more)


def test_neighbours_that_are_alike_count_less() -> None:
    """A slow wave within the blocks' own scatter: no wandering that could be certified, and yet no 16 witnesses."""
    wave = [0.0, 0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.0, 0.0, 0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.0]
    inner = (-0.6, 0.6, -0.6, 0.6, 0.0)
    found = of(*(level + x for level in wave for x in inner)).medians(0, 80 * BLOCK, STRETCHES)
    mixed = wave[::4] + wave[2::4] + wave[1::4] + wave[3::4]
    shuffled = of(*(level + x for level in mixed for x in inner)).medians(0, 80 * BLOCK, STRETCHES)
    assert found is not None
    assert shuffled is not None
    assert found.wandered == shuffled.wandered == 0
    assert found.rate.error > 1.5 * shuffled.rate.error


def test_an_interval_covers_the_truth_of_independent_blocks() -> None:
    missed = 0
    for seed in range(300):
        dice = random.Random(seed)
        pace = of(*(dice.gauss(0.1, 0.3) for _ in range(160)))
        found = pace.medians(0, pace.latest, STRETCHES)
        assert found is not None
        missed += not found.rate.low(0.05) <= 0.1 <= found.rate.high(0.05)
    assert missed <= 45, "ten of a hundred by design, and no more than chance on top"


def test_when_it_was_slower_is_told() -> None:
    pace = of(*[0.0] * 60, *[0.5] * 20)
    assert pace.beyond(0.1, 16) == "in 4 of 16 stretches of 2.5 s, from 30 s to 40 s of the evidence"
    assert pace.beyond(0.6, 16) == ""


# --- a warm-up --------------------------------------------------------------------------------------------------------


def test_a_candidate_that_gets_faster_falls() -> None:
    dice = random.Random(2)

    def noisy(*levels: float) -> Pace:
        return of(*(level + dice.gauss(0, 0.02) for level in levels))

    assert noisy(*[0.5] * 10, *[0.0] * 30).falls()
    assert not noisy(*[0.5] * 10, *[0.0] * 30).falls(least=0.6)
    assert not noisy(*[0.0] * 30, *[0.5] * 10).falls(), "slower later is no warm-up"
    assert not noisy(*[0.5] * 40).falls(), "slow all the time"
    assert not noisy(*[0.03] * 10, *[0.0] * 30).falls(), "that little does no harm"
    assert not of(*[0.5] * 4, *[0.0] * (WARM_ROWS - 5)).falls(), "too early to tell"
    assert of(*[0.5] * 4, *[0.0] * (WARM_ROWS - 4)).falls()


def test_scatter_seldom_looks_like_a_warm_up() -> None:
    falls = 0
    for seed in range(300):
        dice = random.Random(seed)
        falls += of(*(dice.gauss(0, 0.2) for _ in range(64))).falls()
    assert falls <= 6
