"""A difference as people look at it (sans-IO): an example as lines, and the rule that an operator makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from shadowd.compare.difference import WHERES

MASK = "[redacted:"

#: A number with a point stays as it was written: 20.0 is not what 20.00 was.
_KEPT = re.compile(r'"\\u0000([-+.0-9eE]+)"')


def lines_of(answer: Mapping[str, Any]) -> list[str]:
    """An answer of an example: its head and its body, JSON spread out; or why there is none."""
    if "failure" in answer:
        return [f"no answer: {answer['failure']}"]
    body = str(answer.get("body") or "")
    try:
        body = json.dumps(json.loads(body, parse_float=_kept), indent=2, ensure_ascii=False)
        body = _KEPT.sub(r"\1", body)
    except (ValueError, RecursionError):
        pass
    head = [line for line in str(answer.get("head") or "").split("\r\n") if line]
    return [*head, *([""] if head and body else []), *body.splitlines()]


def _kept(number: str) -> str:
    return f"\0{number}"


def rule_of(difference: Mapping[str, Any]) -> dict[str, str] | None:
    """The place of a difference as a rule, for its endpoint alone; None where its name is not known: it stands for
    several (``(further fields)``), or a part of it was a secret, and a rule with a mask would never be met."""
    rule = {key: str(difference.get(key) or "") for key in ("where", "path", "endpoint")}
    if rule["where"] not in WHERES or rule["path"].startswith("(") or any(MASK in value for value in rule.values()):
        return None
    if not rule["path"] and rule["where"] not in ("status", "turn"):
        rule["path"] = "*"
    return {**rule, "change": str(difference.get("kind") or "")}
