"""The report of one run as a page (sans-IO): one file that needs no network, readable on a screen, phone and paper.

From the top down it answers: may this release go out, why, how sure is that, where is it slower, what differs, which
errors are new, does it leak, was all of the traffic looked at, and what could not be seen. Everything is optional:
a part that is missing is one sentence. ``data`` is the object that ``shadowctl report --json`` writes.

Here values are prepared; the page is the templates in ``templates/report``, where all text of the data is escaped,
whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.observe import conversations, plots, sections, streams
from shadowd.observe.figures import count, moment, number, part, percent, plural, quantity, rows, seconds, text, texts
from shadowd.observe.page import drawn, result_of, word
from shadowd.observe.templating import render
from shadowd.redact.quoting import visible

Shown = dict[str, Any]

MODES = {
    "baseline": ("baseline", "A baseline of production's version was asked at the same moment as the shadow."),
    "twin": ("twins", "A random share of the requests went to the shadow twice, which shows what is noise."),
    "none": ("none", "There was no second answer to tell noise from change."),
}

_LINES = [("production p50", "pl"), ("production p99", "pl dash"), ("shadow p50", "sl"), ("shadow p99", "sl dash")]


def render_html(data: Mapping[str, Any]) -> str:
    """The page, as text without lone surrogates. Never raises for missing, null or odd parts of ``data``."""
    verdict = part(data, "verdict")
    shown = parts_of(data)
    return render(
        "report/report.html",
        **_head(data, verdict),
        parts=[{"anchor": name, "title": title, "template": f"report/{name}.html"} for name, title, _ in shown],
        **{name: value for *_, values in shown for name, value in values.items()},
    )


def parts_of(data: Mapping[str, Any]) -> list[tuple[str, str, Shown]]:
    """The parts in order: name (of ``report/NAME.html`` too), title, and what the template is given."""
    verdict = part(data, "verdict")
    parts: list[tuple[str, str, Shown]] = [
        ("judges", "Judges", {"judges": sections.judges(verdict)}),
        ("latency", "Latency", {"latency": _latency(data)}),
        ("conversations", "Conversations", {"conversations": conversations.section(data, verdict)}),
        ("streams", "Streams", {"streams": streams.section(data)}),
        ("endpoints", "Endpoints", {"endpoints": sections.endpoints(data, verdict)}),
        ("differences", "Differences", {"differences": sections.differences(data)}),
        ("errors", "Errors", {"errors": sections.signatures(data)}),
        ("memory", "Memory", {"memory": _memory(data)}),
        ("ledger", "Ledger", {"ledger": sections.ledger(data)}),
        ("limits", "Limits", {"limits": _limits(verdict)}),
        ("reading", "How to read this", {"points": sections.parts(verdict)}),
    ]
    asked = ("conversations", "streams")  # there is a part on them only where there are any
    return [(anchor, title, values) for anchor, title, values in parts if anchor not in asked or values[anchor]]


def _head(data: Mapping[str, Any], verdict: Mapping[str, Any]) -> Shown:
    """What stands above the parts, and below them."""
    result = result_of(verdict.get("verdict"))
    run = part(data, "run")
    name = text(data, "filter") or "shadowd"
    label = text(run, "label")
    score = number(verdict.get("score"))
    mode = MODES.get(text(verdict, "mode"))
    made = f" {text(data, 'version')[:40]}" if data.get("version") else ""
    made += f" on {moment(data['generated'])}" if number(data.get("generated")) is not None else ""
    return {
        "title": f"{word(result)}: {name}{' ' * bool(label)}{label}",
        "result": result,
        "heading": word(result) if verdict else "No verdict yet",
        "name": visible(name),
        "label": visible(label, 80),
        "target": text(data, "target"),
        "node": text(data, "node"),
        "moments": _moments(run),
        "score": None if score is None else f"{max(0.0, min(100.0, score)):.0f}",
        "reasons": texts(verdict, "reasons") or ["Nothing was compared yet, and no data is not a pass."],
        "facts": [
            ("Exchanges compared", count(verdict.get("compared"))),
            ("Share of the traffic", percent(verdict.get("coverage"))),
            ("Duration", seconds(verdict.get("seconds"))),
            ("Told from noise by", mode[0] if mode else "–"),
        ],
        "made": made,
    }


def _moments(run: Mapping[str, Any]) -> list[str]:
    if not run:
        return []
    found = [] if run.get("label") else [f"run {visible(text(run, 'id'), 20)}"]
    if number(run.get("started")) is not None:
        found.append(f"started {moment(run['started'])}")
    if number(run.get("ended")) is not None:
        why = f" ({visible(run['reason'], 120)})" if run.get("reason") else ""
        found.append(f"ended {moment(run['ended'])}{why}")
    return found


def _latency(data: Mapping[str, Any]) -> Shown:
    latency = part(data, "latency")
    points = []
    for name, title in (("first_byte", "Time to the first byte"), ("last_byte", "Time to the last byte")):
        point = part(latency, name)
        plot = drawn(lambda width, point=point: plots.distribution(point, width))  # type: ignore[misc]
        if plot is not None:
            caption = (
                "Share of exchanges by latency, on a logarithmic axis; dotted lines are the medians. "
                "The outermost 0.05 % at each end are not drawn."
                if name == "first_byte"
                else ""
            )
            points.append({"title": title, "samples": _samples(point), "plot": plot, "caption": caption})
    over_time = drawn(
        lambda width: plots.over_time(rows(latency, "over_time"), width),
        [*_LINES, ("worse", "worse"), ("differing beyond noise", "differs")],
    )
    return {"points": points, "over_time": over_time}


def _samples(point: Mapping[str, Any]) -> str:
    return " and ".join(
        f"{plural(part(point, side).get('count'), 'answer')} of {name}"
        for side, name in (("production", "production"), ("candidate", "the shadow"))
        if number(part(point, side).get("count")) is not None
    )


def _memory(data: Mapping[str, Any]) -> Shown:
    memory = part(data, "memory")
    slope, low, high = (number(memory.get(name)) for name in ("slope", "low", "high"))
    unit = text(memory, "unit") or "bytes/request"
    per = " per request" if unit.endswith("/request") else ""
    fitted = "The dashed line is the fitted slope, the band its interval."
    caption = "Resident memory of the shadow's process against the requests that it served"
    return {
        "measured": bool(memory),
        "sentence": text(memory, "sentence"),
        "slope": f"{quantity(slope, unit, signed=True)}{per}" if slope is not None else "",
        "band": f"{quantity(low, unit)} … {quantity(high, unit)}" if low is not None and high is not None else "",
        "plot": drawn(lambda width: plots.memory(memory, width)),
        "caption": f"{caption}. {fitted}" if slope is not None else f"{caption}; too few for a slope yet.",
    }


def _limits(verdict: Mapping[str, Any]) -> Shown:
    found = texts(verdict, "limits")
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
    unjudged = rows(verdict, "not_judged")
    left = len(unjudged) - sections.MAX_ROWS
    return {
        "sentences": found,
        "unjudged": [
            {"endpoint": text(one, "endpoint"), "path": text(one, "path"), "why": text(one, "sentence")}
            for one in unjudged[: sections.MAX_ROWS]
        ],
        "folded": f"{plural(len(unjudged), 'field')} not judged",
        "left": f"and {count(left)} more" if left > 0 else "",
    }
