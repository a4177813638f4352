"""Where the ring's records go: segments to the flows, times to the connections (no I/O here)."""

from __future__ import annotations

from collections.abc import Callable

from shadowd.capture.abi import MARK_MPTCP
from shadowd.capture.ring import RingSink
from shadowd.replay.engine import Engine
from shadowd.stream.table import FlowTable
from shadowd.worker.conversation import conversation_of


class Intake(RingSink):
    """Of one worker."""

    __slots__ = ("engine", "on_secret", "table", "taken")

    def __init__(self, table: FlowTable, engine: Engine) -> None:
        self.table = table
        self.engine = engine
        self.taken = 0  # bytes of payload
        self.on_secret: Callable[[bytes], None] | None = None  # where a filter decrypts: told of each struct secret

    def segment(
        self, key: bytes, direction: int, seq: int, ack: int, flags: int, payload: bytes, time: int, tag: int
    ) -> None:
        self.taken += len(payload)
        self.table.segment(key, direction, seq, ack, flags, payload, time, tag)

    def timing(self, cookie: int, direction: int, seq: int, length: int, flags: int, time: int) -> None:
        self.engine.timing(cookie, direction, seq, length, flags, time)

    def urgent(self, key: bytes, direction: int, seq: int) -> None:
        flow = self.table.get(key)
        if flow is not None:
            flow.mark_urgent(direction, seq)

    def marked(self, key: bytes, direction: int, marks: int) -> None:
        flow = self.table.get(key)
        if flow is not None and direction and marks & MARK_MPTCP:
            conversation_of(flow.sink).multipath()

    def secret(self, record: bytes) -> None:
        if self.on_secret is not None:
            self.on_secret(record)
