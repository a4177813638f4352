"""``shadowctl filter``: add, change, list, show, remove, pause and resume filters.

Only what was given is sent; the daemon checks it and has the defaults, so that there is one place for both.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from shadowd.cli import watching
from shadowd.cli.filteroptions import FilterCommand, filter_options
from shadowd.cli.output import AsJson, Socket, daemon_at, mappings, new_app, number, print_json, strings
from shadowd.cli.terminal import plain, table_lines, width
from shadowd.cli.watching import Watch, WatchedCommand
from shadowd.control.client import Client
from shadowd.errors import ShadowdError, UsageError

app = new_app("Add, change, list, show, remove, pause and resume filters.")

NO_FILTERS = "no filters; add one: shadowctl filter add NAME --port PORT --to URL"
WIRE_KEYS = {
    "port": "ports",
    "client": "client_cidrs",
    "server": "server_cidrs",
    "route": "routes",
    "price": "prices",
}  # where option and field differ
FILES = ("ca", "client_cert", "client_key", "similarity", "tls_keylog", "descriptors")
PLACES = ("to", "baseline", "targets", "to_protocol", "ca", "insecure", "client_cert", "client_key", "server_name")
OWNERS = ("cgroup", "unit", "container", "pod", "process", "pid")  # as in config/filter.py, slow to load


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


@app.command(cls=FilterCommand)
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

    A target that does not resolve, refuses, has another certificate or speaks another protocol is told at once; the
    filter is added all the same. For that the daemon connects to each, and sends nothing but TLS's handshake.

    \b
    Examples:
      shadowctl filter add shop --port 8080 --to http://shop-next:8080
      shadowctl filter add shop --port 8080 --to https://next.example:8443 --ca /etc/ssl/ours.pem
      shadowctl filter add api --port 80,8000-8010 --sample 10% --to http://[2001:db8::1]:80
      shadowctl filter add cache --port 6379 --protocol raw --allow-writes --to tcp://redis-next:6379
      shadowctl filter add later --port 50051 --to h2c://next:50051 --paused --follow
      shadowctl filter add gateway --hook 'tc:veth*' --port 80 --to http://shadow --methods GET,POST
    """
    spec = {"name": name, **given_options({**options, "paused": paused, "follow": follow})}
    client = daemon_at(ctx, socket)
    _tell(probed(client, client.call("filter.add", spec=spec)), "added", as_json)


@app.command("set", cls=FilterCommand)
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
    client = daemon_at(ctx, socket)
    view = client.call("filter.set", name=name, changes=changes)
    _tell(probed(client, view) if any(key in changes for key in PLACES) else view, "changed", as_json)


@app.command(cls=WatchedCommand)
def ls(ctx: typer.Context, as_json: AsJson = False, watch: Watch = None, socket: Socket = None) -> None:
    """List the filters.

    \b
    Examples:
      shadowctl filter ls
      shadowctl filter ls --watch
      shadowctl filter ls --json
    """
    client = daemon_at(ctx, socket)
    watching.show(lambda: client.call("filter.ls"), _listed, as_json, watch)


def _listed(views: object) -> list[str]:
    rows = [
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
    ]
    head = ("NAME", "HOOK", "PORTS", "TARGETS", "STATE", "ORIGIN", "SEEN", "MIRRORED")
    return table_lines(head, rows, width(), spare=("ORIGIN", "HOOK", "SEEN", "PORTS")) if rows else [NO_FILTERS]


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None) -> None:
    """Show one filter: in words what happens to its traffic, and what was set of it, as TOML.

    \b
    Examples:
      shadowctl filter show shop
      shadowctl filter show shop --json
    """
    view = daemon_at(ctx, socket).call("filter.show", name=name)
    if as_json:
        print_json(view)
    else:
        print(_toml_of(view))


@app.command()
def export(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these.", autocompletion=complete)
    ] = None,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """Write all filters as a configuration file would have them: for shadowd run --config, or another host's conf.d.

    What has its default is left out, and so are the values of headers that look like secrets: a comment says which.

    \b
    Examples:
      shadowctl filter export > filters.toml
      shadowctl filter export shop api > some.toml
      shadowctl filter export --json
    """
    views = mappings(daemon_at(ctx, socket).call("filter.ls"))
    known = [_name(view) for view in views]
    for name in names or ():
        if name not in known:
            raise UsageError(f"there is no filter named {plain(name)}", f"filters are: {', '.join(known) or 'none'}")
    chosen = [view for view in views if not names or _name(view) in names]
    if as_json:
        print_json([_spec(view) for view in chosen])
    elif not chosen:
        print("# no filters")
    else:
        print("\n".join(_toml_of(view) for view in chosen), end="")


def _toml_of(view: object) -> str:
    from shadowd.config.writing import filter_toml  # not at the top: a third of a second

    words = [f"# {plain(line)}" for line in summary(view).splitlines()]
    return "\n".join([*words, filter_toml(_spec(view))])


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
        for problem in unfit(view):
            print(f"warning: {problem}", file=sys.stderr)


def probed(client: Client, view: object) -> object:
    """The view with what the daemon finds at the targets: ``problem`` and ``hint`` of each, "" where it is fit."""
    try:
        told = mappings(client.call("filter.probe", name=_name(view)))
    except ShadowdError:  # an older daemon; and the filter is in force whatever becomes of this
        return view
    if not isinstance(view, Mapping):
        return view
    found = {(one.get("url"), one.get("role")): one for one in told}
    targets = []
    for target in mappings(view.get("targets")):
        one = found.get((target.get("url"), target.get("role")), {})
        targets.append(
            {**target, "problem": one.get("problem") or target.get("problem", ""), "hint": one.get("hint", "")}
        )
    return {**view, "targets": targets}


def unfit(view: object) -> list[str]:
    """``URL: what is wrong — what to do`` of each target that cannot be mirrored to."""
    targets = mappings(view.get("targets")) if isinstance(view, Mapping) else []
    return [
        plain(" — ".join(str(part) for part in (f"{one.get('url')}: {one['problem']}", one.get("hint")) if part))
        for one in targets
        if one.get("problem")
    ]


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
