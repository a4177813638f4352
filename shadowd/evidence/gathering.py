"""An examiner's evidence as a mergeable value (sans-IO); what that is: ``merging.py``.

It is read in steps of about a millisecond, while exchanges go on: each endpoint, and each latency of it, is of one
moment. Times become those of the Unix epoch, so that nodes have one clock. Texts from traffic pass through ``Shown``,
which redacts them; masks lose what tells one secret from another, since each node makes that with a key of its own.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from shadowd.evidence.evidence import Endpoint, Field, Outcomes, SignatureCount
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.merging import ENDPOINT, EVIDENCE, FIELD, ONE_OUTAGE, folded
from shadowd.evidence.paced import latency_of, sketch_of
from shadowd.evidence.plain import TEXT_LIMIT
from shadowd.evidence.slotted import grouped, joined, node_of
from shadowd.evidence.slowdown import LatencyEvidence
from shadowd.evidence.spans import Spans
from shadowd.evidence.streams import StreamEvidence
from shadowd.evidence.stretches import Slots, Tally
from shadowd.evidence.talking import TalkEvidence

MONEY = 1_000_000_000  # a unit of the currency, as whole numbers add up
_MASK = re.compile(r"\[redacted:[0-9a-f]{8}\]")
_EXAMPLE = 2048


class Shown(NamedTuple):
    """How texts are redacted: names of endpoints, paths of fields, a value (of a group, at a path), an error's title
    and example (of a fingerprint)."""

    name: Callable[[str], str] = str
    path: Callable[[str], str] = str
    value: Callable[[str, str, str], str] = lambda group, path, value: value
    title: Callable[[str, str], str] = lambda fingerprint, title: title
    example: Callable[[str, bytes], str] = lambda fingerprint, data: data.decode("utf-8", "replace")


def gather(
    examiner: Examiner, conditions: Mapping[str, Any], parts: Mapping[str, Any], shown: Shown | None = None
) -> Mapping[str, Any]:
    """All steps at once."""
    steps = gather_steps(examiner, conditions, parts, shown or Shown())
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return folded(done.value)


def gather_steps(
    examiner: Examiner, conditions: Mapping[str, Any], parts: Mapping[str, Any], shown: Shown
) -> Generator[None, None, Mapping[str, Any]]:
    """Returns the value, which is to be ``folded`` (that takes longer than a step). ``conditions``: as
    ``conditions.py`` makes them; ``parts``: of this run alone."""
    made = _Gatherer(examiner, shown, node_of(next(iter(parts))))
    value = made.whole(conditions, parts)
    yield
    timing = examiner.timing
    for name, latency in (("first_byte", timing.whole.first_byte), ("last_byte", timing.whole.last_byte)):
        value[name] = made.latency(latency)
        yield
    endpoints: dict[str, Any] = {}
    for endpoint in list(examiner.endpoints.values()):
        name = _unkeyed(shown.name(endpoint.name))
        found = yield from made.endpoint(endpoint)
        endpoints[name] = ENDPOINT.merge(endpoints[name], found) if name in endpoints else found
    value["endpoints"] = endpoints
    value["signatures"] = {one.signature.fingerprint: made.signature(one) for one in list(examiner.signatures.values())}
    yield
    return value


class _Gatherer:
    def __init__(self, examiner: Examiner, shown: Shown, node: int) -> None:
        self._of = examiner
        self._node = node
        self._shown = shown
        self.epoch = examiner.epoch

    def time(self, nanoseconds: int) -> int:
        """0 stays: it is none."""
        return nanoseconds + self.epoch if nanoseconds else 0

    def whole(self, conditions: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
        of, timing, contents = self._of, self._of.timing, self._of.contents
        value = EVIDENCE.empty()
        value |= {
            name: getattr(of, name)
            for name in (
                "ended", "compared", "warmed", "twins", "uncomparable", "incomparable", "by_digest", "faults",
            )
        }  # fmt: skip
        value |= {name: self.time(getattr(of, name)) for name in ("began", "evidence_began", "latest")}
        value |= {name: self.tally(getattr(of, name)) for name in ("lagging", "own_lag", "keeping", "limited")}
        versions = [(one or b"").decode("utf-8", "replace")[:200] for one in of._versions]
        value |= {
            "conditions": {**conditions, "versions": versions},
            "parts": parts,
            "shed": dict(of.shed),
            "differing": contents.differing,
            "drifted": contents.drifted,
            "outcomes": self.outcomes(of.outcomes),
            "slow": self.tally(timing.slow.against),
            "quick": self.tally(timing.slow.better),
            "of_slow": self.tally(timing.of_slow),
            "late": timing.late,
            "timed": timing.timed,
            "outages": Spans(ONE_OUTAGE).of(of.outages, self.epoch, parts),
            "reference_outages": Spans(ONE_OUTAGE).of(of.reference_outages, self.epoch, parts),
            "folded": tuple(sorted(_unkeyed(self._shown.name(place)) for place in of._names.folded)),
        }
        return value

    def tally(self, tally: Tally) -> tuple[Any, ...]:
        return tally.count, *self.slots(tally.slots), grouped(tally.by_group, self._node)

    def latency(self, evidence: LatencyEvidence) -> dict[str, Any]:
        return latency_of(evidence, self.epoch, self._node)

    def slots(self, slots: Slots) -> tuple[int, int, array[int]]:
        """By the epoch: a slot stands where its middle is."""
        if not slots.counts:
            return slots.shift, 0, array("q")
        half = 1 << slots.shift >> 1
        base = ((slots.base << slots.shift) + half + self.epoch) >> slots.shift
        return joined([(slots.shift, base, array("q", slots.counts))])

    def outcomes(self, outcomes: Outcomes) -> dict[str, Any]:
        return {
            "total": self.tally(outcomes.total),
            "failing": self.tally(outcomes.failing.against),
            "recovered": self.tally(outcomes.failing.better),
            "refused": self.tally(outcomes.refused.against),
            "admitted": self.tally(outcomes.refused.better),
            "shared": outcomes.shared,
        }

    def endpoint(self, endpoint: Endpoint) -> Generator[None, None, dict[str, Any]]:
        total = endpoint.outcomes.total.slots
        value: dict[str, Any] = {
            "first": self.time((total.base << total.shift) + 1) if total.counts else 0,
            "order": endpoint.order,
            "total": endpoint.total,
            "pairs": endpoint.pairs,
            "differing": endpoint.differing,
            "outcomes": self.outcomes(endpoint.outcomes),
            "thirds": self.tally(endpoint.thirds),
            "trials": self.tally(endpoint.trials),
            "folded": tuple(sorted(map(self._path, endpoint.keys.places))),
        }
        fields: dict[tuple[str, str], Any] = {}
        for place, field in list(endpoint.fields.items()):
            named = (place[0], self._path(place[1]))
            made = self.field(field)
            fields[named] = FIELD.merge(fields[named], made) if named in fields else made
        value["fields"] = fields
        yield
        for name, latency in (("first_byte", endpoint.first_byte), ("last_byte", endpoint.last_byte)):
            value[name] = self.latency(latency)
            yield
        value["stream"] = self.stream(endpoint.stream) if endpoint.stream is not None else None
        value["talk"] = self.talk(endpoint.talk) if endpoint.talk is not None else None
        yield
        return value

    def field(self, field: Field) -> dict[str, Any]:
        names = (
            "differed",
            "led",
            "both",
            "all_differ",
            "drifted",
            "repeats",
            "repeats_differed",
            "moved",
            "stayed",
            "turned",
        )
        groups = {
            kind: {
                "count": group.count,
                "first": self.time(group.first),
                "last": self.time(group.last),
                "newest": (
                    self.time(group.last),
                    *(
                        self._shown.value(group.name, field.path, value)[:TEXT_LIMIT]
                        for value in (group.production, group.candidate)
                    ),
                ),
            }
            for kind, group in list(field.groups.items())
        }
        return {
            **{name: getattr(field, name) for name in names},
            **{name: self.tally(getattr(field, name)) for name in ("differing", "positive", "negative")},
            "began": self.time(field.began),
            "groups": groups,
        }

    def stream(self, stream: StreamEvidence) -> dict[str, Any]:
        return {
            "streams": stream.streams,
            "events": array("q", stream.events),
            "first_event": self.latency(stream.first_event),
            "gap": self.latency(stream.gap),
            "gaps": sketch_of(stream.gaps[0]),
            "candidate_gaps": sketch_of(stream.gaps[1]),
            "total": sketch_of(stream.total[0]),
            "candidate_total": sketch_of(stream.total[1]),
        }

    def talk(self, talk: TalkEvidence) -> dict[str, Any]:
        return {
            **{name: self.latency(getattr(talk, name)) for name in ("first_content", "tokens", "pace", "cost")},
            "likeness": {str(step): many for step, many in talk.likeness.items()},
            "spent": array("q", (round(one * MONEY) for one in talk.spent)),
            "models": dict(talk.models[0]),
            "candidate_models": dict(talk.models[1]),
            "too_long": talk.too_long,
        }

    def signature(self, known: SignatureCount) -> dict[str, Any]:
        fingerprint = known.signature.fingerprint
        return {
            "kind": known.signature.kind,
            "title": self._shown.title(fingerprint, known.signature.title),
            "count": known.count,
            "production_count": known.production_count,
            "endpoints": tuple(sorted(_unkeyed(self._shown.name(name)) for name in known.endpoints)),
            "example": self._shown.example(fingerprint, known.example)[:_EXAMPLE],
            "first": self.time(known.first),
            "last": self.time(known.last),
        }

    def _path(self, path: str) -> str:
        return _unkeyed(self._shown.path(path))[:TEXT_LIMIT]


def _unkeyed(text: str) -> str:
    """A name that is the same on all nodes."""
    return _MASK.sub("[redacted]", text)
