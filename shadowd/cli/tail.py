"""``shadowctl tail``: exchanges of a filter as they end, one line each."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from shadowd.cli.exchangelines import Layout, differences_of, shown_width
from shadowd.cli.filters import Name
from shadowd.cli.following import ASK_EACH, Following
from shadowd.cli.output import AsJson, Socket, daemon_at, expects_lines
from shadowd.cli.verdicts import seconds
from shadowd.cli.where import Where, parse
from shadowd.errors import UsageError

_QUIET = 10.0  # seconds after which somebody who sees nothing is told where to look
_TOLD_EVERY = 2.0  # seconds between two words on what was not shown


def tail(
    ctx: typer.Context,
    name: Name,
    where: Annotated[
        str | None,
        typer.Option("--where", "-w", metavar="EXPR", help="Only these: 'status >= 500 or worse' (docs/tail.md)."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="URL", help="Only of this candidate, where there are several.")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Print what differs below each line, redacted.")] = False,
    count: Annotated[int | None, typer.Option("-n", metavar="N", min=1, help="End after so many lines.")] = None,
    length: Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after so long: 30s, 10m.")] = None,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """Show exchanges as they end: what was asked, what production and the shadow answered, how fast, what differs.

    Everything is redacted. Exchanges that were filtered or lost have no second answer: shadowctl ledger counts them.
    With --json each is an object on a line of its own. Ctrl-C ends it.

    \b
    Examples:
      shadowctl tail shop
      shadowctl tail shop --where 'status >= 500 or worse'
      shadowctl tail shop --where 'differs and path ~ ^/orders/' --diff -n 20
      shadowctl tail shop --where 'slower > 50ms' --for 10m
      shadowctl tail shop --json | jq -r .path
    """
    wanted = parse(where) if where is not None else None
    limit = seconds(length, "--for") if length is not None else None
    if limit is not None and limit <= 0:
        raise UsageError(f"--for {length} is no time to see anything in", "give a second at least, such as 1m")
    following = Following(daemon_at(ctx, socket), name, target, values=diff)
    if as_json:
        expects_lines()
    _follow(following, wanted, count, limit, _Printer(following, diff, as_json))


def _follow(
    following: Following, wanted: Where | None, count: int | None, limit: float | None, printer: _Printer
) -> None:  # fmt: skip
    begun = time.monotonic()
    seen, left = 0, count
    while True:
        entries = following.read()
        seen += len(entries)
        for entry in entries:
            if wanted is None or wanted(entry):
                printer.show(entry)
                if left is not None and (left := left - 1) <= 0:
                    return printer.end()
        passed = time.monotonic() - begun
        printer.settle(passed, seen)
        if limit is not None and passed >= limit:
            return printer.end()
        if not following.more:
            time.sleep(ASK_EACH if limit is None else min(ASK_EACH, max(0.0, limit - passed)))


class _Printer:
    """Lines on stdout; what is to be known beside them on stderr."""

    def __init__(self, following: Following, diff: bool, as_json: bool) -> None:
        self._following = following
        self._diff = diff
        self._as_json = as_json
        self._terminal = sys.stdout.isatty() and not as_json
        self._layout: Layout | None = None
        self._shown = 0
        self._hinted = False
        self._told_at = 0.0
        self._told = (0, 0)

    def show(self, entry: Mapping[str, Any]) -> None:
        self._shown += 1
        if self._as_json:
            print(json.dumps(entry, ensure_ascii=False, separators=(",", ":")))
            return
        if self._layout is None or self._terminal:  # windows are resized
            layout = Layout(shown_width() if self._terminal else None, len(self._following.targets) > 1)
            if self._layout is None or self._layout.columns != layout.columns:
                typer.secho(layout.header(), dim=True)
            self._layout = layout
        for text in (self._layout.line(entry), *(differences_of(entry) if self._diff else ())):
            typer.echo("".join(typer.style(part, fg=colour) if colour else part for part, colour in text))

    def settle(self, passed: float, seen: int) -> None:
        """A round is over."""
        sys.stdout.flush()
        if passed - self._told_at >= _TOLD_EVERY:
            self._told_at = passed
            self._tell_missed()
        if passed >= _QUIET and not seen and not self._hinted:
            self._hinted = True
            self._say(
                "no exchange has ended so far: is it asked, and not paused? see shadowctl status, shadowctl ledger"
            )

    def end(self) -> None:
        sys.stdout.flush()
        self._tell_missed()

    def _tell_missed(self) -> None:
        for line in self._missed():
            self._say(line)
        self._told = (self._following.missed, self._following.broken)

    def _missed(self) -> Iterator[str]:
        missed, broken = (
            now - before
            for now, before in zip((self._following.missed, self._following.broken), self._told, strict=True)
        )
        if missed:
            yield f"{missed:,} exchanges were not looked at: they end faster than they can be shown"
        if broken:
            yield "some exchanges were not looked at, nobody knows how many: shadowctl or the daemon was away"

    def _say(self, text: str) -> None:
        print(f"… {text}", file=sys.stderr, flush=True)
