"""One filter at one moment: figures of ``ledger``, ``status`` and ``verdict`` as a table or a line for people.

Everything is made from the daemon's answers; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from shadowd.cli.output import counts, mappings, number, plain, strings
from shadowd.cli.status import total
from shadowd.demo.table import milliseconds

#: Findings that are shown while it runs: the verdict has all.
SHOWN_FINDINGS = 5
_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


class Moment:
    """``account`` is the filter's in ``ledger``, ``view`` its in ``status``; ``before`` an earlier moment, of which the
    rate is."""

    __slots__ = ("account", "rate", "seconds", "verdict", "view")

    def __init__(
        self, account: Mapping[str, Any], view: Mapping[str, Any], verdict: Mapping[str, Any], seconds: float,
        before: Moment | None = None,
    ) -> None:  # fmt: skip
        self.account = account
        self.view = view
        self.verdict = verdict
        self.seconds = seconds
        self.rate = 0.0
        if before is not None and seconds > before.seconds:
            self.rate = (self.seen - before.seen) / (seconds - before.seconds)

    @property
    def seen(self) -> int:
        return int(number(self.account, "seen"))

    @property
    def in_flight(self) -> int:
        return sum(int(number(target, "in_flight")) for target in mappings(self.account.get("targets")))

    @property
    def word(self) -> str:
        """The verdict's, "" while there is none."""
        return str(self.verdict.get("verdict", ""))

    @property
    def findings(self) -> list[str]:
        told = mappings(self.verdict.get("findings"))
        return [plain(found["sentence"]) for found in told if found.get("sentence")]

    def _state(self) -> str:
        if not self.word:
            return ""
        why = strings(self.verdict.get("reasons"))
        compared = f"{number(self.verdict, 'compared'):,} compared"
        undecided = f"; {plain(why[0])}" if why and self.word == "inconclusive" else ""
        return f"{compared}{undecided}"

    def table(self, title: str) -> Table:
        table = Table(title=Text(title), title_justify="left", min_width=64)
        table.add_column("requests")
        table.add_column("number", justify="right")
        table.add_column("", style="dim")
        account = self.account
        table.add_row("per second", f"{self.rate:,.0f}", f"seen {self.seen:,}")
        table.add_row("filtered", f"{total(account.get('filtered')):,}", counts(account.get("filtered")))
        table.add_row("lost", f"{total(account.get('lost')):,}", counts(account.get("lost")))
        latencies = {str(one.get("url")): one.get("latency_ms") for one in mappings(self.view.get("targets"))}
        for target in mappings(account.get("targets")):
            table.add_section()
            url = str(target.get("url", "?"))
            table.add_row(Text(plain(url)), "", str(target.get("role", "")))
            table.add_row("  mirrored", f"[green]{number(target, 'mirrored'):,}[/]", "sent whole, answered whole")
            table.add_row("  shed", f"{total(target.get('shed')):,}", counts(target.get("shed")))
            table.add_row("  failed", f"{total(target.get('failed')):,}", counts(target.get("failed")))
            table.add_row("  in flight", f"{number(target, 'in_flight'):,}", "")
            latency = latencies.get(url) or {}
            for side, name in (("production", "  production"), ("shadow", "  shadow")):
                points = latency.get(side) or {}
                table.add_row(name, milliseconds(points.get("p50")), f"p50; p99 {milliseconds(points.get('p99'))}")
        if self.word:
            table.add_section()
            colour = _COLOURS.get(self.word, "")
            score = f"{number(self.verdict, 'score'):g} of 100"
            table.add_row(Text(self.word.upper(), style=colour), score, Text(self._state()))
            for sentence in self.findings[:SHOWN_FINDINGS]:
                table.add_row("", "", Text(sentence))
        return table

    def line(self) -> str:
        """The same in a line, for a log."""
        targets = mappings(self.account.get("targets"))
        mirrored = sum(int(number(target, "mirrored")) for target in targets)
        sums = {word: sum(total(target.get(word)) for target in targets) for word in ("shed", "failed")}
        parts = [
            f"{self.seconds:5.0f} s",
            f"{self.rate:,.0f} requests/s",
            f"seen {self.seen:,}",
            f"mirrored {mirrored:,}",
        ]
        parts += [f"{word} {total(self.account.get(word)):,}" for word in ("filtered", "lost")]
        parts += [f"{word} {count:,}" for word, count in sums.items()]
        if self.word:
            parts.append(f"{self.word}: {self._state()}")
        return "  ".join(parts)
