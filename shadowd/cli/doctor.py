"""``shadowctl doctor``: what this host can do, and why a filter mirrors nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowd import __version__
from shadowd.cli.filters import probed, unfit
from shadowd.cli.output import AsJson, Socket, daemon_at, print_json, strings
from shadowd.cli.progress import waiting
from shadowd.errors import ShadowdError

if TYPE_CHECKING:
    from shadowd.capture.services import Service

_MARKS = {"ok": "✓", "note": "·", "unseen": "?", "warning": "!", "error": "✗"}


def doctor(
    ctx: typer.Context,
    filter_name: Annotated[
        str | None, typer.Option("--filter", metavar="NAME", help="Why is nothing of this filter mirrored?")
    ] = None,
    state_dir: Annotated[
        Path, typer.Option(metavar="DIR", readable=False, help="Where the daemon keeps its state.")
    ] = Path("/var/lib/shadowd"),
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """Check kernel, rights, neighbours and the daemon; or say why a filter mirrors nothing.

    Every finding says what it means and what to do. Works without a daemon and without root, and says what it could
    not see. Exit code 1 if there is an error.

    \b
    Examples:
      shadowctl doctor
      shadowctl doctor --filter shop
      shadowctl doctor --json
    """
    with waiting("looking at this host"):
        found = list(_filter(ctx, socket, filter_name) if filter_name else _host(ctx, socket, state_dir))
    wrong = sum(one.level == "error" for one in found)
    if as_json:
        print_json({"findings": [one.to_wire() for one in found], "errors": wrong})
    else:
        for one in found:
            print(f"{_MARKS[one.level]} {one.what}")
            if one.meaning:
                print(f"    {one.meaning}")
            if one.remedy:
                print(f"    → {one.remedy}")
        worrying = sum(one.level == "warning" for one in found)
        print(f"\n{wrong} error{'s' * (wrong != 1)}, {worrying} warning{'s' * (worrying != 1)}")
    if wrong:
        sys.stdout.flush()
        raise typer.Exit(1)


def _host(ctx: typer.Context, socket: str | None, state_dir: Path) -> Iterator[Any]:
    from shadowd.doctor import host, kernel
    from shadowd.doctor.finding import Finding

    client = daemon_at(ctx, socket)
    version = problem = ""
    told: list[str] = []
    try:
        status = client.call("status")
        version, told = str(status.get("version", "?")), strings(status.get("problems"))
    except ShadowdError as error:
        problem = str(error)
    yield from kernel.check_kernel()
    yield from host.check_rights(bool(version))
    yield from host.check_loader()
    yield from host.check_socket(Path(client.path), version, problem, __version__)
    for line in told:
        what, _, remedy = line.partition(" — ")
        yield Finding("daemon_problem", "warning", what, "", remedy)
    yield from host.check_neighbours(bool(version))
    yield from host.check_resources(state_dir)


def _filter(ctx: typer.Context, socket: str | None, name: str) -> Iterator[Any]:
    from shadowd.doctor.finding import Finding
    from shadowd.doctor.mirroring import diagnose

    client = daemon_at(ctx, socket)
    view, status, ledger = (
        client.call("filter.show", name=name),
        client.call("status"),
        client.call("ledger", name=name),
    )
    account: Mapping[str, Any] = {**ledger["filters"][0], "kernel": ledger["kernel"]}
    services, others = _listeners(strings(view["spec"].get("ports")))
    ports, connections = sorted({one.port for one in services}), sum(one.connections for one in services)
    yield from diagnose(view, account, status, ports, connections)
    for problem in unfit(probed(client, view)):
        what, _, remedy = problem.partition(" — ")
        yield Finding("target", "error", what, "the daemon has just tried to connect to it", remedy)
    if account["filtered"].get("encrypted") or view["spec"].get("tls") == "decrypt":
        yield from _terminators(name, services, others)


def _listeners(ranges: list[str]) -> tuple[list[Service], list[Service]]:
    """The services of this host that listen on the ports, and all others."""
    from shadowd.capture.services import list_services

    bounds = [(int(low), int(high or low)) for low, _, high in (one.partition("-") for one in ranges)]
    services, _ = list_services()
    found = [one for one in services if any(low <= one.port <= high for low, high in bounds)]
    return found, [one for one in services if one not in found]


def _terminators(name: str, services: list[Service], others: list[Service]) -> Iterator[Any]:
    """Where TLS ends in a proxy, what stands behind it may be plain."""
    from shadowd.capture.services import behind
    from shadowd.doctor.finding import Finding

    for service in services:
        for upstream in behind(service, others):
            whose = f" of {upstream.process}" if upstream.process else ""
            yield Finding(
                "tls_terminator", "note",
                f"port {service.port} of {service.process} speaks TLS, and is connected to port {upstream.port}{whose}",
                "if that is plain HTTP, it is the same traffic with nothing to decrypt",
                f"mirror it instead: shadowctl filter set {name} --port {upstream.port} --tls off",
            )  # fmt: skip
