"""What a request asks a language model for, recognised by its shape and its path (sans-IO): the table is in ``llm``."""

from __future__ import annotations

import json
import re
from typing import Any

from shadowd.protocols.llm_assembly import clean, text_of

#: A request's or a whole answer's JSON: contexts of a million tokens have 4 MB of text.
MAX_JSON = 8 << 20
MAX_TOOLS = 256  # of one request: OpenAI allows 128
#: In the place of the model where a request is too much to be read.
UNREAD = "(request too long to read)"
_HINTS = (b'"input"', b'"contents"', b'"prompt"')
#: Paths of those that ask otherwise than by messages.
_ASKING = (
    b"/api/chat", b"/api/generate", b"/completions", b"/responses", b":generateContent", b":streamGenerateContent",
)  # fmt: skip
_GEMINI = re.compile(rb"/models/([^/:?]{1,200}):(?:stream)?[gG]enerateContent")


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
        self.model = clean(model)
        self.system = clean(system)
        self.tools = tools
        self.json_schema = json_schema
        self.stream = stream


def recognise_untrusted(target: bytes, head: bytes, body: bytes, unread: bool = False) -> Ask | None:
    """What ``body`` (whole, without framing or encoding) asks a model for; None if it is no such request.

    ``target`` is the request-target, ``head`` the request's head. Costs a search for ordinary requests. ``unread``:
    the body is too much to be parsed, or not whole: what it is can be told by path and words alone, and is a group of
    its own.
    """
    path = target.split(b"?", 1)[0]
    if not _may_ask(path, body):
        return None
    if unread or len(body) > MAX_JSON:
        return _unread(path, head)
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict):
        return None
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
    if path.endswith(b"/completions") and isinstance(asked.get("prompt"), (list, str)):
        return _chat(asked, model)  # the older interface: the same answer, with ``text`` in its choices
    if path.endswith(b"/responses") and isinstance(asked.get("input"), (list, str)):
        return _responses(asked, model)
    return None


def _unread(path: bytes, head: bytes) -> Ask | None:
    if not path.endswith((*_ASKING, b"/messages")):
        return None
    api = "chat"
    if _GEMINI.search(path) is not None:
        api = "gemini"
    elif path.endswith((b"/api/chat", b"/api/generate")):
        api = "ollama"
    elif path.endswith(b"/responses"):
        api = "responses"
    elif path.endswith(b"/messages") or b"\r\nanthropic-version:" in head.lower():
        api = "anthropic"
    return Ask(api, UNREAD, "", {}, None, True)


def _may_ask(path: bytes, body: bytes) -> bool:
    """Without parsing: a search costs some instructions a byte, so what only some paths ask for is searched there."""
    if body.find(b'"messages"') >= 0:
        return True
    return path.endswith(_ASKING) and any(body.find(hint) >= 0 for hint in _HINTS)


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
            tools[clean(tool["name"])] = parameters if isinstance(parameters, dict) else {}
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
    listed = asked.get("tools")
    tools = _tools(listed, "parameters", "function") | _tools(listed, "parameters", "custom")
    tools |= _tools(asked.get("functions"), "parameters")
    wanted = _wanted(asked.get("response_format"))
    return Ask("chat", model, _spoken(asked.get("messages")), tools, wanted, asked.get("stream") is True)


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
