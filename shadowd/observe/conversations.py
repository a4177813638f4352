"""The report's part on generated answers (sans-IO): prompts, time to the first content, tokens, what models decide.

The prompt groups are the endpoints that have a ``talk``; the one named ``all conversations`` has the distributions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shadowd.observe import plots, sections
from shadowd.observe.figures import count, digits, entries, milliseconds, number, part, plural, rows, text, whole
from shadowd.observe.page import drawn, result_of
from shadowd.observe.sections import Row, Shown, compared_pair

WHOLE = "all conversations"


def section(data: Row, verdict: Row) -> Shown | None:
    """All of it; None if no conversation was compared."""
    found = [row for row in rows(data, "endpoints") if part(row, "talk")]
    if not found:
        return None
    found.sort(key=lambda row: (text(row, "endpoint") != WHOLE, -whole(row.get("exchanges"))))
    overall = part(found[0], "talk")
    failed = {text(judge, "endpoint") for judge in rows(verdict, "judges") if result_of(judge.get("result")) == "fail"}
    priced = any(part(part(row, "talk"), "cost") for row in found)
    prompts = sections.table_of(found, lambda row: _prompt(row, failed, priced), "prompt")
    decided = [row for row in rows(data, "differences") if row.get("where") == "llm" and row.get("endpoint") == WHOLE]
    left_out = whole(overall.get("too_long"))
    drawn_plots = (
        _distribution(part(overall, "first_content_ms"), "Time to the first content", milliseconds),
        _distribution(part(overall, "tokens"), "Output tokens", _tokens),
    )
    return {
        "plots": [one for one in drawn_plots if one["plot"] is not None],
        "prompts": prompts["rows"],
        "left": prompts["left"],
        "priced": priced,
        "answered": _answering(part(overall, "models")),
        "decided": sections.difference_table(sections.ranked(decided)),
        "too_long": plural(left_out, "answer") if left_out else "",
    }


def _tokens(value: object) -> str:
    found = number(value)
    return "–" if found is None else digits(found)


def _distribution(point: Row, title: str, shown: Callable[[object], str]) -> Shown:
    """A figure of both sides."""
    drawable = {side: _side(part(point, side)) for side in ("production", "candidate")}
    return {"title": title, "plot": drawn(lambda width: plots.distribution(drawable, width, shown, title))}


def _side(side: Row) -> dict[str, Any]:
    """As the plot of latencies reads it: quantiles named as in ms, buckets in millionths of the unit."""
    buckets = []
    for bucket in entries(side, "buckets"):
        if isinstance(bucket, (list, tuple)) and len(bucket) == 3:
            low, high, amount = (number(value) for value in bucket)
            if low is not None and high is not None:
                buckets.append([low * 1e6, high * 1e6, amount])
    return {**{f"p{q}_ms": side.get(f"p{q}") for q in (50, 90, 99)}, "buckets": buckets}


def _prompt(row: Row, failed: set[str], priced: bool) -> Shown:
    name, talk = text(row, "endpoint"), part(row, "talk")
    pairs = []
    for point, shown in (("first_content_ms", milliseconds), ("tokens", _tokens)):
        before, after = (part(part(talk, point), side).get("p50") for side in ("production", "candidate"))
        pairs.append(compared_pair(before, after, shown))
    if priced:
        cost = part(talk, "cost")
        pairs.append(compared_pair(cost.get("production"), cost.get("candidate"), _money))
    return {"name": name, "failed": name in failed, "exchanges": count(row.get("exchanges")), "pairs": pairs}


def _money(value: object) -> str:
    """With four digits: a conversation costs thousandths."""
    found = number(value)
    return "–" if found is None else f"{found:.4g}"


def _answering(models: Row) -> list[Shown]:
    """Which models answered: another one than asked shows here, after a fallback or a rewritten request."""
    told = []
    for side, name in (("production", "production"), ("candidate", "the shadow")):
        known = part(models, side)
        ranked = [model for model in sorted(known, key=lambda model: -whole(known.get(model))) if model]
        if ranked:
            told.append({"name": name, "models": [(model, count(known.get(model))) for model in ranked]})
    return told
