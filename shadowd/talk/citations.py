"""What an answer cites: the documents that retrieval found for it, by a JSON path that the operator gives (sans-IO).

The path is looked for in the answer's body, in every event of a stream, and in the message itself where that is JSON:
``$.sources[*].id``. What it leads to is a set: the order of retrieval is not judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from shadowd.compare.content import content_untrusted
from shadowd.exchange.exchange import Response
from shadowd.protocols.event_stream import EventStream, StreamError
from shadowd.protocols.llm import Message

#: Documents of one answer: more are not told apart.
MAX_CITED = 100
_LIMIT = 8 << 20  # decompressed bytes, as of llm.py
_LENGTH = 200  # characters of a document's id
_STEP = re.compile(r"\.([^.\[\]=]+)|\[(\*|0|[1-9][0-9]{0,5})\]")

Step = str | int


def steps_of(path: str) -> list[Step]:
    """``$.a[*].b`` as its steps. Raises ValueError with what is wrong."""
    if not path.startswith("$") or len(path) < 2:
        raise ValueError("it does not begin with $.")
    steps: list[Step] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise ValueError(f"{path[at : at + 20]!r} is no member and no [*]")
        steps.append(found[1] if found[1] is not None else "*" if found[2] == "*" else int(found[2]))
        at = found.end()
    return steps


def cited_by(response: Response, message: Message, media_type: str, path: str) -> tuple[str, ...]:
    """The ids, sorted, each once."""
    steps = steps_of(path)
    found: set[str] = set()
    for document in _documents(response, message, media_type):
        for value in _values(document, steps):
            if isinstance(value, (str, int, float)) and len(found) < MAX_CITED:
                found.add(str(value)[:_LENGTH])
    return tuple(sorted(found))


def _documents(response: Response, message: Message, media_type: str) -> Iterator[Any]:
    content = content_untrusted(response.head, response.body, _LIMIT)
    texts: list[str | bytes] = [message.text]
    if "event-stream" in media_type:
        stream = EventStream()
        try:
            texts += [event.data for event in stream.feed_untrusted(content.data)]
        except StreamError:  # the message says so
            return
    elif "ndjson" in media_type or "jsonl" in media_type:
        texts += content.data.splitlines()
    else:
        texts.append(content.data)
    for text in texts:
        if text[:1] in ("{", "[", b"{", b"["):
            try:
                yield json.loads(text)
            except (ValueError, RecursionError):
                continue


def _values(document: Any, steps: list[Step]) -> Iterator[Any]:
    places = [document]
    for step in steps:
        following: list[Any] = []
        for place in places:
            if isinstance(place, list):
                if step == "*":
                    following += place[: MAX_CITED * 10]
                elif isinstance(step, int):
                    following += place[step : step + 1]
            elif isinstance(place, dict) and step in place:
                following.append(place[step])
        places = following
    yield from places
