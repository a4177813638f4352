"""An examiner of a mergeable value, as the judges look at it (sans-IO); what such a value is: ``merging.py``.

Hypotheses are numbered here, by their first appearance: endpoints, and fields with what is judged of streams and
conversations. It is evidence of a run that is over: nothing more is to be examined.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from shadowd.compare.signatures import Signature
from shadowd.evidence.conditions import settings_again
from shadowd.evidence.evidence import Endpoint, Field, Group, Outcomes, SignatureCount
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.gathering import MONEY
from shadowd.evidence.paced import clock_of, latency_again, sketch_again
from shadowd.evidence.plain import LIMIT
from shadowd.evidence.spans import outages_again
from shadowd.evidence.streams import StreamEvidence
from shadowd.evidence.stretches import Tally
from shadowd.evidence.talking import TalkEvidence

_TALK = ("order_tokens", "order_likeness", "order_pace", "order_cost")


def examiner_of(value: Mapping[str, Any]) -> Examiner:
    """Raises ValueError where the settings are none that an operator can have given."""
    examiner = Examiner(*settings_again(value["conditions"]))
    examiner.clock = clock_of(examiner.clock)
    for name in (
        "ended", "compared", "warmed", "twins", "uncomparable", "incomparable", "by_digest", "faults", "began",
        "evidence_began", "latest",
    ):  # fmt: skip
        setattr(examiner, name, value[name])
    examiner.shed = dict(value["shed"])
    for name in ("lagging", "own_lag", "keeping", "limited"):
        setattr(examiner, name, _tally(value[name]))
    examiner.outcomes = _outcomes(value["outcomes"], examiner.clock.shift)
    examiner.contents.differing, examiner.contents.drifted = value["differing"], value["drifted"]
    timing = examiner.timing
    timing.whole = Endpoint("", 1, examiner.clock)
    latency_again(value["first_byte"], timing.whole.first_byte)
    latency_again(value["last_byte"], timing.whole.last_byte)
    timing.slow.against, timing.slow.better = _tally(value["slow"]), _tally(value["quick"])
    timing.of_slow, timing.late, timing.timed = _tally(value["of_slow"]), value["late"], value["timed"]
    examiner.outages, _ = outages_again(value["outages"], value["parts"])
    examiner.reference_outages, _ = outages_again(value["reference_outages"], value["parts"])
    endpoints = value["endpoints"]
    names = sorted(endpoints, key=lambda name: (_since(endpoints[name]["first"]), endpoints[name]["order"], name))
    for order, name in enumerate(names, 1):
        examiner.endpoints[name] = _endpoint(name, order, endpoints[name], examiner)
    _number(examiner, endpoints)
    for fingerprint, one in value["signatures"].items():
        examiner.signatures[fingerprint] = _signature(fingerprint, one)
    return examiner


def _since(time: int) -> int:
    return time or LIMIT


def _number(examiner: Examiner, endpoints: Mapping[str, Any]) -> None:
    """What is judged, in order of first appearance; what appears in one moment by its name."""
    order = examiner.contents.another_hypothesis
    appeared: list[tuple[int, int, str, str, str]] = []
    for name, endpoint in examiner.endpoints.items():
        value = endpoints[name]
        if endpoint.talk is not None:
            appeared.append((_since(value["first"]), 0, name, "", ""))
        elif endpoint.stream is not None:
            began = min(_since(value["stream"][point]["first"]) for point in ("first_event", "gap"))
            appeared.append((began, 1, name, "", ""))
        appeared += [(field.began, 2, name, *place) for place, field in endpoint.fields.items()]
    for _, what, name, where, path in sorted(appeared):
        endpoint = examiner.endpoints[name]
        if what == 0:
            for one in _TALK:
                setattr(endpoint.talk, one, order())
        elif what == 1 and endpoint.stream is not None:
            endpoint.stream.order = (order(), order())
        else:
            endpoint.fields[where, path].order = order()


def _tally(value: tuple[Any, ...]) -> Tally:
    count, shift, base, slots, groups = value
    made = Tally(shift)
    made.count, made.by_group = count, array("i", groups)
    made.slots.base, made.slots.counts = base, array("i", slots)
    return made


def _outcomes(value: Mapping[str, Any], shift: int) -> Outcomes:
    made = Outcomes(shift)
    made.total, made.shared = _tally(value["total"]), value["shared"]
    made.failing.against, made.failing.better = _tally(value["failing"]), _tally(value["recovered"])
    made.refused.against, made.refused.better = _tally(value["refused"]), _tally(value["admitted"])
    return made


def _endpoint(name: str, order: int, value: Mapping[str, Any], examiner: Examiner) -> Endpoint:
    made = Endpoint(name, order, examiner.clock)
    for count in ("total", "pairs", "differing"):
        setattr(made, count, value[count])
    made.outcomes = _outcomes(value["outcomes"], examiner.clock.shift)
    made.thirds, made.trials = _tally(value["thirds"]), _tally(value["trials"])
    latency_again(value["first_byte"], made.first_byte)
    latency_again(value["last_byte"], made.last_byte)
    if value["stream"] is not None:
        made.stream = _stream(value["stream"], examiner)
    if value["talk"] is not None:
        made.talk = _talk(value["talk"], examiner)
    for place, one in value["fields"].items():
        made.fields[place] = _field(place, one, made, examiner.clock.shift)
    return made


def _field(place: tuple[str, str], value: Mapping[str, Any], endpoint: Endpoint, shift: int) -> Field:
    made = Field(*place, 1, endpoint, value["began"], shift)
    for count in (
        "differed", "led", "both", "all_differ", "drifted", "repeats", "repeats_differed", "moved", "stayed", "turned",
    ):  # fmt: skip
        setattr(made, count, value[count])
    for name in ("differing", "positive", "negative"):
        setattr(made, name, _tally(value[name]))
    # how many there were before it did at no node, by the clock: what came since could have shown it
    total = endpoint.outcomes.total
    before = _before(total, made.began)
    made.since_pairs = min(endpoint.pairs, round(endpoint.pairs * before / total.count)) if total.count > 0 else 0
    made.since_trials = _before(endpoint.denominator(made), made.began)
    for kind, told in value["groups"].items():
        group = made.groups[kind] = Group(endpoint.name, *place, kind, told["first"])
        group.count, group.last = told["count"], told["last"]
        _, group.production, group.candidate = told["newest"] or (0, "", "")
    return made


def _before(tally: Tally, time: int) -> int:
    slots = tally.slots
    (many,) = slots.cut(slots.base << slots.shift, time, 1)
    return many


def _stream(value: Mapping[str, Any], examiner: Examiner) -> StreamEvidence:
    made = StreamEvidence(None, examiner.clock)
    made.streams, made.events = value["streams"], list(value["events"]) or [0, 0]
    latency_again(value["first_event"], made.first_event)
    latency_again(value["gap"], made.gap)
    made.gaps = sketch_again(value["gaps"]), sketch_again(value["candidate_gaps"])
    made.total = sketch_again(value["total"]), sketch_again(value["candidate_total"])
    return made


def _talk(value: Mapping[str, Any], examiner: Examiner) -> TalkEvidence:
    made = TalkEvidence(lambda: 1, examiner.clock)
    for name in ("first_content", "tokens", "pace", "cost"):
        latency_again(value[name], getattr(made, name))
    made.likeness = {int(step): many for step, many in value["likeness"].items() if step.lstrip("-").isdigit()}
    made.spent = [one / MONEY for one in value["spent"]] or [0.0, 0.0]
    made.models = dict(value["models"]), dict(value["candidate_models"])
    made.too_long = value["too_long"]
    return made


def _signature(fingerprint: str, value: Mapping[str, Any]) -> SignatureCount:
    made = SignatureCount(Signature.told_untrusted(value["kind"], value["title"], fingerprint), value["first"])
    made.last, made.count, made.production_count = value["last"], value["count"], value["production_count"]
    made.endpoints = dict.fromkeys(value["endpoints"])
    made.example = value["example"].encode("utf-8", "replace")
    return made
