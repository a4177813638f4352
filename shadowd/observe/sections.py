"""The report's tables (sans-IO): judges, endpoints, differences, error signatures and the ledger.

Each function takes the part of the data that it needs and returns HTML; what is missing becomes a sentence. Rows are
bounded: a report is read by people, and the machine-readable one has everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shadowd.observe.drawing import svg
from shadowd.observe.figures import (
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
    text,
    texts,
    whole,
)
from shadowd.observe.page import code, empty, figure, legend, more, pill, result_of, say, table, tag
from shadowd.observe.plots import interval_plot, judge_interval, stacked
from shadowd.redact.quoting import html

Row = Mapping[str, Any]

MAX_ROWS = 100  # rows of a table that anybody reads; what is cut is counted in a sentence
_EXAMPLE = 4000  # characters of an error's example: a stack trace of some forty lines

NOTHING = "Nothing was compared yet."

_RESULTS = {"fail": 0, "inconclusive": 1, "pass": 2}

#: Labels of differences, most harmful first, with the tone in which they are shown.
LABELS = {
    "regression": "fail",
    "drift": "inconclusive",
    "undecided": "inconclusive",
    "not judged": "",
    "expected": "",
    "noise": "",
}
_HARMFUL = ("regression", "drift", "undecided")
_LABELLED = {"drift": "state drift suspected"}


def compared(data: Row) -> bool:
    """Whether the absence of a finding says anything."""
    return whole(part(data, "verdict").get("compared")) > 0


def _cut(found: Sequence[Row], what: str) -> tuple[list[Row], str]:
    """The rows that are shown, and a sentence about the others."""
    left = len(found) - MAX_ROWS
    if left <= 0:
        return list(found), ""
    return list(found[:MAX_ROWS]), f'<p class="muted">and {plural(left, what)} more, in the report as JSON</p>'


# --- judges -----------------------------------------------------------------------------------------------------------


def in_order(judges: Sequence[Row]) -> list[Row]:
    """Failures first, then what is open, then what passed; critical and required ones before others."""
    return sorted(
        judges,
        key=lambda j: (_RESULTS[result_of(j.get("result"))], not j.get("critical", True), not j.get("required", False)),
    )


def _leading(judge: Row) -> bool:
    """Shown without being asked for: what failed, what a pass needs, and what speaks of the whole."""
    return result_of(judge.get("result")) == "fail" or bool(judge.get("required")) or not judge.get("endpoint")


def judges(verdict: Row) -> str:
    found = in_order(rows(verdict, "judges"))
    if not found:
        return empty("No judge has spoken yet: there was nothing to compare.")
    lead = [judge for judge in found if _leading(judge)]
    rest = [judge for judge in found if not _leading(judge)]
    result = _judge_table(lead)
    if rest:
        open_ = sum(result_of(judge.get("result")) == "inconclusive" for judge in rest)
        passed = len(rest) - open_
        result += more(
            f"{plural(len(rest), 'more judgement')} by endpoint: {count(passed)} pass, {count(open_)} open",
            _judge_table(rest),
        )
    return result


_JUDGE_COLUMNS = (
    ("-Result", "keep"),
    ("-What was judged", ""),
    ("-Interval against the margin", ""),
    ("Effect", "n"),
    ("Samples", "n"),
)


def _judge_table(found: Sequence[Row]) -> str:
    shown, left = _cut(found, "judgement")
    return table(_JUDGE_COLUMNS, [_judge_row(judge) for judge in shown]) + left


def _judge_row(judge: Row) -> list[str]:
    unit = text(judge, "unit")
    signed = unit in ("share", "ratio", "bytes/request", "ms")
    where = " ".join(word for word in (text(judge, "path"), text(judge, "kind")) if word)
    what = f'<span class="what">{html(judge.get("judge") or "judge", 40)}</span>'
    if judge.get("endpoint"):
        what += f" {code(judge['endpoint'])}"
    if where:
        what += f" {code(where)}"
    if judge.get("critical") is False:
        what += f" {pill('does not fail the verdict')}"
    samples = count(judge.get("samples"))
    if number(judge.get("needed")):
        samples += f'<span class="say">{count(judge["needed"])} more<br>expected</span>'
    low, high = judge_interval(judge)
    effect = quantity(judge.get("effect"), unit, signed=signed)
    if low is not None or high is not None:
        effect += f'<span class="say">{interval(low, high, unit)}</span>'
    return [
        tag(result_of(judge.get("result"))),
        what + say(text(judge, "sentence")),
        interval_plot(judge),
        effect,
        samples,
    ]


# --- endpoints --------------------------------------------------------------------------------------------------------


def endpoints(data: Row, verdict: Row) -> str:
    """Those in which something failed first; ``verdict`` says which."""
    found = rows(data, "endpoints")
    if not found:
        return empty("No endpoint was seen yet.")
    failed = {text(judge, "endpoint") for judge in rows(verdict, "judges") if judge.get("result") == "fail"}
    found.sort(key=lambda e: (text(e, "endpoint") not in failed, -whole(e.get("worse")), -whole(e.get("exchanges"))))
    shown, left = _cut(found, "endpoint")
    columns = (
        ("-Endpoint", "where"),
        ("-Result", "keep"),
        ("Exchanges", "n"),
        ("Worse", "n"),
        ("Differing", "n"),
        ("Production p50", "n"),
        ("Shadow p50", "n"),
        ("Production p99", "n"),
        ("Shadow p99", "n"),
    )
    body = []
    for endpoint in shown:
        name = text(endpoint, "endpoint")
        cells = [f'<span class="what">{code(name or "other")}</span>', tag("fail") if name in failed else ""]
        cells += [count(endpoint.get("exchanges")), _share(endpoint, "worse"), _share(endpoint, "differing")]
        for q in ("p50", "p99"):
            cells += [milliseconds(endpoint.get(f"production_{q}_ms")), _against(endpoint, q)]
        body.append(cells)
    return table(columns, body) + left


def _against(endpoint: Row, q: str) -> str:
    """The shadow's quantile, and how much it is above production's."""
    reference, value = number(endpoint.get(f"production_{q}_ms")), number(endpoint.get(f"candidate_{q}_ms"))
    change = (value - reference) / reference if value is not None and reference else 0.0
    return milliseconds(value) + (say(quantity(change, "ratio", signed=True)) if abs(change) >= 0.005 else "")


def _share(endpoint: Row, name: str) -> str:
    amount, exchanges = whole(endpoint.get(name)), whole(endpoint.get("exchanges"))
    if not amount:
        return "0"
    share = f' <span class="muted">({percent(amount / exchanges)})</span>' if exchanges else ""
    return f"<b>{count(amount)}</b>{share}"


# --- differences ------------------------------------------------------------------------------------------------------


def ranked(found: Sequence[Row]) -> list[Row]:
    """Another status first, then the most harmful: by label, then by how often."""
    order = list(LABELS)
    return sorted(
        found,
        key=lambda d: (
            text(d, "where") != "status" or text(d, "label") not in _HARMFUL,
            order.index(text(d, "label")) if text(d, "label") in LABELS else 2,
            -whole(d.get("count")),
        ),
    )


def field_of(difference: Row) -> str:
    """``body $.total``."""
    return " ".join(word for word in (text(difference, "where"), text(difference, "path")) if word)


def differences(data: Row) -> str:
    found = ranked(rows(data, "differences"))
    if not found:
        return empty("No answer of the shadow differed from production's." if compared(data) else NOTHING)
    harmful = [difference for difference in found if not _is_known(difference)]
    others = [difference for difference in found if _is_known(difference)]
    if harmful:
        result = difference_table(harmful)
    else:
        result = empty("No difference counts against the shadow; the known ones are listed below.")
    if others:
        kinds = ", ".join(
            f"{count(amount)} {label}"
            for label in LABELS
            if (amount := sum(difference.get("label") == label for difference in others))
        )
        result += more(f"{plural(len(others), 'difference')} that do not count: {kinds}", difference_table(others))
    return result


def _is_known(difference: Row) -> bool:
    return text(difference, "label") in LABELS and text(difference, "label") not in _HARMFUL


def difference_table(found: Sequence[Row]) -> str:
    shown, left = _cut(found, "difference")
    columns = (
        ("-Finding", ""),
        ("-Endpoint and field", ""),
        ("Production", "value"),
        ("Shadow", "value"),
        ("Exchanges", "n"),
        ("Last seen", "n"),
    )
    return table(columns, [_difference_row(difference) for difference in shown]) + left


def _difference_row(difference: Row) -> list[str]:
    label = text(difference, "label") or "undecided"
    finding = pill(_LABELLED.get(label, label), LABELS.get(label, ""))
    if difference.get("id"):
        finding += f'<span class="say code">{html(difference["id"], 16)}</span>'
    where = f'<span class="what">{code(text(difference, "endpoint"))}</span>'
    kind = f" · {html(text(difference, 'kind'), 40)}" if difference.get("kind") else ""
    where += f'<span class="say">{code(field_of(difference))}{kind}</span>'
    share = [f"{percent(difference.get('share'))}"] if number(difference.get("share")) is not None else []
    if number(difference.get("noise_share")):
        share.append(f"noise {percent(difference['noise_share'])}")
    often = f"<b>{count(difference.get('count'))}</b>"
    often += f'<span class="say">{"<br>".join(share)}</span>' if share else ""
    seen = moment(difference.get("last"), "%d %b %H:%M:%S")
    return [finding, where, _value(difference, "production"), _value(difference, "candidate"), often, seen]


def _value(difference: Row, side: str) -> str:
    value = difference.get(side)
    return '<span class="muted">absent</span>' if value is None or value == "" else code(value, 200)


# --- error signatures -------------------------------------------------------------------------------------------------


def signatures(data: Row) -> str:
    found = sorted(rows(data, "signatures"), key=lambda s: (not s.get("new"), -whole(s.get("count"))))
    if not found:
        return empty("No error was seen, neither in the shadow nor in production." if compared(data) else NOTHING)
    new = [signature for signature in found if signature.get("new")]
    known = [signature for signature in found if not signature.get("new")]
    result = "" if new else empty("No error is new in the shadow; production has those below as well.")
    shown, left = _cut(new, "signature")
    result += "".join(_signature(signature, index < 3) for index, signature in enumerate(shown)) + left
    if known:
        shown, left = _cut(known, "signature")
        body = "".join(_signature(signature, False) for signature in shown) + left
        result += more(f"{plural(len(known), 'signature')} that production has as well", body)
    first = text(found[0], "fingerprint")
    if first:
        command = code(f"shadowctl diffs {text(data, 'filter') or 'NAME'} {first}")
        result += f"<p class=\"after\">Request, production's answer and the shadow's, side by side: {command}</p>"
    return result


def _signature(signature: Row, is_open: bool) -> str:
    new = bool(signature.get("new"))
    where = texts(signature, "endpoints")
    on = ", ".join(code(endpoint, 100) for endpoint in where[:5])
    if len(where) > 5:
        on += f" and {count(len(where) - 5)} more"
    often = (
        f"{count(signature.get('count'))} in the shadow, {count(signature.get('production_count') or 0)} in production"
    )
    kind = html(text(signature, "kind"), 40)
    print_ = html(text(signature, "fingerprint"), 40)
    example = text(signature, "example")
    shown = f"<pre>{html(example, _EXAMPLE, lines=True)}</pre>" if example else ""
    if shown:
        shown = f"<details{' open' if is_open else ''}><summary>Example</summary>{shown}</details>"
    notes = " · ".join(note for note in (kind, often, f"on {on}" if on else "", print_ and code(print_)) if note)
    return (
        f'<div class="sign{" new" if new else ""}">{pill("new in the shadow", "fail") if new else pill("known")}'
        f'<span class="title">{html(text(signature, "title") or "error")}</span>'
        f'<div class="say">{notes}</div>{shown}</div>'
    )


# --- ledger -----------------------------------------------------------------------------------------------------------

_TERMS = (
    ("mirrored", "mirrored and answered"),
    ("filtered", "filtered: not to be mirrored"),
    ("lost", "lost: not known whole"),
    ("shed", "shed by shadowd"),
    ("failed", "failed at the shadow"),
    ("in_flight", "in flight"),
)


def _reasons(source: Row, name: str) -> list[tuple[str, int]]:
    return sorted(((reason, whole(amount)) for reason, amount in part(source, name).items()), key=lambda e: -e[1])


def ledger(data: Row) -> str:
    account = part(data, "ledger")
    if not account or number(account.get("seen")) is None:
        return empty("There is no account of requests for this run.")
    targets = rows(account, "targets")
    result = ""
    for target in targets or [{}]:
        result += _target(account, target, len(targets) > 1)
    balanced = account.get("balanced")
    if balanced is not None:
        closing = (
            "The account is balanced: the terms are counted in independent places and add up to what was seen."
            if balanced
            else "The account is NOT balanced: the terms do not add up to what was seen. Please report this."
        )
        result += f'<p class="after{"" if balanced else " fail"}">{closing}</p>'
    return result


def _target(account: Row, target: Row, several: bool) -> str:
    totals: dict[str, int] = {}
    reasons: dict[str, list[tuple[str, int]]] = {}
    for term, _ in _TERMS:
        source = account if term in ("filtered", "lost") else target
        if term in ("mirrored", "in_flight"):
            totals[term] = whole(source.get(term))
        else:
            reasons[term] = _reasons(source, term)
            totals[term] = sum(amount for _, amount in reasons[term])
    shown = [(name, totals[term], f"l-{term}") for term, name in _TERMS]
    seen = whole(account.get("seen"))
    body = [f'<tr class="sum"><td>seen</td><td class="n">{count(seen)}</td><td class="n">100 %</td></tr>']
    for term, name in _TERMS:
        body.append(_ledger_row(name, totals[term], seen, ""))
        body.extend(_ledger_row(reason, amount, seen, "sub") for reason, amount in reasons.get(term, ()) if amount)
        if term == "mirrored" and whole(target.get("uncomparable")):
            body.append(
                _ledger_row("of these, production's answer not known whole", whole(target["uncomparable"]), seen, "sub")
            )
    heading = f"<h3>{html(text(target, 'url'))}</h3>" if several else ""
    names = legend([(name, kind) for name, amount, kind in shown if amount])
    return (
        f"{heading}{figure(lambda width: stacked(shown, width))}{names}"
        '<table class="ledger"><thead><tr><th scope="col">Requests</th><th scope="col" class="n">Count</th>'
        f'<th scope="col" class="n">Share</th></tr></thead><tbody>{"".join(body)}</tbody></table>'
    )


def _ledger_row(name: str, amount: int, seen: int, kind: str) -> str:
    share = percent(amount / seen) if seen else "–"
    return (
        f'<tr{f" class={kind!r}" if kind else ""}><td>{html(name)}</td><td class="n">{count(amount)}</td>'
        f'<td class="n">{share}</td></tr>'
    )


def parts(verdict: Row) -> str:
    """How the score is made up."""
    found = rows(verdict, "parts")
    if not found:
        return empty("There is no score yet.")
    body = []
    for entry in found:
        points, weight = number(entry.get("points")) or 0.0, number(entry.get("weight")) or 0.0
        filled = max(0.0, min(1.0, points / weight)) if weight > 0 else 0.0
        bar = svg(
            160,
            8,
            f"{percent(filled)} of the weight",
            [
                '<rect width="160" height="8" rx="4" class="l-filtered"/>',
                f'<rect width="{160 * filled:.1f}" height="8" rx="4" class="sd"/>',
            ],
            "points",
        )
        body.append([html(text(entry, "judge"), 40), bar, f"{points:.0f}", f"{weight:.0f}"])
    return table((("Judge", ""), ("", ""), ("Points", "n"), ("of", "n")), body, cards=False)
