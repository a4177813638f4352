"""The report of one run for a pull request (sans-IO): GitHub's and GitLab's Markdown.

Short on purpose: the verdict with its sentences, the judges, the worst differences and the new errors; the rest is
folded away. No line begins with text from traffic, because GitLab takes a line that begins with ``/close`` as a
command; names of people and issues are broken up (``quoting.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shadowd.observe.figures import (
    DASH,
    count,
    interval,
    milliseconds,
    moment,
    number,
    part,
    percent,
    plural,
    quantity,
    rows,
    seconds,
    text,
    texts,
    whole,
)
from shadowd.observe.page import result_of, word
from shadowd.observe.plots import judge_interval
from shadowd.observe.sections import compared, field_of, in_order, ranked
from shadowd.redact.quoting import markdown, markdown_block, markdown_code

Row = Mapping[str, Any]

#: GitHub refuses a comment of more than 65,536 characters: blocks are left out from the end, and tables are short.
_SIZE = 60_000
_REASONS, _JUDGES, _DIFFERENCES, _SIGNATURES, _ENDPOINTS, _LIMITS = 10, 15, 10, 5, 20, 10

_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}


def render_markdown(data: Mapping[str, Any]) -> str:
    """The comment, ending in a newline. Never raises for missing, null or odd parts of ``data``."""
    verdict = part(data, "verdict")
    blocks = [_headline(data, verdict), _reasons(verdict), _judges(verdict), _differences(data), _errors(data)]
    blocks += [_folded("Endpoints and latency", _latency(data)), _folded("Requests", _ledger(data))]
    blocks += [_folded("What this run could not see", _limits(verdict)), _footer(data)]
    kept: list[str] = []
    room = _SIZE
    for block in filter(None, blocks):
        room -= len(block) + 2
        if room < 0:
            kept.append("The rest is too long for a comment: see the report as HTML.")
            break
        kept.append(block)
    return "\n\n".join(kept) + "\n"


def _headline(data: Row, verdict: Row) -> str:
    result = result_of(verdict.get("verdict"))
    name = f" {markdown_code(text(data, 'filter'))}" if data.get("filter") else ""
    label = text(part(data, "run"), "label")
    title = f"## {_MARKS[result]} shadowd: {word(result) if verdict else 'No verdict yet'}{name}"
    title += f" {markdown_code(label)}" if label else ""
    facts = []
    if number(verdict.get("score")) is not None:
        facts.append(f"**{count(verdict['score'])} of 100 points**")
    if number(verdict.get("compared")) is not None:
        facts.append(f"{plural(verdict['compared'], 'exchange')} compared in {seconds(verdict.get('seconds'))}")
    if number(verdict.get("coverage")) is not None:
        facts.append(f"{percent(verdict['coverage'])} of the traffic")
    return title + (f"\n\n{' · '.join(facts)}" if facts else "")


def _reasons(verdict: Row) -> str:
    found = texts(verdict, "reasons") or ["nothing was compared yet, and no data is not a pass"]
    lines = [f"- {markdown(sentence, 400)}" for sentence in found[:_REASONS]]
    return "\n".join([*lines, *_left(found, _REASONS, "reason")])


def _left(found: Sequence[object], most: int, what: str) -> list[str]:
    return [f"- and {plural(len(found) - most, what)} more"] if len(found) > most else []


def _table(columns: str, lines: Sequence[Sequence[str]]) -> str:
    """``columns`` are separated by ``|``; those that end in ``:`` hold numbers."""
    names = columns.split("|")
    head = f"| {' | '.join(name.rstrip(':') for name in names)} |"
    rule = f"| {' | '.join('---:' if name.endswith(':') else '---' for name in names)} |"
    return "\n".join([head, rule, *(f"| {' | '.join(cell or ' ' for cell in line)} |" for line in lines)])


def _judges(verdict: Row) -> str:
    found = in_order(rows(verdict, "judges"))
    if not found:
        return ""
    lines = []
    for judge in found[:_JUDGES]:
        unit = text(judge, "unit")
        what = [f"**{markdown(text(judge, 'judge'), 40)}**", markdown_code(text(judge, "endpoint"))]
        what.append(markdown_code(" ".join(word for word in (text(judge, "path"), text(judge, "kind")) if word)))
        result = result_of(judge.get("result"))
        low, high = judge_interval(judge)
        lines.append(
            [
                f"{_MARKS[result]} {word(result)}",
                " ".join(name for name in what if name),
                quantity(judge.get("effect"), unit, signed=True),
                interval(low, high, unit),
                quantity(judge.get("margin"), unit),
                count(judge.get("samples")),
            ]
        )
    shown = _table("Result|Judge|Effect:|Interval:|Margin:|Samples:", lines)
    left = len(found) - _JUDGES
    return shown + (f"\n\nand {plural(left, 'judgement')} more" if left > 0 else "")


def _differences(data: Row) -> str:
    found = [one for one in ranked(rows(data, "differences")) if text(one, "label") not in ("noise", "expected")]
    if not found:
        return ""
    lines = [
        [
            markdown(text(one, "label"), 40),
            markdown_code(text(one, "endpoint")),
            f"{markdown_code(field_of(one))} {markdown(text(one, 'kind'), 40)}",
            _value(one, "production"),
            _value(one, "candidate"),
            f"{count(one.get('count'))} ({percent(one.get('share'))})",
        ]
        for one in found[:_DIFFERENCES]
    ]
    shown = _table("Finding|Endpoint|Field|Production|Shadow|Exchanges:", lines)
    left = len(found) - _DIFFERENCES
    return "### Differences\n\n" + shown + (f"\n\nand {plural(left, 'difference')} more" if left > 0 else "")


def _value(difference: Row, side: str) -> str:
    value = difference.get(side)
    return "absent" if value is None or value == "" else markdown_code(value, 60)


def _errors(data: Row) -> str:
    found = [one for one in rows(data, "signatures") if one.get("new")]
    if not found:
        return ""
    found.sort(key=lambda one: -whole(one.get("count")))
    blocks = ["### Errors new in the shadow"]
    for one in found[:_SIGNATURES]:
        where = ", ".join(markdown_code(endpoint, 80) for endpoint in texts(one, "endpoints")[:3])
        title = f"- **{markdown(text(one, 'title') or 'error', 200)}**, {count(one.get('count'))} times"
        if one.get("fingerprint"):
            name = text(data, "filter") or "NAME"
            where += f" ({markdown_code('shadowctl diffs ' + name + ' ' + text(one, 'fingerprint'), 100)})"
        blocks.append(title + (f" on {where}" if where else ""))
        if one.get("example"):
            shown = markdown_block(text(one, "example"))
            blocks.append(f"  <details><summary>Example</summary>{shown}</details>")
    return "\n\n".join([*blocks, *_left(found, _SIGNATURES, "signature")])


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>" if body else ""


def _latency(data: Row) -> str:
    lines = []
    latency = part(data, "latency")
    for name, title in (("first_byte", "all, first byte"), ("last_byte", "all, last byte")):
        point = part(latency, name)
        sides = part(point, "production"), part(point, "candidate")
        if any(number(side.get("p50_ms")) is not None for side in sides):
            cells = [milliseconds(side.get(f"{q}_ms")) for q in ("p50", "p99") for side in sides]
            lines.append([title, count(sides[1].get("count")), DASH, *cells])
    for endpoint in sorted(rows(data, "endpoints"), key=lambda e: -whole(e.get("exchanges")))[:_ENDPOINTS]:
        cells = [
            milliseconds(endpoint.get(f"{side}_{q}_ms")) for q in ("p50", "p99") for side in ("production", "candidate")
        ]
        name = markdown_code(text(endpoint, "endpoint"))
        lines.append([name, count(endpoint.get("exchanges")), count(endpoint.get("worse")), *cells])
    columns = "Endpoint|Exchanges:|Worse:|Production p50:|Shadow p50:|Production p99:|Shadow p99:"
    return _table(columns, lines) if lines else ""


def _ledger(data: Row) -> str:
    account = part(data, "ledger")
    lines = [["seen", count(account.get("seen"))]] if number(account.get("seen")) is not None else []
    for target in rows(account, "targets"):
        where = f" {markdown_code(text(target, 'url'), 80)}" if len(rows(account, "targets")) > 1 else ""
        lines.append([f"mirrored and answered{where}", count(target.get("mirrored"))])
        for term in ("shed", "failed"):
            lines += [[f"{term}: {markdown(name, 40)}{where}", count(n)] for name, n in part(target, term).items()]
    for term in ("filtered", "lost"):
        lines += [[f"{term}: {markdown(name, 40)}", count(n)] for name, n in part(account, term).items()]
    return _table("Requests|Count:", lines) if lines else ""


def _limits(verdict: Row) -> str:
    found = texts(verdict, "limits")
    unjudged = rows(verdict, "not_judged")
    lines = [f"- {markdown(sentence, 400)}" for sentence in found[:_LIMITS]]
    for one in unjudged[:_LIMITS]:
        name = " ".join(filter(None, (markdown_code(text(one, "endpoint")), markdown_code(text(one, "path")))))
        lines.append(f"- not judged: {name} {markdown(text(one, 'sentence'), 300)}")
    return "\n".join([*lines, *_left(unjudged, _LIMITS, "field")])


def _footer(data: Row) -> str:
    made = f", {moment(data['generated'])}" if number(data.get("generated")) is not None else ""
    version = f" {markdown(text(data, 'version'), 40)}" if data.get("version") else ""
    nothing = "" if compared(data) else " Nothing was compared yet."
    return f"<sub>shadowd{version}{made}. Every request is its own control.{nothing}</sub>"
