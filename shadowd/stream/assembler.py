"""One direction of a flow: segments in any order go in, the stream's bytes in order come out.

Positions are stream offsets (64 bit), counted from the anchor, holes included; sequence numbers appear only at the
door. Bytes at ``offset`` are handed out at once and forgotten. Bytes beyond it wait in the queue: *runs*, sorted, with
strictly rising starts and ends. Runs may overlap, because what the bytes of an overlap will be is decided as Linux
decides it (net/ipv4/tcp_input.c, tcp_data_queue_ofo and tcp_ofo_queue), when they are handed out:

* a segment that lies within a run adds nothing and is dropped,
* one that begins where a run ends is appended to it (tcp_ooo_try_coalesce),
* one that covers whole runs replaces them,
* where two runs overlap, the one with the lower start gives the bytes; bytes handed out are never replaced.

Every byte pushed is in exactly one of ``delivered``, ``duplicate``, ``buffered`` and ``discarded``.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter, ne

from shadowd.stream.seq import MASK, MAX_WINDOW, distance

#: Skipped holes remembered to tell late bytes from repeated ones; only that distinction is lost beyond it.
_SKIPPED_REMEMBERED = 32

_start = itemgetter(0)


class Assembler:
    """Orders one direction. Use ``anchor`` first, then ``push``; ask ``hole`` after a push that gave nothing.

    ``max_buffered`` bytes and ``max_ranges`` runs make ``over_limit`` true; the owner then calls ``skip`` and ``take``.
    The defaults hold a whole window of a fast path (1 MiB: 84 ms at 100 Mbit/s) in at most 256 pieces, so that one
    flow can neither hold much memory nor make the sorted insert slow.
    """

    __slots__ = (
        "_discarded",
        "_runs",
        "_skipped",
        "anchored",
        "buffered",
        "conflicts",
        "duplicate",
        "end",
        "gap_bytes",
        "max_buffered",
        "max_ranges",
        "next_seq",
        "offset",
    )

    def __init__(self, max_buffered: int = 1 << 20, max_ranges: int = 256) -> None:
        self.max_buffered = max_buffered
        self.max_ranges = max_ranges
        self.anchored = False
        self.next_seq = 0  # sequence number of the byte at `offset`
        self.offset = 0  # stream offset expected next: delivered + gap_bytes
        self.end = -1  # stream offset of the FIN, -1 while none was seen
        self.duplicate = 0  # bytes whose place was already taken, keep-alive probes included
        self.conflicts = 0  # bytes of those whose value differed from the queued copy's
        self.buffered = 0  # bytes in the queue
        self.gap_bytes = 0  # bytes declared lost
        self._runs: list[tuple[int, bytearray]] = []
        self._skipped: list[tuple[int, int]] | None = None
        self._discarded: dict[str, int] | None = None

    def __repr__(self) -> str:
        """As smoltcp prints its assembler: what is there, and what is missing between."""
        if not self.anchored:
            return "<Assembler unanchored>"
        parts = [f"{self.offset} done"]
        at = self.offset
        for start, data in self._runs:
            if start > at:
                parts.append(f"{start - at} missing")
            parts.append(f"{len(data)} held" if start >= at else f"{len(data)} held from {start}")
            at = start + len(data)
        if self.end >= 0:
            parts += [f"{self.end - at} missing"] if self.end > at else []
            parts.append("end")
        return f"<Assembler {self.next_seq:#010x}: {', '.join(parts)}>"

    @property
    def delivered(self) -> int:
        """Bytes handed out."""
        return self.offset - self.gap_bytes

    @property
    def discarded(self) -> dict[str, int]:
        """Bytes refused, by reason.

        ``before_start``: below the anchor; ``outside_window``: farther than any TCP window from the expected byte;
        ``late``: of a hole already declared lost; ``after_fin``; and what the flow adds through ``refuse``.
        """
        return dict(self._discarded) if self._discarded else {}

    def refuse(self, reason: str, length: int) -> None:
        """Count ``length`` pushed bytes as discarded."""
        if length:
            if self._discarded is None:
                self._discarded = {}
            self._discarded[reason] = self._discarded.get(reason, 0) + length

    def anchor(self, seq: int) -> None:
        """The stream's first byte has number ``seq``. May be called again until the first byte is handed out.

        What is queued keeps its sequence numbers; what then lies before the start is discarded (``before_start``).
        """
        if self.offset:
            raise ValueError("a stream that has begun cannot be anchored again")
        if self._runs:
            moved = distance(seq, self.next_seq)
            kept = [(start + moved, data) for start, data in self._runs if start + moved >= 0]
            for start, data in self._runs:
                if start + moved < 0:
                    self.buffered -= len(data)
                    self.refuse("before_start", len(data))
            self._runs = kept
        if self.anchored and self.end >= 0:
            self.end = max(0, self.end + distance(seq, self.next_seq))
        self.anchored = True
        self.next_seq = seq & MASK

    def finish(self, seq: int) -> bool:
        """A FIN stands at ``seq``: nothing at or beyond it belongs to the stream. False if it cannot be believed.

        The first believable FIN counts. One below what was handed out is old or forged (Linux drops it as well).
        """
        ahead = distance(self.next_seq, seq)
        if self.end >= 0 or not 0 <= ahead <= MAX_WINDOW:
            return self.end >= 0 and self.offset + ahead == self.end
        self.end = end = self.offset + ahead
        for start, data in self._runs:
            excess = min(len(data), start + len(data) - end)
            if excess > 0:
                del data[-excess:]
                self.buffered -= excess
                self.refuse("after_fin", excess)
        self._drop_hidden()
        return True

    def push(self, seq: int, data: bytes) -> bytes:
        """Take a segment's payload. Returns the bytes that are now in order, ``b""`` if none."""
        expected = self.next_seq
        if seq == expected and not self._runs and self.end < 0:
            length = len(data)
            self.next_seq = (expected + length) & MASK
            self.offset += length
            return data
        return self._push_out_of_order(distance(expected, seq), data)

    def hole(self) -> tuple[int, int] | None:
        """The first hole as ``(seq, length)``; ``None`` when nothing, data or FIN, waits behind one."""
        if self._runs:
            behind = self._runs[0][0]
        elif self.end >= 0:
            behind = self.end
        else:
            return None
        return (self.next_seq, behind - self.offset) if behind > self.offset else None

    @property
    def over_limit(self) -> bool:
        """The queue holds more than it may."""
        return self.buffered > self.max_buffered or len(self._runs) > self.max_ranges

    @property
    def waiting(self) -> bool:
        """Something is queued, or the FIN is known and not reached."""
        return bool(self._runs) or self.end > self.offset

    def skip(self, until: int | None = None) -> tuple[int, int]:
        """Declare the first hole lost, or without one everything up to sequence number ``until``.

        Returns ``(stream offset, length)`` of the gap; length 0 when there was nothing to skip. Then call ``take``.
        """
        offset = self.offset
        hole = self.hole()
        length = hole[1] if hole else max(0, distance(self.next_seq, until)) if until is not None else 0
        if length:
            if self._skipped is None:
                self._skipped = []
            elif len(self._skipped) >= _SKIPPED_REMEMBERED:
                del self._skipped[0]
            self._skipped.append((offset, offset + length))
            self.offset += length
            self.next_seq = (self.next_seq + length) & MASK
            self.gap_bytes += length
        return offset, length

    def take(self) -> bytes:
        """What became contiguous after ``skip``."""
        return self._drain(b"") if self._runs else b""

    # --- the queue ----------------------------------------------------------------------------------------------------

    def _push_out_of_order(self, ahead: int, data: bytes) -> bytes:
        length = len(data)
        if not -MAX_WINDOW <= ahead <= MAX_WINDOW:
            self.refuse("outside_window", length)
            return b""
        offset = self.offset
        start = offset + ahead
        if 0 <= self.end < start + length:
            excess = min(length, start + length - self.end)
            self.refuse("after_fin", excess)
            length -= excess
            data = data[:length]
        if not length:
            return b""
        if start + length <= offset:
            self._repeated(start, start + length)
            return b""
        if start > offset:
            self._enqueue(start, data)
            return b""
        if start < offset:
            self._repeated(start, offset)
            data = data[-ahead:]
        if not self._runs:
            self._advance(len(data))
            return data
        end = offset + len(data)
        for run_start, held in self._runs:
            if run_start >= end:
                break
            self.conflicts += _differing(held[: end - run_start], data[run_start - offset :])
        self._advance(len(data))
        return self._drain(data)

    def _advance(self, length: int) -> None:
        self.next_seq = (self.next_seq + length) & MASK
        self.offset += length

    def _repeated(self, start: int, end: int) -> None:
        """Bytes of ``[start, end)`` lie below ``offset``: repeated, or late, or from before the stream."""
        length = end - start
        if start < 0 and length > 1:  # a single byte is a keep-alive probe (RFC 9293 §3.8.4): repeated
            before = min(end, 0) - start
            self.refuse("before_start", before)
            length -= before
        if self._skipped:
            late = sum(max(0, min(end, high) - max(start, low)) for low, high in self._skipped)
            self.refuse("late", late)
            length -= late
        self.duplicate += length

    def _enqueue(self, start: int, data: bytes) -> None:
        runs = self._runs
        length = len(data)
        end = start + length
        at = bisect_right(runs, start, key=_start)
        if at:
            left, held = runs[at - 1]
            left_end = left + len(held)
            if start == left_end:
                held += data
                self.buffered += length
                self._replace_covered(at, start, data)
                return
            if end <= left_end:
                self.conflicts += _differing(held[start - left : end - left], data)
                self.duplicate += length
                return
            if start == left:
                at -= 1
            elif start < left_end:
                self.conflicts += _differing(held[start - left :], data[: left_end - start])
        runs.insert(at, (start, bytearray(data)))
        self.buffered += length
        self._replace_covered(at + 1, start, data)

    def _replace_covered(self, first: int, start: int, data: bytes) -> None:
        """Drop the runs from index ``first`` on that ``data`` at ``start`` covers; compare it with what it overlaps."""
        runs = self._runs
        end = start + len(data)
        last = first
        while last < len(runs):
            run_start, held = runs[last]
            if run_start >= end:
                break
            self.conflicts += _differing(held[: end - run_start], data[run_start - start :])
            if run_start + len(held) > end:
                break
            self.buffered -= len(held)
            self.duplicate += len(held)
            last += 1
        del runs[first:last]

    def _drop_hidden(self) -> None:
        """After cutting at the FIN runs may be empty or end together: keep starts and ends strictly rising."""
        kept: list[tuple[int, bytearray]] = []
        for start, data in self._runs:
            if data and (not kept or start + len(data) > kept[-1][0] + len(kept[-1][1])):
                kept.append((start, data))
            else:
                self.buffered -= len(data)
                self.duplicate += len(data)
        self._runs = kept

    def _drain(self, first: bytes) -> bytes:
        """Hand out ``first`` and the runs that now continue it."""
        parts = [first]
        runs = self._runs
        count = 0
        for start, data in runs:
            known = self.offset - start
            if known < 0:
                break
            count += 1
            self.buffered -= len(data)
            if known >= len(data):
                self.duplicate += len(data)
                continue
            self.duplicate += known
            self._advance(len(data) - known)
            parts.append(bytes(data[known:]))
        del runs[:count]
        return b"".join(parts) if count else first


def _differing(a: bytes | bytearray, b: bytes | bytearray) -> int:
    """Positions of the common length at which two copies differ."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return 0
    return sum(map(ne, a, b))
