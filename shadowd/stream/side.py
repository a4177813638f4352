"""One direction of a flow: an assembler, and what its flow knows of where it begins and what was acknowledged."""

from __future__ import annotations

from shadowd.stream.assembler import Assembler
from shadowd.stream.seq import MASK, MAX_WINDOW, add, distance


class Stream(Assembler):
    """An assembler and what its flow knows of the direction."""

    __slots__ = ("acked", "confirmed", "ended", "held", "hole_since", "isn", "rivals", "told", "urgent")

    def __init__(self, max_buffered: int = 1 << 20, max_ranges: int = 256) -> None:
        super().__init__(max_buffered, max_ranges)
        self.isn = -1  # initial sequence number, -1 unknown
        self.rivals: tuple[int, ...] = ()  # those of other SYN-ACKs, while none is acknowledged
        self.confirmed = False  # the peer has acknowledged the SYN
        self.held = False  # the anchor is one below the first byte captured, until it is known where the stream begins
        self.acked = 0  # sequence number up to which the peer has acknowledged, its highest
        self.urgent = -1  # stream offset of the urgent byte to come, -1 none
        self.told = -1  # the peer's latest ACK before the first byte was seen, -1 none
        self.ended = False  # eof was told
        self.hole_since = -1  # when the first hole was first seen, -1 without one

    def begin(self, seq: int, anew: bool = False) -> None:
        """Anchor; what lies before ``seq`` counts as acknowledged, unless the peer's ACKs so far say that it is not.
        ``anew``: the stream was thought to begin elsewhere."""
        if anew or not self.anchored or distance(seq, self.acked) < 0:
            behind = self.told >= 0 and 0 < distance(self.told, seq) <= MAX_WINDOW
            self.acked = self.told if behind else seq & MASK
        self.anchor(seq)

    def hold(self, seq: int) -> None:
        """Anchor so that bytes and FIN at ``seq`` wait."""
        self.begin(add(seq, -1))
        self.held = True

    def release(self, seq: int | None = None) -> None:
        """The stream begins at ``seq``, or with what is held. Then ``take``."""
        self.held = False
        self.begin(self.held_from if seq is None else seq, anew=True)

    @property
    def held_from(self) -> int:
        """Sequence number of the first byte or FIN that is held."""
        hole = self.hole()
        return add(self.next_seq, hole[1] if hole else 1)

    def choose(self, ack: int) -> None:
        """The peer's first ACK: which of the SYN-ACKs it took."""
        self.confirmed = True
        if self.rivals and add(ack, -1) in self.rivals and not self.offset:
            self.isn = add(ack, -1)
            self.begin(ack, anew=True)
        self.rivals = ()

    def acknowledge(self, ack: int) -> None:
        """The peer's ACK; older ones and those beyond any window are ignored (RFC 9293 §3.10.7.4)."""
        if 0 < (ack - self.acked) & MASK <= MAX_WINDOW:
            self.acked = ack
