"""What a session holds: records that cannot be opened yet, and what came behind them."""

from __future__ import annotations

from collections.abc import Callable

from shadowd.tls.records import Half


class Held:
    """A record, or something that happened, which waits for its turn. ``idle``, ``acked``: what the flow said when it
    was captured."""

    __slots__ = ("acked", "end", "event", "half", "idle", "plain", "size", "time")

    def __init__(self, half: Half | None, size: int, end: int, time: int) -> None:
        self.half = half
        self.size = size
        self.end = end  # stream offset behind it
        self.time = time
        self.plain: bytes | None = None  # None: not opened yet
        self.event: Callable[[], None] | None = None
        self.idle = False
        self.acked = 0
