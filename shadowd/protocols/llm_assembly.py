"""How each vendor's pieces of an answer become one message (sans-IO).

An ``Assembler`` takes the JSON of one event, or of a whole answer, and writes to its ``Message``. Pieces of a tool
call are joined by index (OpenAI chat), by item (OpenAI responses) or by content block (Anthropic), as the vendors' own
clients do. Usage that is told several times is cumulative: the last one counts. Anything of another shape than expected
is counted in ``unknown`` and left out.
"""

from __future__ import annotations

import json
from typing import Any

#: Of one answer: a million tokens is beyond any model's longest answer by an order of magnitude.
MAX_TEXT = 1 << 20
MAX_ARGUMENTS = 256 << 10  # of one tool call: OpenAI's own limit on a string of input is about this
MAX_TOOL_CALLS = 256


class ToolCall:
    """``arguments`` is JSON text as the model wrote it."""

    __slots__ = ("_pieces", "_size", "arguments", "id", "name")

    def __init__(self, id_: str = "", name: str = "", arguments: str = "") -> None:
        self.id = id_
        self.name = name
        self.arguments = arguments
        self._pieces: list[str] = []
        self._size = 0

    def add(self, piece: str) -> bool:
        """A piece of the arguments; False if they are too long."""
        self._size += len(piece)
        if self._size > MAX_ARGUMENTS:
            return False
        self._pieces.append(piece)
        return True

    def replace(self, arguments: str) -> bool:
        """All of the arguments; False if they are too long."""
        self._pieces, self._size = [], 0
        return self.add(arguments)

    def close(self) -> None:
        self.arguments = "".join(self._pieces)

    def __repr__(self) -> str:
        return f"<{self.name}({self.arguments[:80]})>"


class Message:
    """What a model answered. Token counts are None where the answer does not tell them.

    ``outcome``: whole; ``unterminated`` (finished, but the stream's own end is missing); ``cut`` (it ends in the
    middle); ``open`` (it went on when the book was closed); ``error`` (told in the answer, or it is no answer).
    """

    __slots__ = (
        "cached_tokens",
        "clipped",
        "deltas",
        "error",
        "events",
        "finish_reason",
        "input_tokens",
        "model",
        "outcome",
        "output_tokens",
        "reasoning_tokens",
        "refusal",
        "text",
        "tool_calls",
        "unknown",
    )

    def __init__(self) -> None:
        self.text = ""
        self.refusal = ""
        self.tool_calls: list[ToolCall] = []
        self.finish_reason = ""
        self.model = ""
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.error = ""
        self.outcome = "cut"
        self.events = 0
        self.deltas = 0  # events with text, refusal or arguments
        self.unknown = 0
        self.clipped = False  # a limit of this module was reached

    @property
    def refused(self) -> bool:
        return bool(self.refusal) or self.finish_reason in ("refusal", "content_filter", "SAFETY", "PROHIBITED_CONTENT")


def text_of(value: object) -> str:
    """Text that is given as a string, or as parts with ``text`` in them."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, list):
        parts = [one["text"] for one in value if isinstance(one, dict) and isinstance(one.get("text"), str)]
        return "".join(parts)[:MAX_TEXT]
    return ""


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _error_text(value: object) -> str:
    """``error`` of any vendor: a string, or a table with a message and a kind."""
    if isinstance(value, str):
        return value[:1000]
    told = _table(value)
    kind = _string(told.get("type")) or _string(told.get("code")) or _string(told.get("status"))
    return f"{kind}: {_string(told.get('message'))}".strip(": ")[:1000] or "an error without a message"


class Assembler:
    """One answer of one vendor."""

    __slots__ = ("_calls", "_refusal", "_size", "_text", "message", "terminated")

    def __init__(self, status: int = 200) -> None:
        self.message = Message()
        self.terminated = False  # the stream's own end has come
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._size = 0
        self._calls: dict[object, ToolCall] = {}  # by what their pieces are joined by, in order of first appearance
        if status >= 400:
            self.message.error = f"status {status}"

    def event(self, kind: str, data: dict[str, Any]) -> None:
        """One event of a stream; ``kind`` is its SSE type."""
        raise AssertionError("each vendor has its own")

    def whole(self, data: dict[str, Any]) -> None:
        """An answer that was not streamed."""
        raise AssertionError("each vendor has its own")

    def close(self) -> None:
        """Nothing more comes: joins the pieces."""
        message = self.message
        message.text, message.refusal = "".join(self._text), "".join(self._refusal)
        for call in self._calls.values():
            call.close()
        message.tool_calls = list(self._calls.values())

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _add_text(self, piece: object, parts: list[str] | None = None) -> None:
        text = text_of(piece)
        if text:
            self.message.deltas += 1
            if self._size + len(text) > MAX_TEXT:
                self.message.clipped = True
                return
            self._size += len(text)
            (self._text if parts is None else parts).append(text)

    def _call(self, key: object, id_: str = "", name: str = "") -> ToolCall | None:
        call = self._calls.get(key)
        if call is None:
            if len(self._calls) >= MAX_TOOL_CALLS:
                self.message.clipped = True
                return None
            call = self._calls[key] = ToolCall()
        call.id = call.id or id_[:200]
        call.name = call.name or name[:200]
        return call

    def _add_arguments(self, call: ToolCall | None, piece: object) -> None:
        if call is not None and isinstance(piece, str):
            self.message.deltas += bool(piece)
            self.message.clipped |= not call.add(piece)

    def _set_arguments(self, call: ToolCall | None, arguments: object) -> None:
        """All of a call's arguments at once."""
        if call is not None:
            text = arguments if isinstance(arguments, str) else _dumped(arguments)
            self.message.clipped |= not call.replace(text)

    def _usage(self, asked: object, answered: object, cached: object = None, reasoning: object = None) -> None:
        message = self.message
        for name, value in (("input_tokens", asked), ("output_tokens", answered), ("cached_tokens", cached),
                            ("reasoning_tokens", reasoning)):  # fmt: skip
            number = _number(value)
            if number is not None:
                setattr(message, name, number)

    def _error(self, value: object) -> None:
        self.message.error = _error_text(value)

    def _model(self, value: object) -> None:
        self.message.model = self.message.model or _string(value)[:200]


def _dumped(value: object) -> str:
    return json.dumps(value if value is not None else {}, ensure_ascii=False, separators=(",", ":"))


class Chat(Assembler):
    """OpenAI Chat Completions; the first choice counts."""

    __slots__ = ()

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if data.get("error"):
            self._error(data["error"])
            return
        choices = _items(data.get("choices"))
        self._model(data.get("model"))
        self._read_usage(data.get("usage") or _table(data.get("x_groq")).get("usage"))
        for choice in choices:
            if choice.get("index") not in (0, None):
                continue
            self._piece(_table(choice.get("delta")))
            if "text" in choice:  # the older completions
                self._add_text(choice["text"])
            if choice.get("error"):
                self._error(choice["error"])
            self.message.finish_reason = _string(choice.get("finish_reason")) or self.message.finish_reason
        if not choices and "usage" not in data and "x_groq" not in data:
            self.message.unknown += 1

    def _piece(self, delta: dict[str, Any]) -> None:
        self._add_text(delta.get("content"))
        self._add_text(delta.get("refusal"), self._refusal)
        for piece in _items(delta.get("tool_calls")):
            function = _table(piece.get("function"))
            index = piece.get("index")
            # servers that leave the index out send whole calls, each with an id
            key: object = index if isinstance(index, int) else _string(piece.get("id")) or len(self._calls)
            call = self._call(key, _string(piece.get("id")))
            if call is not None and isinstance(function.get("name"), str):
                call.name = (call.name + function["name"])[
                    :200
                ]  # a name in two pieces is joined, as OpenAI's client does
            self._add_arguments(call, function.get("arguments"))
        if isinstance(delta.get("function_call"), dict):
            call = self._call("function_call", "", _string(delta["function_call"].get("name")))
            self._add_arguments(call, delta["function_call"].get("arguments"))

    def _read_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            details = _table(usage.get("completion_tokens_details"))
            cached = _table(usage.get("prompt_tokens_details")).get("cached_tokens")
            self._usage(usage.get("prompt_tokens"), usage.get("completion_tokens"), cached,
                        details.get("reasoning_tokens"))  # fmt: skip

    def whole(self, data: dict[str, Any]) -> None:
        if data.get("error"):
            self._error(data["error"])
            return
        self._model(data.get("model"))
        self._read_usage(data.get("usage"))
        for choice in _items(data.get("choices"))[:1]:
            self._piece(_table(choice.get("message")))
            if "text" in choice:
                self._add_text(choice["text"])
            self.message.finish_reason = _string(choice.get("finish_reason"))
        if not _items(data.get("choices")):
            self.message.error = self.message.error or "the answer has no choices"


class Responses(Assembler):
    """OpenAI Responses: items by their place in the output."""

    __slots__ = ()

    def event(self, kind: str, data: dict[str, Any]) -> None:
        kind = _string(data.get("type")) or kind
        place = data.get("output_index")
        if kind == "response.output_text.delta":
            self._add_text(data.get("delta"))
        elif kind == "response.refusal.delta":
            self._add_text(data.get("delta"), self._refusal)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._item(place, _table(data.get("item")), kind.endswith("done"))
        elif kind == "response.function_call_arguments.delta":
            self._add_arguments(self._call(place), data.get("delta"))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self.terminated = True
            self._end(_table(data.get("response")))
        elif kind == "error":
            self._error(data.get("error") or data)
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            self._model(_table(data.get("response")).get("model"))
        elif not kind.startswith("response."):
            self.message.unknown += 1

    def _item(self, place: object, item: dict[str, Any], whole: bool) -> None:
        if item.get("type") != "function_call" or not isinstance(place, int):
            return
        call = self._call(place, _string(item.get("call_id")) or _string(item.get("id")), _string(item.get("name")))
        if whole and isinstance(item.get("arguments"), str):
            self._set_arguments(call, item["arguments"])

    def _end(self, response: dict[str, Any]) -> None:
        message = self.message
        self._model(response.get("model"))
        if response.get("model"):
            message.model = _string(response["model"])[:200]
        usage = _table(response.get("usage"))
        self._usage(usage.get("input_tokens"), usage.get("output_tokens"),
                    _table(usage.get("input_tokens_details")).get("cached_tokens"),
                    _table(usage.get("output_tokens_details")).get("reasoning_tokens"))  # fmt: skip
        message.finish_reason = _string(response.get("status"))
        if message.finish_reason == "incomplete":
            message.finish_reason = _string(_table(response.get("incomplete_details")).get("reason")) or "incomplete"
        if message.finish_reason == "failed" or response.get("error"):
            self._error(response.get("error"))

    def whole(self, data: dict[str, Any]) -> None:
        if "output" not in data:
            self._error(data.get("error") or "the answer has no output")
            return
        for place, item in enumerate(_items(data.get("output"))):
            self._item(place, item, whole=True)
            for part in _items(item.get("content")) if item.get("type") == "message" else []:
                self._add_text(part.get("text"))
                self._add_text(part.get("refusal"), self._refusal)
        self._end(data)


class Anthropic(Assembler):
    """Anthropic Messages: content blocks by index. Tools that the server runs itself (``server_tool_use``,
    ``mcp_tool_use``) are tool calls like the client's."""

    __slots__ = ()

    def event(self, kind: str, data: dict[str, Any]) -> None:
        kind = _string(data.get("type")) or kind
        if kind == "message_start":
            started = _table(data.get("message"))
            self._model(started.get("model"))
            self._read_usage(started.get("usage"))
        elif kind == "content_block_start":
            self._block(data.get("index"), _table(data.get("content_block")), whole=False)
        elif kind == "content_block_delta":
            delta = _table(data.get("delta"))
            if delta.get("type") == "text_delta":
                self._add_text(delta.get("text"))
            elif delta.get("type") == "input_json_delta" and data.get("index") in self._calls:
                self._add_arguments(self._calls[data.get("index")], delta.get("partial_json"))
        elif kind == "message_delta":
            self.message.finish_reason = (
                _string(_table(data.get("delta")).get("stop_reason")) or self.message.finish_reason
            )
            self._read_usage(data.get("usage"))
        elif kind == "message_stop":
            self.terminated = True
        elif kind == "error":
            self._error(data.get("error"))
        elif kind not in ("ping", "content_block_stop"):
            self.message.unknown += 1

    def _block(self, index: object, block: dict[str, Any], whole: bool) -> None:
        if block.get("type") == "text":
            self._add_text(block.get("text"))
        elif _string(block.get("type")).endswith("tool_use") and isinstance(index, int):
            call = self._call(index, _string(block.get("id")), _string(block.get("name")))
            if whole or block.get("input"):
                self._set_arguments(call, block.get("input"))
                self.message.deltas += 1

    def _read_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage(usage.get("input_tokens"), usage.get("output_tokens"), usage.get("cache_read_input_tokens"))

    def close(self) -> None:
        super().close()
        for call in self.message.tool_calls:
            call.arguments = call.arguments or "{}"  # a tool without arguments streams none

    def whole(self, data: dict[str, Any]) -> None:
        if data.get("type") == "error" or "content" not in data:
            self._error(data.get("error") or "the answer has no content")
            return
        self._model(data.get("model"))
        self._read_usage(data.get("usage"))
        for index, block in enumerate(_items(data.get("content"))):
            self._block(index, block, whole=True)
        self.message.finish_reason = _string(data.get("stop_reason"))


class Ollama(Assembler):
    """Ollama's own API: every line has a piece, the last the reason and the counts."""

    __slots__ = ()

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if data.get("error"):
            self._error(data["error"])
            return
        self._model(data.get("model"))
        message = _table(data.get("message"))
        self._add_text(message.get("content"))
        self._add_text(data.get("response"))
        for piece in _items(message.get("tool_calls")):
            function = _table(piece.get("function"))
            call = self._call(len(self._calls), _string(piece.get("id")), _string(function.get("name")))
            self._set_arguments(call, function.get("arguments"))
            self.message.deltas += 1
        if data.get("done") is True:
            self.terminated = True
            self.message.finish_reason = _string(data.get("done_reason")) or "stop"
            self._usage(data.get("prompt_eval_count"), data.get("eval_count"))

    def whole(self, data: dict[str, Any]) -> None:
        self.event("message", data)


class Gemini(Assembler):
    """Google's generateContent; the first candidate counts. The stream has no end of its own but the finish reason."""

    __slots__ = ()

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if data.get("error"):
            self._error(data["error"])
            return
        self._model(data.get("modelVersion"))
        usage = _table(data.get("usageMetadata"))
        self._usage(usage.get("promptTokenCount"), usage.get("candidatesTokenCount"),
                    usage.get("cachedContentTokenCount"), usage.get("thoughtsTokenCount"))  # fmt: skip
        for candidate in _items(data.get("candidates"))[:1]:
            for part in _items(_table(candidate.get("content")).get("parts")):
                if not part.get("thought"):
                    self._add_text(part.get("text"))
                called = _table(part.get("functionCall"))
                if called:
                    call = self._call(len(self._calls), _string(called.get("id")), _string(called.get("name")))
                    self._set_arguments(call, called.get("args"))
                    self.message.deltas += 1
            if _string(candidate.get("finishReason")):
                self.message.finish_reason = candidate["finishReason"]
                self.terminated = True

    def whole(self, data: dict[str, Any]) -> None:
        self.event("message", data)
