"""One TCP connection: two assemblers, what the ends acknowledged, and when a hole is a loss.

``segment`` handles everything. For a *steady* flow (both directions anchored, nothing queued, no FIN) and the next
expected segment, ``FlowTable.segment`` has a shorter way to the same result. What may happen to a flow is in
``TRANSITIONS`` and nowhere else.

*Start.* A SYN anchors its direction; a SYN-ACK, and the first ACK of the other side, anchor the one whose SYN was not
captured (NAT hides the SYN-ACK from one of our hooks). A provisional anchor moves down to the first segment's number
as long as nothing was handed out. A flow without any SYN is *midstream*: each direction begins at its first segment
with payload or FIN, and older bytes that come later are discarded (``before_start``): the stream began without them.

A segment that comes before its side's SYN is *held*: a host that waits for the SYN drops it (RFC 9293 §3.10.7.3), but
it may also have been captured too early. The SYN, or the other side's ACK, tells where the stream begins; what is held
is then in it or not. Of several SYN-ACKs with different numbers the first acknowledged one counts (RFC 9293 §3.10.7.4).

*Holes.* A hole is a loss (``gap``), when

* the peer has acknowledged bytes beyond it, and data or the FIN behind it was captured (an ACK may be captured before
  the data that it acknowledges, so an ACK alone proves nothing),
* or the queue is over its limit, or the hole is older than ``GAP_TIMEOUT``, or the flow ends.

When the flow ends, bytes that the peer acknowledged and nobody captured are a gap too. One byte may be an uncaptured
FIN's number and does not count.

A *patient* flow is for capture files, where segments may stand in any order and nothing waits for us: ACKs prove no
loss, and a RST (late, crossing, or forged) ends the flow only when nothing more can follow.

*End.* Both FINs reached in order, or a RST near the expected number (RFC 5961 §3.2 wants it exact; a passive reader may
have lost a few segments). A RST's payload is not stream data (RFC 9293 §3.10.7.4 drops it).

*Urgent data.* Unless an application asks for it in line (SO_OOBINLINE, which nobody else can see), Linux takes the last
urgent byte out of what it reads (net/ipv4/tcp_input.c, tcp_check_urg). So it is taken out here; the sink is told.
"""

from __future__ import annotations

from shadowd.stream.seq import MAX_WINDOW, add, distance
from shadowd.stream.side import Stream

CLIENT = 0  # client→server
SERVER = 1  # server→client

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
#: The flags that decide the way of a segment: ``flags & KIND == ACK`` is plain data.
KIND = FIN | SYN | RST | ACK

#: Age at which an unacknowledged hole is given up: the sender has by then sent the bytes again after 1, 2, 4 and 8 s
#: (RFC 6298 §2.4, §5.5) and its connection is dead in all but name.
GAP_TIMEOUT = 30_000_000_000

#: How far from the expected number a RST is believed: Linux's largest default receive buffer (tcp_rmem, 6 MiB) rounded
#: up. A blind forgery hits it once in 256 tries.
RST_WINDOW = 1 << 23

#: Unacknowledged SYN-ACKs that are remembered: a server repeats itself five times (tcp_synack_retries).
_MAX_RIVALS = 8

#: state → event → state. Events are what segments show (``client_fin`` and ``server_fin``, reached in order; ``reset``)
#: and what the table decides (``expired``, ``replaced``, ``removed``). States without events are final.
TRANSITIONS: dict[str, dict[str, str]] = {
    state: {
        "client_fin": "closed" if state == "server_done" else "client_done",
        "server_fin": "closed" if state == "client_done" else "server_done",
        "reset": "reset",
        "expired": "expired",
        "replaced": "replaced",
        "removed": "removed",
    }
    for state in ("open", "midstream", "client_done", "server_done")
} | {state: {} for state in ("closed", "reset", "expired", "replaced", "removed")}

FINAL_STATES = frozenset(state for state, events in TRANSITIONS.items() if not events)
_FIN_EVENT = ("client_fin", "server_fin")


class FlowSink:
    """Is told what a flow carries. ``direction``: ``CLIENT`` (0) or ``SERVER`` (1); ``time`` in ns.

    Must not call back into the flow or its table, except to read. A sink has every method.
    """

    __slots__ = ()

    def data(self, direction: int, data: bytes, time: int) -> None:
        """Bytes in order."""

    def gap(self, direction: int, length: int, time: int) -> None:
        """``length`` bytes were never captured; what follows comes after the hole."""

    def eof(self, direction: int, time: int) -> None:
        """The FIN was reached in order."""

    def urgent(self, direction: int, time: int) -> None:
        """A byte was taken out here: it was urgent."""

    def closed(self, state: str, time: int) -> None:
        """The flow is over: ``closed``, ``reset``, ``expired``, ``replaced`` or ``removed``. Nothing follows."""


class _Nobody(FlowSink):
    """Sink of a flow that is over: lets go of the real one, which usually refers back to the flow."""

    __slots__ = ()


NOBODY = _Nobody()


class Flow:
    """See the module's head. ``sink`` is set by whoever opens the flow before the first ``segment``."""

    __slots__ = (
        "_patient",
        "_reset_seen",
        "before",
        "client",
        "due",
        "gaps",
        "ignored_resets",
        "known_buffered",
        "midstream",
        "seen",
        "server",
        "sink",
        "speaker",
        "state",
        "steady",
        "tag",
    )

    def __init__(
        self,
        midstream: bool,
        max_buffered: int = 1 << 20,
        max_ranges: int = 256,
        sink: FlowSink = NOBODY,
        patient: bool = False,
    ) -> None:
        self.client: Stream = Stream(max_buffered, max_ranges)
        self.server: Stream = Stream(max_buffered, max_ranges)
        self.sink = sink
        self.midstream = midstream
        self.state = "midstream" if midstream else "open"
        self.steady = False  # nothing special: the short way may be taken
        self.seen = 0  # time of the last segment (ns)
        self.ignored_resets = 0
        self.gaps = 0
        self.due = 0  # of the table: when it looks at this flow again
        self.tag = 0  # of the table: what the capture side last said of this flow
        self.known_buffered = 0  # of the table: queued bytes it has counted
        self._patient = patient
        self._reset_seen = False
        self.speaker = -1  # direction of the last bytes handed out or lost
        self.before = 0  # next_seq of client→server before the segment being fed

    def __repr__(self) -> str:
        return f"<Flow {self.state} client={self.client!r} server={self.server!r}>"

    @property
    def over(self) -> bool:
        """Nothing more will be told to the sink."""
        return self.state in FINAL_STATES

    @property
    def waiting(self) -> bool:
        """A direction waits behind a hole."""
        return self.client.waiting or self.server.waiting

    @property
    def buffered(self) -> int:
        """Bytes queued in both directions."""
        return self.client.buffered + self.server.buffered

    @property
    def client_acked(self) -> int:
        """Stream offset of server→client up to which the client has acknowledged, as of the current segment.

        May lie beyond what was captured so far; the FIN's number is not counted.
        """
        server = self.server
        if not server.anchored:
            return 0
        acked = server.offset + distance(server.next_seq, server.acked)
        return acked if server.end < 0 else min(acked, server.end)

    @property
    def idle_point(self) -> bool:
        """The segment being fed opens a new client turn (``shadowd.protocols.base.FlowView``).

        True when the server spoke last, and all earlier bytes, captured or not, are acknowledged both ways.
        """
        client, server = self.client, self.server
        return (
            self.speaker == SERVER
            and server.acked == server.next_seq
            and not server.waiting
            and distance(self.before, client.acked) >= 0
        )

    @property
    def spoke_unseen(self) -> bool:
        """The server has acknowledged bytes of the client that were not captured; a hole becomes a gap only when more
        follows it."""
        client = self.client
        return distance(client.next_seq, client.acked) > 1  # one may be the FIN

    @property
    def offsets(self) -> tuple[int, int]:
        """Bytes of client→server and server→client so far, holes included."""
        return self.client.offset, self.server.offset

    @property
    def server_name(self) -> str:
        """Nobody reads one here."""
        return ""

    def segment(self, direction: int, seq: int, ack: int, flags: int, payload: bytes, time: int) -> None:
        """One captured segment, whole or one of several chunks (``seq`` is of its first byte, or of the SYN)."""
        own, peer = (self.server, self.client) if direction else (self.client, self.server)
        self.seen = time
        if self.over:
            self._after_end(own, seq, flags, payload)
        elif flags & RST:
            self._reset(own, peer, seq, ack, flags, payload, time)
        else:
            self._take(direction, own, peer, seq, ack, flags, payload, time)

    def mark_urgent(self, direction: int, seq: int) -> None:
        """The segment that is fed next says that the byte of this number is urgent."""
        own = self.server if direction else self.client
        ahead = distance(own.next_seq, seq)
        if own.anchored and 0 <= ahead <= MAX_WINDOW:  # else old; and a newer one takes the place of one to come
            own.urgent = max(own.urgent, own.offset + ahead)
            self.steady = False

    def starts_another(self, direction: int, seq: int, ack: int, flags: int) -> bool:
        """A SYN of these values belongs to another connection on the same tuple (port reuse), not to this one."""
        own = self.server if direction else self.client
        if own.isn >= 0:
            # A SYN-ACK with another number is a stale answer or a forgery, unless it answers another SYN.
            return seq != own.isn and (not flags & ACK or (direction == SERVER and self._answers_another(ack)))
        if own.anchored and add(own.next_seq, -own.offset) == add(seq, 1):
            return False  # captured after the first data
        return self.midstream

    def _answers_another(self, ack: int) -> bool:
        client = self.client
        within = client.anchored and -client.offset <= distance(client.next_seq, ack) <= 0
        return client.isn >= 0 and not within

    def expire_holes(self, now: int, age: int = GAP_TIMEOUT) -> None:
        """Give up what has been missing for ``age`` ns. Later holes of that direction go with the first."""
        for direction, own in ((CLIENT, self.client), (SERVER, self.server)):
            if own.hole_since >= 0 and now - own.hole_since >= age:
                self._give_up(direction, own, now)
        self._look_around(now)

    def give_up_holes(self, time: int) -> None:
        """Declare every hole lost: frees the queue, and loses no byte that was captured."""
        self._give_up(CLIENT, self.client, time)
        self._give_up(SERVER, self.server, time)
        self._look_around(time)

    def close(self, event: str, time: int) -> None:
        """End the flow by ``reset``, ``expired``, ``replaced`` or ``removed``; what is queued is handed out first."""
        if self.over:
            return
        for direction, own in ((CLIENT, self.client), (SERVER, self.server)):
            self._give_up(direction, own, time)
            if own.anchored and own.end < 0 and distance(own.next_seq, own.acked) > 1:
                self._lose(direction, own, time, own.acked)
        if not self.over:
            self._move("reset" if self._reset_seen else event, time)

    def drop(self, reason: str, time: int) -> None:
        """End the flow at once; what is queued is discarded for ``reason``."""
        for own in (self.client, self.server):
            own.drop(reason)
        if not self.over:
            self._move("removed", time)

    # --- what a segment does ------------------------------------------------------------------------------------------

    def _reset(self, own: Stream, peer: Stream, seq: int, ack: int, flags: int, payload: bytes, time: int) -> None:
        own.refuse("rst_payload", len(payload))
        if not self._is_near(own, peer, seq, ack, flags):
            self.ignored_resets += 1
        elif self._patient:
            self._reset_seen = True
        else:
            self.close("reset", time)

    def _take(
        self, direction: int, own: Stream, peer: Stream, seq: int, ack: int, flags: int, payload: bytes, time: int
    ) -> None:
        if flags & SYN:
            if not self._synchronise(own, peer, seq, ack, flags):
                own.refuse("stale_syn", len(payload))
                return
            seq = add(seq, 1)
        else:
            self._anchor(own, peer, seq, ack, flags, payload)
        if flags & ACK:
            if not peer.anchored:
                peer.told = ack
            else:
                if not peer.confirmed:
                    self._confirm(peer, ack)
                peer.acknowledge(ack)
                if peer.waiting:
                    self._advance(1 - direction, peer, time)
        if own.held and payload and distance(own.next_seq, seq) <= 0:  # a probe: nothing is handed out yet
            below = min(len(payload), 1 - distance(own.next_seq, seq))
            own.refuse("before_start", below)
            seq, payload = add(seq, below), payload[below:]
        if payload:
            if not direction:
                self.before = own.next_seq
            data = own.push(seq, payload, bool(flags & FIN))
            if data:
                self._tell(direction, own, data, time)
        if flags & FIN and own.anchored:
            own.finish(add(seq, len(payload)))
        self._advance(direction, own, time)
        self._look_around(time)

    def _synchronise(self, own: Stream, peer: Stream, seq: int, ack: int, flags: int) -> bool:
        """A SYN or SYN-ACK of this connection. False: stale, ignore it."""
        first = add(seq, 1)
        if own.isn < 0:
            if own.held:
                own.release(first)
            elif not own.offset:
                own.begin(first)
            own.isn = seq
        elif own.isn != seq:
            if own.confirmed or own.offset or own.waiting or (peer.isn >= 0 and ack != add(peer.isn, 1)):
                return False
            if len(own.rivals) < _MAX_RIVALS:
                own.rivals += (own.isn,)
            own.begin(first, anew=True)  # the server answered the repeated SYN anew; the first is not acknowledged
            own.isn = seq
        if flags & ACK and not peer.anchored:
            peer.begin(ack)
            peer.isn = add(ack, -1)
        return True

    def _anchor(self, own: Stream, peer: Stream, seq: int, ack: int, flags: int, payload: bytes) -> None:
        if not own.anchored:
            if payload or flags & FIN:
                if peer.isn >= 0 or (self._patient and self.midstream):
                    own.hold(seq)
                else:
                    own.begin(seq)
        elif own.held:
            lower = -distance(own.held_from, seq)
            if payload and 0 < lower <= RST_WINDOW and not (lower == 1 and len(payload) == 1):
                own.hold(seq)
        elif own.isn < 0 and not own.offset and not self.midstream:
            lower = -distance(own.next_seq, seq)
            probe = lower == 1 and len(payload) <= 1
            if payload and 0 < lower <= RST_WINDOW and not probe:
                own.begin(seq)
        if flags & ACK and not peer.anchored and not self.midstream:
            peer.begin(ack)

    def _confirm(self, stream: Stream, ack: int) -> None:
        """An ACK tells where the other side's stream begins."""
        if not stream.held:
            if stream.isn >= 0:
                stream.choose(ack)
            return
        ahead = distance(stream.held_from, ack)
        if self.midstream:
            if ahead > 0:  # nothing before it is missing
                stream.release()
        elif 0 < ahead <= MAX_WINDOW and (stream.buffered or ahead == 1):
            stream.release()  # the SYN and the first ACK were not captured
        else:
            stream.release(ack)

    def _is_near(self, own: Stream, peer: Stream, seq: int, ack: int, flags: int) -> bool:
        """A RST that the other end would take: near the expected number, or answering what it sent."""
        if own.anchored and abs(distance(own.next_seq, seq)) <= RST_WINDOW:
            return True
        if own.anchored and (own.isn >= 0 or own.offset or own.waiting):
            return False
        if not peer.anchored or not flags & ACK:
            return True
        if peer.isn >= 0 and distance(peer.isn, ack) <= 0:
            return False  # RFC 9293 §3.10.7.3: it must acknowledge our SYN
        return abs(distance(peer.next_seq, ack)) <= RST_WINDOW

    def _after_end(self, own: Stream, seq: int, flags: int, payload: bytes) -> None:
        if payload:
            if flags & SYN:
                seq = add(seq, 1)
            past = max(0, distance(own.next_seq, seq) + len(payload)) if own.anchored else len(payload)
            past = min(past, len(payload))
            own.refuse("after_close", past)
            own.push(seq, payload[: len(payload) - past])  # repeated or late: nothing comes of it

    def _advance(self, direction: int, own: Stream, time: int) -> None:
        """Declare lost what is, and tell the end when it is reached."""
        if own.held:
            if not own.over_limit:
                if own.hole_since < 0:
                    own.hole_since = time
                return
            own.release()
        if own.buffered:
            self._hand_out(direction, own, time)
        hole = own.hole()
        while hole is not None:
            seq, length = hole
            if not own.over_limit and (self._patient or distance(add(seq, length), own.acked) <= 0):
                break
            self._lose(direction, own, time)
            hole = own.hole()
        if hole is None:
            own.hole_since = -1
            if own.offset == own.end and not own.ended:
                own.ended = True
                self.sink.eof(direction, time)
                self._move(_FIN_EVENT[direction], time)
        elif own.hole_since < 0:
            own.hole_since = time

    def _lose(self, direction: int, own: Stream, time: int, until: int | None = None) -> None:
        _, length = own.skip(until)
        own.hole_since = -1
        self.gaps += 1
        self.speaker = direction  # the lost bytes were this side's
        self.sink.gap(direction, length, time)
        if direction == CLIENT:
            self.before = own.next_seq
        self._hand_out(direction, own, time)

    def _hand_out(self, direction: int, own: Stream, time: int) -> None:
        """What has become contiguous otherwise than by a segment."""
        data = own.take()
        if data:
            self._tell(direction, own, data, time)

    def _tell(self, direction: int, own: Stream, data: bytes, time: int) -> None:
        """``data`` ends at ``own.offset``."""
        if own.urgent >= 0 and own.urgent < own.offset:
            at, own.urgent = own.urgent - own.offset + len(data), -1
            if at >= 0:  # else it was lost
                if at:
                    self.sink.data(direction, data[:at], time)
                self.sink.urgent(direction, time)
                data = data[at + 1 :]
        if data:
            self.sink.data(direction, data, time)
        self.speaker = direction

    def _give_up(self, direction: int, own: Stream, time: int) -> None:
        if own.held:
            own.release()
            self._hand_out(direction, own, time)
        while own.hole() is not None:
            self._lose(direction, own, time)
        if not self.over:
            self._advance(direction, own, time)

    def _move(self, event: str, time: int) -> None:
        self.state = TRANSITIONS[self.state][event]
        if self.state in FINAL_STATES:
            self.steady = False
            sink = self.sink
            self.sink = NOBODY
            sink.closed(self.state, time)

    def _look_around(self, time: int) -> None:
        client, server = self.client, self.server
        self.steady = (
            client.anchored
            and server.anchored
            and client.end < 0
            and server.end < 0
            and not client.buffered
            and not server.buffered
            and not server.rivals
            and client.urgent < 0
            and server.urgent < 0
            and not self.over
        )
