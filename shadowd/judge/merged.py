"""One verdict of a mergeable value (sans-IO): of a fleet of nodes, as of one examiner that saw all of their exchanges.

What such a value is stands in ``evidence/merging.py``. Memory and CPU are of processes: each node's is judged by itself
at α divided by their number, so that a fleet fails falsely no oftener than a node; the worst one stands for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.evidence.conditions import MergeError
from shadowd.evidence.margins import Margins
from shadowd.evidence.parts import cpu_again, memory_again
from shadowd.evidence.restoring import examiner_of
from shadowd.evidence.spans import outages_again
from shadowd.judge.assessment import Assessment
from shadowd.judge.judgement import Judgement, percent
from shadowd.judge.outages import SHARE
from shadowd.judge.resources import MemoryJudge, judge_cpu
from shadowd.judge.verdict import cpu_alpha, memory_alpha

_RANKS = {"fail": 0, "inconclusive": 1, "pass": 2}
_NOTED = 10  # notes of nodes in a verdict


def assess_untrusted(value: Mapping[str, Any]) -> Assessment:
    """The judgements and the verdict, which names the nodes. Raises MergeError where there is nothing to judge, or
    where it is such as no examiner can have counted."""
    if value["conditions"] is None or not value["parts"]:
        raise MergeError("there is no evidence of any run in it", "export it while the filter compares")
    try:
        return _assess(value)
    except Exception as error:  # whatever is wrong with counts from a file shows here, and is that file's fault
        raise MergeError(
            f"it cannot be judged ({type(error).__name__})", "write it anew: shadowctl evidence export"
        ) from None


def _assess(value: Mapping[str, Any]) -> Assessment:
    examiner = examiner_of(value)
    parts = [value["parts"][name] for name in sorted(value["parts"])]
    eligible = sum(part["eligible"] for part in parts)
    seconds = max(part["seconds"] for part in parts)
    resources = [*_resources(parts, examiner.settings.margins), *_outages_of_some(value)]
    assessment = Assessment(examiner, eligible, seconds, resources)
    assessment.finish()
    conditions, verdict = value["conditions"], assessment.verdict
    began = min(part["began"] for part in parts)
    verdict["limits"] = [*verdict["limits"], *_notes(parts)]
    verdict |= {
        "filter": conditions["filter"],
        "target": conditions["target"],
        "run": {"id": None, "label": conditions["label"], "started": began, "ended": None, "reason": value["ended"]},
        "nodes": [{key: part[key] for key in ("node", "began", "seconds", "eligible")} for part in parts],
    }
    return assessment


def _outages_of_some(value: Mapping[str, Any]) -> list[Judgement]:
    """Outages that most of the nodes did not see: what failed in them is no evidence, and a pass must not hide it."""
    (_, candidate), (_, reference) = (
        outages_again(value[side], value["parts"]) for side in ("outages", "reference_outages")
    )
    total = value["outcomes"]["total"][0] + candidate
    if not candidate or not total:
        return []
    share, likely = candidate / total, candidate <= 2 * reference
    told = f"some nodes alone saw the candidate away, for {percent(share)} of the exchanges"
    hides = share > SHARE and not likely
    return [
        Judgement(
            judge="restarts", path="outages of some nodes", result="inconclusive" if hides else "pass", effect=share,
            low=share, high=share, unit="share", samples=total, required=hides,
            sentence=f"{told}: it may be theirs, look at each node's verdict" if hides else f"noted: {told}",
        )
    ]  # fmt: skip


def _resources(parts: list[Mapping[str, Any]], margins: Margins) -> list[Judgement]:
    """The worst judgement of each judge over the parts."""
    seen, timed = sum(part["memory"] is not None for part in parts), sum(part["cpu"] is not None for part in parts)
    worst: dict[str, tuple[int, float, Judgement]] = {}
    for part in parts:
        found: list[Judgement] = []
        if part["memory"] is not None:
            reference = memory_again(part["production"]) if part["production"] is not None else None
            judge = MemoryJudge(memory_again(part["memory"]))
            found += judge.judge(margins.max_leak, memory_alpha() / seen, reference=reference)
        if part["cpu"] is not None:
            found.append(judge_cpu(cpu_again(part["cpu"]), margins.max_cpu, cpu_alpha() / timed))
        for one in found:
            rank = (_RANKS[one.result], -one.effect)
            if one.judge not in worst or rank < worst[one.judge][:2]:
                if len(parts) > 1:
                    one.sentence = f"on {part['node']}: {one.sentence}"
                worst[one.judge] = *rank, one
    return [one for _, _, one in worst.values()]


def _notes(parts: list[Mapping[str, Any]]) -> list[str]:
    """What a reader must know of the nodes, each once."""
    notes = [(note, part["node"]) for part in parts for note in (*part["notes"], part["unseen"]) if note]
    nodes: dict[str, list[str]] = {}
    for note, node in notes:
        nodes.setdefault(note, []).append(node)
    alone = len(parts) == 1
    told = [note if alone else f"{note} ({_named(where)})" for note, where in nodes.items()]
    return [*told[:_NOTED], f"and {len(told) - _NOTED} more notes of nodes"] if len(told) > _NOTED else told


def _named(nodes: list[str]) -> str:
    return ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
