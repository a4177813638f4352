"""Streamed answers, judged: the first event, and the gaps between events (sans-IO)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shadowd.evidence.streams import StreamEvidence
from shadowd.judge.judgement import Judgement
from shadowd.judge.slowdown import LatencyJudge

#: Timed answers of an endpoint from which on its streams are judged apart: below nothing can be decided.
STREAMS_LEAST = 100


def judge_streams(
    streams: StreamEvidence, endpoint: str, reference: str, margins: Sequence[float], floor: int,
    field_alpha: Callable[[int], float],
    alpha_pass: float,
) -> list[Judgement]:  # fmt: skip
    """Of the first event and of the gaps, where there are enough."""
    found: list[Judgement] = []
    points = (("first_event", streams.first_event), ("between_events", streams.gap))
    for (point, evidence), order in zip(points, streams.order, strict=False):
        if evidence.count >= STREAMS_LEAST:
            alpha = field_alpha(order)
            found += LatencyJudge(evidence).judge(point, endpoint, reference, margins, floor, alpha, alpha_pass, False)
    return found
