"""Two answers side by side (no I/O, no Textual): lines that differ are marked, long ones go on below."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from rich.text import Text

from shadowd.observe.difference import lines_of
from shadowd.redact.quoting import visible

LINES = 1000  # of an answer: what is kept of a body has 8 KB
_LONGEST = 4000  # characters of a line
MARK = " ≠ "


def side_by_side(production: Mapping[str, Any], shadow: Mapping[str, Any], width: int) -> Text:
    """For a screen so wide: production on the left."""
    half = max(10, (width - 3) // 2)
    shown = Text(no_wrap=True)
    shown.append(f"{'production':<{half}} │ shadow\n", "bold")
    ours, theirs = ([visible(line, _LONGEST) for line in lines_of(side)[:LINES]] for side in (production, shadow))
    for tag, left, right in _paired(ours, theirs):
        first = True
        for one, other in zip_longest(_pieces(left, half), _pieces(right, half), fillvalue=""):
            mark = MARK.strip() if tag != "equal" and first else "│"
            shown.append(f"{one:<{half}}", "" if tag == "equal" else "green")
            shown.append(f" {mark} ", "" if tag == "equal" else "bold yellow")
            shown.append(f"{other}\n", "" if tag == "equal" else "red")
            first = False
    return shown


def _paired(ours: list[str], theirs: list[str]) -> Iterator[tuple[str, str, str]]:
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        for left, right in zip_longest(ours[i1:i2], theirs[j1:j2], fillvalue=""):
            yield tag, left, right


def _pieces(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)] or [""]
