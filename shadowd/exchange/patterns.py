"""Operators' patterns, matched on what traffic carries: in linear time (RE2; R. Cox, "Regular Expression Matching Can
Be Simple And Fast", 2007).

RE2 has no backreferences and no lookaround: who gives them is told so when the filter is added. What it has is linear
in the target, by an automaton that is made as it goes; where that would need too many states (``[ab]*a[ab]{20}c``), RE2
falls back on a simulation that takes hundreds of times as long. Those are found out by trying, where a configuration is
read (``config/patterns.py``).
"""

from __future__ import annotations

import functools
import re
from typing import Protocol

#: Instructions of a pattern's program. Of the most common ones a long alternation of words has 300.
MAX_PROGRAM = 3000
#: Of a pattern's program and automaton (bytes); beyond it the automaton is given up.
MEMORY = 1 << 20


class PatternError(ValueError):
    """Not a pattern of RE2, or one that costs too much; the text says why, without the pattern."""


class Pattern(Protocol):
    """A compiled one."""

    def search(self, text: bytes) -> object | None: ...


@functools.lru_cache(maxsize=256)
def compiled(pattern: bytes, ignore_case: bool = False, utf8: bool = False) -> Pattern:
    """Matched on bytes as they are (Latin-1), or on those of a text (``utf8``). Raises ``PatternError``."""
    import re2  # only where there are patterns: it takes 4 MB

    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.UTF8 if utf8 else re2.Options.Encoding.LATIN1
    options.case_sensitive = not ignore_case
    options.max_mem = MEMORY
    options.never_capture = True  # groups are found by simulation
    try:
        made: Pattern = re2.compile(pattern, options)
    except re2.error as error:
        raise PatternError(_reason(error)) from None
    size = made.programsize  # type: ignore[attr-defined]
    if size > MAX_PROGRAM:
        raise PatternError(f"it makes a program of {size} steps, of which {MAX_PROGRAM} are allowed: repeat less")
    return made


def _reason(error: Exception) -> str:
    told = error.args[0] if error.args else ""
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    if "perl operator: (?" in text:
        return f"{text} — lookaround is not supported, since patterns are matched in linear time (RE2)"
    if re.search(r"escape sequence: \\[0-9]", text):
        return f"{text} — backreferences are not supported, since patterns are matched in linear time (RE2)"
    return text or "not a pattern of RE2"
