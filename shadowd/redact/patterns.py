"""The operator's own patterns for secrets, by RE2: in linear time, whatever the pattern and the text are.

They are tried as every pattern is (``exchange/patterns.py``). What they find is found without groups, by the automaton;
the group that is the secret is then looked for within that, which is a simulation and therefore bounded. A pattern that
has to read on after each letter (``a.*b|a``) reads a text as often as it matches there: matches are bounded as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from shadowd.exchange.patterns import MEMORY, compiled
from shadowd.redact.secrets import Span

PATTERNS = 64  # each costs a pass over what is kept
PATTERN_LIMIT = 1000  # characters
#: Characters of a match in which the group is looked for, and steps of such a pattern: 0.2 ms at most. Of a longer
#: match everything is masked.
_GROUP_LIMIT = 512
_GROUP_PROGRAM = 500
#: Matches of one pattern in one text; from there on all of it is masked.
_MATCHES = 1000
_SURROGATE = re.compile("[\ud800-\udfff]")


class SecretPattern(NamedTuple):
    """``whole`` finds without groups; ``group`` is the same with its first, None if it has none."""

    whole: Any
    group: Any


def compile_pattern(pattern: str) -> SecretPattern:
    """The pattern for ``matches``. Raises ValueError with the reason why it cannot be one."""
    whole: Any = compiled(pattern.encode("utf-8", "surrogateescape"), utf8=True)
    if whole.match(b"") is not None:
        raise ValueError("it matches the empty text")
    import re2  # only where there are patterns

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    grouped = re2.compile(pattern, options)
    if not grouped.groups:
        return SecretPattern(whole, None)
    if grouped.programsize > _GROUP_PROGRAM:
        raise ValueError(
            f"it makes a program of {grouped.programsize} steps, of which {_GROUP_PROGRAM} are allowed with a group:"
            " leave the group out, (?:…) groups without being one"
        )
    return SecretPattern(whole, grouped)


def matches(patterns: Sequence[SecretPattern], text: str) -> Iterator[Span]:
    """Where one matches: its first group if it has one, else the whole."""
    plain = _SURROGATE.sub("?", text)  # RE2 reads UTF-8, which has no lone surrogates
    for whole, group in patterns:
        for count, found in enumerate(whole.finditer(plain)):
            start, end = found.span()
            if count >= _MATCHES:
                yield start, len(text)
                break
            if group is not None and end - start <= _GROUP_LIMIT:
                inner = group.match(plain, start, end)
                if inner is not None and inner.group(1):
                    start, end = inner.span(1)
            if end > start:
                yield start, end
