"""``shadowctl demo``: see shadowd work on this machine, with nothing but loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shadowd.errors import UsageError


def demo(
    seconds: Annotated[
        float | None,
        typer.Option(help="How long the load runs, 1 to 3600 s (default 30; --ai 90, --grpc and --websocket 45)."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second on production, 1 to 5000 (default 500; with --ai conversations, 33)."),
    ] = None,
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
    ai: Annotated[
        bool, typer.Option("--ai", help="Generated answers: a chat service, and one with a changed prompt.")
    ] = False,
    grpc: Annotated[
        bool, typer.Option("--grpc", help="A gRPC shop instead of one that speaks HTTP/1 (needs the package grpcio).")
    ] = False,
    websocket: Annotated[
        bool, typer.Option("--websocket", help="A helpdesk on a WebSocket, with a page to talk to it (see --keep).")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the HTML report goes (default: a temporary file).")
    ] = None,
) -> None:
    """Mirror a small production service to its next version, live, and say whether that is safe to release.

    Starts both services, a load and the daemon on loopback, adds a filter, shows what is mirrored, and ends with the
    ledger balanced, a verdict that names what is wrong with version 2, and a report. Needs root; everything is ended
    and removed afterwards. The exit code says whether the demonstration worked, not what the verdict is.

    With --ai the service is a chat model whose answers are worded differently each time, version 2 has a changed
    prompt, and a baseline is always there; a third party's API is tried too. docs/ai.md explains what is compared.

    With --websocket conversations are mirrored turn by turn, and a baseline is always there: what was said is never
    asked twice. With --keep a browser can talk to version 1.

    Examples:

        sudo shadowctl demo

        sudo shadowctl demo --identical

        sudo shadowctl demo --ai --report ai.html

        sudo shadowctl demo --grpc

        sudo shadowctl demo --websocket --report talk.html

        sudo shadowctl demo --seconds 10 --rate 1000 --json
    """
    # not at the top: every other command starts without them
    from shadowd.cli.terminal import console
    from shadowd.cli.verdicts import show_verdict

    given = [name for name, wanted in (("--ai", ai), ("--grpc", grpc), ("--websocket", websocket)) if wanted]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are several demonstrations", "give one of them")
    from shadowd.demo.run import Demo, run_demo

    kind: type[Demo] = Demo
    if ai:
        from shadowd.demo.chat_run import ChatDemo

        kind = ChatDemo
    elif grpc:
        from shadowd.demo.grpc_run import GrpcDemo

        kind = GrpcDemo
    elif websocket:
        from shadowd.demo.websocket_run import WebSocketDemo

        kind = WebSocketDemo
    options = (seconds, rate, as_json, keep, identical, baseline, report)
    raise typer.Exit(run_demo(kind, *options, show=show_verdict, console=console(quiet=as_json)))
