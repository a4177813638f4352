"""What a worker reports of an exchange is what the supervisor compares; whatever else comes is refused."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.judge.assessment import Assessment
from shadowd.worker.reports import (
    ReportError,
    answer_untrusted,
    report_of,
    report_of_answer,
    report_of_write,
    run_of_untrusted,
    trial_untrusted,
    write_untrusted,
)

MS = 1_000_000
NUMBERS = st.integers(-(1 << 61), 1 << 61)
BYTES = st.binary(max_size=40)


def over_the_wire(report: list[Any]) -> Any:
    return msgpack.unpackb(msgpack.packb(report), strict_map_key=False)


@st.composite
def responses(draw: st.DrawFn, bodies: st.SearchStrategy[bytes] = BYTES) -> Response:
    made = Response(draw(st.integers(0, 999)), draw(BYTES), draw(NUMBERS), draw(NUMBERS))
    made.body, made.digest = draw(bodies), draw(st.sampled_from([b"", b"0123456789abcdef"]))
    made.body_length, made.end, made.last_byte = draw(st.integers(0, 1 << 40)), draw(NUMBERS), draw(NUMBERS)
    made.loose, made.open = draw(st.booleans()), draw(st.booleans())
    made.marks = draw(st.none() | st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3))
    return made


@st.composite
def sides(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> Side:
    made = Side(draw(st.sampled_from(["", "own_lag", "memory"])))
    made.failure = draw(st.sampled_from(["", "timeout", "connect"]))
    made.first_byte, made.last_byte, made.sent_at = draw(NUMBERS), draw(NUMBERS), draw(NUMBERS)
    made.late = draw(st.booleans())
    made.response = draw(st.none() | responses(bodies))
    return made


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    request = Request(draw(BYTES), draw(BYTES), draw(BYTES), draw(BYTES), *draw(st.tuples(*[NUMBERS] * 4)))
    exchange = Exchange(0, request, 0)
    exchange.response = draw(st.none() | responses())
    exchange.connection = draw(st.integers(-1, 65535))
    exchange.failure = draw(st.sampled_from(["", "reset", "truncated"]))
    exchange.uncomparable = draw(st.booleans())
    body = exchange.response.body if exchange.response is not None else b""
    bodies = st.sampled_from([body]) | BYTES
    third = st.none() | sides(bodies)
    made = Trial(None, exchange, draw(sides(bodies)), draw(third))  # type: ignore[arg-type]
    made.twin = draw(third)
    return made


def plain(value: Any) -> Any:
    """All that is compared of a trial, as tuples."""
    if value is None:
        return None
    if isinstance(value, Response):
        names = "status head body body_length digest begin end first_byte last_byte loose open marks"
    elif isinstance(value, Side):
        names = "shed failure first_byte last_byte sent_at late authority encrypted response"
    elif isinstance(value, Request):
        names = "method target head body begin end started ended"
    elif isinstance(value, Exchange):
        names = "request response connection failure uncomparable"
    elif isinstance(value, Trial):
        names = "exchange candidate baseline twin"
    else:
        return value
    return tuple(plain(getattr(value, name)) for name in names.split())


@given(trials())
def test_a_trial_arrives_as_it_was(trial: Trial) -> None:
    report = over_the_wire(report_of(trial, 7))
    assert run_of_untrusted(report) == ("trial", 7)
    arrived = trial_untrusted(report, None)  # type: ignore[arg-type]
    assert plain(arrived) == plain(trial)
    assert arrived.pending == 0


@given(trials())
def test_writes_arrive_too(trial: Trial) -> None:
    exchange = trial.exchange
    report = over_the_wire(report_of_write(exchange.request, 3))
    assert run_of_untrusted(report) == ("write", 3)
    assert plain(write_untrusted(report)) == plain(exchange.request)
    report = over_the_wire(report_of_answer(exchange, 3))
    assert run_of_untrusted(report) == ("written", 3)
    assert plain(answer_untrusted(report).response) == plain(exchange.response)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=5) | BYTES,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=30,
)


@given(trials(), st.data())
def test_a_report_with_something_else_in_one_place_is_refused_or_read(trial: Trial, data: st.DataObject) -> None:
    """Whatever a worker that was taken over says, ``ReportError`` is all that comes of it."""
    report = over_the_wire(report_of(trial, 1))
    at: Any = report
    while True:
        place = data.draw(st.integers(0, len(at) - 1))
        if isinstance(at[place], list) and at[place] and data.draw(st.booleans()):
            at = at[place]
            continue
        at[place] = data.draw(JUNK)
        break
    try:
        kind, _ = run_of_untrusted(report)
        if kind == "trial":
            read: Any = trial_untrusted(report, None)  # type: ignore[arg-type]
            again: Any = trial_untrusted(over_the_wire(report_of(read, 1)), None)  # type: ignore[arg-type]
        elif kind == "write":
            read = write_untrusted(report)
            again = write_untrusted(over_the_wire(report_of_write(read, 1)))
        else:
            read = answer_untrusted(report)
            again = answer_untrusted(over_the_wire(report_of_answer(read, 1)))
    except ReportError:
        return
    assert plain(again) == plain(read), "what was read is a whole trial, which can be told on"


@given(JUNK)
def test_junk_is_no_report(junk: Any) -> None:
    with pytest.raises(ReportError):
        run_of_untrusted([junk] if isinstance(junk, list) else junk)


def examined(trials_of: list[Trial], order: list[int], carried: bool) -> dict[str, Any]:
    """The verdict over trials, as they are or as workers reported them."""
    examiner = Examiner(Settings(min_span=1.0), Rules())
    for place in order:
        trial = trials_of[place]
        trial.examiner = examiner
        examiner.examine(trial_untrusted(over_the_wire(report_of(trial, 1)), examiner) if carried else trial)
    return Assessment(examiner, len(trials_of), 60.0).finish()


def exchanges(count: int, dice: random.Random) -> list[Trial]:
    """A service whose candidate differs in one field in a tenth of the answers, fails now and then and is slower."""
    made = []
    for number in range(count):
        time = (number + 1) * 10 * MS
        request = Request(b"GET", b"/items/%d" % (number % 50), b"GET / HTTP/1.1\r\n\r\n", b"", 0, 10, time, time)
        exchange = Exchange(number, request, 0)
        exchange.connection = number % 16
        exchange.answered = True
        exchange.response = _answer(b'{"price": %d, "n": 1}' % number, time + dice.randrange(1, 5) * MS)
        side = Side()
        other = number + (dice.random() < 0.1)
        side.response = _answer(b'{"price": %d, "n": 1}' % other, time + 6 * MS, 500 if dice.random() < 0.02 else 200)
        side.first_byte = side.last_byte = dice.randrange(2, 9) * MS
        side.sent_at = time
        made.append(Trial(None, exchange, side, None))  # type: ignore[arg-type]
    return made


def _answer(body: bytes, at: int, status: int = 200) -> Response:
    made = Response(status, b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n\r\n" % status, 0, at)
    made.body, made.body_length, made.end = body, len(body), 50 + len(body)
    return made


@pytest.mark.parametrize("workers", [1, 3, 7])
def test_dealt_out_to_workers_exchanges_judge_as_one_after_the_other(workers: int) -> None:
    """Connections belong to workers, whose reports come in batches: what was said of a moment comes in another order.
    The verdict is the one of the exchanges in their own order, reasons and all; numbers move in the last digits."""
    direct = examined(exchanges(3000, random.Random(5)), list(range(3000)), carried=False)
    dice = random.Random(6)
    made = exchanges(3000, random.Random(5))
    order: list[int] = []
    for begin in range(0, 3000, 5):  # 50 ms: several turns
        batch = list(range(begin, begin + 5))
        turns = list(range(workers))
        dice.shuffle(turns)
        order += [one for worker in turns for one in batch if made[one].exchange.connection % workers == worker]
    dealt = examined(made, order, carried=True)
    assert dealt["verdict"] == direct["verdict"] == "fail"
    assert (dealt["compared"], dealt["score"]) == (direct["compared"], direct["score"])
    assert [one["judge"] for one in dealt["judges"]] == [one["judge"] for one in direct["judges"]]
    assert [one["result"] for one in dealt["judges"]] == [one["result"] for one in direct["judges"]]
