"""How a complete trial gets to its examiner: at once, a little later, or by way of the comparer process.

An answer may be made to be expensive to compare, and the pump has other filters' streams to read. So what comparing a
trial can cost is told first, by a linear scan (``compare/burden.py``)::

    answers equal, nothing to be parsed ─────────────────► at once
    light, and the turn's time is not used up ───────────► at once
    light ───────────────────────────────────────────────► waits for a later turn (``go_on``)
    heavy ───────────────────────────────────────────────► the comparer process compares (``comparer.py``), at once
    heavy, and nobody who takes it; or too much waits ───► by digest: counted, and the report says so

Comparing has ``SHARE`` of a core at most, and ``TURN`` of one turn. Whatever an examiner raises is that one exchange's
misfortune: counted by its place, told once, and mirroring goes on.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from shadowd.compare.burden import HEAVY, LIGHT, LIGHT_READ, burden
from shadowd.compare.difference import Differences
from shadowd.evidence.evidence import EXAMPLE_BODY
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.trial import Faults, Judging, Trial
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.ledger.budget import Budget
from shadowd.protocols.content_digest import drop_body
from shadowd.talk.llm import recognise

MS = 1_000_000
#: Of one turn (ns): the pump's turns are 8 ms where nothing is in its way, and one light comparison may follow.
TURN = 6 * MS
#: Of a core, and what may be saved up (ns).
SHARE = 0.5
SAVED = 250 * MS
#: Trials that wait for their turn, and bytes of what was asked and answered; beyond it they are compared by digest.
MAX_WAITING = 4096
MAX_BYTES = 16 << 20
#: Trials that wait for the comparer process, whose bytes count as well.
MAX_HEAVY = 64
#: Places where comparing failed that are told apart.
MAX_PLACES = 50
_ROOT = Path(__file__).parents[1]


class ExaminingStatistics(NamedTuple):
    """A snapshot: trials that wait (light, heavy), those compared by digest for their weight, those compared by the
    other process, and how often comparing failed, by place."""

    waiting: int
    heavy: int
    by_digest: int
    elsewhere: int
    failed: MappingProxyType[str, int]


class Examining:
    """See the module's head. ``clock``: monotonic ns. ``on_failure``: told a place when something fails there first."""

    __slots__ = (
        "_allowance",
        "_budget",
        "_bytes",
        "_clock",
        "_light",
        "_refilled_at",
        "_spent",
        "by_digest",
        "elsewhere",
        "failed",
        "heavy",
        "on_failure",
        "on_heavy",
    )

    def __init__(
        self,
        budget: Budget,
        clock: Callable[[], int],
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self._budget = budget
        self._clock = clock
        self.on_failure = on_failure
        self.on_heavy: Callable[[], None] | None = None  # somebody takes heavy trials, and is told of one
        self._light: deque[Trial] = deque()
        self.heavy: deque[Trial] = deque()  # for the comparer
        self._bytes = 0  # of all that wait, charged to the budget
        self._spent = 0  # ns in this turn
        self._allowance = SAVED
        self._refilled_at = clock()
        self.failed: dict[str, int] = {}
        self.by_digest = 0
        self.elsewhere = 0

    @property
    def pending(self) -> bool:
        """Light trials wait, and may be compared now: without an allowance a turn at once would only burn the core."""
        return bool(self._light) and self._allowance > 0

    def statistics(self) -> ExaminingStatistics:
        return ExaminingStatistics(
            len(self._light), len(self.heavy), self.by_digest, self.elsewhere, MappingProxyType(dict(self.failed))
        )

    # --- trials -------------------------------------------------------------------------------------------------------

    def take(self, trial: Trial) -> None:
        """Of a complete trial. Raises nothing."""
        production, candidate = trial.exchange.response, trial.candidate.response
        if production is None or candidate is None:
            self._examine(trial)
            return
        third = trial.baseline or trial.twin
        other = third.response if third is not None else None
        same = production.body == candidate.body and (other is None or other.body == production.body)
        if same and trial.exchange.request.method == b"GET":
            self._examine(trial)  # nothing of it is parsed
            return
        began = self._clock()
        answers = (production, candidate) if other is None else (production, candidate, other)
        try:
            weight = sum(map(burden, answers))
        except Exception as error:
            self.fail(trial.examiner, error)
            weight = HEAVY
        most = LIGHT if other is None else LIGHT * 2 // 3  # of three answers three pairs are compared
        if weight > most and not self._is_read(trial.exchange.request, weight):
            self._take_heavy(trial, answers, same)
        elif self._light or self._spent >= TURN or self._allowance <= 0:
            self._wait(self._light, trial, answers, MAX_WAITING)
        else:
            self._examine(trial)
        self._charge(began)

    def go_on(self, now: int) -> None:
        """A turn ends: what waits has what is left of its time. ``now``: of the turn's begin (ns)."""
        self._allowance = min(SAVED, self._allowance + int((now - self._refilled_at) * SHARE))
        self._refilled_at = now
        while self._light and self._spent < TURN and self._allowance > 0:
            began = self._clock()
            trial = self._light.popleft()
            self._release(trial)
            self._examine(trial)
            self._charge(began)
        self._spent = 0

    def compared(self, trial: Trial, found: tuple[Differences, ...] | None, faults: tuple[Faults, ...] = ()) -> None:
        """The comparer's word on a heavy trial: production against the candidate and the third answer, and those two
        against each other, None where it could not; and the faults that each answer tells."""
        self._release(trial)
        trial.faults = faults
        trial.found = found
        if found is None:
            self.by_digest += 1
            trial.examiner.by_digest += 1
        else:
            self.elsewhere += 1
        self._examine_short(trial)

    def abandon_heavy(self) -> None:
        """Nobody takes heavy trials any more."""
        self.on_heavy = None
        while self.heavy:
            self.compared(self.heavy.popleft(), None)

    def _is_read(self, request: Request, weight: int) -> bool:
        """Answers of a model are read from end to end, which costs less than to compare them."""
        if weight > LIGHT_READ or request.method != b"POST":
            return False
        try:
            return recognise(request) is not None
        except Exception:  # it is asked once more when the trial is examined, and counted then
            return False

    def _take_heavy(self, trial: Trial, answers: tuple[Response, ...], same: bool) -> None:
        if same or self.on_heavy is None:
            self._by_digest(trial, counted=not same)
            return
        if self._wait(self.heavy, trial, answers, MAX_HEAVY):
            self.on_heavy()

    def _wait(self, queue: deque[Trial], trial: Trial, answers: tuple[Response, ...], most: int) -> bool:
        request = trial.exchange.request  # heads may have 64 KB each, and wait as well
        size = len(request.head) + len(request.body)
        size += sum(len(response.head) + len(response.body) for response in answers)
        if len(queue) >= most or self._bytes + size > MAX_BYTES or self._budget.exhausted:
            self._by_digest(trial)
            return False
        trial.kept = size
        self._bytes += size
        self._budget.change(size)
        queue.append(trial)
        return True

    def _release(self, trial: Trial) -> None:
        self._bytes -= trial.kept
        self._budget.change(-trial.kept)
        trial.kept = 0

    def _by_digest(self, trial: Trial, counted: bool = True) -> None:
        self.by_digest += counted
        trial.examiner.by_digest += counted
        self._examine_short(trial)

    def _examine_short(self, trial: Trial) -> None:
        """With digests for bodies. Trials of other candidates and filters need the same answers whole."""
        third = trial.baseline or trial.twin
        sides = [trial.exchange, trial.candidate, *([third] if third is not None else ())]
        answers = [side.response for side in sides]
        for side, response in zip(sides, answers, strict=True):
            if response is not None:
                side.response = _shortened(response)
        self._examine(trial)
        for side, response in zip(sides, answers, strict=True):
            side.response = response

    def _examine(self, trial: Trial) -> None:
        try:
            trial.examiner.examine(trial)
        except Exception as error:  # whatever it is, it is this exchange's
            self.fail(trial.examiner, error)

    def _charge(self, began: int) -> None:
        spent = self._clock() - began
        self._spent += spent
        self._allowance = max(-SAVED, self._allowance - spent)  # a debt, but none for ever

    # --- what else an examiner is told --------------------------------------------------------------------------------

    def note_write(self, examiner: Examiner, request: Request) -> None:
        """A write that is not mirrored begins."""
        try:
            examiner.note_write(request)
        except Exception as error:
            self.fail(examiner, error)

    def note_written(self, examiner: Examiner, exchange: Exchange) -> None:
        """Production answered it."""
        try:
            examiner.note_written(exchange)
        except Exception as error:
            self.fail(examiner, error)

    def wants_twin(self, examiner: Examiner, request: Request, draw: float) -> bool:
        """Whether to ask a second time."""
        try:
            return examiner.wants_twin(request, draw)
        except Exception as error:
            self.fail(examiner, error)
            return False

    def fail(self, examiner: Judging, error: Exception) -> None:
        """A fault of ours with one exchange."""
        examiner.faults += 1
        self.note_fault(error)

    def note_fault(self, error: Exception) -> None:
        """Count a fault of ours by its place; the first of a place is told."""
        self.note_faults(place_of(error), 1)

    def note_faults(self, place: str, count: int) -> None:
        """So many at a place, in whichever process."""
        first = count_faults(self.failed, place, count)
        if first and self.on_failure is not None:
            self.on_failure(first)


def count_faults(failed: dict[str, int], place: str, count: int = 1) -> str:
    """Add to a table of at most ``MAX_PLACES``. Returns the place if it is new there, else ""."""
    if place not in failed and len(failed) >= MAX_PLACES:
        place = "elsewhere"
    first = place not in failed
    failed[place] = failed.get(place, 0) + count
    return place if first else ""


def answers_of(trial: Trial) -> tuple[Response, ...]:
    """Production's, the candidate's, and a third's if there is one."""
    third = trial.baseline or trial.twin
    found = (trial.exchange.response, trial.candidate.response, third.response if third is not None else None)
    return tuple(response for response in found if response is not None)


def place_of(error: BaseException) -> str:
    """``compare/jsondiff.py:120 TypeError``: the innermost line of ours."""
    place = "?"
    trace = error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if not path.is_absolute():  # compiled: relative to where that was done
            path = _ROOT.parent / path
        if path.is_relative_to(_ROOT):
            place = f"{path.relative_to(_ROOT)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{place} {type(error).__name__}"


def _shortened(response: Response) -> Response:
    """The digest instead of the body, of which people see the beginning."""
    short = copy.copy(response)
    drop_body(short)
    short.body = response.body[:EXAMPLE_BODY]
    return short
