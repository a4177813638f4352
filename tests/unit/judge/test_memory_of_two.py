"""Memory judged against production's: identical processes that fill, sweep and grow do not fail; leaks are found.

Each run is seeded; the two sides have paces, phases and noise of their own. ``SCENARIOS`` names what production and the
candidate do; production may have been warm since long (its requests then begin at ``AGE``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from shadowd.evidence.resources import MemorySeries
from shadowd.judge.resources import MemoryJudge
from shadowd.judge.verdict import memory_alpha

AGE = 10_000_000  # requests that a warm production has served before
RATE, EACH = 300.0, 1.0  # requests a second, seconds between two readings
Shape = Callable[[float, float], float]  # bytes by requests of the process and seconds of the run
Maker = Callable[[np.random.Generator], Shape]


def fills(generator: np.random.Generator) -> Shape:
    until = 30_000 * generator.uniform(0.75, 1.25)
    return lambda requests, seconds: 30e6 * min(1.0, requests / until)


def fills_slowly(generator: np.random.Generator) -> Shape:
    tau = 20_000 * generator.uniform(0.75, 1.25)
    return lambda requests, seconds: 50e6 * (1 - math.exp(-requests / tau))


def fills_by_root(generator: np.random.Generator) -> Shape:
    return lambda requests, seconds: min(100e6, 0.5e6 * requests**0.5)


def sweeps(generator: np.random.Generator) -> Shape:
    phase, period = generator.uniform(0, 1), 30_000 * generator.uniform(0.9, 1.1)
    return lambda requests, seconds: 300e3 * ((requests / period + phase) % 1)


def steps(generator: np.random.Generator) -> Shape:
    each = 12_000 * generator.uniform(0.9, 1.1)
    return lambda requests, seconds: 16e6 * min(4, requests // each)


def by_time(generator: np.random.Generator) -> Shape:
    return lambda requests, seconds: 100e3 * seconds


def flat(generator: np.random.Generator) -> Shape:
    return lambda requests, seconds: 0.0


def leak(size: float, begin: int = 0, base: Maker = flat) -> Maker:
    def made(generator: np.random.Generator) -> Shape:
        under = base(generator)
        return lambda requests, seconds: under(requests, seconds) + size * max(0.0, requests - begin)

    return made


def first_fail(
    seed: int, production: Maker | None, candidate: Maker, warm: bool = False, rho: float = 0.0, busier: float = 1.0,
    first_look: int = 10_000, until: int = 161_000, each: float = EACH,
) -> int | None:  # fmt: skip
    """Requests of the candidate when it failed first, None if it never did until then."""
    generator = np.random.default_rng(seed)
    mine, theirs = candidate(generator), production(generator) if production is not None else None
    series, reference = MemorySeries(first_look), MemorySeries(first_look)
    served = asked = looks = 0
    noise = [0.0, 0.0]
    for second in range(1, round(until / RATE / each)):
        served += int(generator.poisson(RATE * each))
        asked += int(generator.poisson(RATE * each * busier))
        noise = [rho * old + math.sqrt(1 - rho**2) * 64e3 * generator.normal() for old in noise]
        if theirs is not None:
            reference.add(asked, int(80e6 + theirs(asked + AGE * warm, second * each) + noise[0]) // 4096 * 4096)
        series.add(served, int(80e6 + mine(served, second * each) + noise[1]) // 4096 * 4096)
        if series.looks != looks:
            looks = series.looks
            said = MemoryJudge(series).judge(
                256.0, memory_alpha(), 0.05, reference=reference if theirs is not None else None
            )[0]
            if said.result == "fail":
                return served
    return None


IDENTICAL = {
    "fills": fills, "fills slowly": fills_slowly, "fills by root": fills_by_root, "sweeps": sweeps, "steps": steps,
    "by time": by_time, "flat": flat,
}  # fmt: skip
RUNS = 20


def failing(production: Maker | None, candidate: Maker, runs: int, **how: float) -> int:
    return sum(first_fail(seed, production, candidate, **how) is not None for seed in range(runs))  # type: ignore[arg-type]


@pytest.mark.parametrize("rho", [0.0, 0.8])
@pytest.mark.parametrize("warm", [False, True], ids=["both-new", "production-warm"])
@pytest.mark.parametrize("name", IDENTICAL)
def test_identical_processes_do_not_fail(name: str, warm: bool, rho: float) -> None:
    assert failing(IDENTICAL[name], IDENTICAL[name], RUNS, warm=warm, rho=rho) <= 1


@pytest.mark.parametrize("name", [name for name in IDENTICAL if name != "by time"])
def test_what_levels_off_does_not_fail_alone(name: str) -> None:
    assert failing(None, IDENTICAL[name], RUNS) <= 1


def test_growth_by_the_clock_is_no_leak_where_production_is_asked_more() -> None:
    """By its own requests production then grows by a twentieth of the candidate's bytes."""
    assert failing(by_time, by_time, RUNS, busier=20.0) <= 1


@pytest.mark.parametrize(
    ("size", "begin", "by"),
    [(1024, 0, 20_500), (512, 0, 20_500), (400, 0, 81_000), (300, 0, 81_000), (1024, 25_000, 81_000),
     (1024, 60_000, 161_000)],
)  # fmt: skip
@pytest.mark.parametrize("warm", [False, True], ids=["both-new", "production-warm"])
def test_a_leak_beside_a_production_without_is_found(size: int, begin: int, by: int, warm: bool) -> None:
    found = [first_fail(seed, flat, leak(size, begin), warm) for seed in range(RUNS)]
    assert sum(one is not None and one <= by for one in found) >= RUNS - 1


def test_a_leak_on_top_of_a_cache_that_fills_on_both_sides_is_found() -> None:
    found = [first_fail(seed, fills, leak(1024, 0, fills)) for seed in range(RUNS)]
    assert sum(one is not None for one in found) >= RUNS - 1


@pytest.mark.parametrize("size", [1024, 300])
def test_a_leak_alone_is_found_late(size: int) -> None:
    found = [first_fail(seed, None, leak(size)) for seed in range(RUNS)]
    assert sum(one is not None for one in found) >= RUNS - 1
    assert all(one is None or one >= 40_000 for one in found)


def collected(generator: np.random.Generator) -> Shape:
    """A heap that a collector keeps flat, in slow teeth."""
    phase, period = generator.uniform(0, 1), 1000 * generator.uniform(0.9, 1.1)
    return lambda requests, seconds: 300e3 * ((requests / period + phase) % 1)


@pytest.mark.parametrize("size", [0, 1024])
def test_a_short_run_beside_a_production_in_teeth(size: int) -> None:
    """As `shadowctl demo` has it: three looks within 8,000 requests, so few of production's minima that no interval
    through them has ends. All that it moved is a bound."""
    found = [first_fail(seed, collected, leak(size), first_look=2000, until=8_200, each=0.5) for seed in range(RUNS)]
    assert sum(one is not None for one in found) >= RUNS - 1 if size else found == [None] * RUNS
