"""The report's part on generated answers (sans-IO): prompts, time to the first content, tokens, what models decide.

The prompt groups are the endpoints that have a ``talk``; the one named ``all conversations`` has the distributions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.observe import plots, sections
from shadowd.observe.figures import (
    count,
    digits,
    entries,
    milliseconds,
    number,
    part,
    plural,
    quantity,
    rows,
    text,
    whole,
)
from shadowd.observe.page import code, figure, result_of, say, table, tag

Row = Mapping[str, Any]

WHOLE = "all conversations"
_COLUMNS = (
    ("-Prompt", "where"),
    ("-Result", "keep"),
    ("Conversations", "n"),
    ("First content, production", "n"),
    ("shadow", "n"),
    ("Tokens, production", "n"),
    ("shadow", "n"),
)
_COSTS = (("Cost, production", "n"), ("shadow", "n"))


def section(data: Row, verdict: Row) -> str:
    """All of it; "" if no conversation was compared."""
    found = [row for row in rows(data, "endpoints") if part(row, "talk")]
    if not found:
        return ""
    found.sort(key=lambda row: (text(row, "endpoint") != WHOLE, -whole(row.get("exchanges"))))
    result = (
        '<p class="lead">Answers of language models, by prompt: a system prompt with its model and tools. With a '
        "baseline, production's figures are the baseline's: the same version, asked at the same moment.</p>"
    )
    overall = part(found[0], "talk")
    result += _distribution(part(overall, "first_content_ms"), "Time to the first content", milliseconds)
    result += _distribution(part(overall, "tokens"), "Output tokens", _tokens)
    result += f"<h3>Prompts</h3>{_prompts(found, verdict)}{_answering(part(overall, 'models'))}"
    decided = [row for row in rows(data, "differences") if row.get("where") == "llm" and row.get("endpoint") == WHOLE]
    if decided:
        result += f"<h3>What the model does otherwise</h3>{sections.difference_table(sections.ranked(decided))}"
    left_out = whole(overall.get("too_long"))
    if left_out:
        result += f'<p class="muted">{plural(left_out, "answer")} too long to be kept, and not compared.</p>'
    return result


def _tokens(value: object) -> str:
    found = number(value)
    return "–" if found is None else digits(found)


def _distribution(point: Row, title: str, shown: Any) -> str:
    """A figure of both sides."""
    drawable = {side: _side(part(point, side)) for side in ("production", "candidate")}
    drawn = figure(lambda width: plots.distribution(drawable, width, shown, title))
    return f"<h3>{title}</h3>{drawn}" if drawn else ""


def _side(side: Row) -> dict[str, Any]:
    """As the plot of latencies reads it: quantiles named as in ms, buckets in millionths of the unit."""
    buckets = []
    for bucket in entries(side, "buckets"):
        if isinstance(bucket, (list, tuple)) and len(bucket) == 3:
            low, high, amount = (number(value) for value in bucket)
            if low is not None and high is not None:
                buckets.append([low * 1e6, high * 1e6, amount])
    return {**{f"p{q}_ms": side.get(f"p{q}") for q in (50, 90, 99)}, "buckets": buckets}


def _prompts(found: list[Row], verdict: Row) -> str:
    failed = {text(judge, "endpoint") for judge in rows(verdict, "judges") if result_of(judge.get("result")) == "fail"}
    body = []
    priced = any(part(part(row, "talk"), "cost") for row in found)
    for row in found[: sections.MAX_ROWS]:
        name, talk = text(row, "endpoint"), part(row, "talk")
        cells = [f'<span class="what">{code(name)}</span>', tag("fail") if name in failed else ""]
        cells.append(count(row.get("exchanges")))
        for point, shown in (("first_content_ms", milliseconds), ("tokens", _tokens)):
            before = number(part(part(talk, point), "production").get("p50"))
            after = number(part(part(talk, point), "candidate").get("p50"))
            change = (after - before) / before if before and after is not None else 0.0
            beside = say(quantity(change, "ratio", signed=True)) if abs(change) >= 0.005 else ""
            cells += [shown(before), shown(after) + beside]
        if priced:
            cells += _costs(part(talk, "cost"))
        body.append(cells)
    left = len(found) - len(body)
    rest = f'<p class="muted">and {plural(left, "more prompt")}, in the report as JSON</p>' if left > 0 else ""
    note = "Medians; cost is the mean of a conversation, in the currency of the prices given." if priced else "Medians."
    return table((*_COLUMNS, *_COSTS) if priced else _COLUMNS, body) + rest + f'<p class="muted">{note}</p>'


def _answering(models: Row) -> str:
    """Which models answered: another one than asked shows here, after a fallback or a rewritten request."""
    told = []
    for side, name in (("production", "production"), ("candidate", "the shadow")):
        known = part(models, side)
        ranked = sorted(known, key=lambda model: -whole(known.get(model)))
        listed = [f"{code(model)} ({count(known.get(model))})" for model in ranked if model]
        if listed:
            told.append(f"{name}: {', '.join(listed)}")
    return f'<p class="muted">Answered by &#8211; {"; ".join(told)}.</p>' if told else ""


def _costs(cost: Row) -> list[str]:
    """Of both sides, with four digits: a conversation costs thousandths."""
    before, after = number(cost.get("production")), number(cost.get("candidate"))
    change = (after - before) / before if before and after is not None else 0.0
    beside = say(quantity(change, "ratio", signed=True)) if abs(change) >= 0.005 else ""
    return ["–" if before is None else f"{before:.4g}", "–" if after is None else f"{after:.4g}" + beside]
