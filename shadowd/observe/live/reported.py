"""The report's tables and plots as parts of a live page (sans-IO)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from shadowd.observe import conversations, plots, sections, streams
from shadowd.observe.figures import part, rows
from shadowd.observe.page import figure, legend

_LINES = (("production p50", "pl"), ("production p99", "pl dash"), ("shadow p50", "sl"), ("shadow p99", "sl dash"))


def reported(data: Mapping[str, Any]) -> dict[str, str]:
    """By the part's id; "" for what there is nothing to say of. A filter that compares nothing has its ledger."""
    verdict = part(data, "verdict")
    found = {
        "latency": _latency(data),
        "conversations": conversations.section(data, verdict),
        "streams": streams.section(data),
        "memory": figure(partial(plots.memory, part(data, "memory"))) if data.get("memory") else "",
        "ledger": sections.ledger(data),
    }
    judged = {
        "errors": sections.signatures(data),
        "endpoints": sections.endpoints(data, verdict),
        "judges": sections.judges(verdict),
    }
    return found | (judged if verdict else dict.fromkeys(judged, ""))


def _latency(data: Mapping[str, Any]) -> str:
    found = part(data, "latency")
    drawn = figure(
        partial(plots.over_time, rows(found, "over_time")),
        "Time to the first byte, logarithmic. The bars are the share of a period's exchanges in which the shadow was "
        "worse or differed.",
        legend([*_LINES, ("worse", "worse"), ("differing", "differs")]),
    )
    spread = figure(partial(plots.distribution, part(found, "first_byte")), "Share of exchanges by time to first byte.")
    return drawn + spread
