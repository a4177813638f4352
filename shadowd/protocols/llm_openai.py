"""OpenAI's two interfaces, and what the many compatible servers make of them (sans-IO): see ``llm_assembly``."""

from __future__ import annotations

import re
from typing import Any

from shadowd.protocols.llm_assembly import Assembler, ToolCall, items, place_of, string, table, text_of

_NAME = 200


class Chat(Assembler):
    """OpenAI Chat Completions; the first choice counts."""

    __slots__ = ()

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if data.get("error"):
            self._error(data["error"])
            return
        choices = items(data.get("choices"))
        self._model(data.get("model"))
        self._read_usage(data.get("usage") or table(data.get("x_groq")).get("usage"))
        for choice in choices:
            if choice.get("index") not in (0, None):
                continue
            self._choice(choice, table(choice.get("delta")))
            if choice.get("error"):
                self._error(choice["error"])
        if not choices and "usage" not in data and "x_groq" not in data:
            self.message.unknown += 1

    def _choice(self, choice: dict[str, Any], said: dict[str, Any], whole: bool = False) -> None:
        content = text_of(said.get("content"))
        # the older completions have ``text``; servers that speak both put the same words in both
        self._add_text(content or choice.get("text"))
        self._add_text(said.get("refusal"), self._refusal)
        listed = said.get("tool_calls")
        for place, piece in enumerate(items([listed] if isinstance(listed, dict) else listed)):
            self._tool_piece(piece, ("whole", place) if whole else None)
        if isinstance(said.get("function_call"), dict):
            call = self._call("function_call", "", string(said["function_call"].get("name")))
            self._add_arguments(call, said["function_call"].get("arguments"))
        for kind in ("audio", "images"):
            if said.get(kind) and kind not in self.message.items:
                self._item(kind)
        self._finish(choice.get("finish_reason"))

    def _tool_piece(self, piece: dict[str, Any], place: object) -> None:
        id_ = string(piece.get("id"))
        kind = "custom" if isinstance(piece.get("custom"), dict) else "function"
        body = table(piece.get(kind))
        name = string(body.get("name"))
        if place is None:
            # servers that leave the index out send whole calls, each with an id
            index = place_of(piece.get("index"))
            place = index if index is not None else id_ or ("unnumbered", len(self._calls) - (not name))
        known = self._open.get(place)
        if known is not None and name and _another(known, id_, body):
            del self._open[place]
        call = self._call(place, id_)
        if call is None:
            return
        call.name = (call.name + name)[:_NAME]  # a name in two pieces is joined, as OpenAI's client does
        if kind == "custom":
            call.free = True
            self._add_arguments(call, body.get("input"))
        elif "function" in piece or "custom" in piece:
            self._add_arguments(call, body.get("arguments"))
        elif not call.name and string(piece.get("type")):  # a kind of tomorrow, by its name
            call.name = string(piece["type"])[:_NAME]

    def _read_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            details = table(usage.get("completion_tokens_details"))
            cached = table(usage.get("prompt_tokens_details")).get("cached_tokens")
            self._usage(usage.get("prompt_tokens"), usage.get("completion_tokens"), cached,
                        details.get("reasoning_tokens"))  # fmt: skip

    def whole(self, data: dict[str, Any]) -> None:
        if data.get("error"):
            self._error(data["error"])
            return
        self._model(data.get("model"))
        self._read_usage(data.get("usage"))
        choices = items(data.get("choices"))
        first = next((choice for choice in choices if choice.get("index") == 0), choices[0] if choices else None)
        if first is None:
            self.message.error = self.message.error or "the answer has no choices"
            return
        self._choice(first, table(first.get("message")), whole=True)


def _another(call: ToolCall, id_: str, body: dict[str, Any]) -> bool:
    """Whether a piece that names a function begins another call with the index of ``call``: by its id. Servers that
    give no ids send each call in one piece."""
    if id_ and call.id:
        return id_ != call.id
    arguments = body.get("arguments")
    begins = isinstance(arguments, dict) or string(arguments).lstrip()[:1] == "{"
    return bool(call.name) and not id_ and begins and call.in_one_piece


#: Calls that the provider runs itself: what they ask for, by the members that say it.
_HOSTED = frozenset({
    "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "tool_search_call",
})  # fmt: skip
#: Members of an item that say what is asked for. Not among them: ids, states, results, containers.
_ASKED = ("action", "actions", "queries", "query", "code", "operation", "input", "arguments", "prompt", "server_label")
#: Items that are no calls, and are told otherwise or are only thought.
_TOLD = frozenset({"message", "reasoning"})
_MAX_SEEN = 4096  # an output has some ten items
_PIECE = re.compile(r"response\.[a-z0-9_]+_(?:arguments|input|code)\.(delta|done)")


class Responses(Assembler):
    """OpenAI Responses: items by their place in the output. Whatever is called ``…_call`` is a call: by its own name
    (functions, custom tools, tools of an MCP server), else by the kind of the item. Other kinds are told as items."""

    __slots__ = ("_seen",)

    def __init__(self, status: int = 200) -> None:
        super().__init__(status)
        self._seen: set[object] = set()  # places and ids of items that were read whole

    def event(self, kind: str, data: dict[str, Any]) -> None:
        kind = string(data.get("type")) or kind
        place = _key(data.get("output_index"), data.get("item_id"))
        if kind == "response.output_text.delta":
            self._add_text(data.get("delta"))
        elif kind == "response.refusal.delta":
            self._add_text(data.get("delta"), self._refusal)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            item = table(data.get("item"))
            place = _key(data.get("output_index"), item.get("id"))
            self._output_item(place, item, kind.endswith("done"))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self.terminated = True
            self._end(table(data.get("response")))
        elif kind == "error":
            self._error(data.get("error") or data)
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            self._model(table(data.get("response")).get("model"))
        elif (piece := _PIECE.fullmatch(kind)) is not None:
            if place is None:
                self.message.unknown += 1
            elif piece[1] == "delta":
                self._add_arguments(self._call(place), data.get("delta"))
        elif not kind.startswith("response."):
            self.message.unknown += 1

    def _output_item(self, place: object, item: dict[str, Any], whole: bool) -> None:
        kind = string(item.get("type"))
        if place is None or not kind:
            self.message.unknown += 1
            return
        if kind in _TOLD or place in self._seen:
            return
        id_ = string(item.get("id"))[:_NAME]
        if whole and len(self._seen) < _MAX_SEEN:
            self._seen.update((place, id_) if id_ else (place,))
        if not kind.endswith(("_call", "_approval_request")):
            if whole:
                self._item(kind, _failure(item))
            return
        name = string(item.get("name")) or kind
        call = self._call(place, string(item.get("call_id")) or id_, name, kind in _HOSTED)
        if call is None:
            return
        if id_:  # pieces may name either
            self._open.setdefault(id_, call)
        if kind == "custom_tool_call":
            call.free = True
        if not whole:
            return
        asked: object = item.get("input" if kind == "custom_tool_call" else "arguments")
        if asked is None or kind not in ("function_call", "custom_tool_call", "mcp_call", "mcp_approval_request"):
            asked = {name: item[name] for name in _ASKED if item.get(name) not in (None, "", [])}
            if kind in ("function_call", "custom_tool_call") and not asked:
                return  # what was streamed stands
        self._set_arguments(call, asked)
        self.message.deltas += 1
        if kind not in ("function_call", "custom_tool_call") and _failure(item):
            self._item(kind, _failure(item))

    def _end(self, response: dict[str, Any]) -> None:
        message = self.message
        told, begun = frozenset(self._seen), frozenset(self._open)
        for place, item in enumerate(items(response.get("output"))):  # some items are only told here
            id_ = string(item.get("id"))[:_NAME]
            if not id_ or id_ not in told:
                self._output_item(id_ if id_ in begun else place, item, whole=True)
            if item.get("type") == "message" and not self._text and not self._refusal:
                self._say(item)
        self._model(response.get("model"))
        usage = table(response.get("usage"))
        self._usage(usage.get("input_tokens"), usage.get("output_tokens"),
                    table(usage.get("input_tokens_details")).get("cached_tokens"),
                    table(usage.get("output_tokens_details")).get("reasoning_tokens"))  # fmt: skip
        self._finish(response.get("status"))
        if message.finish_reason == "incomplete":
            self._finish(table(response.get("incomplete_details")).get("reason"))
        if message.finish_reason == "failed" or response.get("error"):
            self._error(response.get("error"))

    def _say(self, item: dict[str, Any]) -> None:
        for part in items(item.get("content")):
            self._add_text(part.get("text"))
            self._add_text(part.get("refusal"), self._refusal)

    def whole(self, data: dict[str, Any]) -> None:
        if "output" not in data:
            self._error(data.get("error") or "the answer has no output")
            return
        for item in items(data.get("output")):
            if item.get("type") == "message":
                self._say(item)
        self._end(data)


def _key(place: object, id_: object) -> object:
    """What the pieces of an item are joined by; None if nothing says it."""
    index = place_of(place)
    return index if index is not None else string(id_)[:_NAME] or None


def _failure(item: dict[str, Any]) -> str:
    """Why an item failed, "" if it did not."""
    error = item.get("error")
    if error:
        return string(table(error).get("code")) or string(table(error).get("type")) or "failed"
    return "failed" if item.get("status") == "failed" else ""
