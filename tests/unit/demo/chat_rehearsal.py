"""The AI demo without processes, sockets and waiting: the same conversations, read by shadowd, at the times told.

What takes the demo ninety seconds takes seconds here, and is the same on every machine: the judges can be tried on it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from urllib.parse import urlencode

from shadowd.demo.chat import Chat, Weather
from shadowd.demo.chat_prompts import Conversation, ToolCall, look_up, next_conversation
from shadowd.demo.shop import Request
from shadowd.protocols.llm import Ask, Message, Reader, recognise_untrusted

START = 1_000_000_000  # ns of the first request
EACH = 20_000_000  # ns from a request to the next: some 50 a second, as in the demo


class Heard:
    """One side's answer. Times in ns of the clock that ``Round.time`` is of; ``first`` is -1 if nothing was said."""

    __slots__ = ("body", "first", "last", "message", "reader")

    def __init__(self, reader: Reader, body: bytes) -> None:
        self.body = body
        self.reader = reader
        self.message: Message = reader.finish(ended=True)
        self.first = reader.first_content
        self.last = reader.last


class Round:
    """One request, and what production, the baseline and the candidate answered."""

    __slots__ = ("ask", "baseline", "candidate", "production", "time")

    def __init__(self, ask: Ask, time: int, production: Heard, baseline: Heard, candidate: Heard) -> None:
        self.ask = ask
        self.time = time
        self.production = production
        self.baseline = baseline
        self.candidate = candidate


def hear(chat: Chat, conversation: Conversation, ask: Ask, time: int) -> Heard:
    """Let ``chat`` answer at ``time`` and read it part by part."""
    reply = chat.answer(Request("POST", conversation.path, "HTTP/1.1", {}, conversation.wire()))
    reader = Reader(ask, reply.content_type, reply.status)
    now = time + int(reply.delay * 1e9)
    parts = reply.parts or [reply.body]
    for part, pause in zip(parts, itertools.chain([0.0], reply.pauses), strict=False):
        now += int(pause * 1e9)
        reader.feed_untrusted(part, now)
    return Heard(reader, b"".join(parts))


def rehearse(conversations: int, candidate: int, seed: int = 1) -> Iterator[Round]:
    """The rounds of so many conversations; the candidate is of version ``candidate``."""
    dice = random.Random(seed)
    production, baseline, other = Chat(1, seed * 3), Chat(1, seed * 3 + 1), Chat(candidate, seed * 3 + 2)
    weather = Weather(1)
    time = START
    for _ in range(conversations):
        conversation = next_conversation(dice)
        call: ToolCall | None = None
        while True:
            if call is not None:
                conversation.ask_again(call, _result(weather, call))
            ask = recognise_untrusted(conversation.path.encode(), b"", conversation.wire())
            assert ask is not None
            sides = [hear(chat, conversation, ask, time) for chat in (production, baseline, other)]
            yield Round(ask, time, *sides)
            time += EACH
            call = conversation.answered(sides[0].body)
            if call is None:
                break


def _result(weather: Weather, call: ToolCall) -> str:
    if call.name != "get_weather":
        return look_up(call.arguments)
    target = "/v1/current?" + urlencode(call.arguments)
    return weather.answer(Request("GET", target, "HTTP/1.1", {}, b"")).body.decode()
