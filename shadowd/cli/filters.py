"""``shadowctl filter``: add, change, list, show, remove, pause and resume filters.

Only what was given is sent; the daemon checks it and has the defaults, so that there is one place for both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from shadowd.cli.output import AsJson, Socket, daemon_at, mappings, new_app, number, print_json, print_table, strings
from shadowd.errors import ShadowdError, UsageError

app = new_app("Add, change, list, show, remove, pause and resume filters.")

WIRE_KEYS = {"port": "ports", "client": "client_cidrs", "server": "server_cidrs"}  # where option and field differ
FILES = ("ca", "client_cert", "client_key")
NOT_OPTIONS = ("ctx", "name", "socket", "as_json")


def _complete(ctx: typer.Context, incomplete: str) -> list[str]:
    try:
        names = [_name(view) for view in mappings(daemon_at(ctx, None).call("filter.ls"))]
    except ShadowdError:  # completion has nowhere to say it
        return []
    return [name for name in names if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(metavar="NAME", help="The filter's name.", autocompletion=_complete)]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9, - and _.")]
Text = str | None
Texts = list[str] | None
Flag = bool | None


def _option(flag: str, about: str, metavar: str) -> Any:
    return typer.Option(flag, help=about, metavar=metavar)


Hook = Annotated[Text, _option("--hook", "Where to look: socket (default) or tc:INTERFACE, globs allowed.", "HOOK")]
Direction = Annotated[Text, _option("--direction", "inbound (default): the service is here; outbound.", "WAY")]
Port = Annotated[Texts, _option("--port", "Server port, range or list: 80, 8000-8010, 80,81. Repeatable.", "PORT")]
ClientNet = Annotated[Texts, _option("--client", "Only clients in this network. Repeatable.", "CIDR")]
ServerNet = Annotated[Texts, _option("--server", "Only servers in this network. Repeatable.", "CIDR")]
Cgroup = Annotated[Text, _option("--cgroup", "Only processes of this cgroup (socket hook).", "PATH")]
Sample = Annotated[Text, _option("--sample", "Share of connections, 0.1 or 10% (default 100%).", "RATE")]
Protocol = Annotated[Text, _option("--protocol", "auto (default), http or raw.", "NAME")]
To = Annotated[Texts, _option("--to", "Replay to http://, https:// or tcp://HOST[:PORT]. Repeatable.", "URL")]
Baseline = Annotated[
    Texts, _option("--baseline", "A target that runs production's version, to measure noise. Repeatable.", "URL")
]
Ca = Annotated[Text, _option("--ca", "CA certificates (PEM) that https targets are verified by.", "FILE")]
Insecure = Annotated[Flag, typer.Option(help="Do not verify https targets.")]
ClientCert = Annotated[Text, _option("--client-cert", "Client certificate (PEM) for https targets.", "FILE")]
ClientKey = Annotated[Text, _option("--client-key", "Its key (PEM).", "FILE")]
ServerName = Annotated[Text, _option("--server-name", "Name for SNI and verification (default: the host).", "HOST")]
Methods = Annotated[
    Text, _option("--methods", "safe (default: GET, HEAD, OPTIONS), any, or a list: GET,POST.", "METHODS")
]
MatchPath = Annotated[Text, _option("--match-path", "Only request targets that match.", "REGEX")]
ExcludePath = Annotated[Text, _option("--exclude-path", "No request targets that match.", "REGEX")]
MatchHeader = Annotated[Texts, _option("--match-header", "Only with a header that matches. Repeatable.", "'K: REGEX'")]
SetHeader = Annotated[Texts, _option("--set-header", "Set a header for the shadow. Repeatable.", "'K: V'")]
RemoveHeader = Annotated[Texts, _option("--remove-header", "Remove a header. Repeatable.", "K")]
PreserveHost = Annotated[Flag, typer.Option(help="Keep production's Host header.")]
AllowWrites = Annotated[Flag, typer.Option(help="Allow raw (tcp://) replay, which may write.")]
ProxyProtocol = Annotated[Text, _option("--proxy-protocol", "strip (default) or forward a PROXY header.", "WHAT")]
Order = Annotated[Text, _option("--order", "connection (default): one shadow connection each; none: a pool.", "ORDER")]
MaxLag = Annotated[Text, _option("--max-lag", "Shed requests that wait longer (default 5s).", "TIME")]
MaxRps = Annotated[Text, _option("--max-rps", "Requests per second at most (default: no limit).", "N")]
MaxConnections = Annotated[Text, _option("--max-connections", "Shadow connections (default 1024).", "N")]
MaxInFlight = Annotated[Text, _option("--max-in-flight", "Requests sent and not answered (default 4096).", "N")]
Timeout = Annotated[Text, _option("--timeout", "Wait for the shadow's answer (default 10s).", "TIME")]
MaxBuffered = Annotated[Text, _option("--max-buffered", "Bytes waiting for a target (default 16MB).", "SIZE")]


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, by the names of the wire; an empty string empties a list."""
    given: dict[str, Any] = {}
    for key, value in options.items():
        if key in NOT_OPTIONS or value is None or value in ([], ()):
            continue
        if key in FILES and value:
            value = os.path.abspath(value)  # the daemon has another working directory
        given[WIRE_KEYS.get(key, key)] = [] if isinstance(value, list | tuple) and list(value) == [""] else value
    return given


@app.command()
def add(
    ctx: typer.Context,
    name: NewName,
    to: To = None,
    port: Port = None,
    hook: Hook = None,
    direction: Direction = None,
    client: ClientNet = None,
    server: ServerNet = None,
    cgroup: Cgroup = None,
    sample: Sample = None,
    protocol: Protocol = None,
    methods: Methods = None,
    match_path: MatchPath = None,
    exclude_path: ExcludePath = None,
    match_header: MatchHeader = None,
    set_header: SetHeader = None,
    remove_header: RemoveHeader = None,
    preserve_host: PreserveHost = None,
    allow_writes: AllowWrites = None,
    proxy_protocol: ProxyProtocol = None,
    order: Order = None,
    baseline: Baseline = None,
    ca: Ca = None,
    insecure: Insecure = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    server_name: ServerName = None,
    max_lag: MaxLag = None,
    max_rps: MaxRps = None,
    max_connections: MaxConnections = None,
    max_in_flight: MaxInFlight = None,
    timeout: Timeout = None,
    max_buffered: MaxBuffered = None,
    paused: Annotated[bool | None, typer.Option("--paused", help="Add it without starting it.")] = None,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """Mirror a service: what to capture, and where to replay it.

    \b
    Examples:
      shadowctl filter add shop --port 8080 --to http://shop-next:8080
      shadowctl filter add shop --port 8080 --to https://next.example:8443 --ca /etc/ssl/ours.pem
      shadowctl filter add api --port 80,8000-8010 --client 10.0.0.0/8 --sample 10% --to http://[2001:db8::1]:80
      shadowctl filter add cache --port 6379 --protocol raw --allow-writes --to tcp://redis-next:6379
      shadowctl filter add gateway --hook 'tc:veth*' --port 80 --to http://shadow --methods GET,POST
    """
    spec = {"name": name, **_given(locals())}
    _tell(daemon_at(ctx, socket).call("filter.add", spec=spec), "added", as_json)


@app.command("set")
def set_(
    ctx: typer.Context,
    name: Name,
    to: To = None,
    port: Port = None,
    hook: Hook = None,
    direction: Direction = None,
    client: ClientNet = None,
    server: ServerNet = None,
    cgroup: Cgroup = None,
    sample: Sample = None,
    protocol: Protocol = None,
    methods: Methods = None,
    match_path: MatchPath = None,
    exclude_path: ExcludePath = None,
    match_header: MatchHeader = None,
    set_header: SetHeader = None,
    remove_header: RemoveHeader = None,
    preserve_host: PreserveHost = None,
    allow_writes: AllowWrites = None,
    proxy_protocol: ProxyProtocol = None,
    order: Order = None,
    baseline: Baseline = None,
    ca: Ca = None,
    insecure: Insecure = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    server_name: ServerName = None,
    max_lag: MaxLag = None,
    max_rps: MaxRps = None,
    max_connections: MaxConnections = None,
    max_in_flight: MaxInFlight = None,
    timeout: Timeout = None,
    max_buffered: MaxBuffered = None,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """Change a filter: only the options given, the rest stays as it is.

    A list option replaces the whole list; an empty string ('') empties it, or removes a setting.
    --to replaces the candidates, --baseline the baselines.

    \b
    Examples:
      shadowctl filter set shop --sample 50%
      shadowctl filter set shop --to http://shop-next:8080 --to http://shop-other:8080
      shadowctl filter set shop --max-rps '' --match-path '^/api/'
    """
    changes = _given(locals())
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
            print(f"  {key:16} {', '.join(value) if isinstance(value, list) else value}")
    for target in mappings(_spec(view).get("targets")):
        options = [f"{key}={value}" for key, value in target.items() if key != "url"]
        print(f"  {'target':16} {target.get('url')} {' '.join(options)}".rstrip())


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
def pause(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None) -> None:
    """Stop mirroring for a while; the filter and its ledger stay.

    \b
    Examples:
      shadowctl filter pause shop
    """
    _tell(daemon_at(ctx, socket).call("filter.pause", name=name), "paused", as_json)


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
    where = ", ".join(
        part
        for part in (str(spec.get("hook", "")), f"ports {ports}" if ports else "", str(spec.get("cgroup") or ""))
        if part
    )
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
