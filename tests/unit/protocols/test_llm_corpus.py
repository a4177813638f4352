"""Recorded streams of many vendors: what is rebuilt is what the vendors' own SDKs make of them, however it is split."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shadowd.protocols.llm import Ask, Message, Reader
from tests.conftest import CORPUS

FOLDER = CORPUS / "sse"
APIS = {
    "openai.chat.completions": "chat",
    "openai.responses": "responses",
    "anthropic.messages": "anthropic",
    "gemini": "gemini",
}


def entries() -> list[dict[str, Any]]:
    path = FOLDER / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else []


ENTRIES = entries()
if not ENTRIES:
    pytest.skip("needs ../shared/corpus/sse, which is not here", allow_module_level=True)


def api_of(entry: dict[str, Any]) -> str:
    told = entry.get("reference", {}).get("api")
    if told:
        return APIS[told]
    uri = entry["uri"]
    return "responses" if uri.endswith("/responses") else "anthropic" if "/messages" in uri else "chat"


def read(entry: dict[str, Any], steps: random.Random | None = None, size: int = 0) -> Message:
    raw = Path(FOLDER / entry["file"]).read_bytes()
    code = entry["status"]["code"] if isinstance(entry["status"], dict) else entry["status"]
    reader = Reader(Ask(api_of(entry), "", "", {}, None, True), "text/event-stream; charset=utf-8", code)
    at, time = 0, 0
    while at < len(raw):
        step = size or (steps.randint(1, 400) if steps else len(raw))
        reader.feed_untrusted(raw[at : at + step], time)
        at += step
        time += 1
    return reader.finish(True)


def check(entry: dict[str, Any], message: Message) -> None:
    reference = entry.get("reference")
    if reference is None:  # the SDK raised
        assert message.outcome == "error"
        assert message.error in entry["reference_error"] or "Token limit reached" in message.error
        return
    text = reference.get("text", reference.get("text_from_deltas"))
    assert message.text == text
    finish = reference.get("stop_reason", reference.get("finish_reason", reference.get("status")))
    if finish is not None:
        assert message.finish_reason == finish
    if reference.get("model"):
        assert message.model == reference["model"]
    usage = reference.get("usage")
    if usage:
        told = [usage[key] for key in ("input_tokens", "prompt_tokens", "promptTokenCount") if key in usage]
        assert message.input_tokens == told[0]
        told = [usage[key] for key in ("output_tokens", "completion_tokens", "candidatesTokenCount") if key in usage]
        assert message.output_tokens == (told[0] if told else None)
    if "output_types" in reference:  # every item is told: as text, as a call, or by its kind
        kinds = Counter(kind for kind in reference["output_types"] if kind not in ("message", "reasoning"))
        told_kinds = Counter([call.name for call in message.hosted] + message.items)
        assert told_kinds + Counter(function_call=len(message.tool_calls)) == kinds
    if "block_types" in reference:
        results = [kind for kind in reference["block_types"] if kind.endswith("_result")]
        assert [item.partition(":")[0] for item in message.items] == results
    if "tool_calls" not in reference:
        return
    expected = [(call["name"], _arguments(call)) for call in reference["tool_calls"]]
    assert [(call.name, json.loads(call.arguments or "{}")) for call in message.tool_calls] == expected


def _arguments(call: dict[str, Any]) -> Any:
    given = next(call[key] for key in ("arguments", "input", "args") if key in call)
    return json.loads(given or "{}") if isinstance(given, str) else given


NAMES = [entry["file"] for entry in ENTRIES]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_message_is_what_the_sdk_makes_of_it(entry: dict[str, Any]) -> None:
    message = read(entry)
    assert message.events > 0
    check(entry, message)


def told(message: Message) -> dict[str, Any]:
    """All that a message says, calls included."""
    return {
        name: [{slot: getattr(one, slot) for slot in type(one).__slots__} for one in value]
        if (value := getattr(message, name)) and name in ("tool_calls", "hosted")
        else value
        for name in Message.__slots__
    }


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_byte_by_byte(entry: dict[str, Any]) -> None:
    assert told(read(entry, size=1)) == told(read(entry))


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_any_split(entry: dict[str, Any]) -> None:
    whole = told(read(entry))
    for seed in range(5):
        assert told(read(entry, random.Random(seed))) == whole


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_what_is_cut_anywhere_is_no_whole_answer(entry: dict[str, Any]) -> None:
    raw = Path(FOLDER / entry["file"]).read_bytes()
    whole = read(entry)
    for at in range(0, len(raw) - 2, max(1, len(raw) // 20)):
        reader = Reader(Ask(api_of(entry), "", "", {}, None, True), "text/event-stream", 200)
        reader.feed_untrusted(raw[:at], 0)
        message = reader.finish(True)
        assert message.events <= whole.events
        assert whole.text.startswith(message.text)
        if message.events < whole.events and not message.finish_reason:
            assert message.outcome in ("cut", "error")
