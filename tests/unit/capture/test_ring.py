"""Ring against a ring in a memory file, laid out as kernel/bpf/ringbuf.c does: what is drained, in order, and when."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.capture.abi import (
    DIRECTION_CLIENT,
    DIRECTION_SERVER,
    MARK_MPTCP,
    RECORD,
    RECORD_BYTES,
    RECORD_SECRET,
    RECORD_SEGMENT,
    RECORD_TIMING,
    SECRET,
)
from shadowd.capture.ring import Ring, RingSink

PAGE = mmap.PAGESIZE
SIZE = 4096
BUSY, DISCARD = 1 << 31, 1 << 30
FIN, SYN, ACK = 1, 2, 16
KEY = bytes(range(48))

Event = tuple[object, ...]


class Flag:
    """The map with the reader's wish to be woken up."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def update(self, key: bytes, value: bytes) -> None:
        assert key == b"\0\0\0\0"
        self.written.append(value)


class Kernel:
    """The producer's side: a consumer page, a producer page, and the data, which is kept twice as if mapped twice."""

    def __init__(self, size: int = SIZE, start: int = 0) -> None:
        self._size = size
        self.descriptor = os.memfd_create("ring")
        os.ftruncate(self.descriptor, 2 * PAGE + 2 * size)
        self._memory = mmap.mmap(self.descriptor, 2 * PAGE + 2 * size)
        struct.pack_into("=Q", self._memory, 0, start)
        struct.pack_into("=Q", self._memory, PAGE, start)

    @property
    def consumed(self) -> int:
        return int(struct.unpack_from("=Q", self._memory, 0)[0])

    @property
    def produced(self) -> int:
        return int(struct.unpack_from("=Q", self._memory, PAGE)[0])

    def _write(self, position: int, data: bytes) -> None:
        for at, byte in enumerate(data, position):
            for copy in (0, self._size):
                self._memory[2 * PAGE + at % self._size + copy] = byte

    def has_room(self, size: int) -> bool:
        return self.produced + (size + 15) // 8 * 8 - self.consumed <= self._size

    def reserve(self, data: bytes) -> int:
        """``bpf_ringbuf_reserve``: the entry is there, busy. Returns its position."""
        position = self.produced
        assert self.has_room(len(data))
        self._write(position, struct.pack("=II", len(data) | BUSY, 7) + data)
        struct.pack_into("=Q", self._memory, PAGE, position + (len(data) + 15) // 8 * 8)
        return position

    def finish(self, position: int, discard: bool = False) -> None:
        """``bpf_ringbuf_submit`` or ``_discard``."""
        (length,) = struct.unpack_from("=I", self._memory, 2 * PAGE + position % self._size)
        self._write(position, struct.pack("=I", length & ~BUSY | (DISCARD if discard else 0)))

    def output(self, data: bytes) -> None:
        self.finish(self.reserve(data))

    def close(self) -> None:
        self._memory.close()
        os.close(self.descriptor)


class Log(RingSink):
    """Everything the ring told, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def segment(
        self, key: bytes, direction: int, seq: int, ack: int, flags: int, payload: bytes, time: int, tag: int
    ) -> None:
        self.events.append(("segment", key, direction, seq, ack, flags, bytes(payload), time, tag))

    def timing(self, cookie: int, direction: int, seq: int, length: int, flags: int, time: int) -> None:
        self.events.append(("timing", cookie, direction, seq, length, flags, time))

    def urgent(self, key: bytes, direction: int, seq: int) -> None:
        self.events.append(("urgent", key, direction, seq))

    def marked(self, key: bytes, direction: int, marks: int) -> None:
        self.events.append(("marked", key, direction, marks))

    def secret(self, record: bytes) -> None:
        self.events.append(("secret", bytes(record)))


class Bench:
    """A producer and its reader, ``start`` bytes after the ring was made."""

    def __init__(self, size: int = SIZE, start: int = 0) -> None:
        self.kernel = Kernel(size, start)
        self.flag = Flag()
        self.ring = Ring(self.kernel.descriptor, size, self.flag)  # type: ignore[arg-type]
        self.log = Log()

    def drain(self, budget: int = 1 << 20) -> list[Event]:
        """What this one drain told."""
        before = len(self.log.events)
        self.ring.drain(self.log, budget)
        return self.log.events[before:]

    def close(self) -> None:
        self.ring.close()
        self.kernel.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    built = Bench()
    yield built
    built.close()


def segment(
    payload: bytes,
    seq: int = 100,
    flags: int = ACK,
    whole: int = -1,
    offset: int = 0,
    marks: int = 0,
    time: int = 5,
    urgent: int = 0,
) -> bytes:
    """A record of client→server with its key and payload, as the program writes it."""
    whole = len(payload) if whole < 0 else whole
    head = RECORD.pack(
        time, 9, seq, 77, whole, offset, urgent << 16 | len(payload), RECORD_SEGMENT, DIRECTION_CLIENT, flags, marks
    )  # fmt: skip
    return head + KEY + payload


def told(payload: bytes, seq: int = 100, flags: int = ACK, time: int = 5) -> Event:
    return ("segment", KEY, DIRECTION_CLIENT, seq, 77, flags, payload, time, 9)


def timing(seq: int) -> bytes:
    return RECORD.pack(6, 1234567890123, seq, 0, 1460, 0, 0, RECORD_TIMING, DIRECTION_SERVER, ACK, 0)


def secret(label: bytes = b"CLIENT_RANDOM", kind: int = RECORD_SECRET) -> bytes:
    return SECRET.pack(
        8, 1, 2, 2, 0, 48, len(label), kind, 1, 0, 0, 0, label, bytes(range(48)), bytes(range(32))
    )  # fmt: skip


def test_secrets_stand_where_they_were_told(bench: Bench) -> None:
    """Among segments, in the kernel's order; none of their bytes is payload; a kind nobody knows is passed over."""
    for record in (segment(b"hello"), secret(), segment(b"finished"), timing(5), secret(kind=99), segment(b"!")):
        bench.kernel.output(record)
    assert bench.ring.waiting() == len(b"hellofinished!")
    assert [event[0] for event in bench.drain()] == ["segment", "secret", "segment", "timing", "segment"]
    assert bench.log.events[1] == ("secret", secret())


def test_the_urgent_pointer_is_told_before_its_segment(bench: Bench) -> None:
    first, second = bytes(100), b"tail"
    whole = len(first) + len(second)
    bench.kernel.output(segment(b"ab!", urgent=3))
    bench.kernel.output(segment(first, seq=0xFFFFFFFF, flags=FIN | ACK, whole=whole, urgent=2))
    bench.kernel.output(segment(second, seq=0xFFFFFFFF, flags=FIN | ACK, whole=whole, offset=len(first), urgent=2))
    assert bench.ring.waiting() == 3 + whole
    assert bench.drain() == [
        ("urgent", KEY, DIRECTION_CLIENT, 102),
        told(b"ab!"),
        ("urgent", KEY, DIRECTION_CLIENT, 0),
        told(first, seq=0xFFFFFFFF),
        told(second, seq=99, flags=FIN | ACK),
    ]


def test_records_come_as_they_were_written(bench: Bench) -> None:
    assert len(segment(b"")) == RECORD_BYTES
    assert bench.drain() == []
    for record in (segment(b"GET /"), segment(b"", flags=SYN), segment(b"abc", marks=MARK_MPTCP), timing(8)):
        bench.kernel.output(record)
    assert bench.drain() == [
        told(b"GET /"),
        told(b"", flags=SYN),
        told(b"abc"),
        ("marked", KEY, DIRECTION_CLIENT, MARK_MPTCP),
        ("timing", 1234567890123, DIRECTION_SERVER, 8, 1460, ACK, 6),
    ]
    assert bench.kernel.consumed == bench.kernel.produced == bench.ring.consumed == bench.ring.produced
    assert bench.drain() == []


def test_the_count_is_of_entries_read(bench: Bench) -> None:
    bench.kernel.finish(bench.kernel.reserve(segment(b"x")), discard=True)
    bench.kernel.output(segment(b"y"))
    bench.kernel.reserve(segment(b"z"))
    assert bench.ring.drain(bench.log, 1 << 20) == 2
    assert bench.ring.drain(bench.log, 1 << 20) == 0


def test_an_unfinished_entry_holds_back_what_is_behind_it(bench: Bench) -> None:
    bench.kernel.output(segment(b"first"))
    busy = bench.kernel.reserve(segment(b"second"))
    bench.kernel.output(segment(b"third"))
    assert bench.drain() == [told(b"first")]
    assert bench.kernel.consumed == busy
    assert bench.ring.backlog == bench.kernel.produced - busy
    assert bench.drain() == []
    bench.kernel.finish(busy)
    assert bench.drain() == [told(b"second"), told(b"third")]
    assert bench.ring.backlog == 0


def test_a_discarded_entry_is_passed_over(bench: Bench) -> None:
    bench.kernel.finish(bench.kernel.reserve(segment(b"never")), discard=True)
    bench.kernel.output(segment(b"always"))
    assert bench.drain() == [told(b"always")]
    assert bench.kernel.consumed == bench.kernel.produced


@pytest.mark.parametrize("back", range(8, 136, 8))
def test_an_entry_that_wraps_is_read_in_one_piece(back: int) -> None:
    """The end of the ring falls into the entry's header, its record, its key, its payload."""
    bench = Bench(start=10 * SIZE - back)
    for number in range(3):
        bench.kernel.output(segment(b"0123456789" * 3, seq=number))
        bench.kernel.output(timing(number))
    expected: list[Event] = []
    for number in range(3):
        expected.append(told(b"0123456789" * 3, seq=number))
        expected.append(("timing", 1234567890123, DIRECTION_SERVER, number, 1460, ACK, 6))
    assert bench.drain() == expected
    bench.close()


def test_positions_beyond_32_bits() -> None:
    bench = Bench(start=(1 << 40) + 8)
    bench.kernel.output(segment(b"far"))
    assert bench.drain() == [told(b"far")]
    assert bench.kernel.consumed > 1 << 40
    bench.close()


def test_chunks_of_a_segment_have_their_own_numbers_and_the_flags_once(bench: Bench) -> None:
    pieces = [b"a" * 500, b"b" * 500, b"c" * 7]
    offset = 0
    for piece in pieces:
        record = segment(piece, seq=0xFFFFFF00, flags=SYN | ACK | FIN, whole=1007, offset=offset)
        bench.kernel.output(record)
        offset += len(piece)
    assert bench.drain() == [
        told(pieces[0], seq=0xFFFFFF00, flags=SYN | ACK),
        told(pieces[1], seq=0xFFFFFF00 + 500 - (1 << 32), flags=ACK),
        told(pieces[2], seq=0xFFFFFF00 + 1000 - (1 << 32), flags=ACK | FIN),
    ]


def test_a_chunk_that_was_not_captured_leaves_its_place(bench: Bench) -> None:
    bench.kernel.output(segment(b"a" * 500, whole=1500, flags=ACK | FIN))
    bench.kernel.output(segment(b"c" * 500, whole=1500, offset=1000, flags=ACK | FIN))
    assert bench.drain() == [told(b"a" * 500), told(b"c" * 500, seq=1100, flags=ACK | FIN)]


def test_a_budget_ends_the_drain_between_entries(bench: Bench) -> None:
    entry = (len(segment(b"x")) + 15) // 8 * 8
    for number in range(6):
        bench.kernel.output(segment(b"x", seq=number))
    assert [event[3] for event in bench.drain(2 * entry)] == [0, 1]
    assert [event[3] for event in bench.drain(1)] == [2]  # it always goes on
    assert [event[3] for event in bench.drain(2 * entry + 1)] == [3, 4, 5]


def test_asking_for_a_wake_up(bench: Bench) -> None:
    assert bench.ring.prepare_sleep()
    assert bench.flag.written == [b"\1\0\0\0"]
    bench.ring.cancel_sleep()
    assert bench.flag.written[1:] == [b"\0\0\0\0"]
    bench.kernel.output(segment(b"x"))  # came while the flag was set: nobody would wake us
    assert not bench.ring.prepare_sleep()
    assert bench.flag.written[2:] == [b"\1\0\0\0", b"\0\0\0\0"]


STEP = st.one_of(
    st.tuples(st.just("output"), st.integers(0, 400)),
    st.tuples(st.just("timing"), st.just(0)),
    st.tuples(st.just("reserve"), st.integers(0, 400)),
    st.tuples(st.sampled_from(["submit", "discard"]), st.integers(0, 5)),
    st.tuples(st.just("drain"), st.sampled_from([1, 300, 1 << 20])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=60), st.integers(0, SIZE // 8))
def test_every_finished_entry_comes_once_and_in_order(steps: list[tuple[str, int]], start: int) -> None:
    """The oracle is a list of entries with their state; what may be told is what stands before the first busy one."""
    bench = Bench(start=8 * start)
    entries: list[list[object]] = []  # what will be told, state, position

    def tellable() -> list[Event]:
        events: list[Event] = []
        for event, state, _ in entries:
            if state == "busy":
                break
            if state == "ready":
                assert isinstance(event, tuple)
                events.append(event)
        return events

    for number, (kind, size) in enumerate([*steps, ("drain", 1 << 20)]):
        if kind in ("output", "reserve", "timing"):
            payload = bytes([number]) * size
            record = timing(number) if kind == "timing" else segment(payload, seq=number)
            if not bench.kernel.has_room(len(record)):
                continue
            event = told(payload, seq=number)
            if kind == "timing":
                event = ("timing", 1234567890123, DIRECTION_SERVER, number, 1460, ACK, 6)
            position = bench.kernel.reserve(record)
            if kind != "reserve":
                bench.kernel.finish(position)
            entries.append([event, "busy" if kind == "reserve" else "ready", position])
        elif kind == "drain":
            bench.drain(size)
            assert bench.log.events == tellable()[: len(bench.log.events)]
            if size == 1 << 20:
                assert bench.log.events == tellable()
        else:
            busy = [entry for entry in entries if entry[1] == "busy"]
            if size < len(busy):
                where = busy[size][2]
                assert isinstance(where, int)
                bench.kernel.finish(where, kind == "discard")
                busy[size][1] = "discarded" if kind == "discard" else "ready"
        untold = tellable()[len(bench.log.events) :]
        assert bench.ring.waiting() == sum(len(event[6]) for event in untold if isinstance(event[6], bytes))
    bench.close()
