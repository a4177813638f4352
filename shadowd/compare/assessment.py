"""What the evidence of a run says: judgements, the verdict, and the lists that people read (sans-IO).

Working it out takes milliseconds for hundreds of endpoints, and the daemon has other things to do: ``Assessment`` does
it in steps, one endpoint each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shadowd.compare.discordance import judge_capacity, judge_content, judge_errors, judge_field
from shadowd.compare.evidence import OVERFLOW, Endpoint, Field, Group
from shadowd.compare.examiner import ALL_PROMPTS, Examiner
from shadowd.compare.judgement import Judgement, percent
from shadowd.compare.llm import WHERE as LLM
from shadowd.compare.rules import EXPECTED, NOISE
from shadowd.compare.verdict import (
    ALPHA,
    capacity_alpha,
    decide,
    errors_alpha,
    field_alpha,
    latency_alpha,
    weight,
)

#: A field is called noisy when it differed so often between answers of the same version, and in a larger share than
#: the margin: fewer could be chance, and one that differs less often can still be certified.
NOISY_TIMES = 3
#: Share of the looks from which on a place counts as volatile everywhere: ids and times differ always or nearly.
VOLATILE = 0.5
#: What a model that samples does otherwise by itself: judged by a margin of their own.
_OTHERWISE = {(LLM, "refusal"), (LLM, "tool calls"), (LLM, "finish reason")}
#: Entries of a list in a verdict: what a page shows; all of them are in the report.
LISTED = 50
#: An endpoint's latency is judged apart from that many timed exchanges on: below nothing can be decided.
TIMED_LEAST = 100
LIMITS = {
    "baseline": (
        "Deterministic and random faults are both seen, field by field, because production's version answered the same"
        " requests at the same moment."
    ),
    "twin": (
        "Noise was learned by asking the candidate twice: a fault that strikes the candidate at random looks like noise"
        " to this mode. A --baseline target would see it."
    ),
    "none": (
        "No noise was learned (twin is 0 and there is no baseline): differing fields can be listed, not judged."
    ),
}  # fmt: skip
NO_BASELINE = (
    "Latency is held against production, which answers first and warms shared caches for the candidate; and if both run"
    " on one host, each slows the other."
)


class Assessment:
    """Of one examiner at one moment. ``eligible``: requests seen and not filtered during the run; ``resources``:
    judgements from elsewhere (memory, CPU, restarts)."""

    def __init__(self, examiner: Examiner, eligible: int, seconds: float, resources: Sequence[Judgement] = ()) -> None:
        self._examiner = examiner
        self._eligible = eligible
        self._seconds = seconds
        self._resources = list(resources)
        self._judgements: list[Judgement] = []
        self._pooled: dict[tuple[str, str], tuple[int, int]] = {}  # noise of a place over all endpoints
        self._uncertain = 0  # differing answers in fields that are not known to be noise
        self.differences: list[dict[str, Any]] = []
        self.endpoints: list[dict[str, Any]] = []
        self.verdict: dict[str, Any] = {}

    def finish(self) -> dict[str, Any]:
        """All steps at once; the verdict."""
        for _ in self.steps():
            pass
        return self.verdict

    def steps(self) -> Iterator[None]:
        """Work, a few hundred µs between two yields; ``verdict`` and the lists are there at the end."""
        examiner = self._examiner
        margins = examiner.settings.margins
        reference = "baseline" if examiner.settings.baseline else "production"
        seen = examiner.compared + sum(examiner.shed.values())
        failing = examiner.baseline_failing / examiner.baselines if examiner.baselines else 0.0
        self._judgements.append(
            judge_errors(
                examiner.worse, examiner.better, examiner.compared, margins.max_error_increase,
                errors_alpha() / 2, ALPHA, failing,
            )
        )  # fmt: skip
        self._judgements.append(
            judge_capacity(examiner.refused, seen, margins.max_error_increase, capacity_alpha(), ALPHA)
        )
        yield  # numbers of one judgement are all read between two yields: traffic goes on meanwhile
        for point, evidence in (("first_byte", examiner.first_byte), ("last_byte", examiner.last_byte)):
            if not evidence.count and point == "last_byte" and ALL_PROMPTS in examiner.endpoints:
                continue  # when a generated answer ends follows from its length: a pass must not wait for this
            self._judgements += evidence.judge(
                point, "", reference, margins.max_slowdown, margins.latency_floor, latency_alpha(), ALPHA, True
            )
            yield
        for endpoint in examiner.endpoints.values():
            for place, field in endpoint.fields.items():
                noisy, looked = field.noise(endpoint)
                pooled = self._pooled.get(place, (0, 0))
                self._pooled[place] = (pooled[0] + noisy, pooled[1] + looked)
        for endpoint in list(examiner.endpoints.values()):
            self._judge_endpoint(endpoint, reference)
            yield
        total = sum(e.trials if examiner.settings.baseline else e.pairs for e in examiner.endpoints.values())
        self._judgements.append(judge_content(min(self._uncertain, total), total, margins.max_diff_share, ALPHA))
        self._judgements += self._resources
        self._decide()
        yield

    # --- one endpoint -------------------------------------------------------------------------------------------------

    def _judge_endpoint(self, endpoint: Endpoint, reference: str) -> None:
        margins = self._examiner.settings.margins
        if endpoint.worse:
            alpha = errors_alpha() / 2 * weight(endpoint.order)
            self._judgements.append(
                judge_errors(
                    endpoint.worse, endpoint.better, endpoint.total, margins.max_error_increase, alpha, ALPHA,
                    0.0, False, endpoint.name,
                )
            )  # fmt: skip
        for point, evidence in (("first_byte", endpoint.first_byte), ("last_byte", endpoint.last_byte)):
            if evidence.count >= TIMED_LEAST:
                self._judgements += evidence.judge(
                    point, endpoint.name, reference, margins.max_slowdown, margins.latency_floor,
                    latency_alpha(endpoint.order), ALPHA, False,
                )  # fmt: skip
        if endpoint.talk is not None:
            self._judgements += endpoint.talk.judge(
                endpoint.name, reference, margins, latency_alpha(endpoint.order), field_alpha, ALPHA
            )
        elif endpoint.stream is not None:
            self._judgements += endpoint.stream.judge(
                endpoint.name, reference, margins.max_slowdown, margins.latency_floor, field_alpha, ALPHA
            )
        for field in endpoint.fields.values():
            self._judge_field(endpoint, field)
        self.endpoints.append(
            {
                "endpoint": endpoint.name,
                "exchanges": endpoint.total,
                "worse": endpoint.worse,
                "better": endpoint.better,
                "differing": endpoint.differing,
                **_latencies(endpoint),
                **({"stream": endpoint.stream.view()} if endpoint.stream is not None else {}),
                **({"talk": endpoint.talk.view(endpoint.name == ALL_PROMPTS)} if endpoint.talk is not None else {}),
            }
        )

    def _judge_field(self, endpoint: Endpoint, field: Field) -> None:
        examiner = self._examiner
        margin = examiner.settings.margins.max_diff_share
        if (field.where, field.path) in _OTHERWISE:
            margin = max(margin, examiner.settings.margins.max_decision_increase)
        groups = sorted(field.groups.values(), key=lambda group: -group.count)
        kind = groups[0].kind if groups else "value"
        label = examiner.rules.label(endpoint.name, field.where, field.path, kind)
        noisy, looked = field.noise(endpoint)
        judged = None
        if not label and examiner.settings.mode != "none" and (field.where, field.path) != OVERFLOW:
            judged = judge_field(
                endpoint.name, field.where, field.path, kind, field.positive, field.negative,
                endpoint.trials - field.since_trials,
                values=(1.0, -1.0) if examiner.settings.baseline else (1.0, -0.5),
                margin=margin, alpha=field_alpha(field.order), alpha_pass=ALPHA,
            )  # fmt: skip
        if label == NOISE:
            shown = "noise"
        elif label == EXPECTED:
            shown = "expected"
        elif judged is not None and judged.result == "fail":
            shown = "regression"
            self._judgements.append(judged)
        elif noisy >= NOISY_TIMES and noisy > margin * looked:
            shown = "not judged"
        elif self._volatile_elsewhere(field, noisy, looked):
            shown = "not judged"
            noisy, looked = self._pooled[field.where, field.path]
        else:
            shown = "drift" if field.drifted and field.drifted >= field.differed - 1 else "undecided"
            if field.where != LLM or judged is None or judged.result != "pass":  # those pass by margins of their own
                self._uncertain += field.positive if examiner.settings.baseline else field.differed - field.drifted
            if judged is not None and field.differed > field.drifted:
                self._judgements.append(judged)
        for group in groups:
            self.differences.append(self._view(endpoint, field, group, shown, judged, noisy, looked))

    def _volatile_elsewhere(self, field: Field, noisy: int, looked: int) -> bool:
        """A request id is one at every endpoint: where few were asked twice, the others tell."""
        pooled, pooled_looks = self._pooled.get((field.where, field.path), (0, 0))
        here = noisy > 0 and noisy >= VOLATILE * looked
        return pooled >= NOISY_TIMES and (here or pooled >= VOLATILE * pooled_looks)

    def _view(
        self, endpoint: Endpoint, field: Field, group: Group, label: str, judged: Judgement | None, noisy: int,
        looked: int,
    ) -> dict[str, Any]:  # fmt: skip
        sentence = judged.sentence if judged is not None and label in ("regression", "undecided") else ""
        if label == "not judged":
            sentence = f"differs in {percent(noisy / looked)} of the looks at answers of one version"
            if field.repeats >= 10 * NOISY_TIMES and not field.repeats_differed:
                sentence += f", but in none of {field.repeats:,} repeated answers of production: look at it"
        return {
            "id": group.name,
            "endpoint": endpoint.name,
            "where": field.where,
            "path": field.path,
            "kind": group.kind,
            "count": group.count,
            "share": group.count / endpoint.pairs if endpoint.pairs else None,
            "noise_share": noisy / looked if looked else None,
            "label": label,
            "production": group.production,
            "candidate": group.candidate,
            "first": group.first,
            "last": group.last,
            "sentence": sentence,
        }

    # --- all together -------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        examiner = self._examiner
        coverage = min(1.0, examiner.compared / self._eligible) if self._eligible > 0 else 0.0
        drift = examiner.drifted / examiner.compared if examiner.compared else 0.0
        decided = decide(
            self._judgements, coverage, examiner.settings.margins, samples=examiner.compared, seconds=self._seconds,
            drift_share=drift, whole=ALL_PROMPTS,
        )  # fmt: skip
        missing = self._too_few()
        if decided.verdict == "pass" and missing:
            decided.verdict, decided.reasons, decided.score = "inconclusive", missing, min(decided.score, 99)
        ranks = {"regression": 0, "undecided": 1, "drift": 2, "not judged": 3, "expected": 4, "noise": 5}
        self.differences.sort(key=lambda found: (ranks[found["label"]], -found["count"], found["id"]))
        mode = examiner.settings.mode
        limits = [LIMITS[mode]] + ([] if examiner.settings.baseline else [NO_BASELINE])
        if examiner.late:
            limits.append(
                f"{examiner.late:,} exchanges left late through the daemon's own fault; their latency was not judged."
            )
        view = decided.view()
        self.verdict = {
            **view,
            "mode": mode,
            "compared": examiner.compared,
            "eligible": self._eligible,
            "seconds": round(self._seconds, 1),
            "findings": self._findings(),
            "not_judged": [
                {key: found[key] for key in ("endpoint", "where", "path", "kind", "sentence")}
                for found in self.differences
                if found["label"] == "not judged"
            ][:LISTED],
            "drift": {"exchanges": examiner.drifted, "share": drift},
            "expected": sum(found["count"] for found in self.differences if found["label"] == "expected"),
            "limits": limits,
            "ended": examiner.ended,
        }

    def _too_few(self) -> list[str]:
        """Critical endpoints that a pass still waits for."""
        examiner, least = self._examiner, max(1, self._examiner.settings.margins.min_samples)
        found = []
        for name in examiner.settings.critical_endpoints:
            endpoint = examiner.endpoints.get(name)
            total = endpoint.total if endpoint is not None else 0
            if total < least:
                found.append(f"{name}: {total:,} of at least {least:,} exchanges were compared")
        return found

    def _findings(self) -> list[dict[str, Any]]:
        """What failed, each cause once: of an endpoint's quantiles the first, and the whole only if no part says it."""
        failed = [found for found in self._judgements if found.result == "fail"]
        apart = {found.judge for found in failed if found.endpoint}
        told: set[tuple[str, str, str]] = set()
        findings = []
        for found in sorted(failed, key=lambda one: (not one.critical, one.judge != "errors", -one.log_e)):
            cause = found.path if found.judge == "content" else ""
            if (not found.endpoint and found.judge in apart) or (found.judge, found.endpoint, cause) in told:
                continue
            told.add((found.judge, found.endpoint, cause))
            findings.append({**found.view(), "signature": self._signature(found)})
        return findings

    def _signature(self, found: Judgement) -> dict[str, Any] | None:
        """The most frequent error that is new in the candidate, at the finding's endpoint."""
        if found.judge != "errors":
            return None
        known = [
            one
            for one in self._examiner.signatures.values()
            if one.count and not one.production_count and (not found.endpoint or found.endpoint in one.endpoints)
        ]
        if not known:
            return None
        most = max(known, key=lambda one: one.count)
        return {"fingerprint": most.signature.fingerprint, "title": most.signature.title, "count": most.count}


def signatures(examiner: Examiner) -> list[dict[str, Any]]:
    """All error signatures of a run, new in the candidate first."""
    found = [
        {
            "fingerprint": one.signature.fingerprint,
            "kind": one.signature.kind,
            "title": one.signature.title,
            "new": one.count > 0 and not one.production_count,
            "count": one.count,
            "production_count": one.production_count,
            "endpoints": list(one.endpoints),
            "example": one.example,
            "first": one.first,
            "last": one.last,
        }
        for one in examiner.signatures.values()
    ]
    return sorted(found, key=lambda one: (not one["new"], -int(str(one["count"]))))


def _latencies(endpoint: Endpoint) -> dict[str, float | None]:
    return {
        f"{side}_{name}_ms": None if value is None else round(value / 1e6, 3)
        for side, sketch in (
            ("production", endpoint.first_byte.reference),
            ("candidate", endpoint.first_byte.candidate),
        )
        for name, q in (("p50", 0.5), ("p99", 0.99))
        for value in (sketch.quantile(q),)
    }
