"""What the demo shows: the live table, the line for a plain terminal, and the summary in words.

Everything is made from a ``Sample``: the daemon's ``ledger`` and ``status`` for the demo's filter and the load's last
line. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.items()) if number)


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ms" if value < 100 else f"{value:,.0f} ms"


class Sample:
    """The state of the demo at one moment; ``filter_ledger`` and ``filter_status`` are the filter's own views."""

    __slots__ = ("differences", "filter_ledger", "latency", "load", "rate", "seconds", "target")

    def __init__(
        self,
        filter_ledger: dict[str, Any],
        filter_status: dict[str, Any],
        load: dict[str, Any],
        seconds: float,
        before: Sample | None = None,
    ) -> None:
        self.filter_ledger = filter_ledger
        self.target: dict[str, Any] = filter_ledger["targets"][0]
        self.load = load
        self.seconds = seconds
        latency = filter_status.get("latency_ms") or {}
        self.latency = {side: latency.get(side) or {"p50": None, "p99": None} for side in ("production", "shadow")}
        self.differences = sum(int(target.get("status_differences", 0)) for target in filter_status.get("targets", []))
        self.rate = 0.0
        if before is not None and seconds > before.seconds:
            self.rate = (self.seen - before.seen) / (seconds - before.seconds)

    @property
    def seen(self) -> int:
        return int(self.filter_ledger["seen"])

    @property
    def mirrored(self) -> int:
        return int(self.target["mirrored"])

    @property
    def filtered(self) -> int:
        return _sum(self.filter_ledger["filtered"])

    @property
    def lost(self) -> int:
        return _sum(self.filter_ledger["lost"])

    @property
    def shed(self) -> int:
        return _sum(self.target["shed"])

    @property
    def failed(self) -> int:
        return _sum(self.target["failed"])

    @property
    def in_flight(self) -> int:
        return int(self.target["in_flight"])

    @property
    def balanced(self) -> bool:
        return bool(self.filter_ledger["balanced"])

    @property
    def production_errors(self) -> int:
        return _sum(self.load.get("errors", {}))


def live_table(sample: Sample) -> Table:
    """The table of one moment."""
    table = Table(title=f"shadowd demo, {sample.seconds:.0f} s", title_justify="left", min_width=64)
    table.add_column("requests")
    table.add_column("number", justify="right")
    table.add_column("", style="dim")
    table.add_row("per second", f"{sample.rate:,.0f}", f"seen {sample.seen:,}")
    table.add_row("mirrored", f"[green]{sample.mirrored:,}[/]", "sent whole, answered whole")
    table.add_row("filtered", f"{sample.filtered:,}", _words(sample.filter_ledger["filtered"]))
    table.add_row("shed", f"{sample.shed:,}", _words(sample.target["shed"]))
    table.add_row("lost", f"{sample.lost:,}", _words(sample.filter_ledger["lost"]))
    table.add_row("failed", f"{sample.failed:,}", _words(sample.target["failed"]))
    table.add_row("in flight", f"{sample.in_flight:,}", "balanced" if sample.balanced else "[red]not balanced[/]")
    table.add_section()
    for side, name in (("production", "production (v1)"), ("shadow", "shadow")):
        points = sample.latency[side]
        table.add_row(name, milliseconds(points["p50"]), f"p50; p99 {milliseconds(points['p99'])}")
    table.add_row("other status", f"[yellow]{sample.differences:,}[/]", "answers whose status differs")
    table.add_row("production errors", f"{sample.production_errors:,}", f"of {sample.load.get('sent', 0):,} requests")
    return table


def plain_line(sample: Sample) -> str:
    """The same in a line, for a log."""
    production, shadow = sample.latency["production"], sample.latency["shadow"]
    counts = {"mirrored": sample.mirrored, "filtered": sample.filtered, "shed": sample.shed, "lost": sample.lost}
    counts |= {"failed": sample.failed, "in flight": sample.in_flight}
    words = "  ".join(f"{name} {number:,}" for name, number in counts.items())
    return (
        f"{sample.seconds:5.1f} s  {sample.rate:,.0f} requests/s  {words}"
        f"  production p50/p99 {milliseconds(production['p50'])}/{milliseconds(production['p99'])}"
        f"  shadow p50/p99 {milliseconds(shadow['p50'])}/{milliseconds(shadow['p99'])}"
    )


def summary(sample: Sample) -> list[str]:
    """What happened, a sentence a line."""
    sent, errors = sample.load.get("sent", 0), sample.production_errors
    production, shadow = sample.latency["production"], sample.latency["shadow"]
    held = f" in {sample.load['conversations']:,} conversations" if "conversations" in sample.load else ""
    lines = [
        f"Production (v1) answered {sent:,} requests{held}; its clients saw {errors:,} errors"
        + (f" ({_words(sample.load['errors'])})." if errors else ": it noticed nothing."),
        f"shadowd saw {sample.seen:,} of them in the kernel and replayed {sample.mirrored:,} to the shadow.",
    ]
    if sample.filtered:
        lines.append(f"{sample.filtered:,} were filtered on purpose: {_words(sample.filter_ledger['filtered'])}.")
    if sample.filter_ledger["filtered"].get("method"):
        lines.append("By default only requests without side effects are replayed; POSTs need --methods.")
    for number, counts, what in (
        (sample.shed, sample.target["shed"], "shed by our own limits"),
        (sample.lost, sample.filter_ledger["lost"], "lost, because some of their bytes were not captured"),
        (sample.failed, sample.target["failed"], "failed at the shadow"),
    ):
        if number:
            lines.append(f"{number:,} were {what}: {_words(counts)}.")
    if sample.balanced and not sample.in_flight:
        lines.append("The ledger balances: every request is accounted for.")
    elif sample.balanced:
        lines.append(f"The ledger balances, but {sample.in_flight:,} requests are still in flight.")
    else:
        lines.append("THE LEDGER DOES NOT BALANCE: requests are unaccounted for. This is a bug in shadowd.")
    lines.append(f"{sample.differences:,} answers of the shadow had another status than production's.")
    lines.append(
        f"Latency: production p50 {milliseconds(production['p50'])}, p99 {milliseconds(production['p99'])}; "
        f"shadow p50 {milliseconds(shadow['p50'])}, p99 {milliseconds(shadow['p99'])}."
    )
    return lines
