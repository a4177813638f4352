"""The daemon's log: one line an event on stderr, as text or JSON; never one a packet."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from shadowd.redact.quoting import visible

LIMIT = 2000  # characters of a value: longer lines are cut by what collects them


class Log:
    """One line an event on stderr, as text or JSON; never one a packet."""

    def __init__(self, form: str) -> None:
        self._json = form == "json"
        self.redacted: Callable[[str], str] = str  # set once there is a key to redact with

    def __call__(self, event: str, **fields: object) -> None:
        fields = {key: self._told(value) for key, value in fields.items()}
        event = self._told(event)
        if self._json:
            line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, default=str)
        else:
            shown = " ".join(f"{key}={value}" for key, value in fields.items())
            line = f"shadowd: {event}{': ' + shown if shown else ''}"
        try:
            print(line, file=sys.stderr, flush=True)
        except OSError:  # stderr is gone (its reader died): the daemon goes on
            pass

    def _told(self, value: Any) -> Any:
        """Words may be of traffic: no secret and nothing that controls a terminal is among them."""
        if value is None or isinstance(value, bool | int | float):
            return value
        return visible(self.redacted(str(value)), LIMIT)


class Forward(logging.Handler):
    """What modules below say through ``logging`` (a refused peer, a handler that broke) goes out in the log's form."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(record.getMessage(), **({"error": repr(record.exc_info[1])} if record.exc_info else {}))


class Seldom(logging.Filter):
    """Lets each message of a logger pass once in ``every`` seconds: what repeats ten times a second is one event."""

    def __init__(self, every: float = 60.0) -> None:
        super().__init__()
        self._every = every
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        before = self._told.get(record.msg)
        if before is not None and record.created - before < self._every:
            return False
        self._told[record.msg] = record.created
        return True
