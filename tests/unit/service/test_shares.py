"""A rate dealt out to workers: the sum is never above the limit, and it goes to where it is used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.service.shares import LEAST, Share

DEMAND = st.floats(0, 1000, allow_nan=False)


@given(st.floats(1, 1000), st.integers(1, 6), st.data())
def test_the_sum_is_never_above_the_limit(limit: float, workers: int, data: st.DataObject) -> None:
    """Whoever has not confirmed its share may still use the one before: ``may`` is what it goes by."""
    share = Share(limit, workers)
    may = list(share.shares)
    for _ in range(data.draw(st.integers(1, 12))):
        confirmed = data.draw(st.lists(st.booleans(), min_size=workers, max_size=workers))
        may = [new if told else max(old, new) for old, new, told in zip(may, share.shares, confirmed, strict=True)]
        demands = data.draw(st.lists(st.tuples(DEMAND, DEMAND), min_size=workers, max_size=workers))
        share.deal([used for used, _ in demands], [asked for _, asked in demands], confirmed)
        worst = sum(max(old, new) for old, new in zip(may, share.shares, strict=True))
        assert worst <= limit * (1 + 1e-9)
        assert min(share.shares) >= 0


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_it_goes_to_where_it_is_used(workers: int) -> None:
    share = Share(90.0, workers)
    for _ in range(6):
        share.deal([90.0 / workers] + [0.0] * (workers - 1), [500.0] + [0.0] * (workers - 1), [True] * workers)
    others = 90.0 / workers * LEAST * (workers - 1)
    assert share.shares[0] == pytest.approx(90 - others)
    for _ in range(6):  # and back
        share.deal([10.0] * workers, [10.0] * workers, [True] * workers)
    assert share.shares == pytest.approx([90.0 / workers] * workers)
