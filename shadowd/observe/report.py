"""The report of one run as a page (sans-IO): one file that needs no network, readable on a screen, phone and paper.

From the top down it answers: may this release go out, why, how sure is that, where is it slower, what differs, which
errors are new, does it leak, was all of the traffic looked at, and what could not be seen. Everything is optional:
a part that is missing is one sentence. ``data`` is the object that ``shadowctl report --json`` writes.

All text of the data is escaped where it enters the page (``quoting.py``), whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.observe import conversations, plots, sections, streams
from shadowd.observe.figures import count, moment, number, part, percent, plural, quantity, rows, seconds, text, texts
from shadowd.observe.page import code, document, empty, figure, legend, mark, more, result_of, sentence, table, word
from shadowd.redact.quoting import html

MODES = {
    "baseline": ("baseline", "A baseline of production's version was asked at the same moment as the shadow."),
    "twin": ("twins", "A random share of the requests went to the shadow twice, which shows what is noise."),
    "none": ("none", "There was no second answer to tell noise from change."),
}

_LINES = [("production p50", "pl"), ("production p99", "pl dash"), ("shadow p50", "sl"), ("shadow p99", "sl dash")]


def render_html(data: Mapping[str, Any]) -> str:
    """The page, as text without lone surrogates. Never raises for missing, null or odd parts of ``data``."""
    verdict = part(data, "verdict")
    outcome = word(result_of(verdict.get("verdict")))
    name = text(data, "filter") or "shadowd"
    blocks = [
        ("judges", "Judges", _judges(verdict)),
        ("latency", "Latency", _latency(data)),
        ("endpoints", "Endpoints", sections.endpoints(data, verdict)),
        ("differences", "Differences", _differences(data)),
        ("errors", "Errors", sections.signatures(data)),
        ("memory", "Memory", _memory(data)),
        ("ledger", "Ledger", _ledger(data)),
        ("limits", "Limits", _limits(verdict)),
        ("reading", "How to read this", _reading(verdict)),
    ]
    talked = conversations.section(data, verdict)
    if talked:
        blocks.insert(2, ("conversations", "Conversations", talked))
    streamed = streams.section(data)
    if streamed:
        blocks.insert(3 if talked else 2, ("streams", "Streams", streamed))
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in blocks)
    body = "".join(f'<section id="{anchor}"><h2>{title}</h2>{content}</section>' for anchor, title, content in blocks)
    return document(
        f"{outcome}: {name}{_label(data)}",
        f"{_header(data)}<main>{_hero(data, verdict)}<nav>{links}</nav>{body}</main>{_footer(data)}",
    )


def _label(data: Mapping[str, Any]) -> str:
    label = text(part(data, "run"), "label")
    return f" {label}" if label else ""


def _header(data: Mapping[str, Any]) -> str:
    run = part(data, "run")
    left = f"<b>{html(text(data, 'filter') or 'shadowd')}</b>"
    if data.get("target"):
        left += f" mirrored to {code(text(data, 'target'), 200)}"
    if data.get("node"):
        left += f" from {code(text(data, 'node'), 80)}"
    right = []
    if run:
        named = f"run <b>{html(run['label'], 80)}</b>" if run.get("label") else f"run {html(text(run, 'id'), 20)}"
        right.append(named)
        if number(run.get("started")) is not None:
            right.append(f"started {moment(run['started'])}")
        if number(run.get("ended")) is not None:
            why = f" ({html(run['reason'], 120)})" if run.get("reason") else ""
            right.append(f"ended {moment(run['ended'])}{why}")
    return f"<header><span>{left}</span><span>{' · '.join(right)}</span></header>"


def _hero(data: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    result = result_of(verdict.get("verdict"))
    title = word(result) if verdict else "No verdict yet"
    reasons = texts(verdict, "reasons") or ["Nothing was compared yet, and no data is not a pass."]
    sentences = "".join(f"<li>{sentence(reason)}</li>" for reason in reasons)
    score = number(verdict.get("score"))
    meter = ""
    if score is not None:
        filled = max(0.0, min(100.0, score))
        meter = (
            f'<div class="score"><b>{score:.0f}</b> <span class="muted">of 100 points</span>'
            f'<div class="meter"><i style="width:{filled:.0f}%"></i></div></div>'
        )
    mode = MODES.get(text(verdict, "mode"))
    facts = [
        ("Exchanges compared", count(verdict.get("compared"))),
        ("Share of the traffic", percent(verdict.get("coverage"))),
        ("Duration", seconds(verdict.get("seconds"))),
        ("Told from noise by", mode[0] if mode else "–"),
    ]
    shown = "".join(f"<div><dt>{name}</dt><dd>{html(value)}</dd></div>" for name, value in facts)
    return (
        f'<div class="hero {result}"><div class="top">{mark(result)}<h1>{title}</h1>{meter}</div>'
        f'<ul>{sentences}</ul><dl class="facts">{shown}</dl></div>'
    )


def _judges(verdict: Mapping[str, Any]) -> str:
    lead = (
        '<p class="lead">A judge fails when its whole interval lies beyond the margin (shaded), passes when it lies '
        "before it, and is open while the interval straddles it.</p>"
    )
    return lead + sections.judges(verdict)


def _latency(data: Mapping[str, Any]) -> str:
    latency = part(data, "latency")
    result = ""
    for name, title in (("first_byte", "Time to the first byte"), ("last_byte", "Time to the last byte")):
        point = part(latency, name)
        drawn = figure(
            lambda width, point=point: plots.distribution(point, width),  # type: ignore[misc]
            "Share of exchanges by latency, on a logarithmic axis; dotted lines are the medians. "
            "The outermost 0.05 % at each end are not drawn."
            if name == "first_byte"
            else "",
        )
        if drawn:
            result += f"<h3>{title}</h3>{_samples(point)}{drawn}"
    if not result:
        result = empty("No latency was measured yet.")
    drawn = figure(
        lambda width: plots.over_time(rows(latency, "over_time"), width),
        "Time to the first byte, logarithmic. The bars are the share of a period's exchanges in which the shadow was "
        "worse (failed where production did not) or differed.",
        legend([*_LINES, ("worse", "worse"), ("differing", "differs")]),
    )
    return result + (f"<h3>Over time</h3>{drawn}" if drawn else "")


def _samples(point: Mapping[str, Any]) -> str:
    found = [
        f"{plural(part(point, side).get('count'), 'answer')} of {name}"
        for side, name in (("production", "production"), ("candidate", "the shadow"))
        if number(part(point, side).get("count")) is not None
    ]
    return f'<p class="muted">{" and ".join(found)}</p>' if found else ""


def _differences(data: Mapping[str, Any]) -> str:
    found = rows(data, "differences")
    lead = '<p class="lead">Grouped by endpoint and field, the most harmful first.</p>'
    first = sections.ranked(found)[0] if found else {}
    if first.get("id"):
        name = text(data, "filter") or "NAME"
        command = code(f"shadowctl diffs {name} {text(first, 'id')}")
        return f'{lead}{sections.differences(data)}<p class="after">Examples side by side: {command}</p>'
    return (lead if found else "") + sections.differences(data)


def _memory(data: Mapping[str, Any]) -> str:
    memory = part(data, "memory")
    if not memory:
        return empty(
            "The shadow's memory was not measured: its process is not on this host and no metrics URL was given."
        )
    unit = text(memory, "unit") or "bytes/request"
    drawn = figure(
        lambda width: plots.memory(memory, width),
        "Resident memory of the shadow's process against the requests that it served. The dashed line is the fitted "
        "slope, the band its interval."
        if number(memory.get("slope")) is not None
        else "Resident memory of the shadow's process against the requests that it served; too few for a slope yet.",
    )
    facts = ""
    if number(memory.get("slope")) is not None:
        per = " per request" if unit.endswith("/request") else ""
        facts = f"<p><b>{quantity(memory['slope'], unit, signed=True)}{per}</b>"
        if number(memory.get("low")) is not None and number(memory.get("high")) is not None:
            band = f"{quantity(memory['low'], unit)} … {quantity(memory['high'], unit)}"
            facts += f' <span class="muted">(interval {band})</span>'
        facts += "</p>"
    said = f"<p>{sentence(text(memory, 'sentence'))}</p>" if memory.get("sentence") else ""
    return said + facts + (drawn or empty("There are too few readings to draw."))


def _ledger(data: Mapping[str, Any]) -> str:
    return '<p class="lead">What became of every request that was seen.</p>' + sections.ledger(data)


def _limits(verdict: Mapping[str, Any]) -> str:
    found = [sentence(limit) for limit in texts(verdict, "limits")]
    mode = MODES.get(text(verdict, "mode"))
    if mode:
        found.insert(0, mode[1])
    if number(verdict.get("coverage")) is not None:
        found.append(f"{percent(verdict['coverage'])} of the requests that were to be compared were compared.")
    drift = part(verdict, "drift")
    if number(drift.get("exchanges")):
        found.append(
            f"State drift is suspected in {plural(drift['exchanges'], 'exchange')} ({percent(drift.get('share'))}): "
            "they read what production had written and the shadow had not, so they are not counted against it."
        )
    result = f'<ul class="plain">{"".join(f"<li>{limit}</li>" for limit in found)}</ul>' if found else ""
    unjudged = rows(verdict, "not_judged")
    if unjudged:
        body = [
            [code(text(entry, "endpoint")), code(text(entry, "path")), html(text(entry, "sentence"), 400)]
            for entry in unjudged[: sections.MAX_ROWS]
        ]
        left = len(unjudged) - len(body)
        rest = f'<p class="muted">and {count(left)} more</p>' if left > 0 else ""
        shown = table((("Endpoint", ""), ("Field", ""), ("Why", "")), body) + rest
        result += more(f"{plural(len(unjudged), 'field')} not judged", shown)
    return result or empty("The limits of this run are not known yet: nothing was compared.")


def _reading(verdict: Mapping[str, Any]) -> str:
    return (
        "<p><b>Every request is its own control.</b> The shadow got the same requests as production, and each of its "
        "answers was held against production's answer to that very request.</p>"
        "<p><b>Fail</b> means that a regression beyond the margin is proven; over a whole run this happens by chance "
        "in at most 5 % of the cases, however often one looks. <b>Pass</b> means that every required judge excludes a "
        "regression beyond its margin; its sentence says what would still have gone unnoticed. <b>Inconclusive</b> "
        "means that more traffic is needed, or that something stood in the way; it is never a silent pass.</p>"
        "<p><b>The score</b> sums the judges' weights, each counted by how far its interval has moved from fail to "
        "pass. It orders runs; the verdict decides.</p>" + more("How the score is made up", sections.parts(verdict))
    )


def _footer(data: Mapping[str, Any]) -> str:
    version = f" {html(data['version'], 40)}" if data.get("version") else ""
    made = f" on {moment(data['generated'])}" if number(data.get("generated")) is not None else ""
    return f"<footer><p>Made by shadowd{version}{made}. Times are UTC.</p></footer>"
