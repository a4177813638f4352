"""The application: pages on top of each other, and what the asking thread says."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.message import Message

from shadowd.cli.output import plain
from shadowd.cli.top.asking import Answer, Asking, Question
from shadowd.cli.top.filterpage import FilterPage
from shadowd.cli.top.overview import Overview
from shadowd.cli.top.page import Page
from shadowd.cli.top.picture import Picture, Plan
from shadowd.control.client import Client


class Told(Message):
    """An answer came."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class TopApp(App[None]):
    ENABLE_COMMAND_PALETTE = False
    TITLE = "shadowctl top"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "quit", "End", show=False, priority=True)]
    CSS = """
    Screen { layers: base; }
    #standing { height: 1; }
    #away { background: ansi_yellow; color: ansi_black; height: auto; display: none; }
    #summary, #panes, #note { height: auto; }
    #panes { margin-top: 1; }
    ContentSwitcher { height: 1fr; }
    Grid { height: 1fr; }
    Overview #targets { height: 1fr; min-height: 4; }
    #detail { height: auto; max-height: 60%; padding: 1 0 0 0; }
    #figures { height: auto; max-height: 70%; }
    #scroll { height: 1fr; margin-top: 1; }
    ModalScreen { align: center middle; }
    .dialog { width: auto; max-width: 96%; min-width: 50; height: auto; max-height: 90%; }
    .dialog { padding: 1 2; border: round ansi_cyan; background: ansi_default; }
    .dialog Static { width: auto; max-width: 100%; }
    .dialog Input { width: 100%; }
    Choose .dialog { width: 90; }
    """

    def __init__(self, client: Client, name: str | None = None) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.picture = Picture()
        self.plan = Plan(self.picture)
        self._name = name
        self._takers: dict[str, Callable[[Answer], None]] = {}
        self._asked = 0
        self._asking = Asking(client, self.plan.next, self._tell)

    def run_until_left(self) -> str:
        """What went wrong, "" if it was left by a person."""
        self.run()
        self.stop_asking()
        return "" if self.return_code in (0, None) else "top has ended by an error"

    def on_mount(self) -> None:
        self.push_screen(Overview())
        if self._name is not None:
            self.push_screen(FilterPage((self._name, "")))
        self._asking.start()

    def on_unmount(self) -> None:
        self._asking.stop()

    def stop_asking(self) -> None:
        """What was asked last may still come; nobody looks at it any more."""
        self._asking.stop()
        self._asking.join()

    def _tell(self, answer: Answer) -> None:
        self.post_message(Told(answer))  # from the asking thread, which may

    # --- questions and answers ----------------------------------------------------------------------------------------

    def wish(self, question: Question) -> None:
        """Something to be done; what came of it is said."""
        self._asking.wish(question)

    def ask(self, question: Question, take: Callable[[Answer], None]) -> None:
        """Something to be known once."""
        self._asked += 1
        wish = f"#{self._asked}"
        self._takers[wish] = take
        self._asking.wish(question._replace(wish=wish))

    def say(self, text: str, wrong: bool = False) -> None:
        self.notify(plain(text), severity="error" if wrong else "information", markup=False, timeout=4)

    def on_told(self, told: Told) -> None:
        answer = told.answer
        self.picture.take(answer)
        if answer.question.wish:
            self._done(answer)
        screen = self.screen_stack[-1] if self.screen_stack else None
        if isinstance(screen, Page):
            screen.draw()

    def _done(self, answer: Answer) -> None:
        """What a person wanted was done, or asked for."""
        take = self._takers.pop(answer.question.wish, None)
        if take is not None:
            take(answer)
        elif answer.error:
            self.say(answer.error, wrong=True)
        else:
            self.say(answer.question.wish)
