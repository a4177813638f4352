"""The report's part on answers streamed in events (sans-IO): when the first one came, how far apart they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.observe import sections
from shadowd.observe.conversations import WHOLE
from shadowd.observe.figures import count, milliseconds, number, part, plural, quantity, rows, text, whole
from shadowd.observe.page import code, say, table

Row = Mapping[str, Any]

_POINTS = (
    ("first_event_ms", "First event"), ("between_events_ms", "Between events"), ("total_ms", "Total"),
)  # fmt: skip


def section(data: Row) -> str:
    """A table with the quantiles of both sides; "" if nothing was streamed."""
    found = [row for row in rows(data, "endpoints") if whole(part(row, "stream").get("streams"))]
    if not found:
        return ""
    found.sort(key=lambda row: (text(row, "endpoint") != WHOLE, -whole(part(row, "stream").get("streams"))))
    columns = [("-Endpoint or prompt", "where"), ("Streams", "n"), ("Events", "n")]
    for _, title in _POINTS:
        columns += [(title, "n"), ("shadow", "n")]
    body = [_row(row) for row in found[: sections.MAX_ROWS]]
    left = len(found) - len(body)
    rest = f'<p class="muted">and {plural(left, "more endpoint")}, in the report as JSON</p>' if left > 0 else ""
    lead = (
        '<p class="lead">Answers that came in events (SSE, lines of JSON): when the first event was there, and how far '
        "apart they came, by the kernel's clock on both sides: production's, then the shadow's. Medians, and the 99th "
        "percentile below.</p>"
    )
    return lead + table(columns, body) + rest


def _row(row: Row) -> list[str]:
    stream = part(row, "stream")
    events = part(stream, "events")
    said = count(events.get("production")) + say(f"{count(events.get('candidate'))} shadow")
    cells = [f'<span class="what">{code(text(row, "endpoint"))}</span>', count(stream.get("streams")), said]
    for name, _ in _POINTS:
        before = number(part(part(stream, name), "production").get("p50"))
        for side in ("production", "candidate"):
            times = part(part(stream, name), side)
            value = number(times.get("p50"))
            change = (value - before) / before if side == "candidate" and value is not None and before else 0.0
            beside = f" {quantity(change, 'ratio', signed=True)}" if abs(change) >= 0.005 else ""
            cells.append(f"{milliseconds(value)}{beside}{say(milliseconds(times.get('p99')))}")
    return cells
