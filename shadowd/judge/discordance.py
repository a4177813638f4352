"""Judges that only count: failures, differing fields, refusals (sans-IO).

Every production request is its own control, so a sample is a pair and its value says which side was worse: +1 the
candidate, −1 the reference, 0 neither. Only discordant pairs carry information (McNemar 1947); here they are bets on
the mean of that value, which may be looked at after every exchange (``betting.py``). The margin is an increase that
nobody minds: with no discordant pair a pass at 0.1 % takes some 5,300 exchanges, with 0.5 % discordance some 46,000.
"""

from __future__ import annotations

import math

from shadowd.judge.betting import Counts, log_e_above, log_e_below, lower_bound, samples_needed, upper_bound
from shadowd.judge.courses import Course
from shadowd.judge.judgement import Judgement, Result, more, percent, span

_PLACES = {"status": "the status", "turn": "the answer", "llm": "the model's"}
_KINDS = {
    "value": "has another value",
    "type": "has another type",
    "missing": "is missing",
    "extra": "is additional",
    "length": "has another length",
    "order": "is in another order",
    "malformed": "is malformed",
    "media_type": "has another media type",
    "encoding": "is encoded otherwise",
    "digest": "has other content",
}

#: Share of a baseline's own failures that is no weather any more.
BROKEN = 0.05


class _Evidence:
    """Counts against a margin, at the two levels of ``judgement.py``, and over stretches where a course is given."""

    __slots__ = ("counts", "effect", "high", "log_e", "low", "needed", "result", "total", "why")

    def __init__(
        self,
        counts: Counts,
        lowest: float,
        margin: float,
        alpha_fail: float,
        alpha_pass: float,
        may_fail: bool = True,
        course: Course | None = None,
    ) -> None:
        self.log_e = log_e_above(counts, margin, lowest, 1.0)
        self.why = ""  # what the stretches say where the counts alone would have decided
        fails = may_fail and self.log_e >= -math.log(alpha_fail)
        if course is not None and may_fail:
            fails, self.why, late = course.fails(fails, margin, lowest, alpha_fail)
            counts = late or counts  # what is told is what failed
        self.counts = counts
        self.total = round(sum(count for _, count in counts))
        self.effect = sum(value * count for value, count in counts) / self.total if self.total else 0.0
        self.low = lower_bound(counts, lowest, 1.0, alpha_fail)
        self.high = upper_bound(counts, lowest, 1.0, alpha_pass)
        self.needed: int | None = None
        self.result: Result = "inconclusive"
        passes = not fails and log_e_below(counts, margin, lowest, 1.0) >= -math.log(alpha_pass)
        if course is not None and passes:
            passes, self.why = course.passes(margin, alpha_pass)
        if fails:
            self.result = "fail"
        elif passes:
            self.result = "pass"
        elif may_fail or self.effect <= margin:
            self.needed = samples_needed(counts, margin, lowest, 1.0, alpha_pass, alpha_fail)

    def ending(self, what: str = "exchanges") -> str:
        """What an inconclusive sentence ends with."""
        return self.why or more(self.needed, what)


def judge_errors(
    worse: int,
    better: int,
    total: int,
    margin: float = 0.001,
    alpha_fail: float = 0.01,
    alpha_pass: float = 0.05,
    baseline_failing: float = 0.0,
    required: bool = True,
    endpoint: str = "",
    course: Course | None = None,
    refused: bool = False,
) -> Judgement:
    """Failures that the other side of the pair did not have: ``worse`` the candidate's, ``better`` the reference's.

    ``baseline_failing`` is the share of failures of the baseline that production did not have: above ``BROKEN`` nothing
    can be said of the candidate, because production's own version does not bear the replay either.
    ``refused``: it is refusals (4xx) that are counted, not failures.
    """
    evidence = _Evidence(_pairs(worse, better, total), -1.0, margin, alpha_fail, alpha_pass, course=course)
    result, needed = evidence.result, evidence.needed
    fail = "are refused (4xx)" if refused else "fail"
    bounds = f"interval {span(evidence.low, evidence.high)}, margin {percent(margin)}"
    if not total:
        sentence = f"no exchange was compared yet; {more(needed)}"
    elif baseline_failing > max(margin, BROKEN):
        result, needed = "inconclusive", None
        sentence = (
            f"the baseline itself fails {percent(baseline_failing)} of requests that production answered, "
            "so failures of the candidate cannot be held against it"
        )
    elif result == "fail":
        many = evidence.total
        sentence = f"{percent(evidence.effect)} more of {many:,} exchanges {fail} than before ({bounds}){evidence.why}"
    elif result == "pass":
        sentence = (
            f"{worse:,} of {total:,} exchanges {fail} that did not before, {better:,} the other way round; "
            f"an increase beyond {percent(max(0.0, evidence.high))} would have been noticed"
        )
    else:
        sentence = f"{worse:,} of {total:,} exchanges {fail} that did not before ({bounds}); {evidence.ending()}"
    if endpoint:
        sentence = f"{endpoint}: {sentence}"
    path = "refused" if refused else ""
    return _judgement("errors", evidence, result, needed, margin, sentence, required, endpoint=endpoint, path=path)


def judge_slow(
    course: Course, worse: int, better: int, total: int, margin: float, alpha_fail: float, alpha_pass: float
) -> Judgement:
    """First bytes that take more than twice the reference's p99: what 1 % of answers that hang look like."""
    evidence = _Evidence(_pairs(worse, better, total), -1.0, margin, alpha_fail, alpha_pass, course=course)
    bounds = f"interval {span(evidence.low, evidence.high)}, margin {percent(margin)}"
    slow = "more than twice as slow as the reference's slowest 1 %"
    if not total:
        sentence = f"no answer was timed yet; {more(evidence.needed)}"
    elif evidence.result == "fail":
        sentence = f"{percent(evidence.effect)} more of {evidence.total:,} answers are {slow} ({bounds}){evidence.why}"
    elif evidence.result == "pass":
        sentence = (
            f"{worse:,} of {total:,} answers are {slow}, {better:,} the other way round; "
            f"an increase beyond {percent(max(0.0, evidence.high))} would have been noticed"
        )
    else:
        sentence = f"{worse:,} of {total:,} answers are {slow} ({bounds}); {evidence.ending()}"
    return _judgement("slow", evidence, evidence.result, evidence.needed, margin, sentence, total > 0)


def judge_field(
    endpoint: str,
    where: str,
    path: str,
    kind: str,
    positive: float,
    negative: float,
    total: int,
    *,
    values: tuple[float, float] = (1.0, -1.0),
    margin: float = 0.001,
    alpha: float = 0.005,
    alpha_pass: float = 0.05,
    course: Course | None = None,
) -> Judgement:
    """A field of an endpoint's answers that differs: ``positive`` samples speak against the candidate, of ``total``.

    ``values`` are those of a positive and a negative sample: (1, −1) against a baseline; (1, −0.5) for twin triples,
    where "production is the odd one out" happens one time in three when all three are alike, and "a twin is" two.
    """
    above, below = values
    counts = ((above, positive), (below, negative), (0.0, max(0.0, total - positive - negative)))
    evidence = _Evidence(counts, min(below, 0.0), margin, alpha, alpha_pass, course=course)
    name = " ".join(part for part in (_PLACES.get(where, where), path) if part)
    subject = f"{endpoint}: {name} {_KINDS.get(kind, kind)}"
    bounds = f"interval {span(max(evidence.low, -1.0), evidence.high)}, margin {percent(margin)}"
    if evidence.result == "fail":
        sentence = f"{subject} in {percent(evidence.effect)} of {evidence.total:,} exchanges beyond noise ({bounds})"
        sentence += evidence.why
    elif evidence.result == "pass":
        noticed = percent(max(0.0, evidence.high))
        sentence = f"{subject} no more often than noise; beyond {noticed} would have been noticed"
    else:
        sentence = f"{subject} in {positive:,.0f} of {total:,} exchanges ({bounds}); {evidence.ending()}"
    judged_path = f"{where} {path}".strip()
    return _judgement(
        "content", evidence, evidence.result, evidence.needed, margin, sentence, False, endpoint, judged_path, kind
    )


def judge_content(
    differing: int, total: int, margin: float = 0.001, alpha: float = 0.05, required: bool = True, failing: int = 0,
    noise: int = 0,
) -> Judgement:  # fmt: skip
    """All endpoints together: exchanges with a difference in any field that is not known to be noise, ``failing`` of
    them in fields that fail by themselves; ``noise``: those that differ in noise alone.

    By itself it passes or stays inconclusive: it is the fields that fail, because a failure has to be named.
    """
    counts = ((1.0, differing), (0.0, total - differing))
    evidence = _Evidence(counts, 0.0, margin, alpha, alpha, may_fail=False)
    result, needed = evidence.result, evidence.needed
    apart = f" ({noise:,} more in noise alone)" if noise else ""
    if not total:
        sentence = f"no answer was compared yet; {more(needed)}"
    elif evidence.result == "pass":
        sentence = (
            f"{differing:,} of {total:,} compared answers differ beyond noise{apart}; "
            f"more than {percent(evidence.high)} would have been noticed"
        )
    elif failing:
        result, needed = ("fail" if evidence.low > margin else "inconclusive"), None
        sentence = (
            f"{differing:,} of {total:,} compared answers differ beyond noise{apart}, {failing:,} of them in fields "
            f"that fail by themselves ({percent(evidence.effect)}, margin {percent(margin)})"
        )
    elif evidence.effect > margin:
        sentence = (
            f"{differing:,} of {total:,} compared answers differ in fields that are not known to be noise "
            f"({percent(evidence.effect)}, margin {percent(margin)}), and no single field is certain yet: look at them "
            "(shadowctl diffs NAME); shadowctl noise add NAME tells what is meant, a longer run or a baseline the rest"
        )
    else:
        sentence = (
            f"{differing:,} of {total:,} compared answers differ in fields that are not known to be noise "
            f"(at most {percent(evidence.high)}, margin {percent(margin)}); {more(needed)}"
        )
    return _judgement("content", evidence, result, needed, margin, sentence, required)


def judge_capacity(
    refused: int,
    total: int,
    margin: float = 0.001,
    alpha: float = 0.005,
    alpha_pass: float = 0.05,
    required: bool = True,
    kept: int = 0,
    course: Course | None = None,
) -> Judgement:
    """Requests that were not sent because the shadow lagged: ``refused``, and those its reference could not take and it
    could (``kept``)."""
    counts = ((1.0, refused), (-1.0, kept), (0.0, total - refused - kept))
    evidence = _Evidence(counts, -1.0 if kept else 0.0, margin, alpha, alpha_pass, course=course)
    bounds = f"interval {span(max(evidence.low, 0.0), evidence.high)}, margin {percent(margin)}"
    if not total:
        sentence = f"nothing was sent yet; {more(evidence.needed, 'requests')}"
    elif evidence.result == "fail":
        sentence = (
            f"the shadow could not keep up with {percent(evidence.effect)} of {total:,} requests ({bounds})"
            f"{evidence.why}"
        )
    elif evidence.result == "pass":
        sentence = (
            f"the shadow kept up with {total - refused:,} of {total:,} requests; "
            f"falling behind on more than {percent(max(0.0, evidence.high))} would have been noticed"
        )
    else:
        sentence = (
            f"the shadow could not keep up with {refused:,} of {total:,} requests ({bounds}); "
            f"{evidence.ending('requests')}"
        )
    return _judgement("capacity", evidence, evidence.result, evidence.needed, margin, sentence, required)


def _pairs(worse: int, better: int, total: int) -> Counts:
    return ((1.0, worse), (-1.0, better), (0.0, total - worse - better))


def _judgement(
    judge: str,
    evidence: _Evidence,
    result: Result,
    needed: int | None,
    margin: float,
    sentence: str,
    required: bool,
    endpoint: str = "",
    path: str = "",
    kind: str = "",
) -> Judgement:
    return Judgement(
        judge=judge,
        endpoint=endpoint,
        path=path,
        kind=kind,
        result=result,
        effect=evidence.effect,
        low=evidence.low,
        high=evidence.high,
        unit="share",
        margin=margin,
        samples=evidence.total,
        needed=needed,
        sentence=sentence,
        required=required,
        log_e=evidence.log_e,
    )
