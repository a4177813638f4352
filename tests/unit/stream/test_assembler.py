"""The assembler: Linux's rules for copies, and a bitmap as oracle for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.stream.assembler import Assembler
from shadowd.stream.seq import MAX_WINDOW, add

START = 0xFFFFFFF0  # every test wraps after 16 bytes


def begun(max_buffered: int = 1 << 20, max_ranges: int = 256) -> Assembler:
    assembler = Assembler(max_buffered, max_ranges)
    assembler.anchor(START)
    return assembler


def push(assembler: Assembler, at: int, data: bytes) -> bytes:
    """Push at a stream offset."""
    return assembler.push(add(START, at), data)


def accounted(assembler: Assembler) -> int:
    return assembler.delivered + assembler.duplicate + assembler.buffered + sum(assembler.discarded.values())


def test_in_order_gives_the_very_object() -> None:
    assembler = begun()
    data = b"GET / HTTP/1.1\r\n\r\n"
    assert push(assembler, 0, data) is data
    assert assembler.next_seq == 2
    assert (assembler.offset, assembler.delivered) == (18, 18)


def test_out_of_order_waits_and_comes_whole() -> None:
    assembler = begun()
    assert push(assembler, 4, b"efgh") == b""
    assert assembler.buffered == 4
    assert assembler.hole() == (START, 4)
    assert push(assembler, 8, b"ij") == b""
    assert push(assembler, 0, b"abcd") == b"abcdefghij"
    assert assembler.hole() is None
    assert (assembler.delivered, assembler.duplicate, assembler.buffered) == (10, 0, 0)


def test_retransmission_and_partial_overlap() -> None:
    assembler = begun()
    push(assembler, 0, b"abcdef")
    assert push(assembler, 0, b"abcdef") == b""
    assert push(assembler, 4, b"efgh") == b"gh"
    assert (assembler.delivered, assembler.duplicate, assembler.conflicts) == (8, 8, 0)


def test_keep_alive_probe_is_a_duplicate_even_before_the_first_byte() -> None:
    assembler = begun()
    assert push(assembler, -1, b"\0") == b""
    assert push(assembler, 0, b"abc") == b"abc"
    assert push(assembler, 2, b"\0") == b""
    assert assembler.duplicate == 2
    assert assembler.discarded == {}


def test_bytes_before_the_anchor_are_discarded() -> None:
    assembler = begun()
    assert push(assembler, -3, b"xyzabc") == b"abc"
    assert assembler.discarded == {"before_start": 3}


@pytest.mark.parametrize("ahead", [MAX_WINDOW + 1, -MAX_WINDOW - 1, 1 << 31])
def test_beyond_any_window_is_discarded(ahead: int) -> None:
    assembler = begun()
    push(assembler, 0, b"ab")
    assert push(assembler, 2 + ahead, b"xyz") == b""
    assert assembler.discarded == {"outside_window": 3}
    assert assembler.hole() is None


def test_skip_and_take() -> None:
    assembler = begun()
    push(assembler, 0, b"ab")
    push(assembler, 5, b"fg")
    push(assembler, 9, b"jk")
    assert assembler.skip() == (2, 3)
    assert assembler.take() == b"fg"
    assert assembler.hole() == (add(START, 7), 2)
    assert assembler.skip() == (7, 2)
    assert assembler.take() == b"jk"
    assert assembler.skip() == (11, 0)
    assert (assembler.offset, assembler.delivered, assembler.gap_bytes) == (11, 6, 5)


def test_bytes_of_a_skipped_hole_come_late() -> None:
    assembler = begun()
    push(assembler, 4, b"ef")
    assembler.skip()
    assembler.take()
    assert push(assembler, 0, b"abcdefgh") == b"gh"
    assert assembler.discarded == {"late": 4}
    assert assembler.duplicate == 2
    assert accounted(assembler) == 10


def test_skip_until_without_a_queue() -> None:
    assembler = begun()
    push(assembler, 0, b"ab")
    assert assembler.skip(add(START, 7)) == (2, 5)
    assert assembler.take() == b""
    assert assembler.skip(add(START, 3)) == (7, 0)


def test_fin_behind_a_hole_and_data_beyond_it() -> None:
    assembler = begun()
    push(assembler, 8, b"ij")
    assert assembler.finish(add(START, 6))
    assert assembler.discarded == {"after_fin": 2}
    assert assembler.hole() == (START, 6)
    assert push(assembler, 0, b"abcdefgh") == b"abcdef"
    assert assembler.discarded == {"after_fin": 4}
    assert assembler.offset == assembler.end
    assert assembler.hole() is None
    assert push(assembler, 6, b"zz") == b""
    assert assembler.discarded == {"after_fin": 6}
    assert accounted(assembler) == 12


def test_fin_cuts_queued_runs() -> None:
    assembler = begun()
    push(assembler, 2, b"cdef")
    push(assembler, 4, b"efghij")
    push(assembler, 12, b"mn")
    assembler.finish(add(START, 5))
    assert push(assembler, 0, b"ab") == b"abcde"
    assert assembler.buffered == 0
    assert accounted(assembler) == 14


def test_first_believable_fin_counts() -> None:
    assembler = begun()
    push(assembler, 0, b"abcd")
    assert not assembler.finish(add(START, 2))  # below what was handed out
    assert not assembler.finish(add(START, 5 + MAX_WINDOW))
    assert assembler.end == -1
    assert assembler.finish(add(START, 6))
    assert assembler.finish(add(START, 6))
    assert not assembler.finish(add(START, 5))
    assert assembler.end == 6


def test_anchor_moves_with_the_queue() -> None:
    assembler = Assembler()
    assembler.anchor(1000)
    assembler.push(1010, b"kl")
    assembler.anchor(990)
    assert assembler.hole() == (990, 20)
    assembler.anchor(1011)
    assert assembler.discarded == {"before_start": 2}
    assembler.push(1011, b"l")
    with pytest.raises(ValueError, match="begun"):
        assembler.anchor(5)


def test_limits() -> None:
    assembler = begun(max_buffered=10, max_ranges=2)
    push(assembler, 10, b"0123456789")
    assert not assembler.over_limit
    push(assembler, 30, b"x")
    assert assembler.over_limit
    assembler = begun(max_ranges=2)
    for at in (2, 4, 6):
        push(assembler, at, b"x")
    assert assembler.over_limit


def test_repr_shows_what_is_missing() -> None:
    assembler = Assembler()
    assert repr(assembler) == "<Assembler unanchored>"
    assembler.anchor(0)
    assembler.push(0, b"abc")
    assembler.push(10, b"klm")
    assembler.push(12, b"mno")
    assembler.finish(20)
    assert repr(assembler) == "<Assembler 0x00000003: 3 done, 7 missing, 3 held, 3 held from 12, 5 missing, end>"


# Linux 6.x net/ipv4/tcp_input.c: tcp_data_queue, tcp_data_queue_ofo, tcp_ofo_queue. Segments as (offset, bytes) in the
# order of arrival, the bytes an application reads, and how many queued bytes differed from another copy.
LINUX_CASES = {
    "handed out is never replaced": ([(0, b"aaaa"), (0, b"bbbb")], b"aaaa", 0),
    "within a queued run: dropped": ([(2, b"aaaa"), (3, b"bb"), (0, b"--")], b"--aaaa", 2),
    "equal copy: first stays": ([(2, b"aaaa"), (2, b"bbbb"), (0, b"--")], b"--aaaa", 4),
    "same start, longer: replaces": ([(2, b"aaaa"), (2, b"bbbbbb"), (0, b"--")], b"--bbbbbb", 4),
    "covers: replaces": ([(4, b"aa"), (2, b"bbbbbb"), (0, b"--")], b"--bbbbbb", 2),
    "covers several": ([(3, b"a"), (5, b"a"), (2, b"bbbbbb"), (0, b"--")], b"--bbbbbb", 2),
    "lower start wins, new": ([(4, b"aaaa"), (2, b"bbbb"), (0, b"--")], b"--bbbbaa", 2),
    "lower start wins, old": ([(2, b"aaaa"), (4, b"bbbb"), (0, b"--")], b"--aaaabb", 2),
    "in order wins over the queue": ([(2, b"aaaa"), (0, b"bbbb")], b"bbbbaa", 2),
    "partly old, then over the queue": ([(0, b"--"), (4, b"aaaa"), (1, b"bbbbb")], b"--bbbbaa", 2),
    "appended runs are one": ([(2, b"aa"), (4, b"aa"), (2, b"bbb"), (0, b"--")], b"--aaaa", 3),
    "keep-alive garbage in the queue": ([(5, b"\0"), (2, b"aaaa"), (0, b"--")], b"--aaaa", 1),
    "an agreeing overlap is no conflict": ([(2, b"abcd"), (4, b"cdef"), (0, b"--")], b"--abcdef", 0),
}


@pytest.mark.parametrize("name", LINUX_CASES)
def test_copies_as_linux_decides(name: str) -> None:
    segments, read, conflicts = LINUX_CASES[name]
    assembler = begun()
    assert b"".join(push(assembler, at, data) for at, data in segments) == read
    assert assembler.conflicts == conflicts
    assert accounted(assembler) == sum(len(data) for _, data in segments)
    assert assembler.buffered == 0


STREAM = bytes(i * 7 % 251 for i in range(120))
SEGMENTS = st.lists(st.tuples(st.integers(0, 119), st.integers(1, 40)), max_size=40)


@settings(deadline=None)
@given(st.integers(0, 0xFFFFFFFF), SEGMENTS, st.booleans())
def test_against_a_bitmap(isn: int, segments: list[tuple[int, int]], skipping: bool) -> None:
    """Random segmentation, order, repetition, overlap and loss; the oracle is one flag for each byte."""
    assembler = Assembler()
    assembler.anchor(isn)
    came = [False] * len(STREAM)
    out = bytearray()
    pushed = 0
    for start, length in segments:
        data = STREAM[start : start + length]
        pushed += len(data)
        out += assembler.push(add(isn, start), data)
        came[start : start + len(data)] = [True] * len(data)
        prefix = [*came, False].index(False)
        assert out == STREAM[:prefix]
        assert assembler.offset == prefix
        assert accounted(assembler) == pushed
        hole = assembler.hole()
        if True in came[prefix:]:
            assert hole == (add(isn, prefix), came.index(True, prefix) - prefix)
        else:
            assert hole is None
            assert assembler.buffered == 0
    assert assembler.conflicts == 0
    if skipping:
        gaps = []
        while assembler.hole():
            at, length = assembler.skip()
            gaps += range(at, at + length)
            out += assembler.take()
        end = max((i + 1 for i, flag in enumerate(came) if flag), default=0)
        assert gaps == [i for i in range(end) if not came[i]]
        assert out == bytes(STREAM[i] for i in range(end) if came[i])
        assert assembler.buffered == 0
        assert accounted(assembler) == pushed
        assert assembler.gap_bytes + assembler.delivered == assembler.offset == end


COPIES = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "push", "push", "skip", "fin"]), st.integers(-5, 50), st.binary(max_size=20)
    ),
    max_size=40,
)


@settings(deadline=None)
@given(COPIES)
def test_disagreeing_copies(steps: list[tuple[str, int, bytes]]) -> None:
    """Every byte handed out is one that was pushed for its place, in the order of the stream, and all are accounted."""
    assembler = begun()
    values: dict[int, set[int]] = {}
    pushed = at = 0
    for action, offset, data in steps:
        out = b""
        if action == "push":
            pushed += len(data)
            for i, value in enumerate(data):
                values.setdefault(offset + i, set()).add(value)
            out = push(assembler, offset, data)
        elif action == "skip":
            skipped_at, length = assembler.skip()
            assert skipped_at == at
            at += length
            out = assembler.take()
        else:
            assembler.finish(add(START, offset))
        for value in out:
            assert value in values[at]
            at += 1
        assert at == assembler.offset
        assert accounted(assembler) == pushed
        assert assembler.end < 0 or at <= assembler.end
        starts = [run.start for run in assembler._queue]
        assert starts == sorted(set(starts))
        assert assembler.buffered == sum(len(run.data) for run in assembler._queue)
