"""``shadowctl version``: what a report of a fault has to name."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping

import typer

from shadowd import __version__, compiled
from shadowd.cli.output import AsJson, Socket, daemon_at, print_json
from shadowd.errors import ShadowdError


def version(ctx: typer.Context, as_json: AsJson = False, socket: Socket = None) -> None:
    """Show the versions of client, daemon and kernel, and whether the code runs compiled. Works without a daemon.

    \b
    Examples:
      shadowctl version
      shadowctl version --json
    """
    client = daemon_at(ctx, socket)
    daemon: dict[str, object] | None = None
    problem = ""
    try:
        found = client.call("status")
        told: Mapping[str, object] = found if isinstance(found, Mapping) else {}
        daemon = {key: told.get(key) for key in ("version", "code", "loader", "node", "pid")}
    except ShadowdError as error:
        problem = str(error)
    here = {"version": __version__, "code": compiled.STATE, "python": platform.python_version()}
    kernel = {"release": platform.release(), "machine": platform.machine()}
    if as_json:
        print_json({"client": here, "daemon": daemon, "problem": problem or None, "kernel": kernel})
        return
    print(f"client: shadowctl {__version__}, {compiled.STATE}, Python {here['python']} ({sys.executable})")
    if daemon is None:
        print(f"daemon: {problem}")
    else:
        loader = f", capture program by {daemon['loader']}" if daemon["loader"] else ""
        print(f"daemon: shadowd {daemon['version']}, {daemon['code']}{loader}, pid {daemon['pid']} on {daemon['node']}")
        if daemon["version"] != __version__:
            print("  they are of different versions: restart the daemon, or use its own shadowctl")
    print(f"kernel: {kernel['release']} on {kernel['machine']}")
