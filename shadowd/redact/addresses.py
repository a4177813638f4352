"""Addresses that open something to who knows them: ``/reset/…``, ``/magic?t=…`` (sans-IO)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shadowd.redact.secrets import Span

#: Segments of a path behind which a secret stands.
ACTIONS = frozenset(
    {"reset", "invite", "invitation", "invitations", "verify", "verification", "confirm", "confirmation",
     "unsubscribe", "activate", "activation", "magic", "magic-link", "magiclink", "login", "sso", "sessions",
     "reset-password", "forgot", "password-reset", "verify-email", "confirm-email", "hook", "hooks", "webhook",
     "webhooks", "callback", "recover", "keys", "recovery", "unlock", "accept", "signin", "join",
     "impersonate", "optout", "opt-in"}
)  # fmt: skip
#: Of those, which lead to one thing that the address itself allows.
_ACTING = frozenset(
    {"reset", "verify", "verification", "confirm", "confirmation", "unsubscribe", "activate", "activation", "magic",
     "magic-link", "magiclink", "reset-password", "password-reset", "verify-email", "confirm-email", "recover",
     "recovery", "unlock", "invite", "invitation", "impersonate", "optout", "opt-in"}
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
