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

from shadowd.compare.answers import compare_answers
from shadowd.compare.content import content_untrusted
from shadowd.compare.contents import Contents, Moment
from shadowd.compare.conversing import ALL_PROMPTS, OTHER_PROMPTS, Conversations
from shadowd.compare.drift import Drift
from shadowd.compare.endpoints import Endpoints, raw_name
from shadowd.compare.evidence import Clock, Endpoint, Example, Outcomes, SignatureCount
from shadowd.compare.latency import LatencySketch
from shadowd.compare.llm import MAX_GROUPS, group_name, recognise
from shadowd.compare.llm_evidence import TalkEvidence
from shadowd.compare.outages import Outages
from shadowd.compare.outcome import FAILED, GOOD, TOO_MANY, UNAUTHORISED, rank
from shadowd.compare.rules import Rules
from shadowd.compare.settings import Settings
from shadowd.compare.signatures import Signature, signature_of
from shadowd.compare.slowdown import LatencyEvidence
from shadowd.compare.streams import StreamEvidence, StreamTimes, stream_times
from shadowd.compare.stretches import GROUPS, Tally
from shadowd.compare.trial import Side, Trial
from shadowd.exchange import Exchange, Request, Response
from shadowd.protocols.llm import Ask

__all__ = ["Examiner", "Settings"]

#: Longer responses leave the server in several flights (RFC 6928: ten segments of 1,448 bytes at first): their last
#: byte tells of the network and of production's own slow clients.
LAST_BYTE_LIMIT = 14_000
MAX_ENDPOINTS = 510
MAX_SIGNATURES = 500
SIGNATURE_ENDPOINTS = 10  # named with a signature
SIGNATURE_BODY = 64 << 10  # bytes of a body in which errors are looked for
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
#: Share of an endpoint's safe requests that is asked twice while a field there is undecided.
NEEDY_TWIN = 0.25
#: Share of the reference's answers that are slower than half of what counts as slow.
_SLOW_TAIL = 0.01


class Examiner:
    """See the module's head. All counters are of this run."""

    def __init__(self, settings: Settings, rules: Rules) -> None:
        self.settings = settings
        self.rules = rules
        self.clock = Clock(settings.min_span, settings.warmup)
        self.drift = Drift()
        self.contents = Contents(settings, self.clock)
        self.conversations = Conversations(self.contents, self._note_stream)
        self.endpoints: dict[str, Endpoint] = {}
        self.signatures: dict[str, SignatureCount] = {}
        self.shed: dict[str, int] = {}  # not compared, because the candidate was not asked
        self.uncomparable = 0  # production's own answer is not known whole
        self.incomparable = 0  # answers that cannot be compared: the request carries production's validator
        self.compared = 0  # answered, or failed, by the candidate
        self.warmed = 0  # exchanges that were compared while the candidate warmed up: listed, no evidence
        self.baseline_failing = 0  # exchanges the baseline failed and production did not
        self.baselines = 0
        self.unauthorised = 0  # of the candidate where production knew who asked: sessions, or a fault
        self.twins = 0  # second copies
        self.late = 0
        self.began = 0  # time of the first exchange (ns), 0 before it
        self.latest = 0
        self.ended = ""  # why the run is over
        self.outages = Outages()  # of the candidate
        self.reference_outages = Outages()
        self._interval = (LatencySketch(), LatencySketch())  # first bytes of both sides since it was last taken
        self._names = Endpoints(settings.routes)
        self._needy: set[str] = set()  # endpoints where more is asked twice
        self._warm_until = 0  # when a warm-up of fixed length ends
        key = settings.run_key.encode()
        self._run_key = re.compile(rb"(?im)^" + re.escape(key) + rb":[ \t]*([^\r\n]*)") if key else None
        self._versions: list[bytes | None] = [None, None]
        self._begin(0)

    def _begin(self, time: int) -> None:
        """Evidence begins, or begins anew after a warm-up."""
        clock = self.clock
        self.evidence_began = time
        self.outcomes = Outcomes(clock.shift)
        self.asked = Tally(clock.shift)  # compared, or not because the shadow lagged
        self.lagging = Tally(clock.shift)  # shed because the shadow lagged, or timed out, and its reference had not
        self.keeping = Tally(clock.shift)  # the other way round
        self.limited = Tally(clock.shift)  # 429 where production answered well: second copies add to the load
        self.everything = Endpoint("", 1, clock)  # all endpoints: latency and slowness
        self.late = self.timed = 0
        self._lost = 0.0
        self._slow_at = 1 << 62  # ns from which on a first byte is slow
        self._slow_until = 0  # when that is to be worked out anew

    @property
    def first_byte(self) -> LatencyEvidence:
        return self.everything.first_byte

    @property
    def last_byte(self) -> LatencyEvidence:
        return self.everything.last_byte

    @property
    def examples(self) -> deque[Example]:
        return self.contents.examples

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
        if draw >= self.settings.twin and not (self._needy and draw < NEEDY_TWIN and self.settings.twin):
            return False
        if request.method not in _SAFE:
            return False
        return draw < self.settings.twin or self._names.name(request.method, request.target) in self._needy

    def ask_twice(self, endpoint: Endpoint, needy: bool) -> None:
        """Whether a field of the endpoint waits for third answers."""
        if needy:
            self._needy.add(endpoint.name)
        else:
            self._needy.discard(endpoint.name)

    def note_write(self, request: Request) -> None:
        """A request that is not mirrored and may change production's state."""
        if request.method not in _SAFE:
            self.drift.wrote(request)

    def note_written(self, exchange: Exchange) -> None:
        """Production's answer to it."""
        if exchange.response is not None:
            self.drift.told(exchange.request, exchange.response)

    def take_interval(self) -> tuple[LatencySketch, LatencySketch]:
        """First bytes of production and candidate since the last call."""
        taken, self._interval = self._interval, (LatencySketch(), LatencySketch())
        return taken

    # --- a complete trial ---------------------------------------------------------------------------------------------

    def examine(self, trial: Trial) -> None:
        """Each trial once, when production's answer and all sides are over."""
        if self.ended:
            return
        exchange, side = trial.exchange, trial.candidate
        request, production, candidate = exchange.request, exchange.response, side.response
        if not self.began:
            self.began = self.evidence_began = self.latest = request.ended
            self._warm_until = request.ended + (self.settings.warmup or 0)
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
        self.asked.add(time, moment.group)
        if trial.baseline is not None and trial.baseline.shed == "shadow_lag":
            self.keeping.add(time, moment.group)
        drifting = trial.baseline is None and bool(self.drift.suspects(request))
        self._judge_outcome(trial, endpoint, moment, drifting)
        if production is None or candidate is None:
            return
        if side.first_byte >= 0:
            self._time(trial, production, endpoint, moment)
        third = trial.baseline or trial.twin
        endpoint.pairs += 1
        endpoint.answered.add(time, moment.group)
        self.contents.judge_status(trial, endpoint, third, moment, drifting)
        if production.status != candidate.status or rank(production) == FAILED:
            return
        if ask is not None:
            everything = self._talking(ALL_PROMPTS)
            assert everything is not None
            everything.total += 1
            everything.pairs += 1
            self.conversations.examine(ask, trial, endpoint, everything, third, moment, drifting)
            return
        if production.marks and candidate.marks:
            self._time_stream(trial, endpoint, production, candidate)
        differences = compare_answers(production, candidate, self.settings.options)
        if differences or third is not None or endpoint.fields:
            self.contents.judge(trial, endpoint, differences, third, moment, drifting, compare_answers)

    def _count_shed(self, trial: Trial, moment: Moment) -> None:
        """Only a shadow that lags behind its reference says something of the candidate."""
        shed = trial.candidate.shed
        self.shed[shed] = self.shed.get(shed, 0) + 1
        if shed != "shadow_lag":
            return
        if trial.baseline is not None and trial.baseline.shed:
            return
        self.asked.add(moment.time, moment.group)
        self.lagging.add(moment.time, moment.group)
        self._count_lost(self._endpoint(trial.exchange.request), moment.time)

    def _endpoint(self, request: Request) -> Endpoint:
        name = self._names.name(request.method, request.target) if request.method else raw_name(request.body)
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

    def begin_again(self, time: int) -> None:
        """Evidence begins anew: the candidate was warming up. What was seen stays listed."""
        self.warmed = self.compared
        warming, self.everything = self.everything, Endpoint("", 1, self.clock)
        self._begin(time)
        self.everything.first_byte = warming.first_byte  # it knows since when, and has begun anew itself
        for endpoint in self.endpoints.values():
            endpoint.begin(self.clock)
            for field in endpoint.fields.values():
                field.forget(endpoint, time, self.clock.shift)

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _judge_outcome(self, trial: Trial, endpoint: Endpoint, moment: Moment, drifting: bool) -> None:
        exchange, side = trial.exchange, trial.candidate
        production, candidate = exchange.response, side.response
        self._sign_both(trial, endpoint, moment)
        ours, theirs = rank(production), rank(candidate)
        if trial.baseline is not None:
            if trial.baseline.shed:
                return
            self.baselines += 1
            self.baseline_failing += rank(trial.baseline.response) == FAILED != ours
            ours = rank(trial.baseline.response)
        elif self.settings.baseline:
            return
        elif ours == GOOD and candidate is not None and production is not None and theirs != GOOD:
            if drifting and self.drift.explains(production.status, candidate.status):
                self.contents.drifted += 1
                return
            if candidate.status in UNAUTHORISED:
                self.unauthorised += 1
                return
            if candidate.status == TOO_MANY:
                self.limited.add(moment.time, moment.group)
                return
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

    def _sign_both(self, trial: Trial, endpoint: Endpoint, moment: Moment) -> None:
        exchange, side = trial.exchange, trial.candidate
        production, candidate = exchange.response, side.response
        if candidate is None:
            self._sign(signature_of(0, None, side.failure), endpoint, moment, 1, b"", trial)
        elif candidate.status >= 400:
            self._sign_answer(candidate, endpoint, moment, 1, trial)
        if production is None:
            self._sign(signature_of(0, None, exchange.failure), endpoint, moment, 0, b"", trial)
        elif production.status >= 400:
            self._sign_answer(production, endpoint, moment, 0, trial)

    def _sign_answer(self, response: Response, endpoint: Endpoint, moment: Moment, mine: int, trial: Trial) -> None:
        content = content_untrusted(response.head, response.body, SIGNATURE_BODY)
        signature = signature_of(response.status, content)
        self._sign(signature, endpoint, moment, mine, content.data[:2048], trial)

    def _sign(
        self, signature: Signature | None, endpoint: Endpoint, moment: Moment, mine: int, example: bytes, trial: Trial
    ) -> None:
        if signature is None:
            return
        if not self.settings.content:
            signature, example = signature.wordless(), b""
        known = self.signatures.get(signature.fingerprint)
        if known is None:
            if len(self.signatures) >= MAX_SIGNATURES:
                return
            known = self.signatures[signature.fingerprint] = SignatureCount(signature, moment.time)
        known.last = moment.time
        if not mine:
            known.production_count += 1
            return
        known.count += 1
        known.example = known.example or example
        if len(known.endpoints) < SIGNATURE_ENDPOINTS:
            known.endpoints[endpoint.name] = None
        if self.settings.content and (known.count <= 3 or known.count & (known.count - 1) == 0):
            exchange, side = trial.exchange, trial.candidate
            self.contents.remember(
                signature.fingerprint, endpoint, exchange.request, exchange.response or exchange.failure,
                side.response or side.failure, moment.time,
            )  # fmt: skip

    # --- latency ------------------------------------------------------------------------------------------------------

    def _time(self, trial: Trial, production: Response, endpoint: Endpoint, moment: Moment) -> None:
        side, other, time = trial.candidate, trial.baseline, moment.time
        sent = trial.exchange.request.ended
        first, last = production.first_byte - sent, production.last_byte - sent
        production_times, candidate_times = self._interval
        production_times.add(first)
        candidate_times.add(side.first_byte)
        if self.settings.baseline:
            if other is None or other.first_byte < 0 or other.late:
                return
            first, last = other.first_byte, other.last_byte
        if side.late:
            self.late += 1
            return
        self.timed += 1
        whole = self.everything
        warmed = whole.first_byte.warmed
        whole.first_byte.add(time, first, side.first_byte, moment.group)
        endpoint.first_byte.add(time, first, side.first_byte, moment.group)
        if whole.first_byte.warmed != warmed:
            self.begin_again(time)
            return
        self._note_slow(endpoint, first, side.first_byte, moment)
        candidate = side.response
        assert candidate is not None
        if endpoint.talk is not None:  # how long it takes follows from how much is said
            return
        size = max(production.end - production.begin, candidate.end - candidate.begin)
        if size <= LAST_BYTE_LIMIT and not (production.open or candidate.open):
            whole.last_byte.add(time, last, side.last_byte, moment.group)
            endpoint.last_byte.add(time, last, side.last_byte, moment.group)

    def _note_slow(self, endpoint: Endpoint, first: int, candidate: int, moment: Moment) -> None:
        """A first byte beyond twice the reference's p99: what a tail of 1 % looks like, which its quantile cannot see."""
        time, group, whole = moment.time, moment.group, self.everything
        if time >= self._slow_until:
            self._slow_until = time + (1 << self.clock.shift)
            sketch = whole.first_byte.reference
            beyond = sketch.exceeded_by(_SLOW_TAIL * sketch.count) if sketch.count * _SLOW_TAIL >= 1 else None
            if beyond is not None:
                self._slow_at = int(max(2 * beyond, self.settings.margins.slow_floor))
        ours, theirs = first > self._slow_at, candidate > self._slow_at
        for one in (whole, endpoint):
            one.timed.add(time, group)
            if ours != theirs:
                (one.slow.against if theirs else one.slow.better).add(time, group)

    def _time_stream(self, trial: Trial, endpoint: Endpoint, production: Response, candidate: Response) -> None:
        """Of an answer that is no model's."""
        asked, other = trial.exchange.request.ended, trial.baseline
        if not self.settings.baseline:
            reference = stream_times(production, asked)
        else:
            reference = stream_times(other.response, 0) if other is not None and other.response is not None else None
        self._note_stream(trial, endpoint, reference, stream_times(candidate, 0), asked)

    def _note_stream(
        self, trial: Trial, endpoint: Endpoint, reference: StreamTimes | None, candidate: StreamTimes | None, time: int
    ) -> None:
        if reference is None or candidate is None or trial.candidate.late:
            return
        if trial.baseline is not None and trial.baseline.late:
            return
        if endpoint.stream is None:
            endpoint.stream = StreamEvidence(self.contents.another_hypothesis if endpoint.talk is None else None)
        endpoint.stream.note(reference, candidate, time)

    def _count_lost(self, endpoint: Endpoint, time: int) -> None:
        """Longer than everything. Of the answers only a share is timed, so only that share of the lost counts."""
        self._lost += self.timed / self.outcomes.total.count if self.outcomes.total.count else 1.0
        if self._lost >= 1:
            self._lost -= 1
            for one in (self.everything, endpoint):
                one.first_byte.add_lost(time, "candidate")
                one.last_byte.add_lost(time, "candidate")

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
            endpoint.talk = TalkEvidence(self.contents.another_hypothesis)
        return endpoint


def _take_back(outcomes: Outcomes, time: int, group: int, many: int, against: bool) -> None:
    outcomes.total.add(time, group, -many)
    (outcomes.failing.against if against else outcomes.failing.better).add(time, group, -many)
