"""Which plaintext of the server is acknowledged: a byte is when the last one of its record is."""

from __future__ import annotations

from collections import deque

#: Records whose acknowledgement is not asked for yet; beyond it the last ones count as one.
MAX_MARKS = 4096


class Marks:
    """Records of the server: where each ends, in the flow and in its plaintext."""

    __slots__ = ("_acked", "_marks")

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()
        self._acked = 0

    def add(self, end: int, plain: int, acked: int) -> None:
        """``plain`` bytes are acknowledged with the flow's up to ``end``; those up to ``acked`` are by now."""
        marks = self._marks
        if len(marks) >= MAX_MARKS:
            self.acked(acked)
            if len(marks) >= MAX_MARKS:
                marks.pop()
        marks.append((end, plain))

    def acked(self, acked: int) -> int:
        """Bytes of the plaintext that are acknowledged where ``acked`` of the flow's are."""
        marks = self._marks
        while marks and marks[0][0] <= acked:
            self._acked = marks.popleft()[1]
        return self._acked

    def clear(self) -> None:
        self._marks.clear()
