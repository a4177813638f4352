"""What was counted of each endpoint and each of its fields: the numbers that the judges look at (sans-IO).

A *field* is a place in an answer, (where, path); the hypothesis is "the candidate answers something else here than
production's version would". It exists from the first exchange in which the field differs, and that exchange is not
evidence: its counters begin with the next (``since_*`` hold the endpoint's totals at that moment).

What may be weather is counted by time and by group of connections as well (``Tally``, ``stretches.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from shadowd.compare.difference import Difference
from shadowd.compare.keys import Keys
from shadowd.compare.signatures import Signature
from shadowd.evidence.clock import Clock
from shadowd.evidence.streams import StreamEvidence
from shadowd.evidence.stretches import Tally, Values
from shadowd.evidence.talking import TalkEvidence
from shadowd.exchange.exchange import Request, Response

#: Fields followed at one endpoint. A body that differs in more places is another body: ``OVERFLOW`` counts the rest.
MAX_FIELDS = 200
#: Third answers from which on they alone tell what is noise: a field that varies shows it in 20 with near certainty.
ENOUGH_TRIALS = 20
#: Repeated answers of production among which a field differed, from which on it is noise whatever the twins say: both
#: of them answer later than production, so for what changes with time they are no match.
ENOUGH_REPEATS = 3
EXAMPLE_BODY = 8 << 10  # bytes of a body that people look at
EXAMPLE_HEAD = 8 << 10  # the same of a head; readers take 64 KB
_DESCRIBING = (b"content-type:", b"content-encoding:", b"transfer-encoding:")
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


class Balance:
    """Exchanges in which the two sides did not do the same: against the candidate, and against its reference."""

    __slots__ = ("against", "better")

    def __init__(self, shift: int) -> None:
        self.against = Tally(shift)
        self.better = Tally(shift)

    @property
    def values(self) -> Values:
        """As ``stretches.py`` takes them: (+1, worse), (−1, better)."""
        return ((1.0, self.against), (-1.0, self.better))


class Outcomes:
    """How exchanges ended, of one endpoint or of all: failing (5xx, no answer) and refused (4xx) are never set off
    against each other, nor either against what is well."""

    __slots__ = ("failing", "refused", "shared", "total")

    def __init__(self, shift: int) -> None:
        self.total = Tally(shift)  # exchanges whose outcome is known at the candidate and at its reference
        self.failing = Balance(shift)
        self.refused = Balance(shift)
        self.shared = 0  # both failed

    @property
    def worse(self) -> int:
        return self.failing.against.count + self.refused.against.count

    @property
    def better(self) -> int:
        return self.failing.better.count + self.refused.better.count


class Field:
    """See the module's head. All counts but ``differed`` and the groups' begin after the exchange that made it."""

    __slots__ = (
        "all_differ",
        "began",
        "both",
        "differed",
        "differing",
        "drifted",
        "groups",
        "led",
        "moved",
        "negative",
        "order",
        "path",
        "positive",
        "repeats",
        "repeats_differed",
        "since_pairs",
        "since_trials",
        "stayed",
        "turned",
        "where",
    )

    def __init__(self, where: str, path: str, order: int, endpoint: Endpoint, time: int, shift: int) -> None:
        self.where = where
        self.path = path
        self.order = order  # of first existence among all fields of the run: its share of α
        self.began = time
        self.since_pairs = endpoint.pairs
        self.since_trials = endpoint.denominator(self).count
        self.differed = 0  # C≠P, this one included
        self.led = 0  # of the exchanges that differ in several fields each is counted once, at that which says most
        self.differing = Tally(shift)  # the same by time
        self.positive = Tally(shift)  # baseline: C≠P, B=P; twins: production is the odd one out
        self.negative = Tally(shift)  # baseline: B≠P, C=P; twins: one of the twins is
        self.both = 0  # baseline: C≠P, B≠P
        self.all_differ = 0  # twins: no two agree
        self.drifted = 0  # C≠P where state drift is suspected
        self.repeats = 0  # production's own repeated answers compared
        self.repeats_differed = 0
        self.moved = self.stayed = self.turned = 0  # who changed: see ``earlier.py``
        self.groups: dict[str, Group] = {}

    def noise(self, endpoint: Endpoint) -> tuple[int, int]:
        """(noisy, looked at): how often the field differs between answers of the same version.

        Production's repeated answers count only until enough were asked at the same moment, unless it differs among
        them: its state may have changed between two of them, which is no noise.
        """
        noisy = self.negative.count + self.both + self.all_differ
        looked = endpoint.denominator(self).count - self.since_trials
        if looked >= ENOUGH_TRIALS and self.repeats_differed < ENOUGH_REPEATS:
            return noisy, looked
        return noisy + self.repeats_differed, looked + self.repeats

    def absorb(self, other: Field) -> None:
        """Both are one field."""
        self.order = min(self.order, other.order)
        self.began = min(self.began, other.began)
        self.since_pairs = min(self.since_pairs, other.since_pairs)
        self.since_trials = min(self.since_trials, other.since_trials)
        for name in ("differing", "positive", "negative"):
            getattr(self, name).merge(getattr(other, name))
        for name in ("differed", "led", "both", "all_differ", "drifted", "moved", "stayed", "turned"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.repeats = max(self.repeats, other.repeats)
        self.repeats_differed = max(self.repeats_differed, other.repeats_differed)
        for kind, group in other.groups.items():
            if kind in self.groups:
                self.groups[kind].count += group.count
            else:
                self.groups[kind] = group

    def forget(self, endpoint: Endpoint, time: int, shift: int) -> None:
        """Evidence begins anew: what was seen stays listed."""
        self.began = time
        self.since_pairs, self.since_trials = endpoint.pairs, endpoint.denominator(self).count
        self.differing, self.positive, self.negative = Tally(shift), Tally(shift), Tally(shift)
        self.both = self.all_differ = self.repeats = self.repeats_differed = self.drifted = self.differed = 0
        self.led = 0
        self.moved = self.stayed = self.turned = 0


class Endpoint:
    """One endpoint of a run, and the latencies of both sides there."""

    __slots__ = (
        "differing",
        "fields",
        "first_byte",
        "keys",
        "last_byte",
        "name",
        "order",
        "outcomes",
        "pairs",
        "stream",
        "talk",
        "thirds",
        "total",
        "trials",
    )

    def __init__(self, name: str, order: int, clock: Clock | None = None) -> None:
        self.name = name
        self.order = order
        self.total = 0  # exchanges that were examined
        self.talk: TalkEvidence | None = None  # conversations with a model
        self.begin(clock or Clock())
        self.fields: dict[tuple[str, str], Field] = {}
        self.keys = Keys()

    def begin(self, clock: Clock) -> None:
        """Evidence begins, or begins anew."""
        shift = clock.shift
        self.outcomes = Outcomes(shift)
        self.pairs = 0  # both answered: their content was compared
        self.differing = 0  # of the pairs, any field
        self.thirds = Tally(shift)  # pairs with a third answer: baseline or twin
        self.trials = Tally(shift)  # those in which all three have the same status
        self.first_byte = clock.latencies()
        self.last_byte = clock.latencies()
        self.stream: StreamEvidence | None = None  # answers streamed in events

    def learn(self, differences: Iterable[Difference]) -> None:
        """Which keys are data, of all that differs at once: names must not change while it is counted."""
        for found in differences:
            if found.where == "body":
                self.keys.fold(found.path)
        if self.keys.taken():
            self._rename()

    def place(self, found: Difference) -> tuple[str, str]:
        """The field that a difference belongs to: keys that are data are folded."""
        if found.where != "body":
            return found.where, found.path
        return found.where, self.keys.fold(found.path)

    def _rename(self) -> None:
        """Keys of a place are data: what was counted under each of them is one field from now on."""
        for place, field in list(self.fields.items()):
            name = (place[0], self.keys.fold(place[1])) if place[0] == "body" and place != OVERFLOW else place
            if name == place:
                continue
            del self.fields[place]
            known = self.fields.get(name)
            if known is None:
                field.path = name[1]
                self.fields[name] = field
            else:
                known.absorb(field)

    def denominator(self, field: Field) -> Tally:
        """The exchanges that could have spoken for or against a field."""
        return self.thirds if field.where == "status" else self.trials


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

    __slots__ = (
        "candidate", "endpoint", "failure", "group", "production", "production_failure", "request", "time", "values"
    )  # fmt: skip

    def __init__(
        self, group: str, endpoint: str, request: Request, production: Response | str, candidate: Response | str,
        time: int, values: tuple[str, str] = ("", ""),
    ) -> None:  # fmt: skip
        self.group = group  # a difference's id, or an error signature's fingerprint
        self.values = values  # of the difference, production's and the candidate's
        self.endpoint = endpoint
        target, head = request.target[:EXAMPLE_HEAD], short_head(request.head)
        self.request = (request.method, target, head, request.body[:EXAMPLE_BODY])
        self.production, self.production_failure = _kept(production)
        self.candidate, self.failure = _kept(candidate)
        self.time = time


def _kept(answer: Response | str) -> tuple[tuple[int, bytes, bytes] | None, str]:
    """(status, head, the beginning of the body), or None and why there is no answer."""
    if isinstance(answer, str):
        return None, answer
    return (answer.status, short_head(answer.head), answer.body[:EXAMPLE_BODY]), ""


def short_head(head: bytes) -> bytes:
    """At most about EXAMPLE_HEAD bytes of a head: its beginning, and what says how to read the body."""
    return head if len(head) <= EXAMPLE_HEAD else _cut(head)


@lru_cache(maxsize=4)  # an exchange that differs in 64 fields is 64 examples
def _cut(head: bytes) -> bytes:
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [first[: EXAMPLE_HEAD // 2]]
    room = EXAMPLE_HEAD - len(kept[0])
    keeps = False
    for line in lines:
        if line[:1] not in b" \t" or not line:  # else it belongs to the one before
            describes = line[:18].lower().startswith(_DESCRIBING)
            keeps = len(line) < room + (EXAMPLE_HEAD if describes else 0)
        if keeps:
            kept.append(line)
            room -= len(line) + 2
            keeps = room > -EXAMPLE_HEAD
    return b"\r\n".join(kept) + b"\r\n\r\n"
