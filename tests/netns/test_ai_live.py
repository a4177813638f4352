"""Real SDKs through the whole live path: what shadowd makes of each captured answer is what the SDK made of it."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from shadowd.demo.chat_model import REFUSED
from shadowd.demo.chat_prompts import ORDER_TOOL, TICKET_SCHEMA, WEATHER_TOOL, look_up
from shadowd.demo.children import Child
from shadowd.protocols.llm import Message, Reader, recognise_untrusted
from tests.netns.lab import Daemon, check_ledger, wait_for

pytestmark = pytest.mark.usefixtures("root_user")

TOOL: Any = {"type": "function", "function": WEATHER_TOOL}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "t", "strict": True, "schema": TICKET_SCHEMA}}
#: A prompt among the hundredth that the demo's model refuses, whatever its dice say.
REFUSED_PROMPT = next(
    text
    for text in (f"Please send me the invoice for NP-{n} once more." for n in range(10_000))
    if zlib.crc32(text.encode()) / 2**32 < REFUSED[1] / 20
)


class Captured:
    """The daemon's side of one exchange: its readers' messages of production's and the candidate's answer."""

    def __init__(self, line: dict[str, Any]) -> None:
        request = line["request"]
        ask = recognise_untrusted(line["target"].encode(), decoded(request["head"]), decoded(request["content"]))
        assert ask is not None, f"not recognised: {decoded(request['content'])!r}"
        self.ask = ask
        self.raw = decoded(line["production"]["content"])
        self.production = self._read(line["production"])
        self.candidate = self._read(line["candidate"])

    def _read(self, answer: dict[str, Any]) -> Message:
        assert not answer["problem"], answer["problem"]
        assert 0 < answer["first_byte"] <= answer["last_byte"]
        head = decoded(answer["head"]).decode("latin-1").lower()
        kind = next(line[14:] for line in head.split("\r\n") if line.startswith("content-type: "))
        reader = Reader(self.ask, kind, answer["status"])
        reader.feed_untrusted(decoded(answer["content"]), answer["last_byte"])
        return reader.finish(ended=True)


def decoded(text: str) -> bytes:
    return base64.b64decode(text)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Production and the candidate: both version 1, each with dice of its own."""
    folder = tmp_path_factory.mktemp("services")
    children = [Child.python(name, "shadowd.demo.chat", [], folder) for name in ("production", "candidate")]
    try:
        yield [int(child.wait_line("listening on 127.0.0.1:", 30)) for child in children]
    finally:
        for child in children:
            assert child.stop(), child.tail()


class Lab:
    """A daemon that mirrors production to the candidate and writes down what it compared; the SDKs' clients."""

    def __init__(self, daemon: Daemon, tap: Path, port: int) -> None:
        self.daemon = daemon
        self._tap = tap
        self._asked = 0
        self.openai = openai.OpenAI(api_key="k", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
        self.anthropic = anthropic.Anthropic(api_key="k", base_url=f"http://127.0.0.1:{port}", max_retries=0)

    def captured(self, identity: str) -> Captured:
        """What the daemon has of the answer with this id, once it is compared."""
        self._asked += 1
        ledger = self.daemon.settled("chat", lambda ledger: ledger["targets"][0]["mirrored"] == self._asked)
        check_ledger(ledger)
        assert not ledger["lost"]
        lines = wait_for("the exchange is compared", self._lines)
        return next(one for one in map(Captured, lines) if identity.encode() in one.raw)

    def _lines(self) -> list[dict[str, Any]]:
        lines = self._tap.read_text().splitlines(keepends=True)
        broken_off = self.daemon.ledger("chat")["targets"][0]["uncomparable"]
        whole = len(lines) == self._asked - broken_off and lines[-1][-1] == "\n"
        return [json.loads(line) for line in lines] if whole else []

    def broken_off(self) -> dict[str, Any]:
        """The ledger after production's client has broken an answer off: the shadow's is whole, there is no pair."""
        self._asked += 1
        return self.daemon.settled("chat", lambda ledger: ledger["targets"][0]["mirrored"] == self._asked)


@pytest.fixture(scope="module")
def lab(services: list[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    tap = tmp_path_factory.mktemp("tap") / "exchanges"
    tap.touch()
    daemon = Daemon(tmp_path_factory.mktemp("daemon"))
    daemon.program = (sys.executable, "-m", "tests.netns.tapped", str(tap))
    made = Lab(daemon, tap, services[0])
    try:
        daemon.start()
        daemon.add("chat", services[0], f"http://127.0.0.1:{services[1]}", methods=["POST"])
        yield made
    finally:
        made.openai.close()
        made.anthropic.close()
        log = daemon.stop()
    assert "Traceback" not in log, log[-4000:]


def said(message: Message) -> dict[str, Any]:
    """A message in plain values; what differs between two equal answers (ids) is left out."""
    return {
        "text": message.text,
        "refusal": message.refusal,
        "calls": [(call.name, json.loads(call.arguments)) for call in message.tool_calls],
        "finish": message.finish_reason,
        "model": message.model,
        "tokens": (message.input_tokens, message.output_tokens, message.cached_tokens),
        "outcome": message.outcome,
        "unknown": message.unknown,
        "error": message.error,
    }


# --- OpenAI ----------------------------------------------------------------------------------------------------------


def openai_said(completion: Any) -> dict[str, Any]:
    choice, usage = completion.choices[0], completion.usage
    calls = choice.message.tool_calls or []
    return {
        "text": choice.message.content or "",
        "refusal": choice.message.refusal or "",
        "calls": [(call.function.name, json.loads(call.function.arguments)) for call in calls],
        "finish": choice.finish_reason,
        "model": completion.model,
        "tokens": (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens),
        "outcome": "whole",
        "unknown": 0,
        "error": "",
    }


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "You are kind."}, {"role": "user", "content": text}]


OPENAI: dict[str, dict[str, Any]] = {
    "text": {"messages": user("Is NP-77 still under warranty?")},
    "tool": {"messages": user("What is the weather in Oslo, fahrenheit please?"), "tools": [TOOL]},
    "json": {"messages": user("I want to return NP-3. This is urgent!"), "response_format": FORMAT},
    "refusal": {"messages": user(REFUSED_PROMPT)},
    "refusal-json": {"messages": user(REFUSED_PROMPT), "response_format": FORMAT},
    "cut": {"messages": user("Where is my parcel NP-9?"), "max_completion_tokens": 4},
    "unicode": {"messages": user("Where is my parcel NP-9? ありがとう 🚚"), "temperature": 0},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", OPENAI)
def test_the_openai_sdk_and_shadowd_read_the_same(lab: Lab, case: str, stream: bool) -> None:
    asked: Any = {"model": "aria-1", "temperature": 0, **OPENAI[case]}
    completion: Any
    if stream:
        chunks = lab.openai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        completion = accumulated(list(chunks))
    else:
        completion = lab.openai.chat.completions.create(**asked)
    captured = lab.captured(completion.id)
    assert captured.ask.stream == stream
    assert captured.ask.api == "chat"
    assert captured.ask.system == "You are kind."
    assert list(captured.ask.tools) == (["get_weather"] if "tools" in asked else [])
    assert captured.ask.json_schema == (TICKET_SCHEMA if "response_format" in asked else None)
    assert said(captured.production) == openai_said(completion)
    assert said(captured.candidate) == said(captured.production), "at temperature 0 both versions say the same"
    assert captured.production.refused == case.startswith("refusal")


def accumulated(chunks: list[Any]) -> Any:
    """The SDK's own accumulation of a stream."""
    from openai.lib.streaming.chat._completions import ChatCompletionStreamState

    state: Any = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(chunk)
    return state.current_completion_snapshot


def test_an_openai_tool_loop_is_followed(lab: Lab) -> None:
    messages: Any = user("How warm is it in Quito?")
    asked: Any = {"model": "aria-1", "temperature": 0, "messages": messages, "tools": [TOOL]}
    first = lab.openai.chat.completions.create(**asked)
    assert said(lab.captured(first.id).production) == openai_said(first)
    calls: Any = first.choices[0].message.tool_calls
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    result = '{"temperature": 21, "sky": "sunny", "city": "Quito", "wind": 9}'
    messages.append({"role": "tool", "tool_call_id": calls[0].id, "content": result})
    second = lab.openai.chat.completions.create(**asked)
    found = lab.captured(second.id)
    assert said(found.production) == openai_said(second)
    assert "21 degrees" in found.candidate.text, "the shadow was told what production's tool said"


# --- Anthropic -------------------------------------------------------------------------------------------------------


def anthropic_said(message: Any) -> dict[str, Any]:
    usage = message.usage
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "refusal": "",
        "calls": [(block.name, block.input) for block in message.content if block.type == "tool_use"],
        "finish": message.stop_reason,
        "model": message.model,
        "tokens": (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens),
        "outcome": "whole",
        "unknown": 0,
        "error": "",
    }


ANTHROPIC: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": "Please send me the invoice for NP-5."}]},
    "tool": {"messages": [{"role": "user", "content": "Where is order NP-5? With history."}], "tools": [ORDER_TOOL]},
    "refusal": {"messages": [{"role": "user", "content": REFUSED_PROMPT}]},
    "cut": {"messages": [{"role": "user", "content": "Where is my parcel NP-9?"}], "max_tokens": 3},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", ANTHROPIC)
def test_the_anthropic_sdk_and_shadowd_read_the_same(lab: Lab, case: str, stream: bool) -> None:
    asked: Any = {"model": "sonata-2", "max_tokens": 300, "system": "Be kind.", "extra_body": {"temperature": 0}}
    asked |= ANTHROPIC[case]
    if stream:
        with lab.anthropic.messages.stream(**asked) as events:
            message: Any = events.get_final_message()
    else:
        message = lab.anthropic.messages.create(**asked)
    captured = lab.captured(message.id)
    assert captured.ask.stream == stream
    assert captured.ask.api == "anthropic"
    assert captured.ask.system == "Be kind."
    assert said(captured.production) == anthropic_said(message)
    assert said(captured.candidate) == said(captured.production), "at temperature 0 both versions say the same"
    assert captured.production.refused == (case == "refusal")


def test_an_anthropic_tool_loop_is_followed(lab: Lab) -> None:
    messages: Any = [{"role": "user", "content": "Where is my order NP-8?"}]
    asked: Any = {"model": "sonata-2", "max_tokens": 300, "messages": messages, "tools": [ORDER_TOOL]}
    first: Any = lab.anthropic.messages.create(**asked)
    assert said(lab.captured(first.id).production) == anthropic_said(first)
    call = first.content[-1]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": look_up(call.input)}
    messages.append({"role": "assistant", "content": [block.model_dump() for block in first.content]})
    messages.append({"role": "user", "content": [result]})
    with lab.anthropic.messages.stream(**asked) as events:
        second: Any = events.get_final_message()
    found = lab.captured(second.id)
    assert said(found.production) == anthropic_said(second)
    assert json.loads(look_up(call.input))["state"] in found.candidate.text


# --- people who stop it ----------------------------------------------------------------------------------------------


def test_an_answer_that_the_client_breaks_off_is_no_evidence(lab: Lab) -> None:
    asked: Any = {"model": "aria-1", "temperature": 0, **OPENAI["text"]}
    for _ in range(10):  # on a busy machine all may have been sent when the client gets round to closing
        with lab.openai.chat.completions.create(**asked, stream=True) as stream:
            for _ in range(3):
                next(stream)
        ledger = lab.broken_off()
        if ledger["targets"][0]["uncomparable"]:
            break
    assert ledger["targets"][0]["uncomparable"], "production's answer is not whole"
    completion = lab.openai.chat.completions.create(**asked)
    assert said(lab.captured(completion.id).production) == openai_said(completion)
