"""The report's parts as those of a live page (sans-IO)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.observe.figures import part
from shadowd.observe.report import parts_of
from shadowd.observe.templating import render

_ALWAYS = ("latency", "conversations", "streams", "memory", "ledger")
_JUDGED = ("errors", "endpoints", "judges")


def reported(data: Mapping[str, Any]) -> dict[str, str]:
    """By the part's id; "" for what there is nothing to say of. A filter that compares nothing has its ledger."""
    wanted = {*_ALWAYS, *(_JUDGED if part(data, "verdict") else ())} - ({"memory"} if not data.get("memory") else set())
    found = {name: render(f"report/{name}.html", **values) for name, _, values in parts_of(data) if name in wanted}
    return {name: found.get(name, "") for name in (*_ALWAYS, *_JUDGED)}
