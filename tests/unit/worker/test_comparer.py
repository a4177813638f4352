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
from shadowd.ledger.budget import Budget
from shadowd.worker.comparer import Comparer, ReplyError, asked, replied_untrusted
from shadowd.worker.comparer_worker import HEADER, compare
from tests.unit.evidence.test_examining import answer, heavy, trial


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
    (found,) = replied_untrusted(said[HEADER.size :], 1)
    assert length == len(said) - HEADER.size
    assert [(one.path, one.production, one.candidate) for one in found] == [("$.a", "1", "2")]


def test_what_it_was_asked_is_what_it_compares() -> None:
    judged = examiner()
    pairs = pickle.loads(asked(trial(judged, b'{"a":1}', b'{"a":2}', b'{"a":3}')))
    assert [(ours.body[-2:-1], theirs.body[-2:-1]) for ours, theirs, *_ in pairs] == [
        (b"1", b"2"), (b"1", b"3"), (b"2", b"3"),
    ]  # fmt: skip
    found = replied_untrusted(compare(pairs), 3)
    direct = [compare_answers(answer(b'{"a":%d}' % a), answer(b'{"a":%d}' % b), Options()) for a, b in
              ((1, 2), (1, 3), (2, 3))]  # fmt: skip
    assert list(map(tuple, found)) == list(map(tuple, direct))


@given(st.binary(max_size=200), st.integers(0, 3))
def test_nonsense_is_refused(data: bytes, pairs: int) -> None:
    try:
        assert len(replied_untrusted(data, pairs)) == pairs
    except ReplyError:
        pass


@pytest.mark.parametrize(
    "reply",
    [None, 1, [], [1], [[0]], [[0, 1]], [["0", []]], [[0, [[]]]], [[0, [["body", "p", "k", "a", 1]]]], {"a": 1}],
)
def test_a_reply_of_another_shape_is_refused(reply: object) -> None:
    with pytest.raises(ReplyError):
        replied_untrusted(msgpack.packb(reply), 1)
