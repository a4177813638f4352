"""The out-of-order queue: the bytes that Linux would read, whatever the order, and a tree that stays one."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shadowd.stream.assembler import Assembler
from shadowd.stream.out_of_order import OutOfOrderQueue, Run
from tests.unit.stream.linux_queue import Socket

#: (start, length, fill every hole first): the value of a segment's bytes is its number.
SEGMENTS = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 24), st.integers(0, 19)), max_size=60)


def both(steps: list[tuple[int, bytes, bool]]) -> tuple[bytes, bytes]:
    """What the assembler and the model read."""
    assembler, model = Assembler(), Socket()
    assembler.anchor(0)
    ours = b""
    for start, data, fin in steps:
        ours += assembler.push(start, data, fin)
        if fin:
            assembler.finish(start + len(data))
        model.receive(start, data, fin)
        assert ours == model.read
    return ours, model.read


@settings(deadline=None, max_examples=300)
@given(SEGMENTS)
@example([(1, 8, 1), (7, 6, 1), (9, 4, 1)])  # appended behind the root although the last run holds it
def test_which_copy_is_read(segments: list[tuple[int, int, int]]) -> None:
    end = 100
    steps: list[tuple[int, bytes, bool]] = []
    for number, (start, length, chance) in enumerate(segments):
        if chance == 0:  # a hole is filled on the way, and the tree loses its first runs
            steps.append((0, b"-" * start, False))
        data = bytes([number + 1]) * min(length, end - start)
        steps.append((start, data, start + len(data) == end and chance % 2 == 0))
    steps.append((0, b"." * end, True))
    ours, theirs = both(steps)
    assert ours == theirs
    assert len(ours) == end


def black_height(run: Run | None) -> int:
    """Checks what makes a tree red-black, and that parents are right."""
    if run is None:
        return 1
    heights = set()
    for child in run.children:
        if child is not None:
            assert child.parent is run
            assert not (run.red and child.red)
        heights.add(black_height(child))
    assert len(heights) == 1
    return heights.pop() + (not run.red)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 9), st.integers(0, 3)), max_size=120))
def test_the_tree_stays_balanced_and_counts(steps: list[tuple[int, int, int]]) -> None:
    queue = OutOfOrderQueue()
    held = 0
    for start, length, action in steps:
        if action:
            added = queue.add(start, bytes(length))
            held += added.buffered
            assert added.buffered + added.duplicate == length
        elif (runs := list(queue)) != []:
            gone = runs[start % len(runs)]
            queue.remove(gone)
            held -= len(gone.data)
        runs = list(queue)
        assert len(runs) == len(queue)
        assert held == sum(len(run.data) for run in runs)
        starts = [run.start for run in runs]
        assert starts == sorted(set(starts))
        assert queue._last is (runs[-1] if runs else None)
        assert queue._root is None or not queue._root.red
        black_height(queue._root)
