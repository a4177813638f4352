"""Workers' counts added up: whatever they count, in whichever order they tell and die, the ledger balances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence.latency import LatencySketch
from shadowd.ledger.ledger import FilterAccount
from shadowd.policy.policy import Policy
from shadowd.replay.target import Target, TargetLimits
from shadowd.worker.accounts import (
    AccountError,
    Counts,
    add_filter,
    add_target,
    balance,
    counts_untrusted,
    filter_counts,
    merge_untrusted,
    target_counts,
    told,
    write_off,
)
from shadowd.worker.filters import Filter


def running(targets: int) -> Filter:
    made = Filter("f", Policy(b"x"))
    made.targets = [_target(made, number) for number in range(targets)]
    return made


def _target(chosen: Filter, number: int) -> Target:
    url = f"http://t{number}"
    return Target(url, "http", "t", 80, chosen.account.add_target(url), TargetLimits())


#: What happens at a worker: a request comes, is left out, or ends for a target in one of three ways; or the worker is
#: heard, or dies.
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["seen", "filtered", "lost", "end", "heard", "dies", "target"])),
    max_size=120,
)


@given(STEPS, st.randoms(use_true_random=False))
def test_the_sum_balances_whatever_happens(steps: list[tuple[int, str]], dice: object) -> None:
    """An oracle counts by hand: all that workers saw is in the sum, or was seen by one that died unheard."""
    whole = running(1)
    workers = [running(1) for _ in range(3)]
    filters: list[Counts] = [{}, {}, {}]
    targets: list[list[Counts]] = [[{}], [{}], [{}]]
    seen = 0
    for worker, what in steps:
        mine = workers[worker]
        account = mine.account
        if what == "seen":
            seen += 1
            account.seen += 1
            for target in mine.targets:
                target.account.in_flight += 1
        elif what in ("filtered", "lost"):
            seen += 1
            account.filter_out("path") if what == "filtered" else account.lose("gap")
        elif what == "end":
            target = dice.choice(mine.targets)  # type: ignore[attr-defined]
            if target.account.in_flight:
                target.account.in_flight -= 1
                if dice.random() < 0.5:  # type: ignore[attr-defined]
                    target.account.mirrored += 1
                else:
                    target.account.failed["timeout"] += 1
        elif what == "heard":
            _hear(whole, mine, filters, targets, worker)
        elif what == "dies":
            before = list(zip(whole.targets, targets[worker], strict=True))
            write_off(whole, filters[worker], before, account.seen)
            workers[worker] = running(len(whole.targets))
            filters[worker], targets[worker] = {}, [{} for _ in whole.targets]
        elif what == "target" and len(whole.targets) < 3:
            number = len(whole.targets)
            whole.targets.append(_target(whole, number))
            for place, one in enumerate(workers):
                one.targets.append(_target(one, number))
                known = balance(filters[place])
                targets[place].append({"shed:before_target": known} if known else {})
        assert whole.account.balanced
    for worker, mine in enumerate(workers):
        _hear(whole, mine, filters, targets, worker)
    assert whole.account.balanced
    assert whole.account.seen == seen
    assert whole.account.in_flight == max(
        sum(one.targets[place].account.in_flight for one in workers) for place in range(len(whole.targets))
    )


def _hear(whole: Filter, mine: Filter, filters: list[Counts], targets: list[list[Counts]], worker: int) -> None:
    now = counts_untrusted(filter_counts(mine))
    add_filter(whole, filters[worker], now)
    filters[worker] = now
    for place, (target, own) in enumerate(zip(whole.targets, mine.targets, strict=True)):
        counted = counts_untrusted(target_counts(own))
        add_target(target, targets[worker][place], counted)
        targets[worker][place] = counted


def test_gauges_fall_with_the_worker_that_is_gone() -> None:
    whole, mine = running(2), running(2)
    mine.account.seen = 5
    for target, in_flight, mirrored in zip(mine.targets, (3, 1), (2, 4), strict=True):
        target.account.in_flight, target.account.mirrored, target.connections = in_flight, mirrored, 7
        target.account.twins_in_flight = 2
    filters, targets = [{}], [[{}, {}]]
    _hear(whole, mine, filters, targets, 0)
    assert [target.connections for target in whole.targets] == [7, 7]
    write_off(whole, filters[0], list(zip(whole.targets, targets[0], strict=True)), seen=9)
    account = whole.account
    assert (account.seen, account.lost["worker"], account.in_flight, account.balanced) == (9, 5, 0, True)
    assert [target.account.shed["worker"] for target in whole.targets] == [2, 0]
    assert [target.connections for target in whole.targets] == [0, 0]
    assert [target.account.twins_in_flight for target in whole.targets] == [0, 0]
    assert [target.account.twins["shed"] for target in whole.targets] == [2, 2]


@pytest.mark.parametrize("junk", [None, 3, [], {1: 2}, {"seen": -1}, {"seen": True}, {"seen": 1 << 70}, {"seen": "1"}])
def test_what_are_no_counts(junk: object) -> None:
    with pytest.raises(AccountError):
        counts_untrusted(junk)


def test_a_reason_that_there_is_not() -> None:
    whole = running(1)
    for name in ("lost:nonsense", "filtered:", "shed:memory", "in_flight"):
        with pytest.raises(AccountError):
            add_filter(whole, {}, {name: 1})
    for name in ("seen", "shed:nonsense", "failed:", "twins:x", "mirrored:"):
        with pytest.raises(AccountError):
            add_target(whole.targets[0], {}, {name: 1})
    assert isinstance(whole.account, FilterAccount)


@given(st.lists(st.integers(0, 1 << 50), max_size=60), st.lists(st.integers(0, 1 << 50), max_size=60))
def test_latencies_of_two_workers_are_those_of_both(first: list[int], second: list[int]) -> None:
    whole, sketches = LatencySketch(), [LatencySketch(), LatencySketch()]
    direct = LatencySketch()
    for sketch, durations in zip(sketches, (first, second), strict=True):
        for duration in durations:
            sketch.add(duration)
            direct.add(duration)
        merge_untrusted(whole, told(sketch))
    assert whole.buckets() == direct.buckets()
    assert whole.count == direct.count


@pytest.mark.parametrize("junk", [None, {}, [1], [[1]], [[1, 0]], [[-1, 1]], [[1, 1.0]], [[1 << 63, 1]], [[1, 1, 1]]])
def test_what_are_no_latencies(junk: object) -> None:
    with pytest.raises(AccountError):
        merge_untrusted(LatencySketch(), junk)
