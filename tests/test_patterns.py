r"""Patterns that Python 3.11.0 to 3.11.4 would match otherwise: Debian 12 has 3.11.2, Ubuntu 22.04 3.11.0.

Their possessive repeat of a group, ``(?:…)*+``, stays where a last round had failed instead of going back to where it
began (cpython#106052), if a repeat or an assertion within had moved the place. ``[0-9]++(?:[ -][0-9]++)*+(?! \w)``
finds no card number in ``4111111111111111 now`` there. Such a group is written as an atomic one, ``(?>(?:…)*)``, or
begins with an assertion that makes the rest certain, ``(?:(?= [^\s]) [^\s]++)*+``.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
#: Of ``re._constants``, by name: what takes one letter or none, and leaves no trace when it fails.
SINGLE = {"LITERAL", "NOT_LITERAL", "ANY", "ANY_ALL", "IN", "CATEGORY", "AT"}
REPEATS = {"MAX_REPEAT", "POSSESSIVE_REPEAT"}


def _single(body: Any) -> bool:
    return all(str(op) in SINGLE for op, _ in body)


def certain(body: Any) -> bool:
    """Whether a round of it fails before anything has moved the place, or not at all."""
    items = list(body)
    asserted = bool(items) and str(items[0][0]) == "ASSERT" and _single(items[0][1][1])
    moved = False
    for place, (op, given) in enumerate(items[asserted:]):
        if str(op) in SINGLE and not moved:
            continue
        repeats = str(op) in REPEATS
        if repeats and given[0] == 0 and (len(given[2]) == 1 or str(op) != "MAX_REPEAT") and certain(given[2]):
            moved = True  # and does not fail
            continue
        if repeats and len(given[2]) == 1 and _single(given[2]) and not moved and (place == 0 or asserted):
            moved = True  # failed before it moved, if at all
            continue
        if place == len(items) - 1 and not moved:
            if str(op) == "BRANCH":
                return all(map(certain, given[1]))
            if str(op) == "SUBPATTERN" and given[0] is None:
                return certain(given[3])
        return False
    return True


def _inner(op: str, given: Any) -> Iterator[Any]:
    match op:
        case "BRANCH":
            yield from given[1]
        case "SUBPATTERN":
            yield given[3]
        case "ASSERT" | "ASSERT_NOT":
            yield given[1]
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            yield given[2]
        case "ATOMIC_GROUP":
            yield given
        case "GROUPREF_EXISTS":
            yield from (part for part in given[1:] if part)


def uncertain(parsed: Any) -> bool:
    """Whether a possessive repeat in it may stay at a wrong place."""
    return any(
        (str(op) == "POSSESSIVE_REPEAT" and not certain(given[2])) or any(map(uncertain, _inner(str(op), given)))
        for op, given in parsed
    )


def parse(pattern: str | bytes, flags: int = 0) -> Any:
    from re import _parser  # type: ignore[attr-defined]

    return _parser.parse(pattern, flags)


def tell() -> None:
    """In a process of its own: import all of the product, and print each pattern that was compiled by it."""
    from re import _compiler  # type: ignore[attr-defined]

    compiled, found = _compiler.compile, {}

    def noted(pattern: Any, flags: int = 0) -> Any:
        frame: Any = sys._getframe(1)
        while frame and frame.f_globals.get("__name__", "").partition(".")[0] == "re":
            frame = frame.f_back
        name = frame.f_globals.get("__name__", "") if frame else ""
        if name.startswith("shadowd") and isinstance(pattern, str | bytes):
            found[pattern, int(flags)] = f"{name}:{frame.f_lineno}"
        return compiled(pattern, flags)

    _compiler.compile = noted
    import shadowd

    for module in pkgutil.walk_packages(shadowd.__path__, "shadowd."):
        importlib.import_module(module.name)
    doubtful = sorted(at for one, at in found.items() if uncertain(parse(*one)))
    print(json.dumps({"all": len(found), "uncertain": doubtful}))


def test_no_pattern_depends_on_the_python() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from tests.test_patterns import tell; tell()"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
        env={"SHADOWD_PURE": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["all"] > 300, "they were not seen"
    assert told["uncertain"] == [], __doc__


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        (r"[0-9]++(?:[ -][0-9]++)*+", True),
        (r"a(?:\.(?=b)b)*+", True),
        (r"(?:a++|b(?!c))++", True),
        (r"(?:x[a-z]{3}){2,}+", True),
        (r"(?:a*+b)*+", True),
        (r"(?:(a)|b)*+", True),
        (r"x(?>(?:[ -][0-9]++)*)", False),
        (r"(?:(?=[ -][0-9])[ -][0-9]++)*+", False),
        (r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', False),
        (r"(?:[^']|'')*+", False),
        (r"(?:'[^']*+'?|[^'()])*+", False),
        (r"\d++[a-z]*+", False),
    ],
)
def test_what_is_told_of_a_pattern(pattern: str, wrong: bool) -> None:
    assert uncertain(parse(pattern)) is wrong


def test_digits_before_a_word_are_a_card() -> None:
    """As this Python matches it, whichever it is."""
    digits = re.compile(r"[0-9]++(?:(?=[ -][0-9])[ -][0-9]++)*+(?![a-z])")
    assert digits.findall("4111 now, 41 42, 5-") == ["4111", "41 42", "5"]
