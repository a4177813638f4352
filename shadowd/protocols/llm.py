"""Conversations with language models, recognised by their shape and rebuilt from what was streamed (sans-IO).

A request is recognised by its JSON and its path, never by its host, so that gateways and compatible servers (vLLM,
LiteLLM, Azure, Ollama, Groq, OpenRouter …) are recognised too:

===========  ============================================  ========================================================
``api``      request                                       answer
===========  ============================================  ========================================================
chat         ``messages``, OpenAI Chat Completions         ``choices``; chunks end with ``[DONE]``
responses    ``input`` at ``…/responses``                  ``output``; events end with ``response.completed`` …
anthropic    ``messages`` at ``…/messages``                ``content``; events end with ``message_stop``
ollama       ``…/api/chat`` and ``…/api/generate``         lines of JSON; the last has ``done``
gemini       ``contents`` at ``…enerateContent``           ``candidates``; chunks simply end
===========  ============================================  ========================================================

``Reader`` takes one answer's content, streamed or whole, and gives the ``Message``: how each vendor's pieces are joined
is in ``llm_assembly``. What is not understood is counted and never in the way; nothing raises but ``LlmError``.
"""

from __future__ import annotations

import json
import re
from typing import Any

from shadowd.protocols.event_stream import EventStream, Lines, StreamError, reader_of
from shadowd.protocols.llm_assembly import (
    Anthropic,
    Assembler,
    Chat,
    Gemini,
    Message,
    Ollama,
    Responses,
    ToolCall,
    text_of,
)

__all__ = ["Ask", "LlmError", "Message", "Reader", "ToolCall", "recognise_untrusted"]

#: A request's or a whole answer's JSON: contexts of a million tokens have 4 MB of text.
MAX_JSON = 8 << 20
MAX_TOOLS = 256  # of one request: OpenAI allows 128
#: Events whose times are kept apart; beyond it the last one's alone. A long answer has some thousand.
MAX_TIMES = 4096
_HINTS = (b'"messages"', b'"input"', b'"contents"', b'"prompt"')
_ASSEMBLERS: dict[str, type[Assembler]] = {
    "chat": Chat, "responses": Responses, "anthropic": Anthropic, "ollama": Ollama, "gemini": Gemini,
}  # fmt: skip
_GEMINI = re.compile(rb"/models/([^/:?]{1,200}):(?:stream)?[gG]enerateContent")


class LlmError(Exception):
    """The content is not what its media type says."""


class Ask:
    """What a request asks for. ``tools``: name → JSON schema of the arguments. ``json_schema``: the schema that the
    answer shall have, ``{}`` for any JSON, None for text."""

    __slots__ = ("api", "json_schema", "model", "stream", "system", "tools")

    def __init__(
        self,
        api: str,
        model: str,
        system: str,
        tools: dict[str, dict[str, Any]],
        json_schema: dict[str, Any] | None,
        stream: bool,
    ) -> None:
        self.api = api
        self.model = model
        self.system = system
        self.tools = tools
        self.json_schema = json_schema
        self.stream = stream


def recognise_untrusted(target: bytes, head: bytes, body: bytes) -> Ask | None:
    """What ``body`` (whole, without framing or encoding) asks a model for; None if it is no such request.

    ``target`` is the request-target, ``head`` the request's head. Costs a search for ordinary requests.
    """
    if not any(hint in body for hint in _HINTS) or len(body) > MAX_JSON:
        return None
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict):
        return None
    path = target.split(b"?", 1)[0]
    model = _name(asked.get("model"))
    gemini = _GEMINI.search(path)
    if gemini is not None and isinstance(asked.get("contents"), list):
        return _gemini(asked, gemini[1].decode("utf-8", "replace"), b"stream" in path)
    if path.endswith((b"/api/chat", b"/api/generate")) and model:
        return _ollama(asked, model)
    if isinstance(asked.get("messages"), list):
        if path.endswith(b"/messages") or b"\r\nanthropic-version:" in head.lower():
            return _anthropic(asked, model)
        return _chat(asked, model)
    if path.endswith(b"/responses") and isinstance(asked.get("input"), (list, str)):
        return _responses(asked, model)
    return None


def _name(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""


def _spoken(messages: object, roles: tuple[str, ...] = ("system", "developer")) -> str:
    """What the system says among ``messages``."""
    if not isinstance(messages, list):
        return ""
    found = [text_of(one.get("content")) for one in messages if isinstance(one, dict) and one.get("role") in roles]
    return "\n".join(text for text in found if text)


def _tools(listed: object, schema: str, inner: str = "") -> dict[str, dict[str, Any]]:
    tools: dict[str, dict[str, Any]] = {}
    for one in (listed if isinstance(listed, list) else [])[:MAX_TOOLS]:
        tool = one.get(inner, one) if isinstance(one, dict) and inner else one
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            parameters = tool.get(schema)
            tools[tool["name"]] = parameters if isinstance(parameters, dict) else {}
    return tools


def _wanted(form: object) -> dict[str, Any] | None:
    """The schema in OpenAI's ``response_format`` or ``text.format``."""
    if not isinstance(form, dict):
        return None
    if form.get("type") == "json_object":
        return {}
    if form.get("type") != "json_schema":
        return None
    inner = form.get("json_schema", form)
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return schema if isinstance(schema, dict) else {}


def _chat(asked: dict[str, Any], model: str) -> Ask:
    tools = _tools(asked.get("tools"), "parameters", "function") | _tools(asked.get("functions"), "parameters")
    wanted = _wanted(asked.get("response_format"))
    return Ask("chat", model, _spoken(asked["messages"]), tools, wanted, asked.get("stream") is True)


def _responses(asked: dict[str, Any], model: str) -> Ask:
    system = "\n".join(filter(None, (text_of(asked.get("instructions")), _spoken(asked["input"]))))
    form = asked.get("text")
    wanted = _wanted(form.get("format")) if isinstance(form, dict) else None
    return Ask("responses", model, system, _tools(asked.get("tools"), "parameters"), wanted,
               asked.get("stream") is True)  # fmt: skip


def _anthropic(asked: dict[str, Any], model: str) -> Ask:
    return Ask("anthropic", model, text_of(asked.get("system")), _tools(asked.get("tools"), "input_schema"), None,
               asked.get("stream") is True)  # fmt: skip


def _ollama(asked: dict[str, Any], model: str) -> Ask:
    system = "\n".join(filter(None, (text_of(asked.get("system")), _spoken(asked.get("messages")))))
    form = asked.get("format")
    wanted = form if isinstance(form, dict) else {} if form == "json" else None
    return Ask("ollama", model, system, _tools(asked.get("tools"), "parameters", "function"), wanted,
               asked.get("stream") is not False)  # fmt: skip


def _gemini(asked: dict[str, Any], model: str, stream: bool) -> Ask:
    spoken = asked.get("systemInstruction", asked.get("system_instruction"))
    system = text_of(spoken.get("parts")) if isinstance(spoken, dict) else ""
    tools: dict[str, dict[str, Any]] = {}
    for one in asked["tools"] if isinstance(asked.get("tools"), list) else []:
        if isinstance(one, dict):
            tools |= _tools(one.get("functionDeclarations", one.get("function_declarations")), "parameters")
    config = asked.get("generationConfig")
    wanted: dict[str, Any] | None = None
    if isinstance(config, dict) and config.get("responseMimeType") == "application/json":
        schema = config.get("responseSchema")
        wanted = schema if isinstance(schema, dict) else {}
    return Ask("gemini", model, system, tools, wanted, stream)


class Reader:
    """Rebuilds the message of one answer. Times are in ns, -1 where there is none."""

    __slots__ = (
        "_assembler",
        "_broken",
        "_events",
        "_lines",
        "_whole",
        "event_times",
        "first_byte",
        "first_content",
        "first_event",
        "last",
    )

    def __init__(self, ask: Ask, content_type: str, status: int) -> None:
        self._assembler = _ASSEMBLERS[ask.api](status)
        reader = reader_of(content_type)
        self._events = reader if isinstance(reader, EventStream) else None
        self._lines = reader if isinstance(reader, Lines) else None
        self._whole = bytearray()
        self._broken = ""
        self.first_byte = self.first_event = self.first_content = self.last = -1
        self.event_times: list[int] = []  # MAX_TIMES at most

    @property
    def streamed(self) -> bool:
        return self._events is not None or self._lines is not None

    def feed_untrusted(self, content: bytes, time: int) -> None:
        """More content, without chunk framing and Content-Encoding, and when it was seen. Raises ``LlmError``, after
        which the rest is ignored."""
        if not content or self._broken:
            return
        self.last = time
        if self.first_byte < 0:
            self.first_byte = time
        try:
            if self._events is not None:
                for event in self._events.feed_untrusted(content):
                    self._take(event.data, event.type, time)
            elif self._lines is not None:
                for line in self._lines.feed_untrusted(content):
                    self._take(line.decode("utf-8", "replace"), "message", time)
            elif len(self._whole) + len(content) > MAX_JSON:
                raise StreamError(f"an answer is longer than {MAX_JSON} bytes")
            else:
                self._whole += content
        except StreamError as error:
            self._broken = str(error)
            raise LlmError(self._broken) from None

    def _take(self, data: str, kind: str, time: int) -> None:
        assembler = self._assembler
        message = assembler.message
        message.events += 1
        if self.first_event < 0:
            self.first_event = time
        if len(self.event_times) < MAX_TIMES:
            self.event_times.append(time)
        else:
            self.event_times[-1] = time
        before = message.deltas
        if data.strip() == "[DONE]":
            assembler.terminated = True
            return
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            message.unknown += 1
            return
        if not isinstance(found, dict):
            message.unknown += 1
            return
        assembler.event(kind, found)
        if message.deltas != before and self.first_content < 0:
            self.first_content = time

    def finish(self, ended: bool) -> Message:
        """The message. ``ended``: the answer came to the end that HTTP tells; else the book is closed on it."""
        if self._lines is not None and not self._broken:
            rest = self._lines.rest()
            if rest:
                self._take(rest.decode("utf-8", "replace"), "message", self.last)
        assembler = self._assembler
        message = assembler.message
        if not self.streamed:
            self._finish_whole()
        assembler.close()
        if message.error or self._broken:
            message.error = message.error or self._broken
            message.outcome = "error"
        elif not ended:
            message.outcome = "open"
        elif not self.streamed or assembler.terminated:
            message.outcome = "whole"
        else:
            message.outcome = "unterminated" if message.finish_reason else "cut"
        return message

    def _finish_whole(self) -> None:
        message = self._assembler.message
        try:
            found = json.loads(bytes(self._whole)) if self._whole else None
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and found and all(isinstance(one, dict) for one in found):
            for one in found:  # Gemini's stream without alt=sse is one JSON array
                self._assembler.event("message", one)
        elif isinstance(found, dict):
            self._assembler.whole(found)
        else:
            message.error = message.error or "the answer is no JSON"
            return
        if message.deltas:
            self.first_content = self.first_byte
