"""Server-sent events against a naive reading of the standard, in any split; lines of JSON likewise."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.protocols import event_stream
from shadowd.protocols.event_stream import EventStream, Lines, StreamError

PIECES = st.lists(
    st.sampled_from([
        b"data: a", b"data:b", b"data:  c", b"data", b"event: x", b"event:", b"id: 7", b"id: \0", b"id", b"retry: 12",
        b"retry: x", b": comment", b"unknown: y", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r",
        "data: ü€".encode(), b"data: \xff",
    ]),
    max_size=30,
)  # fmt: skip


def naive(stream: bytes) -> list[tuple[str, str, str]]:
    """The whole stream at once, line by line, as HTML 9.2.6 says."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, data, kind, last = [], "", "", ""
    for raw in text.split(b"\n")[:-1]:  # an unfinished last line is no line
        line = raw.decode("utf-8", "replace")
        if line == "":
            if data:
                events.append((kind or "message", data.removesuffix("\n"), last))
            data = kind = ""
            continue
        if line.startswith(":"):
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data += value + "\n"
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last = value
    return events


def read(stream: bytes, steps: list[int]) -> list[tuple[str, str, str]]:
    reader, found, at, number = EventStream(), [], 0, 0
    while at < len(stream):
        step = steps[number % len(steps)]
        found += [(event.type, event.data, event.id) for event in reader.feed_untrusted(stream[at : at + step])]
        at, number = at + step, number + 1
    return found


@given(st.booleans(), PIECES, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_any_split_is_what_the_standard_says(mark: bool, pieces: list[bytes], steps: list[int]) -> None:
    stream = b"\xef\xbb\xbf" * mark + b"".join(pieces)
    assert read(stream, steps) == read(stream, [len(stream) or 1]) == naive(stream)


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_any_bytes(stream: bytes, steps: list[int]) -> None:
    assert read(stream, steps) == naive(stream)


def test_the_standards_examples() -> None:
    assert read(b"data: YHOO\ndata: +2\ndata: 10\n\n", [100]) == [("message", "YHOO\n+2\n10", "")]
    stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
    assert read(stream, [100]) == [("message", "first event", "1"), ("message", "second event", "")]
    assert read(b"data:test\n\ndata: test\n\n", [1]) == [("message", "test", ""), ("message", "test", "")]


def test_retry_is_digits() -> None:
    (event,) = EventStream().feed_untrusted(b"retry: 1500\nretry: soon\ndata: x\n\n")
    assert event.retry == 1500


def test_lines_and_data_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_LINE", 100)
    monkeypatch.setattr(event_stream, "MAX_DATA", 150)
    with pytest.raises(StreamError):
        EventStream().feed_untrusted(b"data: " + b"x" * 200)
    reader = EventStream()
    reader.feed_untrusted(b"data: " + b"x" * 80 + b"\n")
    with pytest.raises(StreamError):
        reader.feed_untrusted(b"data: " + b"x" * 80 + b"\n")


class Counted:
    """The pattern that finds ends of lines, and how many bytes it was given."""

    def __init__(self) -> None:
        self.searched = 0

    def split(self, data: bytes) -> list[bytes]:
        self.searched += len(data)
        return re.split(rb"\r\n|\n|\r", data)


@pytest.mark.parametrize("step", [1, 7, 1400])
@pytest.mark.parametrize("before", [b"", b"data: x\n\n"])
def test_a_long_line_costs_what_it_is_long(monkeypatch: pytest.MonkeyPatch, step: int, before: bytes) -> None:
    """Twice the line, twice the work: each byte is searched once, and what waits is the line and no copies of it."""
    work = []
    for size in (20_000, 40_000, 80_000):
        counted = Counted()
        monkeypatch.setattr(event_stream, "_BREAK", counted)
        stream = before + b"data: " + b"A" * size + b"\n\n"
        reader, events = EventStream(), 0
        for at in range(0, len(stream), step):
            events += len(reader.feed_untrusted(stream[at : at + step]))
        assert events == 1 + bool(before)
        assert counted.searched <= len(stream) + 3  # the first three bytes may be a mark
        work.append(counted.searched)
    assert work[2] - work[1] == pytest.approx(2 * (work[1] - work[0]), rel=0.01)


def test_what_waits_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of a line that comes byte by byte is its length, and the limit holds across pieces."""
    tracemalloc.start()
    reader = EventStream()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(100_000):
        reader.feed_untrusted(b"A")
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 3 * 100_000
    monkeypatch.setattr(event_stream, "MAX_LINE", 100_001)
    reader.feed_untrusted(b"A")
    with pytest.raises(StreamError):
        reader.feed_untrusted(b"A")


def test_lines_without_data_are_no_way_around_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_DATA", 150)
    with pytest.raises(StreamError):
        EventStream().feed_untrusted(b"data\n" * 200)


@given(st.lists(st.sampled_from([b'{"a":1}', b"", b"  ", b"x"])), st.sampled_from([b"\n", b"\r\n"]), st.integers(1, 9))
def test_lines(parts: list[bytes], end: bytes, step: int) -> None:
    stream = end.join(parts)
    reader, found = Lines(), []
    for at in range(0, len(stream), step):
        found += reader.feed_untrusted(stream[at : at + step])
    rest = reader.rest()
    assert found + [rest] * bool(rest) == [line for line in re.split(rb"\r\n|\n", stream) if line.strip()]
