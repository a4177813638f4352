"""The AI demo's services and load: what they are said to do wrong they do, and nothing else; real SDKs read them."""

from __future__ import annotations

import json
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from shadowd.demo.chat import Chat, Weather
from shadowd.demo.chat_load import ChatLoad
from shadowd.demo.chat_model import REFUSED, WRONG_UNIT, Ask, Call, Model, Said
from shadowd.demo.chat_prompts import TICKET_SCHEMA, WEATHER_TOOL, Conversation, look_up, next_conversation
from shadowd.demo.chat_wire import VENDORS, Anthropic, BadChat, OpenAI, body_untrusted
from shadowd.demo.children import Child
from shadowd.demo.shop import Reply, Request

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("messages", "role", "content", "tools", "system", "max_tokens", "temperature", "stream", "text", "type")
CHAT_JSON = st.recursive(
    ANY_JSON | st.sampled_from(["user", "system", "tool", "tool_result", "text", "in Rome", True]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=20,
)


def post(chat: Chat, path: str, body: object) -> Reply:
    return chat.answer(Request("POST", path, "HTTP/1.1", {}, json.dumps(body).encode()))


# --- requests --------------------------------------------------------------------------------------------------------


@given(data=st.binary(max_size=200) | CHAT_JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_posted_is_answered(data: bytes) -> None:
    for path in VENDORS:
        reply = Chat(2, seed=1).answer(Request("POST", path, "HTTP/1.1", {}, data))
        try:
            VENDORS[path].ask_untrusted(body_untrusted(data))
        except BadChat:
            assert reply.status == 400
            assert json.loads(reply.body)["error"]["message"]
        else:
            assert reply.status == 200


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("GET", "/v1/messages", 405), ("POST", "/v1/embeddings", 404), ("GET", "/", 404), ("POST", "/v1/messages", 400)],
)
def test_other_requests_are_refused(method: str, target: str, status: int) -> None:
    reply = Chat(1).answer(Request(method, target, "HTTP/1.1", {}, b"[]"))
    assert reply.status == status
    assert "error" in json.loads(reply.body)


def test_the_weather_api_is_a_pure_function_but_for_the_planted_change() -> None:
    def ask(version: int, query: str) -> Any:
        return json.loads(Weather(version).answer(Request("GET", f"/v1/current?{query}", "HTTP/1.1", {}, b"")).body)

    old, new = ask(1, "city=Oslo"), ask(2, "city=Oslo")
    assert old == ask(1, "city=Oslo&unit=celsius")
    assert {name for name in old if old[name] != new[name]} == {"wind"}
    assert ask(1, "city=Oslo&unit=fahrenheit")["temperature"] == old["temperature"] * 9 // 5 + 32
    assert "error" in ask(1, "town=Oslo")


# --- what was planted ------------------------------------------------------------------------------------------------


def said_to(version: int, asks: list[Ask], seed: int) -> list[Said]:
    model = Model(version, random.Random(seed))
    return [model.answer(ask) for ask in asks]


@pytest.fixture(scope="module")
def asks() -> list[Ask]:
    """What three thousand conversations ask, tools' results and all."""
    dice, asked = random.Random(1), []
    for _ in range(3000):
        conversation = next_conversation(dice)
        ask = VENDORS[conversation.path].ask_untrusted(conversation.body)
        asked.append(ask)
        if ask.tools:
            result = look_up({"order_id": "NP-7"}) if ask.system.startswith("You tell") else '{"temperature": 3}'
            asked.append(Ask(ask.model, ask.system, ask.user, [result], ask.tools))
    return asked


def test_each_planted_change_has_its_size_and_version_1_has_none(asks: list[Ask]) -> None:
    old, again, new = said_to(1, asks, 1), said_to(1, asks, 2), said_to(2, asks, 3)

    def refused(answers: list[Said]) -> float:
        return sum(said.finish == "refusal" for said in answers) / len(answers)

    assert refused(old) == pytest.approx(REFUSED[1], abs=0.005)
    assert refused(again) == pytest.approx(refused(old), abs=0.002)
    assert refused(new) == pytest.approx(REFUSED[2], abs=0.01)

    def calls(answers: list[Said]) -> dict[int, Call]:
        return {k: said.calls[0] for k, said in enumerate(answers) if said.calls}

    before, beside, after = calls(old), calls(again), calls(new)
    assert len(before) >= 1500
    common = before.keys() & beside.keys() & after.keys()
    assert all(before[k].arguments == beside[k].arguments for k in common)
    wrong = [k for k in common if before[k].arguments != after[k].arguments]
    weather = [k for k in common if before[k].name == "get_weather"]
    assert all(before[k].name == after[k].name == "get_weather" for k in wrong)
    assert len(wrong) / len(weather) == pytest.approx(WRONG_UNIT, abs=0.02)
    for k in wrong:
        one, other = json.loads(before[k].arguments), json.loads(after[k].arguments)
        assert {name for name in one if one[name] != other[name]} == {"unit"}
        assert other["unit"] in WEATHER_TOOL["parameters"]["properties"]["unit"]["enum"], "no schema would notice"  # type: ignore[index]

    answered = [k for k in range(len(asks)) if "refusal" not in {said[k].finish for said in (old, again, new)}]

    def tokens(answers: list[Said]) -> float:
        return statistics.fmean(answers[k].tokens for k in answered)

    assert tokens(again) / tokens(old) == pytest.approx(1.0, abs=0.01)
    assert tokens(new) / tokens(old) == pytest.approx(1.2, abs=0.03)


def test_answers_vary_with_the_temperature_and_only_with_it(asks: list[Ask]) -> None:
    old, again = said_to(1, asks, 1), said_to(1, asks, 2)
    texts = [(one.text, other.text) for one, other in zip(old, again, strict=True)]
    assert sum(one != other for one, other in texts) > 0.5 * len(texts)
    for ask in asks:
        ask.temperature = 0.0
    try:
        assert [said.text for said in said_to(1, asks, 1)] == [said.text for said in said_to(1, asks, 2)]
    finally:
        for ask in asks:
            ask.temperature = 1.0


def test_json_mode_keeps_to_the_schema(asks: list[Ask]) -> None:
    wanted = [ask for ask in asks if ask.json_mode]
    assert len(wanted) > 300
    for version in (1, 2):
        for said in said_to(version, wanted, 5):
            if said.finish == "refusal":
                continue
            ticket = json.loads(said.text)
            assert list(ticket) == TICKET_SCHEMA["required"]
            assert ticket["topic"] in TICKET_SCHEMA["properties"]["topic"]["enum"]  # type: ignore[index]


def test_the_first_token_of_version_2_takes_thirty_percent_longer() -> None:
    dice = random.Random(3)
    streamed = [one for one in (next_conversation(dice) for _ in range(600)) if one.body.get("stream")]

    def first(version: int) -> float:
        chat = Chat(version, seed=version)
        replies = [post(chat, one.path, one.body) for one in streamed]
        return statistics.median(reply.delay + next(reply.pauses) for reply in replies)

    assert first(2) / first(1) == pytest.approx(1.3, abs=0.03)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_may_be_cut_at_its_token_limit(stream: bool) -> None:
    body = {"model": "m", "max_tokens": 3, "messages": [{"role": "user", "content": "my parcel NP-1"}]}
    for path, told in ((OpenAI.path, b'"length"'), (Anthropic.path, b'"max_tokens"')):
        reply = post(Chat(1, seed=1), path, {**body, "stream": stream})
        assert told in reply.body + b"".join(reply.parts)


# --- the real SDKs, and the load, against the service ----------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    child = Child.python("chat", "shadowd.demo.chat", ["--seed", "7"], tmp_path_factory.mktemp("chat"))
    try:
        yield int(child.wait_line("listening on 127.0.0.1:", 30))
    finally:
        assert child.stop(), child.tail()


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    child = Child.python("weather", "shadowd.demo.chat", ["--weather"], tmp_path_factory.mktemp("weather"))
    try:
        yield int(child.wait_line("listening on 127.0.0.1:", 30))
    finally:
        assert child.stop(), child.tail()


def test_the_openai_sdk_reads_the_same_of_a_stream_as_of_a_whole_answer(service: int) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Oslo?"}]
    asked: Any = {
        "model": "m", "messages": messages, "temperature": 0, "tools": [{"type": "function", "function": WEATHER_TOOL}]
    }  # fmt: skip
    with openai.OpenAI(api_key="k", base_url=f"http://127.0.0.1:{service}/v1", max_retries=0) as client:
        whole = client.chat.completions.create(**asked)
        with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
            streamed = stream.get_final_completion()
    one, other = whole.choices[0], streamed.choices[0]
    assert (one.finish_reason, one.message.content) == (other.finish_reason, other.message.content)
    assert one.finish_reason == "tool_calls"
    assert one.message.tool_calls is not None
    assert other.message.tool_calls is not None
    assert one.message.tool_calls[0].type == "function"
    assert json.loads(one.message.tool_calls[0].function.arguments) == {"city": "Oslo", "unit": "celsius"}
    assert one.message.tool_calls[0].function.arguments == other.message.tool_calls[0].function.arguments
    assert whole.usage == streamed.usage


def test_the_anthropic_sdk_reads_the_same_of_a_stream_as_of_a_whole_answer(service: int) -> None:
    asked: Any = {
        "model": "m", "max_tokens": 200, "extra_body": {"temperature": 0}, "system": "Be brief.",
        "messages": [{"role": "user", "content": "Where is my order NP-12?"}],
        "tools": [{"name": "lookup_order", "input_schema": {"type": "object"}}],
    }  # fmt: skip
    with anthropic.Anthropic(api_key="k", base_url=f"http://127.0.0.1:{service}", max_retries=0) as client:
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
    assert whole.stop_reason == streamed.stop_reason == "tool_use"

    def blocks(message: Any) -> list[Any]:
        return [block.model_dump(include={"type", "text", "name", "input"}) for block in message.content]

    assert blocks(whole) == blocks(streamed)
    assert blocks(whole)[1]["input"] == {"order_id": "NP-12", "history": False}
    assert whole.usage.output_tokens == streamed.usage.output_tokens
    assert whole.usage.cache_read_input_tokens == streamed.usage.cache_read_input_tokens == 2


def test_the_load_holds_conversations_and_sees_no_error(service: int, weather: int) -> None:
    load = ChatLoad(service, weather, rate=40.0, seconds=3.0)
    trio.run(load.run, 16)
    assert not load.errors
    assert load.conversations == 120
    assert load.ok == load.sent > 150, "tool calls are answered"


@pytest.mark.parametrize(
    ("path", "stream", "data"),
    [
        (OpenAI.path, True, b'data: {"choices":[]}\n\n'),
        (OpenAI.path, True, b"data: {"),
        (OpenAI.path, False, b'{"choices":[]}'),
        (Anthropic.path, True, b'data: {"type":"message_start"}\n\n'),
    ],
)
def test_the_load_calls_an_answer_cut_short_an_error(path: str, stream: bool, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Conversation(path, {"stream": stream, "messages": []}).answered(data)


def test_the_mix_has_four_prompts_and_each_conversation_another_question() -> None:
    dice = random.Random(1)
    made = [next_conversation(dice) for _ in range(2000)]
    asked = [VENDORS[one.path].ask_untrusted(one.body) for one in made]
    shares = Counter(ask.system for ask in asked)
    assert len(shares) == 4
    assert min(shares.values()) > 150
    assert len({ask.user for ask in asked}) > 1800


def test_a_used_port_is_said_in_one_line(service: int, tmp_path: Path) -> None:
    child = Child.python("second", "shadowd.demo.chat", ["--port", str(service)], tmp_path)
    assert child.wait(30)
    assert child.exit_code == 1
    assert "cannot listen on 127.0.0.1:" in child.tail()
