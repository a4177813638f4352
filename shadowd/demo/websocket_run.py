"""``shadowctl demo --websocket``: what ``run`` does for a shop that speaks HTTP/1, for a helpdesk on a WebSocket.

What is said on a WebSocket is mirrored, for the filter says so. It is never asked twice, so that version 1 runs a
second time, as the baseline that tells how much two answers differ by themselves.
"""

from __future__ import annotations

from shadowd.demo.run import Demo
from shadowd.demo.websocket_desk import PLANTED

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
    usual = (45.0, 200.0)
    rate_limit = 1000.0  # four Python processes share the host with the load
    rated = "turns per second with --websocket"
    noisy = True
    service = "shadowd.demo.websocket_service"
    load = "shadowd.demo.websocket_load"
    options = ("--websocket", "--stream-window", WINDOW)
