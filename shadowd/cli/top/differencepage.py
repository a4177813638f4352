"""One difference: what is said of it, and its examples, production and shadow side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from shadowd.cli.output import mappings, plain
from shadowd.cli.top.asking import Answer, Question
from shadowd.cli.top.marking import mark
from shadowd.cli.top.page import Page
from shadowd.cli.top.picture import COLOURS, Key, args_of
from shadowd.cli.top.sides import MARK, side_by_side


class DifferencePage(Page):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Before"), Binding("right", "step(1)", "Next"), Binding("space", "seek", "Next ≠"),
        Binding("n", "mark('noise')", "Noise"), Binding("e", "mark('expect')", "Expected"),
    ]  # fmt: skip

    def __init__(self, subject: Key, group: str) -> None:
        super().__init__()
        self.subject = subject
        self._group = group
        self._found: Mapping[str, Any] = {}
        self._error = ""
        self._at = 0
        self._marks: list[int] = []  # lines that differ

    def body(self) -> ComposeResult:
        yield Static("", id="summary", markup=False)
        with VerticalScroll(id="scroll"):
            yield Static("", id="sides", markup=False)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#scroll").focus()
        self.top.ask(Question("diff", {**args_of(self.subject), "id": self._group}), self._take)

    def _take(self, answer: Answer) -> None:
        self._error = answer.error
        self._found = answer.result if isinstance(answer.result, Mapping) else {}
        self.draw()

    @property
    def difference(self) -> Mapping[str, Any]:
        found = self._found.get("difference")
        return found if isinstance(found, Mapping) else {}

    def fill(self, width: int) -> None:
        one, examples = self.difference, mappings(self._found.get("examples"))
        if not one:
            self.query_one("#summary", Static).update(Text(plain(self._error) or "asking the daemon …"))
            return
        label = str(one.get("label"))
        lines = [
            Text(plain(f"{one.get('endpoint')}  {_place(one)}  {one.get('kind')}"), "bold"),
            Text.assemble((plain(label), COLOURS.get(label, "red")),
                          f": {plain(one.get('sentence') or 'seen ' + str(one.get('count')) + ' times')}"),
        ]  # fmt: skip
        if not examples:
            lines.append(Text("no example is kept", "dim"))
            self.query_one("#sides", Static).update("")
        else:
            self._at = min(self._at, len(examples) - 1)
            example = examples[self._at]
            asked = example.get("request") or {}
            told = plain(f"{asked.get('method')} {asked.get('target')}".strip())
            lines.append(Text(f"example {self._at + 1} of {len(examples)} (← →): {told}"))
            ours, theirs = example.get("production") or {}, example.get("candidate") or {}
            shown = side_by_side(ours, theirs, max(30, width - 4))
            self._marks = [at for at, line in enumerate(shown.plain.splitlines()) if MARK in line]
            self.query_one("#sides", Static).update(shown)
        self.query_one("#summary", Static).update(Text("\n").join(lines))

    # --- keys ---------------------------------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        examples = mappings(self._found.get("examples"))
        self._at = max(0, min(len(examples) - 1, self._at + by))
        self.query_one("#scroll").scroll_home(animate=False)
        self.draw()

    def action_seek(self) -> None:
        """The next line that differs comes to the top; after the last one the first."""
        scroll = self.query_one("#scroll")
        below = [at for at in self._marks if at > scroll.scroll_offset.y]
        if self._marks:
            scroll.scroll_to(y=(below or self._marks)[0], animate=False)

    def action_mark(self, kind: str) -> None:
        if self.difference:
            mark(self, self.difference, kind)


def _place(one: Mapping[str, Any]) -> str:
    return f"{one.get('where')} {one.get('path') or ''}".strip()
