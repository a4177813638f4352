"""Anthropic's Messages (sans-IO): see ``llm_assembly``."""

from __future__ import annotations

from typing import Any

from shadowd.protocols.llm_assembly import Assembler, items, place_of, string, table

#: Blocks that are told otherwise or are only thought.
_TOLD = frozenset({"text", "thinking", "redacted_thinking"})


class Anthropic(Assembler):
    """Anthropic Messages: content blocks by index. Tools that the server runs itself (``server_tool_use``,
    ``mcp_tool_use``) are tool calls like the client's; their results are items, with their error if they have one."""

    __slots__ = ("_begun", "_over")

    def __init__(self, status: int = 200) -> None:
        super().__init__(status)
        self._begun = self._over = False

    def event(self, kind: str, data: dict[str, Any]) -> None:
        kind = string(data.get("type")) or kind
        if self._over:
            return
        if kind == "message_start":
            if self._begun:  # as Anthropic's own client: two messages in one stream are none
                self._over = True
                self._error("a second message begins in the stream")
                return
            self._begun = True
            started = table(data.get("message"))
            self._model(started.get("model"))
            self._read_usage(started.get("usage"))
        elif kind == "content_block_start":
            self._block(place_of(data.get("index")), table(data.get("content_block")), whole=False)
        elif kind == "content_block_delta":
            self._delta(place_of(data.get("index")), table(data.get("delta")))
        elif kind == "message_delta":
            delta = table(data.get("delta"))
            self._finish(delta.get("stop_reason"))
            self._model(delta.get("model") or data.get("model"))
            self._read_usage(data.get("usage"))
        elif kind == "message_stop":
            self.terminated = True
        elif kind == "error":
            self._error(data.get("error"))
        elif kind not in ("ping", "content_block_stop"):
            self.message.unknown += 1

    def _delta(self, index: int | None, delta: dict[str, Any]) -> None:
        if delta.get("type") == "text_delta":
            self._add_text(delta.get("text"))
        elif delta.get("type") == "input_json_delta":
            if index in self._open:
                self._add_arguments(self._open[index], delta.get("partial_json"))
            else:
                self.message.unknown += 1

    def _block(self, index: int | None, block: dict[str, Any], whole: bool) -> None:
        kind = string(block.get("type"))
        if kind == "text":
            self._add_text(block.get("text"))
        elif kind == "fallback":
            to = block.get("to", block.get("model"))
            self._model(table(to).get("model") or to)
        elif kind.endswith("tool_use"):
            id_ = string(block.get("id"))
            known = self._open.get(index)
            if known is not None and known.id != id_:  # a gateway counts the blocks of each tool from 0
                del self._open[index]
            call = self._call(index, id_, string(block.get("name")) or kind)
            if whole or block.get("input"):
                self._set_arguments(call, block.get("input"))
                self.message.deltas += 1
        elif not kind:
            self.message.unknown += 1
        elif kind not in _TOLD:
            self._item(kind, _failure(block))

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
        for index, block in enumerate(items(data.get("content"))):
            self._block(index, block, whole=True)
        self._finish(data.get("stop_reason"))


def _failure(block: dict[str, Any]) -> str:
    """Why a tool's result is an error, "" if it is none."""
    code = string(table(block.get("content")).get("error_code"))
    return code or ("error" if block.get("is_error") is True else "")
