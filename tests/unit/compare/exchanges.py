"""Builds complete trials: what production, the candidate, a twin and a baseline answered to one request."""

from __future__ import annotations

import json
from collections.abc import Mapping

from shadowd.evidence.examiner import Examiner
from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Exchange, Request, Response

SECOND = 1_000_000_000
MS = 1_000_000


def request(target: str = "/orders/7", method: str = "GET", time: int = SECOND, headers: str = "") -> Request:
    head = f"{method} {target} HTTP/1.1\r\nHost: shop\r\n{headers}\r\n".encode()
    return Request(method.encode(), target.encode(), head, b"", 0, len(head), time, time)


def answer(
    body: object = b"", status: int = 200, headers: Mapping[str, str] | None = None, time: int = -MS
) -> Response:
    """An answer a millisecond after ``time`` (of the request unless given); a body that is not bytes becomes JSON."""
    kind = "application/octet-stream"
    if not isinstance(body, bytes):
        body, kind = json.dumps(body).encode(), "application/json"
    fields = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    response = Response(status, head.encode(), 0, time + MS)
    response.body = body
    response.body_length = len(body)
    response.end = len(head) + len(body)
    response.last_byte = time + MS
    return response


def side(response: Response | None, failure: str = "", shed: str = "", took: int = MS, measured: bool = True) -> Side:
    made = Side(shed)
    made.response = response
    made.failure = failure
    if measured and response is not None:
        made.first_byte = made.last_byte = took
    return made


def examine(
    examiner: Examiner,
    asked: Request,
    production: Response | None,
    candidate: Side,
    *,
    twin: Side | None = None,
    baseline: Side | None = None,
    failure: str = "",
    connection: int = -1,
) -> None:
    """One exchange through the examiner."""
    exchange = Exchange(0, asked, 0)
    exchange.connection = connection
    exchange.response = production
    if production is not None and not production.first_byte:
        production.first_byte = production.last_byte = asked.ended + MS
    exchange.answered = True
    exchange.failure = failure
    trial = Trial(examiner, exchange, candidate, baseline)
    trial.twin = twin
    examiner.examine(trial)
