"""The two vendors' shapes of a chat: requests read, answers written, whole or as a stream of events (sans-IO).

OpenAI Chat Completions (``POST /v1/chat/completions``) and Anthropic Messages (``POST /v1/messages``), as their API
references describe them and as their SDKs read them. A streamed answer is a list of pieces, each of which is one write
of the service: ``Piece.content`` says whether it carries something of the answer, or only opens or closes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from shadowd.demo.chat_model import Ask, Said, pieces

CREATED = 1_767_225_600  # 2026-01-01, of every answer: a time that moves would say nothing here
Body = dict[str, Any]


class BadChat(Exception):
    """The body is no chat request we understand; the text says why, for the vendor's error object."""


class Piece:
    """One write of a streamed answer; ``content`` if it carries text, a refusal or a tool call's arguments."""

    __slots__ = ("content", "data")

    def __init__(self, data: bytes, content: bool = False) -> None:
        self.data = data
        self.content = content


def body_untrusted(data: bytes) -> Body:
    """A request's body as an object. Raises BadChat."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise BadChat("the body is not JSON") from None
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise BadChat("messages is missing — give a list of at least one message")
    return body


def _text(content: object) -> str:
    """Text of a message's content: a string, or a list of blocks of which the text ones count."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return " ".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict) and "text" in block)


def _number(body: Body, name: str, default: float) -> float:
    value = body.get(name)
    return float(value) if isinstance(value, int | float) else default


def _limit(body: Body, *names: str) -> int | None:
    return next((int(body[name]) for name in names if isinstance(body.get(name), int)), None)


def _dicts(value: object) -> list[Body]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


class OpenAI:
    """Chat Completions: https://platform.openai.com/docs/api-reference/chat."""

    path = "/v1/chat/completions"
    finishes = {"stop": "stop", "tool": "tool_calls", "refusal": "stop", "length": "length"}  # noqa: RUF012

    @staticmethod
    def error(reason: str) -> Body:
        return {"error": {"message": reason, "type": "invalid_request_error", "param": None, "code": None}}

    @staticmethod
    def ask_untrusted(body: Body) -> Ask:
        """Raises BadChat."""
        system, user = "", ""
        results: list[str] = []
        tokens = 0
        for message in _dicts(body["messages"]):
            text = _text(message.get("content"))
            tokens += len(pieces(text))
            if message.get("role") in ("system", "developer"):
                system = text
            elif message.get("role") == "user":
                user, results = text, []
            elif message.get("role") == "tool":
                results.append(text)
        tools = [str((tool.get("function") or {}).get("name")) for tool in _dicts(body.get("tools"))]
        shape = body.get("response_format")
        json_mode = isinstance(shape, dict) and shape.get("type") in ("json_schema", "json_object")
        return Ask(
            str(body.get("model")), system, user, results, tools, json_mode, _number(body, "temperature", 1.0),
            _limit(body, "max_completion_tokens", "max_tokens"), tokens,
        )  # fmt: skip

    @staticmethod
    def _usage(ask: Ask, said: Said) -> Body:
        return {
            "prompt_tokens": ask.tokens,
            "completion_tokens": said.tokens,
            "total_tokens": ask.tokens + said.tokens,
            "prompt_tokens_details": {"cached_tokens": len(pieces(ask.system)), "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }

    @classmethod
    def whole(cls, ask: Ask, said: Said, identity: str) -> Body:
        """The answer as one object."""
        refused = said.finish == "refusal"
        message: Body = {
            "role": "assistant",
            "content": None if refused else said.text,
            "refusal": said.text if refused else None,
        }
        if said.calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{identity}_{k}",
                    "type": "function",
                    "function": {"name": c.name, "arguments": c.arguments},
                }
                for k, c in enumerate(said.calls)
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": cls.finishes[said.finish]}
        return {
            **cls._frame(ask, identity, "chat.completion"),
            "choices": [choice],
            "usage": cls._usage(ask, said),
        }

    @staticmethod
    def _frame(ask: Ask, identity: str, kind: str) -> Body:
        return {"id": f"chatcmpl-{identity}", "object": kind, "created": CREATED, "model": ask.model}

    @classmethod
    def stream(cls, ask: Ask, said: Said, identity: str, body: Body) -> Iterator[Piece]:
        """The answer as events; the role comes before anything is said, usage only if it was asked for."""
        frame = cls._frame(ask, identity, "chat.completion.chunk")

        def chunk(delta: Body, finish: str | None = None, content: bool = False) -> Piece:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return Piece(_data({**frame, "choices": [choice]}), content)

        yield chunk({"role": "assistant", "content": "", "refusal": None})
        name = "refusal" if said.finish == "refusal" else "content"
        for piece in pieces(said.text):
            yield chunk({name: piece}, content=True)
        for index, call in enumerate(said.calls):
            function = {"name": call.name, "arguments": ""}
            identified = {"index": index, "id": f"call_{identity}_{index}", "type": "function", "function": function}
            yield chunk({"tool_calls": [identified]}, content=True)
            for piece in call.pieces():
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, content=True)
        yield chunk({}, cls.finishes[said.finish])
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            yield Piece(_data({**frame, "choices": [], "usage": cls._usage(ask, said)}))
        yield Piece(b"data: [DONE]\n\n")


class Anthropic:
    """Messages: https://docs.anthropic.com/en/api/messages and .../messages-streaming."""

    path = "/v1/messages"
    finishes = {"stop": "end_turn", "tool": "tool_use", "refusal": "refusal", "length": "max_tokens"}  # noqa: RUF012

    @staticmethod
    def error(reason: str) -> Body:
        return {"type": "error", "error": {"type": "invalid_request_error", "message": reason}}

    @staticmethod
    def ask_untrusted(body: Body) -> Ask:
        """Raises BadChat."""
        if not isinstance(body.get("max_tokens"), int):
            raise BadChat("max_tokens is missing — give a whole number")
        system, user = _text(body.get("system")), ""
        results: list[str] = []
        tokens = len(pieces(system))
        for message in _dicts(body["messages"]):
            text = _text(message.get("content"))
            tokens += len(pieces(text))
            if message.get("role") != "user":
                continue
            given = [block for block in _dicts(message.get("content")) if block.get("type") == "tool_result"]
            if given:
                results += [_text(block.get("content")) for block in given]
            else:
                user, results = text, []
        tools = [str(tool.get("name")) for tool in _dicts(body.get("tools"))]
        return Ask(
            str(body.get("model")), system, user, results, tools, False, _number(body, "temperature", 1.0),
            _limit(body, "max_tokens"), tokens,
        )  # fmt: skip

    @staticmethod
    def _usage(ask: Ask, output: int) -> Body:
        cached = len(pieces(ask.system))
        return {
            "input_tokens": ask.tokens - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": output,
        }

    @classmethod
    def _message(cls, ask: Ask, identity: str) -> Body:
        return {
            "id": f"msg_{identity}",
            "type": "message",
            "role": "assistant",
            "model": ask.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": cls._usage(ask, 1),
        }

    @classmethod
    def whole(cls, ask: Ask, said: Said, identity: str) -> Body:
        """The answer as one object."""
        content: list[Body] = [{"type": "text", "text": said.text}] if said.text else []
        for index, call in enumerate(said.calls):
            arguments = json.loads(call.arguments)
            content.append(
                {"type": "tool_use", "id": f"toolu_{identity}_{index}", "name": call.name, "input": arguments}
            )
        return {
            **cls._message(ask, identity),
            "content": content,
            "stop_reason": cls.finishes[said.finish],
            "usage": cls._usage(ask, said.tokens),
        }

    @classmethod
    def stream(cls, ask: Ask, said: Said, identity: str, body: Body) -> Iterator[Piece]:
        """The answer as events; ``message_start`` comes before anything is said."""
        yield _event({"type": "message_start", "message": cls._message(ask, identity)})
        yield _event({"type": "ping"})
        index = 0
        if said.text:
            yield _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
            for piece in pieces(said.text):
                delta = {"type": "text_delta", "text": piece}
                yield _event({"type": "content_block_delta", "index": 0, "delta": delta}, content=True)
            yield _event({"type": "content_block_stop", "index": 0})
            index = 1
        for number, call in enumerate(said.calls):
            block = {"type": "tool_use", "id": f"toolu_{identity}_{number}", "name": call.name, "input": {}}
            yield _event({"type": "content_block_start", "index": index, "content_block": block}, content=True)
            for piece in call.pieces():
                delta = {"type": "input_json_delta", "partial_json": piece}
                yield _event({"type": "content_block_delta", "index": index, "delta": delta}, content=True)
            yield _event({"type": "content_block_stop", "index": index})
            index += 1
        ended = {"stop_reason": cls.finishes[said.finish], "stop_sequence": None}
        yield _event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": said.tokens}})
        yield _event({"type": "message_stop"})


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _data(value: object) -> bytes:
    return b"data: " + encoded(value) + b"\n\n"


def _event(value: Body, content: bool = False) -> Piece:
    return Piece(b"event: " + str(value["type"]).encode() + b"\n" + _data(value), content)


VENDORS = {vendor.path: vendor for vendor in (OpenAI, Anthropic)}
