"""The report's tables (sans-IO): judges, endpoints, differences, errors and the ledger, as values for their templates.

Each function takes the part of the data that it needs and returns what the template of its name prints; what is missing
is empty, and the template has a sentence for it. Rows are bounded: a report is read by people, and the machine-readable
one has everything. Nothing is escaped here: the templates do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from shadowd.errors import ShadowdError
from shadowd.observe.curl import commands
from shadowd.observe.drawing import svg
from shadowd.observe.figures import (
    beyond_noise,
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
from shadowd.observe.page import drawn, result_of
from shadowd.observe.plots import interval_plot, judge_interval, stacked

Row = Mapping[str, Any]
Shown = dict[str, Any]

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


def table_of(found: Sequence[Row], shown: Callable[[Row], Shown], what: str) -> Shown:
    """``rows`` of a table, and ``left``: a sentence about those that are too many."""
    left = len(found) - MAX_ROWS
    return {
        "rows": [shown(one) for one in found[:MAX_ROWS]],
        "left": f"and {plural(left, what)} more, in the report as JSON" if left > 0 else "",
    }


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


def judges(verdict: Row) -> Shown:
    found = _told_once(in_order(rows(verdict, "judges")))
    rest = [judge for judge in found if not _leading(judge)]
    open_ = sum(result_of(judge.get("result")) == "inconclusive" for judge in rest)
    return {
        "lead": table_of([judge for judge in found if _leading(judge)], _judge_row, "judgement"),
        "rest": table_of(rest, _judge_row, "judgement"),
        "folded": f"{plural(len(rest), 'more judgement')} by endpoint: {count(len(rest) - open_)} pass, "
        f"{count(open_)} open",
    }


def _told_once(found: Sequence[Row]) -> list[Row]:
    """Nine judges of one busy host say one sentence: it stands at the first of them."""
    told: set[str] = set()
    result = []
    for judge in found:
        sentence = text(judge, "sentence")
        result.append({**judge, "sentence": "as above"} if sentence and sentence in told else judge)
        told.add(sentence)
    return result


def _judge_row(judge: Row) -> Shown:
    unit = text(judge, "unit")
    low, high = judge_interval(judge)
    return {
        "result": result_of(judge.get("result")),
        "judge": text(judge, "judge") or "judge",
        "endpoint": text(judge, "endpoint"),
        "where": " ".join(word for word in (text(judge, "path"), text(judge, "kind")) if word),
        "critical": judge.get("critical") is not False,
        "sentence": text(judge, "sentence"),
        "plot": Markup(interval_plot(judge)),
        "effect": quantity(judge.get("effect"), unit, signed=unit in ("share", "ratio", "bytes/request", "ms")),
        "interval": interval(low, high, unit) if low is not None or high is not None else "",
        "samples": count(judge.get("samples")),
        "needed": count(judge["needed"]) if number(judge.get("needed")) else "",
    }


# --- endpoints --------------------------------------------------------------------------------------------------------


def endpoints(data: Row, verdict: Row) -> Shown:
    """Those in which something failed first; ``verdict`` says which."""
    found = rows(data, "endpoints")
    failed = {text(judge, "endpoint") for judge in rows(verdict, "judges") if judge.get("result") == "fail"}
    found.sort(key=lambda e: (text(e, "endpoint") not in failed, -whole(e.get("worse")), -whole(e.get("exchanges"))))

    def row(endpoint: Row) -> Shown:
        name = text(endpoint, "endpoint")
        return {
            "name": name or "other",
            "failed": name in failed,
            "exchanges": count(endpoint.get("exchanges")),
            "worse": _share(endpoint, whole(endpoint.get("worse"))),
            "differing": _share(endpoint, beyond_noise(endpoint)),
            "noise": count(endpoint["differing_noise"]) if whole(endpoint.get("differing_noise")) else "",
            "times": [
                compared_pair(endpoint.get(f"production_{q}_ms"), endpoint.get(f"candidate_{q}_ms"))
                for q in ("p50", "p99")
            ],
        }

    return table_of(found, row, "endpoint")


def compared_pair(before: object, after: object, shown: Callable[[object], str] = milliseconds) -> Shown:
    """Both sides', and how much the shadow's is above production's."""
    return {"production": shown(before), "shadow": shown(after), "change": change(before, after)}


def change(before: object, after: object) -> str:
    """``+12 %``, or "" where it is none that anybody minds."""
    reference, value = number(before), number(after)
    relative = (value - reference) / reference if value is not None and reference else 0.0
    return quantity(relative, "ratio", signed=True) if abs(relative) >= 0.005 else ""


def _share(endpoint: Row, amount: int) -> Shown:
    exchanges = whole(endpoint.get("exchanges"))
    return {"count": count(amount), "share": percent(amount / exchanges) if exchanges else ""}


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


def differences(data: Row) -> Shown:
    found = ranked(rows(data, "differences"))
    known = [difference for difference in found if _is_known(difference)]
    kinds = ", ".join(
        f"{count(amount)} {label}" for label in LABELS if (amount := sum(one.get("label") == label for one in known))
    )
    first = text(found[0], "id") if found else ""
    nothing = "No answer of the shadow differed from production's." if compared(data) else NOTHING
    return {
        "any": bool(found),
        "nothing": "" if found else nothing,
        "harmful": difference_table([difference for difference in found if not _is_known(difference)]),
        "known": difference_table(known),
        "folded": f"{plural(len(known), 'difference')} that do not count: {kinds}",
        "command": f"shadowctl diffs {text(data, 'filter') or 'NAME'} {first}" if first else "",
    }


def _is_known(difference: Row) -> bool:
    return text(difference, "label") in LABELS and text(difference, "label") not in _HARMFUL


def difference_table(found: Sequence[Row]) -> Shown:
    return table_of(found, _difference_row, "difference")


def _difference_row(difference: Row) -> Shown:
    label = text(difference, "label") or "undecided"
    shares = [percent(difference.get("share"))] if number(difference.get("share")) is not None else []
    if number(difference.get("noise_share")):
        shares.append(f"noise {percent(difference['noise_share'])}")
    return {
        "label": _LABELLED.get(label, label),
        "tone": LABELS.get(label, ""),
        "id": text(difference, "id"),
        "endpoint": text(difference, "endpoint"),
        "field": field_of(difference),
        "kind": text(difference, "kind"),
        "production": text(difference, "production"),
        "candidate": text(difference, "candidate"),
        "count": count(difference.get("count")),
        "shares": shares,
        "seen": moment(difference.get("last"), "%d %b %H:%M:%S"),
    }


# --- error signatures -------------------------------------------------------------------------------------------------


def signatures(data: Row) -> Shown:
    found = sorted(rows(data, "signatures"), key=lambda s: (not s.get("new"), -whole(s.get("count"))))
    known = [signature for signature in found if not signature.get("new")]
    first = text(found[0], "fingerprint") if found else ""
    shown = partial(_signature, data)
    nothing = "No error was seen, neither in the shadow nor in production." if compared(data) else NOTHING
    return {
        "nothing": "" if found else nothing,
        "new": table_of([one for one in found if one.get("new")], shown, "signature"),
        "known": table_of(known, shown, "signature"),
        "folded": f"{plural(len(known), 'signature')} that production has as well",
        "command": f"shadowctl diffs {text(data, 'filter') or 'NAME'} {first}" if first else "",
    }


def _signature(data: Row, signature: Row) -> Shown:
    where = texts(signature, "endpoints")
    exchange = part(signature, "exchange")
    ours, theirs = count(signature.get("count")), count(signature.get("production_count") or 0)
    return {
        "new": bool(signature.get("new")),
        "title": text(signature, "title") or "error",
        "kind": text(signature, "kind"),
        "often": f"{ours} in the shadow, {theirs} in production",
        "endpoints": where[:5],
        "others": f" and {count(len(where) - 5)} more" if len(where) > 5 else "",
        "fingerprint": text(signature, "fingerprint"),
        "example": "" if exchange else text(signature, "example")[: _EXAMPLE + 1],
        "repeat": _repeat(data, part(exchange, "request")) if exchange else [],
        "answers": [_answer(name, part(exchange, side)) for side, name in _SIDES] if exchange else [],
    }


_SIDES = (("production", "Production"), ("candidate", "The shadow"))


def _repeat(data: Row, request: Row) -> list[str]:
    """Commands that ask both sides again, as ``shadowctl diffs NAME ID --curl`` prints them, and comments (#)."""
    if request.get("cut"):
        return ["# The request's body is too long to be shown here: shadowctl diffs --curl has it."]
    bases = {"Ask production again:": text(data, "production") or "http://127.0.0.1"}
    bases["Ask the shadow again:"] = text(data, "target")
    try:
        return commands(request, bases)
    except ShadowdError as error:
        return [f"# {error}"]


def _answer(name: str, side: Row) -> Shown:
    """A side's answer: its status line, and the beginning of the body."""
    if side.get("failure"):
        return {"name": f"{name} gave no answer", "status": "", "body": text(side, "failure")}
    line = text(side, "head").split("\r\n", 1)[0].partition(" ")[2]
    body = text(side, "body") + ("…" if side.get("cut") else "")
    return {"name": f"{name} answered", "status": line or text(side, "status"), "body": body}


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


def ledger(data: Row) -> Shown | None:
    account = part(data, "ledger")
    if not account or number(account.get("seen")) is None:
        return None
    targets = rows(account, "targets")
    return {
        "targets": [_target(account, target, len(targets) > 1) for target in targets or [{}]],
        "balanced": account.get("balanced"),
    }


def _target(account: Row, target: Row, several: bool) -> Shown:
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
    body = [{"kind": "sum", "name": "seen", "count": count(seen), "share": "100 %"}]
    for term, name in _TERMS:
        body.append(_ledger_row(name, totals[term], seen, ""))
        body.extend(_ledger_row(reason, amount, seen, "sub") for reason, amount in reasons.get(term, ()) if amount)
        if term == "mirrored" and whole(target.get("uncomparable")):
            what = "of these, production's answer not known whole"
            body.append(_ledger_row(what, whole(target["uncomparable"]), seen, "sub"))
    return {
        "url": text(target, "url") if several else "",
        "plot": drawn(lambda width: stacked(shown, width)),
        "legend": [(name, kind) for name, amount, kind in shown if amount],
        "rows": body,
    }


def _ledger_row(name: str, amount: int, seen: int, kind: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "count": count(amount), "share": percent(amount / seen) if seen else "–"}


# --- the score --------------------------------------------------------------------------------------------------------


def parts(verdict: Row) -> list[list[str]]:
    """How the score is made up: judge, bar, points and weight."""
    body = []
    for entry in rows(verdict, "parts"):
        points, weight = number(entry.get("points")) or 0.0, number(entry.get("weight")) or 0.0
        filled = max(0.0, min(1.0, points / weight)) if weight > 0 else 0.0
        shapes = [
            '<rect width="160" height="8" rx="4" class="l-filtered"/>',
            f'<rect width="{160 * filled:.1f}" height="8" rx="4" class="sd"/>',
        ]
        bar = Markup(svg(160, 8, f"{percent(filled)} of the weight", shapes, "points"))
        body.append([text(entry, "judge"), bar, f"{points:.0f}", f"{weight:.0f}"])
    return body
