"""One exchange on its way to one target: what is sent, by which connection, and what came of it (no I/O here)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shadowd.evidence.trial import UNKNOWN, Side
from shadowd.exchange.exchange import MESSAGE_COST, Exchange
from shadowd.protocols.dialogue import PACE_BYTES

if TYPE_CHECKING:
    from shadowd.evidence.trial import Trial
    from shadowd.replay.connection import Connection
    from shadowd.replay.lane import Lane


class Leg(Side):
    """One exchange on its way to one target. ``twin``: a second copy for the comparison, outside the ledger."""

    __slots__ = (
        "connection",
        "deadline",
        "exchange",
        "lane",
        "queued_at",
        "received_before",
        "retried",
        "sent_end",
        "since",
        "size",
        "target",
        "trials",
        "twin",
        "wire",
    )

    def __init__(self, exchange: Exchange, wire: bytes, lane: Lane, since: int, now: int, twin: bool = False) -> None:
        self.shed = self.failure = ""
        self.response = None
        self.first_byte = self.last_byte = UNKNOWN
        self.late = False
        self.done = False
        self.trials: tuple[Trial, ...] = ()
        self.twin = twin
        self.exchange = exchange
        self.since = since  # it could have been sent from then on (ns); a raw turn is known when production answers it
        self.queued_at = now  # we know of it
        self.sent_at = 0
        self.wire = wire
        request = exchange.request
        self.size = len(wire)
        if request.paces:
            self.size += PACE_BYTES * len(request.paces)
        elif request.turn is not None:
            self.size += MESSAGE_COST * len(request.turn.messages)
        self.lane = lane
        self.target = lane.target
        self.deadline = 0
        self.connection: Connection | None = None
        self.received_before = 0  # stream offset of the answers when it became the oldest in flight
        self.sent_end = 0  # stream offset after the last byte, as sent
        self.retried = False

    @property
    def authority(self) -> bytes:
        return self.target.host_header

    @property
    def encrypted(self) -> bool:
        return self.target.tls is not None
