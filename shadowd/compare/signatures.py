"""Error signatures: the same fault has the same fingerprint, wherever and whenever it strikes (sans-IO).

What is looked for, the first that is found counts: a transport failure; a stack trace (Python, Java, Go, Node.js) in
any body; an error event in a server-sent stream; a 5xx answer; a JSON error object in a 4xx answer. Errors in answers
whose status says that all is well are ``shadowd.compare.inband``'s. The fingerprint is of the exception's type, message
and frames, or of the error's code and message, after everything that varies from one strike to the next was taken out:
numbers, UUIDs, hex, addresses, times, quoted values, line numbers.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from shadowd.compare.content import Content
from shadowd.compare.difference import shown
from shadowd.compare.normalise import normalised, readable
from shadowd.compare.traces import find_trace

#: Bytes of a body that are searched: a trace stands at the beginning, or it is a log file.
SEARCHED = 64 << 10
TITLE = 160
KIND = 40  # characters: the longest is half of it
#: Characters of a message that make a fingerprint.
MESSAGE = 300
#: Events of a stream that are looked at.
EVENTS = 2000

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_TAGS = re.compile(r"<[^<>]{0,2000}>")
_CODE = re.compile(r"<(?:script|style)\b", re.IGNORECASE)
_CODE_END = re.compile(r"</(?:script|style)>", re.IGNORECASE)
_HEADLINE = re.compile(r"<(title|h1)\b[^<>]{0,200}>(.{1,500}?)</\1>", re.DOTALL | re.IGNORECASE)
_TRANSPORT = {
    "timeout": "no answer in time",
    "connect": "connection refused or unreachable",
    "reset": "connection reset before the answer",
    "truncated": "connection closed within the answer",
    "tls": "TLS handshake failed",
}


class Signature:
    """``fingerprint``: 16 hex digits. ``kind``: ``5xx`` | ``stack trace`` | ``json error`` | ``sse error`` |
    ``transport``, or in-band: ``graphql error`` | ``json-rpc error`` | ``tool error`` | ``error reply`` |
    ``grpc error`` | ``soap fault``. ``title``: one line of at most 160 characters; values that vary are in angle
    brackets."""

    __slots__ = ("fingerprint", "kind", "title")

    def __init__(self, kind: str, title: str, essence: str) -> None:
        self.kind = kind
        self.title = shown(" ".join(title.split()), TITLE)
        self.fingerprint = blake2b(f"{kind}\n{essence}".encode(errors="backslashreplace"), digest_size=8).hexdigest()

    def wordless(self) -> Signature:
        """The same fingerprint without the message's words."""
        made = Signature(self.kind, f"{self.kind} #{self.fingerprint[:8]}", "")
        made.fingerprint = self.fingerprint
        return made

    @classmethod
    def told_untrusted(cls, kind: str, title: str, fingerprint: str) -> Signature:
        """What another process says that a signature is. Raises ValueError."""
        if _FINGERPRINT.fullmatch(fingerprint) is None:
            raise ValueError("no fingerprint")
        made = cls(shown(kind, KIND), title, "")
        made.fingerprint = fingerprint
        return made

    def __repr__(self) -> str:
        return f"Signature({self.fingerprint}, {self.kind!r}, {self.title!r})"


def signature_of(status: int, content: Content | None, transport: str = "") -> Signature | None:
    """The fault that an answer shows, or None if it shows none. ``transport``: how the exchange failed, "" if it did
    not: ``timeout``, ``connect``, ``reset``, ``truncated``, ``tls``, or another word. Never raises."""
    if transport:
        title = _TRANSPORT.get(transport)
        return Signature("transport", f"{transport}: {title}" if title else transport, transport)
    data = content.data[:SEARCHED] if content is not None else b""
    trace = find_trace(data, content.media_type if content is not None else "")
    if trace is not None:
        frame = f"  in {trace.frames[0]}" if trace.frames else ""
        essence = "\n".join((trace.language, trace.kind, normalised(trace.message[:MESSAGE]), *trace.frames))
        message = f": {readable(trace.message[:MESSAGE])}" if trace.message.strip() else ""
        return Signature("stack trace", f"{trace.kind}{message}{frame}", essence)
    if content is not None and content.media_type == "text/event-stream":
        found = _stream_error(data)
        if found is not None:
            return Signature("sse error", readable(found), normalised(found))
    if status < 400:
        return None
    error = _json_error(data, content) if content is not None else None
    if status >= 500:
        text = error or (_gist(data, content) if content is not None else "")
        return Signature("5xx", f"{status} {readable(text) or '(no body)'}", f"{status} {normalised(text)}")
    if error is not None:
        return Signature("json error", f"{status} {readable(error)}", f"{status} {normalised(error)}")
    return None


def _json_error(data: bytes, content: Content) -> str | None:
    """The gist of an error object: code, type and message; None if the body is none."""
    if data.lstrip()[:1] not in (b"{", b"[") or len(content.data) > SEARCHED:
        return None
    document = _parsed(data)
    if isinstance(document, list) and document:
        document = document[0]  # a batch: the first says what is wrong
    if not isinstance(document, dict):
        return None
    if content.media_type == "application/problem+json":
        return _described(document, ("type", "title", "detail"))  # RFC 9457 §3.1
    if document.get("error"):
        outer = {k: v for k, v in document.items() if k != "error"}
        inner = document["error"]
        return _join(told(inner), _described(outer, ("code", "error_description", "message")))
    errors = document.get("errors")
    if errors:
        first = errors[0] if isinstance(errors, list) else errors
        return _join(told(first), "")
    if "message" in document or "detail" in document or "title" in document:
        return _described(document, ("code", "type", "title", "message", "detail")) or None
    return None


def told(value: Any) -> str:
    """An error object in a line: its type, code and message."""
    if isinstance(value, dict):
        return _described(
            value, ("type", "code", "status", "name", "title", "message", "detail", "reason")
        ) or _described(value, tuple(str(key) for key in list(value)[:4]))
    if isinstance(value, list):
        return told(value[0]) if value and not isinstance(value[0], list) else ""
    return "" if isinstance(value, bool) or value is None else str(value)[:MESSAGE]


def _described(document: dict[str, Any], names: tuple[str, ...]) -> str:
    """The scalar members of these names, in this order; of a list or object (FastAPI's ``detail``) its first word."""
    parts = []
    for name in names:
        value = document.get(name)
        if isinstance(value, (dict, list)):
            first = value[0] if isinstance(value, list) and value else value
            if isinstance(first, dict):
                value = next((first[k] for k in ("msg", "message", "type") if isinstance(first.get(k), str)), None)
            else:
                value = first if isinstance(first, str) else None
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and str_of(value):
            parts.append(str_of(value))
    return ": ".join(parts)[: 2 * MESSAGE]


def str_of(value: str | int | float) -> str:
    """A scalar as text; long integers (Python refuses to print them) as their kind."""
    if isinstance(value, int) and value.bit_length() > 256:
        return "a long number"
    return str(value)[:MESSAGE].strip()


def _join(first: str, second: str) -> str:
    return ": ".join(part for part in (first, second) if part) or "error"


def _parsed(data: bytes | str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def error_events(data: bytes) -> Iterator[Any]:
    """What each erring event of a server-sent stream says: an object, or the text of an ``event: error`` that is none
    (WHATWG HTML §9.2: server-sent events). Also answers of tools with ``isError`` (MCP)."""
    event = ""
    for line in data.decode("utf-8", errors="replace").splitlines()[: 4 * EVENTS]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            event = ""
        elif name == "event":
            event = value.strip()
        elif name == "data":
            if event == "error":
                document = _parsed(value)
                yield document if isinstance(document, dict) else value[:MESSAGE].strip()
            elif value.startswith(("{", "[")) and ('"error"' in value or '"isError"' in value):
                document = _parsed(value)
                for one in document[:EVENTS] if isinstance(document, list) else (document,):
                    if isinstance(one, dict) and (one.get("error") or "isError" in value):
                        yield one


def _stream_error(data: bytes) -> str | None:
    """The first of them."""
    for found in error_events(data):
        if not isinstance(found, dict):
            return str(found) or "error"
        if found.get("error") or "result" not in found:
            return told(found.get("error") or found) or "error"
    return None


def _gist(data: bytes, content: Content) -> str:
    """One line of a body that is not JSON: an HTML page's headline, or the first line with words."""
    if b"\0" in data[:1024]:
        return f"({content.media_type or 'binary'} body)"
    text = Content(data, charset=content.charset).text()
    if "<" in text[:2000]:
        headlines = [html.unescape(_TAGS.sub(" ", m[2])).strip() for m in _HEADLINE.finditer(text[:20000])]
        headline = ": ".join(dict.fromkeys(h for h in headlines if h))
        if headline:
            return headline[:MESSAGE]
        before, *code = _CODE.split(text[:20000])
        parts = [_CODE_END.split(part, maxsplit=1) for part in code]
        text = "\n".join((before, *(part[1] for part in parts if len(part) > 1)))
        text = html.unescape(_TAGS.sub("\n", text))
    return next((line.strip()[:MESSAGE] for line in text.splitlines() if line.strip()), "")
