"""``shadowctl diffs``, ``noise`` and ``expect``: what differs, and what the operator says about it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from shadowd.cli.curl import commands
from shadowd.cli.filters import Name
from shadowd.cli.output import AsJson, Socket, daemon_at, mappings, new_app, plain, print_json, print_table
from shadowd.errors import ShadowdError, UsageError

noise_app = new_app("Show and override which fields are noise.")
expect_app = new_app("Show and change which differences are intended.")

_LABELS = {"regression": "red", "undecided": "yellow", "drift": "yellow"}
_SIDES_WIDTH = 60  # characters of one side where the terminal's width is not known


def diffs(
    ctx: typer.Context,
    name: Name,
    group: Annotated[str | None, typer.Argument(metavar="[ID]", help="Show the examples of this one.")] = None,
    curl: Annotated[bool, typer.Option("--curl", help="Print commands that repeat an example's request.")] = False,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """List what differs, most harmful first, and the errors; with an ID show examples of either side by side.

    \b
    Examples:
      shadowctl diffs shop
      shadowctl diffs shop 1f3a09bc
      shadowctl diffs shop 1f3a09bc --curl
    """
    client = daemon_at(ctx, socket)
    if group is None:
        if curl:
            raise UsageError("--curl needs a difference", f"name one: shadowctl diffs {name} ID --curl")
        found = client.call("diffs", name=name)
        if as_json:
            print_json(found)
        else:
            list_differences(name, found)
        return
    found = client.call("diff", name=name, id=group)
    if not isinstance(found, Mapping):
        raise ShadowdError("the daemon's answer is no difference", "use a shadowctl of the daemon's version")
    if as_json:
        print_json(found)
    elif curl:
        _curl(found)
    else:
        _show(found)


def list_differences(name: str, found: object) -> None:
    table = found if isinstance(found, Mapping) else {}
    rows = [
        (
            one.get("id"),
            one.get("label"),
            one.get("endpoint"),
            f"{one.get('where')} {one.get('path')}".strip(),
            one.get("kind"),
            one.get("count"),
            "-" if one.get("share") is None else f"{one['share']:.2%}",
            f"{_short(one.get('production'))} → {_short(one.get('candidate'))}",
        )
        for one in mappings(table.get("differences"))
    ]
    errors = [
        (one.get("fingerprint"), "new" if one.get("new") else "known", one.get("kind"), one.get("count"),
         one.get("production_count"), _short(one.get("title"), 80))
        for one in mappings(table.get("signatures"))
    ]  # fmt: skip
    if not rows and not errors:
        print(f"no differences in {name} so far")
    if rows:
        print_table(("ID", "LABEL", "ENDPOINT", "FIELD", "KIND", "COUNT", "SHARE", "PRODUCTION → SHADOW"), rows)
    if table.get("more"):
        print(f"and {table['more']} more")
    if errors:
        print_table(("ERROR", "LABEL", "KIND", "SHADOW", "PRODUCTION", "TITLE"), errors)


def _short(value: object, limit: int = 40) -> str:
    text = str(value or "")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _show(found: Mapping[str, Any]) -> None:
    one = found.get("difference") or {}
    head = f"{one.get('endpoint')}  {one.get('where')} {one.get('path')}  {one.get('kind')}"
    typer.secho(plain(head), bold=True)
    typer.secho(plain(one.get("label")), fg=_LABELS.get(str(one.get("label"))), nl=False)
    print(f": {plain(one.get('sentence') or 'seen ' + str(one.get('count')) + ' times')}")
    examples = mappings(found.get("examples"))
    if not examples:
        print("no example is kept")
    for number, example in enumerate(examples[:3], 1):
        request = example.get("request") or {}
        print()
        asked = plain(f"{request.get('method')} {request.get('target')}")
        typer.secho(f"example {number}: {asked}", bold=True)
        sides = [_lines(example.get(side) or {}) for side in ("production", "candidate")]
        for line in _side_by_side(*sides):
            typer.echo(line)  # without colours where nobody sees them


def _lines(answer: Mapping[str, Any]) -> list[str]:
    """An answer as lines: its head, and its body, JSON spread out."""
    import json

    if "failure" in answer:
        return [f"no answer: {answer['failure']}"]
    body = str(answer.get("body") or "")
    try:
        body = json.dumps(json.loads(body), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    return [*str(answer.get("head") or "").split("\r\n")[:-2], "", *body.splitlines()]


def _side_by_side(production: list[str], candidate: list[str]) -> list[str]:
    """Two columns; lines that differ are marked and coloured, equal ones beyond three around them left out."""
    import shutil

    width = max(20, (shutil.get_terminal_size((2 * _SIDES_WIDTH + 5, 24)).columns - 5) // 2)
    shown = [f"{'production':{width}} │ shadow", f"{'─' * width}─┼─{'─' * width}"]
    matcher = difflib.SequenceMatcher(None, production[:500], candidate[:500], autojunk=False)
    for group in matcher.get_grouped_opcodes(3):
        if len(shown) > 2:
            shown.append("…")
        for tag, i1, i2, j1, j2 in group:
            for offset in range(max(i2 - i1, j2 - j1)):
                left = production[i1 + offset] if i1 + offset < i2 else ""
                right = candidate[j1 + offset] if j1 + offset < j2 else ""
                cells = [_cell(left, width), _cell(right, width)]
                if tag == "equal":
                    shown.append(f"{cells[0]} │ {cells[1]}")
                else:
                    shown.append(f"{typer.style(cells[0], fg='green')} ≠ {typer.style(cells[1], fg='red')}")
    return shown if len(shown) > 2 else [*shown, "(equal in what is kept of the example)"]


def _cell(text: str, width: int) -> str:
    plain = "".join(c if c.isprintable() else "�" for c in text)
    return f"{plain:{width}}" if len(plain) <= width else plain[: width - 1] + "…"


def _curl(found: Mapping[str, Any]) -> None:
    """Commands for the newest example, one a side."""
    examples = mappings(found.get("examples"))
    if not examples:
        raise ShadowdError("no example is kept of this difference", "wait for the next one")
    request = examples[0].get("request")
    sides = {"production": str(found.get("production")), "shadow": str(found.get("target"))}
    for line in commands(request if isinstance(request, Mapping) else {}, sides):
        typer.echo(line)


# --- rules ------------------------------------------------------------------------------------------------------------

Path = Annotated[
    str | None, typer.Option("--path", metavar="PATH", help="A place in bodies: $.requestId; line (text); * (all).")
]
Turn = Annotated[str | None, typer.Option("--turn", metavar="PATH", help="The same in a raw server's turns: $, *.")]
Header = Annotated[str | None, typer.Option("--header", metavar="NAME", help="A response header.")]
Cookie = Annotated[str | None, typer.Option("--cookie", metavar="NAME", help="A cookie that is set.")]
Status = Annotated[bool, typer.Option("--status", help="The status.")]
EndpointName = Annotated[
    str, typer.Option("--endpoint", metavar="ENDPOINT", help="Only here: 'GET /orders/{id}' (default: anywhere).")
]
Change = Annotated[str, typer.Option("--change", metavar="KIND", help="value, type, missing, extra, length, order.")]


def _rule(
    path: str | None, header: str | None, cookie: str | None, status: bool, turn: str | None, endpoint: str, change: str
) -> object:
    places = [
        ("body", path), ("header", header), ("cookie", cookie), ("status", "" if status else None), ("turn", turn),
    ]  # fmt: skip
    given = [(where, value) for where, value in places if value is not None]
    if len(given) != 1:
        raise UsageError("name one place", "give one of --path '$.requestId', --header, --cookie, --turn '*', --status")
    where, value = given[0]
    return {"where": where, "path": value, "endpoint": endpoint, "change": change}


def _told(found: object, what: str, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        rule = found.get("rule", {}) if isinstance(found, Mapping) else {}
        print(f"{what}: {_words(rule)}")


def _words(rule: Mapping[str, Any]) -> str:
    where = f" at {rule['endpoint']}" if rule.get("endpoint") else ""
    change = f", {rule['change']} only" if rule.get("change") else ""
    return plain(f"{rule.get('where')} {rule.get('path')}".strip() + where + change)


def _list_rules(found: object, what: str, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    table = found if isinstance(found, Mapping) else {}
    for rule in mappings(table.get("rules")):
        print(f"{what} by you: {_words(rule)}")
    for one in mappings(table.get("learned")):
        place = f"{one.get('endpoint')} {one.get('where')} {one.get('path')}"
        print(plain(f"{what}, learned: {place}: {one.get('sentence')}"))
    if not table.get("rules") and not table.get("learned"):
        print("nothing yet")


@noise_app.command("ls")
def noise_ls(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None) -> None:
    """List the fields that are not judged: those you named, and those that were learned.

    \b
    Examples:
      shadowctl noise ls shop
    """
    _list_rules(daemon_at(ctx, socket).call("noise.ls", name=name), "noise", as_json)


@noise_app.command("add")
def noise_add(
    ctx: typer.Context, name: Name, path: Path = None, header: Header = None, cookie: Cookie = None,
    status: Status = False, turn: Turn = None, endpoint: EndpointName = "",
    as_json: AsJson = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Call a field noise: it is never judged.

    \b
    Examples:
      shadowctl noise add shop --path '$.requestId'
      shadowctl noise add shop --header ETag --endpoint 'GET /items/{id}'
    """
    rule = _rule(path, header, cookie, status, turn, endpoint, "")
    _told(daemon_at(ctx, socket).call("noise.add", name=name, rule=rule), "not judged from now on", as_json)


@noise_app.command("rm")
def noise_rm(
    ctx: typer.Context, name: Name, path: Path = None, header: Header = None, cookie: Cookie = None,
    status: Status = False, turn: Turn = None, endpoint: EndpointName = "",
    as_json: AsJson = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Judge a field again.

    \b
    Examples:
      shadowctl noise rm shop --path '$.requestId'
    """
    rule = _rule(path, header, cookie, status, turn, endpoint, "")
    _told(daemon_at(ctx, socket).call("noise.rm", name=name, rule=rule), "judged again", as_json)


@expect_app.command("ls")
def expect_ls(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None) -> None:
    """List the intended differences.

    \b
    Examples:
      shadowctl expect ls shop
    """
    _list_rules(daemon_at(ctx, socket).call("expect.ls", name=name), "expected", as_json)


@expect_app.command("add")
def expect_add(
    ctx: typer.Context, name: Name, path: Path = None, header: Header = None, cookie: Cookie = None,
    status: Status = False, turn: Turn = None, endpoint: EndpointName = "",
    change: Change = "", as_json: AsJson = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Approve a change of the contract: shown apart, never a regression.

    \b
    Examples:
      shadowctl expect add shop --path '$.currency' --change extra
    """
    rule = _rule(path, header, cookie, status, turn, endpoint, change)
    _told(daemon_at(ctx, socket).call("expect.add", name=name, rule=rule), "expected from now on", as_json)


@expect_app.command("rm")
def expect_rm(
    ctx: typer.Context, name: Name, path: Path = None, header: Header = None, cookie: Cookie = None,
    status: Status = False, turn: Turn = None, endpoint: EndpointName = "",
    change: Change = "", as_json: AsJson = False, socket: Socket = None,
) -> None:  # fmt: skip
    """Take an approval back.

    \b
    Examples:
      shadowctl expect rm shop --path '$.currency' --change extra
    """
    rule = _rule(path, header, cookie, status, turn, endpoint, change)
    _told(daemon_at(ctx, socket).call("expect.rm", name=name, rule=rule), "no longer expected", as_json)
