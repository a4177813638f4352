"""How bad an outcome is, and whose (sans-IO)."""

from __future__ import annotations

from shadowd.exchange import Response

#: An answer; a client error; a server error or no answer.
GOOD, REFUSED, FAILED = range(3)

TOO_MANY = 429
#: Candidate's statuses that a session or an account tells of, which only a mirrored login would have made known there.
UNAUTHORISED = frozenset({401, 403})

#: Fields of the status: of answers; where a side fails or is rate-limited, which comes in bursts; where the candidate
#: does not know who asks.
STATUS, STATUS_FAILING, STATUS_UNAUTHORISED = ("status", ""), ("status", "failing"), ("status", "unauthorised")


def rank(response: Response | None) -> int:
    """GOOD, REFUSED or FAILED, by the status alone."""
    if response is None or response.status >= 500:
        return FAILED
    return REFUSED if response.status >= 400 else GOOD


def status_field(production: int, candidate: int, baseline: bool) -> tuple[str, str]:
    """Which of the fields of the status a pair that differs in it belongs to."""
    if max(production, candidate) >= 500 or TOO_MANY in (production, candidate):
        return STATUS_FAILING
    if candidate in UNAUTHORISED and production < 400 and not baseline:
        return STATUS_UNAUTHORISED
    return STATUS
