"""What the evidence of a run says: judgements, the verdict, and the lists that people read (sans-IO).

Working it out takes milliseconds for hundreds of endpoints, and the daemon has other things to do: ``Assessment`` does
it in steps, one endpoint each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shadowd.evidence.conversing import ALL_PROMPTS
from shadowd.evidence.evidence import Endpoint
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.outcome import STATUS_FAILING
from shadowd.evidence.stretches import STRETCHES, Tally, Values
from shadowd.judge.courses import Course
from shadowd.judge.discordance import judge_capacity, judge_content, judge_errors, judge_slow
from shadowd.judge.fieldwork import FieldJudge
from shadowd.judge.findings import findings_of, limited, reasons_of
from shadowd.judge.judgement import Judgement, percent
from shadowd.judge.outages import judge_outages
from shadowd.judge.slowdown import LatencyJudge
from shadowd.judge.streams import judge_streams
from shadowd.judge.talking import judge_talk
from shadowd.judge.thresholds import thresholds
from shadowd.judge.verdict import (
    ALPHA,
    capacity_alpha,
    decide,
    errors_alpha,
    field_alpha,
    latency_alpha,
    slow_alpha,
    weight,
)

#: Entries of a list in a verdict: what a page shows; all of them are in the report.
LISTED = 50
#: An endpoint's latency is judged apart from that many timed exchanges on: below nothing can be decided.
TIMED_LEAST = 100
#: Shares of the requests beyond which the daemon's own lateness leaves nothing to say of the candidate's pace: those it
#: could not send in time, and those it sent late.
OWN_LAG, OWN_LATE = 0.01, 0.05
ONE_STOP = 2  # stretches of sixteen that a stop of the daemon may fall into
TOO_BUSY = "this host is too busy to judge latency"
LIMITS = {
    "baseline": (
        "Deterministic and random faults are both seen, field by field, because production's version answered the same"
        " requests at the same moment."
    ),
    "twin": (
        "Noise was learned by asking the candidate twice: a fault that strikes the candidate at random looks like noise"
        " to this mode. A baseline would see it: shadowctl filter set NAME --baseline URL."
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
        self._compared = examiner.compared  # traffic goes on between the steps: what differs is of these at least
        self._seconds = seconds
        self._resources = list(resources)
        self._judgements: list[Judgement] = []
        self._fields = FieldJudge(examiner)
        self._wandered = 0.0  # how far the pace of all together may have strayed by chance
        self.endpoints: list[dict[str, Any]] = []
        self.verdict: dict[str, Any] = {}

    @property
    def differences(self) -> list[dict[str, Any]]:
        """What differs, the most harmful first."""
        return self._fields.differences

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
        self._judge_outcomes()
        yield  # numbers of one judgement are all read between two yields: traffic goes on meanwhile
        self._judge_pace(reference)
        yield
        self._fields.pool()
        for endpoint in list(examiner.endpoints.values()):
            yield from self._judge_endpoint(endpoint, reference)
            yield
        self._fields.finish()
        total = sum(e.trials.count if examiner.settings.baseline else e.pairs for e in examiner.endpoints.values())
        failing = round(self._fields.failing)
        differing = min(round(self._fields.uncertain) + failing, total)
        noise = sum(row["differing_noise"] for row in self.endpoints)
        self._judgements.append(judge_content(differing, total, margins.max_diff_share, ALPHA, True, failing, noise))
        self._judgements += self._resources
        self._judgements += judge_outages(examiner.outages, examiner.reference_outages, examiner.outcomes.total.count)
        self._cap_pace()
        self._decide()
        yield

    def _course(self, values: Values, total: Tally) -> Course:
        examiner = self._examiner
        return Course(values, total, examiner.evidence_began, examiner.latest, examiner.clock.least)

    # --- all endpoints ------------------------------------------------------------------------------------------------

    def _judge_outcomes(self) -> None:
        examiner, margins = self._examiner, self._examiner.settings.margins
        outcomes = examiner.outcomes
        failing = 0.0
        if examiner.settings.baseline and outcomes.total.count:
            failing = outcomes.failing.better.count / outcomes.total.count
        for part, balance in (("failing", outcomes.failing), ("refused", outcomes.refused)):
            if part == "refused" and not balance.against.count:
                continue
            self._judgements.append(
                judge_errors(
                    balance.against.count, balance.better.count, outcomes.total.count, margins.max_error_increase,
                    errors_alpha(part), ALPHA, failing, course=self._course(balance.values, outcomes.total),
                    refused=part == "refused",
                )
            )  # fmt: skip
        whole = Tally(examiner.clock.shift)  # compared, and what the shadow could not take
        for one in (outcomes.total, examiner.lagging, examiner.limited):
            whole.merge(one)
        limited, asked = examiner.limited.count, whole.count
        # each second copy can have taken the place of one request at a shadow that limits its rate
        own = examiner.twins / asked if limited and asked else 0.0
        values = ((1.0, examiner.lagging), (1.0, examiner.limited), (-1.0, examiner.keeping))
        judged = judge_capacity(
            examiner.lagging.count + limited, asked, margins.max_error_increase + own, capacity_alpha(), ALPHA,
            kept=examiner.keeping.count, course=self._course(values, whole),
        )  # fmt: skip
        if judged.result == "pass" and limited > margins.max_error_increase * asked:
            judged.result = "inconclusive"
            judged.sentence = (
                f"the shadow answered 429 (too many requests) to {percent(limited / asked)} of what production served; "
                f"second copies add {percent(own)} to its load: without them (shadowctl filter set NAME --twin 0) "
                "it is seen whether that is why"
            )
        self._judgements.append(judged)

    def _judge_pace(self, reference: str) -> None:
        examiner, margins, whole = self._examiner, self._examiner.settings.margins, self._examiner.timing.whole
        for point, evidence in (("first_byte", whole.first_byte), ("last_byte", whole.last_byte)):
            if not evidence.count and point == "last_byte" and ALL_PROMPTS in examiner.endpoints:
                continue  # when a generated answer ends follows from its length: a pass must not wait for this
            self._judgements += LatencyJudge(evidence).judge(
                point, "", reference, margins.max_slowdown, margins.latency_floor, latency_alpha(), ALPHA, True
            )
        self._wandered = LatencyJudge(whole.first_byte).wandering()
        slow, of_slow = examiner.timing.slow, examiner.timing.of_slow
        self._judgements.append(
            judge_slow(
                self._course(slow.values, of_slow), slow.against.count, slow.better.count, of_slow.count,
                margins.max_slow_increase, slow_alpha(), ALPHA,
            )
        )  # fmt: skip

    def _cap_pace(self) -> None:
        """Where the daemon itself was late nothing is said of how fast or able the candidate is."""
        examiner = self._examiner
        seen = examiner.compared + sum(examiner.shed.values())
        lag = sum(self._own_lag()) / seen if seen else 0.0
        late = examiner.timing.late / (examiner.timing.late + examiner.timing.timed) if examiner.timing.late else 0.0
        if lag <= OWN_LAG and late <= OWN_LATE:
            return
        what = (
            f"{percent(lag)} of the requests could not be sent in time"
            if lag > OWN_LAG
            else (f"{percent(late)} of the requests were sent late")
        )
        for one in self._judgements:
            if one.judge in ("latency", "slow", "capacity") and (one.required or one.result == "fail"):
                one.result, one.needed = "inconclusive", None
                one.sentence = f"{TOO_BUSY}: {what}, through the daemon's own fault"

    # --- one endpoint -------------------------------------------------------------------------------------------------

    def _own_lag(self) -> list[int]:
        """What could not be sent in time through our own fault, by stretch; a stop that all of it falls into is one
        event, and the rest of the run says what it says."""
        examiner = self._examiner
        stretches = examiner.own_lag.slots.cut(examiner.evidence_began, examiner.latest + 1, STRETCHES)
        return stretches if sum(1 for one in stretches if one) > ONE_STOP else []

    def _judge_endpoint(self, endpoint: Endpoint, reference: str) -> Iterator[None]:
        margins = self._examiner.settings.margins
        outcomes = endpoint.outcomes
        for refused, balance in ((False, outcomes.failing), (True, outcomes.refused)):
            if balance.against.count:
                self._judgements.append(
                    judge_errors(
                        balance.against.count, balance.better.count, outcomes.total.count,
                        margins.max_error_increase, errors_alpha("endpoints") / 2 * weight(endpoint.order), ALPHA,
                        0.0, False, endpoint.name, self._course(balance.values, outcomes.total), refused,
                    )
                )  # fmt: skip
        for point, evidence in (("first_byte", endpoint.first_byte), ("last_byte", endpoint.last_byte)):
            if evidence.count >= TIMED_LEAST:
                self._judgements += LatencyJudge(evidence).judge(
                    point, endpoint.name, reference, margins.max_slowdown, margins.latency_floor,
                    latency_alpha(endpoint.order), ALPHA, False, self._wandered,
                )  # fmt: skip
        if endpoint.talk is not None:
            self._judgements += judge_talk(
                endpoint.talk, endpoint.name, reference, margins, latency_alpha(endpoint.order), field_alpha, ALPHA
            )
        elif endpoint.stream is not None:
            self._judgements += judge_streams(
                endpoint.stream,
                endpoint.name,
                reference,
                margins.max_slowdown,
                margins.latency_floor,
                field_alpha,
                ALPHA,
            )
        needy = False
        for field in list(endpoint.fields.values()):
            judged, undecided = self._fields.judge(endpoint, field)
            needy = needy or undecided
            if judged is not None:
                self._judgements.append(judged)
            yield
        self._examiner.ask_twice(endpoint, needy)
        self.endpoints.append(
            {
                "endpoint": endpoint.name,
                "exchanges": endpoint.total,
                "worse": outcomes.worse,
                "better": outcomes.better,
                "differing": endpoint.differing,
                **self._differing(endpoint),
                **_latencies(endpoint),
                **({"stream": endpoint.stream.view()} if endpoint.stream is not None else {}),
                **({"talk": endpoint.talk.view(endpoint.name == ALL_PROMPTS)} if endpoint.talk is not None else {}),
            }
        )

    def _differing(self, endpoint: Endpoint) -> dict[str, int]:
        """Exchanges with a difference that noise does not explain, and the others that differ."""
        fields = [field for place, field in endpoint.fields.items() if place != STATUS_FAILING]
        beyond = round(self.beyond_noise({(endpoint.name, one.where, one.path): one.led for one in fields}))
        differing = endpoint.differing + sum(one.led for one in fields if one.where == "status")
        return {"differing_beyond_noise": beyond, "differing_noise": max(0, differing - beyond)}

    def beyond_noise(self, places: Mapping[tuple[str, str, str], int]) -> float:
        """Of exchanges that differ, by endpoint and the field that they are counted at, those beyond noise."""
        found = 0.0
        for (name, where, path), many in places.items():
            share = self._fields.beyond.get((name, where, path))
            endpoint = self._examiner.endpoints.get(name)
            if share is None and endpoint is not None and where == "body":  # a key in it was found to be data since
                share = self._fields.beyond.get((name, where, endpoint.keys.fold(path)))
            found += many * (share or 0.0)
        return found

    # --- all together -------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        examiner = self._examiner
        eligible = self._eligible - examiner.warmed
        compared = max(0, self._compared - examiner.warmed)
        coverage = min(1.0, compared / eligible) if eligible > 0 else 0.0
        drifted = examiner.contents.drifted + self._fields.sessions
        drift = min(1.0, drifted / self._compared) if self._compared else 0.0
        decided = decide(
            self._judgements, coverage, examiner.settings.margins, samples=compared, seconds=self._seconds,
            drift_share=drift,
        )  # fmt: skip
        findings = findings_of(self._judgements, ALL_PROMPTS)
        if decided.verdict == "fail":
            decided.reasons = reasons_of(findings)
        missing = self._too_few() + [
            f"{name}: its bodies cannot be taken apart and differ between answers of one version, so nothing of them "
            "is judged; if that is meant, say so (shadowctl noise add --endpoint, --path '*')"
            for name in self._fields.unjudged
        ]
        missing += _another_production(self._fields.moving)
        if decided.verdict == "pass" and missing:
            decided.verdict, decided.reasons, decided.score = "inconclusive", missing, min(decided.score, 99)
        decided.reasons = limited(decided.reasons)
        mode = examiner.settings.mode
        view = decided.view()
        self.verdict = {
            **view,
            "mode": mode,
            "compared": self._compared,
            "eligible": self._eligible,
            "seconds": round(self._seconds, 1),
            "thresholds": thresholds(
                self._judgements, examiner.settings.margins, coverage=coverage, samples=compared,
                seconds=self._seconds, drift=drift,
            ),
            "findings": [{**one.view(), "signature": self._signature(one.worst)} for one in findings],
            "not_judged": [
                {key: found[key] for key in ("endpoint", "where", "path", "kind", "sentence")}
                for found in self.differences
                if found["label"] == "not judged"
            ][:LISTED],
            "drift": {"exchanges": drifted, "share": drift},
            "outages": {
                side: {"count": one.count, "exchanges": one.exchanges, "listed": [list(item) for item in one.listed]}
                for side, one in (("candidate", examiner.outages), ("reference", examiner.reference_outages))
            },
            "differing": {
                name: sum(row[f"differing_{name}"] for row in self.endpoints if row["endpoint"] != ALL_PROMPTS)
                for name in ("beyond_noise", "noise")
            },
            "expected": sum(found["count"] for found in self.differences if found["label"] == "expected"),
            "limits": self._limits(mode),
            "ended": examiner.ended,
        }  # fmt: skip

    def _limits(self, mode: str) -> list[str]:
        """What is to be known of how this was judged."""
        examiner = self._examiner
        limits = [LIMITS[mode]] + ([] if examiner.settings.baseline else [NO_BASELINE])
        if examiner.warmed:
            seconds = (examiner.evidence_began - examiner.began) / 1e9
            limits.append(
                f"The candidate warmed up for {seconds:,.0f} s: {examiner.warmed:,} exchanges were compared and "
                "listed, and are no evidence."
            )
        if examiner.settings.options.allow_extra:
            limits.append("Additional fields of the candidate's objects are not compared (--allow-extra).")
        late = examiner.timing.late
        if late:
            limits.append(f"{late:,} exchanges left late through the daemon's own fault; their latency was not judged.")
        if self._fields.sessions:
            limits.append(
                f"{self._fields.sessions:,} answers are 401 or 403 at the candidate alone: logins that were not "
                "mirrored leave sessions it does not know, and a fault there would look the same. A baseline tells: "
                "shadowctl filter set NAME --baseline URL."
            )
        if examiner.by_digest:
            limits.append(
                f"{examiner.by_digest:,} exchanges were compared by digest: their answers hold more values than can be "
                "compared one by one beside production. Errors in them under a good status were looked for in the "
                "first 8 KB alone."
            )
        talk = examiner.endpoints[ALL_PROMPTS].talk if ALL_PROMPTS in examiner.endpoints else None
        if talk is not None and talk.too_long:
            limits.append(
                f"{talk.too_long:,} answers of models are longer than is read: what they say and call was not judged."
            )
        if examiner.faults:
            limits.append(
                f"{examiner.faults:,} exchanges could not be compared through a fault of shadowd (shadowctl status)."
            )
        if self._fields.moved:
            limits.append(
                f"{self._fields.moved:,} differences began when production's own answers changed: another version, or "
                "another half of a pair, is in production since. A new run compares with that."
            )
        if examiner.incomparable:
            limits.append(
                f"{examiner.incomparable:,} conditional requests could not be compared: the validator is production's."
            )
        return limits

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


def _another_production(moving: dict[tuple[str, str], list[str]]) -> list[str]:
    """What is said where production has become another in mid-run, and is so still: the worst place names it."""
    if not moving:
        return []
    (where, path), endpoints = max(moving.items(), key=lambda one: len(one[1]))
    more = f" and {len(endpoints) - 1} more endpoints" if len(endpoints) > 1 else ""
    return [
        f"production's own answers changed in mid-run ({where} {path} at {endpoints[0]}{more}), and the candidate says "
        "what they were before: another version is in production, so begin a run (shadowctl run start "
        "NAME), or give a baseline (shadowctl filter set NAME --baseline URL)"
    ]
