"""Asks the daemon for exchanges as they end, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.cli.output import mappings, number, strings
from shadowd.control.client import Client
from shadowd.errors import ShadowdError

#: Seconds between two questions; the daemon keeps a second of a heavy load.
ASK_EACH = 0.25


class Following:
    """Of one filter, and one of its targets if it is named. ``missed``: exchanges that were gone before they could be
    asked for; ``broken``: how often it is not known how many."""

    def __init__(self, client: Client, name: str, target: str | None = None, values: bool = False) -> None:
        self._client = client
        self._args = {"name": name, "values": values} | ({"target": target} if target is not None else {})
        self._place: dict[str, Any] = {}
        self.targets: list[str] = []
        self.missed = 0
        self.broken = 0
        self.more = False  # others wait already

    def read(self) -> list[Mapping[str, Any]]:
        """Those since the last time, which may be none; the first time: from now on. Raises ShadowdError."""
        found = self._client.call("exchanges.follow", **self._args, **self._place)
        if not isinstance(found, Mapping) or not isinstance(found.get("token"), str):
            raise ShadowdError("the daemon's answer is no exchanges", "use a shadowctl of the daemon's version")
        self._place = {"since": int(number(found, "next")), "token": found["token"]}
        self.targets = strings(found.get("targets"))
        self.missed += int(number(found, "missed"))
        self.broken += bool(found.get("broken"))
        self.more = bool(found.get("more"))
        return mappings(found.get("entries"))
