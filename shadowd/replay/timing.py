"""Kernel times of one shadow connection: when each of its bytes left and came, by the capture program's clock.

The capture program sends a payload-free record for every segment of a connection that asked for them; here they become
stream offsets. The first sight of an offset counts: a retransmission does not make an answer later than it was.
"""

from __future__ import annotations

import socket
import sys
from bisect import bisect_left
from collections import deque
from operator import itemgetter

#: Segments remembered a direction: a flood of small ones between two answers is nobody's latency.
_REMEMBERED = 8192
#: TLS: pieces of plaintext whose place in the ciphertext is remembered; of what came before nobody knows the time.
MAX_MARKS = 4096
_MIN_RTT_AT = 148  # offset of tcpi_min_rtt in struct tcp_info (linux/tcp.h, Linux 4.6), µs
_RTT_EVERY = 64  # measurements between two looks at it: it changes when the route does


class SegmentTimes:
    """See the module's head. Offsets are of the stream as on the wire: of the ciphertext with TLS."""

    __slots__ = ("_in_base", "_measured", "_out_base", "_rtt", "arrivals", "departures")

    def __init__(self) -> None:
        self.departures: deque[tuple[int, int]] = deque()  # (stream offset after the segment, ns)
        self.arrivals: deque[tuple[int, int]] = deque()
        self._out_base = -1  # sequence number of our first byte, -1 until the SYN's record
        self._in_base = -1
        self._rtt = 0
        self._measured = 0

    def record(self, direction: int, seq: int, length: int, flags: int, time: int) -> None:
        """A segment was seen by the capture program; ``direction`` 1 comes from the shadow."""
        if flags & 2:
            if direction:
                self._in_base = (seq + 1) & 0xFFFFFFFF
            else:
                self._out_base = (seq + 1) & 0xFFFFFFFF
            return
        if direction:
            base, seen = self._in_base, self.arrivals
        else:
            base, seen = self._out_base, self.departures
        if base < 0:
            return
        last = seen[-1][0] if seen else 0
        end = (seq + length - base) & 0xFFFFFFFF
        if last > 0x7FFFFFFF:  # offsets go on past 4 GB
            end += (last >> 32) << 32
            if end + (1 << 31) < last:
                end += 1 << 32
        if not seen or end > last:
            seen.append((end, time))
            if len(seen) > _REMEMBERED:
                seen.popleft()

    def between(self, sent_end: int, first: int, last: int) -> tuple[int, int] | None:
        """Durations (ns) from the departure of the byte before ``sent_end`` to the arrivals of the bytes before
        ``first`` and ``last``; None if not all was seen. Earlier times are forgotten."""
        sent = _time_at(self.departures, sent_end)
        begun = _time_at(self.arrivals, first)
        ended = _time_at(self.arrivals, last)
        if sent is None or begun is None or ended is None:
            return None
        return begun - sent, ended - sent

    def around(self, sent_end: int, first: int, last: int) -> tuple[int, int, int] | None:
        """When the bytes before these three offsets passed (ns): of a connection whose answers come in any order, so
        that nothing may be forgotten for one of them. None if not all was seen."""
        sent = _look_up(self.departures, sent_end)
        begun, ended = _look_up(self.arrivals, first), _look_up(self.arrivals, last)
        if sent is None or begun is None or ended is None:
            return None
        return sent, begun, ended

    def arrived(self, offset: int) -> int | None:
        """When the byte before ``offset`` came."""
        return _look_up(self.arrivals, offset)

    def forget(self, sent: int, received: int) -> None:
        """Nobody will ask for bytes that left before ``sent``, or came before ``received``."""
        _time_at(self.departures, sent)
        _time_at(self.arrivals, received)

    def pieces(self, first: int, last: int) -> list[tuple[int, int]]:
        """(stream offset after it, when it came) of every segment from the byte before ``first`` to the one before
        ``last``: to be asked before ``between``, which forgets them."""
        found = []
        for offset, time in self.arrivals:
            if offset >= first:
                found.append((offset, time))
            if offset >= last:
                break
        return found

    def round_trip(self, sock: socket.socket) -> int:
        """The shortest round trip the kernel has measured (ns), 0 if it does not tell."""
        if not self._measured % _RTT_EVERY:
            try:
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT_AT + 4)
            except OSError:  # it is closed by now
                return self._rtt
            micros = int.from_bytes(info[_MIN_RTT_AT:], sys.byteorder)
            self._rtt = 0 if micros == 0xFFFFFFFF else micros * 1000
        self._measured += 1
        return self._rtt


def _look_up(seen: deque[tuple[int, int]], offset: int) -> int | None:
    """The same, and earlier times stay."""
    at = bisect_left(seen, offset, key=itemgetter(0))
    if at == len(seen) or (not at and len(seen) >= _REMEMBERED):
        return None  # not seen, or forgotten for want of room
    return seen[at][1]


def _time_at(seen: deque[tuple[int, int]], offset: int) -> int | None:
    """When the segment that carried the byte before ``offset`` passed."""
    while len(seen) > 1 and seen[0][0] < offset:  # the last stays: later offsets are counted on from it
        seen.popleft()
    return seen[0][1] if seen and seen[0][0] >= offset else None
