"""An operator's pattern is tried before it is taken: on texts of its own letters, against the time that a plain search
takes there. RE2 is linear by an automaton; a pattern that needs too many states is simulated, a hundred times slower.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
import time

from shadowd.exchange.patterns import Pattern, PatternError, compiled

#: A pattern that takes so many times a plain search's time is simulated: automata take 1 to 5, simulations over 100.
_SIMULATED = 40
_LEAST = 500_000  # ns: the smallest simulation of a text takes 2 ms, and what takes less is no matter
_PROBE = 16 << 10  # bytes of a text that it is tried on
_TRIES = 4
_COMMON = b"/abz09.-_=&?% "
_PLAIN = b"(?:[^\\x00][^\\x00])*\\x00"


@functools.lru_cache(maxsize=256)
def tried(pattern: bytes, ignore_case: bool = False, utf8: bool = False) -> Pattern:
    """As ``compiled``. Raises ``PatternError`` for one that is simulated, too."""
    made, plain = compiled(pattern, ignore_case, utf8), compiled(_PLAIN)
    for text in _texts(pattern):
        took = _least_time(plain, text)
        if _least_time(made, text) > max(_LEAST, _SIMULATED * took):
            raise PatternError(
                "it would be matched too slowly: too many states, as of a counted repetition after a repeated class"
            )
    return made


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
