"""The comparison of one candidate over one run: trials in, evidence out (sans-IO; time comes with the trials).

``examine`` is on the hot path: equal answers cost a look at two heads and two bodies, a few counters and, for the
sampled connections, a latency. All that is said about the evidence is worked out when somebody asks (``assessment``).

The candidate's *reference* is the baseline where there is one, else production. What the daemon itself was late with,
what a limit of its own left out, and what an outage of either side made fail is nobody's evidence.

A run is one candidate version against one production version. When ``run_key`` names a header and its value changes
on either side, ``ended`` says so and nothing more is examined: two builds are never mixed.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection

from shadowd.compare.conditional import not_comparable
from shadowd.compare.descriptors import declared_by
from shadowd.compare.difference import Differences
from shadowd.compare.inband import NEITHER, in_band_error_untrusted, in_band_errors_untrusted
from shadowd.compare.inband_wire import InBand
from shadowd.evidence.clock import Clock
from shadowd.evidence.contents import Contents, Moment
from shadowd.evidence.conversing import ALL_PROMPTS, OTHER_PROMPTS, Conversations
from shadowd.evidence.credentials import carried, opaque
from shadowd.evidence.drift import Drift, explains
from shadowd.evidence.earlier import is_power_of_two
from shadowd.evidence.endpoints import Endpoints
from shadowd.evidence.evidence import Endpoint, Example, Outcomes, SignatureCount
from shadowd.evidence.latency import LatencySketch
from shadowd.evidence.outages import Outages
from shadowd.evidence.outcome import FAILED, FORBIDDEN, GOOD, LOGIN, STATUS, TOO_MANY, UNAUTHORISED, rank
from shadowd.evidence.pairing import Pairing
from shadowd.evidence.rules import Rules
from shadowd.evidence.settings import Settings
from shadowd.evidence.signing import Signatures
from shadowd.evidence.slowdown import WARMUP, LatencyEvidence
from shadowd.evidence.strangers import Strangers
from shadowd.evidence.stretches import GROUPS, Tally
from shadowd.evidence.talking import TalkEvidence
from shadowd.evidence.timing import Timing
from shadowd.evidence.trial import Held, Trial, Watch
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.policy.rpc import reads
from shadowd.protocols.llm import Ask
from shadowd.talk.llm import MAX_GROUPS, group_name, recognise

__all__ = ["Examiner", "Settings"]

MAX_ENDPOINTS = 510
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
#: Share of an endpoint's safe requests that is asked twice while a field there is undecided.
NEEDY_TWIN = 0.25


def asks_twice(
    request: Request, draw: float, twin: float, needy: Collection[str], names: Endpoints, declared: Collection[bytes]
) -> bool:
    """The rule of ``Examiner.wants_twin``, for whoever stands for one in another process."""
    if draw >= twin and not (needy and draw < NEEDY_TWIN and twin):
        return False
    if request.method not in _SAFE and not reads(request, declared):
        return False
    return draw < twin or names.name_of(request) in needy


class Examiner:
    """See the module's head. All counters are of this run."""

    __slots__ = (
        "_names", "_needy", "_past", "_run_key", "_signatures", "_versions", "_warm_until", "began", "by_digest",
        "clock", "compared", "contents", "conversations", "drift", "ended", "endpoints", "evidence_began", "faults",
        "held", "incomparable", "keeping", "lagging", "latest", "limited", "outages", "outcomes", "own_lag",
        "reference_outages", "rules", "settings", "shed", "strangers", "timing", "twins", "uncomparable", "warmed",
        "watch",
    )  # fmt: skip

    def __init__(self, settings: Settings, rules: Rules) -> None:
        self.settings = settings
        self.rules = rules
        self.clock = Clock(settings.min_span, settings.warmup, settings.margins.latency_floor)
        self.drift = Drift()
        self.strangers = Strangers()
        self.contents = Contents(settings, self.clock)
        self.timing = Timing(settings, self.contents)
        self.conversations = Conversations(self.contents, self.timing.note_stream)
        self.endpoints: dict[str, Endpoint] = {}
        self._signatures = Signatures(self.contents)
        self.shed: dict[str, int] = {}  # not compared, because the candidate was not asked
        self.uncomparable = 0  # production's own answer is not known whole
        self.incomparable = 0  # answers that cannot be compared: the request carries production's validator
        self.by_digest = 0  # of the compared ones those whose answers were too much to compare otherwise
        self.faults = 0  # of the compared ones those that ended in a fault of ours
        self.compared = 0  # answered, or failed, by the candidate
        self.warmed = 0  # exchanges that were compared while the candidate warmed up: listed, no evidence
        self.twins = 0  # second copies
        self.began = 0  # time of the first exchange (ns), 0 before it
        self.latest = 0
        self.ended = ""  # why the run is over
        self.outages = Outages()  # of the candidate
        self.reference_outages = Outages()
        self._names = Endpoints(settings.routes)
        self._needy: set[str] = set()  # endpoints where more is asked twice
        self._past = -1  # ns before the run that the candidate's process began; -1: nobody knows
        self._warm_until = 0  # when a warm-up of fixed length ends
        key = settings.run_key.encode()
        self._run_key = re.compile(rb"(?im)^" + re.escape(key) + rb":[ \t]*([^\r\n]*)") if key else None
        self._versions: list[bytes | None] = [None, None]
        self.held: Held | None = None  # while its evidence is written nothing moves: what it is told waits there
        self.watch: Watch | None = None  # while somebody follows exchanges as they end
        self._begin(0)

    def _begin(self, time: int) -> None:
        """Evidence begins, or begins anew after a warm-up."""
        clock = self.clock
        self.evidence_began = time
        self.outcomes = Outcomes(clock.shift)
        self.lagging = Tally(clock.shift)  # shed because the shadow lagged, or timed out, and its reference had not
        self.own_lag = Tally(clock.shift)  # not sent in time through the daemon's own fault
        self.keeping = Tally(clock.shift)  # the other way round
        self.limited = Tally(clock.shift)  # 429 where production answered well: second copies add to the load

    @property
    def first_byte(self) -> LatencyEvidence:
        return self.timing.whole.first_byte

    @property
    def last_byte(self) -> LatencyEvidence:
        return self.timing.whole.last_byte

    @property
    def epoch(self) -> int:
        """ns from the capture's clock to the Unix epoch."""
        return self.contents.epoch

    def forget_segments(self, secret: Callable[[str, str], bool]) -> None:
        """Of paths: those that are not to be kept, as ``secret(parent, segment)`` says."""
        self._names.forget(secret)

    @property
    def examples(self) -> deque[Example]:
        return self.contents.examples

    @property
    def signatures(self) -> dict[str, SignatureCount]:
        return self._signatures.known

    @property
    def worse(self) -> int:
        return self.outcomes.worse

    @property
    def better(self) -> int:
        return self.outcomes.better

    @property
    def differing(self) -> int:
        return self.contents.differing

    @property
    def timed(self) -> int:
        return self.timing.timed

    @property
    def late(self) -> int:
        return self.timing.late

    @property
    def drifted(self) -> int:
        return self.contents.drifted

    @property
    def fields(self) -> int:
        return self.contents.fields

    # --- before the answers are known ---------------------------------------------------------------------------------

    def wants_twin(self, request: Request, draw: float) -> bool:
        """Whether to send this request twice; ``draw`` is uniform in [0, 1) and independent of everything.

        Where a field is undecided a larger share of that endpoint's requests is, until it is decided.
        """
        return asks_twice(request, draw, self.settings.twin, self._needy, self._names, self._declared)

    @property
    def _declared(self) -> frozenset[bytes]:
        return declared_by(self.settings.options.schema)

    @property
    def needy(self) -> frozenset[str]:
        """Names of endpoints where more is asked twice."""
        return frozenset(self._needy)

    def ask_twice(self, endpoint: Endpoint, needy: bool) -> None:
        """Whether a field of the endpoint waits for third answers."""
        if needy:
            self._needy.add(endpoint.name)
        else:
            self._needy.discard(endpoint.name)

    def note_write(self, request: Request) -> None:
        """A request that is not mirrored and may change production's state."""
        if self.held is not None:
            self.held.told.append((self.note_write, request))
            return
        if request.method not in _SAFE and not reads(request, self._declared):
            self.drift.wrote(request)

    def note_written(self, exchange: Exchange) -> None:
        """Production's answer to it."""
        if self.held is not None:
            self.held.told.append((self.note_written, exchange))
            return
        if exchange.response is not None:
            self.drift.told(exchange.request, exchange.response)

    def take_interval(self) -> tuple[LatencySketch, LatencySketch]:
        """First bytes of production and candidate since the last call."""
        return self.timing.take_interval()

    # --- a complete trial ---------------------------------------------------------------------------------------------

    def examine(self, trial: Trial) -> None:
        """Each trial once, when production's answer and all sides are over."""
        if self.held is not None:
            self.held.told.append((self.examine, trial))
            return
        if self.ended:
            return
        try:
            self._weigh(trial)
        finally:
            if self.watch is not None:
                self.watch.tell(trial)

    def _weigh(self, trial: Trial) -> None:
        exchange, side = trial.exchange, trial.candidate
        request, production, candidate = exchange.request, exchange.response, side.response
        if not self.began:
            self.began = self.evidence_began = self.latest = request.ended
            self._warm_until = request.ended + max(0, (self.settings.warmup or 0) - max(0, self._past))
        time = self.latest = max(self.latest, request.ended)
        if self._warm_until and time >= self._warm_until:
            self._warm_until = 0
            if self.settings.warmup:
                self.begin_again(time)
        moment = Moment(time, exchange.connection % GROUPS if exchange.connection >= 0 else -1)
        if side.shed:
            self._count_shed(trial, moment)
            return
        if production is None and not exchange.failure:
            self.uncomparable += 1
            return
        if self._run_key is not None and self._another_version(production, candidate):
            return
        self.compared += 1
        self.twins += trial.twin is not None
        ask = recognise(request)
        endpoint = self._endpoint(request) if ask is None else self._prompt_group(ask)
        endpoint.total += 1
        trial.endpoint = endpoint
        if trial.baseline is not None and trial.baseline.shed == "shadow_lag":
            self.keeping.add(time, moment.group)
        inside: tuple[InBand | None, InBand | None] = NEITHER
        drifting = stranger = False
        other_status = False
        if production is not None and candidate is not None:
            other_status = production.status != candidate.status
            if other_status and not_comparable(production, candidate, request.head):
                self.incomparable += 1
                return
            if trial.faults:
                inside = trial.faults[0].inside, trial.faults[1].inside
            elif request.method != b"GET" or production.body != candidate.body or production.marks is not None:
                inside = in_band_errors_untrusted(request, production, candidate)
            if other_status or self.strangers.doubted:
                drifting = self._status_drifts(trial, endpoint)
                stranger = not drifting and self._is_stranger(trial, endpoint)
        self._judge_outcome(trial, endpoint, moment, inside, drifting, stranger)
        if production is None or candidate is None:
            return
        if side.first_byte >= 0 and self.timing.note(trial, production, endpoint, moment):
            self.begin_again(time)
        third = trial.baseline or trial.twin
        endpoint.pairs += 1
        if other_status or third is not None:
            self.contents.judge_status(trial, endpoint, third, moment, drifting, stranger)
        if other_status or production.status >= 500:
            return
        if ask is not None:
            everything = self._talking(ALL_PROMPTS)
            assert everything is not None
            everything.total += 1
            everything.pairs += 1
            self.conversations.examine(ask, trial, endpoint, everything, third, moment)
            return
        if production.marks and candidate.marks:
            self.timing.note_events(trial, endpoint, production, candidate)
        compare = Pairing(trial, self.contents.epoch, self.settings.preserve_host)
        differences = compare(production, candidate, self.settings.options)
        if differences or third is not None or endpoint.fields or is_power_of_two(endpoint.pairs):
            drifting = self._content_drifts(trial, endpoint, differences)
            self.contents.judge(trial, endpoint, differences, third, moment, drifting, compare)

    def _count_shed(self, trial: Trial, moment: Moment) -> None:
        """Only a shadow that lags behind its reference says something of the candidate."""
        shed = trial.candidate.shed
        self.shed[shed] = self.shed.get(shed, 0) + 1
        if shed in ("own_lag", "lag"):
            self.own_lag.add(moment.time, moment.group)
        if shed != "shadow_lag":
            return
        if trial.baseline is not None and trial.baseline.shed:
            return
        self.lagging.add(moment.time, moment.group)
        self.timing.lost(self._endpoint(trial.exchange.request), moment.time, self.outcomes.total.count)

    def _endpoint(self, request: Request) -> Endpoint:
        name = self._names.name_of(request)
        endpoint = self.endpoints.get(name)
        if endpoint is None and len(self.endpoints) >= MAX_ENDPOINTS:
            name = "other"  # raw commands: HTTP names have a bound of their own
            endpoint = self.endpoints.get(name)
        if endpoint is None:
            endpoint = self.endpoints[name] = Endpoint(name, len(self.endpoints) + 1, self.clock)
        return endpoint

    def _another_version(self, production: Response | None, candidate: Response | None) -> bool:
        assert self._run_key is not None
        for side, response in enumerate((production, candidate)):
            if response is None:
                continue
            found = self._run_key.search(response.head)
            version = found[1].strip() if found else None
            if version is not None and self._versions[side] not in (None, version):
                self.ended = f"{('production', 'the candidate')[side]} changed its {self.settings.run_key}"
                return True
            if version is not None:
                self._versions[side] = version
        return False

    def candidate_began(self, seconds: float) -> None:
        """The candidate's process began so long before the run: what is left of its warm-up is shorter by that."""
        if self._past >= 0:
            return
        past = self._past = round(seconds * 1e9)
        if self._warm_until:
            self._warm_until -= min(past, self.settings.warmup or 0)
        self.clock.auto = max(0, WARMUP - past)
        if self.settings.warmup is None:
            for one in (self.timing.whole, *self.endpoints.values()):
                one.first_byte.warmup = one.last_byte.warmup = self.clock.auto

    def begin_again(self, time: int) -> None:
        """Evidence begins anew: the candidate was warming up. What was seen stays listed."""
        self.warmed = self.compared
        self._begin(time)
        self.timing.begin()
        self.outages.forget()
        self.reference_outages.forget()
        for endpoint in self.endpoints.values():
            endpoint.begin(self.clock)
            for field in endpoint.fields.values():
                field.forget(endpoint, time, self.clock.shift)

    # --- drift --------------------------------------------------------------------------------------------------------

    def _status_drifts(self, trial: Trial, endpoint: Endpoint) -> bool:
        """Whether a write that was not mirrored explains another status. A baseline missed the same writes."""
        production, candidate = trial.exchange.response, trial.candidate.response
        if production is None or candidate is None or production.status == candidate.status:
            return False
        if trial.baseline is not None or self.settings.baseline:
            return False
        why = self.drift.suspects(trial.exchange.request, (STATUS,), endpoint.name)
        return explains(why, production.status, candidate.status)

    def _is_stranger(self, trial: Trial, endpoint: Endpoint) -> bool:
        """Whether the candidate asks for a login where production did not, and may not know the session.

        Where a request names none, nobody can tell who it is by: there it depends on how many are refused.
        """
        production, candidate = trial.exchange.response, trial.candidate.response
        if production is None or candidate is None or trial.baseline is not None or self.settings.baseline:
            return False
        request = trial.exchange.request
        if production.status == candidate.status:
            if endpoint.name in self.strangers.doubted and candidate.status < 300:
                self.strangers.accepted(request, endpoint.name)
            return False
        if production.status >= 300:
            return False
        if candidate.status in UNAUTHORISED or candidate.status in LOGIN:
            if opaque(request):
                return candidate.status != FORBIDDEN and self.strangers.refused(request, endpoint.name)
            return candidate.status in UNAUTHORISED and not carried(request)
        return False

    def _content_drifts(self, trial: Trial, endpoint: Endpoint, differences: Differences) -> bool:
        if not differences or trial.baseline is not None or self.settings.baseline:
            return False
        places = [(found.where, found.path) for found in differences]
        drifts = bool(self.drift.suspects(trial.exchange.request, places, endpoint.name))
        self.contents.drifted += drifts
        return drifts

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _judge_outcome(
        self, trial: Trial, endpoint: Endpoint, moment: Moment, inside: tuple[InBand | None, InBand | None],
        drifting: bool, stranger: bool,
    ) -> None:  # fmt: skip
        """``inside``: errors within the answers of production and candidate, whose status says that all is well."""
        exchange, side = trial.exchange, trial.candidate
        production, candidate = exchange.response, side.response
        ours, theirs = rank(production), rank(candidate)
        if inside is not NEITHER:
            ours, theirs = _worse(ours, inside[0]), _worse(theirs, inside[1])
        if ours != GOOD or theirs != GOOD:
            self._signatures.note(trial, endpoint, moment, inside)
        if trial.baseline is not None:
            if trial.baseline.shed:
                return
            ours = rank(trial.baseline.response)
            if ours == GOOD and trial.baseline.response is not None:
                same = production is not None and trial.baseline.response.body == production.body
                if trial.faults:
                    ours = _worse(ours, trial.faults[2].inside)
                else:
                    ours = _worse(ours, inside[0] if same else in_band_error_untrusted(trial.baseline.response))
        elif self.settings.baseline:
            return
        elif ours == GOOD and candidate is not None and production is not None and theirs != GOOD:
            limited = candidate.status == TOO_MANY
            trial.excused = "drift" if drifting else "session" if stranger else "rate limit" if limited else ""
            if drifting:
                self.contents.drifted += 1
            elif limited and not stranger:
                self.limited.add(moment.time, moment.group)
            if trial.excused:
                return
        trial.outcome = theirs - ours
        self._count_outcome(endpoint, moment, ours, theirs)

    def _count_outcome(self, endpoint: Endpoint, moment: Moment, ours: int, theirs: int) -> None:
        time, group = moment.time, moment.group
        for outcomes in (self.outcomes, endpoint.outcomes):
            outcomes.total.add(time, group)
            if ours == theirs:
                outcomes.shared += ours == FAILED
                continue
            balance = outcomes.failing if FAILED in (ours, theirs) else outcomes.refused
            (balance.against if theirs > ours else balance.better).add(time, group)
        if ours == theirs == GOOD and not self.outages.waiting and not self.reference_outages.waiting:
            return
        if theirs == FAILED:
            if ours != FAILED:
                self.outages.failed(endpoint, time, group)
        elif ours == FAILED:
            self.reference_outages.failed(endpoint, time, group)
        if theirs != FAILED:
            for (where, when, whose), many in self.outages.answered().items():
                _take_back(where.outcomes, when, whose, many, against=True)
                _take_back(self.outcomes, when, whose, many, against=True)
        if ours != FAILED:
            for (where, when, whose), many in self.reference_outages.answered().items():
                _take_back(where.outcomes, when, whose, many, against=False)
                _take_back(self.outcomes, when, whose, many, against=False)

    # --- conversations ------------------------------------------------------------------------------------------------

    def _prompt_group(self, ask: Ask) -> Endpoint:
        """Conversations are grouped by prompt, not by URL."""
        endpoint = self._talking(group_name(ask, self.settings.content))
        if endpoint is None or sum(one.talk is not None for one in self.endpoints.values()) > MAX_GROUPS:
            endpoint = self._talking(OTHER_PROMPTS)
        assert endpoint is not None
        return endpoint

    def _talking(self, name: str) -> Endpoint | None:
        endpoint = self.endpoints.get(name)
        if endpoint is None and (len(self.endpoints) < MAX_ENDPOINTS or name in (ALL_PROMPTS, OTHER_PROMPTS)):
            endpoint = self.endpoints[name] = Endpoint(name, len(self.endpoints) + 1, self.clock)
            endpoint.talk = TalkEvidence(self.contents.another_hypothesis, self.clock)
        return endpoint


def _worse(status: int, inside: InBand | None) -> int:
    return status if inside is None else max(status, inside.rank)


def _take_back(outcomes: Outcomes, time: int, group: int, many: int, against: bool) -> None:
    outcomes.total.add(time, group, -many)
    (outcomes.failing.against if against else outcomes.failing.better).add(time, group, -many)
