"""``shadowctl demo``: see shadowd work on this machine, with nothing but loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    seconds: Annotated[float, typer.Option(help="How long the load runs, 1 to 3600 s.")] = 30.0,
    rate: Annotated[float, typer.Option(help="Requests per second on production, 1 to 5000.")] = 500.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end, nothing else.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Afterwards leave all but the load running until Ctrl-C.")
    ] = False,
    identical: Annotated[
        bool, typer.Option("--identical", help="The shadow runs version 1 too: the verdict must be pass.")
    ] = False,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Learn noise from a second version 1 instead of asking twice.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the HTML report goes (default: a temporary file).")
    ] = None,
) -> None:
    """Mirror a small production service to its next version, live, and say whether that is safe to release.

    Starts both services, a load and the daemon on loopback, adds a filter, shows what is mirrored, and ends with the
    ledger balanced, a verdict that names what is wrong with version 2, and a report. Needs root; everything is ended
    and removed afterwards. The exit code says whether the demonstration worked, not what the verdict is.

    Examples:

        sudo shadowctl demo

        sudo shadowctl demo --identical

        sudo shadowctl demo --seconds 10 --rate 1000 --json
    """
    from shadowd.demo.run import run_demo  # not at the top: every other command starts without it

    raise typer.Exit(run_demo(seconds, rate, as_json, keep, identical, baseline, report))
