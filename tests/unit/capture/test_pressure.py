"""The controller against a host that answers: what it sheds changes what the host has to do."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shadowd.capture.pressure import HOLD, SLACK, SMALLEST, Controller, Reading


class Host:
    """``others`` cores are used whatever we do; we use ``floor`` to read the traffic and ``cost`` to mirror all."""

    def __init__(self, cores: int, others: float, floor: float, cost: float) -> None:
        self.cores = cores
        self.others = others
        self.floor = floor
        self.cost = cost

    def reading(self, controller: Controller, **memory: float) -> Reading:
        own = 0.0 if controller.holding else self.floor + self.cost * (1 - controller.shed)
        return Reading(min(1.0, (self.others + own) / self.cores), own, self.cores, **memory)

    def run(self, controller: Controller, steps: int, start: float = 0.0) -> list[float]:
        shed = []
        for number in range(steps):
            controller.step(self.reading(controller), start + number)
            shed.append(controller.shed)
        return shed


def test_below_both_limits_nothing_is_shed() -> None:
    controller = Controller(0.85, 1.0)
    assert set(Host(8, 4.0, 0.2, 0.6).run(controller, 100)) == {0.0}
    assert controller.reason == ""


def test_our_own_share_is_kept_and_the_share_rests() -> None:
    controller = Controller(0.85, 0.5)
    host = Host(8, 1.0, 0.1, 0.8)
    shed = host.run(controller, 120)
    own = host.reading(controller).own
    assert own <= 0.5
    assert own >= 0.5 * (1 - 4 * SLACK)  # it takes what it may
    assert max(shed[-40:]) - min(shed[-40:]) < 0.02  # and does not swing
    assert "of a core" in controller.reason


def test_a_busy_host_is_relieved_and_everything_comes_back() -> None:
    controller = Controller(0.85, 4.0)
    busy, calm = Host(4, 3.0, 0.1, 0.6), Host(4, 1.0, 0.1, 0.6)
    busy.run(controller, 60)
    assert busy.reading(controller).host <= 0.85
    assert 0 < controller.shed < 1
    assert "host's CPU use" in controller.reason
    shed = calm.run(controller, 60, 60.0)
    assert controller.shed == 0
    assert controller.reason == ""
    assert all(after <= before for before, after in pairwise(shed))  # it comes back without a swing


def test_a_host_that_is_busy_without_us_gets_all_we_can_give_and_we_recover() -> None:
    controller = Controller(0.85, 1.0)
    Host(4, 3.9, 0.01, 0.3).run(controller, 60)
    assert controller.shed == 1
    assert not controller.holding  # what reading costs is not worth stopping it
    Host(4, 1.0, 0.01, 0.3).run(controller, 60, 60.0)
    assert controller.shed == 0


def test_when_reading_alone_is_too_much_the_kernel_stops_copying_for_longer_and_longer() -> None:
    controller = Controller(0.85, 0.2)
    host = Host(4, 1.0, 0.6, 0.6)
    spells, began = [], None
    for number in range(300):
        controller.step(host.reading(controller), float(number))
        if controller.holding and began is None:
            began = number
        elif not controller.holding and began is not None:
            spells.append(number - began)
            began = None
    assert controller.shed == 1
    assert spells[0] == HOLD
    assert spells[:3] == sorted(spells[:3])
    assert spells[2] > 2 * spells[0]
    Host(4, 1.0, 0.05, 0.05).run(controller, 200, 300.0)
    assert controller.shed == 0
    assert not controller.holding


def test_a_full_host_is_left_to_production_though_shedding_does_not_show() -> None:
    """We are behind and use all we get, whatever we shed; the host is full, so nobody sees how much is wanted."""
    controller = Controller(0.85, 1.0)
    host = Host(2, 1.1, 0.9, 0.0)
    steps = 0
    while not controller.holding:
        controller.step(host.reading(controller), float(steps))
        steps += 1
    assert steps <= 12


def test_no_guard_means_no_guard() -> None:
    controller = Controller(1.0, 100.0)
    assert set(Host(2, 2.0, 0.3, 1.5).run(controller, 60)) == {0.0}


@pytest.mark.parametrize("memory", [{"available": 0.02}, {"stalled": 0.4}])
def test_short_memory_halves_what_is_mirrored(memory: dict[str, float]) -> None:
    controller = Controller(0.85, 1.0)
    host = Host(4, 1.0, 0.1, 0.2)
    shares = []
    for number in range(10):
        controller.step(host.reading(controller, **memory), float(number))
        shares.append(1 - controller.shed)
    assert shares[:3] == [0.5, 0.25, 0.125]
    assert shares[-1] == 0
    assert controller.reason == "the host's memory is short"
    host.run(controller, 60, 10.0)
    assert controller.shed == 0


@settings(max_examples=150)
@example(cores=1, busy=0.0, floor=0.048828125, cost=0.5, guard=0.5, most=0.05078125)  # room for less than a step
@given(
    st.integers(1, 64), st.floats(0, 1), st.floats(0, 0.4), st.floats(0.05, 2.0), st.floats(0.3, 0.99),
    st.floats(0.05, 4.0),
)  # fmt: skip
def test_any_steady_load_ends_in_a_steady_share_within_the_limits(
    cores: int, busy: float, floor: float, cost: float, guard: float, most: float
) -> None:
    controller = Controller(guard, most)
    host = Host(cores, busy * cores, floor, cost)
    for number in range(400):
        controller.step(host.reading(controller), float(number))
        assert 0 <= controller.shed <= 1
    if controller.holding or controller.shed == 1:
        return  # there was no room for more: the next test looks at that
    tail = []
    for number in range(400, 440):
        controller.step(host.reading(controller), float(number))
        tail.append(controller.shed)
    reading = host.reading(controller)
    step = SMALLEST / 2 * cost  # cores: what the smallest share costs cannot be known before it is mirrored
    assert max(tail) - min(tail) < 0.05
    assert reading.own <= most * 1.02 + step
    assert reading.host <= guard * 1.02 + step / cores or busy > guard


@settings(max_examples=100)
@given(st.integers(1, 64), st.floats(0, 0.5), st.floats(0, 0.02), st.floats(0.01, 0.2))
def test_whatever_happened_it_recovers_when_the_host_is_calm(
    cores: int, busy: float, floor: float, cost: float
) -> None:
    controller = Controller(0.85, 1.0)
    Host(cores, float(cores), 0.5, 1.0).run(controller, 100)
    assert controller.shed == 1
    Host(cores, busy * cores, floor, cost).run(controller, 200, 100.0)
    assert controller.shed == 0
