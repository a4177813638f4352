"""Recording: a fault with one exchange costs that exchange, a fault with one run that run, and neither the daemon."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.redact.redaction import Redactor
from shadowd.runs.recording import Recorder
from shadowd.runs.runs import Runs
from shadowd.runs.slices import Slice
from shadowd.store.batch import Batch
from tests.unit.compare.exchanges import answer, examine, request, side

SECRET = "hunter2-in-the-error"


class Store:
    """Takes batches; knows every run already."""

    opened = 0
    problem = ""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def submit_nowait(self, batch: Batch) -> bool:
        self.batches.append(batch)
        return True


class Idle:
    """In the place of the keeper and of vitals."""

    unseen = ""

    def forget(self) -> None: ...

    async def keep(self, run: Any) -> None: ...

    def judgements(self, *given: Any) -> tuple[()]:
        return ()


def run_of(number: int) -> Any:
    examiner = Examiner(Settings(twin=0.5), Rules())
    for body in ("{}", '{"a":1}', '{"b":2}'):
        examine(examiner, request(f"/{number}"), answer({"n": 0}), side(answer({"n": 1, "body": body})))
    assert examiner.examples
    return SimpleNamespace(
        id=number, examiner=examiner, eligible=3, served=3, asked=3, activity=(3, 3, 3, 3), assessment=None,
        assessed_at=0.0, assessed_of=None, looked_of=None, slices=[Slice(0.0)], notes=[], label="", began=0.0,
        ended=0.0, vitals=Idle(), fill=lambda now: None, seconds=lambda now: 60.0,
        target=SimpleNamespace(url=f"http://s{number}"),
        entry=SimpleNamespace(spec=SimpleNamespace(name=f"f{number}")),
    )  # fmt: skip


def recorded(recorder: Recorder, rounds: int = 1) -> tuple[Runs, Store, list[tuple[str, dict[str, Any]]]]:
    store, told = Store(), list[tuple[str, dict[str, Any]]]()
    runs = Runs(store, recorder, lambda line, **words: told.append((line, words)))  # type: ignore[arg-type]
    runs.keeper = Idle()  # type: ignore[assignment]
    runs.current = {(f"f{number}", "t"): run_of(number) for number in (1, 2)}

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(rounds):
                nursery.start_soon(runs.record)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

    trio.run(main)
    return runs, store, told


def fail(*given: Any, **more: Any) -> Any:
    raise KeyError(SECRET)


def test_without_a_fault_all_is_recorded() -> None:
    runs, store, told = recorded(Recorder(Redactor(b"k" * 32), "node"))
    assert (runs.problem, told) == ("", [])
    assert [len(batch.examples) > 0 for batch in store.batches] == [True, True]


@pytest.mark.parametrize("stage", ["_turns", "_side", "_body"])
def test_an_example_that_cannot_be_shown_costs_nothing_else(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    recorder = Recorder(Redactor(b"k" * 32), "node")
    monkeypatch.setattr(recorder, stage, fail)
    runs, store, told = recorded(recorder)
    assert [batch.verdicts[0]["run"] for batch in store.batches] == [1, 2]
    if stage == "_turns":  # not on the way of HTTP
        assert not runs.problem
        return
    assert {str(one["example"]["production"]) for batch in store.batches for one in batch.examples} == {
        "{'failure': 'it cannot be shown, by a fault of shadowd: see shadowctl status'}"
    }
    shown = [group["details"]["candidate"] for batch in store.batches for group in batch.groups]
    assert shown
    assert not [value for value in shown if "body" in value or "{" in value], "nothing was seen to be harmless"
    assert "recording.py" in runs.problem
    assert "KeyError" in runs.problem
    assert SECRET not in runs.problem + str(told), "traffic may have written an error's words"
    assert len(told) == 1


@pytest.mark.parametrize("stage", ["batch", "listen", "told", "differences", "signatures"])
def test_a_run_that_cannot_be_recorded_is_no_others_loss(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    recorder = Recorder(Redactor(b"k" * 32), "node")
    original, calls = getattr(recorder, stage), []

    def first_fails(*given: Any) -> Any:
        calls.append(given)
        return fail() if len(calls) == 1 else original(*given)

    monkeypatch.setattr(recorder, stage, first_fails)
    runs, store, told = recorded(recorder)
    assert [batch.verdicts[0]["run"] for batch in store.batches] == [2]
    assert len(told) == 1
    assert "KeyError" in runs.problem
    assert SECRET not in runs.problem + str(told)


def test_an_example_is_looked_at_in_parts_and_others_between_them() -> None:
    """Each part may take tens of milliseconds of the pump's turn; what is masked meanwhile is another exchange's."""
    redactor = Redactor(b"k" * 32)
    recorder, beside = Recorder(redactor, "node"), Recorder(redactor, "node")
    examiner = run_of(1).examiner
    example = next(iter(examiner.examples))
    parts = 0
    for _ in recorder._make(example):
        parts += 1
        assert redactor.heard is None
        assert "xyzzy-the-other" not in redactor.text("password=xyzzy-the-other")
    assert parts >= 3
    assert hash("xyzzy-the-other") not in recorder._heard[example.group]
    assert recorder.example(example) == beside.example(example)


def test_the_end_may_come_while_runs_are_registered() -> None:
    """Two tasks tell the store the same things then: each of them is told once, and nothing is raised."""
    told: list[str] = []

    class Slow(Store):
        async def ask(self, question: Any) -> Any:
            told.append(f"{question.func.__name__} {question.args[0]}")
            await trio.testing.wait_all_tasks_blocked()

    async def both() -> None:
        runs = Runs(Slow(), Recorder(Redactor(b"k" * 32), "node"), lambda line, **words: None)  # type: ignore[arg-type]
        runs._resumed = [3, 4]
        runs._closing = [(5, 0.0, "over")]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runs._register)
            nursery.start_soon(runs._register)

    trio.run(both)
    assert told == ["_resume_run 3", "_resume_run 4", "_end_run 5"]
