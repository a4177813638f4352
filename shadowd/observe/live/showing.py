"""What live pages consist of (sans-IO): from what was gathered to HTML, a part each.

A part is replaced as a whole when it changes. Tables and plots are the report's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from shadowd.errors import ShadowdError
from shadowd.observe import sections
from shadowd.observe.difference import lines_of, rule_of
from shadowd.observe.drawing import Scale, path, svg
from shadowd.observe.figures import count, milliseconds, moment, number, part, percent, plural, rows, seconds, text
from shadowd.observe.live.reported import reported
from shadowd.observe.live.sides import Row, side_by_side
from shadowd.observe.live.watching import Parts
from shadowd.observe.page import mark, pill, result_of, word
from shadowd.observe.templating import render
from shadowd.redact.quoting import html, visible

DIFFERENCES = 50  # rows that are shown; the report has all
EXAMPLES = 3  # on the page of one difference
_ENDS = ("mirrored", "filtered", "shed", "lost", "failed", "in_flight")
_STATES = {"active": "good", "paused": "warn", "following": "warn"}

#: The parts of a filter's page behind the verdict: id and heading.
SECTIONS = (
    ("latency", "Latency"), ("conversations", "Conversations"), ("streams", "Streams"),
    ("differences", "Differences"), ("errors", "Errors"), ("endpoints", "Endpoints"), ("judges", "Judges"),
    ("memory", "Memory"), ("ledger", "Ledger"),
)  # fmt: skip


def filter_path(name: str, *more: str) -> str:
    return "/".join(["/filter", *(quote(word, safe="") for word in (name, *more))])


def wrong(error: ShadowdError) -> Parts:
    """What is put into a page that cannot be made anew: the rest of it stays as it was."""
    return {"notice": render("live/notice.html", lines=[f"this page stands still: {error}"])}


# --- all filters ------------------------------------------------------------------------------------------------------


def overview(found: Mapping[str, Any]) -> Parts:
    shown = [_card(one) for one in found["filters"]]
    verdicts = ", ".join(f"{card['name']}: {card['word']}" for card in shown[:20])
    return {
        "said": render("live/said.html", said=verdicts or "no filters"),
        "notice": render("live/notice.html", lines=found["problems"]),
        "filters": render(
            "live/cards.html", cards=shown, more=plural(found["more"], "filter") if found["more"] else ""
        ),
    }


def _card(one: Mapping[str, Any]) -> dict[str, Any]:
    verdict = one["verdict"]
    result = result_of(verdict.get("verdict"))
    reasons = verdict.get("reasons") or ["Nothing was compared yet."]
    return {
        "name": one["name"], "path": filter_path(one["name"]), "result": result, "mark": mark(result),
        "word": _word(verdict), "score": _score(verdict), "state": one["state"], "tone": _STATES.get(one["state"], ""),
        "label": one["label"], "targets": one["targets"], "reason": _sentence(reasons[0]),
        "more": plural(len(reasons) - 1, "more reason") if len(reasons) > 1 else "",
        "latencies": _latencies(one), **_flow(one),
    }  # fmt: skip


def _word(verdict: Mapping[str, Any]) -> str:
    return word(result_of(verdict["verdict"])) if verdict.get("verdict") else "No verdict"


def _score(verdict: Mapping[str, Any]) -> str:
    score = number(verdict.get("score"))
    return f"{score:.0f}" if score is not None else ""


def _sentence(said: object) -> str:
    return visible(said, 600).replace(" %", "\u00a0%")


def _flow(one: Mapping[str, Any]) -> dict[str, Any]:
    """Rates and what became of the requests, at all targets together."""
    ledger = one["ledger"]
    rate = number(one["rate"])
    ends = ends_of(ledger)
    return {
        "rate": "–" if rate is None else f"{rate:,.0f}/s" if rate >= 10 or rate == int(rate) else f"{rate:.1f}/s",
        "seen": count(ledger["seen"]),
        "ends": [(end.replace("_", " "), count(ends[end]), ends[end] > 0, end) for end in _ENDS],
    }


def ends_of(ledger: Mapping[str, Any]) -> dict[str, int]:
    """How often each term of the account, over all targets."""
    found = dict.fromkeys(_ENDS, 0)
    for term in ("filtered", "lost"):
        found[term] = sum(part(ledger, term).values())
    for target in rows(ledger, "targets"):
        for term in ("mirrored", "in_flight"):
            found[term] += int(number(target.get(term)) or 0)
        for term in ("shed", "failed"):
            found[term] += sum(part(target, term).values())
    return found


def _latencies(one: Mapping[str, Any]) -> list[dict[str, Any]]:
    """p50 and p99 of either side now, and p50 of the last ten minutes as a line."""
    points = one["points"]
    values = [v for point in points for side in ("production", "candidate") if (v := _p50(point, side))]
    found = []
    for side, name, kind in (("production", "production", "p"), ("candidate", "shadow", "s")):
        now = part(one["latency_ms"], name)
        found.append(
            {"name": name, "kind": kind, "p50": milliseconds(now.get("p50")), "p99": milliseconds(now.get("p99")),
             "spark": Markup(_spark([_p50(point, side) for point in points], kind, values, name))}
        )  # fmt: skip
    return found


def _p50(point: Mapping[str, Any], side: str) -> float:
    return number(part(point, side).get("p50_ms")) or 0.0


def _spark(line: Sequence[float], kind: str, values: Sequence[float], name: str) -> str:
    """Both sides have one logarithmic axis, so that they can be held against each other."""
    known = [(at, value) for at, value in enumerate(line) if value > 0]
    if len(known) < 2:
        return ""
    x = Scale(0, len(line) - 1, 2, 118)
    y = Scale(min(values) / 1.1, max(values) * 1.1, 24, 3, log=True)
    label = f"median of {name}, from {milliseconds(known[0][1])} to {milliseconds(known[-1][1])}"
    return svg(120, 27, label, [path([(x(at), y(value)) for at, value in known], f"{kind}l thin")], "sparkline")


# --- one filter -------------------------------------------------------------------------------------------------------


def one_filter(found: Mapping[str, Any], proof: str) -> Parts:
    name, data = found["name"], found["report"]
    verdict = found["verdict"]
    tables = reported(data)
    press = {"name": name, "proof": proof, "path": filter_path(name)}
    return {
        "said": render("live/said.html", said=f"{name}: {_word(verdict)}"),
        "notice": render("live/notice.html", lines=found["words"]),
        "verdict": render("live/verdict.html", hero=_hero(found)),
        "controls": render("live/controls.html", state=found["state"], label=found["label"], **press),
        "differences": _differences(found, press),
        **tables,
        "errors": _errors(data, name, tables["errors"]),
    }


def _hero(found: Mapping[str, Any]) -> dict[str, Any]:
    verdict = found["verdict"]
    score = number(verdict.get("score"))
    run = part(verdict, "run")
    facts = [
        ("Exchanges compared", count(verdict.get("compared"))),
        ("Share of the traffic", percent(verdict.get("coverage"))),
        ("Duration", seconds(verdict.get("seconds"))),
        ("Run", text(run, "label") or (f"since {moment(run['started'], '%H:%M:%S UTC')}" if run else "–")),
    ]
    card = _card(found)
    reasons = verdict.get("reasons") or ["Nothing was compared yet, and no data is not a pass."]
    many = f"the worst of {found['candidates']} candidates" if found["candidates"] > 1 else ""
    return card | {
        "reasons": [_sentence(reason) for reason in reasons], "facts": facts, "many": many,
        "target": text(found["report"], "target"), "filled": None if score is None else max(0.0, min(100.0, score)),
    }  # fmt: skip


def _differences(found: Mapping[str, Any], press: Mapping[str, Any]) -> str:
    data = found["report"]
    ranked = sections.ranked(rows(data, "differences"))
    harmful = [one for one in ranked if text(one, "label") not in ("expected", "noise", "not judged")]
    known = [one for one in ranked if one not in harmful]
    rules = [
        {"kind": kind, "rule": rule, "words": _rule_words(rule)} for kind in ("noise", "expect")
        for rule in found["rules"][kind][:DIFFERENCES]
    ]  # fmt: skip
    return render(
        "live/differences.html",
        harmful=[
            _difference(one, found["examples"].get(text(one, "id")), found["name"]) for one in harmful[:DIFFERENCES]
        ],
        known=[_difference(one, None, found["name"]) for one in known[:DIFFERENCES]],
        left=max(0, len(ranked) - len(harmful[:DIFFERENCES]) - len(known[:DIFFERENCES])),
        compared=sections.compared(data), rules=rules, **press,
    )  # fmt: skip


def _rule_words(rule: Mapping[str, str]) -> str:
    words = [" ".join(filter(None, (rule.get("where"), rule.get("path"))))]
    words += [f"at {rule['endpoint']}"] if rule.get("endpoint") else ["at every endpoint"]
    return ", ".join(words + ([f"{rule['change']} only"] if rule.get("change") else []))


def _errors(data: Mapping[str, Any], name: str, shown: str) -> str:
    found = sorted(rows(data, "signatures"), key=lambda one: not one.get("new"))[:EXAMPLES]
    links = [(text(one, "title"), filter_path(name, "difference", text(one, "fingerprint"))) for one in found]
    return render("live/errors.html", shown=Markup(shown), links=links) if shown else ""


def _difference(one: Mapping[str, Any], example: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    label = text(one, "label") or "undecided"
    noise = number(one.get("noise_share"))
    return {
        "id": text(one, "id"), "path": filter_path(name, "difference", text(one, "id")),
        "pill": pill("state drift suspected" if label == "drift" else label, sections.LABELS.get(label, "")),
        "endpoint": text(one, "endpoint"), "field": sections.field_of(one), "kind": text(one, "kind"),
        "production": text(one, "production"), "shadow": text(one, "candidate"), "count": count(one.get("count")),
        "share": percent(one.get("share")) if number(one.get("share")) is not None else "",
        "noise": percent(noise) if noise else "", "sentence": _sentence(text(one, "sentence")),
        "seen": moment(one.get("last"), "%d %b %H:%M:%S"), "rule": rule_of(one),
        "example": _example(example) if example else None,
    }  # fmt: skip


def _example(example: Mapping[str, Any]) -> dict[str, Any]:
    request = part(example, "request")
    found: list[Row] = side_by_side(lines_of(part(example, "production")), lines_of(part(example, "candidate")))
    return {
        "asked": " ".join(filter(None, (text(request, "method"), text(request, "target")))),
        "body": Markup(html(text(request, "body"), 8000, lines=True)), "time": moment(example.get("time")),
        "rows": found,
    }  # fmt: skip


def one_difference(name: str, found: Mapping[str, Any], proof: str) -> str:
    """The page of a difference, with its newest examples; it stands still."""
    one = part(found, "difference")
    examples = [_example(example) for example in rows(found, "examples")[:EXAMPLES]]
    shown = _difference(one, None, name)
    command = f"shadowctl diffs {name} {text(one, 'id')} --curl"
    return render(
        "live/difference.html", one=shown, examples=examples, name=name, path=filter_path(name), proof=proof,
        command=command,
    )  # fmt: skip


# --- pages ------------------------------------------------------------------------------------------------------------


def overview_page(parts: Parts, node: str, version: str) -> str:
    return render("live/overview.html", parts=_ready(parts), node=node, live=f"/live?since={version}")


def filter_page(name: str, parts: Parts, version: str) -> str:
    return render(
        "live/filter.html", parts=_ready(parts), name=name, sections=SECTIONS, report=f"/report/{quote(name, safe='')}",
        live=f"/live?filter={quote(name, safe='')}&since={version}",
    )  # fmt: skip


def _ready(parts: Parts) -> dict[str, Markup]:
    return {name: Markup(made) for name, made in parts.items()}
