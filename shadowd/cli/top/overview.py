"""The first page: every filter and target in a row; below, latencies and findings of the one with the cursor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Static

from shadowd.cli.output import number, plain, strings
from shadowd.cli.top.filterpage import FilterPage
from shadowd.cli.top.page import Page
from shadowd.cli.top.picture import Cell, Key, cell, count, latency_line, spark, sums, verdict_text
from shadowd.cli.top.widgets import Grid

_CELLS = [
    Cell("FILTER", 0, 0), Cell("TARGET", 22, 116), Cell("REQ/S", 6, 0, True), Cell("MIRRORED", 8, 56, True),
    Cell("FILTERED", 8, 132, True), Cell("SHED", 5, 74, True), Cell("LOST", 5, 74, True), Cell("FAILED", 6, 0, True),
    Cell("PROD", 8, 96, True), Cell("SHADOW", 8, 96, True), Cell("PRODUCTION", 16, 170), Cell("SHADOW ", 16, 170),
    Cell("VERDICT", 12, 0), Cell("SCORE", 5, 64, True),
]  # fmt: skip
_FINDINGS = 6
_SEPARATOR = "\x00"


def _short(value: object) -> str:
    return "-" if not isinstance(value, int | float) else f"{value:.2f}ms" if value < 100 else f"{value:,.0f}ms"


class Overview(Page):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "end", "End"), Binding("escape", "nothing", show=False),
        Binding("p", "pause", "Pause"), Binding("r", "resume", "Resume"),
    ]  # fmt: skip

    def body(self) -> ComposeResult:
        yield Grid(_CELLS, "targets")
        yield Static("", id="detail", markup=False)

    @property
    def grid(self) -> Grid:
        return self.query_one("#targets", Grid)

    def fill(self, width: int) -> None:
        self.grid.lay_out(width)
        rows: list[tuple[str, Callable[[Cell], Text]]] = []
        before = ""
        for key in self.picture.keys():  # noqa: SIM118 - a method of ours
            rows.append((_SEPARATOR.join(key), self._row(key, key[0] != before)))
            before = key[0]
        self.grid.show_rows(rows)
        self.query_one("#detail", Static).update(self._detail(width))

    def _row(self, key: Key, first: bool) -> Callable[[Cell], Text]:
        """Of a target; what is the filter's stands in its first row alone."""
        name, url = key
        picture = self.picture
        account, target, latency = picture.accounts.get(name, {}), picture.target(key), picture.latency(key)
        verdict = picture.verdict(key)
        told = verdict_text(verdict, short=True)
        failed = sums(target, "failed")
        role = "" if self._role(key) == "candidate" else self._role(key)
        values: dict[str, tuple[object, str]] = {
            "TARGET": (url.partition("://")[2] or "nowhere", ""),
            "REQ/S": (count(picture.rates.get(name, 0.0)) if first else "", ""),
            "MIRRORED": (count(number(target, "mirrored")), ""),
            "FILTERED": (count(sums(account, "filtered")) if first else "", ""),
            "SHED": (count(sums(target, "shed")), "yellow" if sums(target, "shed") else ""),
            "LOST": (count(sums(account, "lost")) if first else "", "yellow" if sums(account, "lost") else ""),
            "FAILED": (count(failed), "red" if failed else ""),
            "PROD": (_short((latency.get("production") or {}).get("p50")), ""),
            "SHADOW": (_short((latency.get("shadow") or {}).get("p50")), ""),
            "PRODUCTION": (picture.drawn(key, "production", 16), "cyan"),
            "SHADOW ": (picture.drawn(key, "shadow", 16), "cyan"),
            "VERDICT": (role or told[0], "bright_black" if role else told[1]),
            "SCORE": (f"{number(verdict, 'score'):g}" if verdict else "", ""),
        }

        def made(column: Cell) -> Text:
            if column.title == "FILTER":
                named = any(one.title == "TARGET" for one in self.grid.shown)
                other = "" if named else f"  {plain(url.partition('://')[2])}"
                shown = self.state_text(name) if first else Text(other, "dim")
                shown.truncate(column.width, overflow="ellipsis")
                return shown
            return cell(values[column.title][0], column, values[column.title][1])

        return made

    def _role(self, key: Key) -> str:
        targets = self.picture.view(key[0]).get("targets")
        listed = [one for one in targets if isinstance(one, Mapping)] if isinstance(targets, list) else []
        return str(next((one.get("role") for one in listed if one.get("url") == key[1]), "candidate"))

    def _detail(self, width: int) -> Text:
        key = self.chosen_key()
        if not key[0]:
            return Text("no filters; add one: shadowctl filter add NAME --port PORT --to URL")
        name, url = key
        wide = max(10, min(60, width - 48))
        lines = [Text.assemble((plain(name), "bold"), f" → {plain(url) or 'nowhere'}")]
        lines += [latency_line(self.picture, key, side, wide) for side in ("production", "shadow")]
        verdict: Mapping[str, Any] = self.picture.verdict(key)
        if verdict:
            word, colour = verdict_text(verdict)
            scores = self.picture.scores.get(key, ())
            lines.append(
                Text.assemble(
                    (f"{word.upper():<16} ", f"bold {colour}"), (spark(list(scores), 20, 100.0), colour),
                    f" score {number(verdict, 'score'):g} of 100; {number(verdict, 'compared'):,} compared",
                )
            )  # fmt: skip
            found = self.picture.findings(key) or [plain(reason) for reason in strings(verdict.get("reasons"))]
            lines += [Text(f"• {sentence}") for sentence in found[:_FINDINGS]]
            if len(found) > _FINDINGS:
                lines.append(Text(f"and {len(found) - _FINDINGS} more: Enter looks closer", "dim"))
        else:
            lines += [Text(plain(word)) for word in strings(self.picture.view(name).get("words"))[:_FINDINGS]]
        return Text("\n").join(lines)

    def chosen_key(self) -> Key:
        name, _, url = self.grid.chosen.partition(_SEPARATOR)
        return name, url

    def chosen_filter(self) -> str:
        return self.chosen_key()[0]

    # --- keys ---------------------------------------------------------------------------------------------------------

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.data_table.id == "targets":
            self.query_one("#detail", Static).update(self._detail(self.size.width))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        name, url = self.chosen_key()
        if name:
            self.app.push_screen(FilterPage((name, url if (name, url) in self.picture.candidates() else "")))

    def action_end(self) -> None:
        self.app.exit()

    def action_nothing(self) -> None:
        """Esc at the first page goes nowhere: who presses it once too often does not want to leave."""
