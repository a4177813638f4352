"""What the demo's applications ask the model: four prompts, each with its own system prompt, model and tools (sans-IO).

A ``Conversation`` is one question of one application in its vendor's shape. If the model calls a tool, the application
asks it (or the weather API), appends both to the messages and asks again, as an agent's loop does.
"""

from __future__ import annotations

import json
import random
from typing import Any

from shadowd.demo.chat_model import DAYS, STATES, TOPICS
from shadowd.demo.chat_wire import Anthropic, OpenAI, encoded

Body = dict[str, Any]
CITIES = ("Lisbon", "Oslo", "Kyoto", "Quito", "Dakar", "Perth", "Turin", "Busan", "Boston", "Hanoi", "Cairo", "Prague")
WEATHER_TOOL = {
    "name": "get_weather",
    "description": "The weather in a city right now.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
ORDER_TOOL = {
    "name": "lookup_order",
    "description": "The state of an order.",
    "input_schema": {
        "type": "object",
        "properties": {"order_id": {"type": "string"}, "history": {"type": "boolean"}},
        "required": ["order_id"],
    },
}
TICKET_SCHEMA = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "enum": [*TOPICS, "other"]},
        "number": {"type": ["string", "null"]},
        "urgent": {"type": "boolean"},
        "summary": {"type": "string"},
    },
    "required": ["topic", "number", "urgent", "summary"],
    "additionalProperties": False,
}
SUPPORT_SYSTEM = "You are the support agent of Northwind Parts. Answer kindly, in a few sentences."
TRAVEL_SYSTEM = "You are a travel assistant. Look the weather up before you answer."
ORDER_SYSTEM = "You tell customers of Northwind Parts where their orders are. Always look the order up."
TICKET_SYSTEM = "Turn the customer's message into a ticket, as JSON."


class ToolCall:
    """What the model asked for; ``arguments`` are those of its JSON."""

    __slots__ = ("arguments", "identity", "name")

    def __init__(self, identity: str, name: str, arguments: dict[str, Any]) -> None:
        self.identity = identity
        self.name = name
        self.arguments = arguments


class Conversation:
    """The request so far: ``path`` and ``body``. ``answered`` reads the answer and says what tool is to be asked."""

    __slots__ = ("body", "path")

    def __init__(self, path: str, body: Body) -> None:
        self.path = path
        self.body = body

    def wire(self) -> bytes:
        return encoded(self.body)

    def answered(self, data: bytes) -> ToolCall | None:
        """The tool call in an answer, None if it has none. ValueError if it is no whole answer."""
        try:
            if self.path == OpenAI.path:
                return self._openai_answered(data)
            return self._anthropic_answered(data)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"not a whole answer: {error!r}") from None

    def ask_again(self, call: ToolCall, result: str) -> None:
        """Append the model's call and the tool's result, and let it go on."""
        messages = self.body["messages"]
        if self.path == OpenAI.path:
            function = {"name": call.name, "arguments": json.dumps(call.arguments)}
            called = {"id": call.identity, "type": "function", "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [called]})
            messages.append({"role": "tool", "tool_call_id": call.identity, "content": result})
        else:
            block = {"type": "tool_use", "id": call.identity, "name": call.name, "input": call.arguments}
            messages.append({"role": "assistant", "content": [block]})
            given = {"type": "tool_result", "tool_use_id": call.identity, "content": result}
            messages.append({"role": "user", "content": [given]})

    def _openai_answered(self, data: bytes) -> ToolCall | None:
        if not self.body.get("stream"):
            message = json.loads(data)["choices"][0]["message"]
            parts = message.get("tool_calls") or []
        else:
            events = _events(data)
            if not data.endswith(b"data: [DONE]\n\n"):
                raise ValueError("the stream ends before [DONE]")
            deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
            parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
        if not parts:
            return None
        arguments = "".join(part["function"]["arguments"] for part in parts)
        return ToolCall(parts[0]["id"], parts[0]["function"]["name"], json.loads(arguments))

    def _anthropic_answered(self, data: bytes) -> ToolCall | None:
        events = _events(data)
        if not events or events[-1]["type"] != "message_stop":
            raise ValueError("the stream ends before message_stop")
        blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
        block = next((block for block in blocks if block["type"] == "tool_use"), None)
        if block is None:
            return None
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        arguments = "".join(delta.get("partial_json", "") for delta in deltas)
        return ToolCall(block["id"], block["name"], json.loads(arguments))


def _events(data: bytes) -> list[Body]:
    """The objects of our own service's stream, which writes each on one ``data:`` line. ValueError if it is cut."""
    lines = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def look_up(arguments: dict[str, Any]) -> str:
    """The application's own order book: a pure function of the number."""
    number = str(arguments.get("order_id"))
    digit = sum(number.encode())
    found = {"order_id": number, "state": STATES[digit % len(STATES)], "day": DAYS[digit % len(DAYS)]}
    return json.dumps(found)


def _openai(system: str, user: str, **fields: object) -> Conversation:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return Conversation(OpenAI.path, {"model": "aria-1", "messages": messages, "temperature": 0.8, **fields})


def _question(dice: random.Random) -> str:
    number = f"NP-{dice.randrange(1000, 100_000)}"
    return dice.choice(
        (
            "I want to return {} because it does not fit my machine.",
            "Where is my parcel {}? It should have been here by now.",
            "Please send me the invoice for {} once more.",
            "Is {} still under warranty? It broke last week.",
        )
    ).format(number)


def next_conversation(dice: random.Random) -> Conversation:
    """One conversation of the mix: of five, two ask about the weather and one about an order; both call a tool.

    The tickets are 6 % of the requests: their answers come whole, so that their first byte comes late, and no
    percentile that is judged should lie where the one kind turns into the other.
    """
    roll = dice.random()
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    if roll < 0.40:
        unit = dice.choice(("celsius", "celsius", "fahrenheit"))
        day = f"{dice.choice(DAYS)} the {dice.randrange(1, 29)}th"
        ask = dice.choice(("What is the weather in {}", "Will I need a coat in {}", "How warm is it in {}"))
        user = f"{ask.format(dice.choice(CITIES))}? We are {dice.randrange(2, 60)} and leave on {day}; {unit} please."
        return _openai(TRAVEL_SYSTEM, user, tools=[{"type": "function", "function": WEATHER_TOOL}], **streamed)
    if roll < 0.60:
        user = f"Where is my order NP-{dice.randrange(1000, 100_000)}?" + dice.choice(
            ("", " With its history, please.")
        )
        body = {"model": "sonata-2", "max_tokens": 400, "system": ORDER_SYSTEM, "tools": [ORDER_TOOL], "stream": True}
        return Conversation(Anthropic.path, {**body, "messages": [{"role": "user", "content": user}]})
    if roll < 0.90:
        return _openai(SUPPORT_SYSTEM, _question(dice), **streamed)
    shape = {"name": "ticket", "strict": True, "schema": TICKET_SCHEMA}
    user = _question(dice) + dice.choice(("", " This is urgent!"))
    return _openai(TICKET_SYSTEM, user, response_format={"type": "json_schema", "json_schema": shape})
