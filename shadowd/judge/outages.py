"""Whether the candidate goes away more often than its reference (sans-IO)."""

from __future__ import annotations

import math

from shadowd.evidence.outages import Outages
from shadowd.judge.judgement import Judgement, Result, percent

#: Of α, for outages: eight of the candidate and none of its reference reach it.
LEVEL = 0.005
ONCE = 1  # outages that a restart explains
SHARE = 0.01  # of the exchanges, in outages, that needs explaining if there was more than one


def judge_outages(candidate: Outages, reference: Outages, exchanges: int) -> list[Judgement]:
    """Whether the candidate goes away more often than its reference: a sign test on whole outages (each is one event),
    and nothing if there were none."""
    many, others = candidate.count, reference.count
    if not many:
        return []
    share = candidate.exchanges / (exchanges + candidate.exchanges)
    result: Result = "pass"
    told = f"the candidate was away {_times(many)} ({percent(share)} of the exchanges), its reference {_times(others)}"
    sentence = f"{told}; what failed meanwhile is left out of the other judges"
    if _at_least(many, many + others) <= LEVEL:
        result, sentence = "fail", told
    elif many > ONCE and share > SHARE and many > 2 * others:
        result = "inconclusive"
        sentence = f"{told}: if nobody restarted it, that is a fault; a longer run tells"
    return [
        Judgement(
            judge="restarts", path="outages", result=result, effect=float(many), low=float(many), high=float(many),
            unit="outages", samples=many + others, sentence=sentence, required=result == "inconclusive",
        )
    ]  # fmt: skip


def _times(many: int) -> str:
    return "never" if not many else "once" if many == 1 else f"{many} times"


def _at_least(many: int, total: int) -> float:
    """P(X ≥ many) of a fair coin thrown ``total`` times."""
    return sum(math.comb(total, k) for k in range(many, total + 1)) / 2.0**total if total < 1000 else 1.0
