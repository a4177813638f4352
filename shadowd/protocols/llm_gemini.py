"""Google's generateContent (sans-IO): see ``llm_assembly``.

Arguments of a function may be streamed: ``partialArgs`` has pieces of values, each with the JSON path of its place,
while ``willContinue`` says that more of the value, or of the call, follows; the call's last piece is often empty.
"""

from __future__ import annotations

import re
from typing import Any

from shadowd.protocols.llm_assembly import MAX_ARGUMENTS, Assembler, ToolCall, dumped, items, string, table

#: Places of one call's arguments that are told apart, and how deep they lie: no function has more parameters.
MAX_PLACES = 4096
MAX_DEPTH = 64
_STEP = re.compile(r"""\.([^.\[\]]+)|\[([0-9]{1,6})\]|\['([^']*)'\]|\["([^"]*)"\]""")
#: Members of a part that say something about another member.
_ABOUT = frozenset({
    "text", "thought", "thoughtSignature", "thought_signature", "functionCall", "videoMetadata", "partMetadata",
    "mediaResolution",
})  # fmt: skip


class Gemini(Assembler):
    """The first candidate counts. The stream has no end of its own but the finish reason."""

    __slots__ = ("_going", "_partial")

    def __init__(self, status: int = 200) -> None:
        super().__init__(status)
        self._going: ToolCall | None = None  # more pieces of this call follow
        self._partial: dict[ToolCall, Partial] = {}

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if data.get("error"):
            self._error(data["error"])
            return
        self._model(data.get("modelVersion"))
        usage = table(data.get("usageMetadata"))
        self._usage(usage.get("promptTokenCount"), usage.get("candidatesTokenCount"),
                    usage.get("cachedContentTokenCount"), usage.get("thoughtsTokenCount"))  # fmt: skip
        for candidate in items(data.get("candidates"))[:1]:
            for part in items(table(candidate.get("content")).get("parts")):
                self._part(part)
            if string(candidate.get("finishReason")):
                self._finish(candidate["finishReason"])
                self.terminated = True
        blocked = string(table(data.get("promptFeedback")).get("blockReason"))
        if blocked:  # the prompt was refused: there is no candidate
            self._finish(blocked)
            self.terminated = True

    def _part(self, part: dict[str, Any]) -> None:
        if not part.get("thought"):
            self._add_text(part.get("text"))
        if isinstance(part.get("functionCall"), dict):
            self._function(part["functionCall"])
        for kind in [name for name in part if name not in _ABOUT]:
            body = table(part[kind])
            if kind == "executableCode":
                self._set_arguments(self._new_call(string(body.get("id")), "code_execution", hosted=True), {
                    "code": body.get("code"), "language": body.get("language"),
                })  # fmt: skip
                self.message.deltas += 1
            elif kind == "codeExecutionResult":
                outcome = string(body.get("outcome"))
                self._item("code_execution_result", "" if outcome == "OUTCOME_OK" else outcome)
            elif kind == "toolCall":  # of the provider's own tools
                name = string(body.get("toolType")) or string(body.get("name")) or kind
                call = self._new_call(string(body.get("id")), name, hosted=True)
                self._set_arguments(call, body.get("args"))
                self.message.deltas += 1
            else:
                self._item(kind, string(body.get("mimeType")))

    def _function(self, called: dict[str, Any]) -> None:
        name, call = string(called.get("name")), self._going
        pieces = items(called.get("partialArgs"))
        if call is None or (name and not (name == call.name and pieces)):
            if not called:
                self.message.unknown += 1
                return
            call = self._new_call(string(called.get("id")), name)
            self.message.deltas += 1
        if call is not None:
            if called.get("args") is not None:
                self._set_arguments(call, called["args"])
            for piece in pieces:
                if call not in self._partial:
                    self._partial[call] = Partial()
                self.message.clipped |= not self._partial[call].add(piece)
                self.message.deltas += 1
        self._going = call if called.get("willContinue") is True else None

    def close(self) -> None:
        for call, partial in self._partial.items():
            self._set_arguments(call, partial.value())
        super().close()
        for made in self.message.tool_calls:
            made.arguments = made.arguments or "{}"  # a function without parameters has no args

    def whole(self, data: dict[str, Any]) -> None:
        self.event("message", data)


class Partial:
    """Arguments that come in pieces of values."""

    __slots__ = ("_places", "_size")

    def __init__(self) -> None:
        self._places: dict[str, Any] = {}  # path → list of pieces of a string, or another value
        self._size = 0

    def add(self, piece: dict[str, Any]) -> bool:
        """One piece; False if it is too much."""
        path = string(piece.get("jsonPath"))
        text = piece.get("stringValue")
        self._size += len(path) + len(text if isinstance(text, str) else "")
        if self._size > MAX_ARGUMENTS or (path not in self._places and len(self._places) >= MAX_PLACES):
            return False
        if isinstance(text, str):
            known = self._places.get(path)
            if isinstance(known, list):
                known.append(text)
            else:
                self._places[path] = [text]
        elif "numberValue" in piece or "boolValue" in piece:
            value = piece.get("numberValue", piece.get("boolValue"))
            self._places[path] = value if isinstance(value, (int, float)) else dumped(value)
        elif "nullValue" in piece:
            self._places[path] = None
        return True

    def value(self) -> dict[str, Any]:
        """The arguments. A path that cannot be read, or that leads through a value, is a name of its own."""
        root: dict[str | int, Any] = {}
        for path, value in self._places.items():
            steps = _steps(path)
            node = root
            for step in steps[:-1]:
                below = node.setdefault(step, {})
                if not isinstance(below, dict):
                    node, steps = root, [path]
                    break
                node = below
            if isinstance(node.get(steps[-1]), dict):
                node, steps = root, [path]
            node[steps[-1]] = "".join(value) if isinstance(value, list) else value
        return {str(name): _closed(inner) for name, inner in root.items()}


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1
    while path[:1] == "$" and at < len(path) and len(steps) < MAX_DEPTH:
        found = _STEP.match(path, at)
        if found is None:
            return [path]
        steps.append(int(found[2]) if found[2] is not None else next(one for one in found.groups() if one is not None))
        at = found.end()
    return steps if steps and at >= len(path) else [path]


def _closed(node: Any) -> Any:
    """Tables whose names are all places become arrays."""
    if not isinstance(node, dict):
        return node
    if node and all(isinstance(name, int) for name in node):
        return [_closed(node[place]) for place in sorted(node)]
    return {str(name): _closed(inner) for name, inner in node.items()}
