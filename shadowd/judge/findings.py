"""One cause, one finding (sans-IO).

A slow endpoint is slow at its first and last byte, at the median, at p90 and p99, and may make the whole slow; a header
that is lost is lost at forty endpoints. People want one line that names the worst place and how many more there are;
the rest stands among the judges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from shadowd.judge.judgement import Judgement

#: Lines of reasons: what fits a terminal beside the rest, and what somebody reads.
MOST_REASONS = 6
#: Endpoints named with a finding, beside the worst.
NAMED = 5
_POINT = re.compile(r"\A(?:first_byte|last_byte|first_content|first_event) p\d+\Z")
_QUANTILE = re.compile(r" p\d+\Z")
#: What a call of gRPC that fails has otherwise: its status where no message was, and no message.
_FAILED_CALL = re.compile(r"\A(?:(?:header|trailer) grpc-(?:status|message|accept-encoding)|body \$?)\Z")
_ORDER = ("errors", "content", "capacity", "latency", "slow", "memory", "restarts", "cpu")


class Finding:
    """A cause: the judgement that tells it best, and the others that come of it."""

    __slots__ = ("others", "worst")

    def __init__(self, worst: Judgement, others: Sequence[Judgement]) -> None:
        self.worst = worst
        self.others = list(others)

    @property
    def endpoints(self) -> list[str]:
        """Other endpoints where it shows, the worst first."""
        found = sorted(self.others, key=_harm)
        return list(dict.fromkeys(one.endpoint for one in found if one.endpoint not in ("", self.worst.endpoint)))

    @property
    def sentence(self) -> str:
        """The worst place's, and how many more."""
        more = self.endpoints
        if not more:
            return self.worst.sentence
        if not self.worst.endpoint:
            return f"{self.worst.sentence}; worst at {more[0]}" + (f" and {len(more) - 1} more" if more[1:] else "")
        return f"{self.worst.sentence}; and at {len(more)} more endpoint{'s' if more[1:] else ''}: {_named(more)}"

    def view(self) -> dict[str, Any]:
        """The worst judgement's, with ``also``: the other endpoints, and ``more``: the judgements left out."""
        return {
            **self.worst.view(),
            "sentence": self.sentence,
            "also": self.endpoints[:NAMED],
            "more": len(self.others),
        }


def findings_of(judgements: Sequence[Judgement], whole: str = "") -> list[Finding]:
    """What failed, by cause, the most harmful first. ``whole``: an endpoint that stands for several."""
    causes: dict[tuple[str, str, str], list[Judgement]] = {}
    for one in judgements:
        if one.result == "fail" and (one.judge != "content" or one.path):  # all of the content fails by its fields
            causes.setdefault(_cause(one), []).append(one)
    failures = [one for same in causes.values() for one in same if one.judge == "errors"]
    known = {one.endpoint for one in failures}
    consequences: list[Judgement] = []
    for cause, same in list(causes.items()):
        causes[cause] = [one for one in same if not failures or not _of_failures(one, known)]
        consequences += [one for one in same if one not in causes[cause]]
    found = []
    for same in filter(None, causes.values()):
        worst = _worst(same, whole)
        others = [one for one in same if one is not worst]
        found.append(Finding(worst, others + consequences if worst.judge == "errors" else others))
    return sorted(found, key=lambda one: (not one.worst.critical, _ORDER.index(one.worst.judge), _harm(one.worst)))


def reasons_of(findings: Sequence[Finding]) -> list[str]:
    """Sentences of the critical ones, at most MOST_REASONS; the last then says how many more there are."""
    told = [one.sentence for one in findings if one.worst.critical]
    return limited(told)


def limited(told: list[str]) -> list[str]:
    """Each once, and no more than MOST_REASONS."""
    told = list(dict.fromkeys(told))
    if len(told) <= MOST_REASONS:
        return told
    return [*told[: MOST_REASONS - 1], f"and {len(told) - MOST_REASONS + 1} more, among the judges"]


def _cause(one: Judgement) -> tuple[str, str, str]:
    """Judgements with the same are of one cause."""
    if one.judge == "slow" or (one.judge == "latency" and _POINT.match(one.path)):
        return "latency", "", ""
    if one.judge in ("latency", "content"):
        return one.judge, _QUANTILE.sub("", one.path), ""
    return one.judge, "", ""


def _of_failures(one: Judgement, failing: set[str]) -> bool:
    """Whether a difference is but how an exchange looks that failed, and its endpoint's failures are told anyway."""
    if one.judge != "content":
        return False
    if one.path == "status failing":
        return True
    return one.endpoint in failing and (one.path == "status" or bool(_FAILED_CALL.match(one.path)))


def _worst(same: Sequence[Judgement], whole: str) -> Judgement:
    """All together if most of the traffic has it, else the endpoint that has it most; of a point its median first."""
    general = [one for one in same if one.endpoint in ("", whole)]
    apart = [one for one in same if one.endpoint not in ("", whole)]
    if general and (not apart or len({one.endpoint for one in apart}) > 2 or any(one.endpoint for one in general)):
        return min(general, key=_harm)
    return min(apart or general, key=_harm)


def _harm(one: Judgement) -> tuple[bool, bool, float, float]:
    """Sorts by: a field of its own before a point's tail, then by how far beyond the margin."""
    tail = one.judge == "slow" or not (one.path.endswith(" p50") or not _QUANTILE.search(one.path))
    last = one.path.startswith("last_byte")
    return tail, last, -one.effect / (one.margin or 1.0), -one.log_e


def _named(endpoints: Sequence[str]) -> str:
    text = ", ".join(endpoints[:NAMED])
    return f"{text} …" if len(endpoints) > NAMED else text
