"""Latency judges: blocks, tails, bursts, floor, lost answers, and their sentences."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shadowd.evidence.blocks import HALF, Blocks, bucket_of, lower_edge
from shadowd.evidence.bursts import NEVER, Bursts
from shadowd.evidence.latency import LatencySketch
from shadowd.evidence.slowdown import LatencyEvidence
from shadowd.judge.blocks import BlockJudge
from shadowd.judge.judgement import Judgement
from shadowd.judge.slowdown import LatencyJudge
from shadowd.judge.tails import _rank_interval, ranks_longer, ranks_shorter

MS = 1_000_000
SECOND = 1_000_000_000


def measured(
    slower: float,
    pairs: int = 6000,
    rate: float = 60.0,
    middle: float = 20 * MS,
    spread: float = 0.5,
    lost: float = 0.0,
    seed: int = 1,
) -> LatencyEvidence:
    generator = np.random.default_rng(seed)
    reference = (middle * generator.lognormal(0, spread, pairs)).astype(int).tolist()
    candidate = (middle * slower * generator.lognormal(0, spread, pairs)).astype(int).tolist()
    gone = (generator.random(pairs) < lost).tolist()
    evidence = LatencyEvidence()
    for index in range(pairs):
        time = int(index * SECOND / rate)
        if gone[index]:
            evidence.add_lost(time, "candidate")
        else:
            evidence.add(time, reference[index], candidate[index])
    return evidence


def judged(evidence: LatencyEvidence, required: bool = True) -> dict[str, Judgement]:
    found = LatencyJudge(evidence).judge("first_byte", "GET /x", "production", required=required)
    return {said.path.removeprefix("first_byte "): said for said in found}


def test_alike_passes_and_says_what_would_have_been_noticed() -> None:
    found = judged(measured(1.0, pairs=20_000, rate=200))
    assert [said.result for said in found.values()] == ["pass", "pass", "pass"]
    for said in found.values():
        assert said.low < 0 < said.high < said.margin
        assert f"a slowdown beyond {said.high * 100:.1f}"[:-2] in said.sentence
        assert said.sentence.endswith("would have been noticed")


def test_twice_as_slow_fails_everywhere() -> None:
    found = judged(measured(2.0))
    for name, margin in (("p50", 0.10), ("p90", 0.15), ("p99", 0.25)):
        said = found[name]
        assert said.result == "fail"
        assert margin < said.low < 1.0 < said.high
        assert said.effect == pytest.approx(1.0, abs=0.15)
    assert found["p50"].sentence.startswith("GET /x: first byte is ")
    assert "slower than production's at the median in 16 of 16 stretches of " in found["p50"].sentence
    assert found["p50"].sentence.endswith("margin 10 %)")


def test_what_the_stretches_do_not_confirm_is_no_finding_and_says_why() -> None:
    """Beyond the margin in all its blocks, while all endpoints together stray further than that."""
    evidence = measured(1.5)
    assert judged(evidence)["p50"].result == "fail"
    said = LatencyJudge(evidence).judge("first_byte", "GET /x", "production", wandered=0.3)[0]
    assert said.result == "inconclusive"
    assert said.low > said.margin
    assert said.sentence.endswith("; how fast both are strays by up to 35 % of itself meanwhile, a longer run tells")


def test_a_tail_alone_is_seen_in_the_tail_alone() -> None:
    """Five in a hundred take ten times as long: the median does not move, the 99th percentile does."""
    generator = np.random.default_rng(4)
    evidence = LatencyEvidence()
    for index in range(12_000):
        a, b = (20 * MS * generator.lognormal(0, 0.3, 2)).tolist()
        evidence.add(index * SECOND // 120, int(a), int(b * (10 if generator.random() < 0.05 else 1)))
    found = judged(evidence)
    assert found["p50"].result == "pass"
    assert found["p99"].result == "fail"


def test_what_slows_both_sides_cancels_in_the_median() -> None:
    generator = np.random.default_rng(5)
    evidence = LatencyEvidence()
    for index in range(6000):
        load = 1 + 20 * ((index // 180) % 2)  # every other three seconds
        a, b = (20 * MS * load * generator.lognormal(0, 0.1, 2)).tolist()
        evidence.add(index * SECOND // 60, int(a), int(b))
    said = judged(evidence)["p50"]
    assert said.result == "pass"
    assert abs(said.effect) < 0.02


def test_a_stall_of_50_ms_now_and_then_moves_the_median_by_less_than_1_percent() -> None:
    generator = np.random.default_rng(6)
    calm, stalled = LatencyEvidence(), LatencyEvidence()
    for index in range(6000):
        a, b = (20 * MS * generator.lognormal(0, 0.2, 2)).astype(int).tolist()
        time = index * SECOND // 60
        calm.add(time, a, b)
        stalled.add(time, a, b + (50 * MS if generator.random() < 0.01 else 0))
    assert abs(judged(calm)["p50"].effect - judged(stalled)["p50"].effect) < 0.01


def test_the_floor_is_a_difference_that_nobody_minds() -> None:
    found = judged(measured(3.0, middle=0.2 * MS, spread=0.2))
    assert found["p50"].result == "pass"
    assert found["p50"].effect == pytest.approx(2.0, abs=0.2)
    assert found["p50"].margin == pytest.approx(5.0, rel=0.1)
    assert "which is within 1 ms" in found["p50"].sentence
    without = LatencyJudge(measured(3.0, middle=0.2 * MS, spread=0.2)).judge("last_byte", "", "baseline", floor_ns=0)
    assert [said.result for said in without] == ["fail", "fail", "fail"]
    assert "last byte is " in without[0].sentence
    assert "than the baseline's" in without[0].sentence


def test_beyond_the_floor_but_within_the_margin_is_no_regression() -> None:
    """5 % of 200 ms is 10 ms."""
    assert judged(measured(1.05, pairs=20_000, middle=200 * MS, spread=0.1))["p50"].result == "pass"


def test_lost_answers_are_longer_than_everything() -> None:
    found = judged(measured(1.0, pairs=12_000, rate=120, lost=0.03))
    assert found["p50"].result == "pass"
    assert found["p99"].result == "fail"
    assert found["p99"].effect == math.inf
    assert "never comes at the 99th percentile, 3" in found["p99"].sentence
    assert found["p99"].view()["effect"] is None
    most = judged(measured(1.0, lost=0.7))
    assert most["p50"].result == "fail"


def test_a_reference_that_loses_as_much_is_no_regression() -> None:
    evidence = LatencyEvidence()
    for index in range(6000):
        time = index * SECOND // 200
        if index % 10 == 0:
            evidence.add_lost(time, "reference" if index % 20 else "candidate")
        else:
            evidence.add(time, 20 * MS, 20 * MS)
    assert "fail" not in [said.result for said in judged(evidence).values()]
    assert (evidence.reference_lost, evidence.candidate_lost, evidence.count) == (300, 300, 6000)


def test_nothing_and_little_are_inconclusive() -> None:
    for said in judged(LatencyEvidence()).values():
        assert (said.result, said.samples) == ("inconclusive", 0)
        assert "nothing was measured yet" in said.sentence
    little = judged(measured(1.0, pairs=500, rate=50))
    assert [said.result for said in little.values()] == ["inconclusive"] * 3
    assert all(said.needed for said in little.values())
    assert all(said.needed is None for said in judged(measured(1.0, pairs=500), required=False).values())


def test_alpha_by_percentile_or_shared() -> None:
    asked: list[int] = []

    def alpha(percentile: int) -> float:
        asked.append(percentile)
        return 0.001

    evidence = measured(1.2, pairs=3000)
    strict = LatencyJudge(evidence).judge("first_byte", "", "production", alpha_fail=alpha)
    assert asked == [50, 90, 99]
    lax = LatencyJudge(evidence).judge("first_byte", "", "production", alpha_fail=0.05)
    assert strict[0].low < lax[0].low


def test_odd_durations_and_times() -> None:
    evidence = LatencyEvidence()
    for index in range(100):
        evidence.add(SECOND - index, -5, 0)
        evidence.add(index * SECOND, 1 << 61, 1)
    assert evidence.count == 200
    assert [said.result for said in judged(evidence).values()].count("fail") == 0
    with pytest.raises(ValueError, match="a side is"):
        evidence.add_lost(0, "both")


def size_of(thing: object) -> int:
    """Bytes, with everything below its slots."""
    size = sys.getsizeof(thing)
    for cls in type(thing).__mro__:
        for name in getattr(cls, "__slots__", ()):
            size += size_of(getattr(thing, name))
    if isinstance(thing, list | tuple):
        size += sum(sys.getsizeof(item) for item in thing)
    return size


def test_memory_is_bounded() -> None:
    assert size_of(LatencyEvidence()) <= 4096
    generator = np.random.default_rng(8)
    evidence = LatencyEvidence()
    values = (2.0 ** generator.uniform(0, 40, (60_000, 2))).astype(int).tolist()
    for index, (a, b) in enumerate(values):
        evidence.add(index * SECOND // 150, a, b)
        if index % 10_000 == 0:
            assert size_of(evidence) <= 64 << 10
    assert size_of(evidence) <= 64 << 10


# --- blocks -----------------------------------------------------------------------------------------------------------


@given(st.floats(allow_nan=False))
def test_a_bucket_holds_its_values(value: float) -> None:
    bucket = bucket_of(value)
    assert 0 <= bucket < 2 * HALF
    if abs(value) < 12:
        assert lower_edge(bucket) - 1e-9 <= value
        assert bucket + 1 == 2 * HALF or value <= lower_edge(bucket + 1) + 1e-9


def test_the_median_of_blocks_is_covered_while_peeking() -> None:
    generator = np.random.default_rng(9)
    missed = 0
    for _ in range(100):
        blocks = Blocks()
        off = False
        for index, value in enumerate(generator.normal(0.1, 0.3, 150).tolist(), 1):
            blocks.add(value)
            if index % 10 == 0:
                low, high = BlockJudge(blocks).bounds(0.025, 0.025)
                off |= not low <= 0.1 <= high
        missed += off
    assert missed <= 8  # 5 % and the luck of 100 runs


def test_the_design_effect_is_that_of_the_votes() -> None:
    generator = np.random.default_rng(10)
    alone, alike = Blocks(), Blocks()
    value = 0.0
    for noise in generator.normal(size=256).tolist():
        alone.add(noise)
        value = 0.8 * value + noise
        alike.add(value)
    assert alone.design_effect(0.0) < 1.6
    assert 2.5 < alike.design_effect(0.0) < 12
    assert alike.design_effect(1e9) == 1.0


def test_the_median_of_blocks() -> None:
    blocks = Blocks()
    assert blocks.median() == 0
    for value in (-math.inf, 0.101, 0.101, 0.102, math.inf):
        blocks.add(value)
    assert blocks.median() == pytest.approx(0.101, abs=0.005)


# --- tails ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tail", "samples"), [(0.1, 500), (0.01, 5000), (0.1, 20_000)])
def test_the_ranks_of_a_quantile_contain_the_binomial_ones(tail: float, samples: int) -> None:
    found = _rank_interval(tail, samples, math.log(2 / 0.05))
    assert found is not None
    assert found[0] <= stats.binom.ppf(0.025, samples, tail)
    assert found[1] >= stats.binom.ppf(0.975, samples, tail)
    assert found[1] - found[0] < 8 * math.sqrt(samples * tail)


def test_ranks_ask_for_more_of_the_candidate_than_of_the_reference() -> None:
    longer, shorter = ranks_longer(0.1, 3000, 0.001), ranks_shorter(0.1, 3000, 0.05)
    assert longer is not None
    assert shorter is not None
    assert all(j > k for k, j in longer)
    assert all(j < k for k, j in shorter)
    assert ranks_longer(0.01, 100, 0.001) is None
    assert ranks_shorter(0.01, 100, 0.05) is None


@pytest.mark.parametrize("tail", [0.1, 0.01])
def test_ratio_of_quantiles_is_covered(tail: float) -> None:
    """The true ratio is 1; both ends of the interval, at 5 % each, from samples of several sizes."""
    generator = np.random.default_rng(11)
    below = above = 0
    for _ in range(200):
        samples = int(generator.integers(1000, 8000))
        reference, candidate = np.sort(generator.lognormal(0, 0.5, (2, samples)), axis=1)[:, ::-1]
        longer, shorter = ranks_longer(tail, samples, 0.05), ranks_shorter(tail, samples, 0.05)

        def at(share: float, values: np.ndarray, many: int = samples) -> float:
            return float(values[min(many - 1, int(share * many))])

        below += bool(longer) and min(at(j, candidate) / at(k, reference) for k, j in longer or ()) > 1
        above += bool(shorter) and max(at(j, candidate) / at(k, reference) for k, j in shorter or ()) < 1
    assert below <= 16
    assert above <= 16


# --- bursts -----------------------------------------------------------------------------------------------------------


def bursts_of(exceeding: Callable[[np.random.Generator], int], blocks: int = 400) -> float:
    generator = np.random.default_rng(12)
    bursts = Bursts()
    for _ in range(blocks):
        if bursts.reference90 != NEVER:
            for _ in range(exceeding(generator)):
                bursts.count_reference(2)
            for _ in range(int(generator.binomial(100, 0.1))):
                bursts.count_candidate(2)
        bursts.close(100, lambda tail: (1.0, 1.0) if tail == 0.1 else (3.0, 3.0))
    effect = bursts.effect(0.1)
    assert effect is not None
    return effect


def test_independent_exceedances_are_worth_themselves() -> None:
    assert bursts_of(lambda generator: int(generator.binomial(100, 0.1))) < 1.8


def test_bursts_of_ten_are_worth_a_tenth() -> None:
    # the largest that was ever known counts: of a variance of some twenty blocks, up to twice its value
    assert 6 < bursts_of(lambda generator: 10 * int(generator.binomial(10, 0.1))) < 20


def test_an_effect_takes_sixteen_blocks() -> None:
    bursts = Bursts()
    for _ in range(10):
        bursts.close(100, lambda tail: (1.0, 1.0))
    assert bursts.effect(0.1) is None


# --- the sketch -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.floats(0, 1))
def test_the_value_that_so_many_exceed(values: list[int], share: float) -> None:
    sketch = LatencySketch()
    for value in values:
        sketch.add(value)
    count = share * len(values)
    found = sketch.exceeded_by(count)
    assert found is not None
    slack = found / 32 + 1
    assert sum(value > found + slack for value in values) <= count
    assert sum(value >= found - slack for value in values) >= min(count, len(values))
    assert sum(n for _, _, n in sketch.buckets()) == len(values)
    for value in values:
        assert any(low <= value < high for low, high, _ in sketch.buckets())
