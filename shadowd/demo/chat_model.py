"""The demo's "model": what the chat service says, as version 1 and with the changed prompt of version 2 (sans-IO).

Nothing is learned here. It understands a handful of questions by pattern, and it *samples* as a model does: with a
temperature above 0 each call takes other phrasings, so that two answers to one prompt differ in words and length while
they mean the same; tool calls and their arguments follow from the prompt. A prompt's sensitivity is a hash of it, and
the most sensitive hundredth is refused. What version 2 does worse is listed in ``PLANTED``.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Sequence
from typing import Any

REFUSED = {1: 0.01, 2: 0.04}  # share of prompts refused
WAVER = 0.001  # spread of the refusals' threshold from call to call: a model is not quite sure of itself
WRONG_UNIT = 0.05  # share of version 2's get_weather calls with the wrong unit: valid by the schema, and wrong
LONGER = 0.20  # version 2 says this much more
SLOWER = {1: 1.0, 2: 1.3}  # factor of the time to the first token
PLANTED = (
    "it refuses 4 % of the prompts where version 1 refuses 1 %",
    "5 % of its get_weather calls ask for the wrong unit",
    "its first token takes 30 % longer",
    "it emits 20 % more tokens",
)

REFUSALS = ("I'm sorry, but I can't help with that request.", "I can't help with that, sorry about it.")
TOPICS = {
    "return": (
        "You can send {n} back within thirty days as long as it is unused.",
        "Returns of {n} are free for thirty days if the part was not fitted.",
        "We take {n} back for thirty days, provided it has not been used.",
    ),
    "parcel": (
        "Parcel {n} left our warehouse yesterday and should arrive within two days.",
        "Your parcel {n} is on its way and will reach you in about two days.",
        "{n} was handed to the carrier yesterday, so expect it in two days.",
    ),
    "invoice": (
        "The invoice for {n} was sent to your billing address as a PDF.",
        "We mailed the invoice of {n} to your billing contact as a PDF file.",
        "You will find the invoice for {n} in your billing mailbox, as a PDF.",
    ),
    "warranty": (
        "The warranty on {n} covers two years of normal use from delivery.",
        "{n} is under warranty for two years after it was delivered.",
        "For {n} we guarantee two years of normal use, counted from delivery.",
    ),
}
OPENINGS = (
    "Thanks for getting in touch!",
    "Sure, let me explain.",
    "Of course.",
    "Good to hear from you, here is what I found.",
)
ADVICE = (
    "If anything is unclear, simply answer this message.",
    "Tell me if you need the form and I will send it.",
    "You can follow everything in your account under orders.",
    "Is there something else that I can look up for you today?",
)
WEATHER = (
    "It is {temp} degrees and {sky} in {city} right now, with wind at {wind} km/h.",
    "{city} has {sky} weather at the moment: {temp} degrees, wind {wind} km/h.",
    "Right now {city} reports {temp} degrees, {sky}, and a wind of {wind} km/h.",
)
ORDER = (
    "Order {n} is {state} and should be with you on {day}.",
    "I checked: {n} is {state}, delivery is planned for {day}.",
    "The state of {n} is {state}; we expect to deliver it on {day}.",
)
CALLING = (
    "Let me look that up for you.",
    "One moment, I am checking that.",
    "I will check this right away.",
    "Let me see what I can find.",
)
UNKNOWN = ("I see. Could you tell me a little more about it?", "Could you give me some more detail, please?")
#: What a talkative prompt adds, by its number of words.
COURTESY = {
    1: ("Certainly.", "Indeed."),
    2: ("Good question.", "Great choice."),
    3: ("Happy to help!", "Always at hand."),
    4: ("I hope that helps!", "Have a lovely day!"),
    5: ("Thank you for your patience.", "We really value your trust."),
    6: ("It is a pleasure to assist.", "Please do come back at anytime."),
    7: ("I am always glad to be helpful.", "Do not hesitate to ask me again."),
}
WORD = re.compile(r"\s*\S+")
ARGUMENT_PIECE = 8  # characters of a tool call's arguments that make a token: JSON's are short
NUMBER = re.compile(r"\b[A-Z]{2}-\d+")
CITY = re.compile(r"\bin ([A-Z][a-z]+)")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
STATES = ("packed", "shipped", "delayed", "ready")


class Ask:
    """A request in no vendor's words: the last question, what tools gave back since, and how to answer."""

    __slots__ = ("json_mode", "model", "results", "system", "temperature", "tokens", "tokens_limit", "tools", "user")

    def __init__(
        self,
        model: str,
        system: str,
        user: str,
        results: Sequence[str] = (),
        tools: Sequence[str] = (),
        json_mode: bool = False,
        temperature: float = 1.0,
        tokens_limit: int | None = None,
        tokens: int = 0,
    ) -> None:
        self.model = model
        self.system = system
        self.user = user
        self.results = results
        self.tools = tools
        self.json_mode = json_mode
        self.temperature = temperature
        self.tokens_limit = tokens_limit
        self.tokens = tokens or len(pieces(system)) + len(pieces(user))


class Call:
    """A tool call; ``arguments`` is JSON as text."""

    __slots__ = ("arguments", "name")

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        self.name = name
        self.arguments = json.dumps(arguments, ensure_ascii=False)

    def pieces(self) -> list[str]:
        return [self.arguments[k : k + ARGUMENT_PIECE] for k in range(0, len(self.arguments), ARGUMENT_PIECE)]


class Said:
    """An answer; ``finish`` is ``stop``, ``tool``, ``refusal`` or ``length``, ``tokens`` what it costs."""

    __slots__ = ("calls", "finish", "text")

    def __init__(self, text: str, finish: str = "stop", calls: Sequence[Call] = ()) -> None:
        self.text = text
        self.finish = finish
        self.calls = list(calls)

    @property
    def tokens(self) -> int:
        return len(pieces(self.text)) + sum(1 + len(call.pieces()) for call in self.calls)


def pieces(text: str) -> list[str]:
    """The tokens of a text: words with the white space before them."""
    return WORD.findall(text)


class Model:
    """One version. ``dice`` is the sampling: two models with different dice say the same thing in different words."""

    def __init__(self, version: int, dice: random.Random) -> None:
        self.version = version
        self._dice = dice

    def pause(self, seconds: float, spread: float) -> float:
        """A time with noise: log-normal, as service times are."""
        return seconds * self._dice.lognormvariate(0.0, spread)

    def answer(self, ask: Ask) -> Said:
        """What the model says to a request; never fails, whatever was asked."""
        said = self._refuse(ask) or self._respond(ask)
        if ask.tokens_limit is not None and said.tokens > ask.tokens_limit:
            return Said("".join(pieces(said.text)[: ask.tokens_limit]), "length")
        return said

    def _pick(self, ask: Ask, phrasings: Sequence[str]) -> str:
        return self._dice.choice(phrasings) if ask.temperature > 0 else phrasings[0]

    def _refuse(self, ask: Ask) -> Said | None:
        sensitivity = zlib.crc32(ask.user.encode("utf-8", "replace")) / 2**32
        waver = self._dice.gauss(0.0, WAVER) if ask.temperature > 0 else 0.0
        if sensitivity + waver >= REFUSED[self.version]:
            return None
        return Said(self._pick(ask, REFUSALS), "refusal")

    def _respond(self, ask: Ask) -> Said:
        if ask.json_mode:
            return self._extract(ask)
        if ask.results:
            return self._longer(ask, Said(self._of_result(ask)))
        call = self._call(ask)
        if call is not None:
            return self._longer(ask, Said(self._pick(ask, CALLING), "tool", [call]))
        fact = self._topic(ask)
        if fact is None:
            return self._longer(ask, Said(self._pick(ask, UNKNOWN)))
        return self._longer(ask, Said(f"{self._pick(ask, OPENINGS)} {fact} {self._pick(ask, ADVICE)}"))

    def _longer(self, ask: Ask, said: Said) -> Said:
        if self.version == 2:
            said.text += self._courtesies(ask, said.tokens)
        return said

    def _courtesies(self, ask: Ask, tokens: int) -> str:
        words, left = "", round(tokens * LONGER)
        while left > 0:
            length = min(left, max(COURTESY))
            words += " " + self._pick(ask, COURTESY[length])
            left -= length
        return words

    def _call(self, ask: Ask) -> Call | None:
        city, number = CITY.search(ask.user), NUMBER.search(ask.user)
        if "get_weather" in ask.tools and city:
            unit = "fahrenheit" if "fahrenheit" in ask.user.lower() else "celsius"
            if self.version == 2 and self._dice.random() < WRONG_UNIT:
                unit = "celsius" if unit == "fahrenheit" else "fahrenheit"
            return Call("get_weather", {"city": city[1], "unit": unit})
        if "lookup_order" in ask.tools and number:
            return Call("lookup_order", {"order_id": number[0], "history": "history" in ask.user.lower()})
        return None

    def _of_result(self, ask: Ask) -> str:
        try:
            found = json.loads(ask.results[-1])
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            return self._pick(ask, UNKNOWN)
        words = {name: str(value) for name, value in found.items()}
        if "temperature" in words:
            sky, city = words.get("sky", "calm"), words.get("city", "there")
            return self._pick(ask, WEATHER).format(
                temp=words["temperature"], sky=sky, city=city, wind=words.get("wind", "0")
            )
        return self._pick(ask, ORDER).format(
            n=words.get("order_id", "it"), state=words.get("state", "open"), day=words.get("day", "Friday")
        )

    def _topic(self, ask: Ask) -> str | None:
        number = NUMBER.search(ask.user)
        for topic, phrasings in TOPICS.items():
            if topic in ask.user.lower():
                return self._pick(ask, phrasings).format(n=number[0] if number else "it")
        return None

    def _extract(self, ask: Ask) -> Said:
        """JSON mode: the schema of the demo's tickets."""
        number = NUMBER.search(ask.user)
        topic = next((topic for topic in TOPICS if topic in ask.user.lower()), "other")
        summary = self._topic(ask) or self._pick(ask, UNKNOWN)
        ticket = {"topic": topic, "number": number[0] if number else None, "urgent": "urgent" in ask.user.lower()}
        if self.version == 2:
            summary += self._courtesies(ask, len(pieces(summary)) + len(pieces(json.dumps(ticket))))
        return Said(json.dumps({**ticket, "summary": summary}, ensure_ascii=False))
