"""How trials reach their examiner: light ones at once or in later turns, heavy ones by way of another process or by
digest, and none of them can stop the others."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from shadowd.compare.burden import LIGHT, SMALL, burden
from shadowd.evidence.conversing import ALL_PROMPTS
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.examining import MAX_BYTES, MAX_HEAVY, MAX_WAITING, SAVED, SHARE, TURN, Examining
from shadowd.evidence.rules import Rules
from shadowd.evidence.timing import Timing
from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.judge.assessment import Assessment
from shadowd.ledger.budget import Budget

MS = 1_000_000
SECOND = 1000 * MS


class Clock:
    """A clock that stands still, or goes on by ``step`` with each look."""

    def __init__(self, step: int = 0) -> None:
        self.now = SECOND
        self.step = step

    def __call__(self) -> int:
        self.now += self.step
        return self.now


def answer(body: bytes, head: bytes = b"", status: int = 200) -> Response:
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%b\r\n" % (status, head)
    made = Response(status, head, 0, 2 * MS)
    made.body, made.body_length = body, len(body)
    made.end, made.last_byte = len(head) + len(body), 2 * MS
    return made


def side(body: bytes, head: bytes = b"", status: int = 200) -> Side:
    made = Side()
    made.response = answer(body, head, status)
    made.first_byte = made.last_byte = MS
    return made


def trial(
    examiner: Examiner, production: bytes, candidate: bytes, twin: bytes | None = None, method: bytes = b"GET",
    head: bytes = b"", body: bytes = b"", status: int = 200,
) -> Trial:  # fmt: skip
    wire = method + b" /items/7 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n"
    exchange = Exchange(0, Request(method, b"/items/7", wire, body, 0, len(wire) + len(body), MS, MS), 0)
    exchange.answered = True
    exchange.response = answer(production, head)
    made = Trial(examiner, exchange, side(candidate, head, status), None)
    if twin is not None:
        made.twin = side(twin, head, status)
    return made


def heavy(last: int) -> bytes:
    return json.dumps([*range(LIGHT), last]).encode()


class OpenTiming(Timing):
    """Its methods can be replaced on an object, which those of a compiled class cannot."""


class OpenExaminer(Examiner):
    """Likewise."""


def examiner() -> Examiner:
    made = OpenExaminer(Settings(twin=0.5), Rules())
    made.timing = OpenTiming(made.settings, made.contents)
    return made


# --- the order of things ----------------------------------------------------------------------------------------------


def test_light_ones_are_examined_at_once() -> None:
    judged, examining = examiner(), Examining(Budget(), clock=Clock())
    examining.take(trial(judged, b'{"a":1}', b'{"a":2}'))
    examining.take(trial(judged, b'{"a":1}', b'{"a":1}'))
    assert (judged.compared, judged.differing, examining.pending) == (2, 1, False)


def test_a_turn_has_its_time_and_the_next_goes_on() -> None:
    """Each look at the clock takes a millisecond here: comparing costs one."""
    budget = Budget(1 << 20)
    judged, examining = examiner(), Examining(budget, clock=Clock(MS))
    for number in range(20):
        examining.take(trial(judged, b'{"a":0}', b'{"a":%d}' % number))
    at_once = judged.compared
    assert TURN // MS <= at_once + 1 < 20
    assert examining.pending
    assert examining.statistics().waiting == 20 - at_once
    assert budget.used > 0
    turns = 0
    while examining.pending:
        before = judged.compared
        examining.go_on(SECOND + turns * SECOND)
        assert judged.compared - before <= TURN // MS + 1
        turns += 1
    assert (judged.compared, budget.used) == (20, 0)


def test_equal_answers_wait_for_nobody() -> None:
    judged, examining = examiner(), Examining(Budget(), clock=Clock(10 * MS))
    for number in range(10):
        examining.take(trial(judged, b'{"a":0}', b'{"a":%d}' % number))
    waiting = examining.statistics().waiting
    assert waiting
    before = judged.compared
    for _ in range(50):
        examining.take(trial(judged, b'{"a":0}', b'{"a":0}', b'{"a":0}'))
    assert (judged.compared - before, examining.statistics().waiting) == (50, waiting)


def test_comparing_has_a_share_of_a_core() -> None:
    """For ten seconds more comes than can be compared, each by half a millisecond of work."""
    clock = Clock()
    judged, examining = examiner(), Examining(Budget(), clock=clock)
    compare: Callable[[Trial], None] = judged.examine

    def work(one: Trial) -> None:
        assert one.exchange.response is not None
        clock.now += 0 if one.exchange.response.digest else MS // 2
        compare(one)

    judged.examine = work  # type: ignore[method-assign]
    now = SECOND
    for turn in range(1250):  # of 8 ms
        now = SECOND + turn * 8 * MS
        clock.now = now
        for number in range(20):
            examining.take(trial(judged, b'{"a":0}', b'{"a":%d}' % (number + 1)))
        examining.go_on(now)
    most = (10 * SECOND * SHARE + SAVED) / (MS / 2)
    assert 0.9 * most < judged.compared - judged.by_digest <= most + 20
    waiting = examining.statistics().waiting
    assert MAX_WAITING - 20 <= waiting <= MAX_WAITING
    assert judged.by_digest == examining.by_digest == 25_000 - waiting - (judged.compared - judged.by_digest)


# --- what is heavy ----------------------------------------------------------------------------------------------------


def test_heavy_ones_go_elsewhere() -> None:
    called: list[int] = []
    budget = Budget(64 << 20)
    judged, examining = examiner(), Examining(budget, time.monotonic_ns)
    examining.on_heavy = lambda: called.append(1)
    one = trial(judged, heavy(1), heavy(2))
    examining.take(one)
    assert (judged.compared, len(examining.heavy), called) == (0, 1, [1])
    answers = (one.exchange.response, one.candidate.response)
    heads = len(one.exchange.request.head) + sum(len(answer.head) for answer in answers if answer is not None)
    assert budget.used == len(heavy(1)) + len(heavy(2)) + heads
    examining.compared(examining.heavy.popleft(), None)
    assert (judged.compared, judged.by_digest, judged.differing, budget.used) == (1, 1, 1, 0)
    (endpoint,) = judged.endpoints.values()
    assert [group.kind for field in endpoint.fields.values() for group in field.groups.values()] == ["digest"]


def test_where_nobody_takes_them_they_are_compared_by_digest() -> None:
    judged, examining = examiner(), Examining(Budget(), clock=Clock())
    examining.take(trial(judged, heavy(1), heavy(2), heavy(2)))
    assert (judged.compared, judged.by_digest, judged.differing) == (1, 1, 1)
    examining.take(trial(judged, heavy(1), heavy(1), heavy(1), method=b"POST", body=b'{"a":1}'))
    assert (judged.compared, judged.by_digest, judged.differing) == (2, 1, 1), "equal ones need no word"


@pytest.mark.parametrize("equal_first", [False, True])
def test_another_candidate_has_productions_answer_whole(equal_first: bool) -> None:
    """Both hold the same object: what is cut for one must not be a digest to the other."""
    judged, examining = [examiner(), examiner()], Examining(Budget(64 << 20), clock=Clock())
    examining.on_heavy = lambda: None
    one = trial(judged[0], heavy(1), heavy(1) if equal_first else heavy(2))
    two = Trial(judged[1], one.exchange, side(heavy(3)), None)
    examining.take(one)
    examining.take(two)
    if not equal_first:
        examining.compared(examining.heavy.popleft(), None)
    assert judged[0].by_digest == (not equal_first)
    assert list(examining.heavy) == [two]
    assert one.exchange.response is not None
    assert (one.exchange.response.body, one.exchange.response.digest) == (heavy(1), b"")
    assert two.candidate.response is not None
    assert two.candidate.response.body == heavy(3)


def test_their_queue_is_bounded() -> None:
    judged, examining = examiner(), Examining(Budget(), clock=Clock())
    examining.on_heavy = lambda: None
    for number in range(2 * MAX_HEAVY):
        examining.take(trial(judged, heavy(0), heavy(number + 1)))
    assert len(examining.heavy) == min(MAX_HEAVY, MAX_BYTES // (2 * len(heavy(0))))
    assert judged.by_digest == 2 * MAX_HEAVY - len(examining.heavy)
    examining.abandon_heavy()
    assert (judged.compared, len(examining.heavy), examining._bytes) == (2 * MAX_HEAVY, 0, 0)


BODIES: dict[str, Callable[[int], bytes]] = {
    "numbers": lambda seed: json.dumps([random.Random(seed).random() for _ in range(20_000)]).encode(),
    "empty lists": lambda seed: b"[" + b"[]," * 20_000 + b"%d]" % seed,
    "keys": lambda seed: json.dumps({f"{seed}-{n}": n for n in range(20_000)}).encode(),
    "digits": lambda seed: b"[" + b"9" * 4_000 + b"%d]" % seed,
    "lines": lambda seed: b"%d\n" % seed + b"x\n" * 40_000,
    "elements": lambda seed: b"<a>" + b"<b/>" * 20_000 + b"%d</a>" % seed,
    "events": lambda seed: b"data: []\n\n" * 20_000 + b"data: %d\n\n" % seed,
    "pairs": lambda seed: b"a=1&" * 20_000 + b"b=%d" % seed,
    "escapes": lambda seed: b'["' + b"\\u00e9" * 40_000 + b'%d"]' % seed,
    "nested": lambda seed: b"[" * 60 + b"0," * 15_000 + b"%d" % seed + b"]" * 60,
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("coded", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_no_shape_is_compared_in_the_pump_beyond_measure(kind: str, coded: bool, method: bytes) -> None:
    """By what the examiner is handed: nothing that was not light. A few kilobytes on the wire may be megabytes."""
    handed: list[int] = []

    class Watching(Examiner):
        def examine(self, one: Trial) -> None:
            answers = [one.exchange.response, one.candidate.response]
            handed.append(sum(burden(response) for response in answers if response is not None))
            super().examine(one)

    judged = Watching(Settings(twin=0.5), Rules())
    examining = Examining(Budget(), clock=Clock())
    bodies = [BODIES[kind](seed) for seed in (1, 2)]
    if coded:
        bodies = [gzip.compress(body) for body in bodies]
    head = b"Content-Encoding: gzip\r\n" if coded else b""
    asked = b'{"query":"{ a }","model":"m"}' if method == b"POST" else b""
    examining.take(trial(judged, bodies[0], bodies[1], method=method, head=head, body=asked))
    assert judged.by_digest == 1
    assert max(handed) <= LIGHT
    assert judged.differing == 1


def test_a_bomb_is_not_undone() -> None:
    made = answer(gzip.compress(bytes(50 << 20)), b"Content-Encoding: gzip\r\n")
    assert burden(made) > LIGHT
    assert burden(answer(b"x" * SMALL)) < 100


# --- faults -----------------------------------------------------------------------------------------------------------

STAGES: dict[str, tuple[Callable[[Examiner], Any], str]] = {
    "outcome": (lambda one: one, "_judge_outcome"),
    "endpoint": (lambda one: one, "_endpoint"),
    "drift": (lambda one: one, "_content_drifts"),
    "timing": (lambda one: one.timing, "note"),
    "status": (lambda one: one.contents, "judge_status"),
    "content": (lambda one: one.contents, "judge"),
    "difference": (lambda one: one.contents, "_count_difference"),
    "third": (lambda one: one.contents, "_compare_third"),
    "look back": (lambda one: one.contents, "_look_back"),
    "repeat": (lambda one: one.contents, "_compare_repeat"),
    "example": (lambda one: one.contents, "remember"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_is_its_exchanges_alone(stage: str) -> None:
    told: list[str] = []
    examining = Examining(Budget(), on_failure=told.append, clock=Clock())
    judged = examiner()
    owner_of, name = STAGES[stage]
    owner = owner_of(judged)
    original = getattr(owner, name)
    hit = []

    def fail(*arguments: Any, **more: Any) -> Any:
        hit.append(1)
        raise TypeError("unhashable type: 'list'")

    setattr(owner, name, fail)
    for number in range(3):
        examining.take(trial(judged, b'{"a":0}', b'{"a":%d}' % (number + 1), b'{"a":9}'))
    assert len(hit) == 3, "the stage was reached"
    assert judged.faults == 3
    assert list(examining.failed.values()) == [3]
    assert len(told) == 1, "told once"
    assert told[0].endswith("TypeError")
    setattr(owner, name, original)
    compared = judged.compared
    examining.take(trial(judged, b'{"a":0}', b'{"a":1}', b'{"a":1}'))
    assert (judged.compared, judged.faults) == (compared + 1, 3)


def test_an_answer_that_cannot_be_weighed_is_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(response: Response) -> int:
        raise RecursionError

    examining, judged = Examining(Budget(), clock=Clock()), examiner()
    monkeypatch.setattr("shadowd.evidence.examining.burden", fail)
    examining.take(trial(judged, b'{"a":0}', b'{"a":1}'))
    assert (judged.compared, judged.by_digest, judged.faults, sum(examining.failed.values())) == (1, 1, 1, 1)


@pytest.mark.parametrize("name", ["note_write", "note_written", "wants_twin"])
def test_learning_may_fail_as_well(name: str) -> None:
    examining, judged = Examining(Budget(), clock=Clock()), examiner()

    def fail(*arguments: Any) -> Any:
        raise KeyError("id")

    setattr(judged, name, fail)
    one = trial(judged, b"{}", b"{}")
    examining.note_write(judged, one.exchange.request)
    examining.note_written(judged, one.exchange)
    assert examining.wants_twin(judged, one.exchange.request, 0.9) is False
    assert (judged.faults, sum(examining.failed.values())) == (1, 1)


def test_places_are_bounded() -> None:
    examining, judged = Examining(Budget(), clock=Clock()), examiner()
    for number in range(200):
        error = type(f"Error{number}", (Exception,), {})

        def fail(one: Trial, error: type[Exception] = error) -> None:
            raise error

        judged.examine = fail  # type: ignore[method-assign]
        examining.take(trial(judged, b"{}", b"{}"))
    assert sum(examining.failed.values()) == 200
    assert len(examining.failed) <= 51


def test_without_an_allowance_nothing_is_pending() -> None:
    """Else the pump would go on at once, again and again, and burn the core that comparing is not to have."""
    clock = Clock()
    judged, examining = examiner(), Examining(Budget(), clock=clock)
    compare: Callable[[Trial], None] = judged.examine

    def work(one: Trial) -> None:
        clock.now += SAVED + MS
        compare(one)

    judged.examine = work  # type: ignore[method-assign]
    for number in range(3):
        examining.take(trial(judged, b'{"a":0}', b'{"a":%d}' % (number + 1)))
    assert (judged.compared, examining.statistics().waiting, examining.pending) == (1, 2, False)
    examining.go_on(clock.now)  # this turn's time is used up, and the time that passed is allowance again
    assert (judged.compared, examining.pending) == (1, True)
    examining.go_on(clock.now)
    assert judged.compared == 2


# --- answers of a model -----------------------------------------------------------------------------------------------


def piece(content: str, finish: str | None = None) -> bytes:
    """As OpenAI sends it."""
    about = {"id": "chatcmpl-123456789012345678901234", "object": "chat.completion.chunk", "created": 1_700_000_000}
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": finish}
    said = {**about, "model": "gpt-4o-mini", "system_fingerprint": "fp_44709d6fcb", "choices": [choice]}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def talk(judged: Examiner, streams: list[bytes], baseline: bool = False) -> Trial:
    """Answers to one prompt: production's, the candidate's, a third's."""
    asking = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n"
    request = Request(b"POST", b"/v1/chat/completions", head, asking, 0, len(head) + len(asking), MS, MS)
    made = trial(judged, *streams[:2])
    made.exchange.request = request
    if baseline:
        made.baseline = side(streams[2])
    answers = [made.exchange.response, made.candidate.response]
    for one in (*answers, made.baseline.response if made.baseline is not None else None):
        if one is not None:
            one.head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    return made


def test_three_streams_as_long_as_is_kept_are_read() -> None:
    judged, examining = examiner(), Examining(Budget(64 << 20), Clock())
    examining.on_heavy = lambda: None
    size = (256 << 10) // len(piece("hello")) - 2
    streams = [piece("hello") * size + piece(end) + piece("", "stop") for end in ("one", "two", "thr")]
    examining.take(talk(judged, streams, baseline=True))
    examining.go_on(SECOND)
    assert (judged.compared, len(examining.heavy), judged.by_digest) == (1, 0, 0)
    found = judged.endpoints[ALL_PROMPTS].talk
    assert found is not None
    assert (found.too_long, found.models[1]) == (0, {"gpt-4o-mini": 1})


def test_what_is_not_read_is_counted_and_said() -> None:
    """Events that cost more than they say; who reads the report is told."""
    judged, examining = examiner(), Examining(Budget(64 << 20), Clock())
    streams = [b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % end * 5_000 for end in (b"A", b"B")]
    examining.take(talk(judged, streams))
    assert (judged.compared, judged.by_digest) == (1, 1)
    found = judged.endpoints[ALL_PROMPTS].talk
    assert found is not None
    assert found.too_long == 1
    limits = " ".join(Assessment(judged, 1, 60.0).finish()["limits"])
    assert "1 exchanges were compared by digest" in limits
    assert "1 answers of models are longer than is read" in limits
