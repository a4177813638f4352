"""Addresses that open something to who knows them: ``/reset/…``, ``/magic?t=…`` (sans-IO)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shadowd.redact.secrets import Span

#: Segments of an address that allows one thing to who knows it.
_ACTING = frozenset(
    {"reset", "invite", "invitation", "verify", "verification", "confirm", "confirmation", "unsubscribe",
     "activate", "activation", "magic", "magic-link", "magiclink", "reset-password", "password-reset",
     "verify-email", "confirm-email", "recover", "recovery", "unlock", "impersonate", "optout", "opt-in"}
)  # fmt: skip
#: Segments of a path behind which a secret stands.
ACTIONS = _ACTING | frozenset(
    {"invitations", "login", "sso", "sessions", "forgot", "hook", "hooks", "webhook", "webhooks", "callback",
     "keys", "accept", "signin", "join"}
)  # fmt: skip

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9.]+\Z")
QUERY = re.compile(r"\?[^\s\"'<>#]{1,2000}+")
_GIVEN = re.compile(r"=([^&;=\s\"'<>#]{5,400}+)")


def acts(path: str) -> bool:
    """Whether an address does something for who knows it: ``/magic?t=…``."""
    return any(segment.lower().replace("_", "-") in _ACTING for segment in path.split("/")[-4:])


def given_in(text: str, start: int, end: int) -> Iterator[Span]:
    """Parameters that no person chose."""
    for found in _GIVEN.finditer(text, start, end):
        value = found[1]
        if any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and not DATE.match(value):
            yield found.span(1)
