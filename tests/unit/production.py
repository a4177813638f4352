"""Production's connections, segment by segment, and a host that mirrors them: flow table, conversations, engine.

``Wire`` sends what a client and a server would: every segment acknowledges all that its sender has received, whether
or not the capture saw it. A segment that is ``lost`` was sent and never captured.
"""

from __future__ import annotations

from shadowd.replay.target import Target
from shadowd.stream.flow import CLIENT, SERVER, Flow
from shadowd.stream.table import FlowLimits, FlowTable
from shadowd.worker.conversation import Conversation
from shadowd.worker.filters import Filter
from tests.unit.loopback import Mirror

FIN, SYN, RST, ACK = 1, 2, 4, 16
ALL = (1 << 64) - 1


class Host(Mirror):
    """A ``Surroundings``: what the pump is to conversations. Filters have the bit of their place in ``filters``."""

    def __init__(self, max_buffered: int = 64 << 20, body_limit: int = 1 << 10) -> None:
        super().__init__(max_buffered, body_limit)
        self.discards: dict[str, int] = {}
        self.absent: set[Filter] = set()  # removed: their bit means nothing any more
        self.table = FlowTable(self._open, FlowLimits())
        self.table.on_tag = lambda flow, tag: self.conversation(flow).change_filters(tag)

    def _open(self, key: bytes, time: int, flow: Flow, midstream: bool) -> Conversation:
        return Conversation(self, key, flow, midstream, flow.tag)

    @staticmethod
    def conversation(flow: Flow) -> Conversation:
        assert isinstance(flow.sink, Conversation)
        return flow.sink

    def filters_of(self, bitmap: int) -> list[Filter]:
        return [chosen for bit, chosen in enumerate(self.filters) if bitmap >> bit & 1 and chosen not in self.absent]

    def discarded(self, reason: str, length: int) -> None:
        assert length > 0
        self.discards[reason] = self.discards.get(reason, 0) + length

    def add(self, chosen: Filter) -> Filter:
        self.filters.append(chosen)
        return chosen

    def leave(self, chosen: Filter) -> None:
        """The filter is removed, as the pump does it."""
        self.absent.add(chosen)
        for key, flow in self.table.items():
            conversation = self.conversation(flow)
            conversation.leave(chosen, "removed")
            if conversation.deserted:
                self.table.remove(key, self.now)
        for pool in chosen.pools.values():
            pool.abandon("removed", self.now)
        chosen.pools.clear()

    def leave_target(self, chosen: Filter, target: Target) -> None:
        """The filter loses a target, as roster and pump do it."""
        chosen.targets = [other for other in chosen.targets if other is not target]
        for _, flow in self.table.items():
            self.conversation(flow).leave_target(chosen, target)
        pool = chosen.pools.pop(target, None)
        if pool is not None:
            pool.abandon("removed", self.now)
        self.engine.remove_target(target, self.now)
        chosen.account.targets.remove(target.account)

    def terms(self, chosen: Filter) -> dict[str, int]:
        """Of a filter's account before any target: ``seen`` and what was filtered or lost."""
        account = chosen.account
        found = {"seen": account.seen}
        found.update({f"filtered {reason}": count for reason, count in account.filtered.items()})
        found.update({f"lost {reason}": count for reason, count in account.lost.items()})
        return {reason: count for reason, count in found.items() if count}


class Wire:
    """One connection of production. ``text``: what client and server have said, lost or not."""

    def __init__(self, host: Host, number: int = 0, tag: int = ALL, isn: int = 1000, midstream: bool = False) -> None:
        self._host = host
        self.key = b"%048d" % number
        self.tag = tag
        self.text = [b"", b""]
        self.over = False
        self._next = [isn + 1, isn + 5001]
        if not midstream:
            self._segment(CLIENT, SYN, seq=isn)
            self._segment(SERVER, SYN | ACK, seq=isn + 5000)

    def _segment(self, direction: int, flags: int, data: bytes = b"", seq: int | None = None) -> None:
        seq = self._next[direction] if seq is None else seq
        self._host.now += 1000
        acked = 0 if flags & (SYN | ACK) == SYN else self._next[1 - direction]
        self._host.table.segment(
            self.key, direction, seq & 0xFFFFFFFF, acked & 0xFFFFFFFF, flags, data, self._host.now, self.tag
        )

    def _say(self, direction: int, pieces: tuple[bytes, ...], lost: bool) -> Wire:
        for data in pieces:
            if not lost:
                self._segment(direction, ACK, data)
            self.text[direction] += data
            self._next[direction] += len(data)
        return self

    def client(self, *pieces: bytes, lost: bool = False) -> Wire:
        """A segment for each piece."""
        return self._say(CLIENT, pieces, lost)

    def server(self, *pieces: bytes, lost: bool = False) -> Wire:
        return self._say(SERVER, pieces, lost)

    def client_fin(self) -> Wire:
        self._segment(CLIENT, FIN | ACK)
        self._next[CLIENT] += 1
        return self

    def server_fin(self) -> Wire:
        self._segment(SERVER, FIN | ACK)
        self._next[SERVER] += 1
        return self

    def close(self) -> Wire:
        """Both ends, in order."""
        self.over = True
        return self.client_fin().server_fin()

    def reset(self) -> Wire:
        self.over = True
        self._segment(CLIENT, RST | ACK)
        return self

    def retag(self, tag: int) -> Wire:
        """The kernel decided anew; the next segment says so."""
        self.tag = tag
        return self
