"""``shadowctl ps``: the services of this host, and the command that mirrors each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from shadowd.cli.output import AsJson, Socket, daemon_at, mappings, number, print_json, print_table, strings
from shadowd.cli.progress import waiting
from shadowd.errors import ShadowdError

if TYPE_CHECKING:
    from shadowd.capture.services import Service

_PROXIES = ("docker-proxy", "rootlessport", "slirp4netns", "pasta", "conmon")  # their traffic is a container's


def ps(ctx: typer.Context, as_json: AsJson = False, socket: Socket = None) -> None:
    """List what listens on this host: process, unit or container, connections, and how to mirror it.

    IN and OUT are what the present connections have carried so far. Works without a daemon; run it as root to see
    everybody's processes, and the containers. --json has an entry for each port.

    \b
    Examples:
      shadowctl ps
      shadowctl ps --json
    """
    from shadowd.capture.services import list_services  # psutil and the capture: no other command waits for them

    with waiting("looking through processes and sockets"):
        services, unseen = list_services()
    daemon, filters = _daemon(ctx, socket)
    rows = []
    names: set[str] = set()
    for service in services:
        if service.ours or (service.pid and service.pid == daemon):
            continue  # our own pages are not for mirroring
        rows.append((service, [_name(view) for view in filters if _selects(view, service)], _command(service, names)))
    if as_json:
        print_json({"services": [_row(*row) for row in rows], "unseen": unseen})
        return
    families: dict[tuple[object, ...], list[tuple[Service, list[str]]]] = {}
    for service, selecting, _ in rows:
        families.setdefault(service.family, []).append((service, selecting))
    print_table(
        ("PORT", "ADDRESS", "PROCESS", "PID", "BELONGS TO", "CONNECTIONS", "IN", "OUT", "FILTERS"),
        [_table_row(family) for family in families.values()],
        spare=("IN", "OUT", "PID", "ADDRESS", "CONNECTIONS", "FILTERS"),
    )
    free = [command for _, selecting, command in rows if command and not selecting]
    if free:
        print("\nTo mirror one of them (give the shadow's address):")
        for command in free:
            print(f"  {command}")
    for sentence in unseen:
        print(f"not seen: {sentence}")


def _table_row(family: list[tuple[Service, list[str]]]) -> tuple[object, ...]:
    """Of all ports of one service."""
    services = [service for service, _ in family]
    first = services[0]
    ports = ",".join(str(port) for port in sorted({one.port for one in services}))
    addresses = list(dict.fromkeys(address for one in services for address in one.addresses))
    filters = sorted({name for _, selecting in family for name in selecting})
    return (
        ports, _addresses(addresses), first.process or "?", first.pid or "?", _belongs(first),
        sum(one.connections for one in services), _size(sum(one.received for one in services)),
        _size(sum(one.sent for one in services)), ",".join(filters) or "-",
    )  # fmt: skip


def _daemon(ctx: typer.Context, socket: str | None) -> tuple[int, list[Mapping[str, Any]]]:
    """The daemon's pid and its filters; 0 and none if it cannot be asked."""
    try:
        client = daemon_at(ctx, socket)
        return int(number(client.call("status"), "pid")), mappings(client.call("filter.ls"))
    except ShadowdError:
        return 0, []


def _command(service: Service, names: set[str]) -> str:
    """What mirrors exactly this service; "" for one that only forwards to a container."""
    if service.process in _PROXIES:
        return ""
    option, value = owner_of(service)
    owner = f" --{option} {value}" if option else ""
    name = name_of(service, names)
    return f"shadowctl filter add {name} --port {service.port}{owner} --to http://SHADOW:{service.port}"


def mirrored(services: list[Service]) -> list[Service]:
    """Those that somebody may want to mirror, each port once."""
    return [one for one in services if one.process not in _PROXIES and not one.ours]


def name_of(service: Service, names: set[str]) -> str:
    """For its filter; none of ``names``, to which it is added."""
    called = service.unit.rsplit(".", 1)[0] if service.unit.endswith(".service") else ""
    called = called or service.process or "service"
    name = re.sub(r"[^a-z0-9_-]+", "-", called.lower()).strip("-_")[:50].strip("-_") or "service"
    if name in names:
        name = f"{name}-{service.port}"
    number = 2
    while name in names:
        name, number = f"{name}-{number}", number + 1
    names.add(name)
    return name


def owner_of(service: Service) -> tuple[str, str]:
    """The option that selects it, and its value; two empty ones where its port alone does."""
    if service.container:
        return "container", service.container[:12]
    if service.unit.endswith(".service"):
        return "unit", service.unit
    return ("pid", str(service.pid)) if service.namespaced and service.pid else ("", "")


def _selects(view: Mapping[str, Any], service: Service) -> bool:
    """Whether a filter is about this service, as far as its fields tell."""
    spec = view.get("spec")
    if not isinstance(spec, Mapping) or spec.get("direction") == "outbound":
        return False
    ports = [part.partition("-") for part in strings(spec.get("ports"))]
    if ports and not any(int(low) <= service.port <= int(high or low) for low, _, high in ports):
        return False
    process, unit, container = spec.get("process"), spec.get("unit"), spec.get("container")
    return (
        (not process or process == service.process)
        and (not unit or service.unit in (unit, f"{unit}.service"))
        and (not container or (bool(service.container) and service.container.startswith(str(container).lower())))
        and (not spec.get("pid") or spec.get("pid") == service.pid)
        and not spec.get("cgroup")
    )


def _name(view: Mapping[str, Any]) -> str:
    return str(view.get("name", "?"))


def _belongs(service: Service) -> str:
    return f"container {service.container[:12]}" if service.container else service.unit or "-"


def _addresses(addresses: list[str]) -> str:
    return ",".join("*" if address in ("0.0.0.0", "::") else address for address in _unlike(addresses))


def _unlike(addresses: list[str]) -> list[str]:
    """Without the second of both wildcards."""
    wild = [address for address in addresses if address in ("0.0.0.0", "::")][:1]
    return wild + [address for address in addresses if address not in ("0.0.0.0", "::")]


def _size(amount: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _row(service: Service, selecting: list[str], command: str) -> dict[str, Any]:
    return {
        "port": service.port,
        "addresses": service.addresses,
        "loopback_only": service.loopback_only,
        "process": service.process or None,
        "pid": service.pid or None,
        "unit": service.unit or None,
        "container": service.container or None,
        "other_namespace": service.namespaced,
        "connections": service.connections,
        "received": service.received,
        "sent": service.sent,
        "filters": selecting,
        "command": command or None,
    }
