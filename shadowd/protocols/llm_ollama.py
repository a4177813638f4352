"""Ollama's own interface (sans-IO): see ``llm_assembly``."""

from __future__ import annotations

from typing import Any

from shadowd.protocols.llm_assembly import Assembler, items, string, table


class Ollama(Assembler):
    """Ollama's own API: every line has a piece, the last the reason and the counts."""

    __slots__ = ()

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if data.get("error"):
            self._error(data["error"])
            return
        self._model(data.get("model"))
        message = table(data.get("message"))
        self._add_text(message.get("content"))
        self._add_text(data.get("response"))
        for piece in items(message.get("tool_calls")):
            function = table(piece.get("function"))
            call = self._new_call(string(piece.get("id")), string(function.get("name")))
            self._set_arguments(call, function.get("arguments"))
            self.message.deltas += 1
        if data.get("done") is True:
            self.terminated = True
            self._finish(string(data.get("done_reason")) or "stop")
            self._usage(data.get("prompt_eval_count"), data.get("eval_count"))

    def whole(self, data: dict[str, Any]) -> None:
        self.event("message", data)
