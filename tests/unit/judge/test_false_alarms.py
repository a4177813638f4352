"""Simulations through the real judges: how often a release that is no worse is called worse while somebody watches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shadowd.evidence.margins import Margins
from shadowd.evidence.slowdown import LatencyEvidence
from shadowd.judge.betting import log_e_above
from shadowd.judge.discordance import judge_capacity, judge_content, judge_errors, judge_field
from shadowd.judge.judgement import Judgement
from shadowd.judge.slowdown import LatencyJudge
from shadowd.judge.verdict import capacity_alpha, decide, errors_alpha, field_alpha, latency_alpha

MS = 1_000_000
SECOND = 1_000_000_000
FIELDS = 12


def autocorrelated(generator: np.random.Generator, many: int, rho: float) -> np.ndarray:
    """A standard normal series in which neighbours correlate by ``rho``."""
    series = generator.normal(size=many) * math.sqrt(1 - rho * rho)
    series[0] = generator.normal()
    values = series.tolist()
    for index in range(1, many):
        values[index] += rho * values[index - 1]
    return np.array(values)


LEAST = 4_000_000_000  # ns of evidence before anything is said: the runs here are short, so that they are many


class Run:
    """An A/A run: errors and refusals at the margin's own rates or none, volatile fields, two endpoints' latencies."""

    def __init__(self, seed: int, exchanges: int, rho: float, slower: tuple[float, float] = (1.0, 1.0)) -> None:
        self.generator = np.random.default_rng(seed)
        self.exchanges = exchanges
        self.looks = np.unique(np.geomspace(100, exchanges, 40).astype(int))
        steps = np.diff(self.looks, prepend=0)
        self.errors = self.generator.multinomial(steps, [0.001, 0.001, 0.998]).cumsum(axis=0).tolist()
        volatility = self.generator.choice([0.0005, 0.01, 0.25, 0.5], FIELDS)
        self.fields = [
            self.generator.multinomial(steps, [rate, rate, 1 - 2 * rate]).cumsum(axis=0).tolist()
            for rate in (volatility / 2).tolist()
        ]
        self.refused = self.generator.binomial(steps, 0.0002).cumsum().tolist()
        self.latency = [LatencyEvidence(0, LEAST) for _ in range(3)]  # overall, two endpoints
        spread = self.generator.uniform(0.1, 0.7)
        sides = [
            (20 * MS * factor * np.exp(spread * autocorrelated(self.generator, exchanges, rho))).astype(int).tolist()
            for factor in (1.0, 1.0)
        ]
        self.pairs = list(zip(*sides, strict=True))
        self.slower = slower
        self.done = 0

    def watch(self) -> str:
        """The name of the first judge that fails, or ""."""
        for index, look in enumerate(self.looks.tolist()):
            found = self._count_judges(index, look)
            self._feed(look)
            if index % 5 == 4 or look == self.exchanges:
                found += self._latency_judges()
            verdict = decide(found, 1.0, Margins(), samples=look, seconds=look / 100)
            if verdict.verdict == "fail":
                return next(said.judge for said in verdict.judgements if said.result == "fail")
        return ""

    def _feed(self, until: int) -> None:
        for index in range(self.done, until):
            endpoint = 1 + index % 2
            a, b = self.pairs[index]
            b = int(b * self.slower[endpoint - 1])
            for evidence in (self.latency[0], self.latency[endpoint]):
                evidence.add(index * SECOND // 100, a, b)
        self.done = until

    def _count_judges(self, index: int, look: int) -> list[Judgement]:
        """Judgements are worked out in full only where the evidence reaches the level: the rest cannot fail."""
        found: list[Judgement] = []
        worse, better, same = self.errors[index]
        if log_e_above(((1, worse), (-1, better), (0, same)), 0.001, -1, 1) >= -math.log(errors_alpha()):
            found.append(judge_errors(worse, better, look, alpha_fail=errors_alpha()))
        for order, counts in enumerate(self.fields, 1):
            positive, negative, rest = counts[index]
            alpha = field_alpha(order)
            if log_e_above(((1, positive), (-1, negative), (0, rest)), 0.001, -1, 1) >= -math.log(alpha):
                found.append(judge_field("e", "body", f"$.f{order}", "value", positive, negative, look, alpha=alpha))
        refused = self.refused[index]
        if log_e_above(((1, refused), (0, look - refused)), 0.001, 0, 1) >= -math.log(capacity_alpha()):
            found.append(judge_capacity(refused, look, alpha=capacity_alpha()))
        return found

    def _latency_judges(self) -> list[Judgement]:
        found: list[Judgement] = []
        for order, evidence in enumerate(self.latency):
            alpha = latency_alpha(order or None)
            found += LatencyJudge(evidence).judge("first_byte", "", "baseline", alpha_fail=alpha)
        return found


@pytest.mark.parametrize("rho", [0.0, 0.9], ids=["independent", "autocorrelated"])
def test_500_runs_of_the_same_version_fail_in_at_most_25(rho: float) -> None:
    """250 of the 500 in each case, and half of the false fails allowed."""
    failed = [judge for seed in range(250) if (judge := Run(seed, 2000, rho).watch())]
    assert len(failed) <= 12, failed


def test_everything_exactly_at_its_margin_fails_in_at_most_5_percent() -> None:
    """Errors, ten fields and capacity have a true mean of 0.1 %, while somebody looks forty times."""
    generator = np.random.default_rng(77)
    looks = np.unique(np.geomspace(200, 30_000, 40).astype(int))
    steps = np.diff(looks, prepend=0)
    failed = 0
    for _ in range(200):
        hypotheses = [(errors_alpha(), -1.0), (capacity_alpha(), 0.0)]
        hypotheses += [(field_alpha(order), -1.0) for order in range(1, 11)]
        failing = False
        for alpha, low in hypotheses:
            down = 0.002 if low else 0.0
            series = generator.multinomial(steps, [0.001 + down, down, 0.999 - 2 * down]).cumsum(axis=0).tolist()
            for worse, better, same in series[::2]:
                counts = ((1.0, worse), (-1.0, better), (0.0, same)) if low else ((1.0, worse), (0.0, same))
                if log_e_above(counts, 0.001, low, 1.0) >= -math.log(alpha):
                    failing = True
                    break
        failed += failing
    assert failed <= 10


def watched(effect: float, pairs: int, rate: float, rho: float, seed: int) -> set[str]:
    generator = np.random.default_rng(seed)
    reference = (20 * MS * np.exp(0.5 * autocorrelated(generator, pairs, rho))).astype(int).tolist()
    candidate = (20 * MS * effect * np.exp(0.5 * autocorrelated(generator, pairs, rho))).astype(int).tolist()
    evidence = LatencyEvidence(0, LEAST)
    failed: set[str] = set()
    look = 100
    for index in range(pairs):
        evidence.add(int(index * SECOND / rate), reference[index], candidate[index])
        if index + 1 == look or index + 1 == pairs:
            look = int(look * 1.3)
            said = LatencyJudge(evidence).judge("first_byte", "", "baseline", alpha_fail=latency_alpha())
            failed |= {judgement.path for judgement in said if judgement.result == "fail"}
    return failed


@pytest.mark.parametrize(
    ("effect", "rate", "rho"),
    [(1.0, 10, 0.9), (1.0, 200, 0.9), (1.1, 10, 0.9), (1.1, 200, 0.9)],
)
def test_autocorrelated_latency_raises_no_alarm(effect: float, rate: float, rho: float) -> None:
    """ρ = 0.9 from one exchange to the next; 10 % is exactly the median's margin."""
    failed = [names for seed in range(80) if (names := watched(effect, 2500, rate, rho, seed))]
    assert len(failed) <= 4, failed


def test_a_slow_endpoint_is_named_among_two() -> None:
    run = Run(3, 3000, 0.0, slower=(1.0, 1.8))
    assert run.watch() == "latency"
    run._feed(run.exchanges)
    slow = LatencyJudge(run.latency[2]).judge("first_byte", "slow", "baseline", alpha_fail=latency_alpha(2))
    fast = LatencyJudge(run.latency[1]).judge("first_byte", "fast", "baseline", alpha_fail=latency_alpha(1))
    assert slow[0].result == "fail"
    assert "fail" not in [said.result for said in fast]


def test_a_run_of_the_same_version_passes_in_the_end() -> None:
    passed = 0
    for seed in range(10):
        run = Run(seed, 12_000, 0.0)
        run._feed(run.exchanges)
        found = [
            judge_errors(2, 2, 12_000, alpha_fail=errors_alpha()),
            judge_content(0, 12_000),
            judge_capacity(0, 12_000, alpha=capacity_alpha()),
            *LatencyJudge(run.latency[0]).judge(
                "first_byte", "", "baseline", alpha_fail=latency_alpha(), required=True
            ),
        ]
        passed += decide(found, 1.0, Margins(), samples=12_000, seconds=120).verdict == "pass"
    assert passed >= 9
