"""Addresses that open something to who knows them: ``/reset/…``, ``/magic?t=…`` (sans-IO)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shadowd.redact.harmless import is_file, placed
from shadowd.redact.names import SecretNames, readable
from shadowd.redact.secrets import Span, is_token

#: Segments of an address that allows one thing to who knows it.
_ACTING = frozenset(
    {"reset", "invite", "invitation", "verify", "verification", "confirm", "confirmation", "unsubscribe",
     "activate", "activation", "magic", "magic-link", "magiclink", "reset-password", "password-reset",
     "verify-email", "confirm-email", "password", "change-password",
     "recover", "recovery", "unlock", "impersonate", "optout", "opt-in"}
)  # fmt: skip
#: Segments of a path behind which a secret stands.
ACTIONS = _ACTING | frozenset(
    {"invitations", "login", "sso", "sessions", "forgot", "hook", "hooks", "webhook", "webhooks", "callback",
     "keys", "accept", "signin", "join", "private"}
)  # fmt: skip

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9.]+\Z")
QUERY = re.compile(r"\?[^\s\"'<>#]{1,2000}+")
_GIVEN = re.compile(r"=([^&;=\s\"'<>#]{5,400}+)")


_SEGMENT = re.compile(r"[^/;]+")
_SHARED = re.compile(r"(?<=/[is]/)(?=[^/;.]*[0-9])(?=[^/;.]*[A-Z])(?=[^/;.]*[a-z])[A-Za-z0-9_-]{8,64}+(?![^/;])")


def segments(path: str, names: SecretNames) -> Iterator[Span]:
    """Segments that are tokens, or stand behind one that says what they are: ``/reset/81d9a2``."""
    behind = 0
    for found in _SEGMENT.finditer(path):
        piece = found[0]
        if "=" in piece:
            continue
        token = is_token(piece) and not placed(path, found.start(), found.end())
        if token or (behind and made(piece)) or _SHARED.match(path, found.start()):
            yield found.span()
        behind = 2 if leads(piece, names) else behind - (behind > 0)


def leads(piece: str, names: SecretNames) -> bool:
    """Whether a secret stands behind such a segment."""
    if piece.lower().replace("_", "-") in ACTIONS:
        return True
    plain = len(piece) < 40 and piece.isascii() and not any(c.isdigit() or c in ".:" for c in piece)
    return plain and names.secret(piece)


def acts(path: str) -> bool:
    """Whether an address does something for who knows it: ``/magic?t=…``."""
    return any(segment.lower().replace("_", "-") in _ACTING for segment in path.split("/")[-4:])


def given_in(text: str, start: int, end: int) -> Iterator[Span]:
    """Parameters that no person chose."""
    for found in _GIVEN.finditer(text, start, end):
        value = found[1]
        if any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and not DATE.match(value):
            yield found.span(1)


def of_user(pairs: list[str]) -> frozenset[str]:
    """``?u=bob&p=…&s=…``: the names of parameters that hold a password or its salt beside a user's name."""
    return (
        _BESIDE_USER if any(pair.startswith(("u=", "user=", "username=", "login=")) for pair in pairs) else frozenset()
    )


#: Parameters of OAuth's steps (RFC 6749): beside one, ``code`` and ``state`` are what they are there.
_FLOW = ("grant_type=", "response_type=code", "redirect_uri=", "code_verifier=", "session_state=")


def signs_in(pairs: list[str]) -> bool:
    """Whether a query or a form is a step of OAuth."""
    return any(pair.startswith(_FLOW) for pair in pairs)


_BESIDE_USER = frozenset({"p", "s", "t"})


def is_word(value: str) -> bool:
    """``state=CA``, ``code=active``."""
    if len(value) <= 2:
        return True
    return value.isalpha() and len(value) <= 12 and (value[1:].islower() or value.isupper()) and readable(value)


def made(piece: str) -> bool:
    """A segment behind ``reset`` or ``token`` that is no word."""
    if is_file(piece):
        return False
    digits = sum(c.isdigit() for c in piece)
    letters = sum(c.isalpha() for c in piece)
    if len(piece) >= 6 and digits and letters and not re.fullmatch(r"v[0-9]{1,3}|[a-z]{1,30}[0-9]", piece):
        return True
    if piece.isalpha() and not readable(piece):
        return True
    return len(piece) >= 16 and letters >= 12 and not piece.islower()
