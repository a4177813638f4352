"""The runs that a merged value is of, each by itself (sans-IO).

A part is named by its node and when it began. Two values that have a part in common are not merged: an exchange would
be two witnesses. Memory and CPU are of one process and add up to nothing: each part keeps what its latest look found
(2 KB, without the readings), and the judges look at each with its share of α (``judge/merged.py``).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from shadowd.evidence.blocks import _RECENT, HALF, Blocks
from shadowd.evidence.conditions import MergeError
from shadowd.evidence.plain import exactly, finite, listed, number, numbers, real, said, text
from shadowd.evidence.resources import CpuEvidence, MemorySeries
from shadowd.evidence.sums import Kind

#: Nodes of one cluster whose evidence makes one verdict: 5,000 are the most that Kubernetes supports, and each needs
#: some 100 KB of a file. With more, merge a sample of them.
MOST = 1000
_POINTS = 64  # of a look: 32 blocks
_REASONS = 10
NOTES = 5
_TIMES = 1e12  # seconds


def part_id(node: str, name: str, target: str, began: float) -> str:
    """The same for two exports of one run."""
    of = "\0".join((node, name, target, f"{began:.6f}"))
    return blake2b(of.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Parts(Kind):
    """By ``part_id``."""

    def empty(self) -> dict[str, Any]:
        return {}

    def merge(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        twice = sorted(one.keys() & other.keys())
        if twice:
            raise MergeError(
                f"the run of node {said(one[twice[0]]['node'])} is there twice",
                "give the newest export of each node once",
            )
        if len(one) + len(other) > MOST:
            raise MergeError(f"that is evidence of more than {MOST:,} runs", "merge that of fewer nodes")
        return {**one, **other}

    def write(self, value: Mapping[str, Any]) -> list[Any]:
        return [[name, {**part, "notes": list(part["notes"])}] for name, part in sorted(value.items())]

    def read_untrusted(self, data: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one in listed(data, MOST):
            name, part = exactly(one, 2)
            if text(name, 64) in found or type(part) is not dict or part.keys() != _READERS.keys():
                raise ValueError("part")
            found[name] = {key: read(part[key]) for key, read in _READERS.items()}
        return found


# --- memory and CPU ---------------------------------------------------------------------------------------------------


def memory_of(series: MemorySeries) -> dict[str, Any]:
    """What the latest look of a series found, and how often its process was another."""
    told = {name: getattr(series, name) for name in _NUMBERS}
    against = series.against
    return {
        **told,
        "looks": series.looks,
        "swing": series.swing,
        "reasons": [reason[:200] for reason in series.reasons],
        "look": None if series.look is None else [list(point) for point in series.look],
        "before": None if series.before is None else list(series.before),
        "against": None if against is None else [against[0], against[1], [list(p) for p in against[2]], *against[3:]],
    }


def memory_again(value: Mapping[str, Any]) -> MemorySeries:
    series = MemorySeries(max(1, value["first_look"]))
    for name in (*_NUMBERS, "swing"):
        setattr(series, name, value[name])
    series._looks = value["looks"]
    series.reasons = list(value["reasons"])
    series.look = None if value["look"] is None else [(x, y) for x, y in value["look"]]
    series.before = None if value["before"] is None else (value["before"][0], value["before"][1])
    if value["against"] is not None:
        looks, level, points, asked, swing = value["against"]
        series.against = looks, level, [(x, y) for x, y in points], asked, swing
    return series


def cpu_of(cpu: CpuEvidence) -> dict[str, Any]:
    blocks = cpu.blocks
    recent = [*blocks._recent[blocks._at :], *blocks._recent[: blocks._at]]
    return {"count": cpu.count, "served": cpu.served, "counts": array("q", blocks.counts).tobytes(), "recent": recent}


def cpu_again(value: Mapping[str, Any]) -> CpuEvidence:
    cpu = CpuEvidence()
    cpu.count, cpu.served = value["count"], value["served"]
    counts = array("q", value["counts"])
    cpu.blocks = Blocks()
    cpu.blocks.counts, cpu.blocks.count = array("I", counts), sum(counts)
    cpu.blocks._recent = array("f", value["recent"])
    return cpu


_NUMBERS = ("first_look", "next_look", "served", "taken_at", "restarts", "faults")


def _points(data: Any) -> list[list[float]]:
    return [[finite(x), finite(y)] for x, y in (exactly(one, 2) for one in listed(data, _POINTS))]


def _memory_untrusted(data: Any) -> dict[str, Any] | None:
    if data is None:
        return None
    if type(data) is not dict or data.keys() != {*_NUMBERS, "looks", "swing", "reasons", "look", "before", "against"}:
        raise ValueError("memory")
    before, against = data["before"], data["against"]
    if before is not None:
        before = [number(exactly(before, 2)[0], 0), finite(before[1])]
    if against is not None:
        looks, level, points, asked, swing = exactly(against, 5)
        against = [number(looks, 0), number(level, 0), _points(points), number(asked, 0), real(swing)]
    look = None if data["look"] is None else _points(data["look"])
    if look is not None and (not look or data["looks"] < 1 or number(data["taken_at"], 0) < 1):
        raise ValueError("look")
    return {
        **{name: number(data[name], 0) for name in _NUMBERS},
        "looks": number(data["looks"], 0, 64),
        "swing": real(data["swing"]),
        "reasons": [text(one) for one in listed(data["reasons"], _REASONS)],
        "look": look,
        "before": before,
        "against": against,
    }


def _cpu_untrusted(data: Any) -> dict[str, Any] | None:
    if data is None:
        return None
    if type(data) is not dict or data.keys() != {"count", "served", "counts", "recent"}:
        raise ValueError("cpu")
    counts = numbers(data["counts"], 2 * HALF, least=0)
    if len(counts) not in (0, 2 * HALF):
        raise ValueError("length")
    recent = [real(one) for one in listed(data["recent"], _RECENT)]
    return {"count": number(data["count"], 0), "served": number(data["served"], 0), "counts": counts.tobytes(),
            "recent": recent}  # fmt: skip


def _seconds(data: Any) -> float:
    if not 0 <= real(data) <= _TIMES:
        raise ValueError("time")
    return float(data)


_READERS: dict[str, Any] = {
    "node": text,
    "began": _seconds,
    "seconds": _seconds,
    "eligible": lambda data: number(data, 0),
    "notes": lambda data: tuple(text(one) for one in listed(data, NOTES)),
    "unseen": text,
    "memory": _memory_untrusted,
    "production": _memory_untrusted,
    "cpu": _cpu_untrusted,
}
