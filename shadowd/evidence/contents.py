"""Fields that differ, and what third answers say of them (sans-IO).

Of a pair P (production) and C (candidate), and a third answer: the baseline's B, or the candidate's second one C2.

===========  =================================  ==================================  ==========================
third        speaks against the candidate       speaks against the reference        noise
===========  =================================  ==================================  ==========================
baseline B   C≠P, B=P                           B≠P, C=P                            C≠P, B≠P
twin C2      C≠P, C2≠P, C=C2                    C≠C2, and one of them is P's        no two agree
===========  =================================  ==================================  ==========================
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from shadowd.compare.answers import compare_answers
from shadowd.compare.context import Context
from shadowd.compare.difference import NONE, Difference, Differences, Options
from shadowd.evidence.clock import Clock
from shadowd.evidence.earlier import Earlier, identity
from shadowd.evidence.evidence import MAX_FIELDS, OVERFLOW, Endpoint, Example, Field, Group
from shadowd.evidence.outcome import STATUS_FAILING, TOO_MANY, rank, status_field
from shadowd.evidence.settings import Settings
from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Exchange, Request, Response

#: Two equal requests within this time (ns) are an A/A pair of production: little enough for its state to be the same.
REPEAT_WINDOW = 5_000_000_000
MAX_REPEATS = 512  # requests whose latest answer is remembered, of up to REPEAT_ANSWER bytes with its head: 4 MB
REPEAT_ANSWER = 8 << 10
MAX_EXAMPLES = 200
#: Fields of all endpoints together, 8 KB each at most; what differs beyond is counted at its endpoint's overflow.
MOST_FIELDS = 4_000
_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})

Place = tuple[str, str]
Compare = Callable[[Response, Response, Options], Differences]


class Moment:
    """When and by whom an exchange was: its time (ns), and the group of its connection."""

    __slots__ = ("group", "time")

    def __init__(self, time: int, group: int) -> None:
        self.time = time
        self.group = group


class Contents:
    """All fields of a run. ``clock`` cuts its time."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.epoch = 0  # ns from the capture's clock to the Unix epoch
        self.fields = 0  # hypotheses so far
        self.differing = 0
        self.recent: dict[tuple[str, str, str], int] = {}  # see ``take_places``
        self.drifted = 0
        self.examples: deque[Example] = deque(maxlen=MAX_EXAMPLES)  # not stored yet; the newest stay
        self._repeats: OrderedDict[bytes, Response] = OrderedDict()
        self._earlier = Earlier()

    def another_hypothesis(self) -> int:
        self.fields += 1
        return self.fields

    def take_places(self) -> dict[tuple[str, str, str], int]:
        """Where exchanges differed since the last call, each once: how many by endpoint, ``where`` and path."""
        taken, self.recent = self.recent, {}
        return taken

    # --- the status ---------------------------------------------------------------------------------------------------

    def judge_status(
        self, trial: Trial, endpoint: Endpoint, third: Side | None, moment: Moment, drifting: bool,
        stranger: bool = False,
    ) -> None:  # fmt: skip
        """Of a pair that was answered on both sides. A status that differs is a difference, whatever its class."""
        production, candidate = trial.exchange.response, trial.candidate.response
        assert production is not None
        assert candidate is not None
        ours = production.status != candidate.status
        other = third.response if third is not None else None
        theirs = other is not None and other.status != production.status
        if other is not None:
            endpoint.thirds.add(moment.time, moment.group)
        if not ours and not theirs:
            return
        baseline = trial.baseline is not None
        place = status_field(production.status, candidate.status if ours else other.status if other else 0, stranger)
        fresh: set[Place] = set()
        if ours:
            found = Difference("status", place[1], "value", str(production.status), str(candidate.status))
            self._count_difference(trial, endpoint, [found], moment, drifting, fresh)
        if other is None or drifting:
            return
        if place != STATUS_FAILING and (other.status >= 500 or other.status == TOO_MANY):
            return  # weather at the third: it says nothing of the status
        if not ours:
            self._field(endpoint, Difference(*place, "value"), fresh, moment)
        if not fresh:
            field = endpoint.fields.get(place)
            if field is not None:
                _count_third(field, ours, theirs, other.status != candidate.status, baseline, moment)
        self._begin_evidence(endpoint, fresh)

    # --- what else was answered ---------------------------------------------------------------------------------------

    def judge(
        self, trial: Trial, endpoint: Endpoint, differences: Differences, third: Side | None, moment: Moment,
        drifting: bool, compare: Compare,
    ) -> None:  # fmt: skip
        """Of a pair of one status. ``drifting``: a write that was not mirrored may explain differences."""
        production, candidate = trial.exchange.response, trial.candidate.response
        assert production is not None
        assert candidate is not None
        other = third.response if third is not None else None
        if other is not None and (other.status != production.status or drifting):
            other = None  # both twins miss the same write
        fresh: set[Place] = set()
        if differences:
            endpoint.differing += 1
            self.differing += 1
            self._count_difference(trial, endpoint, differences, moment, drifting, fresh)
        if other is not None:
            endpoint.trials.add(moment.time, moment.group)
            self._compare_third(trial, endpoint, differences, other, moment, fresh, compare)
        self._begin_evidence(endpoint, fresh)
        if trial.baseline is None:
            if differences and not drifting:
                self._look_back(trial.exchange.request, endpoint, differences, production, candidate)
            self._earlier.keep(trial.exchange.request, endpoint, production, not differences)
            self._compare_repeat(trial.exchange, endpoint, production, moment.time)

    def _count_difference(
        self, trial: Trial, endpoint: Endpoint, differences: Sequence[Difference], moment: Moment, drifting: bool,
        fresh: set[Place],
    ) -> None:  # fmt: skip
        trial.differences = differences
        if drifting:
            trial.excused = "drift"
        endpoint.learn(differences)
        places: dict[Place, None] = {}
        for found in differences:
            field = self._field(endpoint, found, fresh, moment)
            self._describe(field, endpoint, found, trial, moment.time)
            places[field.where, field.path] = None
        for place in places:
            field = endpoint.fields[place]
            field.differed += 1
            if drifting:
                field.drifted += 1
            elif place not in fresh:
                field.differing.add(moment.time, moment.group)
        if not drifting:
            leading = min((endpoint.fields[place] for place in places), key=lambda field: _says_little(field, endpoint))
            leading.led += 1
            at = endpoint.name, leading.where, leading.path
            self.recent[at] = self.recent.get(at, 0) + 1

    def _compare_third(
        self, trial: Trial, endpoint: Endpoint, differences: Differences, other: Response, moment: Moment,
        fresh: set[Place], compare: Compare,
    ) -> None:  # fmt: skip
        options = self.settings.options
        production, candidate = trial.exchange.response, trial.candidate.response
        assert production is not None
        assert candidate is not None
        found_there = compare(production, other, options)
        baseline = trial.baseline is not None
        found_apart = NONE if baseline else compare(candidate, other, options)
        endpoint.learn(found_there)
        endpoint.learn(found_apart)
        mine = {endpoint.place(found) for found in differences}
        theirs = {endpoint.place(found) for found in found_there}
        if not mine and not theirs:
            return
        for found in found_there:
            self._field(endpoint, found, fresh, moment)
        apart = {endpoint.place(found) for found in found_apart}
        for place in mine | theirs | apart:
            field = endpoint.fields.get(place)
            if field is not None and place not in fresh:
                _count_third(field, place in mine, place in theirs, place in apart, baseline, moment)

    def _begin_evidence(self, endpoint: Endpoint, fresh: set[Place]) -> None:
        """The exchange that makes a hypothesis is not evidence for it."""
        for place in fresh:
            made = endpoint.fields.get(place)
            if made is None:
                continue  # it is part of another since
            made.since_pairs, made.since_trials = endpoint.pairs, endpoint.denominator(made).count

    def _field(self, endpoint: Endpoint, found: Difference, fresh: set[Place], moment: Moment) -> Field:
        place = endpoint.place(found)
        field = endpoint.fields.get(place)
        if field is None:
            if len(endpoint.fields) >= MAX_FIELDS or (self.fields >= MOST_FIELDS and endpoint.fields):
                place = OVERFLOW
                field = endpoint.fields.get(place)
            if field is None:
                order = self.another_hypothesis()
                field = endpoint.fields[place] = Field(*place, order, endpoint, moment.time, self.clock.shift)
                fresh.add(place)
        return field

    def _describe(self, field: Field, endpoint: Endpoint, found: Difference, trial: Trial, time: int) -> None:
        group = field.groups.get(found.kind)
        if group is None:
            group = field.groups[found.kind] = Group(endpoint.name, field.where, field.path, found.kind, time)
        group.count += 1
        group.last = time
        if not self.settings.content:
            return
        group.production, group.candidate = found.production, found.candidate
        if group.count <= 3 or group.count & (group.count - 1) == 0:  # the first, then ever rarer: copies cost memory
            production, candidate = trial.exchange.response, trial.candidate.response
            assert production is not None
            assert candidate is not None
            values = found.production, found.candidate
            self.remember(group.name, endpoint, trial.exchange.request, production, candidate, time, values)

    def remember(
        self, group: str, endpoint: Endpoint, request: Request, production: Response | str, candidate: Response | str,
        time: int, values: tuple[str, str] = ("", ""),
    ) -> None:  # fmt: skip
        """An exchange that people may look at. A text instead of an answer: why there is none."""
        self.examples.append(Example(group, endpoint.name, request, production, candidate, time, values))

    def _look_back(
        self, request: Request, endpoint: Endpoint, differences: Differences, production: Response, candidate: Response
    ) -> None:
        def places(before: Response, now: Response) -> set[Place]:
            context = Context(b"", self.epoch + before.last_byte, self.epoch + now.last_byte)
            return {endpoint.place(one) for one in compare_answers(before, now, self.settings.options, context)}

        fields = {
            place: endpoint.fields[place] for place in map(endpoint.place, differences) if place in endpoint.fields
        }
        self._earlier.look(request, endpoint, fields.values(), production, candidate, places)

    def _compare_repeat(self, exchange: Exchange, endpoint: Endpoint, production: Response, time: int) -> None:
        """Production's own A/A pairs: the same request again within REPEAT_WINDOW."""
        request = exchange.request
        if request.method not in _REPEATABLE or len(production.head) + len(production.body) > REPEAT_ANSWER:
            return
        key = identity(request)
        before = self._repeats.pop(key, None)
        self._repeats[key] = production
        if len(self._repeats) > MAX_REPEATS:
            self._repeats.popitem(last=False)
        if before is None or time - before.last_byte > REPEAT_WINDOW or rank(before) != rank(production):
            return
        if not endpoint.fields:
            return
        context = Context(b"", self.epoch + before.last_byte, self.epoch + production.last_byte)
        differing = {endpoint.place(d) for d in compare_answers(before, production, self.settings.options, context)}
        for place, field in endpoint.fields.items():
            field.repeats += 1
            field.repeats_differed += place in differing


def _says_little(field: Field, endpoint: Endpoint) -> tuple[float, int]:
    """Sorts by: how much of it is known to be noise, then by how often it differs."""
    noisy, looked = field.noise(endpoint)
    return noisy / looked if noisy > 2 else 0.0, field.differed


def _count_third(field: Field, ours: bool, theirs: bool, apart: bool, baseline: bool, moment: Moment) -> None:
    """As the table in the module's head says."""
    time, group = moment.time, moment.group
    if baseline:
        if ours and theirs:
            field.both += 1
        elif ours:
            field.positive.add(time, group)
        elif theirs:
            field.negative.add(time, group)
    elif not apart:
        if ours and theirs:
            field.positive.add(time, group)
    elif ours and theirs:
        field.all_differ += 1
    else:
        field.negative.add(time, group)
