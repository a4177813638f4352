"""``shadowd``: run the daemon, check a configuration file without running it, clean up behind a killed one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from shadowd.cli.output import AsJson, new_app, print_json, run, show_version

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
    keep: Annotated[str | None, typer.Option(metavar="TIME", help="How long runs are stored (default 14d).")] = None,
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
    """
    from shadowd.config import Config, fingerprint, load_config  # not at the top: --help and --version start without

    path = config.absolute() if config is not None else None
    read = fingerprint(path) if path is not None else ()  # before it is read: what changes in between is seen
    settings = (load_config(path) if path is not None else Config()).with_overrides(
        socket=os.path.abspath(socket) if socket else socket,
        state_dir=os.path.abspath(state_dir) if state_dir else state_dir,
        log_format=log_format,
        http=http,
        keep=keep,
        max_size=max_size,
    )
    import trio

    from shadowd.daemon import run_daemon

    trio.run(run_daemon, settings, path, None, read)


@app.command("check-config")
def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration to check.")], as_json: AsJson = False
) -> None:
    """Check a configuration file with its conf.d/*.toml and say everything that is wrong, a line each.

    \b
    Examples:
      shadowd check-config /etc/shadowd/shadowd.toml
      shadowd check-config shadowd.toml --json
    """
    from shadowd.config import load_config

    names = [spec.name for spec in load_config(file).filters]
    if as_json:
        print_json({"file": str(file), "ok": True, "filters": names})
    else:
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


def main() -> NoReturn:
    run(app, "shadowd")


if __name__ == "__main__":
    main()
