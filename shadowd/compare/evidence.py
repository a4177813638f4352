"""What was counted of each endpoint and each of its fields: the numbers that the judges look at (sans-IO).

A *field* is a place in an answer, (where, path); the hypothesis is "the candidate answers something else here than
production's version would". It exists from the first exchange in which the field differs, and that exchange is not
evidence: its counters begin with the next (``since_*`` hold the endpoint's totals at that moment).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from shadowd.compare.llm_evidence import TalkEvidence
from shadowd.compare.signatures import Signature
from shadowd.compare.slowdown import LatencyEvidence
from shadowd.compare.streams import StreamEvidence
from shadowd.exchange import Request, Response

#: Fields followed at one endpoint. A body that differs in more places is another body: ``OVERFLOW`` counts the rest.
MAX_FIELDS = 200
#: Third answers from which on they alone tell what is noise: a field that varies shows it in 20 with near certainty.
ENOUGH_TRIALS = 20
EXAMPLE_BODY = 8 << 10  # bytes of a body that people look at
OVERFLOW = ("body", "(further fields)")


class Group:
    """Differences of one kind at one field: what people look at."""

    __slots__ = ("candidate", "count", "first", "kind", "last", "name", "production", "stored")

    def __init__(self, endpoint: str, where: str, path: str, kind: str, time: int) -> None:
        place = "\0".join((endpoint, where, path, kind)).encode("utf-8", "surrogatepass")
        self.name = hashlib.blake2b(place, digest_size=4).hexdigest()  # the same in every run
        self.kind = kind
        self.count = 0
        self.first = self.last = time
        self.production = self.candidate = ""  # the newest pair of values, for people
        self.stored = -1  # count when it was last handed to the store


class Field:
    """See the module's head. All counts but ``differed`` and the groups' begin after the exchange that made it."""

    __slots__ = (
        "all_differ",
        "both",
        "differed",
        "drifted",
        "groups",
        "negative",
        "order",
        "path",
        "positive",
        "repeats",
        "repeats_differed",
        "since_pairs",
        "since_trials",
        "where",
    )

    def __init__(self, where: str, path: str, order: int, endpoint: Endpoint) -> None:
        self.where = where
        self.path = path
        self.order = order  # of first existence among all fields of the run: its share of α
        self.since_pairs = endpoint.pairs
        self.since_trials = endpoint.trials
        self.differed = 0  # C≠P, this one included
        self.positive = 0  # baseline: C≠P, B=P; twins: production is the odd one out
        self.negative = 0  # baseline: B≠P, C=P; twins: one of the twins is
        self.both = 0  # baseline: C≠P, B≠P
        self.all_differ = 0  # twins: no two agree
        self.drifted = 0  # C≠P where state drift is suspected
        self.repeats = 0  # production's own repeated answers compared
        self.repeats_differed = 0
        self.groups: dict[str, Group] = {}

    def noise(self, endpoint: Endpoint) -> tuple[int, int]:
        """(noisy, looked at): how often the field differs between answers of the same version.

        Production's repeated answers count only until enough were asked at the same moment: its state may have changed
        between two of them, which is no noise.
        """
        noisy = self.negative + self.both + self.all_differ
        looked = endpoint.trials - self.since_trials
        if looked >= ENOUGH_TRIALS:
            return noisy, looked
        return noisy + self.repeats_differed, looked + self.repeats


class Endpoint:
    """One endpoint of a run, and the latencies of both sides there."""

    __slots__ = (
        "better",
        "differing",
        "fields",
        "first_byte",
        "last_byte",
        "name",
        "order",
        "pairs",
        "shared",
        "stream",
        "talk",
        "total",
        "trials",
        "worse",
    )

    def __init__(self, name: str, order: int) -> None:
        self.name = name
        self.order = order
        self.total = 0  # exchanges whose outcome is known on both sides
        self.worse = self.better = self.shared = 0  # by outcome; shared: both failed
        self.pairs = 0  # both answered well: their content was compared
        self.differing = 0  # of the pairs, any field
        self.trials = 0  # pairs with a third answer: baseline or twin
        self.fields: dict[tuple[str, str], Field] = {}
        self.first_byte = LatencyEvidence()
        self.last_byte = LatencyEvidence()
        self.stream: StreamEvidence | None = None  # answers streamed in events
        self.talk: TalkEvidence | None = None  # conversations with a model


class SignatureCount:
    """One error signature of a run."""

    __slots__ = ("count", "endpoints", "example", "first", "last", "production_count", "signature")

    def __init__(self, signature: Signature, time: int) -> None:
        self.signature = signature
        self.count = 0  # at the candidate
        self.production_count = 0
        self.endpoints: dict[str, None] = {}
        self.example = b""  # the start of a body that has it
        self.first = self.last = time


class Example:
    """One differing exchange, cut to EXAMPLE_BODY bytes of each body; the store redacts it."""

    __slots__ = ("candidate", "endpoint", "group", "production", "request", "time")

    def __init__(self, group: str, endpoint: str, request: Request, answers: Sequence[Response], time: int) -> None:
        self.group = group
        self.endpoint = endpoint
        self.request = (request.method, request.target, request.head, request.body[:EXAMPLE_BODY])
        self.production, self.candidate = [(a.status, a.head, a.body[:EXAMPLE_BODY]) for a in answers]
        self.time = time
