"""Runs that outlive the daemon: what waits while evidence is written, when it is kept, and who may take it up."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from shadowd.config.document import FilterSpec
from shadowd.evidence import freezing
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.freezing import FreezeError, freeze, freeze_steps
from shadowd.evidence.rules import Rules
from shadowd.evidence.thawing import thaw_untrusted
from shadowd.evidence.trial import Trial
from shadowd.exchange.exchange import Exchange
from shadowd.judge.assessment import Assessment
from shadowd.redact.redaction import Redactor
from shadowd.runs import resuming
from shadowd.runs.recording import Recorder
from shadowd.runs.resuming import EVERY, HELD, SHARE, STOPPED, WITHIN, Hold, Keeper, registry
from shadowd.runs.run import Run
from shadowd.store.database import Database
from shadowd.store.writer import StoreWriter
from shadowd.worker.entry import Entry
from tests.unit.compare.exchanges import MS, answer, request, side
from tests.unit.loopback import Mirror
from tests.unit.store.test_writer import DAY, run_with, until


def trial(examiner: Examiner, number: int) -> Trial:
    """The same one for the same number; some differ, some fail."""
    dice = random.Random(number)
    exchange = Exchange(0, request(f"/orders/{number}", time=(number + 1) * 10 * MS), 0)
    exchange.response = answer({"n": number})
    exchange.response.first_byte = exchange.response.last_byte = exchange.request.ended + MS
    exchange.answered = True
    candidate = answer({"n": -1 if dice.random() < 0.1 else number}, 500 if dice.random() < 0.05 else 200)
    return Trial(examiner, exchange, side(candidate), None)


def new() -> Examiner:
    return Examiner(Settings(warmup=0.0), Rules())


def judged(examiner: Examiner) -> Any:
    assessment = Assessment(examiner, examiner.compared, 60.0)
    return assessment.finish(), assessment.differences


# --- what waits -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["examine", "note_write"])), max_size=60), st.randoms())
def test_held_or_not_an_examiner_is_told_the_same_in_the_same_order(
    told: list[tuple[bool, str]], dice: random.Random
) -> None:
    """The oracle is an examiner that was never held."""
    held, free = new(), new()
    hold: Hold | None = None
    for number, (toggle, what) in enumerate(told):
        if toggle and hold is None:
            hold = Hold(held).__enter__()
        elif toggle and hold is not None:
            hold.__exit__(None, None, None)
            hold = None
        for examiner in (held, free):
            if what == "examine":
                examiner.examine(trial(examiner, number))
            else:
                examiner.note_write(request(f"/orders/{number + 1}", "PUT", time=(number + 1) * 10 * MS))
        if hold is None:
            assert held.compared == free.compared
    if hold is not None:
        hold.__exit__(None, None, None)
    assert judged(held) == judged(free)
    assert held.drifted == free.drifted
    assert held.held is None


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence of few endpoints is written in many steps, as that of many is."""
    monkeypatch.setattr(freezing, "STEP", 20)


@pytest.mark.usefixtures("short_steps")
def test_while_it_is_held_nothing_moves() -> None:
    examiner = new()
    for number in range(300):
        examiner.examine(trial(examiner, number))
    before = freeze(examiner, registry())
    steps = freeze_steps(examiner, registry())
    number, data = 300, b""
    with Hold(examiner):
        while not data:
            try:
                next(steps)
            except StopIteration as done:
                data = done.value
            examiner.examine(trial(examiner, number))
            examiner.note_written(trial(examiner, number).exchange)
            number += 1
    assert number > 310, "there were steps in between"
    assert examiner.compared == number
    assert thaw_untrusted(data, registry()).compared == 300
    assert judged(thaw_untrusted(data, registry())) == judged(thaw_untrusted(before, registry()))


def test_a_fault_in_one_exchange_loses_no_other() -> None:
    class Faulty(Examiner):
        def examine(self, trial: Trial) -> None:
            if self.held is None and trial.exchange.request.target == b"/orders/1":
                raise ZeroDivisionError
            super().examine(trial)

    settings = new().settings
    examiner = Faulty(settings, Rules())
    hold = Hold(examiner).__enter__()
    for number in range(3):
        examiner.examine(trial(examiner, number))
    assert examiner.compared == 0
    with pytest.raises(ZeroDivisionError):
        hold.__exit__(None, None, None)
    assert examiner.compared == 2


def test_too_many_that_wait_are_told() -> None:
    examiner = new()
    with Hold(examiner) as hold:
        for number in range(HELD + 1):
            assert not hold.overflown
            examiner.note_write(request("/a", "PUT", time=number))
        assert hold.overflown
    assert not hold.overflown


# --- when it is kept --------------------------------------------------------------------------------------------------


class Clock:
    """In place of the module ``time``: stands still, or moves by ``step`` with each look."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.step = 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    def time(self) -> float:
        return self.now + 1_700_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(resuming, "time", made)
    return made


@pytest.fixture
def run(mirror: Mirror) -> Run:
    return made_run(mirror)


def made_run(mirror: Mirror, **fields: Any) -> Run:
    target = mirror.target(1)
    spec = FilterSpec.model_validate({"name": "shop", "ports": ["80"], "targets": [{"url": target.url}], **fields})
    return Run(Entry(spec, "control", mirror.filter), target, Rules(), "v2", time.time())


def see(run: Run, many: int) -> None:
    """Exchanges of the run; the ledger counts them."""
    account = run.entry.filter.account
    for _ in range(many):
        account.seen += 1
        run.target.account.mirrored += 1
        run.examiner.examine(trial(run.examiner, account.seen))


class Told:
    """A writer that remembers what it was given."""

    max_bytes = 1 << 30

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def submit_nowait(self, batch: Any) -> bool:
        self.rows += batch.evidence
        return True

    @property
    def compared(self) -> list[int]:
        return [resuming.thawed_untrusted(row["data"])["examiner"].compared for row in self.rows]


def keeper_of(told: object) -> Keeper:
    return Keeper(told, Recorder(Redactor(b"k" * 32), "node"))  # type: ignore[arg-type]


def test_evidence_is_kept_once_a_minute_where_there_is_more(clock: Clock, run: Run) -> None:
    told = Told()
    keeper = keeper_of(told)

    async def work() -> None:
        see(run, 50)
        await keeper.keep(run)
        clock.now += EVERY - 0.01
        await keeper.keep(run)
        assert told.rows == [], "the first minute is not over"
        clock.now += 0.01
        await keeper.keep(run)
        await keeper.keep(run)
        assert told.compared == [50]
        clock.now += 10 * EVERY
        await keeper.keep(run)
        assert told.compared == [50], "nothing has happened since"
        see(run, 1)
        await keeper.keep(run)
        assert told.compared == [50, 51]
        see(run, 1)
        clock.now += EVERY - 0.01
        await keeper.keep(run)
        assert told.compared == [50, 51]

    trio.run(work)
    assert keeper.problems == {}


@pytest.mark.usefixtures("short_steps")
def test_what_took_long_is_kept_more_seldom(clock: Clock, run: Run) -> None:
    told = Told()
    keeper = keeper_of(told)

    async def work() -> None:
        see(run, 50)
        await keeper.keep(run)
        clock.now += EVERY
        clock.step = 1.0  # each step takes a second
        await keeper.keep(run)
        clock.step = 0.0
        assert len(told.rows) == 1
        assert run.keep_at - clock.now >= 10 * SHARE
        assert (run.keep_at - clock.now) % SHARE == 0

    trio.run(work)


async def kept_under_load(keeper: Keeper, run: Run, each: int) -> int:
    """Keep while ``each`` exchanges end between two steps; how many had been compared when it began."""

    async def traffic() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            see(run, each)

    before = run.examiner.compared
    async with trio.open_nursery() as nursery:
        nursery.start_soon(traffic)
        await keeper.keep(run)
        nursery.cancel_scope.cancel()
    return before


@pytest.mark.usefixtures("short_steps")
def test_traffic_goes_on_meanwhile_and_what_is_kept_is_of_one_moment(clock: Clock, run: Run) -> None:
    told = Told()
    keeper = keeper_of(told)

    async def work() -> None:
        see(run, 300)
        await keeper.keep(run)
        clock.now += EVERY
        before = await kept_under_load(keeper, run, 1)
        assert told.compared == [before]
        kept = resuming.thawed_untrusted(told.rows[0]["data"])
        assert kept["eligible"] == kept["served"] == before
        assert run.examiner.compared == run.entry.filter.account.seen > before, "and nothing was lost"

    trio.run(work)


@pytest.mark.usefixtures("short_steps")
def test_too_much_traffic_puts_it_off(clock: Clock, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "HELD", 5)
    told = Told()
    keeper = keeper_of(told)

    async def work() -> None:
        see(run, 300)
        await keeper.keep(run)
        clock.now += EVERY
        await kept_under_load(keeper, run, 4)
        assert told.rows == []
        assert run.examiner.compared == run.entry.filter.account.seen
        clock.now += EVERY
        await keeper.keep(run)
        assert told.compared == [run.examiner.compared], "the next time is calmer"

    trio.run(work)


def test_what_cannot_be_kept_is_told_until_it_can(clock: Clock, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    keeper = keeper_of(told)

    def refusing(*_: object) -> Iterator[None]:
        yield
        raise FreezeError("it has too many parts")

    async def work() -> None:
        see(run, 10)
        monkeypatch.setattr(resuming, "freeze_steps", refusing)
        await keeper.keep_last(run)
        assert "the evidence of shop would not survive a restart: it has too many parts" in keeper.problems["shop"]
        monkeypatch.undo()
        told.max_bytes = 1000
        await keeper.keep_last(run)
        assert "let the store be larger (max_size)" in keeper.problems["shop"]
        assert told.rows == []
        told.max_bytes = 1 << 30
        await keeper.keep_last(run)
        assert (keeper.problems, told.compared) == ({}, [10])

    trio.run(work)


def test_no_secret_of_a_head_goes_with_the_evidence(run: Run) -> None:
    """Words that nothing but their field's name makes a secret; differences of heads hold them beside no name."""
    told = Told()

    async def work() -> None:
        for number, (ours, theirs) in enumerate([("correcthorse", "batterystaple"), ("ahead", "correcthorse")]):
            one = trial(run.examiner, number)
            one.exchange.response = answer({"n": 1}, 200, {"X-Auth-Token": ours})
            one.exchange.response.first_byte = one.exchange.response.last_byte = one.exchange.request.ended + MS
            candidate = side(answer({"n": 1}, 200, {"X-Auth-Token": theirs}))
            run.examiner.examine(Trial(run.examiner, one.exchange, candidate, None))
        assert run.examiner.compared == 2
        await keeper_of(told).keep_last(run)

    trio.run(work)
    kept = zlib.decompress(told.rows[0]["data"])
    assert b"x-auth-token" in kept
    assert b"correct" not in kept
    assert b"battery" not in kept


# --- who may take it up -----------------------------------------------------------------------------------------------


def stopped(path: Path, run: Run, at: float = 0.0) -> None:
    """The daemon ends in good order, ``at`` seconds from now."""
    writer = StoreWriter(path, DAY, 1 << 30)

    async def work() -> None:
        run.id = await writer.ask(partial(_begin, run))
        await keeper_of(writer).keep_last(run)
        await until(lambda: writer.statistics().queued == 0 and writer.statistics().written == 1)
        await writer.ask(partial(_end, run.id, time.time() + at))
        if at:
            await writer.ask(partial(_date, at))

    run_with(writer, work)


def _begin(run: Run, database: Database) -> int:
    return database.begin_run("shop", run.target.url, run.label, "", run.began)


def _end(number: int, when: float, database: Database) -> None:
    database.end_run(number, when, STOPPED)


def _date(by: float, database: Database) -> None:
    database._connection.execute("UPDATE evidence SET time = time + ?", (by,))


def taken_up(path: Path, run: Run, forget: bool = False) -> Run:
    """Another daemon begins, and a run that may be the same."""
    writer = StoreWriter(path, DAY, 1 << 30)
    keeper = keeper_of(writer)

    async def work() -> None:
        await keeper.recall()
        if forget:
            keeper.forget()
        run.label = ""
        keeper.take_up(run)

    run_with(writer, work)
    return run


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    with Mirror() as first, Mirror() as second:
        before = made_run(first)
        see(before, 200)
        stopped(tmp_path / "db", before)
        after = taken_up(tmp_path / "db", made_run(second))
        assert (after.id, after.label, after.examiner.compared) == (before.id, "v2", 200)
        assert (after.eligible, after.served, after.asked) == (200, 200, 200), "though the new ledger begins at nothing"
        assert judged(after.examiner) == judged(before.examiner)
        assert after.entry.filter.examiners[after.target] is after.examiner
        assert "what happened meanwhile was not seen" in after.notes[0]
        see(after, 7)
        assert (after.eligible, after.examiner.compared) == (207, 207)


@pytest.mark.parametrize(
    ("fields", "goes_on"),
    [
        ({"paused": True}, True),  # it is mirrored less, and compared alike
        ({"twin": 0.25}, False), ({"ports": ["81"]}, False), ({"match_path": "^/a"}, False), ({"min_span": 30}, False),
    ],
)  # fmt: skip
def test_only_the_same_filter_takes_it_up(tmp_path: Path, fields: dict[str, Any], goes_on: bool) -> None:
    with Mirror() as first, Mirror() as second:
        before = made_run(first)
        see(before, 20)
        stopped(tmp_path / "db", before)
        after = taken_up(tmp_path / "db", made_run(second, **fields))
        assert (after.examiner.compared, after.label) == ((20, "v2") if goes_on else (0, ""))
        assert (after.id >= 0) == goes_on


@pytest.mark.parametrize(("away", "goes_on"), [(-WITHIN + 60, True), (-WITHIN - 60, False)])
def test_a_long_absence_has_seen_other_traffic(tmp_path: Path, away: float, goes_on: bool) -> None:
    with Mirror() as first, Mirror() as second:
        before = made_run(first)
        see(before, 20)
        stopped(tmp_path / "db", before, away)
        after = taken_up(tmp_path / "db", made_run(second))
        assert (after.examiner.compared == 20) == goes_on
        assert bool(after.notes) == goes_on
        if goes_on:
            assert "resumed after 59 min" in after.notes[0]


@pytest.mark.parametrize(("then", "now"), [("a", "b"), ("a", ""), ("", "")], ids=["another", "not told", "never told"])
def test_another_boot_keeps_the_label_and_says_why_the_evidence_is_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, now: str
) -> None:
    with Mirror() as first, Mirror() as second:
        before = made_run(first)
        see(before, 20)
        monkeypatch.setattr(resuming, "boot", lambda: then)
        stopped(tmp_path / "db", before)
        monkeypatch.setattr(resuming, "boot", lambda: now)
        after = taken_up(tmp_path / "db", made_run(second))
        assert (after.examiner.compared, after.label, after.id) == (0, "v2", -1)
        assert "was not taken up: this host was started anew since" in after.notes[0]


def test_runs_that_begin_later_begin_anew(tmp_path: Path) -> None:
    with Mirror() as first, Mirror() as second:
        before = made_run(first)
        see(before, 20)
        stopped(tmp_path / "db", before)
        after = taken_up(tmp_path / "db", made_run(second), forget=True)
        assert (after.examiner.compared, after.id) == (0, -1)
