"""Evidence of whole runs as one value that can be merged: of several nodes, for one verdict (sans-IO).

``merge(one, other)`` is commutative and associative, and ``EMPTY`` is its identity. A value is plain (``sums.py``), is
never changed, and travels as bytes (``carrying.py``). ``gathering.py`` makes it of an examiner,
``restoring.py`` makes an examiner of it that ``judge/merged.py`` judges.

No rule makes a difference more certain than it would be to one examiner with the same exchanges:

=====================  ==============================================================================================
what                   of two
=====================  ==============================================================================================
conditions             must be the same (``conditions.py``): filter, target, build, settings, rules; else an error
runs (parts)           both, by themselves; one that is there twice is an error (``parts.py``)
exchanges, outcomes    the sum
tallies                the sum: in all, by slot of the clock (a slot of the run's own time stands where its middle is),
                       and by group of connections, of which each node has its own
began, latest          the earliest; the latest
latency                sketches and lost answers: the sum; blocks: one vote for each half second of the clock, however
                       many nodes saw it; bursts: by those half seconds, and what a node remembers of them, the largest
                       (``paced.py``). Blocks that are still open have no vote
endpoints              by name, and the sum; a name that one has folded is folded in all (``refolding.py``)
fields                 by name, and the sum. Under a name that is folded elsewhere an exchange may have been counted
                       once for each key: it is listed, and counts as noise, and is no proof against the candidate
hypotheses             are numbered where they are judged, by their first appearance anywhere. The exchange that makes
                       one is not evidence at each node
values of a group      the newest pair
error signatures       counts: the sum; the example and the ten endpoints that come first in the alphabet
outages                those of a side that touch each other within ``ONE_OUTAGE`` are one, however many nodes saw it;
                       it is the side's if most of the nodes did (``spans.py``). What was one node's alone is told,
                       and no proof; one of which each node saw fewer than five failures is a burst of errors
streams, conversations the sum of their latencies, counts and likenesses
memory, CPU            of each run by itself, with its share of α
what only explains     sessions, writes, production's past answers, examples: not kept
=====================  ==============================================================================================

**Limits.** Of more than ``MOST_ENDPOINTS`` endpoints, ``MOST_FIELDS`` fields or ``MOST_SIGNATURES`` signatures those
whose names have the lowest digests stay: a choice that depends on no order. Of the others the endpoints are ``other``,
the fields their endpoint's overflow, and the signatures are not listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.compare.keys import REMEMBERED
from shadowd.evidence.conditions import Alike, MergeError
from shadowd.evidence.contents import MOST_FIELDS
from shadowd.evidence.endpoints import OTHER, PLACES
from shadowd.evidence.evidence import OVERFLOW
from shadowd.evidence.paced import LATENCY
from shadowd.evidence.parts import Parts
from shadowd.evidence.refolding import folded_names, folded_place
from shadowd.evidence.signing import SIGNATURE_ENDPOINTS
from shadowd.evidence.slotted import Sketched, Tallied
from shadowd.evidence.spans import Spans
from shadowd.evidence.sums import Counts, Least, Maybe, Most, Newest, Numbers, Record, Sum, Table, Word, Words, digest
from shadowd.evidence.talking import MAX_MODELS

MOST_ENDPOINTS = 1000  # twice what one examiner has
MOST_SIGNATURES = 2000
#: Time (ns) between two outages that are one to a fleet: each node sees it from its own first failing request to its
#: own last, and five of them are seldom further apart than that in a restart of a second.
ONE_OUTAGE = 1_000_000_000
_KINDS = 100  # of differences in one field: there are a dozen

FIELD = Record(
    began=Least(), differed=Sum(), led=Sum(), differing=Tallied(), positive=Tallied(), negative=Tallied(), both=Sum(),
    all_differ=Sum(), drifted=Sum(), repeats=Sum(), repeats_differed=Sum(), moved=Sum(), stayed=Sum(), turned=Sum(),
    groups=Table(Record(count=Sum(), first=Least(), last=Most(), newest=Newest()), _KINDS),
)  # fmt: skip
OUTCOMES = Record(
    total=Tallied(), failing=Tallied(), recovered=Tallied(), refused=Tallied(), admitted=Tallied(), shared=Sum()
)
STREAM = Record(
    streams=Sum(), events=Numbers(2), first_event=LATENCY, gap=LATENCY, gaps=Sketched(), candidate_gaps=Sketched(),
    total=Sketched(), candidate_total=Sketched(),
)  # fmt: skip
TALK = Record(
    first_content=LATENCY, tokens=LATENCY, pace=LATENCY, cost=LATENCY, likeness=Counts(100), spent=Numbers(2),
    models=Counts(MAX_MODELS), candidate_models=Counts(MAX_MODELS), too_long=Sum(),
)  # fmt: skip
FIELDS = Table(FIELD, 100 * MOST_FIELDS, OVERFLOW, pairs=True)
ENDPOINT = Record(
    first=Least(), order=Least(), total=Sum(), pairs=Sum(), differing=Sum(), outcomes=OUTCOMES, thirds=Tallied(),
    trials=Tallied(), first_byte=LATENCY, last_byte=LATENCY, stream=Maybe(STREAM), talk=Maybe(TALK),
    folded=Words(REMEMBERED), fields=FIELDS,
)  # fmt: skip
ENDPOINTS = Table(ENDPOINT, MOST_ENDPOINTS, OTHER)
SIGNATURE = Record(
    kind=Word(), title=Word(), count=Sum(), production_count=Sum(), endpoints=Words(SIGNATURE_ENDPOINTS),
    example=Word(), first=Least(), last=Most(),
)  # fmt: skip
EVIDENCE = Record(
    conditions=Alike(), parts=Parts(), ended=Word(), began=Least(), evidence_began=Least(), latest=Most(),
    compared=Sum(), warmed=Sum(), twins=Sum(), uncomparable=Sum(), incomparable=Sum(), by_digest=Sum(), faults=Sum(),
    shed=Counts(100), differing=Sum(), drifted=Sum(), outcomes=OUTCOMES, lagging=Tallied(), own_lag=Tallied(),
    keeping=Tallied(), limited=Tallied(), first_byte=LATENCY, last_byte=LATENCY, slow=Tallied(), quick=Tallied(),
    of_slow=Tallied(), late=Sum(), timed=Sum(), outages=Spans(ONE_OUTAGE), reference_outages=Spans(ONE_OUTAGE),
    folded=Words(PLACES), endpoints=ENDPOINTS, signatures=Table(SIGNATURE, MOST_SIGNATURES),
)  # fmt: skip
EMPTY: Mapping[str, Any] = EVIDENCE.empty()


def merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """See the module's head. Raises MergeError where they are not of one question, or have a run in common."""
    try:
        return folded(EVIDENCE.merge(one, other))
    except OverflowError:
        raise MergeError("the evidence counts more than can be", "export it anew") from None


def folded(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the names that all of it together has, and no more of them than are kept."""
    endpoints: dict[str, Any] = value["endpoints"]
    routes = value["conditions"]["settings"]["routes"] if value["conditions"] is not None else ()
    told = [name for name, endpoint in endpoints.items() if endpoint["talk"] is None]
    called, places = folded_names(told, value["folded"], routes)
    changed: dict[str, Any] = {}
    if any(old != new for old, new in called.items()):
        endpoints = ENDPOINTS.renamed(endpoints, lambda name: called.get(name, name))
        changed["signatures"] = {
            name: {**one, "endpoints": tuple(sorted({called.get(end, end) for end in one["endpoints"]}))}
            for name, one in value["signatures"].items()
        }
    endpoints = {name: _with_folded_fields(endpoint) for name, endpoint in endpoints.items()}
    return {**value, **changed, "folded": places, "endpoints": _bounded(endpoints)}


def _with_folded_fields(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    places = frozenset(endpoint["folded"])
    fields: Mapping[tuple[str, str], Any] = endpoint["fields"]
    called = {place: folded_place(place, places) for place in fields} if places else {}
    if all(old == new for old, new in called.items()):
        return endpoint
    nothing = FIELD.kinds["positive"].empty()
    unproven = {
        place: field if called[place] == place else {**field, "positive": nothing} for place, field in fields.items()
    }
    return {**endpoint, "fields": FIELDS.renamed(unproven, called.__getitem__)}


def _bounded(endpoints: dict[str, Any]) -> dict[str, Any]:
    """``MOST_FIELDS`` of all endpoints together."""
    names = [(name, *place) for name, one in endpoints.items() for place in one["fields"] if place != OVERFLOW]
    if len(names) <= MOST_FIELDS:
        return endpoints
    kept = set(sorted(names, key=digest)[:MOST_FIELDS])
    return {
        name: {
            **one,
            "fields": FIELDS.renamed(
                one["fields"],
                lambda place, name=name: place if (name, *place) in kept else OVERFLOW,  # type: ignore[misc]
            ),
        }
        for name, one in endpoints.items()
    }
