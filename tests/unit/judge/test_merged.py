"""The verdict of a fleet against that of one examiner that saw the same exchanges; how often, in numbers.

The tolerance: where one examiner passes or is undecided a merged verdict never fails in a world of identical releases,
in 42 of 42 runs here (``python -m bench.fleet`` makes more of them). Near a verdict's limit one of the two may come a
little sooner: at most two runs in three of a world are a pass to one and undecided to the other, by the
wider margins.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from functools import reduce
from typing import Any

import pytest

from shadowd.evidence.margins import Margins
from shadowd.evidence.merging import merge
from shadowd.evidence.parts import cpu_of, memory_again, memory_of
from shadowd.evidence.resources import CpuEvidence, MemorySeries
from shadowd.judge.merged import assess_untrusted
from shadowd.judge.resources import MemoryJudge
from tests.unit.evidence.fleet import SAME, WIDE, World, dealt, value_of, verdicts

NODES = (2, 5, 12)
SEEDS = 6  # runs of each world: half a minute of a core in all


@pytest.mark.parametrize("name", SAME)
def test_identical_releases_do_not_fail_merged_where_they_do_not_fail_alone(name: str) -> None:
    """Each side has its own blips, pauses, loads and restarts; margins narrow and wide."""
    told: Counter[tuple[str, str]] = Counter()
    failed = []
    for seed in range(SEEDS):
        for alone, merged in verdicts(SAME[name], seed, NODES[seed % 3], (Margins(), WIDE)):
            told[alone["verdict"], merged["verdict"]] += 1
            if merged["verdict"] == "fail" and alone["verdict"] != "fail":
                failed.append((seed, merged["reasons"]))
    assert not failed
    assert told.total() == 2 * SEEDS
    assert told["pass", "inconclusive"] + told["inconclusive", "pass"] <= SEEDS * 2 / 3, told
    if name in ("independent", "a restart"):
        assert told["pass", "pass"] >= SEEDS / 3, "there is something to compare"


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("what", ["failing", "slower", "wrong"])
def test_what_is_one_nodes_alone_is_no_releases_fault(what: str, baseline: bool) -> None:
    """One of twelve nodes has a broken disk, an old cache, another network: nothing that a release has done. There are
    enough exchanges of it to be certain that something is wrong; each node numbers its connections from 0."""
    world = World(baseline=baseline, twin=0.4, connections=48)
    bad = world._replace(**{what: {"failing": 0.6, "slower": 4.0, "wrong": 0.6}[what]})
    for seed in range(2):
        several = dealt(world, seed, 12, bad)[1]
        value = reduce(merge, [value_of(one, f"edge-{number}") for number, one in enumerate(several)])
        said = assess_untrusted(value).verdict
        failed = [one for one in said["judges"] if one["result"] == "fail" and one["judge"] != "latency"]
        median = [one for one in said["judges"] if one["result"] == "fail" and one["path"].endswith("p50")]
        assert not failed, failed
        assert not median, median
        assert said["verdict"] != "pass"


#: Regressions that are plain to one examiner, and which judge says so.
WORSE = {
    "errors": World(failing=0.03),
    "content": World(wrong=0.2, twin=0.4),
    "latency": World(slower=1.6),
    "content, to a baseline": World(wrong=0.1, baseline=True),
}


@pytest.mark.parametrize("name", WORSE)
def test_what_is_plain_to_one_examiner_is_so_to_the_fleet(name: str) -> None:
    judge = name.partition(",")[0]
    found = []
    for seed, nodes in enumerate(NODES):
        ((alone, merged),) = verdicts(WORSE[name], seed, nodes)
        assert alone["verdict"] == "fail"
        assert judge in {one["judge"] for one in alone["findings"]}
        found.append(merged["verdict"] == "fail" and judge in {one["judge"] for one in merged["findings"]})
    assert sum(found) >= len(NODES) - (judge == "latency"), found


def test_the_effect_is_told_as_it_is_and_its_exchanges_are_all_there() -> None:
    ((alone, merged),) = verdicts(World(slower=3.5, wrong=0.1), 3, 5)
    assert (merged["compared"], merged["eligible"]) == (alone["compared"], alone["eligible"])
    effects = [_effect(one, "first_byte p50") for one in (alone, merged)]
    assert abs(math.log1p(effects[0]) - math.log1p(effects[1])) < 0.06
    assert 2.2 < effects[1] < 2.9
    assert [one["node"] for one in merged["nodes"]] != []
    assert merged["filter"] == "shop"


def _effect(verdict: dict[str, Any], path: str) -> float:
    return float(next(one["effect"] for one in verdict["judges"] if one["path"] == path and not one["endpoint"]))


def test_one_node_that_loses_all_answers_does_not_make_the_others_slow() -> None:
    """A mean over nodes is moved by one of them, a median is not: what one node in a hundred loses is told as lost."""
    several = dealt(World(seconds=20, rate=120, connections=40), 1, 12)[1]
    worst = min(several, key=lambda one: one.compared)
    for examiner in several:
        if examiner is worst:
            for number in range(60):
                examiner.first_byte.add_lost(examiner.latest - 200_000_000 * (60 - number), "candidate")
    value = reduce(merge, [value_of(one, f"n{number}") for number, one in enumerate(several)])
    median = next(
        one
        for one in assess_untrusted(value).verdict["judges"]
        if one["path"] == "first_byte p50" and not one["endpoint"]
    )
    assert median["result"] != "fail"
    assert abs(median["effect"]) < 0.1


# --- memory and CPU ---------------------------------------------------------------------------------------------------


def series(leak: float, seed: int, restarts: int = 0) -> MemorySeries:
    dice, made = random.Random(seed), MemorySeries(1000)
    for served in range(0, 8001, 20):
        made.add(served, int(100e6 + leak * served + dice.uniform(0, 50_000)))
    for number in range(restarts):
        made.restarted(8000 + number, "restarted: killed", fault=True)
    return made


def node(name: str, seen: MemorySeries, reference: MemorySeries | None) -> Any:
    (examiner,) = dealt(World(seconds=1), 1, 1)[1]
    value = value_of(examiner, name)
    MemoryJudge(seen).judge(reference=reference)  # as the daemon does: it notes what the look is held against
    (part,) = value["parts"].values()
    told = {**part, "memory": memory_of(seen), "production": memory_of(reference) if reference is not None else None}
    return {**value, "parts": {name: told}}


def judged(*nodes: Any) -> dict[str, dict[str, Any]]:
    return {one["judge"]: one for one in assess_untrusted(reduce(merge, nodes)).verdict["judges"]}


def test_memory_is_each_nodes_and_the_worst_one_stands_for_all() -> None:
    flat = [node(f"n{number}", series(0, number), series(0, 90 + number)) for number in range(4)]
    assert judged(*flat)["memory"]["result"] == "pass"
    leaky = node("edge-7", series(4096, 7), series(0, 97))
    assert judged(leaky)["memory"]["result"] == "fail"
    found = judged(*flat[:2], leaky, *flat[2:])["memory"]
    assert found["result"] == "fail"
    assert found["sentence"].startswith("on edge-7: memory grows by")


def test_a_process_that_was_killed_fails_whichever_nodes_it_was() -> None:
    fine, killed = node("n1", series(0, 1), None), node("n2", series(0, 2, restarts=1), None)
    assert "restarts" not in judged(fine)
    assert judged(fine, killed)["restarts"]["result"] == "fail"
    assert judged(fine, killed)["restarts"]["sentence"].startswith("on n2: ")


@pytest.mark.parametrize("leak", [0.0, 300.0, 4096.0])
def test_without_its_readings_a_series_is_judged_as_with_them(leak: float) -> None:
    """The oracle is the series itself."""
    mine, reference = series(leak, 3), series(10.0, 4)
    wanted = [one.view() for one in MemoryJudge(mine).judge(reference=reference)]
    again = MemoryJudge(memory_again(memory_of(mine))).judge(reference=memory_again(memory_of(reference)))
    assert [one.view() for one in again] == wanted


def test_a_fleet_has_no_more_alpha_than_a_node() -> None:
    """At a level where one node's leak is just found, a hundred nodes of which each could be found are not."""
    cpu = CpuEvidence()
    for number in range(1, 19):
        cpu.add(number * 1.0, number * 100, number * 1.5, number * 100)
    (examiner,) = dealt(World(seconds=1), 1, 1)[1]

    def with_cpu(name: str) -> Any:
        value = value_of(examiner, name)
        (part,) = value["parts"].values()
        return {**value, "parts": {name: {**part, "cpu": cpu_of(cpu)}}}

    assert judged(with_cpu("n1"))["cpu"]["result"] == "fail"
    assert judged(*[with_cpu(f"n{number}") for number in range(100)])["cpu"]["result"] == "inconclusive"


def test_notes_of_nodes_say_whose_they_are() -> None:
    values = []
    for number in range(3):
        value = value_of(dealt(World(seconds=1), 1, 1)[1][0], f"n{number}")
        (part,) = value["parts"].values()
        note = "The run was resumed after 3 s." if number else ""
        values.append({**value, "parts": {f"n{number}": {**part, "notes": (note,) if note else ()}}})
    assert "The run was resumed after 3 s. (n1, n2)" in assess_untrusted(reduce(merge, values)).verdict["limits"]
