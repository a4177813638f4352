"""Judges that count: figures of the specification, peeking, and their sentences."""

from __future__ import annotations

import numpy as np
import pytest

from shadowd.judge.discordance import judge_capacity, judge_content, judge_errors, judge_field
from shadowd.judge.verdict import field_alpha


def test_no_discordant_pair_passes_within_5500() -> None:
    early, in_time = judge_errors(0, 0, 3000), judge_errors(0, 0, 5500)
    assert (early.result, in_time.result) == ("inconclusive", "pass")
    assert early.needed == pytest.approx(2240, rel=0.03)
    assert in_time.high < 0.001
    assert in_time.needed is None


def test_half_a_percent_of_discordance_passes_within_46000() -> None:
    assert judge_errors(100, 100, 40_000).result == "inconclusive"
    assert judge_errors(115, 115, 46_000).result == "pass"


def test_errors_fail_with_the_interval_beyond_the_margin() -> None:
    said = judge_errors(50, 0, 10_000, alpha_fail=0.01)
    assert said.result == "fail"
    assert 0.001 < said.low < said.effect == 0.005 < said.high
    assert said.sentence.startswith("0.5 % more of 10,000 exchanges fail than before (interval 0.")
    assert said.required
    assert said.critical


def test_an_improvement_is_no_failure() -> None:
    assert judge_errors(0, 400, 10_000).result == "pass"


def test_a_failing_baseline_leaves_it_open() -> None:
    said = judge_errors(500, 0, 10_000, baseline_failing=0.06)
    assert said.result == "inconclusive"
    assert "the baseline itself fails 6 %" in said.sentence
    assert judge_errors(500, 0, 10_000, baseline_failing=0.0005).result == "fail"


def test_no_data_is_inconclusive() -> None:
    for said in (judge_errors(0, 0, 0), judge_content(0, 0), judge_capacity(0, 0)):
        assert said.result == "inconclusive"
        assert "yet" in said.sentence
        assert said.needed is not None
        assert 5000 < said.needed < 5500


@pytest.mark.parametrize("order", [1, 10, 30])
def test_a_field_wrong_in_1_percent_is_found_within_4000(order: int) -> None:
    generator = np.random.default_rng(order)
    wrong = generator.binomial(4000, 0.01, 300).tolist()
    found = [
        judge_field("GET /x", "body", "$.total", "value", n, 0, 4000, alpha=field_alpha(order)).result for n in wrong
    ]
    assert found.count("fail") >= 285


def test_a_field_says_where_and_what() -> None:
    said = judge_field("GET /o/{id}", "body", "$.total", "value", 40, 0, 4000, alpha=1e-4)
    assert (said.judge, said.endpoint, said.path, said.kind) == ("content", "GET /o/{id}", "body $.total", "value")
    assert said.sentence.startswith("GET /o/{id}: body $.total has another value in 1 % of 4,000 exchanges")
    assert not said.required


def test_a_volatile_field_is_no_regression() -> None:
    """Every answer of either version has another value: discordant all the time, worse none of it."""
    generator = np.random.default_rng(3)
    rejected = 0
    for _ in range(200):
        steps = generator.multinomial(100, [0.25, 0.25, 0.5], 50).cumsum(axis=0)
        rejected += any(
            judge_field("e", "body", "$.id", "value", p, n, p + n + s, alpha=0.01).result == "fail"
            for p, n, s in steps[::5].tolist()
        )
    assert rejected <= 4


def test_twin_triples_of_a_random_field_are_in_balance() -> None:
    """Three like answers: the odd one out is production's a third of the time, which is worth as much as the rest."""
    generator = np.random.default_rng(4)
    rejected = sum(
        judge_field(
            "e", "body", "$.id", "value", odd, 3000 - odd, 3000, values=(1.0, -0.5), margin=0.001, alpha=0.01
        ).result
        == "fail"
        for odd in generator.binomial(3000, 1 / 3, 200).tolist()
    )
    assert rejected <= 2
    fault = judge_field("e", "body", "$.id", "value", 30, 0, 300, values=(1.0, -0.5), alpha=0.001)
    assert fault.result == "fail"


def test_content_passes_or_waits_and_never_fails() -> None:
    assert judge_content(0, 6000).result == "pass"
    waiting = judge_content(2, 6000)
    assert waiting.result == "inconclusive"
    assert waiting.needed is not None
    beyond = judge_content(3000, 6000)
    assert (beyond.result, beyond.needed) == ("inconclusive", None)
    assert beyond.low > 0.4


def test_capacity() -> None:
    assert judge_capacity(0, 5500).result == "pass"
    said = judge_capacity(30, 3000)
    assert said.result == "fail"
    assert said.sentence.startswith("the shadow could not keep up with 1 % of 3,000 requests")
    assert judge_capacity(1, 300).result == "inconclusive"


def test_an_endpoint_is_named() -> None:
    assert judge_errors(50, 0, 1000, endpoint="GET /x").sentence.startswith("GET /x: 5 % more of")


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_margins_at_the_ends_of_their_range(margin: float) -> None:
    assert judge_errors(0, 0, 1000, margin).result in ("pass", "inconclusive")
    assert judge_errors(500, 0, 1000, margin).result == ("fail" if margin == 0 else "pass")
    assert judge_capacity(0, 1000, margin).result in ("pass", "inconclusive")
    assert judge_content(5, 1000, margin).result in ("pass", "inconclusive")
