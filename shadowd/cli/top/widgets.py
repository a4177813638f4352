"""What the screens are made of: a table whose columns follow the width, and dialogs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Static

from shadowd.cli.top.picture import Cell, columns
from shadowd.cli.where import parse
from shadowd.errors import UsageError


class Grid(DataTable[Text]):
    """Rows with keys; whatever changes, the cursor stays with its row."""

    def __init__(self, cells: Sequence[Cell], id: str, last: bool = False) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self.cells = list(cells)
        self.shown: list[Cell] = []
        self.row_keys: list[str] = []
        self._last = last  # the cursor stays at the end while it is there

    def lay_out(self, width: int) -> None:
        """Columns for that width."""
        shown = columns(self.cells, width)
        if shown != self.shown:
            self.shown = shown
            self.clear(columns=True)
            self.row_keys = []
            for one in shown:
                self.add_column(Text(one.title, justify="right" if one.right else "left"), width=one.width)

    def show_rows(self, rows: Sequence[tuple[str, Callable[[Cell], Text]]]) -> None:
        """Each a key, and what gives the cell of a column."""
        made_by = dict(rows)  # a key that comes twice is one row: the daemon's answers decide nothing here
        rows = list(made_by.items())
        keys = list(made_by)
        if keys == self.row_keys and not self._last:
            for at, (_, made) in enumerate(rows):
                for column, one in enumerate(self.shown):
                    self.update_cell_at((at, column), made(one))  # type: ignore[arg-type]
            return
        chosen = self.chosen
        at_end = not self.row_keys or self.cursor_row >= len(self.row_keys) - 1
        self.clear()
        for key, made in rows:
            self.add_row(*(made(one) for one in self.shown), key=key)
        self.row_keys = keys
        if self._last and at_end and keys:
            self.move_cursor(row=len(keys) - 1)
        elif chosen in keys:
            self.move_cursor(row=keys.index(chosen))

    @property
    def chosen(self) -> str:
        """The key of the row with the cursor, "" if there is none."""
        return self.row_keys[self.cursor_row] if 0 <= self.cursor_row < len(self.row_keys) else ""


class Confirm(ModalScreen[bool]):
    """One question, yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"), Binding("n,escape,q", "answer(False)", "no"),
    ]  # fmt: skip

    def __init__(self, question: str, told: str) -> None:
        super().__init__()
        self._question = question
        self._told = told

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._question, style="bold"), markup=False)
            yield Static(Text(self._told), markup=False)
            yield Static(Text("y, Enter: yes     n, Esc: no", style="dim"), markup=False)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class Choose(ModalScreen[str | None]):
    """Asks for an expression of ``--where``; one that is wrong is pointed at, and asked for again."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave it as it was")]

    def __init__(self, given: str) -> None:
        super().__init__()
        self._given = given

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Which exchanges? Empty: all of them. Enter chooses, Esc leaves it.", style="bold"))
            yield Input(self._given, placeholder="status >= 500 or worse", id="where")
            yield Static(
                Text("such as: differs and not worse · path ~ ^/orders/ · slower > 50ms · failed or shed", style="dim"),
                id="told",
            )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        try:
            if text:
                parse(text)
        except UsageError as error:
            self.query_one("#told", Static).update(
                Text(f"{error.problem.removeprefix('--where, ')}\n{error.remedy}", style="red")
            )
            return
        self.dismiss(text)

    def action_leave(self) -> None:
        self.dismiss(None)


class Help(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "leave", "back")]

    def __init__(self, told: str) -> None:
        super().__init__()
        self._told = told

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(Text(self._told), markup=False)

    def action_leave(self) -> None:
        self.dismiss(None)
