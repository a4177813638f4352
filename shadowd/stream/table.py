"""All flows of one worker: opens them, ends them, keeps them within limits, and accounts for every byte given.

At any time ``sum of payload given to segment = delivered + duplicate + buffered + sum(discarded)``. Counters live in
the flows; they are added up when somebody asks, and moved to the table's totals when a flow ends.

A connection that ended (both FINs, or RST) leaves an ``Ended`` behind for ``closed_linger``, so that a late
retransmission is recognised and does not open a midstream flow. A SYN with another initial number opens a new flow.

Time limits cost nothing per segment: a flow stands in the bucket of the second in which it would be due, and moves on
when that second comes and it was active meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from shadowd.stream.flow import ACK, GAP_TIMEOUT, KIND, RST, SYN, Flow, FlowSink
from shadowd.stream.seq import MASK, MAX_WINDOW, add, distance

_SECOND = 1_000_000_000
#: Flows looked at for one to evict when the table is full: bounds the work of a SYN flood.
_EVICTION_LOOK = 8
#: Refused flows remembered so that each is counted once; forgotten together at this number.
_REFUSED_REMEMBERED = 4096


class FlowLimits:
    """What a table may hold, and for how long. Times in ns.

    ``max_flows``: 65,536, the kernel's own flow map. When full, the flow that is idle longest, if for more than
    ``pressure_idle``, is expired; else the new flow is refused: counted, its bytes discarded as ``max_flows``.

    ``max_buffered_flow`` bytes and ``max_ranges`` runs a direction: see ``Assembler``. Beyond it the first hole is
    declared lost at once, not when the peer's ACK proves it.

    ``max_buffered_total``: 16 MiB, a quarter of a worker's budget of 64 MB. Beyond it the flow that asks for more gives
    up all its holes (gap events; what was captured is handed out), and counts as ``overflowed``.

    ``idle``: 15 min; longer than the keep-alive limits of common servers and proxies (nginx 75 s, Envoy 1 h at most by
    default, with requests in between), short enough that flows whose end was lost do not pile up. ``handshake_idle``:
    2 min for a flow with one silent or finished side (nf_conntrack's syn_sent and fin_wait). Beyond: ``expired``.

    ``closed_linger``: 5 s, some retransmissions of a lost last ACK; ``max_ended`` flows at most, oldest first.

    ``gap_timeout``: see ``GAP_TIMEOUT``.

    ``offline``: for capture files. Flows are patient (see ``Flow``), and a segment without payload and SYN opens one
    too: a file's reader wants every connection, the daemon must not open one for a stray RST.
    """

    __slots__ = (
        "closed_linger",
        "gap_timeout",
        "handshake_idle",
        "idle",
        "max_buffered_flow",
        "max_buffered_total",
        "max_ended",
        "max_flows",
        "max_ranges",
        "offline",
        "pressure_idle",
    )

    def __init__(
        self,
        max_flows: int = 65_536,
        max_buffered_flow: int = 1 << 20,
        max_buffered_total: int = 16 << 20,
        max_ranges: int = 256,
        idle: int = 900 * _SECOND,
        handshake_idle: int = 120 * _SECOND,
        pressure_idle: int = 30 * _SECOND,
        closed_linger: int = 5 * _SECOND,
        max_ended: int = 16_384,
        gap_timeout: int = GAP_TIMEOUT,
        offline: bool = False,
    ) -> None:
        self.max_flows = max_flows
        self.max_buffered_flow = max_buffered_flow
        self.max_buffered_total = max_buffered_total
        self.max_ranges = max_ranges
        self.idle = idle
        self.handshake_idle = handshake_idle
        self.pressure_idle = pressure_idle
        self.closed_linger = closed_linger
        self.max_ended = max_ended
        self.gap_timeout = gap_timeout
        self.offline = offline


class TableStatistics(NamedTuple):
    """A snapshot; bytes are payload, all but ``flows``, ``waiting`` and ``buffered`` count since the start."""

    flows: int  # open now
    waiting: int  # of those, behind a hole now
    opened: int
    midstream: int  # of those, without a SYN
    ended: dict[str, int]  # by final state
    segments: int
    delivered: int
    duplicate: int
    conflicts: int
    buffered: int
    gaps: int
    gap_bytes: int
    discarded: dict[str, int]  # by reason
    refused_flows: int  # for want of room
    overflowed: int  # times a flow gave up its holes because all queues together were full
    ignored_resets: int


class Ended(NamedTuple):
    """What is left of a connection that is over. It does not know holes: late bytes count as ``duplicate``."""

    until: int
    client_isn: int  # -1: not known
    server_isn: int
    client_next: int  # -1: that direction never began
    server_next: int


class FlowTable:
    """See the module's head. ``open_sink(key, time, flow, midstream)`` makes the sink of a new flow."""

    __slots__ = (
        "_buffered", "_conflicts", "_delivered", "_discarded", "_due", "_duplicate", "_ended", "_ends", "_flows",
        "_gap_bytes", "_gaps", "_ignored_resets", "_limits", "_midstream", "_open_sink", "_opened", "_overflowed",
        "_refused", "_refused_flows", "_segments", "_waiting", "on_fault", "on_tag",
    )  # fmt: skip

    def __init__(self, open_sink: Callable[[bytes, int, Flow, bool], FlowSink], limits: FlowLimits) -> None:
        self._open_sink = open_sink
        self._limits = limits
        self.on_tag: Callable[[Flow, int], None] | None = None
        #: Told of what was raised on a flow's way, whose sink must raise no more then. None: it is raised.
        self.on_fault: Callable[[Flow, Exception], None] | None = None
        self._flows: dict[bytes, Flow] = {}
        self._ended: dict[bytes, Ended] = {}  # in order of `until`
        self._waiting: dict[bytes, Flow] = {}
        self._due: dict[int, dict[bytes, None]] = {}  # second → keys
        self._refused: set[bytes] = set()
        self._segments = 0
        self._buffered = 0
        self._opened = 0
        self._midstream = 0
        self._refused_flows = 0
        self._overflowed = 0
        # of flows that are gone
        self._ends: dict[str, int] = {}
        self._delivered = 0
        self._duplicate = 0
        self._conflicts = 0
        self._gaps = 0
        self._gap_bytes = 0
        self._ignored_resets = 0
        self._discarded: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def get(self, key: bytes) -> Flow | None:
        """The open flow of this key."""
        return self._flows.get(key)

    def items(self) -> list[tuple[bytes, Flow]]:
        """The open flows; a copy, so flows may be removed meanwhile."""
        return list(self._flows.items())

    def segment(
        self, key: bytes, direction: int, seq: int, ack: int, flags: int, payload: bytes, time: int, tag: int = 0
    ) -> Flow | None:
        """Feed one segment. Returns its flow if that is open afterwards, else ``None``.

        ``key`` names the connection the same for both directions; ``tag`` is the capture side's word about the flow
        (the filters that matched), whose changes ``on_tag`` is told; see ``Flow.segment`` for the rest.
        """
        self._segments += 1
        flow = self._flows.get(key)
        try:
            if flow is not None and flow.tag != tag:
                flow.tag = tag
                if self.on_tag is not None:
                    self.on_tag(flow, tag)
            if flow is not None and flow.steady and flags & KIND == ACK and payload:
                # The short way of Flow.segment, written out: this is nearly all segments, and a call costs a quarter.
                if direction:
                    own, peer = flow.server, flow.client
                else:
                    own, peer = flow.client, flow.server
                if seq == own.next_seq:
                    if ack != peer.acked and (ack - peer.acked) & MASK <= MAX_WINDOW:
                        peer.acked = ack
                    length = len(payload)
                    own.next_seq = (seq + length) & MASK
                    own.offset += length
                    flow.seen = time
                    if not direction:
                        flow.before = seq
                    flow.sink.data(direction, payload, time)
                    flow.speaker = direction
                    return flow
            if flow is None or flags & SYN:
                flow = self._admit(key, flow, direction, seq, ack, flags, payload, time, tag)
                if flow is None:
                    return None
            flow.segment(direction, seq, ack, flags, payload, time)
            return self._settle(key, flow, time)
        except Exception as error:
            self._bear(key, time, error)
            return None

    def expire(self, now: int) -> None:
        """Apply every time limit. Call about once a second; costs what is due, not what is open."""
        for key in self._first_ended(now):
            del self._ended[key]
        for key, flow in list(self._waiting.items()):
            try:
                flow.expire_holes(now, self._limits.gap_timeout)
                self._settle(key, flow, now)
            except Exception as error:
                self._bear(key, now, error)
        second = now // _SECOND
        for due in [due for due in self._due if due <= second]:
            for key in self._due.pop(due):
                flow = self._flows[key]
                limit = self._idle_limit(flow)
                if flow.seen + limit <= now:
                    flow.due = -1
                    self._end(key, flow, "expired", now)
                else:
                    self._schedule(key, flow, flow.seen + limit)

    def remove(self, key: bytes, now: int, state: str = "removed") -> None:
        """End one flow, if it is open."""
        flow = self._flows.get(key)
        if flow is not None:
            self._end(key, flow, state, now)

    def close_all(self, now: int, state: str = "removed") -> None:
        """End every flow."""
        for key, flow in self.items():
            self._end(key, flow, state, now)

    @property
    def buffered(self) -> int:
        """Bytes out of order, over all flows."""
        return self._buffered

    def statistics(self) -> TableStatistics:
        """Add up the totals and the open flows: a few µs for a hundred flows."""
        delivered, duplicate, conflicts = self._delivered, self._duplicate, self._conflicts
        gaps, gap_bytes, ignored, buffered = self._gaps, self._gap_bytes, self._ignored_resets, 0
        discarded = dict(self._discarded)
        for flow in self._flows.values():
            gaps += flow.gaps
            ignored += flow.ignored_resets
            for stream in (flow.client, flow.server):
                delivered += stream.delivered
                duplicate += stream.duplicate
                conflicts += stream.conflicts
                gap_bytes += stream.gap_bytes
                buffered += stream.buffered
                for reason, length in stream.discarded.items():
                    discarded[reason] = discarded.get(reason, 0) + length
        return TableStatistics(
            flows=len(self._flows),
            waiting=len(self._waiting),
            opened=self._opened,
            midstream=self._midstream,
            ended=dict(self._ends),
            segments=self._segments,
            delivered=delivered,
            duplicate=duplicate,
            conflicts=conflicts,
            buffered=buffered,
            gaps=gaps,
            gap_bytes=gap_bytes,
            discarded=discarded,
            refused_flows=self._refused_flows,
            overflowed=self._overflowed,
            ignored_resets=ignored,
        )

    # --- opening ------------------------------------------------------------------------------------------------------

    def _admit(
        self, key: bytes, flow: Flow | None, direction: int, seq: int, ack: int, flags: int, payload: bytes, time: int,
        tag: int,
    ) -> Flow | None:  # fmt: skip
        """The flow of a SYN, or of a segment whose key has no flow; ``None`` if there is and will be none."""
        if flow is not None:
            if flags & RST or not flow.starts_another(direction, seq, ack, flags):
                return flow
            self._end(key, flow, "replaced", time)
        ended = self._ended.get(key)
        if ended is not None:
            if not self._starts_anew(ended, direction, seq, ack, flags):
                self._account_late(ended, direction, seq, flags, payload)
                return None
            del self._ended[key]
        limits = self._limits
        if not limits.offline:
            if flags & RST:
                self._refuse("rst_payload", payload)
                return None
            if not payload and not flags & SYN:
                return None
        if len(self._flows) >= limits.max_flows and not self._make_room(time):
            self._refuse("max_flows", payload)
            if key not in self._refused:
                if len(self._refused) >= _REFUSED_REMEMBERED:
                    self._refused.clear()
                self._refused.add(key)
                self._refused_flows += 1
            return None
        self._refused.discard(key)
        midstream = not flags & SYN
        flow = Flow(midstream, limits.max_buffered_flow, limits.max_ranges, patient=limits.offline)
        flow.seen = time
        flow.tag = tag
        self._flows[key] = flow
        self._opened += 1
        self._midstream += midstream
        self._schedule(key, flow, time + limits.handshake_idle)
        flow.sink = self._open_sink(key, time, flow, midstream)
        return flow

    @staticmethod
    def _starts_anew(ended: Ended, direction: int, seq: int, ack: int, flags: int) -> bool:
        """A segment on the tuple of a connection that is over belongs to a new one."""
        if not flags & SYN:
            return False
        isn, other = (ended.server_isn, ended.client_isn) if direction else (ended.client_isn, ended.server_isn)
        if isn < 0 or seq != isn:
            # a SYN-ACK to the old SYN is a late repetition, or a second answer to it
            return not (flags & ACK and other >= 0 and ack == add(other, 1))
        return False

    def _account_late(self, ended: Ended, direction: int, seq: int, flags: int, payload: bytes) -> None:
        length = len(payload)
        if not length:
            return
        if flags & RST:
            self._refuse("rst_payload", payload)
            return
        if flags & SYN:
            seq = add(seq, 1)
        expected = ended.server_next if direction else ended.client_next
        past = length if expected < 0 else min(length, max(0, distance(expected, seq) + length))
        self._duplicate += length - past
        self._discard("after_close", past)

    def _refuse(self, reason: str, payload: bytes) -> None:
        self._discard(reason, len(payload))

    def _discard(self, reason: str, length: int) -> None:
        if length:
            self._discarded[reason] = self._discarded.get(reason, 0) + length

    def _make_room(self, now: int) -> bool:
        """Expire the flow that is idle longest among the first that come due, if it is idle at all."""
        if not self._due:
            return False
        first = islice(self._due[min(self._due)], _EVICTION_LOOK)
        key = min(first, key=lambda key: self._flows[key].seen)
        flow = self._flows[key]
        if flow.seen + self._limits.pressure_idle > now:
            return False
        self._end(key, flow, "expired", now)
        return True

    # --- keeping and ending -------------------------------------------------------------------------------------------

    def _settle(self, key: bytes, flow: Flow, time: int) -> Flow | None:
        """After anything unusual: queues, holes, the end."""
        if flow.over:
            self._forget(key, flow, time)
            return None
        buffered = flow.buffered
        self._buffered += buffered - flow.known_buffered
        flow.known_buffered = buffered
        if self._buffered > self._limits.max_buffered_total and buffered:
            self._overflowed += 1
            flow.give_up_holes(time)
            return self._settle(key, flow, time)
        if flow.waiting:
            self._waiting[key] = flow
        elif self._waiting:
            self._waiting.pop(key, None)
        return flow

    def _end(self, key: bytes, flow: Flow, event: str, time: int) -> None:
        try:
            flow.close(event, time)
        except Exception as error:
            self._bear(key, time, error)
        else:
            self._forget(key, flow, time)

    def _bear(self, key: bytes, time: int, error: Exception) -> None:
        """A fault of ours on a flow's way: it ends that flow alone. What follows of its connection is midstream."""
        flow = self._flows.get(key)
        if self.on_fault is None or flow is None:
            raise error
        self.on_fault(flow, error)
        flow.drop("fault", time)
        self._forget(key, flow, time)

    def _forget(self, key: bytes, flow: Flow, time: int) -> None:
        """Move the counters of a flow that is over to the totals."""
        del self._flows[key]
        self._waiting.pop(key, None)
        if flow.due >= 0:
            bucket = self._due[flow.due]
            bucket.pop(key, None)
            if not bucket:
                del self._due[flow.due]
        self._buffered -= flow.known_buffered
        self._ends[flow.state] = self._ends.get(flow.state, 0) + 1
        self._gaps += flow.gaps
        self._ignored_resets += flow.ignored_resets
        for stream in (flow.client, flow.server):
            self._delivered += stream.delivered
            self._duplicate += stream.duplicate
            self._conflicts += stream.conflicts
            self._gap_bytes += stream.gap_bytes
            for reason, length in stream.discarded.items():
                self._discard(reason, length)
        if flow.state in ("closed", "reset"):
            ended = self._ended
            if len(ended) >= self._limits.max_ended:
                del ended[next(iter(ended))]
            ended.pop(key, None)
            ended[key] = Ended(
                time + self._limits.closed_linger,
                flow.client.isn,
                flow.server.isn,
                flow.client.next_seq if flow.client.anchored else -1,
                flow.server.next_seq if flow.server.anchored else -1,
            )

    def _first_ended(self, now: int) -> list[bytes]:
        found = []
        for key, ended in self._ended.items():
            if ended.until > now:
                break
            found.append(key)
        return found

    def _idle_limit(self, flow: Flow) -> int:
        whole = flow.client.delivered and flow.server.delivered and flow.client.end < 0 and flow.server.end < 0
        return self._limits.idle if whole else self._limits.handshake_idle

    def _schedule(self, key: bytes, flow: Flow, due: int) -> None:
        flow.due = due // _SECOND + 1
        self._due.setdefault(flow.due, {})[key] = None
