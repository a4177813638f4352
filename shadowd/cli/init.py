"""``shadowctl init``: a configuration file to begin with, of what listens on this host. All of it is commented out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shadowd.cli.files import check_writable, write_bytes
from shadowd.cli.output import AsJson, print_json
from shadowd.cli.progress import waiting
from shadowd.cli.ps import mirrored, name_of, owner_of
from shadowd.errors import UsageError

if TYPE_CHECKING:
    from shadowd.capture.services import Service

_HEAD = """\
# shadowd's configuration, as shadowctl init found this host. Everything is commented out: take away the # of a filter,
# and put the address of its next version in the place of SHADOW.
#
#   shadowd check-config {file}    says everything that is wrong, a line each
#   shadowd run --config {file}    mirrors what is set here
#
# docs/configuration.md has all settings; shadowctl filter add --help those of a filter.

# Who may ask the daemon by shadowctl, besides root.
#socket_group = "shadowd"
# Verdicts and reports over HTTP; "" for none.
#http = "127.0.0.1:9750"
# Mirroring is shed above so much of the host's CPU time, and of one core for the daemon itself.
#cpu_guard = "85%"
#cpu_max = "100%"
# The daemon's memory at most.
#memory_max = "256MB"
"""


def init(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to (default shadowd.toml here); - is stdout.")
    ] = "shadowd.toml",
    as_json: AsJson = False,
) -> None:
    """Write a configuration file to begin with: a filter, commented out, for each service that listens here.

    Never writes over a file. Run it as root to see everybody's services.

    \b
    Examples:
      sudo shadowctl init
      sudo shadowctl init -o /tmp/services.toml
      sudo shadowctl init -o - | less
    """
    path = Path(output)
    if output != "-":
        if os.path.lexists(path):
            raise UsageError(f"{output} is there already", "name another file with -o, or remove it first")
        check_writable(path)
    from shadowd.capture.services import list_services  # psutil and the capture: no other command waits for them

    with waiting("looking through processes and sockets"):
        services, unseen = list_services()
    text, names = document(services, unseen, "FILE" if output == "-" else output)
    if output == "-":
        if as_json:
            print_json({"file": None, "filters": names, "unseen": unseen, "text": text})
        else:
            print(text, end="")
        return
    write_bytes(path, text.encode(), 0o644)  # a configuration is for others to read, too
    if as_json:
        print_json({"file": output, "filters": names, "unseen": unseen})
    else:
        count = len(names)
        print(f"wrote {output} with {count} service{'s' * (count != 1)}, commented out: look at it, then")
        print(f"  shadowd check-config {output}")


def document(services: list[Service], unseen: list[str], file: str) -> tuple[str, list[str]]:
    """The file, and the names of the filters that are proposed in it."""
    from shadowd.config.writing import filter_toml  # not at the top: a third of a second

    parts = [_HEAD.replace("{file}", file)]
    names: set[str] = set()
    proposed = []
    for service in mirrored(services):
        name = name_of(service, names)
        owner, value = owner_of(service)
        wire = {"name": name, "ports": [str(service.port)], "to": [f"http://SHADOW:{service.port}"]}
        wire |= {owner: value} if owner else {}
        whose = service.unit or service.process or "somebody"
        where = f"container {service.container[:12]}, " if service.container else ""
        parts.append(f"# {where}{whose.encode('ascii', 'backslashreplace').decode()} on port {service.port}")
        parts.append(filter_toml(wire, commented=True).replace("http://shadow:", "http://SHADOW:"))
        proposed.append(name)
    parts += [f"# not seen: {sentence}" for sentence in unseen]
    return "\n".join(parts).rstrip() + "\n", proposed
