"""``shadowctl filter``: add, change, list, show, remove, pause and resume filters.

Only what was given is sent; the daemon checks it and has the defaults, so that there is one place for both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from shadowd.cli.filteroptions import filter_options
from shadowd.cli.output import AsJson, Socket, daemon_at, mappings, new_app, number, print_json, print_table, strings
from shadowd.errors import ShadowdError, UsageError

app = new_app("Add, change, list, show, remove, pause and resume filters.")

WIRE_KEYS = {
    "port": "ports",
    "client": "client_cidrs",
    "server": "server_cidrs",
    "route": "routes",
    "price": "prices",
}  # where option and field differ
FILES = ("ca", "client_cert", "client_key", "similarity", "tls_keylog", "descriptors")
OWNERS = (
    "cgroup",
    "unit",
    "container",
    "pod",
    "process",
    "pid",
)  # as in config/filter.py, slow to load


def complete(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of filters."""
    try:
        names = [_name(view) for view in mappings(daemon_at(ctx, None).call("filter.ls"))]
    except ShadowdError:  # completion has nowhere to say it
        return []
    return [name for name in names if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(metavar="NAME", help="The filter's name.", autocompletion=complete)]
FOLLOW = "While it is paused go on reading its connections, at the cost of capture, so that resuming needs no new ones."
NewName = Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9, - and _.")]


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, by the names of the wire; an empty string empties a list."""
    given: dict[str, Any] = {}
    edits = _from_files(options.pop("set_json_file", None) or [])
    if edits:  # the text travels, not the file's name: the daemon may not read what its operator may
        options["set_json"] = [*(options.get("set_json") or []), *edits]
    for key, value in options.items():
        if value is None or value in ([], ()):
            continue
        if key in FILES and value:
            value = os.path.abspath(value)  # the daemon has another working directory
        given[WIRE_KEYS.get(key, key)] = [] if isinstance(value, list | tuple) and list(value) == [""] else value
    return given


def _from_files(given: list[str]) -> list[str]:
    """``PATH=FILE`` as ``PATH=VALUE``."""
    edits = []
    for item in given:
        path, equals, name = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--set-json-file {item[:60]} has no file", "write '$.messages[0].content=prompt.txt'")
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UsageError(f"{name} cannot be read: {why}", "check the file's name and rights") from None
        edits.append(f"{path}={json.dumps(text)}")
    return edits


@app.command()
@filter_options
def add(
    ctx: typer.Context,
    name: NewName,
    paused: Annotated[bool | None, typer.Option("--paused", help="Add it without starting it.")] = None,
    follow: Annotated[bool | None, typer.Option("--follow", help=FOLLOW)] = None,
    as_json: AsJson = False,
    socket: Socket = None,
    **options: Any,
) -> None:
    """Mirror a service: what to capture, and where to replay it.

    \b
    Examples:
      shadowctl filter add shop --port 8080 --to http://shop-next:8080
      shadowctl filter add shop --port 8080 --to https://next.example:8443 --ca /etc/ssl/ours.pem
      shadowctl filter add api --port 80,8000-8010 --client 10.0.0.0/8 --sample 10% --to http://[2001:db8::1]:80
      shadowctl filter add cache --port 6379 --protocol raw --allow-writes --to tcp://redis-next:6379
      shadowctl filter add later --port 50051 --to h2c://next:50051 --paused --follow
      shadowctl filter add gateway --hook 'tc:veth*' --port 80 --to http://shadow --methods GET,POST
    """
    spec = {"name": name, **given_options({**options, "paused": paused, "follow": follow})}
    _tell(daemon_at(ctx, socket).call("filter.add", spec=spec), "added", as_json)


@app.command("set")
@filter_options
def set_(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None, **options: Any) -> None:
    """Change a filter: only the options given, the rest stays as it is.

    A list option replaces the whole list; an empty string ('') empties it, or removes a setting.
    --to replaces the candidates, --baseline the baselines.

    \b
    Examples:
      shadowctl filter set shop --sample 50%
      shadowctl filter set shop --to http://shop-next:8080 --to http://shop-other:8080
      shadowctl filter set shop --max-rps '' --match-path '^/api/'
    """
    changes = given_options(options)
    if not changes:
        raise UsageError("nothing to change", "give an option, such as --sample 50%; see shadowctl filter set --help")
    _tell(daemon_at(ctx, socket).call("filter.set", name=name, changes=changes), "changed", as_json)


@app.command()
def ls(ctx: typer.Context, as_json: AsJson = False, socket: Socket = None) -> None:
    """List the filters.

    \b
    Examples:
      shadowctl filter ls
      shadowctl filter ls --json
    """
    views = daemon_at(ctx, socket).call("filter.ls")
    if as_json:
        print_json(views)
    elif not mappings(views):
        print("no filters; add one: shadowctl filter add NAME --port PORT --to URL")
    else:
        print_table(
            ("NAME", "HOOK", "PORTS", "TARGETS", "STATE", "ORIGIN", "SEEN", "MIRRORED"),
            [
                (
                    _name(view),
                    _spec(view).get("hook", ""),
                    ",".join(strings(_spec(view).get("ports"))) or "any",
                    " ".join(_targets(view)),
                    view.get("state", ""),
                    view.get("origin", ""),
                    number(view, "seen"),
                    number(view, "mirrored"),
                )
                for view in mappings(views)
            ],
        )


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None) -> None:
    """Show one filter: its settings, its state, and in words what happens to its traffic.

    \b
    Examples:
      shadowctl filter show shop
      shadowctl filter show shop --json
    """
    view = daemon_at(ctx, socket).call("filter.show", name=name)
    if as_json:
        print_json(view)
        return
    print(summary(view))
    for key, value in _spec(view).items():
        if key not in ("name", "targets") and value not in (None, [], False):
            print(f"  {key:18} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for target in mappings(_spec(view).get("targets")):
        options = [f"{key}={value}" for key, value in target.items() if key != "url"]
        print(f"  {'target':18} {target.get('url')} {' '.join(options)}".rstrip())


@app.command()
def rm(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None) -> None:
    """Remove a filter; its connections to the targets are closed.

    \b
    Examples:
      shadowctl filter rm shop
    """
    result = daemon_at(ctx, socket).call("filter.rm", name=name)
    if as_json:
        print_json(result if result is not None else {"name": name})
    else:
        print(f"filter {name} removed")


@app.command()
def pause(
    ctx: typer.Context,
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", help=FOLLOW)] = False,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """Stop mirroring for a while; the filter and its ledger stay. Nothing is copied meanwhile, and HTTP/2 connections
    that are open then cannot be read afterwards, unless they are followed.

    \b
    Examples:
      shadowctl filter pause shop
      shadowctl filter pause shop --follow
    """
    _tell(daemon_at(ctx, socket).call("filter.pause", name=name, follow=follow), "paused", as_json)


@app.command()
def resume(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None) -> None:
    """Go on mirroring.

    \b
    Examples:
      shadowctl filter resume shop
    """
    _tell(daemon_at(ctx, socket).call("filter.resume", name=name), "resumed", as_json)


def _tell(view: object, done: str, as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        print(f"{done}: {summary(view)}")


def summary(view: object) -> str:
    """``shop (active, control): socket, ports 8080 → http://next:8080; 12 seen, 12 mirrored`` and its words."""
    spec = _spec(view)
    ports = ",".join(strings(spec.get("ports")))
    owners = [f"{key} {spec[key]}" for key in OWNERS if spec.get(key)]
    parts = [str(spec.get("hook", "")), f"ports {ports}" if ports else "", *owners]
    where = ", ".join(part for part in parts if part)
    table = view if isinstance(view, Mapping) else {}
    state = ", ".join(str(table[key]) for key in ("state", "origin") if table.get(key))
    head = (
        f"{_name(table)} ({state}): {where} → {' '.join(_targets(table)) or 'nowhere'};"
        f" {number(table, 'seen')} seen, {number(table, 'mirrored')} mirrored"
    )
    return "\n".join([head, *(f"  {words}" for words in strings(table.get("words")))])


def _spec(view: object) -> Mapping[str, Any]:
    spec = view.get("spec") if isinstance(view, Mapping) else None
    return spec if isinstance(spec, Mapping) else {}


def _name(view: object) -> str:
    return str(_spec(view).get("name", "?"))


def _targets(view: object) -> list[str]:
    return [str(target.get("url", "?")) for target in mappings(_spec(view).get("targets"))]
