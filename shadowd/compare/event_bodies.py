"""Server-sent events and lines of JSON as documents (sans-IO), so that they are compared by event and by field.

    id: 7                                 {"events": [{"price": {"id": "7", "data": {"at": 1, "usd": 9}}}]}
    event: price                    ──►
    data: {"at": 1, "usd": 9}             $.events[*].price.data.usd

An event's name is a step of the path (``message`` where the stream gives none): what varies in one kind of event hides
nothing in another. Comments say nothing (HTML standard, 9.2.6); an event that was cut off by the end of the body is
shown beside the others, under ``(cut)``.
"""

from __future__ import annotations

import re
from typing import Any

from shadowd.compare.jsondiff import JsonError, Unbounded, parse_text_untrusted

_END = re.compile(r"\r\n|\n|\r")
_FIELDS = frozenset({"data", "event", "id", "retry"})


def events_document_untrusted(text: str, most: int, strict: bool = False) -> dict[str, Any]:
    """``{"events": [...]}``. Raises ``Unbounded`` beyond ``most`` lines."""
    lines = _END.split(text.removeprefix("\ufeff"))
    if len(lines) > most:
        raise Unbounded(f"more than {most} lines")
    events: list[dict[str, Any]] = []
    fields: dict[str, str] = {}
    data: list[str] = []
    last = len(lines) - 1  # what stands after the last end of a line is none
    for at, line in enumerate(lines):
        if not line:
            if at < last and (fields or data):
                events.append(_event(fields, data, strict))
                fields, data = {}, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name:
            fields[name if name in _FIELDS else f"({name[:20]})"] = value
    document: dict[str, Any] = {"events": events}
    if fields or data:
        document["(cut)"] = _event(fields, data, strict)
    return document


def _event(fields: dict[str, str], data: list[str], strict: bool) -> dict[str, Any]:
    kind = fields.pop("event", "") or "message"
    event: dict[str, Any] = dict(fields)
    if data:
        event["data"] = _data("\n".join(data), strict)
    return {kind: event}


def _data(text: str, strict: bool) -> Any:
    if text[:1] in ("{", "["):
        try:
            return parse_text_untrusted(text, strict)
        except (JsonError, Unbounded):
            pass
    return text


def lines_document_untrusted(text: str, most: int, strict: bool = False) -> tuple[list[Any], int]:
    """NDJSON, JSON Lines and JSON text sequences (RFC 7464) as the list of their documents, and how many lines are not
    JSON: those are kept as text. Raises ``Unbounded`` beyond ``most`` documents."""
    documents: list[Any] = []
    faults = 0
    for line in re.split(r"[\n\x1e]", text):
        if line.strip():
            if len(documents) >= most:
                raise Unbounded(f"more than {most} documents")
            try:
                documents.append(parse_text_untrusted(line, strict))
            except JsonError:
                documents.append(line)
                faults += 1
    return documents, faults
