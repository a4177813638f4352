"""Generative AI on the metrics page, by OpenTelemetry's names with ``shadowd_`` before them: without it they are what
the services say of themselves. A switch leaves them out, as the conventions are in flux."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import HistogramMetricFamily, Metric

from shadowd.evidence.genai import Histogram
from shadowd.runs.run import Run

GENAI = "shadowd_gen_ai"
_COMMON = ["filter", "target", "side", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"]
_OPERATION = "chat"  # all interfaces that are recognised are of this operation


def genai_families(runs: Iterable[Run]) -> Iterator[Metric]:
    """Of the runs' conversations."""
    duration = HistogramMetricFamily(
        f"{GENAI}_client_operation_duration_seconds",
        "Duration of an operation, from the request to the last byte of its answer.",
        labels=[*_COMMON, "gen_ai_response_finish_reasons"],
    )
    first_chunk = HistogramMetricFamily(
        f"{GENAI}_client_operation_time_to_first_chunk_seconds",
        "Time to the first byte of a streamed answer.",
        labels=_COMMON,
    )
    first_token = HistogramMetricFamily(
        f"{GENAI}_server_time_to_first_token_seconds",
        "Time to the first text, refusal or argument of an answer.",
        labels=_COMMON,
    )
    usage = HistogramMetricFamily(
        f"{GENAI}_client_token_usage_tokens",
        "Tokens of an operation, as the answer tells them.",
        labels=[*_COMMON, "gen_ai_token_type"],
    )
    for run in runs:
        for (side, provider, model), found in sorted(run.examiner.conversations.measures.series.items()):
            labels = [run.entry.spec.name, run.target.url, side, _OPERATION, provider, model]
            for reason, histogram in sorted(found.durations.items()):
                _add(duration, [*labels, reason], histogram)
            _add(first_chunk, labels, found.first_chunk)
            _add(first_token, labels, found.first_token)
            _add(usage, [*labels, "input"], found.input_tokens)
            _add(usage, [*labels, "output"], found.output_tokens)
    yield from (duration, first_chunk, first_token, usage)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    buckets, running = [], 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        running += count
        buckets.append((bound, float(running)))
    if running:
        family.add_metric(labels, buckets, histogram.total)
