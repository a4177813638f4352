"""The operator's own patterns for secrets, by RE2: in linear time, whatever the pattern and the text are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from shadowd.redact.secrets import Span

PATTERNS = 64  # each costs a pass over what is kept
PATTERN_LIMIT = 1000  # characters
_SURROGATE = re.compile("[\ud800-\udfff]")


def compile_pattern(pattern: str) -> Any:
    """The pattern for ``matches``. Raises ValueError with the reason why it cannot be one."""
    import re2  # only where there are patterns

    options = re2.Options()
    options.log_errors = False
    try:
        made = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
    if made.match("") is not None:
        raise ValueError("it matches the empty text")
    return made


def matches(patterns: Sequence[Any], text: str) -> Iterator[Span]:
    """Where one matches: its first group if it has one, else the whole."""
    plain = _SURROGATE.sub("?", text)  # RE2 reads UTF-8, which has no lone surrogates
    for pattern in patterns:
        for found in pattern.finditer(plain):
            start, end = found.span(1) if pattern.groups and found.group(1) else found.span()
            if end > start:
                yield start, end
