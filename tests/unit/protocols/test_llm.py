"""Requests recognised by shape, and answers rebuilt: vendors' peculiarities, and what is cut, wrong or hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shadowd.protocols import llm_assembly
from shadowd.protocols.llm import Ask, LlmError, Message, Reader, recognise_untrusted

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
MESSAGES = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "hi"}]


def ask(target: str, body: Any, head: bytes = HEAD) -> Ask | None:
    return recognise_untrusted(target.encode(), head, json.dumps(body).encode())


def told(found: Ask | None) -> tuple[Any, ...]:
    assert found is not None
    return found.api, found.model, found.system, found.tools, found.json_schema, found.stream


def test_openai_chat_and_its_relatives() -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    body = {"model": "m", "messages": MESSAGES, "tools": tools, "stream": True}
    for target in ("/v1/chat/completions", "/openai/deployments/d/chat/completions?api-version=1", "/anything"):
        assert told(ask(target, body)) == ("chat", "m", "You are terse.", {"weather": SCHEMA}, None, True)
    body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert told(ask("/v1/chat/completions", body))[4] == SCHEMA
    body["response_format"] = {"type": "json_object"}
    assert told(ask("/v1/chat/completions", body))[4] == {}


def test_the_older_completions_and_custom_tools() -> None:
    assert told(ask("/v1/completions", {"model": "m", "prompt": "Say it.", "stream": True})) == (
        "chat", "m", "", {}, None, True,
    )  # fmt: skip
    tools = [{"type": "custom", "custom": {"name": "sql"}}, {"type": "function", "function": {"name": "weather"}}]
    assert told(ask("/v1/chat/completions", {"model": "m", "messages": [], "tools": tools}))[3].keys() == {
        "sql", "weather",
    }  # fmt: skip


def test_responses() -> None:
    body = {
        "model": "m", "instructions": "Be brief.", "input": [{"role": "developer", "content": "And kind."}],
        "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}, {"type": "web_search"}],
        "text": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }  # fmt: skip
    assert told(ask("/v1/responses", body)) == (
        "responses", "m", "Be brief.\nAnd kind.", {"weather": SCHEMA}, SCHEMA, False,
    )  # fmt: skip


def test_anthropic_by_path_or_header() -> None:
    body = {
        "model": "c", "system": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}], "max_tokens": 9,
        "messages": MESSAGES[1:], "tools": [{"name": "weather", "input_schema": SCHEMA}],
    }  # fmt: skip
    expected = ("anthropic", "c", "Be kind.", {"weather": SCHEMA}, None, False)
    assert told(ask("/v1/messages", body)) == expected
    assert told(ask("/gateway", body, HEAD[:-2] + b"Anthropic-Version: 2023-06-01\r\n\r\n")) == expected


def test_ollama_and_gemini() -> None:
    assert told(ask("/api/chat", {"model": "l", "messages": MESSAGES}))[:3] == ("ollama", "l", "You are terse.")
    assert told(ask("/api/generate", {"model": "l", "prompt": "x", "system": "s", "format": "json"}))[2:] == (
        "s", {}, {}, True,
    )  # fmt: skip
    body = {"contents": [{"parts": [{"text": "x"}]}], "systemInstruction": {"parts": [{"text": "s"}]},
            "tools": [{"functionDeclarations": [{"name": "weather", "parameters": SCHEMA}]}]}  # fmt: skip
    found = ask("/v1beta/models/gemini-2.0:streamGenerateContent?alt=sse", body)
    assert told(found) == ("gemini", "gemini-2.0", "s", {"weather": SCHEMA}, None, True)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"messages": 1}', b'{"input": "x"}', b"\xff", b'{"contents": []}', b"[" * 100_000]
)
def test_what_is_no_conversation(body: bytes) -> None:
    assert recognise_untrusted(b"/orders", HEAD, body) is None


@given(st.binary(max_size=200))
def test_any_body(body: bytes) -> None:
    text = b'{"input":' + body
    found = recognise_untrusted(b"/v1/responses", HEAD, text)
    assert found is None or (isinstance(found, Ask) and isinstance(json.loads(text), dict))


# --- answers ----------------------------------------------------------------------------------------------------------


def answer(api: str, *pieces: str, kind: str = "text/event-stream", status: int = 200, ended: bool = True) -> Message:
    reader = Reader(Ask(api, "", "", {}, None, True), kind, status)
    for time, piece in enumerate(pieces):
        reader.feed_untrusted(piece.encode(), time)
    return reader.finish(ended)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> str:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return f"data: {json.dumps({'model': 'm', 'choices': choices, **more})}\n\n"


DONE = "data: [DONE]\n\n"


def test_tool_calls_are_joined_by_index_though_interleaved() -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "id": f"c{index}" if "name" in function else None,
                                "function": function}]}  # fmt: skip

    found = answer(
        "chat",
        chunk({"role": "assistant"}), chunk(call(0, name="a", arguments="")), chunk(call(1, name="b", arguments="{")),
        chunk(call(0, arguments='{"x":')), chunk(call(1, arguments="}")), chunk(call(0, arguments="1}")),
        chunk({}, "tool_calls"), chunk(usage={"prompt_tokens": 3, "completion_tokens": 4}), DONE,
    )  # fmt: skip
    assert [(call.id, call.name, call.arguments) for call in found.tool_calls] == [
        ("c0", "a", '{"x":1}'),
        ("c1", "b", "{}"),
    ]
    assert (found.finish_reason, found.input_tokens, found.output_tokens, found.outcome) == (
        "tool_calls",
        3,
        4,
        "whole",
    )


def test_a_refusal_is_none_of_the_text() -> None:
    found = answer("chat", chunk({"refusal": "I ca"}), chunk({"refusal": "nnot."}), chunk({}, "stop"), DONE)
    assert (found.text, found.refusal, found.refused) == ("", "I cannot.", True)


def test_how_a_stream_ends_is_an_outcome() -> None:
    whole = (chunk({"content": "a"}), chunk({}, "stop"), DONE)
    assert answer("chat", *whole).outcome == "whole"
    assert answer("chat", *whole[:2]).outcome == "unterminated"
    assert answer("chat", *whole[:1]).outcome == "cut"
    assert answer("chat", *whole[:1], ended=False).outcome == "open"
    failed = answer("chat", whole[0], 'data: {"error": {"code": "overloaded", "message": "later"}}\n\n')
    assert (failed.outcome, failed.error, failed.text) == ("error", "overloaded: later", "a")


def sse(kind: str, **data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"


def test_anthropics_usage_is_cumulative_and_its_errors_are_in_the_stream() -> None:
    start = sse("message_start", message={"model": "c", "usage": {"input_tokens": 9, "output_tokens": 1}})
    text = sse("content_block_start", index=0, content_block={"type": "text", "text": ""})
    delta = sse("content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"})
    first = sse("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 5})
    last = sse("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 12})
    found = answer("anthropic", start, sse("ping"), text, delta, first, last, sse("message_stop"))
    assert (found.text, found.input_tokens, found.output_tokens, found.finish_reason) == ("hi", 9, 12, "end_turn")
    assert (found.outcome, found.unknown) == ("whole", 0)
    failed = answer("anthropic", start, sse("error", error={"type": "overloaded_error", "message": "Overloaded"}))
    assert (failed.outcome, failed.error) == ("error", "overloaded_error: Overloaded")
    assert answer("anthropic", start, sse("something_new"), sse("message_stop")).unknown == 1


def test_ollamas_lines() -> None:
    lines = [
        {"model": "l", "message": {"role": "assistant", "content": "He"}, "done": False},
        {"message": {"content": "llo", "tool_calls": [{"function": {"name": "t", "arguments": {"x": 1}}}]}},
        {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7},
    ]
    found = answer("ollama", "\n".join(map(json.dumps, lines)), kind="application/x-ndjson")
    assert (found.text, found.tool_calls[0].arguments, found.output_tokens, found.outcome) == (
        "Hello", '{"x":1}', 7, "whole",
    )  # fmt: skip


def test_answers_in_one_piece() -> None:
    body = json.dumps({"model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
                       "usage": {"completion_tokens": 2}})  # fmt: skip
    found = answer("chat", body[:10], body[10:], kind="application/json")
    assert (found.text, found.finish_reason, found.output_tokens, found.outcome) == ("Hi", "stop", 2, "whole")
    body = json.dumps({"content": [{"type": "text", "text": "Hi"}, {"type": "tool_use", "name": "t", "input": {}}],
                       "stop_reason": "tool_use", "usage": {}})  # fmt: skip
    found = answer("anthropic", body, kind="application/json")
    assert (found.text, found.tool_calls[0].name, found.tool_calls[0].arguments) == ("Hi", "t", "{}")
    found = answer("chat", '{"error": {"type": "rate_limit", "message": "slow down"}}', kind="a/json", status=429)
    assert (found.outcome, found.error) == ("error", "rate_limit: slow down")
    assert answer("chat", "<html>", kind="application/json").outcome == "error"


def test_first_content_is_not_the_role() -> None:
    reader = Reader(Ask("chat", "", "", {}, None, True), "text/event-stream", 200)
    for time, piece in enumerate((": hello\n\n", chunk({"role": "assistant", "content": ""}), chunk({"content": "a"}))):
        reader.feed_untrusted(piece.encode(), time)
    reader.feed_untrusted(chunk({"content": "b"}).encode(), 9)
    assert (reader.first_byte, reader.first_event, reader.first_content, reader.last) == (0, 1, 2, 9)
    assert reader.event_times == [1, 2, 9]


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_assembly, "MAX_TEXT", 10)
    monkeypatch.setattr(llm_assembly, "MAX_TOOL_CALLS", 1)
    calls = [{"index": index, "id": str(index), "function": {"name": "a", "arguments": "{}"}} for index in range(3)]
    found = answer("chat", chunk({"content": "x" * 8}), chunk({"content": "y" * 8}), chunk({"tool_calls": calls}))
    assert (found.text, len(found.tool_calls), found.clipped) == ("x" * 8, 1, True)


KEYS = st.sampled_from([
    "type", "choices", "delta", "content", "tool_calls", "function", "name", "arguments", "index", "id", "usage",
    "message", "error", "response", "item", "output", "output_index", "content_block", "text", "candidates", "parts",
    "functionCall", "done", "model", "finish_reason", "status", "refusal",
])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(["chat", "responses", "anthropic", "ollama", "gemini"]),
    st.lists(st.dictionaries(KEYS, JSON, max_size=3), max_size=3),
    st.sampled_from(["text/event-stream", "application/x-ndjson", "application/json"]),
)
def test_any_json_is_survived(api: str, events: list[dict[str, Any]], kind: str) -> None:
    reader = Reader(Ask(api, "", "", {}, None, True), kind, 200)
    for event in events:
        text = json.dumps(event)
        reader.feed_untrusted((f"data: {text}\n\n" if kind.endswith("stream") else text + "\n").encode(), 1)
    message = reader.finish(True)
    assert isinstance(message.text, str)
    assert all(isinstance(call.arguments, str) for call in message.tool_calls)


@given(st.sampled_from(["chat", "responses", "anthropic", "ollama", "gemini"]), st.binary(max_size=300))
def test_any_bytes_are_survived(api: str, data: bytes) -> None:
    for kind in ("text/event-stream", "application/x-ndjson", "application/json"):
        reader = Reader(Ask(api, "", "", {}, None, True), kind, 200)
        try:
            reader.feed_untrusted(data, 1)
        except LlmError:
            pass
        message = reader.finish(True)
        assert message.outcome in ("whole", "unterminated", "cut", "error")
        assert len(message.text) <= len(data)
