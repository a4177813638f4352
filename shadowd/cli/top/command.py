"""``shadowctl top``, as it is typed. Textual is imported when it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from shadowd.cli.filters import complete
from shadowd.cli.output import Socket, daemon_at
from shadowd.errors import PlatformError, ShadowdError, UsageError

_ASK_LIMIT = 5.0  # seconds for an answer: then the daemon is shown to be away


def top(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Begin with this filter's page.", autocompletion=complete),
    ] = None,
    socket: Socket = None,
) -> None:
    """Watch filters and targets live: rates, latencies, verdicts, differences, exchanges side by side.

    Keys: Enter looks closer, Esc goes back, p pauses and r resumes a filter, n calls a difference noise, e calls it
    expected, / chooses exchanges, ? lists the others, q ends. Needs a terminal; works over ssh, from 60 columns on.

    \b
    Examples:
      shadowctl top
      shadowctl top shop
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)  # Textual draws on stderr
    if not all(stream.isatty() for stream in streams) or os.environ.get("TERM", "dumb") in ("", "dumb"):
        raise UsageError(
            "top draws on a terminal, and this is none (or TERM=dumb)", "try shadowctl status, or shadowctl tail NAME"
        )
    client = daemon_at(ctx, socket)
    client.timeout = _ASK_LIMIT
    if name is not None:
        client.call("filter.show", name=name)  # a name that is not known is said before the screen is taken
    else:
        client.call("filter.ls")
    try:
        from shadowd.cli.top.app import TopApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise PlatformError("top needs the package textual", "pip install 'textual>=1'") from None
    failed = TopApp(client, name).run_until_left()
    if failed:
        raise ShadowdError(failed, "report it with the output of --version")
