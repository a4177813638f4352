"""The page of a filter: its endpoints, what differs, and exchanges as they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import ContentSwitcher, DataTable, Static

from shadowd.cli.exchangelines import cells_of
from shadowd.cli.output import mappings, number, plain
from shadowd.cli.top.asking import Question
from shadowd.cli.top.differencepage import DifferencePage
from shadowd.cli.top.exchangepage import ExchangePage
from shadowd.cli.top.marking import mark
from shadowd.cli.top.page import Page
from shadowd.cli.top.picture import COLOURS, Cell, Key, args_of, cell, count, latency_line, verdict_text
from shadowd.cli.top.widgets import Choose, Grid
from shadowd.cli.where import Where, parse

_ENDPOINTS = [
    Cell("ENDPOINT", 0, 0), Cell("EXCHANGES", 9, 0, True), Cell("WORSE", 6, 0, True), Cell("BETTER", 6, 100, True),
    Cell("DIFFER", 6, 0, True), Cell("PROD P50", 9, 84, True), Cell("P99", 9, 116, True),
    Cell("SHADOW P50", 10, 84, True), Cell("P99 ", 9, 116, True),
]  # fmt: skip
_DIFFERENCES = [
    Cell("LABEL", 10, 0), Cell("ENDPOINT", 22, 100), Cell("FIELD", 0, 0), Cell("KIND", 8, 110),
    Cell("COUNT", 6, 0, True), Cell("SHARE", 7, 84, True), Cell("PRODUCTION → SHADOW", 40, 136), Cell("ID", 8, 0),
]  # fmt: skip
_EXCHANGES = [
    Cell("TIME", 8, 70), Cell("METHOD", 7, 56), Cell("PATH", 0, 0), Cell("STATUS", 9, 0),
    Cell("LATENCY", 17, 84), Cell("SIZE", 13, 130), Cell("WHAT", 18, 0),
]  # fmt: skip
PANES = ("endpoints", "differences", "exchanges")


class FilterPage(Page):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "pane('endpoints')", show=False), Binding("2", "pane('differences')", show=False),
        Binding("3", "pane('exchanges')", show=False), Binding("tab", "turn", "Turn", show=False),
        Binding("slash", "choose", "Choose", key_display="/"), Binding("n", "mark('noise')", "Noise"),
        Binding("e", "mark('expect')", "Expected"),
    ]  # fmt: skip

    def __init__(self, subject: Key) -> None:
        super().__init__()
        self.subject = subject
        self._pane = "differences"
        self._endpoint = ""  # whose differences are shown, "" for all
        self._where = ""
        self._chooses: Where | None = None

    def body(self) -> ComposeResult:
        yield Static("", id="summary", markup=False)
        yield Static("", id="panes", markup=False)
        with ContentSwitcher(initial=self._pane):
            yield Grid(_ENDPOINTS, "endpoints")
            yield Grid(_DIFFERENCES, "differences")
            yield Grid(_EXCHANGES, "exchanges", last=True)
        yield Static("", id="note", markup=False)

    def on_mount(self) -> None:
        super().on_mount()
        self.action_pane(self._pane)
        self.top.ask(Question("diffs", {"name": self.subject[0]}), lambda answer: None)  # nobody waits for its turn
        if self.subject[1]:
            self.top.ask(Question("report", args_of(self.subject)), lambda answer: None)

    @property
    def key(self) -> Key:
        """The target that it is about, else the filter's worst."""
        return self.subject if self.subject[1] else self.picture.worst(self.subject[0])

    def fill(self, width: int) -> None:
        for name, filled in (("endpoints", self._endpoints), ("differences", self._differences),
                             ("exchanges", self._exchanges)):  # fmt: skip
            if name == self._pane:
                grid = self.query_one(f"#{name}", Grid)
                grid.lay_out(width)
                grid.show_rows(filled())
        self.query_one("#summary", Static).update(self._summary(width))
        self.query_one("#panes", Static).update(self._panes())
        note = self._note()
        self.query_one("#note", Static).update(Text(note, "dim"))

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _summary(self, width: int) -> Text:
        key, picture = self.key, self.picture
        name = key[0]
        verdict = picture.verdict(key)
        word, colour = verdict_text(verdict)
        score = f" score {number(verdict, 'score'):g}" if verdict else ""
        rate = f"  {picture.rates.get(name, 0.0):,.0f}/s"
        head = Text.assemble(
            self.state_text(name), f" → {plain(key[1]) or 'nowhere'}  ", (f"{word}{score}", colour), rate
        )
        head.stylize("bold", 0, len(name))
        wide = max(10, min(60, width - 48))
        return Text("\n").join([head, *(latency_line(picture, key, side, wide) for side in ("production", "shadow"))])

    def _panes(self) -> Text:
        parts = [(f" {at} {name} ", "reverse bold" if name == self._pane else "") for at, name in enumerate(PANES, 1)]
        return Text.assemble(*parts)

    def _note(self) -> str:
        if self._pane == "differences" and self._endpoint:
            return f"of {plain(self._endpoint)}; Esc shows all"
        if self._pane != "exchanges":
            return ""
        picture = self.picture
        said = [f"where {plain(self._where)} (/ changes it)" if self._where else "all that end here (/ chooses)"]
        if picture.missed:
            said.append(f"{picture.missed:,} not shown: they end faster than they are asked for")
        return "; ".join(said)

    def _endpoints(self) -> list[tuple[str, Callable[[Cell], Text]]]:
        report = self.picture.reports.get(self.key, {})
        return [(str(one.get("endpoint")), _endpoint_row(one)) for one in mappings(report.get("endpoints"))]

    def listed(self) -> list[Mapping[str, Any]]:
        """The differences, and the errors in their words."""
        found = self.picture.differences.get(self.subject[0], {})
        errors = [
            {"id": one.get("fingerprint"), "label": "new error" if one.get("new") else "known error", "where": "error",
             "endpoint": ", ".join(map(str, one.get("endpoints") or [])), "path": one.get("title"),
             "kind": one.get("kind"), "count": one.get("count"), "target": one.get("target")}
            for one in mappings(found.get("signatures"))
        ]  # fmt: skip
        every = [*mappings(found.get("differences")), *errors]
        mine = [one for one in every if self.subject[1] in ("", one.get("target"))]
        return [one for one in mine if not self._endpoint or self._endpoint in str(one.get("endpoint"))]

    def _differences(self) -> list[tuple[str, Callable[[Cell], Text]]]:
        rows: dict[str, Callable[[Cell], Text]] = {}
        for one in self.listed():  # two candidates may have the same difference: the first is the more harmful one
            rows.setdefault(str(one.get("id")), _difference_row(one))
        return list(rows.items())

    def _exchanges(self) -> list[tuple[str, Callable[[Cell], Text]]]:
        return [(str(at), _exchange_row(one)) for at, one in self.picture.chosen(self._chooses)]

    # --- keys ---------------------------------------------------------------------------------------------------------

    def action_pane(self, name: str) -> None:
        self._pane = name
        self.query_one(ContentSwitcher).current = name
        self.query_one(f"#{name}", Grid).focus()
        self.draw()

    def action_turn(self) -> None:
        self.action_pane(PANES[(PANES.index(self._pane) + 1) % len(PANES)])

    def action_back(self) -> None:
        if self._endpoint and self._pane == "differences":
            self._endpoint = ""
            self.draw()
        else:
            super().action_back()

    def action_choose(self) -> None:
        def chosen(text: str | None) -> None:
            if text is not None:
                self._where, self._chooses = text, parse(text) if text else None
                self.action_pane("exchanges")

        self.app.push_screen(Choose(self._where), chosen)

    def action_mark(self, kind: str) -> None:
        chosen = self.query_one("#differences", Grid).chosen if self._pane == "differences" else ""
        found = next((one for one in self.listed() if one.get("id") == chosen), None)
        if found is None:
            self.top.say("choose a difference first: 2 lists them")
        else:
            mark(self, found, kind)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        chosen = str(event.row_key.value)
        if event.data_table.id == "endpoints":
            self._endpoint = chosen
            self.action_pane("differences")
        elif event.data_table.id == "differences":
            self.app.push_screen(DifferencePage(self.subject, chosen))
        else:
            found = next((one for at, one in self.picture.exchanges if str(at) == chosen), None)
            if found is not None:
                self.app.push_screen(ExchangePage(self.subject, found))


def _endpoint_row(one: Mapping[str, Any]) -> Callable[[Cell], Text]:
    def ms(key: str) -> str:
        value = one.get(key)
        return f"{value:.1f}ms" if isinstance(value, int | float) else "-"

    worse, differing = number(one, "worse"), number(one, "differing")
    values: dict[str, tuple[object, str]] = {
        "ENDPOINT": (one.get("endpoint"), ""), "EXCHANGES": (count(number(one, "exchanges")), ""),
        "WORSE": (count(worse), "red" if worse else ""), "BETTER": (count(number(one, "better")), ""),
        "DIFFER": (count(differing), "yellow" if differing else ""), "PROD P50": (ms("production_p50_ms"), ""),
        "P99": (ms("production_p99_ms"), ""), "SHADOW P50": (ms("candidate_p50_ms"), ""),
        "P99 ": (ms("candidate_p99_ms"), ""),
    }  # fmt: skip
    return lambda column: cell(values[column.title][0], column, values[column.title][1])


def _difference_row(one: Mapping[str, Any]) -> Callable[[Cell], Text]:
    share = one.get("share")
    label = str(one.get("label"))
    values: dict[str, tuple[object, str]] = {
        "LABEL": (label, COLOURS.get(label, "red" if label == "new error" else "")),
        "ENDPOINT": (one.get("endpoint"), ""), "FIELD": (f"{one.get('where')} {one.get('path') or ''}".strip(), ""),
        "KIND": (one.get("kind"), ""), "COUNT": (count(number(one, "count")), ""),
        "SHARE": (f"{share:.2%}" if isinstance(share, int | float) else "-", ""),
        "PRODUCTION → SHADOW": (f"{one.get('production') or ''} → {one.get('candidate') or ''}", ""),
        "ID": (one.get("id"), "bright_black"),
    }  # fmt: skip
    return lambda column: cell(values[column.title][0], column, values[column.title][1])


def _exchange_row(one: Mapping[str, Any]) -> Callable[[Cell], Text]:
    cells = cells_of(one)

    def made(column: Cell) -> Text:
        text, colour = cells[column.title.lower()]
        return cell(text[:8] if column.title == "TIME" else text, column, colour)

    return made
