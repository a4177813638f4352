"""The buttons of a live page: who may press them, and what each asks the daemon to do.

A press is a POST with a form. It needs the token, as what traffic said does; a proof in the form that the door wrote
it (HMAC of the token with a nonce of this process), so that no page elsewhere can have made it; and, where the browser
says from which page it comes (``Origin``, ``Sec-Fetch-Site``), one of ours.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from shadowd.errors import UsageError
from shadowd.observe.token import Token

FIELDS = 12  # of a form; ours have six at most
PROOF = "proof"  # the field's name

_RULES = {
    "noise": ("noise.add", "called noise"),
    "expect": ("expect.add", "called expected"),
    "noise-rm": ("noise.rm", "no longer called noise"),
    "expect-rm": ("expect.rm", "no longer called expected"),
}


class Proofs:
    """What a form has in it that only the door can have written. A token that was replaced ends them all."""

    def __init__(self, token: Token | None) -> None:
        self._token = token
        self._nonce = secrets.token_bytes(32)

    def make(self) -> str:
        """ "" where there is no token, and so nobody who may press a button."""
        return self._token.sign(self._nonce) if self._token is not None else ""

    def holds(self, given: str) -> bool:
        made = self.make()
        return bool(made) and hmac.compare_digest(made.encode(), given.encode("utf-8", "replace"))


def from_elsewhere(headers: Mapping[str, str]) -> str:
    """Why a form may not be taken: it comes from another page than ours. "" where it is ours, or no browser's."""
    site = headers.get("sec-fetch-site", "same-origin")
    origin = headers.get("origin")
    if site == "same-origin" and (origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()):
        return ""
    return "this was asked for by a page of another origin — press the button on the page that this door serves"


def form_untrusted(body: bytes) -> dict[str, str]:
    """The fields of an ``application/x-www-form-urlencoded`` body. Raises UsageError for what is none."""
    try:
        found = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise UsageError("this is no form of the page", "reload the page, and press the button there") from None
    return dict(found)


def operation(name: str, act: str, form: Mapping[str, str]) -> tuple[str, dict[str, Any], str]:
    """What a button means: the control socket's operation, its arguments, and how the log calls it.

    Raises UsageError for a button that is not there.
    """
    if act in ("pause", "resume"):
        return f"filter.{act}", {"name": name}, f"{act}d"
    if act == "run":
        label = form.get("label", "").strip()
        return "run.start", {"name": name, "label": label, "restart": True}, f"run started, label {label!r}"
    if act in _RULES:
        op, words = _RULES[act]
        rule = {key: form.get(key, "") for key in ("where", "path", "endpoint", "change")}
        place = " ".join(filter(None, (rule["where"], rule["path"], rule["endpoint"] and f"at {rule['endpoint']}")))
        return op, {"name": name, "rule": rule}, f"{place} {words}"
    raise UsageError("there is no such button", "reload the page")
