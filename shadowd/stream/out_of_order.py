"""The queue of segments that came out of order, as Linux keeps it: which copy of a byte an application reads.

Where copies of a byte differ, the kernel's answer depends on which queued segments it looks at, and that on the shape
of its red-black tree. So this is that tree (lib/rbtree.c), and the way through it (net/ipv4/tcp_input.c of Linux 6.x,
tcp_data_queue_ofo), step by step:

1. a segment that begins where the run last added at the end of the queue ends is appended to that run
   (``ooo_last_skb``, tcp_ooo_try_coalesce), and one beyond that run's end becomes the new last run,
2. else the tree is searched from its root for the segment's start. On the way, a run that holds the whole segment ends
   the search (the segment is dropped), one that ends where the segment begins takes it in, and one of the same start
   that is shorter is replaced,
3. a run that was inserted or has replaced another drops those to its right that it covers. An appended one does not.

Starts are strictly rising; ends need not be. One thing is assumed: the kernel can always append, which it cannot while
a packet socket on the host holds a copy of the segment, or when a run is made of too many fragments.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import ne
from typing import NamedTuple

LEFT, RIGHT = 0, 1


class Run:
    """Contiguous bytes from stream offset ``start``. ``end`` is one beyond them where a FIN follows: that has a number
    too, so the same bytes with a FIN cover those without."""

    __slots__ = ("children", "data", "end", "parent", "red", "start")

    def __init__(self, start: int, end: int, data: bytearray) -> None:
        self.start = start
        self.end = end
        self.data = data
        self.parent: Run | None = None
        self.children: list[Run | None] = [None, None]
        self.red = True

    @property
    def finished(self) -> bool:
        """A FIN follows its bytes: nothing can be appended."""
        return self.end - self.start > len(self.data)


class Added(NamedTuple):
    """What a segment did: bytes more in the queue (negative: less), bytes that are nobody's now, and of the bytes it
    was compared with those that differ."""

    buffered: int
    duplicate: int
    conflicts: int


class OutOfOrderQueue:
    """Runs by their start. ``len`` is the number of runs."""

    __slots__ = ("_count", "_last", "_root")

    def __init__(self) -> None:
        self._root: Run | None = None
        self._last: Run | None = None  # ooo_last_skb
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Run]:
        """From the lowest start; the run that was given out last may be removed meanwhile."""
        run = self.first
        while run is not None:
            following = _next(run)
            yield run
            run = following

    @property
    def first(self) -> Run | None:
        """The run of the lowest start."""
        run = self._root
        while run is not None and (left := run.children[LEFT]) is not None:
            run = left
        return run

    def add(self, start: int, data: bytes, fin: bool = False) -> Added:
        """tcp_data_queue_ofo: a segment of at least one byte, or a FIN, above everything handed out."""
        end = start + len(data) + fin
        last = self._last
        if last is None:
            self._insert(Run(start, end, bytearray(data)), None, LEFT)
            self._last = self._root
            return Added(len(data), 0, 0)
        if start == last.end and not last.finished:
            return self._append(last, end, data)
        if start >= last.end:
            self._last = Run(start, end, bytearray(data))
            self._insert(self._last, last, RIGHT)
            return Added(len(data), 0, 0)
        return self._search(start, end, data)

    def remove(self, run: Run) -> None:
        """Take a run out."""
        if run is self._last:
            self._last = _previous(run)
        self._erase(run)

    # --- the kernel's way ---------------------------------------------------------------------------------------------

    def _search(self, start: int, end: int, data: bytes) -> Added:
        parent, side = None, LEFT
        run = self._root
        conflicts = 0
        while run is not None:
            parent = run
            side = LEFT
            if start >= run.start:
                side = RIGHT
                if start < run.end:
                    conflicts += _differing(run, start, data)
                    if end <= run.end:
                        return Added(0, len(data), conflicts)
                    if start == run.start:
                        return self._replace(run, end, data, conflicts)
                elif start == run.end and not run.finished:
                    return self._append(run, end, data, conflicts)
            run = parent.children[side]
        added = Run(start, end, bytearray(data))
        self._insert(added, parent, side)
        return self._merge_right(added, len(data), 0, conflicts)

    def _append(self, run: Run, end: int, data: bytes, conflicts: int = 0) -> Added:
        start = run.end
        beside = _next(run)
        while beside is not None and beside.start < end:  # they stay, and are looked at again when bytes are read
            conflicts += _differing(beside, start, data)
            beside = _next(beside)
        run.data += data
        run.end = end
        return Added(len(data), 0, conflicts)

    def _replace(self, run: Run, end: int, data: bytes, conflicts: int) -> Added:
        before = len(run.data)
        run.data = bytearray(data)  # rb_replace_node: in the same place of the tree
        run.end = end
        return self._merge_right(run, len(data) - before, before, conflicts)

    def _merge_right(self, run: Run, buffered: int, duplicate: int, conflicts: int) -> Added:
        covered = _next(run)
        while covered is not None and covered.start < run.end:
            conflicts += _differing(covered, run.start, run.data)
            if covered.end > run.end:
                break
            buffered -= len(covered.data)
            duplicate += len(covered.data)
            self._erase(covered)
            covered = _next(run)
        if covered is None:
            self._last = run
        return Added(buffered, duplicate, conflicts)

    # --- the tree: lib/rbtree.c, each mirrored pair of cases written once ------------------------------------------

    def _insert(self, run: Run, parent: Run | None, side: int) -> None:
        self._count += 1
        run.parent = parent
        if parent is None:
            self._root = run
        else:
            parent.children[side] = run
        while parent is not None and parent.red:
            grand = parent.parent
            assert grand is not None  # a red run is never the root
            side = RIGHT if parent is grand.children[RIGHT] else LEFT
            uncle = grand.children[1 - side]
            if uncle is not None and uncle.red:  # case 1: flip colours, go up
                uncle.red = parent.red = False
                grand.red = True
                run, parent = grand, grand.parent
                continue
            if run is parent.children[1 - side]:  # case 2: the inner grandchild becomes the outer one
                self._rotate(parent, side)
                parent = run
            parent.red = False  # case 3
            grand.red = True
            self._rotate(grand, 1 - side)
            break
        assert self._root is not None
        self._root.red = False

    def _rotate(self, run: Run, side: int) -> None:
        """``run`` goes down to ``side``, its other child takes its place."""
        up = run.children[1 - side]
        assert up is not None
        inner = up.children[side]
        run.children[1 - side] = inner
        if inner is not None:
            inner.parent = run
        up.children[side] = run
        self._put_in_place(run, up)
        run.parent = up

    def _put_in_place(self, old: Run, new: Run | None) -> None:
        parent = old.parent
        if parent is None:
            self._root = new
        else:
            parent.children[RIGHT if parent.children[RIGHT] is old else LEFT] = new
        if new is not None:
            new.parent = parent

    def _erase(self, run: Run) -> None:
        self._count -= 1
        left, right = run.children
        lacking: Run | None  # the run below which a black one is lacking now
        if left is None or right is None:
            child = right if left is None else left
            lacking = run.parent if child is None and not run.red else None
            self._put_in_place(run, child)
            if child is not None:
                child.red = run.red
        else:
            following = right
            while (lower := following.children[LEFT]) is not None:
                following = lower
            orphan = following.children[RIGHT]
            below = following
            if following is not right:
                assert following.parent is not None
                below = following.parent
                below.children[LEFT] = orphan
                following.children[RIGHT] = right
                right.parent = following
            following.children[LEFT] = left
            left.parent = following
            self._put_in_place(run, following)
            lacking = below if orphan is None and not following.red else None
            if orphan is not None:
                orphan.parent = below
                orphan.red = False
            following.red = run.red
        if lacking is not None:
            self._rebalance(lacking)

    def _rebalance(self, parent: Run) -> None:
        """``____rb_erase_color``: paths through ``node``, a child of ``parent``, have one black run too few."""
        node: Run | None = None
        while True:
            side = LEFT if node is parent.children[LEFT] else RIGHT
            other = 1 - side
            sibling = parent.children[other]
            assert sibling is not None  # it has black runs to spare
            if sibling.red:  # case 1
                sibling.red = False
                parent.red = True
                self._rotate(parent, side)
                sibling = parent.children[other]
                assert sibling is not None
            outer, inner = sibling.children[other], sibling.children[side]
            if outer is None or not outer.red:
                if inner is None or not inner.red:  # case 2
                    sibling.red = True
                    if parent.red or parent.parent is None:
                        parent.red = False
                        return
                    node, parent = parent, parent.parent
                    continue
                self._rotate(sibling, other)  # case 3
                sibling.red = True
                sibling = inner
                outer = sibling.children[other]
            assert outer is not None
            sibling.red = parent.red  # case 4
            parent.red = outer.red = False
            self._rotate(parent, side)
            return


def _next(run: Run) -> Run | None:
    return _neighbour(run, RIGHT)


def _previous(run: Run) -> Run | None:
    return _neighbour(run, LEFT)


def _neighbour(run: Run, side: int) -> Run | None:
    below = run.children[side]
    if below is not None:
        while (further := below.children[1 - side]) is not None:
            below = further
        return below
    parent = run.parent
    while parent is not None and run is parent.children[side]:
        run, parent = parent, parent.parent
    return parent


def _differing(run: Run, start: int, data: bytes | bytearray) -> int:
    """Places that ``run`` and ``data`` at ``start`` share, with another byte in each."""
    low = max(start, run.start)
    high = min(start + len(data), run.start + len(run.data))
    return differing(run.data[low - run.start : high - run.start], data[low - start : high - start])


def differing(a: bytes | bytearray, b: bytes | bytearray) -> int:
    """Positions of the common length at which two copies differ."""
    length = min(len(a), len(b))
    a, b = a[:length], b[:length]
    return 0 if a == b else sum(map(ne, a, b))
