"""The bench's table."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def _figure(value: float | None, form: str = "{:,.0f}") -> str:
    return "–" if value is None else form.format(value)


def render(rows: list[dict[str, Any]]) -> Table:
    """A line for each scenario and arm; times in µs, memory in MB."""
    table = Table(title="production latency, and the cost of mirroring (medians of the rounds)")
    table.add_column("scenario")
    table.add_column("arm")
    for name in ("p50 µs", "vs without", "p99 µs", "mirrored", "CPU µs per mirrored", "anon MB", "ledger", "errors"):
        table.add_column(name, justify="right")
    last = None
    for row in rows:
        if last not in (None, row["scenario"]):
            table.add_section()
        balanced = row["balanced"]
        table.add_row(
            row["scenario"] if row["scenario"] != last else "",
            row["arm"],
            _figure(row["p50_us"]),
            _figure(row.get("p50_change"), "{:+.0%}") if row["arm"] != "without" else "–",
            _figure(row["p99_us"]),
            _figure(row["mirrored_share"], "{:.1%}"),
            _figure(row["mirror_cpu_us"], "{:.1f}"),
            _figure(row["rss_anon_mb"], "{:.0f}"),
            "–" if balanced is None else "balanced" if balanced else "[red]NOT balanced[/]",
            str(row["errors"]),
        )
        last = row["scenario"]
    return table
