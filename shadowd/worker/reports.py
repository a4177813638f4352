"""What a worker process says of an exchange, and how the supervisor reads it (no I/O here).

The worker replays; the supervisor compares and judges: so the evidence of a run is that of one examiner, whichever
worker saw an exchange. A *report* is a list of plain values (msgpack carries it): a complete trial, or a write that was
not mirrored, or production's answer to it. Of answers that are equal the body goes over once.

A worker reads hostile bytes; if one of them took it over, its reports are hostile too: whatever does not have the shape
below is a ``ReportError``, and nothing else is raised.
"""

from __future__ import annotations

from typing import Any

from shadowd.evidence.trial import Judging, Side, Trial
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.ledger.ledger import FAILED, SHED

TRIAL, WRITE, WRITTEN = "trial", "write", "written"

_INT, _BYTES, _BOOL = int, bytes, bool
_REQUEST = (_BYTES, _BYTES, _BYTES, _BYTES, _BYTES, _INT, _INT, _INT, _INT)
_RESPONSE = (_INT, _BYTES, _INT, _BYTES, _INT, _INT, _INT, _INT, _BOOL, _BOOL, _BYTES)
_SIDE = (str, str, _INT, _INT, _INT, _BOOL, _BYTES, _BOOL)
_ENDS = ("", "reset", "truncated")  # of production's answer
_LONGEST = 1 << 62  # of times and offsets: sums of two stay within 64 bits


class ReportError(Exception):
    """It has not the shape of a report."""


class ReportedSide(Side):
    """What came of a request at a target, as a worker told it."""

    __slots__ = ("_authority", "_encrypted")

    def __init__(self, shed: str, authority: bytes, encrypted: bool) -> None:
        super().__init__(shed)
        self._authority = authority
        self._encrypted = encrypted

    @property
    def authority(self) -> bytes:
        return self._authority

    @property
    def encrypted(self) -> bool:
        return self._encrypted


# --- in the worker ----------------------------------------------------------------------------------------------------


def report_of(trial: Trial, run: int) -> list[Any]:
    """Of a complete trial of the run that has this number."""
    exchange = trial.exchange
    production = exchange.response
    body = production.body if production is not None else b""
    return [
        TRIAL, run, _request(exchange.request), exchange.connection, exchange.failure, exchange.uncomparable,
        _response(production, None), _side(trial.candidate, body), _side(trial.baseline, body), _side(trial.twin, body),
    ]  # fmt: skip


def report_of_write(request: Request, run: int) -> list[Any]:
    """Of a request that is not mirrored."""
    return [WRITE, run, _request(request)]


def report_of_answer(exchange: Exchange, run: int) -> list[Any]:
    """Of production's answer to it."""
    return [WRITTEN, run, _request(exchange.request), _response(exchange.response, None)]


def _request(request: Request) -> list[Any]:
    return [
        request.method, request.target, request.head, request.body, request.trailers, request.begin, request.end,
        request.started, request.ended,
    ]  # fmt: skip


def _response(response: Response | None, same: bytes | None) -> list[Any] | None:
    """``same``: production's body, which is not repeated."""
    if response is None:
        return None
    body = None if same is not None and response.body == same else response.body
    return [
        response.status, response.head, response.body_length, response.digest, response.begin, response.end,
        response.first_byte, response.last_byte, response.loose, response.open, response.trailers, body,
        response.marks,
    ]  # fmt: skip


def _side(side: Side | None, body: bytes) -> list[Any] | None:
    if side is None:
        return None
    return [
        side.shed, side.failure, side.first_byte, side.last_byte, side.sent_at, side.late, side.authority,
        side.encrypted, _response(side.response, body),
    ]  # fmt: skip


# --- in the supervisor ------------------------------------------------------------------------------------------------


def run_of_untrusted(report: Any) -> tuple[str, int]:
    """(kind, the run's number)."""
    if not isinstance(report, list) or len(report) < 3 or type(report[1]) is not int:
        raise ReportError("no report")
    if report[0] not in (TRIAL, WRITE, WRITTEN):
        raise ReportError("no kind of report")
    return report[0], report[1]


def trial_untrusted(report: list[Any], examiner: Judging) -> Trial:
    """The trial, for that examiner."""
    if len(report) != 10 or type(report[3]) is not int or type(report[4]) is not str or type(report[5]) is not bool:
        raise ReportError("no trial")
    exchange = _exchange(report[2], report[6], b"")
    if not -1 <= report[3] < 1 << 32 or report[4] not in _ENDS:
        raise ReportError("no connection")
    exchange.connection, exchange.failure, exchange.uncomparable = report[3:6]
    body = exchange.response.body if exchange.response is not None else b""
    candidate = _read_side(report[7], body)
    if candidate is None:
        raise ReportError("no candidate")
    trial = Trial(examiner, exchange, candidate, _read_side(report[8], body))
    trial.twin = _read_side(report[9], body)
    return trial


def write_untrusted(report: list[Any]) -> Request:
    """The request that was not mirrored."""
    if len(report) != 3:
        raise ReportError("no write")
    return _read_request(report[2])


def answer_untrusted(report: list[Any]) -> Exchange:
    """It, with production's answer."""
    if len(report) != 4:
        raise ReportError("no answer to a write")
    return _exchange(report[2], report[3], b"")


def _exchange(request: Any, response: Any, body: bytes) -> Exchange:
    exchange = Exchange(0, _read_request(request), 0)
    exchange.response = _read_response(response, body)
    exchange.answered = True
    return exchange


def _read_request(told: Any) -> Request:
    if type(told) is not list or tuple(map(type, told)) != _REQUEST or not _in_bounds(told[5:]):
        raise ReportError("no request")
    request = Request(*told[:4], *told[5:])
    request.trailers = told[4]
    return request


def _read_response(told: Any, same: bytes) -> Response | None:
    if told is None:
        return None
    if type(told) is not list or len(told) != 13 or tuple(map(type, told[:11])) != _RESPONSE:
        raise ReportError("no response")
    status, head, length, digest, begin, end, first, last, loose, still_open, trailers, body, marks = told
    if not 0 <= status <= 999 or not _in_bounds((length, begin, end, first, last)):
        raise ReportError("no status, or no time")
    response = Response(status, head, begin, first)
    response.body = same if body is None else _body(body)
    response.body_length, response.digest, response.end, response.last_byte = length, digest, end, last
    response.loose, response.open, response.trailers = loose, still_open, trailers
    response.marks = None if marks is None else _marks(marks)
    return response


def _body(body: Any) -> bytes:
    if type(body) is not bytes:
        raise ReportError("no body")
    return body


def _marks(marks: Any) -> list[tuple[int, int]]:
    if type(marks) is not list:
        raise ReportError("no marks")
    found = []
    for mark in marks:
        if type(mark) is not list or len(mark) != 2 or tuple(map(type, mark)) != (int, int) or not _in_bounds(mark):
            raise ReportError("no mark")
        found.append((mark[0], mark[1]))
    return found


def _read_side(told: Any, body: bytes) -> ReportedSide | None:
    if told is None:
        return None
    if type(told) is not list or len(told) != 9 or tuple(map(type, told[:8])) != _SIDE:
        raise ReportError("no side")
    shed, failure, first, last, sent, late, authority, encrypted, response = told
    if not _in_bounds((first, last, sent)) or (shed and shed not in SHED) or (failure and failure not in FAILED):
        raise ReportError("no times of a side")
    side = ReportedSide(shed, authority, encrypted)
    side.failure, side.first_byte, side.last_byte, side.sent_at, side.late = failure, first, last, sent, late
    side.response = _read_response(response, body)
    return side


def _in_bounds(numbers: Any) -> bool:
    return bool(min(numbers) > -_LONGEST and max(numbers) < _LONGEST)
