"""The comparer process: the same differences as in the pump, and what its death, its silence or its nonsense cost."""

from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import shadowd.worker.comparer as comparing
from shadowd.compare.answers import compare_answers
from shadowd.compare.difference import Options
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.examining import Examining
from shadowd.evidence.rules import Rules
from shadowd.evidence.trial import Faults
from shadowd.ledger.budget import Budget
from shadowd.worker.comparer import Comparer, ReplyError, asked, replied_untrusted
from shadowd.worker.comparer_worker import HEADER, compare
from tests.unit.evidence.test_examining import answer, heavy, side, trial


def examiner() -> Examiner:
    return Examiner(Settings(twin=0.5, options=Options(ignore_headers=["x-a"])), Rules())


def until(done: Callable[[], bool], comparer: Comparer) -> None:
    """Runs the comparer until ``done``, 60 s at most."""

    async def main() -> None:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(comparer.run)
                await trio.sleep(0)
                comparer._call()
                while not done():
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_it_finds_what_the_pump_would_find() -> None:
    judged, examining = examiner(), Examining(Budget(64 << 20), time.monotonic_ns)
    comparer = Comparer(examining, {})
    examining.on_heavy = lambda: None
    documents = [{"list": list(range(12_000)), "n": n, "x": {"y": [n]}} for n in (1, 2, 3)]
    bodies = [json.dumps(one).encode() for one in documents]
    for _ in range(2):
        examining.take(trial(judged, bodies[0], bodies[1], bodies[2]))
    assert len(examining.heavy) == 2
    until(lambda: judged.compared == 2, comparer)
    assert comparer.started == 1
    assert (judged.by_digest, examining.elsewhere, judged.differing, examining._budget.used) == (0, 2, 2, 0)
    (endpoint,) = judged.endpoints.values()
    assert set(endpoint.fields) == {("body", "$.n"), ("body", "$.x.y[*]")}
    (example, *_) = judged.examples
    assert example.production is not None
    assert example.production[2] == bodies[0][: len(example.production[2])] != b""


@pytest.mark.parametrize("stage", ["asked", "replied_untrusted", "answers_of"])
def test_a_fault_of_ours_costs_its_trial_alone(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    judged, examining = examiner(), Examining(Budget(), time.monotonic_ns)
    examining.on_heavy = lambda: None
    for number in range(2):
        examining.take(trial(judged, heavy(0), heavy(number + 1)))
    original, failed = getattr(comparing, stage), []

    def once(*given: object) -> object:
        if not failed:
            failed.append(1)
            raise KeyError("hunter2")
        return original(*given)

    monkeypatch.setattr(comparing, stage, once)
    until(lambda: judged.compared == 2, Comparer(examining, {}))
    assert (judged.faults, judged.by_digest, examining.elsewhere, list(examining.failed.values())) == (1, 1, 1, [1])


def test_a_process_that_dies_costs_its_trial_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that ends at once, thrice; then the real one."""
    judged, examining = examiner(), Examining(Budget(), time.monotonic_ns)
    problems: dict[str, str] = {}
    comparer = Comparer(examining, problems)
    examining.on_heavy = lambda: None
    script = tmp_path / "python"
    count = tmp_path / "count"
    script.write_text(
        f'#!/bin/sh\necho x >> {count}\n[ "$(wc -l < {count})" -gt 2 ] && exec {sys.executable} "$@"\nexit 1\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(comparing.sys, "executable", str(script))
    for number in range(4):
        examining.take(trial(judged, heavy(0), heavy(number + 1)))
    until(lambda: judged.compared == 4, comparer)
    assert (judged.by_digest, examining.elsewhere, problems, comparer.started) == (2, 2, {}, 3)


def test_where_none_can_be_started_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    judged, examining = examiner(), Examining(Budget(), time.monotonic_ns)
    problems: dict[str, str] = {}
    comparer = Comparer(examining, problems)
    examining.on_heavy = lambda: None
    monkeypatch.setattr(comparing.sys, "executable", "/nowhere/python")
    for number in range(3):
        examining.take(trial(judged, heavy(0), heavy(number + 1)))
    until(lambda: judged.compared == 3, comparer)
    assert judged.by_digest == 3
    assert "cannot be started" in problems["comparer"]


def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    judged, examining = examiner(), Examining(Budget(), time.monotonic_ns)
    comparer = Comparer(examining, {})
    examining.on_heavy = lambda: None
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 1000\n")
    script.chmod(0o755)
    monkeypatch.setattr(comparing.sys, "executable", str(script))
    monkeypatch.setattr(comparing, "REPLY_LIMIT", 0.2)
    examining.take(trial(judged, heavy(0), heavy(1)))
    until(lambda: judged.compared == 1, comparer)
    assert judged.by_digest == 1
    assert comparer._process is None


def test_its_cpu_and_memory_are_limited() -> None:
    code = (
        "import resource, shadowd.worker.comparer_worker as w; w.limit(); w.begin_trial();"
        "print(*resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CPU)[0])\n"
        "import os; print(os.nice(0))\n"
        "try: bytearray(1 << 30)\nexcept MemoryError: print('no more')\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    space, most, seconds, nice, refused = said.split(None, 4)
    assert int(space) == int(most) < 1 << 30
    assert 0 < int(seconds) < 30
    assert (nice, refused.strip()) == ("19", "no more")
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != int(space)


def test_a_question_is_answered_in_frames() -> None:
    content = asked(trial(examiner(), b'{"a":1}', b'{"a":2}'))
    said = subprocess.run(
        [sys.executable, "-m", "shadowd.worker.comparer_worker"], input=HEADER.pack(len(content)) + content,
        capture_output=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    (length,) = HEADER.unpack(said[: HEADER.size])
    (found,), faults = replied_untrusted(said[HEADER.size :], 2)
    assert faults == (Faults(None, None), Faults(None, None))
    assert length == len(said) - HEADER.size
    assert [(one.path, one.production, one.candidate) for one in found] == [("$.a", "1", "2")]


def test_what_it_was_asked_is_what_it_compares() -> None:
    judged = examiner()
    pairs, answers = pickle.loads(asked(trial(judged, b'{"a":1}', b'{"a":2}', b'{"a":3}')))
    assert [(ours.body[-2:-1], theirs.body[-2:-1]) for ours, theirs, *_ in pairs] == [
        (b"1", b"2"), (b"1", b"3"), (b"2", b"3"),
    ]  # fmt: skip
    assert answers == (pairs[0][0], pairs[0][1], pairs[1][1])
    found = replied_untrusted(compare(pairs, answers), 3).differences
    direct = [compare_answers(answer(b'{"a":%d}' % a), answer(b'{"a":%d}' % b), Options()) for a, b in
              ((1, 2), (1, 3), (2, 3))]  # fmt: skip
    assert list(map(tuple, found)) == list(map(tuple, direct))


GRAPHQL = b'{"data":{"list":[%s]},"errors":[{"message":"the stock is down","extensions":{"code":"INTERNAL"}}]}'


@pytest.mark.parametrize("third", ["none", "twin", "baseline"])
def test_an_error_at_the_end_of_a_heavy_answer_is_seen(third: str) -> None:
    """In what is kept of the body for people there is none of it."""
    judged, examining = examiner(), Examining(Budget(64 << 20), time.monotonic_ns)
    examining.on_heavy = lambda: None
    numbers = b"1," * 60_000 + b"2"
    good = b'{"data":{"list":[%s]}}' % numbers
    for _ in range(2):
        asking = trial(judged, good, GRAPHQL % numbers, good if third == "twin" else None, b"POST", body=b"{}")
        if third == "baseline":
            asking.baseline = side(GRAPHQL % (numbers + b",3"))
        examining.take(asking)
    assert len(examining.heavy) == 2
    until(lambda: judged.compared == 2, Comparer(examining, {}))
    assert (judged.by_digest, examining.elsewhere) == (0, 2)
    (signature,) = judged.signatures.values()
    assert "the stock is down" in signature.signature.title
    assert (signature.count, signature.production_count) == (2, 0)
    failing = judged.outcomes.failing.against.count
    assert failing == (0 if third == "baseline" else 2), "the baseline errs as well"
    assert judged.outcomes.total.count == 2


def test_the_signature_of_a_heavy_error() -> None:
    judged, examining = examiner(), Examining(Budget(64 << 20), time.monotonic_ns)
    examining.on_heavy = lambda: None
    detail = b'{"context":[%s],"error":{"code":"E17","message":"stock lookup failed"}}' % (b"1," * 25_000 + b"2")
    examining.take(trial(judged, heavy(0), detail, status=500))
    assert len(examining.heavy) == 1
    until(lambda: judged.compared == 1, Comparer(examining, {}))
    (signature,) = judged.signatures.values()
    assert "stock lookup failed" in signature.signature.title


@given(st.binary(max_size=200), st.integers(0, 3))
def test_nonsense_is_refused(data: bytes, answers: int) -> None:
    try:
        assert len(replied_untrusted(data, answers).faults) == answers
    except ReplyError:
        pass


WHOLE: list[object] = [[[0, [["body", "$.a", "value", "1", "2"]]]], [[None, None], [None, None]]]


@pytest.mark.parametrize(
    "reply",
    [None, 1, [], [1], [1, 2], [[0]], [[], []], {"a": 1}, [WHOLE[0], []], [WHOLE[0], [[None, None]]],
     [[], WHOLE[1]],
     *([[pair], WHOLE[1]] for pair in (1, [0, 1], ["0", []], [0, [[]]], [0, [["b", "p", "k", "a", 1]]])),
     *([WHOLE[0], [[None, None], one]] for one in (
         None, [], [None], [None, None, None], [1, None], [[], None], [[1], None], [[3, "k", "t", "0" * 16], None],
         [[True, "k", "t", "0" * 16], None], [[2, "k", "t", "0" * 15 + "g"], None], [[2, "k", "t"], None], [None, 1],
         [None, ["k", "t", 1]], [None, ["k", "t", "A" * 16]], [None, []],
     ))],
)  # fmt: skip
def test_a_reply_of_another_shape_is_refused(reply: object) -> None:
    replied_untrusted(msgpack.packb(WHOLE), 2)
    with pytest.raises(ReplyError):
        replied_untrusted(msgpack.packb(reply), 2)


def test_what_is_said_of_an_error_cannot_break_out() -> None:
    told = ["k" * 1000 + "\x1b[2J", "title\x1b[31m\n" + "t" * 5000, "0123456789abcdef"]
    faults = replied_untrusted(msgpack.packb([WHOLE[0], [[[2, *told], None], [None, told]]]), 2).faults
    assert faults[0].inside is not None
    assert faults[1].signature is not None
    for signature in (faults[0].inside.signature, faults[1].signature):
        assert (len(signature.kind), len(signature.title)) <= (60, 200)
        assert signature.kind.isprintable()
        assert signature.title.isprintable()
