"""``shadowd``: run the daemon, check a configuration file without running it, clean up behind a killed one."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from shadowd.cli.output import AsJson, new_app, print_json, run, show_version
from shadowd.errors import ConfigError

if TYPE_CHECKING:
    from shadowd.service.checking import Lack

app = new_app("The shadowd daemon.")


def _version(wanted: bool) -> None:
    show_version("shadowd", wanted)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Mirror live TCP flows from the kernel to shadow hosts and account for every request.

    \b
    Examples:
      shadowd run --config /etc/shadowd/shadowd.toml
      shadowd check-config /etc/shadowd/shadowd.toml
      shadowd clean
    """


@app.command("run")
def run_(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Configuration (TOML).")] = None,
    socket: Annotated[
        str | None, typer.Option(metavar="PATH", help="Control socket (default /run/shadowd/shadowd.sock).")
    ] = None,
    state_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where filters are kept (default /var/lib/shadowd).")
    ] = None,
    log_format: Annotated[str | None, typer.Option(metavar="text|json", help="Form of the log on stderr.")] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Verdicts and reports over HTTP (default 127.0.0.1:9750; '' for none)."),
    ] = None,
    http_token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Whoever can read it may read bodies over HTTP (default beside the socket)."),
    ] = None,
    redact_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Values of this name are secret too, however it is written. Repeatable."),
    ] = None,
    redact_pattern: Annotated[
        list[str] | None,
        typer.Option(metavar="RE2", help="What matches is secret too; of a group what is in it. Repeatable."),
    ] = None,
    keep: Annotated[str | None, typer.Option(metavar="TIME", help="How long runs are stored (default 14d).")] = None,
    cpu_guard: Annotated[
        str | None,
        typer.Option("--cpu-guard", metavar="SHARE", help="Shed above this CPU use of the host (default 85%; off)."),
    ] = None,
    cpu_max: Annotated[
        str | None,
        typer.Option("--cpu-max", metavar="SHARE", help="Shed above this use of one core by shadowd (default 100%)."),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option("--workers", metavar="N|auto", help="Processes that read and replay (default 1)."),
    ] = None,
    memory_max: Annotated[
        str | None, typer.Option("--memory-max", metavar="SIZE", help="Memory of the daemon at most (default 256MB).")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", metavar="SIZE", help="Size of the store at most (default 1GB).")
    ] = None,
) -> None:
    """Run the daemon in the foreground, as root or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.

    SIGTERM ends it, SIGHUP reloads the configuration.

    The options take precedence over the configuration file.

    \b
    Examples:
      shadowd run
      shadowd run --config /etc/shadowd/shadowd.toml --log-format json
      shadowd run --socket /tmp/test.sock --state-dir /tmp/state
      shadowd run --redact-name customer_key --redact-pattern 'CK-[0-9]{6}'
    """
    from shadowd.config.document import (  # not at the top: --help and --version start without
        Config,
        fingerprint,
        load_config,
    )

    path = config.absolute() if config is not None else None
    read = fingerprint(path) if path is not None else ()  # before it is read: what changes in between is seen
    loaded = load_config(path) if path is not None else Config()
    settings = loaded.with_overrides(
        socket=os.path.abspath(socket) if socket else socket,
        state_dir=os.path.abspath(state_dir) if state_dir else state_dir,
        log_format=log_format,
        http=http,
        keep=keep,
        max_size=max_size,
        cpu_guard=cpu_guard,
        cpu_max=cpu_max,
        memory_max=memory_max,
        workers=workers,
        http_token_file=os.path.abspath(http_token_file) if http_token_file else None,
        # added to the file's: an option that unmasked something would be a trap
        redact_names=[*loaded.redact_names, *redact_name] if redact_name else None,
        redact_patterns=[*loaded.redact_patterns, *redact_pattern] if redact_pattern else None,
    )
    import trio

    from shadowd.observe.door import make_door
    from shadowd.service.daemon import run_daemon

    trio.run(run_daemon, settings, path, None, read, make_door)


@app.command("check-config")
def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration to check.")],
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="It is for another host: groups and files need not be on this one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a configuration file with its conf.d/*.toml and say everything that is wrong, a line each.

    Groups, certificates, schemas, key logs and folders that it names are looked for on this host: where the daemon
    would not start without one that is an error, else a warning.

    \b
    Examples:
      shadowd check-config /etc/shadowd/shadowd.toml
      shadowd check-config shadowd.toml --elsewhere --json
    """
    from shadowd.config.document import load_config

    found: list[Lack] = []
    try:
        config = load_config(file)
        if not elsewhere:
            from shadowd.service.checking import lacks

            found = list(lacks(config))
        if fatal := [f"{file}: {one}" for one in found if one.fatal]:
            raise ConfigError("\n".join(fatal))
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"file": str(file), "ok": False, "errors": str(error).splitlines()})
        raise typer.Exit(error.exit_code) from None
    names = [spec.name for spec in config.filters]
    warnings = [f"{file}: {one}" for one in found]
    if as_json:
        print_json({"file": str(file), "ok": True, "filters": names, "warnings": warnings})
        return
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{file}: ok, {len(names)} filter{'s' * (len(names) != 1)}{': ' if names else ''}{', '.join(names)}")


@app.command("clean")
def clean(
    socket: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The daemon's control socket (default /run/shadowd/shadowd.sock)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what a killed daemon left on this host's interfaces: nothing but its own classifiers, by exact match.

    The kernel removes everything else by itself. Refused while a daemon runs.

    \b
    Examples:
      shadowd clean
      shadowd clean --json
    """
    from shadowd.capture.attach import clean_interfaces
    from shadowd.control.client import DEFAULT_SOCKET
    from shadowd.control.server import serving_pid
    from shadowd.errors import ShadowdError

    path = socket or DEFAULT_SOCKET
    pid = serving_pid(path)
    if pid is not None:
        raise ShadowdError(f"a shadowd is running (pid {pid}, {path})", "stop it first: it cleans up behind itself")
    removed = clean_interfaces()
    if as_json:
        print_json({"removed": removed})
    else:
        print(f"removed {removed} classifier{'s' * (removed != 1)}" if removed else "nothing was left behind")


@app.command("attach-tls")
def attach_tls(
    socket: Annotated[
        str, typer.Option(metavar="PATH", help="Where the daemon finds it (default /run/shadowd-tls/attacher.sock).")
    ] = "/run/shadowd-tls/attacher.sock",
) -> None:
    """Put probes on TLS libraries for a daemon that has not the rights to (shadowd-tls.service).

    Serves daemons of its own user, and root's; its probes end with them. Needs CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE
    (CAP_SYS_ADMIN, too, before Linux 6.6).

    \b
    Examples:
      systemctl enable --now shadowd-tls
      shadowd attach-tls --socket /run/shadowd-tls/attacher.sock
    """
    from shadowd.capture.tlsattacher import listen

    listen(socket)


@app.command("gate")
def gate(
    nodes: Annotated[
        list[str],
        typer.Option(metavar="HOST:PORT", help="Doors of daemons; all addresses of a name count. Repeatable."),
    ],
    node_token_file: Annotated[Path, typer.Option(metavar="FILE", help="The daemons' http_token_file.")],
    http_token_file: Annotated[Path, typer.Option(metavar="FILE", help="Who asks here must give this one.")],
    http: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1:9752",
    missing: Annotated[int, typer.Option(metavar="N", min=0, help="Nodes that may be out of reach.")] = 0,
) -> None:
    """One door to many daemons, for pipelines: a run begins on all of them, and a verdict is all of theirs.

    It answers what a daemon's own door answers (docs/gates), and needs no privilege. A fail of one node is a fail, a
    pass is one of every node that saw traffic.

    \b
    Examples:
      shadowd gate --nodes shadowd.shadowd.svc:9750 --node-token-file nodes.token --http-token-file callers.token
      shadowd gate --nodes edge-1:9750 --nodes edge-2:9750 --node-token-file n --http-token-file c --http 0.0.0.0:9752
    """
    import trio

    from shadowd.observe.http import address_of
    from shadowd.observe.nodes import serve_gate
    from shadowd.observe.token import Token

    places = [address_of(one) for one in nodes]
    asking, asked = Token(node_token_file), Token(http_token_file)
    for token in (asking, asked):
        token.given()  # what is wrong with it is said at once

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            bound = await nursery.start(partial(serve_gate, http, places, asking, asked, missing))
            print(f"shadowd gate: listening on {bound}", file=sys.stderr, flush=True)

    trio.run(serve)


def main() -> NoReturn:
    run(app, "shadowd")


if __name__ == "__main__":
    main()
