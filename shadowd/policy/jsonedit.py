"""Changing JSON request bodies on their way to the shadow: another model, another prompt, nothing deployed (sans-IO).

An edit is ``$.path=value``: the value is JSON where it is valid JSON, else a string (``$.model=candidate-model``). The
path names members and array elements, ``$.messages[0].content``; all but its last step must exist, the last member may
be new. A body that is no JSON, lacks the place, or is too much to be parsed (``LIGHT_READ``) stays as it is. What was
edited is sent whole: without Content-Encoding and chunking, with the right Content-Length.
"""

from __future__ import annotations

import json
import re
from typing import Any

from shadowd.compare.burden import LIGHT_READ, parsing_weighs
from shadowd.compare.content import content_untrusted

#: Bytes of a body that are parsed: contexts of a million tokens have some 4 MB.
BODY_LIMIT = 8 << 20
#: Edits of one filter; each costs a walk through the document.
MAX_EDITS = 32
_STEP = re.compile(r"\.([^.\[\]=]+)|\[(0|[1-9][0-9]{0,5})\]")
_FRAMING = re.compile(rb"(?im)^(?:content-length|transfer-encoding|content-encoding|trailer):[^\r\n]*\r\n")

Step = str | int


class JsonEdit:
    """One edit. Raises ValueError with what is wrong and what to write instead."""

    __slots__ = ("path", "steps", "value")

    def __init__(self, text: str) -> None:
        path, equals, value = text.partition("=")
        self.path = path.strip()
        self.steps = _steps(self.path)
        if not equals:
            raise ValueError(f"{self.path[:60]} has no value: write '$.path=value'")
        try:
            self.value: Any = json.loads(value)
        except (ValueError, RecursionError):
            self.value = value

    def apply(self, document: Any) -> bool:
        """Change ``document`` in place; False if it lacks the place."""
        place = document
        for step in self.steps[:-1]:
            if not _has(place, step):
                return False
            place = place[step]
        last = self.steps[-1]
        if not (isinstance(last, str) and isinstance(place, dict)) and not _has(place, last):
            return False
        place[last] = self.value
        return True


def _has(place: Any, step: Step) -> bool:
    if isinstance(step, str):
        return isinstance(place, dict) and step in place
    return isinstance(place, list) and step < len(place)


def _steps(path: str) -> list[Step]:
    if not path.startswith("$") or len(path) > 500:
        raise ValueError(f"{path[:60]!r} is no path: write one such as $.model or $.messages[0].content")
    steps: list[Step] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise ValueError(f"{path[:60]!r} is no path at character {at + 1}: members as .name, elements as [0]")
        steps.append(found[1] if found[1] is not None else int(found[2]))
        at = found.end()
    if not steps:
        raise ValueError("'$' is the whole body: name a member, such as $.model")
    return steps


def edit_request(head: bytes, body: bytes, edits: list[JsonEdit]) -> tuple[bytes, bytes] | None:
    """Head and body with all edits made; None if one of them cannot be. ``head`` ends with the blank line."""
    content = content_untrusted(head, body, BODY_LIMIT)
    if content.problem or parsing_weighs(content.data, LIGHT_READ):
        return None
    try:
        document = json.loads(content.data)
    except (ValueError, RecursionError):
        return None
    if not all(edit.apply(document) for edit in edits):
        return None
    changed = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    plain = _FRAMING.sub(b"", head)
    return b"%sContent-Length: %d\r\n\r\n" % (plain[:-2], len(changed)), changed
