"""What every command knows of the terminal: its width, whether it wants colours, and tables that fit.

``NO_COLOR`` goes before ``CLICOLOR_FORCE``, that before what stdout is; ``$COLUMNS`` before the terminal's own width.
A pipe has no width: nothing is left out or cut there.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shadowd.redact.quoting import visible

if TYPE_CHECKING:
    from rich.console import Console

_WORDS_LIMIT = 4000  # characters: a screen; paths and error titles are far shorter
_GAP = 2  # blanks between two columns
_WHOLE = 40  # characters of a column that are not cut while another one can be left out: an address, a path
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}  # ECMA-48 §8.3.117


def coloured() -> bool:
    """Whether stdout is to have colours (no-color.org, bixense.com/clicolors)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return on_terminal() and os.environ.get("TERM") != "dumb" and os.environ.get("CLICOLOR") != "0"


def on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def width() -> int | None:
    """Columns of the terminal; None where there is none."""
    return shutil.get_terminal_size().columns if on_terminal() else None


def height() -> int:
    return shutil.get_terminal_size().lines


def stderr_width() -> int:
    """Columns of the terminal that is standard error; stdout may be a file then."""
    try:
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(2).columns or 80
    except (ValueError, OSError):
        return 80


def console(quiet: bool = False) -> Console:
    """For what redraws itself, or is rich's."""
    from rich.console import Console  # not at the top: other commands start without it

    if not coloured():
        return Console(quiet=quiet, highlight=False, soft_wrap=True, color_system=None)
    return Console(quiet=quiet, highlight=False, soft_wrap=True, color_system="auto" if on_terminal() else "standard")


def styled(text: str, *styles: str) -> str:
    """``red``, ``bold`` and so on, where colours are wanted."""
    codes = ";".join(_STYLES[style] for style in styles if style in _STYLES)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and coloured() else text


def plain(text: object) -> str:
    """Words from traffic for a terminal: what could control it, or reorder the line, is shown by its code point."""
    return visible(text, _WORDS_LIMIT)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], spare: Sequence[str] = ()) -> None:
    """Columns whose cells are all numbers stand to the right; ``spare`` are those that go where the terminal is too
    narrow, the first of them first."""
    for line in table_lines(columns, rows, width(), spare):
        print(line)


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[object]], room: int | None, spare: Sequence[str] = ()
) -> list[str]:
    """The same in so many columns of a terminal; what is left out is told in a last line."""
    from rich.cells import cell_len, set_cell_size  # not at the top: it knows how wide each character is

    cells = [[plain(cell) for cell in row] for row in rows]
    numeric = [all(isinstance(row[at], int | float) for row in rows) for at in range(len(columns))]
    widths = [max(cell_len(text) for text in (name, *(row[at] for row in cells))) for at, name in enumerate(columns)]
    kept = list(range(len(columns)))
    gone: list[str] = []
    if room is not None:
        for name in spare:
            if _least(kept, widths, numeric) <= room:
                break
            kept.remove(columns.index(name))
            gone.append(name)
        _cut(kept, widths, numeric, room)
    lines = []
    for number, row in enumerate([list(columns), *cells]):
        parts = []
        for at in kept:
            text = row[at] if cell_len(row[at]) <= widths[at] else set_cell_size(row[at], widths[at] - 1).rstrip() + "…"
            blanks = " " * (widths[at] - cell_len(text))
            parts.append(blanks + text if numeric[at] and rows else text + blanks)
        line = (" " * _GAP).join(parts).rstrip()
        lines.append(line if number else styled(line, "bold"))
    if gone:
        lines.append(styled(f"no room for {', '.join(gone)}: widen the terminal, or see --json", "dim"))
    return lines


def _least(kept: list[int], widths: list[int], numeric: list[bool]) -> int:
    """The narrowest that these columns shall be: long texts are cut, numbers never."""
    least = [widths[at] if numeric[at] else min(widths[at], _WHOLE) for at in kept]
    return sum(least) + _GAP * (len(kept) - 1)


def _cut(kept: list[int], widths: list[int], numeric: list[bool], room: int) -> None:
    """Take what is too much from the widest texts."""
    while sum(widths[at] for at in kept) + _GAP * (len(kept) - 1) > room:
        texts = [at for at in kept if not numeric[at] and widths[at] > 2]
        if not texts:
            return
        widths[max(texts, key=lambda at: widths[at])] -= 1
