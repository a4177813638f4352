"""What the pages have in common: a line at the top, keys at the bottom, a banner where the daemon is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, Static

from shadowd.cli.output import plain
from shadowd.cli.top.asking import Answer, Question
from shadowd.cli.top.picture import COLOURS, Key, Picture, Plan, standing_line
from shadowd.cli.top.widgets import Confirm, Help

#: In lines that fit into 60 columns.
HELP = """\
↑ ↓ PgUp PgDn  choose a row
Enter          look closer
Esc, q         go back; q at the first page ends
p, r           pause the filter, resume it
/              choose exchanges (docs/tail.md):
               worse or slower > 50ms
?              these keys
Ctrl-C         end

On the page of a filter
1 2 3, Tab     endpoints, differences, exchanges
n              call a difference noise, not judged
e              call it expected: no regression

Beside an example
← →            the one before, the next one
Space          the next line that differs

mirrored  sent whole, answered whole
filtered  the filter does not want it
shed      we decided not to send it
lost      it could not be read whole
failed    by the shadow's fault
✓ ✗ ?     pass, fail, inconclusive (undecided)
Latencies are times to the first byte; a bar is
the median of ten seconds."""


class Desk(Protocol):
    """What pages need of the application."""

    picture: Picture
    plan: Plan

    def wish(self, question: Question) -> None:
        """Something to be done; what came of it is said."""

    def ask(self, question: Question, take: Callable[[Answer], None]) -> None:
        """Something to be known once."""

    def say(self, text: str, wrong: bool = False) -> None:
        """A word for a moment."""


class Page(Screen[None]):
    """``subject``: the filter, and the target, that it is about."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "back", "Back"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("p", "pause", "Pause", show=False),
        Binding("r", "resume", "Resume", show=False),
    ]

    subject: Key = ("", "")

    @property
    def top(self) -> Desk:
        return cast(Desk, self.app)

    @property
    def picture(self) -> Picture:
        return self.top.picture

    def compose(self) -> ComposeResult:
        yield Static("", id="standing", markup=False)
        yield Static("", id="away", markup=False)
        yield from self.body()
        yield Footer(show_command_palette=False, compact=True)

    def body(self) -> ComposeResult:
        yield from ()

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def on_screen_resume(self) -> None:
        self.top.plan.focus = self.subject
        if self.subject[0]:
            self.picture.follow(self.subject)
        self.draw()

    def draw(self) -> None:
        """What the picture says now."""
        if not self.is_mounted or not self.query("#standing"):
            return
        self.query_one("#standing", Static).update(Text(standing_line(self.picture), style="bold", no_wrap=True))
        away = self.query_one("#away", Static)
        away.display = bool(self.picture.away)
        away.update(Text(f"the daemon is away, trying again: {plain(self.picture.away)}"))
        self.fill(self.size.width)

    def fill(self, width: int) -> None:
        """The page's own parts."""

    def chosen_filter(self) -> str:
        return self.subject[0]

    # --- keys ---------------------------------------------------------------------------------------------------------

    def action_back(self) -> None:
        self.app.pop_screen()

    def action_help(self) -> None:
        self.app.push_screen(Help(HELP))

    def action_pause(self) -> None:
        self._ask("pause", "Pause {}?", "Nothing more is mirrored until it is resumed; its ledger and verdict stay.")

    def action_resume(self) -> None:
        self._ask("resume", "Resume {}?", "Its traffic is mirrored again.")

    def _ask(self, verb: str, question: str, told: str) -> None:
        name = self.chosen_filter()
        if not name:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.top.wish(Question(f"filter.{verb}", {"name": name}, f"{name} is {verb}d"))

        self.app.push_screen(Confirm(question.format(plain(name)), told), answered)

    def state_text(self, name: str) -> Text:
        """The filter's name, and its state if it does not mirror."""
        state = self.picture.state(name)
        shown = Text(plain(name))
        return shown.append(f" {plain(state)}", COLOURS.get(state, "")) if state not in ("active", "") else shown
