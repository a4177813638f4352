"""How bad an outcome is, and whose (sans-IO)."""

from __future__ import annotations

from shadowd.exchange.exchange import Response

#: An answer; a client error; a server error or no answer.
GOOD, REFUSED, FAILED = range(3)

TOO_MANY = 429
#: Candidate's statuses that a session or an account tells of, which only a mirrored login would have made known there.
UNAUTHORISED, FORBIDDEN = frozenset({401, 403}), 403
#: Redirects, which may lead to a login.
LOGIN = frozenset({302, 303, 307})

#: Fields of the status: of answers; where a side fails or is rate-limited, which comes in bursts; where the candidate
#: does not know who asks.
STATUS, STATUS_FAILING, STATUS_UNAUTHORISED = ("status", ""), ("status", "failing"), ("status", "unauthorised")


def rank(response: Response | None) -> int:
    """GOOD, REFUSED or FAILED, by the status alone."""
    if response is None or response.status >= 500:
        return FAILED
    return REFUSED if response.status >= 400 else GOOD


def status_field(production: int, candidate: int, stranger: bool) -> tuple[str, str]:
    """Which of the fields of the status a pair that differs in it belongs to. ``stranger``: the candidate may not know
    the session."""
    if max(production, candidate) >= 500 or TOO_MANY in (production, candidate):
        return STATUS_FAILING
    if stranger:
        return STATUS_UNAUTHORISED
    return STATUS
