"""The comparison of one candidate over one run: trials in, evidence out (sans-IO; time comes with the trials).

``examine`` is on the hot path: equal answers cost a look at two heads and two bodies, a few counters and, for the
sampled connections, a latency. All that is said about the evidence is worked out when somebody asks (``assessment``).

A run is one candidate version against one production version. When ``run_key`` names a header and its value changes
on either side, ``ended`` says so and nothing more is examined: two builds are never mixed.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from shadowd.compare.answers import compare_answers
from shadowd.compare.content import content_untrusted
from shadowd.compare.difference import NONE, Difference, Differences, Options
from shadowd.compare.drift import Drift
from shadowd.compare.endpoints import Endpoints, raw_name
from shadowd.compare.evidence import MAX_FIELDS, OVERFLOW, Endpoint, Example, Field, Group, SignatureCount
from shadowd.compare.genai import GenAiMeasures
from shadowd.compare.latency import LatencySketch
from shadowd.compare.llm import MAX_GROUPS, Answer, compare_talk, group_name, read_answer, recognise
from shadowd.compare.llm_evidence import TalkEvidence, Unweighed, likeness_loss, texts_of
from shadowd.compare.rules import Rules
from shadowd.compare.settings import Settings
from shadowd.compare.signatures import Signature, signature_of
from shadowd.compare.slowdown import LatencyEvidence
from shadowd.compare.streams import StreamEvidence, StreamTimes, stream_times
from shadowd.compare.trial import Side, Trial
from shadowd.exchange import Exchange, Request, Response
from shadowd.protocols.llm import Ask

__all__ = ["Examiner", "Settings"]

#: Longer responses leave the server in several flights (RFC 6928: ten segments of 1,448 bytes at first): their last
#: byte tells of the network and of production's own slow clients.
LAST_BYTE_LIMIT = 14_000
#: Two equal requests within this time (ns) are an A/A pair of production: little enough for its state to be the same.
REPEAT_WINDOW = 5_000_000_000
MAX_REPEATS = 512  # requests whose latest answer is remembered, bodies up to REPEAT_BODY: 4 MB
REPEAT_BODY = 8 << 10
MAX_ENDPOINTS = 510
MAX_SIGNATURES = 500
SIGNATURE_ENDPOINTS = 10  # named with a signature
SIGNATURE_BODY = 64 << 10  # bytes of a body in which errors are looked for
MAX_EXAMPLES = 200
MAX_UNWEIGHED = 256  # texts that wait for an embedding model: 3 MB
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
ALL_PROMPTS, OTHER_PROMPTS = "all conversations", "other prompts"

Compare = Callable[[Response, Response, Options], Differences]


class Examiner:
    """See the module's head. All counters are of this run."""

    def __init__(self, settings: Settings, rules: Rules) -> None:
        self.settings = settings
        self.rules = rules
        self.drift = Drift()
        self.endpoints: dict[str, Endpoint] = {}
        self.signatures: dict[str, SignatureCount] = {}
        self.fields = 0  # hypotheses so far
        self.examples: deque[Example] = deque(maxlen=MAX_EXAMPLES)  # not stored yet; the newest stay
        self.unweighed: deque[Unweighed] = deque(maxlen=MAX_UNWEIGHED)  # likewise
        self.compared = 0  # outcome known on both sides
        self.worse = self.better = 0
        self.differing = 0
        self.shed: dict[str, int] = {}  # not compared, because the candidate was not asked
        self.uncomparable = 0  # production's own answer is not known whole
        self.refused = 0  # the candidate could not keep up: lag, and refusals and time-outs that production had not
        self.baseline_failing = 0  # exchanges the baseline failed and production did not
        self.baselines = 0
        self.drifted = 0
        self.late = 0
        self.timed = 0
        self.first_byte = LatencyEvidence()
        self.last_byte = LatencyEvidence()
        self._interval = (LatencySketch(), LatencySketch())  # first bytes of both sides since it was last taken
        self.genai = GenAiMeasures()
        self.began = 0  # time of the first exchange (ns), 0 before it
        self.latest = 0
        self.ended = ""  # why the run is over
        self._names = Endpoints(settings.routes)
        self._repeats: OrderedDict[tuple[bytes, bytes], Response] = OrderedDict()
        self._lost = 0.0
        key = settings.run_key.encode()
        self._run_key = re.compile(rb"(?im)^" + re.escape(key) + rb":[ \t]*([^\r\n]*)") if key else None
        self._versions: list[bytes | None] = [None, None]

    # --- before the answers are known ---------------------------------------------------------------------------------

    def wants_twin(self, request: Request, draw: float) -> bool:
        """Whether to send this request twice; ``draw`` is uniform in [0, 1) and independent of everything."""
        return draw < self.settings.twin and request.method in _SAFE

    def note_write(self, request: Request) -> None:
        """A request that is not mirrored and may change production's state."""
        if request.method not in _SAFE:
            self.drift.wrote(request.target)

    def note_written(self, exchange: Exchange) -> None:
        """Production's answer to it."""
        if exchange.response is not None:
            self.drift.told(exchange.response.head)

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
        production, candidate = exchange.response, side.response
        time = exchange.request.ended
        if not self.began:
            self.began = time
        self.latest = time
        if side.shed:
            self.shed[side.shed] = self.shed.get(side.shed, 0) + 1
            if side.shed == "lag":
                self.refused += 1
                self._count_lost(self._endpoint(exchange.request), time)
            return
        if production is None and not exchange.failure:
            self.uncomparable += 1
            return
        if self._run_key is not None and self._another_version(production, candidate):
            return
        ask = recognise(exchange.request)
        endpoint = self._endpoint(exchange.request) if ask is None else self._prompt_group(ask)
        endpoint.total += 1
        self.compared += 1
        self._judge_outcome(trial, endpoint, time)
        if production is None or candidate is None:
            return
        if side.first_byte >= 0:
            self._time(trial, production, endpoint, time)
        if production.status >= 500 or candidate.status >= 500 or _rank(production) != _rank(candidate):
            return
        endpoint.pairs += 1
        third = trial.baseline or trial.twin
        if ask is not None:
            self._converse(ask, trial, endpoint, third, time)
            return
        if production.marks and candidate.marks:
            self._time_stream(trial, endpoint, production, candidate)
        differences = compare_answers(production, candidate, self.settings.options)
        if not differences and third is None and not endpoint.fields:
            return
        self._judge_content(trial, endpoint, production, candidate, differences, third, time, compare_answers)

    def _endpoint(self, request: Request) -> Endpoint:
        name = self._names.name(request.method, request.target) if request.method else raw_name(request.body)
        endpoint = self.endpoints.get(name)
        if endpoint is None and len(self.endpoints) >= MAX_ENDPOINTS:
            name = "other"  # raw commands: HTTP names have a bound of their own
            endpoint = self.endpoints.get(name)
        if endpoint is None:
            endpoint = self.endpoints[name] = Endpoint(name, len(self.endpoints) + 1)
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

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _judge_outcome(self, trial: Trial, endpoint: Endpoint, time: int) -> None:
        exchange, side = trial.exchange, trial.candidate
        production, candidate = exchange.response, side.response
        ours = _rank(production)
        theirs = _rank(candidate)
        if theirs > ours:
            endpoint.worse += 1
            self.worse += 1
        elif theirs < ours:
            endpoint.better += 1
            self.better += 1
        elif ours == FAILED:
            endpoint.shared += 1
        if trial.baseline is not None and not trial.baseline.shed:
            self.baselines += 1
            self.baseline_failing += _rank(trial.baseline.response) > ours
        if candidate is None:
            if side.failure in ("timeout", "connect") and production is not None:
                self.refused += 1
                self._count_lost(endpoint, time)
            self._sign(signature_of(0, None, side.failure), endpoint, time, 1, b"")
        elif candidate.status >= 400:
            self._sign_answer(candidate, endpoint, time, 1)
        if production is None:
            self._sign(signature_of(0, None, exchange.failure), endpoint, time, 0, b"")
        elif production.status >= 400:
            self._sign_answer(production, endpoint, time, 0)

    def _sign_answer(self, response: Response, endpoint: Endpoint, time: int, mine: int) -> None:
        content = content_untrusted(response.head, response.body, SIGNATURE_BODY)
        self._sign(signature_of(response.status, content), endpoint, time, mine, content.data[:2048])

    def _sign(self, signature: Signature | None, endpoint: Endpoint, time: int, mine: int, example: bytes) -> None:
        if signature is None:
            return
        if not self.settings.content:
            signature, example = signature.wordless(), b""
        known = self.signatures.get(signature.fingerprint)
        if known is None:
            if len(self.signatures) >= MAX_SIGNATURES:
                return
            known = self.signatures[signature.fingerprint] = SignatureCount(signature, time)
        known.last = time
        if mine:
            known.count += 1
            known.example = known.example or example
            if len(known.endpoints) < SIGNATURE_ENDPOINTS:
                known.endpoints[endpoint.name] = None
        else:
            known.production_count += 1

    # --- latency ------------------------------------------------------------------------------------------------------

    def _time(self, trial: Trial, production: Response, endpoint: Endpoint, time: int) -> None:
        side, other = trial.candidate, trial.baseline
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
        self.first_byte.add(time, first, side.first_byte)
        endpoint.first_byte.add(time, first, side.first_byte)
        candidate = side.response
        assert candidate is not None
        if endpoint.talk is not None:  # how long it takes follows from how much is said
            return
        size = max(production.end - production.begin, candidate.end - candidate.begin)
        if size <= LAST_BYTE_LIMIT and not (production.open or candidate.open):
            self.last_byte.add(time, last, side.last_byte)
            endpoint.last_byte.add(time, last, side.last_byte)

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
            endpoint.stream = StreamEvidence(self._another_hypothesis if endpoint.talk is None else None)
        endpoint.stream.note(reference, candidate, time)

    def _count_lost(self, endpoint: Endpoint, time: int) -> None:
        """Longer than everything. Of the answers only a share is timed, so only that share of the lost counts."""
        self._lost += self.timed / self.compared if self.compared else 1.0
        if self._lost >= 1:
            self._lost -= 1
            for evidence in (self.first_byte, self.last_byte, endpoint.first_byte, endpoint.last_byte):
                evidence.add_lost(time, "candidate")

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
            endpoint = self.endpoints[name] = Endpoint(name, len(self.endpoints) + 1)
            endpoint.talk = TalkEvidence(self._another_hypothesis)
        return endpoint

    def _another_hypothesis(self) -> int:
        self.fields += 1
        return self.fields

    def _converse(self, ask: Ask, trial: Trial, group: Endpoint, third: Side | None, time: int) -> None:
        """Of its prompt group, and of all conversations together: a rare refusal shows there first."""
        exchange, side = trial.exchange, trial.candidate
        production, candidate = exchange.response, side.response
        assert production is not None
        assert candidate is not None
        other = third.response if third is not None else None
        told = self.settings.citations, self.settings.refusal
        read: dict[int, Answer | None] = {id(production): read_answer(ask, production, exchange.request.ended, *told)}
        for response in (candidate, other):
            if response is not None:
                read[id(response)] = read_answer(ask, response, 0, *told)

        def compare(ours: Response, theirs: Response, options: Options) -> Differences:
            left, right = read[id(ours)], read[id(theirs)]
            if left is None or right is None or ours.status != theirs.status:
                return NONE
            return compare_talk(ask, left, right, options)

        self.genai.note(ask, trial, read)
        everything = self._talking(ALL_PROMPTS)
        assert everything is not None
        everything.total += 1
        everything.pairs += 1
        differences = compare(production, candidate, self.settings.options)
        for endpoint in (group, everything):
            self._judge_content(trial, endpoint, production, candidate, differences, third, time, compare)
            assert endpoint.talk is not None
            ours, theirs = read[id(production)], read[id(candidate)]
            if ours is None or theirs is None:
                endpoint.talk.too_long += 1
                continue
            baseline = read[id(other)] if trial.baseline is not None and other is not None else None
            if not self.settings.baseline or baseline is not None:
                self._note_stream(trial, endpoint, (baseline or ours).times, theirs.times, time)
            timed = not side.late and not (trial.baseline is not None and trial.baseline.late)
            if not self.settings.baseline or baseline is not None:
                endpoint.talk.note(ours, theirs, baseline, time, timed)
                endpoint.talk.note_cost(ask, ours, theirs, baseline, time, self.settings.prices)
        if ours is not None and theirs is not None and trial.baseline is not None and other is not None:
            self._weigh([one.talk for one in (group, everything) if one.talk], ours, theirs, read[id(other)])

    def _weigh(self, talks: list[TalkEvidence], ours: Answer, theirs: Answer, baseline: Answer | None) -> None:
        """The likeness of the texts, here or, by a model, elsewhere."""
        texts = texts_of(ours, theirs, baseline)
        if texts is None:
            return
        waiting = Unweighed(texts, talks)
        if self.settings.similarity:
            self.unweighed.append(waiting)
        else:
            waiting.weighed(likeness_loss(texts))

    # --- content ------------------------------------------------------------------------------------------------------

    def _judge_content(
        self, trial: Trial, endpoint: Endpoint, production: Response, candidate: Response,
        differences: Sequence[Difference], third: Side | None, time: int, compare: Compare,
    ) -> None:  # fmt: skip
        other = None if third is None or _rank(third.response) != _rank(production) else third.response
        drifting = trial.baseline is None and bool(differences) and self.drift.suspects(trial.exchange.request.target)
        if drifting:
            self.drifted += 1
            other = None  # both twins miss the same write
        mine = {(found.where, found.path): found for found in differences}
        fresh: set[tuple[str, str]] = set()
        if differences:
            endpoint.differing += 1
            self.differing += 1
        for found in differences:
            field = self._field(endpoint, found, fresh)
            self._describe(field, endpoint, found, trial, production, candidate, time)
        for place in mine:
            counted = endpoint.fields.get(place)
            if counted is not None:
                counted.differed += 1
                counted.drifted += drifting and place not in fresh
        if other is not None:
            endpoint.trials += 1
            self._count_third(trial, endpoint, production, candidate, other, mine, fresh, compare)
        for place in fresh:  # the exchange that makes a hypothesis is not evidence for it
            made = endpoint.fields[place]
            made.since_pairs, made.since_trials = endpoint.pairs, endpoint.trials
        if trial.baseline is None:
            self._compare_repeat(trial.exchange, endpoint, production, time)

    def _count_third(
        self, trial: Trial, endpoint: Endpoint, production: Response, candidate: Response, other: Response,
        mine: dict[tuple[str, str], Difference], fresh: set[tuple[str, str]], compare: Compare,
    ) -> None:  # fmt: skip
        options = self.settings.options
        theirs = {(found.where, found.path): found for found in compare(production, other, options)}
        if not mine and not theirs:
            return
        for found in theirs.values():
            self._field(endpoint, found, fresh)
        baseline = trial.baseline is not None
        apart = set() if baseline else {(found.where, found.path) for found in compare(candidate, other, options)}
        for place in mine.keys() | theirs.keys() | apart:
            field = endpoint.fields.get(place)
            if field is None or place in fresh:
                continue
            ours, others = place in mine, place in theirs
            if baseline:
                field.both += ours and others
                field.positive += ours and not others
                field.negative += others and not ours
            elif place not in apart:
                field.positive += ours and others
            elif ours and others:
                field.all_differ += 1
            else:
                field.negative += 1

    def _field(self, endpoint: Endpoint, found: Difference, fresh: set[tuple[str, str]]) -> Field:
        place = (found.where, found.path)
        field = endpoint.fields.get(place)
        if field is None:
            if len(endpoint.fields) >= MAX_FIELDS:
                place = OVERFLOW
                field = endpoint.fields.get(place)
            if field is None:
                self.fields += 1
                field = endpoint.fields[place] = Field(*place, self.fields, endpoint)
                fresh.add(place)
        return field

    def _describe(
        self, field: Field, endpoint: Endpoint, found: Difference, trial: Trial, production: Response,
        candidate: Response, time: int,
    ) -> None:  # fmt: skip
        group = field.groups.get(found.kind)
        if group is None:
            group = field.groups[found.kind] = Group(endpoint.name, *found[:3], time)
        group.count += 1
        group.last = time
        if not self.settings.content:
            return
        group.production, group.candidate = found.production, found.candidate
        if group.count <= 3 or group.count & (group.count - 1) == 0:  # the first, then ever rarer: copies cost memory
            request = trial.exchange.request
            self.examples.append(Example(group.name, endpoint.name, request, (production, candidate), time))

    def _compare_repeat(self, exchange: Exchange, endpoint: Endpoint, production: Response, time: int) -> None:
        """Production's own A/A pairs: the same request again within REPEAT_WINDOW."""
        request = exchange.request
        if request.method not in _SAFE or len(production.body) > REPEAT_BODY:
            return
        key = (request.target, request.head)
        before = self._repeats.pop(key, None)
        self._repeats[key] = production
        if len(self._repeats) > MAX_REPEATS:
            self._repeats.popitem(last=False)
        if before is None or time - before.last_byte > REPEAT_WINDOW or _rank(before) != _rank(production):
            return
        differing = {(d.where, d.path) for d in compare_answers(before, production, self.settings.options)}
        for place, field in endpoint.fields.items():
            field.repeats += 1
            field.repeats_differed += place in differing


GOOD, REFUSED, FAILED = range(3)


def _rank(response: Response | None) -> int:
    """How bad an outcome is: an answer, a client error, a server error or no answer."""
    if response is None or response.status >= 500:
        return FAILED
    return REFUSED if response.status >= 400 else GOOD
