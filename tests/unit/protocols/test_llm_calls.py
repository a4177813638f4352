"""Tool calls of every kind that the interfaces have, streamed and whole, however they are cut and numbered."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.protocols.llm import Ask, Message, Reader


def read(api: str, body: str, kind: str = "text/event-stream", stream: bool = True) -> Message:
    reader = Reader(Ask(api, "", "", {}, None, stream), kind, 200)
    reader.feed_untrusted(body.encode(), 1)
    return reader.finish(True)


def streamed(api: str, *events: dict[str, Any], done: bool = False) -> Message:
    return read(api, "".join(f"data: {json.dumps(one)}\n\n" for one in events) + "data: [DONE]\n\n" * done)


def whole(api: str, body: dict[str, Any]) -> Message:
    return read(api, json.dumps(body), "application/json", stream=False)


def calls(message: Message) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in message.tool_calls]


def hosted(message: Message) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in message.hosted]


# --- Chat Completions -------------------------------------------------------------------------------------------------


def pieces(*of_calls: dict[str, Any]) -> Message:
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [one]}}]} for one in of_calls]
    return streamed("chat", *chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}, done=True)


def function(name: str | None = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    inner = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"type": "function", "function": inner, **more}


def chatted(**message: Any) -> Message:
    return whole("chat", {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]})


def test_arguments_as_a_table() -> None:
    expected = [("find", '{"city":"Ulm"}')]
    assert calls(pieces(function("find", {"city": "Ulm"}, index=0, id="a"))) == expected
    assert calls(chatted(tool_calls=[function("find", {"city": "Ulm"}, id="a")])) == expected
    assert calls(chatted(function_call={"name": "find", "arguments": {"city": "Ulm"}})) == expected


def test_two_calls_with_one_index_are_told_apart_by_their_ids() -> None:
    found = pieces(
        function("a", '{"x":', index=0, id="1"), function(None, "1}", index=0),
        function("b", '{"y":', index=0, id="2"), function(None, "2}", index=0),
    )  # fmt: skip
    assert calls(found) == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_two_whole_calls_with_one_index_and_no_ids() -> None:
    found = pieces(function("a", '{"x":1}', index=0, id=""), function("a", '{"x":2}', index=0, id=""))
    assert calls(found) == [("a", '{"x":1}'), ("a", '{"x":2}')]


def test_an_id_that_changes_with_every_piece_is_one_call() -> None:
    """Some servers make an id for each chunk; only the first has the name."""
    found = pieces(
        function("a", "", index=0, id="1"), function(None, '{"x"', index=0, id="2"),
        function(None, ":1}", index=0, id="3"),
    )  # fmt: skip
    assert calls(found) == [("a", '{"x":1}')]


def test_calls_without_an_index() -> None:
    found = pieces(function("a", '{"x":', id="1"), function("b", "{}", id="2"), function(None, "1}", id="1"))
    assert calls(found) == [("a", '{"x":1}'), ("b", "{}")]
    assert calls(pieces(function("a", '{"x":'), function(None, "1}"), function("b", "{}"))) == [
        ("a", '{"x":1}'), ("b", "{}"),
    ]  # fmt: skip


def test_custom_tools_take_free_text() -> None:
    def custom(**inner: str) -> dict[str, Any]:
        return {"index": 0, "id": "c", "type": "custom", "custom": inner}

    for found in (
        pieces(custom(name="sql", input="select"), custom(input=" 1")),
        chatted(tool_calls=[custom(name="sql", input="select 1")]),
    ):
        assert calls(found) == [("sql", "select 1")]
        assert found.tool_calls[0].free


def test_a_kind_of_tomorrow_has_its_kind_as_a_name() -> None:
    assert calls(chatted(tool_calls=[{"id": "a", "type": "browser", "browser": {"url": "x"}}])) == [("browser", "")]


@pytest.mark.parametrize("nothing", [{"name": "", "arguments": ""}, {"name": "", "arguments": "{}"}, {}])
def test_an_empty_function_call_is_none(nothing: dict[str, str]) -> None:
    assert calls(chatted(content="4", function_call=nothing)) == []
    assert calls(chatted(content="4", tool_calls=[{"function": nothing}])) == []
    chunk = {"choices": [{"index": 0, "delta": {"content": "4", "function_call": nothing}}]}
    assert calls(streamed("chat", chunk, done=True)) == []


def test_text_beside_the_delta_is_the_same_text() -> None:
    both = [{"choices": [{"index": 0, "text": word, "delta": {"content": word}}]} for word in ("a", " b")]
    assert streamed("chat", *both, done=True).text == "a b"
    older = [{"choices": [{"index": 0, "text": word}]} for word in ("a", " b")]
    assert streamed("chat", *older, done=True).text == "a b"
    beside = {"choices": [{"index": 0, "text": "a b", "message": {"content": "a b"}, "finish_reason": "stop"}]}
    assert whole("chat", beside).text == "a b"
    assert whole("chat", {"choices": [{"text": "a b"}]}).text == "a b"


def test_what_else_an_answer_has() -> None:
    assert chatted(content="", audio={"id": "x"}, images=[{"url": "y"}]).items == ["audio", "images"]


# --- Responses --------------------------------------------------------------------------------------------------------

ITEMS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {  # the item, what is asked, where the call stands
    "function_call": ({"name": "find", "arguments": '{"a":1}'}, {"a": 1}, "find"),
    "mcp_call": ({"name": "ask", "arguments": '{"q":"x"}', "server_label": "wiki", "output": "y"}, {"q": "x"}, "ask"),
    "mcp_approval_request": ({"name": "ask", "arguments": "{}", "server_label": "wiki"}, {}, "ask"),
    "web_search_call": ({"action": {"type": "search", "query": "x"}, "status": "completed"},
                        {"action": {"type": "search", "query": "x"}}, "hosted"),
    "file_search_call": ({"queries": ["x"], "results": [{"text": "y"}]}, {"queries": ["x"]}, "hosted"),
    "code_interpreter_call": ({"code": "1+1", "container_id": "c1", "outputs": []}, {"code": "1+1"}, "hosted"),
    "image_generation_call": ({"result": "aGk=", "status": "completed"}, {}, "hosted"),
    "computer_call": ({"action": {"type": "click", "x": 1}, "pending_safety_checks": []},
                      {"action": {"type": "click", "x": 1}}, "computer_call"),
    "local_shell_call": ({"action": {"command": ["ls"]}}, {"action": {"command": ["ls"]}}, "local_shell_call"),
    "apply_patch_call": ({"operation": {"type": "delete_file", "path": "x"}},
                         {"operation": {"type": "delete_file", "path": "x"}}, "apply_patch_call"),
    "teleport_call": ({"arguments": {"to": "mars"}, "energy": 7}, {"arguments": {"to": "mars"}}, "teleport_call"),
}  # fmt: skip


def item_stream(item: dict[str, Any], place: Any = 0, end: bool = True) -> list[dict[str, Any]]:
    begun = {"type": item["type"], "id": item["id"], "status": "in_progress", "name": item.get("name", "")}
    events: list[dict[str, Any]] = [
        {"type": "response.output_item.added", "output_index": place, "item": begun},
        {"type": "response.output_item.done", "output_index": place, "item": item},
    ]
    if end:
        events.append({"type": "response.completed", "response": {"status": "completed", "output": [item]}})
    return events


@pytest.mark.parametrize("kind", ITEMS)
def test_items_that_are_calls(kind: str) -> None:
    members, asked, where = ITEMS[kind]
    item = {"type": kind, "id": "i1", **members}
    for found in (
        whole("responses", {"status": "completed", "output": [item]}),
        streamed("responses", *item_stream(item)),
        streamed("responses", *item_stream(item, place=None)),  # joined by the item's id
        streamed("responses", {"type": "response.completed", "response": {"status": "completed", "output": [item]}}),
    ):
        if where == "hosted":
            assert (hosted(found), calls(found)) == ([(kind, asked)], [])
        else:
            (call,) = found.tool_calls
            assert (call.name, json.loads(call.arguments), found.hosted) == (where, asked, [])
        assert found.outcome == "whole"


def test_a_custom_tool_of_responses() -> None:
    item = {"type": "custom_tool_call", "id": "i", "call_id": "c", "name": "sql", "input": "select 1"}
    delta = {"type": "response.custom_tool_call_input.delta", "output_index": 0, "item_id": "i", "delta": "select 1"}
    added, *rest = item_stream(item)
    for found in (
        whole("responses", {"status": "completed", "output": [item]}), streamed("responses", added, delta, *rest),
        streamed("responses", added, delta),
    ):  # fmt: skip
        assert calls(found) == [("sql", "select 1")]
        assert found.tool_calls[0].free


def test_pieces_of_an_mcp_call_by_item() -> None:
    added = {
        "type": "response.output_item.added",
        "output_index": 2,
        "item": {"type": "mcp_call", "id": "m", "name": "ask"},
    }
    cut = [{"type": "response.mcp_call_arguments.delta", "item_id": "m", "delta": piece} for piece in ('{"q"', ":1}")]
    assert calls(streamed("responses", added, *cut)) == [("ask", '{"q":1}')]


def test_other_items_are_told_by_kind_and_failure() -> None:
    output = [
        {"type": "reasoning", "id": "r"}, {"type": "message", "id": "m", "content": [{"text": "hi"}]},
        {"type": "mcp_list_tools", "id": "a", "server_label": "wiki", "tools": []},
        {"type": "mcp_list_tools", "id": "b", "error": {"code": "unreachable", "message": "after 3.1 s"}},
        {"type": "hologram", "id": "h"},
        {"type": "mcp_call", "id": "c", "name": "ask", "arguments": "{}", "error": "timeout after 3 s"},
    ]  # fmt: skip
    found = whole("responses", {"status": "completed", "output": output})
    assert found.items == ["mcp_list_tools", "mcp_list_tools: unreachable", "hologram", "mcp_call: failed"]
    assert (found.text, calls(found)) == ("hi", [("ask", "{}")])


def test_items_are_read_once_though_they_are_told_thrice() -> None:
    many = [{"type": kind, "id": f"i{at}", **members} for at, (kind, (members, _, _)) in enumerate(ITEMS.items())]
    events = [event for at, item in enumerate(many) for event in item_stream(item, at, end=False)]
    events.append({"type": "response.completed", "response": {"status": "completed", "output": many}})
    found = streamed("responses", *events)
    assert len(found.tool_calls) + len(found.hosted) == len(ITEMS)


# --- Anthropic --------------------------------------------------------------------------------------------------------

START = {"type": "message_start", "message": {"model": "c-large", "usage": {"input_tokens": 3}}}
STOP = {"type": "message_stop"}


def block(index: Any, content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def piece(index: Any, text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": text}}


def test_anthropics_blocks() -> None:
    blocks = [
        {"type": "tool_use", "id": "a", "name": "find", "input": {"x": 1}},
        {"type": "server_tool_use", "id": "b", "name": "web_search", "input": {"query": "x"}},
        {"type": "mcp_tool_use", "id": "c", "name": "ask", "server_name": "wiki", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "b", "content": [{"url": "x"}]},
        {"type": "web_search_tool_result", "content": {"type": "x", "error_code": "max_uses_exceeded"}},
        {"type": "mcp_tool_result", "tool_use_id": "c", "is_error": True, "content": []},
        {"type": "thinking", "thinking": "hm"}, {"type": "hologram"}, {"type": "text", "text": "hi"},
    ]  # fmt: skip
    found = whole("anthropic", {"content": blocks, "stop_reason": "end_turn"})
    again = streamed("anthropic", START, *(block(at, one) for at, one in enumerate(blocks)), STOP)
    for message in (found, again):
        assert calls(message) == [("find", '{"x":1}'), ("web_search", '{"query":"x"}'), ("ask", "{}")]
        assert message.items == ["web_search_tool_result", "web_search_tool_result: max_uses_exceeded",
                                 "mcp_tool_result: error", "hologram"]  # fmt: skip
        assert message.text == "hi"


def test_blocks_that_are_all_numbered_zero() -> None:
    uses = [{"type": "tool_use", "id": name, "name": name, "input": {}} for name in "ab"]
    found = streamed(
        "anthropic", START, block(0, uses[0]), piece(0, '{"x":1}'), block(0, uses[1]), piece(0, '{"y":2}'), STOP
    )
    assert calls(found) == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_a_second_message_is_an_error_and_is_not_mixed_in() -> None:
    def said(text: str) -> dict[str, Any]:
        return block(0, {"type": "text", "text": text})

    found = streamed("anthropic", START, said("one"), START, said("two"), STOP)
    assert (found.outcome, found.text) == ("error", "one")
    assert "second message" in found.error


# --- Gemini -----------------------------------------------------------------------------------------------------------


def parts(*listed: dict[str, Any], finish: str = "") -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(listed)}, **({"finishReason": finish} if finish else {})}]}


def partial(*args: dict[str, Any], **called: Any) -> dict[str, Any]:
    return parts({"functionCall": {"partialArgs": list(args), **called}})


def text_at(path: str, text: str, more: bool = True) -> dict[str, Any]:
    return {"jsonPath": path, "stringValue": text, "willContinue": more}


BEGUN = parts({"functionCall": {"name": "book", "willContinue": True}})
ENDED = parts({"functionCall": {}}, finish="STOP")


@given(st.text(max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_however_a_value_is_cut_it_is_the_same_call(value: str, cuts: list[int]) -> None:
    places = sorted({0, len(value), *(cut for cut in cuts if cut < len(value))})
    cut = [value[a:b] for a, b in pairwise(places)] or [""]
    events = [partial(text_at("$.city", one), willContinue=True) for one in cut]
    found = streamed("gemini", BEGUN, *events, partial(text_at("$.city", "", more=False), willContinue=True), ENDED)
    ((name, arguments),) = calls(found)
    kept = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert (name, json.loads(arguments)["city"]) == ("book", kept)


def test_partial_arguments_of_every_kind_and_place() -> None:
    found = streamed(
        "gemini", BEGUN,
        partial(text_at("$.to.city", "Par"), {"jsonPath": "$.days", "numberValue": 3}, willContinue=True),
        partial(text_at("$.to.city", "is", more=False), {"jsonPath": "$.window", "boolValue": True}, willContinue=True),
        partial(text_at("$.guests[1].name", "B"), text_at("$.guests[0].name", "A"), willContinue=True),
        partial({"jsonPath": "$['no te']", "nullValue": "NULL_VALUE"}, willContinue=True),
        ENDED,
    )  # fmt: skip
    ((_, arguments),) = calls(found)
    assert json.loads(arguments) == {
        "to": {"city": "Paris"}, "days": 3, "window": True, "guests": [{"name": "A"}, {"name": "B"}], "no te": None,
    }  # fmt: skip


def test_two_streamed_calls_and_one_whole() -> None:
    paris, rome = (partial(text_at("$.city", city), willContinue=True) for city in ("Paris", "Rome"))
    plain = parts({"functionCall": {"name": "pay", "args": {"sum": 1}}})
    found = streamed("gemini", BEGUN, paris, ENDED, BEGUN, rome, ENDED, plain)
    assert calls(found) == [("book", '{"city":"Paris"}'), ("book", '{"city":"Rome"}'), ("pay", '{"sum":1}')]


def test_geminis_own_tools_and_other_parts() -> None:
    found = whole("gemini", parts(
        {"executableCode": {"language": "PYTHON", "code": "1+1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_FAILED"}}, {"inlineData": {"mimeType": "image/png", "data": "x"}},
        {"text": "hm", "thought": True}, {"text": "hi", "thoughtSignature": "s"}, finish="STOP",
    ))  # fmt: skip
    assert hosted(found) == [("code_execution", {"code": "1+1", "language": "PYTHON"})]
    assert found.items == ["code_execution_result", "code_execution_result: OUTCOME_FAILED", "inlineData: image/png"]
    assert found.text == "hi"


def test_a_refused_prompt() -> None:
    assert whole("gemini", {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}).refused


# --- who answers ------------------------------------------------------------------------------------------------------


def test_the_model_that_answers_after_another_had_begun() -> None:
    chunks = [{"model": model, "choices": [{"index": 0, "delta": {"content": "a"}}]} for model in ("", "big", "small")]
    found = streamed("chat", *chunks, done=True)
    assert (found.model, found.fallback) == ("small", "big")
    block_ = block(0, {"type": "fallback", "from": {"model": "c-large"}, "to": {"model": "c-small"}})
    found = streamed("anthropic", START, block_, STOP)
    assert (found.model, found.fallback) == ("c-small", "c-large")
    found = streamed("gemini", {"modelVersion": "g-1"}, {"modelVersion": "g-2", **parts({"text": "a"}, finish="STOP")})
    assert (found.model, found.fallback) == ("g-2", "g-1")
    begun = {"type": "response.created", "response": {"model": "o"}}
    ended = {"type": "response.completed", "response": {"model": "o-2026-01-01", "status": "completed", "output": []}}
    found = streamed("responses", begun, ended)
    assert (found.model, found.fallback) == ("o-2026-01-01", "")  # its date is told later: the same model


def test_halves_of_a_character_that_were_escaped_apart() -> None:
    chunks = [{"choices": [{"index": 0, "delta": {"content": half}}]} for half in ("\ud83d", "\ude00")]
    raw = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    assert read("chat", raw).text == "\N{GRINNING FACE}"
    assert read("chat", raw[: len(raw) // 2]).text == "\N{REPLACEMENT CHARACTER}"
