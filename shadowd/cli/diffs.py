"""``shadowctl diffs``, ``noise`` and ``expect``: what differs, and what the operator says about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from shadowd.cli.filters import Name
from shadowd.cli.output import AsJson, Socket, daemon_at, mappings, new_app, plain, print_json, print_table
from shadowd.cli.terminal import styled, width
from shadowd.errors import ShadowdError, UsageError
from shadowd.observe.curl import commands
from shadowd.observe.difference import lines_of

noise_app = new_app("Show and override which fields are noise.")
expect_app = new_app("Show and change which differences are intended.")

_LABELS = {"regression": "red", "undecided": "yellow", "drift": "yellow"}
_BESIDE = 100  # columns in which two answers have room side by side
_LINES = 500  # of an answer that are compared here: finding the way through more takes seconds
_EQUAL = "(equal in what is kept of the example)"


def diffs(
    ctx: typer.Context,
    name: Name,
    group: Annotated[str | None, typer.Argument(metavar="[ID]", help="Show the examples of this one.")] = None,
    curl: Annotated[bool, typer.Option("--curl", help="Print commands that repeat an example's request.")] = False,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """List what differs, most harmful first, and the errors; with an ID show examples of either: side by side, or
    as a patch where the terminal is narrow or there is none.

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
        print_table(
            ("ID", "LABEL", "ENDPOINT", "FIELD", "KIND", "COUNT", "SHARE", "PRODUCTION → SHADOW"), rows,
            spare=("KIND", "COUNT", "PRODUCTION → SHADOW", "LABEL", "SHARE"),
        )  # fmt: skip
    if table.get("more"):
        print(f"and {table['more']} more")
    if errors:
        print_table(
            ("ERROR", "LABEL", "KIND", "SHADOW", "PRODUCTION", "TITLE"), errors, spare=("PRODUCTION", "KIND", "LABEL")
        )


def _short(value: object, limit: int = 40) -> str:
    text = str(value or "")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _show(found: Mapping[str, Any]) -> None:
    one = found.get("difference") or {}
    head = f"{one.get('endpoint')}  {one.get('where')} {one.get('path')}  {one.get('kind')}"
    print(styled(plain(head), "bold"))
    label = styled(plain(one.get("label")), _LABELS.get(str(one.get("label")), ""))
    print(f"{label}: {plain(one.get('sentence') or 'seen ' + str(one.get('count')) + ' times')}")
    examples = mappings(found.get("examples"))
    if not examples:
        print("no example is kept")
    for number, example in enumerate(examples[:3], 1):
        request = example.get("request") or {}
        print()
        asked = plain(f"{request.get('method')} {request.get('target')}")
        print(styled(f"example {number}: {asked}", "bold"))
        production, candidate = (lines_of(example.get(side) or {}) for side in ("production", "candidate"))
        room = width() or 0
        beside = room >= _BESIDE
        for line in (
            _side_by_side(production, candidate, (room - 5) // 2) if beside else _unified(production, candidate)
        ):
            print(line)


def _side_by_side(production: list[str], candidate: list[str], side: int) -> list[str]:
    """Two columns; lines that differ are marked and coloured, equal ones beyond three around them left out."""
    shown = [f"{'production':{side}} │ shadow", f"{'─' * side}─┼─{'─' * side}"]
    for group in _grouped(production, candidate):
        if len(shown) > 2:
            shown.append("…")
        for tag, i1, i2, j1, j2 in group:
            for offset in range(max(i2 - i1, j2 - j1)):
                left = production[i1 + offset] if i1 + offset < i2 else ""
                right = candidate[j1 + offset] if j1 + offset < j2 else ""
                cells = [_cell(left, side), _cell(right, side)]
                if tag == "equal":
                    shown.append(f"{cells[0]} │ {cells[1]}")
                else:
                    shown.append(f"{styled(cells[0], 'green')} ≠ {styled(cells[1], 'red')}")
    return shown if len(shown) > 2 else [*shown, _EQUAL]


def _unified(production: list[str], candidate: list[str]) -> list[str]:
    """As patches are written, whole lines, for pipes and narrow terminals."""
    shown = [styled("--- production", "green"), styled("+++ shadow", "red")]
    for group in _grouped(production, candidate):
        if len(shown) > 2:
            shown.append("…")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                shown += [f"  {_visible(line)}" for line in production[i1:i2]]
                continue
            shown += [styled(f"- {_visible(line)}", "green") for line in production[i1:i2]]
            shown += [styled(f"+ {_visible(line)}", "red") for line in candidate[j1:j2]]
    return shown if len(shown) > 2 else [*shown, _EQUAL]


def _grouped(production: list[str], candidate: list[str]) -> Iterator[list[tuple[str, int, int, int, int]]]:
    """What differs, with three equal lines around it."""
    matcher = difflib.SequenceMatcher(None, production[:_LINES], candidate[:_LINES], autojunk=False)
    yield from matcher.get_grouped_opcodes(3)


def _cell(text: str, side: int) -> str:
    plain = _visible(text)
    return f"{plain:{side}}" if len(plain) <= side else plain[: side - 1] + "…"


def _visible(text: str) -> str:
    """Without what could control a terminal, or begin another line."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _curl(found: Mapping[str, Any]) -> None:
    """Commands for the newest example, one a side."""
    examples = mappings(found.get("examples"))
    if not examples:
        raise ShadowdError("no example is kept of this difference", "wait for the next one")
    request = examples[0].get("request")
    sides = {"production": str(found.get("production")), "shadow": str(found.get("target"))}
    for line in commands(request if isinstance(request, Mapping) else {}, sides):
        print(line)


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
