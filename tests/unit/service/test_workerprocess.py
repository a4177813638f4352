"""What a worker process tells beside requests: its faults are the daemon's, told once and counted once."""

from __future__ import annotations

from typing import Any

from shadowd.evidence.examining import Examining
from shadowd.ledger.budget import Budget
from shadowd.ledger.ledger import FilterAccount
from shadowd.policy.policy import Policy
from shadowd.service.telling import Telling
from shadowd.service.workerprocess import LONGEST_PLACE, Books, WorkerProcess
from shadowd.worker.filters import Filter


def snapshot(**told: Any) -> dict[str, Any]:
    empty = {
        "filters": {}, "targets": {}, "token": 0, "sequence": 0, "table": {}, "discarded": {}, "waiting": 0, "pump": {},
        "unreported": 0, "failed": {}, "problems": [],
    }  # fmt: skip
    return {**empty, **told}


def process(said: list[str]) -> tuple[WorkerProcess, Examining]:
    examining = Examining(Budget(), lambda: 0, said.append)
    return WorkerProcess(0, Books(Telling(1), examining, lambda *event, **fields: None)), examining


def test_faults_of_a_worker_are_shown_with_those_of_comparing() -> None:
    said: list[str] = []
    worker, examining = process(said)
    place = "protocols/http1.py:9 KeyError"
    worker.take(snapshot(failed={place: 2}))
    worker.take(snapshot(failed={place: 2}))
    worker.take(snapshot(failed={place: 5, "x" * 999: 1}))
    assert examining.failed == {place: 5, "x" * LONGEST_PLACE: 1}
    assert said == [place, "x" * LONGEST_PLACE]


def test_a_worker_that_dies_before_it_has_told_of_a_filter_has_lost_what_it_saw() -> None:
    worker, _ = process([])
    telling = worker._books.telling
    chosen = Filter("f", Policy(b"x"))
    number = telling.number(chosen)
    assert isinstance(chosen.account, FilterAccount)
    telling._slots[chosen] = 3
    worker.page.seen[3] = 7
    worker._write_off()
    assert (number, chosen.account.seen, chosen.account.lost["worker"]) == (1, 7, 7)
    worker._write_off()
    assert chosen.account.seen == 7, "the page was cleared"
