"""One exchange of those that end now: production's figures and the shadow's, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Static

from shadowd.cli.exchangelines import cells_of, size_of
from shadowd.cli.output import mappings, plain
from shadowd.cli.top.differencepage import DifferencePage
from shadowd.cli.top.page import Page
from shadowd.cli.top.picture import COLOURS, Cell, Key, cell
from shadowd.cli.top.widgets import Grid

_CELLS = [Cell("LABEL", 11, 0), Cell("FIELD", 0, 0), Cell("KIND", 8, 0), Cell("ID", 8, 0)]


class ExchangePage(Page):
    def __init__(self, subject: Key, exchange: Mapping[str, Any]) -> None:
        super().__init__()
        self.subject = subject
        self._exchange = exchange

    def body(self) -> ComposeResult:
        with VerticalScroll(id="figures"):
            yield Static("", id="sides", markup=False)
        yield Grid(_CELLS, "places")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#places", Grid).focus()

    def fill(self, width: int) -> None:
        self.query_one("#sides", Static).update(self._figures())
        grid = self.query_one("#places", Grid)
        grid.lay_out(width)
        rows: dict[str, Mapping[str, Any]] = {}
        for one in mappings(self._exchange.get("differences")):
            rows.setdefault(f"{one.get('id')} {one.get('where')} {one.get('path')}", one)
        grid.show_rows([(key, partial(_place, one)) for key, one in rows.items()])
        grid.display = bool(rows)

    def _figures(self) -> Text:
        one = self._exchange
        shadow = one.get("shadow") if isinstance(one.get("shadow"), Mapping) else {}
        cells = cells_of(one)
        shown = Text.assemble(
            (f"{cells['method'][0]} {cells['path'][0]}\n", "bold"),
            f"{plain(one.get('endpoint') or '')}  at {cells['time'][0]}  → {plain(one.get('target') or '')}\n\n",
            (f"{'':<16}{'production':>14}{'shadow':>14}\n", "bold"),
        )
        for title, key, told in (
            ("status", "status", str), ("first byte", "latency_ms", _ms), ("last byte", "total_ms", _ms),
            ("body", "size", size_of),
        ):  # fmt: skip
            values = [told(side[key]) if side.get(key) is not None else "-" for side in (one, shadow or {})]
            differ = key == "status" and values[0] != values[1]
            shown.append(f"{title:<16}{plain(values[0]):>14}{plain(values[1]):>14}\n", "red" if differ else "")
        what, colour = cells["what"]
        shown.append(f"\n{what or 'equal'}\n", colour)
        if mappings(one.get("differences")):
            shown.append("\nWhat differs; Enter shows examples of the kind, side by side:", "dim")
        return shown

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        group = str(event.row_key.value).partition(" ")[0]
        if group:
            self.app.push_screen(DifferencePage(self.subject, group))
        else:
            self.top.say("this difference is not listed by itself")


def _ms(value: float) -> str:
    return f"{value:.2f} ms"


def _place(one: Mapping[str, Any], column: Cell) -> Text:
    label = str(one.get("label"))
    values: dict[str, tuple[object, str]] = {
        "LABEL": (label, COLOURS.get(label, "")), "FIELD": (f"{one.get('where')} {one.get('path') or ''}".strip(), ""),
        "KIND": (one.get("kind"), ""), "ID": (one.get("id"), "bright_black"),
    }  # fmt: skip
    return cell(values[column.title][0], column, values[column.title][1])
