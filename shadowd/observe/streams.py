"""The report's part on answers streamed in events (sans-IO): when the first one came, how far apart they were."""

from __future__ import annotations

from shadowd.observe import sections
from shadowd.observe.conversations import WHOLE
from shadowd.observe.figures import count, part, rows, text, whole
from shadowd.observe.sections import Row, Shown, compared_pair

_POINTS = ("first_event_ms", "between_events_ms", "total_ms")


def section(data: Row) -> Shown | None:
    """A table with the quantiles of both sides; None if nothing was streamed."""
    found = [row for row in rows(data, "endpoints") if whole(part(row, "stream").get("streams"))]
    if not found:
        return None
    found.sort(key=lambda row: (text(row, "endpoint") != WHOLE, -whole(part(row, "stream").get("streams"))))
    return sections.table_of(found, _row, "endpoint")


def _row(row: Row) -> Shown:
    stream = part(row, "stream")
    events = part(stream, "events")
    times = []
    for name in _POINTS:
        before, after = part(part(stream, name), "production"), part(part(stream, name), "candidate")
        times.append({q: compared_pair(before.get(q), after.get(q)) for q in ("p50", "p99")})
    return {
        "name": text(row, "endpoint"),
        "streams": count(stream.get("streams")),
        "events": compared_pair(events.get("production"), events.get("candidate"), count),
        "times": times,
    }
