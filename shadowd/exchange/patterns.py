"""Operators' patterns, matched on what traffic carries: in linear time (RE2; R. Cox, "Regular Expression Matching Can
Be Simple And Fast", 2007).

RE2 has no backreferences and no lookaround: who gives them is told so when the filter is added. What it has is linear
in the target, by an automaton that is made as it goes; where that would need too many states (``[ab]*a[ab]{20}c``), RE2
falls back on a simulation that takes hundreds of times as long. Such patterns are refused as well: each is tried on
texts of its own letters, against the time that a plain search takes there.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
import time
from typing import Protocol

#: Instructions of a pattern's program. Of the most common ones a long alternation of words has 300.
MAX_PROGRAM = 3000
#: A pattern that takes so many times a plain search's time is simulated: automata take 1 to 5, simulations over 100.
_SIMULATED = 40
_LEAST = 500_000  # ns: the smallest simulation of a text takes 2 ms, and what takes less is no matter
#: Of a pattern's program and automaton (bytes); beyond it the automaton is given up.
MEMORY = 1 << 20
_PROBE = 16 << 10  # bytes of a text that it is tried on
_TRIES = 4
_COMMON = b"/abz09.-_=&?% "


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
    plain: Pattern = re2.compile(b"(?:[^\\x00][^\\x00])*\\x00", options)
    for text in _texts(pattern):
        took = _least_time(plain, text)
        if _least_time(made, text) > max(_LEAST, _SIMULATED * took):
            raise PatternError(
                "it would be matched too slowly: too many states, as of a counted repetition after a repeated class"
            )
    return made


def _reason(error: Exception) -> str:
    told = error.args[0] if error.args else ""
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    if "perl operator: (?" in text:
        return f"{text} — lookaround is not supported, since patterns are matched in linear time (RE2)"
    if re.search(r"escape sequence: \\[0-9]", text):
        return f"{text} — backreferences are not supported, since patterns are matched in linear time (RE2)"
    return text or "not a pattern of RE2"


def _texts(pattern: bytes) -> list[bytes]:
    """What may be hard for it: its own letters in any order, with and without others."""
    dice = random.Random(1)
    said = re.sub(rb"\\.|\{[0-9,]*\}", b"", pattern)
    own = b"".join(dict.fromkeys(re.findall(rb"[A-Za-z0-9]", said))) or b"a"
    pairs = [bytes(two) for two in itertools.combinations(own[:4], 2)]
    letters = [own, own + _COMMON, b"01a", *pairs]
    return [bytes(dice.choices(some, k=_PROBE)) for some in letters] + [said * (_PROBE // max(1, len(said)))]


def _least_time(pattern: Pattern, text: bytes) -> int:
    """The shortest of some tries (ns of this thread's CPU)."""
    found = []
    for _ in range(_TRIES):
        began = time.thread_time_ns()
        pattern.search(text)
        found.append(time.thread_time_ns() - began)
    return max(1, min(found))
