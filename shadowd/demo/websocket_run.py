"""``shadowctl demo --websocket``: what ``run`` does for a shop that speaks HTTP/1, for a helpdesk on a WebSocket.

What is said on a WebSocket is mirrored, for the filter says so. It is never asked twice, so that version 1 runs a
second time, as the baseline that tells how much two answers differ by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shadowd.demo.run import Demo, report_file, run_to_end
from shadowd.demo.websocket_desk import PLANTED
from shadowd.errors import UsageError

RATE_LIMIT = 1000.0  # turns per second: four Python processes share the host with the load
#: Seconds of load after which the verdict must be there, at 200 turns a second.
DECIDED_AFTER = 40.0
#: Of an answer of which nobody knows whether it goes on, for the end of its connection was lost: less than what is
#: waited for at the end.
WINDOW = "10s"


class WebSocketDemo(Demo):
    """The demo of a WebSocket."""

    planted = PLANTED
    example = "http://127.0.0.1:PORT/ in a browser"
    decided_after = DECIDED_AFTER
    service = "shadowd.demo.websocket_service"
    load = "shadowd.demo.websocket_load"
    options = ("--websocket", "--stream-window", WINDOW)


def run_websocket_demo(
    seconds: float,
    rate: float,
    as_json: bool = False,
    keep: bool = False,
    identical: bool = False,
    report: Path | None = None,
    *,
    show: Callable[[dict[str, Any]], None],
) -> int:
    """Run it and return its exit code; ShadowdError if it cannot start or breaks off. 130 after Ctrl-C."""
    if not 1 <= rate <= RATE_LIMIT:
        raise UsageError(
            f"--rate {rate:g} is out of range", f"give 1 to {RATE_LIMIT:.0f} turns per second with --websocket"
        )
    return run_to_end(WebSocketDemo(seconds, rate, as_json, keep, identical, True, report or report_file(), show))
