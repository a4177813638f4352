"""``shadowctl demo``: see shadowd work on this machine, with nothing but loopback."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    seconds: Annotated[float, typer.Option(help="How long the load runs, 1 to 3600 s.")] = 30.0,
    rate: Annotated[float, typer.Option(help="Requests per second on production, 1 to 5000.")] = 400.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end, nothing else.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Afterwards leave all but the load running until Ctrl-C.")
    ] = False,
) -> None:
    """Mirror a small production service to its next version, live.

    Starts both services, a load and the daemon on loopback, adds a filter, shows what is mirrored, and ends with the
    ledger balanced. Needs root; everything is ended and removed afterwards.

    Examples:

        sudo shadowctl demo

        sudo shadowctl demo --seconds 10 --rate 1000 --json
    """
    from shadowd.demo.run import run_demo  # not at the top: every other command starts without it

    raise typer.Exit(run_demo(seconds, rate, as_json, keep))
