"""The catalogue, small: every world in one mode or both, at a reduced rate; ``make verify-verdict`` has all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from .drive import drive
from .rivals import diffy_fails, kayenta_high
from .table import BEGIN, END, Row, Task, bounds, read, tables, write
from .worlds import ENDPOINTS, WORLDS, World

#: What every world gets: enough exchanges for a pass (no difference in 5,300 at a margin of 0.1 %), time for three
#: looks and for the weather to come once at least; 11,000 exchanges are two thirds of a second of CPU.
RATE, SECONDS = 100.0, 110.0
#: A fault's run is as long as its bound and a tenth, at the rate at which bounds are defined.
FAULT_RATE = 300.0
#: Seconds of the world between looks: each costs as much as a thousand exchanges.
EVERY = 20.0
#: Loads that wander take one mode each here, by turns.
LOADS = [name for name in WORLDS if name.startswith("load_")]
ALL = [
    (name, mode)
    for name, made in WORLDS.items()
    if not made.fault
    for mode in made.modes
    if name not in LOADS or LOADS.index(name) % 2 == World.modes.index(mode)
]
FAULTS = [(name, mode) for name, made in WORLDS.items() if made.fault for mode in made.modes]
#: Decidable in ten minutes at 300/s, and not in 11,000 exchanges, or not with this seed: there a reason will do here.
LATER = {
    ("periodic_30ms", "twin"), ("periodic_30ms", "baseline"), ("own_errors", "twin"), ("own_errors", "baseline"),
    ("retries", "twin"), ("retries", "baseline"),  # own errors, which take 46,000
    ("daemon_stopped", "twin"), ("daemon_stopped", "baseline"),  # 8 s of 110 are more than 5 %
    ("noisy_neighbour", "twin"), ("noisy_neighbour", "baseline"),  # 15 s of 110
    ("cold_start_10s", "twin"), ("cold_start_30s", "twin"), ("cold_start_30s", "baseline"),  # no minute is left
    # medians and tails of 11,000 exchanges are that wide; with 13,000 of the same seed all of these but one passed
    ("independent", "baseline"), ("common_bursts", "twin"), ("cold_start_10s", "baseline"), ("cold_cache", "twin"),
    ("pods_40", "baseline"), ("whole_seconds", "baseline"),
    ("flaps", "twin"), ("replica_lag", "twin"),  # twins are asked one time in twenty
}  # fmt: skip
#: What says to an operator what is missing, or what to do.
ACTION = re.compile(r"needed|asked for|--\w|longer run|too busy|another version|begin a run|connections|noise add")


@pytest.mark.parametrize(("name", "mode"), ALL)
def test_identical_versions_never_fail(name: str, mode: str) -> None:
    made = WORLDS[name]
    outcome = drive(made(1, mode, RATE, SECONDS), every=EVERY)
    assert outcome.failed is None, outcome.failed_for
    if made.wanted(mode) and (name, mode) not in LATER:
        assert outcome.last == "pass", outcome.reasons
    elif outcome.last != "pass":
        assert outcome.reasons, "neither pass nor fail wants a reason"
        assert ACTION.search(outcome.reasons[0]), outcome.reasons


@pytest.mark.parametrize(("name", "mode"), FAULTS)
def test_faults_are_found_in_time(name: str, mode: str) -> None:
    made = WORLDS[name]
    shares = [share for _, share in ENDPOINTS]
    of_all = shares[made.endpoint] / sum(shares) if made.endpoint >= 0 else 1.0
    many = made.since + made.within / of_all * 1.1
    world = made(1, mode, FAULT_RATE, max(70.0, min(many, 214_000) / FAULT_RATE))
    outcome = drive(world, stop=True, every=EVERY)
    assert not outcome.false_alarm, outcome.failed_for
    assert outcome.found_within, (outcome.failed, outcome.last, outcome.reasons)


def test_a_world_is_the_same_for_the_same_seed() -> None:
    one, same, other = (WORLDS["flaps"](seed, "baseline", 50, 60) for seed in (3, 3, 4))
    assert (one.code["C"] == same.code["C"]).all()
    assert (one.at == same.at).all()
    assert (one.at != other.at).any()


def test_every_world_says_what_happens_there() -> None:
    assert all(made.__doc__ for made in WORLDS.values())
    assert all(made.within for made in WORLDS.values() if made.fault)


def test_twins_share_their_candidates_weather() -> None:
    made = WORLDS["blip_2s"](1, "twin", 100, 120)
    failing = [{i for i in range(made.n) if made.templates[made.code[side][i]][0] == 503} for side in "PCT"]
    assert failing[1] == failing[2] != failing[0]


def test_kayenta_tells_a_shift_beyond_a_quarter_of_itself() -> None:
    random = np.random.default_rng(1)
    control, same, slower = random.normal(20, 1, 60), random.normal(20, 1, 60), random.normal(23, 1, 60)
    assert not kayenta_high(same, control)
    assert kayenta_high(slower, control)
    assert not kayenta_high(control, slower), "faster is not high"
    assert not kayenta_high(control, control)


def test_diffy_wants_both_thresholds() -> None:
    assert diffy_fails(100, 10, 10_000)
    assert not diffy_fails(100, 90, 10_000), "5 % of the two"
    assert not diffy_fails(3, 0, 100_000), "0.003 % of the requests"
    assert not diffy_fails(0, 0, 10)
    assert not diffy_fails(1, 5, 10)


def test_bounds_are_clopper_pearsons() -> None:
    assert bounds(0, 100) == pytest.approx((0, 0.0362), abs=1e-4)
    assert bounds(5, 100) == pytest.approx((0.0164, 0.1128), abs=1e-4)
    assert bounds(3, 3)[1] == 1


def test_what_was_measured_is_read_again(tmp_path: Path) -> None:
    row = Row(Task("pods_4", "twin", 3, 300.0, 600.0), None, 0.0, False, False, True, "", False, None, 1.5)
    page = tmp_path / "rows"
    assert read(page) == {}
    page.write_text(json.dumps(row) + "\n")
    assert read(page) == {row.task: row}
    assert "| pods_4 | twin | 1 | 0 (0…98 %) | 1 (2…100 %) | – |" in tables([row])


def test_undecidable_worlds_are_few() -> None:
    open_ones = [name for name, made in WORLDS.items() if not made.fault and made.undecidable]
    assert len(open_ones) * 3 < sum(not made.fault for made in WORLDS.values()), open_ones


def test_a_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write("new", page)
    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
