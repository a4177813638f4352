"""How each vendor's pieces of an answer become one message: what is common to all (sans-IO).

An ``Assembler`` takes the JSON of one event, or of a whole answer, and writes to its ``Message``. Pieces of a tool
call are joined by their index, item or content block, as the vendors' own clients do; two calls with one index are told
apart by their ids. Usage that is told several times is cumulative: the last one counts, and so does the last model that
is named. Anything of another shape than expected is counted in ``unknown`` and left out: nothing here raises.

One module has one vendor's interface: ``llm_openai``, ``llm_anthropic``, ``llm_gemini``, ``llm_ollama``.
"""

from __future__ import annotations

import json
from typing import Any

#: Of one answer: a million tokens is beyond any model's longest answer by an order of magnitude.
MAX_TEXT = 1 << 20
MAX_ARGUMENTS = 256 << 10  # of one tool call: OpenAI's own limit on a string of input is about this
MAX_TOOL_CALLS = 256
MAX_ITEMS = 256  # output items that are neither text nor calls
_NAME = 200  # characters of a name, an id, a kind


class ToolCall:
    """``arguments`` is JSON text as the model wrote it; ``free``: text of any form, as custom tools take it.
    ``hosted``: the provider runs it itself (web search, code interpreter …)."""

    __slots__ = ("_pieces", "_size", "arguments", "free", "hosted", "id", "name")

    def __init__(self, id_: str = "", name: str = "", arguments: str = "", hosted: bool = False) -> None:
        self.id = id_
        self.name = name
        self.arguments = arguments
        self.hosted = hosted
        self.free = False
        self._pieces: list[str] = []
        self._size = 0

    def add(self, piece: str) -> bool:
        """A piece of the arguments; False if they are too long."""
        self._size += len(piece)
        if self._size > MAX_ARGUMENTS:
            return False
        if piece:
            self._pieces.append(piece)
        return True

    def replace(self, arguments: str) -> bool:
        """All of the arguments; False if they are too long."""
        self._pieces, self._size = [], 0
        return self.add(arguments)

    @property
    def in_one_piece(self) -> bool:
        """Whether one piece brought what looks like all of the arguments."""
        return len(self._pieces) == 1 and self._pieces[0].lstrip()[:1] == "{" and self._pieces[0].rstrip()[-1:] == "}"

    def close(self) -> None:
        self.arguments = clean("".join(self._pieces))
        self.id, self.name = clean(self.id), clean(self.name)

    @property
    def empty(self) -> bool:
        """Neither name nor arguments: some servers put one beside every answer that calls nothing."""
        return not self.name and self.arguments.strip() in ("", "{}", "null")

    def __repr__(self) -> str:
        return f"<{self.name}({self.arguments[:80]})>"


class Message:
    """What a model answered. Token counts are None where the answer does not tell them.

    ``outcome``: whole; ``unterminated`` (finished, but the stream's own end is missing); ``cut`` (it ends in the
    middle); ``open`` (it went on when the book was closed); ``error`` (told in the answer, or it is no answer).
    ``tool_calls`` are those of the client's tools and of tool servers that it named; ``hosted`` those of the provider's
    own tools; ``items`` what else the output has (results, images, kinds of tomorrow), by kind and, where it failed, by
    its error. ``model`` is who answered, ``fallback`` who had begun to, "" if that is the same.
    """

    __slots__ = (
        "broken",
        "cached_tokens",
        "clipped",
        "declined",
        "deltas",
        "error",
        "events",
        "fallback",
        "finish_reason",
        "hosted",
        "input_tokens",
        "items",
        "model",
        "outcome",
        "output_tokens",
        "reasoning_tokens",
        "refusal",
        "text",
        "tool_calls",
        "unknown",
        "unread",
    )

    def __init__(self) -> None:
        self.text = ""
        self.refusal = ""
        self.declined = False  # a refusal in prose, which only a reader of the text can tell (talk/refusals.py)
        self.tool_calls: list[ToolCall] = []
        self.hosted: list[ToolCall] = []
        self.items: list[str] = []
        self.finish_reason = ""
        self.model = ""
        self.fallback = ""
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.error = ""
        self.outcome = "cut"
        self.events = 0
        self.deltas = 0  # events with text, refusal or arguments
        self.unknown = 0
        self.unread = ""  # a digest of what could not be read at all
        self.broken = 0  # of the unknown, events that are no JSON
        self.clipped = False  # a limit of this module was reached

    @property
    def refused(self) -> bool:
        return self.declined or bool(self.refusal) or self.finish_reason in _REFUSALS


#: Finish reasons that are refusals: Anthropic's; OpenAI's; Gemini's, whose filters have a reason each.
_REFUSALS = frozenset({
    "refusal", "content_filter", "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
})  # fmt: skip


def text_of(value: object) -> str:
    """Text that is given as a string, or as parts with ``text`` in them."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, list):
        parts = [one["text"] for one in value if isinstance(one, dict) and isinstance(one.get("text"), str)]
        return "".join(parts)[:MAX_TEXT]
    return ""


def clean(text: str) -> str:
    """``text`` as it can be written: halves of a surrogate pair, escaped apart, become one; a lone one is U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def string(value: object) -> str:
    return value if isinstance(value, str) else ""


def place_of(value: object) -> int | None:
    """An index as it may come; None if it is none. Servers in languages without integers write 1.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def dumped(value: object) -> str:
    try:
        return json.dumps(value if value is not None else {}, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:  # it was read at a shallower place of our own stack
        return '"nested too deeply"'


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _error_text(value: object) -> str:
    """``error`` of any vendor: a string, or a table with a message and a kind."""
    if isinstance(value, str):
        return value[:1000] or "an error without a message"
    told = table(value)
    kind = string(told.get("type")) or string(told.get("code")) or string(told.get("status"))
    return f"{kind}: {string(told.get('message'))}".strip(": ")[:1000] or "an error without a message"


class Assembler:
    """One answer of one vendor."""

    __slots__ = ("_calls", "_open", "_refusal", "_size", "_text", "message", "terminated")

    def __init__(self, status: int = 200) -> None:
        self.message = Message()
        self.terminated = False  # the stream's own end has come
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._size = 0
        self._calls: list[ToolCall] = []  # in order of first appearance
        self._open: dict[object, ToolCall] = {}  # by what further pieces are joined by
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
        message.text, message.refusal = clean("".join(self._text)), clean("".join(self._refusal))
        for name in ("error", "model", "fallback", "finish_reason"):
            setattr(message, name, clean(getattr(message, name)))
        for call in self._calls:
            call.close()
        calls = [call for call in self._calls if not call.empty]
        message.tool_calls = [call for call in calls if not call.hosted]
        message.hosted = [call for call in calls if call.hosted]
        message.items = [clean(item) for item in message.items]

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

    def _call(self, key: object, id_: str = "", name: str = "", hosted: bool = False) -> ToolCall | None:
        """The call whose pieces are joined by ``key``; None beyond MAX_TOOL_CALLS."""
        call = self._open.get(key)
        if call is None:
            if len(self._calls) >= MAX_TOOL_CALLS:
                self.message.clipped = True
                return None
            call = self._open[key] = ToolCall(hosted=hosted)
            self._calls.append(call)
        call.id = call.id or id_[:_NAME]
        call.name = call.name or name[:_NAME]
        return call

    def _new_call(self, id_: str, name: str, hosted: bool = False) -> ToolCall | None:
        """A call that comes whole."""
        return self._call(("whole", len(self._calls)), id_, name, hosted)

    def _add_arguments(self, call: ToolCall | None, piece: object) -> None:
        """A piece of a call's arguments; a table is all of them."""
        if call is None or piece is None:
            return
        if isinstance(piece, str):
            self.message.deltas += bool(piece)
            self.message.clipped |= not call.add(piece)
        else:
            self.message.deltas += 1
            self._set_arguments(call, piece)

    def _set_arguments(self, call: ToolCall | None, arguments: object) -> None:
        """All of a call's arguments at once."""
        if call is not None:
            text = arguments if isinstance(arguments, str) else dumped(arguments)
            self.message.clipped |= not call.replace(text)

    def _item(self, kind: str, error: str = "") -> None:
        """An output item that is neither text nor a call, once it is whole."""
        if len(self.message.items) < MAX_ITEMS:
            self.message.items.append(f"{kind[:_NAME]}: {error[:_NAME]}" if error else kind[:_NAME])
        else:
            self.message.clipped = True

    def _usage(self, asked: object, answered: object, cached: object = None, reasoning: object = None) -> None:
        message = self.message
        for name, value in (("input_tokens", asked), ("output_tokens", answered), ("cached_tokens", cached),
                            ("reasoning_tokens", reasoning)):  # fmt: skip
            number = _number(value)
            if number is not None:
                setattr(message, name, number)

    def _error(self, value: object) -> None:
        self.message.error = _error_text(value)

    def _finish(self, reason: object) -> None:
        """Why it ended; the last reason that is told counts."""
        self.message.finish_reason = string(reason)[:_NAME] or self.message.finish_reason

    def _model(self, value: object) -> None:
        """Who answers. Where another takes over, the last one named has said the answer."""
        name, message = string(value)[:_NAME], self.message
        if name and name != message.model:
            if message.model and not name.startswith(message.model):  # a name with its date is the same model
                message.fallback = message.fallback or message.model
            message.model = name
