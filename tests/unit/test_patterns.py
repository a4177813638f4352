"""Python's regular expressions have no bound of their own: those that are searched in what strangers send are linear.

Each of them is given strings made of its own letters, repeated, of two lengths. A pattern that a module tries one after
the other, or that is anchored by what is done with it, is tried as the module does.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
import time
import warnings
from pathlib import Path

import shadowd

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import sre_constants as op
    import sre_parse

#: Where bytes of strangers are read.
FOLDERS = ("compare", "evidence", "exchange", "policy", "protocols", "redact", "runs", "talk")
LONG, TRIES = 4096, 24
#: Seconds of CPU for LONG characters: the slowest linear one has a tenth of it.
SLOW = 0.02
ODD = ("a", "1", " ", "\n", "A", ".", "/", "\t", '"', "<", "=", ":", "-", "_")
_EVERYWHERE = ("findall", "finditer", "sub", "subn", "split")

Found = dict[tuple[str, str], re.Pattern[str] | re.Pattern[bytes]]


def patterns() -> Found:
    """Of the modules' own constants, alone, in tuples, and in tuples of those: by module and name."""
    found: Found = {}

    def look(module: str, name: str, value: object) -> None:
        if isinstance(value, re.Pattern):
            found[module, name] = value
        elif isinstance(value, (tuple, list)):
            for number, one in enumerate(value):
                look(module, f"{name}[{number}]", one)

    for folder in FOLDERS:
        package = importlib.import_module(f"shadowd.{folder}")
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"shadowd.{folder}.{info.name}")
            for name, value in vars(module).items():
                look(module.__name__, name, value)
    return found


def literals(pattern: re.Pattern[str] | re.Pattern[bytes]) -> list[str]:
    """What a pattern is made of: its letters and words, one of each class."""
    found: set[str] = set()

    def walk(tree: object) -> None:
        word = ""
        for kind, value in tree:  # type: ignore[attr-defined]
            if kind is op.LITERAL:
                word += chr(value)
                continue
            found.add(word)
            word = ""
            match kind:
                case op.IN:
                    for inner, one in value:
                        if inner in (op.LITERAL, op.RANGE):
                            found.add(chr(one if inner is op.LITERAL else one[0]))
                case op.MAX_REPEAT | op.MIN_REPEAT | op.POSSESSIVE_REPEAT:
                    walk(value[2])
                case op.SUBPATTERN:
                    walk(value[3])
                case op.ATOMIC_GROUP:
                    walk(value)
                case op.BRANCH:
                    for branch in value[1]:
                        walk(branch)
                case op.ASSERT | op.ASSERT_NOT:
                    walk(value[1])
        found.add(word)

    walk(sre_parse.parse(pattern.pattern, pattern.flags))
    return sorted(found - {""})


def used(module: str, name: str) -> set[str]:
    """How a module uses one of its patterns, as its source says; ``match`` for those in tuples."""
    source = Path(shadowd.__path__[0]).joinpath(*module.split(".")[1:]).with_suffix(".py").read_text()
    ways = set(re.findall(rf"\b{re.escape(name.partition('[')[0])}\.([a-z]+)\(", source))
    return ways or {"match"}


def cost(pattern: re.Pattern[str] | re.Pattern[bytes], ways: set[str], text: str) -> float:
    subject = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
    began = time.process_time()
    if ways.intersection(_EVERYWHERE):
        for _ in pattern.finditer(subject):  # type: ignore[arg-type]
            pass
    elif "search" in ways:
        pattern.search(subject)  # type: ignore[arg-type]
    else:
        pattern.match(subject)  # type: ignore[arg-type]
    return time.process_time() - began


def test_no_pattern_takes_more_than_linear_time() -> None:
    dice = random.Random(5)
    slow = []
    for (module, name), pattern in patterns().items():
        ways, words = used(module, name), [*literals(pattern), *ODD]
        units = [*ODD, *("".join(dice.choices(words, k=dice.randrange(1, 3))) for _ in range(TRIES))]
        for unit, begin in [(unit, begin) for unit in units for begin in ("", dice.choice(words))]:
            end = dice.choice(["", "!", "\x00"])
            texts = [begin + unit * (length // len(unit)) + end for length in (LONG // 4, LONG)]
            if cost(pattern, ways, texts[1]) < SLOW:
                continue
            whole, quarter = (min(cost(pattern, ways, text) for _ in range(3)) for text in reversed(texts))
            if whole > SLOW and whole > 8 * quarter:
                slow.append(f"{module}.{name}: {whole * 1e3:.0f} ms of {begin!r} + {unit!r} * n + {end!r}")
                break
    assert not slow, "\n".join(slow)


def test_a_quadratic_one_would_be_seen() -> None:
    blank = re.compile(r"\s*(?:x)?\s*y")
    assert cost(blank, {"match"}, " " * LONG) > 8 * cost(blank, {"match"}, " " * (LONG // 4))
    assert " " in ODD
    assert {"_CALLBACK", "_GUARD"} < {name for module, name in patterns() if module == "shadowd.compare.bodies"}
    assert used("shadowd.compare.bodies", "_CALLBACK") == {"match"}
