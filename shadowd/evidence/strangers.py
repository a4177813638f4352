"""Sessions that the candidate may never have heard of (sans-IO).

Where logins are not mirrored, or go through another host, nobody sees a session handed out; the shadow answers 401 to
it, always. That is no proof against the release, nor for it: a candidate that refuses everybody looks the same. A fault
that refuses *some* requests of a session is told apart: the session was accepted at the same endpoint before. Signed
tokens, passwords and API keys need no store of sessions, and requests without credentials have none: there a 401 is the
release's.

Only endpoints at which something was refused remember who was accepted.
"""

from __future__ import annotations

from hashlib import blake2b

from shadowd.evidence.credentials import opaque
from shadowd.exchange.exchange import Request

#: Sessions remembered, of all endpoints together; the oldest are forgotten first. 4 MB.
MAX_ACCEPTED = 32_768
MAX_ENDPOINTS = 512


class Strangers:
    """``doubted``: names of the endpoints for which ``accepted`` is to be told."""

    __slots__ = ("_accepted", "doubted")

    def __init__(self) -> None:
        self.doubted: set[str] = set()
        self._accepted: dict[int, None] = {}

    def refused(self, request: Request, endpoint: str) -> bool:
        """The candidate asked for a login (401, or a redirect to one) where production did not. Whether it may not know
        the session: the request has one, and the candidate has never accepted it here."""
        sessions = opaque(request)
        if not sessions:
            return False
        if len(self.doubted) < MAX_ENDPOINTS:
            self.doubted.add(endpoint)
        return not any(_at(endpoint, session) in self._accepted for session in sessions)

    def accepted(self, request: Request, endpoint: str) -> None:
        """Both sides answered well. To be told where ``endpoint`` is doubted."""
        known = self._accepted
        for session in opaque(request):
            place = _at(endpoint, session)
            known.pop(place, None)
            known[place] = None
            if len(known) > MAX_ACCEPTED:
                del known[next(iter(known))]


def _at(endpoint: str, session: int) -> int:
    key = f"{session} {endpoint}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
