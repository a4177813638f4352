"""Answers of all interfaces, damaged at random: whatever a server sends, reading and comparing it raises nothing.

A stream as each vendor sends it is changed in a few places: another type, a member lost or moved, an event twice, an
event of another vendor, bytes cut or flipped. The seeds are fixed, so a failure is found again.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from shadowd.compare.difference import Options
from shadowd.exchange.exchange import Response
from shadowd.protocols.llm import Ask, LlmError, Reader
from shadowd.talk.llm import Answer, compare_talk, read_answer

#: Mutated answers of each interface.
ROUNDS = 1500
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

STREAMS: dict[str, list[dict[str, Any]]] = {
    "chat": [
        {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "text": "Hi"}]},
        {"choices": [{"index": 0, "delta": {"refusal": "no"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [
            {"index": 0, "id": "a", "type": "function", "function": {"name": "find", "arguments": '{"city":'}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '"Ulm"}'}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [
            {"index": 1, "id": "b", "type": "custom", "custom": {"name": "sql", "input": "select"}}]}}]},
        {"choices": [{"index": 0, "delta": {
            "function_call": {"name": "old", "arguments": "{}"}, "audio": {"id": "x"}}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": {
            "prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1}}},
        {"error": {"type": "overloaded", "message": "later"}},
    ],
    "responses": [
        {"type": "response.created", "response": {"model": "m"}},
        {"type": "response.output_item.added", "output_index": 0,
         "item": {"type": "function_call", "id": "i", "call_id": "c", "name": "find", "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "i", "delta": '{"city":"U"}'},
        {"type": "response.output_item.done", "output_index": 0,
         "item": {"type": "function_call", "id": "i", "call_id": "c", "name": "find", "arguments": '{"city":"Ulm"}'}},
        {"type": "response.output_item.done", "output_index": 1,
         "item": {"type": "web_search_call", "id": "w", "action": {"query": "x"}, "error": {"code": "e"}}},
        {"type": "response.output_text.delta", "output_index": 2, "delta": "Hi"},
        {"type": "response.refusal.delta", "delta": "no"},
        {"type": "response.mcp_call_arguments.delta", "output_index": 3, "delta": "{}"},
        {"type": "response.completed", "response": {
            "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "model": "m",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
                       {"type": "mcp_list_tools", "id": "l", "tools": [{"name": "x"}]}],
            "usage": {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}}},
        {"type": "error", "error": {"code": "x", "message": "y"}},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"model": "c", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_start", "index": 1,
         "content_block": {"type": "tool_use", "id": "t", "name": "find", "input": {}}},
        {"type": "content_block_delta", "index": 1,
         "delta": {"type": "input_json_delta", "partial_json": '{"city":"Ulm"}'}},
        {"type": "content_block_start", "index": 2, "content_block": {
            "type": "web_search_tool_result", "content": {"error_code": "x"}, "is_error": True}},
        {"type": "content_block_start", "index": 3, "content_block": {"type": "fallback", "to": {"model": "d"}}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "model": "c"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ],
    "gemini": [
        {"modelVersion": "g",
         "candidates": [{"content": {"parts": [{"text": "Hi"}, {"text": "hm", "thought": True}]}}]},
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "find", "willContinue": True}}]}}]},
        {"candidates": [{"content": {"parts": [{"functionCall": {"willContinue": True, "partialArgs": [
            {"jsonPath": "$.a[0].b", "stringValue": "U", "willContinue": True}, {"jsonPath": "$.n", "numberValue": 1},
            {"jsonPath": "$.a", "boolValue": True}, {"jsonPath": "$.x", "nullValue": None}]}}]}}]},
        {"candidates": [{"content": {"parts": [
            {"functionCall": {}}, {"functionCall": {"name": "pay", "args": {"a": 1}}}]}}]},
        {"candidates": [{"content": {"parts": [{"executableCode": {"code": "1"}}, {"inlineData": {"mimeType": "x"}}]},
                         "finishReason": "STOP"}],
         "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}, "promptFeedback": {"blockReason": ""}},
    ],
    "ollama": [
        {"model": "l", "message": {"content": "Hi"}, "done": False},
        {"message": {"content": "", "tool_calls": [
            {"id": "a", "function": {"name": "find", "arguments": {"city": "Ulm"}}}]}},
        {"done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2},
    ],
}  # fmt: skip
WHOLE: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {
        "content": [{"type": "text", "text": "Hi"}], "refusal": None, "function_call": {"name": "", "arguments": ""},
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "find", "arguments": {"city": "Ulm"}}}]}}]},
    "responses": STREAMS["responses"][-2]["response"],
    "anthropic": {"model": "c", "stop_reason": "tool_use", "usage": {}, "content": [
        {"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "t", "name": "find", "input": {"city": "Ulm"}}]},
    "gemini": STREAMS["gemini"][3],
    "ollama": STREAMS["ollama"][1],
}  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, -1, 1 << 70, -(1 << 70), 1.0, 1.5, float("inf"), float("nan"), 1e308, "", "x", "\ud800",
    "[0]", "$", "$.a[", "x" * 300, [], [[]], [None], [{}], {}, {"text": []}, {"a": {}}, {"": None}, [1, "x"], "0" * 40,
    "response.",
]  # fmt: skip


def places(document: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value."""
    found: list[tuple[Any, Any]] = []
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in list(pairs):
        found.append((document, key))
        found += places(value)
    return found


def mutated(dice: random.Random, events: list[Any], foreign: list[Any]) -> list[Any]:
    events = copy.deepcopy(events)
    for _ in range(dice.randint(1, 4)):
        kind = dice.randrange(6)
        at = dice.randrange(len(events))
        where = places(events[at])
        if kind <= 2 and where:  # another value, mostly of another type
            container, key = dice.choice(where)
            container[key] = copy.deepcopy(dice.choice(ODD))
        elif kind == 3 and where:  # a member less, or under the name of another
            container, key = dice.choice(where)
            value = container.pop(key)
            others = [name for holder, name in where if isinstance(holder, dict)]
            if isinstance(container, dict) and dice.random() < 0.5 and others:
                container[dice.choice(others)] = value
        elif kind == 4:
            events.insert(dice.randrange(len(events) + 1), copy.deepcopy(dice.choice([*events, *foreign])))
        else:
            events[at] = copy.deepcopy(dice.choice([*ODD, *foreign]))
    return events


def written(dice: random.Random, events: list[Any], lines: bool) -> bytes:
    texts = [json.dumps(one, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass") for one in events]
    raw = b"".join(text + b"\n" if lines else b"data: " + text + b"\n\n" for text in texts) + b"data: [DONE]\n\n" * (
        not lines
    )
    if dice.random() < 0.15:
        at = dice.randrange(len(raw))
        raw = raw[:at] + bytes([dice.randrange(256)]) + raw[at + 1 :]
    return raw[: dice.randrange(len(raw))] if dice.random() < 0.1 else raw


def answered(body: bytes, label: bytes, pieces: int) -> Response:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + label + b"\r\n\r\n"
    made = Response(200, head, 0, 1)
    made.body, made.body_length, made.end = body, len(body), len(head) + len(body)
    made.marks = [(len(head) + len(body) * at // pieces, at) for at in range(1, pieces + 1)]
    made.last_byte = pieces
    return made


LABELS = (b"text/event-stream", b"application/json", b"application/x-ndjson", b"text/plain")


@pytest.mark.parametrize("api", STREAMS)
def test_nothing_raises(api: str) -> None:
    dice = random.Random(f"mutations of {api}")
    foreign = [event for other, events in STREAMS.items() if other != api for event in events]
    schemas = (None, {}, SCHEMA, {"type": "nonsense"}, {"multipleOf": 0}, {"$schema": 7}, {"$id": []}, {"enum": 3})
    before: Answer | None = None
    read = 0
    for number in range(ROUNDS):
        tools = {"find": dice.choice(schemas) or {}, "sql": SCHEMA}
        ask = Ask(api, "m", "", tools, dice.choice(schemas), dice.random() < 0.7)
        lines = api == "ollama" or dice.random() < 0.1
        body = written(
            dice, mutated(dice, STREAMS[api] if number % 3 else [WHOLE[api]], foreign), lines or not number % 3
        )
        response = answered(body, dice.choice(LABELS), dice.randint(1, 5))
        response.open = dice.random() < 0.1
        answer = read_answer(ask, response, 0, "$.choices[*].id", "never")
        assert answer is not None
        message = answer.message
        texts = [message.text, message.refusal, message.error, message.model, message.finish_reason, *message.items]
        texts += [
            text for call in (*message.tool_calls, *message.hosted) for text in (call.id, call.name, call.arguments)
        ]
        for text in texts:
            text.encode()  # it can be stored and shown
        for other in (before, answer):
            if other is not None:
                found = compare_talk(ask, other, answer, Options())
                assert not found or other is before, "an answer differs from itself"
        before, read = answer, read + bool(message.text or message.tool_calls)
        step = dice.randint(1, 64)
        reader = Reader(ask, "text/event-stream", 200)
        try:
            for at in range(0, len(body), step):
                reader.feed_untrusted(body[at : at + step], at)
        except LlmError:
            pass
        reader.finish(True)
    assert read > ROUNDS / 3, "what is damaged too much is no test"


@pytest.mark.parametrize("place", [[], {}, None, "", "x", True, 1.5, -1, 1 << 80, [[1]], {"a": []}])
def test_indexes_of_every_type(place: Any) -> None:
    streams = {
        "chat": [{"choices": [{"index": place, "delta": {"tool_calls": [
            {"index": place, "id": place, "function": {"name": place, "arguments": "{}"}}]}}]}],
        "responses": [
            {"type": "response.output_item.added", "output_index": place,
             "item": {"type": "function_call", "id": place}},
            {"type": "response.function_call_arguments.delta", "output_index": place, "item_id": place, "delta": "{}"},
            {"type": "response.output_item.done", "output_index": place, "item": {"type": "x_call", "id": place}}],
        "anthropic": [
            {"type": "content_block_start", "index": place, "content_block": {"type": "tool_use", "id": place}},
            {"type": "content_block_delta", "index": place,
             "delta": {"type": "input_json_delta", "partial_json": "{}"}}],
        "gemini": [{"candidates": [{"content": {"parts": [{"functionCall": {"name": place, "args": place, "id": place,
                    "partialArgs": [{"jsonPath": place, "stringValue": place, "numberValue": place}]}}]}}]}],
        "ollama": [{"message": {"tool_calls": [{"id": place, "function": {"name": place, "arguments": place}}]}}],
    }  # fmt: skip
    for api, events in streams.items():
        reader = Reader(Ask(api, "", "", {}, None, True), "text/event-stream", 200)
        for event in events:
            reader.feed_untrusted(b"data: " + json.dumps(event).encode() + b"\n\n", 1)
        assert all(isinstance(call.arguments, str) for call in reader.finish(True).tool_calls)
