"""Text without what varies from one occurrence of a fault to the next (sans-IO).

    user 4711 not found at 10.0.0.3:5432 after 31 ms   ──►   user <n> not found at <address> after <n> ms

``normalised`` is for fingerprints; ``readable`` for titles: it leaves short quoted words (``'price'``) in place, which
tell a person what it was about.
"""

from __future__ import annotations

import re

#: Characters that are looked at; the patterns below are linear in it.
LIMIT = 2000

_QUOTED = re.compile(r"(?<!\w)'[^'\n]{0,300}'(?!\w)|\"[^\"\n]{0,300}\"|`[^`\n]{0,300}`|“[^”\n]{0,300}”|‘[^’\n]{0,300}’")
_SUBSTITUTES = (
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "<uuid>"),
    (
        re.compile(
            r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}"
            r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:[.,][0-9]{1,9})?(?:Z|[+-][0-9:]{2,5})?)?"
        ),
        "<time>",
    ),
    (re.compile(r"\b[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?\b"), "<time>"),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}"), "<email>"),
    (re.compile(r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?\b"), "<address>"),
    (
        re.compile(
            r"(?<![\w:])\[?(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}(?![\w:])(?:\](?::[0-9]{1,5})?)?", re.IGNORECASE
        ),
        "<address>",
    ),
    (re.compile(r"(?<=[\w\]]):[0-9]{2,5}\b"), ":<n>"),  # port or line
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"\b(?=[a-f]{0,64}[0-9])[0-9a-f]{12,128}\b", re.IGNORECASE), "<hex>"),
    # A word with two digits is an id (req-8f3a21); one with a single digit at its end is a name (http2, s3).
    (re.compile(r"(?<![\w<])(?=[a-z_-]{0,80}[0-9][a-z_-]{0,80}[0-9])[\w-]{2,200}", re.IGNORECASE | re.ASCII), "<n>"),
    (re.compile(r"(?<![A-Za-z_<])[0-9]+(?:[.,][0-9]+)*"), "<n>"),
)  # fmt: skip
_IDENTIFIER = re.compile(r"[^\w]?[A-Za-z_][A-Za-z_.]{0,40}[0-9]?[^\w]?\Z", re.ASCII)
_SPACE = re.compile(r"\s+")


def normalised(text: str) -> str:
    """One line, quoted values as ``<value>``, the rest as in the module's head."""
    return _substituted(_QUOTED.sub("<value>", text[:LIMIT]))


def readable(text: str) -> str:
    """The same with quoted words left in place."""
    return _substituted(_QUOTED.sub(lambda m: m[0] if _IDENTIFIER.match(m[0]) else "<value>", text[:LIMIT]))


def _substituted(text: str) -> str:
    for pattern, name in _SUBSTITUTES:
        text = pattern.sub(name, text)
    return _SPACE.sub(" ", text).strip()
