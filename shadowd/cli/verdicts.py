"""``shadowctl verdict``, ``report`` and ``run``: is the release safe, and on what evidence."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from shadowd.cli.evidence import merged_verdict
from shadowd.cli.files import check_writable, write_text
from shadowd.cli.filters import Name, complete
from shadowd.cli.output import (
    AsJson,
    Socket,
    daemon_at,
    mappings,
    new_app,
    number,
    plain,
    print_json,
    print_table,
    strings,
)
from shadowd.cli.progress import Line, length
from shadowd.cli.showing import show_verdict as show_verdict  # where others look for it
from shadowd.control.client import Client
from shadowd.errors import ShadowdError, UsageError

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}
COULD_NOT_ASK = 4  # a pipeline must not take it for a fail
_LOOK_EVERY = 1.0  # seconds between two looks of --wait; looking costs nothing in certainty
_TOLD_EVERY = 5.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}

run_app = new_app("Begin and list runs: one candidate version each.")


def seconds(text: str | None, option: str) -> float:
    """``10m`` in seconds; UsageError for anything that is no time."""
    if text is None:
        return 0.0
    digits = text.strip().rstrip("msh")
    unit = text.strip()[len(digits) :]
    try:
        found = float(digits) * _UNITS[unit]
    except (ValueError, KeyError):
        raise UsageError(f"{option} {text!r} is not a time", "give seconds, or 90s, 10m, 1h") from None
    if not 0 <= found <= 7 * 86400:
        raise UsageError(f"{option} {text} is out of range", "give up to 168h")
    return found


def verdict(
    ctx: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="The filter's name; with --merge files.", autocompletion=complete),
    ],
    gate: Annotated[bool, typer.Option("--gate", help="Print the verdict alone, for a pipeline.")] = False,
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="Only of this build; of another it is inconclusive.")
    ] = "",
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help="Look until it is decided, so long at most.")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Of files that evidence export wrote, of several nodes: one verdict.")
    ] = False,
    as_json: AsJson = False,
    socket: Socket = None,
) -> int:
    """Say whether the release is safe.

    \b
    Exit code: 0 pass, 1 fail, 2 the command is wrong, 3 inconclusive (also where the run judges
    another build than --label), 4 the daemon could not be asked (none runs, no right, no answer in
    time). With --merge no daemon is asked, and a file that cannot be used is a wrong command: 2.

    \b
    Examples:
      shadowctl verdict shop
      shadowctl verdict shop --gate --label v2.3.1 --wait 10m
      shadowctl verdict shop --gate --wait 10m && deploy
      shadowctl verdict shop --json | jq .findings
      shadowctl verdict --merge node-*.evidence --gate --label v2.3.1
    """
    limit = seconds(wait, "--wait")
    if not merge and len(names) > 1:
        raise UsageError("one filter has one verdict", "name one filter, or merge files: --merge FILE FILE ...")
    if merge and wait is not None:
        raise UsageError("--wait has nothing to wait for with --merge", "leave it out, and export again later")
    try:
        view = merged_verdict(names, label) if merge else _decided(daemon_at(ctx, socket), names[0], label, limit)
    except UsageError:
        raise
    except ShadowdError as error:
        error.exit_code = COULD_NOT_ASK
        raise
    word = str(view.get("verdict", "inconclusive"))
    if as_json:
        print_json(view)
    elif gate:
        print(word)
        for reason in strings(view.get("reasons")):
            print(f"  {plain(reason)}", file=sys.stderr)
    else:
        show_verdict(view)
    return EXIT_CODES.get(word, 3)


def _decided(client: Client, name: str, label: str, limit: float) -> Mapping[str, Any]:
    deadline = time.monotonic() + limit
    told = time.monotonic()
    line = Line()
    try:
        while True:
            view = client.call("verdict", name=name, **({"label": label} if label else {}))
            if not isinstance(view, Mapping):
                raise ShadowdError("the daemon's answer is no verdict", "use a shadowctl of the daemon's version")
            left = deadline - time.monotonic()
            # another build's run: no use to wait
            if view.get("verdict") != "inconclusive" or left <= 0 or "judged" in view:
                return view
            compared, reasons = number(view, "compared"), strings(view.get("reasons"))
            why = f": {plain(reasons[0])}" if reasons else ""
            if line.visible:  # drawn over each time, else a line now and then, for a log
                line.draw(f"{length(left)} left, undecided after {compared:,} exchanges{why}")
            elif time.monotonic() - told >= _TOLD_EVERY:
                told = time.monotonic()
                print(f"undecided after {compared:,} exchanges, {left:.0f} s left{why}", file=sys.stderr, flush=True)
            time.sleep(min(_LOOK_EVERY, left))
    finally:
        line.clear()


def report(
    ctx: typer.Context,
    name: Name,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one self-contained HTML file.")] = None,
    markdown: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write Markdown for a pull request; - is stdout (a terminal: plain text)."),
    ] = None,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """Write the report: verdict, latency, differences, errors, memory, ledger. To stdout by default: Markdown, on a
    terminal plain text.

    \b
    Examples:
      shadowctl report shop --html shop.html
      shadowctl report shop --markdown comment.md
      shadowctl report shop --json > shop.json
    """
    for path in (html, None if markdown in (None, "-") else Path(str(markdown))):
        if path is not None:
            check_writable(path)
    data = daemon_at(ctx, socket).call("report", name=name)
    if not isinstance(data, dict):
        raise ShadowdError("the daemon's answer is no report", "use a shadowctl of the daemon's version")
    if html is not None:
        from shadowd.observe.report import render_html

        write_text(html, render_html(data))
        print(f"wrote {html}", file=sys.stderr)
    if as_json:
        print(json.dumps(data))
    if markdown is not None or not (html or as_json):
        if markdown in (None, "-") and sys.stdout.isatty():
            from shadowd.cli.showing import show_report

            show_report(data)
            return
        from shadowd.observe.markdown import render_markdown

        text = render_markdown(data)
        if markdown in (None, "-"):
            print(text)
        else:
            write_text(Path(str(markdown)), text)
            print(f"wrote {markdown}", file=sys.stderr)


@run_app.command("start")
def run_start(
    ctx: typer.Context,
    name: Name,
    label: Annotated[str, typer.Option(metavar="TEXT", help="What runs now, such as v2.3.1.")] = "",
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew also where that label runs already.")] = False,
    as_json: AsJson = False,
    socket: Socket = None,
) -> None:
    """Begin a run: evidence starts from nothing. Do it when another version is deployed to the shadow.

    A run that has the label already goes on, so that a pipeline may try again.

    \b
    Examples:
      shadowctl run start shop --label v2.3.1
      shadowctl run start shop --label v2.3.1 --restart
    """
    found = daemon_at(ctx, socket).call("run.start", name=name, label=label, restart=restart)
    if as_json:
        print_json(found)
    else:
        targets = ", ".join(strings(found.get("targets"))) if isinstance(found, Mapping) else ""
        begun = "goes on" if isinstance(found, Mapping) and found.get("started") is False else "started"
        print(f"run {label or 'without a label'} of {name} {begun}: {targets}")


@run_app.command("ls")
def run_ls(ctx: typer.Context, name: Name, as_json: AsJson = False, socket: Socket = None) -> None:
    """List a filter's runs, newest first, each with the last verdict it came to.

    \b
    Examples:
      shadowctl run ls shop
    """
    found = daemon_at(ctx, socket).call("run.ls", name=name)
    if as_json:
        print_json(found)
        return
    rows = [
        (one.get("id"), one.get("label") or "-", _when(one.get("started")), _when(one.get("ended")), one.get("target"),
         one.get("verdict") or "-", f"{number(one, 'score'):.0f}" if one.get("verdict") else "-",
         one.get("reason") or "")
        for one in mappings(found)
    ]  # fmt: skip
    if rows:
        print_table(
            ("RUN", "LABEL", "STARTED", "ENDED", "TARGET", "VERDICT", "SCORE", "WHY"), rows,
            spare=("ENDED", "TARGET", "WHY", "SCORE", "RUN"),
        )  # fmt: skip
    else:
        print(f"no runs of {name} are stored yet")


def _when(epoch: object) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch)) if isinstance(epoch, int | float) else "-"
