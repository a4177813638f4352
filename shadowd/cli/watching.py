"""``--watch``: what a command shows, again and again: redrawn in place on a terminal, one block after the other else.

It outlives the daemon: while nobody answers that is told, in a line, and asked again.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from shadowd.cli.output import print_json
from shadowd.cli.terminal import height, on_terminal, width
from shadowd.errors import ShadowdError

USUAL = 2.0  # seconds
_HOME, _CLEAR, _TO_END_OF_LINE, _TO_END = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"  # ECMA-48 §8.3
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_STYLE = re.compile("\x1b\\[[0-9;]*m")

Watch = Annotated[
    float | None,
    typer.Option(
        "--watch", "-w", metavar="[SECONDS]", min=0.1, max=3600,
        help=f"Show it again and again, every {USUAL:g} s or as given, until Ctrl-C.",
    ),
]  # fmt: skip


class WatchedCommand(TyperCommand):
    """A command whose ``--watch`` may stand without a number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_number(args))


def _with_number(args: list[str]) -> list[str]:
    given: list[str] = []
    for at, word in enumerate(args):
        if word == "--":
            return [*given, *args[at:]]
        given.append(word)
        if word in ("-w", "--watch") and not (at + 1 < len(args) and _NUMBER.fullmatch(args[at + 1])):
            given.append(f"{USUAL:g}")
    return given


def show(ask: Callable[[], object], lines: Callable[[object], list[str]], as_json: bool, every: float | None) -> None:
    """Print what ``ask`` gives once, or every so many seconds until it is interrupted."""
    found = ask()  # who is not there at the beginning is an error, as without --watch
    if every is None:
        if as_json:
            print_json(found)
        else:
            print(*lines(found), sep="\n")
        return
    drawn = on_terminal() and not as_json and os.environ.get("TERM") != "dumb"
    if drawn:
        print(_CLEAR, end="")
    missed = ""
    begun = time.monotonic()
    for number in range(1, sys.maxsize):
        if drawn:
            _draw(lines(found) if not missed else [f"{missed} (asking again)"], every)
        elif not missed:
            print(json.dumps(found, separators=(",", ":"), default=str) if as_json else "\n".join([*lines(found), ""]))
            sys.stdout.flush()
        time.sleep(max(0.0, begun + number * every - time.monotonic()))
        try:
            found, missed = ask(), ""
        except ShadowdError as error:
            if not missed and not drawn:
                print(f"{error} (asking again)", file=sys.stderr, flush=True)
            missed = str(error)


def _draw(lines: list[str], every: float) -> None:
    """Over what was drawn before; the terminal may have another size by now."""
    room, most = width() or 80, max(2, height() - 1)
    head = f"every {every:g} s, {time.strftime('%H:%M:%S')}; Ctrl-C ends it"
    shown = [head, "", *lines]
    if len(shown) > most:
        shown = [*shown[: most - 1], f"… {len(shown) - most + 1} more lines"]
    text = f"{_TO_END_OF_LINE}\n".join(_cropped(line, room) for line in shown)
    print(f"{_HOME}{text}{_TO_END_OF_LINE}\n{_TO_END}", end="", flush=True)


def _cropped(line: str, room: int) -> str:
    from rich.cells import cell_len, set_cell_size

    bare = _STYLE.sub("", line)
    return line if cell_len(bare) <= room else set_cell_size(bare, room - 1) + "…"
