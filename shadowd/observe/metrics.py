"""The metrics page: what the ledger, the kernel's counters, the pump, the guard and the verdict say, for Prometheus.

Everything is read when the page is asked for, from the places that keep it anyway; nothing is counted twice. Numbers
are gathered on the trio thread, the text is made in another. Names follow Prometheus's rules (base units, ``_total``)
and begin with ``shadowd_``: OpenTelemetry's own are the services' to give. (``process_`` is every exporter's, of
itself.)

Cardinality is bounded by what the operator configured: 64 filters with 16 targets each, reasons and judges that are
enumerated. Endpoints and fields are in the report, not here.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import trio
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from shadowd import __version__
from shadowd.evidence.latency import LatencySketch
from shadowd.observe.genai_metrics import GENAI, genai_families
from shadowd.redact.quoting import visible
from shadowd.replay.target import Target
from shadowd.runs.run import Run
from shadowd.service.standing import Standing
from shadowd.worker.entry import Entry

#: Seconds; of OpenTelemetry's semantic conventions for HTTP metrics (http.server.request.duration).
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
STATES = ("pass", "fail", "inconclusive")
#: A verdict so old (s) is good enough for a page that is read every 15 or 30 s.
FRESH = 10.0
LABEL = 200  # characters of a label
_RANK = {"fail": 0, "inconclusive": 1, "pass": 2}


class _Gathered(Collector):
    """Families that were gathered before."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Metrics:
    """``page`` answers ``GET /metrics``."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page in the text format that ``accept`` (an HTTP header) prefers, and its media type."""
        runs = list(self._standing.runs.current.values())
        for run in runs:
            await self._standing.runs.assess(run, FRESH)
        families = [*self._daemon(), *self._requests(), *self._latency(), *self._kernel(), *_verdicts(runs)]
        if self._standing.config.genai_metrics:
            families += genai_families(runs)
        for family in families:
            _clean(family, self._standing.runs.redacted)
        return await trio.to_thread.run_sync(_render, families, accept)

    def _entries(self) -> list[Entry]:
        return list(self._standing.roster.entries.values())

    def _targets(self) -> Iterator[tuple[list[str], Target]]:
        for entry in self._entries():
            for target in entry.filter.targets:
                yield [entry.spec.name, target.url, target.role], target

    def _daemon(self) -> Iterator[Metric]:
        standing = self._standing
        crew, programs, guard = standing.crew.statistics(), standing.programs, standing.guard
        build = GaugeMetricFamily(
            "shadowd_build_info", "Always 1; what runs.", labels=["version", "python", "kernel", "netns"]
        )
        build.add_metric([__version__, platform.python_version(), os.uname().release, programs.netns], 1)
        yield build
        gauges = (
            ("shadowd_problems", "Lines that shadowctl status shows as problems.", len(standing.problem_lines())),
            ("shadowd_flows", "Production connections that are followed.", crew.flows),
            ("shadowd_ring_bytes", "Size of the kernel's ring.", programs.ring.size),
            ("shadowd_ring_used_bytes", "Bytes of the ring that wait to be read.", crew.backlog),
            ("shadowd_pump_lag_seconds", "Age of the oldest segment that waits in the ring.", crew.lag / 1e9),
            ("shadowd_buffered_bytes", "Bytes in all buffers, the ring apart.", crew.used),
            ("shadowd_buffered_limit_bytes", "What memory_max leaves to buffers.", crew.limit),
            ("shadowd_pressure_shed_ratio", "Share of connections that the guard sheds.", guard.controller.shed),
            ("shadowd_pressure_holding", "1 while the guard lets nothing be copied.", int(guard.controller.holding)),
            ("shadowd_store_failing", "1 while nothing is stored.", int(bool(standing.runs.writer.problem))),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(name, text, value=value)
        yield CounterMetricFamily("shadowd_pump_turns", "Batches that the pump has worked off.", value=crew.turns)

    def _requests(self) -> Iterator[Metric]:
        """The ledger, term by term."""
        seen = CounterMetricFamily("shadowd_requests_seen", "Requests at the codec's exit.", labels=["filter"])
        balanced = GaugeMetricFamily("shadowd_ledger_balanced", "1: every request is accounted for.", labels=["filter"])
        filtered = CounterMetricFamily(
            "shadowd_requests_filtered", "Not to be mirrored: the operator's choice.", labels=["filter", "reason"]
        )
        lost = CounterMetricFamily("shadowd_requests_lost", "Not known whole.", labels=["filter", "reason"])
        for entry in self._entries():
            account, name = entry.filter.account, entry.spec.name
            seen.add_metric([name], account.seen)
            balanced.add_metric([name], int(account.balanced))
            for family, counts in ((filtered, account.filtered), (lost, account.lost)):
                for reason, count in sorted(counts.items()):
                    family.add_metric([name, reason], count)
        yield from (seen, balanced, filtered, lost)
        place = ["filter", "target", "role"]
        mirrored = CounterMetricFamily("shadowd_requests_mirrored", "Sent whole and answered whole.", labels=place)
        uncomparable = CounterMetricFamily(
            "shadowd_requests_uncomparable", "Of the mirrored: production's answer is not known whole.", labels=place
        )
        shed = CounterMetricFamily(
            "shadowd_requests_shed", "Our decision, to protect host or shadow.", labels=[*place, "reason"]
        )
        failed = CounterMetricFamily("shadowd_requests_failed", "The shadow's fault.", labels=[*place, "reason"])
        in_flight = GaugeMetricFamily("shadowd_requests_in_flight", "Seen and not ended.", labels=place)
        connections = GaugeMetricFamily("shadowd_target_connections", "Open connections.", labels=place)
        twins = CounterMetricFamily("shadowd_twins", "Second copies, to learn noise.", labels=[*place, "outcome"])
        for labels, target in self._targets():
            account_ = target.account
            mirrored.add_metric(labels, account_.mirrored)
            uncomparable.add_metric(labels, account_.uncomparable)
            in_flight.add_metric(labels, account_.in_flight)
            connections.add_metric(labels, target.connections)
            for family, counts in ((shed, account_.shed), (failed, account_.failed), (twins, account_.twins)):
                for reason, count in sorted(counts.items()):
                    family.add_metric([*labels, reason], count)
        yield from (mirrored, uncomparable, shed, failed, in_flight, connections, twins)

    def _latency(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "shadowd_time_to_first_byte_seconds",
            "Time to the first byte of the answer, by the kernel's clock, of the pairs that were timed.",
            labels=["filter", "target", "role", "side"],
        )
        for labels, target in self._targets():
            for side, sketch in (("production", target.production_latency), ("shadow", target.shadow_latency)):
                buckets, total = histogram(sketch)
                family.add_metric([*labels, side], buckets, total)
        yield family

    def _kernel(self) -> Iterator[Metric]:
        counters = self._standing.programs.counters()
        pressure = self._standing.crew.switch.held(counters["dead"])
        counters |= {"pressure": pressure, "dead": counters["dead"] - pressure}
        events = CounterMetricFamily("shadowd_kernel_events", "Counters of the capture program.", labels=["event"])
        lengths = CounterMetricFamily("shadowd_kernel_bytes", "Payload that matched, and what was lost of it.",
                                      labels=["kind"])  # fmt: skip
        for name, count in sorted(counters.items()):
            if name == "bytes":
                lengths.add_metric(["matched"], count)
            elif name.endswith("_bytes"):
                lengths.add_metric([name.removesuffix("_bytes")], count)
            else:
                events.add_metric([name], count)
        yield from (events, lengths)


def histogram(sketch: LatencySketch) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts at BUCKETS and the sum in seconds. A bucket of the sketch (1.6 % wide) that straddles a bound
    counts above it; its middle stands for its durations in the sum."""
    counts = [0] * (len(BUCKETS) + 1)
    total = 0.0
    for low, high, count in sketch.buckets():
        total += (low + high) / 2e9 * count
        place = next((index for index, bound in enumerate(BUCKETS) if (high - 1) / 1e9 <= bound), len(BUCKETS))
        counts[place] += count
    result, running = [], 0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
        running += count
        result.append((bound, float(running)))
    return result, total


def _verdicts(runs: list[Run]) -> Iterator[Metric]:
    place = ["filter", "target", "label"]
    score = GaugeMetricFamily("shadowd_verdict_score", "0 to 100.", labels=place)
    state = GaugeMetricFamily("shadowd_verdict_state", "1 for the state it is in.", labels=[*place, "state"])
    judge = GaugeMetricFamily(
        "shadowd_judge_state", "1 for the state it is in: its worst judgement.", labels=[*place, "judge", "state"]
    )
    compared = GaugeMetricFamily("shadowd_run_compared", "Exchanges that the run compared.", labels=place)
    coverage = GaugeMetricFamily("shadowd_run_coverage_ratio", "Share of those to compare.", labels=place)
    for run in runs:
        if run.assessment is None:
            continue
        view: dict[str, Any] = run.assessment.verdict
        labels = [run.entry.spec.name, run.target.url, run.label]
        score.add_metric(labels, view["score"] or 0)
        compared.add_metric(labels, view["compared"])
        if view["coverage"] is not None:
            coverage.add_metric(labels, view["coverage"])
        for one in STATES:
            state.add_metric([*labels, one], int(view["verdict"] == one))
        worst: dict[str, str] = {}
        for found in view["judges"]:
            before = worst.get(found["judge"], "pass")
            worst[found["judge"]] = min(before, found["result"], key=lambda result: _RANK[result])
        for name, result in sorted(worst.items()):
            for one in STATES:
                judge.add_metric([*labels, name, one], int(result == one))
    yield from (score, state, judge, compared, coverage)


def _clean(family: Metric, redacted: Callable[[str], str]) -> None:
    """No control byte and no secret in a label: names of models come from traffic."""
    traffic = family.name.startswith(GENAI)
    for sample in family.samples:
        for name, value in sample.labels.items():
            if traffic or not (value.isascii() and value.isprintable()):
                sample.labels[name] = visible(redacted(value), LABEL)


def _render(families: list[Metric], accept: str) -> tuple[bytes, str]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(families))
    ProcessCollector(registry=registry)
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type
