"""TCP sequence arithmetic, modulo 2³² (RFC 9293 §3.4).

A sequence number names a byte only near a known point of the stream: 32 bits wrap after 4 GiB. So there is no order
between two numbers, only a signed distance, and the comparison is right while the points lie less than 2³¹ apart.
The stream layer keeps positions as 64-bit stream offsets and uses these functions where a segment's number enters.
"""

from __future__ import annotations

MASK = 0xFFFF_FFFF
_MASK = MASK  # a C constant where this is compiled
_HALF = 0x8000_0000

#: Farthest that data or an ACK may lie from the expected byte: the largest window TCP can announce (RFC 7323 §2.3).
MAX_WINDOW = 1 << 30


def add(seq: int, count: int) -> int:
    """``seq`` moved by ``count`` bytes (negative: back)."""
    return (seq + count) & _MASK


def distance(origin: int, seq: int) -> int:
    """Bytes from ``origin`` forward to ``seq``, in ``[-2³¹, 2³¹)``: negative when ``seq`` lies before ``origin``."""
    return ((seq - origin + _HALF) & _MASK) - _HALF


def before(a: int, b: int) -> bool:
    """``a`` names an earlier byte than ``b``."""
    return (a - b) & _MASK >= _HALF


def after(a: int, b: int) -> bool:
    """``a`` names a later byte than ``b`` (at exactly 2³¹ apart each is ``before`` the other, none ``after``)."""
    return 0 < (a - b) & _MASK < _HALF
