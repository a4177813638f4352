"""Generated answers, judged: time, length, likeness and cost (sans-IO; counted in ``evidence/talking.py``)."""

from __future__ import annotations

import math
from collections.abc import Callable

from shadowd.evidence.margins import Margins
from shadowd.evidence.slowdown import LatencyEvidence
from shadowd.evidence.talking import STEPS, TalkEvidence
from shadowd.judge.betting import log_e_above, log_e_below, lower_bound, samples_needed, upper_bound
from shadowd.judge.judgement import Judgement, Result
from shadowd.judge.readable import NO_INTERVAL, beyond, change, interval, still_needed
from shadowd.judge.slowdown import LatencyJudge


def judge_talk(
    talk: TalkEvidence, endpoint: str, reference: str, margins: Margins,
    latency_alpha: Callable[[int], float] | float, field_alpha: Callable[[int], float], alpha_pass: float,
) -> list[Judgement]:  # fmt: skip
    found = LatencyJudge(talk.first_content).judge(
        "first_content", endpoint, reference, margins.max_slowdown, margins.latency_floor, latency_alpha, alpha_pass
    )
    tokens = _judge_tokens(talk, endpoint, margins, field_alpha(talk.order_tokens), alpha_pass)
    likeness = _judge_likeness(
        talk, endpoint, margins.max_similarity_loss, field_alpha(talk.order_likeness), alpha_pass
    )
    if likeness.result == "fail" and tokens.result == "fail":  # longer answers are less alike: one cause, told once
        likeness.result, likeness.critical = "inconclusive", False
        likeness.sentence += "; it follows from the longer answers"
    result = [*found, tokens, likeness]
    if talk.pace.count:
        more_or_less = "more time per output token", "less time per output token", "time per output token"
        alpha, margin = field_alpha(talk.order_pace), margins.max_token_time_increase
        result.append(_judge_ratio(talk.pace, endpoint, "time per token", more_or_less, margin, alpha, alpha_pass))
    if talk.cost.count:
        dearer = "higher cost", "lower cost", "cost"
        alpha, margin = field_alpha(talk.order_cost), margins.max_cost_increase
        cost = _judge_ratio(talk.cost, endpoint, "cost", dearer, margin, alpha, alpha_pass)
        if cost.result == "fail" and tokens.result == "fail" and cost.effect <= tokens.high:
            cost.result, cost.critical = "inconclusive", False
            cost.sentence += "; it follows from the longer answers"
        result.append(cost)
    return result


def _judge_tokens(talk: TalkEvidence, endpoint: str, margins: Margins, alpha: float, alpha_pass: float) -> Judgement:
    words, margin = ("more output tokens", "fewer output tokens", "output tokens"), margins.max_token_increase
    return _judge_ratio(talk.tokens, endpoint, "output tokens", words, margin, alpha, alpha_pass)


def _judge_likeness(talk: TalkEvidence, endpoint: str, margin: float, alpha: float, alpha_pass: float) -> Judgement:
    counts = [(max(-1.0, min(1.0, step / STEPS)), float(count)) for step, count in sorted(talk.likeness.items())]
    total = int(sum(count for _, count in counts))
    effect = sum(value * count for value, count in counts) / total if total else 0.0
    log_e = log_e_above(counts, margin, -1.0, 1.0)
    result: Result = "inconclusive"
    needed = None
    if log_e >= -math.log(alpha):
        result = "fail"
    elif log_e_below(counts, margin, -1.0, 1.0) >= -math.log(alpha_pass):
        result = "pass"
    elif total:
        needed = samples_needed(counts, margin, -1.0, 1.0, alpha_pass, alpha)
    points = f"{abs(effect) * 100:.1f} of 100 points"
    if not total:
        sentence = f"{endpoint}: the text is not judged without a baseline that answers the same prompts"
    elif result == "fail":
        sentence = f"{endpoint}: the text is less like production's than a second asking is, by {points}"
    elif result == "pass":
        way = "less" if effect > 0 else "more"
        sentence = f"{endpoint}: the text is as like production's as a second asking is ({points} {way} so)"
    else:
        way = "less" if effect > 0 else "more"
        so_far = f"the text is {points} {way} like production's than a second asking is, so far"
        sentence = f"{endpoint}: {so_far}; {still_needed(needed, 'conversations')}"
    return Judgement(
        judge="content", endpoint=endpoint, path="llm similarity", kind="value", result=result, effect=effect,
        low=lower_bound(counts, -1.0, 1.0, alpha), high=upper_bound(counts, -1.0, 1.0, alpha_pass), unit="share",
        margin=margin, samples=total, needed=needed, sentence=sentence, log_e=log_e,
    )  # fmt: skip


def _judge_ratio(
    evidence: LatencyEvidence, endpoint: str, what: str, words: tuple[str, str, str], margin: float, alpha: float,
    alpha_pass: float,
) -> Judgement:  # fmt: skip
    """Of the paired ratio's median; ``words`` are for more and for less of it, and its name."""
    result, effect, low, high, log_e = LatencyJudge(evidence).median(margin, alpha, alpha_pass)
    size = change(effect, *words)
    if not evidence.count:
        sentence = f"{endpoint}: no pair of answers tells its {words[2]} yet"
    elif result == "fail":
        sentence = f"{endpoint}: {size} at the median (margin {beyond(margin)})"
    elif result == "pass":
        sentence = f"{endpoint}: {size}; more than {beyond(max(0.0, high))} would have been noticed"
    elif interval(low, high) == NO_INTERVAL:
        sentence = f"{endpoint}: too few pairs of answers tell their {words[2]} yet ({evidence.count:,})"
    else:
        known = f"{interval(low, high)}, margin {beyond(margin)}"
        sentence = f"{endpoint}: {size}, of {evidence.count:,} pairs ({known})"
    return Judgement(
        judge="content", endpoint=endpoint, path=f"llm {what}", kind="length", result=result, effect=effect, low=low,
        high=high, unit="ratio", margin=margin, samples=evidence.count, sentence=sentence, log_e=log_e,
    )  # fmt: skip
