"""Asks the daemon, in a thread of its own: nothing on the screen waits for an answer.

What a person wants done goes first; else the next question is what the screen shows, two a second at most.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from shadowd.cli.following import Following
from shadowd.control.client import Client
from shadowd.errors import ShadowdError

EACH = 0.5  # seconds between two questions
AT_FIRST = 4  # questions that follow each other at once: nobody likes to look at nothing
FOLLOW = "exchanges.follow"


class Question(NamedTuple):
    op: str
    args: dict[str, Any]
    wish: str = ""  # what a person wants done, in words; "": nobody does, it is what the screen shows


class Answer(NamedTuple):
    """``result`` of a question, or ``error``; ``missed`` exchanges were not shown before those in it."""

    question: Question
    result: Any
    error: str = ""
    missed: int = 0


class Asking:
    """``plan`` gives what is to be asked next; ``tell`` is called, in the thread, with each answer."""

    def __init__(self, client: Client, plan: Callable[[], Question], tell: Callable[[Answer], None]) -> None:
        self._client = client
        self._plan = plan
        self._tell = tell
        self._wishes: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._following: tuple[dict[str, Any], Following] | None = None
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)  # a call may last some seconds

    def start(self) -> None:
        self._thread.start()

    def wish(self, question: Question) -> None:
        self._wishes.put(question)

    def stop(self) -> None:
        self._wishes.put(None)

    def join(self) -> None:
        self._thread.join(self._client.timeout + 1)

    def _run(self) -> None:
        asked = 0
        while True:
            try:
                question = self._wishes.get(timeout=EACH if asked >= AT_FIRST else 0.01)
            except queue.Empty:
                question = self._plan()
                asked += 1
            if question is None:
                self._client.close()
                return
            self._tell(self._answer(question))

    def _answer(self, question: Question) -> Answer:
        try:
            if question.op == FOLLOW:
                return self._follow(question)
            return Answer(question, self._client.call(question.op, **question.args))
        except ShadowdError as error:
            return Answer(question, None, str(error))

    def _follow(self, question: Question) -> Answer:
        wanted = question.args
        if self._following is None or self._following[0] != wanted:
            self._following = wanted, Following(self._client, str(wanted["name"]), wanted.get("target"))
        following = self._following[1]
        before = following.missed
        entries = following.read()
        return Answer(question, entries, missed=following.missed - before)
